//! Typed reading of JSON fields, with limits. A `null` counts as absent, as Python's `None` does.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::ConfigError;
use crate::error::shortened;

/// More than any class count, feature count or image side of the field by orders of magnitude, and small enough for
/// products of three to stay within 64 bits.
pub(super) const MAX_SIZE: usize = 1 << 20;
/// Longest side of an image or a patch.
const MAX_SIDE: usize = 1 << 16;

/// The fields of one JSON object, read by name.
///
/// Every reader takes the value that an absent field (or a `null`) stands for, and its error names the field with the
/// objects it lies in (`vision_config.hidden_size`), the rule and the value.
///
/// ```
/// use tokmerge_checkpoint::{ConfigError, Fields};
///
/// let config = serde_json::json!({"vision_config": {"hidden_size": 384, "image_size": [224, 192]}});
/// let vision = Fields::of(&config)?.required_object("vision_config")?;
/// assert_eq!(vision.size("hidden_size", 768, 1 << 16)?, 384);
/// assert_eq!(vision.size("num_hidden_layers", 12, 1024)?, 12);
/// assert_eq!(vision.sides("image_size", [224, 224])?, [224, 192]);
/// assert_eq!(vision.number("layer_norm_eps", 1e-6, 1e-30..=1.0)?, 1e-6);
/// # Ok::<(), ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// `vision_config.` in front of the names in messages; empty at the top.
    place: String,
}

impl<'a> Fields<'a> {
    /// The fields of a JSON object.
    ///
    /// # Errors
    /// When the value is no object.
    pub fn of(value: &'a Value) -> Result<Self, ConfigError> {
        let object = value.as_object();
        let object = object.ok_or_else(|| ConfigError::Unsupported("no JSON object".to_owned()))?;
        Ok(Self::from(object))
    }

