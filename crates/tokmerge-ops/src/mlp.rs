//! The feed-forward half of a pre-norm block, residual included.

use crate::backend::{Body, body};
use crate::linear::{self, FlexLinear, activate, in_place, linear, linear_residual, norm_linear};
use crate::norm::{self, FlexNorm, normalise};
use crate::pool::values;
use crate::{LinearWeights, NormWeights};
use burn::tensor::{Tensor, s};
use burn_flex::{Flex, FlexTensor};
use tokmerge_kernels as kernels;
use tokmerge_kernels::Activation;

/// Whether half of the outputs of an MLP's first layer gate the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// No: `activation(fc1(x))`.
    None,
    /// `fc1` gives gate and value, side by side: `activation(gate) * value` (SwiGLU).
    First,
    /// The same with the value first.
    Last,
}

impl Gate {
    /// Outputs of the first layer per hidden channel.
    #[must_use]
    pub fn outputs(self) -> usize {
        match self {
            Self::None => 1,
            Self::First | Self::Last => 2,
        }
    }
}

/// The weights of an MLP: `fc1 → activation, gate → inner norm → fc2`.
#[derive(Clone, Debug)]
pub struct MlpWeights {
    /// `[C_hidden, C]`, or `[2 * C_hidden, C]` where it gates.
    pub fc1: LinearWeights,
    /// Between the two.
    pub activation: Activation,
    /// Whether half of `fc1`'s outputs gate the others.
    pub gate: Gate,
    /// Before `fc2`, over `C_hidden` channels.
    pub inner_norm: Option<NormWeights>,
    /// `[C, C_hidden]`.
    pub fc2: LinearWeights,
}

impl MlpWeights {
    /// The rows of `fc1` that give gates and those that give values, where it gives both.
    fn halves(&self) -> Option<[LinearWeights; 2]> {
        let [outputs, _] = self.fc1.weight.dims();
        let half = |range| self.fc1.clone().outputs(range);
        let (first, last) = (0..outputs / 2, outputs / 2..outputs);
        match self.gate {
            Gate::None => None,
            Gate::First => Some([half(first), half(last)]),
            Gate::Last => Some([half(last), half(first)]),
        }
    }
}

/// `fc2(inner_norm(gate(fc1(x))))`: `[T, C]` → `[T, C]`.
pub fn mlp(x: Tensor<2>, weights: MlpWeights) -> Tensor<2> {
    let hidden = hidden(x, &weights);
    let MlpWeights { inner_norm, fc2, .. } = weights;
    match inner_norm {
        Some(norm) => norm_linear(hidden, norm, fc2, Activation::Identity),
        None => linear(hidden, fc2, Activation::Identity),
    }
}

/// What `fc1` gives, activated and gated: `[T, C]` → `[T, C_hidden]`.
fn hidden(x: Tensor<2>, weights: &MlpWeights) -> Tensor<2> {
    match (body(&x), weights.halves()) {
        // The rows of a weight are fewer than those of a batch: only the former are ever cut and put together again.
        (Body::Kernels, Some([gate, value])) => {
            linear(x.clone(), gate, weights.activation) * linear(x, value, Activation::Identity)
        }
        (Body::Composed, Some(_)) => {
            gated(linear(x, weights.fc1.clone(), Activation::Identity), weights.activation, weights.gate)
        }
        (_, None) => linear(x, weights.fc1.clone(), weights.activation),
    }
}

/// `x + scale * mlp(norm(x))`: `[T, C]` → `[T, C]`. Where nothing is tracked, the hidden activations are never stored as a
/// whole.
pub fn mlp_residual(
    x: Tensor<2>,
    norm: NormWeights,
    weights: MlpWeights,
    scale: Option<Tensor<1>>,
) -> Tensor<2> {
    match (body(&x), Primitives::of(&x, &norm, &weights, scale.as_ref())) {
        (Body::Kernels, Some(primitives)) => {
            drop(x);
            primitives.run()
        }
        _ => by_layers(x, norm, weights, scale),
    }
}

