//! Multi-head attention over packed rows of items of any length, with a bias per key.
//!
//! `qkv: [T, 3 * count * dim]`, each row `q | k | v`, each part head by head; items are runs of rows. One
//! task is a head of an item, or some of its queries: keys are transposed into panels, a strip of queries gets its
//! full score rows, then softmax, then the product with the values. Working memory is linear in the item's tokens.
//! All instruction sets equal the Portable instantiation up to rounding.

use crate::isa::Isa;
use crate::math::{exp, exp2, exp2_coarse};
use crate::pack::Precision;
use crate::panels::{keys_len, pack_keys, pack_values, steps, values_len};
use crate::parallel::{Shared, for_each, part};
use crate::scratch::Scratch;
use crate::simd::{
    Job, Operand, Simd, dispatch, dispatch_bf16_pairs, load_at, store_at, store_words_at, words,
};
use crate::tile::{Operands, Strip, for_each_strip, product, run_strip};
use std::ops::Range;

/// The shape of multi-head attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// H.
    pub count: usize,
    /// D, the width of one head; any.
    pub dim: usize,
    /// Factor on the scores, usually 1 / √D.
    pub scale: f32,
}

impl Heads {
    /// H * D.
    pub(crate) fn width(&self) -> usize {
        self.count * self.dim
    }

    /// The number of rows T of `qkv`; panics unless it is whole and the offsets cover it.
    pub(crate) fn check(&self, function: &str, qkv: &[f32], offsets: &[usize]) -> usize {
        let rows = self.rows(function, qkv);
        assert!(
            offsets.first() == Some(&0) && offsets.last() == Some(&rows) && offsets.is_sorted(),
            "{function}: offsets must rise from 0 to the {rows} rows of qkv, got {offsets:?}"
        );
        rows
    }

    /// The number of rows T of `qkv`; panics unless it is whole.
    pub(crate) fn rows(&self, function: &str, qkv: &[f32]) -> usize {
        let width = 3 * self.width();
        assert!(
            width > 0 && qkv.len().is_multiple_of(width),
            "{function}: qkv has {} elements, not rows of 3 x {} heads x {}",
            qkv.len(),
            self.count,
            self.dim
        );
        qkv.len() / width
    }
}

/// `out = softmax(scale · q kᵀ + log_size) v` for each head of each item.
///
/// - At [`Precision::Bf16`] queries, keys, values and probabilities are rounded to bf16 where the CPU has bf16 dot
///   products (elsewhere f32 is as fast and more exact); sums and the softmax are f32.
/// - `qkv: [T, 3 * count * dim]`, `out: [T, count * dim]`.
/// - `offsets: [items + 1]`: item `i` is rows `offsets[i]..offsets[i + 1]`, from 0 to T; it may be empty.
/// - `log_size: [T]` is added to the scores of that key (proportional attention).
/// - `received: [T]` is filled with the attention each token receives: its column of the softmax,
///   averaged over the heads and the queries of its item. It sums to 1 over an item.
///
/// # Panics
/// When lengths do not match, offsets fall, or this CPU does not support `isa`.
#[expect(clippy::too_many_arguments, reason = "each is one part of the formula")]
pub fn attention(
    isa: Isa,
    precision: Precision,
    heads: Heads,
    qkv: &[f32],
    offsets: &[usize],
    log_size: Option<&[f32]>,
    out: &mut [f32],
    received: Option<&mut [f32]>,
) {
    let rows = heads.check("attention", qkv, offsets);
    let width = heads.width();
    assert_eq!(
        out.len(),
        rows * width,
        "attention: out has {} elements, expected {rows} x {width}",
        out.len()
    );
    if let Some(log_size) = log_size {
        assert_eq!(
            log_size.len(),
            rows,
            "attention: log_size has {} elements for {rows} rows",
            log_size.len()
        );
    }
    if let Some(received) = &received {
        assert_eq!(
            received.len(),
            rows,
            "attention: received has {} elements for {rows} rows",
            received.len()
        );
    }
    // Sums over the queries, one row per head.
    let mut sums = received.as_ref().map(|_| Scratch::take(heads.count * rows));
    let shared_sums = sums.as_deref_mut().map(Shared::new);
    let out = Shared::new(out);
    let tasks = (offsets.len() - 1) * heads.count;
    // The sums of a head are made by one task.
    let splits = if shared_sums.is_some() { 1 } else { splits(tasks) };
    let paired = precision == Precision::Bf16 && isa.has_bf16_dot();
    for_each(tasks * splits, |task| {
        let (task, split) = (task / splits, task % splits);
        let (item, head) = (task / heads.count, task % heads.count);
        let item = offsets[item]..offsets[item + 1];
        let sums = shared_sums.map(|sums| {
            // SAFETY: each task has a head and an item of its own.
            unsafe { sums.range(head * rows + item.start..head * rows + item.end) }
        });
        let queries = part(item.len(), splits, split);
        let operand = if paired { Operand::Bf16 } else { Operand::Values };
        let job = Head { heads, head, qkv, item, queries, operand, log_size, out, sums };
        if paired { dispatch_bf16_pairs(job) } else { dispatch(isa, job) }
    });
    if let (Some(received), Some(sums)) = (received, sums) {
        for item in offsets.windows(2) {
            let factor = 1.0 / (heads.count * (item[1] - item[0])) as f32;
            for i in item[0]..item[1] {
                let sum: f32 = (0..heads.count).map(|head| sums[head * rows + i]).sum();
                received[i] = sum * factor;
            }
        }
    }
}

