//! The pre-norm Transformer block, in two halves.

use super::attention::of_heads;
use super::{Attention, FeedForward, LayerNorm, LayerScale};
use crate::encoder::EncoderBlock;
use burn::module::Module;
use burn::tensor::Tensor;
use std::ops::Range;
use std::sync::Arc;
use tokmerge_merge::{Evidence, Feature, Layout, Random, Received, Tokens, Wants};
use tokmerge_ops::{
    Activation, SelfAttentionWeights, attention, front_attention, linear_residual, norm_linear,
    self_attention,
};

/// `x + ls1(attn(norm1(x)))`, then `x + ls2(mlp(norm2(x)))`.
#[derive(Module, Debug)]
pub struct Block {
    /// Before attention.
    pub norm1: LayerNorm,
    /// Attention.
    pub attn: Attention,
    /// On the attention branch.
    pub ls1: Option<LayerScale>,
    /// Before the MLP.
    pub norm2: LayerNorm,
    /// MLP, or experts.
    pub mlp: FeedForward,
    /// On the MLP branch.
    pub ls2: Option<LayerScale>,
}

impl Block {
    /// One layer after the other, for what is between them.
    fn attend_by_layers(
        &self,
        x: Tensor<2>,
        log_size: Option<Arc<[f32]>>,
        layout: &Layout,
        wants: Wants,
    ) -> (Tensor<2>, Evidence) {
        let weights = self.attn.qkv.weights();
        let precision = weights.precision.without_int8();
        let qkv = norm_linear(x.clone(), self.norm1.weights(), weights, Activation::Identity);
        let qkv = self.attn.normalise_heads(qkv);
        let evidence = self.attn.evidence(&qkv, log_size.as_deref(), layout, wants);
        let y = attention(qkv, self.attn.heads(), precision, log_size, layout);
        let scale = self.ls1.as_ref().map(|ls| ls.gamma.val());
        (linear_residual(y, self.attn.proj.weights(), scale, x), evidence)
    }
}

impl EncoderBlock for Block {
    fn attend(&self, tokens: Tokens, log_size: Option<Arc<[f32]>>, wants: Wants) -> (Tokens, Evidence) {
        let Tokens { x, layout, prefix, size } = tokens;
        let (x, mut evidence) = if self.attn.is_plain() && wants.received == Received::No {
            let weights = SelfAttentionWeights {
                norm: self.norm1.weights(),
                qkv: self.attn.qkv.weights(),
                heads: self.attn.heads(),
                proj: self.attn.proj.weights(),
                scale: self.ls1.as_ref().map(|ls| ls.gamma.val()),
            };
            let features = wants.features.and_then(of_heads);
            let (x, features) = self_attention(x, weights, log_size, &layout, features);
            (x, Evidence { features, received: None })
        } else {
            self.attend_by_layers(x, log_size, &layout, wants)
        };
        if wants.features.is_some_and(|request| request.feature == Feature::Attended) {
            evidence.features = Some(x.clone().without_autodiff());
        }
        (Tokens { x, layout, prefix, size }, evidence)
    }

    fn attend_prefix(&self, tokens: Tokens, log_size: Option<Arc<[f32]>>) -> Tokens {
        let weights = self.attn.qkv.weights();
        let (precision, [outputs, channels]) = (weights.precision.without_int8(), weights.weight.dims());
        let front = tokens.clone().prefix_only();
        let part = |x: Tensor<2>, outputs: Range<usize>| {
            norm_linear(x, self.norm1.weights(), weights.clone().outputs(outputs), Activation::Identity)
        };
        let Tokens { x, layout, prefix, .. } = tokens;
        let (queries, keys_values) = (part(front.x.clone(), 0..channels), part(x, channels..outputs));
        let (queries, keys_values) = self.attn.normalise_apart(queries, keys_values);
        let heads = self.attn.heads();
        let y = front_attention(queries, keys_values, heads, precision, log_size, &layout, prefix);
        let scale = self.ls1.as_ref().map(|ls| ls.gamma.val());
        let Tokens { x, layout, prefix, size } = front;
        Tokens { x: linear_residual(y, self.attn.proj.weights(), scale, x), layout, prefix, size }
    }

    fn feed_forward(&self, tokens: Tokens) -> Tokens {
        let scale = self.ls2.as_ref().map(|ls| ls.gamma.val());
        let Tokens { x, layout, prefix, size } = tokens;
        let x = self.mlp.residual(x, &self.norm2, scale, &layout);
        Tokens { x, layout, prefix, size }
    }

    fn feed_forward_train(&self, tokens: Tokens, random: &mut Random) -> (Tokens, Option<Tensor<1>>) {
        let scale = self.ls2.as_ref().map(|ls| ls.gamma.val());
        let Tokens { x, layout, prefix, size } = tokens;
        let (x, auxiliary) = self.mlp.residual_train(x, &self.norm2, scale, &layout, random);
        (Tokens { x, layout, prefix, size }, auxiliary)
    }
}
