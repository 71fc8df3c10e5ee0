//! Lists of files with several labels each, as AudioSet has them.

mod error;
mod search;
#[cfg(test)]
mod tests;

pub use error::MultiLabelError;

use super::{ClassNames, NameIndex, NamedClass, beginning, fields};
use crate::dataset::limit;
use search::Folder;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// A file and the classes that are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiLabelSample {
    /// The file.
    pub path: PathBuf,
    /// Indices of classes, sorted, each once.
    pub labels: Vec<usize>,
}

/// Rows of a list whose files are not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingFiles {
    /// How many.
    pub count: usize,
    /// Line of the first, counted from 1.
    pub line: usize,
    /// What the first row calls its file: a path, or the id of a video. Control characters are refused before.
    pub name: String,
}

/// A list of files with several labels each, in one of two forms.
///
/// - AudioSet's segments: rows `YTID, start_seconds, end_seconds, "/m/09x0r,/t/dd00088"`, and lines that begin with `#`.
///   A row's file lies beside the list: it is named by the id, with or without a `Y` before it, alone or followed by
///   `_start_end` in seconds or milliseconds, and ends in one of [`sound::EXTENSIONS`](crate::sound::EXTENSIONS); of several that are
///   there, the first of these counts.
/// - A table: a first line `path,labels`, and rows such as `cats/1.wav,/m/01yrx;/m/07qrkrw` or
///   `cats/1.wav,"Cat,Meow"`. Paths are relative to the folder of the list. A row may have no labels: then none of the
///   classes is in the file.
///
/// Labels are ids of classes, or their names in any case. In a field with a semicolon only semicolons divide, so that names
/// may have commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiLabelList {
    samples: Vec<MultiLabelSample>,
    missing: Option<MissingFiles>,
}

/// More than twice AudioSet's largest list, which has 2.04 million rows and 100 MB.
const MAX_BYTES: u64 = 256 << 20;
const MAX_ROWS: usize = 1 << 22;
/// Seconds; no recording is longer.
const LONGEST: f64 = 1e7;

impl fmt::Display for MissingFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, line, name } = self;
        write!(
            f,
            "{count} rows are left out because their files are not there, the first in line {line} ({name})"
        )
    }
}

impl MultiLabelList {
    /// Whether a path is that of a list, and not of a folder: it ends in `.csv`, in any case.
    #[must_use]
    pub fn is_list(path: &Path) -> bool {
        path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")) && !path.is_dir()
    }

    /// Reads a list; its form is found from the content. Rows whose files are not there are left out and
    /// [counted](Self::missing).
    ///
    /// # Errors
    /// When the list cannot be read or has no rows, a row is malformed, has a label that is no class's, or names the same
    /// file as another, and when none of the files is there.
    pub fn open(path: impl AsRef<Path>, classes: &ClassNames) -> Result<Self, MultiLabelError> {
        let path = path.as_ref();
        let io = |source| MultiLabelError::Io { path: path.to_owned(), source };
        let text = super::read(path, MAX_BYTES).map_err(io)?;
        let mut reader = Reader::new(path, classes).map_err(io)?;
        for (at, row) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            reader.line(at + 1, row)?;
        }
        reader.finish()
    }

    /// Files and their classes, in the order of the list.
    #[must_use]
    pub fn samples(&self) -> &[MultiLabelSample] {
        &self.samples
    }

    /// The rows that were left out because their files are not there, if there are any.
    #[must_use]
    pub fn missing(&self) -> Option<&MissingFiles> {
        self.missing.as_ref()
    }

    /// So many of the files, spread evenly over the list; all of them if it has no more.
    #[must_use]
    pub fn limit(mut self, count: usize) -> Self {
        limit(&mut self.samples, count);
        self
    }
}

#[derive(Clone, Copy)]
enum Form {
    Segments,
    Table,
}

/// A list of which some lines have been read.
struct Reader<'a> {
    path: &'a Path,
    classes: NameIndex,
    files: Folder,
    form: Option<Form>,
    /// The line in which each row, and each file, was first met.
    lines: HashMap<PathBuf, usize>,
    samples: Vec<MultiLabelSample>,
    missing: Option<MissingFiles>,
}

impl<'a> Reader<'a> {
    fn new(path: &'a Path, classes: &ClassNames) -> std::io::Result<Self> {
        let files = Folder::open(path.parent().unwrap_or(Path::new("")))?;
        let classes = NameIndex::of(classes);
        let (samples, lines) = (Vec::new(), HashMap::new());
        Ok(Self { path, classes, files, form: None, lines, samples, missing: None })
    }

