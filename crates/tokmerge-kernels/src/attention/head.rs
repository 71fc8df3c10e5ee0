//! Some queries of one head: scores strip by strip, softmax, and the product with the values.

use super::panels::{keys_len, pack_keys, pack_values, scale_into, steps, values_len};
use super::softmax::{add_scaled, coarse_numerators, coarse_words, convert_in_place, numerators};
use super::{Inputs, NEAR, Values, operand};
use crate::isa::Isa;
use crate::linear::precision::Precision;
use crate::linear::tile::{self, IN_CACHE, Operands, Strip, for_each_strip, product, run_strip};
use crate::simd::{Job, Operand, Simd, convert, dispatch, dispatch_bf16_pairs, words};
use crate::threads::scratch::Scratch;
use std::ops::Range;

/// Some queries of one head of one item.
pub(super) struct Head<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) head: usize,
    /// Rows of the keys.
    pub(super) item: Range<usize>,
    /// Rows of the queries.
    pub(super) queries: Range<usize>,
    /// Row of the table of biases for every pair of them and the keys, where there is a table.
    pub(super) pairs: Option<&'a [u8]>,
    pub(super) operand: Operand,
    /// Of the first query; writable for as many rows of `dim` values, and ours alone.
    pub(super) out: *mut f32,
    /// From row to row of `out`.
    pub(super) stride: usize,
    /// Sums of the softmax over the item's queries.
    pub(super) sums: Option<&'a mut [f32]>,
}

impl Head<'_> {
    /// Runs with the vectors and the operands of `precision`.
    pub(super) fn dispatch(self, isa: Isa, precision: Precision) {
        match operand(isa, precision) {
            Operand::Bf16 => dispatch_bf16_pairs(Self { operand: Operand::Bf16, ..self }),
            Operand::Values => dispatch(isa, self),
        }
    }
}

impl Job for Head<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { inputs, head, operand, .. } = self;
        let (n, dim) = (self.item.len(), inputs.heads.dim);
        if self.queries.is_empty() {
            return;
        }
        let padded = n.next_multiple_of(S::LANES);
        let mut bias = Scratch::take(padded);
        let mut scores = Scratch::take(S::ROWS * padded);
        let (mut queries, mut query_stride) =
            (inputs.queries.start(self.queries.clone(), head, dim), inputs.queries.stride);
        let in_place = operand == Operand::Values && query_stride <= NEAR * dim;
        let query_words = words::<S>(operand, dim);
        let mut copies = Scratch::take(if in_place { 0 } else { self.queries.len() * query_words });
        if !in_place {
            for (row, to) in self.queries.clone().zip(copies.chunks_exact_mut(query_words)) {
                let from = &inputs.queries.from(row, head, dim)[..dim];
                match operand {
                    Operand::Values => to.copy_from_slice(from),
                    Operand::Bf16 => convert(simd, from, to),
                }
            }
            (queries, query_stride) = (copies.as_ptr(), query_words);
        }
        // Powers of 2 are what the softmax takes.
        let factor = inputs.heads.scale * std::f32::consts::LOG2_E;
        let mut keys = Scratch::take(keys_len::<S>(operand, n, dim));
        let start = inputs.keys.start(self.item.clone(), head, dim);
        // SAFETY: each of the item's `n` rows has `dim` elements from there on.
        unsafe { pack_keys(simd, operand, factor, start, inputs.keys.stride, [n, dim], &mut keys) };
        let copied = matches!(inputs.values, Values::Rows(_));
        let mut packed = Scratch::take(if copied { values_len::<S>(operand, n, dim) } else { 0 });
        let (values, panel_stride) = match inputs.values {
            Values::Rows(side) => {
                let start = side.start(self.item.clone(), head, dim);
                // SAFETY: as for the keys.
                unsafe { pack_values(simd, operand, start, side.stride, [n, dim], &mut packed) };
                (packed.as_ptr(), steps::<S>(operand, n) * S::PANEL)
            }
            Values::Panels { values, width } => {
                assert!(operand == Operand::Values && width == S::PANEL && dim.is_multiple_of(width));
                let rows = values.len() / dim;
                assert!(self.item.end <= rows);
                (values[self.item.start * width..].as_ptr(), rows * width)
            }
        };
        match inputs.key_bias {
            Some(key_bias) => {
                let key_bias = &key_bias[self.item.clone()];
                scale_into(simd, std::f32::consts::LOG2_E, key_bias, Operand::Values, &mut bias[..n]);
            }
            None => bias[..n].fill(0.0),
        }
        bias[n..].fill(f32::NEG_INFINITY);
        // One number per row of the table: that of this head.
        let table = inputs.pair_bias.map_or(&[][..], |pairs| pairs.table);
        let mut column = Scratch::take(table.len() / inputs.heads.count);
        for (value, row) in column.iter_mut().zip(table.chunks_exact(inputs.heads.count)) {
            *value = row[head] * std::f32::consts::LOG2_E;
        }
        let mut sums = self.sums;
        if let Some(sums) = &mut sums {
            sums.fill(0.0);
        }
        let mut strip = Queries {
            operand,
            queries,
            query_stride,
            keys: &keys,
            values,
            panel_stride,
            bias: &bias,
            pairs: self.pairs,
            column: &column,
            scores: &mut scores,
            n,
            dim,
            out: self.out,
            out_stride: self.stride,
            sums,
            largest: [0.0; tile::MAX_ROWS],
            inverse: [0.0; tile::MAX_ROWS],
        };
        // SAFETY: this task alone writes this head of these rows of `out`; there are as many queries.
        unsafe { for_each_strip(simd, self.queries.len(), &mut strip) };
    }
}

