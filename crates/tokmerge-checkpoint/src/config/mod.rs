//! `config.json`, in timm's and in Hugging Face's form, and `open_clip_config.json`. Data only: nothing in it names
//! code or further files.

mod fields;
mod hugging_face;
mod open_clip;
mod timm;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bytes::read_text;
use crate::error::quoted;
pub use fields::Fields;
pub use hugging_face::HfConfig;
pub use open_clip::OpenClipConfig;
pub use timm::{PretrainedConfig, TimmConfig};

/// A thousand labels take 50 kB; ImageNet-21k's fit as well.
const MAX_CONFIG: u64 = 16 << 20;
/// ImageNet-21k has twice as many names as classes, by index and back.
const MAX_VALUES: usize = 1 << 19;

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
    /// transformers' form: a kind of model and its numbers.
    HuggingFace(HfConfig),
    /// open_clip's form: the towers of a CLIP model.
    OpenClip(OpenClipConfig),
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
    #[error("the configuration's field {} {reason}", quoted(field))]
    Field {
        /// Which one, after the objects it lies in: `vision_config.hidden_size`.
        field: String,
        /// The rule and the value.
        reason: String,
    },
    /// It holds more values than any configuration.
    #[error("the configuration holds more than {0} values, far more than that of any model; write it again")]
    TooManyValues(usize),
    /// No form that is read here.
    #[error(
        "the configuration is {}; read are timm's form (`architecture`), transformers' (`model_type`) and \
         open_clip's (`model_cfg`)", quoted(.0)
    )]
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

    /// Parses the text of a `config.json` or an `open_clip_config.json`; the form is found from the content. Which
    /// model types there are is not known here.
    ///
    /// # Errors
    /// When it is not JSON, of an unknown form, or a field that all of a form have is missing or nonsense.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        // In memory a value takes up to a hundred times as many bytes as in a file.
        if text.bytes().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() > MAX_VALUES {
            return Err(ConfigError::TooManyValues(MAX_VALUES));
        }
        let raw: Value = serde_json::from_str(text).map_err(ConfigError::Json)?;
        let fields = Fields::of(&raw)?;
        if fields.get("architecture").is_some() {
            TimmConfig::from_json(&raw).map(Self::Timm)
        } else if fields.get("model_type").is_some() {
            HfConfig::from_json(&raw).map(Self::HuggingFace)
        } else if fields.get("model_cfg").is_some() {
            OpenClipConfig::from_json(&raw).map(Self::OpenClip)
        } else {
            let found = "an object with neither `architecture`, `model_type` nor `model_cfg`";
            Err(ConfigError::Unsupported(found.to_owned()))
        }
    }

    /// The whole configuration as it was read, for fields that are not modelled here.
    #[must_use]
    pub fn raw(&self) -> &Value {
        match self {
            Self::Timm(config) => &config.raw,
            Self::HuggingFace(config) => &config.raw,
            Self::OpenClip(config) => &config.raw,
        }
    }
}
