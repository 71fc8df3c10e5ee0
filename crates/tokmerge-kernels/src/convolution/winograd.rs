//! Convolutions of 3x3 windows with stride 1 by fewer products: four neighbouring outputs of a channel by 16 in place of 36
//! (Winograd's minimal filtering F(2x2, 3x3); Lavin and Gray, 2016, arXiv:1509.09308, §4.1).
//!
//! A tile of 4x4 pixels becomes 16 numbers, the same tile of every channel; each of the 16 is a linear layer over the
//! channels; and 16 outputs become 2x2 pixels. Transforms are sums and differences, so the result differs from that of
//! windows by rounding alone: in f32 as much as theirs, in bf16 about twice as much, since what is rounded are sums of
//! pixels.

use super::{MapOrder, Maps, Window};
use crate::isa::Isa;
use crate::lengths::is_product;
use crate::linear::activation::{Activation, activate};
use crate::linear::pack::PackedLinear;
use crate::linear::precision::Precision;
use crate::linear::{Epilogue, Layer, Output, To};
use crate::simd::{Job, Simd, load_at, store_at, store_words_at};
use crate::threads::scratch::Scratch;
use crate::threads::{Shared, for_each};

/// The window whose convolutions these are.
const WINDOW: Window = Window { size: 3, stride: 1, padding: 1 };

/// Numbers that a tile becomes, a row of four after the other.
const POINTS: usize = 16;

/// Tiles that are transformed before they are multiplied: as many as keep the multipliers busy while what they become
/// stays in L2.
const TILES: usize = 56;

/// Weights of a convolution of 3x3 windows with stride 1 and a border of zeros, transformed and packed once.
#[derive(Clone, Debug)]
pub struct PackedWinograd {
    /// A layer over the channels for each of the 16 numbers of a tile.
    points: Vec<PackedLinear>,
}

impl PackedWinograd {
    /// Whether a convolution is faster this way. At int8 it would not be the same: sums of pixels have other ranges.
    #[must_use]
    pub fn suits(window: Window, precision: Precision, [outputs, channels]: [usize; 2]) -> bool {
        window == WINDOW && precision != Precision::Int8 && outputs.min(channels) >= 16
    }

    /// Transforms `weight: [N, C, 3, 3]`.
    ///
    /// # Panics
    /// When `weight` has another number of elements, this CPU does not support `isa`, or the precision is int8.
    #[must_use]
    pub fn new(isa: Isa, precision: Precision, weight: &[f32], [outputs, channels]: [usize; 2]) -> Self {
        assert!(
            is_product(weight.len(), [outputs, channels, 9]),
            "PackedWinograd: weight has {} elements, expected {outputs} x {channels} windows of 3x3",
            weight.len()
        );
        assert!(precision != Precision::Int8, "PackedWinograd: not at int8");
        let mut points = vec![vec![0.0; outputs * channels]; POINTS];
        for (at, window) in weight.chunks_exact(9).enumerate() {
            for (point, value) in points.iter_mut().zip(transformed(window)) {
                point[at] = value;
            }
        }
        let pack = |point: Vec<f32>| PackedLinear::new(isa, precision, &point, outputs, channels);
        Self { points: points.into_iter().map(pack).collect() }
    }

    /// Channels of the maps that it makes.
    #[must_use]
    pub fn out_features(&self) -> usize {
        self.points[0].out_features()
    }
}

/// `G g Gᵀ` of a window `g: [3, 3]`.
fn transformed(window: &[f32]) -> [f32; POINTS] {
    let line = |[a, b, c]: [f32; 3]| [a, (a + b + c) / 2.0, (a - b + c) / 2.0, c];
    let columns = [0, 1, 2].map(|column| line([window[column], window[3 + column], window[6 + column]]));
    let rows = [0, 1, 2, 3].map(|row| line(columns.map(|column| column[row])));
    std::array::from_fn(|point| rows[point / 4][point % 4])
}

/// As [`convolution`](super::convolution) over maps in rows with these weights: `y: [B * H * W, N]`.
///
/// # Panics
/// When lengths do not match, or the maps are planes.
pub fn convolution_3x3(
    w: &PackedWinograd,
    bias: Option<&[f32]>,
    maps: Maps<'_>,
    activation: Activation,
    y: &mut [f32],
) {
    let (items, [height, width]) = maps.check("convolution_3x3", WINDOW);
    let n = w.out_features();
    assert!(maps.order == MapOrder::Rows, "convolution_3x3: maps in rows");
    assert!(
        w.points[0].in_features() == maps.channels && is_product(y.len(), [items, height, width, n]),
        "convolution_3x3: y has {} elements and w {} inputs, expected {items} items of {height}x{width} rows of {n} \
         made of {} channels",
        y.len(),
        w.points[0].in_features(),
        maps.channels
    );
    if let Some(bias) = bias {
        assert_eq!(bias.len(), n, "convolution_3x3: bias has {} elements for {n} columns", bias.len());
    }
    if y.is_empty() {
        return;
    }
    let y = Shared::new(y);
    let bands = height.div_ceil(2);
    for_each(items * bands, |task| {
        let (item, top) = (task / bands, task % bands * 2);
        let first = (item * height + top) * width * n;
        let lines = (height - top).min(2);
        // SAFETY: every task has its own lines of pixels.
        let y = unsafe { y.range(first..first + lines * width * n) };
        let band = Band { w, bias, maps, activation, item, top, y };
        Layer { w: &w.points[0], bias: None, epilogue: Epilogue::Store }.dispatch(band);
    });
}

