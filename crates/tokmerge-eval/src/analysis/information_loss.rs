//! What merging in one layer alone does to the output (ATM, Figure 2).

use super::AnalysisError;
use crate::batches::each_batch;
use crate::cosine::cosine;
use crate::{EvalError, Observer, top};
use burn::tensor::Tensor;
use serde::Serialize;
use tokmerge_data::{Reading, Sample};
use tokmerge_merge::{Atm, Common, Evidence, LastLayer, Method, Reduction, Threshold, Tokens, Trace, Wants};
use tokmerge_models::{Batch, Heads, Model, Network, NotFinite, Pass, Probe};

/// What merging in one layer alone, at one threshold, does to the output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerLoss {
    /// The layer, counted from 1.
    pub layer: usize,
    /// Pairs of tokens more similar than this merge.
    pub threshold: f64,
    /// The same as a spec, with which any other command does what was done here.
    pub merge: String,
    /// Images measured.
    pub images: usize,
    /// Information loss: mean cosine distance between the pooled vectors with and without merging.
    pub distance: f64,
    /// Mean tokens of an image that merged away.
    pub merged: f64,
    /// Information loss of all images over tokens merged in all images; `None` if none did.
    pub per_token: Option<f64>,
    /// Percent of images whose first prediction stays the same; `None` for a model without a head.
    pub agreement: Option<f64>,
}

/// The study of one model, fed batch by batch.
///
/// Merging is ATM's in a single layer: pairs found by the mean of the keys in alternating positions merge if
/// they are more similar than the threshold. (ATM's other matching, by size, has nothing to go by where nothing
/// has merged before, so alternating positions are used in all layers: `split` is the depth.) Layers run from 1
/// to the last but one, since ATM merges in the last only where patches are averaged.
///
/// The distance is taken between the vectors that the head looks at, [`Heads::pooled`]: the class token
/// after the last block and the last norm; of a model that pools by averaging, the average.
///
/// The blocks before a layer are the same with and without merging in it, so they run once: every branch goes
/// on from there, and its result is that of a full pass, bit for bit.
#[derive(Debug)]
pub struct InformationLoss<'a> {
    model: &'a Model,
    /// By layer, then by threshold.
    branches: Vec<Branch>,
    images: usize,
}

#[derive(Debug)]
struct Branch {
    layer: usize,
    threshold: f64,
    reduction: Reduction,
    distance: f64,
    merged: usize,
    agree: usize,
}

impl<'a> InformationLoss<'a> {
    /// The study of a model at some thresholds, each from -1 to 1.
    ///
    /// # Errors
    /// When there is no threshold, one is out of range or given twice, or the model has fewer than two layers.
    pub fn new(model: &'a Model, thresholds: &[f64]) -> Result<Self, AnalysisError> {
        if thresholds.is_empty() {
            return Err(AnalysisError::NoThreshold);
        }
        for (index, &threshold) in thresholds.iter().enumerate() {
            if !(-1.0..=1.0).contains(&threshold) {
                return Err(AnalysisError::Threshold(threshold));
            }
            if thresholds[..index].contains(&threshold) {
                return Err(AnalysisError::Twice(threshold));
            }
        }
        let depth = model.config().depth();
        if depth < 2 {
            return Err(AnalysisError::Depth(depth));
        }
        let branch = |layer, threshold| -> Result<Branch, AnalysisError> {
            let reduction = model.bind(&only_in(layer, threshold, depth))?;
            Ok(Branch { layer, threshold, reduction, distance: 0.0, merged: 0, agree: 0 })
        };
        let branches = (0..depth - 1)
            .flat_map(|layer| thresholds.iter().map(move |&t| branch(layer, t)))
            .collect::<Result<_, _>>()?;
        Ok(Self { model, branches, images: 0 })
    }

    /// Measures a batch, `pixels: [B, 3, H, W]`, preprocessed.
    ///
    /// # Errors
    /// When an output of the unmerged model is not finite.
    ///
    /// # Panics
    /// When `pixels` is not a whole number of images of the model's size.
    pub fn measure(&mut self, batch: &Batch) -> Result<(), NotFinite> {
        let network = self.model.network();
        let none = Reduction::none();
        let mut branching = Branching { network, branches: &self.branches, outcomes: Vec::new() };
        let output = self.model.run(batch.clone(), Pass::new(&none).probed(&mut branching));
        let outcomes = branching.outcomes;
        NotFinite::check_tensor(&output.logits)?;
        let reference = Outcome::of(Heads { pooled: output.pooled, logits: output.logits }, &output.trace);
        for (branch, outcome) in self.branches.iter_mut().zip(&outcomes) {
            let rows = outcome.pooled.iter().zip(&reference.pooled);
            branch.distance += rows.map(|(merged, whole)| cosine_distance(merged, whole)).sum::<f64>();
            branch.merged += outcome.merged;
            branch.agree += outcome.answers.iter().zip(&reference.answers).filter(|(a, b)| a == b).count();
        }
        self.images += reference.pooled.len();
        Ok(())
    }

