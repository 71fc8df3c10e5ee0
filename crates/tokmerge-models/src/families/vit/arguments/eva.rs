//! `Eva`: EVA and EVA-02, DINOv3, ViT with rotary positions, Perception Encoder.

use super::common::{
    LAYER_NORM, check_pool, class_token, hidden, learned, norm, norm_word, prefix, ratio, sized, word_of,
    write_sizes,
};
use crate::blocks::{Gate, MlpConfig, Order, QkNorm, QkvBias};
use crate::config_json::{Arguments, ConfigureError};
use crate::families::vit::{AttentionPoolConfig, ClassToken, NormPlace, Pool, VitConfig};
use crate::positions::{Absolute, AxisOrder, Frequencies, RotaryConfig};
use serde_json::{Map, Value, json};
use tokmerge_ops::{Activation, Pairs};

const AXES: &[(&str, AxisOrder)] = &[("ij", AxisOrder::RowsFirst), ("xy", AxisOrder::ColumnsFirst)];

pub(super) fn read(arguments: &Arguments<'_>) -> Result<VitConfig, ConfigureError> {
    let norm_layer = norm(arguments, "norm_layer")?.unwrap_or(LAYER_NORM);
    let mut config = sized(arguments, norm_layer)?;
    config.class_token = class_token(arguments)?;
    config.reg_tokens = arguments.count("num_reg_tokens", 0)?;
    config.pre_norm = arguments.flag("use_pre_transformer_norm", false)?;
    config.patch_bias = !config.pre_norm;
    read_block(&mut config, arguments)?;
    let positioned = if arguments.flag("no_embed_class", false)? { 0 } else { prefix(&config) };
    if arguments.flag("use_abs_pos_emb", true)? {
        config.positions.absolute = learned(positioned);
    }
    let rotary = read_rotary(arguments)?;
    if arguments.flag("use_rot_pos_emb", false)? {
        let head_dim = config.block.head_dim;
        if !head_dim.is_multiple_of(4) {
            return Err(ConfigureError::Shape(format!(
                "a head has {head_dim} channels (embed_dim / num_heads), and rotary positions (use_rot_pos_emb) need a \
                 multiple of 4"
            )));
        }
        config.positions.rotary = Some(rotary);
    }
    read_head(&mut config, arguments)?;
    check_pool(&config, arguments)?;
    Ok(config)
}

fn read_block(config: &mut VitConfig, arguments: &Arguments<'_>) -> Result<(), ConfigureError> {
    // Whether weights of queries, keys and values lie in one matrix is a matter of the file.
    arguments.flag("qkv_fused", true)?;
    let biased = arguments.flag("qkv_bias", true)?;
    // timm's plain attention has a bias of keys, EVA's has none.
    let of_keys = arguments.word("attn_type", false, &[("eva", false), ("rope", true)])?;
    let gated = arguments.flag("swiglu_mlp", false)?;
    let align = arguments.count("swiglu_align_to", 0)?;
    let norm = arguments.flag("scale_mlp", false)?;
    let post_norm = arguments.flag("use_post_norm", false)?;
    let qk_norm = arguments.flag("qk_norm", false)?;
    let initial = arguments.optional_number("init_values")?;
    let heads = config.block.heads;
    let block = &mut config.block;
    block.qkv_bias = match (biased, of_keys) {
        (false, _) => QkvBias::No,
        (true, true) => QkvBias::All,
        (true, false) => QkvBias::QueryValue,
    };
    block.attn_norm = arguments.flag("scale_attn_inner", false)?;
    block.qk_norm = if qk_norm { QkNorm::PerHead(block.norm) } else { QkNorm::No };
    // A packed MLP is not aligned: it is built where nothing asks for two matrices.
    let aligned = gated && align > 0 && (norm || !post_norm);
    let hidden = if aligned { block.mlp.hidden.next_multiple_of(align) } else { block.mlp.hidden };
    block.mlp = if gated {
        MlpConfig { hidden, activation: Activation::Silu, gate: Gate::First, norm, bias: true }
    } else {
        MlpConfig { hidden, activation: Activation::Gelu, gate: Gate::None, norm, bias: true }
    };
    block.order = if post_norm { Order::ResidualPostNorm } else { Order::PreNorm };
    block.layer_scale = initial.filter(|_| !post_norm);
    if post_norm && qk_norm {
        return Err(arguments.refused("qk_norm", "false where use_post_norm is true"));
    }
    arguments.only("attn_only_layer_scale", &json!(false))?;
    match arguments.value("num_kv_heads") {
        Some(Value::Array(per_block)) if per_block.iter().all(|count| *count == json!(heads)) => {}
        Some(count) if *count != json!(heads) => {
            return Err(arguments.refused("num_kv_heads", "as many heads of keys and values as of queries"));
        }
        _ => {}
    }
    Ok(())
}