/// Two lines of the pixels of an item, or one where the map ends.
struct Band<'a> {
    w: &'a PackedWinograd,
    bias: Option<&'a [f32]>,
    maps: Maps<'a>,
    activation: Activation,
    item: usize,
    /// The first line.
    top: usize,
    /// The lines that are made.
    y: &'a mut [f32],
}

impl Job for Band<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (width, n, words) = (self.maps.size[1], self.w.out_features(), self.w.points[0].words_per_row());
        let tiles = width.div_ceil(2);
        let mut first = 0;
        while first < tiles {
            let count = (tiles - first).min(TILES);
            let mut inputs = Scratch::take(POINTS * count * words);
            for tile in 0..count {
                self.transform(simd, first + tile, tile, count, &mut inputs);
            }
            let mut outputs = Scratch::take(POINTS * count * n);
            for (point, w) in self.w.points.iter().enumerate() {
                let layer = Layer { w, bias: None, epilogue: Epilogue::Store };
                let out = &mut outputs[point * count * n..(point + 1) * count * n];
                let to = Output { to: To::Values(out.as_mut_ptr()), first: 0, width: n };
                let x = &inputs[point * count * words..(point + 1) * count * words];
                // SAFETY: `out` has `count` rows of N columns.
                unsafe { layer.operand_rows(simd, x, count, 0..w.panels(), to) };
            }
            for tile in 0..count {
                pixels(simd, self.bias, (tile, count, n), &outputs, (first + tile, width), self.y);
            }
            first += count;
        }
        activate(simd, self.activation, self.w.points[0].precision(), self.y);
    }
}

impl Band<'_> {
    /// `Bᵀ d B` of a tile of pixels `d: [4, 4]`, of each channel, as operand words: row `tile` of the `count` rows of every point.
    #[inline(always)]
    fn transform<S: Simd>(&self, simd: S, column: usize, tile: usize, count: usize, out: &mut [f32]) {
        let (map, [height, width], c) = (self.maps.map(self.item), self.maps.size, self.maps.channels);
        let mut pixels: [Option<&[f32]>; POINTS] = [None; POINTS];
        for (at, pixel) in pixels.iter_mut().enumerate() {
            let (y, x) = (self.top + at / 4, 2 * column + at % 4);
            if (1..=height).contains(&y) && (1..=width).contains(&x) {
                *pixel = Some(&map[((y - 1) * width + x - 1) * c..][..c]);
            }
        }
        let (words, precision) = (self.w.points[0].words_per_row(), self.w.points[0].precision());
        let mut at = 0;
        while at < c {
            let mut d = [simd.splat(0.0); POINTS];
            for point in 0..POINTS {
                if let Some(pixel) = pixels[point] {
                    d[point] = load_at(simd, pixel, at);
                }
            }
            // Down the columns, then along the rows.
            for column in 0..4 {
                let [a, b, c, e] = forth(simd, [d[column], d[4 + column], d[8 + column], d[12 + column]]);
                (d[column], d[4 + column], d[8 + column], d[12 + column]) = (a, b, c, e);
            }
            for row in 0..4 {
                let values = forth(simd, [d[4 * row], d[4 * row + 1], d[4 * row + 2], d[4 * row + 3]]);
                for (column, value) in values.into_iter().enumerate() {
                    let point = 4 * row + column;
                    let row = &mut out[(point * count + tile) * words..][..words];
                    match precision {
                        Precision::F32 => store_at(simd, row, at, value),
                        Precision::Bf16 | Precision::Int8 => store_words_at(simd, row, at, c, value),
                    }
                }
            }
            at += S::LANES;
        }
    }
}

/// `Bᵀ` times four values.
#[inline(always)]
fn forth<S: Simd>(simd: S, [a, b, c, d]: [S::V; 4]) -> [S::V; 4] {
    [simd.sub(a, c), simd.add(b, c), simd.sub(c, b), simd.sub(b, d)]
}

/// `Aᵀ` times four values.
#[inline(always)]
fn back<S: Simd>(simd: S, [a, b, c, d]: [S::V; 4]) -> [S::V; 2] {
    [simd.add(a, simd.add(b, c)), simd.sub(simd.sub(b, c), d)]
}

/// `Aᵀ m A + b` of what the points have become, in `y`, the lines of a band: `m: [4, 4]`, row `tile` of the `count` rows of
/// every point, to the 2x2 pixels of tile `column`.
#[inline(always)]
fn pixels<S: Simd>(
    simd: S,
    bias: Option<&[f32]>,
    (tile, count, n): (usize, usize, usize),
    points: &[f32],
    (column, width): (usize, usize),
    y: &mut [f32],
) {
    let lines = y.len() / (width * n);
    let mut at = 0;
    while at < n {
        let mut m = [[simd.splat(0.0); 4]; 4];
        for (row, m) in m.iter_mut().enumerate() {
            for (column, m) in m.iter_mut().enumerate() {
                *m = load_at(simd, &points[((4 * row + column) * count + tile) * n..][..n], at);
            }
        }
        let shift = match bias {
            Some(bias) => load_at(simd, bias, at),
            None => simd.splat(0.0),
        };
        let mut half = [[simd.splat(0.0); 4]; 2];
        for column in 0..4 {
            let [a, b] = back(simd, [m[0][column], m[1][column], m[2][column], m[3][column]]);
            (half[0][column], half[1][column]) = (a, b);
        }
        for (line, half) in half.into_iter().enumerate().take(lines) {
            for (x, value) in back(simd, half).into_iter().enumerate() {
                let x = 2 * column + x;
                if x < width {
                    store_at(simd, &mut y[(line * width + x) * n..][..n], at, simd.add(value, shift));
                }
            }
        }
        at += S::LANES;
    }
}
