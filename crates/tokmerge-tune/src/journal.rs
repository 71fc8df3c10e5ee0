//! Every measurement, written down as it is made.

use crate::Point;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tokmerge_checkpoint::try_lock;

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
    /// It belongs to another model, or to other images.
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
    /// Another search writes to it.
    #[error("{path}: another search is writing to it; wait for it, or give another `output`")]
    Held {
        /// The journal.
        path: String,
    },
    /// Its first line is not that of a journal.
    #[error("{path} is not a journal of tokmerge tune or compare; give another `output`, or delete the file")]
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

/// Measurements by method: in memory, and in a file where one is given, which is locked as long as it is open. A line that
/// cannot be read, such as one that was cut off by a crash, does not count; all others do.
#[derive(Debug)]
pub struct Journal {
    points: HashMap<String, Point>,
    file: Option<(File, PathBuf)>,
    lost: usize,
}

impl Journal {
    /// A journal that is forgotten with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { points: HashMap::new(), file: None, lost: 0 }
    }

    /// Opens a journal, or starts one.
    ///
    /// # Errors
    /// When the file belongs to another search, is no journal, or cannot be read or written.
    pub fn open(path: impl AsRef<Path>, fingerprint: &Fingerprint) -> Result<Self, JournalError> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        let io = |source| JournalError::Io { path: shown.clone(), source };
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(io(std::io::Error::other("not a regular file")));
        }
        let mut options = OpenOptions::new();
        let mut file = options.create(true).read(true).write(true).truncate(false).open(path).map_err(io)?;
        if !try_lock(&file).map_err(io)? {
            return Err(JournalError::Held { path: shown });
        }
        let mut journal = Self { points: HashMap::new(), file: None, lost: 0 };
        let mut reader = BufReader::new(&file);
        let (mut line, mut began, mut whole, mut end) = (Vec::new(), false, true, 0);
        while (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).map_err(io)? > 0 {
            whole = line.ends_with(b"\n");
            if !began {
                let ours = serde_json::to_vec(fingerprint).map_err(|error| io(error.into()))?;
                if !whole && ours.starts_with(&line) {
                    // A kill came into the very first line: nothing is lost by beginning anew.
                    break;
                }
                let found = serde_json::from_slice::<Fingerprint>(&line);
                let found = found.map_err(|_| JournalError::NotOne { path: shown.clone() })?;
                compare(&shown, &found, fingerprint)?;
                began = true;
            } else {
                match serde_json::from_slice::<Point>(&line) {
                    Ok(point) if is_sound(&point) => {
                        journal.points.insert(point.merge.clone(), point);
                    }
                    // What a kill cut off is no loss: it is measured anew.
                    _ if !whole => break,
                    _ => journal.lost += 1,
                }
            }
            end += line.len() as u64;
            line.clear();
        }
        if end < file.metadata().map_err(io)?.len() {
            file.set_len(end).map_err(io)?;
            whole = true;
        }
        file.seek(SeekFrom::End(0)).map_err(io)?;
        if began && !whole {
            // What is written next would be glued to it.
            file.write_all(b"\n").map_err(io)?;
        }
        journal.file = Some((file, path.to_owned()));
        if !began {
            journal.write(fingerprint)?;
        }
        Ok(journal)
    }

    /// Lines of the file that are no measurement, and do not count.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.lost
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

/// Longer lines are no measurements.
const MAX_LINE: u64 = 64 << 20;

/// Whether a measurement can have been made: whatever stands in a file.
fn is_sound(point: &Point) -> bool {
    let Point { images, gmacs, tokens, agreement, expected_agreement, agreement_error, .. } = point;
    let percents = [Some(*agreement), Some(*expected_agreement), point.top1];
    let is_percent = |percent: f64| (-1e-6..=100.0 + 1e-6).contains(&percent);
    let finite = [Some(*agreement_error), point.expected_drop, point.drop_error];
    let positive = [*gmacs, *tokens, point.seconds, point.unmerged_seconds];
    let raw = point.raw.as_ref().is_none_or(|raw| {
        let is_empty = raw.label.margin.is_empty() && raw.label.change.is_empty();
        let lengths = [raw.own.margin.len(), raw.own.change.len(), raw.gaps.len()];
        let labels = [raw.label.margin.len(), raw.label.change.len()];
        lengths.iter().all(|length| length == images)
            && (is_empty || labels.iter().all(|length| length == images))
            && (raw.cosines.is_empty() || raw.cosines.len() == *images)
            && raw.gmacs.is_finite()
            && raw.gmacs > 0.0
    });
    *images > 0
        && percents.into_iter().flatten().all(is_percent)
        && finite.into_iter().flatten().all(f64::is_finite)
        && positive.iter().all(|value| value.is_finite() && *value > 0.0)
        && raw
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
