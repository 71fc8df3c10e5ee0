//! ATS (Fayyaz et al., 2022, arXiv:2111.15667): in some layers, between attention and MLP, patches are sampled by how much
//! they matter, always the same ones of an image. What is sampled twice is kept once, so that simple images lose more
//! than complex ones.
//!
//! A patch matters by what the class token attends to it, times the norm of its value. These scores, divided by their sum,
//! add up to a cumulative distribution, and every one of evenly spaced points picks the patch whose entry is nearest
//! (inverse transform sampling). What is not picked is dropped. Nothing merges, so that all tokens have size 1.
//!
//! `form=official`, the default, is what the authors' published code does:
//!
//! - The norm is that of the whole value, all heads side by side, and the attention on it is summed over the heads.
//! - Patches are listed by rising score before they are summed up, and that is how they go on. The distribution is stretched
//!   so that it begins at 0, and the points reach from its first entry above 0 to 1; so the least patch of all is never
//!   picked.
//! - It samples 197 tokens, the class token included, in all layers from the fourth to the last of 12. Fewer samples are
//!   spread over all patches here; the published code leaves out those of the highest scores then.
//! - At least 8 tokens are left where there were as many. That those of the highest scores join the picked ones is ours.
//! - Its softmax adds 1e-6 to the sum of every row, and as much to the row itself, also without training. Here it is the
//!   model's own, which moves logits by about 1e-6.
//! - It computes what the kept patches attend to alone. Here all patches attend, which gives the same and costs more.
//!
//! `form=token_reduction` is that of Haurum et al. (2023): the score is summed head by head, patches stay in their places,
//! the distribution is not stretched, and of `K` samples the points are `1/2K`, `3/2K` and so on, without the last.
//! It takes fewer samples from layer to layer: `samples=[138,97,68],layer=[4,7,10]` are those for 70 % of 196 patches.
//!
//! The paper, as far as remembered, has points at odd multiples of `1/2K` too. Ties go to the patch that stands first; a
//! score that is no number counts as 0. An item in which no patch scores stays as it is.

mod options;
mod sampling;

use super::layers::{self, Layers};
use super::{At, Common, ProportionalAttention, Rule};
use crate::plan::PlanBuilder;
use crate::{
    Amount, AttentionMap, Evidence, HeadAggregation, LastLayer, MapQueries, MergePlan, Metric, MetricRequest,
    ModelFacts, ScheduleError, Tokens, Wants,
};
use burn::tensor::Tensor;

pub(super) use options::INFO;

/// Samples of the published code: as many as DeiT has tokens.
const SAMPLES: usize = 197;
/// Values of all heads side by side.
const VALUES: MetricRequest = MetricRequest { of: Metric::Value, heads: HeadAggregation::Concat };

/// Sampling patches by how much they matter.
#[derive(Clone, Debug, PartialEq)]
pub struct Ats {
    /// Samples, the class token included, at least 2: one number for all layers, or one for each of
    /// [`layers`](Self::layers), which are listed then.
    pub samples: Vec<usize>,
    /// The layers in which it samples, from 1. `None`: from the end of the first quarter of the model on.
    pub layers: Layers,
    /// How the distribution is made and where it is sampled.
    pub form: AtsForm,
    /// Options that methods share.
    pub common: Common,
}

/// How ATS samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtsForm {
    /// As in the authors' published code.
    Official,
    /// As in the comparison of Haurum et al. (2023).
    TokenReduction,
}

impl Default for Ats {
    /// That of the authors' published code.
    fn default() -> Self {
        let common =
            Common { proportional_attention: ProportionalAttention::Off, ..Common::new(LastLayer::All) };
        Self { samples: vec![SAMPLES], layers: None, form: AtsForm::Official, common }
    }
}

impl Ats {
    /// The layers in which it samples, from 1, ascending.
    fn layers_of(&self, depth: usize) -> Result<Vec<usize>, ScheduleError> {
        match &self.layers {
            Some(_) => layers::of_depth(&self.layers, depth),
            None => Ok((depth / 4 + 1..=depth).collect()),
        }
    }

    /// Samples in a layer, from 0.
    fn samples_in(&self, at: &At) -> usize {
        let place = layers::place(&self.layers_of(at.depth).unwrap_or_default(), at.layer);
        layers::number_at(&self.samples, place).unwrap_or(SAMPLES).max(2)
    }

    /// The norm of every value, `[T, 1]`, or of every head's part of it, `[T, H]`.
    fn norms(&self, values: &Tensor<2>, heads: usize) -> Norms {
        let [rows, channels] = values.dims();
        let parts = match self.form {
            AtsForm::Official => 1,
            AtsForm::TokenReduction => heads,
        };
        let parted = values.clone().reshape([rows, parts, channels / parts]);
        let norms = parted.powi_scalar(2).sum_dim(2).sqrt().into_data().iter::<f32>().collect();
        Norms { norms, parts }
    }
}

/// Norms of values.
struct Norms {
    norms: Vec<f32>,
    /// For each token.
    parts: usize,
}

impl Norms {
    /// How much a token matters to the class token, by its row among all and its place in its item.
    fn score(&self, row: usize, map: &AttentionMap, place: usize) -> f32 {
        let attention = (0..map.heads).map(|head| map.row(head, 0)[place]);
        let norms = &self.norms[row * self.parts..(row + 1) * self.parts];
        let score = match norms {
            [norm] => attention.sum::<f32>() * norm,
            norms => attention.zip(norms).map(|(attention, norm)| attention * norm).sum(),
        };
        if score.is_finite() { score } else { 0.0 }
    }
}

impl Rule for Ats {
    super::rule::common!();

    fn wants(&self) -> Wants {
        Wants { metric: Some(VALUES), maps: Some(MapQueries::First), ..Wants::default() }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let layers = Some(self.layers_of(facts.depth)?);
        layers::amounts(&layers, facts.depth, |_| Amount::ByTokens)
    }

    fn plan(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
        if tokens.layout.rows() == 0 {
            return None;
        }
        let samples = self.samples_in(at);
        let norms = self.norms(evidence.metric(), evidence.map(0).heads);
        let mut builder = PlanBuilder::new(tokens.layout.clone());
        let mut changes = false;
        for item in 0..tokens.layout.items() {
            let range = tokens.layout.range(item);
            let prefix = tokens.front_of(item);
            let score = |place: usize| norms.score(range.start + place, evidence.map(item), place);
            let scores: Vec<f32> = (prefix..range.len()).map(score).collect();
            match sampling::sampled(self.form, &scores, samples, prefix) {
                Some(kept) => {
                    changes = true;
                    let kept = kept.into_iter().map(|patch| (prefix + patch) as u32);
                    builder.item((0..prefix as u32).chain(kept), &[]);
                }
                None => builder.keep_item(),
            }
        }
        changes.then(|| builder.finish())
    }
}

#[cfg(test)]
mod tests;
