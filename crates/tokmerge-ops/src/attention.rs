//! Multi-head attention within each item, with biases and a mask, and what merging reads off it.

use crate::backend::{Body, KernelOps, body};
use crate::layout::{places, select_rows};
use crate::pair_attention::{PairPlan, attend};
use crate::pool::{contiguous, values};
use crate::{Layout, pool};
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Dispatch, TensorMetadata};
use burn::tensor::{Int, Tensor, TensorData, activation::softmax, s};
use burn_flex::{Flex, FlexTensor};
pub use maps::{AttentionMap, MapQueries, attention_maps, attention_probabilities, mix};
use std::sync::Arc;
use tokmerge_kernels as kernels;
pub use tokmerge_kernels::Part;
use tokmerge_kernels::{HeadAggregation, Heads, Isa, PairTable, Precision};

mod maps;

/// How queries attend to keys: `softmax(q kᵀ * scale + key_bias + pair_bias) v`.
#[derive(Clone, Debug)]
pub struct AttentionSpec<'a> {
    /// Heads and the factor on their logits.
    pub heads: Heads,
    /// At [`Precision::Bf16`] the operands of both products are rounded to bf16 where that is faster, and only there;
    /// the gradient is that of f32.
    pub precision: Precision,
    /// Whose the keys are.
    pub layout: &'a Layout,
    /// `[T]`, added to the logits of its key: the logarithm of its size in proportional attention (ToMe, eq. 1).
    pub key_bias: Option<Arc<[f32]>>,
    /// Added to the logits of pairs.
    pub pair_bias: Option<PairBias>,
    /// Who attends to whom.
    pub mask: Mask,
}

impl<'a> AttentionSpec<'a> {
    /// Of all tokens of an item to all of them, in f32, without a bias.
    #[must_use]
    pub fn new(heads: Heads, layout: &'a Layout) -> Self {
        Self { heads, precision: Precision::F32, layout, key_bias: None, pair_bias: None, mask: Mask::None }
    }

    /// Whether all kernels can do it.
    pub(crate) fn is_plain(&self) -> bool {
        self.pair_bias.is_none() && self.mask == Mask::None
    }

    /// The table of biases, where the kernel for these can do it.
    fn pair_table(&self) -> Option<&PairRows> {
        match &self.pair_bias {
            Some(PairBias::Rows(rows)) if self.mask == Mask::None => Some(rows),
            _ => None,
        }
    }

    fn width(&self) -> usize {
        self.heads.count * self.heads.dim
    }
}

/// What is added to the logits of pairs of a query and a key.
#[derive(Clone, Debug)]
pub enum PairBias {
    /// `[H, N, N]`, queries by keys: the same for every item, all of which have `N` tokens (tables of relative positions).
    Shared(Tensor<3>),
    /// Of every item its own.
    Rows(PairRows),
}

/// Biases of pairs as rows of a table, of every item its own: for tokens that stand anywhere.
#[derive(Clone, Debug)]
pub struct PairRows {
    /// `[rows, H]`, at most 256 rows.
    pub table: Tensor<2>,
    /// Row of the table for every pair, queries by keys, the items behind each other.
    pub rows: Arc<[u8]>,
}

impl PairRows {
    /// Where the pairs of each item begin, and the end.
    pub(crate) fn starts(q_layout: &Layout, layout: &Layout) -> Vec<usize> {
        let pairs = q_layout.lens().zip(layout.lens()).map(|(queries, keys)| queries * keys);
        let mut starts = vec![0];
        pairs.for_each(|pairs| starts.push(starts[starts.len() - 1] + pairs));
        starts
    }

    /// `[items, H, Q, K]` of some items of equal lengths.
    fn of(&self, items: &[usize], starts: &[usize], heads: usize, [queries, keys]: [usize; 2]) -> Tensor<4> {
        let rows = items.iter().flat_map(|item| &self.rows[starts[*item]..starts[item + 1]]);
        let rows: Vec<i32> = rows.map(|row| i32::from(*row)).collect();
        let count = rows.len();
        assert_eq!(count, items.len() * queries * keys, "a row for every pair");
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &self.table.device());
        self.table.clone().select(0, rows).reshape([items.len(), queries, keys, heads]).permute([0, 3, 1, 2])
    }
}

