//! Agglomerative token clustering (ATC; Haurum et al., 2024, arXiv:2409.11923, §3): between attention and MLP, the two closest
//! clusters of tokens become one, again and again, until there are few enough.
//!
//! How far apart two tokens are is one less the cosine of their keys, averaged over the heads; how far two clusters are, the mean
//! of the distances of their members (`linkage=average`), the largest or the smallest of them: the paper tries all three, and the
//! mean is our default. A token that has merged in an earlier layer counts once in this, and by its size in the average that
//! becomes of its cluster. Attention weighs tokens by size.
//!
//! Two forms, as in the published code:
//!
//! - `keep=70%`, which is fine-tuned there: in some layers, by default after each quarter of the model. The first leaves that part
//!   of the patches that the model began with, the second that part of that part, and so on, rounded down.
//! - `r=13`, off the shelf: so many tokens fewer in every layer. There only `r - 1` go where there is a class token, because it is
//!   counted with those that are left but takes no part. Here exactly `r` do, though never more than half.
//!
//! The clustering is exact. Ties go to the pair that stands first. Clusters take the place of their first member, so that tokens
//! keep their order; in the published code they come as the library for clustering numbers them, which decides nothing later.

mod clustering;
mod options;

use super::layers::{self, Layers};
use super::matching::cosines;
use super::{At, Common, Rule};
use crate::{
    Amount, Evidence, LastLayer, MatchShape, MergePlan, MetricRequest, ModelFacts, Schedule, ScheduleError,
    Tokens, Wants,
};

pub use clustering::Linkage;
pub(super) use options::INFO;

/// Agglomerative clustering.
#[derive(Clone, Debug, PartialEq)]
pub struct Atc {
    /// How many tokens go.
    pub amount: AtcAmount,
    /// How far apart two clusters are.
    pub linkage: Linkage,
    /// Options that methods share.
    pub common: Common,
}

/// How many tokens [`Atc`] removes, and in which layers.
#[derive(Clone, Debug, PartialEq)]
pub enum AtcAmount {
    /// So many in every layer.
    Fewer(Schedule),
    /// In some layers.
    Keep {
        /// The part that is left in the first of them, and in each of the others of what is left in the one before, above 0.
        share: f64,
        /// Which they are.
        layers: Layers,
    },
}

impl Atc {
    /// The paper's method with average linkage, for a given amount.
    #[must_use]
    pub fn new(amount: AtcAmount) -> Self {
        Self { amount, linkage: Linkage::Average, common: Common::new(LastLayer::All) }
    }
}

impl Rule for Atc {
    super::rule::common!();

    fn wants(&self) -> Wants {
        Wants { metric: Some(MetricRequest::KEYS), ..Wants::default() }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let start = facts.tokens.saturating_sub(facts.prefix);
        match &self.amount {
            AtcAmount::Fewer(schedule) => schedule.per_layer(facts.depth),
            AtcAmount::Keep { share, layers } if *share >= 1.0 => {
                layers::amounts(layers, facts.depth, |_| Amount::NOTHING)
            }
            AtcAmount::Keep { share, layers } => layers::amounts(layers, facts.depth, |index| {
                Amount::Keep(layers::left_of(start, *share, index))
            }),
        }
    }

    fn plan(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
        cosines::plan(tokens, evidence.into_metric(), at.amount, |cosines, remove| {
            let count = cosines.tokens();
            clustering::cluster(cosines.into_distances(), count, remove, self.linkage)
        })
    }

    fn matching_macs(&self, shape: MatchShape) -> f64 {
        // The published code compares prefix tokens too.
        (shape.tokens * shape.tokens * MetricRequest::KEYS.width(shape.head_dim, shape.channels)) as f64
    }
}

#[cfg(test)]
mod tests;
