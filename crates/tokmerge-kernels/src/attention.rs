//! Multi-head attention over packed rows of items of any length, with a bias per key.
//!
//! `qkv: [T, 3 * count * dim]`, each row `q | k | v`, each part head by head; items are runs of rows. One
//! task is a head of an item: keys are transposed into panels, a strip of queries gets its full score
//! rows, then softmax, then the product with the values. Working memory is linear in the item's tokens.
//! All instruction sets equal the Portable instantiation up to rounding.

use crate::isa::Isa;
use crate::math::exp;
use crate::panels::{columns_len, pack_columns, pack_transposed, transposed_len};
use crate::parallel::{Shared, for_each};
use crate::scratch::Scratch;
use crate::simd::{Job, Simd, dispatch, load_at, store_at};
use crate::tile::{Operands, Strip, for_each_strip, product};
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
/// - `qkv: [T, 3 * count * dim]`, `out: [T, count * dim]`.
/// - `offsets: [items + 1]`: item `i` is rows `offsets[i]..offsets[i + 1]`, from 0 to T; it may be empty.
/// - `log_size: [T]` is added to the scores of that key (proportional attention).
/// - `received: [T]` is filled with the attention each token receives: its column of the softmax,
///   averaged over the heads and the queries of its item. It sums to 1 over an item.
///
/// # Panics
/// When lengths do not match, offsets fall, or this CPU does not support `isa`.
pub fn attention(
    isa: Isa,
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
    for_each((offsets.len() - 1) * heads.count, |task| {
        let (item, head) = (task / heads.count, task % heads.count);
        let item = offsets[item]..offsets[item + 1];
        let sums = shared_sums.map(|sums| {
            // SAFETY: each task has a head and an item of its own.
            unsafe { sums.range(head * rows + item.start..head * rows + item.end) }
        });
        dispatch(isa, Head { heads, head, qkv, item, log_size, out, sums });
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

/// One head of one item.
struct Head<'a> {
    heads: Heads,
    head: usize,
    qkv: &'a [f32],
    item: Range<usize>,
    log_size: Option<&'a [f32]>,
    out: Shared<'a, f32>,
    /// Sums of the softmax over the item's queries.
    sums: Option<&'a mut [f32]>,
}

impl Job for Head<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (n, dim, width) = (self.item.len(), self.heads.dim, self.heads.width());
        if n == 0 {
            return;
        }
        let stride = 3 * width;
        let item = &self.qkv[self.item.start * stride..self.item.end * stride];
        let (q, k, v) = (self.head * dim, width + self.head * dim, 2 * width + self.head * dim);
        let padded = n.next_multiple_of(S::PANEL);
        let mut keys = Scratch::take(transposed_len::<S>(n, dim));
        let mut values = Scratch::take(columns_len::<S>(n, dim));
        let mut bias = Scratch::take(padded);
        let mut scores = Scratch::take(S::ROWS * padded);
        // SAFETY: each of the item's `n` rows has `dim` elements from `k` and from `v` on.
        unsafe {
            pack_transposed(simd, item.as_ptr().add(k), stride, [n, dim], &mut keys);
            pack_columns(simd, item.as_ptr().add(v), stride, [n, dim], &mut values);
        }
        match self.log_size {
            Some(log_size) => bias[..n].copy_from_slice(&log_size[self.item.clone()]),
            None => bias[..n].fill(0.0),
        }
        bias[n..].fill(f32::NEG_INFINITY);
        let mut sums = self.sums;
        if let Some(sums) = &mut sums {
            sums.fill(0.0);
        }
        // SAFETY: `attention` checked that `out` has all rows of `width`; this task alone writes this head of
        // these rows. Each of the `n` rows has `dim` elements from `q` on.
        unsafe {
            let mut strip = Queries {
                queries: item.as_ptr().add(q),
                stride,
                keys: &keys,
                values: &values,
                bias: &bias,
                scores: &mut scores,
                n,
                dim,
                scale: self.heads.scale,
                out: self.out.start().add(self.item.start * width + q),
                out_stride: width,
                sums,
            };
            for_each_strip(simd, n, &mut strip);
        }
    }
}

/// Strips of queries of one head.
struct Queries<'a> {
    queries: *const f32,
    stride: usize,
    keys: &'a [f32],
    values: &'a [f32],
    /// Per key, padded with -∞.
    bias: &'a [f32],
    scores: &'a mut [f32],
    n: usize,
    dim: usize,
    scale: f32,
    out: *mut f32,
    out_stride: usize,
    sums: Option<&'a mut [f32]>,
}

/// Rows and elements of the largest tile.
const LARGEST_ROWS: usize = 14;
const LARGEST_PANEL: usize = 32;