/// What a task spends on preparing keys and values, as a share of a head's time.
const PREPARATION: f64 = 0.1;

/// Into how many tasks the queries of a head are cut so that the threads end together.
fn splits(tasks: usize) -> usize {
    let threads = rayon::current_num_threads();
    let time = |splits: usize| {
        (tasks * splits).div_ceil(threads) as f64 * (PREPARATION + (1.0 - PREPARATION) / splits as f64)
    };
    // Beyond a few rounds the last one does not matter.
    if tasks >= 4 * threads {
        return 1;
    }
    (2..=threads.min(8)).fold(1, |best, splits| if time(splits) < 0.97 * time(best) { splits } else { best })
}

/// Some queries of one head of one item.
struct Head<'a> {
    heads: Heads,
    head: usize,
    qkv: &'a [f32],
    item: Range<usize>,
    /// Within the item.
    queries: Range<usize>,
    operand: Operand,
    log_size: Option<&'a [f32]>,
    out: Shared<'a, f32>,
    /// Sums of the softmax over the item's queries.
    sums: Option<&'a mut [f32]>,
}

impl Job for Head<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (n, dim, width) = (self.item.len(), self.heads.dim, self.heads.width());
        if self.queries.is_empty() {
            return;
        }
        let operand = self.operand;
        let stride = 3 * width;
        let item = &self.qkv[self.item.start * stride..self.item.end * stride];
        let (q, k, v) = (self.head * dim, width + self.head * dim, 2 * width + self.head * dim);
        let padded = n.next_multiple_of(S::LANES);
        let query_words = words::<S>(operand, dim);
        let mut queries = Scratch::take(self.queries.len() * query_words);
        let mut keys = Scratch::take(keys_len::<S>(operand, n, dim));
        let mut values = Scratch::take(values_len::<S>(operand, n, dim));
        let mut bias = Scratch::take(padded);
        let mut scores = Scratch::take(S::ROWS * padded);
        // Powers of 2 are what the softmax takes.
        let factor = self.heads.scale * std::f32::consts::LOG2_E;
        for (i, row) in self.queries.clone().enumerate() {
            let from = &item[row * stride + q..][..dim];
            scale_into(simd, factor, from, operand, &mut queries[i * query_words..(i + 1) * query_words]);
        }
        // SAFETY: each of the item's `n` rows has `dim` elements from `k` and from `v` on.
        unsafe {
            pack_keys(simd, operand, item.as_ptr().add(k), stride, [n, dim], &mut keys);
            pack_values(simd, operand, item.as_ptr().add(v), stride, [n, dim], &mut values);
        }
        match self.log_size {
            Some(log_size) => {
                scale_into(
                    simd,
                    std::f32::consts::LOG2_E,
                    &log_size[self.item.clone()],
                    Operand::Values,
                    &mut bias[..n],
                );
            }
            None => bias[..n].fill(0.0),
        }
        bias[n..].fill(f32::NEG_INFINITY);
        let mut sums = self.sums;
        if let Some(sums) = &mut sums {
            sums.fill(0.0);
        }
        let mut strip = Queries {
            operand,
            queries: &queries,
            keys: &keys,
            values: &values,
            bias: &bias,
            scores: &mut scores,
            n,
            dim,
            // SAFETY: `attention` checked that `out` has all rows of `width`.
            out: unsafe { self.out.start().add((self.item.start + self.queries.start) * width + q) },
            out_stride: width,
            sums,
            inverse: [0.0; LARGEST_ROWS],
        };
        // SAFETY: this task alone writes this head of these rows of `out`; there are as many queries.
        unsafe { for_each_strip(simd, self.queries.len(), &mut strip) };
    }
}

