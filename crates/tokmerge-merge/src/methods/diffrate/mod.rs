//! DiffRate (Chen et al., 2023, arXiv:2305.17997, Fig. 3): in every layer, between attention and MLP, patches are ranked by
//! the attention of the class token; the last are dropped, and some of those before them merge into the first.
//!
//! How many are left of each step in each layer is found by training alone, the weights of the model frozen: for DeiT the
//! paper's numbers are the named `schedule`s, of 12 layers, found for 2.9 and 2.3 GMACs of DeiT-S and 0.8 and 0.7 of DeiT-Ti.
//! Other weights can use them, or lists of their own, or find them. All counts include the class token; further tokens that never merge,
//! such as a distillation token, come on top. Where a listed count is above what an image has, nothing is dropped or merged.
//!
//! As the published code does it:
//!
//! - Attention is the mean over the heads of the class token's row. Patches go on by falling attention, ties by place. In a
//!   layer in which nothing is to go they keep their order here, which changes no result.
//! - Those that merge are compared with those that stay by the tokens themselves, after attention and its residual, by
//!   cosine. Each merges into the most similar; class and other prefix tokens never receive one.
//! - Merged values are plain means, each token counting once, whatever it is made of.
//! - A token that merges brings its size times that cosine along, and attention always weighs tokens by size
//!   (`prop_attn=on`). So sizes are no numbers of patches. A cosine below zero, or none at all, counts as zero here, so that
//!   a size never falls below one; the published code limits sizes in training alone.
//!
//! # Learned numbers
//!
//! `target=65%` finds the numbers for a part of the cost of the blocks ([`LearnedRates`]). Freeze the model
//! (`train.frozen`), as the paper does, or train it with them. Written out they are a method with listed numbers
//! ([`Method::given`](crate::Method::given)), which is what runs outside training and which other weights can use. In
//! training the same is decided and all tokens stay ([`Choice`](crate::Choice)). As the published code does it: in every block but the
//! first, two softmaxes over the numbers of patches that are kept, of which the expected one, rounded up, is used; whether the
//! patch of a rank stays is the probability that more are kept, rounded, with the gradient of what is not rounded.
//! Otherwise than there, or not known:
//!
//! - The 196 numbers are parts of the model's patches: those of 196 patches, as there, but any other model can have them.
//! - The cost is that of LTMP, multiply-adds of the blocks as a part of those of all tokens, and not GMACs of the model. The weight
//!   of its squared distance from the target is 5 per squared GMAC of DeiT-S's 4.6, from memory.
//! - A patch that merges carries a gradient through the token that it merges into. There, as far as is remembered, masks alone
//!   do; here so do those of patches that do not merge.
//! - Nearly all patches are kept to begin with: the logit of keeping all is 9, those of all other numbers 0. That start is ours.

mod learned;
mod options;

use super::matching::Split;
use super::matching::bipartite::{Proposals, Proposed};
use super::matching::by_falling_score;
use super::{At, Common, Method, ProportionalAttention, Rule, TrainedBy};
use crate::budget::Budget;
use crate::mergers::{Merger, Mergers, Start};
use crate::plan::PlanBuilder;
use crate::{
    Amount, Choice, Combination, Combine, Evidence, HeadAggregation, LastLayer, MapQueries, MatchShape,
    MergePlan, Merging, Metric, MetricRequest, ModelFacts, ScheduleError, Similarity, Tokens, Wants,
};

pub use learned::LearnedRates;
pub(super) use options::INFO;

/// What patches are compared by.
const TOKENS: MetricRequest = MetricRequest { of: Metric::Attended, heads: HeadAggregation::Mean };

/// Dropping and merging what the class token attends to least.
#[derive(Clone, Debug, PartialEq)]
pub struct Diffrate {
    /// How many tokens every layer leaves.
    pub rates: CompressionRates,
    /// Options that methods share.
    pub common: Common,
}

/// How many tokens every layer leaves, class token included.
#[derive(Clone, Debug, PartialEq)]
pub enum CompressionRates {
    /// As the paper found them for a model.
    Published(PublishedRates),
    /// Listed: one number per layer, at least 2; layers beyond a list do nothing of that kind.
    Listed {
        /// Tokens that are not dropped.
        prune: Vec<usize>,
        /// Of these how many are left when some have merged.
        merge: Vec<usize>,
    },
    /// Weights, trained for a cost.
    Learned {
        /// The part of the blocks' cost that is to be left, above 0 and below 1.
        target: f64,
    },
}

