//! Adaptive token merging (ATM; Lee and Choi, 2025, arXiv:2505.15160): every pair of tokens that is similar enough
//! merges, so that simple images lose many tokens and complex ones few.
//!
//! Pairs are found as in ToMe, by the mean of the keys over the heads. Three things differ: a pair merges when its
//! similarity is strictly above the layer's threshold, which falls from layer to layer (eq. 1); in the last layers
//! small tokens propose to large ones (§3.3); and in the very last layer of a model that reads class tokens, where
//! merging could only cost, nothing merges and only the class token goes through the MLP. Models that average their
//! patches merge there too, as the paper does with MAE (appendix).
//!
//! What the paper leaves open, and how it is settled here: θ of layer `l` counts layers from 1. If the number of
//! tokens is odd, the larger half holds the large ones. In a layer in which nothing merges the tokens keep their order;
//! otherwise the order is prefix, unmerged sources, destinations, as they were listed for matching. The batch's
//! mean count of Algorithm 1 is rounded down. A threshold of 1 or more merges nothing, even if rounding lifts the
//! similarity of equal tokens above 1.

mod options;

use super::dial::rounded;
use super::matching::Split;
use super::matching::bipartite::{Proposals, Unmerged};
use super::{At, Common, Partition, Rule};
use crate::{
    Amount, Evidence, HeadAggregation, LastLayer, MatchShape, MergePlan, Metric, MetricRequest, ModelFacts,
    Readout, ScheduleError, Similarity, Tokens, Wants,
};

pub(super) use options::INFO;

/// Adaptive token merging.
#[derive(Clone, Debug, PartialEq)]
pub struct Atm {
    /// How similar tokens must be to merge.
    pub threshold: Threshold,
    /// The last layer, counted from 1, in which even positions propose to odd ones; after it small tokens
    /// propose to large ones (§3.3). `None`: three quarters of the depth, rounded down.
    pub split: Option<usize>,
    /// Whose similarities decide how many tokens of an image merge.
    pub batch: BatchRule,
    /// What tokens are compared by.
    pub metric: MetricRequest,
    /// Options that methods share.
    pub common: Common,
}

/// How similar tokens of a layer must be to merge, as cosine.
#[derive(Clone, Debug, PartialEq)]
pub enum Threshold {
    /// `max(alpha - (exp(beta * (l - 1)) - 1), min)` in layer `l = 1, 2, ...` (eq. 1).
    Exponential {
        /// Threshold of the first layer.
        alpha: f64,
        /// How fast it falls.
        beta: f64,
        /// Where it stops falling.
        min: f64,
    },
    /// The same in every layer.
    Constant(f64),
    /// One per layer; nothing merges in layers beyond the list.
    PerLayer(Vec<f64>),
}

impl Threshold {
    /// The thresholds of `depth` layers; 1, which merges nothing, where there is none.
    ///
    /// # Errors
    /// When the list is longer than the model is deep.
    pub fn per_layer(&self, depth: usize) -> Result<Vec<f64>, ScheduleError> {
        Ok(match self {
            Self::Exponential { alpha, beta, min } => {
                (0..depth).map(|layer| exponential(*alpha, *beta, *min, layer)).collect()
            }
            Self::Constant(threshold) => vec![*threshold; depth],
            Self::PerLayer(list) if list.len() > depth => {
                return Err(ScheduleError::TooManyLayers { given: list.len(), depth });
            }
            Self::PerLayer(list) => list.iter().copied().chain(std::iter::repeat(1.0)).take(depth).collect(),
        })
    }
}

