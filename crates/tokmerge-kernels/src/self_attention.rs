//! The attention half of a Transformer block in one pass: `x += scale ⊙ proj(attention(qkv(LN(x))))`.
//!
//! `x: [T, C]`, row-major and contiguous. Equals [`norm_linear`](crate::norm_linear), [`attention`](crate::attention)
//! and [`linear`](crate::linear) with a residual epilogue, bit for bit; here a thread takes some whole items through all
//! of it, head by head, so that queries, keys and values are read from where they were written: its second-level cache.

use crate::attention::{Heads, OneHead, ValueLayout, attention, check_offsets};
use crate::isa::Isa;
use crate::lengths::is_product;
use crate::linear::{Epilogue, Layer, MAX_ROWS, Output, To, linear, norm_linear};
use crate::metric::{HeadAggregation, Part, head_metric};
use crate::norm::Norm;
use crate::pack::{PackedLinear, Precision};
use crate::parallel::{Shared, for_each, part, threads};
use crate::scratch::Scratch;
use crate::simd::{Job, Simd, dispatch, load_at, store_at};

/// The attention half of a Transformer block.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttention<'a> {
    /// The normalisation in front, over C channels.
    pub norm: Norm<'a>,
    /// C → 3 H D.
    pub qkv: &'a PackedLinear,
    /// `[3 * H * D]`.
    pub qkv_bias: Option<&'a [f32]>,
    /// Heads and the factor on their scores.
    pub heads: Heads,
    /// What attention itself is computed in.
    pub precision: Precision,
    /// H D → C; packed for the same instruction set as `qkv`.
    pub proj: &'a PackedLinear,
    /// `[C]`.
    pub proj_bias: Option<&'a [f32]>,
    /// One factor per channel of the result (`LayerScale`), `[C]`; none is 1.
    pub scale: Option<&'a [f32]>,
}

/// What tokens are to be compared by, as a by-product: as [`head_metric`] has it, bit for bit.
#[derive(Debug)]
pub struct Metric<'a> {
    /// Of queries, keys and values.
    pub part: Part,
    /// `[T, D]` or `[T, H * D]`.
    pub aggregation: HeadAggregation,
    /// Overwritten.
    pub out: &'a mut [f32],
}

/// `x += scale ⊙ proj(attention(qkv(LN(x))))` for `x: [T, C]`, in place.
///
/// - `offsets: [items + 1]`: item `i` is rows `offsets[i]..offsets[i + 1]`, from 0 to T; it may be empty.
/// - `key_bias: [T]` is added to the scores of that key (proportional attention).
///
/// # Panics
/// When lengths do not match, offsets fall, or the two layers are packed for different instruction sets.
pub fn self_attention(
    half: &SelfAttention<'_>,
    offsets: &[usize],
    key_bias: Option<&[f32]>,
    metric: Option<Metric<'_>>,
    x: &mut [f32],
) {
    let function = "self_attention";
    let SelfAttention { qkv, proj, heads, .. } = *half;
    let channels = qkv.in_features();
    assert!(
        qkv.out_features() > 0
            && is_product(qkv.out_features(), [3, heads.count, heads.dim])
            && is_product(proj.in_features(), [heads.count, heads.dim])
            && proj.out_features() == channels,
        "{function}: qkv is {qkv:?} and proj {proj:?}, which does not fit {} heads of {}",
        heads.count,
        heads.dim
    );
    assert!(qkv.isa() == proj.isa(), "{function}: qkv is {qkv:?}, proj {proj:?}; they must be packed alike");
    half.norm.check(function, channels);
    let (first, second) = half.layers();
    first.check(function);
    second.check(function);
    let rows = x.len() / channels.max(1);
    assert_eq!(x.len(), rows * channels, "{function}: {} elements are not rows of {channels}", x.len());
    check_offsets(function, offsets, rows);
    if let Some(key_bias) = key_bias {
        assert_eq!(
            key_bias.len(),
            rows,
            "{function}: key_bias has {} elements for {rows} rows",
            key_bias.len()
        );
    }
    if let Some(Metric { aggregation, out, .. }) = &metric {
        let width = metric_width(heads, *aggregation);
        let found = out.len();
        assert_eq!(
            found,
            rows * width,
            "{function}: the metric has {found} elements, expected {rows} x {width}"
        );
    }
    match half.groups(offsets) {
        Some(groups) => half.by_items(groups, offsets, key_bias, metric, x),
        None => half.by_layers(offsets, key_bias, metric, x),
    }
}

