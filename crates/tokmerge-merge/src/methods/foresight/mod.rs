//! Foresight (ours, of no paper): tokens that are alike merge where the class token will hardly look.
//!
//! What a merge costs depends on how much of the tokens is still going to be read. In every layer, between attention and
//! MLP, a linear map of the normalised token foretells the attention that the class token will pay to it in all layers that
//! follow, in multiples of an even share ([`Importance`]). Pairs are those of alternating bipartite matching (ToMe, §3)
//! by the cosine of the tokens themselves, and a source merges into its partner where
//!
//! ```text
//! (foretold attention of the source * its size + the same of the partner) * (1 - cosine) < limit
//! ```
//!
//! since both move, so that an image loses as many tokens as it can spare (as in ATM). Merged values are averages weighted by foretold
//! attention times size, and sizes add up. No attention map is looked at, so that attention stays fused.
//!
//! The maps are fitted in closed form (ridge regression) to what the unmerged model attends to on some images without
//! labels; nothing of the model itself is trained. Their biases say too how much a merge in that layer changes in the end, as
//! far as it was measured, so that one limit serves all layers.
//!
//! Nothing merges in the last layer, which nothing follows. Ties go to the token that stands first; what is no number never
//! merges. Tokens keep their order.

mod importance;
mod options;

use super::matching::bipartite::{Pair, Proposals, Proposed};
use super::{At, Common, Partition, Rule};
use crate::mergers::{self, Start};
use crate::plan::PlanBuilder;
use crate::{
    Amount, Combination, Combine, Evidence, HeadAggregation, LastLayer, Limits, MatchShape, MergePlan,
    Merging, Metric, MetricRequest, ModelFacts, Received, ScheduleError, Similarity, Tokens, Wants,
};
use burn::tensor::Tensor;
use std::sync::Arc;

pub use importance::Importance;
pub(super) use options::INFO;

/// What tokens are compared by.
const TOKENS: MetricRequest = MetricRequest { of: Metric::Attended, heads: HeadAggregation::Mean };

/// Merging by what is going to be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Foresight {
    /// What a merge may cost; 0 merges nothing.
    pub limit: Limits,
    /// Options that methods share.
    pub common: Common,
}

/// What the sources of an item propose, and what it would cost.
#[derive(Debug)]
struct Offers {
    pairs: Vec<Pair>,
    losses: Vec<f32>,
}

impl Foresight {
    /// The method with a given limit.
    #[must_use]
    pub fn new(limit: Limits) -> Self {
        Self { limit, common: Common::new(LastLayer::Prefix) }
    }

    /// What it must know about a block: nothing that keeps attention from being fused.
    pub const WANTS: Wants = Wants { metric: Some(TOKENS), received: Received::No, maps: None };

    /// The limit in a layer, where something can be below it.
    fn limit_of(&self, layer: usize, depth: usize) -> Option<f32> {
        self.limit.of(layer).filter(|limit| *limit > 0.0 && layer + 1 < depth)
    }
}

/// What every pair that could merge in block `layer` would cost, by `importance` of the tokens after its attention; in no
/// order. A [limit](Foresight::limit) between two of these numbers merges the pairs below.
#[must_use]
pub fn losses(layer: usize, tokens: &Tokens, importance: &Importance) -> Vec<f32> {
    let weights = weights(tokens, &importance.of(tokens));
    let metric = tokens.x.clone().without_autodiff();
    offers(layer, tokens, metric, &weights).into_iter().flat_map(|offers| offers.losses).collect()
}

/// Foretold attention times size, `[T]`.
fn weights(tokens: &Tokens, importance: &[f32]) -> Arc<[f32]> {
    importance.iter().zip(tokens.sizes().iter()).map(|(importance, size)| importance * size).collect()
}

fn offers(layer: usize, tokens: &Tokens, metric: Tensor<2>, weights: &[f32]) -> Vec<Offers> {
    let splits = Partition::Alternating.split_items(tokens, 0, layer);
    let proposals = Proposals::by_similarity(tokens, splits, metric, Similarity::Cosine);
    let of_item = |(item, Proposed { pairs, similarities, .. }): (usize, Proposed)| {
        let start = tokens.layout.range(item).start;
        let weight = |place: u32| weights[start + place as usize];
        let loss = |(pair, cosine): (&Pair, f32)| (weight(pair.0) + weight(pair.1)) * (1.0 - cosine).max(0.0);
        let losses = pairs.iter().zip(similarities).map(loss).collect();
        Offers { pairs, losses }
    };
    proposals.all(tokens).into_iter().enumerate().map(of_item).collect()
}

impl Rule for Foresight {
    super::rule::common!();

    fn wants(&self) -> Wants {
        Self::WANTS
    }

    fn has_weights(&self) -> bool {
        true
    }

    /// Its weights say what merges, and mix nothing themselves.
    fn mixes(&self) -> bool {
        false
    }

    /// One in every block that others follow, whatever the limits are, so that the weights serve all of them.
    fn mergers_before(&self, depth: usize) -> Vec<usize> {
        (0..depth.saturating_sub(1)).collect()
    }

    fn merger(&self, _: usize, channels: usize, start: &mut Start<'_>) -> Option<mergers::Merger> {
        Some(mergers::Merger::Importance(Importance::new(channels, start)))
    }

    fn merger_parameters(&self, _: usize, channels: usize) -> usize {
        3 * channels + 1
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let depth = facts.depth;
        if self.limit.listed() > depth {
            return Err(ScheduleError::TooManyLayers { given: self.limit.listed(), depth });
        }
        let amount = |layer| match self.limit_of(layer, depth) {
            Some(_) => Amount::ByTokens,
            None => Amount::NOTHING,
        };
        Ok((0..depth).map(amount).collect())
    }

    fn merging(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<Merging> {
        let limit = self.limit_of(at.layer, at.depth)?;
        let weights = weights(tokens, evidence.scores());
        let offers = offers(at.layer, tokens, evidence.into_metric(), &weights);
        let plan = below(limit, offers, tokens)?;
        let by = Combination { combine: Combine::WeightedAverage, weights: Some(weights), sizes: None };
        Some(Merging { plan, by })
    }

    fn matching_macs(&self, shape: MatchShape) -> f64 {
        match shape.amount {
            Amount::ByTokens => {
                let pairs = shape.tokens.div_ceil(2) * (shape.tokens / 2);
                // Every token is looked at too.
                ((pairs + shape.tokens) * shape.channels) as f64
            }
            _ => 0.0,
        }
    }
}

/// The pairs that cost less than the limit; `None` where no item has any.
fn below(limit: f32, offers: Vec<Offers>, tokens: &Tokens) -> Option<MergePlan> {
    let mut builder = PlanBuilder::new(tokens.layout.clone());
    let mut merges = false;
    for Offers { pairs, losses } in offers {
        let cheap = pairs.into_iter().zip(losses).filter(|(_, loss)| *loss < limit);
        let accepted: Vec<Pair> = cheap.map(|(pair, _)| pair).collect();
        merges |= !accepted.is_empty();
        builder.item_without(&accepted);
    }
    merges.then(|| builder.finish())
}

#[cfg(test)]
mod tests;