/// Which keys a query attends to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mask {
    /// All of its item.
    #[default]
    None,
    /// Those up to its own place. The last query stands at the last key, where there are fewer queries than keys.
    Causal,
}

/// Self-attention within each item. `qkv: [T, 3 * H * D]`, queries, keys and values side by side, heads inside each →
/// `[T, H * D]`.
///
/// # Panics
/// When there is a pair bias for items of another length.
pub fn attention(qkv: Tensor<2>, spec: &AttentionSpec<'_>) -> Tensor<2> {
    match body(&qkv) {
        Body::Kernels if spec.is_plain() => Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_attention(
            qkv.into_dispatch(),
            spec.key_bias.clone(),
            spec.heads,
            spec.precision,
            spec.layout.offsets(),
        )),
        Body::Kernels => match (spec.pair_table(), qkv.clone().try_into_primitive::<Flex>()) {
            (Some(pairs), Ok(primitive)) => {
                drop(qkv);
                paired_on_flex(primitive, pairs, spec)
            }
            _ => {
                let (q, kv) = split(qkv, spec.width());
                by_pairs(q, spec.layout, kv, spec)
            }
        },
        Body::Composed => composed(qkv, spec),
    }
}

/// Attention of other queries than the tokens that are attended to: `q: [Q, H * D]`, those of an item as `q_layout` says,
/// and `kv: [T, 2 * H * D]`, keys and values side by side, whose layout and key bias `spec` has → `[Q, H * D]`. Where
/// neither pair bias nor mask is given, bit for bit what [`attention`] gives a row with the same query.
///
/// # Panics
/// When the layouts have another number of items, or an item has queries but no keys.
pub fn cross_attention(
    q: Tensor<2>,
    q_layout: &Layout,
    kv: Tensor<2>,
    spec: &AttentionSpec<'_>,
) -> Tensor<2> {
    let items = spec.layout.items();
    assert_eq!(q_layout.items(), items, "cross_attention: queries and keys are of as many items");
    let plain = body(&q) == Body::Kernels && spec.is_plain();
    let primitives = || {
        let primitive = |tensor: &Tensor<2>| tensor.clone().try_into_primitive::<Flex>().ok();
        Some([primitive(&q)?, primitive(&kv)?])
    };
    match (plain, primitives(), body(&q)) {
        (true, Some(primitives), _) => {
            drop((q, kv));
            cross_on_flex(primitives, q_layout, spec)
        }
        (.., Body::Kernels) => by_pairs(q, q_layout, kv, spec),
        (.., Body::Composed) => composed_cross(q, q_layout, kv, spec),
    }
}

/// By the kernels that have everything, where they can do it.
fn by_pairs(q: Tensor<2>, q_layout: &Layout, kv: Tensor<2>, spec: &AttentionSpec<'_>) -> Tensor<2> {
    match PairPlan::of(q_layout, spec) {
        Some((plan, table)) => attend(q, kv, table, plan),
        None => composed_cross(q, q_layout, kv, spec),
    }
}

/// The attention every token receives: the mean over heads and over the queries of its item of its column of
/// the softmax. `[T]`, summing to one in each item. Carries no gradient.
pub fn attention_received(qkv: Tensor<2>, spec: &AttentionSpec<'_>) -> Vec<f32> {
    let qkv = qkv.without_autodiff();
    match (body(&qkv), qkv.clone().try_into_primitive::<Flex>()) {
        (Body::Kernels, Ok(primitive)) if spec.is_plain() => {
            let primitive = contiguous(primitive);
            let rows = spec.layout.rows();
            let mut out = pool::take(rows * spec.width());
            let mut received = vec![0.0; rows];
            kernels::attention(
                Isa::current(),
                Precision::F32,
                spec.heads,
                values(&primitive),
                &spec.layout.offsets(),
                spec.key_bias.as_deref(),
                &mut out,
                Some(&mut received),
            );
            pool::give(pool::tensor(out, [rows, spec.width()]));
            received
        }
        _ => composed_received(qkv, spec),
    }
}