/// The paper's numbers for models of 12 layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishedRates {
    /// For DeiT-S at 2.9 GMACs.
    DeitSmall29,
    /// For DeiT-S at 2.3 GMACs.
    DeitSmall23,
    /// For DeiT-Ti at 0.8 GMACs.
    DeitTiny08,
    /// For DeiT-Ti at 0.7 GMACs.
    DeitTiny07,
    /// Those for DeiT-Ti at 0.8 GMACs as parts of the patches, resampled to the layers of the model: for any other model. Ours.
    Resampled,
}

/// Patches and layers of the models that the paper's numbers are for.
const PATCHES: usize = 196;
const LAYERS: usize = 12;

impl PublishedRates {
    /// Tokens that are not dropped in each layer, and of these those that are left when some have merged.
    const fn lists(self) -> [&'static [usize]; 2] {
        match self {
            Self::DeitSmall29 => [
                &[197, 196, 190, 168, 150, 139, 129, 117, 99, 78, 58, 3],
                &[197, 194, 176, 156, 141, 133, 121, 107, 88, 64, 56, 3],
            ],
            Self::DeitSmall23 => [
                &[197, 192, 168, 143, 121, 105, 92, 74, 62, 45, 33, 3],
                &[197, 180, 156, 127, 109, 98, 80, 66, 52, 37, 31, 3],
            ],
            Self::DeitTiny08 | Self::Resampled => [
                &[197, 197, 196, 186, 166, 147, 117, 103, 92, 80, 74, 3],
                &[197, 196, 190, 172, 154, 125, 107, 96, 84, 78, 70, 3],
            ],
            Self::DeitTiny07 => [
                &[197, 196, 194, 180, 150, 123, 98, 82, 68, 60, 52, 3],
                &[197, 196, 192, 158, 133, 103, 88, 72, 64, 58, 49, 3],
            ],
        }
    }
}

impl CompressionRates {
    /// Tokens that are not dropped in each layer of a model, and of these those that are left when some have merged.
    #[must_use]
    pub fn for_model(&self, facts: &ModelFacts) -> [Vec<usize>; 2] {
        match self {
            Self::Published(PublishedRates::Resampled) => self.lists().map(|list| resampled(list, facts)),
            Self::Published(_) | Self::Listed { .. } | Self::Learned { .. } => {
                self.lists().map(<[usize]>::to_vec)
            }
        }
    }

    /// As they are written down.
    fn lists(&self) -> [&[usize]; 2] {
        match self {
            Self::Published(published) => published.lists(),
            Self::Listed { prune, merge } => [prune, merge],
            // Known once they have been learned.
            Self::Learned { .. } => [&[], &[]],
        }
    }
}

/// Published numbers for a model of another depth, whose images have another number of patches.
fn resampled(list: &[usize], facts: &ModelFacts) -> Vec<usize> {
    let patches = facts.tokens.saturating_sub(facts.prefix) as f64;
    let left = |layer: usize| {
        let place = (layer as f64 + 0.5) * LAYERS as f64 / facts.depth as f64 - 0.5;
        let place = place.clamp(0.0, (LAYERS - 1) as f64);
        let (before, after) = (list[place as usize] as f64, list[place.ceil() as usize] as f64);
        let tokens = before + (after - before) * place.fract();
        1 + ((tokens - 1.0) / PATCHES as f64 * patches).round().max(1.0) as usize
    };
    (0..facts.depth).map(left).collect()
}

impl Diffrate {
    /// The paper's method with these rates.
    #[must_use]
    pub fn new(rates: CompressionRates) -> Self {
        let common =
            Common { proportional_attention: ProportionalAttention::On, ..Common::new(LastLayer::All) };
        Self { rates, common }
    }

    /// The cost that rates are learned for, if they are.
    fn target(&self) -> Option<f64> {
        match self.rates {
            CompressionRates::Published(_) | CompressionRates::Listed { .. } => None,
            CompressionRates::Learned { target } => Some(target),
        }
    }
}

impl Rule for Diffrate {
    super::rule::common!();

    fn combine(&self) -> Combine {
        Combine::Average
    }

    fn wants(&self) -> Wants {
        Wants { metric: Some(TOKENS), maps: Some(MapQueries::First), ..Wants::default() }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let (depth, patches) = (facts.depth, facts.tokens.saturating_sub(facts.prefix));
        if self.target().is_some() {
            return Ok(vec![Amount::ByTokens; depth]);
        }
        let [prune, merge] = self.rates.for_model(facts);
        let given = prune.len().max(merge.len());
        if matches!(self.rates, CompressionRates::Published(_)) && given != depth {
            return Err(ScheduleError::OtherDepth { published: given, depth });
        }
        if given > depth {
            return Err(ScheduleError::TooManyLayers { given, depth });
        }
        let of =
            |list: &[usize], layer: usize| list.get(layer).map_or(patches, |tokens| (*tokens).max(2) - 1);
        let amount = |layer| match (of(&prune, layer), of(&merge, layer)) {
            (keep, left) if keep.min(left) >= patches => Amount::NOTHING,
            (keep, left) => Amount::KeepAndMerge { keep, left: left.min(keep) },
        };
        Ok((0..depth).map(amount).collect())
    }

