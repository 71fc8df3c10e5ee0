//! The operations of RandAugment, each as Pillow's `ImageOps`, `ImageEnhance` and `Image.transform` do it.
//!
//! Compared with Pillow byte for byte (`tests/suite/augment.rs`). Which of them timm uses, and with what arguments, is in
//! [`RandAugment`](super::RandAugment).

use serde::{Deserialize, Serialize};

use super::geometry::{rotation, transform};
use crate::Rgb;
use crate::decode::luma;

/// How turned and sheared pixels are found. Pillow's transforms know no other kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resample {
    /// From the four pixels around.
    Bilinear,
    /// From the sixteen pixels around.
    Bicubic,
}

/// One change of a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// Stretches each channel to 0 to 255.
    AutoContrast,
    /// Spreads the values of each channel so that all are about equally frequent.
    Equalize,
    /// 255 less the value.
    Invert,
    /// Keeps that many bits of each value, 0 to 8. None is black, which Pillow from version 13 on refuses.
    Posterize(u32),
    /// Inverts values of at least this, 0 to 256.
    Solarize(u32),
    /// Adds this to values below 128, up to 255.
    SolarizeAdd(u32),
    /// From gray (0) over the picture (1) to stronger colours.
    Color(f64),
    /// From the mean gray (0) over the picture (1) to stronger contrast.
    Contrast(f64),
    /// From black (0) over the picture (1) to brighter.
    Brightness(f64),
    /// From smoothed (0) over the picture (1) to sharper.
    Sharpness(f64),
    /// Turns around the middle, in degrees, counter-clockwise.
    Rotate(f64),
    /// Shifts rows by this part of their distance from the top.
    ShearX(f64),
    /// Shifts columns by this part of their distance from the left.
    ShearY(f64),
    /// Shifts to the left by this part of the width.
    TranslateX(f64),
    /// Shifts upwards by this part of the height.
    TranslateY(f64),
}

impl Op {
    /// The picture after the operation. `fill` is what comes in from outside when pixels move.
    ///
    /// # Panics
    /// When `image.data` does not hold the pixels.
    #[must_use]
    pub fn apply(self, mut image: Rgb, resample: Resample, fill: [u8; 3]) -> Rgb {
        assert_eq!(image.data.len(), image.width * image.height * 3, "{image:?} does not hold its pixels");
        if image.data.is_empty() {
            return image;
        }
        match self {
            Self::AutoContrast => look_up(&mut image, |histogram| auto_contrast(&histogram())),
            Self::Equalize => look_up(&mut image, |histogram| equalize(&histogram())),
            Self::Invert => look_up(&mut image, |_| table(|v| 255 - v)),
            // Keeping none is black: a shift by eight leaves nothing.
            Self::Posterize(bits) => look_up(&mut image, |_| table(|v| v & (0xFF00 >> bits.min(8)))),
            Self::Solarize(from) => look_up(&mut image, |_| table(|v| if v < from { v } else { 255 - v })),
            Self::SolarizeAdd(add) => {
                look_up(&mut image, |_| table(|v| if v < 128 { v.saturating_add(add).min(255) } else { v }));
            }
            Self::Color(factor) => {
                let gray = |pixel: [u8; 3]| [luma(pixel); 3];
                let grays: Vec<u8> =
                    image.data.as_chunks::<3>().0.iter().flat_map(|&pixel| gray(pixel)).collect();
                blend(&mut image, &grays, factor);
            }
            Self::Contrast(factor) => {
                let sum: u64 =
                    image.data.as_chunks::<3>().0.iter().map(|&pixel| u64::from(luma(pixel))).sum();
                let mean = sum as f64 / (image.width * image.height) as f64;
                let flat = vec![(mean + 0.5) as u8; image.data.len()];
                blend(&mut image, &flat, factor);
            }
            Self::Brightness(factor) => {
                let black = vec![0; image.data.len()];
                blend(&mut image, &black, factor);
            }
            Self::Sharpness(factor) => {
                let smooth = smoothed(&image);
                blend(&mut image, &smooth, factor);
            }
            Self::Rotate(degrees) if degrees.rem_euclid(360.0) == 0.0 => {}
            Self::Rotate(degrees) => return transform(&image, rotation(&image, degrees), resample, fill),
            Self::ShearX(part) => return transform(&image, [1.0, part, 0.0, 0.0, 1.0, 0.0], resample, fill),
            Self::ShearY(part) => return transform(&image, [1.0, 0.0, 0.0, part, 1.0, 0.0], resample, fill),
            Self::TranslateX(part) => {
                let pixels = part * image.width as f64;
                return transform(&image, [1.0, 0.0, pixels, 0.0, 1.0, 0.0], resample, fill);
            }
            Self::TranslateY(part) => {
                let pixels = part * image.height as f64;
                return transform(&image, [1.0, 0.0, 0.0, 0.0, 1.0, pixels], resample, fill);
            }
        }
        image
    }
}

