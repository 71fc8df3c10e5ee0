//! How good the model is by now, at every way of merging.

use crate::data::{Item, Source};
use crate::error::TrainError;
use crate::lora::merged;
use crate::start::Setup;
use serde::{Deserialize, Serialize};
use std::path::Path;
use tokmerge_data::text::TextPair;
use tokmerge_data::{DecodeOptions, MediaError, Reading};
use tokmerge_eval::{
    Accuracy, EvalError, EvalOptions, Labels, Observer, WrittenError, WrittenOptions, evaluate,
    evaluate_answers, evaluate_lists, evaluate_questions, evaluate_written,
};
use tokmerge_merge::Method;
use tokmerge_models::{Convention, GenerateError, Network};

/// Which weights were measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Averaging {
    /// Those of the last step.
    Model,
    /// Their moving average.
    Ema,
}

impl Averaging {
    /// The name in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Ema => "ema",
        }
    }
}

/// Accuracies on the validation items after a step.
#[derive(Clone, Debug)]
pub struct Validation {
    /// Epochs trained, not always whole at the end of a run.
    pub epoch: usize,
    /// Steps trained.
    pub step: usize,
    /// Which weights.
    pub of: Averaging,
    /// One for every way of merging, in the recipe's order.
    pub accuracies: Vec<Accuracy>,
}

impl Validation {
    /// Percent at the first way of merging: of items that are right, the mean average precision of lists, or BLEU of texts.
    /// The best checkpoint is chosen by it.
    #[must_use]
    pub fn score(&self) -> f64 {
        let score = |accuracy: &Accuracy| accuracy.bleu.or(accuracy.top1).or(accuracy.mean_average_precision);
        self.accuracies.first().and_then(score).unwrap_or(0.0)
    }
}

/// Forwards what cannot be read.
struct Failures<'f>(&'f mut dyn FnMut(String));

impl Observer for Failures<'_> {
    fn failed(&mut self, _: &Path, error: &MediaError) {
        (self.0)(error.to_string());
    }
}

/// Measures a model on the validation items.
pub(crate) fn validate(
    setup: &Setup,
    network: &Network,
    methods: &[Method],
    failed: &mut dyn FnMut(String),
) -> Result<Vec<Accuracy>, TrainError> {
    let model = setup.model(merged(network));
    let options = EvalOptions {
        reading: Reading {
            batch_size: setup.recipe.train.batch_size,
            workers: setup.recipe.data.workers,
            decoding: DecodeOptions::default(),
        },
        convention: Convention::Fvcore,
    };
    let reductions = model.bind_all(methods)?;
    let mut failures = Failures(failed);
    Ok(match &setup.data.val {
        val @ (Source::Pairs { .. } | Source::Sentences { .. }) => {
            let pairs: Vec<TextPair> = (0..val.len()).filter_map(|index| pair(val, index)).collect();
            let options = WrittenOptions {
                batch_size: options.reading.batch_size,
                convention: options.convention,
                ..WrittenOptions::default()
            };
            let found = evaluate_written(&model, &reductions, &pairs, &options, &mut failures);
            found.map_err(written)?.into_iter().map(Accuracy::from).collect()
        }
        Source::QuestionList { list, .. } if model.config().writes() => {
            let reading = options.reading;
            let options = WrittenOptions { convention: options.convention, ..WrittenOptions::of_answers() };
            let found = evaluate_answers(&model, &reductions, list, &options, reading, &mut failures);
            let found = found.map_err(written)?.accuracies.into_iter();
            found.map(|found| Accuracy::from(found.answers)).collect()
        }
        Source::QuestionList { list, .. } => {
            let names = &setup.data.class_names;
            let found = evaluate_questions(&model, &reductions, list, names, options, &mut failures)?;
            found.accuracies.into_iter().map(Accuracy::from).collect()
        }
        Source::List { samples, .. } => {
            evaluate_lists(&model, &reductions, samples, options, &mut failures)?.accuracies
        }
        val => evaluate(&model, &reductions, val.samples(), Labels::Trusted, options, &mut failures)?,
    })
}

/// A text and what is to be written of it.
fn pair(source: &Source, index: usize) -> Option<TextPair> {
    match (source.item(index), source.target(index)) {
        (Item::Text(source), Some(target)) => Some(TextPair { source, target }),
        _ => None,
    }
}

/// An output that is no number is one however the model was run.
fn written(error: WrittenError) -> TrainError {
    match error {
        WrittenError::Generate(GenerateError::NotFinite(wrong)) => {
            TrainError::Validation(EvalError::NotFinite(wrong))
        }
        other => TrainError::Data(other.to_string()),
    }
}
