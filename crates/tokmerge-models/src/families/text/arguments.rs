//! Transformers of texts in arguments: nobody else's constructor has them all, so the words are ours.

use super::{
    AnswerLength, Buckets, DecoderConfig, DecoderKind, Projection, TextConfig, TextPool, TextPositions,
};
use crate::blocks::{Gate, LogitScale, NormKind, Order, QkvBias};
use crate::config_json::{Arguments, ConfigureError};
use crate::families::encoder;
use crate::network::Config;
use crate::registry::{Spelling, Written};
use serde_json::{Map, Value, json};
use tokmerge_ops::{Activation, Mask};

const CLASS: &str = "TextTransformer";

/// Names and arguments of Transformers of texts.
pub(crate) const SPELLING: Spelling = Spelling {
    tables: &[include_str!("../text.tsv")],
    read: |class, arguments| Ok(Config::Text(read(class, arguments)?)),
    write: |config, class| match config {
        Config::Text(config) if class.is_none_or(|class| class == CLASS) => write(config),
        _ => None,
    },
};

const POOLS: &[(&str, TextPool)] = &[
    ("avg", TextPool::Average),
    ("class", TextPool::Class),
    ("pooler", TextPool::Pooler),
    ("last", TextPool::Last),
];
const ORDERS: &[(&str, Order)] = &[("post", Order::PostNorm), ("pre", Order::PreNorm)];
const NORMS: &[(&str, NormKind)] = &[("layer", NormKind::Layer), ("rms", NormKind::Rms)];
const ACTIVATIONS: &[(&str, Activation)] = &[
    ("gelu", Activation::Gelu),
    ("gelu_tanh", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
];
/// Places that are added, and of distances nothing.
const POSITIONS: &[(&str, Option<TextPositions>)] = &[
    ("learned", Some(TextPositions::Learned)),
    ("sincos", Some(TextPositions::Sinusoids)),
    ("distance", None),
];
/// What stands in place of self-attention in a decoder.
const DECODERS: &[(&str, Kind)] =
    &[("none", Kind::None), ("attention", Kind::Attention), ("ssru", Kind::Ssru)];

/// Kinds of decoders as they are written.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    None,
    Attention,
    Ssru,
}

