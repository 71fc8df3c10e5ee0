//! Panels of a linear layer by the `gemm` crate: on CPUs without vectors of ours that have some of its own.

use super::activation::activate;
use super::gemm::{Matrix, Threads, multiply};
use super::pack::GEMM_ROWS;
use super::{Epilogue, Layer, Output, To};
use crate::simd::{Simd, load_at, store_at};
use crate::threads::scratch::Scratch;
use std::ops::Range;

impl Layer<'_> {
    /// One block of columns by the `gemm` crate, in calls of a fixed shape.
    #[inline(always)]
    pub(super) unsafe fn gemm_columns<S: Simd>(
        &self,
        simd: S,
        a: &[f32],
        rows: usize,
        panel: usize,
        y: Output,
    ) {
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
