//! `vilt`.

use super::{DescribeError, Given};
use crate::families::vilt::ViltConfig;
use crate::network::Config;
use crate::registry::question_processor;
use serde_json::json;
use tokmerge_data::Processor;
use tokmerge_ops::Activation;

/// A vocabulary beyond that of any model.
const MOST_TOKENS: usize = 1 << 24;

pub(super) fn vilt(given: &Given<'_>) -> Result<(Config, Processor), DescribeError> {
    let fields = &given.vision;
    let channels = fields.channels("hidden_size", 768)?;
    let heads = fields.heads("num_attention_heads", 12, channels)?;
    let patch = fields.channels("patch_size", 32)?;
    let size = fields.sides("image_size", 384)?;
    let depth = fields.depth("num_hidden_layers", 12)?;
    let mut config = ViltConfig::new(size.0.min(size.1), patch, channels, depth, heads);
    config.img_size = size;
    config.in_chans = fields.channels("num_channels", 3)?;
    config.vocabulary = fields.field("vocab_size").size("vocab_size", 30522, MOST_TOKENS)?;
    config.room = fields.channels("max_position_embeddings", 40)?;
    config.token_types = fields.channels("type_vocab_size", 2)?;
    config.block.norm.eps = fields.eps("layer_norm_eps", 1e-12)?;
    config.block.mlp.hidden = fields.channels("intermediate_size", 3072)?;
    config.block.mlp.activation = fields.activation("hidden_act", Activation::Gelu)?;
    // A third kind is that of a second picture; patches beyond a number are left out at random.
    fields.field("modality_type_vocab_size").only("modality_type_vocab_size", &json!(2))?;
    fields.field("max_image_length").only("max_image_length", &json!(-1))?;
    fields.field("qkv_bias").only("qkv_bias", &json!(true))?;
    // Of other classes, and of pre-training.
    fields.field("num_images");
    fields.field("tie_word_embeddings");
    config.num_classes = given.num_classes();
    let room = config.room;
    let config = Config::from(config);
    let processor = question_processor(&config, patch, room);
    Ok((config, processor.into()))
}
