//! Two passes of a batch through the same weights, of which one merges less (MCTF, §3.4).

use burn::tensor::{Tensor, activation::softmax};
use tokmerge_merge::Reduction;
use tokmerge_models::Output;

/// What a second pass merges by, and how near the first is to come to it.
#[derive(Clone, Debug)]
pub(crate) struct Consistency {
    /// How the second pass merges.
    pub(crate) reduction: Reduction,
    /// What the distance weighs.
    pub(crate) weight: f64,
    /// The probability of the right class above which an item counts, as the second pass has it. Of which pass that is in the
    /// published code was not read.
    pub(crate) above: f64,
}

impl Consistency {
    /// `weight` times the mean squared distance of the embeddings of the items that count, over items and channels, `[1]`. The
    /// embeddings of the second pass have no gradient, and its classes are compared with the largest of `targets`,
    /// `[B, classes]`.
    pub(crate) fn loss(&self, first: &Output, second: &Output, targets: &Tensor<2>) -> Tensor<1> {
        let [_, channels] = first.pooled.dims();
        let probable = softmax(second.logits.clone().detach(), 1);
        let right = probable.gather(1, targets.clone().argmax(1));
        let counts = right.greater_elem(self.above).float().detach();
        let apart = (first.pooled.clone() - second.pooled.clone().detach()).powi_scalar(2).sum_dim(1);
        // Where none counts there is no mean, and no loss.
        let items = counts.clone().sum().clamp_min(1.0);
        (apart * counts).sum() / items * (self.weight / channels as f64)
    }
}
