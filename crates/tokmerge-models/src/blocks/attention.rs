//! Multi-head self-attention, up to but without its output projection.

use super::layers::{Bias, LayerNorm, Linear};
use burn::module::Module;
use burn::tensor::{Device, Tensor, s};
use tokmerge_merge::{Evidence, Feature, FeatureRequest, Received, Wants};
use tokmerge_ops::{HeadFeatures, Heads, Part, Precision, attention_received, head_features};

/// Queries, keys and values of all heads from one linear layer, and the projection of what they attend to.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[3 * C, C]`: queries, keys and values, heads inside each.
    pub qkv: Linear,
    /// Over the channels of each query head.
    pub q_norm: Option<LayerNorm>,
    /// Over the channels of each key head.
    pub k_norm: Option<LayerNorm>,
    /// `[C, C]`.
    pub proj: Linear,
    #[module(skip)]
    num_heads: usize,
    #[module(skip)]
    head_dim: usize,
}

impl Attention {
    pub(crate) fn new(
        channels: usize,
        num_heads: usize,
        qkv_bias: Bias,
        qk_norm_eps: Option<f64>,
        precision: Precision,
        device: &Device,
    ) -> Self {
        let head_dim = channels / num_heads;
        let norm = |eps| LayerNorm::new(head_dim, eps, device);
        Self {
            qkv: Linear::new(channels, 3 * channels, qkv_bias, precision, device),
            q_norm: qk_norm_eps.map(norm),
            k_norm: qk_norm_eps.map(norm),
            proj: Linear::new(channels, channels, Bias::Yes, precision, device),
            num_heads,
            head_dim,
        }
    }

    /// Heads and the factor on their logits.
    #[must_use]
    pub fn heads(&self) -> Heads {
        let scale = (self.head_dim as f64).powf(-0.5) as f32;
        Heads { count: self.num_heads, dim: self.head_dim, scale }
    }

    /// Normalises queries and keys per head, where the model does so: `[T, 3 * C]` → `[T, 3 * C]`.
    pub(crate) fn normalise_heads(&self, qkv: Tensor<2>) -> Tensor<2> {
        if self.is_plain() {
            return qkv;
        }
        let width = self.num_heads * self.head_dim;
        let part = |index: usize, norm: Option<&LayerNorm>| {
            self.normalise_part(qkv.clone().slice(s![.., index * width..(index + 1) * width]), norm)
        };
        Tensor::cat(vec![part(0, self.q_norm.as_ref()), part(1, self.k_norm.as_ref()), part(2, None)], 1)
    }

    /// As [`normalise_heads`](Self::normalise_heads), of queries `[Q, C]` and `keys_values: [T, 2 * C]` apart.
    pub(crate) fn normalise_apart(
        &self,
        queries: Tensor<2>,
        keys_values: Tensor<2>,
    ) -> (Tensor<2>, Tensor<2>) {
        let queries = self.normalise_part(queries, self.q_norm.as_ref());
        let Some(norm) = &self.k_norm else { return (queries, keys_values) };
        let width = self.num_heads * self.head_dim;
        let keys = self.normalise_part(keys_values.clone().slice(s![.., ..width]), Some(norm));
        (queries, Tensor::cat(vec![keys, keys_values.slice(s![.., width..])], 1))
    }

    /// Normalises the heads of one part: `[T, C]` → `[T, C]`.
    fn normalise_part(&self, part: Tensor<2>, norm: Option<&LayerNorm>) -> Tensor<2> {
        let Some(norm) = norm else { return part };
        let [rows, width] = part.dims();
        norm.forward(part.reshape([rows * self.num_heads, self.head_dim])).reshape([rows, width])
    }

    /// Whether queries and keys are attended with as they come from `qkv`.
    pub(crate) fn is_plain(&self) -> bool {
        self.q_norm.is_none() && self.k_norm.is_none()
    }

    /// What a method asked for and `qkv: [T, 3 * C]` can tell.
    pub(crate) fn evidence(
        &self,
        qkv: &Tensor<2>,
        log_size: Option<&[f32]>,
        layout: &tokmerge_merge::Layout,
        wants: Wants,
    ) -> Evidence {
        let heads = self.heads();
        let features = wants.features.and_then(of_heads);
        let features = features.map(|(part, heads_as)| head_features(qkv.clone(), heads, part, heads_as));
        let received = match wants.received {
            Received::No => None,
            Received::Yes => Some(attention_received(qkv.clone(), heads, log_size, layout)),
        };
        Evidence { features, received }
    }
}

/// The features of heads that are asked for; none where it is others.
pub(crate) fn of_heads(request: FeatureRequest) -> Option<HeadFeatures> {
    let part = match request.feature {
        Feature::Query => Part::Query,
        Feature::Key => Part::Key,
        Feature::Value => Part::Value,
        Feature::BlockInput | Feature::Attended => return None,
    };
    Some((part, request.heads))
}
