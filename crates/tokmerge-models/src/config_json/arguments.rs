//! Arguments by name, as Python's constructors take them: of a names table, and of the `model_args` of a `config.json`.

use super::ConfigureError;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// More than any size of a model by orders of magnitude.
const MOST: usize = 1 << 20;

/// The longest side of an image or a patch.
const MOST_SIDE: usize = 1 << 14;

/// Arguments by name. A `null` counts as left out, as Python's `None` does. Whoever reads them asks for each argument that has a
/// meaning; [`finish`](Self::finish) refuses the others.
pub(crate) struct Arguments<'a> {
    values: &'a Map<String, Value>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Arguments<'a> {
    /// Arguments of which nothing was read yet.
    pub(crate) fn new(values: &'a Map<String, Value>) -> Self {
        Self { values, asked: RefCell::default() }
    }

    /// The value, unless the argument is left out.
    pub(crate) fn value(&self, name: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(name);
        self.values.get(name).filter(|value| !value.is_null())
    }

    /// Whole numbers from 0 on.
    pub(crate) fn counts(&self, name: &'static str) -> Result<Option<Vec<usize>>, ConfigureError> {
        self.read(name, "a list of whole numbers", |value| value.as_array()?.iter().map(whole).collect())
    }

    /// A whole number from 0 on.
    pub(crate) fn count(&self, name: &'static str, default: usize) -> Result<usize, ConfigureError> {
        Ok(self.read(name, "a whole number", whole)?.unwrap_or(default))
    }

    /// A whole number from 1 on.
    pub(crate) fn size(&self, name: &'static str, default: usize) -> Result<usize, ConfigureError> {
        Ok(self.optional_size(name)?.unwrap_or(default))
    }

    /// A whole number from 1 on.
    pub(crate) fn optional_size(&self, name: &'static str) -> Result<Option<usize>, ConfigureError> {
        self.read(name, "a whole number above 0", |value| whole(value).filter(|size| *size > 0))
    }

    /// Height and width, or one number for both.
    pub(crate) fn sides(
        &self,
        name: &'static str,
        default: (usize, usize),
    ) -> Result<(usize, usize), ConfigureError> {
        Ok(self.optional_sides(name)?.unwrap_or(default))
    }

    /// Height and width, or one number for both.
    pub(crate) fn optional_sides(
        &self,
        name: &'static str,
    ) -> Result<Option<(usize, usize)>, ConfigureError> {
        let side = |value: &Value| whole(value).filter(|side| (1..=MOST_SIDE).contains(side));
        self.read(name, "a whole number from 1 to 16384 or [height, width]", |value| {
            match value.as_array().map(Vec::as_slice) {
                Some([height, width]) => side(height).zip(side(width)),
                Some(_) => None,
                None => side(value).map(|side| (side, side)),
            }
        })
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, name: &'static str, default: bool) -> Result<bool, ConfigureError> {
        Ok(self.optional_flag(name)?.unwrap_or(default))
    }

    /// `true` or `false`.
    pub(crate) fn optional_flag(&self, name: &'static str) -> Result<Option<bool>, ConfigureError> {
        self.read(name, "true or false", Value::as_bool)
    }

    /// A finite number.
    pub(crate) fn number(&self, name: &'static str, default: f64) -> Result<f64, ConfigureError> {
        Ok(self.optional_number(name)?.unwrap_or(default))
    }

    /// A finite number.
    pub(crate) fn optional_number(&self, name: &'static str) -> Result<Option<f64>, ConfigureError> {
        self.read(name, "a number", |value| value.as_f64().filter(|number| number.is_finite()))
    }

    /// What a word of a table means.
    pub(crate) fn word<T: Copy>(
        &self,
        name: &'static str,
        default: T,
        meanings: &[(&str, T)],
    ) -> Result<T, ConfigureError> {
        let Some(value) = self.value(name) else { return Ok(default) };
        let known = meanings.iter().find(|(word, _)| value.as_str() == Some(word));
        known.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<&str> =
                meanings.iter().map(|(word, _)| *word).filter(|word| !word.is_empty()).collect();
            self.refused(name, &words.join(", "))
        })
    }

    /// What a text means, where it can be understood.
    pub(crate) fn text<T>(
        &self,
        name: &'static str,
        allowed: &str,
        meaning: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigureError> {
        self.read(name, allowed, |value| meaning(value.as_str()?))
    }

    /// Refuses the argument unless it is left out or has this value, with what it would mean.
    pub(crate) fn only(&self, name: &'static str, value: &Value) -> Result<(), ConfigureError> {
        match self.value(name) {
            Some(given) if given != value => Err(self.refused(name, &value.to_string())),
            _ => Ok(()),
        }
    }

    /// The error for a value that is not one of those that are understood.
    pub(crate) fn refused(&self, name: &'static str, allowed: &str) -> ConfigureError {
        let value = self.values.get(name).map_or_else(|| "left out".to_owned(), Value::to_string);
        ConfigureError::Argument { name: name.to_owned(), value, allowed: allowed.to_owned() }
    }

    /// Refuses what nobody asked for, except arguments without a meaning for a trained model.
    pub(crate) fn finish(&self, class: &str, irrelevant: &[&str]) -> Result<(), ConfigureError> {
        let asked = self.asked.borrow();
        let meant = |name: &str| asked.contains(name) || irrelevant.contains(&name);
        match self.values.iter().find(|(name, value)| !meant(name) && !value.is_null()) {
            Some((name, value)) => Err(ConfigureError::Meaningless {
                name: name.clone(),
                value: value.to_string(),
                class: class.to_owned(),
            }),
            None => Ok(()),
        }
    }

    fn read<T>(
        &self,
        name: &'static str,
        allowed: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigureError> {
        let read = |value| read(value).ok_or_else(|| self.refused(name, allowed));
        self.value(name).map(read).transpose()
    }
}

/// A whole number, also one that is written as `3.0`.
fn whole(value: &Value) -> Option<usize> {
    let integer = value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e9).contains(number))?;
        Some(number as u64)
    });
    usize::try_from(integer?).ok().filter(|number| *number <= MOST)
}
