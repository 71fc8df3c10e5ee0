//! Linear layers on packed weights, with what follows them fused into the store.
//!
//! `x: [rows, K]` and `y: [rows, N]`, row-major and contiguous. All instruction sets equal the Portable
//! path (the `gemm` crate where that has vectors, then the epilogue) up to rounding. A row of `y` depends on its row of `x`
//! only: it is the same bit for bit whatever the number of rows and threads.

pub(crate) mod activation;
pub(crate) mod backward;
mod by_gemm;
pub(crate) mod gemm;
pub(crate) mod mlp;
pub(crate) mod norm;
pub(crate) mod pack;
pub(crate) mod precision;
pub(crate) mod quantise;
mod strip;
pub(crate) mod tile;

use crate::lengths::is_product;
use crate::simd::{
    Job, Operand, QUAD, Simd, convert, dispatch, dispatch_bf16_pairs, dispatch_quads, load_at,
};
use crate::threads::scratch::Scratch;
use crate::threads::{Grid, Shared};
use activation::Activation;
use norm::Norm;
use pack::{Layout, PackedLinear};
use precision::Precision;
use quantise::quantise;
use std::mem::MaybeUninit;
use std::ops::Range;
use strip::{PanelStrip, Tile};
use tile::{Operands, for_each_strip};

/// What happens to `x Wᵀ + b` on its way to `y`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Epilogue<'a> {
    /// `y = x Wᵀ + b`.
    Store,
    /// `y = activation(x Wᵀ + b)`.
    Activate(Activation),
    /// `y = y + scale ⊙ (x Wᵀ + b)`, in place.
    Residual {
        /// One factor per column (`LayerScale`), `[N]`; none is 1.
        scale: Option<&'a [f32]>,
    },
}

/// Rows of a task: its activations stay in L2 while all panels pass.
pub(crate) const TASK_ROWS: usize = 112;

/// `y = epilogue(x Wᵀ + b)` for `x: [rows, K]`, `y: [rows, N]`; `bias: [N]`.
///
/// # Panics
/// When lengths do not match.
pub fn linear(w: &PackedLinear, bias: Option<&[f32]>, x: &[f32], epilogue: Epilogue<'_>, y: &mut [f32]) {
    run(Layer { w, bias, epilogue }, None, x, y, Beside::Nothing, "linear");
}

/// `pre = x Wᵀ + b` and `y = activation(pre)`, bit for bit as [`linear`] gives it: for gradients, which need both.
///
/// # Panics
/// When lengths do not match.
pub fn linear_keeping(
    w: &PackedLinear,
    bias: Option<&[f32]>,
    x: &[f32],
    activation: Activation,
    pre: &mut [f32],
    y: &mut [f32],
) {
    assert_eq!(pre.len(), y.len(), "linear_keeping: pre has {} elements and y {}", pre.len(), y.len());
    let layer = Layer { w, bias, epilogue: Epilogue::Activate(activation) };
    run(layer, None, x, y, Beside::Before(Shared::new(pre)), "linear_keeping");
}

/// `y = residual + scale ⊙ (x Wᵀ + b)`, bit for bit as [`linear`] adds it in place.
///
/// # Panics
/// When lengths do not match.
pub fn linear_residual(
    w: &PackedLinear,
    bias: Option<&[f32]>,
    x: &[f32],
    scale: Option<&[f32]>,
    residual: &[f32],
    y: &mut [f32],
) {
    let (here, there) = (residual.len(), y.len());
    assert_eq!(here, there, "linear_residual: residual has {here} elements and y {there}");
    let layer = Layer { w, bias, epilogue: Epilogue::Residual { scale } };
    run(layer, None, x, y, Beside::Residual(residual), "linear_residual");
}

/// `y = epilogue(LN(x) Wᵀ + b)`: [`linear`] after [`normalise`](crate::normalise), whose result
/// exists only a block of rows at a time.
///
/// # Panics
/// When lengths do not match.
pub fn norm_linear(
    norm: Norm<'_>,
    w: &PackedLinear,
    bias: Option<&[f32]>,
    x: &[f32],
    epilogue: Epilogue<'_>,
    y: &mut [f32],
) {
    run(Layer { w, bias, epilogue }, Some(norm), x, y, Beside::Nothing, "norm_linear");
}

