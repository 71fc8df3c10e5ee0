//! Multi-head attention over packed rows of items of any length, with a bias per key.
//!
//! `qkv: [T, 3 * count * dim]`, each row `q | k | v`, each part head by head; items are runs of rows. One
//! task is a head of an item, or some of its queries: keys are transposed into panels, a strip of queries gets its
//! full score rows, then softmax, then the product with the values. Working memory is linear in the item's tokens.
//! All instruction sets equal the Portable instantiation up to rounding.

pub(crate) mod backward;
pub(crate) mod fused;
mod head;
pub(crate) mod metric;
mod one_head;
pub(crate) mod pairs;
pub(crate) mod panels;
pub(crate) mod rotation;
pub(crate) mod softmax;
pub(crate) mod turns;

use crate::isa::Isa;
use crate::lengths::length_of;
use crate::linear::pack::{Layout, PackedLinear};
use crate::linear::precision::Precision;
use crate::simd::Operand;
use crate::threads::scratch::Scratch;
use crate::threads::{Shared, for_each, part, threads};
use head::Head;
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
        check_offsets(function, offsets, rows);
        rows
    }

    /// The number of rows T of `qkv`; panics unless it is whole.
    pub(crate) fn rows(&self, function: &str, qkv: &[f32]) -> usize {
        self.rows_of(function, "qkv", qkv, 3)
    }

    /// The number of rows that have `parts` parts of all heads; panics unless it is whole.
    fn rows_of(&self, function: &str, name: &str, values: &[f32], parts: usize) -> usize {
        let width = length_of([parts, self.count, self.dim]).unwrap_or(0);
        assert!(
            width > 0 && values.len().is_multiple_of(width),
            "{function}: {name} has {} elements, not rows of {parts} x {} heads x {}",
            values.len(),
            self.count,
            self.dim
        );
        values.len() / width
    }
}

/// A bias for every pair of a query and a key: a row of a table with one number per head.
#[derive(Clone, Copy, Debug)]
pub struct PairTable<'a> {
    /// `[rows, H]`.
    pub table: &'a [f32],
    /// Row of the table for every pair: of item `i` `[queries, keys]` from `starts[i]` on.
    pub rows: &'a [u8],
    /// `[items + 1]`, the last the number of all pairs.
    pub starts: &'a [usize],
}

impl PairTable<'_> {
    /// Panics unless there is a row of the table for every pair.
    fn check(&self, function: &str, heads: Heads, [queries, keys]: [&[usize]; 2]) {
        let Self { table, rows, starts } = *self;
        assert!(
            table.len().is_multiple_of(heads.count) && starts.len() == keys.len(),
            "{function}: a table of {} elements for {} heads, pairs of {} items of {}",
            table.len(),
            heads.count,
            starts.len().saturating_sub(1),
            keys.len() - 1
        );
        for (item, start) in starts.windows(2).enumerate() {
            let len = |of: &[usize]| of[item + 1] - of[item];
            let pairs = len(queries) * len(keys);
            assert!(start[0] + pairs == start[1], "{function}: item {item} has {pairs} pairs, not {start:?}");
        }
        assert_eq!(starts.last(), Some(&rows.len()), "{function}: as many pairs as are said");
        let most = rows.iter().copied().max().map_or(0, usize::from);
        assert!(
            rows.is_empty() || most < table.len() / heads.count,
            "{function}: row {most} of a table of {} rows",
            table.len() / heads.count
        );
    }
}

/// `out = softmax(scale · q kᵀ + key_bias) v` for each head of each item.
///
/// - At [`Precision::Bf16`] queries, keys, values and probabilities are rounded to bf16 where the CPU has bf16 dot
///   products (elsewhere f32 is as fast and more exact); sums and the softmax are f32.
/// - `qkv: [T, 3 * count * dim]`, `out: [T, count * dim]`.
/// - `offsets: [items + 1]`: item `i` is rows `offsets[i]..offsets[i + 1]`, from 0 to T; it may be empty.
/// - `key_bias: [T]` is added to the scores of that key (proportional attention).
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
    key_bias: Option<&[f32]>,
    out: &mut [f32],
    received: Option<&mut [f32]>,
) {
    attend(isa, precision, heads, qkv, offsets, (key_bias, None), out, received);
}

