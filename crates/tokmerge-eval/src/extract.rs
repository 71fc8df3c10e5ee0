//! Features of images, as the head of a model would get them.

use crate::accuracy::measured;
use crate::batches::each_batch;
use crate::few_shot::Features;
use crate::{EvalError, Observer};
use tokmerge_data::{Reading, Sample};
use tokmerge_merge::Reduction;
use tokmerge_models::{Convention, Model};

/// Features of labelled images at one way of merging.
#[derive(Clone, Debug, PartialEq)]
pub struct Extracted {
    /// The method.
    pub merge: String,
    /// `[N, C]`, row by row.
    pub values: Vec<f32>,
    /// `C`.
    pub dim: usize,
    /// `[N]`.
    pub labels: Vec<usize>,
    /// Billions of multiply-adds per image.
    pub gmacs: f64,
    /// Tokens left per image.
    pub mean_tokens: f64,
}

impl Extracted {
    /// What a linear head is fitted to.
    #[must_use]
    pub fn features(&self, num_classes: usize) -> Features<'_> {
        Features { values: &self.values, dim: self.dim, labels: &self.labels, num_classes }
    }
}

/// Features of the images at several ways of merging. Images without a label, or that cannot be read, are left out.
///
/// # Errors
/// When no image could be read, or a feature is not finite.
pub fn extract(
    model: &Model,
    reductions: &[Reduction],
    samples: Vec<Sample>,
    reading: Reading,
    convention: Convention,
    observer: &mut dyn Observer,
) -> Result<Vec<Extracted>, EvalError> {
    let begin = |reduction: &Reduction| Extracted {
        merge: reduction.method().to_string(),
        values: Vec::new(),
        dim: model.config().shape().embedding,
        labels: Vec::new(),
        gmacs: 0.0,
        mean_tokens: 0.0,
    };
    let mut found: Vec<Extracted> = reductions.iter().map(begin).collect();
    let samples = samples.into_iter().filter(|sample| sample.label.is_some()).collect();
    each_batch(samples, model.processor().clone(), reading, observer, |batch, _| -> Result<(), EvalError> {
        for (reduction, found) in reductions.iter().zip(&mut found) {
            let measured = measured(model, batch, reduction, convention)?;
            found.values.extend(measured.embeddings.iter().flatten());
            found.labels.extend(batch.samples.iter().filter_map(|sample| sample.label));
            found.gmacs += measured.gmacs.iter().sum::<f64>();
            found.mean_tokens += measured.tokens_left.iter().sum::<usize>() as f64;
        }
        Ok(())
    })?;
    for found in &mut found {
        let images = found.labels.len().max(1) as f64;
        found.gmacs /= images;
        found.mean_tokens /= images;
    }
    Ok(found)
}