fn run(
    layer: Layer<'_>,
    norm: Option<Norm<'_>>,
    x: &[f32],
    y: &mut [f32],
    beside: Beside<'_>,
    function: &str,
) {
    let (w, k, n) = (layer.w, layer.w.in_features(), layer.w.out_features());
    layer.check(function);
    if let Some(norm) = norm {
        norm.check(function, k);
    }
    let rows = x.len().checked_div(k).unwrap_or_else(|| y.len() / n.max(1));
    assert!(
        is_product(x.len(), [rows, k]) && is_product(y.len(), [rows, n]),
        "{function}: x has {} and y {} elements, expected rows of {k} and as many rows of {n}",
        x.len(),
        y.len()
    );
    let y = Shared::new(y);
    Grid::new(rows, w.strip(), w.panels(), TASK_ROWS).for_each(|rows, panels| {
        let x = &x[rows.start * k..rows.end * k];
        layer.dispatch(Chunk { layer, norm, x, rows, panels, y, beside });
    });
}

/// A linear layer with its epilogue.
#[derive(Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub(crate) w: &'a PackedLinear,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) epilogue: Epilogue<'a>,
}

/// Some rows and panels of a layer.
struct Chunk<'a> {
    layer: Layer<'a>,
    norm: Option<Norm<'a>>,
    /// The chunk's rows.
    x: &'a [f32],
    rows: Range<usize>,
    panels: Range<usize>,
    /// All rows and columns.
    y: Shared<'a, f32>,
    beside: Beside<'a>,
}

/// Another array of the shape of `y`.
#[derive(Clone, Copy)]
enum Beside<'a> {
    Nothing,
    /// Where the values before the activation go.
    Before(Shared<'a, f32>),
    /// What `y` is to be before anything is added to it.
    Residual(&'a [f32]),
}

impl Job for Chunk<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Chunk { layer, norm, x, rows, panels, y, beside } = self;
        let n = layer.w.out_features();
        // SAFETY: `run` checked that `y` has all rows of N columns, and what is beside it as many; this chunk alone
        // writes its rows and panels.
        unsafe {
            let first = rows.start * n;
            if let (Beside::Residual(residual), false) = (beside, panels.is_empty()) {
                let columns = layer.w.columns(panels.start).start..layer.w.columns(panels.end - 1).end;
                for row in rows.clone() {
                    let range = row * n + columns.start..row * n + columns.end;
                    y.range(range.clone()).copy_from_slice(&residual[range]);
                }
            }
            let y = y.start().add(first);
            let to = match beside {
                Beside::Before(pre) => To::Both { y, pre: pre.start().add(first) },
                Beside::Nothing | Beside::Residual(_) => To::Values(y),
            };
            let y = Output { to, first: 0, width: n };
            layer.rows(simd, norm, x, rows.len(), panels, y);
        }
    }
}

/// Where the rows of a layer go, or some of their columns.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    /// Begins with column `first` of the first row.
    pub(crate) to: To,
    pub(crate) first: usize,
    /// Columns that there is room for in a row.
    pub(crate) width: usize,
}

/// In which form columns go where.
#[derive(Clone, Copy)]
pub(crate) enum To {
    /// As values.
    Values(*mut f32),
    /// As values, and as those before the activation.
    Both { y: *mut f32, pre: *mut f32 },
    /// As operand words at bf16 precision. Not for the residual epilogue.
    Bf16(*mut f32),
}