/// Strips of queries of one head.
struct Queries<'a> {
    operand: Operand,
    /// As operand words, rows `query_stride` apart.
    queries: *const f32,
    query_stride: usize,
    /// With all factors.
    keys: &'a [f32],
    /// Panels, `panel_stride` apart.
    values: *const f32,
    panel_stride: usize,
    /// Per key, padded with -∞; with all factors.
    bias: &'a [f32],
    /// Row of the table for every pair, where there is one.
    pairs: Option<&'a [u8]>,
    /// The column of the table that is this head's; with all factors.
    column: &'a [f32],
    scores: &'a mut [f32],
    n: usize,
    dim: usize,
    out: *mut f32,
    out_stride: usize,
    sums: Option<&'a mut [f32]>,
    /// Per row of the strip, the largest score.
    largest: [f32; tile::MAX_ROWS],
    /// Per row of the strip, one over the sum of its numerators.
    inverse: [f32; tile::MAX_ROWS],
}

impl<S: Simd> Strip<S> for Queries<'_> {
    /// Score rows of queries `first..first + ROWS`.
    #[inline(always)]
    unsafe fn run<const ROWS: usize>(&mut self, simd: S, first: usize) {
        let padded = self.bias.len();
        let full = padded - padded % S::PANEL;
        let mut largest = [simd.splat(f32::NEG_INFINITY); tile::MAX_ROWS];
        let mut key = 0;
        // SAFETY: the caller promises these queries; `keys` and `bias` have a panel at each `key`, the last one half
        // as wide, and `scores` ROWS rows of `padded`.
        unsafe {
            while key < full {
                self.score::<S, ROWS, 2>(simd, first, key, &mut largest);
                key += S::PANEL;
            }
            if key < padded {
                self.score::<S, ROWS, 1>(simd, first, key, &mut largest);
            }
        }
        for r in 0..ROWS {
            self.largest[r] = match self.pairs {
                None => simd.reduce_max(largest[r]),
                Some(pairs) => {
                    let pairs = &pairs[(first + r) * self.n..][..self.n];
                    add_pairs(&mut self.scores[r * padded..], pairs, self.column)
                }
            };
        }
    }

    #[inline(always)]
    unsafe fn finish(&mut self, simd: S, first: usize, rows: usize) {
        let padded = self.bias.len();
        for r in 0..rows {
            let (row, largest) = (&mut self.scores[r * padded..(r + 1) * padded], self.largest[r]);
            self.inverse[r] = 1.0
                / match (self.operand, &self.sums) {
                    (Operand::Values, _) => numerators(simd, row, largest),
                    (Operand::Bf16, None) => coarse_words(simd, row, largest),
                    (Operand::Bf16, Some(_)) => coarse_numerators(simd, row, largest),
                };
            if let Some(sums) = &mut self.sums {
                add_scaled(simd, sums, &row[..self.n], self.inverse[r]);
                if self.operand == Operand::Bf16 {
                    convert_in_place(simd, row);
                }
            }
        }
        // SAFETY: the caller promises these rows of `out`; the scores of `rows` queries are complete.
        unsafe { run_strip(simd, first, rows, &mut Weigh { queries: self }) }
    }
}

