//! How a method is written down: `name`, `name:option=value,...`, or a TOML file.

use crate::{MethodInfo, OptionInfo};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A method by name, with options, before anybody knows what they mean.
#[derive(Clone, Debug, PartialEq)]
pub struct MergeSpec {
    /// Name of the method.
    pub method: String,
    /// Options in the order given.
    pub options: Vec<(String, String)>,
}

/// A spec that cannot be understood. Every message names the option, its value and what is allowed.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum SpecError {
    /// Not of the form `name:option=value,...`.
    #[error(
        "cannot read merge spec '{}': {reason}; write name or name:option=value,option=value, e.g. tome:r=8",
        shown(spec)
    )]
    Syntax {
        /// The whole spec.
        spec: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No such method.
    #[error("unknown merging method '{}'{hint}; known methods: {known}", shown(given))]
    Method {
        /// The name given.
        given: String,
        /// ` (did you mean ...?)` or nothing.
        hint: String,
        /// The methods there are.
        known: String,
    },
    /// No such option.
    #[error("{method} has no option '{}'{hint}; its options: {known}", shown(option))]
    Option {
        /// The method.
        method: String,
        /// The option given.
        option: String,
        /// ` (did you mean ...?)` or nothing.
        hint: String,
        /// The options there are.
        known: String,
    },
    /// A value outside what the option allows.
    #[error("{method}: {option}={} is not allowed; {option} takes {allowed}", shown(value))]
    Value {
        /// The method.
        method: String,
        /// The option.
        option: String,
        /// Its value.
        value: String,
        /// What it takes.
        allowed: String,
    },
    /// A missing option.
    #[error("{method} needs {option}, e.g. {example}")]
    Missing {
        /// The method.
        method: String,
        /// The option.
        option: String,
        /// A spec that works.
        example: String,
    },
    /// Two options that exclude each other, or one twice.
    #[error("{method}: {reason}")]
    Conflict {
        /// The method.
        method: String,
        /// Why they do not go together.
        reason: String,
    },
}

/// The beginning of a text from outside, fit for one line of a terminal: control characters are escaped.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN: usize = 120;
    let escaped = |c: char| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() };
    let ellipsis = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
    text.chars().take(SHOWN).map(escaped).chain([ellipsis.to_owned()]).collect()
}

/// ` (did you mean X?)` for the nearest name, or nothing if none is near. Longer names than any are nobody's slip, and the
/// distance takes time and memory of the product of both lengths.
pub(crate) fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    const LONGEST: usize = 200;
    if given.len() > LONGEST {
        return String::new();
    }
    let given = given.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&given, name), name))
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3))
        .min()
        .map(|(_, name)| format!(" (did you mean {name}?)"))
        .unwrap_or_default()
}

/// More than any method has.
const MAX_OPTIONS: usize = 64;

impl FromStr for MergeSpec {
    type Err = SpecError;

