//! What the fused attention half does on one thread, head by head.

use super::fused::Metric;
use super::metric::{HeadAggregation, Part};
use super::rotation::Rotation;
use super::{Heads, OneHead, ValueLayout};
use crate::isa::Isa;
use crate::linear::norm::Norm;
use crate::linear::{Layer, Output, TASK_ROWS, To};
use crate::simd::{Job, Simd, dispatch, load_at, store_at};
use crate::threads::part;

/// Normalises rows into operands of a layer.
pub(super) struct Prepare<'a> {
    pub(super) layer: Layer<'a>,
    pub(super) norm: Norm<'a>,
    pub(super) x: &'a [f32],
    pub(super) operand: &'a mut [f32],
}

impl Job for Prepare<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.layer.prepare(simd, Some(self.norm), self.x, self.operand);
    }
}

/// Computes queries, keys and values of one head.
pub(super) struct Head<'a> {
    pub(super) layer: Layer<'a>,
    pub(super) operand: &'a [f32],
    pub(super) rows: usize,
    pub(super) head: usize,
    pub(super) dim: usize,
    /// `[rows, 2 * dim]`.
    pub(super) queries_keys: &'a mut [f32],
    /// `[rows, dim]`, laid out as `layout` says.
    pub(super) values: &'a mut [f32],
    pub(super) layout: ValueLayout,
}

impl Job for Head<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { layer, operand, rows, head, dim, queries_keys, values, layout } = self;
        let panel = layer.w.panel_width();
        let (width, all_heads) = (layout.width(dim), layer.w.out_features() / 3);
        assert!(queries_keys.len() == rows * 2 * dim && values.len() == rows * dim);
        assert!(dim.is_multiple_of(width) && width.is_multiple_of(panel));
        let (words, blocks) = (layer.w.words_per_row(), rows.div_ceil(TASK_ROWS));
        for block in (0..blocks).map(|block| part(rows, blocks, block)) {
            let operand = &operand[block.start * words..block.end * words];
            for run in 0..2 + dim / width {
                // Queries, keys, and each run of columns of the values.
                let (third, at, to, columns, stride) = match run {
                    0 => (0, 0, queries_keys.as_mut_ptr(), dim, 2 * dim),
                    1 => (1, 0, queries_keys[dim..].as_mut_ptr(), dim, 2 * dim),
                    _ => {
                        let at = (run - 2) * width;
                        (2, at, values[at * rows..].as_mut_ptr(), width, width)
                    }
                };
                let first = third * all_heads + head * dim + at;
                let panels = first / panel..(first + columns) / panel;
                // SAFETY: in each of the `rows` rows that begin `stride` apart there is room for the columns of the
                // panels.
                unsafe {
                    let to = To::Values(to.wrapping_add(block.start * stride));
                    let to = Output { to, first, width: stride };
                    layer.operand_rows(simd, operand, block.len(), panels, to);
                }
            }
        }
    }
}

/// Normalises queries and keys of one head.
pub(super) struct NormaliseHead<'a> {
    pub(super) norms: [Option<Norm<'a>>; 2],
    pub(super) dim: usize,
    /// `[rows, 2 * dim]`.
    pub(super) queries_keys: &'a mut [f32],
}

impl Job for NormaliseHead<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { norms, dim, queries_keys } = self;
        for row in queries_keys.chunks_exact_mut(2 * dim) {
            for part in 0..2 {
                if let Some(norm) = norms[part] {
                    norm.in_place(simd, &mut row[part * dim..(part + 1) * dim]);
                }
            }
        }
    }
}

/// Rotates queries and keys of one head.
pub(super) struct TurnHead<'a> {
    /// Of these rows.
    pub(super) rotation: Rotation<'a>,
    pub(super) heads: Heads,
    pub(super) head: usize,
    /// `[rows, 2 * dim]`.
    pub(super) queries_keys: &'a mut [f32],
}

impl Job for TurnHead<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { rotation, heads, head, queries_keys } = self;
        let dim = heads.dim;
        for row in 0..queries_keys.len() / (2 * dim) {
            for part in 0..2 {
                let at = (2 * row + part) * dim;
                rotation.turn(simd, heads, row, head, &mut queries_keys[at..at + dim]);
            }
        }
    }
}

/// What one head adds to the metric.
pub(super) struct Features<'a> {
    /// H.
    pub(super) count: usize,
    pub(super) head: usize,
    pub(super) of: OneHead<'a>,
    pub(super) part: Part,
}

impl Features<'_> {
    pub(super) fn write(self, isa: Isa, metric: &mut Metric<'_>) {
        let dim = self.of.dim;
        match metric.aggregation {
            HeadAggregation::Mean => dispatch(isa, Sum { features: self, out: &mut *metric.out }),
            HeadAggregation::Concat => {
                let run = self.run();
                for (row, out) in metric.out.chunks_exact_mut(self.count * dim).enumerate() {
                    let out = &mut out[self.head * dim..(self.head + 1) * dim];
                    for (i, out) in out.chunks_exact_mut(run).enumerate() {
                        out.copy_from_slice(self.columns(row, i * run));
                    }
                }
            }
        }
    }

    /// How many columns lie together.
    #[inline(always)]
    fn run(&self) -> usize {
        match self.part {
            Part::Query | Part::Key => self.of.dim,
            Part::Value => self.of.layout.width(self.of.dim),
        }
    }

    /// A run of columns of a row.
    #[inline(always)]
    fn columns(&self, row: usize, first: usize) -> &[f32] {
        let OneHead { dim, queries_keys, values, .. } = self.of;
        let run = self.run();
        let (from, start) = match self.part {
            Part::Query => (queries_keys, row * 2 * dim),
            Part::Key => (queries_keys, (row * 2 + 1) * dim),
            Part::Value => (values, first * (values.len() / dim) + row * run),
        };
        &from[start..start + run]
    }
}

/// The sum over the heads so far, at the last one the mean.
pub(super) struct Sum<'a> {
    pub(super) features: Features<'a>,
    pub(super) out: &'a mut [f32],
}

impl Job for Sum<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { features, out } = self;
        let (dim, run, last) = (features.of.dim, features.run(), features.head + 1 == features.count);
        let factor = simd.splat(1.0 / features.count as f32);
        for row in 0..out.len() / dim {
            for first in (0..dim).step_by(run) {
                let from = features.columns(row, first);
                let to = &mut out[row * dim + first..][..run];
                let mut at = 0;
                while at < run {
                    let before = if features.head == 0 { simd.splat(0.0) } else { load_at(simd, to, at) };
                    let sum = simd.add(before, load_at(simd, from, at));
                    store_at(simd, to, at, if last { simd.mul(sum, factor) } else { sum });
                    at += S::LANES;
                }
            }
        }
    }
}

/// The layer after attention, added to `x`.
pub(super) struct Project<'a> {
    pub(super) layer: Layer<'a>,
    pub(super) norm: Option<Norm<'a>>,
    pub(super) y: &'a [f32],
    pub(super) x: &'a mut [f32],
}

impl Job for Project<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { layer, norm, y, x } = self;
        let (w, width) = (layer.w, layer.w.out_features());
        let rows = x.len() / width;
        // SAFETY: `x` has `rows` rows of the layer's outputs, and is ours.
        unsafe {
            let to = Output { to: To::Values(x.as_mut_ptr()), first: 0, width };
            layer.rows(simd, norm, y, rows, 0..w.panels(), to);
        }
    }
}
