//! transformers' `config.json` of ViT and DeiT.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::ConfigError;
use super::fields::{Fields, MAX_SIZE, missing, size, wrong};

/// The model types of transformers that share this configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HfModelType {
    /// `vit`: a class token.
    Vit,
    /// `deit`: a class token and a distillation token.
    Deit,
}

/// A ViT by its numbers. Fields that the file leaves out have transformers' defaults (ViT-B/16 at 224).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HfVitConfig {
    /// `model_type`.
    pub model_type: HfModelType,
    /// Channels of a token; a multiple of `num_attention_heads`.
    pub hidden_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Heads of each attention.
    pub num_attention_heads: usize,
    /// Channels inside the MLP.
    pub intermediate_size: usize,
    /// Height, width.
    pub image_size: [usize; 2],
    /// Height, width; at most the image's.
    pub patch_size: [usize; 2],
    /// Of the image.
    pub num_channels: usize,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Of every layer norm; above 0 and below 1.
    pub layer_norm_eps: f64,
    /// `gelu` (exact), `gelu_new`, ….
    pub hidden_act: String,
    /// Names of the classes by index; empty where not given.
    pub id2label: BTreeMap<usize, String>,
    /// Class names in transformers: `ViTForImageClassification`.
    pub architectures: Vec<String>,
    /// The whole file.
    pub raw: Value,
}

impl HfVitConfig {
    pub(super) fn from_json(raw: &Value, model_type: HfModelType) -> Result<Self, ConfigError> {
        const MAX_WIDTH: usize = 1 << 16;
        const MAX_DEPTH: usize = 1024;
        let fields = Fields(raw.as_object().ok_or_else(|| missing("model_type"))?);
        let number = |field, default, most| Ok(fields.size(field, 1, most)?.unwrap_or(default));
        let config = Self {
            model_type,
            hidden_size: number("hidden_size", 768, MAX_WIDTH)?,
            num_hidden_layers: number("num_hidden_layers", 12, MAX_DEPTH)?,
            num_attention_heads: number("num_attention_heads", 12, MAX_DEPTH)?,
            intermediate_size: number("intermediate_size", 3072, MAX_SIZE)?,
            image_size: sides(&fields, "image_size", 224)?,
            patch_size: sides(&fields, "patch_size", 16)?,
            num_channels: number("num_channels", 3, MAX_DEPTH)?,
            qkv_bias: match fields.get("qkv_bias") {
                None => true,
                Some(value) => value.as_bool().ok_or_else(|| wrong("qkv_bias", "true or false", value))?,
            },
            layer_norm_eps: fields
                .number("layer_norm_eps", "above 0 and below 1", |eps| eps > 0.0 && eps < 1.0)?
                .unwrap_or(1e-12),
            hidden_act: fields.text("hidden_act")?.unwrap_or_else(|| "gelu".to_owned()),
            id2label: fields.object("id2label")?.map(labels).transpose()?.unwrap_or_default(),
            architectures: fields.texts("architectures")?.unwrap_or_default(),
            raw: raw.clone(),
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let Self { hidden_size, num_attention_heads, image_size, patch_size, .. } = self;
        let refuse = |field, reason| Err(ConfigError::Field { field, reason });
        if !hidden_size.is_multiple_of(*num_attention_heads) {
            return refuse(
                "hidden_size",
                format!("is {hidden_size}, which {num_attention_heads} heads do not divide"),
            );
        }
        if patch_size[0] > image_size[0] || patch_size[1] > image_size[1] {
            return refuse(
                "patch_size",
                format!("is {patch_size:?}, larger than the image of {image_size:?}"),
            );
        }
        Ok(())
    }
}

/// One number for both sides, or height and width.
fn sides(fields: &Fields<'_>, field: &'static str, default: usize) -> Result<[usize; 2], ConfigError> {
    const MAX_SIDE: usize = 1 << 16;
    let side = |value: &Value| size(field, value, 1, MAX_SIDE);
    match fields.get(field) {
        None => Ok([default; 2]),
        Some(Value::Array(_)) => Ok(fields.array(field, side)?.unwrap_or([default; 2])),
        Some(value) => Ok([side(value)?; 2]),
    }
}

fn labels(labels: &Map<String, Value>) -> Result<BTreeMap<usize, String>, ConfigError> {
    let label = |(index, label): (&String, &Value)| {
        let index = index.parse().ok().filter(|index| *index < MAX_SIZE);
        match (index, label.as_str()) {
            (Some(index), Some(label)) => Ok((index, label.to_owned())),
            _ => Err(wrong("id2label", "an object from class numbers to names", label)),
        }
    };
    labels.iter().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::super::ModelConfig;
    use super::*;

    fn vit(text: &str) -> Result<HfVitConfig, String> {
        match ModelConfig::parse(text) {
            Ok(ModelConfig::HuggingFace(config)) => Ok(config),
            Ok(other) => panic!("read as {other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn numbers_and_defaults_are_read() {
        let config = vit(
            r#"{"model_type": "deit", "architectures": ["DeiTForImageClassification"], "hidden_size": 192,
                "num_attention_heads": 3, "image_size": [224, 192], "patch_size": 16, "layer_norm_eps": 1e-12,
                "id2label": {"0": "tench", "1": "goldfish"}, "qkv_bias": false}"#,
        )
        .unwrap();
        assert_eq!(config.model_type, HfModelType::Deit);
        assert_eq!((config.hidden_size, config.num_hidden_layers, config.intermediate_size), (192, 12, 3072));
        assert_eq!((config.image_size, config.patch_size, config.qkv_bias), ([224, 192], [16, 16], false));
        assert_eq!(config.id2label[&1], "goldfish");
        assert_eq!((config.hidden_act.as_str(), config.layer_norm_eps), ("gelu", 1e-12));
    }

    #[test]
    fn nonsense_is_refused_with_its_field() {
        for (fields, expected) in [
            (r#""hidden_size": 0"#, "`hidden_size` must be a whole number from 1"),
            (
                r#""hidden_size": 100, "num_attention_heads": 3"#,
                "`hidden_size` is 100, which 3 heads do not divide",
            ),
            (r#""hidden_size": 1e300"#, "`hidden_size`"),
            (r#""num_hidden_layers": 1000000"#, "`num_hidden_layers`"),
            (r#""patch_size": 512"#, "`patch_size` is [512, 512], larger than the image"),
            (r#""image_size": [1, 2, 3]"#, "`image_size` must be a list of 2"),
            (r#""layer_norm_eps": 0"#, "`layer_norm_eps`"),
            (r#""id2label": {"x": "y"}"#, "`id2label`"),
            (r#""qkv_bias": "yes""#, "`qkv_bias` must be true or false, not \"yes\""),
        ] {
            let message = vit(&format!(r#"{{"model_type": "vit", {fields}}}"#)).unwrap_err();
            assert!(message.contains(expected), "{fields}: {message}");
        }
    }

    #[test]
    fn other_forms_are_named() {
        assert!(vit(r#"{"model_type": "bert\u001b"}"#).unwrap_err().contains(r"`model_type bert\u{1b}`"));
        assert!(vit("[]").is_err() && vit("{}").is_err() && vit("{").is_err());
        assert!(vit(&"[".repeat(100_000)).is_err(), "nesting is limited");
    }
}