/// One layer after the other: what backends without kernels run, and what has gradients.
fn by_layers(x: Tensor<2>, norm: NormWeights, weights: MlpWeights, scale: Option<Tensor<1>>) -> Tensor<2> {
    let hidden = hidden(normalise(x.clone(), norm), &weights);
    let MlpWeights { inner_norm, fc2, .. } = weights;
    let hidden = match inner_norm {
        Some(norm) => normalise(hidden, norm),
        None => hidden,
    };
    linear_residual(hidden, fc2, scale, x)
}

/// `activation(gate) * value`: `[T, 2 * C]` → `[T, C]`.
fn gated(x: Tensor<2>, activation: Activation, gate: Gate) -> Tensor<2> {
    let [_, columns] = x.dims();
    let (first, last) = (x.clone().slice(s![.., ..columns / 2]), x.slice(s![.., columns / 2..]));
    let (gate, value) = match gate {
        Gate::Last => (last, first),
        Gate::None | Gate::First => (first, last),
    };
    activate(gate, activation) * value
}

/// All operands, on Flex and untracked.
struct Primitives {
    x: FlexTensor,
    norm: FlexNorm,
    /// `fc1`, or the half of it that gives values.
    fc1: FlexLinear,
    gate: Option<FlexLinear>,
    activation: Activation,
    inner_norm: Option<FlexNorm>,
    fc2: FlexLinear,
    scale: Option<FlexTensor>,
}

impl Primitives {
    fn of(x: &Tensor<2>, norm: &NormWeights, mlp: &MlpWeights, scale: Option<&Tensor<1>>) -> Option<Self> {
        let x = x.clone().try_into_primitive::<Flex>().ok()?;
        let (fc1, gate) = match mlp.halves() {
            None => (FlexLinear::of(&mlp.fc1)?, None),
            Some([gate, value]) => (FlexLinear::of(&value)?, Some(FlexLinear::of(&gate)?)),
        };
        Some(Self {
            x,
            norm: FlexNorm::of(norm)?,
            fc1,
            gate,
            activation: mlp.activation,
            inner_norm: norm::optional(mlp.inner_norm.as_ref())?,
            fc2: FlexLinear::of(&mlp.fc2)?,
            scale: linear::optional(scale)?,
        })
    }

