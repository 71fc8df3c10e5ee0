//! Visual question answering: ten people's answers, and what a model's is worth.

mod normalise;

use std::collections::{BTreeMap, HashMap};

pub use normalise::normalise;

/// People who answered each question.
pub const ANSWERS_PER_QUESTION: usize = 10;
/// Questions that an answer must be the most frequent one of to become a class.
pub const CLASS_AT_LEAST: usize = 9;

/// What an answer is worth that 0, 1, 2, 3, 4 or more of ten people gave: the mean over the ten sets of nine people of
/// a third per person who agrees, at most 1.
const WORTH: [f64; 5] = [0.0, 0.3, 0.6, 0.9, 1.0];

/// When two answers are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Spelling {
    /// Where they are written alike, capitals and spaces included.
    #[default]
    AsWritten,
    /// Where [`normalise`] makes the same of them.
    Normalised,
}

impl Spelling {
    fn of(self, answer: &str) -> String {
        match self {
            Self::AsWritten => answer.to_owned(),
            Self::Normalised => normalise(answer),
        }
    }
}

/// Why answers cannot be scored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VqaError {
    /// The score is defined for ten people.
    #[error(
        "the VQA score is defined for {ANSWERS_PER_QUESTION} answers to a question, and there are {0}; questions with one \
         answer are scored by accuracy"
    )]
    Answers(usize),
}

/// The ten answers to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoftAnswers {
    spelling: Spelling,
    counts: BTreeMap<String, usize>,
}

impl SoftAnswers {
    /// Counts what people answered.
    ///
    /// # Errors
    /// When there are not [`ANSWERS_PER_QUESTION`] answers.
    pub fn new<S: AsRef<str>>(answers: &[S], spelling: Spelling) -> Result<Self, VqaError> {
        if answers.len() != ANSWERS_PER_QUESTION {
            return Err(VqaError::Answers(answers.len()));
        }
        let mut counts = BTreeMap::new();
        for answer in answers {
            *counts.entry(spelling.of(answer.as_ref())).or_default() += 1;
        }
        Ok(Self { spelling, counts })
    }

    /// The score of a prediction, from 0 to 1: 0.3 for each person who gave it, and 1 from the fourth on.
    #[must_use]
    pub fn score(&self, prediction: &str) -> f64 {
        let prediction = self.spelling.of(prediction);
        self.counts.get(&prediction).map_or(0.0, |count| worth(*count))
    }

    /// The score of each of `classes`, `[classes]`: what a model is trained towards.
    #[must_use]
    pub fn targets<S: AsRef<str>>(&self, classes: &[S]) -> Vec<f32> {
        classes.iter().map(|class| self.score(class.as_ref()) as f32).collect()
    }

    /// Every different answer with its score, in order of the answers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.counts.iter().map(|(answer, count)| (answer.as_str(), worth(*count)))
    }
}

fn worth(count: usize) -> f64 {
    WORTH[count.min(WORTH.len() - 1)]
}

/// The most frequent of some answers, the first of equally frequent ones; `None` of none.
#[must_use]
pub fn most_frequent<S: AsRef<str>>(answers: &[S]) -> Option<&str> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for answer in answers {
        *counts.entry(answer.as_ref()).or_default() += 1;
    }
    let count = |answer: &&str| counts[answer];
    // Of several largest the last is chosen, which is the first of the answers.
    answers.iter().rev().map(AsRef::as_ref).max_by_key(count)
}

/// The classes of a classifier of answers, sorted: the answers that are the [`most_frequent`] one of at least `at_least`
/// questions ([`CLASS_AT_LEAST`] by the rule of VQA), given that answer of each question.
#[must_use]
pub fn classes<'a>(most_frequent: impl IntoIterator<Item = &'a str>, at_least: usize) -> Vec<String> {
    let mut questions: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in most_frequent {
        *questions.entry(answer).or_default() += 1;
    }
    let chosen = questions.into_iter().filter(|(_, count)| *count >= at_least);
    chosen.map(|(answer, _)| answer.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::{SoftAnswers, Spelling, VqaError, classes, most_frequent};

    const ANSWERS: [&str; 10] = ["Two", "two", "2", "2.", "a 2", "3", "3", "three", "no", "No!"];

    #[test]
    fn the_score_is_the_mean_over_the_sets_of_nine_people() {
        for given in 0..=10 {
            let answers: Vec<&str> =
                (0..10).map(|person| if person < given { "yes" } else { "no" }).collect();
            let mean = (0..10)
                .map(|absent| {
                    let agree =
                        answers.iter().enumerate().filter(|(p, a)| *p != absent && **a == "yes").count();
                    (agree as f64 / 3.0).min(1.0) / 10.0
                })
                .sum::<f64>();
            let found = SoftAnswers::new(&answers, Spelling::AsWritten).unwrap().score("yes");
            assert!((found - mean).abs() < 1e-12, "{given}: {found} and {mean}");
        }
    }

    #[test]
    fn answers_are_compared_as_written_unless_asked_otherwise() {
        let written = SoftAnswers::new(&ANSWERS, Spelling::AsWritten).unwrap();
        assert_eq!((written.score("two"), written.score("3"), written.score("TWO")), (0.3, 0.6, 0.0));
        let normalised = SoftAnswers::new(&ANSWERS, Spelling::Normalised).unwrap();
        assert_eq!(
            (normalised.score("two"), normalised.score("The 3"), normalised.score("no")),
            (1.0, 0.9, 0.6)
        );
        assert_eq!(normalised.iter().collect::<Vec<_>>(), [("2", 1.0), ("3", 0.9), ("no", 0.6)]);
        assert_eq!(normalised.targets(&["NO", "maybe"]), [0.6, 0.0]);
    }

    #[test]
    fn other_numbers_of_answers_are_refused() {
        let error = SoftAnswers::new(&["yes"], Spelling::AsWritten).unwrap_err();
        assert_eq!(error, VqaError::Answers(1));
        assert_eq!(
            error.to_string(),
            "the VQA score is defined for 10 answers to a question, and there are 1; questions with one answer are \
             scored by accuracy"
        );
    }

    #[test]
    fn the_first_of_equally_frequent_answers_is_chosen() {
        assert_eq!(most_frequent(&["b", "a", "a", "b", "c"]), Some("b"));
        assert_eq!(most_frequent::<&str>(&[]), None);
        let seen = ["b", "a", "b", "c", "c", "a", "b"];
        assert_eq!(classes(seen, 2), ["a", "b", "c"]);
        assert_eq!(classes(seen, 3), ["b"]);
    }
}
