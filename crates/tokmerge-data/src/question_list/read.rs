//! The forms of a list.

use super::bounded::bounded;
use super::error::shown;
use super::{ListedQuestion, Place, QuestionList, QuestionListError, QuestionListForm};
use crate::labels::{fields, read_bytes};
use crate::text::from_utf8;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Twice as much as VQA's training questions take with ten answers each.
const MAX_BYTES: u64 = 256 << 20;
/// Of VQA's annotations, which have ten objects a question: those of its training set take 0.4 GB.
const MAX_ANNOTATION_BYTES: u64 = 1 << 30;
/// More than any data set has: VQA 2.0 has 1.1 million in all, Visual Genome 1.7.
const MAX_QUESTIONS: usize = 1 << 21;
/// Answers to a question; VQA has ten.
const MAX_ANSWERS: usize = 100;

/// Bytes of a field at most.
const LONGEST: usize = 4096;

/// What a list holds.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, QuestionListError> {
    read_bytes(path, MAX_BYTES).map_err(|source| QuestionListError::Io { path: path.to_owned(), source })
}

pub(super) fn parse(
    bytes: &[u8],
    form: QuestionListForm,
    path: &Path,
) -> Result<QuestionList, QuestionListError> {
    let text = text_of(bytes, path)?;
    let mut reader = Reader::new(path);
    match form {
        QuestionListForm::JsonLines => reader.json_lines(text)?,
        QuestionListForm::Csv => reader.csv(text)?,
        QuestionListForm::Json if text.trim_start().starts_with('{') => reader.vqa(text, None)?,
        QuestionListForm::Json => reader.easy_vqa(text)?,
    }
    reader.finish()
}

/// VQA's annotations, and where they are.
pub(super) struct Annotations {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// VQA's questions with its annotations, the answers, which are another file: that of the same name with `annotations` for
/// `questions`, without the `OpenEnded` of VQA's own names where there is none with it. `None` where the list is no such file,
/// or has its annotations in itself.
pub(super) fn annotations(questions: &[u8], path: &Path) -> Result<Option<Annotations>, QuestionListError> {
    let questions = questions.strip_prefix("\u{feff}".as_bytes()).unwrap_or(questions);
    let is_object = questions.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !is_object || QuestionListForm::of(path) != Some(QuestionListForm::Json) || !name.contains("questions")
    {
        return Ok(None);
    }
    let named = name.replace("questions", "annotations");
    let beside = [named.clone(), named.replace("OpenEnded_", "")].map(|name| path.with_file_name(name));
    match beside.iter().find(|file| file.is_file()) {
        None => Ok(None),
        Some(file) => read_bytes(file, MAX_ANNOTATION_BYTES)
            .map(|bytes| Some(Annotations { path: file.clone(), bytes }))
            .map_err(|source| QuestionListError::Io { path: file.clone(), source }),
    }
}

/// Both files of VQA.
pub(super) fn parse_vqa(
    questions: &[u8],
    annotations: &Annotations,
    path: &Path,
) -> Result<QuestionList, QuestionListError> {
    let questions = text_of(questions, path)?;
    let annotations = (text_of(&annotations.bytes, &annotations.path)?, annotations.path.as_path());
    let mut reader = Reader::new(path);
    reader.vqa(questions, Some(annotations))?;
    reader.finish()
}

fn text_of<'b>(bytes: &'b [u8], path: &Path) -> Result<&'b str, QuestionListError> {
    let text = from_utf8(bytes);
    text.map(without_mark).map_err(|source| QuestionListError::Text { path: path.to_owned(), source })
}

/// Without the byte order mark that editors put in front.
fn without_mark(text: &str) -> &str {
    text.trim_start_matches('\u{feff}')
}

/// VQA's file of questions, perhaps with its annotations. What else it says is not read.
#[derive(Deserialize)]
struct VqaQuestions {
    #[serde(deserialize_with = "bounded::<_, _, MAX_QUESTIONS>")]
    questions: Vec<VqaQuestion>,
    #[serde(default, deserialize_with = "bounded::<_, _, MAX_QUESTIONS>")]
    annotations: Vec<Annotation>,
    #[serde(default)]
    data_subtype: String,
}