/// The attention that the first tokens of every item give to each of its tokens: of their rows of the softmax the mean,
/// over them and over the heads. `front` says how many they are. `[T]`, summing to one in each item that has some, zeros
/// in one that has none. Carries no gradient.
///
/// # Panics
/// When there is a pair bias or a mask, or `front` has another number of items.
pub fn attention_received_from(qkv: Tensor<2>, front: &Layout, spec: &AttentionSpec<'_>) -> Vec<f32> {
    let layout = spec.layout;
    assert!(spec.is_plain(), "the first tokens attend without pair bias and mask");
    assert_eq!(front.items(), layout.items(), "the first tokens of every item");
    let qkv = qkv.without_autodiff();
    let (q, kv) = split(qkv, spec.width());
    // Item by item, so that each is what it is alone, bit for bit: what is left of it hangs on the order of these.
    let of = |item: usize| {
        let (keys, queries) = (layout.range(item), front.range(item).len().min(layout.range(item).len()));
        if queries == 0 {
            return Tensor::zeros([keys.len()], &q.device());
        }
        let key_bias = spec.key_bias.as_ref().map(|bias| bias[keys.clone()].to_vec());
        let shape = [1, queries, keys.len()];
        let q = q.clone().slice(s![keys.start..keys.start + queries, ..]);
        let kv = kv.clone().slice(s![keys.start..keys.end, ..]);
        let (probabilities, _) = probabilities(q, kv, key_bias, shape, None, spec);
        probabilities.mean_dim(1).mean_dim(2).reshape([keys.len()])
    };
    let items: Vec<Tensor<1>> =
        (0..layout.items()).filter(|item| !layout.range(*item).is_empty()).map(of).collect();
    if items.is_empty() {
        return Vec::new();
    }
    Tensor::cat(items, 0).into_data().iter::<f32>().collect()
}

/// One part of `qkv: [T, 3 * H * D]` as features to compare tokens by: averaged over the heads (`[T, D]`), or
/// all heads side by side (`[T, H * D]`). Carries no gradient.
pub fn head_features(qkv: Tensor<2>, heads: Heads, part: Part, aggregation: HeadAggregation) -> Tensor<2> {
    let qkv = qkv.without_autodiff();
    let [rows, _] = qkv.dims();
    match (body(&qkv), qkv.clone().try_into_primitive::<Flex>()) {
        (Body::Kernels, Ok(primitive)) => {
            let primitive = contiguous(primitive);
            let width = match aggregation {
                HeadAggregation::Mean => heads.dim,
                HeadAggregation::Concat => heads.count * heads.dim,
            };
            let mut out = pool::take(rows * width);
            kernels::head_metric(Isa::current(), heads, values(&primitive), part, aggregation, &mut out);
            Tensor::from_primitive::<Flex>(pool::tensor(out, [rows, width]))
        }
        _ => composed_features(qkv, heads, part, aggregation),
    }
}

fn composed_features(qkv: Tensor<2>, heads: Heads, part: Part, aggregation: HeadAggregation) -> Tensor<2> {
    let [rows, _] = qkv.dims();
    let width = heads.count * heads.dim;
    let start = width * part.place();
    let features = qkv.slice(s![.., start..start + width]);
    match aggregation {
        HeadAggregation::Concat => features,
        HeadAggregation::Mean => features.reshape([rows, heads.count, heads.dim]).mean_dim(1).squeeze_dim(1),
    }
}

/// Softmax probabilities `[B, H, Q, K]` and values `[B, H, K, D]` of items of equal lengths: `q: [B * Q, H * D]`,
/// `kv: [B * K, 2 * H * D]`, `key_bias: [B * K]`.
fn probabilities(
    q: Tensor<2>,
    kv: Tensor<2>,
    key_bias: Option<Vec<f32>>,
    [items, queries, keys]: [usize; 3],
    pair_bias: Option<Tensor<4>>,
    spec: &AttentionSpec<'_>,
) -> (Tensor<4>, Tensor<4>) {
    let (device, heads) = (q.device(), spec.heads);
    let q = q.reshape([items, queries, heads.count, heads.dim]).swap_dims(1, 2);
    let kv = kv.reshape([items, keys, 2, heads.count, heads.dim]).permute([2, 0, 3, 1, 4]);
    let part =
        |index: usize| -> Tensor<4> { kv.clone().slice(s![index..=index, .., .., .., ..]).squeeze_dim(0) };
    let mut logits = q.matmul(part(0).swap_dims(2, 3)) * heads.scale;
    if let Some(bias) = key_bias {
        logits = logits + Tensor::<4>::from_data(TensorData::new(bias, [items, 1, 1, keys]), &device);
    }
    if let Some(bias) = pair_bias {
        logits = logits + bias;
    }
    if spec.mask == Mask::Causal {
        let hidden = |query: usize, key: usize| key + queries > query + keys;
        let bias = (0..queries).flat_map(|query| (0..keys).map(move |key| (query, key)));
        let bias: Vec<f32> =
            bias.map(|(query, key)| if hidden(query, key) { f32::NEG_INFINITY } else { 0.0 }).collect();
        logits = logits + Tensor::<4>::from_data(TensorData::new(bias, [1, 1, queries, keys]), &device);
    }
    (softmax(logits, 3), part(1))
}