type Table = [u8; 256];

fn table(of: impl Fn(u32) -> u32) -> Table {
    std::array::from_fn(|v| of(v as u32) as u8)
}

/// Replaces each channel by its table, which may be made from the channel's histogram.
fn look_up(image: &mut Rgb, table: impl Fn(&dyn Fn() -> [u32; 256]) -> Table) {
    for channel in 0..3 {
        let histogram = || {
            let mut counts = [0; 256];
            for pixel in image.data.as_chunks::<3>().0 {
                counts[usize::from(pixel[channel])] += 1;
            }
            counts
        };
        let table = table(&histogram);
        for pixel in image.data.as_chunks_mut::<3>().0 {
            pixel[channel] = table[usize::from(pixel[channel])];
        }
    }
}

fn auto_contrast(histogram: &[u32; 256]) -> Table {
    let used = |&v: &usize| histogram[v] > 0;
    let (low, high) = ((0..256).find(used).unwrap_or(0), (0..256).rfind(used).unwrap_or(0));
    if high <= low {
        return table(|v| v);
    }
    let scale = 255.0 / (high - low) as f64;
    let offset = -(low as f64) * scale;
    table(|v| ((f64::from(v) * scale + offset) as i32).clamp(0, 255) as u32)
}

fn equalize(histogram: &[u32; 256]) -> Table {
    let total: u32 = histogram.iter().sum();
    let last = histogram.iter().copied().rfind(|&count| count > 0).unwrap_or(0);
    let step = (total - last) / 255;
    if step == 0 {
        return table(|v| v);
    }
    let mut below = step / 2;
    histogram.map(|count| {
        let value = below / step;
        below += count;
        value.min(255) as u8
    })
}

/// From `other` (0) to the picture (1) and beyond, as Pillow's `Image.blend(other, image, factor)`.
fn blend(image: &mut Rgb, other: &[u8], factor: f64) {
    let factor = factor as f32;
    for (value, &from) in image.data.iter_mut().zip(other) {
        let difference = i32::from(*value) - i32::from(from);
        // `as` drops what is after the point and stops at 0 and 255.
        *value = (f32::from(from) + factor * difference as f32) as u8;
    }
}

