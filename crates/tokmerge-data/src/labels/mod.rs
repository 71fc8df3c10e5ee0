//! Names of classes, by index, from the files in which they usually come.

mod fields;
mod find;
mod several;
#[cfg(test)]
mod tests;

pub use several::{MissingFiles, MultiLabelError, MultiLabelList, MultiLabelSample};

pub(crate) use fields::fields;
pub(crate) use find::{NameIndex, NamedClass};

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;

/// Names of classes and, where the file has them, their ids such as `n01440764` of ImageNet
/// or `/m/09x0r` of AudioSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassNames {
    names: Vec<String>,
    /// As long as `names`, or empty.
    wnids: Vec<String>,
    /// Other words for a class.
    synonyms: Vec<(String, usize)>,
}

/// Why a file holds no class names.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabelsError {
    /// The file could not be read.
    #[error("{}: cannot be read as text: {source}{}", path.display(), crate::way_out(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Any of the others, met in a file.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        source: Box<LabelsError>,
    },
    /// No names at all.
    #[error(
        "holds no class names; write one name per line, index<TAB>wnid<TAB>name, index,mid,display_name, or a JSON list"
    )]
    Empty,
    /// More names than there are classes anywhere.
    #[error(
        "holds more than {0} names or values, and no model has as many classes; give the file of its class names"
    )]
    TooMany(usize),
    /// A line of a table that is no row of it.
    #[error("line {line} is {found:?}, and each line must be index<TAB>wnid<TAB>name or index<TAB>name")]
    Line {
        /// Counted from 1.
        line: usize,
        /// The line.
        found: String,
    },
    /// A line of a CSV table that is no row of it.
    #[error("line {line} {reason}, and each line must be {heading}: {found}")]
    Row {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
        /// The columns.
        heading: &'static str,
        /// The beginning of the line, without control characters.
        found: String,
    },
    /// JSON that cannot be parsed, or of another form.
    #[error("is not a JSON list of names nor an object like {{\"0\": \"tench\"}} ({reason})")]
    Json {
        /// What was found.
        reason: String,
    },
    /// Indices with a hole, out of range, or twice the same.
    #[error("class {index} {what}, and the indices of {count} classes must be 0 to {}, each once", count - 1)]
    Index {
        /// The index.
        index: usize,
        /// `is missing`, `is given twice` or `is out of range`.
        what: &'static str,
        /// Number of names.
        count: usize,
    },
}

/// `wnid<TAB>word, word`, in the order of the classes.
const IMAGENET_1K: &str = include_str!("imagenet1k.tsv");

