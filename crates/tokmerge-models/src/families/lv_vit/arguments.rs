//! LV-ViT in the words of the reference's constructor.

use super::LvVitConfig;
use crate::config_json::{Arguments, ConfigureError};
use crate::families::encoder;
use crate::network::Config;
use crate::registry::{Spelling, Written};
use serde_json::json;

const CLASS: &str = "LV_ViT";

/// Names and arguments of LV-ViT.
pub(crate) const SPELLING: Spelling = Spelling {
    tables: &[include_str!("../lv_vit.tsv")],
    read: |class, arguments| Ok(Config::LvVit(read(class, arguments)?)),
    write: |config, class| match config {
        Config::LvVit(config) if class.is_none_or(|class| class == CLASS) => write(config),
        _ => None,
    },
};

/// Channels of the stem by the reference's names for it.
const STEMS: &[(&str, usize)] = &[("4_2", 64), ("4_2_128", 128)];

fn read(class: &str, arguments: &Arguments<'_>) -> Result<LvVitConfig, ConfigureError> {
    encoder::check_class(class, CLASS)?;
    let (channels, heads) = (arguments.size("embed_dim", 768)?, arguments.size("num_heads", 12)?);
    let skip_lam = arguments.number("skip_lam", 1.0)?;
    if skip_lam <= 0.0 {
        return Err(arguments.refused("skip_lam", "a number above 0"));
    }
    let mut config = LvVitConfig::new(channels, arguments.size("depth", 12)?, heads, skip_lam);
    encoder::read_block(&mut config.block, arguments)?;
    config.img_size = arguments.sides("img_size", config.img_size)?;
    config.patch_size = arguments.size("patch_size", config.patch_size)?;
    config.in_chans = arguments.size("in_chans", config.in_chans)?;
    config.stem_channels = arguments.word("p_emb", config.stem_channels, STEMS)?;
    config.num_classes = arguments.count("num_classes", config.num_classes)?;
    // Released weights have the second head, and their answer is made with it.
    arguments.only("return_dense", &json!(true))?;
    arguments.only("hybrid_backbone", &json!(null))?;
    arguments.finish(CLASS, &[encoder::OF_TRAINING, &["mix_token", "drop_path_decay"]].concat())?;
    Ok(config)
}

fn write(config: &LvVitConfig) -> Option<Written> {
    let (stem, _) = STEMS.iter().find(|(_, channels)| *channels == config.stem_channels)?;
    let mut arguments = encoder::write(&config.block, config.depth, config.img_size);
    arguments.extend([
        ("patch_size".to_owned(), json!(config.patch_size)),
        ("in_chans".to_owned(), json!(config.in_chans)),
        ("num_classes".to_owned(), json!(config.num_classes)),
        ("skip_lam".to_owned(), json!(config.block.branch_divisor.unwrap_or(1.0))),
        ("p_emb".to_owned(), json!(stem)),
    ]);
    let read_back = read(CLASS, &Arguments::new(&arguments)).ok();
    (read_back.as_ref() == Some(config)).then_some(Written { base: "lvvit_s", arguments, own: &[] })
}
