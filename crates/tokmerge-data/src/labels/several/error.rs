//! Why a list with several labels each cannot be used.

use super::MissingFiles;
use std::path::PathBuf;

/// Why a list with several labels for each file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MultiLabelError {
    /// The list could not be read, or the folder that it lies in.
    #[error("{}: cannot be read as a list of labels: {source}{}", path.display(), crate::way_out(source))]
    Io {
        /// The list.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A row that is none.
    #[error("{}: line {line} {reason}: {found}", path.display())]
    Row {
        /// The list.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
        /// The beginning of the row, without control characters.
        found: String,
    },
    /// A label that is neither id nor name of a class.
    #[error(
        "{}: line {line}: '{label}' is neither id nor name of a class; give the `labels` of the classes, for AudioSet \
         class_labels_indices.csv", path.display()
    )]
    UnknownLabel {
        /// The list.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The beginning of the label.
        label: String,
    },
    /// A label that is the name of several classes.
    #[error(
        "{}: line {line}: '{label}' is the name of classes {} and {}; give the id of the one that is meant",
        path.display(), classes.0, classes.1
    )]
    AmbiguousLabel {
        /// The list.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The beginning of the label.
        label: String,
        /// Two of the classes.
        classes: (usize, usize),
    },
    /// Two rows for one file.
    #[error(
        "{}: line {line} names the same file as line {first}: {file}; write all its labels into one row",
        path.display()
    )]
    Duplicate {
        /// The list.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The line of the other.
        first: usize,
        /// The file, or what the row calls it where it is not there.
        file: String,
    },
    /// More rows than any data set has.
    #[error("{}: has more than the {limit} rows that are read; divide it", path.display())]
    TooMany {
        /// The list.
        path: PathBuf,
        /// How many rows are read.
        limit: usize,
    },
    /// No rows.
    #[error(
        "{}: holds no rows; write YTID, start_seconds, end_seconds, \"label,label\", or path,labels in the first line \
         and a file with its labels in each that follows", path.display()
    )]
    Empty {
        /// The list.
        path: PathBuf,
    },
    /// None of the files is there.
    #[error(
        "{}: none of its {} files is there, the first is {} of line {}; put the list beside its files",
        path.display(), missing.count, missing.name, missing.line
    )]
    AllMissing {
        /// The list.
        path: PathBuf,
        /// The rows.
        missing: MissingFiles,
    },
}
