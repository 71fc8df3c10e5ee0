//! Four-channel JPEGs. Here the decoder's own chroma upsampling is not libjpeg's where channels are subsampled, so
//! that it gives the planes, and what follows on them in libjpeg and in Pillow's `convert("RGB")` is done here.

use super::planes::{Plane, Scratch, ycc_to_rgb};

/// Pillow takes the four inks for inverted, as Adobe writes them, whatever the file says.
pub(super) fn inverted_to_rgb(planes: &[Plane; 4], ycc: bool, (width, height): (usize, usize)) -> Vec<u8> {
    let mut rows = std::array::from_fn::<_, 4, _>(|_| vec![0; width]);
    let mut scratch = Scratch::default();
    let mut out = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for (plane, row) in planes.iter().zip(&mut rows) {
            plane.read(y, 0..width, &mut scratch, row);
        }
        let [first, second, third, black] = &rows;
        for x in 0..width {
            let samples = [first[x], second[x], third[x]];
            let inks = if ycc { ycc_to_rgb(samples) } else { samples.map(|ink| 255 - ink) };
            out.extend(inks.map(|ink| {
                // Rounded division by 255; at most the black.
                let product = u32::from(ink) * u32::from(black[x]) + 128;
                black[x] - ((product + (product >> 8)) >> 8) as u8
            }));
        }
    }
    out
}
