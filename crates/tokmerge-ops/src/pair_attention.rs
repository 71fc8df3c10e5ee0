//! Attention between two layouts by the kernels that have everything, and its gradient.

use crate::attention::{Mask, PairBias, PairRows};
use crate::backend::{KernelOps, Maybe};
use crate::pool::{contiguous, values};
use crate::{AttentionSpec, Layout, pool};
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Dispatch, TensorMetadata};
use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};
use std::sync::Arc;
use tokmerge_kernels as kernels;
use tokmerge_kernels::{Heads, Isa, PairAttention, PairGradients, PairTable, Precision, Sight};

/// What such an attention needs beside its tensors.
#[derive(Clone, Debug)]
pub(crate) struct PairPlan {
    heads: Heads,
    precision: Precision,
    offsets: [Arc<[usize]>; 2],
    key_bias: Option<Arc<[f32]>>,
    pairs: Option<PairPlaces>,
    sight: Sight,
}

/// Which biases pairs have.
#[derive(Clone, Debug)]
struct PairPlaces {
    /// Row of the table for every pair.
    rows: Arc<[u8]>,
    /// Where the pairs of each item begin.
    starts: Arc<[usize]>,
}

impl PairPlan {
    /// How the kernels do it; `None` where they cannot: biases that all items share, and queries that see nothing.
    pub(crate) fn of(q_layout: &Layout, spec: &AttentionSpec<'_>) -> Option<(Self, Option<Tensor<2>>)> {
        let (pairs, table) = match &spec.pair_bias {
            None => (None, None),
            Some(PairBias::Shared(_)) => return None,
            Some(PairBias::Rows(PairRows { table, rows })) => {
                let starts = PairRows::starts(q_layout, spec.layout);
                (Some(PairPlaces { rows: rows.clone(), starts: starts.into() }), Some(table.clone()))
            }
        };
        let sight = match spec.mask {
            Mask::None => Sight::All,
            Mask::Causal => Sight::UpToOwn,
        };
        let sees = |(queries, keys): (usize, usize)| match sight {
            Sight::All => queries == 0 || keys > 0,
            Sight::UpToOwn => queries <= keys,
        };
        let all_see = q_layout.lens().zip(spec.layout.lens()).all(sees);
        let offsets = [q_layout.offsets(), spec.layout.offsets()];
        let (heads, precision, key_bias) = (spec.heads, spec.precision, spec.key_bias.clone());
        all_see.then_some((Self { heads, precision, offsets, key_bias, pairs, sight }, table))
    }

    fn attention<'a>(&'a self, q: &'a [f32], kv: &'a [f32], table: Option<&'a [f32]>) -> PairAttention<'a> {
        let pair_bias = self.pairs.as_ref().zip(table);
        PairAttention {
            heads: self.heads,
            q,
            kv,
            offsets: [&self.offsets[0], &self.offsets[1]],
            key_bias: self.key_bias.as_deref(),
            pair_bias: pair_bias.map(|(PairPlaces { rows, starts }, table)| PairTable {
                table,
                rows,
                starts,
            }),
            sight: self.sight,
        }
    }
}

/// `q: [Q, W]`, `kv: [T, 2 * W]`, the table as the plan says → `[Q, W]`.
pub(crate) fn attend(q: Tensor<2>, kv: Tensor<2>, table: Option<Tensor<2>>, plan: PairPlan) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_pair_attention(
        q.into_dispatch(),
        kv.into_dispatch(),
        Maybe::from_tensor(table),
        plan,
    ))
}

pub(crate) fn on_flex(
    q: FlexTensor,
    kv: FlexTensor,
    table: Option<FlexTensor>,
    plan: &PairPlan,
) -> FlexTensor {
    let (q, kv, table) = (contiguous(q), contiguous(kv), table.map(contiguous));
    let (rows, width) = (q.shape()[0], plan.heads.count * plan.heads.dim);
    let mut out = pool::take(rows * width);
    let attention = plan.attention(values(&q), values(&kv), table.as_ref().map(values));
    match (&table, plan.sight) {
        // The same bits with a gradient and without.
        (None, Sight::All) => kernels::cross_attention(
            Isa::current(),
            plan.precision,
            plan.heads,
            [attention.q, attention.kv],
            attention.offsets,
            attention.key_bias,
            &mut out,
        ),
        _ => kernels::pair_attention(Isa::current(), &attention, &mut out),
    }
    pool::give(q);
    pool::give(kv);
    pool::tensor(out, [rows, width])
}

/// What the gradient is computed from.
#[derive(Clone, Debug)]
struct State {
    q: FlexTensor,
    kv: FlexTensor,
    table: Option<FlexTensor>,
    plan: PairPlan,
}

impl State {
    /// The gradients of queries, of keys with values, and of the table.
    fn gradients(self, grad: FlexTensor) -> [Option<FlexTensor>; 3] {
        let Self { q, kv, table, plan } = self;
        let grad = contiguous(grad);
        let len = |tensor: &FlexTensor| tensor.shape().num_elements();
        let (mut dq, mut dkv) = (pool::take(len(&q)), pool::take(len(&kv)));
        let mut dtable = vec![0.0; table.as_ref().map_or(0, len)];
        kernels::pair_attention_backward(
            Isa::current(),
            &plan.attention(values(&q), values(&kv), table.as_ref().map(values)),
            values(&grad),
            PairGradients { q: &mut dq, kv: &mut dkv, table: &mut dtable },
        );
        let shapes = [q.shape(), kv.shape()];
        pool::give(q);
        pool::give(kv);
        pool::give(grad);
        let [q_shape, kv_shape] = shapes;
        let dtable = table.map(|table| pool::tensor(dtable, table.shape()));
        [Some(pool::tensor(dq, q_shape)), Some(pool::tensor(dkv, kv_shape)), dtable]
    }
}

#[derive(Debug)]
struct PairBackward;

/// Hands the gradients to the parents that want them.
fn register<const N: usize>(ops: Ops<State, N>, grads: &mut Gradients) {
    let grad = grads.consume::<Flex>(&ops.node);
    for (parent, grad) in ops.parents.into_iter().zip(ops.state.gradients(grad)) {
        if let (Some(parent), Some(grad)) = (parent, grad) {
            grads.register::<Flex>(parent.id, grad);
        }
    }
}

impl Backward<Flex, 2> for PairBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        register(ops, grads);
    }
}

impl Backward<Flex, 3> for PairBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        register(ops, grads);
    }
}

pub(crate) fn tracked<C: CheckpointStrategy>(
    q: FloatTensor<Autodiff<Flex, C>>,
    kv: FloatTensor<Autodiff<Flex, C>>,
    table: Maybe<Autodiff<Flex, C>>,
    plan: PairPlan,
) -> FloatTensor<Autodiff<Flex, C>> {
    let (q_node, kv_node, table_node) = (q.node(), kv.node(), table.get().map(|table| table.node()));
    let state = State {
        q: contiguous(q.into_primitive()),
        kv: contiguous(kv.into_primitive()),
        table: table.into_option().map(|table| contiguous(table.into_primitive())),
        plan,
    };
    let out = on_flex(state.q.clone(), state.kv.clone(), state.table.clone(), &state.plan);
    match table_node {
        None => match PairBackward.prepare::<C>([q_node, kv_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(state, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        },
        Some(table_node) => {
            match PairBackward.prepare::<C>([q_node, kv_node, table_node]).compute_bound().stateful() {
                OpsKind::Tracked(prep) => prep.finish(state, out),
                OpsKind::UnTracked(prep) => prep.finish(out),
            }
        }
    }
}
