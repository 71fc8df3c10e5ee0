//! How well questions about pictures are answered: accuracy, or the VQA score where several people answered, and agreement
//! with the unmerged model.

use crate::Accuracy;
use crate::asked::{AskedBatch, Texts, each_asked};
use crate::passes::{Passes, Tally};
use crate::statistics::{Moments, wilson};
use crate::{EvalError, EvalOptions, Observer, top};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Instant;
use tokmerge_data::{ListedQuestion, Processor, QuestionList};
use tokmerge_merge::Reduction;
use tokmerge_metrics::{SoftAnswers, Spelling, normalise};
use tokmerge_models::{Measured, Model, NotFinite};

/// What a method makes of questions about pictures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuestionsAccuracy {
    /// The method, as a spec.
    pub merge: String,
    /// Questions that were answered.
    pub questions: usize,
    /// Mean score in percent: how many answers are right, or the VQA score where ten people answered each question.
    pub accuracy: f64,
    /// Its 95 % interval: Wilson's where answers are right or wrong, else that of a mean.
    pub interval: (f64, f64),
    /// The same of each kind of questions, in the order in which the list has them; questions of no kind are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<KindAccuracy>,
    /// Percent of questions to which the answer is the unmerged model's.
    pub agreement: f64,
    /// Questions over the time of this method's forward passes, reading not included.
    pub model_questions_per_second: f64,
    /// Questions over the time of the whole run: reading, all methods, and the unmerged model that they are compared with.
    pub run_questions_per_second: f64,
    /// Mean over the questions, in billions of multiply-adds.
    pub gmacs: f64,
    /// Mean tokens after the last block, those of the question included.
    pub mean_tokens: f64,
}

/// What a method makes of questions of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindAccuracy {
    /// The kind.
    pub kind: String,
    /// Questions that were answered.
    pub questions: usize,
    /// Mean score in percent.
    pub accuracy: f64,
}

/// What several methods make of a list of questions.
#[derive(Clone, Debug, PartialEq)]
pub struct QuestionsEvaluation {
    /// One for each method.
    pub accuracies: Vec<QuestionsAccuracy>,
    /// Questions of the list none of whose answers is a class of the model, so that no method can be right.
    pub unknown: usize,
    /// Questions whose end is left out, since the model has no room for it.
    pub cut: usize,
}

impl QuestionsAccuracy {
    /// What the scores of the questions of a list say, `None` of those that were not answered; nothing of method, times and costs.
    pub(crate) fn judged(list: &QuestionList, judges: &[Judge], scores: &[Option<f64>]) -> Self {
        let people = judges.iter().any(|judge| matches!(judge, Judge::People(_)));
        let answered: Vec<f64> = scores.iter().copied().flatten().collect();
        let (accuracy, interval) = mean(&answered, people);
        Self {
            merge: String::new(),
            questions: answered.len(),
            accuracy,
            interval,
            kinds: kinds(list, scores),
            agreement: 0.0,
            model_questions_per_second: 0.0,
            run_questions_per_second: 0.0,
            gmacs: 0.0,
            mean_tokens: 0.0,
        }
    }
}

impl From<QuestionsAccuracy> for Accuracy {
    /// The accuracy as that of classes.
    fn from(found: QuestionsAccuracy) -> Self {
        Self {
            merge: found.merge,
            images: found.questions,
            top1: Some(found.accuracy),
            top5: None,
            mean_average_precision: None,
            bleu: None,
            agreement: found.agreement,
            model_images_per_second: found.model_questions_per_second,
            run_images_per_second: found.run_questions_per_second,
            gmacs: found.gmacs,
            mean_tokens: found.mean_tokens,
        }
    }
}

/// What one method answers to one question.
#[derive(Clone, Debug)]
pub struct QuestionPrediction<'a> {
    /// The question.
    pub question: &'a ListedQuestion,
    /// Its picture.
    pub picture: &'a Path,
    /// Which of the methods.
    pub method: usize,
    /// Classes and logits, the best first, five at most.
    pub top: Vec<(usize, f32)>,
    /// What the first of them is worth, 0 to 1.
    pub score: f64,
}

