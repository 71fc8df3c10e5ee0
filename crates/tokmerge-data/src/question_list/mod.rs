//! Lists of questions about pictures, with their answers.

mod bounded;
mod error;
mod read;
#[cfg(test)]
mod tests;

pub use error::{Place, QuestionListError};

use std::ops::Range;
use std::path::{Path, PathBuf};

/// A question of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedQuestion {
    /// Which of the [`pictures`](QuestionList::pictures) it is about.
    pub picture: usize,
    /// The question in words.
    pub text: String,
    /// The answer, or what several people answered; at least one.
    pub answers: Vec<String>,
    /// What kind of question it is, where the list says so.
    pub kind: Option<String>,
    /// Where it stands in the list.
    pub place: Place,
}

/// Questions about pictures.
///
/// These forms are understood, by the ending of the file:
///
/// - `.jsonl`: an object a line, `{"image": "images/1.png", "question": "What is red?", "answer": "circle"}`, or with what several
///   people answered as `"answers": ["circle", "ring"]`; a `"kind"` may say what kind of question it is.
/// - `.csv`: the first line has the columns `image`, `question` and `answer`, in any order, perhaps `kind` and others that are not read.
///   Several answers have semicolons between them.
/// - `.json`: easy-VQA's list of `[question, answer, image_id]`, whose pictures are `images/IMAGE_ID.png`; or VQA's questions, with
///   its annotations in a file of the same name but for `annotations` in place of `questions` (or in the same file), whose pictures
///   are `val2014/COCO_val2014_IMAGE_ID.jpg` where its `data_subtype` is `val2014`, the number having twelve digits.
///
/// Paths of pictures are relative to the folder of the list. A folder stands for the `questions.jsonl`, `questions.csv` or
/// `questions.json` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionList {
    pictures: Vec<PathBuf>,
    questions: Vec<ListedQuestion>,
}

/// The form of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuestionListForm {
    /// A JSON object a line.
    JsonLines,
    /// A table with a heading.
    Csv,
    /// easy-VQA's JSON, or VQA's.
    Json,
}

impl QuestionListForm {
    /// All of them, in the order in which a folder is looked through.
    pub const ALL: [Self; 3] = [Self::JsonLines, Self::Csv, Self::Json];

    /// The ending of its files, without a dot.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }

    /// The form that a file of this name has.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?;
        Self::ALL.into_iter().find(|form| ending.eq_ignore_ascii_case(form.ending()))
    }
}

impl QuestionList {
    /// Reads a list, and sees whether its pictures are there. None is decoded.
    ///
    /// # Errors
    /// When the list cannot be read or has no questions, a question is malformed, or a picture is not there.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, QuestionListError> {
        let path = path.as_ref();
        if path.is_dir() {
            let named =
                QuestionListForm::ALL.map(|form| path.join("questions").with_extension(form.ending()));
            let found = named.into_iter().find(|list| list.is_file());
            return Self::open(found.ok_or_else(|| QuestionListError::Folder { path: path.to_owned() })?);
        }
        if !path.exists() {
            read::bytes(path)?;
        }
        let form =
            QuestionListForm::of(path).ok_or_else(|| QuestionListError::Form { path: path.to_owned() })?;
        let bytes = read::bytes(path)?;
        let list = match read::annotations(&bytes, path)? {
            Some(annotations) => read::parse_vqa(&bytes, &annotations, path)?,
            None => Self::parse(&bytes, form, path)?,
        };
        list.check_pictures(path)?;
        Ok(list)
    }

    /// Reads what a list at `path` holds, whether or not its pictures are there.
    ///
    /// # Errors
    /// When it is malformed, or has no questions.
    pub fn parse(bytes: &[u8], form: QuestionListForm, path: &Path) -> Result<Self, QuestionListError> {
        read::parse(bytes, form, path)
    }

    fn check_pictures(&self, path: &Path) -> Result<(), QuestionListError> {
        let is_missing: Vec<bool> = self.pictures.iter().map(|picture| !picture.is_file()).collect();
        let Some(first) = self.questions.iter().find(|question| is_missing[question.picture]) else {
            return Ok(());
        };
        Err(QuestionListError::Missing {
            path: path.to_owned(),
            place: first.place,
            picture: error::shown(&crate::path_text(&self.pictures[first.picture])),
            count: is_missing.iter().filter(|missing| **missing).count(),
            of: self.pictures.len(),
        })
    }

    /// The pictures, each once, in the order in which they are first asked about.
    #[must_use]
    pub fn pictures(&self) -> &[PathBuf] {
        &self.pictures
    }

    /// The questions, in the order of the list.
    #[must_use]
    pub fn questions(&self) -> &[ListedQuestion] {
        &self.questions
    }

    /// The picture that a question of this list is about.
    ///
    /// # Panics
    /// When the question is of a list with more pictures.
    #[must_use]
    pub fn picture_of(&self, question: &ListedQuestion) -> &Path {
        &self.pictures[question.picture]
    }

    /// Runs of consecutive questions about one picture, in order, by their places in [`questions`](Self::questions): reading
    /// each picture once per run takes this many reads.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut start = 0;
        self.questions.chunk_by(|one, next| one.picture == next.picture).map(move |run| {
            let begins = start;
            start += run.len();
            begins..start
        })
    }

    /// The questions about some pictures, which are said by their indices; all pictures stay.
    #[must_use]
    pub fn about(&self, is_meant: impl Fn(usize) -> bool) -> Self {
        let questions = self.questions.iter().filter(|question| is_meant(question.picture)).cloned();
        Self { pictures: self.pictures.clone(), questions: questions.collect() }
    }

    /// The first `count` questions; all of them if there are no more. Lists often repeat a sequence of kinds, of which
    /// questions spread evenly would be a biased choice.
    #[must_use]
    pub fn limit(mut self, count: usize) -> Self {
        self.questions.truncate(count);
        let asked_about = self.questions.iter().map(|question| question.picture + 1).max();
        self.pictures.truncate(asked_about.unwrap_or(0));
        self
    }
}
