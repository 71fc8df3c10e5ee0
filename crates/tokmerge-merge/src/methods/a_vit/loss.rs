//! What training adds to the loss (A-ViT).

use super::Passed;
use burn::tensor::{Tensor, TensorData};

/// What the loss of blocks weighs beside that of the task.
const PONDER_WEIGHT: f64 = 5e-4;
/// And that of where tokens stop.
const DIVERGENCE_WEIGHT: f64 = 1e-3;
/// Deviation of the Gaussian, in blocks.
const DEVIATION: f64 = 1.0;
/// What the Gaussian adds up to over the blocks up to its centre.
const UP_TO_CENTRE: f64 = 0.98;
/// The limits of parts in the divergence.
const PARTS: (f32, f32) = (0.01, 0.99);

/// The mean of some rows, `[P, 1]` → `[1, 1]`; 0 of none.
pub(super) fn mean(rows: Tensor<2>) -> Tensor<2> {
    let count = rows.dims()[0].max(1) as f64;
    (rows.sum() / count).reshape([1, 1])
}

/// What one block adds to the mean number of blocks and the mean remainder of all tokens: `[1]`.
pub(super) fn ponder(passed: &Passed) -> Tensor<1> {
    mean(passed.running.clone() + passed.remainder.clone()).reshape([1]) * PONDER_WEIGHT
}

/// How far the probabilities of stopping in each block, `[1, 1]`, are from a Gaussian around a block, from 1: `[1]`.
pub(super) fn divergence(means: Vec<Tensor<2>>, centre: usize) -> Tensor<1> {
    let (blocks, device) = (means.len(), means[0].device());
    let means = Tensor::cat(means, 1);
    let parts = means.clone() / means.sum_dim(1).clamp_min(f32::MIN_POSITIVE);
    let parts = parts.clamp(PARTS.0, PARTS.1);
    let wanted = TensorData::new(gaussian(blocks, centre), [1, blocks]);
    let wanted = Tensor::<2>::from_data(wanted, &device);
    (parts.clone() * (parts.log() - wanted)).sum() * DIVERGENCE_WEIGHT
}

/// The logarithm of the Gaussian in each of so many blocks.
fn gaussian(blocks: usize, centre: usize) -> Vec<f32> {
    let log = |block: usize| -((block as f64 - centre as f64) / DEVIATION).powi(2) / 2.0;
    let up_to_centre: f64 = (1..=centre).map(|block| log(block).exp()).sum();
    let scale = (UP_TO_CENTRE / up_to_centre).ln();
    (1..=blocks).map(|block| (log(block) + scale) as f32).collect()
}
