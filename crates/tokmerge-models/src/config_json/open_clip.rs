//! `open_clip_config.json`: the image tower of a CLIP model that open_clip built itself, or the name of one of timm's.

use super::description::{DescribeError, Understood};
use super::hugging_face::Reader;
use crate::blocks::{BlockConfig, NormConfig, NormKind};
use crate::families::vit::{NormPlace, Pool, VitConfig};
use crate::positions::PositionConfig;
use serde_json::{Value, json};
use tokmerge_checkpoint::{ConfigError, Fields, OpenClipConfig, quoted};
use tokmerge_data::Preprocess;
use tokmerge_nn::Bias;
use tokmerge_ops::Activation;

/// Fields of a tower that change no output, or belong to towers of timm.
const HARMLESS: &[&str] =
    &["patch_dropout", "output_tokens", "attn_pooler_queries", "attn_pooler_heads", "timm_model_pretrained"];

/// Fields of which one value alone is understood.
fn fixed() -> [(&'static str, Value); 7] {
    [
        ("attentional_pool", json!(false)),
        ("qk_norm", json!(false)),
        ("scaled_cosine_attn", json!(false)),
        ("scale_heads", json!(false)),
        ("scale_attn_inner", json!(false)),
        ("scale_attn", json!(false)),
        ("scale_fc", json!(false)),
    ]
}

/// A tower of timm's inside a model of open_clip.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TimmTower {
    /// timm's name of the model.
    pub architecture: String,
    /// Height and width of the input.
    pub img_size: (usize, usize),
    /// timm's `global_pool`; `None` for the model's own.
    pub global_pool: Option<String>,
    /// Outputs of the projection after it, which may be timm's own head; `None` if there is none.
    pub projection: Option<(usize, Bias)>,
    /// When the pool is chosen.
    pub pooled: Pooled,
    /// How images are prepared.
    pub preprocess: Preprocess,
}

/// When the pool of a tower of timm's is chosen, which decides where its norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooled {
    /// As the tower is built: its norms stand as for this pool.
    AtFirst,
    /// In place of the tower's own: its norms stay where they are.
    Afterwards,
}

/// What an `open_clip_config.json` describes.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one per model and seldom moved")]
pub(crate) enum Tower {
    /// A tower of open_clip's own.
    Own(Understood),
    /// One of timm's, to be looked up by its name there.
    Timm(TimmTower),
}

/// The image tower that an `open_clip_config.json` describes.
///
/// # Errors
/// When the tower is none that is understood here, or a field that changes it has a value that is nonsense or not
/// understood.
pub(crate) fn describe(config: &OpenClipConfig) -> Result<Tower, DescribeError> {
    let vision = Reader::new(config.vision()?);
    if let Some(name) = &config.hf_model_name {
        return Err(tower(name, "transformers", "open its folder of transformers"));
    }
    match &config.timm_model_name {
        Some(name) => Ok(Tower::Timm(timm_tower(name, config, &vision)?)),
        None => own_tower(config, &vision).map(Tower::Own),
    }
}

fn tower(name: &str, library: &'static str, way_out: &'static str) -> DescribeError {
    DescribeError::Tower { tower: quoted(name), library, way_out }
}

fn timm_tower(name: &str, config: &OpenClipConfig, vision: &Reader<'_>) -> Result<TimmTower, DescribeError> {
    let pool = vision.field("timm_pool").text("timm_pool", "avg")?;
    // A `null` is no projection, not the default: timm's head takes its place.
    let written = config.raw.pointer("/model_cfg/vision_cfg/timm_proj");
    let default = if written.is_some_and(Value::is_null) { "" } else { "linear" };
    let projection = vision.field("timm_proj").text("timm_proj", default)?;
    let bias = vision.flag("timm_proj_bias", false)?;
    let (projection, pooled) = match projection {
        "linear" => (Some((config.embed_dim, Bias::when(bias))), Pooled::Afterwards),
        "none" => (None, Pooled::AtFirst),
        "" => (Some((config.embed_dim, Bias::Yes)), Pooled::AtFirst),
        _ => {
            let reason = "must be \"linear\", \"none\" or empty: other projections are not understood";
            return Err(vision.field("timm_proj").refuse("timm_proj", reason).into());
        }
    };
    Ok(TimmTower {
        architecture: name.to_owned(),
        img_size: vision.sides("image_size", 224)?,
        global_pool: (!pool.is_empty()).then(|| pool.to_owned()),
        projection,
        pooled,
        preprocess: Preprocess::from_open_clip_config(&config.raw)?,
    })
}

