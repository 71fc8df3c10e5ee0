//! transformers' `config.json`: what all model types have in common.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ConfigError;
use super::fields::{Fields, MAX_SIZE};

/// A model of transformers by its numbers. Which fields there are, and what they stand for when absent, depends on
/// `model_type`; [`HfConfig::fields`] reads them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HfConfig {
    /// The kind of model: `vit`, `clip`, `dinov2`, `bert`.
    pub model_type: String,
    /// Class names in transformers: `ViTForImageClassification`.
    pub architectures: Vec<String>,
    /// Names of the classes by index; empty where not given.
    pub id2label: BTreeMap<usize, String>,
    /// Outputs of the head: `num_labels`, or as many as `id2label` names; `None` where the file says neither.
    pub num_labels: Option<usize>,
    /// The whole file.
    pub raw: Value,
}

impl HfConfig {
    pub(super) fn from_json(raw: &Value) -> Result<Self, ConfigError> {
        let fields = Fields::of(raw)?;
        let id2label = fields.labels("id2label")?;
        let num_labels = match id2label.len() {
            0 => fields.optional_size("num_labels", 0..=MAX_SIZE)?,
            given => Some(given),
        };
        let model_type = fields.optional_text("model_type")?.ok_or_else(|| fields.missing("model_type"))?;
        Ok(Self {
            model_type: model_type.to_owned(),
            architectures: fields.texts("architectures")?,
            id2label,
            num_labels,
            raw: raw.clone(),
        })
    }

    /// All fields of the file.
    ///
    /// # Errors
    /// When `raw` was replaced by something that is no object.
    pub fn fields(&self) -> Result<Fields<'_>, ConfigError> {
        Fields::of(&self.raw)
    }

    /// The fields of the image tower: those of `vision_config` where the file has one, else all.
    ///
    /// # Errors
    /// When `vision_config` is no object.
    pub fn vision(&self) -> Result<Fields<'_>, ConfigError> {
        let all = self.fields()?;
        Ok(all.object("vision_config")?.unwrap_or(all))
    }

    /// Whether `architectures` names a class that ends so: `ForImageClassification`, `WithProjection`.
    #[must_use]
    pub fn has_architecture(&self, ending: &str) -> bool {
        self.architectures.iter().any(|name| name.ends_with(ending))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ModelConfig;
    use super::*;

    fn read(text: &str) -> Result<HfConfig, String> {
        match ModelConfig::parse(text) {
            Ok(ModelConfig::HuggingFace(config)) => Ok(config),
            Ok(other) => panic!("read as {other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn every_model_type_is_read_and_its_fields_are_the_readers_business() {
        let config = read(
            r#"{"model_type": "deit", "architectures": ["DeiTForImageClassification"], "hidden_size": 192,
                "image_size": [224, 192], "layer_norm_eps": 1e-12, "id2label": {"0": "tench", "1": "goldfish"}}"#,
        )
        .unwrap();
        assert_eq!((config.model_type.as_str(), config.num_labels), ("deit", Some(2)));
        assert!(config.has_architecture("ForImageClassification") && !config.has_architecture("WithTeacher"));
        assert_eq!(config.id2label[&1], "goldfish");
        let fields = config.vision().unwrap();
        assert_eq!(fields.size("hidden_size", 768, 1 << 16).unwrap(), 192);
        assert_eq!(fields.size("num_hidden_layers", 12, 1024).unwrap(), 12);
        assert_eq!(fields.sides("image_size", [224, 224]).unwrap(), [224, 192]);
        assert_eq!(read(r#"{"model_type": "bert", "num_labels": 3}"#).unwrap().num_labels, Some(3));
    }

    #[test]
    fn the_image_tower_of_two_is_found() {
        let config = read(r#"{"model_type": "clip", "vision_config": {"patch_size": 0}}"#).unwrap();
        let message = config.vision().unwrap().sides("patch_size", [16, 16]).unwrap_err().to_string();
        assert!(message.contains("`vision_config.patch_size` must be a whole number from 1"), "{message}");
        assert!(read(r#"{"model_type": "clip", "vision_config": 3}"#).unwrap().vision().is_err());
    }

    #[test]
    fn nonsense_is_refused_with_its_field() {
        for (fields, expected) in [
            (r#""id2label": {"x": "y"}"#, "`id2label`"),
            (r#""id2label": {"99999999999": "y"}"#, "`id2label`"),
            (r#""num_labels": -1"#, "`num_labels`"),
            (r#""architectures": "ViT""#, "`architectures` must be a list of strings"),
        ] {
            let message = read(&format!(r#"{{"model_type": "vit", {fields}}}"#)).unwrap_err();
            assert!(message.contains(expected), "{fields}: {message}");
        }
        assert!(read(r#"{"model_type": 3}"#).unwrap_err().contains("`model_type` must be a string"));
    }

    #[test]
    fn other_forms_are_named() {
        let message = read(r#"{"weights": "x"}"#).unwrap_err();
        assert!(message.contains("neither `architecture`, `model_type` nor `model_cfg`"), "{message}");
        assert!(read("[]").is_err() && read("{}").is_err() && read("{").is_err());
        assert!(read(&"[".repeat(100_000)).is_err(), "nesting is limited");
        let many = format!(r#"{{"model_type": "vit", "x": [{}0]}}"#, "0,".repeat(1 << 20));
        assert!(read(&many).unwrap_err().contains("more than 524288 values"));
        let long = format!(
            r#"{{"model_type": "vit", "architectures": ["{}", 3, {}]}}"#,
            "x".repeat(1 << 20),
            "\u{7f}"
        );
        assert!(read(&long).unwrap_err().len() < 300);
    }
}
