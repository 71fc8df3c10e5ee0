//! Images to tokens.

use super::layers::{Bias, truncated_normal, zeros};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use tokmerge_ops::{Activation, LinearWeights, Precision, linear, patchify};

/// A convolution whose stride is its size, stored as one and computed as a linear layer over patches.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    /// The projection.
    pub proj: PatchProjection,
}

/// The weights of a convolution with `patch_size` as kernel and stride.
#[derive(Module, Debug)]
pub struct PatchProjection {
    /// `[C, channels, patch, patch]`.
    pub weight: Param<Tensor<4>>,
    /// `[C]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    precision: Precision,
}

impl PatchEmbed {
    pub(crate) fn new(
        in_chans: usize,
        patch_size: usize,
        embed_dim: usize,
        bias: Bias,
        precision: Precision,
        device: &Device,
    ) -> Self {
        let weight = truncated_normal([embed_dim, in_chans, patch_size, patch_size], device);
        let bias = (bias == Bias::Yes).then(|| zeros([embed_dim], device));
        Self { proj: PatchProjection { weight, bias, precision } }
    }

    /// `images: [B, channels, height, width]` → `[B * N, C]`, patches row by row.
    ///
    /// # Panics
    /// When height or width is not a multiple of the patch size; the model checks that first.
    #[must_use]
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let weight = self.proj.weight.val();
        let [embed_dim, in_chans, patch, _] = weight.dims();
        let layer = LinearWeights {
            weight: weight.reshape([embed_dim, in_chans * patch * patch]),
            bias: self.proj.bias.as_ref().map(Param::val),
            precision: self.proj.precision,
        };
        linear(patchify(images, patch), layer, Activation::Identity)
    }
}