/// `factor * row` as operand words.
#[inline(always)]
fn scale_into<S: Simd>(simd: S, factor: f32, row: &[f32], operand: Operand, to: &mut [f32]) {
    let factor = simd.splat(factor);
    let mut at = 0;
    while at < row.len() {
        let v = simd.mul(load_at(simd, row, at), factor);
        match operand {
            Operand::Values => store_at(simd, to, at, v),
            Operand::Bf16 => store_words_at(simd, to, at, row.len(), v),
        }
        at += S::LANES;
    }
}

/// Strips of queries of one head.
struct Queries<'a> {
    operand: Operand,
    /// As operand words, one row after the other, with all factors.
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    /// Per key, padded with -∞; with all factors.
    bias: &'a [f32],
    scores: &'a mut [f32],
    n: usize,
    dim: usize,
    out: *mut f32,
    out_stride: usize,
    sums: Option<&'a mut [f32]>,
    /// Per row of the strip, one over the sum of its numerators.
    inverse: [f32; LARGEST_ROWS],
}

/// Rows and elements of the largest tile.
const LARGEST_ROWS: usize = 14;
const LARGEST_PANEL: usize = 32;

impl<S: Simd> Strip<S> for Queries<'_> {
    /// Score rows of queries `first..first + ROWS`.
    #[inline(always)]
    unsafe fn run<const ROWS: usize>(&mut self, simd: S, first: usize) {
        let padded = self.bias.len();
        let full = padded - padded % S::PANEL;
        let mut key = 0;
        // SAFETY: the caller promises these queries; `keys` and `bias` have a panel at each `key`, the last one half
        // as wide, and `scores` ROWS rows of `padded`.
        unsafe {
            while key < full {
                self.score::<S, ROWS, 2>(simd, first, key);
                key += S::PANEL;
            }
            if key < padded {
                self.score::<S, ROWS, 1>(simd, first, key);
            }
        }
    }

    #[inline(always)]
    unsafe fn finish(&mut self, simd: S, first: usize, rows: usize) {
        let padded = self.bias.len();
        for r in 0..rows {
            let row = &mut self.scores[r * padded..(r + 1) * padded];
            self.inverse[r] = 1.0
                / match self.operand {
                    Operand::Values => numerators(simd, row),
                    Operand::Bf16 => coarse_numerators(simd, row),
                };
            if let Some(sums) = &mut self.sums {
                add_scaled(simd, sums, &row[..self.n], self.inverse[r]);
            }
            if self.operand == Operand::Bf16 {
                convert_in_place(simd, row);
            }
        }
        // SAFETY: the caller promises these rows of `out`; the scores of `rows` queries are complete.
        unsafe { run_strip(simd, first, rows, &mut Weigh { queries: self }) }
    }
}