    /// What was found so far, by layer and then by threshold in the order given.
    #[must_use]
    pub fn losses(&self) -> Vec<LayerLoss> {
        let images = self.images.max(1) as f64;
        let loss = |branch: &Branch| LayerLoss {
            layer: branch.layer + 1,
            threshold: branch.threshold,
            merge: branch.reduction.method().to_string(),
            images: self.images,
            distance: branch.distance / images,
            merged: branch.merged as f64 / images,
            per_token: (branch.merged > 0).then(|| branch.distance / branch.merged as f64),
            agreement: (self.model.classes() > 0).then(|| 100.0 * branch.agree as f64 / images),
        };
        self.branches.iter().map(loss).collect()
    }
}

/// ATM in one layer, counted from 0.
fn only_in(layer: usize, threshold: f64, depth: usize) -> Method {
    let mut thresholds = vec![1.0; layer];
    thresholds.push(threshold);
    let atm = Atm::new(Threshold::PerLayer(thresholds));
    Method::Atm(Atm {
        split: Some(depth),
        common: Common { last_layer: LastLayer::All, ..atm.common.clone() },
        ..atm
    })
}

/// Runs every branch from where it leaves the unmerged pass.
struct Branching<'a> {
    network: &'a Network,
    branches: &'a [Branch],
    /// One per branch, in their order, as far as the pass has come.
    outcomes: Vec<Outcome>,
}

impl Probe for Branching<'_> {
    fn wants(&self, layer: usize) -> Wants {
        let wants = self.branches.iter().map(|branch| branch.reduction.wants(layer));
        wants.reduce(|first, next| if first == Wants::default() { next } else { first }).unwrap_or_default()
    }

    fn attended(&mut self, layer: usize, tokens: &Tokens, evidence: &Evidence) {
        for branch in self.branches.iter().filter(|branch| branch.layer == layer) {
            let pass = Pass::new(&branch.reduction);
            let output = self.network.resume(layer, tokens.clone(), evidence.clone(), pass);
            let heads = Heads { pooled: output.pooled, logits: output.logits };
            self.outcomes.push(Outcome::of(heads, &output.trace));
        }
    }
}

/// What a batch became.
struct Outcome {
    /// One vector per image.
    pooled: Vec<Vec<f32>>,
    /// The first prediction of every image; of a model without a head nothing that means anything.
    answers: Vec<Option<usize>>,
    /// Tokens of all images that merged away.
    merged: usize,
}

impl Outcome {
    fn of(heads: Heads, trace: &Trace) -> Self {
        let best = |logits: &Vec<f32>| top(logits, 1).first().map(|(class, _)| *class);
        let answers = rows(heads.logits).iter().map(best).collect();
        let merged = trace.plans().map(|(_, plan)| plan.input().rows() - plan.output().rows()).sum();
        Self { pooled: rows(heads.pooled), answers, merged }
    }
}

fn rows(x: Tensor<2>) -> Vec<Vec<f32>> {
    let [_, width] = x.dims();
    let flat: Vec<f32> = x.into_data().iter::<f32>().collect();
    flat.chunks(width.max(1)).map(<[f32]>::to_vec).collect()
}

/// One minus the cosine: 0 for equal vectors exactly, 1 beside a vector of zeros.
fn cosine_distance(x: &[f32], y: &[f32]) -> f64 {
    cosine(x, y).map_or_else(|| f64::from(u8::from(x != y)), |cosine| (1.0 - cosine).max(0.0))
}

/// The mean over the thresholds of every layer: `(layer, information loss)`, the bars of the paper's figure.
#[must_use]
pub fn loss_per_layer(losses: &[LayerLoss]) -> Vec<(usize, f64)> {
    let of_layer = |group: &[LayerLoss]| {
        (group[0].layer, group.iter().map(|loss| loss.distance).sum::<f64>() / group.len() as f64)
    };
    losses.chunk_by(|a, b| a.layer == b.layer).map(of_layer).collect()
}

/// The whole study on a list of images. Labels are not looked at.
///
/// # Errors
/// As [`InformationLoss::new`], and when no image can be read.
pub fn information_loss(
    model: &Model,
    thresholds: &[f64],
    samples: Vec<Sample>,
    reading: Reading,
    observer: &mut dyn Observer,
) -> Result<Vec<LayerLoss>, AnalysisError> {
    let mut study = InformationLoss::new(model, thresholds)?;
    each_batch(samples, model.processor().clone(), reading, observer, |batch, _| -> Result<(), EvalError> {
        Ok(study.measure(&Batch::from(batch))?)
    })?;
    Ok(study.losses())
}

#[cfg(test)]
mod tests {
    use super::cosine_distance;

    #[test]
    fn distance_of_equal_opposite_and_orthogonal_vectors() {
        let x = [0.1, -0.7, 3.3, 1e-3];
        assert_eq!(cosine_distance(&x, &x), 0.0);
        assert!((cosine_distance(&x, &x.map(|x| -2.0 * x)) - 2.0).abs() < 1e-12);
        assert_eq!(cosine_distance(&[1.0, 0.0], &[0.0, 3.0]), 1.0);
        assert_eq!((cosine_distance(&[0.0], &[0.0]), cosine_distance(&[0.0], &[1.0])), (0.0, 1.0));
    }
}