/// Pillow's `SMOOTH`: the pixel five times and its eight neighbours once; the rim stays.
fn smoothed(image: &Rgb) -> Vec<u8> {
    let (width, height) = (image.width, image.height);
    let mut smooth = image.data.clone();
    for y in 1..height.saturating_sub(1) {
        let inner = (y * width + 1) * 3..((y + 1) * width).saturating_sub(1).max(y * width + 1) * 3;
        for (at, out) in inner.clone().zip(&mut smooth[inner]) {
            let line = |at: usize| [at - 3, at, at + 3].map(|i| u32::from(image.data[i])).iter().sum::<u32>();
            let sum = line(at - width * 3) + line(at) + line(at + width * 3) + 4 * u32::from(image.data[at]);
            // Rounded; half-way cases cannot be, since 13 is odd.
            *out = ((2 * sum + 13) / 26) as u8;
        }
    }
    smooth
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picture(width: usize, values: &[u8]) -> Rgb {
        Rgb { width, height: values.len() / width, data: values.iter().flat_map(|&v| [v; 3]).collect() }
    }

    fn grays(op: Op, width: usize, values: &[u8]) -> Vec<u8> {
        let done = op.apply(picture(width, values), Resample::Bilinear, [9; 3]);
        done.data.as_chunks::<3>().0.iter().map(|pixel| pixel[1]).collect()
    }

    #[test]
    fn small_cases_by_hand() {
        let values = [0, 10, 127, 128, 200, 255];
        let point = |op| grays(op, 6, &values);
        assert_eq!(point(Op::Invert), [255, 245, 128, 127, 55, 0]);
        assert_eq!(point(Op::Posterize(1)), [0, 0, 0, 128, 128, 128]);
        assert_eq!(point(Op::Posterize(0)), [0; 6]);
        assert_eq!(point(Op::Posterize(8)), values);
        assert_eq!(point(Op::Solarize(128)), [0, 10, 127, 127, 55, 0]);
        assert_eq!(point(Op::Solarize(256)), values);
        assert_eq!(point(Op::SolarizeAdd(110)), [110, 120, 237, 128, 200, 255]);
        assert_eq!(point(Op::Brightness(0.5)), [0, 5, 63, 64, 100, 127]);
        assert_eq!(point(Op::Brightness(1.5)), [0, 15, 190, 192, 255, 255]);
        assert_eq!(point(Op::Color(0.1)), values);
        assert_eq!(grays(Op::AutoContrast, 3, &[10, 20, 30]), [0, 127, 255]);
        assert_eq!(grays(Op::AutoContrast, 3, &[7, 7, 7]), [7, 7, 7]);
        assert_eq!(grays(Op::Contrast(0.5), 2, &[10, 31]), [15, 26]);
        // The middle is (5 * 130 + 8 * 0) / 13.
        assert_eq!(
            grays(Op::Sharpness(0.0), 3, &[0, 0, 0, 0, 130, 0, 0, 0, 0]),
            [0, 0, 0, 0, 50, 0, 0, 0, 0]
        );
    }

    #[test]
    fn pixels_move_as_the_arguments_say() {
        let values = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(grays(Op::TranslateX(0.25), 4, &values), [2, 3, 4, 9, 6, 7, 8, 9]);
        assert_eq!(grays(Op::TranslateX(-0.5), 4, &values), [9, 9, 1, 2, 9, 9, 5, 6]);
        assert_eq!(grays(Op::TranslateY(0.5), 4, &values), [5, 6, 7, 8, 9, 9, 9, 9]);
        assert_eq!(grays(Op::Rotate(180.0), 4, &values), [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(grays(Op::Rotate(90.0), 2, &[1, 2, 3, 4]), [2, 4, 1, 3]);
        assert_eq!(grays(Op::Rotate(0.0), 4, &values), values);
    }

    proptest! {
        #[test]
        fn an_argument_without_effect_changes_nothing(
            width in 1..12_usize, height in 1..12_usize, seed in any::<u8>(),
        ) {
            let values: Vec<u8> = (0..width * height).map(|i| (i * 37 + usize::from(seed) * i * i) as u8).collect();
            let same = [Op::Color(1.0), Op::Contrast(1.0), Op::Brightness(1.0), Op::Sharpness(1.0), Op::ShearX(0.0),
                Op::ShearY(0.0), Op::TranslateX(0.0), Op::TranslateY(0.0), Op::Rotate(360.0), Op::SolarizeAdd(0)];
            for op in same {
                prop_assert_eq!(&grays(op, width, &values), &values, "{:?}", op);
                let cubic = op.apply(picture(width, &values), Resample::Bicubic, [9; 3]);
                prop_assert_eq!(cubic, picture(width, &values), "{:?}", op);
            }
        }
    }
}