impl ClassNames {
    /// The 1000 classes of the ImageNet challenge: ids, and the first of WordNet's words for each; the others are known to
    /// [`ClassFolder::labelled`](crate::ClassFolder::labelled).
    #[must_use]
    pub fn imagenet_1k() -> &'static Self {
        static NAMES: LazyLock<ClassNames> = LazyLock::new(ClassNames::read_imagenet_1k);
        &NAMES
    }

    fn read_imagenet_1k() -> Self {
        let (mut names, mut wnids, mut synonyms) = (Vec::new(), Vec::new(), Vec::new());
        for (index, line) in IMAGENET_1K.lines().enumerate() {
            let (wnid, words) = line.split_once('\t').unwrap_or((line, line));
            let mut words = words.split(", ").map(str::to_owned);
            wnids.push(wnid.to_owned());
            names.push(words.next().unwrap_or_default());
            synonyms.extend(words.map(|word| (word, index)));
        }
        Self { names, wnids, synonyms }
    }

    /// These names, without ids.
    #[must_use]
    pub fn from_names(names: Vec<String>) -> Self {
        Self { names, wnids: Vec::new(), synonyms: Vec::new() }
    }

    /// Reads a file; the form is found from the content, see [`parse`](Self::parse).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LabelsError> {
        let path = path.as_ref().to_path_buf();
        match read(&path, MAX_BYTES) {
            Err(source) => Err(LabelsError::Io { path, source }),
            Ok(text) => {
                Self::parse(&text).map_err(|source| LabelsError::InFile { path, source: Box::new(source) })
            }
        }
    }

    /// Reads one of five forms: a table `index<TAB>wnid<TAB>name` or `index<TAB>name` (a first line that
    /// does not begin with a number is a heading), AudioSet's `class_labels_indices.csv` whose first line is
    /// `index,mid,display_name`, one name per line, a JSON list of names, or a JSON object from index to name,
    /// alone or as `id2label` of a Hugging Face `config.json`.
    pub fn parse(text: &str) -> Result<Self, LabelsError> {
        let text = text.trim_start_matches('\u{feff}');
        let begins = text.trim_start().chars().next();
        // In memory a name or a value takes up to a hundred times as many bytes as in a file.
        let divides = |byte: &u8| match begins {
            Some('[' | '{') => matches!(byte, b',' | b'[' | b'{'),
            _ => *byte == b'\n',
        };
        if text.bytes().filter(divides).count() > MAX_VALUES {
            return Err(LabelsError::TooMany(MAX_VALUES));
        }
        let names = match begins {
            None => return Err(LabelsError::Empty),
            Some('[' | '{') => Self::from_json(text)?,
            Some(_) if is_audioset_heading(text) => Self::from_audioset(text)?,
            Some(_) if text.contains('\t') => Self::from_table(text)?,
            Some(_) => {
                let names: Vec<String> = text.trim_end().lines().map(|l| l.trim().to_string()).collect();
                Self { names, wnids: Vec::new(), synonyms: Vec::new() }
            }
        };
        if names.is_empty() { Err(LabelsError::Empty) } else { Ok(names) }
    }

    fn from_table(text: &str) -> Result<Self, LabelsError> {
        let (mut rows, mut width) = (Vec::new(), None);
        for (line, found) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let fields: Vec<&str> = found.split('\t').map(str::trim).collect();
            let Ok(index) = fields[0].parse::<usize>() else {
                if line == 0 {
                    continue;
                }
                return Err(wrong_line(line, found));
            };
            if !matches!(fields.len(), 2 | 3) || *width.get_or_insert(fields.len()) != fields.len() {
                return Err(wrong_line(line, found));
            }
            let wnid = if fields.len() == 3 { fields[1] } else { "" };
            rows.push((index, (wnid.to_string(), fields[fields.len() - 1].to_string())));
        }
        let (wnids, names) = in_order(rows)?.into_iter().unzip();
        Ok(Self { names, wnids: if width == Some(3) { wnids } else { Vec::new() }, synonyms: Vec::new() })
    }

    fn from_audioset(text: &str) -> Result<Self, LabelsError> {
        let mut rows = Vec::new();
        for (line, found) in text.lines().enumerate().skip(1).filter(|(_, l)| !l.trim().is_empty()) {
            let wrong = |reason: &str| LabelsError::Row {
                line: line + 1,
                reason: reason.to_owned(),
                heading: AUDIOSET_HEADING,
                found: beginning(found),
            };
            if found.chars().any(char::is_control) {
                return Err(wrong("has control characters"));
            }
            let fields: [String; 3] = fields::fields(found)
                .map_err(wrong)?
                .try_into()
                .map_err(|fields: Vec<_>| wrong(&format!("has {} fields", fields.len())))?;
            let [index, id, name] = fields;
            let index = index.parse().map_err(|_| wrong("does not begin with an index"))?;
            rows.push((index, (id, name)));
        }
        let (wnids, names) = in_order(rows)?.into_iter().unzip();
        Ok(Self { names, wnids, synonyms: Vec::new() })
    }

    fn from_json(text: &str) -> Result<Self, LabelsError> {
        let json = |reason: String| LabelsError::Json { reason };
        let name = |value: &Value, at: &str| match value {
            Value::String(name) => Ok(name.clone()),
            other => Err(json(format!("the name of {} is {}", beginning(at), shortened(other)))),
        };
        let value: Value = serde_json::from_str(text).map_err(|e| json(e.to_string()))?;
        let names = match value.get("id2label").unwrap_or(&value) {
            Value::Array(list) => {
                list.iter().enumerate().map(|(i, v)| name(v, &i.to_string())).collect::<Result<_, _>>()?
            }
            Value::Object(map) => {
                let row = |(key, value): (&String, &Value)| match key.parse::<usize>() {
                    Ok(index) => Ok((index, name(value, key)?)),
                    Err(_) => Err(json(format!("the key \"{}\" is no index", beginning(key)))),
                };
                in_order(map.iter().map(row).collect::<Result<_, _>>()?)?
            }
            other => return Err(json(format!("found {}", shortened(other)))),
        };
        Ok(Self { names, wnids: Vec::new(), synonyms: Vec::new() })
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none, which [`parse`](Self::parse) does not let pass.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Name of class `index`.
    pub fn name(&self, index: usize) -> Option<&str> {
        self.names.get(index).map(String::as_str)
    }

    /// Whether the classes have ids.
    pub fn has_ids(&self) -> bool {
        !self.wnids.is_empty()
    }

    /// All names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Id of class `index` where the file has a column of them.
    pub fn wnid(&self, index: usize) -> Option<&str> {
        self.wnids.get(index).map(String::as_str)
    }

    /// Index by id. With it the classes of a dataset that holds only some of them find their places:
    /// `folder.class_names()` are ids in ImageNet's layout.
    pub fn index_of_wnid(&self) -> HashMap<&str, usize> {
        self.wnids.iter().enumerate().map(|(index, wnid)| (wnid.as_str(), index)).collect()
    }
}