fn word_of<T: PartialEq>(words: &[(&'static str, T)], meaning: &T) -> Value {
    words.iter().find(|(_, known)| known == meaning).map_or(Value::Null, |(word, _)| json!(word))
}

fn read(class: &str, arguments: &Arguments<'_>) -> Result<TextConfig, ConfigureError> {
    encoder::check_class(class, CLASS)?;
    let (channels, heads) = (arguments.size("embed_dim", 768)?, arguments.size("num_heads", 12)?);
    let mut config =
        TextConfig::bert(arguments.size("vocab_size", 30522)?, channels, arguments.size("depth", 12)?, heads);
    let block = &mut config.block;
    block.head_dim = arguments.size("head_dim", channels.div_ceil(heads))?;
    block.order = arguments.word("norm_order", block.order, ORDERS)?;
    block.norm.kind = arguments.word("norm", block.norm.kind, NORMS)?;
    block.norm.eps = arguments.number("norm_eps", block.norm.eps)?;
    if !(0.0..1.0).contains(&block.norm.eps) {
        return Err(arguments.refused("norm_eps", "a small number"));
    }
    let bias = arguments.flag("bias", true)?;
    block.qkv_bias = if bias { QkvBias::All } else { QkvBias::No };
    (block.proj_bias, block.mlp.bias) = (bias, bias);
    let scaled = arguments.flag("scaled_logits", true)?;
    block.logit_scale = if scaled { LogitScale::InverseRoot } else { LogitScale::One };
    block.mlp.hidden = arguments.size("mlp_hidden", 4 * channels)?;
    block.mlp.activation = arguments.word("act_layer", block.mlp.activation, ACTIVATIONS)?;
    block.mlp.gate = if arguments.flag("gated", false)? { Gate::First } else { Gate::None };
    let buckets = Buckets {
        buckets: arguments.size("buckets", 32)?,
        distance: arguments.size("bucket_distance", 128)?,
    };
    let positions = arguments.word("pos_embed", Some(config.positions), POSITIONS)?;
    config.positions = positions.unwrap_or(TextPositions::Buckets(buckets));
    config.room = arguments.size("max_tokens", config.room)?;
    config.token_types = arguments.count("token_types", config.token_types)?;
    config.embedding_norm = arguments.flag("embed_norm", config.embedding_norm)?;
    config.embedding_scale = arguments.number("embed_scale", config.embedding_scale)?;
    config.mask = if arguments.flag("causal", false)? { Mask::Causal } else { Mask::None };
    config.final_norm = arguments.flag("final_norm", config.final_norm)?;
    config.pool = arguments.word("global_pool", config.pool, POOLS)?;
    let bias = arguments.flag("projection_bias", false)?;
    config.projection = arguments.optional_size("projection")?.map(|width| Projection { width, bias });
    config.length = if arguments.flag("unit", false)? { AnswerLength::Unit } else { AnswerLength::Own };
    config.num_classes = arguments.count("num_classes", config.num_classes)?;
    config.decoder = read_decoder(arguments, buckets, config.depth)?;
    arguments.finish(CLASS, encoder::OF_TRAINING)?;
    Ok(config)
}

fn read_decoder(
    arguments: &Arguments<'_>,
    buckets: Buckets,
    depth: usize,
) -> Result<Option<DecoderConfig>, ConfigureError> {
    let token = |name, default: Option<u32>| -> Result<Option<u32>, ConfigureError> {
        match arguments.value(name) {
            None => Ok(default),
            Some(_) => Ok(u32::try_from(arguments.count(name, 0)?).ok()),
        }
    };
    let kind = match arguments.word("decoder", Kind::None, DECODERS)? {
        Kind::None => None,
        Kind::Attention => Some(DecoderKind::Attention(buckets)),
        Kind::Ssru => Some(DecoderKind::Ssru),
    };
    let config = DecoderConfig {
        kind: kind.unwrap_or(DecoderKind::Ssru),
        depth: arguments.size("decoder_depth", depth)?,
        own_outputs: arguments.flag("own_outputs", false)?,
        output_scale: arguments.number("output_scale", 1.0)?,
        start: token("start_token", None)?,
        end: token("end_token", Some(1))?.unwrap_or(1),
    };
    Ok(kind.map(|_| config))
}

fn write(config: &TextConfig) -> Option<Written> {
    let block = &config.block;
    let buckets = match (config.positions, config.decoder.map(|decoder| decoder.kind)) {
        (TextPositions::Buckets(buckets), _) | (_, Some(DecoderKind::Attention(buckets))) => Some(buckets),
        _ => None,
    };
    let positions = match config.positions {
        TextPositions::Buckets(_) => None,
        other => Some(other),
    };
    let decoder = config.decoder;
    let kind = match decoder.map(|decoder| decoder.kind) {
        None => Kind::None,
        Some(DecoderKind::Attention(_)) => Kind::Attention,
        Some(DecoderKind::Ssru) => Kind::Ssru,
    };
    let own = [
        ("vocab_size", json!(config.vocabulary)),
        ("embed_dim", json!(block.channels)),
        ("depth", json!(config.depth)),
        ("num_heads", json!(block.heads)),
        ("head_dim", json!(block.head_dim)),
        ("norm_order", word_of(ORDERS, &block.order)),
        ("norm", word_of(NORMS, &block.norm.kind)),
        ("norm_eps", json!(block.norm.eps)),
        ("bias", json!(block.mlp.bias)),
        ("scaled_logits", json!(block.logit_scale == LogitScale::InverseRoot)),
        ("mlp_hidden", json!(block.mlp.hidden)),
        ("act_layer", word_of(ACTIVATIONS, &block.mlp.activation)),
        ("gated", json!(block.mlp.gate == Gate::First)),
        ("buckets", json!(buckets.map(|buckets| buckets.buckets))),
        ("bucket_distance", json!(buckets.map(|buckets| buckets.distance))),
        ("pos_embed", word_of(POSITIONS, &positions)),
        ("max_tokens", json!(config.room)),
        ("token_types", json!(config.token_types)),
        ("embed_norm", json!(config.embedding_norm)),
        ("embed_scale", json!(config.embedding_scale)),
        ("causal", json!(config.mask == Mask::Causal)),
        ("final_norm", json!(config.final_norm)),
        ("global_pool", word_of(POOLS, &config.pool)),
        ("projection", json!(config.projection.map(|projection| projection.width))),
        ("projection_bias", json!(config.projection.map(|projection| projection.bias))),
        ("unit", json!(config.length == AnswerLength::Unit)),
        ("num_classes", json!(config.num_classes)),
        ("decoder", word_of(DECODERS, &kind)),
        ("decoder_depth", json!(decoder.map(|decoder| decoder.depth))),
        ("own_outputs", json!(decoder.map(|decoder| decoder.own_outputs))),
        ("output_scale", json!(decoder.map(|decoder| decoder.output_scale))),
        ("start_token", json!(decoder.and_then(|decoder| decoder.start))),
        ("end_token", json!(decoder.map(|decoder| decoder.end))),
    ];
    let arguments: Map<String, Value> =
        own.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
    let read_back = read(CLASS, &Arguments::new(&arguments)).ok();
    (read_back.as_ref() == Some(config)).then_some(Written { base: "bert_base_uncased", arguments, own: &[] })
}
