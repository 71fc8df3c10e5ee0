//! Zero-TPrune (Wang, Dedhia and Jha, 2023, arXiv:2305.17328): between some blocks patches are dropped, first those that
//! resemble others, then those that matter least by the graph of attention.
//!
//! Before a block, by the attention and the keys of the block before it:
//!
//! - *I'*: one round of voting says how much every patch matters. Nothing is dropped yet.
//! - *S*: the half that matters less is compared with the other, by the cosine of keys averaged over the heads; the `r` that
//!   resemble one of the others most are dropped. They do not merge.
//! - *I*: many rounds of voting among those that are left say how much each of them matters, and the best are kept.
//!
//! In a round every token shares its weight among all tokens as it attends to them (weighted page rank), head by head. Heads
//! are joined by the root of the mean square, over those whose weights vary neither too little nor too much: by 0.01 to
//! 0.7. All tokens begin alike but the class token, with √N times as much (`start=uniform`: as much as others).
//!
//! Written from notes on the paper; no published code was found. What these leave open, and how it is settled here:
//!
//! - The paper finds layers and numbers for every model by a search; its lists were not found. Here they are after each
//!   quarter of the model but the last, 70 % is an example, and `r=10`, which is part of what `keep` lets go.
//! - 30 to 50 rounds in shallow layers, 5 to 10 in the middle and one in deep ones are 40, 8 and 1 here, by the third of
//!   the model in which the attention is.
//! - Weights are scaled to a mean of 1 over the patches before their variance is taken: summing up to 1 over 197
//!   tokens no head could vary by 0.01. Where no head passes, all do; in a ViT-Ti most pass in the first blocks alone.
//! - What the kept attend to is scaled to sum up to 1 again where some were dropped.
//! - Patches that are kept stay in their order. Ties go to the one that stands first; what is no number matters least.
//! - Without prefix tokens all begin alike.

mod options;
mod voting;

use super::layers::{self, Layers};
use super::matching::Split;
use super::matching::bipartite::Proposals;
use super::matching::by_falling_score;
use super::{At, Common, ProportionalAttention, Rule};
use crate::plan::PlanBuilder;
use crate::schedule::kept;
use crate::{
    Amount, Evidence, LastLayer, MapQueries, MatchShape, MergePlan, MetricRequest, ModelFacts, Rest,
    ScheduleError, Similarity, Site, Tokens, Wants,
};
use voting::{Voters, importance};

pub(super) use options::INFO;

/// Patches that are dropped because they resemble others, in every layer: ours.
const SIMILAR: usize = 10;
/// Rounds of voting in the three thirds of a model: of 30 to 50, 5 to 10, and 1 in the paper.
const ROUNDS: [usize; 3] = [40, 8, 1];

/// Dropping by similarity, then by the graph of attention.
#[derive(Clone, Debug, PartialEq)]
pub struct ZeroTprune {
    /// The part of the patches that is kept, rounded up, above 0.
    pub keep: f64,
    /// How many of those that are dropped go because they resemble others, at most half of the patches: one number for all
    /// layers, or one for each of [`layers`](Self::layers), which are listed then.
    pub similar: Vec<usize>,
    /// The layers before which that happens, from 1.
    pub layers: Layers,
    /// With what votes begin.
    pub start: VotingStart,
    /// Rounds of voting in all layers. `None`: 40, 8 or 1, by the third of the model.
    pub rounds: Option<usize>,
    /// Options that methods share.
    pub common: Common,
}

/// With what votes begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VotingStart {
    /// The class token has √N times what others have.
    Class,
    /// All tokens have as much.
    Uniform,
}

impl ZeroTprune {
    /// The method with a given share.
    #[must_use]
    pub fn new(keep: f64) -> Self {
        let common =
            Common { proportional_attention: ProportionalAttention::Off, ..Common::new(LastLayer::All) };
        Self { keep, similar: vec![SIMILAR], layers: None, start: VotingStart::Class, rounds: None, common }
    }

    /// Rounds of voting by the attention of the block before block `layer`, from 0.
    fn rounds_before(&self, layer: usize, depth: usize) -> usize {
        let third = 3 * layer.saturating_sub(1) / depth.max(1);
        self.rounds.unwrap_or(ROUNDS[third.min(2)])
    }

