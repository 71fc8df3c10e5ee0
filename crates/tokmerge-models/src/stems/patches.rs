//! Images to patches.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use tokmerge_nn::{Bias, Norm, normal_parameter, zeros_parameter};
use tokmerge_ops::{Activation, LinearWeights, Maps, Precision, Window, linear, patchify};

/// A convolution stored as one and computed as a linear layer over patches: its stride is its size, unless patches overlap.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    /// The projection.
    pub proj: PatchProjection,
    /// Of what it gives, before positions (AIMv2).
    pub norm: Option<Norm>,
}

/// The weights of a convolution with the size of a patch as kernel and stride.
#[derive(Module, Debug)]
pub struct PatchProjection {
    /// `[C, channels, height, width]`.
    pub weight: Param<Tensor<4>>,
    /// `[C]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    precision: Precision,
    #[module(skip)]
    stride: Option<usize>,
}

impl PatchEmbed {
    pub(crate) fn new(
        in_chans: usize,
        (height, width): (usize, usize),
        embed_dim: usize,
        bias: Bias,
        precision: Precision,
        device: &Device,
    ) -> Self {
        let weight = normal_parameter([embed_dim, in_chans, height, width], device);
        let bias = (bias == Bias::Yes).then(|| zeros_parameter([embed_dim], device));
        Self { proj: PatchProjection { weight, bias, precision, stride: None }, norm: None }
    }

    /// The same with patches of so many pixels from one to the next.
    #[must_use]
    pub(crate) fn with_stride(mut self, stride: Option<usize>) -> Self {
        self.proj.stride = stride;
        self
    }

    /// The same with a norm after the projection.
    #[must_use]
    pub(crate) fn with_norm(self, norm: Option<Norm>) -> Self {
        Self { norm, ..self }
    }

    /// `images: [B, channels, height, width]` → `[B * N, C]`, patches row by row. What is left of a side beyond whole
    /// patches is not looked at.
    #[must_use]
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let [_, _, height, width] = self.proj.weight.dims();
        let patches = match self.proj.stride {
            None => patchify(images, (height, width)),
            Some(stride) => Maps::Images(images).unfold(Window { size: height, stride, padding: 0 }),
        };
        self.project(patches)
    }

    /// Patches that are cut already: `[N, channels * height * width]` → `[N, C]`.
    #[must_use]
    pub fn project(&self, patches: Tensor<2>) -> Tensor<2> {
        let weight = self.proj.weight.val();
        let [embed_dim, in_chans, height, width] = weight.dims();
        let layer = LinearWeights {
            weight: weight.reshape([embed_dim, in_chans * height * width]),
            bias: self.proj.bias.as_ref().map(Param::val),
            precision: self.proj.precision,
        };
        let projected = linear(patches, layer, Activation::Identity);
        match &self.norm {
            Some(norm) => norm.forward(projected),
            None => projected,
        }
    }
}
