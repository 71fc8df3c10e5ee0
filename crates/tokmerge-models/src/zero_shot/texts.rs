//! What is said of classes: their names, within a template.

use super::ZeroShotError;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

/// What is said of a class, with `{}` in place of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

/// Stands for a name.
const PLACE: &str = "{}";

impl Template {
    /// CLIP's prompt, for names such as `cat`.
    #[must_use]
    pub fn photo() -> Self {
        Self("a photo of a {}.".to_owned())
    }

    /// What is said of the class of this name.
    #[must_use]
    pub fn of(&self, name: &str) -> String {
        self.0.replace(PLACE, name)
    }
}

/// The name alone.
impl Default for Template {
    fn default() -> Self {
        Self(PLACE.to_owned())
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Template {
    type Err = ZeroShotError;

    fn from_str(text: &str) -> Result<Self, ZeroShotError> {
        match text.contains(PLACE) {
            true => Ok(Self(text.to_owned())),
            false => Err(ZeroShotError::Template(text.to_owned())),
        }
    }
}

/// Classes by their names, and what is said of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassTexts {
    names: Vec<String>,
    texts: Vec<String>,
}

impl ClassTexts {
    /// The classes of these names, in their order; white space around a name is left out.
    ///
    /// # Errors
    /// When there are none, one is empty, or one is given twice.
    pub fn new(names: &[String], template: &Template) -> Result<Self, ZeroShotError> {
        let classes = Self::with_ids(names, template)?;
        let mut seen = HashMap::new();
        for (index, name) in classes.names.iter().enumerate() {
            if let Some(first) = seen.insert(name.as_str(), index) {
                return Err(ZeroShotError::Twice { name: name.clone(), first, second: index });
            }
        }
        Ok(classes)
    }

    /// The same of classes that have ids besides, as ImageNet's, of which two are cranes: of two classes of one name the
    /// first is found.
    ///
    /// # Errors
    /// When there are none, or one is empty.
    pub fn with_ids(names: &[String], template: &Template) -> Result<Self, ZeroShotError> {
        let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
        if names.is_empty() {
            return Err(ZeroShotError::NoNames);
        }
        if let Some(index) = names.iter().position(String::is_empty) {
            return Err(ZeroShotError::EmptyName(index));
        }
        let texts = names.iter().map(|name| template.of(name)).collect();
        Ok(Self { names, texts })
    }

    /// Their names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What is said of each.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

#[cfg(test)]
mod tests {
    use super::{ClassTexts, Template};

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_template_takes_the_name_wherever_its_place_is() {
        let classes = ClassTexts::new(&names(&["cat", " small house "]), &Template::photo()).unwrap();
        assert_eq!(classes.names(), ["cat", "small house"]);
        assert_eq!(classes.texts(), ["a photo of a cat.", "a photo of a small house."]);
        let twice: Template = "{} and {}".parse().unwrap();
        assert_eq!(twice.of("a {}"), "a {} and a {}");
        assert_eq!(Template::default().of("cat"), "cat");
    }

    #[test]
    fn a_template_without_a_place_is_refused() {
        for text in ["", "a photo", "a photo of a { }"] {
            let error = text.parse::<Template>().unwrap_err().to_string();
            assert!(error.contains("{}") && error.contains(text), "{error}");
        }
    }

    #[test]
    fn names_that_say_nothing_or_the_same_are_refused() {
        let refused =
            |given: &[&str]| ClassTexts::new(&names(given), &Template::default()).unwrap_err().to_string();
        assert!(refused(&[]).contains("no class names"));
        assert!(refused(&["cat", " "]).contains("class 1 has no name"));
        let twice = refused(&["cat", "dog", "cat "]);
        assert!(twice.contains("\"cat\"") && twice.contains("0 and 2"), "{twice}");
        let cranes = ClassTexts::with_ids(&names(&["crane", "crane"]), &Template::default()).unwrap();
        assert_eq!(cranes.texts().len(), 2);
        assert!(ClassTexts::with_ids(&names(&["crane", ""]), &Template::default()).is_err());
    }
}
