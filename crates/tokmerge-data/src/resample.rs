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

/// Bits after the point of a weight: an `i32` less 8 for the sample and 2 for overshoot.
const PRECISION: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION - 1);

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
    let [columns, rows] = window;
    assert_eq!(image.data.len(), image.width * image.height * 3, "{image:?} does not hold its pixels");
    assert!(image.width > 0 && image.height > 0, "{image:?} has no pixels");
    assert!(columns.end <= size[0] && rows.end <= size[1], "{columns:?} {rows:?} leave {size:?}");
    assert!(!columns.is_empty() && !rows.is_empty(), "{columns:?} {rows:?} of {size:?} have no pixels");
    if interpolation == Interpolation::Nearest {
        return nearest(image, size, columns, rows);
    }
    let across = Weights::new(image.width, size[0], columns, interpolation);
    let down = Weights::new(image.height, size[1], rows, interpolation);
    // What the second pass looks at is all that the first has to make.
    if columns_first([image.width, image.height], size) {
        let used = across.span();
        let low = down.along_columns(image, used.clone(), 0);
        across.along_rows(&low, 0..low.height, used.start)
    } else {
        let used = down.span();
        let narrow = across.along_rows(image, used.clone(), 0);
        down.along_columns(&narrow, 0..narrow.width, used.start)
    }
}

/// Whether the height (second) shrinks, by more than twice as many pixels as the width.
fn columns_first(from: [usize; 2], to: [usize; 2]) -> bool {
    to[1] < from[1] && (from[1] - to[1]) as f64 > 2.0 * (from[0] as f64 - to[0] as f64)
}

fn nearest(image: &Rgb, size: [usize; 2], columns: Range<usize>, rows: Range<usize>) -> Rgb {
    // Summed step by step: a product would round differently and pick other pixels on ties.
    let centres = |input: usize, output: usize, window: Range<usize>| -> Vec<usize> {
        let step = input as f64 / output as f64;
        let positions = std::iter::successors(Some(step * 0.5), |x| Some(x + step));
        positions.skip(window.start).take(window.len()).map(|x| (x as usize).min(input - 1)).collect()
    };
    let across = centres(image.width, size[0], columns);
    let down = centres(image.height, size[1], rows);
    let mut data = Vec::with_capacity(across.len() * down.len() * 3);
    for &y in &down {
        let row = &image.data[y * image.width * 3..][..image.width * 3];
        for &x in &across {
            data.extend_from_slice(&row[x * 3..x * 3 + 3]);
        }
    }
    Rgb { width: across.len(), height: down.len(), data }
}

/// For each output position along one axis: where its input begins, and the weights from there on.
struct Weights {
    starts: Vec<usize>,
    /// `ends[i]` is where the weights of output `i` end in `weights`.
    ends: Vec<usize>,
    weights: Vec<i32>,
    /// The size stays: nothing is computed, positions are copied.
    identity: bool,
}

impl Weights {
    fn new(input: usize, output: usize, window: Range<usize>, interpolation: Interpolation) -> Self {
        let (mut starts, mut ends, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        if input == output {
            starts.extend(window);
            return Self { starts, ends, weights, identity: true };
        }
        let scale = input as f64 / output as f64;
        let stretch = scale.max(1.0);
        let radius = interpolation.radius() * stretch;
        let shrink = 1.0 / stretch;
        let mut exact = Vec::new();
        for position in window {
            let centre = (position as f64 + 0.5) * scale;
            // A float below zero becomes 0.
            let start = (centre - radius + 0.5) as usize;
            let end = ((centre + radius + 0.5) as usize).min(input);
            exact.clear();
            exact.extend(
                (0..end.saturating_sub(start))
                    .map(|i| interpolation.kernel(((i + start) as f64 - centre + 0.5) * shrink)),
            );
            let sum: f64 = exact.iter().sum();
            weights.extend(exact.iter().map(|&w| {
                let w = if sum == 0.0 { w } else { w / sum } * f64::from(1 << PRECISION);
                (if w < 0.0 { w - 0.5 } else { w + 0.5 }) as i32
            }));
            starts.push(start);
            ends.push(weights.len());
        }
        Self { starts, ends, weights, identity: false }
    }

    fn len(&self) -> usize {
        self.starts.len()
    }

    /// The input positions used.
    fn span(&self) -> Range<usize> {
        let last = self.len() - 1;
        let taps = if self.identity { 1 } else { self.taps(last).len() };
        // Both bounds grow with the position.
        self.starts[0]..self.starts[last] + taps
    }

    fn taps(&self, position: usize) -> &[i32] {
        let from = if position == 0 { 0 } else { self.ends[position - 1] };
        &self.weights[from..self.ends[position]]
    }

    /// Resizes each of the `rows` of an image whose first column is column `first` of the input.
    fn along_rows(&self, image: &Rgb, rows: Range<usize>, first: usize) -> Rgb {
        let (stride, width, height) = (image.width * 3, self.len(), rows.len());
        let input = &image.data[rows.start * stride..rows.end * stride];
        let mut data = vec![0; height * width * 3];
        for (row, out) in input.chunks_exact(stride).zip(data.chunks_exact_mut(width * 3)) {
            if self.identity {
                out.copy_from_slice(&row[(self.starts[0] - first) * 3..][..width * 3]);
                continue;
            }
            for (position, pixel) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let taps = self.taps(position);
                let from = (self.starts[position] - first) * 3;
                let mut sum = [HALF; 3];
                for (p, &w) in row[from..from + taps.len() * 3].as_chunks::<3>().0.iter().zip(taps) {
                    sum[0] += i32::from(p[0]) * w;
                    sum[1] += i32::from(p[1]) * w;
                    sum[2] += i32::from(p[2]) * w;
                }
                *pixel = sum.map(to_byte);
            }
        }
        Rgb { width, height, data }
    }

    /// Resizes each of the `columns` of an image whose first row is row `first` of the input.
    fn along_columns(&self, image: &Rgb, columns: Range<usize>, first: usize) -> Rgb {
        let (width, height) = (columns.len(), self.len());
        let row = |y: usize| &image.data[(y * image.width + columns.start) * 3..][..width * 3];
        let mut data = vec![0; height * width * 3];
        let mut sums = vec![HALF; width * 3];
        for (position, out) in data.chunks_exact_mut(width * 3).enumerate() {
            let from = self.starts[position] - first;
            if self.identity {
                out.copy_from_slice(row(from));
                continue;
            }
            sums.fill(HALF);
            for (y, &w) in (from..).zip(self.taps(position)) {
                for (sum, &v) in sums.iter_mut().zip(row(y)) {
                    *sum += i32::from(v) * w;
                }
            }
            for (byte, &sum) in out.iter_mut().zip(&sums) {
                *byte = to_byte(sum);
            }
        }
        Rgb { width, height, data }
    }
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
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
