//! Norms over the last axis of `[rows, C]`, contiguous: LayerNorm and RMSNorm, with and without a bias.

use crate::attention::Heads;
use crate::isa::Isa;
use crate::simd::{Job, Operand, Simd, dispatch, load_at, store_at, store_words_at, words};
use crate::threads::{Shared, for_each_chunk};

/// Kinds of norms over the channels of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormKind {
    /// Mean 0 and variance 1, then scale and shift (LayerNorm).
    Layer,
    /// Root mean square 1, then scale (RMSNorm).
    Rms,
}

/// The parameters of a norm: `(x - mean) / sqrt(variance + eps) * weight + bias`, or
/// `x / sqrt(mean of squares + eps) * weight + bias`.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Which of the two.
    pub kind: NormKind,
    /// `[C]`.
    pub weight: &'a [f32],
    /// `[C]`; none is 0.
    pub bias: Option<&'a [f32]>,
    /// Added to the (biased) variance, or to the mean of squares.
    pub eps: f32,
}

impl<'a> Norm<'a> {
    /// A LayerNorm with a bias.
    #[must_use]
    pub fn layer(weight: &'a [f32], bias: &'a [f32], eps: f32) -> Self {
        Self { kind: NormKind::Layer, weight, bias: Some(bias), eps }
    }

    /// Panics unless `weight` and `bias` have `channels` elements.
    pub(crate) fn check(&self, function: &str, channels: usize) {
        let (weights, biases) = (self.weight.len(), self.bias.map_or(channels, <[f32]>::len));
        assert!(
            weights == channels && biases == channels,
            "{function}: norm has {weights} weights and {biases} biases for rows of {channels}"
        );
    }

    /// What is subtracted from a row, and what it is then multiplied by: mean and 1 / sqrt(variance + eps), or 0 and
    /// 1 / sqrt(mean of squares + eps).
    #[inline(always)]
    pub(crate) fn moments<S: Simd>(&self, simd: S, x: &[f32]) -> (f32, f32) {
        let count = x.len() as f32;
        let full = x.len() - x.len() % S::LANES;
        let mean = match self.kind {
            NormKind::Rms => 0.0,
            NormKind::Layer => {
                let mut sum = simd.splat(0.0);
                let mut at = 0;
                while at < x.len() {
                    sum = simd.add(sum, load_at(simd, x, at));
                    at += S::LANES;
                }
                simd.reduce_add(sum) / count
            }
        };
        let centre = simd.splat(mean);
        let mut squares = simd.splat(0.0);
        let mut at = 0;
        while at < full {
            let d = simd.sub(load_at(simd, x, at), centre);
            squares = simd.mul_add(d, d, squares);
            at += S::LANES;
        }
        // Padding lanes are not at the mean, so the tail is done without them.
        let mut tail = 0.0;
        while at < x.len() {
            tail += (x[at] - mean) * (x[at] - mean);
            at += 1;
        }
        let variance = (simd.reduce_add(squares) + tail) / count;
        (mean, 1.0 / (variance + self.eps).sqrt())
    }

    /// What becomes of the values `at..` of a row with these moments.
    #[inline(always)]
    fn value<S: Simd>(&self, simd: S, x: S::V, [centre, inverse]: [S::V; 2], at: usize) -> S::V {
        let normed = simd.mul(simd.sub(x, centre), inverse);
        let bias = match self.bias {
            Some(bias) => load_at(simd, bias, at),
            None => simd.splat(0.0),
        };
        simd.mul_add(normed, load_at(simd, self.weight, at), bias)
    }

    /// Normalises one row where it is.
    #[inline(always)]
    pub(crate) fn in_place<S: Simd>(&self, simd: S, x: &mut [f32]) {
        let (mean, inverse) = self.moments(simd, x);
        let moments = [simd.splat(mean), simd.splat(inverse)];
        let mut at = 0;
        while at < x.len() {
            let v = self.value(simd, load_at(simd, x, at), moments, at);
            store_at(simd, x, at, v);
            at += S::LANES;
        }
    }

