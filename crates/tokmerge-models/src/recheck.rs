//! A second look at unclear items: a policy of running a model, asked for in a method's spec (`recheck`).

use crate::input::{Batch, InputShape};
use crate::network::Network;
use crate::pass::{Output, Pass};
use burn::tensor::{Device, Tensor, TensorData};
use tokmerge_merge::Reduction;

/// How clear an answer is: the largest logit less the second. Infinite for a single logit, NaN if any is.
#[must_use]
pub fn top2_margin(logits: &[f32]) -> f32 {
    let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &logit in logits {
        if logit.is_nan() {
            return f32::NAN;
        }
        if logit > first {
            (first, second) = (logit, first);
        } else if logit > second {
            second = logit;
        }
    }
    first - second
}

/// The merged network's output, but that of the unmerged one for items whose margin is below `least`. Each item decides
/// for itself.
pub(crate) fn rechecked(
    network: &Network,
    batch: &Batch,
    (shape, device): (&InputShape, &Device),
    mut output: Output,
    least: f32,
) -> Output {
    let [_, classes] = output.logits.dims();
    let logits: Vec<f32> = output.logits.clone().into_data().iter::<f32>().collect();
    // Not a number is not clear either.
    let unclear = |logits: &[f32]| top2_margin(logits).is_nan() || top2_margin(logits) < least;
    let again: Vec<usize> = logits
        .chunks_exact(classes)
        .enumerate()
        .filter_map(|(item, logits)| unclear(logits).then_some(item))
        .collect();
    if again.is_empty() {
        return output;
    }
    let input = batch.select(&again, shape).into_input(shape, device);
    let unmerged = network.run(input, Pass::head(&Reduction::none()));
    output.logits = replaced(output.logits, unmerged.logits, &again);
    output.pooled = replaced(output.pooled, unmerged.pooled, &again);
    output.trace.set_rechecked(again);
    output
}

/// `all: [B, N]` with some of its rows replaced by those of `some`.
fn replaced(all: Tensor<2>, some: Tensor<2>, rows: &[usize]) -> Tensor<2> {
    let (shape, device) = (all.dims(), all.device());
    let mut values: Vec<f32> = all.into_data().iter::<f32>().collect();
    let some: Vec<f32> = some.into_data().iter::<f32>().collect();
    for (row, new) in rows.iter().zip(some.chunks_exact(shape[1].max(1))) {
        values[row * shape[1]..(row + 1) * shape[1]].copy_from_slice(new);
    }
    Tensor::from_data(TensorData::new(values, shape), &device)
}
