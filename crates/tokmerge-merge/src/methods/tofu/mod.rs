//! ToFu (Kim et al., 2024, arXiv:2312.01026): tokens are matched as in ToMe, by keys, between attention and MLP. In the first
//! layers, where the model is far from linear between two tokens, the `r` sources are left out and their partners stay as
//! they are; in the others they merge into an average that is as long as the longest of them (MLERP).
//!
//! Written from descriptions of the published code (OpenToMe's), which keeps no sizes: an average is plain, and attention does
//! not weigh tokens by size (`prop_attn=off`). Sizes are kept for counting, and for heads that average patches, and a token that is left out counts for its
//! partner. Where descriptions differ or say nothing:
//!
//! - The paper divides the average by its own norm (as remembered), `scale=paper`; the code by the norm that the destination
//!   had, so that what merges stays shorter. That is the default, as nothing published says which is better.
//! - The paper finds by a test of every layer which of them prune (as remembered); the code leaves tokens out
//!   in the first half of the layers and one more, 1 to 7 of 12, and merges in the others: the default of `switch`.
//!
//! Ties go to the token that stands first.

mod options;

use super::matching::bipartite::{Proposals, Unmerged};
use super::{At, Common, Partition, ProportionalAttention, Rule};
use crate::{
    Amount, AverageScale, Combine, Evidence, LastLayer, MatchShape, Merging, MetricRequest, ModelFacts,
    Schedule, ScheduleError, Similarity, Tokens, Wants,
};

pub(super) use options::INFO;

/// Token fusion.
#[derive(Clone, Debug, PartialEq)]
pub struct Tofu {
    /// How many tokens each layer removes.
    pub schedule: Schedule,
    /// The first layer whose tokens merge, from 1; in those before it they are left out. `None`: the second behind the middle,
    /// 8 of 12.
    pub switch: Option<usize>,
    /// By what an average is divided before it gets the norm of the longest.
    pub scale: AverageScale,
    /// Options that methods share.
    pub common: Common,
}

impl Tofu {
    /// The published code's method with a constant schedule.
    #[must_use]
    pub fn new(r: usize) -> Self {
        let common =
            Common { proportional_attention: ProportionalAttention::Off, ..Common::new(LastLayer::All) };
        Self { schedule: Schedule::Constant(r), switch: None, scale: AverageScale::Destination, common }
    }

    /// What merged tokens become in a layer.
    fn combine_at(&self, at: &At) -> Combine {
        let switch = self.switch.unwrap_or(at.depth / 2 + 2);
        if at.layer + 1 < switch { Combine::KeepOne } else { Combine::ScaledAverage(self.scale) }
    }
}

impl Rule for Tofu {
    super::rule::common!();

    fn wants(&self) -> Wants {
        Wants { metric: Some(MetricRequest::KEYS), ..Wants::default() }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        self.schedule.per_layer(facts.depth)
    }

    fn merging(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<Merging> {
        if !at.removes_any(tokens) {
            return None;
        }
        let splits = Partition::Alternating.split_items(tokens, 0, at.layer);
        let proposals = Proposals::by_similarity(tokens, splits, evidence.into_metric(), Similarity::Cosine);
        let plan = proposals.accept(at.amount, Unmerged::Published, tokens)?;
        Some(Merging { plan, by: self.combine_at(at).into() })
    }

    fn matching_macs(&self, shape: MatchShape) -> f64 {
        (shape.tokens.div_ceil(2) * (shape.tokens / 2)) as f64 * shape.head_dim as f64
    }
}

#[cfg(test)]
mod tests;