fn metric_width(heads: Heads, aggregation: HeadAggregation) -> usize {
    match aggregation {
        HeadAggregation::Mean => heads.dim,
        HeadAggregation::Concat => heads.width(),
    }
}

/// Rows that a group should have, so that reading the weights pays; more would only fill the second-level cache.
const GROUP_ROWS: usize = 42;
/// Numbers of groups that are looked at.
const ATTEMPTS: usize = 8;
/// How much longer than equal shares the busiest thread may take.
const IMBALANCE: f64 = 1.06;

/// Into how many groups the items are cut, each for one thread; none where that would leave threads without work.
fn equal_groups(offsets: &[usize], threads: usize) -> Option<usize> {
    let (items, rows) = (offsets.len() - 1, offsets[offsets.len() - 1]);
    if rows == 0 {
        return None;
    }
    let share = rows as f64 / threads as f64;
    let balanced = |groups: &usize| {
        let largest = (0..*groups).map(|group| {
            let items = part(items, *groups, group);
            offsets[items.end] - offsets[items.start]
        });
        let largest = largest.max().unwrap_or(0) as f64;
        // Rounds of equal groups, or groups that are taken whenever a thread is free: what is known to be less.
        let rounds = groups.div_ceil(threads) as f64 * largest;
        let free = share + largest * (1.0 - 1.0 / threads as f64);
        rounds.min(free) <= share * IMBALANCE
    };
    let fewest = rows.div_ceil(GROUP_ROWS).next_multiple_of(threads).min(items);
    (fewest..=items).step_by(threads).take(ATTEMPTS).find(balanced)
}

impl SelfAttention<'_> {
    fn layers(&self) -> (Layer<'_>, Layer<'_>) {
        let first = Layer { w: self.qkv, bias: self.qkv_bias, epilogue: Epilogue::Store };
        let second =
            Layer { w: self.proj, bias: self.proj_bias, epilogue: Epilogue::Residual { scale: self.scale } };
        (first, second)
    }

    /// The groups for a pass item by item, if that is possible and worth it.
    fn groups(&self, offsets: &[usize]) -> Option<usize> {
        // A head must be made of whole panels.
        let whole = self.heads.dim.is_multiple_of(self.qkv.panel_width());
        if whole { equal_groups(offsets, threads()) } else { None }
    }

    /// One layer after the other, each divided among all threads.
    fn by_layers(
        &self,
        offsets: &[usize],
        key_bias: Option<&[f32]>,
        metric: Option<Metric<'_>>,
        x: &mut [f32],
    ) {
        let Self { heads, precision, scale, .. } = *self;
        let (isa, rows) = (self.qkv.isa(), offsets[offsets.len() - 1]);
        let mut qkv = Scratch::take(rows * 3 * heads.width());
        let mut y = Scratch::take(rows * heads.width());
        norm_linear(self.norm, self.qkv, self.qkv_bias, x, Epilogue::Store, &mut qkv);
        if let Some(Metric { part, aggregation, out }) = metric {
            head_metric(isa, heads, &qkv, part, aggregation, out);
        }
        attention(isa, precision, heads, &qkv, offsets, key_bias, &mut y, None);
        linear(self.proj, self.proj_bias, &y, Epilogue::Residual { scale }, x);
    }

    /// Items in groups, each group by one thread from beginning to end.
    fn by_items(
        &self,
        groups: usize,
        offsets: &[usize],
        key_bias: Option<&[f32]>,
        metric: Option<Metric<'_>>,
        x: &mut [f32],
    ) {
        let (channels, items) = (self.qkv.in_features(), offsets.len() - 1);
        let x = Shared::new(x);
        let metric = metric.map(|Metric { part, aggregation, out }| {
            (part, aggregation, metric_width(self.heads, aggregation), Shared::new(out))
        });
        for_each(groups, |group| {
            let items = part(items, groups, group);
            let offsets = &offsets[items.start..=items.end];
            let rows = offsets[0]..offsets[offsets.len() - 1];
            let metric = metric.map(|(part, aggregation, width, out)| {
                // SAFETY: the rows of different tasks do not overlap.
                let out = unsafe { out.range(rows.start * width..rows.end * width) };
                Metric { part, aggregation, out }
            });
            // SAFETY: as above.
            let x = unsafe { x.range(rows.start * channels..rows.end * channels) };
            self.group(offsets, key_bias.map(|key_bias| &key_bias[rows]), metric, x);
        });
    }

    /// Whole items, on this thread; `key_bias`, `metric` and `x` are theirs.
    fn group(
        &self,
        offsets: &[usize],
        key_bias: Option<&[f32]>,
        mut metric: Option<Metric<'_>>,
        x: &mut [f32],
    ) {
        let Heads { count, dim, scale } = self.heads;
        let (width, rows) = (count * dim, offsets[offsets.len() - 1] - offsets[0]);
        let (layer, second) = self.layers();
        let mut operand = Scratch::take(rows * self.qkv.words_per_row());
        layer.dispatch(Prepare { layer, norm: self.norm, x, operand: &mut operand });
        let layout = ValueLayout::behind(self.qkv, self.precision);
        let mut queries_keys = Scratch::take(rows * 2 * dim);
        let mut values = Scratch::take(rows * dim);
        let mut y = Scratch::take(rows * width);
        for head in 0..count {
            let (queries_keys, values) = (&mut queries_keys[..], &mut values[..]);
            layer.dispatch(Head { layer, operand: &operand, rows, head, dim, queries_keys, values, layout });
            let head_of = OneHead { dim, scale, queries_keys, values, layout };
            if let Some(metric) = &mut metric {
                let features = Features { count, head, of: head_of, part: metric.part };
                features.write(self.qkv.isa(), metric);
            }
            let out = (&mut y[head * dim..], width);
            head_of.attend(self.qkv.isa(), self.precision, offsets, key_bias, out);
        }
        second.dispatch(Project { layer: second, y: &y, x });
    }
}

