//! Evo-ViT (Xu et al., 2022, arXiv:2108.01390): in every stage of some blocks the model works on the patches that the class
//! token has looked at most; the others wait, unchanged, and are there again after the stage.
//!
//! How much a patch matters is a running mean over blocks of what the class token attends to, summed over the heads:
//! `g ← (1 - t) g + t a`, with `t` = 1 in blocks that work on all patches and 0.5 in the others, where what waits keeps its `g`.
//! Before the first block of each stage the `int(n k)` best of the `n` patches are chosen (`k` is `keep`), for all blocks of it.
//! The constants, the stages (after each third of the model: before layers 5 and 9 of 12, to before the next and to the end)
//! and that there is no more to it are those of the published code for DeiT.
//!
//! `select=layer` chooses anew before every block from the first stage on, as the published code does in the first 200 of its
//! 300 epochs of training (`schedule.merge_before` of a recipe).
//!
//! - The paper updates what waits by a representative token (fast updating). The published code for DeiT does not, and
//!   neither does this.
//! - The authors' own models end in the mean over all patches, with a head on the class token beside it in training. Here any
//!   model keeps its own head; a recipe makes such a model by `model.pool = "avg"` and `train.class_head = 0.5`.
//! - What stays goes on in its place, not by falling score, which attention does not see. Ties go to the patch that stands
//!   first. Of pictures of their own sizes the part that is kept is rounded up.
//! - Training does the same as inference: choosing has no gradient, what is chosen has.

mod options;

use super::layers::{self, Layers};
use super::matching::{Kept, best};
use super::{At, Common, ProportionalAttention, Rule};
use crate::{
    Amount, AttentionMap, Combine, Evidence, LastLayer, MapQueries, MergePlan, ModelFacts, ScheduleError,
    Site, Tokens, Wants,
};

pub(super) use options::INFO;

/// What a block in which patches wait counts for in the running mean.
const MOMENTUM: f32 = 0.5;
/// Parts of a model, of which the first has no stage.
const PARTS: usize = 3;

/// Stages in which the model works on the patches that matter.
#[derive(Clone, Debug, PartialEq)]
pub struct EvoVit {
    /// The part of the patches that each stage works on, above 0.
    pub keep: f64,
    /// The layers with which stages begin, from 1. `None`: after each third of the model.
    pub layers: Layers,
    /// When patches are chosen.
    pub select: Selection,
    /// Options that methods share.
    pub common: Common,
}

/// When Evo-ViT chooses the patches that the model works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Before each stage.
    Stage,
    /// Before each block from the first stage on.
    Layer,
}

impl EvoVit {
    /// The published method with a given share.
    #[must_use]
    pub fn new(keep: f64) -> Self {
        let common =
            Common { proportional_attention: ProportionalAttention::Off, ..Common::new(LastLayer::All) };
        Self { keep, layers: None, select: Selection::Stage, common }
    }

    /// The layers with which stages begin, from 1, ascending. By default none with the first, before which nothing is known.
    fn starts(&self, depth: usize) -> Result<Vec<usize>, ScheduleError> {
        if self.layers.is_some() {
            return layers::of_depth(&self.layers, depth);
        }
        let mut starts: Vec<usize> = (1..PARTS).map(|part| depth * part / PARTS + 1).collect();
        starts.dedup();
        Ok(starts.into_iter().filter(|layer| *layer > 1 && *layer <= depth).collect())
    }

    /// The blocks, from 0, before which patches are chosen, ascending.
    fn choices(&self, depth: usize) -> Vec<usize> {
        // A list that is beyond the model is refused where amounts are asked for.
        let starts: Vec<usize> =
            self.starts(depth).unwrap_or_default().into_iter().map(|start| start - 1).collect();
        match (self.select, starts.first()) {
            (Selection::Layer, Some(first)) => (*first..depth).collect(),
            _ => starts,
        }
    }
}

impl Rule for EvoVit {
    super::rule::common!();

    fn site(&self) -> Site {
        Site::AroundBlock
    }

    fn combine(&self) -> Combine {
        Combine::KeepOne
    }

    fn wants(&self) -> Wants {
        Wants { maps: Some(MapQueries::First), ..Wants::default() }
    }

    /// The last block before a choice, and all between choices.
    fn asks(&self, layer: usize, amounts: &[Amount]) -> bool {
        let choices = self.choices(amounts.len());
        let (Some(&first), Some(&last)) = (choices.first(), choices.last()) else { return false };
        (first..=last).contains(&(layer + 1)) && amounts[first] != Amount::NOTHING
    }

    fn scores(&self, at: &At, tokens: &Tokens, evidence: &Evidence) -> Option<Vec<f32>> {
        let attended = evidence.maps.as_ref()?.iter().flat_map(of_class);
        Some(match &tokens.standing {
            Some(standing) if at.amount != Amount::NOTHING => standing
                .scores
                .iter()
                .zip(attended)
                .map(|(score, attended)| (1.0 - MOMENTUM) * score + MOMENTUM * attended)
                .collect(),
            _ => attended.collect(),
        })
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let starts = self.starts(facts.depth)?;
        Ok(layers::amounts_of_stages(&starts, facts.depth, |_| layers::kept_of_all(facts, self.keep, 0)))
    }

    fn plan(&self, at: &At, tokens: &Tokens, _: Evidence) -> Option<MergePlan> {
        if !at.removes_any(tokens) {
            return None;
        }
        let standing = tokens.standing.as_ref().expect("the block before a stage has said what matters");
        match &standing.worked {
            Some(plan) if !self.choices(at.depth).contains(&at.layer) => Some(plan.clone()),
            _ => Some(best(at, tokens, &standing.scores, Kept::InPlace)),
        }
    }
}

/// What the class token of an item attends to, summed over the heads; of an item without tokens nothing.
fn of_class(map: &AttentionMap) -> Vec<f32> {
    if map.queries == 0 {
        return Vec::new();
    }
    map.mean_row(0).into_iter().map(|mean| mean * map.heads as f32).collect()
}

#[cfg(test)]
mod tests;