/// Queries, and keys with values, of `qkv: [T, 3 * W]`.
fn split(qkv: Tensor<2>, width: usize) -> (Tensor<2>, Tensor<2>) {
    (qkv.clone().slice(s![.., ..width]), qkv.slice(s![.., width..]))
}

fn composed(qkv: Tensor<2>, spec: &AttentionSpec<'_>) -> Tensor<2> {
    let (q, kv) = split(qkv, spec.width());
    composed_cross(q, spec.layout, kv, spec)
}

fn composed_cross(q: Tensor<2>, q_layout: &Layout, kv: Tensor<2>, spec: &AttentionSpec<'_>) -> Tensor<2> {
    let width = spec.width();
    by_length(q, q_layout, kv, spec, |q, kv, key_bias, pair_bias, shape @ [items, queries, _]| {
        let (probabilities, v) = probabilities(q, kv, key_bias, shape, pair_bias, spec);
        probabilities.matmul(v).swap_dims(1, 2).reshape([items * queries, width])
    })
}

fn composed_received(qkv: Tensor<2>, spec: &AttentionSpec<'_>) -> Vec<f32> {
    let (q, kv) = split(qkv, spec.width());
    let received =
        by_length(q, spec.layout, kv, spec, |q, kv, key_bias, pair_bias, shape @ [items, _, keys]| {
            let (probabilities, _) = probabilities(q, kv, key_bias, shape, pair_bias, spec);
            probabilities.mean_dim(1).mean_dim(2).reshape([items * keys, 1])
        });
    received.into_data().iter::<f32>().collect()
}

/// Calls `each(q, kv, key_bias, pair_bias, [items, queries, keys])` once per distinct pair of lengths, with the rows of all items of
/// these lengths, and puts the `[items * queries, W]` it returns back in the order of `q_layout`.
fn by_length(
    q: Tensor<2>,
    q_layout: &Layout,
    kv: Tensor<2>,
    spec: &AttentionSpec<'_>,
    each: impl Fn(Tensor<2>, Tensor<2>, Option<Vec<f32>>, Option<Tensor<4>>, [usize; 3]) -> Tensor<2>,
) -> Tensor<2> {
    if q_layout.rows() == 0 {
        return q;
    }
    let layout = spec.layout;
    let starts = match &spec.pair_bias {
        Some(PairBias::Rows(_)) => PairRows::starts(q_layout, layout),
        Some(PairBias::Shared(_)) | None => Vec::new(),
    };
    let pair_bias = |items: &[usize], [queries, keys]: [usize; 2]| match &spec.pair_bias {
        None => None,
        Some(PairBias::Rows(pairs)) => Some(pairs.of(items, &starts, spec.heads.count, [queries, keys])),
        Some(PairBias::Shared(bias)) => {
            let expected = [spec.heads.count, queries, keys];
            assert_eq!(bias.dims(), expected, "the pair bias is of other heads, queries and keys");
            Some(bias.clone().unsqueeze_dim::<4>(0))
        }
    };
    if let (&Layout::Uniform { items, len: queries }, &Layout::Uniform { len: keys, .. }) = (q_layout, layout)
    {
        assert!(keys > 0, "every item has {queries} queries but no keys");
        let all: Vec<usize> = (0..items).collect();
        let key_bias = spec.key_bias.as_deref().map(<[f32]>::to_vec);
        return each(q, kv, key_bias, pair_bias(&all, [queries, keys]), [items, queries, keys]);
    }
    let mut order = Vec::with_capacity(q_layout.rows());
    let mut parts = Vec::new();
    for ((queries, keys), items) in places(q_layout.lens().zip(layout.lens())) {
        if queries == 0 {
            continue;
        }
        assert!(keys > 0, "item {} has {queries} queries but no keys", items[0]);
        let key_rows = || items.iter().flat_map(|item| layout.range(*item));
        let query_rows = || items.iter().flat_map(|item| q_layout.range(*item));
        let key_bias = spec.key_bias.as_ref().map(|bias| key_rows().map(|row| bias[row]).collect());
        let kv = select_rows(&kv, key_rows().map(|row| row as u32));
        let q = select_rows(&q, query_rows().map(|row| row as u32));
        let pair_bias = pair_bias(&items, [queries, keys]);
        parts.push(each(q, kv, key_bias, pair_bias, [items.len(), queries, keys]));
        order.extend(query_rows());
    }
    let mut back = vec![0; order.len()];
    for (place, row) in order.into_iter().enumerate() {
        back[row] = place as u32;
    }
    select_rows(&Tensor::cat(parts, 0), back.into_iter())
}

