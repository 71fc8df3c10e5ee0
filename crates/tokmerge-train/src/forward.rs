//! The one place where training runs the model.

use burn::tensor::Tensor;
use tokmerge_merge::Reduction;
use tokmerge_models::{StochasticDepth, Vit};

/// `images: [B, 3, H, W]` → logits `[B, classes]`, tracked. The weights of the method are the model's own.
pub(crate) fn forward(
    vit: &Vit,
    images: Tensor<4>,
    reduction: &Reduction,
    drop: StochasticDepth,
) -> Tensor<2> {
    let reduction = reduction.clone().with_mergers(vit.mergers().clone());
    if drop.rate > 0.0 {
        return vit.forward_train(images, &reduction, &drop).logits;
    }
    vit.predict(images, &reduction).logits
}
