//! How many tokens merge in every layer, and what each merge loses (ATM, Figure 6 and definition 2).

use super::AnalysisError;
use crate::batches::each_batch;
use crate::{EvalError, Moments, Observer};
use serde::Serialize;
use tokmerge_data::{Reading, Sample};
use tokmerge_merge::{Amount, DROPPED, MergePlan, Reduction, Step, Tokens};
use tokmerge_models::{Batch, Model, NotFinite, Pass, Probe};

/// What one method merges in every layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MergeProfile {
    /// The method, as a spec.
    pub merge: String,
    /// Images measured.
    pub images: usize,
    /// All layers, in order.
    pub layers: Vec<LayerMerges>,
}

/// What merges in one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerMerges {
    /// The layer, counted from 1.
    pub layer: usize,
    /// The similarity above which pairs merge, if that is how the method decides.
    pub threshold: Option<f64>,
    /// Tokens by which an image became fewer: merged into others, or dropped by a method that prunes.
    pub merged: Moments,
    /// Mean tokens of an image after the layer's merging, those that never merge included. Where all are there again after each
    /// layer, those that it works on.
    pub tokens: f64,
    /// Mean merging error of an image ([`MergePlan::merging_errors`](tokmerge_merge::MergePlan::merging_errors)).
    pub error: f64,
    /// Merging error over tokens merged, both of all images; `None` if none did. Dropped tokens do not count.
    pub error_per_merge: Option<f64>,
}

/// The study of one model with several methods, fed batch by batch.
#[derive(Debug)]
pub struct MergedTokens<'a> {
    model: &'a Model,
    subjects: Vec<Subject>,
    images: usize,
}

#[derive(Debug)]
struct Subject {
    reduction: Reduction,
    layers: Vec<Layer>,
}

/// Sums of one layer.
#[derive(Clone, Debug, Default)]
struct Layer {
    /// Tokens by which each image became fewer.
    merged: Vec<f64>,
    dropped: usize,
    error: f64,
}

impl<'a> MergedTokens<'a> {
    /// The study of a model with some ways of merging.
    ///
    /// # Errors
    /// When one merges nothing in any layer.
    pub fn new(model: &'a Model, reductions: &[Reduction]) -> Result<Self, AnalysisError> {
        let subject = |reduction: &Reduction| {
            if reduction.amounts().iter().all(|amount| *amount == Amount::NOTHING) {
                return Err(AnalysisError::NeverMerges(reduction.method().to_string()));
            }
            Ok(Subject {
                reduction: reduction.clone(),
                layers: vec![Layer::default(); model.config().depth()],
            })
        };
        let subjects = reductions.iter().map(subject).collect::<Result<_, _>>()?;
        Ok(Self { model, subjects, images: 0 })
    }

    /// Measures a batch, `pixels: [B, 3, H, W]`, preprocessed.
    ///
    /// # Errors
    /// When an output is not finite.
    ///
    /// # Panics
    /// When `pixels` is not a whole number of images of the model's size.
    pub fn measure(&mut self, batch: &Batch) -> Result<(), NotFinite> {
        let mut items = 0;
        for Subject { reduction, layers } in &mut self.subjects {
            items = {
                let mut counting = Counting { layers };
                let output = self.model.run(batch.clone(), Pass::new(reduction).probed(&mut counting));
                NotFinite::check_tensor(&output.logits)?;
                output.tokens.layout.items()
            };
            // Layers in which nothing merged were not reported.
            layers.iter_mut().for_each(|layer| layer.merged.resize(self.images + items, 0.0));
        }
        self.images += items;
        Ok(())
    }

    /// What was found so far, one profile per method.
    #[must_use]
    pub fn profiles(&self) -> Vec<MergeProfile> {
        let profile = |subject: &Subject| MergeProfile {
            merge: subject.reduction.method().to_string(),
            images: self.images,
            layers: self.layers(subject),
        };
        self.subjects.iter().map(profile).collect()
    }

    fn layers(&self, subject: &Subject) -> Vec<LayerMerges> {
        let mut entered = self.model.config().tokens() as f64;
        let (amounts, comes_back) = (subject.reduction.amounts(), subject.reduction.method().inflates());
        let of = |(index, (layer, amount)): (usize, (&Layer, &Amount))| {
            let merged = Moments::of(&layer.merged);
            let tokens = entered - merged.mean;
            if !comes_back {
                entered = tokens;
            }
            let merges = layer.merged.iter().sum::<f64>() - layer.dropped as f64;
            LayerMerges {
                layer: index + 1,
                threshold: threshold(*amount),
                merged,
                tokens,
                error: layer.error / self.images.max(1) as f64,
                error_per_merge: (merges > 0.0).then(|| layer.error / merges),
            }
        };
        subject.layers.iter().zip(amounts).enumerate().map(of).collect()
    }
}

/// As decimals, not as the nearest binary fraction of single precision.
fn threshold(amount: Amount) -> Option<f64> {
    match amount {
        Amount::Above(threshold) => threshold.to_string().parse().ok(),
        _ => None,
    }
}

struct Counting<'a> {
    layers: &'a mut [Layer],
}

impl Probe for Counting<'_> {
    fn reduced(&mut self, step: Step, before: &Tokens, plan: &MergePlan) {
        let layer = &mut self.layers[step.layer];
        let fewer = |item| (plan.input().range(item).len() - plan.output().range(item).len()) as f64;
        layer.merged.extend((0..plan.input().items()).map(fewer));
        layer.dropped += plan.dst().iter().filter(|dst| **dst == DROPPED).count();
        layer.error += plan.merging_errors(&before.x, &before.sizes()).iter().sum::<f64>();
    }
}

/// The whole study on a list of images. Labels are not looked at.
///
/// An image's counts do not depend on its neighbours in a batch, unless a method decides for the whole batch
/// (ATM's `batch=average`).
///
/// # Errors
/// As [`MergedTokens::new`], and when no image can be read.
pub fn merged_tokens(
    model: &Model,
    reductions: &[Reduction],
    samples: Vec<Sample>,
    reading: Reading,
    observer: &mut dyn Observer,
) -> Result<Vec<MergeProfile>, AnalysisError> {
    let mut study = MergedTokens::new(model, reductions)?;
    each_batch(samples, model.processor().clone(), reading, observer, |batch, _| -> Result<(), EvalError> {
        Ok(study.measure(&Batch::from(batch))?)
    })?;
    Ok(study.profiles())
}
