//! RAPID (Choi and Jang, 2026, arXiv:2606.08156), the idea alone: in shallow layers, between attention and MLP, tokens are dropped that
//! many others resemble; in deeper ones tokens merge that matter little and resemble another.
//!
//! **Nothing but the abstract could be read**: shallow to middle layers drop `r` tokens by redundancy times similarity, the
//! redundancy being how many tokens are more similar than a threshold; deeper layers merge `r` by importance and
//! similarity, so that what the class token attends to is protected. **Every formula and number below is ours.** This is
//! not a reproduction: it says nothing about the paper's results.
//!
//! Tokens are compared by the cosine of their keys, averaged over the heads.
//!
//! - Layers up to `switch`, half of the model: tokens propose as in ToMe. A token scores by one plus the number of others
//!   that it resembles by more than `similar`, times its similarity to the one that it proposes to. The `r` that score most
//!   are dropped, and what they proposed to stays.
//! - Layers behind: the half that the class token attends to less proposes to the other, which so never merges into anything.
//!   A token scores by its similarity times what its attention lacks to that of the most attended, as a part of it. The
//!   `r` best merge, averaged by size.
//! - Merged tokens weigh more in attention by their size, as in ToMe. What is dropped takes its size along.
//! - Tokens keep their places. Ties go to the one that stands first; what is no number resembles nothing and matters least.
//!
//! `similar=0.9` is what seemed right on photographs, with a ViT-Ti off the shelf.

mod options;

use super::matching::bipartite::Proposals;
use super::matching::{Cosines, Split};
use super::{At, Common, Partition, Rule};
use crate::plan::PlanBuilder;
use crate::{
    Amount, Evidence, LastLayer, MapQueries, MatchShape, MergePlan, MetricRequest, ModelFacts, Schedule,
    ScheduleError, Similarity, Tokens, Wants, mergeable,
};
use burn::tensor::Tensor;

pub(super) use options::INFO;

/// From which cosine on tokens resemble each other: ours.
const SIMILAR: f64 = 0.9;

/// Dropping by redundancy, then merging by importance.
#[derive(Clone, Debug, PartialEq)]
pub struct Rapid {
    /// How many tokens each layer removes.
    pub schedule: Schedule,
    /// The cosine above which a token counts as resembling another.
    pub similar: f64,
    /// The last layer that drops tokens, from 1; 0: none does. `None`: half of the depth, rounded down.
    pub switch: Option<usize>,
    /// Options that methods share.
    pub common: Common,
}

impl Rapid {
    /// The method with a constant schedule.
    #[must_use]
    pub fn new(r: usize) -> Self {
        Self {
            schedule: Schedule::Constant(r),
            similar: SIMILAR,
            switch: None,
            common: Common::new(LastLayer::All),
        }
    }

    /// Whether a layer, from 0, drops tokens.
    fn drops(&self, layer: usize, depth: usize) -> bool {
        layer < self.switch.unwrap_or(depth / 2)
    }

    fn dropped(&self, at: &At, tokens: &Tokens, counts: &[usize], metric: &Tensor<2>) -> MergePlan {
        let fronts: Vec<usize> = (0..tokens.layout.items()).map(|item| tokens.front_of(item)).collect();
        let cosines = |(item, front): (usize, &usize)| {
            let range = tokens.layout.range(item);
            Cosines::of_rows(metric, (range.start + front..range.end).map(|row| row as u32))
        };
        let cosines: Vec<Cosines> = fronts.iter().enumerate().map(cosines).collect();
        let redundancy =
            |item: usize, place: u32| 1 + cosines[item].above(place as usize - fronts[item], self.similar);
        let splits = Partition::Alternating.split_items(tokens, 0, at.layer);
        let proposals = Proposals::by_similarity(tokens, splits, metric.clone(), Similarity::Cosine);
        let proposals =
            proposals.ranked_by(|item, place, similarity| redundancy(item, place) as f32 * similarity);
        let mut builder = PlanBuilder::new(tokens.layout.clone());
        for accepted in proposals.best(tokens, counts) {
            let sources: Vec<u32> = accepted.pairs.iter().map(|(source, _)| *source).collect();
            builder.item_dropping(&sources);
        }
        builder.finish()
    }
}

/// Merges those that the class token attends to little.
fn merged(tokens: &Tokens, counts: &[usize], evidence: &Evidence) -> MergePlan {
    let scores = |item: usize| match tokens.layout.range(item).len() {
        0 => Vec::new(),
        _ => evidence.map(item).mean_row(0),
    };
    let scores: Vec<Vec<f32>> = (0..tokens.layout.items()).map(scores).collect();
    let splits: Vec<Split> = scores
        .iter()
        .enumerate()
        .map(|(item, scores)| Split::by_score(scores, tokens.front_of(item)))
        .collect();
    let most: Vec<f32> = scores
        .iter()
        .enumerate()
        .map(|(item, scores)| {
            scores[tokens.front_of(item)..].iter().copied().fold(f32::MIN_POSITIVE, f32::max)
        })
        .collect();
    let proposals = Proposals::by_similarity(tokens, splits, evidence.metric().clone(), Similarity::Cosine);
    let proposals = proposals.ranked_by(|item, place, similarity| {
        let attention = scores[item][place as usize];
        let attention = if attention.is_nan() { 0.0 } else { attention };
        (1.0 - attention / most[item]) * similarity
    });
    let mut builder = PlanBuilder::new(tokens.layout.clone());
    for accepted in proposals.best(tokens, counts) {
        builder.item_without(&accepted.pairs);
    }
    builder.finish()
}

impl Rule for Rapid {
    super::rule::common!();

    fn wants(&self) -> Wants {
        Wants { metric: Some(MetricRequest::KEYS), maps: Some(MapQueries::First), ..Wants::default() }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        if let Some(layer) = self.switch.filter(|switch| *switch > facts.depth) {
            return Err(ScheduleError::Layer { layer, depth: facts.depth });
        }
        self.schedule.per_layer(facts.depth)
    }

    fn plan(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
        let count = |(item, len)| at.amount.of(len, tokens.prefix.of(item)).unwrap_or(0);
        let counts: Vec<usize> = tokens.layout.lens().enumerate().map(count).collect();
        if counts.iter().all(|count| *count == 0) {
            return None;
        }
        Some(match self.drops(at.layer, at.depth) {
            true => self.dropped(at, tokens, &counts, evidence.metric()),
            false => merged(tokens, &counts, &evidence),
        })
    }

    fn matching_macs(&self, shape: MatchShape) -> f64 {
        let width = MetricRequest::KEYS.width(shape.head_dim, shape.channels) as f64;
        let tokens = shape.tokens.saturating_sub(shape.prefix);
        if self.drops(shape.layer, shape.depth) {
            let pairs = shape.tokens.div_ceil(2) * (shape.tokens / 2) + tokens * tokens;
            return pairs as f64 * width;
        }
        let half = mergeable(usize::MAX, shape.tokens, shape.prefix);
        (half * (tokens - half)) as f64 * width
    }
}

#[cfg(test)]
mod tests;
