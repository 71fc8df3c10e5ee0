//! Multi-head self-attention within each item, with an optional bias per key, and what merging reads off it.

use crate::backend::{Body, KernelOps, body};
use crate::layout::{places, select_rows};
use crate::pool::{contiguous, values};
use crate::{DROPPED, Layout, gather_rows, pool};
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Dispatch, TensorMetadata};
use burn::tensor::{Tensor, TensorData, activation::softmax, s};
use burn_flex::{Flex, FlexTensor};
use std::sync::Arc;
use tokmerge_kernels as kernels;
pub use tokmerge_kernels::Part;
use tokmerge_kernels::{HeadAggregation, Heads, Isa, Precision};

/// `softmax(q kᵀ * scale + log_size) v` within each item.
///
/// `qkv: [T, 3 * H * D]`, queries, keys and values side by side, heads inside each → `[T, H * D]`.
/// `log_size: [T]` is added to the logits of its key: proportional attention (ToMe, eq. 1). At [`Precision::Bf16`] the
/// operands of both products are rounded to bf16 where that is faster, and only there; the gradient is that of f32.
pub fn attention(
    qkv: Tensor<2>,
    heads: Heads,
    precision: Precision,
    log_size: Option<Arc<[f32]>>,
    layout: &Layout,
) -> Tensor<2> {
    match body(&qkv) {
        Body::Kernels => Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_attention(
            qkv.into_dispatch(),
            log_size,
            heads,
            precision,
            layout.offsets(),
        )),
        Body::Composed => composed(qkv, heads, log_size.as_deref(), layout),
    }
}

/// As [`attention`], for the first `front` tokens of every item as queries alone; all tokens are attended to.
///
/// `queries: [Q, H * D]`, only theirs, `keys_values: [T, 2 * H * D]` → `[Q, H * D]`: bit for bit the rows that
/// [`attention`] gives them. `layout` and `log_size: [T]` are those of all tokens.
pub fn front_attention(
    queries: Tensor<2>,
    keys_values: Tensor<2>,
    heads: Heads,
    precision: Precision,
    log_size: Option<Arc<[f32]>>,
    layout: &Layout,
    front: usize,
) -> Tensor<2> {
    let primitives = || {
        let primitive = |tensor: &Tensor<2>| tensor.clone().try_into_primitive::<Flex>().ok();
        Some([primitive(&queries)?, primitive(&keys_values)?])
    };
    match (body(&queries), primitives()) {
        (Body::Kernels, Some(primitives)) => {
            drop((queries, keys_values));
            let offsets = [layout.front(front).offsets(), layout.offsets()];
            front_on_flex(primitives, log_size.as_deref(), heads, precision, [&offsets[0], &offsets[1]])
        }
        _ => {
            // The other tokens get queries of zeros, and what they attend to is left out.
            let rows = layout.front_rows(front);
            let mut places = vec![DROPPED; layout.rows()];
            for (place, &row) in rows.iter().enumerate() {
                places[row as usize] = place as u32;
            }
            let queries = gather_rows(queries, &places.into());
            let qkv = Tensor::cat(vec![queries, keys_values], 1);
            gather_rows(attention(qkv, heads, precision, log_size, layout), &rows)
        }
    }
}

