//! MCTF (Lee, Choi and Kim, 2024, arXiv:2403.10030, §3.2 and §3.3): tokens merge that are alike, tell little and are small,
//! inside attention, so that its softmax is computed once, of all tokens, and merges with them (one-step-ahead attention).
//!
//! Written from a description of the published code:
//!
//! - The score of a pair is the product of three powers ([`Criteria`]): of its cosine, of the tokens themselves as they enter the
//!   block and moved to `[0, 1]`; of how little attention both receive; and of how small both are.
//! - Even places propose to odd ones, as in ToMe. The better half of the tokens to go merges from even to odd, then every odd
//!   token proposes to the even ones that are left, by the same scores, and the other half merges back ([`Directions`]). What
//!   goes on stands as: prefix, even places, odd ones by falling score.
//! - A merged token is the average of its members by attention received times size, whoever merged first. The published code
//!   divides these weights, and what powers are taken of, by their largest: nothing depends on that.
//! - A number of tokens goes in every layer but the first, as long as ten are left; a share (MCTF-Fast: 35 %) after each quarter
//!   of the model, where the published code leaves items of ten tokens and fewer alone, and this one does not.
//! - Attention weighs tokens by size, unless they are of an off-the-shelf MAE (`prop_attn=on` there too, as published).
//!
//! `place=mlp` is OpenToMe's form: it merges behind attention, of which it takes what tokens receive for weights, in all
//! layers, and scores pairs by the cosine of what entered the block alone.
//!
//! The accuracy of the paper needs training with its consistency loss (§3.4). Merging one way only is described nowhere in
//! detail: here the order is ToMe's then. Ties go to the token that stands first.

mod options;
mod scores;

use super::layers;
use super::matching::Split;
use super::matching::bipartite::Pair;
use super::{At, Common, Partition, Rule};
use crate::methods::matching::by_falling_score;
use crate::plan::PlanBuilder;
use crate::{
    Amount, Combination, Combine, Evidence, HeadAggregation, LastLayer, MatchShape, Merging, Metric,
    MetricRequest, ModelFacts, Received, ScheduleError, Site, Tokens, Wants, mergeable,
};
use rayon::prelude::*;
use scores::Scores;

pub(super) use options::INFO;

/// Tokens that a layer leaves at least, prefix included, where a number of them is to go (published code).
const LEAST: usize = 10;

/// Merging by several criteria.
#[derive(Clone, Debug, PartialEq)]
pub struct Mctf {
    /// What each of its layers removes.
    pub removal: Removal,
    /// The layers, from 1. `None`: all for a number of tokens, but inside attention not the first; after each quarter of the
    /// blocks but the last for a share.
    pub layers: Option<Vec<usize>>,
    /// Where in a block tokens merge.
    pub place: MctfPlace,
    /// Which side proposes.
    pub directions: Directions,
    /// What the score of a pair is made of.
    pub criteria: Criteria,
    /// Options that methods share.
    pub common: Common,
}

/// What a layer removes.
#[derive(Clone, Debug, PartialEq)]
pub enum Removal {
    /// A number of tokens, as long as ten are left.
    Tokens(usize),
    /// The same, one number for each layer of the model; layers beyond the list remove nothing.
    PerLayer(Vec<usize>),
    /// A part of the tokens that may merge, rounded down, at most half.
    Share(f64),
    /// All pairs whose score is above a threshold, in each of its layers: as many as the item has, at most half of its tokens.
    /// Ours.
    Above(f64),
    /// The same, one threshold for each layer of the model; layers beyond the list remove nothing.
    AbovePerLayer(Vec<f64>),
}

impl Removal {
    /// The threshold of a layer, from 0, if there is one.
    fn threshold(&self, layer: usize) -> Option<f64> {
        match self {
            Self::Above(limit) => Some(*limit),
            Self::AbovePerLayer(limits) => limits.get(layer).copied(),
            Self::Tokens(_) | Self::PerLayer(_) | Self::Share(_) => None,
        }
    }
}