    fn run(self) -> Tensor<2> {
        let Self { x, norm, fc1, gate, activation, inner_norm, fc2, scale } = self;
        let (fc1_pack, fc2_pack) = (fc1.pack(), fc2.pack());
        let gate = gate.as_ref().map(|gate| (gate.pack(), gate.bias()));
        let mlp = kernels::Mlp {
            norm: norm.view(),
            fc1: &fc1_pack,
            fc1_bias: fc1.bias(),
            activation,
            gate: gate.as_ref().map(|(w, bias)| kernels::Gating { w, bias: *bias }),
            inner_norm: inner_norm.as_ref().map(FlexNorm::view),
            fc2: &fc2_pack,
            fc2_bias: fc2.bias(),
            scale: scale.as_ref().map(values),
        };
        Tensor::from_primitive::<Flex>(in_place(x, |x| kernels::mlp(&mlp, x)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Gate, MlpWeights, by_layers, gated, mlp, mlp_residual};
    use crate::linear::{activate, composed as composed_linear, composed_residual};
    use crate::norm::composed as composed_norm;
    use crate::testing::{assert_close, devices, gradients_match, normal};
    use crate::{Activation, LinearWeights, NormKind, NormWeights, Precision};
    use burn::tensor::{Device, Tensor, activation::silu, s};

    fn norm(channels: usize, kind: NormKind, device: &Device) -> NormWeights {
        let bias = (kind == NormKind::Layer).then(|| normal([channels], 2, device));
        NormWeights { kind, weight: normal([channels], 1, device), bias, eps: 1e-6 }
    }

    fn layer(inputs: usize, outputs: usize, seed: u64, device: &Device) -> LinearWeights {
        LinearWeights {
            weight: normal([outputs, inputs], seed, device) * (inputs as f32).powf(-0.5),
            bias: Some(normal([outputs], seed + 1, device)),
            precision: Precision::F32,
        }
    }

    /// Every kind of MLP, and the norm before it.
    fn kinds(channels: usize, hidden: usize, device: &Device) -> Vec<(NormWeights, MlpWeights)> {
        let mut kinds = Vec::new();
        for gate in [Gate::None, Gate::First, Gate::Last] {
            for (kind, inner) in [(NormKind::Layer, false), (NormKind::Rms, false), (NormKind::Layer, true)] {
                let activation = if gate == Gate::None { Activation::Gelu } else { Activation::Silu };
                let weights = MlpWeights {
                    fc1: layer(channels, gate.outputs() * hidden, 3, device),
                    activation,
                    gate,
                    inner_norm: inner.then(|| norm(hidden, kind, device)),
                    fc2: layer(hidden, channels, 5, device),
                };
                kinds.push((norm(channels, kind, device), weights));
            }
        }
        kinds
    }

    fn composed(x: Tensor<2>, norm: NormWeights, weights: MlpWeights, scale: Option<Tensor<1>>) -> Tensor<2> {
        let MlpWeights { fc1, activation, gate, inner_norm, fc2 } = weights;
        let hidden = composed_linear(composed_norm(x.clone(), norm), fc1, Activation::Identity);
        let hidden = match gate {
            Gate::None => activate(hidden, activation),
            gate => gated(hidden, activation, gate),
        };
        let hidden = match inner_norm {
            Some(norm) => composed_norm(hidden, norm),
            None => hidden,
        };
        composed_residual(hidden, fc2, scale, x)
    }

    #[test]
    fn kernel_equals_composed_and_layers_one_by_one_bit_for_bit() {
        let device = devices().plain;
        for (rows, channels, hidden) in [(1, 8, 32), (203, 48, 100), (0, 8, 8)] {
            let x: Tensor<2> = normal([rows, channels], 9, &device);
            for scale in [None, Some(normal([channels], 10, &device))] {
                for (norm, weights) in kinds(channels, hidden, &device) {
                    let y = mlp_residual(x.clone(), norm.clone(), weights.clone(), scale.clone());
                    let expected = composed(x.clone(), norm.clone(), weights.clone(), scale.clone());
                    assert_close(y.clone(), expected, 5e-5);
                    assert_close(by_layers(x.clone(), norm, weights, scale.clone()), y, 0.0);
                }
            }
        }
    }

    #[test]
    fn the_gate_is_the_half_that_it_is_said_to_be() {
        let device = devices().plain;
        let x: Tensor<2> = normal([3, 4], 9, &device);
        let weights = |gate| MlpWeights {
            fc1: layer(4, 6, 3, &device),
            activation: Activation::Silu,
            gate,
            inner_norm: None,
            fc2: layer(3, 4, 5, &device),
        };
        let LinearWeights { weight, bias, .. } = layer(4, 6, 3, &device);
        let hidden = x.clone().matmul(weight.transpose()) + bias.expect("given").unsqueeze::<2>();
        let (a, b) = (hidden.clone().slice(s![.., ..3]), hidden.slice(s![.., 3..]));
        let LinearWeights { weight, bias, .. } = layer(3, 4, 5, &device);
        let out = |hidden: Tensor<2>| {
            hidden.matmul(weight.clone().transpose()) + bias.clone().expect("given").unsqueeze::<2>()
        };
        assert_close(mlp(x.clone(), weights(Gate::First)), out(silu(a.clone()) * b.clone()), 1e-5);
        assert_close(mlp(x, weights(Gate::Last)), out(a * silu(b)), 1e-5);
    }

    #[test]
    fn gradients_equal_composed() {
        let device = devices().tracked;
        for index in 0..kinds(12, 20, &device).len() {
            let kind = || kinds(12, 20, &device)[index].clone();
            gradients_match(
                [normal([5, 12], 9, &device)],
                |[x]| mlp_residual(x, kind().0, kind().1, None),
                |[x]| composed(x, kind().0, kind().1, None),
                3e-4,
            );
        }
    }
}
