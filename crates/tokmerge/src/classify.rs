//! Photographs to predictions.

use serde::Serialize;
use tokmerge_data::{ClassNames, PreprocessError, Rgb};
use tokmerge_merge::Reduction;
use tokmerge_models::{Batch, Convention, Model, NotFinite};

/// One class, as a prediction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranked {
    /// Index of the class.
    pub index: usize,
    /// Its name, or `class 281` where names are not known.
    pub label: String,
    /// Of this class alone, or of it and no other: what the model's logits say ([`Model::probability`]).
    pub probability: f32,
    /// The model's output.
    pub logit: f32,
}

/// What a model says about one image, and what that took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Classification {
    /// The best classes, the best first.
    pub top: Vec<Ranked>,
    /// Billions of multiply-adds.
    pub gmacs: f64,
    /// Tokens that the method leaves for the MLP of each block.
    pub tokens: Vec<usize>,
    /// Milliseconds of the forward pass of its batch, divided by the images in it.
    pub ms: f64,
}

/// Where class names come from.
#[derive(Clone, Copy, Debug)]
pub enum ClassNamesSource<'a> {
    /// The model's metadata, where it has them; ImageNet's for a model of 1000 classes without.
    Model,
    /// A file of the user's.
    File(&'a ClassNames),
}

/// Why images have no predictions.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClassifyError {
    /// An image cannot be brought to the model's input size.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// An output is no number.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
}

/// Classes of the ImageNet challenge.
const IMAGENET: usize = 1000;

/// What the classes of a model are called: as its metadata say, else as ImageNet's where there are 1000 of them.
#[must_use]
pub fn class_names(model: &Model) -> Option<ClassNames> {
    match model.class_names() {
        [] if model.classes() == IMAGENET => Some(ClassNames::imagenet_1k().clone()),
        [] => None,
        names => Some(ClassNames::from_names(names.to_vec())),
    }
}

/// Classifies images in one batch.
///
/// # Errors
/// When an image cannot be brought to the model's input size, or an output is not finite.
pub fn classify(
    model: &Model,
    reduction: &Reduction,
    images: &[Rgb],
    names: ClassNamesSource<'_>,
    topk: usize,
    convention: Convention,
) -> Result<Vec<Classification>, ClassifyError> {
    if images.is_empty() {
        return Ok(Vec::new());
    }
    classify_batch(model, reduction, model.prepare(images)?, names, topk, convention)
}

/// Classifies what a model takes, preprocessed.
///
/// # Errors
/// When an output is not finite.
///
/// # Panics
/// When the batch is not a whole number of items of the model's input.
pub fn classify_batch(
    model: &Model,
    reduction: &Reduction,
    batch: Batch,
    names: ClassNamesSource<'_>,
    topk: usize,
    convention: Convention,
) -> Result<Vec<Classification>, ClassifyError> {
    let measured = model.measure(batch, reduction, convention)?;
    let ms = measured.seconds * 1e3 / measured.logits.len().max(1) as f64;
    let name = |index: usize| {
        let known = match (names, model.class_names()) {
            (ClassNamesSource::File(names), _) => names.name(index),
            (ClassNamesSource::Model, []) if model.classes() == IMAGENET => {
                ClassNames::imagenet_1k().name(index)
            }
            (ClassNamesSource::Model, names) => names.get(index).map(String::as_str),
        };
        known.map_or_else(|| format!("class {index}"), str::to_owned)
    };
    let classified = measured.logits.iter().enumerate().map(|(item, logits)| {
        let probabilities = model.probability().of(logits);
        let top = tokmerge_eval::top(logits, topk)
            .into_iter()
            .map(|(index, logit)| Ranked {
                index,
                label: name(index),
                probability: probabilities[index],
                logit,
            })
            .collect();
        Classification { top, gmacs: measured.gmacs[item], tokens: measured.tokens[item].clone(), ms }
    });
    Ok(classified.collect())
}
