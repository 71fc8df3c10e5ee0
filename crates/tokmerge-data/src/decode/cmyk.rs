//! Four-channel JPEGs. Here the decoder's own chroma upsampling is not libjpeg's where channels are subsampled, so
//! that it gives the planes, and what follows on them in libjpeg and in Pillow's `convert("RGB")` is done here.

/// The decoded samples of a channel, padded to whole blocks.
pub(super) struct Plane {
    pub(super) samples: Vec<u8>,
    /// Samples in a row, with padding.
    pub(super) stride: usize,
    /// Samples in a row and in a column that the picture covers.
    pub(super) size: (usize, usize),
    /// Pixels along each axis that share a sample.
    pub(super) factor: (usize, usize),
}

impl Plane {
    /// Row `y` of the picture: a triangle filter for factors of two, repetition for all others.
    fn fill_row(&self, y: usize, out: &mut [u8]) {
        let (width, height) = self.size;
        let row = |at: usize| &self.samples[at * self.stride..][..width];
        let near = row(y / self.factor.1);
        // Samples outside the picture equal those at its edge, and every second pixel rounds down.
        let beside = |at: usize, odd: bool, len: usize| {
            if odd { (at + 1).min(len - 1) } else { at.saturating_sub(1) }
        };
        let far = row(beside(y / 2, y % 2 == 1, height));
        let column = |x: usize| 3 * u16::from(near[x]) + u16::from(far[x]);
        // libjpeg filters no rows of one or two samples.
        let filtered = width > 2;
        for (x, out) in out.iter_mut().enumerate() {
            let (at, odd) = (x / 2, x % 2 == 1);
            *out = match self.factor {
                (2, 1) if filtered => {
                    let sum = 3 * u16::from(near[at]) + u16::from(near[beside(at, odd, width)]);
                    (sum + 1 + u16::from(odd)) >> 2
                }
                (1, 2) => (column(x) + 1 + (y % 2) as u16) >> 2,
                (2, 2) if filtered => {
                    (3 * column(at) + column(beside(at, odd, width)) + 8 - u16::from(odd)) >> 4
                }
                (factor, _) => u16::from(near[x / factor]),
            } as u8;
        }
    }
}

/// Pillow takes the four inks for inverted, as Adobe writes them, whatever the file says.
pub(super) fn inverted_to_rgb(planes: &[Plane; 4], ycc: bool, (width, height): (usize, usize)) -> Vec<u8> {
    let mut rows = std::array::from_fn::<_, 4, _>(|_| vec![0; width]);
    let mut out = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for (plane, row) in planes.iter().zip(&mut rows) {
            plane.fill_row(y, row);
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

/// libjpeg's fixed-point arithmetic with 16 fractional bits.
fn ycc_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = (91_881 * cr + HALF) >> 16;
    let green = (-22_554 * cb - 46_802 * cr + HALF) >> 16;
    let blue = (116_130 * cb + HALF) >> 16;
    [red, green, blue].map(|shift| (y + shift).clamp(0, 255) as u8)
}
