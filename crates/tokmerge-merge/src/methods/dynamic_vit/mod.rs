//! DynamicViT (Rao et al., 2021, arXiv:2106.02034, §3): before some blocks a small network looks at every patch and at all of
//! them together, and says which are worth keeping; the others are dropped.
//!
//! - Inference: the `int(n k^i)` best of the `n` patches that the model began with go on, in the order of their scores
//!   (`k` is `keep`, `i` counts the places from 1). Of images of several sizes `n` is that of the largest.
//! - Training ([`Reduction::relax`](crate::Reduction::relax)): nothing is dropped. Whether a patch is kept is drawn, as the
//!   predictor has it, for good; what is not kept is masked in attention ([`Tokens::masked`](crate::Tokens::masked)). The
//!   gradient passes through the drawing as if it were not rounded. Twice the mean of `(kept - k^i)²` over the places is added to
//!   the loss, `kept` being the part of an image's patches that is kept.
//!
//! As in the published code, the norm of the predictor has an epsilon of 1e-5, a patch that is dropped still attends to itself,
//! and sizes count for nothing. Otherwise than there, heads that look at patches see those that are kept, in training too, and
//! masks leave next to nothing of what is dropped (there a part of 1e-6 of a row).

pub(super) mod predictor;
#[cfg(test)]
mod tests;

use super::dial::kept;
use super::layers::{self, Layers, layers};
use super::matching::{Kept, best};
use super::option::{FromOptions, Opt, Refusal, infos, keep};
use super::{At, MethodInfo, Rule};
use crate::mergers::{self, Start};
use crate::{Amount, Combine, Evidence, MergePlan, ModelFacts, ScheduleError, Site, Tokens, TrainedBy};

pub use predictor::Predictor;

/// Which part of the patches is kept, and where the others are dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The part that is left in the first of the layers, and in each of the others of what is left in the one before; above 0
    /// (`k`).
    pub keep: f64,
    /// The layers before which patches are dropped.
    pub layers: Layers,
}

pub(super) const INFO: MethodInfo = MethodInfo {
    name: "dynamicvit",
    summary: "keep the patches that learned predictors choose (has weights: train it)",
    source: "DynamicViT (arXiv:2106.02034), §3",
    example: "dynamicvit:keep=70%",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Options>] = &[
    keep!("patches to keep in its first layer, and in each of the others of those left in the one before"),
    layers!(
        layers,
        "[4,7,10] of 12 layers, or a layer, or a list",
        "the layers before which patches are dropped, counted from 1; by default after each quarter of the model"
    ),
];

impl FromOptions for Options {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self { keep: 0.7, layers: None }
    }

    fn check(&self) -> Result<(), Refusal> {
        layers::check(&self.layers)
    }

    /// Weights that were trained to keep one part serve all others.
    fn at_dial(&self, dial: f64, _: &ModelFacts) -> Option<Self> {
        Some(Self { keep: kept(dial), ..self.clone() })
    }
}

impl Rule for Options {
    fn site(&self) -> Site {
        Site::BeforeBlock
    }

    fn combine(&self) -> Combine {
        Combine::KeepOne
    }

    fn has_weights(&self) -> bool {
        true
    }

    /// Its weights say which tokens stay, and change none of them.
    fn mixes(&self) -> bool {
        false
    }

    fn trained_by(&self) -> TrainedBy {
        TrainedBy::Masks
    }

    fn mergers_before(&self, depth: usize) -> Vec<usize> {
        layers::before(&self.layers, depth)
    }

    fn merger(&self, index: usize, channels: usize, start: &mut Start<'_>) -> Option<mergers::Merger> {
        let target = self.keep.powi(index as i32 + 1);
        Some(mergers::Merger::Predictor(Predictor::new(target, channels, start)))
    }

    fn merger_parameters(&self, _: usize, channels: usize) -> usize {
        predictor::parameters(channels)
    }

    /// Of all patches, dropped ones included: prefix tokens are not looked at.
    fn merger_cost(&self, _: usize, tokens: usize, prefix: usize, channels: usize) -> (f64, f64) {
        let patches = tokens.saturating_sub(prefix) as f64;
        (patches * predictor::macs(channels) as f64, patches * channels as f64)
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        layers::amounts(&self.layers, facts.depth, |index| layers::kept_of_left(facts, self.keep, index))
    }

    fn plan(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
        at.removes_any(tokens).then(|| best(at, tokens, evidence.scores(), Kept::ByScore))
    }
}
