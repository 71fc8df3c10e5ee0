//! SP-ViT (Kong et al., 2022, arXiv:2112.13890): before some blocks a small network, the selector, looks at every patch head by
//! head and says which are worth keeping. The others are not lost: their mean goes on as one more token, the package.
//!
//! - A selector scores the patches once for each head, by the same small network, which sees the channels of that head alone,
//!   and averages the probabilities by how much each head counts for a patch (see [`Selector`]).
//! - Inference: the best patches are kept, by default 61.7, 36.9 and 13.7 % of those that the model began with (`choice=top`),
//!   or all that are likelier kept than not (`choice=learned`), as many as an image has. They stay in their order, the package
//!   stands behind them. A package is never looked at again.
//! - Training ([`Reduction::relax`](crate::Reduction::relax)): as with DynamicViT nothing is dropped. What is kept is drawn,
//!   the others are masked in attention for good, and the package of a stage joins at the end: the mean of what the stage
//!   drops, with the gradient of dropping it. Twice the mean of `(kept - target)²` over the places is added to the loss.
//!
//! The targets, the shared network of all heads, the plain mean and what the loss weighs are those of the published code.
//! Otherwise than there:
//!
//! - It draws at inference too, so that its answers are random. Here nothing is.
//! - It divides the sum of an item's dropped patches by how many the whole batch drops. Here it is the mean of the item's own:
//!   an item never depends on its neighbours.
//! - Of one patch no package is made: it stays.
//!
//! From memory of the paper, or ours: that the activation between the layers of the squeeze net is a GELU, that every patch
//! weighs the heads in its own way, that probabilities are averaged rather than their logarithms, and that selectors do not
//! look at packages. A package has the size of what it stands for, for heads that average patches; attention does not weigh by
//! size.

mod options;
mod package;
mod selector;
#[cfg(test)]
mod tests;

use super::heads::{HEAD_DIM, heads};
use super::layers::{self, Layers, QUARTERS};
use super::matching::by_falling_score;
use super::{At, Rule};
use crate::mergers::{self, Start};
use crate::plan::PlanBuilder;
use crate::{Amount, Combine, Evidence, MergePlan, ModelFacts, Rest, ScheduleError, Site, Tokens, TrainedBy};

pub(super) use options::INFO;
pub use selector::Selector;

/// Parts of the patches that the published code keeps.
const KEEP: [f64; QUARTERS] = [61.7 / 100.0, 36.9 / 100.0, 13.7 / 100.0];

/// Which patches are kept, and where the others are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The parts of all patches that are kept, one for each of [`layers`](Self::layers), none larger than the one before; or
    /// one part, which each layer keeps of what the one before has kept. Above 0 and below 1.
    pub keep: Vec<f64>,
    /// The layers before which patches are left out.
    pub layers: Layers,
    /// How that is decided.
    pub decision: Decision,
    /// Channels of a head, as [`Selector`] has them; 64 if `None`.
    pub head_dim: Option<usize>,
}

/// What says which patches are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Their rank: as many are kept as are to be.
    Top,
    /// Their probability: all are kept that are likelier kept than not.
    Learned,
}

impl Default for Options {
    fn default() -> Self {
        Self { keep: KEEP.to_vec(), layers: None, decision: Decision::Top, head_dim: None }
    }
}

impl Options {
    /// The part of all patches that is kept in the layer of this number among its layers, from 0.
    fn target(&self, index: usize) -> f64 {
        match self.keep[..] {
            [one] => one.powi(index as i32 + 1),
            _ => self.keep.get(index).copied().unwrap_or(1.0),
        }
    }

    fn heads(&self, channels: usize) -> usize {
        heads(channels, self.head_dim.unwrap_or(HEAD_DIM))
    }

