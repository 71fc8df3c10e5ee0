//! Why a list of questions cannot be used. One line each.

use crate::text::TextError;
use std::fmt;
use std::path::PathBuf;

/// Where a question stands in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a line, counted from 1.
    Line(usize),
    /// Among the entries of a JSON list, counted from 1.
    Entry(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Entry(entry) => write!(f, "entry {entry}"),
        }
    }
}

/// Why a list of questions cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuestionListError {
    /// The list could not be read.
    #[error("{}: cannot be read as a list of questions: {source}{}", path.display(), crate::way_out(source))]
    Io {
        /// The list.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The list is no text.
    #[error("{}: {source}", path.display())]
    Text {
        /// The list.
        path: PathBuf,
        /// Why.
        source: TextError,
    },
    /// An ending that no form has.
    #[error(
        "{}: a list of questions ends in .jsonl, .csv (image,question,answer) or .json (as easy-VQA's or VQA's); name it so", path.display()
    )]
    Form {
        /// The list.
        path: PathBuf,
    },
    /// A folder without a list.
    #[error(
        "{}: holds no list of questions; give one, or a folder with questions.jsonl, questions.csv or questions.json",
        path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// A heading without one of the columns.
    #[error(
        "{}: line 1 has no column {column}; the first line of a table of questions is image,question,answer", path.display()
    )]
    Column {
        /// The list.
        path: PathBuf,
        /// What is missing.
        column: &'static str,
    },
    /// A question that is none.
    #[error("{}: {place} {reason}", path.display())]
    Question {
        /// The list.
        path: PathBuf,
        /// Where.
        place: Place,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// JSON that is no list of questions.
    #[error("{}: is no list of [question, answer, image_id] as easy-VQA's ({reason})", path.display())]
    Json {
        /// The list.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// JSON that is not VQA's either.
    #[error(
        "{}: is not VQA's questions or annotations ({reason}); it has a list of objects with question_id, image_id and question",
        path.display()
    )]
    Vqa {
        /// The list.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// VQA's questions alone.
    #[error(
        "{}: has questions and no annotations, which hold the answers; put VQA's other file beside it, named alike with annotations \
         for questions", path.display()
    )]
    NoAnnotations {
        /// The list.
        path: PathBuf,
    },
    /// More questions than any data set has.
    #[error("{}: has more than the {limit} questions that are read; divide it", path.display())]
    TooMany {
        /// The list.
        path: PathBuf,
        /// How many are read.
        limit: usize,
    },
    /// No questions.
    #[error(
        "{}: holds no questions; write one a line, e.g. {}", path.display(),
        r#"{"image": "1.png", "question": "What is red?", "answer": "circle"}"#
    )]
    Empty {
        /// The list.
        path: PathBuf,
    },
    /// A picture that is not there.
    #[error(
        "{}: {count} of its {of} pictures are not there, the first is {picture} of {place}; put the list where its paths \
         begin", path.display()
    )]
    Missing {
        /// The list.
        path: PathBuf,
        /// The first question about such a picture.
        place: Place,
        /// Its picture.
        picture: String,
        /// Pictures that are not there.
        count: usize,
        /// Of so many.
        of: usize,
    },
}

/// Fit for one line of a terminal, and not too long: control characters are escaped.
pub(super) fn shown(text: &str) -> String {
    crate::shown::beginning(text, 200)
}