    /// The value of a field, `None` where it is absent or `null`.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    /// Names and values of all fields that are not `null`, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.object.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.as_str(), value))
    }

    /// A whole number from 1 to `most`.
    ///
    /// # Errors
    /// When the field holds anything else.
    pub fn size(&self, field: &str, default: usize, most: usize) -> Result<usize, ConfigError> {
        Ok(self.optional_size(field, 1..=most)?.unwrap_or(default))
    }

    /// A whole number from 0 to `most`.
    ///
    /// # Errors
    /// When the field holds anything else.
    pub fn count(&self, field: &str, default: usize, most: usize) -> Result<usize, ConfigError> {
        Ok(self.optional_size(field, 0..=most)?.unwrap_or(default))
    }

    /// A whole number of a range, `None` where the field is absent.
    ///
    /// # Errors
    /// When the field holds anything else.
    pub fn optional_size(
        &self,
        field: &str,
        allowed: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ConfigError> {
        self.read(field, |value| self.size_of(field, value, &allowed))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// When the field holds anything else.
    pub fn flag(&self, field: &str, default: bool) -> Result<bool, ConfigError> {
        let flag = self
            .read(field, |value| value.as_bool().ok_or_else(|| self.wrong(field, "true or false", value)))?;
        Ok(flag.unwrap_or(default))
    }

    /// A number of a range.
    ///
    /// # Errors
    /// When the field holds anything else.
    pub fn number(
        &self,
        field: &str,
        default: f64,
        allowed: RangeInclusive<f64>,
    ) -> Result<f64, ConfigError> {
        Ok(self.optional_number(field, allowed)?.unwrap_or(default))
    }

    /// A number of a range, `None` where the field is absent.
    ///
    /// # Errors
    /// When the field holds anything else.
    pub fn optional_number(
        &self,
        field: &str,
        allowed: RangeInclusive<f64>,
    ) -> Result<Option<f64>, ConfigError> {
        self.read(field, |value| {
            let number = value.as_f64().filter(|number| number.is_finite() && allowed.contains(number));
            number.ok_or_else(|| {
                let (least, most) = allowed.clone().into_inner();
                self.wrong(field, &format!("a number from {least} to {most}"), value)
            })
        })
    }

    /// The epsilon of a norm: above 0 and below 1.
    ///
    /// # Errors
    /// When the field holds anything else.
    pub fn eps(&self, field: &str, default: f64) -> Result<f64, ConfigError> {
        let eps = self.read(field, |value| {
            let eps = value.as_f64().filter(|eps| *eps > 0.0 && *eps < 1.0);
            eps.ok_or_else(|| self.wrong(field, "above 0 and below 1", value))
        })?;
        Ok(eps.unwrap_or(default))
    }

    /// A string.
    ///
    /// # Errors
    /// When the field holds anything else.
    pub fn text(&self, field: &str, default: &'a str) -> Result<&'a str, ConfigError> {
        Ok(self.optional_text(field)?.unwrap_or(default))
    }

    /// A string, `None` where the field is absent.
    ///
    /// # Errors
    /// When the field holds anything else.
    pub fn optional_text(&self, field: &str) -> Result<Option<&'a str>, ConfigError> {
        self.read(field, |value| value.as_str().ok_or_else(|| self.wrong(field, "a string", value)))
    }

    /// What stands for a string in a table of `(name, meaning)`.
    ///
    /// # Errors
    /// When the field is no string of the table; the message lists the table's names.
    pub fn choice<T: Copy>(&self, field: &str, default: T, table: &[(&str, T)]) -> Result<T, ConfigError> {
        let found = self.read(field, |value| {
            let known = table.iter().find(|(name, _)| value.as_str() == Some(name));
            known.map(|(_, meaning)| *meaning).ok_or_else(|| {
                let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
                self.wrong(field, &format!("one of {}", names.join(", ")), value)
            })
        })?;
        Ok(found.unwrap_or(default))
    }

    /// Height and width: one number for both, or a list of the two.
    ///
    /// # Errors
    /// When the field holds anything else, or a side is 0 or absurd.
    pub fn sides(&self, field: &str, default: [usize; 2]) -> Result<[usize; 2], ConfigError> {
        let side = |value: &Value| self.size_of(field, value, &(1..=MAX_SIDE));
        let sides = self.read(field, |value| match value.as_array().map(Vec::as_slice) {
            Some([height, width]) => Ok([side(height)?, side(width)?]),
            Some(_) => Err(self.wrong(field, "a number or [height, width]", value)),
            None => Ok([side(value)?; 2]),
        })?;
        Ok(sides.unwrap_or(default))
    }

    /// The fields of an object in this one, `None` where it is absent.
    ///
    /// # Errors
    /// When the field is no object.
    pub fn object(&self, field: &str) -> Result<Option<Fields<'a>>, ConfigError> {
        self.read(field, |value| {
            let object = value.as_object().ok_or_else(|| self.wrong(field, "an object", value))?;
            Ok(Self { object, place: format!("{}{field}.", self.place) })
        })
    }

    /// The fields of an object in this one.
    ///
    /// # Errors
    /// When the field is absent or no object.
    pub fn required_object(&self, field: &str) -> Result<Fields<'a>, ConfigError> {
        self.object(field)?.ok_or_else(|| self.missing(field))
    }

    /// A list of strings; empty where the field is absent.
    ///
    /// # Errors
    /// When the field holds anything else.
    pub fn texts(&self, field: &str) -> Result<Vec<String>, ConfigError> {
        let texts = self.read(field, |value| {
            let rule = "a list of strings";
            let items = value.as_array().ok_or_else(|| self.wrong(field, rule, value))?;
            let text =
                |item: &Value| item.as_str().map(str::to_owned).ok_or_else(|| self.wrong(field, rule, item));
            items.iter().map(text).collect()
        })?;
        Ok(texts.unwrap_or_default())
    }

    /// An object from class numbers to names, as `id2label`; empty where the field is absent.
    ///
    /// # Errors
    /// When the field holds anything else.
    pub fn labels(&self, field: &str) -> Result<BTreeMap<usize, String>, ConfigError> {
        let labels = self.read(field, |value| {
            let rule = "an object from class numbers to names";
            let label = |(index, label): (&String, &Value)| {
                let index = index.parse().ok().filter(|index| *index < MAX_SIZE);
                match (index, label.as_str()) {
                    (Some(index), Some(label)) => Ok((index, label.to_owned())),
                    _ => Err(self.wrong(field, rule, label)),
                }
            };
            let labels = value.as_object().ok_or_else(|| self.wrong(field, rule, value))?;
            labels.iter().map(label).collect()
        })?;
        Ok(labels.unwrap_or_default())
    }

    /// Refuses any value but one: for a field whose other values are not understood.
    ///
    /// # Errors
    /// When the field is there and holds another value.
    pub fn only(&self, field: &str, understood: &Value) -> Result<(), ConfigError> {
        match self.get(field) {
            Some(value) if value != understood => Err(self.wrong(field, &understood.to_string(), value)),
            _ => Ok(()),
        }
    }

    /// Exactly `N` items, each read by `item`.
    pub(super) fn array<T, const N: usize>(
        &self,
        field: &str,
        item: impl Fn(&Value) -> Result<T, ConfigError>,
    ) -> Result<Option<[T; N]>, ConfigError> {
        self.read(field, |value| {
            let wrong_count = || self.wrong(field, &format!("a list of {N}"), value);
            let items = value.as_array().filter(|items| items.len() == N).ok_or_else(wrong_count)?;
            let items = items.iter().map(&item).collect::<Result<Vec<T>, _>>()?;
            items.try_into().map_err(|_| wrong_count())
        })
    }

    pub(super) fn size_of(
        &self,
        field: &str,
        value: &Value,
        allowed: &RangeInclusive<usize>,
    ) -> Result<usize, ConfigError> {
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.filter(|number| allowed.contains(number)).ok_or_else(|| {
            let rule = format!("a whole number from {} to {}", allowed.start(), allowed.end());
            self.wrong(field, &rule, value)
        })
    }

    fn read<T>(
        &self,
        field: &str,
        read: impl FnOnce(&'a Value) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        self.get(field).map(read).transpose()
    }

    /// The error for a value of this field that breaks a rule; `rule` completes "must be".
    #[must_use]
    pub fn wrong(&self, field: &str, rule: &str, value: &Value) -> ConfigError {
        self.refuse(field, format!("must be {rule}, not {}", beginning(value)))
    }

    /// The error for a field that is needed and absent.
    #[must_use]
    pub fn missing(&self, field: &str) -> ConfigError {
        self.refuse(field, "is missing")
    }

    /// An error that names this field, as "the configuration's field `…` " and `reason`.
    #[must_use]
    pub fn refuse(&self, field: &str, reason: impl Into<String>) -> ConfigError {
        ConfigError::Field { field: format!("{}{field}", self.place), reason: reason.into() }
    }
}