impl Layer<'_> {
    pub(crate) fn check(&self, function: &str) {
        let n = self.w.out_features();
        if let Some(bias) = self.bias {
            assert_eq!(bias.len(), n, "{function}: bias has {} elements for {n} columns", bias.len());
        }
        if let Epilogue::Residual { scale: Some(scale) } = self.epilogue {
            assert_eq!(scale.len(), n, "{function}: scale has {} elements for {n} columns", scale.len());
        }
    }

    /// Runs a job with the vectors that the packed weights need.
    pub(crate) fn dispatch(&self, job: impl Job) {
        match self.w.precision() {
            Precision::Int8 => dispatch_quads(self.w.isa(), job),
            Precision::Bf16 if self.w.is_paired() => dispatch_bf16_pairs(job),
            _ => dispatch(self.w.isa(), job),
        }
    }

    /// Some panels of `y = epilogue(x Wᵀ + b)`, or of `epilogue(LN(x) Wᵀ + b)`, for `x: [rows, K]`.
    ///
    /// # Safety
    /// `y` has `rows` rows with room for the columns of `panels` or their words, which nobody else accesses meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn rows<S: Simd>(
        &self,
        simd: S,
        norm: Option<Norm<'_>>,
        x: &[f32],
        rows: usize,
        panels: Range<usize>,
        y: Output,
    ) {
        let (k, words) = (self.w.in_features(), self.w.words_per_row());
        assert_eq!(x.len(), rows * k);
        if norm.is_none() && self.w.precision() == Precision::F32 {
            // SAFETY: the caller's promise.
            return unsafe { self.operand_rows(simd, x, rows, panels, y) };
        }
        let mut operand = Scratch::take(rows * words);
        self.prepare(simd, norm, x, &mut operand);
        // SAFETY: the caller's promise.
        unsafe { self.operand_rows(simd, &operand, rows, panels, y) }
    }

    /// Rows of `x`, or of `LN(x)`, as operand words.
    #[inline(always)]
    pub(crate) fn prepare<S: Simd>(&self, simd: S, norm: Option<Norm<'_>>, x: &[f32], operand: &mut [f32]) {
        let (k, words) = (self.w.in_features(), self.w.words_per_row());
        match (self.w.precision(), norm) {
            (Precision::F32, None) => operand.copy_from_slice(x),
            (Precision::F32, Some(norm)) => norm.rows(simd, x, Operand::Values, operand),
            (Precision::Bf16, Some(norm)) => norm.rows(simd, x, Operand::Bf16, operand),
            (Precision::Bf16, None) => {
                for r in 0..operand.len() / words.max(1) {
                    convert(simd, &x[r * k..(r + 1) * k], &mut operand[r * words..(r + 1) * words]);
                }
            }
            (Precision::Int8, norm) => quantise_rows(simd, norm, x, [k, words], operand),
        }
    }

    /// As [`Layer::rows`], for rows of operand words.
    ///
    /// # Safety
    /// As [`Layer::rows`].
    #[inline(always)]
    pub(crate) unsafe fn operand_rows<S: Simd>(
        &self,
        simd: S,
        a: &[f32],
        rows: usize,
        panels: Range<usize>,
        y: Output,
    ) {
        assert!(panels.end <= self.w.panels() && a.len() == rows * self.w.words_per_row());
        for panel in panels {
            // SAFETY: the caller's promise; the panel exists, and `a` has the rows (checked above).
            unsafe {
                match self.w.layout() {
                    Layout::Panels => self.panel(simd, a, rows, panel, y),
                    Layout::Rows => self.gemm_columns(simd, a, rows, panel, y),
                }
            }
        }
    }

    /// One panel by the register-blocked kernel.
    #[inline(always)]
    unsafe fn panel<S: Simd>(&self, simd: S, a: &[f32], rows: usize, panel: usize, y: Output) {
        let columns = self.w.columns(panel);
        let (residual, activation) = match self.epilogue {
            Epilogue::Residual { scale } => {
                (Some(columns_of(simd, scale, &columns, 1.0)), Activation::Identity)
            }
            Epilogue::Activate(activation) => (None, activation),
            Epilogue::Store => (None, Activation::Identity),
        };
        let (words, steps) = (self.w.words_per_row(), self.w.steps());
        let weights = self.w.panel(panel);
        assert_eq!(weights.len(), steps * S::PANEL);
        let Output { to, first, width } = y;
        let at = columns.start - first;
        let (y, y_stride, operand, pre) = match to {
            To::Values(y) => (y, width, Operand::Values, None),
            To::Both { y, pre } => (y, width, Operand::Values, Some(pre.wrapping_add(at))),
            To::Bf16(y) => (y, crate::simd::words::<S>(Operand::Bf16, width), Operand::Bf16, None),
        };
        let mut quantised = [[simd.splat(0.0); 2]; 2];
        if let Some([scale, sum]) = self.w.scales() {
            quantised =
                [columns_of(simd, Some(scale), &columns, 0.0), columns_of(simd, Some(sum), &columns, 0.0)];
        }
        assert_eq!(self.w.precision() == Precision::Int8, S::PER_WORD == QUAD);
        let tiled = columns.len() < S::PANEL
            || activation != Activation::Identity
            || operand == Operand::Bf16
            || pre.is_some();
        let mut tile = MaybeUninit::<Tile>::uninit();
        let mut strip = PanelStrip {
            operands: Operands { a: a.as_ptr(), a_stride: words, panel: weights.as_ptr(), k: steps },
            quantised,
            bias: columns_of(simd, self.bias, &columns, 0.0),
            residual,
            activation,
            precision: self.w.precision(),
            tile: tiled.then_some(tile.as_mut_ptr().cast()),
            columns: columns.len(),
            // SAFETY: the panel's first column is within the rows of `y`.
            y: unsafe { y.add(crate::simd::words::<S>(operand, at)) },
            y_stride,
            operand,
            pre,
        };
        // SAFETY: `a` has `rows` rows of `words` words, `weights` as many steps; `y` is the caller's promise.
        unsafe { for_each_strip(simd, rows, &mut strip) }
    }
}

