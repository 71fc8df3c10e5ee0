//! The shape of a block: what families of Transformers choose between.

use tokmerge_ops::Activation;
pub use tokmerge_ops::{Gate, NormKind};

/// The shape of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockConfig {
    /// Channels of a token (`C`).
    pub channels: usize,
    /// Heads of the attention (`H`).
    pub heads: usize,
    /// Channels of a head (`D`); `C / H` in most models.
    pub head_dim: usize,
    /// Where norms and residuals stand.
    pub order: Order,
    /// Kind and epsilon of all norms.
    pub norm: NormConfig,
    /// Bias of queries, keys and values.
    pub qkv_bias: QkvBias,
    /// Norms of queries and keys.
    pub qk_norm: QkNorm,
    /// What products of queries and keys are multiplied by.
    pub logit_scale: LogitScale,
    /// Whether a norm stands between attention and its output projection (timm's `scale_attn_norm` and
    /// `scale_attn_inner`).
    pub attn_norm: bool,
    /// Whether the output projection of attention has a bias.
    pub proj_bias: bool,
    /// The feed-forward half.
    pub mlp: MlpConfig,
    /// Initial LayerScale, for models that have it.
    pub layer_scale: Option<f64>,
    /// Divides what each half adds to its input (LV-ViT's `skip_lam`).
    pub branch_divisor: Option<f64>,
}

/// Where norms and residuals stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `x + f(norm(x))`.
    PreNorm,
    /// `x + norm(f(x))` (timm's `ResPostBlock`, EVA's `use_post_norm`).
    ResidualPostNorm,
    /// `norm(x + f(x))`: the Transformer of 2017.
    PostNorm,
}

/// Kind and epsilon of a norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormConfig {
    /// Which.
    pub kind: NormKind,
    /// Added to the variance.
    pub eps: f64,
}

/// Bias of queries, keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkvBias {
    /// None.
    No,
    /// On all three.
    All,
    /// On queries and values (BEiT, EVA-02): one on keys would change no softmax.
    QueryValue,
}

/// What products of queries and keys are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitScale {
    /// One over the root of the channels of a head.
    InverseRoot,
    /// Nothing (T5).
    One,
}

impl LogitScale {
    /// The factor, for heads of `head_dim` channels.
    #[must_use]
    pub fn of(self, head_dim: usize) -> f32 {
        match self {
            Self::InverseRoot => (head_dim as f64).powf(-0.5) as f32,
            Self::One => 1.0,
        }
    }
}

/// Norms of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QkNorm {
    /// None.
    No,
    /// Over the channels of each head.
    PerHead(NormConfig),
    /// Over all channels, before they are split into heads (InternViT).
    Whole(NormConfig),
}

/// The feed-forward half of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MlpConfig {
    /// Channels between the two layers, after gating.
    pub hidden: usize,
    /// Between the two layers.
    pub activation: Activation,
    /// Whether half of the first layer's outputs gate the others.
    pub gate: Gate,
    /// Whether a norm stands before the second layer (timm's `scale_mlp_norm`, EVA's `scale_mlp`).
    pub norm: bool,
    /// Whether the two layers have a bias.
    pub bias: bool,
}

impl BlockConfig {
    /// The block of a plain ViT: pre-norm, LayerNorm with an epsilon of 1e-6, biases everywhere, an MLP of four times the
    /// channels with GELU.
    #[must_use]
    pub fn new(channels: usize, heads: usize) -> Self {
        Self {
            channels,
            heads,
            head_dim: channels / heads.max(1),
            order: Order::PreNorm,
            norm: NormConfig { kind: NormKind::Layer, eps: 1e-6 },
            qkv_bias: QkvBias::All,
            qk_norm: QkNorm::No,
            logit_scale: LogitScale::InverseRoot,
            attn_norm: false,
            proj_bias: true,
            mlp: MlpConfig {
                hidden: 4 * channels,
                activation: Activation::Gelu,
                gate: Gate::None,
                norm: false,
                bias: true,
            },
            layer_scale: None,
            branch_divisor: None,
        }
    }
}