/// Lets several methods answer the questions of a list in one pass, batch by batch in turn. The unmerged model answers too, for
/// the agreement. `answers` are the names of the model's classes. Answers are the same where VQA's rule makes the same of them
/// ([`normalise`]). Consecutive questions about one picture are asked about it as it was read once.
///
/// # Errors
/// When the model answers no questions, nothing is left of a question, a question has neither one answer nor ten, none has an answer
/// that is a class, no picture could be read, an output is not finite, or the observer refuses an answer.
pub fn evaluate_questions(
    model: &Model,
    reductions: &[Reduction],
    list: &QuestionList,
    answers: &[String],
    options: EvalOptions,
    observer: &mut dyn Observer,
) -> Result<QuestionsEvaluation, EvalError> {
    let Processor::Question(processor) = model.processor() else {
        return Err(EvalError::NoQuestions { media: model.media().words() });
    };
    if model.config().writes() {
        return Err(EvalError::Writes { model: model.name() });
    }
    if model.classes() == 1 {
        return Err(EvalError::OneClass);
    }
    let judges: Vec<Judge> = list.questions().iter().map(Judge::of).collect::<Result<_, _>>()?;
    let unknown = unknown(list, &judges, answers)?;
    let texts = Texts::of(list, processor)?;
    model.warm_up();
    let start = Instant::now();
    let mut asking = Asking {
        model,
        reductions,
        list,
        answers,
        options,
        judges,
        tallies: reductions.iter().map(|_| Tally::default()).collect(),
        scores: vec![vec![None; list.questions().len()]; reductions.len()],
    };
    each_asked(list, &texts, processor, options.reading, observer, |asked, observer| {
        asking.ask(asked, observer)
    })?;
    let accuracies = asking.accuracies(start.elapsed().as_secs_f64());
    Ok(QuestionsEvaluation { accuracies, unknown, cut: texts.cut })
}

/// Says what an answer is worth.
pub(crate) enum Judge {
    /// It is right if it is this one.
    One(String),
    /// Ten people answered.
    People(SoftAnswers),
}

impl Judge {
    pub(crate) fn of(question: &ListedQuestion) -> Result<Self, EvalError> {
        if let [answer] = &question.answers[..] {
            return Ok(Self::One(comparable(answer)));
        }
        SoftAnswers::new(&question.answers, Spelling::Normalised)
            .map(Self::People)
            .map_err(|source| EvalError::Answers { place: question.place, source })
    }

    /// From 0 to 1.
    pub(crate) fn score(&self, answer: &str) -> f64 {
        match self {
            Self::One(right) => f64::from(u8::from(comparable(answer) == *right)),
            Self::People(people) => people.score(answer),
        }
    }
}

/// What is the same of answers that are the same. VQA's rule leaves nothing of an answer such as "a".
#[must_use]
pub fn comparable(answer: &str) -> String {
    let normalised = normalise(answer);
    if normalised.is_empty() { answer.trim().to_lowercase() } else { normalised }
}

/// How good an answer each of some classes is to every question of a list, from 0 to 1; those that are none are left out.
///
/// # Errors
/// When a question has neither one answer nor ten.
pub fn answer_scores(list: &QuestionList, classes: &[String]) -> Result<Vec<Vec<(usize, f32)>>, EvalError> {
    let scores = |question: &ListedQuestion| {
        let judge = Judge::of(question)?;
        let score = |(class, name): (usize, &String)| (class, judge.score(name) as f32);
        Ok(classes.iter().enumerate().map(score).filter(|(_, score)| *score > 0.0).collect())
    };
    list.questions().iter().map(scores).collect()
}

/// Counts the questions none of whose answers is a class.
///
/// # Errors
/// When none has one, or nothing is known of the classes.
fn unknown(list: &QuestionList, judges: &[Judge], answers: &[String]) -> Result<usize, EvalError> {
    let own = answers.first().ok_or(EvalError::NoAnswers)?;
    let known: HashSet<String> = answers.iter().map(|answer| comparable(answer)).collect();
    let is_known = |judge: &Judge| match judge {
        Judge::One(right) => known.contains(right),
        Judge::People(people) => people.iter().any(|(answer, _)| known.contains(answer)),
    };
    let unknown = judges.iter().filter(|judge| !is_known(judge)).count();
    match list.questions() {
        [first, ..] if unknown == judges.len() => Err(EvalError::UnknownAnswers {
            questions: unknown,
            first: first.answers[0].clone(),
            classes: answers.len(),
            own: own.clone(),
        }),
        _ => Ok(unknown),
    }
}