impl<'a> From<&'a Map<String, Value>> for Fields<'a> {
    fn from(object: &'a Map<String, Value>) -> Self {
        Self { object, place: String::new() }
    }
}

/// The first characters of a value as JSON, which may be of any length.
fn beginning(value: &Value) -> String {
    const SHOWN: usize = 60;
    /// Refuses what is beyond its end.
    struct Start(Vec<u8>);
    impl std::io::Write for Start {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.extend_from_slice(&bytes[..bytes.len().min(8 * SHOWN)]);
            if self.0.len() > 8 * SHOWN { Err(std::io::ErrorKind::WriteZero.into()) } else { Ok(bytes.len()) }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut start = Start(Vec::new());
    // An error says that there is more than is shown.
    let _ = serde_json::to_writer(&mut start, value);
    let text = String::from_utf8_lossy(&start.0);
    let ellipsis = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
    let shown: String = text.chars().take(SHOWN).collect();
    format!("{}{ellipsis}", shortened(&shown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_fields_and_nulls_have_the_callers_defaults() {
        let value = json!({"a": null});
        let fields = Fields::of(&value).unwrap();
        for field in ["a", "b"] {
            assert_eq!(fields.size(field, 3, 10).unwrap(), 3);
            assert_eq!(fields.optional_size(field, 1..=10).unwrap(), None);
            assert!(fields.flag(field, true).unwrap());
            assert_eq!(fields.number(field, 0.5, 0.0..=1.0).unwrap(), 0.5);
            assert_eq!(fields.eps(field, 1e-6).unwrap(), 1e-6);
            assert_eq!(fields.text(field, "gelu").unwrap(), "gelu");
            assert_eq!(fields.choice(field, 7, &[("x", 1)]).unwrap(), 7);
            assert_eq!(fields.sides(field, [1, 2]).unwrap(), [1, 2]);
            assert!(fields.object(field).unwrap().is_none());
            assert!(fields.texts(field).unwrap().is_empty() && fields.labels(field).unwrap().is_empty());
            assert!(fields.only(field, &json!(false)).is_ok());
        }
        assert_eq!(fields.iter().count(), 0);
    }

    #[test]
    fn errors_name_the_field_with_its_place_the_rule_and_the_value() {
        let value = json!({"vision_config": {
            "size": 0, "count": -1, "flag": "yes", "number": 2, "eps": 0, "text": 4, "choice": "swish",
            "sides": [1, 2, 3], "object": [], "texts": [1], "labels": {"x": "y"}, "only": true,
        }});
        let fields = Fields::of(&value).unwrap().required_object("vision_config").unwrap();
        let errors = [
            (fields.size("size", 1, 10).err(), "size` must be a whole number from 1 to 10, not 0"),
            (fields.count("count", 1, 10).err(), "count` must be a whole number from 0 to 10, not -1"),
            (fields.flag("flag", true).err(), "flag` must be true or false, not \"yes\""),
            (fields.number("number", 0.0, 0.0..=1.0).err(), "number` must be a number from 0 to 1, not 2"),
            (fields.eps("eps", 0.1).err(), "eps` must be above 0 and below 1, not 0"),
            (fields.text("text", "").err(), "text` must be a string, not 4"),
            (
                fields.choice("choice", 0, &[("gelu", 0), ("relu", 1)]).err(),
                "choice` must be one of gelu, relu",
            ),
            (fields.sides("sides", [1, 1]).err(), "sides` must be a number or [height, width]"),
            (fields.object("object").err(), "object` must be an object"),
            (fields.required_object("gone").err(), "gone` is missing"),
            (fields.texts("texts").err(), "texts` must be a list of strings"),
            (fields.labels("labels").err(), "labels` must be an object from class numbers"),
            (fields.only("only", &json!(false)).err(), "only` must be false, not true"),
        ];
        for (error, expected) in errors {
            let message = error.unwrap().to_string();
            assert!(message.contains(&format!("`vision_config.{expected}")), "{message}");
        }
        assert!(Fields::of(&json!([])).is_err());
    }
}