    fn merging(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<Merging> {
        let Amount::KeepAndMerge { keep, left } = at.amount else { return None };
        let (mut splits, mut changes) = (Vec::new(), false);
        for item in 0..tokens.layout.items() {
            let len = tokens.layout.range(item).len();
            let prefix = tokens.prefix.of(item).min(len);
            if len - prefix <= left {
                splits
                    .push(Split { sources: Vec::new(), destinations: (prefix as u32..len as u32).collect() });
                continue;
            }
            changes = true;
            let mut destinations = by_falling_score(&evidence.map(item).mean_row(0), prefix);
            destinations.truncate(keep);
            let sources = destinations.split_off(left);
            splits.push(Split { sources, destinations });
        }
        if !changes {
            return None;
        }
        let proposals = Proposals::by_similarity(tokens, splits, evidence.into_metric(), Similarity::Cosine);
        let mut builder = PlanBuilder::new(tokens.layout.clone());
        let mut sizes = tokens.sizes().to_vec();
        for (item, Proposed { pairs, similarities, destinations }) in
            proposals.all(tokens).into_iter().enumerate()
        {
            let range = tokens.layout.range(item);
            for ((source, _), cosine) in pairs.iter().zip(similarities) {
                // What is no number is no more than zero either.
                sizes[range.start + *source as usize] *= cosine.max(0.0);
            }
            let prefix = tokens.prefix.of(item).min(range.len()) as u32;
            builder.item((0..prefix).chain(destinations), &pairs);
        }
        let by = Combination { combine: self.combine(), weights: None, sizes: Some(sizes.into()) };
        Some(Merging { plan: builder.finish(), by })
    }

    /// Every patch is judged by its rank, whatever is left.
    fn choice(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Choice {
        let [keep, left] =
            self.rates.lists().map(|list| list.get(at.layer).map_or(usize::MAX, |left| *left - 1));
        let ranks = learned::ranks(tokens, &evidence);
        let amount = Amount::KeepAndMerge { keep, left: left.min(keep) };
        let merging = self.merging(&At { amount, ..*at }, tokens, evidence);
        let merging = merging.unwrap_or_else(|| Merging {
            plan: MergePlan::identity(tokens.layout.clone()),
            by: self.combine().into(),
        });
        learned::choice(ranks, merging, [keep, left])
    }

    fn has_weights(&self) -> bool {
        self.target().is_some()
    }

    /// Its weights are numbers of tokens.
    fn mixes(&self) -> bool {
        false
    }

    fn trained_by(&self) -> TrainedBy {
        if self.has_weights() { TrainedBy::Masks } else { TrainedBy::Merging }
    }

    fn budget(&self) -> Option<Budget> {
        self.target().map(|target| Budget { target, weight: learned::COST_WEIGHT })
    }

    fn given(&self, mergers: &Mergers, facts: &ModelFacts) -> Option<Method> {
        self.target()?;
        Some(Method::Diffrate(Self { rates: learned::given(mergers, facts), ..self.clone() }))
    }

    /// All blocks but the first, in which nothing goes (published code).
    fn mergers_before(&self, depth: usize) -> Vec<usize> {
        self.target().map_or_else(Vec::new, |_| (1..depth).collect())
    }

    fn merger(&self, _: usize, _: usize, start: &mut Start<'_>) -> Option<Merger> {
        Some(Merger::Rates(LearnedRates::new(self.target()?, start)))
    }

    fn merger_parameters(&self, _: usize, _: usize) -> usize {
        2 * PATCHES
    }

    /// Every token that merges is compared with all that stay, the prefix too.
    fn matching_macs(&self, shape: MatchShape) -> f64 {
        let Amount::KeepAndMerge { keep, left } = shape.amount else { return 0.0 };
        let kept = shape.tokens.saturating_sub(shape.prefix).min(keep);
        let left = left.min(kept);
        ((kept - left) * (left + shape.prefix)) as f64 * TOKENS.width(shape.head_dim, shape.channels) as f64
    }
}

#[cfg(test)]
mod tests;
