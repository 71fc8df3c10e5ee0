//! Accuracy on labelled images, and agreement with the unmerged model on any.

use crate::batches::each_batch;
use crate::mean_average_precision::MeanAveragePrecision;
use crate::passes::{Passes, Tally};
use crate::{EvalError, QuestionPrediction};
use serde::Serialize;
use std::path::Path;
use std::time::Instant;
use tokmerge_data::{Batch, MediaError, MultiLabelSample, Reading, Sample};
use tokmerge_merge::Reduction;
use tokmerge_models::{Convention, Measured, Model, NotFinite};

/// How to evaluate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvalOptions {
    /// How the images are read.
    pub reading: Reading,
    /// What counts as an operation.
    pub convention: Convention,
}

/// What one method makes of the images.
#[derive(Clone, Debug, Serialize)]
pub struct Accuracy {
    /// The method, as a spec.
    pub merge: String,
    /// Images with a prediction.
    pub images: usize,
    /// Percent of labelled images whose label is the first prediction; `None` without labels.
    pub top1: Option<f64>,
    /// Percent whose label is among the first five.
    pub top5: Option<f64>,
    /// Mean average precision in percent, of files with several labels.
    #[serde(rename = "map", skip_serializing_if = "Option::is_none")]
    pub mean_average_precision: Option<f64>,
    /// BLEU of texts that were written; [`top1`](Self::top1) is then the percent that are right letter for letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bleu: Option<f64>,
    /// Percent of images whose first prediction is the unmerged model's.
    pub agreement: f64,
    /// Images over the time of this method's forward passes, reading not included.
    pub model_images_per_second: f64,
    /// Images over the time of the whole run: reading, all methods, and the unmerged model that they are compared with.
    pub run_images_per_second: f64,
    /// Mean over the images, in billions.
    pub gmacs: f64,
    /// Mean tokens after the last block.
    pub mean_tokens: f64,
}

/// Predictions of one file by one method.
#[derive(Clone, Debug)]
pub struct Prediction<'a> {
    /// The file.
    pub path: &'a Path,
    /// The classes that it is said to have: one at most, unless it is of a list.
    pub labels: &'a [usize],
    /// Which of the methods.
    pub method: usize,
    /// Classes and logits, the best first, five at most.
    pub top: Vec<(usize, f32)>,
}

/// Receives the events of an evaluation.
pub trait Observer {
    /// Another `images` images are done.
    fn done(&mut self, images: usize) {
        let _ = images;
    }

    /// A file could not be read and is left out.
    fn failed(&mut self, path: &Path, error: &MediaError) {
        let _ = (path, error);
    }

    /// A prediction was made.
    ///
    /// # Errors
    /// An error ends the evaluation.
    fn predicted(&mut self, prediction: Prediction<'_>) -> Result<(), String> {
        let _ = prediction;
        Ok(())
    }

    /// A question was answered.
    ///
    /// # Errors
    /// An error ends the evaluation.
    fn answered(&mut self, answer: QuestionPrediction<'_>) -> Result<(), String> {
        let _ = answer;
        Ok(())
    }
}

/// Nobody listens.
impl Observer for () {}

/// Whether the labels of samples mean the model's classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// Yes.
    Trusted,
    /// No: agreement is all that can be measured.
    Ignored,
}

/// The classes with the largest logits, the best first; ties go to the lower class.
#[must_use]
pub fn top(logits: &[f32], count: usize) -> Vec<(usize, f32)> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    order.into_iter().take(count).map(|class| (class, logits[class])).collect()
}

/// Runs a batch of images; an output that is no number is named by the image's file.
pub(crate) fn measured(
    model: &Model,
    batch: &Batch,
    reduction: &Reduction,
    convention: Convention,
) -> Result<Measured, NotFinite> {
    model.measure(batch, reduction, convention).map_err(|wrong| {
        let path = batch.samples.get(wrong.position).map(|sample| sample.path.clone());
        path.map_or(wrong.clone(), |path| wrong.in_file(&path))
    })
}

/// Evaluates several methods on the same images in one pass, batch by batch in turn, so that a drift of the
/// machine's speed hits all alike. The unmerged model runs too, for the agreement.
///
/// # Errors
/// When a label is out of range, no image could be read, an output is not finite, the model has a single class, or the
/// observer refuses a prediction.
pub fn evaluate(
    model: &Model,
    reductions: &[Reduction],
    samples: Vec<Sample>,
    labels: Labels,
    options: EvalOptions,
    observer: &mut dyn Observer,
) -> Result<Vec<Accuracy>, EvalError> {
    if model.classes() == 1 {
        return Err(EvalError::OneClass);
    }
    each_answer(model, reductions, samples, options, observer, &mut |answer, observer| {
        let Answer { sample, method, logits, tally } = answer;
        let top = top(logits, 5);
        if let (Some(label), Labels::Trusted) = (sample.label, labels) {
            check_label(sample, label, logits.len())?;
            tally.labelled += 1;
            tally.top1 += usize::from(top[0].0 == label);
            tally.top5 += usize::from(top.iter().any(|(class, _)| *class == label));
        }
        let (path, labels) = (&sample.path, sample.label.as_slice());
        observer.predicted(Prediction { path, labels, method, top }).map_err(EvalError::Observer)
    })
}

