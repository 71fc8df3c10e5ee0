//! What families share whose blocks are plain Transformer blocks between a stem and a head of their own.

use crate::blocks::{BlockConfig, QkvBias};
use crate::config_json::{Arguments, ConfigureError};
use crate::family::ShapeOverrides;
use crate::positions::{Absolute, Resampling};
use serde_json::{Map, Value, json};
use tokmerge_merge::{KeyBias, Leading, ModelFacts, PositionUse, Readout, Softmax, TokenKind, Training};

/// Positions of a class token and of a grid, resampled as LV-ViT and T2T-ViT do it.
pub(super) const CLASS_AND_GRID: Absolute =
    Absolute::Learned { prefix: 1, resampling: Resampling::Bicubic, grid: None };

/// What a reduction needs to know of such a model, with a class token in front of its patches.
pub(super) fn facts(depth: usize, (rows, columns): (usize, usize), readout: Readout) -> ModelFacts {
    ModelFacts {
        depth,
        tokens: 1 + rows * columns,
        prefix: 1,
        grid: Some((rows, columns)),
        leading: Leading::ClassToken,
        softmax: Softmax::Open,
        key_bias: KeyBias::LogSize,
        trained_key_bias: KeyBias::LogSize,
        training: Training::WithoutMerging,
        readout,
        positions: PositionUse::Free,
        tokens_are: TokenKind::Patches,
        joining: None,
    }
}

/// Refuses blocks of no size, and heads that channels cannot be divided among.
pub(super) fn check(block: &BlockConfig, sizes: &[usize]) -> Result<(), String> {
    let BlockConfig { channels, heads, mlp, .. } = block;
    if [*channels, *heads, mlp.hidden].iter().chain(sizes).any(|size| *size == 0) {
        return Err("a size of the model is 0, and all must be at least 1".to_owned());
    }
    if !channels.is_multiple_of(*heads) {
        return Err(format!("{channels} channels cannot be divided among {heads} heads"));
    }
    Ok(())
}

/// Other channels, heads and MLPs. Refuses what concerns the head: it looks at the class token whatever is asked for.
pub(super) fn with_overrides(
    block: BlockConfig,
    overrides: &ShapeOverrides,
    name: &str,
) -> Result<BlockConfig, String> {
    if overrides.pool.is_some() || overrides.class_token == Some(false) {
        return Err(format!("the head of {name} looks at the class token; leave pool and class_token out"));
    }
    Ok(resized(block, overrides))
}

/// Blocks of other channels, heads and MLPs. What is not changed stays as it is: heads may be wider than channels over heads.
pub(super) fn resized(block: BlockConfig, overrides: &ShapeOverrides) -> BlockConfig {
    let channels = overrides.embed_dim.unwrap_or(block.channels);
    let heads = overrides.num_heads.unwrap_or(block.heads);
    let mut resized = BlockConfig { channels, heads, ..block };
    if (channels, heads) != (block.channels, block.heads) {
        resized.head_dim = channels / heads.max(1);
    }
    if channels != block.channels || overrides.mlp_ratio.is_some() {
        let own = block.mlp.hidden as f64 / block.channels.max(1) as f64;
        resized.mlp.hidden = (channels as f64 * overrides.mlp_ratio.unwrap_or(own)) as usize;
    }
    resized
}

/// Arguments that change training alone.
pub(super) const OF_TRAINING: &[&str] = &["drop_rate", "attn_drop_rate", "drop_path_rate"];

/// Refuses another class than the family's.
pub(super) fn check_class(class: &str, known: &str) -> Result<(), ConfigureError> {
    match class == known {
        true => Ok(()),
        false => {
            Err(ConfigureError::Shape(format!("{class} is not a class of this family, which has {known}")))
        }
    }
}

/// Refuses channels that cannot be divided among heads.
pub(super) fn check_heads(channels: usize, heads: usize) -> Result<(), ConfigureError> {
    match channels.is_multiple_of(heads) {
        true => Ok(()),
        false => Err(ConfigureError::Shape(format!(
            "embed_dim is {channels}, and its channels cannot be divided among {heads} heads (num_heads)"
        ))),
    }
}

/// Hidden channels of the MLP: channels times `mlp_ratio`, cut off as Python's `int` does.
pub(super) fn hidden(
    arguments: &Arguments<'_>,
    channels: usize,
    default: f64,
) -> Result<usize, ConfigureError> {
    let hidden = channels as f64 * arguments.number("mlp_ratio", default)?;
    if !(1.0..1e9).contains(&hidden) {
        return Err(arguments.refused("mlp_ratio", "a ratio that leaves at least one hidden channel"));
    }
    Ok(hidden as usize)
}

/// Reads what the references' constructors say of a block beyond its channels and heads. Both have an MLP of three times
/// the channels in all published models.
pub(super) fn read_block(block: &mut BlockConfig, arguments: &Arguments<'_>) -> Result<(), ConfigureError> {
    let BlockConfig { channels, heads, .. } = *block;
    check_heads(channels, heads)?;
    block.mlp.hidden = hidden(arguments, channels, 3.0)?;
    if arguments.flag("qkv_bias", false)? {
        block.qkv_bias = QkvBias::All;
    }
    arguments.only("global_pool", &json!("token"))?;
    arguments.only("qk_scale", &json!(null))?;
    arguments.only("head_dim", &json!(null))
}

/// The arguments that [`read_block`] reads, and the sizes that both constructors take.
pub(super) fn write(
    block: &BlockConfig,
    depth: usize,
    (height, width): (usize, usize),
) -> Map<String, Value> {
    let (hidden, channels) = (block.mlp.hidden as f64, block.channels as f64);
    let ratio = hidden / channels;
    let exact = (channels * ratio) as usize == block.mlp.hidden;
    let arguments = json!({
        "img_size": [height, width],
        "embed_dim": block.channels,
        "depth": depth,
        "num_heads": block.heads,
        "mlp_ratio": if exact { ratio } else { (hidden + 0.5) / channels },
        "qkv_bias": block.qkv_bias == QkvBias::All,
    });
    match arguments {
        Value::Object(arguments) => arguments,
        _ => Map::new(),
    }
}