    fn from_str(spec: &str) -> Result<Self, SpecError> {
        let syntax = |reason: &str| SpecError::Syntax { spec: spec.to_owned(), reason: reason.to_owned() };
        let (method, rest) = spec.trim().split_once(':').unwrap_or((spec.trim(), ""));
        if method.is_empty() {
            return Err(syntax("the method's name is missing"));
        }
        let mut options: Vec<(String, String)> = Vec::new();
        let mut parts = Vec::new();
        let (mut depth, mut start) = (0_i32, 0);
        for (at, c) in rest.char_indices() {
            match c {
                '[' => depth += 1,
                ']' => depth -= 1,
                ',' if depth == 0 => {
                    parts.push(&rest[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
            if depth < 0 {
                return Err(syntax("a ']' closes nothing"));
            }
        }
        if depth != 0 {
            return Err(syntax("a '[' is not closed"));
        }
        if !rest.is_empty() {
            parts.push(&rest[start..]);
        } else if spec.contains(':') {
            return Err(syntax("nothing follows the ':'"));
        }
        if parts.len() > MAX_OPTIONS {
            return Err(syntax(&format!(
                "it has {} options; no method has more than {MAX_OPTIONS}",
                parts.len()
            )));
        }
        for part in parts {
            let (option, value) = part
                .split_once('=')
                .ok_or_else(|| syntax(&format!("'{}' is not of the form option=value", shown(part))))?;
            let (option, value) = (option.trim().to_owned(), value.trim().to_owned());
            if option.is_empty() || value.is_empty() {
                return Err(syntax(&format!("'{}' lacks an option or a value", shown(part))));
            }
            if options.iter().any(|(given, _)| *given == option) {
                return Err(syntax(&format!("option '{}' is given twice", shown(&option))));
            }
            options.push((option, value));
        }
        Ok(Self { method: method.to_owned(), options })
    }
}

impl MergeSpec {
    /// Reads a spec from the text of a `merge.toml`: `method = "tome"` and one key per option. Tables (what was
    /// measured where) are for people and other tools and are passed over.
    ///
    /// # Errors
    /// When the text is not TOML or has no `method`.
    pub fn from_toml(text: &str) -> Result<Self, SpecError> {
        let syntax = |reason: String| SpecError::Syntax { spec: "merge.toml".to_owned(), reason };
        let table: toml::Table =
            text.parse().map_err(|error: toml::de::Error| syntax(shown(error.message())))?;
        let mut method = None;
        let mut options = BTreeMap::new();
        for (key, value) in table {
            match (key.as_str(), value) {
                (_, toml::Value::Table(_)) => {}
                ("method", toml::Value::String(name)) => method = Some(name),
                (_, toml::Value::String(text)) => {
                    options.insert(key, text);
                }
                (_, value) => {
                    options.insert(key, value.to_string());
                }
            }
        }
        let method = method.ok_or_else(|| syntax("it has no line method = \"...\"".to_owned()))?;
        Ok(Self { method, options: options.into_iter().collect() })
    }

    /// The text of a `merge.toml` that reads back as this spec.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut table = toml::Table::new();
        table.insert("method".to_owned(), toml::Value::String(self.method.clone()));
        for (option, value) in &self.options {
            let value = value
                .parse::<i64>()
                .map(toml::Value::Integer)
                .or_else(|_| value.parse::<f64>().map(toml::Value::Float))
                .unwrap_or_else(|_| toml::Value::String(value.clone()));
            table.insert(option.clone(), value);
        }
        table.to_string()
    }
}

impl fmt::Display for MergeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.method)?;
        for (index, (option, value)) in self.options.iter().enumerate() {
            write!(f, "{}{option}={value}", if index == 0 { ':' } else { ',' })?;
        }
        Ok(())
    }
}

/// The parts of a list of names and specs, separated by commas: those inside a spec belong to it.
#[must_use]
pub fn split_list(list: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut depth = 0_i32;
    for part in list.split(',') {
        // No name has an equals sign: options without a method in front go on with the spec before, and so does what stands
        // in brackets.
        let goes_on = depth > 0 || (part.contains('=') && !part.contains(':'));
        depth += part.matches('[').count() as i32 - part.matches(']').count() as i32;
        match parts.last_mut().filter(|_| goes_on) {
            Some(last) => *last = format!("{last},{part}"),
            None => parts.push(part.to_owned()),
        }
    }
    parts
}

/// The options of one spec, taken out one by one by the method that knows them.
pub(crate) struct Given {
    known: &'static [OptionInfo],
    left: Vec<(String, String)>,
}

impl Given {
    /// # Errors
    /// For an option that the method does not have.
    pub(crate) fn new(info: &MethodInfo, spec: &MergeSpec) -> Result<Self, SpecError> {
        let known: Vec<_> = info.options.iter().map(|option| option.name).collect();
        match spec.options.iter().find(|(option, _)| !known.contains(&option.as_str())) {
            None => Ok(Self { known: info.options, left: spec.options.clone() }),
            Some((option, _)) => Err(SpecError::Option {
                method: info.name.to_owned(),
                option: option.clone(),
                hint: did_you_mean(option, known.iter().copied()),
                known: if known.is_empty() { "none".to_owned() } else { known.join(", ") },
            }),
        }
    }

