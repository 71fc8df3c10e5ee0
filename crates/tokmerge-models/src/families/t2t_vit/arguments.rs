//! T2T-ViT in the words of the reference's constructor.

use super::T2tVitConfig;
use crate::config_json::{Arguments, ConfigureError};
use crate::families::encoder;
use crate::network::Config;
use crate::registry::{Spelling, Written};
use serde_json::json;

const CLASS: &str = "T2T_ViT";

/// Names and arguments of T2T-ViT.
pub(crate) const SPELLING: Spelling = Spelling {
    tables: &[include_str!("../t2t_vit.tsv")],
    read: |class, arguments| Ok(Config::T2tVit(read(class, arguments)?)),
    write: |config, class| match config {
        Config::T2tVit(config) if class.is_none_or(|class| class == CLASS) => write(config),
        _ => None,
    },
};

fn read(class: &str, arguments: &Arguments<'_>) -> Result<T2tVitConfig, ConfigureError> {
    encoder::check_class(class, CLASS)?;
    let (channels, heads) = (arguments.size("embed_dim", 768)?, arguments.size("num_heads", 12)?);
    let mut config = T2tVitConfig::new(channels, arguments.size("depth", 12)?, heads);
    encoder::read_block(&mut config.block, arguments)?;
    config.img_size = arguments.sides("img_size", config.img_size)?;
    config.in_chans = arguments.size("in_chans", config.in_chans)?;
    config.token_dim = arguments.size("token_dim", config.token_dim)?;
    config.num_classes = arguments.count("num_classes", config.num_classes)?;
    arguments.only("tokens_type", &json!("transformer"))?;
    arguments.finish(CLASS, encoder::OF_TRAINING)?;
    Ok(config)
}

fn write(config: &T2tVitConfig) -> Option<Written> {
    let mut arguments = encoder::write(&config.block, config.depth, config.img_size);
    arguments.extend([
        ("in_chans".to_owned(), json!(config.in_chans)),
        ("num_classes".to_owned(), json!(config.num_classes)),
        ("token_dim".to_owned(), json!(config.token_dim)),
    ]);
    let read_back = read(CLASS, &Arguments::new(&arguments)).ok();
    (read_back.as_ref() == Some(config)).then_some(Written { base: "t2t_vit_t_14", arguments, own: &[] })
}
