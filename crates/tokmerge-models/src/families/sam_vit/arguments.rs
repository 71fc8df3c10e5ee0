//! Segment Anything's image encoder in the words of timm's constructor.

use super::SamVitConfig;
use crate::blocks::QkvBias;
use crate::config_json::{Arguments, ConfigureError};
use crate::families::encoder;
use crate::network::Config;
use crate::registry::{Spelling, Written};
use serde_json::{Value, json};

const CLASS: &str = "VisionTransformerSAM";

/// Names and arguments of Segment Anything's image encoder.
pub(crate) const SPELLING: Spelling = Spelling {
    tables: &[include_str!("../sam_vit.tsv")],
    read: |class, arguments| Ok(Config::SamVit(read(class, arguments)?)),
    write: |config, class| match config {
        Config::SamVit(config) if class.is_none_or(|class| class == CLASS) => write(config),
        _ => None,
    },
};

/// Arguments that change training, or the way and not the result.
const OF_TRAINING: &[&str] =
    &["pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "weight_init", "ref_feat_shape"];

fn read(class: &str, arguments: &Arguments<'_>) -> Result<SamVitConfig, ConfigureError> {
    encoder::check_class(class, CLASS)?;
    let (channels, heads) = (arguments.size("embed_dim", 768)?, arguments.size("num_heads", 12)?);
    if !channels.is_multiple_of(heads) {
        return Err(ConfigureError::Shape(format!(
            "embed_dim is {channels}, and its channels cannot be divided among {heads} heads (num_heads)"
        )));
    }
    let global_blocks = arguments.counts("global_attn_indexes")?.unwrap_or_default();
    let mut config = SamVitConfig::new(channels, arguments.size("depth", 12)?, heads, global_blocks);
    let hidden = channels as f64 * arguments.number("mlp_ratio", 4.0)?;
    if !(1.0..1e9).contains(&hidden) {
        return Err(arguments.refused("mlp_ratio", "a ratio that leaves at least one hidden channel"));
    }
    config.block.mlp.hidden = hidden as usize;
    if !arguments.flag("qkv_bias", true)? {
        config.block.qkv_bias = QkvBias::No;
    }
    config.block.layer_scale = arguments.optional_number("init_values")?.filter(|initial| *initial != 0.0);
    config.img_size = arguments.sides("img_size", config.img_size)?;
    config.patch_size = arguments.size("patch_size", config.patch_size)?;
    config.in_chans = arguments.size("in_chans", config.in_chans)?;
    config.absolute = arguments.flag("use_abs_pos", true)?;
    config.relative = arguments.flag("use_rel_pos", false)?;
    config.window = Some(arguments.count("window_size", 14)?).filter(|side| *side > 0);
    config.neck = Some(arguments.count("neck_chans", 256)?).filter(|channels| *channels > 0);
    config.num_classes = arguments.count("num_classes", 768)?;
    arguments.word("global_pool", (), &[("avg", ())])?;
    for (name, value) in [("qk_norm", json!(false)), ("pre_norm", json!(false)), ("use_rope", json!(false))] {
        arguments.only(name, &value)?;
    }
    arguments.only("head_hidden_size", &Value::Null)?;
    arguments.finish(CLASS, &[encoder::OF_TRAINING, OF_TRAINING].concat())?;
    Ok(config)
}

fn write(config: &SamVitConfig) -> Option<Written> {
    let mut arguments = encoder::write(&config.block, config.depth, config.img_size);
    arguments.extend([
        ("patch_size".to_owned(), json!(config.patch_size)),
        ("in_chans".to_owned(), json!(config.in_chans)),
        ("num_classes".to_owned(), json!(config.num_classes)),
        ("init_values".to_owned(), json!(config.block.layer_scale)),
        ("use_abs_pos".to_owned(), json!(config.absolute)),
        ("use_rel_pos".to_owned(), json!(config.relative)),
        ("window_size".to_owned(), json!(config.window.unwrap_or(0))),
        ("global_attn_indexes".to_owned(), json!(config.global_blocks)),
        ("neck_chans".to_owned(), json!(config.neck.unwrap_or(0))),
    ]);
    let read_back = read(CLASS, &Arguments::new(&arguments)).ok();
    let base = "samvit_base_patch16";
    (read_back.as_ref() == Some(config)).then_some(Written { base, arguments, own: &[] })
}
