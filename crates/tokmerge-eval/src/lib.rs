//! What a merged model is worth: accuracy and agreement on images, speed on this machine, and in which layers
//! merging costs what; few-shot accuracy of frozen features.
#![deny(missing_docs)]

mod accuracy;
pub mod analysis;
mod asked;
mod batches;
mod cosine;
mod error;
mod extract;
mod few_shot;
mod least_squares;
mod mean_average_precision;
mod pairs;
mod pareto;
mod passes;
mod questions;
mod speed;
mod statistics;
mod written;

pub use accuracy::{
    Accuracy, EvalOptions, Labels, ListEvaluation, Observer, Prediction, evaluate, evaluate_lists, top,
};
pub use cosine::cosine;
pub use error::EvalError;
pub use extract::{Extracted, extract};
pub use few_shot::{Features, FewShot, FewShotAccuracy, FewShotError, LinearHead};
pub use least_squares::least_squares;
pub use mean_average_precision::{MeanAveragePrecision, average_precision};
pub use pairs::{PairsAccuracy, PairsError, SentencePair, evaluate_pairs, read_pairs};
pub use pareto::{Better, pareto_front};
pub use questions::{
    KindAccuracy, QuestionPrediction, QuestionsAccuracy, QuestionsEvaluation, answer_scores, comparable,
    evaluate_questions,
};
pub use speed::{BenchOptions, PeakOf, Rounds, Speed, bench};
pub use statistics::{Moments, Repeated, Spread, wilson};
pub use written::{
    AnswersAccuracy, AnswersEvaluation, MOST_OF_ANSWER, WrittenAccuracy, WrittenError, WrittenOptions,
    evaluate_answers, evaluate_written,
};
