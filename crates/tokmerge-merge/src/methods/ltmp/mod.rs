//! LTMP (Bonnaerens and Dambre, 2023, arXiv:2307.10780): in every layer, between attention and MLP, all pairs that are
//! similar enough merge, and what matters too little after that is dropped, as many as the image has.
//!
//! Pairs are those of ToMe, by the mean of the keys over the heads: all merge whose cosine is above the layer's first
//! threshold. How much a token matters is the attention on it, as the mean over heads and queries; merged tokens matter
//! as much as the most important of them, and those are dropped that matter at most as much as the second threshold.
//! Prefix tokens matter more than any.
//!
//! The thresholds are given, one for all layers or one for each, or learned. Learned ones of the paper were not found, so that
//! the numbers of the example are ours. Without `prune_at` nothing is dropped.
//!
//! # Learned thresholds
//!
//! `target=65%` learns both thresholds of every layer for a part of the cost of the blocks ([`LearnedThresholds`]), from 0.9 and 0
//! on. Written out they are a method with given thresholds ([`Method::given`](crate::Method::given)), which is what runs outside
//! training. In training the same is decided and all tokens stay ([`Choice`](crate::Choice)). Of the published code: a
//! pair merges and a token stays by `σ((score - threshold) / 0.1)`, rounded, with the gradient of what is not rounded; `10 (cost -
//! target)²` is added to the loss, the cost being that of the tokens that count in every block, `2aC² + a²C + 4fC²` of `6nC² + n²C`.
//! Ours, since of these nothing was read:
//!
//! - What merges gives its value to its destination, in proportion to sizes, and its size too; both, and the sizes by which
//!   attention weighs tokens, have a gradient. A merge of equal tokens has none, as it should.
//! - Scores have no gradient, as everywhere here: thresholds learn from the loss, the model from its outputs alone.
//! - Tokens that count stand as they do in inference, where who proposes to whom hangs on places, and only they are asked how much
//!   attention they pay to others.
//! - Costs are those of every image, and their mean; the published code takes the mean mask of the batch first, which is
//!   the same where all images keep equally many.
//!
//! What was read of the published code leaves open, and how it is settled here:
//!
//! - Merged tokens are averaged by size, which attention weighs them by, as in ToMe. What is dropped takes its size along.
//! - Where nothing merges, tokens keep their order.
//! - Of an item without prefix tokens the one that matters most is never dropped.
//!
//! Ties go to the token that stands first. What is no number is no reason to merge or to drop a token.

mod learned;
mod options;

use super::matching::bipartite::{Proposals, Unmerged};
use super::{At, Common, Method, Partition, Rule, TrainedBy};
use crate::budget::Budget;
use crate::mergers::{Merger, Mergers, Start};
use crate::plan::PlanBuilder;
use crate::{
    Amount, Choice, DROPPED, Evidence, LastLayer, Layout, MatchShape, MergePlan, Merging, MetricRequest,
    ModelFacts, Received, ScheduleError, Similarity, Tokens, Wants,
};

pub use learned::LearnedThresholds;
pub(super) use options::INFO;

/// Merging and pruning by thresholds.
#[derive(Clone, Debug, PartialEq)]
pub struct Ltmp {
    /// Where they are from, and what they are.
    pub thresholds: Thresholds,
    /// Options that methods share.
    pub common: Common,
}

/// By what pairs merge and tokens are dropped.
#[derive(Clone, Debug, PartialEq)]
pub enum Thresholds {
    /// Numbers.
    Given {
        /// Pairs merge whose cosine is above.
        merge_above: Limits,
        /// Tokens are dropped that get at most as much attention, as the mean over heads and queries. `None`: none are.
        prune_at: Option<Limits>,
    },
    /// Weights, trained for a cost.
    Learned {
        /// The part of the blocks' cost that is to be left, above 0 and below 1.
        target: f64,
    },
}

/// A threshold for every layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Limits {
    /// The same in all layers.
    Constant(f64),
    /// One for each; nothing happens in layers beyond the list.
    PerLayer(Vec<f64>),
}

impl Limits {
    /// That of a layer, from 0, if it has one.
    #[must_use]
    pub fn of(&self, layer: usize) -> Option<f32> {
        let limit = match self {
            Self::Constant(limit) => Some(*limit),
            Self::PerLayer(list) => list.get(layer).copied(),
        };
        limit.map(|limit| limit as f32)
    }

