//! `VisionTransformer` and `VisionTransformerDistilled`.

use super::common::{
    ACTIVATIONS, LAYER_NORM, check_pool, class_token, learned, norm, norm_word, prefix, sized, word_of,
    write_sizes,
};
use crate::blocks::{Gate, MlpConfig, Order, QkNorm, QkvBias};
use crate::config_json::{Arguments, ConfigureError};
use crate::families::vit::{
    AttentionPoolConfig, ClassToken, DistillationHead, NormPlace, Pool, VitConfig, Wiring,
};
use crate::positions::Absolute;
use serde_json::{Map, Value, json};
use tokmerge_ops::Activation;

/// Blocks by timm's classes, and one that timm does not have (KWT): their order, and how they are wired.
const BLOCKS: &[(&str, (Order, Wiring))] = &[
    ("Block", (Order::PreNorm, Wiring::Sequential)),
    ("ResPostBlock", (Order::ResidualPostNorm, Wiring::Sequential)),
    ("PostNormBlock", (Order::PostNorm, Wiring::Sequential)),
    ("ParallelScalingBlock", (Order::PreNorm, Wiring::Parallel)),
    ("ParallelThingsBlock", (Order::PreNorm, Wiring::Branches(2))),
];

/// MLPs by timm's classes: what gates, and whether both halves are counted in `mlp_ratio`.
const MLPS: &[(&str, (Gate, Counted))] = &[
    ("Mlp", (Gate::None, Counted::Once)),
    ("SwiGLU", (Gate::First, Counted::Once)),
    ("SwiGLUPacked", (Gate::First, Counted::Twice)),
    ("GluMlp", (Gate::Last, Counted::Twice)),
];

/// How often `mlp_ratio` counts a hidden channel: twice where it is the width of one layer for gate and value.
#[derive(Clone, Copy, PartialEq)]
enum Counted {
    Once,
    Twice,
}

pub(super) fn read(arguments: &Arguments<'_>) -> Result<VitConfig, ConfigureError> {
    let norm_layer = norm(arguments, "norm_layer")?.unwrap_or(LAYER_NORM);
    let mut config = sized(arguments, norm_layer)?;
    config.class_token = class_token(arguments)?;
    config.reg_tokens = arguments.count("reg_tokens", 0)?;
    config.pre_norm = arguments.flag("pre_norm", false)?;
    config.patch_bias = !config.pre_norm;
    config.patch_norm = norm(arguments, "embed_norm_layer")?;
    arguments.only("embed_layer", &json!("PatchEmbed"))?;
    arguments.word("attn_layer", (), &[("attn", ()), ("", ())])?;
    read_block(&mut config, arguments)?;
    let positioned = if arguments.flag("no_embed_class", false)? { 0 } else { prefix(&config) };
    let learned = learned(positioned);
    let known = [
        ("learn", learned),
        ("none", Absolute::None),
        ("", Absolute::None),
        ("sincos", Absolute::Sinusoids { prefix: positioned }),
    ];
    config.positions.absolute = arguments.word("pos_embed", learned, &known)?;
    read_head(&mut config, arguments)?;
    check_pool(&config, arguments)?;
    Ok(config)
}

pub(super) fn read_distilled(arguments: &Arguments<'_>) -> Result<VitConfig, ConfigureError> {
    let mut config = read(arguments)?;
    if config.pool != Pool::Token || config.reg_tokens > 0 {
        let name = if config.reg_tokens > 0 { "reg_tokens" } else { "global_pool" };
        return Err(arguments.refused(name, "a class and a distillation token, both read by heads,"));
    }
    config.class_token = ClassToken::Distilled(DistillationHead::Averaged);
    if let Absolute::Learned { prefix, .. } = &mut config.positions.absolute {
        *prefix *= 2;
    }
    Ok(config)
}

