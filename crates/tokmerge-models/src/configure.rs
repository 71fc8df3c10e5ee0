//! From a `config.json` to the shape of a model and its preprocessing.

use crate::embedded;
use crate::experts::{ExpertsConfig, Placement};
use crate::families::vit::{ClassToken, NormPlace, Pool, VitConfig};
use crate::registry::{Architecture, UnknownModel, architecture};
use serde_json::{Value, json};
use tokmerge_checkpoint::{HfModelType, HfVitConfig, ModelConfig, TimmConfig};
use tokmerge_data::{ConfigError as PreprocessConfigError, HALF_MEAN, HALF_STD, Interpolation, Preprocess};
use tokmerge_ops::Activation;

/// A `config.json` that describes no model known here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigureError {
    /// An architecture that is not in the registry.
    #[error(transparent)]
    Unknown(#[from] UnknownModel),
    /// An argument that is not understood: guessing would give wrong predictions.
    #[error("config.json: {field} is {value}, and {allowed} is understood")]
    Field {
        /// The field.
        field: String,
        /// Its value.
        value: String,
        /// What would be understood.
        allowed: &'static str,
    },
    /// Preprocessing that is not understood.
    #[error(transparent)]
    Preprocess(#[from] PreprocessConfigError),
    /// A combination that makes no model.
    #[error("config.json: {0}")]
    Shape(String),
}

/// The model of a timm `config.json`.
pub(crate) fn timm(config: &TimmConfig) -> Result<Architecture, ConfigureError> {
    let name = match (&config.pretrained_cfg.tag, config.architecture.contains('.')) {
        (Some(tag), false) if !tag.is_empty() => format!("{}.{tag}", config.architecture),
        _ => config.architecture.clone(),
    };
    let mut found = architecture(&name)?;
    let vit = &mut found.config;
    let hidden_ratio = vit.mlp_dim as f64 / vit.embed_dim as f64;
    for (field, value) in &config.model_args {
        apply_argument(vit, field, value)?;
    }
    // What follows from other arguments, whatever the order in which they were written.
    let ratio = config.model_args.get("mlp_ratio").and_then(Value::as_f64).unwrap_or(hidden_ratio);
    vit.mlp_dim = (vit.embed_dim as f64 * ratio) as usize;
    if let Some(num_classes) = config.num_classes {
        vit.num_classes = num_classes;
    }
    let pool = vit.pool;
    if let (Some(name), None) = (&config.global_pool, config.model_args.get("global_pool")) {
        vit.pool = read_pool(&Value::String(name.clone()))?;
    }
    let pool_given = config.model_args.contains_key("global_pool") || vit.pool != pool;
    match config.model_args.get("fc_norm").and_then(Value::as_bool) {
        Some(true) => vit.norm_place = NormPlace::AfterPool,
        Some(false) => vit.norm_place = NormPlace::BeforePool,
        None if pool_given && vit.pool == Pool::Average => vit.norm_place = NormPlace::AfterPool,
        None if pool_given => vit.norm_place = NormPlace::BeforePool,
        None => {}
    }
    found.preprocess = Preprocess::from_timm_config(&config.raw)?;
    let size = found.preprocess.input_size;
    if size != vit.img_size && !config.model_args.contains_key("img_size") {
        vit.img_size = size;
    }
    check(&found.config)?;
    Ok(found)
}

/// The `config.json` that describes a model in timm's form, so that a folder with it and the weights can be opened
/// as `local-dir:`.
///
/// # Errors
/// When the shape makes no model, or timm's arguments cannot say it.
pub fn timm_config(architecture: &Architecture, class_names: &[String]) -> Result<Value, ConfigureError> {
    let Architecture { name, tag, config: vit, preprocess } = architecture;
    // timm knows no model of that name, but one that these arguments change into it.
    let name = if name == embedded::EMBEDDED { embedded::BASE } else { name };
    check(vit)?;
    let (height, width) = vit.img_size;
    let mut arguments = json!({
        "img_size": [height, width],
        "patch_size": vit.patch_size,
        "in_chans": vit.in_chans,
        "embed_dim": vit.embed_dim,
        "depth": vit.depth,
        "num_heads": vit.num_heads,
        "mlp_ratio": mlp_ratio(vit),
        "qkv_bias": vit.qkv_bias,
        "qk_norm": vit.qk_norm,
        "reg_tokens": vit.reg_tokens,
        "no_embed_class": vit.no_embed_class,
        "pre_norm": vit.pre_norm,
        "global_pool": match vit.pool {
            Pool::Token => "token",
            Pool::Average => "avg",
        },
        "fc_norm": vit.norm_place == NormPlace::AfterPool,
        "act_layer": match vit.activation {
            Activation::GeluTanh => "gelu_tanh",
            Activation::QuickGelu => "quick_gelu",
            Activation::Relu => "relu",
            Activation::Silu => "silu",
            _ => "gelu",
        },
    });
    if vit.class_token != ClassToken::Distilled {
        arguments["class_token"] = json!(vit.class_token == ClassToken::Single);
    }
    if let Some(initial) = vit.layer_scale {
        arguments["init_values"] = json!(initial);
    }
    if vit.pre_logits {
        arguments["pre_logits"] = json!(true);
    }
    // Arguments of our own: timm has no such models.
    if let Some(ExpertsConfig { experts, chosen, placement }) = vit.experts {
        arguments["experts"] = json!(experts);
        arguments["experts_per_token"] = json!(chosen);
        arguments["expert_blocks"] = json!(placement.to_string());
    }
    let mut written = json!({
        "architecture": name,
        "num_classes": vit.num_classes,
        "num_features": vit.embed_dim,
        "global_pool": arguments["global_pool"],
        "model_args": arguments,
        "pretrained_cfg": {
            "tag": tag,
            "input_size": [3, height, width],
            "mean": preprocess.mean.map(decimal),
            "std": preprocess.std.map(decimal),
            "interpolation": preprocess.interpolation.name(),
            "crop_pct": preprocess.crop_pct,
            "crop_mode": preprocess.crop_mode.name(),
        },
    });
    if !class_names.is_empty() {
        written["label_names"] = json!(class_names);
    }
    let read = ModelConfig::parse(&written.to_string());
    let read = read.map_err(|error| ConfigureError::Shape(error.to_string()))?;
    match read {
        ModelConfig::Timm(read) if timm(&read)?.config == *vit => Ok(written),
        _ => Err(ConfigureError::Shape(format!(
            "a model such as {name} with these changes cannot be written in timm's form: {vit:?}"
        ))),
    }
}

/// The shortest decimal that reads back as this value.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// The ratio that gives `mlp_dim` back when it is multiplied and cut off.
fn mlp_ratio(vit: &VitConfig) -> f64 {
    let (channels, hidden) = (vit.embed_dim as f64, vit.mlp_dim as f64);
    let ratio = hidden / channels;
    if (channels * ratio) as usize == vit.mlp_dim { ratio } else { (hidden + 0.5) / channels }
}

fn apply_argument(vit: &mut VitConfig, field: &str, value: &Value) -> Result<(), ConfigureError> {
    let wrong =
        |allowed| ConfigureError::Field { field: field.to_owned(), value: value.to_string(), allowed };
    let number = || -> Result<usize, ConfigureError> {
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.filter(|number| *number <= 1 << 20).ok_or_else(|| wrong("a whole number"))
    };
    let flag = || value.as_bool().ok_or_else(|| wrong("true or false"));
    match field {
        "img_size" => {
            vit.img_size = match value.as_array().map(Vec::as_slice) {
                Some([height, width]) => {
                    let side = |side: &Value| side.as_u64().map(|side| side as usize);
                    side(height).zip(side(width)).ok_or_else(|| wrong("[height, width]"))?
                }
                _ => (number()?, number()?),
            }
        }
        "patch_size" => vit.patch_size = number()?,
        "in_chans" => vit.in_chans = number()?,
        "num_classes" => vit.num_classes = number()?,
        "embed_dim" => vit.embed_dim = number()?,
        "depth" => vit.depth = number()?,
        "num_heads" => vit.num_heads = number()?,
        "reg_tokens" => vit.reg_tokens = number()?,
        "mlp_ratio" => {
            value.as_f64().filter(|ratio| *ratio > 0.0 && *ratio < 64.0).ok_or_else(|| wrong("a number"))?;
        }
        "qkv_bias" => vit.qkv_bias = flag()?,
        "qk_norm" => vit.qk_norm = flag()?,
        "pre_norm" => vit.pre_norm = flag()?,
        "no_embed_class" => vit.no_embed_class = flag()?,
        "pre_logits" => vit.pre_logits = flag()?,
        "experts" => experts(vit).experts = number()?,
        "experts_per_token" => experts(vit).chosen = number()?,
        "expert_blocks" => {
            let placement: Option<Placement> = value.as_str().and_then(|text| text.parse().ok());
            experts(vit).placement =
                placement.ok_or_else(|| wrong("last and a number, or every and a number, such as last2"))?;
        }
        "class_token" => vit.class_token = if flag()? { ClassToken::Single } else { ClassToken::Absent },
        "fc_norm" if value.is_null() => {}
        "fc_norm" => {
            flag()?;
        }
        "init_values" => vit.layer_scale = value.as_f64(),
        "global_pool" => vit.pool = read_pool(value)?,
        "act_layer" => {
            vit.activation = match value.as_str() {
                Some("gelu") => Activation::Gelu,
                Some("gelu_tanh") => Activation::GeluTanh,
                Some("quick_gelu") => Activation::QuickGelu,
                Some("relu") => Activation::Relu,
                Some("silu" | "swish") => Activation::Silu,
                _ => return Err(wrong("gelu, gelu_tanh, quick_gelu, relu or silu")),
            }
        }
        // Of training only.
        "drop_rate" | "drop_path_rate" | "attn_drop_rate" | "proj_drop_rate" | "dynamic_img_size"
        | "weight_init" => {}
        _ => return Err(wrong("an argument of timm's plain VisionTransformer")),
    }
    Ok(())
}

/// The experts of a model that an argument speaks of, the paper's where it has had none until now.
fn experts(vit: &mut VitConfig) -> &mut ExpertsConfig {
    vit.experts.get_or_insert(ExpertsConfig::new(Placement::Last(2)))
}

fn read_pool(value: &Value) -> Result<Pool, ConfigureError> {
    match value.as_str() {
        Some("token") => Ok(Pool::Token),
        Some("avg") => Ok(Pool::Average),
        _ => Err(ConfigureError::Field {
            field: "global_pool".to_owned(),
            value: value.to_string(),
            allowed: "token or avg",
        }),
    }
}

/// The model of a Hugging Face `config.json`, with its `preprocessor_config.json` where there is one.
pub(crate) fn hugging_face(
    config: &HfVitConfig,
    preprocessor: Option<&Value>,
) -> Result<Architecture, ConfigureError> {
    let [patch, patch_width] = config.patch_size;
    if patch != patch_width {
        return Err(ConfigureError::Shape(format!(
            "patch_size is {patch}x{patch_width}, and only square patches are understood"
        )));
    }
    let distilled = config.model_type == HfModelType::Deit;
    let two_heads = config.architectures.iter().any(|name| name.ends_with("WithTeacher"));
    if distilled && !two_heads {
        return Err(ConfigureError::Shape(
            "a DeiT without its teacher's head cannot be told from the distilled one; use DeiTForImageClassificationWithTeacher or timm's weights".to_owned(),
        ));
    }
    let vit = VitConfig {
        img_size: (config.image_size[0], config.image_size[1]),
        in_chans: config.num_channels,
        num_classes: if config.id2label.is_empty() { 1000 } else { config.id2label.len() },
        mlp_dim: config.intermediate_size,
        qkv_bias: config.qkv_bias,
        class_token: if distilled { ClassToken::Distilled } else { ClassToken::Single },
        norm_eps: config.layer_norm_eps,
        activation: match config.hidden_act.as_str() {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "quick_gelu" => Activation::QuickGelu,
            "relu" => Activation::Relu,
            "silu" | "swish" => Activation::Silu,
            other => {
                return Err(ConfigureError::Field {
                    field: "hidden_act".to_owned(),
                    value: other.to_owned(),
                    allowed: "gelu, gelu_new, gelu_pytorch_tanh, quick_gelu, relu or silu",
                });
            }
        },
        ..VitConfig::new(patch, config.hidden_size, config.num_hidden_layers, config.num_attention_heads)
    };
    check(&vit)?;
    let squash = Preprocess {
        input_size: vit.img_size,
        crop_pct: 1.0,
        crop_mode: tokmerge_data::CropMode::Squash,
        interpolation: Interpolation::Bilinear,
        mean: HALF_MEAN,
        std: HALF_STD,
    };
    let preprocess = match preprocessor {
        Some(value) => Preprocess::from_hf_preprocessor(value)?,
        None => squash,
    };
    let name = if distilled { "deit" } else { "vit" };
    Ok(Architecture { name: name.to_owned(), tag: String::new(), config: vit, preprocess })
}

/// Refuses shapes that would fail inside the model.
fn check(vit: &VitConfig) -> Result<(), ConfigureError> {
    let shape = |reason: String| Err(ConfigureError::Shape(reason));
    let VitConfig { embed_dim, num_heads, patch_size, img_size: (height, width), .. } = *vit;
    if [embed_dim, num_heads, patch_size, height, width, vit.in_chans, vit.mlp_dim, vit.depth].contains(&0) {
        return shape("a size of the model is 0, and all must be at least 1".to_owned());
    }
    if embed_dim % num_heads != 0 {
        return shape(format!("{embed_dim} channels cannot be divided among {num_heads} heads"));
    }
    if height % patch_size != 0 || width % patch_size != 0 {
        return shape(format!("an image of {height}x{width} cannot be cut into patches of {patch_size}"));
    }
    if let Some(misfit) = vit.experts.and_then(|experts| experts.misfit(vit.depth)) {
        return shape(misfit);
    }
    if vit.class_token == ClassToken::Absent && vit.pool == Pool::Token {
        return shape("global_pool is token, but there is no class token; use global_pool avg".to_owned());
    }
    Ok(())
}