    /// The text of an option, if given.
    pub(crate) fn text(&mut self, option: &str) -> Option<String> {
        debug_assert!(self.known.iter().any(|known| known.name == option), "{option} is not in the list");
        let index = self.left.iter().position(|(name, _)| name == option)?;
        Some(self.left.remove(index).1)
    }
}

#[cfg(test)]
mod tests {
    use super::{MergeSpec, SpecError, split_list};
    use proptest::prelude::*;

    #[test]
    fn lists_part_at_methods_and_not_inside_them() {
        let parts = |list| split_list(list).join(" | ");
        assert_eq!(parts("tome,evit,atm"), "tome | evit | atm");
        assert_eq!(
            parts("tome:r=[8,8,4],feature=k,evit:keep=70%,rest=drop,atm"),
            "tome:r=[8,8,4],feature=k | evit:keep=70%,rest=drop | atm"
        );
        assert_eq!(parts("rest=drop"), "rest=drop");
        assert_eq!(parts(""), "");
    }

    #[test]
    fn specs_read_as_they_are_written() {
        let spec: MergeSpec = "tome:r=[16,16,8],feature=k".parse().unwrap();
        assert_eq!(spec.method, "tome");
        assert_eq!(spec.options[0], ("r".to_owned(), "[16,16,8]".to_owned()));
        assert_eq!(spec.to_string(), "tome:r=[16,16,8],feature=k");
        assert_eq!("none".parse::<MergeSpec>().unwrap().options, []);
    }

    #[test]
    fn malformed_specs_say_what_is_wrong() {
        for (spec, reason) in [
            ("", "name is missing"),
            (":r=3", "name is missing"),
            ("tome:", "nothing follows"),
            ("tome:r", "option=value"),
            ("tome:r=", "lacks"),
            ("tome:r=1,r=2", "twice"),
            ("tome:r=[1,2", "not closed"),
            ("tome:r=1]", "closes nothing"),
        ] {
            match spec.parse::<MergeSpec>() {
                Err(SpecError::Syntax { reason: given, .. }) => {
                    assert!(given.contains(reason), "{spec}: {given}")
                }
                other => panic!("{spec}: {other:?}"),
            }
        }
    }

    #[test]
    fn messages_stay_one_short_line_whatever_the_length_of_a_spec() {
        let long = "x".repeat(1 << 20);
        let many = (0..200_000).map(|option| format!("o{option}=1")).collect::<Vec<_>>().join(",");
        let started = std::time::Instant::now();
        for spec in [
            long.clone(),
            format!("tome:{long}"),
            format!("tome:{long}=1"),
            format!("tome:r={long}"),
            format!("tome:{many}"),
            "to\u{1b}[31mme:r=1".to_owned(),
            "tome:r=1\u{1b}[31m".to_owned(),
            "tome:r\nx=1".to_owned(),
        ] {
            let message = spec.parse::<crate::Method>().unwrap_err().to_string();
            assert!(message.len() < 1000 && !message.contains(char::is_control), "{message}");
        }
        let message = MergeSpec::from_toml(&format!("{long} = {{ {long}")).unwrap_err().to_string();
        assert!(message.len() < 1000 && !message.contains(char::is_control), "{message}");
        assert!(started.elapsed().as_secs() < 2, "took {:?}", started.elapsed());
    }

    #[test]
    fn toml_round_trips_and_tables_are_passed_over() {
        let spec: MergeSpec = "tome:inflect=-0.5,r=8".parse().unwrap();
        assert_eq!(MergeSpec::from_toml(&spec.to_toml()).unwrap(), spec);
        let text = "method = 'tome'\nr = [3, 2]\n[measured]\ntop1 = 80.0\n";
        let spec = MergeSpec::from_toml(text).unwrap();
        assert_eq!(spec.to_string(), "tome:r=[3, 2]");
        assert!(MergeSpec::from_toml("r = 3").is_err());
        assert!(MergeSpec::from_toml("not toml").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(spec in ".*") {
            let _ = spec.parse::<MergeSpec>();
            let _ = MergeSpec::from_toml(&spec);
        }
    }
}