/// VQA's file of annotations.
#[derive(Deserialize)]
struct VqaAnnotations {
    #[serde(deserialize_with = "bounded::<_, _, MAX_QUESTIONS>")]
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct VqaQuestion {
    question_id: u64,
    image_id: u64,
    question: String,
}

#[derive(Deserialize)]
struct Annotation {
    question_id: u64,
    #[serde(deserialize_with = "bounded::<_, _, MAX_ANSWERS>")]
    answers: Vec<Answered>,
    #[serde(default)]
    answer_type: Option<String>,
}

#[derive(Deserialize)]
struct Answered {
    answer: String,
}

/// easy-VQA's question, answer and number of the picture, of every question.
#[derive(Deserialize)]
#[serde(transparent)]
struct Entries(#[serde(deserialize_with = "bounded::<_, _, MAX_QUESTIONS>")] Vec<(String, String, u64)>);

/// A line of JSON. What else it says is not read.
#[derive(Deserialize)]
struct Object {
    image: String,
    question: String,
    answer: Option<String>,
    answers: Option<Vec<String>>,
    kind: Option<String>,
}

/// The columns of a table by their places.
struct Columns {
    image: usize,
    question: usize,
    answer: usize,
    kind: Option<usize>,
    count: usize,
}

impl Columns {
    fn of(heading: &[String], path: &Path) -> Result<Self, QuestionListError> {
        let place = |name: &str| heading.iter().position(|column| column.eq_ignore_ascii_case(name));
        let needed = |column: &'static str| {
            place(column).ok_or_else(|| QuestionListError::Column { path: path.to_owned(), column })
        };
        Ok(Self {
            image: needed("image")?,
            question: needed("question")?,
            answer: needed("answer")?,
            kind: place("kind"),
            count: heading.len(),
        })
    }
}

/// A list of which some questions have been read.
struct Reader<'a> {
    path: &'a Path,
    /// Pictures by what the list calls them.
    places: HashMap<String, usize>,
    list: QuestionList,
}

impl<'a> Reader<'a> {
    fn new(path: &'a Path) -> Self {
        let list = QuestionList { pictures: Vec::new(), questions: Vec::new() };
        Self { path, places: HashMap::new(), list }
    }

    fn wrong(&self, place: Place, reason: impl Into<String>) -> QuestionListError {
        QuestionListError::Question { path: self.path.to_owned(), place, reason: reason.into() }
    }

    fn json_lines(&mut self, text: &str) -> Result<(), QuestionListError> {
        for (line, row) in (1..).zip(text.lines()).filter(|(_, row)| !row.trim().is_empty()) {
            let place = Place::Line(line);
            let object: Object = serde_json::from_str(row).map_err(|error| {
                self.wrong(place, format!("is no question as JSON ({})", reason(&error, PositionIn::Line)))
            })?;
            let Object { image, question, answer, answers, kind } = object;
            let answers = match (answer, answers) {
                (Some(answer), None) => vec![answer],
                (None, Some(answers)) => answers,
                (Some(_), Some(_)) => {
                    return Err(self.wrong(place, "has both answer and answers; leave one out"));
                }
                (None, None) => return Err(self.wrong(place, "has neither answer nor answers; add one")),
            };
            self.add(place, &image, question, answers, kind)?;
        }
        Ok(())
    }

    fn csv(&mut self, text: &str) -> Result<(), QuestionListError> {
        let mut columns: Option<Columns> = None;
        for (line, row) in (1..).zip(text.lines()).filter(|(_, row)| !row.trim().is_empty()) {
            let place = Place::Line(line);
            let mut found = fields(row).map_err(|reason| self.wrong(place, reason))?;
            let Some(columns) = &columns else {
                columns = Some(Columns::of(&found, self.path)?);
                continue;
            };
            if found.len() != columns.count {
                let (has, needs) = (found.len(), columns.count);
                return Err(self.wrong(
                    place,
                    format!("has {has} fields, and the first line has {needs}; put commas within a field into quotes"),
                ));
            }
            let mut take = |column: usize| std::mem::take(&mut found[column]);
            let (image, question, answers) =
                (take(columns.image), take(columns.question), take(columns.answer));
            let kind = columns.kind.map(take).filter(|kind| !kind.is_empty());
            let answers = answers.split(';').map(|answer| answer.trim().to_owned()).collect();
            self.add(place, &image, question, answers, kind)?;
        }
        Ok(())
    }

    fn easy_vqa(&mut self, text: &str) -> Result<(), QuestionListError> {
        let Entries(entries) = serde_json::from_str(text).map_err(|error| {
            let reason = reason(&error, PositionIn::File);
            QuestionListError::Json { path: self.path.to_owned(), reason }
        })?;
        for (entry, (question, answer, image)) in (1..).zip(entries) {
            let image = format!("images/{image}.png");
            self.add(Place::Entry(entry), &image, question, vec![answer], None)?;
        }
        Ok(())
    }