    /// The smallest of all.
    fn smallest(&self) -> f64 {
        match self {
            Self::Constant(limit) => *limit,
            Self::PerLayer(list) => list.iter().copied().fold(f64::INFINITY, f64::min),
        }
    }

    /// The largest of all, never nothing.
    pub(in crate::methods) fn largest(&self) -> f64 {
        match self {
            Self::Constant(limit) => limit.max(f64::MIN_POSITIVE),
            Self::PerLayer(list) => list.iter().copied().fold(f64::MIN_POSITIVE, f64::max),
        }
    }

    /// Each of them changed.
    pub(in crate::methods) fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Constant(limit) => Self::Constant(change(*limit)),
            Self::PerLayer(list) => Self::PerLayer(list.iter().map(|limit| change(*limit)).collect()),
        }
    }

    /// How many layers are listed.
    pub(in crate::methods) fn listed(&self) -> usize {
        match self {
            Self::Constant(_) => 0,
            Self::PerLayer(list) => list.len(),
        }
    }
}

impl Ltmp {
    /// The method with a given threshold of merging, which drops nothing.
    #[must_use]
    pub fn new(merge_above: Limits) -> Self {
        Self::with(Thresholds::Given { merge_above, prune_at: None })
    }

    /// The method with these thresholds.
    #[must_use]
    pub fn with(thresholds: Thresholds) -> Self {
        Self { thresholds, common: Common::new(LastLayer::All) }
    }

    /// The threshold of merging in a layer, where something can be above it.
    fn merges_above(&self, layer: usize) -> Option<f32> {
        match &self.thresholds {
            Thresholds::Given { merge_above, .. } => merge_above.of(layer).filter(|limit| *limit < 1.0),
            Thresholds::Learned { .. } => None,
        }
    }

    fn prunes_at(&self, layer: usize) -> Option<f32> {
        match &self.thresholds {
            Thresholds::Given { prune_at, .. } => prune_at.as_ref()?.of(layer),
            Thresholds::Learned { .. } => None,
        }
    }

    /// The cost that thresholds are learned for, if they are.
    fn target(&self) -> Option<f64> {
        match self.thresholds {
            Thresholds::Given { .. } => None,
            Thresholds::Learned { target } => Some(target),
        }
    }
}

fn proposals(at: &At, tokens: &Tokens, evidence: Evidence) -> Proposals {
    let splits = Partition::Alternating.split_items(tokens, 0, at.layer);
    Proposals::by_similarity(tokens, splits, evidence.into_metric(), Similarity::Cosine)
}

/// What is left of a plan and of these tokens, one after the other; `None` if that is all.
fn joined(merged: Option<MergePlan>, pruned: Option<MergePlan>) -> Option<MergePlan> {
    match (merged, pruned) {
        (Some(first), Some(then)) => Some(first.then(&then)),
        (merged, pruned) => pruned.or(merged),
    }
}

/// What merges by `merged` and then matters too little: how much every token matters that has merged or not, `[T']`, and a plan.
fn pruned(
    tokens: &Tokens,
    merged: Option<&MergePlan>,
    importance: Vec<f32>,
    limit: Option<f32>,
) -> (Vec<f32>, Option<MergePlan>) {
    let (layout, importance) = match merged {
        Some(plan) => (plan.output(), greatest(&importance, plan)),
        None => (&tokens.layout, importance),
    };
    let fronts: Vec<usize> = (0..layout.items()).map(|item| tokens.front_of(item)).collect();
    let plan = limit.and_then(|limit| dropping(layout, &fronts, &importance, limit));
    (importance, plan)
}

/// How much the tokens matter that a plan leaves: as much as the most important of their members.
fn greatest(importance: &[f32], plan: &MergePlan) -> Vec<f32> {
    let mut greatest = vec![f32::NEG_INFINITY; plan.output().rows()];
    for (row, &dst) in plan.dst().iter().enumerate().filter(|(_, dst)| **dst != DROPPED) {
        let held = &mut greatest[dst as usize];
        // What is no number wins: it is kept.
        if importance[row].is_nan() || importance[row] > *held {
            *held = importance[row];
        }
    }
    greatest
}

