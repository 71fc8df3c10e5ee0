//! Rows that become one row, and one row that becomes several again.

use crate::backend::{Body, KernelOps, body};
use crate::pool;
use crate::pool::{contiguous, values};
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Dispatch, TensorMetadata};
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use burn_flex::{Flex, FlexTensor};
use std::sync::Arc;
use tokmerge_kernels as kernels;
pub use tokmerge_kernels::DROPPED;
use tokmerge_kernels::Isa;

/// Averages the rows that share a destination, each by its weight.
///
/// `x: [T, C]`, `weight: [T]`, `dst: [T]` (an output row or [`DROPPED`]) → `[rows, C]`. A row alone at its
/// destination is copied exactly. Every output row needs at least one input row.
pub fn merge_rows(x: Tensor<2>, weight: &Arc<[f32]>, dst: &Arc<[u32]>, rows: usize) -> Tensor<2> {
    match body(&x) {
        Body::Kernels => Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_merge_rows(
            x.into_dispatch(),
            weight.clone(),
            dst.clone(),
            rows,
        )),
        Body::Composed => composed_merge(x, weight, dst, rows),
    }
}

/// The sums of the weights that share a destination: `[T]` → `[rows]`.
#[must_use]
pub fn merge_weights(weight: &[f32], dst: &[u32], rows: usize) -> Arc<[f32]> {
    let mut sums = vec![0.0; rows];
    for (&weight, &dst) in weight.iter().zip(dst).filter(|(_, dst)| **dst != DROPPED) {
        sums[dst as usize] += weight;
    }
    sums.into()
}

/// Copies every merged row back to the places it came from: `y: [T', C]`, `dst: [T]` → `[T, C]`, zeros for
/// [`DROPPED`].
pub fn gather_rows(y: Tensor<2>, dst: &Arc<[u32]>) -> Tensor<2> {
    match body(&y) {
        Body::Kernels => {
            Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_gather_rows(y.into_dispatch(), dst.clone()))
        }
        Body::Composed => composed_gather(y, dst),
    }
}

fn indices(values: impl Iterator<Item = u32>, device: &burn::tensor::Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.map(|value| value as i32).collect();
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}

/// Row numbers that are not dropped, and their destinations.
fn kept(dst: &[u32]) -> impl Iterator<Item = (u32, u32)> + Clone + '_ {
    dst.iter().enumerate().filter(|(_, dst)| **dst != DROPPED).map(|(row, dst)| (row as u32, *dst))
}

pub(crate) fn composed_merge(x: Tensor<2>, weight: &[f32], dst: &[u32], rows: usize) -> Tensor<2> {
    let device = x.device();
    let [_, channels] = x.dims();
    let sums = merge_weights(weight, dst, rows);
    let counts = merge_weights(&vec![1.0; dst.len()], dst, rows);
    let shares: Vec<f32> = kept(dst)
        .map(|(row, dst)| {
            let (sum, count) = (sums[dst as usize], counts[dst as usize]);
            // Without any weight there is nothing to weigh by: the plain mean.
            if sum == 0.0 { 1.0 / count } else { weight[row as usize] / sum }
        })
        .collect();
    let share = Tensor::<2>::from_data(TensorData::new(shares, [kept(dst).count(), 1]), &device);
    let parts = x.select(0, indices(kept(dst).map(|(row, _)| row), &device)) * share;
    Tensor::zeros([rows, channels], &device).select_assign(
        0,
        indices(kept(dst).map(|(_, dst)| dst), &device),
        parts,
        IndexingUpdateOp::Add,
    )
}

pub(crate) fn composed_gather(y: Tensor<2>, dst: &[u32]) -> Tensor<2> {
    let device = y.device();
    let [_, channels] = y.dims();
    let parts = y.select(0, indices(kept(dst).map(|(_, dst)| dst), &device));
    Tensor::zeros([dst.len(), channels], &device).select_assign(
        0,
        indices(kept(dst).map(|(row, _)| row), &device),
        parts,
        IndexingUpdateOp::Add,
    )
}

pub(crate) fn merge_on_flex(x: FlexTensor, weight: &[f32], dst: &[u32], rows: usize) -> FlexTensor {
    let x = contiguous(x);
    let channels = x.shape()[1];
    let mut y = pool::take(rows * channels);
    kernels::merge_rows(Isa::current(), values(&x), weight, dst, &mut y);
    pool::give(x);
    pool::tensor(y, [rows, channels])
}

