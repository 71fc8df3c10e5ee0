//! Attention between two layouts with everything that may stand in it, biases of pairs and a causal mask included, and its
//! gradient: what decoders, and encoders that look at distances, are trained with.
//!
//! One task is a head of an item; products are those of the `gemm` crate on every instruction set. Working memory is queries
//! times keys of an item.

use super::backward::{normalised, softmax_backward};
use super::{Heads, PairTable, check_offsets};
use crate::isa::Isa;
use crate::linear::gemm::{Matrix, Threads, multiply};
use crate::simd::{Job, Simd, dispatch};
use crate::threads::scratch::Scratch;
use crate::threads::{Shared, for_each};
use std::ops::Range;

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sight {
    /// All of its item.
    #[default]
    All,
    /// Those up to its own place. The last query stands at the last key, where there are fewer queries than keys.
    UpToOwn,
}

/// Queries, keys and values of items, and what is added to their logits.
#[derive(Clone, Copy, Debug)]
pub struct PairAttention<'a> {
    /// Heads and the factor on their logits.
    pub heads: Heads,
    /// `[Q, H * D]`.
    pub q: &'a [f32],
    /// `[T, 2 * H * D]`: keys and values side by side.
    pub kv: &'a [f32],
    /// `[items + 1]` each: whose the queries are, and whose the keys.
    pub offsets: [&'a [usize]; 2],
    /// `[T]`, added to the logits of its key.
    pub key_bias: Option<&'a [f32]>,
    /// Added to the logits of pairs.
    pub pair_bias: Option<PairTable<'a>>,
    /// Which keys a query sees.
    pub sight: Sight,
}

/// Where the gradients of [`PairAttention`] go; all are overwritten.
#[derive(Debug)]
pub struct PairGradients<'a> {
    /// `[Q, H * D]`.
    pub q: &'a mut [f32],
    /// `[T, 2 * H * D]`.
    pub kv: &'a mut [f32],
    /// `[rows, H]`; empty without a table.
    pub table: &'a mut [f32],
}

impl PairAttention<'_> {
    /// Queries and keys.
    ///
    /// # Panics
    /// When lengths do not match, offsets fall, or a query sees no key.
    fn check(&self, function: &str) -> [usize; 2] {
        let Self { heads, q, kv, offsets: [queries, keys], key_bias, pair_bias, sight } = *self;
        let rows = [heads.rows_of(function, "q", q, 1), heads.rows_of(function, "kv", kv, 2)];
        check_offsets(function, queries, rows[0]);
        check_offsets(function, keys, rows[1]);
        assert_eq!(queries.len(), keys.len(), "{function}: queries and keys are of as many items");
        for (item, (queries, keys)) in queries.windows(2).zip(keys.windows(2)).enumerate() {
            let (queries, keys) = (queries[1] - queries[0], keys[1] - keys[0]);
            let fit = queries == 0 || keys > 0 && (sight == Sight::All || queries <= keys);
            assert!(fit, "{function}: item {item} has {queries} queries that see {sight:?} of {keys} keys");
        }
        if let Some(bias) = key_bias {
            let len = bias.len();
            assert_eq!(len, rows[1], "{function}: key_bias has {len} elements for {} rows", rows[1]);
        }
        if let Some(table) = pair_bias {
            table.check(function, heads, [queries, keys]);
        }
        rows
    }

    /// Runs `each` for every head of every item that has queries.
    fn for_each(&self, each: impl Fn(Part<'_>) + Sync + Send) {
        let [queries, keys] = self.offsets;
        for_each((queries.len() - 1) * self.heads.count, |task| {
            let (item, head) = (task / self.heads.count, task % self.heads.count);
            let part = Part {
                of: self,
                task,
                item,
                head,
                queries: queries[item]..queries[item + 1],
                keys: keys[item]..keys[item + 1],
            };
            if !part.queries.is_empty() {
                each(part);
            }
        });
    }
}

/// A head of an item.
struct Part<'a> {
    of: &'a PairAttention<'a>,
    task: usize,
    item: usize,
    head: usize,
    queries: Range<usize>,
    keys: Range<usize>,
}

