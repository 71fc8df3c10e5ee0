//! Values of a key of a recipe: `schedule.lr=[1e-3,3e-4]`.

use crate::recipe::overrides::read;
use std::str::FromStr;
use tokmerge_checkpoint::shortened;
use tokmerge_merge::split_list;
use toml::{Table, Value};

/// A key of a recipe and the values that it takes in turn.
#[derive(Clone, Debug, PartialEq)]
pub struct GridAxis {
    key: String,
    /// As a change of a recipe has them.
    values: Vec<String>,
}

/// A text that is no axis.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "'{}' is no axis of a grid: {reason}; write KEY=[VALUE,VALUE], e.g. schedule.lr=[1e-3,3e-4]",
    shortened(text)
)]
pub struct GridError {
    text: String,
    reason: String,
}

impl GridAxis {
    /// The key, with dots between section and name.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The values in their order, each once.
    #[must_use]
    pub fn values(&self) -> &[String] {
        &self.values
    }
}

impl FromStr for GridAxis {
    type Err = GridError;

    fn from_str(text: &str) -> Result<Self, GridError> {
        let wrong = |reason: &str| GridError { text: text.to_owned(), reason: reason.to_owned() };
        let (key, list) = text.split_once('=').ok_or_else(|| wrong("it has no ="))?;
        let (key, list) = (key.trim(), list.trim());
        if key.is_empty() || key.split('.').any(str::is_empty) {
            return Err(wrong("it has no key in front"));
        }
        let inside = list.strip_prefix('[').and_then(|list| list.strip_suffix(']'));
        let inside = inside.ok_or_else(|| wrong("its values stand in no brackets"))?;
        let values = values(list, inside);
        if values.iter().any(String::is_empty) {
            return Err(wrong("a value is missing"));
        }
        if let Some((_, twice)) = values.iter().enumerate().find(|(at, value)| values[..*at].contains(value))
        {
            return Err(wrong(&format!("{} is in it twice", shortened(twice))));
        }
        Ok(Self { key: key.to_owned(), values })
    }
}

/// The values of a list: as TOML has it, or without quotes, in which case commas inside specs of methods belong to these.
fn values(list: &str, inside: &str) -> Vec<String> {
    let parsed = toml::from_str::<Table>(&format!("list = {list}"));
    match parsed.ok().and_then(|mut table| table.remove("list")) {
        Some(Value::Array(values)) if !values.is_empty() => values.iter().map(written).collect(),
        _ => split_list(inside).iter().map(|value| value.trim().to_owned()).collect(),
    }
}

/// A value as a change of a recipe has it: texts without quotes where they are texts without them.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) if read(text).as_ref() == Some(value) && text.trim() == text => text.clone(),
        value => value.to_string(),
    }
}