pub(crate) fn gather_on_flex(y: FlexTensor, dst: &[u32]) -> FlexTensor {
    let y = contiguous(y);
    let channels = y.shape()[1];
    let mut x = pool::take(dst.len() * channels);
    kernels::gather_rows(Isa::current(), values(&y), dst, &mut x);
    pool::tensor(x, [dst.len(), channels])
}

#[derive(Debug)]
struct MergeBackward;

impl Backward<Flex, 1> for MergeBackward {
    type State = (Arc<[f32]>, Arc<[u32]>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let (weight, dst) = ops.state;
        if let [Some(parent)] = ops.parents {
            let channels = grad.shape()[1];
            let mut dx = pool::take(dst.len() * channels);
            kernels::merge_rows_backward(&weight, &dst, values(&grad), &mut dx);
            pool::give(grad);
            grads.register::<Flex>(parent.id, pool::tensor(dx, [dst.len(), channels]));
        }
    }
}

pub(crate) fn merge_tracked<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    weight: Arc<[f32]>,
    dst: Arc<[u32]>,
    rows: usize,
) -> FloatTensor<Autodiff<Flex, C>> {
    let node = x.node();
    let y = merge_on_flex(x.into_primitive(), &weight, &dst, rows);
    match MergeBackward.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((weight, dst), y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    }
}

#[derive(Debug)]
struct GatherBackward;

impl Backward<Flex, 1> for GatherBackward {
    type State = (Arc<[u32]>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let (dst, rows) = ops.state;
        if let [Some(parent)] = ops.parents {
            let channels = grad.shape()[1];
            let mut dy = pool::take(rows * channels);
            dy.fill(0.0);
            for (row, dst) in kept(&dst) {
                let (row, dst) = (row as usize * channels, dst as usize * channels);
                for (sum, grad) in dy[dst..dst + channels].iter_mut().zip(&values(&grad)[row..row + channels])
                {
                    *sum += grad;
                }
            }
            grads.register::<Flex>(parent.id, pool::tensor(dy, [rows, channels]));
        }
    }
}

pub(crate) fn gather_tracked<C: CheckpointStrategy>(
    y: FloatTensor<Autodiff<Flex, C>>,
    dst: Arc<[u32]>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let node = y.node();
    let y = y.into_primitive();
    let (x, rows) = (gather_on_flex(y.clone(), &dst), y.shape()[0]);
    match GatherBackward.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((dst, rows), x),
        OpsKind::UnTracked(prep) => prep.finish(x),
    }
}

#[cfg(test)]
mod tests {
    use super::{DROPPED, composed_gather, composed_merge, gather_rows, merge_rows, merge_weights};
    use crate::testing::{assert_close, devices, gradients_match, normal};
    use std::sync::Arc;

    const DST: [u32; 7] = [0, 2, 1, 2, DROPPED, 2, 1];
    const WEIGHT: [f32; 7] = [3.0, 1.0, 2.0, 4.0, 1.0, 0.5, 0.0];

    #[test]
    fn kernels_equal_composed() {
        let device = devices().plain;
        let (dst, weight): (Arc<[u32]>, Arc<[f32]>) = (DST.into(), WEIGHT.into());
        let x = normal([7, 19], 1, &device);
        let y = merge_rows(x.clone(), &weight, &dst, 3);
        assert_close(y.clone(), composed_merge(x, &weight, &dst, 3), 1e-6);
        assert_close(gather_rows(y.clone(), &dst), composed_gather(y, &dst), 0.0);
        assert_eq!(merge_weights(&weight, &dst, 3).as_ref(), [3.0, 2.0, 5.5]);
    }

    #[test]
    fn gradients_equal_composed() {
        let device = devices().tracked;
        let (dst, weight): (Arc<[u32]>, Arc<[f32]>) = (DST.into(), WEIGHT.into());
        gradients_match(
            [normal([7, 19], 1, &device)],
            |[x]| merge_rows(x, &weight, &dst, 3),
            |[x]| composed_merge(x, &weight, &dst, 3),
            1e-6,
        );
        gradients_match(
            [normal([3, 19], 1, &device)],
            |[y]| gather_rows(y, &dst),
            |[y]| composed_gather(y, &dst),
            1e-6,
        );
    }
}