/// Adds to every score the number of its pair; the largest of the sums.
#[inline(always)]
fn add_pairs(scores: &mut [f32], pairs: &[u8], column: &[f32]) -> f32 {
    let mut largest = f32::NEG_INFINITY;
    for (score, row) in scores.iter_mut().zip(pairs) {
        *score += column[usize::from(*row)];
        largest = largest.max(*score);
    }
    largest
}

impl Queries<'_> {
    /// Scores of ROWS queries and `VECTORS * LANES` keys, and per lane the largest so far.
    #[inline(always)]
    unsafe fn score<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        first: usize,
        key: usize,
        largest: &mut [S::V; tile::MAX_ROWS],
    ) {
        let (padded, k) = (self.bias.len(), words::<S>(self.operand, self.dim));
        // SAFETY: the caller promises these queries, the panel of keys, its biases, and room for the scores.
        unsafe {
            let operands = Operands {
                a: self.queries.add(first * self.query_stride),
                a_stride: self.query_stride,
                panel: self.keys.as_ptr().add(key * k),
                k,
            };
            let mut init = [simd.splat(0.0); VECTORS];
            for i in 0..VECTORS {
                init[i] = simd.load(self.bias.as_ptr().add(key + i * S::LANES));
            }
            let sums = product::<S, ROWS, VECTORS, IN_CACHE>(simd, operands, init);
            for r in 0..ROWS {
                for i in 0..VECTORS {
                    simd.store(self.scores.as_mut_ptr().add(r * padded + key + i * S::LANES), sums[r][i]);
                    largest[r] = simd.max(largest[r], sums[r][i]);
                }
            }
        }
    }
}

/// `out = inverse ⊙ (numerators · values)`, strip by strip.
struct Weigh<'a, 'b> {
    queries: &'a Queries<'b>,
}

impl<S: Simd> Strip<S> for Weigh<'_, '_> {
    #[inline(always)]
    unsafe fn run<const ROWS: usize>(&mut self, simd: S, first: usize) {
        let Queries { operand, scores, values, panel_stride, bias, inverse, n, dim, out, out_stride, .. } =
            self.queries;
        let k = steps::<S>(*operand, *n);
        let mut column = 0;
        while column < *dim {
            let width = S::PANEL.min(dim - column);
            let mut tile = [0.0_f32; tile::MAX_ROWS * tile::MAX_PANEL];
            // SAFETY: the caller promises the rows of `out`; `scores` has ROWS rows of at least `k` words, `values` a
            // panel of `k` steps at `column`; the tile holds ROWS x PANEL.
            unsafe {
                let operands = Operands {
                    a: scores.as_ptr(),
                    a_stride: bias.len(),
                    panel: values.add(column / S::PANEL * panel_stride),
                    k,
                };
                let sums = product::<S, ROWS, 2, IN_CACHE>(simd, operands, [simd.splat(0.0); 2]);
                let out = out.add(first * out_stride + column);
                let (to, stride) =
                    if width == S::PANEL { (out, *out_stride) } else { (tile.as_mut_ptr(), S::PANEL) };
                for r in 0..ROWS {
                    let inverse = simd.splat(inverse[r]);
                    for half in 0..2 {
                        simd.store(to.add(r * stride + half * S::LANES), simd.mul(sums[r][half], inverse));
                    }
                }
                if width < S::PANEL {
                    for r in 0..ROWS {
                        let from = tile.as_ptr().add(r * S::PANEL);
                        std::ptr::copy_nonoverlapping(from, out.add(r * out_stride), width);
                    }
                }
            }
            column += S::PANEL;
        }
    }
}
