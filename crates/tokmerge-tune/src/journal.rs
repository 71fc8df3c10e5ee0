//! Every measurement, written down as it is made.

use crate::Point;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// What measurements depend on: a journal is only worth something for the same model on the same images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Name of the model.
    pub model: String,
    /// A number that changes with the weights.
    pub weights: String,
    /// Height and width of the input.
    pub img_size: (usize, usize),
    /// How images are prepared.
    pub preprocess: String,
    /// What products are computed in.
    pub dtype: String,
    /// What counts as an operation.
    pub convention: String,
    /// A number that changes with the images searched on.
    pub images: String,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// It belongs to another search.
    #[error(
        "{path} holds measurements of another {what}: {then}, not {now}; give another `output`, or delete the file to start anew"
    )]
    Other {
        /// The journal.
        path: String,
        /// What differs.
        what: &'static str,
        /// In the journal.
        then: String,
        /// Here.
        now: String,
    },
    /// Its first line is not that of a journal.
    #[error("{path} is not a journal of tokmerge tune; give another `output`, or delete the file")]
    NotOne {
        /// The file.
        path: String,
    },
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The journal.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Measurements by method: in memory, and in a file where one is given. A line that was cut off by a crash is
/// dropped; all lines before it count.
#[derive(Debug)]
pub struct Journal {
    points: HashMap<String, Point>,
    file: Option<(File, PathBuf)>,
}

impl Journal {
    /// A journal that is forgotten with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { points: HashMap::new(), file: None }
    }

    /// Opens a journal, or starts one.
    ///
    /// # Errors
    /// When the file belongs to another search, is no journal, or cannot be read or written.
    pub fn open(path: impl AsRef<Path>, fingerprint: &Fingerprint) -> Result<Self, JournalError> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        let io = |source| JournalError::Io { path: shown.clone(), source };
        let mut points = HashMap::new();
        let mut good = 0;
        if path.exists() {
            let mut reader = BufReader::new(File::open(path).map_err(io)?);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).map_err(io)? > 0 {
                if good == 0 {
                    let found: Fingerprint = serde_json::from_slice(&line)
                        .map_err(|_| JournalError::NotOne { path: shown.clone() })?;
                    compare(&shown, &found, fingerprint)?;
                } else {
                    let Ok(point) = serde_json::from_slice::<Point>(&line) else { break };
                    if !line.ends_with(b"\n") {
                        // What is written next would be glued to it.
                        break;
                    }
                    points.insert(point.merge.clone(), point);
                }
                good += line.len() as u64;
                line.clear();
            }
        }
        let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(path).map_err(io)?;
        file.set_len(good).map_err(io)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).map_err(io)?;
        let mut journal = Self { points, file: Some((file, path.to_owned())) };
        if good == 0 {
            journal.write(fingerprint)?;
        }
        Ok(journal)
    }

    /// Measurements that are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether nothing is known yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    pub(crate) fn get(&self, merge: &str) -> Option<&Point> {
        self.points.get(merge)
    }

    /// Writes a point down, and gives it back as the journal will from now on.
    pub(crate) fn add(&mut self, mut point: Point) -> Result<Point, JournalError> {
        shorten(&mut point);
        self.write(&point)?;
        self.points.insert(point.merge.clone(), point.clone());
        Ok(point)
    }

    /// One line, at once on its way to the disk.
    fn write(&mut self, entry: &impl Serialize) -> Result<(), JournalError> {
        let Some((file, path)) = &mut self.file else { return Ok(()) };
        let wrong = |source| JournalError::Io { path: path.display().to_string(), source };
        let mut line = serde_json::to_vec(entry).map_err(|error| wrong(error.into()))?;
        line.push(b'\n');
        file.write_all(&line).and_then(|()| file.flush()).map_err(wrong)
    }
}

/// Rounds figures to 14 digits: JSON gives these back to the last bit, and all 17 it does not. A search that goes on
/// from its journal must see what the search before it saw.
fn shorten(point: &mut Point) {
    let Point { gmacs, tokens, agreement, expected_agreement, agreement_error, .. } = point;
    let always = [gmacs, tokens, agreement, expected_agreement, agreement_error];
    let sometimes = [&mut point.top1, &mut point.expected_drop, &mut point.drop_error];
    let times = [&mut point.seconds, &mut point.unmerged_seconds];
    let raw = point.raw.as_mut().map(|raw| &mut raw.gmacs);
    for value in always.into_iter().chain(sometimes.into_iter().flatten()).chain(times).chain(raw) {
        *value = format!("{value:.13e}").parse().unwrap_or(*value);
    }
}

fn compare(path: &str, then: &Fingerprint, now: &Fingerprint) -> Result<(), JournalError> {
    let size = |(height, width): (usize, usize)| format!("{height}x{width}");
    let pairs = [
        ("model", then.model.clone(), now.model.clone()),
        // An image size changes the weights too: the cause comes first.
        ("image size", size(then.img_size), size(now.img_size)),
        ("dtype", then.dtype.clone(), now.dtype.clone()),
        ("set of weights", then.weights.clone(), now.weights.clone()),
        ("preprocessing", then.preprocess.clone(), now.preprocess.clone()),
        ("convention", then.convention.clone(), now.convention.clone()),
        (
            "set of images (the folder, `seed`, `limit`, `search_images` and `labels` decide which)",
            then.images.clone(),
            now.images.clone(),
        ),
    ];
    match pairs.into_iter().find(|(_, then, now)| then != now) {
        Some((what, then, now)) => Err(JournalError::Other { path: path.to_owned(), what, then, now }),
        None => Ok(()),
    }
}