impl Part<'_> {
    /// Values of all heads.
    fn width(&self) -> usize {
        self.of.heads.width()
    }

    /// Where the head's columns of its queries begin, in `[Q, H * D]`.
    fn at_queries(&self) -> usize {
        self.queries.start * self.width() + self.head * self.of.heads.dim
    }

    /// Where the head's columns of its keys (0) or values (1) begin, in `[T, 2 * H * D]`.
    fn at_keys(&self, part: usize) -> usize {
        self.keys.start * 2 * self.width() + part * self.width() + self.head * self.of.heads.dim
    }

    /// The row of the table for a query and a key of the item.
    fn row(&self, table: &PairTable<'_>, query: usize, key: usize) -> usize {
        usize::from(table.rows[table.starts[self.item] + query * self.keys.len() + key])
    }

    /// `[queries, padded]`: what the softmax of every query is.
    ///
    /// # Safety
    /// [`PairAttention::check`] has passed.
    #[inline(always)]
    unsafe fn probabilities<S: Simd>(&self, simd: S, padded: usize, out: &mut [f32]) {
        let PairAttention { heads, q, kv, key_bias, pair_bias, sight, .. } = *self.of;
        let (queries, keys) = (self.queries.len(), self.keys.len());
        // SAFETY: the head's columns of the item's rows are within `q` and `kv`, and `out` has all rows.
        unsafe {
            let q = Matrix::rows(q.as_ptr().add(self.at_queries()), self.width());
            let k = Matrix::rows(kv.as_ptr().add(self.at_keys(0)), 2 * self.width());
            let scores = Matrix::rows(out.as_mut_ptr(), padded);
            multiply([queries, keys, heads.dim], heads.scale, q, k.t(), scores, Threads::This);
        }
        let key_bias = key_bias.map(|bias| &bias[self.keys.clone()]);
        for query in 0..queries {
            let row = &mut out[query * padded..(query + 1) * padded];
            if let Some(table) = &pair_bias {
                for (key, score) in row[..keys].iter_mut().enumerate() {
                    *score += table.table[self.row(table, query, key) * heads.count + self.head];
                }
            }
            let seen = match sight {
                Sight::All => keys,
                Sight::UpToOwn => (keys + query + 1).saturating_sub(queries).min(keys),
            };
            row[seen..].fill(f32::NEG_INFINITY);
            normalised(simd, row, key_bias);
        }
    }
}

/// `out = softmax(scale · q kᵀ + key_bias + pair_bias) v` for each head of each item, over the keys that a query sees, in f32.
///
/// `out: [Q, H * D]`.
///
/// # Panics
/// When lengths do not match, offsets fall, a query sees no key, or this CPU does not support `isa`.
pub fn pair_attention(isa: Isa, attention: &PairAttention<'_>, out: &mut [f32]) {
    let [queries, _] = attention.check("pair_attention");
    let (len, width) = (out.len(), attention.heads.width());
    assert_eq!(len, queries * width, "pair_attention: out has {len} elements for {queries} rows of {width}");
    let out = Shared::new(out);
    attention.for_each(|part| dispatch(isa, Forward { part, out }));
}

struct Forward<'a> {
    part: Part<'a>,
    out: Shared<'a, f32>,
}

impl Job for Forward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { part, out } = self;
        let (queries, keys) = (part.queries.len(), part.keys.len());
        let padded = keys.next_multiple_of(S::LANES);
        let mut probabilities = Scratch::take(queries * padded);
        // SAFETY: lengths were checked; this task alone writes its head's columns of its queries.
        unsafe {
            part.probabilities(simd, padded, &mut probabilities);
            let p = Matrix::rows(probabilities.as_ptr(), padded);
            let v = Matrix::rows(part.of.kv.as_ptr().add(part.at_keys(1)), 2 * part.width());
            let out = Matrix::rows(out.start().add(part.at_queries()), part.width());
            multiply([queries, part.of.heads.dim, keys], 1.0, p, v, out, Threads::This);
        }
    }
}

