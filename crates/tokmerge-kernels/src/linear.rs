//! Linear layers on packed weights, with what follows them fused into the store.
//!
//! `x: [rows, K]` and `y: [rows, N]`, row-major and contiguous. All instruction sets equal the Portable
//! path (the `gemm` crate where that has vectors, then the epilogue) up to rounding. A row of `y` depends on its row of `x`
//! only: it is the same bit for bit whatever the number of rows and threads.

use crate::activation::{Activation, activate, activate_into};
use crate::lengths::is_product;
use crate::norm::Norm;
use crate::pack::{GEMM_ROWS, Layout, PackedLinear, Precision};
use crate::parallel::{Grid, Shared};
use crate::product::{Matrix, Threads, multiply};
use crate::quantise::{parameters, quantise};
use crate::scratch::Scratch;
use crate::simd::{
    Job, Operand, QUAD, Simd, convert, dispatch, dispatch_bf16_pairs, dispatch_quads, load_at, store_at,
};
use crate::tile::{IN_MEMORY, Operands, Strip, for_each_strip, product};
use std::mem::MaybeUninit;
use std::ops::Range;

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
pub(crate) const MAX_ROWS: usize = 112;

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
    Grid::new(rows, w.strip(), w.panels(), MAX_ROWS).for_each(|rows, panels| {
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

    /// One block of columns by the `gemm` crate, in calls of a fixed shape.
    #[inline(always)]
    unsafe fn gemm_columns<S: Simd>(&self, simd: S, a: &[f32], rows: usize, panel: usize, y: Output) {
        let Output { to, first: first_column, width: stride } = y;
        let (y, pre, words) = match to {
            To::Values(y) => (y, None, false),
            To::Both { y, pre } => (y, Some(pre), false),
            // A word is a value here.
            To::Bf16(y) => (y, None, true),
        };
        let (k, columns) = (self.w.in_features(), self.w.columns(panel));
        let at = columns.start - first_column;
        let width = columns.len();
        let mut sums = Scratch::take(GEMM_ROWS * width);
        let mut padded = Scratch::take(GEMM_ROWS * k);
        let mut first = 0;
        while first < rows {
            let count = GEMM_ROWS.min(rows - first);
            let mut block = &a[first * k..(first + count) * k];
            if count < GEMM_ROWS {
                padded[..count * k].copy_from_slice(block);
                padded[count * k..].fill(0.0);
                block = &padded;
            }
            let weights = self.w.panel(panel);
            assert!(block.len() == GEMM_ROWS * k && weights.len() == width * k);
            // SAFETY: the three matrices have these shapes (asserted, and `sums` was made so), row-major.
            unsafe {
                let (a, b) = (Matrix::rows(block.as_ptr(), k), Matrix::rows(weights.as_ptr(), k).t());
                let c = Matrix::rows(sums.as_mut_ptr(), width);
                multiply([GEMM_ROWS, width, k], 1.0, a, b, c, Threads::This);
            }
            for r in 0..count {
                // SAFETY: `y` has these rows and columns, and they are ours, as the caller promises.
                let y = unsafe {
                    let start = y.add((first + r) * stride + at);
                    std::slice::from_raw_parts_mut(start, width)
                };
                let sums = &sums[r * width..(r + 1) * width];
                // SAFETY: as `y`.
                let pre = pre.map(|pre| unsafe {
                    let start = pre.add((first + r) * stride + at);
                    std::slice::from_raw_parts_mut(start, width)
                });
                self.finish_row(simd, sums, &columns, y, pre);
                if words {
                    round(simd, y);
                }
            }
            first += count;
        }
    }

    #[inline(always)]
    fn finish_row<S: Simd>(
        &self,
        simd: S,
        sums: &[f32],
        columns: &Range<usize>,
        y: &mut [f32],
        pre: Option<&mut [f32]>,
    ) {
        let mut at = 0;
        while at < sums.len() {
            let mut v = load_at(simd, sums, at);
            if let Some(bias) = self.bias {
                v = simd.add(v, load_at(simd, &bias[columns.clone()], at));
            }
            if let Epilogue::Residual { scale } = self.epilogue {
                if let Some(scale) = scale {
                    v = simd.mul(v, load_at(simd, &scale[columns.clone()], at));
                }
                v = simd.add(v, load_at(simd, y, at));
            }
            store_at(simd, y, at, v);
            at += S::LANES;
        }
        if let Some(pre) = pre {
            pre.copy_from_slice(y);
        }
        if let Epilogue::Activate(activation) = self.epilogue {
            activate(simd, activation, self.w.precision(), y);
        }
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

/// Rounds values to bf16.
#[inline(always)]
fn round<S: Simd>(simd: S, values: &mut [f32]) {
    let mut at = 0;
    while at < values.len() {
        let v = load_at(simd, values, at);
        store_at(simd, values, at, simd.round_bf16(v));
        at += S::LANES;
    }
}

/// Elements of the largest tile.
const LARGEST_TILE: usize = 14 * 32;

/// Room for sums on their way to memory.
#[repr(align(64))]
struct Tile(#[expect(dead_code, reason = "reached by pointer")] [MaybeUninit<f32>; LARGEST_TILE]);

/// Strips of one panel of a linear layer.
struct PanelStrip<V> {
    /// Of the first row.
    operands: Operands,
    /// At int8 the scales, and those times the sums of the weights.
    quantised: [[V; 2]; 2],
    bias: [V; 2],
    /// Factors of the residual form.
    residual: Option<[V; 2]>,
    activation: Activation,
    precision: Precision,
    /// A [`Tile`], where sums that are not stored directly wait.
    tile: Option<*mut f32>,
    columns: usize,
    y: *mut f32,
    /// In values or words, whatever `y` holds.
    y_stride: usize,
    operand: Operand,
    /// Where values go before the activation, as those in `y`.
    pre: Option<*mut f32>,
}

/// `x Wᵀ + b` of a row from its sums over `steps` operand words.
///
/// # Safety
/// At int8 `row` is the row's operand words.
#[inline(always)]
unsafe fn values<S: Simd>(
    simd: S,
    (row, steps): (*const f32, usize),
    mut sums: [S::V; 2],
    bias: [S::V; 2],
    [scale, sum]: [[S::V; 2]; 2],
) -> [S::V; 2] {
    if S::PER_WORD == QUAD {
        // SAFETY: the caller's promise.
        let [factor, offset] = unsafe { parameters(row, steps) };
        let (factor, offset) = (simd.splat(factor), simd.splat(offset));
        for half in 0..2 {
            let rest = simd.mul_add(offset, sum[half], bias[half]);
            sums[half] = simd.mul_add(simd.mul(simd.integers(sums[half]), scale[half]), factor, rest);
        }
    } else {
        for half in 0..2 {
            sums[half] = simd.add(sums[half], bias[half]);
        }
    }
    sums
}

impl<S: Simd> Strip<S> for PanelStrip<S::V> {
    #[inline(always)]
    unsafe fn run<const ROWS: usize>(&mut self, simd: S, first: usize) {
        let Operands { a, a_stride, k, .. } = self.operands;
        let (bias, quantised) = (self.bias, self.quantised);
        // SAFETY: the caller promises that `a` and `y` have these rows; a tile has room for ROWS of PANEL.
        unsafe {
            let a = a.add(first * a_stride);
            // Where the values go, so that storing them does not wait for the lines.
            for r in 0..ROWS {
                for half in 0..2 {
                    simd.prefetch(self.y.wrapping_add((first + r) * self.y_stride + half * S::LANES));
                }
            }
            let sums =
                product::<S, ROWS, 2, IN_MEMORY>(simd, Operands { a, ..self.operands }, [simd.splat(0.0); 2]);
            if let (None, Some(scale)) = (self.tile, self.residual) {
                let y = self.y.add(first * self.y_stride);
                for r in 0..ROWS {
                    let values = values(simd, (a.add(r * a_stride), k), sums[r], bias, quantised);
                    for half in 0..2 {
                        let to = y.add(r * self.y_stride + half * S::LANES);
                        simd.store(to, simd.mul_add(values[half], scale[half], simd.load(to)));
                    }
                }
                return;
            }
            let (to, stride) = match self.tile {
                Some(tile) => (tile, S::PANEL),
                None => (self.y.add(first * self.y_stride), self.y_stride),
            };
            for r in 0..ROWS {
                let values = values(simd, (a.add(r * a_stride), k), sums[r], bias, quantised);
                for half in 0..2 {
                    simd.store(to.add(r * stride + half * S::LANES), values[half]);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn finish(&mut self, simd: S, first: usize, rows: usize) {
        let Some(tile) = self.tile else {
            return;
        };
        // SAFETY: `run` wrote as many sums, and nobody else knows of the tile.
        let sums = unsafe { std::slice::from_raw_parts_mut(tile, rows * S::PANEL) };
        if let Some(pre) = self.pre {
            for r in 0..rows {
                let row = &sums[r * S::PANEL..][..self.columns];
                // SAFETY: the caller promises this row of `columns` values.
                let pre = unsafe {
                    std::slice::from_raw_parts_mut(pre.add((first + r) * self.y_stride), self.columns)
                };
                pre.copy_from_slice(row);
            }
        }
        let Some(scale) = self.residual else {
            // SAFETY: the caller promises that `y` has these rows, of `columns` values or their words from here on.
            return unsafe {
                let to = (self.y.add(first * self.y_stride), self.y_stride, self.operand);
                activate_into(simd, (self.activation, self.precision), (sums, self.columns), to);
            };
        };
        for r in 0..rows {
            // SAFETY: as above.
            let y = unsafe {
                std::slice::from_raw_parts_mut(self.y.add((first + r) * self.y_stride), self.columns)
            };
            for half in 0..2 {
                let at = (half * S::LANES).min(self.columns);
                let v = load_at(simd, sums, r * S::PANEL + half * S::LANES);
                store_at(simd, y, at, simd.mul_add(v, scale[half], load_at(simd, y, at)));
            }
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
