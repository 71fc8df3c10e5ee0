//! The one place where training runs the model.

use burn::tensor::Tensor;
use tokmerge_merge::Reduction;
use tokmerge_models::Vit;

/// `images: [B, 3, H, W]` → logits `[B, classes]`, tracked. `seed` is of this pass, for whatever is drawn in it.
pub(crate) fn forward(vit: &Vit, images: Tensor<4>, reduction: &Reduction, seed: u64) -> Tensor<2> {
    // Nothing is drawn yet: recipes with drop path are refused.
    let _ = seed;
    vit.forward(images, reduction).logits
}
