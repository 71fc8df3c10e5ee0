//! The one place where training runs the model.

use burn::tensor::Tensor;
use tokmerge_merge::Reduction;
use tokmerge_models::{StochasticDepth, Trained, Vit};

/// `images: [B, 3, H, W]` → logits `[B, classes]`, tracked, and what is to be added to the loss of a model with experts,
/// `[1]`. The weights of the method are the model's own.
pub(crate) fn forward(
    vit: &Vit,
    images: Tensor<4>,
    reduction: &Reduction,
    drop: StochasticDepth,
) -> (Tensor<2>, Option<Tensor<1>>) {
    let reduction = reduction.clone().with_mergers(vit.mergers().clone());
    if drop.rate > 0.0 || vit.config().experts.is_some() {
        let Trained { logits, auxiliary, .. } = vit.forward_train(images, &reduction, &drop);
        return (logits, auxiliary);
    }
    (vit.predict(images, &reduction).logits, None)
}
