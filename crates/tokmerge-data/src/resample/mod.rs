//! Resizing of 8-bit RGB, bit-identical to Pillow's `Image.resize`.
//!
//! Written from the published description of Pillow's resampling. The kernel is stretched by the factor of
//! reduction (antialiasing), its weights are rounded to 22 bits after the point, and the result of the first
//! pass is rounded to 8 bits before the second. A direction whose size stays is left alone. `nearest` has no
//! kernel: it takes the pixel under the centre, found by adding up steps.
//!
//! Rows are resized before columns, except where the height shrinks by more than twice as many pixels as the
//! width: there columns come first, since Pillow 13 (python-pillow/Pillow#9549; the exact rule was measured).
//! Pillow 12 and earlier always begin with rows, and differ from this module by the rounding between the
//! passes, on pictures more than twice as tall as wide and on some that are squashed.
//!
//! Each output pixel depends on nothing but the input, so a window of the output can be computed by itself;
//! a transform that crops afterwards pays, and takes memory, for the crop only.

use std::f64::consts::PI;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::Rgb;
use weights::Weights;

pub(crate) use passes::{Order, Rows};

mod passes;
mod weights;

/// How pixels between pixels are found; names as in Pillow and timm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Interpolation {
    /// The pixel under the centre.
    Nearest,
    /// The mean of the pixels covered.
    Box,
    /// A triangle of radius 1.
    Bilinear,
    /// A Hamming-windowed sinc of radius 1.
    Hamming,
    /// The cubic with a = -0.5 of radius 2.
    Bicubic,
    /// A Lanczos-windowed sinc of radius 3.
    Lanczos,
}

impl Interpolation {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Nearest, Self::Box, Self::Bilinear, Self::Hamming, Self::Bicubic, Self::Lanczos];

    /// The name that Pillow and timm use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Box => "box",
            Self::Bilinear => "bilinear",
            Self::Hamming => "hamming",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        }
    }

    /// The interpolation of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|i| i.name() == name)
    }

    fn radius(self) -> f64 {
        match self {
            Self::Nearest => 0.0,
            Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn kernel(self, x: f64) -> f64 {
        match self {
            Self::Nearest => 0.0,
            Self::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Hamming => match x.abs() {
                0.0 => 1.0,
                x if x >= 1.0 => 0.0,
                // Pillow's constants are single precision, which decides a rounding in a thousand images.
                x => {
                    let (a, b) = (f64::from(0.54_f32), f64::from(0.46_f32));
                    (x * PI).sin() / (x * PI) * (a + b * (x * PI).cos())
                }
            },
            Self::Bicubic => {
                const A: f64 = -0.5;
                match x.abs() {
                    x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
                    x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
                    _ => 0.0,
                }
            }
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// Resizes to `width` x `height`, as `Image.resize((width, height), interpolation)` of Pillow does.
///
/// # Panics
/// When a side of the input or the output is zero, or `image.data` does not hold the pixels.
pub fn resize(image: &Rgb, width: usize, height: usize, interpolation: Interpolation) -> Rgb {
    resize_window(image, [width, height], [0..width, 0..height], interpolation)
}

/// The part `window` (columns, rows) of what [`resize`] to `size` (width, height) would give.
pub(crate) fn resize_window(
    image: &Rgb,
    size: [usize; 2],
    window: [Range<usize>; 2],
    interpolation: Interpolation,
) -> Rgb {
    assert_eq!(image.data.len(), image.width * image.height * 3, "{image:?} does not hold its pixels");
    resize_rows(&mut &*image, size, window, interpolation)
}

/// [`resize_window`] of a picture that is read row by row: of each, and of them all, no more than the window needs.
pub(crate) fn resize_rows(
    source: &mut impl Rows,
    size: [usize; 2],
    window: [Range<usize>; 2],
    interpolation: Interpolation,
) -> Rgb {
    let [width, height] = source.size();
    assert!(width > 0 && height > 0, "a picture of {width}x{height} has no pixels");
    let [columns, rows] = &window;
    assert!(columns.end <= size[0] && rows.end <= size[1], "{columns:?} {rows:?} leave {size:?}");
    assert!(!columns.is_empty() && !rows.is_empty(), "{columns:?} {rows:?} of {size:?} have no pixels");
    passes::window(source, size, window, interpolation)
}

/// The input rows that output rows `rows` of `size` (width, height) are made from.
pub(crate) fn rows_used(
    from: [usize; 2],
    size: [usize; 2],
    rows: Range<usize>,
    interpolation: Interpolation,
) -> Range<usize> {
    if interpolation == Interpolation::Nearest {
        return 0..from[1];
    }
    Weights::new(from[1], size[1], rows, interpolation).span()
}

/// Whether the height (second) shrinks, by more than twice as many pixels as the width.
fn columns_first(from: [usize; 2], to: [usize; 2]) -> bool {
    to[1] < from[1] && (from[1] - to[1]) as f64 > 2.0 * (from[0] as f64 - to[0] as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_interpolation() -> impl Strategy<Value = Interpolation> {
        proptest::sample::select(Interpolation::ALL.to_vec())
    }

    fn noise(width: usize, height: usize, seed: u32) -> Rgb {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        Rgb { width, height, data: (0..width * height * 3).map(|_| next()).collect() }
    }

    proptest! {
        #[test]
        fn a_constant_image_stays_constant(
            w in 1..40_usize, h in 1..40_usize, to_w in 1..40_usize, to_h in 1..40_usize,
            value in any::<u8>(), interpolation in any_interpolation(),
        ) {
            let image = Rgb { width: w, height: h, data: vec![value; w * h * 3] };
            let got = resize(&image, to_w, to_h, interpolation);
            prop_assert_eq!((got.width, got.height), (to_w, to_h));
            prop_assert_eq!(got.data, vec![value; to_w * to_h * 3]);
        }

        #[test]
        fn a_window_is_a_part_of_the_whole(
            w in 1..40_usize, h in 1..40_usize, to_w in 1..40_usize, to_h in 1..40_usize,
            cut in proptest::array::uniform4(0.0..1.0_f64), interpolation in any_interpolation(),
        ) {
            let window = |size: usize, a: f64, b: f64| {
                let start = (a * size as f64) as usize;
                start..start + 1 + (b * (size - start - 1) as f64) as usize
            };
            let (columns, rows) = (window(to_w, cut[0], cut[1]), window(to_h, cut[2], cut[3]));
            let image = noise(w, h, 9);
            let whole = resize(&image, to_w, to_h, interpolation);
            let part = resize_window(&image, [to_w, to_h], [columns.clone(), rows.clone()], interpolation);
            let expected: Vec<u8> = rows
                .flat_map(|y| whole.data[(y * to_w + columns.start) * 3..(y * to_w + columns.end) * 3].to_vec())
                .collect();
            prop_assert_eq!(part.data, expected);
        }
    }

    #[test]
    fn the_same_size_is_the_same_image() {
        let image = noise(13, 7, 1);
        for interpolation in Interpolation::ALL {
            assert_eq!(resize(&image, 13, 7, interpolation), image, "{interpolation:?}");
        }
    }

    #[test]
    fn names_are_those_of_pillow_and_serde() {
        for interpolation in Interpolation::ALL {
            assert_eq!(Interpolation::from_name(interpolation.name()), Some(interpolation));
            assert_eq!(serde_json::to_value(interpolation).unwrap(), interpolation.name());
        }
        assert_eq!(Interpolation::from_name("cubic"), None);
    }
}