/// The attention every token receives: the mean over heads and over the queries of its item of its column of
/// the softmax. `[T]`, summing to one in each item. Carries no gradient.
pub fn attention_received(
    qkv: Tensor<2>,
    heads: Heads,
    log_size: Option<&[f32]>,
    layout: &Layout,
) -> Vec<f32> {
    let qkv = qkv.without_autodiff();
    match (body(&qkv), qkv.clone().try_into_primitive::<Flex>()) {
        (Body::Kernels, Ok(primitive)) => {
            let primitive = contiguous(primitive);
            let rows = layout.rows();
            let mut out = pool::take(rows * heads.count * heads.dim);
            let mut received = vec![0.0; rows];
            kernels::attention(
                Isa::current(),
                Precision::F32,
                heads,
                values(&primitive),
                &layout.offsets(),
                log_size,
                &mut out,
                Some(&mut received),
            );
            pool::give(pool::tensor(out, [rows, heads.count * heads.dim]));
            received
        }
        _ => composed_received(qkv, heads, log_size, layout),
    }
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

/// Softmax probabilities `[B, H, N, N]` and values `[B, H, N, D]` of items of equal length.
fn probabilities(
    qkv: Tensor<2>,
    heads: Heads,
    log_size: Option<&[f32]>,
    items: usize,
    len: usize,
) -> (Tensor<4>, Tensor<4>) {
    let device = qkv.device();
    let qkv = qkv.reshape([items, len, 3, heads.count, heads.dim]).permute([2, 0, 3, 1, 4]);
    let part =
        |index: usize| -> Tensor<4> { qkv.clone().slice(s![index..=index, .., .., .., ..]).squeeze_dim(0) };
    let mut logits = part(0).matmul(part(1).swap_dims(2, 3)) * heads.scale;
    if let Some(log_size) = log_size {
        let bias = TensorData::new(log_size.to_vec(), [items, 1, 1, len]);
        logits = logits + Tensor::<4>::from_data(bias, &device);
    }
    (softmax(logits, 3), part(2))
}

pub(crate) fn composed(qkv: Tensor<2>, heads: Heads, log_size: Option<&[f32]>, layout: &Layout) -> Tensor<2> {
    let width = heads.count * heads.dim;
    if layout.rows() == 0 {
        return qkv.slice(s![.., 0..width]);
    }
    by_length(qkv, log_size, layout, |qkv, log_size, items, len| {
        let (probabilities, v) = probabilities(qkv, heads, log_size, items, len);
        probabilities.matmul(v).swap_dims(1, 2).reshape([items * len, width])
    })
}

fn composed_received(qkv: Tensor<2>, heads: Heads, log_size: Option<&[f32]>, layout: &Layout) -> Vec<f32> {
    if layout.rows() == 0 {
        return Vec::new();
    }
    let received = by_length(qkv, log_size, layout, |qkv, log_size, items, len| {
        let (probabilities, _) = probabilities(qkv, heads, log_size, items, len);
        probabilities.mean_dim(1).mean_dim(2).reshape([items * len, 1])
    });
    received.into_data().iter::<f32>().collect()
}

/// Calls `each(qkv, log_size, items, len)` once per distinct length, with the rows of all items of that length,
/// and puts the `[items * len, W]` it returns back in the order of `layout`, which has rows.
fn by_length(
    qkv: Tensor<2>,
    log_size: Option<&[f32]>,
    layout: &Layout,
    each: impl Fn(Tensor<2>, Option<&[f32]>, usize, usize) -> Tensor<2>,
) -> Tensor<2> {
    if let Layout::Uniform { items, len } = layout {
        return each(qkv, log_size, *items, *len);
    }
    let mut order = Vec::with_capacity(layout.rows());
    let mut parts = Vec::new();
    for (len, items) in places(layout.lens()).into_iter().filter(|(len, _)| *len > 0) {
        let rows = || items.iter().flat_map(|item| layout.range(*item));
        let log_size: Option<Vec<f32>> = log_size.map(|log_size| rows().map(|row| log_size[row]).collect());
        let part = select_rows(&qkv, rows().map(|row| row as u32));
        parts.push(each(part, log_size.as_deref(), items.len(), len));
        order.extend(rows());
    }
    let mut back = vec![0; order.len()];
    for (place, row) in order.into_iter().enumerate() {
        back[row] = place as u32;
    }
    select_rows(&Tensor::cat(parts, 0), back.into_iter())
}

pub(crate) fn on_flex(
    qkv: FlexTensor,
    log_size: Option<&[f32]>,
    heads: Heads,
    precision: Precision,
    offsets: &[usize],
) -> FlexTensor {
    let qkv = contiguous(qkv);
    let (rows, width) = (qkv.shape()[0], heads.count * heads.dim);
    let mut out = pool::take(rows * width);
    kernels::attention(Isa::current(), precision, heads, values(&qkv), offsets, log_size, &mut out, None);
    pool::give(qkv);
    pool::tensor(out, [rows, width])
}

fn front_on_flex(
    [queries, keys_values]: [FlexTensor; 2],
    log_size: Option<&[f32]>,
    heads: Heads,
    precision: Precision,
    offsets: [&[usize]; 2],
) -> Tensor<2> {
    let (queries, keys_values) = (contiguous(queries), contiguous(keys_values));
    let (rows, width) = (queries.shape()[0], heads.count * heads.dim);
    let mut out = pool::take(rows * width);
    let inputs = [values(&queries), values(&keys_values)];
    kernels::cross_attention(Isa::current(), precision, heads, inputs, offsets, log_size, &mut out);
    pool::give(queries);
    pool::give(keys_values);
    Tensor::from_primitive::<Flex>(pool::tensor(out, [rows, width]))
}

#[derive(Debug)]
struct AttentionBackward;

impl Backward<Flex, 1> for AttentionBackward {
    type State = (FlexTensor, Option<Arc<[f32]>>, Heads, Arc<[usize]>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let (qkv, log_size, heads, offsets) = ops.state;
        if let [Some(parent)] = ops.parents {
            let mut dqkv = pool::take(qkv.shape().num_elements());
            kernels::attention_backward(
                Isa::current(),
                heads,
                values(&qkv),
                &offsets,
                log_size.as_deref(),
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
    log_size: Option<Arc<[f32]>>,
    heads: Heads,
    precision: Precision,
    offsets: Arc<[usize]>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let node = qkv.node();
    let qkv = contiguous(qkv.into_primitive());
    let out = on_flex(qkv.clone(), log_size.as_deref(), heads, precision, &offsets);
    match AttentionBackward.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((qkv, log_size, heads, offsets), out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Part, attention, attention_received, composed, composed_features, composed_received, front_attention,
        head_features,
    };
    use crate::testing::{assert_close, devices, gradients_match, normal};
    use crate::{HeadAggregation, Heads, Layout, Precision, gather_rows};
    use burn::tensor::{Tensor, s};
    use proptest::prelude::*;
    use std::sync::Arc;

    const HEADS: [Heads; 3] = [
        Heads { count: 1, dim: 64, scale: 0.125 },
        Heads { count: 3, dim: 16, scale: 0.25 },
        Heads { count: 2, dim: 5, scale: 0.4 },
    ];

    fn layouts() -> [Layout; 4] {
        [
            Layout::uniform(2, 19),
            Layout::uniform(1, 1),
            Layout::from_lens(&[7, 33, 1]),
            Layout::from_lens(&[4, 0, 3]),
        ]
    }

    fn log_sizes(rows: usize) -> Arc<[f32]> {
        (0..rows).map(|row| ((row % 5 + 1) as f32).ln()).collect()
    }

    #[test]
    fn kernel_equals_composed() {
        let device = devices().plain;
        for heads in HEADS {
            for layout in layouts() {
                let qkv = normal([layout.rows(), 3 * heads.count * heads.dim], 7, &device);
                for log_size in [None, Some(log_sizes(layout.rows()))] {
                    let y = attention(qkv.clone(), heads, Precision::F32, log_size.clone(), &layout);
                    let expected = composed(qkv.clone(), heads, log_size.as_deref(), &layout);
                    assert_close(y, expected.clone(), 2e-5);
                    let y = attention(qkv.clone(), heads, Precision::Bf16, log_size.clone(), &layout);
                    assert_close(y, expected, 3e-2);
                    let received = attention_received(qkv.clone(), heads, log_size.as_deref(), &layout);
                    let expected = composed_received(qkv.clone(), heads, log_size.as_deref(), &layout);
                    for (actual, expected) in received.iter().zip(&expected) {
                        assert!((actual - expected).abs() < 1e-5, "{actual} instead of {expected}");
                    }
                    assert_eq!(received.len(), expected.len());
                }
            }
        }
    }

    /// Queries of the first `front` tokens of every item, and keys and values of all.
    fn front_of(qkv: Tensor<2>, heads: Heads, layout: &Layout, front: usize) -> (Tensor<2>, Tensor<2>) {
        let width = heads.count * heads.dim;
        let queries = gather_rows(qkv.clone().slice(s![.., ..width]), &layout.front_rows(front));
        (queries, qkv.slice(s![.., width..]))
    }

    #[test]
    fn the_front_attends_as_among_all_bit_for_bit() {
        for device in [devices().plain, devices().tracked] {
            for (heads, layout, front) in HEADS
                .into_iter()
                .flat_map(|heads| layouts().map(|layout| (heads, layout)))
                .flat_map(|(heads, layout)| [1, 2, 50].map(|front| (heads, layout.clone(), front)))
            {
                let qkv = normal([layout.rows(), 3 * heads.count * heads.dim], 7, &device);
                for precision in [Precision::F32, Precision::Bf16] {
                    let log_size = Some(log_sizes(layout.rows()));
                    let all = attention(qkv.clone(), heads, precision, log_size.clone(), &layout);
                    let (queries, keys_values) = front_of(qkv.clone(), heads, &layout, front);
                    let some =
                        front_attention(queries, keys_values, heads, precision, log_size, &layout, front);
                    assert_close(some, gather_rows(all, &layout.front_rows(front)), 0.0);
                }
            }
        }
    }

    #[test]
    fn gradients_of_the_front_equal_composed() {
        for (heads, layout) in HEADS.into_iter().flat_map(|heads| layouts().map(|layout| (heads, layout))) {
            let qkv = normal([layout.rows(), 3 * heads.count * heads.dim], 9, &devices().tracked);
            let log_size = Some(log_sizes(layout.rows()));
            gradients_match(
                [qkv],
                |[qkv]| {
                    let (queries, keys_values) = front_of(qkv, heads, &layout, 2);
                    let log_size = log_size.clone();
                    front_attention(queries, keys_values, heads, Precision::F32, log_size, &layout, 2)
                },
                |[qkv]| {
                    let all = composed(qkv, heads, log_size.as_deref(), &layout);
                    gather_rows(all, &layout.front_rows(2))
                },
                2e-4,
            );
        }
    }

    #[test]
    fn features_equal_composed() {
        let device = devices().plain;
        for heads in HEADS {
            let qkv = normal([11, 3 * heads.count * heads.dim], 8, &device);
            for part in [Part::Query, Part::Key, Part::Value] {
                for aggregation in [HeadAggregation::Mean, HeadAggregation::Concat] {
                    assert_close(
                        head_features(qkv.clone(), heads, part, aggregation),
                        composed_features(qkv.clone(), heads, part, aggregation),
                        1e-6,
                    );
                }
            }
        }
    }

    #[test]
    fn gradients_equal_composed() {
        let device = devices().tracked;
        for heads in HEADS {
            for layout in layouts() {
                let qkv = normal([layout.rows(), 3 * heads.count * heads.dim], 9, &device);
                for log_size in [None, Some(log_sizes(layout.rows()))] {
                    gradients_match(
                        [qkv.clone()],
                        |[qkv]| attention(qkv, heads, Precision::F32, log_size.clone(), &layout),
                        |[qkv]| composed(qkv, heads, log_size.as_deref(), &layout),
                        2e-4,
                    );
                }
            }
        }
    }

    /// What `op` gives for each item that has rows, alone.
    fn alone<T>(
        qkv: &Tensor<2>,
        log_size: Option<&[f32]>,
        layout: &Layout,
        op: impl Fn(Tensor<2>, Option<&[f32]>, &Layout) -> T,
    ) -> Vec<T> {
        let items = (0..layout.items()).map(|item| layout.range(item)).filter(|range| !range.is_empty());
        items
            .map(|range| {
                let log_size = log_size.map(|log_size| &log_size[range.clone()]);
                let alone = Layout::uniform(1, range.len());
                op(qkv.clone().slice(s![range, ..]), log_size, &alone)
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn an_item_in_a_ragged_batch_is_as_alone(
            mut lens in prop::collection::vec(0usize..7, 0..9),
            heads in prop::sample::select(HEADS.to_vec()),
            seed in any::<u64>(),
        ) {
            lens.extend([0, 1, 40]);
            let layout = Layout::from_lens(&lens);
            let qkv = normal([layout.rows(), 3 * heads.count * heads.dim], seed, &devices().plain);
            let log_sizes = log_sizes(layout.rows());
            for log_size in [None, Some(log_sizes.as_ref())] {
                let one = |qkv, log_size: Option<&[f32]>, layout: &Layout| composed(qkv, heads, log_size, layout);
                let expected = Tensor::cat(alone(&qkv, log_size, &layout, one), 0);
                assert_close(composed(qkv.clone(), heads, log_size, &layout), expected, 1e-6);

                let received = composed_received(qkv.clone(), heads, log_size, &layout);
                let expected = alone(&qkv, log_size, &layout, |qkv, log_size, layout| {
                    composed_received(qkv, heads, log_size, layout)
                });
                let expected = expected.concat();
                assert_eq!(received.len(), expected.len());
                for (actual, expected) in received.iter().zip(&expected) {
                    assert!((actual - expected).abs() < 1e-6, "{actual} instead of {expected}");
                }

                gradients_match(
                    [normal(qkv.dims(), seed, &devices().tracked)],
                    |[qkv]| composed(qkv, heads, log_size, &layout),
                    |[qkv]| Tensor::cat(alone(&qkv, log_size, &layout, one), 0),
                    1e-6,
                );
            }
        }
    }

    #[test]
    fn a_batch_without_rows_has_no_attention() {
        let heads = HEADS[1];
        let ragged = Layout::Ragged { offsets: [0, 0, 0].into() };
        for layout in [Layout::uniform(0, 0), Layout::uniform(2, 0), ragged] {
            let qkv = normal([0, 3 * heads.count * heads.dim], 1, &devices().plain);
            assert_eq!(composed(qkv.clone(), heads, None, &layout).dims(), [0, heads.count * heads.dim]);
            assert!(composed_received(qkv, heads, None, &layout).is_empty());
        }
    }
}