/// An evaluation on its way.
struct Asking<'a> {
    model: &'a Model,
    reductions: &'a [Reduction],
    list: &'a QuestionList,
    answers: &'a [String],
    options: EvalOptions,
    judges: Vec<Judge>,
    tallies: Vec<Tally>,
    /// For each method, of each question that was answered.
    scores: Vec<Vec<Option<f64>>>,
}

impl Asking<'_> {
    fn ask(&mut self, asked: AskedBatch, observer: &mut dyn Observer) -> Result<(), EvalError> {
        let AskedBatch { batch, questions } = asked;
        let listed = |item: usize| &self.list.questions()[questions[item]];
        let run = |reduction: &Reduction| -> Result<Measured, NotFinite> {
            let measured = self.model.measure(batch.clone(), reduction, self.options.convention);
            measured.map_err(|wrong| {
                let picture = self.list.picture_of(listed(wrong.position));
                wrong.in_file(picture)
            })
        };
        let passes = Passes::run(self.reductions, &run)?;
        for (method, (pass, tally)) in passes.of_methods.iter().zip(&mut self.tallies).enumerate() {
            tally.add(pass, &passes.unmerged);
            for (item, logits) in pass.logits.iter().enumerate() {
                let top = top(logits, 5);
                let answer = top.first().and_then(|(class, _)| self.answers.get(*class));
                let score = answer.map_or(0.0, |answer| self.judges[questions[item]].score(answer));
                self.scores[method][questions[item]] = Some(score);
                let (question, picture) = (listed(item), self.list.picture_of(listed(item)));
                observer
                    .answered(QuestionPrediction { question, picture, method, top, score })
                    .map_err(EvalError::Observer)?;
            }
        }
        Ok(())
    }

    fn accuracies(self, run_seconds: f64) -> Vec<QuestionsAccuracy> {
        let of = |((reduction, tally), scores): ((&Reduction, Tally), &Vec<Option<f64>>)| {
            let counted = tally.result(reduction.method(), run_seconds);
            QuestionsAccuracy {
                merge: counted.merge,
                agreement: counted.agreement,
                model_questions_per_second: counted.model_images_per_second,
                run_questions_per_second: counted.run_images_per_second,
                gmacs: counted.gmacs,
                mean_tokens: counted.mean_tokens,
                ..QuestionsAccuracy::judged(self.list, &self.judges, scores)
            }
        };
        self.reductions.iter().zip(self.tallies).zip(&self.scores).map(of).collect()
    }
}

/// The mean of scores in percent, and its 95 % interval.
fn mean(scores: &[f64], people: bool) -> (f64, (f64, f64)) {
    let Moments { mean, deviation, .. } = Moments::of(scores);
    if !people {
        let hits = scores.iter().filter(|score| **score > 0.5).count();
        return (100.0 * mean, wilson(hits, scores.len()));
    }
    let half = 1.959_964 * deviation / (scores.len().max(1) as f64).sqrt();
    (100.0 * mean, (100.0 * (mean - half).max(0.0), 100.0 * (mean + half).min(1.0)))
}

/// The mean score of every kind.
fn kinds(list: &QuestionList, scores: &[Option<f64>]) -> Vec<KindAccuracy> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut found: Vec<(&str, Vec<f64>)> = Vec::new();
    for (question, score) in list.questions().iter().zip(scores) {
        if let (Some(kind), Some(score)) = (&question.kind, score) {
            let place = *places.entry(kind).or_insert(found.len());
            if place == found.len() {
                found.push((kind, Vec::new()));
            }
            found[place].1.push(*score);
        }
    }
    let accuracy = |(kind, scores): (&str, Vec<f64>)| KindAccuracy {
        kind: kind.to_owned(),
        questions: scores.len(),
        accuracy: 100.0 * Moments::of(&scores).mean,
    };
    found.into_iter().map(accuracy).collect()
}