/// As [`attention`], with a bias for every pair too.
///
/// # Panics
/// As [`attention`], or when the table has no row for a pair.
#[expect(clippy::too_many_arguments, reason = "each is one part of the formula")]
pub fn paired_attention(
    isa: Isa,
    precision: Precision,
    heads: Heads,
    qkv: &[f32],
    offsets: &[usize],
    (key_bias, pair_bias): (Option<&[f32]>, PairTable<'_>),
    out: &mut [f32],
    received: Option<&mut [f32]>,
) {
    attend(isa, precision, heads, qkv, offsets, (key_bias, Some(pair_bias)), out, received);
}

#[expect(clippy::too_many_arguments, reason = "each is one part of the formula")]
fn attend(
    isa: Isa,
    precision: Precision,
    heads: Heads,
    qkv: &[f32],
    offsets: &[usize],
    (key_bias, pair_bias): (Option<&[f32]>, Option<PairTable<'_>>),
    out: &mut [f32],
    received: Option<&mut [f32]>,
) {
    let rows = heads.check("attention", qkv, offsets);
    let width = heads.width();
    let part = |first: usize| Side { values: qkv, stride: 3 * width, first };
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
    let call = Call {
        function: "attention",
        isa,
        precision,
        inputs: Inputs {
            heads,
            queries: part(0),
            keys: part(width),
            values: Values::Rows(part(2 * width)),
            key_bias,
            pair_bias,
        },
        query_offsets: offsets,
        offsets,
        sums: sums.as_deref_mut().map(Shared::new),
    };
    call.run(out);
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

/// As [`attention`], for other queries than the rows that are attended to: bit for bit what that gives a row with the
/// same query.
///
/// - `queries: [Q, count * dim]`, `out: [Q, count * dim]`; those of item `i` are rows
///   `query_offsets[i]..query_offsets[i + 1]`, from 0 to Q.
/// - `keys_values: [T, 2 * count * dim]`, each row `k | v`; `offsets` and `key_bias` are theirs. An item that has
///   queries needs a row to attend to.
///
/// # Panics
/// When lengths do not match, offsets fall, an item has queries and no keys, or this CPU does not support `isa`.
pub fn cross_attention(
    isa: Isa,
    precision: Precision,
    heads: Heads,
    [queries, keys_values]: [&[f32]; 2],
    [query_offsets, offsets]: [&[usize]; 2],
    key_bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let function = "cross_attention";
    check_offsets(function, offsets, heads.rows_of(function, "keys_values", keys_values, 2));
    check_offsets(function, query_offsets, heads.rows_of(function, "queries", queries, 1));
    let width = heads.width();
    assert_eq!(offsets.len(), query_offsets.len(), "{function}: as many items of queries as of keys");
    for (item, (queries, keys)) in query_offsets.windows(2).zip(offsets.windows(2)).enumerate() {
        assert!(
            queries[0] == queries[1] || keys[0] < keys[1],
            "{function}: item {item} has {} queries but no keys",
            queries[1] - queries[0]
        );
    }
    let call = Call {
        function,
        isa,
        precision,
        inputs: Inputs {
            heads,
            queries: Side { values: queries, stride: width, first: 0 },
            keys: Side { values: keys_values, stride: 2 * width, first: 0 },
            values: Values::Rows(Side { values: keys_values, stride: 2 * width, first: width }),
            key_bias,
            pair_bias: None,
        },
        query_offsets,
        offsets,
        sums: None,
    };
    call.run(out);
}

pub(crate) fn check_offsets(function: &str, offsets: &[usize], rows: usize) {
    assert!(
        offsets.first() == Some(&0) && offsets.last() == Some(&rows) && offsets.is_sorted(),
        "{function}: offsets must rise from 0 to {rows} rows, got {offsets:?}"
    );
}

/// The heads of queries, keys or values: columns of wider rows.
#[derive(Clone, Copy)]
struct Side<'a> {
    values: &'a [f32],
    /// From row to row.
    stride: usize,
    /// Column of the first head.
    first: usize,
}

impl<'a> Side<'a> {
    /// What begins with a head of a row.
    #[inline(always)]
    fn from(self, row: usize, head: usize, dim: usize) -> &'a [f32] {
        &self.values[row * self.stride + self.first + head * dim..]
    }

    /// Where a head begins in the first of `rows`; each of them has `dim` elements there, `stride` apart.
    #[inline(always)]
    fn start(self, rows: Range<usize>, head: usize, dim: usize) -> *const f32 {
        let from = self.from(rows.start, head, dim);
        assert!(from.len() >= (rows.len() - 1) * self.stride + dim);
        from.as_ptr()
    }
}

/// The values of heads.
#[derive(Clone, Copy)]
enum Values<'a> {
    Rows(Side<'a>),
    /// Of one head: `[dim / width, rows, width]`.
    Panels {
        values: &'a [f32],
        width: usize,
    },
}

/// What attends to what.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    heads: Heads,
    queries: Side<'a>,
    keys: Side<'a>,
    values: Values<'a>,
    key_bias: Option<&'a [f32]>,
    pair_bias: Option<PairTable<'a>>,
}

