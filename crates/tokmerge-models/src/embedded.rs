//! The model that comes with the program: a small ViT trained on the pictures of `tokmerge-scenes` as
//! `recipes/demo.toml` says, so that merging can be seen without a network.

use crate::config_json::{self, ConfigureError};
use crate::open::ModelError;
use crate::registry::Architecture;
use std::path::PathBuf;
use tokmerge_checkpoint::{Checkpoint, CheckpointError, ModelConfig};

/// Its name among models.
pub const EMBEDDED: &str = "demo";

static WEIGHTS: &[u8] = include_bytes!("../embedded/model.safetensors");
const CONFIG: &str = include_str!("../embedded/config.json");

/// Shape, preprocessing and names of the classes.
pub(crate) fn describe() -> Result<(Architecture, Vec<String>), ModelError> {
    let wrong = |source| ModelError::Configure { path: PathBuf::from(EMBEDDED), source };
    let (found, class_names) = match ModelConfig::parse(CONFIG)? {
        ModelConfig::Timm(config) => (config_json::timm(&config).map_err(wrong)?, config.label_names),
        other => {
            return Err(wrong(ConfigureError::Shape(format!("{other:?} is not timm's form"))));
        }
    };
    Ok((Architecture { name: EMBEDDED.to_owned(), tag: String::new(), ..found }, class_names))
}

pub(crate) fn weights() -> Result<Checkpoint, CheckpointError> {
    Checkpoint::embedded(EMBEDDED, WEIGHTS)
}