fn read_rotary(arguments: &Arguments<'_>) -> Result<RotaryConfig, ConfigureError> {
    #[derive(Clone, Copy)]
    enum Kind {
        Axial,
        Mixed,
        Normalised,
    }
    let kinds = [("cat", Kind::Axial), ("mixed", Kind::Mixed), ("dinov3", Kind::Normalised)];
    let kind = arguments.word("rope_type", Kind::Axial, &kinds)?;
    let temperature = arguments.number("rope_temperature", 10_000.0)?;
    let order = arguments.word("rope_grid_indexing", AxisOrder::RowsFirst, AXES)?;
    let offset = arguments.number("rope_grid_offset", 0.0)?;
    let reference = arguments.optional_sides("ref_feat_shape")?;
    let halves = arguments.flag("rope_rotate_half", false)?;
    if temperature <= 0.0 {
        return Err(arguments.refused("rope_temperature", "a number above 0"));
    }
    let frequencies = match kind {
        Kind::Axial => Frequencies::Axial { temperature, order, offset, reference },
        Kind::Mixed if halves => {
            return Err(arguments.refused("rope_rotate_half", "false where rope_type is mixed"));
        }
        Kind::Mixed => Frequencies::Mixed { order },
        Kind::Normalised => {
            arguments.only("rope_grid_indexing", &json!("ij"))?;
            if offset != 0.0 {
                return Err(arguments.refused("rope_grid_offset", "0 where rope_type is dinov3"));
            }
            Frequencies::Normalised { temperature }
        }
    };
    Ok(RotaryConfig { frequencies, pairs: if halves { Pairs::Halves } else { Pairs::Adjacent } })
}

fn read_head(config: &mut VitConfig, arguments: &Arguments<'_>) -> Result<(), ConfigureError> {
    let channels = config.block.channels;
    let ratio =
        if arguments.value("attn_pool_mlp_ratio").is_some() { "attn_pool_mlp_ratio" } else { "mlp_ratio" };
    let map = AttentionPoolConfig {
        heads: arguments.size("attn_pool_num_heads", config.block.heads)?,
        mlp_hidden: Some(hidden(arguments, ratio, 4.0, channels)?),
        norm: true,
        prefix: true,
        query_projection: true,
    };
    let pools = [("avg", Pool::Average), ("token", Pool::Token), ("map", Pool::Attention(map))];
    config.pool = arguments.word("global_pool", Pool::Average, &pools)?;
    if let Pool::Attention(map) = config.pool {
        if config.block.mlp.activation != Activation::Gelu {
            return Err(arguments.refused("global_pool", "avg or token beside swiglu_mlp"));
        }
        if !channels.is_multiple_of(map.heads) {
            return Err(arguments.refused("attn_pool_num_heads", "a number of heads that divides embed_dim"));
        }
    }
    let after_pool = arguments.optional_flag("use_fc_norm")?.unwrap_or(config.pool == Pool::Average);
    let before_pool = arguments.optional_flag("use_post_transformer_norm")?.unwrap_or(!after_pool);
    config.norm_place = match (before_pool, after_pool) {
        (true, true) => {
            return Err(arguments.refused("use_post_transformer_norm", "one norm, before or after the pool,"));
        }
        (true, false) => NormPlace::BeforePool,
        (false, true) => NormPlace::AfterPool,
        (false, false) => NormPlace::None,
    };
    Ok(())
}

/// The arguments of a shape, as far as the class can make it.
pub(super) fn write(config: &VitConfig) -> Map<String, Value> {
    let block = &config.block;
    let pool = match config.pool {
        Pool::Token | Pool::TokenAndAverage => "token",
        Pool::Average | Pool::AverageAll => "avg",
        Pool::Attention(_) => "map",
    };
    let Value::Object(more) = json!({
        "class_token": config.class_token != ClassToken::Absent,
        "num_reg_tokens": config.reg_tokens,
        "use_abs_pos_emb": config.positions.absolute != Absolute::None,
        "no_embed_class": matches!(config.positions.absolute, Absolute::Learned { prefix: 0, .. }),
        "use_rot_pos_emb": config.positions.rotary.is_some(),
        "use_pre_transformer_norm": config.pre_norm,
        "norm_layer": norm_word(block.norm),
        "use_post_norm": block.order == Order::ResidualPostNorm,
        "attn_type": if block.qkv_bias == QkvBias::All { "rope" } else { "eva" },
        "qkv_bias": block.qkv_bias != QkvBias::No,
        "qk_norm": block.qk_norm != QkNorm::No,
        "scale_attn_inner": block.attn_norm,
        "swiglu_mlp": block.mlp.gate == Gate::First,
        "scale_mlp": block.mlp.norm,
        "global_pool": pool,
        "use_fc_norm": config.norm_place == NormPlace::AfterPool,
        "use_post_transformer_norm": config.norm_place == NormPlace::BeforePool,
    }) else {
        unreachable!("an object was written")
    };
    let mut arguments = write_sizes(config);
    arguments.extend(more);
    if let Pool::Attention(AttentionPoolConfig { heads, mlp_hidden, .. }) = config.pool {
        arguments.insert("attn_pool_num_heads".to_owned(), json!(heads));
        let ratio = mlp_hidden.map(|hidden| ratio(hidden, block.channels));
        arguments.insert("attn_pool_mlp_ratio".to_owned(), json!(ratio));
    }
    if let Some(rotary) = &config.positions.rotary {
        write_rotary(rotary, &mut arguments);
    }
    arguments
}

fn write_rotary(rotary: &RotaryConfig, arguments: &mut Map<String, Value>) {
    let mut say = |name: &str, value: Value| arguments.insert(name.to_owned(), value);
    say("rope_rotate_half", json!(rotary.pairs == Pairs::Halves));
    match &rotary.frequencies {
        Frequencies::Axial { temperature, order, offset, reference } => {
            say("rope_type", json!("cat"));
            say("rope_temperature", json!(temperature));
            say("rope_grid_indexing", word_of(AXES, order));
            say("rope_grid_offset", json!(offset));
            say("ref_feat_shape", json!(reference));
        }
        Frequencies::Mixed { order } => {
            say("rope_type", json!("mixed"));
            say("rope_grid_indexing", word_of(AXES, order));
        }
        Frequencies::Normalised { temperature } => {
            say("rope_type", json!("dinov3"));
            say("rope_temperature", json!(temperature));
        }
    }
}