/// Drops what matters at most as much as the limit, `importance: [T]`; `None` if nothing does.
fn dropping(layout: &Layout, fronts: &[usize], importance: &[f32], limit: f32) -> Option<MergePlan> {
    let mut builder = PlanBuilder::new(layout.clone());
    let mut changes = false;
    for (item, front) in fronts.iter().enumerate() {
        let importance = &importance[layout.range(item)];
        let places = *front as u32..importance.len() as u32;
        let mut dropped: Vec<u32> = places.filter(|place| importance[*place as usize] <= limit).collect();
        if dropped.len() == importance.len() {
            let best = super::matching::by_falling_score(importance, 0).first().copied();
            dropped.retain(|place| Some(*place) != best);
        }
        changes |= !dropped.is_empty();
        builder.item_dropping(&dropped);
    }
    changes.then(|| builder.finish())
}

impl Rule for Ltmp {
    super::rule::common!();

    fn wants(&self) -> Wants {
        let received = match &self.thresholds {
            Thresholds::Given { prune_at: None, .. } => Received::No,
            Thresholds::Given { .. } | Thresholds::Learned { .. } => Received::FromAll,
        };
        Wants { metric: Some(MetricRequest::KEYS), received, ..Wants::default() }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let depth = facts.depth;
        let Thresholds::Given { merge_above, prune_at } = &self.thresholds else {
            return Ok(vec![Amount::ByTokens; depth]);
        };
        let given = merge_above.listed().max(prune_at.as_ref().map_or(0, Limits::listed));
        if given > depth {
            return Err(ScheduleError::TooManyLayers { given, depth });
        }
        let works = |layer| self.merges_above(layer).is_some() || self.prunes_at(layer).is_some();
        let amount = |layer| if works(layer) { Amount::ByTokens } else { Amount::NOTHING };
        Ok((0..depth).map(amount).collect())
    }

    fn plan(&self, at: &At, tokens: &Tokens, mut evidence: Evidence) -> Option<MergePlan> {
        let limit = self.prunes_at(at.layer);
        let importance = limit.map(|_| evidence.received().to_vec());
        evidence.received = None;
        let merged = self.merges_above(at.layer).and_then(|limit| {
            proposals(at, tokens, evidence).accept(Amount::Above(limit), Unmerged::Listed, tokens)
        });
        let Some(importance) = importance else { return merged };
        let (_, dropped) = pruned(tokens, merged.as_ref(), importance, limit);
        joined(merged, dropped)
    }

    /// All pairs are proposed, and every token is judged, whatever the thresholds are.
    fn choice(&self, at: &At, tokens: &Tokens, mut evidence: Evidence) -> Choice {
        let importance = evidence.received.take().expect("a block answers what Wants::received asks for");
        let proposals = proposals(at, tokens, evidence);
        let limit = self.merges_above(at.layer);
        let merged = limit.and_then(|limit| proposals.accept(Amount::Above(limit), Unmerged::Listed, tokens));
        let (importance, dropped) = pruned(tokens, merged.as_ref(), importance, self.prunes_at(at.layer));
        let merged = merged.unwrap_or_else(|| MergePlan::identity(tokens.layout.clone()));
        let pairs = learned::pairs(tokens, proposals, &merged);
        let judged = learned::judged(tokens, &merged, &importance, dropped.as_ref());
        let plan = joined(Some(merged), dropped).expect("there is a plan");
        Choice { merging: Merging { plan, by: self.combine().into() }, pairs, judged }
    }

    fn has_weights(&self) -> bool {
        self.target().is_some()
    }

    /// Its weights are thresholds.
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
        let thresholds = learned::given(mergers, facts.depth);
        Some(Method::Ltmp(Self { thresholds, ..self.clone() }))
    }

    fn mergers_before(&self, depth: usize) -> Vec<usize> {
        self.target().map_or_else(Vec::new, |_| (0..depth).collect())
    }

    fn merger(&self, _: usize, _: usize, start: &mut Start<'_>) -> Option<Merger> {
        Some(Merger::Thresholds(LearnedThresholds::new(self.target()?, start)))
    }

    fn merger_parameters(&self, _: usize, _: usize) -> usize {
        2
    }

    fn matching_macs(&self, shape: MatchShape) -> f64 {
        if self.merges_above(shape.layer).is_none() && !self.has_weights() {
            return 0.0;
        }
        let pairs = shape.tokens.div_ceil(2) * (shape.tokens / 2);
        (pairs * MetricRequest::KEYS.width(shape.head_dim, shape.channels)) as f64
    }
}

#[cfg(test)]
mod tests;