impl Threshold {
    /// Thresholds that lie to each other as these do, from 1 in every layer to -1 in every layer. Those of a list that merge
    /// nothing still do.
    fn turned(&self, dial: f64, depth: usize) -> Self {
        let shifted = |thresholds: Vec<f64>, moves: &dyn Fn(f64) -> bool| {
            let moving = || thresholds.iter().copied().filter(|threshold| moves(*threshold));
            let (low, high) = (moving().fold(1.0, f64::min), moving().fold(-1.0, f64::max));
            let shift = (1.0 - low) + dial * ((-1.0 - high) - (1.0 - low));
            let moved = |threshold: &f64| match moves(*threshold) {
                true => rounded((threshold + shift).clamp(-1.0, 1.0)),
                false => *threshold,
            };
            thresholds.iter().map(moved).collect()
        };
        match self {
            Self::Constant(_) => Self::Constant(rounded(1.0 - 2.0 * dial)),
            Self::Exponential { alpha, beta, min } => {
                let all = (0..depth).map(|layer| exponential(*alpha, *beta, *min, layer)).collect();
                Self::PerLayer(shifted(all, &|_| true))
            }
            Self::PerLayer(list) => Self::PerLayer(shifted(list.clone(), &|threshold| threshold < 1.0)),
        }
    }
}

/// Equation 1 in layer `layer`, from 0.
fn exponential(alpha: f64, beta: f64, min: f64, layer: usize) -> f64 {
    (alpha - (beta * layer as f64).exp_m1()).max(min)
}

/// Whose similarities decide how many tokens of an image merge (§3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchRule {
    /// The image's own: its result does not depend on its neighbours.
    Image,
    /// The mean of the batch, rounded down: all images lose equally many, as the paper does for speed.
    Average,
}

impl Atm {
    /// The paper's method with given thresholds, every image by itself.
    #[must_use]
    pub fn new(threshold: Threshold) -> Self {
        Self {
            threshold,
            split: None,
            batch: BatchRule::Image,
            metric: MetricRequest { of: Metric::Key, heads: HeadAggregation::Mean },
            common: Common::new(LastLayer::Prefix),
        }
    }

    /// The last layer of alternating matching in a model of `depth` layers.
    #[must_use]
    pub fn split_of(&self, depth: usize) -> usize {
        self.split.unwrap_or(depth * 3 / 4)
    }

    /// Who proposes to whom in every item.
    fn splits(&self, at: &At, tokens: &Tokens) -> Vec<Split> {
        if at.layer < self.split_of(at.depth) {
            return Partition::Alternating.split_items(tokens, 0, at.layer);
        }
        let split = |item| {
            let range = tokens.layout.range(item);
            let (len, prefix) = (range.len(), tokens.prefix.of(item));
            Split::by_size(len, prefix, tokens.size.as_ref().map(|size| &size[range]))
        };
        (0..tokens.layout.items()).map(split).collect()
    }
}

impl Rule for Atm {
    super::rule::common!();

    fn wants(&self) -> Wants {
        Wants { metric: Some(self.metric), ..Wants::default() }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let depth = facts.depth;
        if let Some(split) = self.split.filter(|split| *split > depth) {
            return Err(ScheduleError::Split { split, depth });
        }
        let thresholds = self.threshold.per_layer(depth)?;
        let unread = |layer: usize| facts.readout == Readout::Prefix && layer + 1 == depth;
        let amount = |(layer, threshold): (usize, f64)| {
            if unread(layer) || threshold >= 1.0 { Amount::NOTHING } else { Amount::Above(threshold as f32) }
        };
        Ok(thresholds.into_iter().enumerate().map(amount).collect())
    }

    fn plan(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
        let splits = self.splits(at, tokens);
        let proposals = Proposals::by_similarity(tokens, splits, evidence.into_metric(), Similarity::Cosine);
        let amount = match (at.amount, self.batch) {
            (Amount::Above(threshold), BatchRule::Average) => {
                Amount::Count(proposals.above(threshold) / tokens.layout.items().max(1))
            }
            (amount, _) => amount,
        };
        proposals.accept(amount, Unmerged::Listed, tokens)
    }

    fn matching_macs(&self, shape: MatchShape) -> f64 {
        let pairs = shape.tokens.div_ceil(2) * (shape.tokens / 2);
        (pairs * self.metric.width(shape.head_dim, shape.channels)) as f64
    }
}

#[cfg(test)]
mod tests;