/// One call of attention, its lengths checked but for `key_bias` and `out`.
struct Call<'a> {
    function: &'static str,
    isa: Isa,
    precision: Precision,
    inputs: Inputs<'a>,
    query_offsets: &'a [usize],
    offsets: &'a [usize],
    /// `[H, T]`: sums of the softmax over the queries of each item.
    sums: Option<Shared<'a, f32>>,
}

impl Call<'_> {
    fn run(&self, out: &mut [f32]) {
        let Self { function, inputs, offsets, query_offsets, .. } = *self;
        let heads = inputs.heads;
        let (rows, queries) = (offsets[offsets.len() - 1], query_offsets[query_offsets.len() - 1]);
        let width = heads.width();
        assert_eq!(
            out.len(),
            queries * width,
            "{function}: out has {} elements, expected {queries} x {width}",
            out.len()
        );
        if let Some(key_bias) = inputs.key_bias {
            assert_eq!(
                key_bias.len(),
                rows,
                "{function}: key_bias has {} elements for {rows} rows",
                key_bias.len()
            );
        }
        if let Some(pairs) = &inputs.pair_bias {
            pairs.check(function, heads, [query_offsets, offsets]);
        }
        let out = Shared::new(out);
        let tasks = (offsets.len() - 1) * heads.count;
        // The sums of a head are made by one task.
        let splits = if self.sums.is_some() { 1 } else { splits(tasks) };
        for_each(tasks * splits, |task| {
            let (task, split) = (task / splits, task % splits);
            let (index, head) = (task / heads.count, task % heads.count);
            let item = offsets[index]..offsets[index + 1];
            let sums = self.sums.map(|sums| {
                // SAFETY: each task has a head and an item of its own.
                unsafe { sums.range(head * rows + item.start..head * rows + item.end) }
            });
            let first = query_offsets[index];
            let queries = part(query_offsets[index + 1] - first, splits, split);
            let pairs = inputs.pair_bias.map(|pairs| {
                let from = pairs.starts[index] + queries.start * item.len();
                &pairs.rows[from..from + queries.len() * item.len()]
            });
            let queries = first + queries.start..first + queries.end;
            // SAFETY: `out` has all rows of `width`, as checked above.
            let out = unsafe { out.start().add(queries.start * width + head * heads.dim) };
            let job = Head {
                inputs,
                head,
                item,
                queries,
                pairs,
                operand: Operand::Values,
                out,
                stride: width,
                sums,
            };
            job.dispatch(self.isa, self.precision);
        });
    }
}