fn read_block(config: &mut VitConfig, arguments: &Arguments<'_>) -> Result<(), ConfigureError> {
    let (order, wiring) = arguments.word("block_fn", BLOCKS[0].1, BLOCKS)?;
    let (gate, counted) = arguments.word("mlp_layer", MLPS[0].1, MLPS)?;
    let activation = arguments.word("act_layer", Activation::Gelu, ACTIVATIONS)?;
    let initial = arguments.optional_number("init_values")?;
    let block = &mut config.block;
    let ratio_width = block.mlp.hidden;
    let hidden = match counted {
        Counted::Once => ratio_width,
        Counted::Twice if ratio_width.is_multiple_of(2) => ratio_width / 2,
        Counted::Twice => {
            return Err(arguments.refused("mlp_ratio", "a ratio that gives gate and value the same width"));
        }
    };
    block.order = order;
    block.qkv_bias = if arguments.flag("qkv_bias", true)? { QkvBias::All } else { QkvBias::No };
    block.qk_norm = if arguments.flag("qk_norm", false)? { QkNorm::PerHead(block.norm) } else { QkNorm::No };
    block.attn_norm = arguments.flag("scale_attn_norm", false)?;
    block.proj_bias = arguments.flag("proj_bias", true)?;
    let norm = arguments.flag("scale_mlp_norm", false)?;
    block.mlp = MlpConfig { hidden, activation, gate, norm, bias: block.proj_bias };
    block.layer_scale = match wiring {
        // Its norms begin at that value instead.
        _ if order == Order::ResidualPostNorm => None,
        Wiring::Parallel => initial,
        Wiring::Sequential | Wiring::Branches(_) => initial.filter(|initial| *initial != 0.0),
    };
    let plain_mlp = gate == Gate::None && !norm && !block.attn_norm && block.proj_bias;
    if wiring == Wiring::Parallel && !plain_mlp {
        return Err(arguments.refused(
            "block_fn",
            "a block without mlp_layer, scale_attn_norm, scale_mlp_norm and with proj_bias",
        ));
    }
    config.wiring = wiring;
    Ok(())
}

fn read_head(config: &mut VitConfig, arguments: &Arguments<'_>) -> Result<(), ConfigureError> {
    let with_prefix = arguments.flag("pool_include_prefix", false)?;
    let hidden = super::common::hidden(arguments, "mlp_ratio", 4.0, config.block.channels)?;
    let map = AttentionPoolConfig {
        heads: config.block.heads,
        mlp_hidden: Some(hidden),
        norm: true,
        prefix: with_prefix,
        query_projection: true,
    };
    let average = if with_prefix { Pool::AverageAll } else { Pool::Average };
    let pools = [("token", Pool::Token), ("avg", average), ("map", Pool::Attention(map))];
    config.pool = arguments.word("global_pool", Pool::Token, &pools)?;
    if with_prefix && config.pool == Pool::Token {
        return Err(arguments.refused("pool_include_prefix", "false where global_pool is token"));
    }
    let averages = matches!(config.pool, Pool::Average | Pool::AverageAll);
    let after_pool = arguments.optional_flag("fc_norm")?.unwrap_or(averages);
    config.norm_place = match (arguments.flag("final_norm", true)?, after_pool) {
        (false, _) => NormPlace::None,
        (true, true) => NormPlace::AfterPool,
        (true, false) => NormPlace::BeforePool,
    };
    Ok(())
}

/// The arguments of a shape, as far as the class can make it.
pub(super) fn write(config: &VitConfig) -> Map<String, Value> {
    let block = &config.block;
    let counted = if config.block.mlp.gate == Gate::Last { Counted::Twice } else { Counted::Once };
    let (pool, with_prefix) = match config.pool {
        Pool::Token | Pool::TokenAndAverage => ("token", false),
        Pool::Average => ("avg", false),
        Pool::AverageAll => ("avg", true),
        Pool::Attention(AttentionPoolConfig { prefix, .. }) => ("map", prefix),
    };
    let (positions, no_embed_class) = match config.positions.absolute {
        Absolute::None => ("none", false),
        Absolute::Sinusoids { prefix } => ("sincos", prefix == 0),
        Absolute::Learned { prefix, .. } => ("learn", prefix == 0),
    };
    let Value::Object(more) = json!({
        "class_token": config.class_token != ClassToken::Absent,
        "reg_tokens": config.reg_tokens,
        "pos_embed": positions,
        "no_embed_class": no_embed_class,
        "pre_norm": config.pre_norm,
        "embed_norm_layer": config.patch_norm.map(norm_word),
        "norm_layer": norm_word(block.norm),
        "act_layer": word_of(ACTIVATIONS, &block.mlp.activation),
        "block_fn": word_of(BLOCKS, &(block.order, config.wiring)),
        "mlp_layer": word_of(MLPS, &(block.mlp.gate, counted)),
        "qkv_bias": block.qkv_bias == QkvBias::All,
        "qk_norm": block.qk_norm != QkNorm::No,
        "scale_attn_norm": block.attn_norm,
        "scale_mlp_norm": block.mlp.norm,
        "proj_bias": block.proj_bias,
        "global_pool": pool,
        "pool_include_prefix": with_prefix,
        "fc_norm": config.norm_place == NormPlace::AfterPool,
        "final_norm": config.norm_place != NormPlace::None,
    }) else {
        unreachable!("an object was written")
    };
    let mut arguments = write_sizes(config);
    arguments.extend(more);
    if counted == Counted::Twice {
        arguments["mlp_ratio"] = json!(super::common::ratio(2 * block.mlp.hidden, block.channels));
    }
    arguments
}
