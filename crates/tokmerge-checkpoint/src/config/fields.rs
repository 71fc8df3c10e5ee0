//! Typed reading of JSON fields, with limits. A `null` counts as absent, as Python's `None` does.

use serde_json::{Map, Value};

use super::ConfigError;

/// More than any class count, feature count or image side of the field by orders of magnitude, and small enough for
/// products of three to stay within 64 bits.
pub(super) const MAX_SIZE: usize = 1 << 20;

pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(super) fn get(&self, field: &str) -> Option<&'a Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// A whole number from `least` to `most`.
    pub(super) fn size(
        &self,
        field: &'static str,
        least: usize,
        most: usize,
    ) -> Result<Option<usize>, ConfigError> {
        self.get(field).map(|value| size(field, value, least, most)).transpose()
    }

    /// A finite number with `rule(number)` true; `rule_text` completes "must be".
    pub(super) fn number(
        &self,
        field: &'static str,
        rule_text: &str,
        rule: impl Fn(f64) -> bool,
    ) -> Result<Option<f64>, ConfigError> {
        let check = |value: &Value| match value.as_f64() {
            Some(number) if number.is_finite() && rule(number) => Ok(number),
            _ => Err(wrong(field, rule_text, value)),
        };
        self.get(field).map(check).transpose()
    }

    pub(super) fn text(&self, field: &'static str) -> Result<Option<String>, ConfigError> {
        let check = |value: &Value| match value.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(wrong(field, "a string", value)),
        };
        self.get(field).map(check).transpose()
    }

    pub(super) fn object(&self, field: &'static str) -> Result<Option<&'a Map<String, Value>>, ConfigError> {
        let check = |value: &'a Value| value.as_object().ok_or_else(|| wrong(field, "an object", value));
        self.get(field).map(check).transpose()
    }

    /// Exactly `N` items, each read by `item`.
    pub(super) fn array<T, const N: usize>(
        &self,
        field: &'static str,
        item: impl Fn(&Value) -> Result<T, ConfigError>,
    ) -> Result<Option<[T; N]>, ConfigError> {
        let check = |value: &Value| {
            let wrong_count = || wrong(field, &format!("a list of {N}"), value);
            let items = value.as_array().filter(|items| items.len() == N).ok_or_else(wrong_count)?;
            let items = items.iter().map(&item).collect::<Result<Vec<T>, _>>()?;
            items.try_into().map_err(|_| wrong_count())
        };
        self.get(field).map(check).transpose()
    }

    pub(super) fn texts(&self, field: &'static str) -> Result<Option<Vec<String>>, ConfigError> {
        let check = |value: &Value| {
            let items = value.as_array().ok_or_else(|| wrong(field, "a list of strings", value))?;
            let text = |item: &Value| {
                item.as_str().map(str::to_owned).ok_or_else(|| wrong(field, "a list of strings", item))
            };
            items.iter().map(text).collect()
        };
        self.get(field).map(check).transpose()
    }
}

pub(super) fn size(
    field: &'static str,
    value: &Value,
    least: usize,
    most: usize,
) -> Result<usize, ConfigError> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    match number {
        Some(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(wrong(field, &format!("a whole number from {least} to {most}"), value)),
    }
}

pub(super) fn number(field: &'static str, value: &Value) -> Result<f64, ConfigError> {
    value.as_f64().filter(|number| number.is_finite()).ok_or_else(|| wrong(field, "a finite number", value))
}

pub(super) fn wrong(field: &'static str, rule: &str, value: &Value) -> ConfigError {
    const SHOWN: usize = 60;
    let mut shown: String = value.to_string().chars().take(SHOWN + 1).collect();
    if shown.chars().count() > SHOWN {
        shown = shown.chars().take(SHOWN).chain(['…']).collect();
    }
    ConfigError::Field { field, reason: format!("must be {rule}, not {shown}") }
}

pub(super) fn missing(field: &'static str) -> ConfigError {
    ConfigError::Field { field, reason: "is missing".to_owned() }
}