/// Rows of queries are copied if they are more than that many heads apart: a power of 2 in between would put those of a
/// strip into a few sets of L1.
const NEAR: usize = 2;

/// What a task spends on preparing keys and values, as a share of a head's time.
const PREPARATION: f64 = 0.1;

/// Into how many tasks the queries of a head are cut so that the threads end together.
fn splits(tasks: usize) -> usize {
    let threads = threads();
    let time = |splits: usize| {
        (tasks * splits).div_ceil(threads) as f64 * (PREPARATION + (1.0 - PREPARATION) / splits as f64)
    };
    // Beyond a few rounds the last one does not matter.
    if tasks >= 4 * threads {
        return 1;
    }
    (2..=threads.min(8)).fold(1, |best, splits| if time(splits) < 0.97 * time(best) { splits } else { best })
}

/// How the values of [`OneHead`] lie in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ValueLayout {
    /// `[T, D]`.
    Rows,
    /// `[D / width, T, width]`: panels of the product with them, which need no rearranging.
    Panels { width: usize },
}

impl ValueLayout {
    /// The best one for attention to what a layer computes.
    pub(crate) fn behind(layer: &PackedLinear, precision: Precision) -> Self {
        match (operand(layer.isa(), precision), layer.layout()) {
            (Operand::Values, Layout::Panels) => Self::Panels { width: layer.panel_width() },
            _ => Self::Rows,
        }
    }

    /// Columns that lie together in heads of `dim`.
    pub(crate) fn width(self, dim: usize) -> usize {
        match self {
            Self::Rows => dim,
            Self::Panels { width } => width,
        }
    }
}

/// Queries, keys and values of one head alone, of several items.
#[derive(Clone, Copy)]
pub(crate) struct OneHead<'a> {
    pub(crate) dim: usize,
    pub(crate) scale: f32,
    /// `[T, 2 * dim]`: queries and keys.
    pub(crate) queries_keys: &'a [f32],
    pub(crate) values: &'a [f32],
    pub(crate) layout: ValueLayout,
}

impl OneHead<'_> {
    /// `softmax(scale · q kᵀ + key_bias) v` on this thread: bit for bit as [`attention`] has it.
    ///
    /// Item `i` is rows `offsets[i] - offsets[0]..` of everything; rows of `out` begin `stride` apart.
    pub(crate) fn attend(
        &self,
        isa: Isa,
        precision: Precision,
        offsets: &[usize],
        key_bias: Option<&[f32]>,
        (out, stride): (&mut [f32], usize),
    ) {
        let Self { dim, scale, queries_keys, values, layout } = *self;
        let side = |first: usize| Side { values: queries_keys, stride: 2 * dim, first };
        let values = match layout {
            ValueLayout::Rows => Values::Rows(Side { values, stride: dim, first: 0 }),
            ValueLayout::Panels { width } => Values::Panels { values, width },
        };
        let heads = Heads { count: 1, dim, scale };
        let inputs = Inputs { heads, queries: side(0), keys: side(dim), values, key_bias, pair_bias: None };
        for item in offsets.windows(2) {
            let item = item[0] - offsets[0]..item[1] - offsets[0];
            if item.is_empty() {
                continue;
            }
            let out = &mut out[item.start * stride..(item.end - 1) * stride + dim];
            let head = Head {
                inputs,
                head: 0,
                queries: item.clone(),
                pairs: None,
                item,
                operand: Operand::Values,
                out: out.as_mut_ptr(),
                stride,
                sums: None,
            };
            head.dispatch(isa, precision);
        }
    }
}

/// What the products in attention are of.
fn operand(isa: Isa, precision: Precision) -> Operand {
    if precision == Precision::Bf16 && isa.has_bf16_dot() { Operand::Bf16 } else { Operand::Values }
}
