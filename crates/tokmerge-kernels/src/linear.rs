//! Linear layers on packed weights, with what follows them fused into the store.
//!
//! `x: [rows, K]` and `y: [rows, N]`, row-major and contiguous. All instruction sets equal the Portable
//! path (the `gemm` crate, then the epilogue) up to rounding. A row of `y` depends on its row of `x`
//! only: it is the same bit for bit whatever the number of rows and threads.

use crate::activation::{Activation, apply};
use crate::norm::Norm;
use crate::pack::{GEMM_ROWS, Layout, PackedLinear};
use crate::parallel::{Grid, Shared};
use crate::product::{Matrix, Threads, multiply};
use crate::scratch::Scratch;
use crate::simd::{Job, Simd, dispatch, dispatch_bf16_pairs, load_at, store_at};
use crate::tile::{Operands, Strip, for_each_strip, product};
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

/// Strips of a block: its activations stay in the second-level cache while all panels pass.
const BLOCK_STRIPS: usize = 6;
/// Strips of a task.
const MAX_STRIPS: usize = 12;

/// `y = epilogue(x Wᵀ + b)` for `x: [rows, K]`, `y: [rows, N]`; `bias: [N]`.
///
/// # Panics
/// When lengths do not match.
pub fn linear(w: &PackedLinear, bias: Option<&[f32]>, x: &[f32], epilogue: Epilogue<'_>, y: &mut [f32]) {
    run(Layer { w, bias, epilogue }, None, x, y, "linear");
}

/// `y = epilogue(LN(x) Wᵀ + b)`: [`linear`] behind [`layer_norm`](crate::layer_norm), whose result
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
    run(Layer { w, bias, epilogue }, Some(norm), x, y, "norm_linear");
}

fn run(layer: Layer<'_>, norm: Option<Norm<'_>>, x: &[f32], y: &mut [f32], function: &str) {
    let (w, k, n) = (layer.w, layer.w.in_features(), layer.w.out_features());
    layer.check(function);
    if let Some(norm) = norm {
        norm.check(function, k);
    }
    let rows = x.len().checked_div(k).unwrap_or_else(|| y.len() / n.max(1));
    assert!(
        x.len() == rows * k && y.len() == rows * n,
        "{function}: x has {} and y {} elements, expected rows of {k} and as many rows of {n}",
        x.len(),
        y.len()
    );
    let y = Shared::new(y);
    Grid::new(rows, w.strip(), w.panels(), MAX_STRIPS).for_each(|rows, panels| {
        let x = &x[rows.start * k..rows.end * k];
        layer.dispatch(Chunk { layer, norm, x, rows, panels, y });
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
}

impl Job for Chunk<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Chunk { layer, norm, x, rows, panels, y } = self;
        let (k, n) = (layer.w.in_features(), layer.w.out_features());
        let block = BLOCK_STRIPS * layer.w.strip();
        let mut at = 0;
        while at < rows.len() {
            let count = block.min(rows.len() - at);
            let x = &x[at * k..(at + count) * k];
            // SAFETY: `run` checked that `y` has all rows of N columns; this chunk alone writes its rows and
            // panels.
            unsafe {
                let y = y.start().add((rows.start + at) * n);
                layer.normed_rows(simd, norm, x, count, panels.clone(), y);
            }
            at += count;
        }
    }
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
        if self.w.is_paired() { dispatch_bf16_pairs(job) } else { dispatch(self.w.isa(), job) }
    }

    /// Normalises the rows if there is a norm, then as [`Layer::rows`].
    ///
    /// # Safety
    /// As [`Layer::rows`].
    #[inline(always)]
    pub(crate) unsafe fn normed_rows<S: Simd>(
        &self,
        simd: S,
        norm: Option<Norm<'_>>,
        x: &[f32],
        rows: usize,
        panels: Range<usize>,
        y: *mut f32,
    ) {
        match norm {
            None => {
                // SAFETY: the caller's promise.
                unsafe { self.rows(simd, x, rows, panels, y) }
            }
            Some(norm) => {
                let mut normed = Scratch::take(x.len());
                norm.rows(simd, x, &mut normed);
                // SAFETY: the caller's promise.
                unsafe { self.rows(simd, &normed, rows, panels, y) }
            }
        }
    }

    /// Some panels of `y = epilogue(x Wᵀ + b)` for `x: [rows, K]`.
    ///
    /// # Safety
    /// `y` has `rows` rows of N elements, and nobody else accesses the columns of `panels` meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn rows<S: Simd>(
        &self,
        simd: S,
        x: &[f32],
        rows: usize,
        panels: Range<usize>,
        y: *mut f32,
    ) {
        let (k, words) = (self.w.in_features(), self.w.words_per_row());
        assert_eq!(x.len(), rows * k);
        if !self.w.converts() {
            // SAFETY: the caller's promise; `x` has `rows` rows of `k` words.
            return unsafe { self.operand_rows(simd, x, rows, panels, y) };
        }
        let mut operand = Scratch::take(rows * words);
        let mut r = 0;
        while r < rows {
            simd.convert(&x[r * k..(r + 1) * k], &mut operand[r * words..(r + 1) * words]);
            r += 1;
        }
        // SAFETY: the caller's promise; `operand` has `rows` rows of `words` words.
        unsafe { self.operand_rows(simd, &operand, rows, panels, y) }
    }

    #[inline(always)]
    unsafe fn operand_rows<S: Simd>(
        &self,
        simd: S,
        a: &[f32],
        rows: usize,
        panels: Range<usize>,
        y: *mut f32,
    ) {
        assert!(panels.end <= self.w.panels() && a.len() == rows * self.w.words_per_row());
        let mut panel = panels.start;
        while panel < panels.end {
            // SAFETY: the caller's promise; the panel exists, and `a` has the rows (checked above).
            unsafe {
                match self.w.layout() {
                    Layout::Panels => self.panel(simd, a, rows, panel, y),
                    Layout::Rows => self.gemm_columns(simd, a, rows, panel, y),
                }
            }
            panel += 1;
        }
    }

    /// One panel by the register-blocked kernel.
    #[inline(always)]
    unsafe fn panel<S: Simd>(&self, simd: S, a: &[f32], rows: usize, panel: usize, y: *mut f32) {
        let columns = self.w.columns(panel);
        let residual = match self.epilogue {
            Epilogue::Residual { scale } => Some(columns_of(simd, scale, &columns, 1.0)),
            Epilogue::Store | Epilogue::Activate(_) => None,
        };
        let words = self.w.words_per_row();
        let weights = self.w.panel(panel);
        assert_eq!(weights.len(), words * S::PANEL);
        // SAFETY: the panel's first column is within the rows of `y`.
        let y = unsafe { y.add(columns.start) };
        let mut strip = PanelStrip {
            operands: Operands { a: a.as_ptr(), a_stride: words, panel: weights.as_ptr(), k: words },
            bias: columns_of(simd, self.bias, &columns, 0.0),
            residual,
            columns: columns.len(),
            y,
            y_stride: self.w.out_features(),
        };
        // SAFETY: `a` has `rows` rows of `words` words, `weights` as many steps; `y` is the caller's promise.
        unsafe {
            for_each_strip(simd, rows, &mut strip);
            if let Epilogue::Activate(activation) = self.epilogue {
                apply(simd, activation, y, self.w.out_features(), rows, columns.len());
            }
        }
    }

    /// One block of columns by the `gemm` crate, in calls of a fixed shape.
    #[inline(always)]
    unsafe fn gemm_columns<S: Simd>(&self, simd: S, a: &[f32], rows: usize, panel: usize, y: *mut f32) {
        let (k, columns) = (self.w.in_features(), self.w.columns(panel));
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
                    let start = y.add((first + r) * self.w.out_features() + columns.start);
                    std::slice::from_raw_parts_mut(start, width)
                };
                self.finish_row(simd, &sums[r * width..(r + 1) * width], &columns, y);
            }
            first += count;
        }
    }

    #[inline(always)]
    fn finish_row<S: Simd>(&self, simd: S, sums: &[f32], columns: &Range<usize>, y: &mut [f32]) {
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
        if let Epilogue::Activate(activation) = self.epilogue {
            // SAFETY: one row of `y.len()` elements, borrowed exclusively.
            unsafe { apply(simd, activation, y.as_mut_ptr(), 0, 1, y.len()) }
        }
    }
}

