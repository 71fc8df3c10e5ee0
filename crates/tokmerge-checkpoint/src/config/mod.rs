//! `config.json`, in timm's and in Hugging Face's form. Data only: nothing in it names code or further files.

mod fields;
mod hugging_face;
mod timm;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bytes::read_text;
use crate::error::quoted;
pub use hugging_face::{HfModelType, HfVitConfig};
pub use timm::{PretrainedConfig, TimmConfig};

/// A thousand labels take 50 kB; ImageNet-21k's fit as well.
const MAX_CONFIG: u64 = 16 << 20;

/// A model's configuration, checked for nonsense.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "one per model and seldom moved; a box would be in every reader's way"
)]
pub enum ModelConfig {
    /// timm's form: an architecture by name.
    Timm(TimmConfig),
    /// transformers' form of a ViT or DeiT: an architecture by its numbers.
    HuggingFace(HfVitConfig),
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// It is not JSON.
    #[error("the configuration is not valid JSON: {0}")]
    Json(serde_json::Error),
    /// A field is missing, of another type, or nonsense.
    #[error("the configuration's field `{field}` {reason}")]
    Field {
        /// Which one.
        field: &'static str,
        /// The rule and the value.
        reason: String,
    },
    /// Neither timm's form nor a supported one of transformers.
    #[error("the configuration describes {}; read are timm's form (`architecture`) and the model types vit and deit", quoted(.0))]
    Unsupported(String),
    /// Another error, with the file it belongs to.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: Box<ConfigError>,
    },
}

impl ModelConfig {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// When it cannot be read, is larger than 16 MiB, or [`ModelConfig::parse`] refuses it.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = read_text(path, MAX_CONFIG)
            .map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
        Self::parse(&text)
            .map_err(|error| ConfigError::File { path: path.to_owned(), error: Box::new(error) })
    }

    /// Parses the text of a `config.json`.
    ///
    /// # Errors
    /// When it is not JSON, of an unknown form, or a field is missing or nonsense (zero or absurd sizes, a hidden
    /// size that the heads do not divide).
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let raw: Value = serde_json::from_str(text).map_err(ConfigError::Json)?;
        let Value::Object(fields) = &raw else {
            return Err(ConfigError::Unsupported("no JSON object".to_owned()));
        };
        if fields.contains_key("architecture") {
            return TimmConfig::from_json(&raw).map(Self::Timm);
        }
        match fields.get("model_type").and_then(Value::as_str) {
            Some("vit") => HfVitConfig::from_json(&raw, HfModelType::Vit).map(Self::HuggingFace),
            Some("deit") => HfVitConfig::from_json(&raw, HfModelType::Deit).map(Self::HuggingFace),
            Some(other) => Err(ConfigError::Unsupported(format!("model_type {other}"))),
            None => Err(ConfigError::Unsupported("neither `architecture` nor `model_type`".to_owned())),
        }
    }

    /// The whole configuration as it was read, for fields that are not modelled here.
    #[must_use]
    pub fn raw(&self) -> &Value {
        match self {
            Self::Timm(config) => &config.raw,
            Self::HuggingFace(config) => &config.raw,
        }
    }
}
