//! What a block works with besides its tokens.

use burn::tensor::Tensor;
use std::sync::Arc;
use tokmerge_merge::{Layout, MergePlan};
use tokmerge_ops::{Mask, PairBias, Rotation};

/// What a block works with besides its tokens; by default nothing.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// `[T]`, added to the logits of its key: the logarithm of its size in proportional attention.
    pub key_bias: Option<Arc<[f32]>>,
    /// Where every token stands, for models that rotate queries and keys.
    pub rotation: Option<Arc<Rotation>>,
    /// Added to the logits of pairs, for models with relative positions.
    pub pair_bias: Option<PairBias>,
    /// Which tokens a token attends to.
    pub mask: Mask,
    /// Tokens of another sequence, for blocks with cross-attention.
    pub memory: Option<Memory>,
    /// What the block has computed of these tokens already.
    pub begun: Option<Begun>,
}

/// What a block has computed of its tokens before some of them are chosen ([`EncoderBlock::begin`](super::EncoderBlock::begin)).
#[derive(Clone, Debug)]
pub struct Begun {
    /// What queries, keys and values are made of, `[T, C]`: the tokens, or their norm.
    pub input: Tensor<2>,
    /// Their keys, `[T, H * D]`, normalised where the model does so, and not rotated.
    pub keys: Tensor<2>,
}

impl Begun {
    /// The same of the tokens that a plan leaves.
    pub(crate) fn after(self, plan: &MergePlan) -> Self {
        Self { input: plan.represent(self.input), keys: plan.represent(self.keys) }
    }
}

/// Tokens that a decoder attends to.
#[derive(Clone, Debug)]
pub struct Memory {
    /// `[T, C]`.
    pub tokens: Tensor<2>,
    /// Whose they are; as many items as the decoder has.
    pub layout: Layout,
    /// `[T]`, added to the logits of its key.
    pub key_bias: Option<Arc<[f32]>>,
}
