//! Clips to tubes.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use tokmerge_nn::{normal_parameter, zeros_parameter};
use tokmerge_ops::{Activation, LinearWeights, Precision, linear, patchify};

/// A convolution over space and time whose stride is its size, stored as one and computed as a linear layer over tubes.
#[derive(Module, Debug)]
pub struct TubeEmbed {
    /// The projection.
    pub proj: TubeProjection,
}

/// The weights of a convolution with the size of a tube as kernel and stride.
#[derive(Module, Debug)]
pub struct TubeProjection {
    /// `[C, channels, frames, height, width]`.
    pub weight: Param<Tensor<5>>,
    /// `[C]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    precision: Precision,
}

impl TubeEmbed {
    /// Tubes of `frames` frames and `height` x `width` pixels.
    pub(crate) fn new(
        in_chans: usize,
        frames: usize,
        (height, width): (usize, usize),
        embed_dim: usize,
        precision: Precision,
        device: &Device,
    ) -> Self {
        let weight = normal_parameter([embed_dim, in_chans, frames, height, width], device);
        let bias = zeros_parameter([embed_dim], device);
        Self { proj: TubeProjection { weight, bias, precision } }
    }

    /// `clips: [B, channels, frames, height, width]` → `[B * N, C]`, tubes by time, then row by row. What is left of a side
    /// or of the frames beyond whole tubes is not looked at.
    #[must_use]
    pub fn forward(&self, clips: Tensor<5>) -> Tensor<2> {
        let [items, channels, frames, height, width] = clips.dims();
        let weight = self.proj.weight.val();
        let [embed_dim, _, deep, down, across] = weight.dims();
        let steps = frames / deep;
        let clips = clips.narrow(2, 0, steps * deep);
        // All frames of a place at once, then the steps in front of the places.
        let patches =
            patchify(clips.reshape([items, channels * steps * deep, height, width]), (down, across));
        let [rows, _] = patches.dims();
        let places = rows / items.max(1);
        let tubes = patches
            .reshape([items, places, channels, steps, deep * down * across])
            .permute([0, 3, 1, 2, 4])
            .reshape([items * steps * places, channels * deep * down * across]);
        let layer = LinearWeights {
            weight: weight.reshape([embed_dim, channels * deep * down * across]),
            bias: Some(self.proj.bias.val()),
            precision: self.proj.precision,
        };
        linear(tubes, layer, Activation::Identity)
    }
}
