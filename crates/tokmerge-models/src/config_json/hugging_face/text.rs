//! `bert` and `t5`.

use super::{DescribeError, Given, Reader};
use crate::blocks::{Gate, QkvBias};
use crate::families::text::{Buckets, DecoderConfig, DecoderKind, TextConfig, TextPool, TextPositions};
use crate::network::Config;
use serde_json::json;
use tokmerge_data::Processor;
use tokmerge_data::text::TextProcessor;
use tokmerge_ops::Activation;

/// A vocabulary beyond that of any model.
const MOST_TOKENS: usize = 1 << 24;

pub(super) fn bert(given: &Given<'_>) -> Result<(Config, Processor), DescribeError> {
    let fields = &given.vision;
    let channels = fields.channels("hidden_size", 768)?;
    let heads = fields.heads("num_attention_heads", 12, channels)?;
    let vocabulary = fields.field("vocab_size").size("vocab_size", 30522, MOST_TOKENS)?;
    let mut config = TextConfig::bert(vocabulary, channels, fields.depth("num_hidden_layers", 12)?, heads);
    fields.field("position_embedding_type").only("position_embedding_type", &json!("absolute"))?;
    fields.field("is_decoder").only("is_decoder", &json!(false))?;
    config.block.norm.eps = fields.eps("layer_norm_eps", 1e-12)?;
    config.block.mlp.hidden = fields.channels("intermediate_size", 3072)?;
    config.block.mlp.activation = fields.activation("hidden_act", Activation::Gelu)?;
    config.room = fields.channels("max_position_embeddings", 512)?;
    config.token_types = fields.channels("type_vocab_size", 2)?;
    config.num_classes = given.num_classes();
    config.pool = match given.has_parameter("pooler.weight", true) {
        true => TextPool::Pooler,
        false => TextPool::Class,
    };
    let processor = TextProcessor::new(config.room);
    Ok((config.into(), processor.into()))
}

/// `lm_head.weight` of the file counts, whatever the configuration says of tied tables: transformers 5 writes that they are
/// where they are not.
pub(super) fn t5(given: &Given<'_>) -> Result<(Config, Processor), DescribeError> {
    let has = |path: &str, otherwise| match (path, given.has_class("EncoderModel")) {
        ("decoder.norm.weight", true) => false,
        _ => given.has_parameter(path, otherwise),
    };
    let config = t5_of(&given.vision, &has)?;
    let room = config.room;
    Ok((config.into(), TextProcessor::new(room).into()))
}

/// The shape of a T5 by its fields; `has` says whether the weights have a parameter, or else what it is given.
pub(super) fn t5_of(
    fields: &Reader<'_>,
    has: &dyn Fn(&str, bool) -> bool,
) -> Result<TextConfig, DescribeError> {
    let channels = fields.channels("d_model", 512)?;
    let (heads, head_dim) = (fields.channels("num_heads", 8)?, fields.channels("d_kv", 64)?);
    let depth = fields.depth("num_layers", 6)?;
    let vocabulary = fields.field("vocab_size").size("vocab_size", 32128, MOST_TOKENS)?;
    let mut config =
        TextConfig::t5(vocabulary, channels, depth, heads, head_dim, fields.channels("d_ff", 2048)?);
    config.block.norm.eps = fields.eps("layer_norm_epsilon", 1e-6)?;
    // `gated-gelu` has always meant the approximation by tanh.
    const MLPS: &[(&str, (Gate, Activation))] = &[
        ("relu", (Gate::None, Activation::Relu)),
        ("gelu", (Gate::None, Activation::Gelu)),
        ("gated-gelu", (Gate::First, Activation::GeluTanh)),
        ("gated-silu", (Gate::First, Activation::Silu)),
    ];
    let mlp = fields.field("feed_forward_proj");
    (config.block.mlp.gate, config.block.mlp.activation) =
        mlp.choice("feed_forward_proj", (Gate::None, Activation::Relu), MLPS)?;
    config.block.qkv_bias = QkvBias::No;
    let buckets = Buckets {
        buckets: fields.channels("relative_attention_num_buckets", 32)?,
        distance: fields.channels("relative_attention_max_distance", 128)?,
    };
    config.positions = TextPositions::Buckets(buckets);
    let tied = fields.flag("tie_word_embeddings", true)?;
    let scaled = fields.flag("scale_decoder_outputs", tied)?;
    let token = |name: &str, default| fields.field(name).count(name, default, MOST_TOKENS);
    let (start, end) = (token("decoder_start_token_id", 0)?, token("eos_token_id", 1)?);
    config.decoder = has("decoder.norm.weight", true).then_some(DecoderConfig {
        kind: DecoderKind::Attention(buckets),
        depth: fields.depth("num_decoder_layers", depth)?,
        own_outputs: has("decoder.lm_head.weight", !tied),
        output_scale: if scaled { (channels as f64).powf(-0.5) } else { 1.0 },
        start: Some(start as u32),
        end: end as u32,
    });
    Ok(config)
}