/// The gradient of [`pair_attention`], from `grad_out: [Q, H * D]`. `key_bias` is taken as a constant.
///
/// # Panics
/// As [`pair_attention`].
pub fn pair_attention_backward(
    isa: Isa,
    attention: &PairAttention<'_>,
    grad_out: &[f32],
    gradients: PairGradients<'_>,
) {
    let function = "pair_attention_backward";
    let [queries, keys] = attention.check(function);
    let PairGradients { q, kv, table } = gradients;
    let width = attention.heads.width();
    let table_len = attention.pair_bias.map_or(0, |pairs| pairs.table.len());
    let found = [grad_out.len(), q.len(), kv.len(), table.len()];
    let expected = [queries * width, queries * width, keys * 2 * width, table_len];
    assert_eq!(found, expected, "{function}: elements of grad_out and of the gradients of q, kv and table");
    // Keys of items without queries.
    kv.fill(0.0);
    // Of every task its own, summed up in their order whichever thread was first.
    let heads = attention.heads.count;
    let rows = table_len / heads;
    let tasks = (attention.offsets[0].len() - 1) * heads;
    let mut sums = vec![0.0; tasks * rows];
    {
        let [q, kv, sums] = [q, kv, &mut sums[..]].map(Shared::new);
        attention.for_each(|part| dispatch(isa, Backward { part, grad_out, q, kv, sums, rows }));
    }
    table.fill(0.0);
    for (task, sums) in sums.chunks_exact(rows.max(1)).enumerate() {
        for (row, sum) in sums.iter().enumerate() {
            table[row * heads + task % heads] += sum;
        }
    }
}

struct Backward<'a> {
    part: Part<'a>,
    grad_out: &'a [f32],
    q: Shared<'a, f32>,
    kv: Shared<'a, f32>,
    /// `[tasks, rows]`.
    sums: Shared<'a, f32>,
    rows: usize,
}

impl Job for Backward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { part, grad_out, q: dq, kv: dkv, sums, rows } = self;
        let PairAttention { heads, q, kv, pair_bias, .. } = *part.of;
        let (queries, keys, width) = (part.queries.len(), part.keys.len(), part.width());
        let (dim, scale) = (heads.dim, heads.scale);
        let padded = keys.next_multiple_of(S::LANES);
        let mut probabilities = Scratch::take(queries * padded);
        let mut grads = Scratch::take(queries * padded);
        // SAFETY: lengths were checked; this task alone writes its head's columns of its queries, keys and values, and
        // its own sums.
        unsafe {
            part.probabilities(simd, padded, &mut probabilities);
            let input = |part_of: usize| Matrix::rows(kv.as_ptr().add(part.at_keys(part_of)), 2 * width);
            let output = |part_of: usize| Matrix::rows(dkv.start().add(part.at_keys(part_of)), 2 * width);
            let (k, v) = (input(0), input(1));
            let q = Matrix::rows(q.as_ptr().add(part.at_queries()), width);
            let grad_out = Matrix::rows(grad_out.as_ptr().add(part.at_queries()), width);
            let dp = Matrix::rows(grads.as_mut_ptr(), padded);
            multiply([queries, keys, dim], 1.0, grad_out, v.t(), dp, Threads::This);
            for query in 0..queries {
                let grad = &mut grads[query * padded..(query + 1) * padded];
                grad[keys..].fill(0.0);
                softmax_backward(simd, &probabilities[query * padded..(query + 1) * padded], grad);
            }
            let p = Matrix::rows(probabilities.as_ptr(), padded);
            let ds = Matrix::rows(grads.as_ptr(), padded);
            multiply([keys, dim, queries], 1.0, p.t(), grad_out, output(1), Threads::This);
            let dq = Matrix::rows(dq.start().add(part.at_queries()), width);
            multiply([queries, dim, keys], scale, ds, k, dq, Threads::This);
            multiply([keys, dim, queries], scale, ds.t(), q, output(0), Threads::This);
            if let Some(table) = &pair_bias {
                let sums = sums.range(part.task * rows..(part.task + 1) * rows);
                for query in 0..queries {
                    for key in 0..keys {
                        sums[part.row(table, query, key)] += grads[query * padded + key];
                    }
                }
            }
        }
    }
}