/// Quantises rows of `k` values, normalised if there is a norm, into rows of `words`.
#[inline(always)]
pub(crate) fn quantise_rows<S: Simd>(
    simd: S,
    norm: Option<Norm<'_>>,
    x: &[f32],
    [k, words]: [usize; 2],
    operand: &mut [f32],
) {
    let mut normed = Scratch::take(if norm.is_some() { k } else { 0 });
    for r in 0..operand.len() / words {
        let mut row = &x[r * k..(r + 1) * k];
        if let Some(norm) = norm {
            norm.rows(simd, row, Operand::Values, &mut normed);
            row = &normed;
        }
        quantise(simd, row, &mut operand[r * words..(r + 1) * words]);
    }
}

/// The two vectors of a parameter at `columns`, `default` if it is absent; lanes beyond the end are zero.
#[inline(always)]
fn columns_of<S: Simd>(
    simd: S,
    parameter: Option<&[f32]>,
    columns: &Range<usize>,
    default: f32,
) -> [S::V; 2] {
    match parameter {
        None => [simd.splat(default); 2],
        Some(values) => {
            let values = &values[columns.clone()];
            [load_at(simd, values, 0), load_at(simd, values, S::LANES.min(values.len()))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    fn values(seed: usize, len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 131) % 1013) as f32 / 506.0 - 1.0).collect()
    }

    /// The layout that this CPU does not choose is tested as well.
    #[test]
    fn plain_rust_gives_the_same_in_both_layouts_and_a_row_whatever_is_around_it() {
        let cases = [(1, 1, 1), (7, 0, 5), (5, 17, 13), (90, 33, 70), (65, 48, 264)];
        for (rows, k, n) in cases.into_iter().take(if cfg!(miri) { 3 } else { 5 }) {
            let (x, weight, bias) = (values(1, rows * k), values(2, n * k), values(3, n));
            let what = |i: usize| format!("{rows}x{k}x{n} [{i}]");
            for precision in [Precision::F32, Precision::Bf16] {
                let [panels, as_given] = [Layout::Panels, Layout::Rows].map(|layout| {
                    PackedLinear::with_layout(Isa::Portable, precision, layout, &weight, [n, k])
                });
                let scale = Some(&bias[..]);
                for epilogue in
                    [Epilogue::Store, Epilogue::Activate(Activation::Gelu), Epilogue::Residual { scale }]
                {
                    let run = |w: &PackedLinear, x: &[f32], rows: usize| {
                        let mut y = values(4, rows * n);
                        linear(w, Some(&bias), x, epilogue, &mut y);
                        y
                    };
                    let (a, b) = (run(&panels, &x, rows), run(&as_given, &x, rows));
                    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
                        assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{} {a} {b}", what(i));
                    }
                    let alone = run(&panels, &x[..k], 1);
                    assert!(alone.iter().zip(&a).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", what(0));
                }
            }
        }
    }
}
