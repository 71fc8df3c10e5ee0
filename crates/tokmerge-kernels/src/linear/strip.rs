//! Strips of one panel of a linear layer, from sums to where they are stored.

use super::activation::{Activation, activate_into};
use super::precision::Precision;
use super::quantise::parameters;
use super::tile::{self, IN_MEMORY, Operands, Strip, product};
use crate::simd::{Operand, QUAD, Simd, load_at, store_at};
use std::mem::MaybeUninit;

/// Room for sums on their way to memory.
#[repr(align(64))]
pub(super) struct Tile(
    #[expect(dead_code, reason = "reached by pointer")] [MaybeUninit<f32>; tile::MAX_ROWS * tile::MAX_PANEL],
);

/// Strips of one panel of a linear layer.
pub(super) struct PanelStrip<V> {
    /// Of the first row.
    pub(super) operands: Operands,
    /// At int8 the scales, and those times the sums of the weights.
    pub(super) quantised: [[V; 2]; 2],
    pub(super) bias: [V; 2],
    /// Factors of the residual form.
    pub(super) residual: Option<[V; 2]>,
    pub(super) activation: Activation,
    pub(super) precision: Precision,
    /// A [`Tile`], where sums that are not stored directly wait.
    pub(super) tile: Option<*mut f32>,
    pub(super) columns: usize,
    pub(super) y: *mut f32,
    /// In values or words, whatever `y` holds.
    pub(super) y_stride: usize,
    pub(super) operand: Operand,
    /// Where values go before the activation, as those in `y`.
    pub(super) pre: Option<*mut f32>,
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