const AUDIOSET_HEADING: &str = "index,mid,display_name";

fn is_audioset_heading(text: &str) -> bool {
    text.lines().next().is_some_and(|line| line.trim().eq_ignore_ascii_case(AUDIOSET_HEADING))
}

/// Names of more classes than any model has are shorter.
const MAX_BYTES: u64 = 16 << 20;
/// Twenty times the classes of ImageNet-21k.
const MAX_VALUES: usize = 1 << 19;

/// Reads a file of text of at most so many bytes; a named pipe would keep its reader waiting, a device has no end.
fn read(path: &Path, limit: u64) -> std::io::Result<String> {
    let invalid = |_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8");
    String::from_utf8(read_bytes(path, limit)?).map_err(invalid)
}

/// What a regular file holds that is no longer than `limit` bytes.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let other = |reason: String| Err(std::io::Error::other(reason));
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        return other("not a regular file".to_owned());
    }
    if found.len() > limit {
        return other(format!("{} bytes are more than the {limit} that are read", found.len()));
    }
    std::fs::read(path)
}

fn wrong_line(line: usize, found: &str) -> LabelsError {
    LabelsError::Line { line: line + 1, found: found.chars().take(60).collect() }
}

fn shortened(value: &Value) -> String {
    beginning(&value.to_string())
}

/// Fit for one line of a terminal: control characters are escaped.
fn beginning(text: &str) -> String {
    crate::shown::beginning(text, 60)
}

/// Puts rows into the order of their indices, which must be 0 to n - 1.
fn in_order<T>(rows: Vec<(usize, T)>) -> Result<Vec<T>, LabelsError> {
    let count = rows.len();
    let mut slots: Vec<Option<T>> = std::iter::repeat_with(|| None).take(count).collect();
    for (index, row) in rows {
        let wrong = |what| LabelsError::Index { index, what, count };
        let slot = slots.get_mut(index).ok_or_else(|| wrong("is out of range"))?;
        if slot.replace(row).is_some() {
            return Err(wrong("is given twice"));
        }
    }
    let present = |(index, slot): (usize, Option<T>)| {
        slot.ok_or(LabelsError::Index { index, what: "is missing", count })
    };
    slots.into_iter().enumerate().map(present).collect()
}
