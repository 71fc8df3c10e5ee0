//! The EXIF turn.

use image::metadata::Orientation;

use crate::Rgb;

/// Rows of the turned picture that are written side by side, so that whole lines of memory are read.
const BAND: usize = 16;

/// The picture upright; `None` where the bytes do not fill it.
pub(super) fn turned(
    width: usize,
    height: usize,
    mut data: Vec<u8>,
    orientation: Orientation,
) -> Option<Rgb> {
    use Orientation as Turn;
    if width.checked_mul(height)?.checked_mul(3)? != data.len() || data.is_empty() {
        return None;
    }
    // Whether a column of the turned picture reads the rows, and a row the columns, from their end.
    let (rows_back, columns_back) = match orientation {
        Turn::NoTransforms => return Some(Rgb { width, height, data }),
        Turn::FlipHorizontal => {
            data.chunks_exact_mut(width * 3).for_each(|row| row.as_chunks_mut::<3>().0.reverse());
            return Some(Rgb { width, height, data });
        }
        Turn::Rotate180 => {
            data.as_chunks_mut::<3>().0.reverse();
            return Some(Rgb { width, height, data });
        }
        Turn::FlipVertical => {
            let rows = data.chunks_exact(width * 3).rev().flatten().copied();
            return Some(Rgb { width, height, data: rows.collect() });
        }
        Turn::Rotate90 => (true, false),
        Turn::Rotate270 => (false, true),
        Turn::Rotate90FlipH => (false, false),
        Turn::Rotate270FlipH => (true, true),
    };
    let pixels = data.as_chunks::<3>().0;
    let mut turned = vec![0; data.len()];
    for (band, out) in turned.chunks_mut(BAND * height * 3).enumerate() {
        let rows = out.len() / (height * 3);
        let out = out.as_chunks_mut::<3>().0;
        for x in 0..height {
            let row = &pixels[if rows_back { height - 1 - x } else { x } * width..][..width];
            for y in 0..rows {
                let column = band * BAND + y;
                out[y * height + x] = row[if columns_back { width - 1 - column } else { column }];
            }
        }
    }
    Some(Rgb { width: height, height: width, data: turned })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, RgbImage};

    #[test]
    fn pictures_turn_as_the_image_crate_turns_them() {
        for (width, height) in [(1, 1), (5, 3), (40, 17), (16, 33)] {
            let data: Vec<u8> = (0..width * height * 3).map(|i| (i * 7 % 251) as u8).collect();
            for exif in 1..=8 {
                let orientation = Orientation::from_exif(exif).unwrap();
                let stored = RgbImage::from_raw(width as u32, height as u32, data.clone()).unwrap();
                let mut expected = DynamicImage::ImageRgb8(stored);
                expected.apply_orientation(orientation);
                let got = turned(width, height, data.clone(), orientation).unwrap();
                assert_eq!((got.width, got.height), (expected.width() as usize, expected.height() as usize));
                assert_eq!(got.data, expected.into_rgb8().into_raw(), "{orientation:?} of {width}x{height}");
            }
        }
        assert!(turned(2, 2, vec![0; 11], Orientation::NoTransforms).is_none());
    }
}
