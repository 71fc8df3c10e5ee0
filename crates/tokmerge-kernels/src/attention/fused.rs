//! The attention half of a Transformer block in one pass: `x += scale ⊙ proj(attention(qkv(norm(x))))`, with whatever
//! norms and rotations stand in between.
//!
//! `x: [T, C]`, row-major and contiguous. Equals [`norm_linear`](crate::norm_linear), [`attention`](crate::attention)
//! and [`linear`](crate::linear) with a residual epilogue, bit for bit; here a thread takes some whole items through all
//! of it, head by head, so that queries, keys and values are read from where they were written: its L2.

use super::metric::{HeadAggregation, Part, head_metric};
use super::one_head::{Features, Head, NormaliseHead, Prepare, Project, TurnHead};
use super::rotation::{Rotation, rotate};
use super::{Heads, OneHead, ValueLayout, attention, check_offsets};
use crate::lengths::is_product;
use crate::linear::norm::{Norm, normalise_heads};
use crate::linear::pack::PackedLinear;
use crate::linear::precision::Precision;
use crate::linear::{Epilogue, Layer, linear, norm_linear};
use crate::simd::dispatch;
use crate::threads::scratch::Scratch;
use crate::threads::{Shared, for_each, part, threads};

/// The attention half of a Transformer block.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttention<'a> {
    /// The normalisation in front, over C channels.
    pub norm: Norm<'a>,
    /// C → 3 H D.
    pub qkv: &'a PackedLinear,
    /// `[3 * H * D]`.
    pub qkv_bias: Option<&'a [f32]>,
    /// Of queries and keys, over the D channels of each head.
    pub qk_norm: [Option<Norm<'a>>; 2],
    /// Of queries and keys, after their norms.
    pub rotation: Option<Rotation<'a>>,
    /// Heads and the factor on their scores.
    pub heads: Heads,
    /// What attention itself is computed in.
    pub precision: Precision,
    /// Before `proj`, over H D channels.
    pub inner_norm: Option<Norm<'a>>,
    /// H D → C; packed for the same instruction set as `qkv`.
    pub proj: &'a PackedLinear,
    /// `[C]`.
    pub proj_bias: Option<&'a [f32]>,
    /// One factor per channel of the result (`LayerScale`), `[C]`; none is 1.
    pub scale: Option<&'a [f32]>,
}

/// What tokens are to be compared by, as a by-product: as [`head_metric`] has it, bit for bit, after the norms of queries
/// and keys and before they are rotated.
#[derive(Debug)]
pub struct Metric<'a> {
    /// Of queries, keys and values.
    pub part: Part,
    /// `[T, D]` or `[T, H * D]`.
    pub aggregation: HeadAggregation,
    /// Overwritten.
    pub out: &'a mut [f32],
}

/// `x += scale ⊙ proj(attention(qkv(norm(x))))` for `x: [T, C]`, in place.
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
    half.qk_norm.iter().flatten().for_each(|norm| norm.check(function, heads.dim));
    if let Some(norm) = half.inner_norm {
        norm.check(function, heads.width());
    }
    let (first, second) = half.layers();
    first.check(function);
    second.check(function);
    let rows = x.len() / channels.max(1);
    assert_eq!(x.len(), rows * channels, "{function}: {} elements are not rows of {channels}", x.len());
    check_offsets(function, offsets, rows);
    if let Some(rotation) = half.rotation {
        rotation.check(function, rows, heads);
    }
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

/// Rows that a group should have, so that reading the weights pays; more would only fill L2.
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
        if self.qk_norm.iter().any(Option::is_some) {
            normalise_heads(isa, heads, &self.qk_norm, &mut qkv, rows);
        }
        if let Some(Metric { part, aggregation, out }) = metric {
            head_metric(isa, heads, &qkv, part, aggregation, out);
        }
        if let Some(rotation) = self.rotation {
            rotate(isa, heads, rotation, 2, &mut qkv, rows);
        }
        attention(isa, precision, heads, &qkv, offsets, key_bias, &mut y, None);
        let residual = Epilogue::Residual { scale };
        match self.inner_norm {
            Some(norm) => norm_linear(norm, self.proj, self.proj_bias, &y, residual, x),
            None => linear(self.proj, self.proj_bias, &y, residual, x),
        }
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
            let rotation = self.rotation.map(|rotation| rotation.rows(rows.clone(), self.heads));
            self.group(offsets, rotation, key_bias.map(|key_bias| &key_bias[rows]), metric, x);
        });
    }

    /// Whole items, on this thread; everything but their offsets begins with the first of their rows.
    fn group(
        &self,
        offsets: &[usize],
        rotation: Option<Rotation<'_>>,
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
            layer.dispatch(Head {
                layer,
                operand: &operand,
                rows,
                head,
                dim,
                queries_keys: &mut *queries_keys,
                values: &mut *values,
                layout,
            });
            if self.qk_norm.iter().any(Option::is_some) {
                dispatch(
                    self.qkv.isa(),
                    NormaliseHead { norms: self.qk_norm, dim, queries_keys: &mut *queries_keys },
                );
            }
            let head_of = OneHead { dim, scale, queries_keys, values, layout };
            if let Some(metric) = &mut metric {
                let features = Features { count, head, of: head_of, part: metric.part };
                features.write(self.qkv.isa(), metric);
            }
            if let Some(rotation) = rotation {
                dispatch(
                    self.qkv.isa(),
                    TurnHead { rotation, heads: self.heads, head, queries_keys: &mut *queries_keys },
                );
            }
            let head_of = OneHead { dim, scale, queries_keys, values, layout };
            let out = (&mut y[head * dim..], width);
            head_of.attend(self.qkv.isa(), self.precision, offsets, key_bias, out);
        }
        second.dispatch(Project { layer: second, norm: self.inner_norm, y: &y, x });
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
