//! The shape of a Vision Transformer.

use crate::blocks::{BlockConfig, NormConfig};
use crate::experts::ExpertsConfig;
use crate::positions::PositionConfig;
use tokmerge_merge::KeyBias;
use tokmerge_ops::Activation;

/// The shape of a Vision Transformer: patches, blocks of one shape, a head.
#[derive(Clone, Debug, PartialEq)]
pub struct VitConfig {
    /// Height and width of the input in pixels. What is left of a side beyond whole patches is not looked at, as by the
    /// convolution that cuts patches.
    pub img_size: (usize, usize),
    /// Whether all images have that size.
    pub sizes: Sizes,
    /// Height and width of a patch in pixels.
    pub patch_size: (usize, usize),
    /// Pixels from one patch to the next, where patches overlap (AST); `None` where they lie side by side.
    pub patch_stride: Option<usize>,
    /// Colours; 1 for the spectrogram of a sound.
    pub in_chans: usize,
    /// Whether the projection of patches has a bias.
    pub patch_bias: bool,
    /// The norm of patches before they meet positions and prefix tokens (AIMv2); `None` if there is none.
    pub patch_norm: Option<NormConfig>,
    /// Class and distillation token.
    pub class_token: ClassToken,
    /// Register tokens, after the class token.
    pub reg_tokens: usize,
    /// How tokens know where they stand.
    pub positions: PositionConfig,
    /// Whether a norm precedes the first block (CLIP's `norm_pre`).
    pub pre_norm: bool,
    /// Blocks (`L`).
    pub depth: usize,
    /// How the two halves of a block are wired.
    pub wiring: Wiring,
    /// The shape of every block; channels and heads are in here.
    pub block: BlockConfig,
    /// Experts in place of the MLP of some blocks (V-MoE).
    pub experts: Option<ExpertsConfig>,
    /// What the head looks at.
    pub pool: Pool,
    /// Where the last norm stands.
    pub norm_place: NormPlace,
    /// A layer and its activation after the pool (V-MoE's `representation_size`, the pooler of transformers'
    /// `ViTModel`); `None` if there is none.
    pub pre_logits: Option<PreLogits>,
    /// Outputs of a projection after the pool, which gives the embedding (CLIP); `None` if there is none.
    pub projection: Option<usize>,
    /// Whether the projection has a bias.
    pub projection_bias: bool,
    /// What the classifier makes of the embedding first.
    pub head_input: HeadInput,
    /// Outputs of the head; 0 for a model without one.
    pub num_classes: usize,
    /// Whether the head has a bias.
    pub head_bias: bool,
    /// What `prop_attn=auto` means for these weights as published.
    pub key_bias: KeyBias,
    /// What it means for such weights when they were trained with merging.
    pub trained_key_bias: KeyBias,
}

/// What a classifier makes of the embedding first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadInput {
    /// Nothing.
    Embedding,
    /// It is normalised by a norm of its own (AST).
    Normed,
    /// It is brought to length 1, so that logits are cosines times a factor (classes by their names: CLIP, SigLIP).
    Unit,
}

/// Which prefix tokens lead, besides registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassToken {
    /// None.
    Absent,
    /// A class token.
    Single,
    /// A class and a distillation token (DeiT).
    Distilled(DistillationHead),
}

/// What becomes of a distillation token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DistillationHead {
    /// It has a head of its own; the logits of both are averaged.
    Averaged,
    /// No head reads it (transformers' `DeiTForImageClassification`).
    Unread,
    /// The embedding is the mean of both tokens, and one head reads it (AST).
    Pooled,
}

/// What the head looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pool {
    /// The class token (and the distillation token, where a head reads it).
    Token,
    /// The mean of the patch tokens, each weighted by its size.
    Average,
    /// The mean of all tokens, prefix included, each weighted by its size (timm's `pool_include_prefix`).
    AverageAll,
    /// The class token beside the mean of the patches, `2 * C` wide (DINOv2's linear classifier).
    TokenAndAverage,
    /// One learned query attends to tokens, more to those of larger size (SigLIP's MAP head).
    Attention(AttentionPoolConfig),
}

/// The shape of an attention pool. Its norms and its activation are those of the blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionPoolConfig {
    /// Heads.
    pub heads: usize,
    /// Hidden channels of the MLP after it; `None` if there is no MLP.
    pub mlp_hidden: Option<usize>,
    /// Whether a norm stands before the MLP.
    pub norm: bool,
    /// Whether the query attends to prefix tokens too (Perception Encoder), not to patches alone.
    pub prefix: bool,
    /// Whether the query is projected (not in AIMv2).
    pub query_projection: bool,
}

/// A layer with an activation after the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreLogits {
    /// Its outputs.
    pub width: usize,
    /// What follows it.
    pub activation: Activation,
}

impl PreLogits {
    /// A layer of so many outputs and tanh.
    #[must_use]
    pub fn tanh(width: usize) -> Self {
        Self { width, activation: Activation::Tanh }
    }
}

/// Where the last norm stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlace {
    /// On all tokens before pooling (`norm`).
    BeforePool,
    /// On the pooled vector (`fc_norm`).
    AfterPool,
    /// Nowhere.
    None,
}

/// How the two halves of a block are wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// Attention, then the MLP: tokens merge in between.
    Sequential,
    /// Attention and MLP from one normalised input and one matrix (timm's `ParallelScalingBlock`): there is no place for
    /// merging between them.
    Parallel,
    /// Several attentions side by side, then several MLPs side by side (timm's `ParallelThingsBlock`).
    Branches(usize),
}

/// Whether all images have one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Yes.
    One,
    /// Each has its own, of so many patches at most (SigLIP 2 NaFlex).
    Own {
        /// Patches of an image at most.
        most: usize,
    },
}
