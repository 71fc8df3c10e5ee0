//! Shapes of the material that timm's names describe, written down by hand: the tests of spellings do not depend on the
//! table of names.

use crate::blocks::{BlockConfig, Gate, QkvBias};
use crate::families::vit::{AttentionPoolConfig, ClassToken, DistillationHead, NormPlace, Pool, VitConfig};
use crate::positions::{
    Absolute, AxisOrder, Frequencies, PositionConfig, Relative, Resampling, RotaryConfig,
};
use std::path::Path;
use tokmerge_checkpoint::TimmConfig;
use tokmerge_ops::Pairs;

/// The shape of a folder in timm's form.
pub(super) fn shape(config: &TimmConfig) -> VitConfig {
    let arguments = config.arguments();
    let number = |name: &str, default: f64| arguments.number(name, default, 0.0..=1e6).expect("a number");
    let size = |name: &str, default: usize| arguments.size(name, default, 1 << 16).expect("a size");
    let (channels, heads) = (size("embed_dim", 0), size("num_heads", 0));
    let name = config.architecture.as_str();
    let patch = if name.contains("patch14") { 14 } else { 16 };
    let default_ratio = if name.contains("so400m") { 3.7362 } else { 4.0 };
    let mut block = BlockConfig::new(channels, heads);
    block.mlp.hidden = (channels as f64 * number("mlp_ratio", default_ratio)) as usize;
    let [height, width] = arguments.sides("img_size", [224; 2]).expect("sides");
    let mut vit = VitConfig {
        img_size: (height, width),
        in_chans: size("in_chans", 3),
        num_classes: config.num_classes.expect("a count"),
        block,
        ..VitConfig::new(patch, channels, size("depth", 0), heads)
    };
    vit.pool = match config.global_pool.as_deref() {
        Some("avg") => Pool::Average,
        Some("map") => Pool::Attention(pool(vit.block.heads, vit.block.mlp.hidden)),
        _ => Pool::Token,
    };
    particular(name, &mut vit);
    vit
}

fn pool(heads: usize, hidden: usize) -> AttentionPoolConfig {
    AttentionPoolConfig { heads, mlp_hidden: Some(hidden), norm: true, prefix: false, query_projection: true }
}

fn positions(prefix: usize) -> Absolute {
    Absolute::Learned { prefix, resampling: Resampling::BicubicAntialias, grid: None }
}

fn rotary(frequencies: Frequencies) -> Option<RotaryConfig> {
    Some(RotaryConfig { frequencies, pairs: Pairs::Halves })
}

/// What a name stands for beyond its numbers.
fn particular(name: &str, vit: &mut VitConfig) {
    let is = |part: &str| name.contains(part);
    if is("clip") {
        (vit.pre_norm, vit.patch_bias) = (true, false);
    }
    if is("distilled") {
        vit.class_token = ClassToken::Distilled(DistillationHead::Averaged);
        vit.positions = PositionConfig::learned(2);
    }
    if is("deit3") || is("dinov2") || is("rope") || is("dinov3") || is("beit") || is("_gap_") {
        vit.block.layer_scale = Some(1.0);
    }
    if is("reg4") {
        vit.reg_tokens = 4;
    }
    if is("deit3") || is("reg4_dinov2") {
        vit.positions = PositionConfig::learned(0);
    }
    if is("giant") {
        vit.block.mlp.hidden = vit.block.channels * 8 / 3;
        vit.block.mlp.gate = Gate::First;
    }
    if is("dinov3") {
        (vit.reg_tokens, vit.block.qkv_bias) = (4, QkvBias::No);
        vit.positions.absolute = Absolute::None;
        vit.positions.rotary = rotary(Frequencies::Normalised { temperature: 100.0 });
    }
    if is("rope") {
        vit.positions.absolute = Absolute::None;
        vit.positions.rotary =
            rotary(Frequencies::Mixed { order: AxisOrder::ColumnsFirst }).filter(|_| is("mixed"));
    }
    if is("eva02") {
        vit.block.qkv_bias = QkvBias::QueryValue;
        (vit.block.mlp.hidden, vit.block.mlp.gate) = (vit.block.channels * 8 / 3, Gate::First);
        vit.block.mlp.norm = true;
        vit.norm_place = NormPlace::AfterPool;
    }
    if is("beit") {
        vit.block.qkv_bias = QkvBias::QueryValue;
        (vit.positions.absolute, vit.positions.relative) = (Absolute::None, Relative::PerBlock);
        vit.norm_place = NormPlace::AfterPool;
    }
    if is("_gap_") || is("rpn") || is("siglip") {
        vit.class_token = ClassToken::Absent;
        vit.positions.absolute = positions(0);
    }
    if is("gap_240") || is("rpn") {
        vit.block.qkv_bias = QkvBias::No;
    }
    if is("gap_256") || is("rpn") || name == "vit_base_patch16_224" && vit.pool == Pool::Average {
        vit.norm_place = NormPlace::AfterPool;
    }
}

/// The shape of a folder of `families`: MAE fine-tuned, SWAG or torchvision.
pub(super) fn reference(folder: &Path) -> VitConfig {
    let text = std::fs::read_to_string(folder.join("config.json")).expect("readable");
    let config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let size = |field: &serde_json::Value| field.as_u64().expect("a size") as usize;
    let channels = size(&config["embed_dim"]);
    let mut vit = VitConfig::new(
        size(&config["patch_size"]),
        channels,
        size(&config["depth"]),
        size(&config["num_heads"]),
    );
    vit.img_size = (size(&config["image_size"][0]), size(&config["image_size"][1]));
    vit.block.mlp.hidden = match config.get("mlp_dim").and_then(serde_json::Value::as_u64) {
        Some(hidden) => hidden as usize,
        None => (channels as f64 * config["mlp_ratio"].as_f64().expect("a ratio")) as usize,
    };
    vit.num_classes = size(&config["num_classes"]);
    if folder.ends_with("mae") {
        (vit.pool, vit.norm_place) = (Pool::Average, NormPlace::AfterPool);
    }
    vit
}
