//! The feed-forward half of a pre-norm block, residual included.

use crate::backend::{Body, KernelOps, Maybe, body};
use crate::linear::{composed as composed_linear, composed_residual, flat, in_place};
use crate::norm::{FlexNorm, composed as composed_norm};
use crate::pool::values;
use crate::{LinearWeights, NormWeights, packs};
use burn::backend::Dispatch;
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use tokmerge_kernels as kernels;
use tokmerge_kernels::{Activation, Precision};

/// The weights of `norm → fc1 → activation → fc2`.
#[derive(Clone, Debug)]
pub struct MlpWeights {
    /// Before `fc1`.
    pub norm: NormWeights,
    /// `[C_hidden, C]`.
    pub fc1: LinearWeights,
    /// Between the two.
    pub activation: Activation,
    /// `[C, C_hidden]`.
    pub fc2: LinearWeights,
}

/// `x + scale * fc2(activation(fc1(norm(x))))`: `[T, C]` → `[T, C]`; the hidden activations are never stored
/// as a whole.
pub fn mlp_residual(x: Tensor<2>, mlp: MlpWeights, scale: Option<Tensor<1>>) -> Tensor<2> {
    let MlpWeights { norm, fc1, activation, fc2 } = mlp;
    match body(&x) {
        Body::Kernels => Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_mlp(
            x.into_dispatch(),
            norm.weight.into_dispatch(),
            norm.bias.into_dispatch(),
            norm.eps,
            fc1.weight.into_dispatch(),
            Maybe::from_tensor(fc1.bias),
            activation,
            fc2.weight.into_dispatch(),
            Maybe::from_tensor(fc2.bias),
            Maybe::from_tensor(scale),
            fc1.precision,
        )),
        Body::Composed => {
            let hidden = composed_linear(composed_norm(x.clone(), norm), fc1, activation);
            composed_residual(hidden, fc2, scale, x)
        }
    }
}

pub(crate) fn on_flex(
    x: FlexTensor,
    norm: &FlexNorm,
    (fc1, fc1_bias): (&FlexTensor, Option<&FlexTensor>),
    activation: Activation,
    (fc2, fc2_bias): (&FlexTensor, Option<&FlexTensor>),
    scale: Option<&FlexTensor>,
    precision: Precision,
) -> FlexTensor {
    let (fc1, fc2) = (packs::packed(fc1, precision), packs::packed(fc2, precision));
    let (fc1_bias, fc2_bias, scale) = (flat(fc1_bias), flat(fc2_bias), flat(scale));
    let mlp = kernels::Mlp {
        norm: norm.view(),
        fc1: &fc1,
        fc1_bias: fc1_bias.as_ref().map(values),
        activation,
        fc2: &fc2,
        fc2_bias: fc2_bias.as_ref().map(values),
        scale: scale.as_ref().map(values),
    };
    in_place(x, |x| kernels::mlp(&mlp, x))
}

#[cfg(test)]
mod tests {
    use super::{MlpWeights, composed_linear, composed_norm, composed_residual, mlp_residual};
    use crate::testing::{assert_close, devices, gradients_match, normal};
    use crate::{Activation, LinearWeights, NormWeights, Precision};
    use burn::tensor::{Device, Tensor};

    fn weights(channels: usize, hidden: usize, device: &Device) -> MlpWeights {
        let layer = |inputs: usize, outputs: usize, seed| LinearWeights {
            weight: normal([outputs, inputs], seed, device) * (inputs as f32).powf(-0.5),
            bias: Some(normal([outputs], seed + 1, device)),
            precision: Precision::F32,
        };
        MlpWeights {
            norm: NormWeights {
                weight: normal([channels], 1, device),
                bias: normal([channels], 2, device),
                eps: 1e-6,
            },
            fc1: layer(channels, hidden, 3),
            activation: Activation::Gelu,
            fc2: layer(hidden, channels, 5),
        }
    }

    fn oracle(x: Tensor<2>, mlp: MlpWeights, scale: Option<Tensor<1>>) -> Tensor<2> {
        let hidden = composed_linear(composed_norm(x.clone(), mlp.norm), mlp.fc1, mlp.activation);
        composed_residual(hidden, mlp.fc2, scale, x)
    }

    #[test]
    fn kernel_equals_composed() {
        let device = devices().plain;
        for (rows, channels, hidden) in [(1, 8, 32), (203, 48, 100), (0, 8, 8)] {
            let x = normal([rows, channels], 9, &device);
            for scale in [None, Some(normal([channels], 10, &device))] {
                let mlp = weights(channels, hidden, &device);
                let y = mlp_residual(x.clone(), mlp.clone(), scale.clone());
                assert_close(y, oracle(x.clone(), mlp, scale), 5e-5);
            }
        }
    }

    #[test]
    fn gradients_equal_composed() {
        let device = devices().tracked;
        gradients_match(
            [normal([5, 12], 9, &device)],
            |[x]| mlp_residual(x, weights(12, 20, &device), None),
            |[x]| oracle(x, weights(12, 20, &device), None),
            3e-4,
        );
    }
}
