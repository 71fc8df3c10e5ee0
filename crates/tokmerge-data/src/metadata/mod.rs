//! Preprocessing from the metadata that comes with a checkpoint.
//!
//! Three forms: timm's `config.json`, Hugging Face's `preprocessor_config.json` (or `processor_config.json`, in which
//! it lies) and `open_clip_config.json`. A key that is absent has the default of the library that wrote the file; a
//! value that is unknown is an error, never ignored.

mod hugging_face;
mod open_clip;
mod sound;
mod timm;

use serde_json::Value;

use crate::{Interpolation, PreprocessError};

/// Why metadata gives no preprocessing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A needed key is absent.
    #[error(
        "{key} is missing in the {file}, and it must be {allowed}; add it, or give the preprocessing yourself"
    )]
    Missing {
        /// The key.
        key: &'static str,
        /// Which kind of file.
        file: &'static str,
        /// What may stand there.
        allowed: &'static str,
    },
    /// A value is of the wrong kind, out of range or unknown.
    #[error("{key} is {found} in the {file}, and it must be {allowed}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        found: String,
        /// Which kind of file.
        file: &'static str,
        /// What may stand there.
        allowed: &'static str,
    },
    /// The values are of the right kind but make no sense.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
}

/// The beginning of a value, fit for one line of a terminal: control characters are escaped.
fn beginning(value: &str) -> String {
    crate::shown::beginning(value, 80)
}

/// An object and what to call it.
struct Keys<'a> {
    object: &'a Value,
    file: &'static str,
}

impl<'a> Keys<'a> {
    /// The value of `key`; `null` counts as absent.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|v| !v.is_null())
    }

    fn wrong(&self, key: &'static str, value: &Value, allowed: &'static str) -> ConfigError {
        let found = beginning(&value.to_string());
        ConfigError::Value { key, found, file: self.file, allowed }
    }

    /// The value of `key` as `parse` reads it, `None` where it is absent.
    fn read<T>(
        &self,
        key: &'static str,
        allowed: &'static str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        self.get(key).map(|v| parse(v).ok_or_else(|| self.wrong(key, v, allowed))).transpose()
    }

    fn require<T>(
        &self,
        key: &'static str,
        allowed: &'static str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let missing = ConfigError::Missing { key, file: self.file, allowed };
        self.read(key, allowed, parse)?.ok_or(missing)
    }

    fn flag(&self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        self.read(key, "true or false", Value::as_bool)
    }

    /// A number per channel; a single one counts for all.
    fn per_channel(&self, key: &'static str) -> Result<Option<[f32; 3]>, ConfigError> {
        self.read(key, "a number, or a list of one or three numbers", per_channel)
    }

    fn interpolation(&self, key: &'static str) -> Result<Option<Interpolation>, ConfigError> {
        let kinds = "\"nearest\", \"box\", \"bilinear\", \"hamming\", \"bicubic\" or \"lanczos\"";
        self.read(key, kinds, |v| Interpolation::from_name(v.as_str()?))
    }
}

fn per_channel(value: &Value) -> Option<[f32; 3]> {
    let number = |v: &Value| v.as_f64().map(|number| number as f32);
    match value.as_array().map(Vec::as_slice) {
        None => Some([number(value)?; 3]),
        Some([all]) => Some([number(all)?; 3]),
        Some([red, green, blue]) => Some([number(red)?, number(green)?, number(blue)?]),
        Some(_) => None,
    }
}

fn side(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}