/// Normalises rows into operands of a layer.
struct Prepare<'a> {
    layer: Layer<'a>,
    norm: Norm<'a>,
    x: &'a [f32],
    operand: &'a mut [f32],
}

impl Job for Prepare<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.layer.prepare(simd, Some(self.norm), self.x, self.operand);
    }
}

/// Computes queries, keys and values of one head.
struct Head<'a> {
    layer: Layer<'a>,
    operand: &'a [f32],
    rows: usize,
    head: usize,
    dim: usize,
    /// `[rows, 2 * dim]`.
    queries_keys: &'a mut [f32],
    /// `[rows, dim]`, laid out as `layout` says.
    values: &'a mut [f32],
    layout: ValueLayout,
}

impl Job for Head<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { layer, operand, rows, head, dim, queries_keys, values, layout } = self;
        let panel = layer.w.panel_width();
        let (width, all_heads) = (layout.width(dim), layer.w.out_features() / 3);
        assert!(queries_keys.len() == rows * 2 * dim && values.len() == rows * dim);
        assert!(dim.is_multiple_of(width) && width.is_multiple_of(panel));
        let (words, blocks) = (layer.w.words_per_row(), rows.div_ceil(MAX_ROWS));
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

/// What one head adds to the metric.
struct Features<'a> {
    /// H.
    count: usize,
    head: usize,
    of: OneHead<'a>,
    part: Part,
}

impl Features<'_> {
    fn write(self, isa: Isa, metric: &mut Metric<'_>) {
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
struct Sum<'a> {
    features: Features<'a>,
    out: &'a mut [f32],
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

/// The layer behind attention, added to `x`.
struct Project<'a> {
    layer: Layer<'a>,
    y: &'a [f32],
    x: &'a mut [f32],
}

impl Job for Project<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { layer, y, x } = self;
        let (w, width) = (layer.w, layer.w.out_features());
        let rows = x.len() / width;
        // SAFETY: `x` has `rows` rows of the layer's outputs, and is ours.
        unsafe {
            let to = Output { to: To::Values(x.as_mut_ptr()), first: 0, width };
            layer.rows(simd, None, y, rows, 0..w.panels(), to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::equal_groups;

    #[test]
    fn items_are_alone_unless_they_are_small_and_threads_get_equal_shares() {
        let equal = |items: usize, rows: usize| (0..=items).map(|i| i * rows).collect::<Vec<_>>();
        assert_eq!(equal_groups(&equal(8, 197), 2), Some(8));
        assert_eq!(equal_groups(&equal(32, 54), 2), Some(32));
        // Ten groups of three or four items are not equal; sixteen of two are.
        assert_eq!(equal_groups(&equal(32, 11), 2), Some(16));
        assert_eq!(equal_groups(&equal(3, 197), 1), Some(3));
        for (items, rows) in [(0, 0), (1, 0), (1, 197), (3, 197)] {
            assert_eq!(equal_groups(&equal(items, rows), 2), None, "{items} x {rows}");
        }
    }
}
