//! `Beit`: BEiT and BEiT v2.

use super::common::{LAYER_NORM, check_pool, learned, norm, norm_word, sized, write_sizes};
use crate::blocks::{Gate, QkvBias};
use crate::config_json::{Arguments, ConfigureError};
use crate::families::vit::{NormPlace, Pool, VitConfig};
use crate::positions::{Absolute, Relative};
use serde_json::{Map, Value, json};
use tokmerge_ops::Activation;

pub(super) fn read(arguments: &Arguments<'_>) -> Result<VitConfig, ConfigureError> {
    let norm_layer = norm(arguments, "norm_layer")?.unwrap_or(LAYER_NORM);
    let mut config = sized(arguments, norm_layer)?;
    if arguments.flag("use_abs_pos_emb", true)? {
        config.positions.absolute = learned(1);
    }
    let (per_block, shared) =
        (arguments.flag("use_rel_pos_bias", false)?, arguments.flag("use_shared_rel_pos_bias", false)?);
    config.positions.relative = match (per_block, shared) {
        (true, true) => {
            return Err(arguments.refused("use_shared_rel_pos_bias", "false where use_rel_pos_bias is true"));
        }
        (true, false) => Relative::PerBlock,
        (false, true) => Relative::Shared,
        (false, false) => Relative::None,
    };
    let gated = arguments.flag("swiglu_mlp", false)?;
    let initial = arguments.optional_number("init_values")?;
    let block = &mut config.block;
    block.qkv_bias = if arguments.flag("qkv_bias", true)? { QkvBias::QueryValue } else { QkvBias::No };
    block.mlp.norm = arguments.flag("scale_mlp", false)?;
    if gated {
        (block.mlp.gate, block.mlp.activation) = (Gate::First, Activation::Silu);
    }
    block.layer_scale = initial.filter(|initial| *initial != 0.0);
    config.pool =
        arguments.word("global_pool", Pool::Average, &[("avg", Pool::Average), ("token", Pool::Token)])?;
    let after_pool = arguments.optional_flag("use_fc_norm")?.unwrap_or(config.pool == Pool::Average);
    config.norm_place = if after_pool { NormPlace::AfterPool } else { NormPlace::BeforePool };
    check_pool(&config, arguments)?;
    Ok(config)
}

/// The arguments of a shape, as far as the class can make it.
pub(super) fn write(config: &VitConfig) -> Map<String, Value> {
    let block = &config.block;
    let Value::Object(more) = json!({
        "use_abs_pos_emb": config.positions.absolute != Absolute::None,
        "use_rel_pos_bias": config.positions.relative == Relative::PerBlock,
        "use_shared_rel_pos_bias": config.positions.relative == Relative::Shared,
        "norm_layer": norm_word(block.norm),
        "qkv_bias": block.qkv_bias != QkvBias::No,
        "swiglu_mlp": block.mlp.gate == Gate::First,
        "scale_mlp": block.mlp.norm,
        "global_pool": if config.pool == Pool::Average { "avg" } else { "token" },
        "use_fc_norm": config.norm_place == NormPlace::AfterPool,
    }) else {
        unreachable!("an object was written")
    };
    let mut arguments = write_sizes(config);
    arguments.extend(more);
    arguments
}