/// How many pairs merge.
#[derive(Clone, Copy)]
enum Wanted {
    /// So many.
    Count(usize),
    /// Those whose score is above, at most so many.
    Above(f64, usize),
}

impl Wanted {
    /// How many of the best scores, falling, when so many pairs have merged already.
    fn of(self, best: impl Iterator<Item = f32>, merged: usize) -> usize {
        match self {
            Self::Count(count) => count - merged,
            Self::Above(limit, most) => {
                best.take(most - merged).take_while(|score| f64::from(*score) > limit).count()
            }
        }
    }
}

/// Where in a block tokens merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MctfPlace {
    /// Between softmax and values.
    Attention,
    /// Between attention and MLP.
    Mlp,
}

/// Which side proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directions {
    /// Even places, then odd ones.
    Both,
    /// Even places alone.
    One,
}

/// The temperatures of what the score of a pair is the product of (§3.2): each part, in `[0, 1]`, to the power of one by its
/// temperature. What has temperature 0 does not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Criteria {
    /// Of the cosine, `(cos + 1) / 2`.
    pub similarity: f64,
    /// Of the product of what both tokens do not tell: one by the attention received, the mean over heads and queries.
    pub information: f64,
    /// Of the product of one by each size.
    pub size: f64,
}

impl Criteria {
    /// Those of the published code: 1, 20 and 40 inside attention; the cosine alone before the MLP (OpenToMe).
    #[must_use]
    pub fn of(place: MctfPlace) -> Self {
        match place {
            MctfPlace::Attention => Self { similarity: 1.0, information: 20.0, size: 40.0 },
            MctfPlace::Mlp => Self { similarity: 1.0, information: 0.0, size: 0.0 },
        }
    }
}

impl Mctf {
    /// The paper's method.
    #[must_use]
    pub fn new(removal: Removal) -> Self {
        Self {
            removal,
            layers: None,
            place: MctfPlace::Attention,
            directions: Directions::Both,
            criteria: Criteria::of(MctfPlace::Attention),
            common: Common::new(LastLayer::All),
        }
    }

    /// The layers of a model of this depth, `None` for those after its quarters.
    fn layers_of(&self, depth: usize) -> Option<Vec<usize>> {
        match (&self.layers, &self.removal, self.place) {
            (Some(layers), ..) => Some(layers.clone()),
            (None, Removal::Share(_), _) => None,
            (None, _, MctfPlace::Attention) => Some((2..=depth).collect()),
            (None, _, MctfPlace::Mlp) => Some((1..=depth).collect()),
        }
    }
}

impl Directions {
    /// What becomes of an item: who goes on, behind the prefix, and who merges into whom.
    fn matched(self, split: &Split, scores: &Scores, wanted: Wanted) -> (Vec<u32>, Vec<Pair>) {
        let forth = scores.forth();
        let mut staying = by_falling_score(&forth.scores, 0);
        let forth_count = match (self, wanted) {
            (Self::Both, Wanted::Count(count)) => count / 2,
            _ => wanted.of(staying.iter().map(|source| forth.scores[*source as usize]), 0),
        };
        let merging: Vec<u32> = staying.drain(..forth_count).collect();
        staying.sort_unstable();
        let into = |&source: &u32| {
            (split.sources[source as usize], split.destinations[forth.partners[source as usize] as usize])
        };
        let forth_pairs = merging.iter().map(into);
        let sources = staying.iter().map(|&source| split.sources[source as usize]);
        if self == Self::One || staying.is_empty() {
            return (sources.chain(split.destinations.iter().copied()).collect(), forth_pairs.collect());
        }
        let back = scores.back(&staying);
        let order = by_falling_score(&back.scores, 0);
        let back_count = wanted.of(order.iter().map(|at| back.scores[*at as usize]), forth_count);
        let (merging, left) = order.split_at(back_count);
        let destination = |&destination: &u32| split.destinations[destination as usize];
        let from = |at: &u32| (destination(at), split.sources[back.partners[*at as usize] as usize]);
        // What merged into one that merges back is found through it.
        let pairs = merging.iter().map(from).chain(forth_pairs).collect();
        (sources.chain(left.iter().map(destination)).collect(), pairs)
    }
}