    /// Normalises one row into operand words.
    #[inline(always)]
    fn row<S: Simd>(&self, simd: S, x: &[f32], operand: Operand, y: &mut [f32]) {
        let (mean, inverse) = self.moments(simd, x);
        let moments = [simd.splat(mean), simd.splat(inverse)];
        let mut at = 0;
        while at < x.len() {
            let v = self.value(simd, load_at(simd, x, at), moments, at);
            match operand {
                Operand::Values => store_at(simd, y, at, v),
                Operand::Bf16 => store_words_at(simd, y, at, x.len(), v),
            }
            at += S::LANES;
        }
    }

    /// Normalises rows of `weight.len()` elements into operand words.
    #[inline(always)]
    pub(crate) fn rows<S: Simd>(&self, simd: S, x: &[f32], operand: Operand, y: &mut [f32]) {
        let channels = self.weight.len();
        let words = words::<S>(operand, channels);
        for r in 0..x.len() / channels.max(1) {
            let x = &x[r * channels..(r + 1) * channels];
            self.row(simd, x, operand, &mut y[r * words..(r + 1) * words]);
        }
    }
}

struct Rows<'a> {
    norm: Norm<'a>,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Job for Rows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.norm.rows(simd, self.x, Operand::Values, self.y);
    }
}

/// Elements of a task.
pub(crate) const GRAIN: usize = 1 << 15;

/// Normalises each row of `x: [rows, C]` into `y: [rows, C]`, C being the length of `norm.weight`.
///
/// # Panics
/// When lengths do not match, or this CPU does not support `isa`.
pub fn normalise(isa: Isa, norm: Norm<'_>, x: &[f32], y: &mut [f32]) {
    let channels = norm.weight.len();
    norm.check("normalise", channels);
    assert_eq!(x.len(), y.len(), "normalise: x has {} elements, y {}", x.len(), y.len());
    if x.is_empty() {
        return;
    }
    assert!(
        channels > 0 && x.len().is_multiple_of(channels),
        "normalise: {} elements are not rows of {channels}",
        x.len()
    );
    let y = Shared::new(y);
    for_each_chunk(x.len() / channels, GRAIN / channels, |rows| {
        let range = rows.start * channels..rows.end * channels;
        // SAFETY: the rows of different tasks do not overlap.
        let y = unsafe { y.range(range.clone()) };
        dispatch(isa, Rows { norm, x: &x[range], y });
    });
}

/// Normalises the heads of the first parts of `x: [T, P * H * D]`, each part by its norm over the D channels of a head,
/// and leaves the parts that have none.
///
/// # Panics
/// When lengths do not match, or this CPU does not support `isa`.
pub fn normalise_heads(isa: Isa, heads: Heads, norms: &[Option<Norm<'_>>], x: &mut [f32], rows: usize) {
    for norm in norms.iter().flatten() {
        norm.check("normalise_heads", heads.dim);
    }
    let columns = x.len().checked_div(rows).unwrap_or(0);
    let width = heads.width();
    assert!(
        x.len() == rows * columns
            && (rows == 0 || (columns >= norms.len() * width && columns.is_multiple_of(width.max(1)))),
        "normalise_heads: x has {} elements, not {rows} rows of at least {} x {} heads x {}",
        x.len(),
        norms.len(),
        heads.count,
        heads.dim
    );
    let x = Shared::new(x);
    for_each_chunk(rows, GRAIN / columns.max(1), |chunk| {
        // SAFETY: the rows of different tasks do not overlap.
        let x = unsafe { x.range(chunk.start * columns..chunk.end * columns) };
        dispatch(isa, HeadRows { heads, norms, columns, x });
    });
}

struct HeadRows<'a> {
    heads: Heads,
    norms: &'a [Option<Norm<'a>>],
    columns: usize,
    x: &'a mut [f32],
}

impl Job for HeadRows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Heads { count, dim, .. } = self.heads;
        for row in self.x.chunks_exact_mut(self.columns) {
            for part in 0..self.norms.len() {
                let Some(norm) = self.norms[part] else { continue };
                for head in 0..count {
                    let at = (part * count + head) * dim;
                    norm.in_place(simd, &mut row[at..at + dim]);
                }
            }
        }
    }
}