    /// Of `patches` how many are dropped before block `layer` because they resemble others.
    fn similar_before(&self, layer: usize, depth: usize, patches: usize) -> usize {
        let layers = layers::of_depth(&self.layers, depth).unwrap_or_default();
        let place = layers::place(&layers, layer);
        let similar = layers::number_at(&self.similar, place).unwrap_or(0);
        similar.min(patches - kept(self.keep, patches)).min(patches / 2)
    }

    /// The patches of every item that resemble others most, as places within it.
    fn similar(&self, at: &At, tokens: &Tokens, evidence: &Evidence) -> Vec<Vec<u32>> {
        let (mut splits, mut counts) = (Vec::new(), Vec::new());
        for item in 0..tokens.layout.items() {
            let (len, prefix) = (tokens.layout.range(item).len(), tokens.front_of(item));
            let count = self.similar_before(at.layer, at.depth, len - prefix);
            let all: Vec<u32> = (0..len as u32).collect();
            let split = match count {
                0 => Split { sources: Vec::new(), destinations: Vec::new() },
                _ => {
                    let voters = Voters::new(evidence.map(item), &all, prefix, self.start);
                    let scores = [vec![0.0; prefix], importance(&voters, 1)].concat();
                    Split::by_score(&scores, prefix)
                }
            };
            splits.push(split);
            counts.push(count);
        }
        let proposals =
            Proposals::by_similarity(tokens, splits, evidence.metric().clone(), Similarity::Cosine);
        let sources =
            |pairs: Vec<(u32, u32)>| -> Vec<u32> { pairs.into_iter().map(|(source, _)| source).collect() };
        proposals.best(tokens, &counts).into_iter().map(|accepted| sources(accepted.pairs)).collect()
    }

    /// The patches of an item that matter most, as places within it, ascending.
    fn best(
        &self,
        at: &At,
        (item, tokens): (usize, &Tokens),
        evidence: &Evidence,
        dropped: &[u32],
    ) -> Vec<u32> {
        let (len, prefix) = (tokens.layout.range(item).len(), tokens.front_of(item));
        let left: Vec<u32> = (0..len as u32).filter(|place| !dropped.contains(place)).collect();
        let voters = Voters::new(evidence.map(item), &left, prefix, self.start);
        let importance = importance(&voters, self.rounds_before(at.layer, at.depth));
        let mut best = by_falling_score(&importance, 0);
        best.truncate(kept(self.keep, len - prefix));
        best.sort_unstable();
        best.into_iter().map(|patch| left[prefix + patch as usize]).collect()
    }
}

impl Rule for ZeroTprune {
    super::rule::common!();

    fn site(&self) -> Site {
        Site::BeforeBlock
    }

    fn wants(&self) -> Wants {
        Wants { metric: Some(MetricRequest::KEYS), maps: Some(MapQueries::All), ..Wants::default() }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let amount = match self.keep < 1.0 {
            true => Amount::KeepShare { keep: self.keep, rest: Rest::Dropped },
            false => Amount::NOTHING,
        };
        layers::amounts_after_one(&self.layers, facts.depth, |_| amount)
    }

    fn plan(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
        let patches = |(item, len)| len - tokens.front_of(item);
        let items: Vec<usize> = tokens.layout.lens().enumerate().map(patches).collect();
        let loses = |patches: &usize| kept(self.keep, *patches) < *patches;
        if !items.iter().any(loses) {
            return None;
        }
        let dropped = self.similar(at, tokens, &evidence);
        let mut builder = PlanBuilder::new(tokens.layout.clone());
        for (item, patches) in items.iter().enumerate() {
            if loses(patches) {
                let front = 0..tokens.front_of(item) as u32;
                builder.item(front.chain(self.best(at, (item, tokens), &evidence, &dropped[item])), &[]);
            } else {
                builder.keep_item();
            }
        }
        Some(builder.finish())
    }

    fn matching_macs(&self, shape: MatchShape) -> f64 {
        let patches = shape.tokens.saturating_sub(shape.prefix);
        let similar = self.similar_before(shape.layer, shape.depth, patches);
        let heads = shape.channels as f64 / shape.head_dim.max(1) as f64;
        let round = |tokens: usize| heads * (tokens * tokens) as f64;
        let rounds = self.rounds_before(shape.layer, shape.depth) as f64;
        let voting = rounds * round(shape.tokens - similar);
        if similar == 0 {
            return voting;
        }
        let pairs = ((patches / 2) * patches.div_ceil(2)) as f64;
        voting
            + round(shape.tokens)
            + pairs * MetricRequest::KEYS.width(shape.head_dim, shape.channels) as f64
    }
}

#[cfg(test)]
mod tests;
