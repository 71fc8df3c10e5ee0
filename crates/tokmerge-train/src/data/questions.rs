//! Questions about pictures.

use super::source::{Data, Source, nothing_left};
use crate::error::TrainError;
use crate::recipe::DataRecipe;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tokmerge_data::{Media, QuestionList};
use tokmerge_eval::{answer_scores, comparable};
use tokmerge_metrics::{CLASS_AT_LEAST, classes, most_frequent};
use tokmerge_nn::Random;
use tokmerge_scenes::Split;
use tokmerge_scenes::questions::{ANSWERS, Questions};

/// In front of a number of questions, in place of a list.
const QUESTIONS: &str = "questions:";

/// Opens the questions of a recipe.
pub(super) fn open(recipe: &DataRecipe, seed: u64) -> Result<Data, TrainError> {
    let drawn = recipe.train.to_str().and_then(|text| text.strip_prefix(QUESTIONS));
    let held_out = match (&recipe.val, drawn) {
        (Some(path), _) => Some((path, list(path)?)),
        (None, Some(_)) => {
            return Err(TrainError::Data(
                "data.val is missing: drawn questions are validated on a list; make one with tokmerge scenes DIR --questions and \
                 give it"
                    .to_owned(),
            ));
        }
        (None, None) => None,
    };
    let (train, held_out, class_names) = match (drawn, held_out) {
        (Some(count), held_out) => {
            let count = count.parse().ok().filter(|count| (1..=1usize << 40).contains(count));
            let count = count.ok_or_else(|| {
                TrainError::Data(format!(
                    "data.train = \"{}\" draws no questions; write how many there are to be, e.g. \"{QUESTIONS}40000\"",
                    recipe.train.display()
                ))
            })?;
            let names: Vec<String> = ANSWERS.map(str::to_owned).to_vec();
            (Source::Questions { questions: Questions::of(Split::Train), count }, held_out, names)
        }
        (None, held_out) => {
            let all = list(&recipe.train)?;
            let names = answers(&all);
            let (kept, held_out) = match held_out {
                Some(held_out) => (all, held_out),
                None => {
                    let (kept, held_out) = split(&all, recipe.split.unwrap_or(0.0), seed);
                    let counts = [&kept, &held_out].map(|list| list.questions().len());
                    if counts.contains(&0) {
                        return Err(nothing_left(recipe.split, Media::Question, counts[0], counts[1]));
                    }
                    (kept, (&recipe.train, held_out))
                }
            };
            (scored(&recipe.train, kept, &names)?, Some(held_out), names)
        }
    };
    let Some((path, held_out)) = held_out else { unreachable!("drawn questions are validated on a list") };
    let val = scored(path, held_out, &class_names)?;
    Ok(Data { media: Media::Question, train, val, class_names, notes: Vec::new() })
}

impl Data {
    /// Of a model that chooses among answers: refuses questions of which none has an answer that is a class, and notes those that
    /// have none.
    pub(crate) fn choosable(&mut self) -> Result<(), TrainError> {
        if self.class_names.is_empty() {
            return Err(TrainError::Data(format!(
                "data.train: no answer is a class; one that people gave is, if it is the commonest of {CLASS_AT_LEAST} questions; \
                 give more questions, or one answer to each"
            )));
        }
        for (what, source) in [("train on", &self.train), ("validate on", &self.val)] {
            let Source::QuestionList { scores, .. } = source else { continue };
            let unknown = scores.iter().filter(|scores| scores.is_empty()).count();
            if unknown > 0 {
                self.notes.push(format!(
                    "{unknown} of the questions to {what} have no answer that is one of the classes"
                ));
            }
        }
        Ok(())
    }
}

fn list(path: &Path) -> Result<QuestionList, TrainError> {
    QuestionList::open(path).map_err(|error| TrainError::Data(error.to_string()))
}

fn scored(path: &Path, list: QuestionList, classes: &[String]) -> Result<Source, TrainError> {
    let scores = answer_scores(&list, classes)?.into();
    Ok(Source::QuestionList { path: path.to_owned(), list: Arc::new(list), scores })
}

/// The answers that are classes: all of those that questions have one of; of questions that several people answered by VQA's
/// own rule, those that are the commonest of nine questions. Of answers that VQA's rule makes the same of one is a class.
fn answers(list: &QuestionList) -> Vec<String> {
    let of = |several: bool| {
        let asked = list.questions().iter().filter(move |question| (question.answers.len() > 1) == several);
        asked.filter_map(|question| most_frequent(&question.answers))
    };
    let of_people = classes(of(true), CLASS_AT_LEAST);
    let all: BTreeSet<&str> = of(false).chain(of_people.iter().map(String::as_str)).collect();
    let mut known = BTreeSet::new();
    all.into_iter().filter(|answer| known.insert(comparable(answer))).map(str::to_owned).collect()
}

/// Holds out the questions about a part of the pictures, rounded down; the same seed holds out the same.
fn split(list: &QuestionList, part: f64, seed: u64) -> (QuestionList, QuestionList) {
    let pictures = list.pictures().len();
    let mut order: Vec<usize> = (0..pictures).collect();
    Random::new(seed ^ 0x0061_736B).shuffle(&mut order);
    let held_out: BTreeSet<usize> = order.into_iter().take((pictures as f64 * part) as usize).collect();
    (list.about(|picture| !held_out.contains(&picture)), list.about(|picture| held_out.contains(&picture)))
}
