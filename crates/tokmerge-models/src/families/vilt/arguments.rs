//! ViLT in arguments: the words of its own configuration where it has some.

use super::ViltConfig;
use super::config::most_patches;
use crate::config_json::{Arguments, ConfigureError};
use crate::families::encoder;
use crate::network::Config;
use crate::registry::{Spelling, Written};
use serde_json::json;

const CLASS: &str = "ViLTransformer";

/// Names and arguments of Transformers of questions about pictures.
pub(crate) const SPELLING: Spelling = Spelling {
    tables: &[include_str!("../vilt.tsv")],
    read: |class, arguments| Ok(Config::Vilt(read(class, arguments)?)),
    write: |config, class| match config {
        Config::Vilt(config) if class.is_none_or(|class| class == CLASS) => write(config),
        _ => None,
    },
};

fn read(class: &str, arguments: &Arguments<'_>) -> Result<ViltConfig, ConfigureError> {
    encoder::check_class(class, CLASS)?;
    let (channels, heads) = (arguments.size("embed_dim", 768)?, arguments.size("num_heads", 12)?);
    encoder::check_heads(channels, heads)?;
    let patch = arguments.size("patch_size", 32)?;
    let mut config = ViltConfig::new(384, patch, channels, arguments.size("depth", 12)?, heads);
    config.block.mlp.hidden = encoder::hidden(arguments, channels, 4.0)?;
    config.block.norm.eps = arguments.number("norm_eps", config.block.norm.eps)?;
    if !(0.0..1.0).contains(&config.block.norm.eps) {
        return Err(arguments.refused("norm_eps", "a small number"));
    }
    config.img_size = arguments.sides("img_size", config.img_size)?;
    let most = most_patches(config.img_size.0.min(config.img_size.1), patch);
    config.patches = arguments.size("max_patches", most.max(1))?;
    config.in_chans = arguments.size("in_chans", config.in_chans)?;
    config.vocabulary = arguments.size("vocab_size", config.vocabulary)?;
    config.room = arguments.size("max_text_len", config.room)?;
    config.token_types = arguments.size("token_types", config.token_types)?;
    config.num_classes = arguments.count("num_classes", config.num_classes)?;
    arguments.finish(CLASS, encoder::OF_TRAINING)?;
    Ok(config)
}

fn write(config: &ViltConfig) -> Option<Written> {
    let mut arguments = encoder::write(&config.block, config.depth, config.img_size);
    arguments.remove("qkv_bias");
    let own = [
        ("norm_eps", json!(config.block.norm.eps)),
        ("patch_size", json!(config.patch_size)),
        ("max_patches", json!(config.patches)),
        ("in_chans", json!(config.in_chans)),
        ("vocab_size", json!(config.vocabulary)),
        ("max_text_len", json!(config.room)),
        ("token_types", json!(config.token_types)),
        ("num_classes", json!(config.num_classes)),
    ];
    arguments.extend(own.map(|(name, value)| (name.to_owned(), value)));
    let read_back = read(CLASS, &Arguments::new(&arguments)).ok();
    (read_back.as_ref() == Some(config)).then_some(Written { base: "vilt_b32", arguments, own: &[] })
}
