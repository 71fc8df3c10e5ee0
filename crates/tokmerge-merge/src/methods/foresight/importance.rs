//! What says how much of a token is going to be read.

use crate::Tokens;
use crate::mergers::{Start, Weighted};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use tokmerge_nn::{Bias, Linear, Norm};
use tokmerge_ops::Precision;

/// Epsilon of the norm.
const EPS: f64 = 1e-6;

/// How far a logarithm may lie from that of an even share, so that nothing overflows.
const MOST: f32 = 20.0;

/// The logarithm of the attention that the class token will pay to a token in all later layers, in multiples of an even
/// share: a linear map of the token's norm.
#[derive(Module, Debug)]
pub struct Importance {
    /// Of the tokens.
    pub norm: Norm,
    /// `[1, C]`.
    pub log_attention: Linear,
}

impl Importance {
    pub(crate) fn new(channels: usize, start: &mut Start<'_>) -> Self {
        Self { norm: start.layer_norm(channels, EPS), log_attention: start.linear(channels, 1, 0.02) }
    }

    /// A map with these weights, `[C]`, of a norm that only normalises.
    #[must_use]
    pub fn fitted(weight: &[f32], bias: f32, device: &Device) -> Self {
        let channels = weight.len();
        let mut log_attention = Linear::new(channels, 1, Bias::Yes, Precision::F32, device);
        let weight = TensorData::new(weight.to_vec(), [1, channels]);
        log_attention.weight = Param::from_tensor(Tensor::from_data(weight, device));
        log_attention.bias =
            Some(Param::from_tensor(Tensor::from_data(TensorData::new(vec![bias], [1]), device)));
        Self { norm: Norm::layer(channels, EPS, device), log_attention }
    }

    /// The norm of tokens, `[T, C]`, that the map is linear in.
    #[must_use]
    pub fn normalised(x: Tensor<2>) -> Tensor<2> {
        let [_, channels] = x.dims();
        let device = x.device();
        Norm::layer(channels, EPS, &device).forward(x)
    }

    /// The foretold attention on every token, `[T]`; prefix tokens too, of which it means nothing. Of what is no number 1.
    #[must_use]
    pub fn of(&self, tokens: &Tokens) -> Vec<f32> {
        let x = tokens.x.clone().without_autodiff();
        let logs = self.log_attention.forward(self.norm.forward(x));
        let importance = |log: f32| if log.is_nan() { 1.0 } else { log.clamp(-MOST, MOST).exp() };
        logs.into_data().iter::<f32>().map(importance).collect()
    }
}

impl Weighted for Importance {
    fn scores(&self, tokens: &Tokens) -> Option<Vec<f32>> {
        Some(self.of(tokens))
    }
}