fn own_tower(config: &OpenClipConfig, vision: &Reader<'_>) -> Result<Understood, DescribeError> {
    if vision.field("layers").get("layers").is_some_and(Value::is_array) {
        return Err(tower("ModifiedResNet", "open_clip", "open a model with a Transformer as image tower"));
    }
    for (field, understood) in fixed() {
        if vision.field(field).get(field).is_some_and(|value| value != &json!({})) {
            vision.field(field).only(field, &understood)?;
        }
    }
    HARMLESS.iter().for_each(|field| {
        vision.field(field);
    });
    // Fixed sine positions lie in the file as learned ones do.
    let types = [("learnable", ()), ("sin_cos_2d", ())];
    vision.field("pos_embed_type").choice("pos_embed_type", (), &types)?;
    vision.field("block_type").only("block_type", &json!("default"))?;
    let block = block(config, vision)?;
    let img_size = vision.sides("image_size", 224)?;
    let patch_size = vision.sides("patch_size", 16)?;
    let norm_is_last = vision.flag("final_ln_after_pool", false)?;
    let pool = vision.field("pool_type").choice(
        "pool_type",
        Pool::Token,
        &[("tok", Pool::Token), ("avg", Pool::Average)],
    )?;
    let shape = VitConfig {
        img_size,
        patch_size,
        patch_bias: false,
        positions: PositionConfig::learned(1),
        pre_norm: !vision.flag("no_ln_pre", false)?,
        pool,
        norm_place: if norm_is_last { NormPlace::AfterPool } else { NormPlace::BeforePool },
        projection: Some(config.embed_dim),
        num_classes: 0,
        ..VitConfig::new(patch_size.0, block.channels, vision.depth("layers", 12)?, block.heads)
    };
    let shape = VitConfig { block, ..shape };
    let preprocess = Preprocess::from_open_clip_config(&config.raw)?;
    Ok(Understood { config: shape.into(), processor: preprocess.into(), unread: vision.unread() })
}

fn block(config: &OpenClipConfig, vision: &Reader<'_>) -> Result<BlockConfig, DescribeError> {
    let channels = vision.channels("width", 768)?;
    let head_width = vision.channels("head_width", 64)?;
    if !channels.is_multiple_of(head_width) {
        let reason = format!("is {head_width}, which does not divide a `width` of {channels}");
        return Err(vision.field("head_width").refuse("head_width", reason).into());
    }
    let mut block = BlockConfig::new(channels, channels / head_width);
    block.norm = NormConfig { kind: NormKind::Layer, eps: eps(vision)? };
    let ratio = vision.field("mlp_ratio").number("mlp_ratio", 4.0, 0.01..=64.0)?;
    block.mlp.hidden = (channels as f64 * ratio) as usize;
    block.mlp.activation = activation(config, vision)?;
    block.layer_scale = vision.field("ls_init_value").optional_number("ls_init_value", 0.0..=1e3)?;
    Ok(block)
}

/// GELU or its approximations.
fn activation(config: &OpenClipConfig, vision: &Reader<'_>) -> Result<Activation, ConfigError> {
    let arguments = vision.field("act_kwargs").object("act_kwargs")?;
    let mut activation = if config.quick_gelu { Activation::QuickGelu } else { Activation::Gelu };
    for (name, value) in arguments.iter().flat_map(Fields::iter) {
        match (name, value.as_str()) {
            ("approximate", Some("none")) if !config.quick_gelu => {}
            ("approximate", Some("tanh")) if !config.quick_gelu => activation = Activation::GeluTanh,
            _ => {
                let reason = "is not understood; `approximate` of \"none\" or \"tanh\" is, beside GELU";
                return Err(vision.field("act_kwargs").refuse("act_kwargs", reason));
            }
        }
    }
    Ok(activation)
}

/// The eps of all norms: 1e-5, unless `norm_kwargs` says otherwise.
fn eps(vision: &Reader<'_>) -> Result<f64, ConfigError> {
    const DEFAULT: f64 = 1e-5;
    let Some(arguments) = vision.field("norm_kwargs").object("norm_kwargs")? else { return Ok(DEFAULT) };
    match arguments.iter().find(|(name, _)| *name != "eps") {
        Some((name, _)) => Err(Fields::refuse(&arguments, name, "is not understood; `eps` is")),
        None => arguments.eps("eps", DEFAULT),
    }
}
