//! Spatiotemporal MAE in the words of the reference's constructor, and a few of our own.

use super::{StVitConfig, TubePool, TubePositions};
use crate::blocks::QkvBias;
use crate::config_json::{Arguments, ConfigureError};
use crate::families::encoder;
use crate::network::Config;
use crate::registry::{Spelling, Written};
use serde_json::json;
use tokmerge_merge::KeyBias;

const CLASS: &str = "VideoVisionTransformer";

/// Names and arguments of Vision Transformers over space and time.
pub(crate) const SPELLING: Spelling = Spelling {
    tables: &[include_str!("../st_vit.tsv")],
    read: |class, arguments| Ok(Config::StVit(read(class, arguments)?)),
    write: |config, class| match config {
        Config::StVit(config) if class.is_none_or(|class| class == CLASS) => write(config),
        _ => None,
    },
};

/// What the head looks at.
const POOLS: &[(&str, TubePool)] =
    &[("avg_but_first", TubePool::AverageButFirst), ("avg", TubePool::Average), ("first", TubePool::First)];

const POSITIONS: &[(&str, TubePositions)] = &[
    ("separate", TubePositions::Separate),
    ("joint", TubePositions::Joint),
    ("sincos", TubePositions::Sinusoids),
];

/// The epsilon of a norm.
fn eps(arguments: &Arguments<'_>, name: &'static str, default: f64) -> Result<f64, ConfigureError> {
    let eps = arguments.number(name, default)?;
    if !(0.0..1.0).contains(&eps) {
        return Err(arguments.refused(name, "a small number"));
    }
    Ok(eps)
}

fn read(class: &str, arguments: &Arguments<'_>) -> Result<StVitConfig, ConfigureError> {
    encoder::check_class(class, CLASS)?;
    let (channels, heads) = (arguments.size("embed_dim", 768)?, arguments.size("num_heads", 12)?);
    let patch = arguments.size("patch_size", 16)?;
    let mut config = StVitConfig::new(patch, channels, arguments.size("depth", 12)?, heads);
    encoder::check_heads(channels, heads)?;
    config.block.mlp.hidden = encoder::hidden(arguments, channels, 4.0)?;
    config.block.qkv_bias = match (arguments.flag("qkv_bias", true)?, arguments.flag("key_bias", true)?) {
        (false, _) => QkvBias::No,
        (true, true) => QkvBias::All,
        (true, false) => QkvBias::QueryValue,
    };
    config.block.norm.eps = eps(arguments, "norm_eps", config.block.norm.eps)?;
    config.head_norm_eps = match arguments.flag("head_norm", true)? {
        true => Some(eps(arguments, "head_norm_eps", config.block.norm.eps)?),
        false => None,
    };
    config.img_size = arguments.sides("img_size", config.img_size)?;
    config.in_chans = arguments.size("in_chans", config.in_chans)?;
    config.frames = arguments.size("num_frames", config.frames)?;
    config.tubelet = arguments.size("t_patch_size", config.tubelet)?;
    config.class_token = arguments.flag("cls_embed", config.class_token)?;
    config.positions = arguments.word("pos_embed", config.positions, POSITIONS)?;
    config.pool = arguments.word("global_pool", config.pool, POOLS)?;
    config.key_bias = if arguments.flag("prop_attn", false)? { KeyBias::LogSize } else { KeyBias::None };
    config.num_classes = arguments.count("num_classes", config.num_classes)?;
    arguments.finish(CLASS, encoder::OF_TRAINING)?;
    Ok(config)
}

fn write(config: &StVitConfig) -> Option<Written> {
    let mut arguments = encoder::write(&config.block, config.depth, config.img_size);
    let word = |found: Option<&'static str>| found.map_or(json!(null), |word| json!(word));
    let pool = POOLS.iter().find(|(_, pool)| *pool == config.pool).map(|(word, _)| *word);
    let positions = POSITIONS.iter().find(|(_, known)| *known == config.positions).map(|(word, _)| *word);
    let own = [
        ("qkv_bias", json!(config.block.qkv_bias != QkvBias::No)),
        ("key_bias", json!(config.block.qkv_bias != QkvBias::QueryValue)),
        ("norm_eps", json!(config.block.norm.eps)),
        ("head_norm", json!(config.head_norm_eps.is_some())),
        ("head_norm_eps", json!(config.head_norm_eps)),
        ("in_chans", json!(config.in_chans)),
        ("num_frames", json!(config.frames)),
        ("t_patch_size", json!(config.tubelet)),
        ("patch_size", json!(config.patch_size)),
        ("cls_embed", json!(config.class_token)),
        ("pos_embed", word(positions)),
        ("global_pool", word(pool)),
        ("prop_attn", json!(config.key_bias == KeyBias::LogSize)),
        ("num_classes", json!(config.num_classes)),
    ];
    arguments.extend(own.map(|(name, value)| (name.to_owned(), value)));
    let read_back = read(CLASS, &Arguments::new(&arguments)).ok();
    (read_back.as_ref() == Some(config)).then_some(Written {
        base: "st_vit_base_patch16_224",
        arguments,
        own: &[],
    })
}
