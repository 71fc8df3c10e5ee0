//! Text towers: those of `clip`, `metaclip_2`, `siglip` and `siglip2`, beside an image tower or alone.

use super::{DescribeError, Given, Reader};
use crate::families::text::{Projection, TextConfig};
use crate::model::Probability;
use crate::network::Config;
use crate::weights::key_map::Spelling;
use serde_json::json;
use tokmerge_checkpoint::HfConfig;
use tokmerge_data::Processor;
use tokmerge_data::text::TextProcessor;
use tokmerge_ops::{Activation, Mask};

/// A vocabulary beyond that of any model.
const MOST_TOKENS: usize = 1 << 24;

/// The kinds of text towers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Clip,
    Siglip,
}

/// What a configuration says of a text tower.
pub(crate) struct TextTower {
    /// The shape.
    pub config: TextConfig,
    /// How texts are prepared, without a tokenizer.
    pub processor: TextProcessor,
    /// What comparing an image with texts says of them.
    pub probability: Probability,
    /// Fields that were not read because nothing is known of them.
    pub unread: Vec<String>,
}

/// Models of two towers whose text towers are understood.
const TWO_TOWERS: &[(&str, Kind)] =
    &[("clip", Kind::Clip), ("metaclip_2", Kind::Clip), ("siglip", Kind::Siglip), ("siglip2", Kind::Siglip)];

/// The text tower beside the image tower of a model; `None` of a model without one that is understood here.
///
/// # Errors
/// When a field that changes the model has a value that is nonsense or not understood.
pub(crate) fn describe_text_tower(
    config: &HfConfig,
    weights: &Spelling,
) -> Result<Option<TextTower>, DescribeError> {
    let Some((_, kind)) = TWO_TOWERS.iter().find(|(name, _)| *name == config.model_type) else {
        return Ok(None);
    };
    let both = Reader::new(config.fields()?);
    let Some(fields) = both.field("text_config").object("text_config")? else { return Ok(None) };
    let fields = Reader::new(fields);
    let is_projected = weights.shape("proj.weight").is_some();
    let (config, processor) = match kind {
        Kind::Clip => {
            let width = both.channels("projection_dim", 512)?;
            // An inner width is that of a tower saved alone.
            fields.field("projection_dim");
            clip(&fields, is_projected.then_some(width), is_legacy(config, &fields)?)?
        }
        Kind::Siglip => siglip(&fields)?,
    };
    let probability = match kind {
        Kind::Clip => Probability::Softmax,
        Kind::Siglip => Probability::Sigmoid,
    };
    Ok(Some(TextTower { config, processor, probability, unread: fields.unread() }))
}

/// A text tower of CLIP that was saved alone.
pub(super) fn clip_alone(given: &Given<'_>) -> Result<(Config, Processor), DescribeError> {
    let fields = &given.vision;
    let width = fields.channels("projection_dim", 512)?;
    let is_projected = given.has_parameter("proj.weight", given.has_class("WithProjection"));
    let legacy = is_legacy(given.config, fields)?;
    let (config, processor) = clip(fields, is_projected.then_some(width), legacy)?;
    Ok((config.into(), processor.into()))
}

/// A text tower of SigLIP that was saved alone.
pub(super) fn siglip_alone(given: &Given<'_>) -> Result<(Config, Processor), DescribeError> {
    let (config, processor) = siglip(&given.vision)?;
    Ok((config.into(), processor.into()))
}

/// Whether the end of a text is its highest token, whatever the configuration calls its end: so it is read where that is 2,
/// which the first files of CLIP say wrongly.
fn is_legacy(config: &HfConfig, fields: &Reader<'_>) -> Result<bool, DescribeError> {
    let end = fields.field("eos_token_id").count("eos_token_id", 49407, MOST_TOKENS)?;
    Ok(end == 2 && config.model_type.starts_with("clip"))
}

/// CLIP: tokens see earlier ones alone, and the answer is read off the first end token, then projected.
fn clip(
    fields: &Reader<'_>,
    projection: Option<usize>,
    legacy: bool,
) -> Result<(TextConfig, TextProcessor), DescribeError> {
    const DEFAULTS: Defaults =
        Defaults { vocabulary: 49408, channels: 512, heads: 8, room: 77, hidden: 2048, eps: 1e-5 };
    let mut config = common(fields, DEFAULTS, Activation::QuickGelu)?;
    config.mask = Mask::Causal;
    config.projection = projection.map(|width| Projection { width, bias: false });
    let end = fields.field("eos_token_id").count("eos_token_id", 49407, MOST_TOKENS)?;
    let processor = TextProcessor::new(config.room).to_the_room();
    let processor = if legacy {
        processor
    } else if end < config.vocabulary {
        processor.ended_by(end as u32)
    } else {
        let reason = format!("is {end}, beyond the {} tokens of the vocabulary", config.vocabulary);
        return Err(fields.field("eos_token_id").refuse("eos_token_id", reason).into());
    };
    Ok((config, processor.up_to_first_end()))
}

/// SigLIP: texts are filled to the model's length, all tokens see each other, and the answer is read off the last place.
fn siglip(fields: &Reader<'_>) -> Result<(TextConfig, TextProcessor), DescribeError> {
    const DEFAULTS: Defaults =
        Defaults { vocabulary: 32000, channels: 768, heads: 12, room: 64, hidden: 3072, eps: 1e-6 };
    let mut config = common(fields, DEFAULTS, Activation::GeluTanh)?;
    let width = fields.channels("projection_size", config.block.channels)?;
    config.projection = Some(Projection { width, bias: true });
    let filler = fields.field("pad_token_id").count("pad_token_id", 1, MOST_TOKENS)?;
    if filler >= config.vocabulary {
        let reason = format!("is {filler}, beyond the {} tokens of the vocabulary", config.vocabulary);
        return Err(fields.field("pad_token_id").refuse("pad_token_id", reason).into());
    }
    let processor = TextProcessor::new(config.room).filled_with(filler as u32);
    Ok((config, processor))
}

/// What transformers' classes have for fields that are absent.
struct Defaults {
    vocabulary: usize,
    channels: usize,
    heads: usize,
    room: usize,
    hidden: usize,
    eps: f64,
}

fn common(
    fields: &Reader<'_>,
    defaults: Defaults,
    activation: Activation,
) -> Result<TextConfig, DescribeError> {
    let Defaults { vocabulary, channels, heads, room, hidden, eps } = defaults;
    let channels = fields.channels("hidden_size", channels)?;
    let heads = fields.heads("num_attention_heads", heads, channels)?;
    let vocabulary = fields.field("vocab_size").size("vocab_size", vocabulary, MOST_TOKENS)?;
    let room = fields.channels("max_position_embeddings", room)?;
    let depth = fields.depth("num_hidden_layers", 12)?;
    let mut config = TextConfig::tower(vocabulary, channels, depth, heads, room);
    config.block.norm.eps = fields.eps("layer_norm_eps", eps)?;
    config.block.mlp.hidden = fields.channels("intermediate_size", hidden)?;
    config.block.mlp.activation = fields.activation("hidden_act", activation)?;
    fields.field("is_decoder").only("is_decoder", &json!(false))?;
    Ok(config)
}