    /// VQA's questions, with annotations of a file of their own where they have one.
    fn vqa(&mut self, questions: &str, annotations: Option<(&str, &Path)>) -> Result<(), QuestionListError> {
        let wrong_in = |path: &Path, error: &serde_json::Error| QuestionListError::Vqa {
            path: path.to_owned(),
            reason: reason(error, PositionIn::File),
        };
        let VqaQuestions { questions, annotations: own, data_subtype } =
            serde_json::from_str(questions).map_err(|error| wrong_in(self.path, &error))?;
        let annotations = match annotations {
            Some((text, path)) => {
                let found: Result<VqaAnnotations, _> = serde_json::from_str(text);
                found.map_err(|error| wrong_in(path, &error))?.annotations
            }
            None => own,
        };
        if annotations.is_empty() && !questions.is_empty() {
            return Err(QuestionListError::NoAnnotations { path: self.path.to_owned() });
        }
        let mut answers: HashMap<u64, Annotation> =
            annotations.into_iter().map(|annotation| (annotation.question_id, annotation)).collect();
        let folder = match check("data_subtype", &data_subtype) {
            Ok(()) if !data_subtype.contains(['/', '\\']) => data_subtype,
            _ => "images".to_owned(),
        };
        let mut asked = HashSet::new();
        for (entry, VqaQuestion { question_id, image_id, question }) in (1..).zip(questions) {
            let place = Place::Entry(entry);
            if !asked.insert(question_id) {
                let reason = format!("is question {question_id}, which is there twice; leave one out");
                return Err(self.wrong(place, reason));
            }
            let Some(Annotation { answers, answer_type, .. }) = answers.remove(&question_id) else {
                let reason =
                    format!("is question {question_id}, which has no annotation; leave it out, or add one");
                return Err(self.wrong(place, reason));
            };
            let image = format!("{folder}/COCO_{folder}_{image_id:012}.jpg");
            let answers = answers.into_iter().map(|answered| answered.answer).collect();
            self.add(place, &image, question, answers, answer_type)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        place: Place,
        image: &str,
        text: String,
        answers: Vec<String>,
        kind: Option<String>,
    ) -> Result<(), QuestionListError> {
        if self.list.questions.len() == MAX_QUESTIONS {
            return Err(QuestionListError::TooMany { path: self.path.to_owned(), limit: MAX_QUESTIONS });
        }
        if answers.is_empty() || answers.len() > MAX_ANSWERS {
            let count = answers.len();
            return Err(
                self.wrong(place, format!("has {count} answers, and a question has 1 to {MAX_ANSWERS}"))
            );
        }
        let named = [("image", image), ("question", text.as_str())].into_iter();
        let named = named.chain(answers.iter().map(|answer| ("answer", answer.as_str())));
        for (what, field) in named.chain(kind.as_deref().map(|kind| ("kind", kind))) {
            check(what, field).map_err(|reason| self.wrong(place, reason))?;
        }
        let picture = match self.places.get(image) {
            Some(picture) => *picture,
            None => {
                let folder: PathBuf = self.path.parent().unwrap_or(Path::new("")).to_owned();
                self.list.pictures.push(folder.join(image));
                self.places.insert(image.to_owned(), self.list.pictures.len() - 1);
                self.list.pictures.len() - 1
            }
        };
        self.list.questions.push(ListedQuestion { picture, text, answers, kind, place });
        Ok(())
    }

    fn finish(self) -> Result<QuestionList, QuestionListError> {
        match self.list.questions.is_empty() {
            true => Err(QuestionListError::Empty { path: self.path.to_owned() }),
            false => Ok(self.list),
        }
    }
}

/// Refuses a field that nobody means.
fn check(what: &str, field: &str) -> Result<(), String> {
    if field.trim().is_empty() {
        return Err(format!("has an empty {what}; fill it in, or leave the question out"));
    }
    if field.len() > LONGEST {
        let len = field.len();
        return Err(format!("has {len} bytes as its {what}, and at most {LONGEST} are read; shorten it"));
    }
    if field.chars().any(char::is_control) {
        return Err(format!("has control characters in its {what}; remove them: {}", shown(field)));
    }
    Ok(())
}

/// What a position in JSON counts in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PositionIn {
    Line,
    File,
}

/// What is wrong with JSON, with the place.
fn reason(error: &serde_json::Error, position: PositionIn) -> String {
    let text = error.to_string();
    let (line, column) = (error.line(), error.column());
    let text = shown(text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text));
    match position {
        PositionIn::Line => format!("{text}, column {column}"),
        PositionIn::File => format!("{text}, line {line}, column {column}"),
    }
}
