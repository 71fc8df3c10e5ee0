//! Linear layers, norms and scales, as PyTorch stores them.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Distribution, Shape, Tensor};
use tokmerge_ops::{Activation, LinearWeights, MlpWeights, NormWeights, Precision};

/// A parameter drawn from a normal distribution with deviation 0.02, when it is first used.
pub(crate) fn truncated_normal<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, require_grad| {
            let values = Tensor::<D>::random(shape, Distribution::Normal(0.0, 0.02), device);
            // Beyond two deviations is cut off, as ViTs are initialised.
            values.clamp(-0.04, 0.04).set_require_grad(require_grad)
        },
        device.clone(),
        true,
        Shape::from(shape.to_vec()),
    )
}

fn constant<const D: usize>(shape: [usize; D], value: f32, device: &Device) -> Param<Tensor<D>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, require_grad| Tensor::full(shape, value, device).set_require_grad(require_grad),
        device.clone(),
        true,
        Shape::from(shape.to_vec()),
    )
}

pub(crate) fn zeros<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    constant(shape, 0.0, device)
}

pub(crate) fn ones<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    constant(shape, 1.0, device)
}

/// A linear layer: `x Wᵀ + b`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[N, K]`: outputs by inputs.
    pub weight: Param<Tensor<2>>,
    /// `[N]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    precision: Precision,
}

/// Whether a linear layer adds something after multiplying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bias {
    Yes,
    No,
}

impl Bias {
    pub(crate) fn when(condition: bool) -> Self {
        if condition { Self::Yes } else { Self::No }
    }
}

impl Linear {
    pub(crate) fn new(
        inputs: usize,
        outputs: usize,
        bias: Bias,
        precision: Precision,
        device: &Device,
    ) -> Self {
        Self {
            weight: truncated_normal([outputs, inputs], device),
            bias: (bias == Bias::Yes).then(|| zeros([outputs], device)),
            precision,
        }
    }

    /// The tensors, as ops take them.
    #[must_use]
    pub fn weights(&self) -> LinearWeights {
        LinearWeights {
            weight: self.weight.val(),
            bias: self.bias.as_ref().map(Param::val),
            precision: self.precision,
        }
    }

    /// `[T, K]` → `[T, N]`.
    #[must_use]
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        tokmerge_ops::linear(x, self.weights(), Activation::Identity)
    }
}

/// Layer normalisation over channels.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale, `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[C]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    eps: f64,
}

impl LayerNorm {
    pub(crate) fn new(channels: usize, eps: f64, device: &Device) -> Self {
        Self { weight: ones([channels], device), bias: zeros([channels], device), eps }
    }

    /// The tensors, as ops take them.
    #[must_use]
    pub fn weights(&self) -> NormWeights {
        NormWeights { weight: self.weight.val(), bias: self.bias.val(), eps: self.eps as f32 }
    }

    /// `[T, C]` → `[T, C]`.
    #[must_use]
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        tokmerge_ops::layer_norm(x, self.weights())
    }
}

/// A learned factor per channel on a residual branch (CaiT's LayerScale).
#[derive(Module, Debug)]
pub struct LayerScale {
    /// `[C]`.
    pub gamma: Param<Tensor<1>>,
}

impl LayerScale {
    pub(crate) fn new(channels: usize, initial: f64, device: &Device) -> Self {
        Self { gamma: constant([channels], initial as f32, device) }
    }
}

/// The feed-forward part of a block.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[C_hidden, C]`.
    pub fc1: Linear,
    /// `[C, C_hidden]`.
    pub fc2: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    pub(crate) fn new(
        channels: usize,
        hidden: usize,
        activation: Activation,
        precision: Precision,
        device: &Device,
    ) -> Self {
        Self {
            fc1: Linear::new(channels, hidden, Bias::Yes, precision, device),
            fc2: Linear::new(hidden, channels, Bias::Yes, precision, device),
            activation,
        }
    }

    /// The tensors of `fc1 → activation → fc2`, as ops take them.
    pub(crate) fn layers(&self) -> (LinearWeights, Activation, LinearWeights) {
        (self.fc1.weights(), self.activation, self.fc2.weights())
    }

    /// The tensors of `norm → fc1 → activation → fc2`, as ops take them.
    #[must_use]
    pub fn weights(&self, norm: &LayerNorm) -> MlpWeights {
        MlpWeights {
            norm: norm.weights(),
            fc1: self.fc1.weights(),
            activation: self.activation,
            fc2: self.fc2.weights(),
        }
    }
}