/// Evaluates several methods on files with any number of labels each, as [`evaluate`] does otherwise.
///
/// # Errors
/// As [`evaluate`], but that one class is enough.
pub fn evaluate_lists(
    model: &Model,
    reductions: &[Reduction],
    files: &[MultiLabelSample],
    options: EvalOptions,
    observer: &mut dyn Observer,
) -> Result<ListEvaluation, EvalError> {
    // A sample's label is where it stands in the list.
    let sample = |(at, file): (usize, &MultiLabelSample)| Sample { path: file.path.clone(), label: Some(at) };
    let samples = files.iter().enumerate().map(sample).collect();
    let mut scores: Vec<Vec<f32>> = vec![Vec::new(); reductions.len()];
    let mut read: Vec<&[usize]> = Vec::new();
    let mut results = each_answer(model, reductions, samples, options, observer, &mut |answer, observer| {
        let Answer { sample, method, logits, .. } = answer;
        let labels = sample.label.and_then(|at| files.get(at)).map_or(&[][..], |file| &file.labels);
        if method == 0 {
            labels.iter().try_for_each(|label| check_label(sample, *label, logits.len()))?;
            read.push(labels);
        }
        // The sigmoid keeps the order, and logits have fewer ties.
        scores[method].extend_from_slice(logits);
        let top = top(logits, 5);
        let path = &sample.path;
        observer.predicted(Prediction { path, labels, method, top }).map_err(EvalError::Observer)
    })?;
    let precisions = scores.iter().map(|scores| MeanAveragePrecision::of(scores, &read, model.classes()));
    let precisions: Vec<MeanAveragePrecision> = precisions.collect();
    for (result, precision) in results.iter_mut().zip(&precisions) {
        result.mean_average_precision = precision.mean().map(|mean| 100.0 * mean);
    }
    Ok(ListEvaluation { accuracies: results, precisions })
}

/// What several methods make of files with any number of labels.
#[derive(Clone, Debug)]
pub struct ListEvaluation {
    /// One for each method; there is no top-1.
    pub accuracies: Vec<Accuracy>,
    /// The same, class by class.
    pub precisions: Vec<MeanAveragePrecision>,
}

fn check_label(sample: &Sample, label: usize, classes: usize) -> Result<(), EvalError> {
    if label < classes {
        return Ok(());
    }
    Err(EvalError::Label { path: sample.path.display().to_string(), label, classes })
}

/// What one method says of one sample.
struct Answer<'a> {
    sample: &'a Sample,
    method: usize,
    logits: &'a [f32],
    tally: &'a mut Tally,
}

/// Hands every answer of every method to `count`.
fn each_answer(
    model: &Model,
    reductions: &[Reduction],
    samples: Vec<Sample>,
    options: EvalOptions,
    observer: &mut dyn Observer,
    count: &mut dyn FnMut(Answer<'_>, &mut dyn Observer) -> Result<(), EvalError>,
) -> Result<Vec<Accuracy>, EvalError> {
    model.warm_up();
    let start = Instant::now();
    let EvalOptions { reading, convention } = options;
    let mut tallies: Vec<Tally> = reductions.iter().map(|_| Tally::default()).collect();
    each_batch(
        samples,
        model.processor().clone(),
        reading,
        observer,
        |batch, observer| -> Result<(), EvalError> {
            let passes = Passes::run(reductions, &|reduction| measured(model, batch, reduction, convention))?;
            for (method, (pass, tally)) in passes.of_methods.iter().zip(&mut tallies).enumerate() {
                tally.add(pass, &passes.unmerged);
                for (sample, logits) in batch.samples.iter().zip(&pass.logits) {
                    count(Answer { sample, method, logits, tally }, observer)?;
                }
            }
            Ok(())
        },
    )?;
    let seconds = start.elapsed().as_secs_f64();
    let result = |(reduction, tally): (&Reduction, Tally)| tally.result(reduction.method(), seconds);
    Ok(reductions.iter().zip(tallies).map(result).collect())
}

#[cfg(test)]
mod tests {
    use super::top;

    #[test]
    fn top_is_ordered_and_ties_go_to_the_lower_class() {
        assert_eq!(top(&[0.5, 2.0, 2.0, -1.0], 3), [(1, 2.0), (2, 2.0), (0, 0.5)]);
        assert_eq!(top(&[], 5), []);
        assert_eq!(top(&[f32::NAN, 1.0], 2).len(), 2);
    }
}