impl<S: Simd> Strip<S> for Queries<'_> {
    #[inline(always)]
    unsafe fn run<const ROWS: usize>(&mut self, simd: S, first: usize) {
        let padded = self.bias.len();
        // SAFETY: the caller promises these queries and rows of `out`; `keys`, `values`, `bias` and `scores`
        // were made for `n` keys, padded to whole panels, and at least ROWS strips.
        unsafe {
            self.score::<S, ROWS>(simd, first);
        }
        let mut inverse = [0.0; LARGEST_ROWS];
        for r in 0..ROWS {
            let sum = softmax_numerators(simd, &mut self.scores[r * padded..(r + 1) * padded]);
            inverse[r] = 1.0 / sum;
        }
        if let Some(sums) = &mut self.sums {
            for r in 0..ROWS {
                let row = &self.scores[r * padded..r * padded + self.n];
                add_scaled(simd, sums, row, inverse[r]);
            }
        }
        // SAFETY: as above.
        unsafe {
            self.weigh::<S, ROWS>(simd, first, &inverse);
        }
    }
}

impl Queries<'_> {
    /// Score rows of queries `first..first + ROWS`.
    #[inline(always)]
    unsafe fn score<S: Simd, const ROWS: usize>(&mut self, simd: S, first: usize) {
        let padded = self.bias.len();
        assert!(self.keys.len() == padded * self.dim && self.scores.len() >= ROWS * padded);
        let scale = simd.splat(self.scale);
        let mut key = 0;
        while key < padded {
            // SAFETY: the caller promises the queries; `keys` and `bias` have a panel at `key`, `scores` ROWS rows
            // of `padded` (asserted).
            unsafe {
                let operands = Operands {
                    a: self.queries.add(first * self.stride),
                    a_stride: self.stride,
                    panel: self.keys.as_ptr().add(key * self.dim),
                    k: self.dim,
                };
                let sums = product::<S, ROWS>(simd, operands, [simd.splat(0.0); 2]);
                for half in 0..2 {
                    let at = key + half * S::LANES;
                    let bias = simd.load(self.bias.as_ptr().add(at));
                    for r in 0..ROWS {
                        let to = self.scores.as_mut_ptr().add(r * padded + at);
                        simd.store(to, simd.mul_add(sums[r][half], scale, bias));
                    }
                }
            }
            key += S::PANEL;
        }
    }

    /// `out = inverse ⊙ (scores · values)` for queries `first..first + ROWS`.
    #[inline(always)]
    unsafe fn weigh<S: Simd, const ROWS: usize>(&self, simd: S, first: usize, inverse: &[f32; LARGEST_ROWS]) {
        let mut column = 0;
        while column < self.dim {
            let width = S::PANEL.min(self.dim - column);
            let mut tile = [0.0_f32; LARGEST_ROWS * LARGEST_PANEL];
            // SAFETY: the caller promises the rows of `out`; `scores` has ROWS rows of at least `n`, `values` a
            // panel of `n` steps at `column`; the tile holds ROWS x PANEL.
            unsafe {
                let operands = Operands {
                    a: self.scores.as_ptr(),
                    a_stride: self.bias.len(),
                    panel: self.values.as_ptr().add(column * self.n),
                    k: self.n,
                };
                let sums = product::<S, ROWS>(simd, operands, [simd.splat(0.0); 2]);
                let out = self.out.add(first * self.out_stride + column);
                let (to, stride) =
                    if width == S::PANEL { (out, self.out_stride) } else { (tile.as_mut_ptr(), S::PANEL) };
                for r in 0..ROWS {
                    let inverse = simd.splat(inverse[r]);
                    for half in 0..2 {
                        simd.store(to.add(r * stride + half * S::LANES), simd.mul(sums[r][half], inverse));
                    }
                }
                if width < S::PANEL {
                    for r in 0..ROWS {
                        let from = tile.as_ptr().add(r * S::PANEL);
                        std::ptr::copy_nonoverlapping(from, out.add(r * self.out_stride), width);
                    }
                }
            }
            column += S::PANEL;
        }
    }
}

/// Replaces a row of scores by e^(score - largest) and returns the sum.
#[inline(always)]
pub(crate) fn softmax_numerators<S: Simd>(simd: S, row: &mut [f32]) -> f32 {
    assert!(row.len().is_multiple_of(S::LANES));
    let mut largest = simd.splat(f32::NEG_INFINITY);
    let mut at = 0;
    while at < row.len() {
        largest = simd.max(largest, load_at(simd, row, at));
        at += S::LANES;
    }
    let largest = simd.splat(simd.reduce_max(largest));
    let mut sum = simd.splat(0.0);
    at = 0;
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
