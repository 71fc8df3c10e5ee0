//! What tokens are compared by: queries, keys or values of an attention, averaged over the heads.

use super::Heads;
use crate::isa::Isa;
use crate::simd::{Job, Simd, dispatch, load_at, store_at};
use crate::threads::{Shared, for_each_chunk};
use std::ops::Range;

/// A part of `q | k | v`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// q.
    Query,
    /// k, which ToMe compares.
    Key,
    /// v.
    Value,
}

impl Part {
    /// Which of the three it is, from 0.
    #[must_use]
    pub fn place(self) -> usize {
        match self {
            Self::Query => 0,
            Self::Key => 1,
            Self::Value => 2,
        }
    }
}

/// How the heads of a metric are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeadAggregation {
    /// Averaged: `[T, dim]`.
    Mean,
    /// Side by side: `[T, count * dim]`.
    Concat,
}

/// The mean over the heads of one part of `qkv: [T, 3 * count * dim]`; `out: [T, dim]`.
///
/// # Panics
/// When lengths do not match, or this CPU does not support `isa`.
pub fn head_mean(isa: Isa, heads: Heads, qkv: &[f32], part: Part, out: &mut [f32]) {
    head_metric(isa, heads, qkv, part, HeadAggregation::Mean, out);
}

/// One part of `qkv: [T, 3 * count * dim]`, its heads averaged or side by side.
///
/// `out: [T, dim]` for the mean, `[T, count * dim]` for the concatenation.
///
/// # Panics
/// When lengths do not match, or this CPU does not support `isa`.
pub fn head_metric(
    isa: Isa,
    heads: Heads,
    qkv: &[f32],
    part: Part,
    aggregation: HeadAggregation,
    out: &mut [f32],
) {
    let rows = heads.rows("head_metric", qkv);
    let width = match aggregation {
        HeadAggregation::Mean => heads.dim,
        HeadAggregation::Concat => heads.width(),
    };
    assert_eq!(
        out.len(),
        rows * width,
        "head_metric: out has {} elements, expected {rows} x {width}",
        out.len()
    );
    let first = heads.width() * part.place();
    let out = Shared::new(out);
    for_each_chunk(rows, (1 << 15) / (3 * heads.width()), |rows| {
        // SAFETY: the rows of different tasks do not overlap.
        let out = unsafe { out.range(rows.start * width..rows.end * width) };
        match aggregation {
            HeadAggregation::Mean => dispatch(isa, Mean { heads, qkv, first, rows, out }),
            HeadAggregation::Concat => {
                for (i, row) in rows.enumerate() {
                    let from = row * 3 * width + first;
                    out[i * width..(i + 1) * width].copy_from_slice(&qkv[from..from + width]);
                }
            }
        }
    });
}

struct Mean<'a> {
    heads: Heads,
    qkv: &'a [f32],
    /// Column of the part's first head.
    first: usize,
    rows: Range<usize>,
    out: &'a mut [f32],
}

impl Job for Mean<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Heads { count, dim, .. } = self.heads;
        let factor = simd.splat(1.0 / count as f32);
        for (i, row) in self.rows.enumerate() {
            let from = row * 3 * count * dim + self.first;
            let part = &self.qkv[from..from + count * dim];
            let out = &mut self.out[i * dim..(i + 1) * dim];
            let mut at = 0;
            while at < dim {
                let mut sum = simd.splat(0.0);
                for head in 0..count {
                    sum = simd.add(sum, load_at(simd, &part[head * dim..(head + 1) * dim], at));
                }
                store_at(simd, out, at, simd.mul(sum, factor));
                at += S::LANES;
            }
        }
    }
}
