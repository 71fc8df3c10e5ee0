//! The network of a shape, with random weights.

use super::{ClassToken, DistillationHead, HeadInput, NormPlace, Pool, Vit, VitBlock, VitConfig};
use crate::blocks::{AttentionPool, AttentionPoolShape, FeedForward, Gate, MlpConfig, RelativePositionBias};
use crate::experts::{ExpertShape, MixtureOfExperts};
use crate::positions::{Absolute, Relative, RotaryEmbedding, RotaryShape, grid_sinusoids, table};
use crate::stems::PatchEmbed;
use burn::tensor::Device;
use tokmerge_nn::{Bias, Linear, normal_parameter, zeros_parameter};
use tokmerge_ops::Precision;

pub(super) fn init(config: &VitConfig, precision: Precision, device: &Device) -> Vit {
    let block = &config.block;
    let (channels, classes) = (block.channels, config.num_classes);
    let inner = precision.for_rows_of(channels.max(block.mlp.hidden));
    let precision = precision.without_int8();
    let norm = |width: usize| block.norm.layer(width, device);
    let placed = config.experts.map(|experts| (experts, experts.placement.blocks(config.depth)));
    let blocks = (0..config.depth).map(|layer| {
        let made = VitBlock::new(config.wiring, block, inner, device);
        match (&placed, made) {
            (Some((experts, layers)), VitBlock::Sequential(made)) if layers.contains(&layer) => {
                let (hidden, activation) = (block.mlp.hidden, block.mlp.activation);
                let shape = ExpertShape { channels, hidden, activation, precision: inner };
                let experts = MixtureOfExperts::new(*experts, shape, device);
                VitBlock::Sequential(made.with_feed_forward(FeedForward::Experts(experts)))
            }
            (_, made) => made,
        }
    });
    let distilled = matches!(config.class_token, ClassToken::Distilled(_));
    let pooled = config.pooled_dim();
    let head = || {
        let bias = Bias::when(config.head_bias);
        (classes > 0).then(|| Linear::new(config.embedding_dim(), classes, bias, precision, device))
    };
    let two_heads = config.class_token == ClassToken::Distilled(DistillationHead::Averaged);
    Vit {
        patch_embed: PatchEmbed::new(
            config.in_chans,
            config.patch_size,
            channels,
            Bias::when(config.patch_bias),
            precision,
            device,
        )
        .with_stride(config.patch_stride)
        .with_norm(config.patch_norm.map(|norm| norm.layer(channels, device))),
        cls_token: (config.class_token != ClassToken::Absent)
            .then(|| zeros_parameter([1, 1, channels], device)),
        dist_token: distilled.then(|| zeros_parameter([1, 1, channels], device)),
        reg_token: (config.reg_tokens > 0).then(|| zeros_parameter([1, config.reg_tokens, channels], device)),
        pos_embed: matches!(config.positions.absolute, Absolute::Learned { .. })
            .then(|| normal_parameter([1, config.position_rows(), channels], device)),
        pos_table: match config.positions.absolute {
            Absolute::Sinusoids { prefix } => {
                let grid = config.grid();
                let values = move || [vec![0.0; prefix * channels], grid_sinusoids(grid, channels)].concat();
                Some(table([config.position_rows(), channels], values, device))
            }
            _ => None,
        },
        rope: config
            .positions
            .rotary
            .clone()
            .map(|rotary| RotaryEmbedding::new(rotary, rotary_shape(config), device)),
        rel_pos_bias: (config.positions.relative == Relative::Shared)
            .then(|| RelativePositionBias::new(config.grid(), block.heads, device)),
        norm_pre: config.pre_norm.then(|| norm(channels)),
        blocks: blocks
            .map(|made| match (config.positions.relative, made) {
                (Relative::PerBlock, VitBlock::Sequential(made)) => {
                    VitBlock::Sequential(made.with_relative_positions(config.grid(), device))
                }
                (_, made) => made,
            })
            .collect(),
        norm: (config.norm_place == NormPlace::BeforePool).then(|| norm(channels)),
        attn_pool: match config.pool {
            Pool::Attention(pool) => {
                let shape = AttentionPoolShape {
                    channels,
                    heads: pool.heads,
                    query_projection: pool.query_projection,
                    projection: true,
                    norm: pool.norm.then_some(block.norm),
                    mlp: pool.mlp_hidden.map(|hidden| MlpConfig {
                        hidden,
                        gate: Gate::None,
                        norm: false,
                        bias: true,
                        ..block.mlp
                    }),
                };
                Some(AttentionPool::new(&shape, precision, device))
            }
            _ => None,
        },
        fc_norm: (config.norm_place == NormPlace::AfterPool).then(|| norm(pooled)),
        pre_logits: config
            .pre_logits
            .map(|layer| Linear::new(pooled, layer.width, Bias::Yes, precision, device)),
        projection: config.projection.map(|width| {
            let bias = Bias::when(config.projection_bias);
            Linear::new(config.before_projection(), width, bias, precision, device)
        }),
        head_norm: (config.head_input == HeadInput::Normed && classes > 0)
            .then(|| norm(config.embedding_dim())),
        head: head(),
        head_dist: if two_heads { head() } else { None },
        config: config.clone(),
    }
}

fn rotary_shape(config: &VitConfig) -> RotaryShape {
    let (block, grid) = (&config.block, config.grid());
    RotaryShape { depth: config.depth, heads: block.heads, head_dim: block.head_dim, grid }
}
