//! `dinov2`, `dinov2_with_registers`, `dinov3_vit`.

use super::vit::Defaults;
use super::{DescribeError, Given};
use crate::blocks::{Gate, QkvBias};
use crate::families::vit::{Pool, VitConfig};
use crate::positions::{Absolute, Frequencies, Resampling, RotaryConfig};
use tokmerge_ops::{Activation, Pairs};

/// More than any ratio of an MLP's width to its channels.
const MAX_RATIO: f64 = 64.0;

/// DINOv2 with and without registers. Registers have no positions. A classifier reads the class token beside the mean of
/// the patches.
pub(super) fn dinov2(given: &Given<'_>) -> Result<VitConfig, DescribeError> {
    let vision = &given.vision;
    let has_registers = given.config.model_type == "dinov2_with_registers";
    let patch = if has_registers { 16 } else { 14 };
    let mut config = given.plain(Defaults { patch, eps: 1e-6, ..Defaults::BASE }, 1)?;
    let channels = config.block.channels;
    let ratio = vision.field("mlp_ratio").number("mlp_ratio", 4.0, 0.01..=MAX_RATIO)?;
    config.block.mlp.hidden = (channels as f64 * ratio) as usize;
    if vision.flag("use_swiglu_ffn", false)? {
        // Two thirds of the width, rounded up to a multiple of 8, with SiLU whatever `hidden_act` is.
        config.block.mlp.hidden = (config.block.mlp.hidden * 2 / 3).next_multiple_of(8);
        config.block.mlp.activation = Activation::Silu;
        config.block.mlp.gate = Gate::First;
    }
    config.block.qkv_bias = given.qkv_bias()?;
    config.block.layer_scale = Some(layer_scale(given)?);
    if has_registers {
        config.reg_tokens = vision.count("num_register_tokens", 4)?;
        if let Absolute::Learned { resampling, .. } = &mut config.positions.absolute {
            // The one model of transformers that does so.
            *resampling = Resampling::BicubicAntialias;
        }
    }
    if config.num_classes > 0 {
        config.pool = Pool::TokenAndAverage;
    }
    Ok(config)
}

/// DINOv3: rotary positions, which take any size of images.
pub(super) fn dinov3(given: &Given<'_>) -> Result<VitConfig, DescribeError> {
    let vision = &given.vision;
    let mut config = given.plain(Defaults { channels: 384, heads: 6, patch: 16, eps: 1e-5 }, 0)?;
    config.positions.absolute = Absolute::None;
    let temperature = vision.field("rope_theta").number("rope_theta", 100.0, 1.0..=1e9)?;
    config.positions.rotary =
        Some(RotaryConfig { frequencies: Frequencies::Normalised { temperature }, pairs: Pairs::Halves });
    config.reg_tokens = vision.count("num_register_tokens", 0)?;
    config.block.qkv_bias = biases(given)?;
    config.block.proj_bias = vision.flag("proj_bias", true)?;
    config.block.mlp.hidden = given.intermediate_size(1536)?;
    config.block.mlp.bias = vision.flag("mlp_bias", true)?;
    if vision.flag("use_gated_mlp", false)? {
        config.block.mlp.gate = Gate::First;
    }
    config.block.layer_scale = Some(layer_scale(given)?);
    Ok(config)
}

fn layer_scale(given: &Given<'_>) -> Result<f64, DescribeError> {
    Ok(given.vision.field("layerscale_value").number("layerscale_value", 1.0, 0.0..=1e3)?)
}

/// What has a bias. Where the file names another selection than queries and values, the others' are zeros.
fn biases(given: &Given<'_>) -> Result<QkvBias, DescribeError> {
    let flag = |name, default| given.vision.flag(name, default);
    Ok(match (flag("query_bias", true)?, flag("key_bias", false)?, flag("value_bias", true)?) {
        (true, false, true) => QkvBias::QueryValue,
        (false, false, false) => QkvBias::No,
        _ => QkvBias::All,
    })
}