impl Queries<'_> {
    /// Scores of ROWS queries and `VECTORS * LANES` keys.
    #[inline(always)]
    unsafe fn score<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        first: usize,
        key: usize,
    ) {
        let (padded, k) = (self.bias.len(), words::<S>(self.operand, self.dim));
        // SAFETY: the caller promises these queries, the panel of keys, its biases, and room for the scores.
        unsafe {
            let operands = Operands {
                a: self.queries.as_ptr().add(first * k),
                a_stride: k,
                panel: self.keys.as_ptr().add(key * k),
                k,
            };
            let mut init = [simd.splat(0.0); VECTORS];
            for i in 0..VECTORS {
                init[i] = simd.load(self.bias.as_ptr().add(key + i * S::LANES));
            }
            let sums = product::<S, ROWS, VECTORS>(simd, operands, init);
            for r in 0..ROWS {
                for i in 0..VECTORS {
                    simd.store(self.scores.as_mut_ptr().add(r * padded + key + i * S::LANES), sums[r][i]);
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
        let Queries { operand, scores, values, bias, inverse, n, dim, out, out_stride, .. } = self.queries;
        let k = steps::<S>(*operand, *n);
        let mut column = 0;
        while column < *dim {
            let width = S::PANEL.min(dim - column);
            let mut tile = [0.0_f32; LARGEST_ROWS * LARGEST_PANEL];
            // SAFETY: the caller promises the rows of `out`; `scores` has ROWS rows of at least `k` words, `values` a
            // panel of `k` steps at `column`; the tile holds ROWS x PANEL.
            unsafe {
                let operands = Operands {
                    a: scores.as_ptr(),
                    a_stride: bias.len(),
                    panel: values.as_ptr().add(column * k),
                    k,
                };
                let sums = product::<S, ROWS, 2>(simd, operands, [simd.splat(0.0); 2]);
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

/// The largest value of a row of whole vectors.
#[inline(always)]
fn row_max<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let mut largest = simd.splat(f32::NEG_INFINITY);
    let mut at = 0;
    while at < row.len() {
        largest = simd.max(largest, load_at(simd, row, at));
        at += S::LANES;
    }
    simd.reduce_max(largest)
}

/// Where a power of 2 is 0 for certain, and still within the range of [`exp2`].
const NOTHING: f32 = -160.0;

macro_rules! numerators {
    ($name:ident, $power:ident) => {
        /// Replaces a row of scores by 2^(score - largest) and returns the sum.
        #[inline(always)]
        fn $name<S: Simd>(simd: S, row: &mut [f32]) -> f32 {
            assert!(row.len().is_multiple_of(S::LANES));
            let largest = simd.splat(row_max(simd, row));
            let mut sum = simd.splat(0.0);
            let mut at = 0;
            while at < row.len() {
                let difference = simd.sub(load_at(simd, row, at), largest);
                let power = $power(simd, simd.max(simd.splat(NOTHING), difference));
                store_at(simd, row, at, power);
                sum = simd.add(sum, power);
                at += S::LANES;
            }
            simd.reduce_add(sum)
        }
    };
}

numerators!(numerators, exp2);
numerators!(coarse_numerators, exp2_coarse);

/// A row of whole vectors as operand words at bf16 precision, in its own place.
#[inline(always)]
fn convert_in_place<S: Simd>(simd: S, row: &mut [f32]) {
    let len = row.len();
    let mut at = 0;
    while at < len {
        // The words lie at or before the values, those of earlier values included.
        let v = load_at(simd, row, at);
        store_words_at(simd, row, at, len, v);
        at += S::LANES;
    }
}

/// Replaces a row of scores by e^(score - largest) and returns the sum.
#[inline(always)]
pub(crate) fn softmax_numerators<S: Simd>(simd: S, row: &mut [f32]) -> f32 {
    assert!(row.len().is_multiple_of(S::LANES));
    let largest = simd.splat(row_max(simd, row));
    let mut sum = simd.splat(0.0);
    let mut at = 0;
    while at < row.len() {
        let power = exp(simd, simd.sub(load_at(simd, row, at), largest));
        store_at(simd, row, at, power);
        sum = simd.add(sum, power);
        at += S::LANES;
    }
    simd.reduce_add(sum)
}

/// `sums += factor * row`.
#[inline(always)]
fn add_scaled<S: Simd>(simd: S, sums: &mut [f32], row: &[f32], factor: f32) {
    assert_eq!(sums.len(), row.len());
    let factor = simd.splat(factor);
    let mut at = 0;
    while at < row.len() {
        let sum = simd.mul_add(load_at(simd, row, at), factor, load_at(simd, sums, at));
        store_at(simd, sums, at, sum);
        at += S::LANES;
    }
}
