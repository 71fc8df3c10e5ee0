//! How the weights of mergers begin.

use crate::Random;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use tokmerge_ops::NormWeights;

/// Epsilon of the norm in front of a merger, as in the models that the papers used.
const EPS: f32 = 1e-6;

/// Makes parameters, the same in every run.
pub(super) struct Start<'d> {
    random: Random,
    device: &'d Device,
}

impl<'d> Start<'d> {
    pub(super) fn new(device: &'d Device) -> Self {
        Self { random: Random::new(0x746f_6b6d), device }
    }

    /// Normally distributed around 0.
    pub(super) fn normal(&mut self, [rows, columns]: [usize; 2], deviation: f64) -> Param<Tensor<2>> {
        let values: Vec<f32> =
            (0..rows * columns).map(|_| (self.random.normal() * deviation) as f32).collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, [rows, columns]), self.device))
    }

    pub(super) fn norm(&self, channels: usize) -> Norm {
        Norm {
            weight: Param::from_tensor(Tensor::ones([channels], self.device)),
            bias: Param::from_tensor(Tensor::zeros([channels], self.device)),
        }
    }
}

/// The LayerNorm in front of a merger.
#[derive(Module, Debug)]
pub struct Norm {
    /// Scale, `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[C]`.
    pub bias: Param<Tensor<1>>,
}

impl Norm {
    /// `[T, C]` → `[T, C]`.
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let weights = NormWeights { weight: self.weight.val(), bias: self.bias.val(), eps: EPS };
        tokmerge_ops::layer_norm(x, weights)
    }
}