    fn line(&mut self, line: usize, row: &str) -> Result<(), MultiLabelError> {
        if row.trim().is_empty() || row.starts_with('#') {
            return Ok(());
        }
        let wrong = |reason: &str| MultiLabelError::Row {
            path: self.path.to_owned(),
            line,
            found: beginning(row),
            reason: reason.to_owned(),
        };
        // Tabs too: they would hide in a path or a label.
        if row.chars().any(char::is_control) {
            return Err(wrong("has control characters"));
        }
        let fields = fields(row).map_err(wrong)?;
        let form = match self.form {
            Some(form) => form,
            None => {
                let (form, is_heading) = form_of(&fields);
                self.form = Some(form);
                if is_heading {
                    return Ok(());
                }
                form
            }
        };
        let (name, row_key, found, labels) = match (form, fields.as_slice()) {
            (Form::Segments, [id, start, end, labels]) => {
                let (start, end) = times(start, end).map_err(wrong)?;
                if !is_id(id) {
                    return Err(wrong("has an id of other characters than letters, digits, - and _"));
                }
                if labels.is_empty() {
                    return Err(wrong("has no labels"));
                }
                // Parts of one video are files of their own.
                (id, format!("{id}_{start}_{end}"), self.files.segment(id, start, end), labels)
            }
            (Form::Segments, _) => {
                return Err(wrong(
                    "is not YTID, start_seconds, end_seconds, \"label,label\", and no line path,labels came before it",
                ));
            }
            (Form::Table, [path, labels]) => {
                if path.is_empty() {
                    return Err(wrong("has no path"));
                }
                (path, path.clone(), self.files.file(path), labels)
            }
            (Form::Table, _) => {
                return Err(wrong("is not path,labels; put several labels into quotes or divide them by ;"));
            }
        };
        let labels = self.labels(line, labels)?;
        self.first_time(line, found.as_deref().unwrap_or(Path::new(&row_key)))?;
        if self.lines.len() > MAX_ROWS {
            return Err(MultiLabelError::TooMany { path: self.path.to_owned(), limit: MAX_ROWS });
        }
        match (found, &mut self.missing) {
            (Some(path), _) => self.samples.push(MultiLabelSample { path, labels }),
            (None, Some(missing)) => missing.count += 1,
            (None, missing) => *missing = Some(MissingFiles { count: 1, line, name: name.clone() }),
        }
        Ok(())
    }

    /// Classes by the ids or names in a field.
    fn labels(&self, line: usize, field: &str) -> Result<Vec<usize>, MultiLabelError> {
        // A name with commas may be all that there is.
        if let Some(NamedClass::One(class)) = self.classes.find(field) {
            return Ok(vec![class]);
        }
        let mark = if field.contains(';') { ';' } else { ',' };
        let words = field.split(mark).map(str::trim).filter(|label| !label.is_empty());
        let class = |label: &str| match self.classes.find(label) {
            Some(NamedClass::One(class)) => Ok(class),
            Some(NamedClass::Several(first, second)) => Err(MultiLabelError::AmbiguousLabel {
                path: self.path.to_owned(),
                line,
                label: beginning(label),
                classes: (first, second),
            }),
            None => Err(MultiLabelError::UnknownLabel {
                path: self.path.to_owned(),
                line,
                label: beginning(label),
            }),
        };
        let mut classes: Vec<usize> = words.map(class).collect::<Result<_, _>>()?;
        classes.sort_unstable();
        classes.dedup();
        Ok(classes)
    }

    fn first_time(&mut self, line: usize, file: &Path) -> Result<(), MultiLabelError> {
        match self.lines.insert(file.to_owned(), line) {
            None => Ok(()),
            Some(first) => Err(MultiLabelError::Duplicate {
                path: self.path.to_owned(),
                line,
                first,
                file: beginning(&crate::path_text(file)),
            }),
        }
    }

    fn finish(self) -> Result<MultiLabelList, MultiLabelError> {
        let path = self.path.to_owned();
        match self.missing {
            None if self.samples.is_empty() => Err(MultiLabelError::Empty { path }),
            Some(missing) if self.samples.is_empty() => Err(MultiLabelError::AllMissing { path, missing }),
            missing => Ok(MultiLabelList { samples: self.samples, missing }),
        }
    }
}

/// The form that a list of this first row has, and whether the row is a heading.
fn form_of(fields: &[String]) -> (Form, bool) {
    let is = |at: usize, name: &str| fields.get(at).is_some_and(|field| field.eq_ignore_ascii_case(name));
    if fields.len() == 2 && is(0, "path") && is(1, "labels") {
        (Form::Table, true)
    } else {
        (Form::Segments, is(0, "ytid") && is(1, "start_seconds"))
    }
}

/// Whether nothing but a file's name can come of it.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn times(start: &str, end: &str) -> Result<(f64, f64), &'static str> {
    let seconds = |text: &str| text.parse::<f64>().ok().filter(|time| (0.0..=LONGEST).contains(time));
    match (seconds(start), seconds(end)) {
        (Some(start), Some(end)) if start < end => Ok((start, end)),
        (Some(_), Some(_)) => Err("ends before it starts"),
        _ => Err("has a time that is no number of seconds"),
    }
}
