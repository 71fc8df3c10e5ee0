//! Linear layers, norms and scales, as PyTorch stores them.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Distribution, Shape, Tensor};
use tokmerge_ops::{Activation, Gate, LinearWeights, MlpWeights, NormKind, NormWeights, Precision};

/// A parameter drawn from a normal distribution with deviation 0.02, when it is first used.
#[must_use]
pub fn normal_parameter<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
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

/// A parameter that begins with one value everywhere.
#[must_use]
pub fn constant_parameter<const D: usize>(
    shape: [usize; D],
    value: f32,
    device: &Device,
) -> Param<Tensor<D>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, require_grad| Tensor::full(shape, value, device).set_require_grad(require_grad),
        device.clone(),
        true,
        Shape::from(shape.to_vec()),
    )
}

/// A parameter that begins with zeros.
#[must_use]
pub fn zeros_parameter<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    constant_parameter(shape, 0.0, device)
}

fn ones<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    constant_parameter(shape, 1.0, device)
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
pub enum Bias {
    /// A learned vector is added.
    Yes,
    /// Nothing is added.
    No,
}

impl Bias {
    /// [`Bias::Yes`] if a condition holds.
    #[must_use]
    pub fn when(condition: bool) -> Self {
        if condition { Self::Yes } else { Self::No }
    }
}

impl Linear {
    /// `inputs` → `outputs`, random until weights are loaded.
    #[must_use]
    pub fn new(inputs: usize, outputs: usize, bias: Bias, precision: Precision, device: &Device) -> Self {
        Self {
            weight: normal_parameter([outputs, inputs], device),
            bias: (bias == Bias::Yes).then(|| zeros_parameter([outputs], device)),
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

/// A norm over channels: LayerNorm or RMSNorm.
#[derive(Module, Debug)]
pub struct Norm {
    /// Scale, `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[C]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    kind: NormKind,
    #[module(skip)]
    eps: f64,
}

impl Norm {
    /// Over `channels`, doing nothing but normalise.
    #[must_use]
    pub fn new(channels: usize, kind: NormKind, eps: f64, bias: Bias, device: &Device) -> Self {
        let weight = ones([channels], device);
        let bias = (bias == Bias::Yes).then(|| zeros_parameter([channels], device));
        Self { weight, bias, kind, eps }
    }

    /// A LayerNorm with a bias.
    #[must_use]
    pub fn layer(channels: usize, eps: f64, device: &Device) -> Self {
        Self::new(channels, NormKind::Layer, eps, Bias::Yes, device)
    }

    /// The tensors, as ops take them.
    #[must_use]
    pub fn weights(&self) -> NormWeights {
        NormWeights {
            kind: self.kind,
            weight: self.weight.val(),
            bias: self.bias.as_ref().map(Param::val),
            eps: self.eps as f32,
        }
    }

    /// `[T, C]` → `[T, C]`.
    #[must_use]
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        tokmerge_ops::normalise(x, self.weights())
    }
}

/// A learned factor per channel on a residual branch (CaiT's LayerScale).
#[derive(Module, Debug)]
pub struct LayerScale {
    /// `[C]`.
    pub gamma: Param<Tensor<1>>,
}

impl LayerScale {
    /// Of `channels` factors that begin with `initial`.
    #[must_use]
    pub fn new(channels: usize, initial: f64, device: &Device) -> Self {
        Self { gamma: constant_parameter([channels], initial as f32, device) }
    }
}

/// Two linear layers with an activation in between.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[C_hidden, C]`.
    pub fc1: Linear,
    /// Before `fc2`.
    pub norm: Option<Norm>,
    /// `[C, C_hidden]`.
    pub fc2: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    /// `channels` → `hidden` → `channels` with biases and without an inner norm, random until weights are loaded.
    #[must_use]
    pub fn new(
        channels: usize,
        hidden: usize,
        activation: Activation,
        precision: Precision,
        device: &Device,
    ) -> Self {
        let fc1 = Linear::new(channels, hidden, Bias::Yes, precision, device);
        let fc2 = Linear::new(hidden, channels, Bias::Yes, precision, device);
        Self::of(fc1, activation, None, fc2)
    }

    /// Of these layers, and a norm between them over what `fc1` gives.
    #[must_use]
    pub fn of(fc1: Linear, activation: Activation, norm: Option<Norm>, fc2: Linear) -> Self {
        Self { fc1, norm, fc2, activation }
    }

    /// The tensors, as ops take them.
    #[must_use]
    pub fn weights(&self) -> MlpWeights {
        MlpWeights {
            fc1: self.fc1.weights(),
            activation: self.activation,
            gate: Gate::None,
            inner_norm: self.norm.as_ref().map(Norm::weights),
            fc2: self.fc2.weights(),
        }
    }

    /// `[T, C]` → `[T, C]`.
    #[must_use]
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        tokmerge_ops::mlp(x, self.weights())
    }
}

/// An MLP whose first layer gives a gate and a value for every hidden channel: `fc2(activation(gate) * value)`, such as
/// SwiGLU.
#[derive(Module, Debug)]
pub struct GatedMlp {
    /// `[2 * C_hidden, C]`: gates and values below each other.
    pub fc1: Linear,
    /// Before `fc2`.
    pub norm: Option<Norm>,
    /// `[C, C_hidden]`.
    pub fc2: Linear,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    gate: Gate,
}

impl GatedMlp {
    /// Of these layers, and a norm between them over the hidden channels.
    #[must_use]
    pub fn of(fc1: Linear, activation: Activation, gate: Gate, norm: Option<Norm>, fc2: Linear) -> Self {
        Self { fc1, norm, fc2, activation, gate }
    }

    /// The tensors, as ops take them.
    #[must_use]
    pub fn weights(&self) -> MlpWeights {
        MlpWeights {
            fc1: self.fc1.weights(),
            activation: self.activation,
            gate: self.gate,
            inner_norm: self.norm.as_ref().map(Norm::weights),
            fc2: self.fc2.weights(),
        }
    }

    /// `[T, C]` → `[T, C]`.
    #[must_use]
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        tokmerge_ops::mlp(x, self.weights())
    }
}