impl Rule for Mctf {
    super::rule::common!();

    fn site(&self) -> Site {
        match self.place {
            MctfPlace::Attention => Site::InsideAttention,
            MctfPlace::Mlp => Site::InsideBlock,
        }
    }

    fn wants(&self) -> Wants {
        let entered = MetricRequest { of: Metric::Entered, heads: HeadAggregation::Mean };
        Wants { metric: Some(entered), received: Received::FromAll, ..Wants::default() }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let depth = facts.depth;
        let amount = |remove| match remove {
            0 => Amount::NOTHING,
            remove => Amount::Leaving { remove, least: LEAST },
        };
        let in_layers = |amount| layers::amounts(&self.layers_of(depth), depth, |_| amount);
        match &self.removal {
            Removal::Tokens(remove) => in_layers(amount(*remove)),
            Removal::Share(share) => in_layers(Amount::Share(*share)),
            Removal::AbovePerLayer(limits) if limits.len() > depth => {
                Err(ScheduleError::TooManyLayers { given: limits.len(), depth })
            }
            Removal::Above(_) | Removal::AbovePerLayer(_) => {
                let layers = layers::of_depth(&self.layers_of(depth), depth)?;
                let works = |layer: usize| {
                    let limit = self.removal.threshold(layer).filter(|limit| *limit < 1.0);
                    limit.is_some() && layers.contains(&(layer + 1))
                };
                Ok((0..depth)
                    .map(|layer| if works(layer) { Amount::ByTokens } else { Amount::NOTHING })
                    .collect())
            }
            Removal::PerLayer(list) if list.len() > depth => {
                Err(ScheduleError::TooManyLayers { given: list.len(), depth })
            }
            Removal::PerLayer(list) => {
                Ok((0..depth).map(|layer| amount(list.get(layer).copied().unwrap_or(0))).collect())
            }
        }
    }

    fn merging(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<Merging> {
        if !at.removes_any(tokens) {
            return None;
        }
        let splits = Partition::Alternating.split_items(tokens, 0, at.layer);
        let (sizes, received) = (tokens.sizes(), evidence.received().to_vec());
        let units = scores::units(evidence.into_metric());
        let of_item = |(item, split): (usize, &Split)| {
            let (range, prefix) = (tokens.layout.range(item), tokens.prefix.of(item));
            let most = mergeable(usize::MAX, range.len(), prefix);
            let wanted = match (self.removal.threshold(at.layer), at.amount.of(range.len(), prefix)) {
                (Some(limit), _) if most > 0 => Wanted::Above(limit, most),
                (None, Some(count)) if count > 0 => Wanted::Count(count),
                _ => return None,
            };
            let told = [&received[range.clone()], &sizes[range.clone()]];
            let scores = Scores::new(self.criteria, told, split, &units, range.start);
            Some(self.directions.matched(split, &scores, wanted)).filter(|(_, pairs)| !pairs.is_empty())
        };
        // Items side by side.
        let matched: Vec<Option<(Vec<u32>, Vec<Pair>)>> =
            splits.par_iter().enumerate().map(of_item).collect();
        if matched.iter().all(Option::is_none) {
            return None;
        }
        let mut builder = PlanBuilder::new(tokens.layout.clone());
        for (item, matched) in matched.into_iter().enumerate() {
            match matched {
                Some((kept, pairs)) => {
                    builder.item((0..tokens.prefix.of(item) as u32).chain(kept), &pairs);
                }
                None => builder.keep_item(),
            }
        }
        let weights = received.iter().zip(sizes.iter()).map(|(received, size)| received * size);
        let by =
            Combination { combine: Combine::WeightedAverage, weights: Some(weights.collect()), sizes: None };
        Some(Merging { plan: builder.finish(), by })
    }

    fn matching_macs(&self, shape: MatchShape) -> f64 {
        if self.criteria.similarity == 0.0 {
            return 0.0;
        }
        (shape.tokens.div_ceil(2) * (shape.tokens / 2)) as f64 * shape.channels as f64
    }
}

#[cfg(test)]
mod tests;
