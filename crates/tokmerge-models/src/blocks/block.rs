//! The pre-norm Transformer block, in two halves.

use super::{Attention, LayerNorm, LayerScale, Mlp};
use crate::encoder::EncoderBlock;
use burn::module::Module;
use std::sync::Arc;
use tokmerge_merge::{Evidence, Feature, Tokens, Wants};
use tokmerge_ops::{Activation, attention, linear_residual, mlp_residual, norm_linear};

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
    /// MLP.
    pub mlp: Mlp,
    /// On the MLP branch.
    pub ls2: Option<LayerScale>,
}

impl EncoderBlock for Block {
    fn attend(&self, tokens: Tokens, log_size: Option<Arc<[f32]>>, wants: Wants) -> (Tokens, Evidence) {
        let weights = self.attn.qkv.weights();
        let precision = weights.precision.without_int8();
        let qkv = norm_linear(tokens.x.clone(), self.norm1.weights(), weights, Activation::Identity);
        let qkv = self.attn.normalise_heads(qkv);
        let mut evidence = self.attn.evidence(&qkv, log_size.as_deref(), &tokens.layout, wants);
        let y = attention(qkv, self.attn.heads(), precision, log_size, &tokens.layout);
        let scale = self.ls1.as_ref().map(|ls| ls.gamma.val());
        let Tokens { x, layout, prefix, size } = tokens;
        let x = linear_residual(y, self.attn.proj.weights(), scale, x);
        if wants.features.is_some_and(|request| request.feature == Feature::Attended) {
            evidence.features = Some(x.clone().without_autodiff());
        }
        (Tokens { x, layout, prefix, size }, evidence)
    }

    fn feed_forward(&self, tokens: Tokens) -> Tokens {
        let scale = self.ls2.as_ref().map(|ls| ls.gamma.val());
        let Tokens { x, layout, prefix, size } = tokens;
        Tokens { x: mlp_residual(x, self.mlp.weights(&self.norm2), scale), layout, prefix, size }
    }
}