/// The two vectors of a parameter at `columns`, `default` if it is absent; lanes behind the end are zero.
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

/// Strips of one panel of a linear layer.
struct PanelStrip<V> {
    operands: Operands,
    bias: [V; 2],
    /// Factors of the residual form.
    residual: Option<[V; 2]>,
    columns: usize,
    y: *mut f32,
    y_stride: usize,
}

/// Elements of the largest tile.
const LARGEST_TILE: usize = 14 * 32;

impl<S: Simd> Strip<S> for PanelStrip<S::V> {
    #[inline(always)]
    unsafe fn run<const ROWS: usize>(&mut self, simd: S, first: usize) {
        let Operands { a, a_stride, .. } = self.operands;
        // SAFETY: the caller promises that `a` and `y` have these rows.
        unsafe {
            let operands = Operands { a: a.add(first * a_stride), ..self.operands };
            let sums = product::<S, ROWS>(simd, operands, [simd.splat(0.0); 2]);
            let y = self.y.add(first * self.y_stride);
            if self.columns == S::PANEL {
                self.store(simd, sums, y, self.y_stride);
                return;
            }
            // The last panel goes through a full tile, so that one form of the store suffices.
            let mut tile = [0.0_f32; LARGEST_TILE];
            for r in 0..ROWS {
                std::ptr::copy_nonoverlapping(
                    y.add(r * self.y_stride),
                    tile.as_mut_ptr().add(r * S::PANEL),
                    self.columns,
                );
            }
            self.store(simd, sums, tile.as_mut_ptr(), S::PANEL);
            for r in 0..ROWS {
                std::ptr::copy_nonoverlapping(
                    tile.as_ptr().add(r * S::PANEL),
                    y.add(r * self.y_stride),
                    self.columns,
                );
            }
        }
    }
}

impl<V: Copy> PanelStrip<V> {
    /// # Safety
    /// `y` is readable and writable for `ROWS` rows of PANEL elements.
    #[inline(always)]
    unsafe fn store<S: Simd<V = V>, const ROWS: usize>(
        &self,
        simd: S,
        sums: [[V; 2]; ROWS],
        y: *mut f32,
        y_stride: usize,
    ) {
        // SAFETY: the caller promises these elements.
        unsafe {
            match self.residual {
                None => {
                    for r in 0..ROWS {
                        for half in 0..2 {
                            let to = y.add(r * y_stride + half * S::LANES);
                            simd.store(to, simd.add(sums[r][half], self.bias[half]));
                        }
                    }
                }
                Some(scale) => {
                    for r in 0..ROWS {
                        for half in 0..2 {
                            let to = y.add(r * y_stride + half * S::LANES);
                            let v = simd.add(sums[r][half], self.bias[half]);
                            simd.store(to, simd.mul_add(v, scale[half], simd.load(to)));
                        }
                    }
                }
            }
        }
    }
}
