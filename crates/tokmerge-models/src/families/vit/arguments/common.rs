//! Words that several classes share, and words of our own.

use crate::blocks::{BlockConfig, NormConfig, NormKind};
use crate::config_json::{Arguments, ConfigureError};
use crate::experts::{ExpertsConfig, Placement};
use crate::families::vit::{
    AttentionPoolConfig, ClassToken, DistillationHead, HeadInput, NormPlace, Pool, PreLogits, Sizes,
    VitConfig, Wiring,
};
use crate::positions::{Absolute, PositionConfig, Resampling};
use serde_json::{Map, Value, json};
use tokmerge_merge::KeyBias;
use tokmerge_ops::Activation;

/// Arguments that change training, or the way and not the result.
pub(super) const OF_TRAINING: &[&str] = &[
    "drop_rate",
    "pos_drop_rate",
    "patch_drop_rate",
    "proj_drop_rate",
    "attn_drop_rate",
    "drop_path_rate",
    "weight_init",
    "fix_init",
    "head_init_scale",
    "dynamic_img_size",
    "strict_img_size",
    "rope_shift_coords",
    "rope_jitter_coords",
    "rope_rescale_coords",
    "device",
    "dtype",
    "pretrained_strict",
    "out_indices",
];

/// timm's names of activations.
pub(super) const ACTIVATIONS: &[(&str, Activation)] = &[
    ("gelu", Activation::Gelu),
    ("gelu_tanh", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
];

/// Activations of the layer after the pool.
const POOLER_ACTIVATIONS: &[(&str, Activation)] = &[
    ("tanh", Activation::Tanh),
    ("gelu", Activation::Gelu),
    ("gelu_tanh", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
];

const RESAMPLINGS: &[(&str, Resampling)] = &[
    ("bicubic_antialias", Resampling::BicubicAntialias),
    ("bicubic", Resampling::Bicubic),
    ("bicubic_offset", Resampling::BicubicOffset),
    ("bicubic_aligned_corners", Resampling::BicubicAlignedCorners),
    ("bilinear_antialias", Resampling::BilinearAntialias),
    ("bilinear", Resampling::Bilinear),
    ("bilinear_aligned_corners", Resampling::BilinearAlignedCorners),
];

/// The word of a table for a meaning.
pub(super) fn word_of<T: PartialEq>(meanings: &[(&'static str, T)], meaning: &T) -> Value {
    meanings.iter().find(|(_, known)| known == meaning).map_or(Value::Null, |(word, _)| json!(word))
}

/// Sizes, patches and prefix: a model of timm's defaults with the arguments that all classes have.
pub(super) fn sized(arguments: &Arguments<'_>, norm: NormConfig) -> Result<VitConfig, ConfigureError> {
    let channels = arguments.size("embed_dim", 768)?;
    let heads = arguments.size("num_heads", 12)?;
    if !channels.is_multiple_of(heads) {
        return Err(ConfigureError::Shape(format!(
            "embed_dim is {channels}, and its channels cannot be divided among {heads} heads (num_heads)"
        )));
    }
    let hidden = hidden(arguments, "mlp_ratio", 4.0, channels)?;
    let mut block = BlockConfig::new(channels, heads);
    block.norm = norm;
    block.mlp.hidden = hidden;
    arguments.only("dynamic_img_pad", &json!(false))?;
    arguments.only("use_naflex", &json!(false))?;
    Ok(VitConfig {
        img_size: arguments.sides("img_size", (224, 224))?,
        sizes: Sizes::One,
        patch_size: arguments.sides("patch_size", (16, 16))?,
        patch_stride: arguments.optional_size("patch_stride")?,
        in_chans: arguments.size("in_chans", 3)?,
        patch_bias: true,
        patch_norm: None,
        class_token: ClassToken::Single,
        reg_tokens: 0,
        positions: PositionConfig { absolute: Absolute::None, ..PositionConfig::learned(0) },
        pre_norm: false,
        depth: arguments.size("depth", 12)?,
        wiring: Wiring::Sequential,
        block,
        experts: None,
        pool: Pool::Token,
        norm_place: NormPlace::BeforePool,
        pre_logits: None,
        projection: None,
        projection_bias: false,
        head_input: HeadInput::Embedding,
        num_classes: arguments.count("num_classes", 1000)?,
        head_bias: true,
        key_bias: KeyBias::LogSize,
        trained_key_bias: KeyBias::LogSize,
    })
}

/// Channels times a ratio, cut off as Python's `int` does.
pub(super) fn hidden(
    arguments: &Arguments<'_>,
    name: &'static str,
    default: f64,
    channels: usize,
) -> Result<usize, ConfigureError> {
    let hidden = channels as f64 * arguments.number(name, default)?;
    if !(1.0..1e9).contains(&hidden) {
        return Err(arguments.refused(name, "a ratio that leaves at least one hidden channel"));
    }
    Ok(hidden as usize)
}

/// A ratio that gives `hidden` back.
pub(super) fn ratio(hidden: usize, channels: usize) -> f64 {
    let (hidden, channels) = (hidden as f64, channels as f64);
    let ratio = hidden / channels;
    if (channels * ratio) as usize == hidden as usize { ratio } else { (hidden + 0.5) / channels }
}

/// `layernorm`, `rmsnorm`, with another epsilon than timm's as in `layernorm(eps=1e-05)`.
pub(super) fn norm(
    arguments: &Arguments<'_>,
    name: &'static str,
) -> Result<Option<NormConfig>, ConfigureError> {
    arguments.text(name, "layernorm or rmsnorm, as layernorm(eps=1e-05)", |text| {
        let (word, eps) = match text.strip_suffix(')').and_then(|text| text.split_once("(eps=")) {
            Some((word, eps)) => (word, eps.parse().ok().filter(|eps| (1e-30..1.0).contains(eps))?),
            None => (text, 1e-6),
        };
        let kind = match word.to_ascii_lowercase().as_str() {
            "layernorm" => NormKind::Layer,
            "rmsnorm" => NormKind::Rms,
            _ => return None,
        };
        Some(NormConfig { kind, eps })
    })
}

pub(super) fn norm_word(norm: NormConfig) -> String {
    let word = match norm.kind {
        NormKind::Layer => "layernorm",
        NormKind::Rms => "rmsnorm",
    };
    format!("{word}(eps={:e})", norm.eps)
}

/// timm's LayerNorm.
pub(super) const LAYER_NORM: NormConfig = NormConfig { kind: NormKind::Layer, eps: 1e-6 };

/// Learned positions of patches and the first `prefix` tokens.
pub(super) fn learned(prefix: usize) -> Absolute {
    Absolute::Learned { prefix, resampling: Resampling::BicubicAntialias, grid: None }
}

/// The class token that an argument turns off.
pub(super) fn class_token(arguments: &Arguments<'_>) -> Result<ClassToken, ConfigureError> {
    let present = arguments.flag("class_token", true)?;
    Ok(if present { ClassToken::Single } else { ClassToken::Absent })
}

/// Prefix tokens.
pub(super) fn prefix(config: &VitConfig) -> usize {
    let class = match config.class_token {
        ClassToken::Absent => 0,
        ClassToken::Single => 1,
        ClassToken::Distilled(_) => 2,
    };
    class + config.reg_tokens
}

/// Refuses to read a class token that is not there.
pub(super) fn check_pool(config: &VitConfig, arguments: &Arguments<'_>) -> Result<(), ConfigureError> {
    if config.class_token == ClassToken::Absent && matches!(config.pool, Pool::Token | Pool::TokenAndAverage)
    {
        return Err(ConfigureError::Shape(
            "the head reads the class token (global_pool), and class_token is false; use global_pool avg or map"
                .to_owned(),
        ));
    }
    if config.block.layer_scale.is_some_and(|initial| !(-1e3..=1e3).contains(&initial)) {
        return Err(arguments.refused("init_values", "a small number"));
    }
    Ok(())
}

/// The arguments that all classes have.
pub(super) fn write_sizes(config: &VitConfig) -> Map<String, Value> {
    let ((height, width), (patch_height, patch_width)) = (config.img_size, config.patch_size);
    let patch =
        if patch_height == patch_width { json!(patch_height) } else { json!([patch_height, patch_width]) };
    let Value::Object(arguments) = json!({
        "img_size": [height, width],
        "patch_size": patch,
        "in_chans": config.in_chans,
        "num_classes": config.num_classes,
        "embed_dim": config.block.channels,
        "depth": config.depth,
        "num_heads": config.block.heads,
        "mlp_ratio": ratio(config.block.mlp.hidden, config.block.channels),
        "init_values": config.block.layer_scale,
    }) else {
        unreachable!("an object was written")
    };
    arguments
}

/// Words of our own: what timm's constructors cannot say.
pub(super) fn read_own(config: &mut VitConfig, arguments: &Arguments<'_>) -> Result<(), ConfigureError> {
    config.projection = arguments.optional_size("projection")?;
    config.projection_bias = arguments.flag("projection_bias", config.projection_bias)?;
    config.head_bias = arguments.flag("head_bias", config.head_bias)?;
    config.patch_bias = arguments.flag("patch_bias", config.patch_bias)?;
    if !arguments.flag("prop_attn", true)? {
        config.key_bias = KeyBias::None;
    }
    if !arguments.flag("trained_prop_attn", true)? {
        config.trained_key_bias = KeyBias::None;
    }
    if arguments.flag("head_norm", false)? {
        config.head_input = HeadInput::Normed;
    }
    if arguments.flag("head_unit", false)? {
        config.head_input = HeadInput::Unit;
    }
    if arguments.flag("pool_token_too", false)? {
        config.pool = Pool::TokenAndAverage;
    }
    config.pre_logits = read_pre_logits(config, arguments)?;
    if let Pool::Attention(pool) = &mut config.pool {
        pool.query_projection = arguments.flag("attn_pool_query_proj", true)?;
        if !arguments.flag("attn_pool_mlp", true)? {
            (pool.mlp_hidden, pool.norm) = (None, false);
        }
    }
    let unread = arguments.flag("dist_token_unread", false)?.then_some(DistillationHead::Unread);
    let pooled = arguments.flag("dist_token_pooled", false)?.then_some(DistillationHead::Pooled);
    if let Some(head) = unread.or(pooled) {
        config.class_token = ClassToken::Distilled(head);
        if let Absolute::Learned { prefix, .. } | Absolute::Sinusoids { prefix } =
            &mut config.positions.absolute
        {
            *prefix = if *prefix == 0 { 0 } else { 2 };
        }
    }
    if let Absolute::Learned { resampling, grid, .. } = &mut config.positions.absolute {
        *resampling = arguments.word("pos_resampling", *resampling, RESAMPLINGS)?;
        *grid = arguments.optional_sides("pos_grid")?;
    }
    config.experts = read_experts(arguments)?;
    if let Some(misfit) = config.experts.and_then(|experts| experts.misfit(config.depth)) {
        return Err(ConfigureError::Shape(misfit));
    }
    Ok(())
}

/// The layer after the pool: `true` for one of as many outputs as it gets, or their number.
fn read_pre_logits(
    config: &VitConfig,
    arguments: &Arguments<'_>,
) -> Result<Option<PreLogits>, ConfigureError> {
    let activation = arguments.word("pre_logits_act", Activation::Tanh, POOLER_ACTIVATIONS)?;
    let width = match arguments.value("pre_logits") {
        Some(Value::Bool(true)) => Some(config.pooled_dim()),
        Some(Value::Bool(false)) => None,
        _ => arguments.optional_size("pre_logits")?,
    };
    Ok(width.map(|width| PreLogits { width, activation }))
}

/// The experts that arguments speak of, the paper's as far as they do not.
fn read_experts(arguments: &Arguments<'_>) -> Result<Option<ExpertsConfig>, ConfigureError> {
    let allowed = "last and a number, or every and a number, such as last2";
    let placement = arguments.text("expert_blocks", allowed, |text| text.parse::<Placement>().ok())?;
    let (experts, chosen) =
        (arguments.optional_size("experts")?, arguments.optional_size("experts_per_token")?);
    if (placement, experts, chosen) == (None, None, None) {
        return Ok(None);
    }
    let of_paper = ExpertsConfig::new(placement.unwrap_or(Placement::Last(2)));
    Ok(Some(ExpertsConfig {
        experts: experts.unwrap_or(of_paper.experts),
        chosen: chosen.unwrap_or(of_paper.chosen),
        ..of_paper
    }))
}

/// Words that timm's constructors do not take as JSON has them: classes, and then words of our own.
pub(super) const NOT_OF_TIMM: &[&str] = &[
    "norm_layer",
    "embed_norm_layer",
    "block_fn",
    "mlp_layer",
    "pre_logits",
    "pre_logits_act",
    "projection",
    "projection_bias",
    "head_bias",
    "patch_bias",
    "patch_stride",
    "head_norm",
    "head_unit",
    "prop_attn",
    "trained_prop_attn",
    "dist_token_pooled",
    "pool_token_too",
    "dist_token_unread",
    "attn_pool_query_proj",
    "attn_pool_mlp",
    "pos_resampling",
    "pos_grid",
    "experts",
    "experts_per_token",
    "expert_blocks",
];

/// Adds the words of our own.
pub(super) fn write_own(config: &VitConfig, arguments: &mut Map<String, Value>) {
    let (resampling, grid) = match config.positions.absolute {
        Absolute::Learned { resampling, grid, .. } => (word_of(RESAMPLINGS, &resampling), grid),
        Absolute::None | Absolute::Sinusoids { .. } => (Value::Null, None),
    };
    let activation =
        config.pre_logits.map_or(Value::Null, |layer| word_of(POOLER_ACTIVATIONS, &layer.activation));
    let experts = config.experts;
    let distilled = |head| config.class_token == ClassToken::Distilled(head);
    let of_pool = |say: fn(&AttentionPoolConfig) -> bool| match &config.pool {
        Pool::Attention(pool) => json!(say(pool)),
        _ => Value::Null,
    };
    let words = [
        ("pre_logits", json!(config.pre_logits.map(|layer| layer.width))),
        ("pre_logits_act", activation),
        ("projection", json!(config.projection)),
        ("projection_bias", json!(config.projection_bias)),
        ("head_bias", json!(config.head_bias)),
        ("patch_bias", json!(config.patch_bias)),
        ("prop_attn", json!(config.key_bias != KeyBias::None)),
        ("pool_token_too", json!(config.pool == Pool::TokenAndAverage)),
        ("trained_prop_attn", json!(config.trained_key_bias != KeyBias::None)),
        ("patch_stride", json!(config.patch_stride)),
        ("head_norm", json!(config.head_input == HeadInput::Normed)),
        ("head_unit", json!(config.head_input == HeadInput::Unit)),
        ("dist_token_unread", json!(distilled(DistillationHead::Unread))),
        ("dist_token_pooled", json!(distilled(DistillationHead::Pooled))),
        ("attn_pool_query_proj", of_pool(|pool| pool.query_projection)),
        ("attn_pool_mlp", of_pool(|pool| pool.mlp_hidden.is_some())),
        ("pos_resampling", resampling),
        ("pos_grid", json!(grid)),
        ("experts", json!(experts.map(|experts| experts.experts))),
        ("experts_per_token", json!(experts.map(|experts| experts.chosen))),
        ("expert_blocks", json!(experts.map(|experts| experts.placement.to_string()))),
    ];
    arguments.extend(words.map(|(name, value)| (name.to_owned(), value)));
}