    /// What is left in each of its layers of so many patches: those that are kept, and a package of each layer that leaves some
    /// out.
    fn left(&self, start: usize, layers: usize) -> Vec<Amount> {
        let (mut single, mut packages) = (start, 0);
        let left = |index| {
            let kept = layers::left_of(start, self.target(index), 0);
            if kept + 1 < single {
                (single, packages) = (kept, packages + 1);
            }
            Amount::Keep(single + packages)
        };
        (0..layers).map(left).collect()
    }

    /// The same for pictures of their own sizes: parts of what each has.
    fn left_of_any(&self, index: usize) -> Amount {
        let before = if index == 0 { 1.0 } else { self.target(index - 1) };
        let keep = self.target(index) / before;
        if keep < 1.0 { Amount::KeepShare { keep, rest: Rest::Fused } } else { Amount::NOTHING }
    }

    /// Places of an item that are left out, by their scores; `single` are those that may be.
    fn dropped(amount: Amount, scores: &[f32], single: Vec<u32>, prefix: usize) -> Vec<u32> {
        // What is no number is not kept.
        let is_kept = |place: u32| scores[place as usize] >= 0.0;
        let dropped: Vec<u32> = match amount.of(scores.len(), prefix) {
            Some(0) => Vec::new(),
            // The package takes a place too.
            Some(gone) => {
                let of_single: Vec<f32> = single.iter().map(|place| scores[*place as usize]).collect();
                let order = by_falling_score(&of_single, 0);
                let last = order.iter().rev().take(gone + 1).map(|index| single[*index as usize]);
                let mut last: Vec<u32> = last.collect();
                last.sort_unstable();
                last
            }
            None => single.into_iter().filter(|place| !is_kept(*place)).collect(),
        };
        if dropped.len() > 1 { dropped } else { Vec::new() }
    }
}

impl Rule for Options {
    fn site(&self) -> Site {
        Site::BeforeBlock
    }

    fn combine(&self) -> Combine {
        Combine::Average
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
        let selector = Selector::new(self.target(index), channels, self.heads(channels), start);
        Some(mergers::Merger::Selector(selector))
    }

    fn merger_parameters(&self, _: usize, channels: usize) -> usize {
        selector::parameters(channels, self.heads(channels))
    }

    /// Of all single patches, dropped ones included: neither prefix tokens nor the packages of the layers before are looked at.
    fn merger_cost(&self, index: usize, tokens: usize, prefix: usize, channels: usize) -> (f64, f64) {
        let patches = tokens.saturating_sub(prefix + index) as f64;
        (patches * selector::macs(channels, self.heads(channels)) as f64, patches * channels as f64)
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let start = facts.tokens.saturating_sub(facts.prefix);
        let left = self.left(start, facts.depth);
        layers::amounts(&self.layers, facts.depth, |index| match (self.decision, facts.grid) {
            (Decision::Learned, _) => Amount::ByTokens,
            (Decision::Top, Some(_)) => left[index],
            (Decision::Top, None) => self.left_of_any(index),
        })
    }

    fn plan(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
        if !at.removes_any(tokens) {
            return None;
        }
        let (scores, sizes) = (evidence.scores(), tokens.sizes());
        let mut builder = PlanBuilder::new(tokens.layout.clone());
        let mut changes = false;
        for item in 0..tokens.layout.items() {
            let (range, prefix) = (tokens.layout.range(item), tokens.front_of(item));
            let (scores, sizes) = (&scores[range.clone()], &sizes[range]);
            let places = prefix as u32..scores.len() as u32;
            let single = places.clone().filter(|place| sizes[*place as usize] <= 1.0).collect();
            let dropped = Self::dropped(at.amount, scores, single, prefix);
            let Some((&into, others)) = dropped.split_first() else {
                builder.keep_item();
                continue;
            };
            changes = true;
            let staying =
                (0..prefix as u32).chain(places).filter(|place| dropped.binary_search(place).is_err());
            let pairs: Vec<(u32, u32)> = others.iter().map(|other| (*other, into)).collect();
            builder.item(staying.chain([into]), &pairs);
        }
        changes.then(|| builder.finish())
    }
}
