//! LTMP (Bonnaerens and Dambre, 2023, arXiv:2307.10780): in every layer, between attention and MLP, all pairs that are
//! similar enough merge, and what matters too little after that is dropped, as many as the image has.
//!
//! Pairs are those of ToMe, by the mean of the keys over the heads: all merge whose cosine is above the layer's first
//! threshold. How much a token matters is the attention on it, as the mean over heads and queries; merged tokens matter
//! as much as the most important of them, and those are dropped that matter at most as much as the second threshold.
//! Prefix tokens matter more than any.
//!
//! The paper learns both thresholds of every layer in one epoch, for a given share of the cost, from 0.9 and 0 on. They are
//! plain numbers here, one for all layers or one for each; learned ones were not found, so that the numbers of the example
//! are ours. Without `prune_at` nothing is dropped.
//!
//! What was read of the published code leaves open, and how it is settled here:
//!
//! - Merged tokens are averaged by size, which attention weighs them by, as in ToMe. What is dropped takes its size along.
//! - Where nothing merges, tokens keep their order.
//! - Of an item without prefix tokens the one that matters most is never dropped.
//!
//! Ties go to the token that stands first. What is no number is no reason to merge or to drop a token.

mod options;

use super::matching::bipartite::{Proposals, Unmerged};
use super::option::FromOptions;
use super::{At, Common, MethodInfo, Partition, Rule};
use crate::plan::PlanBuilder;
use crate::{
    Amount, DROPPED, Evidence, LastLayer, Layout, MatchShape, MergePlan, MetricRequest, ModelFacts, Received,
    ScheduleError, Similarity, Tokens, Wants,
};

pub(super) use options::INFO;

/// Merging and pruning by thresholds.
#[derive(Clone, Debug, PartialEq)]
pub struct Ltmp {
    /// Pairs merge whose cosine is above.
    pub merge_above: Limits,
    /// Tokens are dropped that get at most as much attention, as the mean over heads and queries. `None`: none are.
    pub prune_at: Option<Limits>,
    /// Options that methods share.
    pub common: Common,
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
        Self { merge_above, prune_at: None, common: Common::new(LastLayer::All) }
    }

    /// The threshold of merging in a layer, where something can be above it.
    fn merges_above(&self, layer: usize) -> Option<f32> {
        self.merge_above.of(layer).filter(|limit| *limit < 1.0)
    }

    fn prunes_at(&self, layer: usize) -> Option<f32> {
        self.prune_at.as_ref()?.of(layer)
    }

    fn merged(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
        let limit = self.merges_above(at.layer)?;
        let splits = Partition::Alternating.split_items(tokens, 0, at.layer);
        let proposals = Proposals::by_similarity(tokens, splits, evidence.into_metric(), Similarity::Cosine);
        proposals.accept(Amount::Above(limit), Unmerged::Listed, tokens)
    }
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
fn pruned(layout: &Layout, fronts: &[usize], importance: &[f32], limit: f32) -> Option<MergePlan> {
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
    fn info(&self) -> &'static MethodInfo {
        &INFO
    }

    fn options(&self) -> Vec<(String, String)> {
        self.written()
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn set_common(&mut self, change: impl FnOnce(&mut Common)) {
        change(&mut self.common);
    }

    fn wants(&self) -> Wants {
        let received = if self.prune_at.is_some() { Received::FromAll } else { Received::No };
        Wants { metric: Some(MetricRequest::KEYS), received, ..Wants::default() }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let depth = facts.depth;
        let given = self.merge_above.listed().max(self.prune_at.as_ref().map_or(0, Limits::listed));
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
        let merged = self.merged(at, tokens, evidence);
        let (Some(limit), Some(importance)) = (limit, importance) else { return merged };
        let (layout, importance) = match &merged {
            Some(plan) => (plan.output(), greatest(&importance, plan)),
            None => (&tokens.layout, importance),
        };
        let fronts: Vec<usize> = (0..layout.items()).map(|item| tokens.front_of(item)).collect();
        match (&merged, pruned(layout, &fronts, &importance, limit)) {
            (Some(first), Some(then)) => Some(first.then(&then)),
            (_, then) => then.or(merged),
        }
    }

    fn matching_macs(&self, shape: MatchShape) -> f64 {
        if self.merges_above(shape.layer).is_none() {
            return 0.0;
        }
        let pairs = shape.tokens.div_ceil(2) * (shape.tokens / 2);
        (pairs * MetricRequest::KEYS.width(shape.head_dim, shape.channels)) as f64
    }
}

#[cfg(test)]
mod tests;
