//! Accuracy on labelled images, and agreement with the unmerged model on any.

use crate::batches::each_batch;
use serde::Serialize;
use std::path::Path;
use std::time::Instant;
use tokmerge_data::{Batch, LoaderError, Media, MediaError, Reading, Sample};
use tokmerge_merge::{Method, Reduction};
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

/// Predictions of one image by one method.
#[derive(Clone, Debug)]
pub struct Prediction<'a> {
    /// The image.
    pub sample: &'a Sample,
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

/// Why an evaluation cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The images cannot be loaded.
    #[error(transparent)]
    Loader(#[from] LoaderError),
    /// A label that is none of the model's classes.
    #[error(
        "{path}: its label is class {label}, but the model has {classes} classes; the folders of the data set must be the model's classes"
    )]
    Label {
        /// The image.
        path: String,
        /// Its label.
        label: usize,
        /// Outputs of the model.
        classes: usize,
    },
    /// Not a single image could be read.
    #[error("none of the {failed} {} could be read; the first: {first}", media.words())]
    NothingRead {
        /// What they were to be.
        media: Media,
        /// How many failed.
        failed: usize,
        /// Why the first did.
        first: String,
    },
    /// An output that is no number.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// A model of one class is always right.
    #[error(
        "the model has one class, so every answer is right and nothing can be measured; give a model of at least two classes"
    )]
    OneClass,
    /// The observer refused a prediction.
    #[error("{0}")]
    Observer(String),
}

/// The classes with the largest logits, the best first; ties go to the lower class.
#[must_use]
pub fn top(logits: &[f32], count: usize) -> Vec<(usize, f32)> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    order.into_iter().take(count).map(|class| (class, logits[class])).collect()
}

/// The class with the largest logit.
fn best(logits: &[f32]) -> Option<usize> {
    top(logits, 1).first().map(|(class, _)| *class)
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

#[derive(Default)]
struct Tally {
    images: usize,
    labelled: usize,
    top1: usize,
    top5: usize,
    agree: usize,
    seconds: f64,
    gmacs: f64,
    tokens: usize,
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
    model.warm_up();
    let start = Instant::now();
    let unmerged = reductions.iter().position(|reduction| *reduction.method() == Method::None);
    let EvalOptions { reading, convention } = options;
    let mut tallies: Vec<Tally> = reductions.iter().map(|_| Tally::default()).collect();
    each_batch(model, samples, reading, observer, |batch, observer| {
        let run = |reduction: &Reduction| measured(model, batch, reduction, convention);
        let passes: Vec<Measured> = reductions.iter().map(run).collect::<Result<_, _>>()?;
        let answers = |pass: &Measured| pass.logits.iter().map(|logits| best(logits)).collect::<Vec<_>>();
        let reference = match unmerged {
            Some(index) => answers(&passes[index]),
            None => answers(&run(&Reduction::none())?),
        };
        for (method, (pass, tally)) in passes.iter().zip(&mut tallies).enumerate() {
            tally.seconds += pass.seconds;
            tally.gmacs += pass.gmacs.iter().sum::<f64>();
            tally.tokens += pass.tokens_left.iter().sum::<usize>();
            for (sample, (logits, reference)) in batch.samples.iter().zip(pass.logits.iter().zip(&reference))
            {
                let top = top(logits, 5);
                tally.images += 1;
                tally.agree += usize::from(top.first().map(|(class, _)| *class) == *reference);
                if let (Some(label), Labels::Trusted) = (sample.label, labels) {
                    let classes = logits.len();
                    if label >= classes {
                        let path = sample.path.display().to_string();
                        return Err(EvalError::Label { path, label, classes });
                    }
                    tally.labelled += 1;
                    tally.top1 += usize::from(top[0].0 == label);
                    tally.top5 += usize::from(top.iter().any(|(class, _)| *class == label));
                }
                observer.predicted(Prediction { sample, method, top }).map_err(EvalError::Observer)?;
            }
        }
        Ok(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let result = |(reduction, tally): (&Reduction, Tally)| tally.result(reduction.method(), seconds);
    Ok(reductions.iter().zip(tallies).map(result).collect())
}

impl Tally {
    fn result(self, method: &Method, run_seconds: f64) -> Accuracy {
        let percent = |hits: usize, of: usize| 100.0 * hits as f64 / of.max(1) as f64;
        let images = self.images.max(1) as f64;
        let labelled = |hits| (self.labelled > 0).then(|| percent(hits, self.labelled));
        Accuracy {
            merge: method.to_string(),
            images: self.images,
            top1: labelled(self.top1),
            top5: labelled(self.top5),
            agreement: percent(self.agree, self.images),
            model_images_per_second: self.images as f64 / self.seconds.max(f64::MIN_POSITIVE),
            run_images_per_second: self.images as f64 / run_seconds.max(f64::MIN_POSITIVE),
            gmacs: self.gmacs / images,
            mean_tokens: self.tokens as f64 / images,
        }
    }
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