fn paired_on_flex(qkv: FlexTensor, pairs: &PairRows, spec: &AttentionSpec<'_>) -> Tensor<2> {
    let qkv = contiguous(qkv);
    let (rows, width) = (qkv.shape()[0], spec.width());
    let table: Vec<f32> = pairs.table.clone().into_data().iter::<f32>().collect();
    let starts = PairRows::starts(spec.layout, spec.layout);
    let mut out = pool::take(rows * width);
    kernels::paired_attention(
        Isa::current(),
        spec.precision,
        spec.heads,
        values(&qkv),
        &spec.layout.offsets(),
        (spec.key_bias.as_deref(), PairTable { table: &table, rows: &pairs.rows, starts: &starts }),
        &mut out,
        None,
    );
    pool::give(qkv);
    Tensor::from_primitive::<Flex>(pool::tensor(out, [rows, width]))
}

pub(crate) fn on_flex(
    qkv: FlexTensor,
    key_bias: Option<&[f32]>,
    heads: Heads,
    precision: Precision,
    offsets: &[usize],
) -> FlexTensor {
    let qkv = contiguous(qkv);
    let (rows, width) = (qkv.shape()[0], heads.count * heads.dim);
    let mut out = pool::take(rows * width);
    kernels::attention(Isa::current(), precision, heads, values(&qkv), offsets, key_bias, &mut out, None);
    pool::give(qkv);
    pool::tensor(out, [rows, width])
}

fn cross_on_flex([q, kv]: [FlexTensor; 2], q_layout: &Layout, spec: &AttentionSpec<'_>) -> Tensor<2> {
    let (q, kv) = (contiguous(q), contiguous(kv));
    let rows = q_layout.rows();
    let mut out = pool::take(rows * spec.width());
    let offsets = [q_layout.offsets(), spec.layout.offsets()];
    kernels::cross_attention(
        Isa::current(),
        spec.precision,
        spec.heads,
        [values(&q), values(&kv)],
        [&offsets[0], &offsets[1]],
        spec.key_bias.as_deref(),
        &mut out,
    );
    pool::give(q);
    pool::give(kv);
    Tensor::from_primitive::<Flex>(pool::tensor(out, [rows, spec.width()]))
}

#[derive(Debug)]
struct AttentionBackward;

impl Backward<Flex, 1> for AttentionBackward {
    type State = (FlexTensor, Option<Arc<[f32]>>, Heads, Arc<[usize]>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let (qkv, key_bias, heads, offsets) = ops.state;
        if let [Some(parent)] = ops.parents {
            let mut dqkv = pool::take(qkv.shape().num_elements());
            kernels::attention_backward(
                Isa::current(),
                heads,
                values(&qkv),
                &offsets,
                key_bias.as_deref(),
                values(&grad),
                &mut dqkv,
            );
            let shape = qkv.shape();
            pool::give(qkv);
            pool::give(grad);
            grads.register::<Flex>(parent.id, pool::tensor(dqkv, shape));
        }
    }
}

pub(crate) fn tracked<C: CheckpointStrategy>(
    qkv: FloatTensor<Autodiff<Flex, C>>,
    key_bias: Option<Arc<[f32]>>,
    heads: Heads,
    precision: Precision,
    offsets: Arc<[usize]>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let node = qkv.node();
    let qkv = contiguous(qkv.into_primitive());
    let out = on_flex(qkv.clone(), key_bias.as_deref(), heads, precision, &offsets);
    match AttentionBackward.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((qkv, key_bias, heads, offsets), out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    }
}

#[cfg(test)]
mod tests;
