//! EViT (Liang et al., 2022, arXiv:2202.07800, §3): in some layers, between attention and MLP, the patches that the class
//! token attends to most are kept, and the others become one token.
//!
//! How much it attends to a patch is the mean over the heads of its row of the softmax. Kept patches go on by falling
//! attention, the fused one behind them: the sum of the others weighted by that attention itself, which does not add up to
//! one. Sizes are kept for counting, and for heads that average patches: attention does not weigh tokens by them
//! (`prop_attn=off`). In a later layer a fused token is a patch like others. That is what the paper and its published code
//! agree on.
//!
//! `rest=drop` leaves the others out (the Top-K of Haurum et al., 2023). Ties go to the patch that stands first.

mod options;

use super::layers::{self, Layers};
use super::matching::by_falling_score;
use super::{At, Common, ProportionalAttention, Rule};
use crate::plan::PlanBuilder;
use crate::schedule::kept;
use crate::{
    Amount, Combination, Combine, Evidence, LastLayer, MapQueries, Merging, ModelFacts, Rest, ScheduleError,
    Tokens, Wants,
};

pub(super) use options::INFO;

/// Keeping what the class token attends to.
#[derive(Clone, Debug, PartialEq)]
pub struct Evit {
    /// The part of the patches that is kept, rounded up, above 0.
    pub keep: f64,
    /// What becomes of the others.
    pub rest: Rest,
    /// The layers in which that happens.
    pub layers: Layers,
    /// Options that methods share.
    pub common: Common,
}

impl Evit {
    /// The paper's method with a given share.
    #[must_use]
    pub fn new(keep: f64) -> Self {
        let common =
            Common { proportional_attention: ProportionalAttention::Off, ..Common::new(LastLayer::All) };
        Self { keep, rest: Rest::Fused, layers: None, common }
    }
}

impl Rule for Evit {
    super::rule::common!();

    fn combine(&self) -> Combine {
        Combine::Sum
    }

    fn wants(&self) -> Wants {
        Wants { maps: Some(MapQueries::First), ..Wants::default() }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let amount = match self.keep < 1.0 {
            true => Amount::KeepShare { keep: self.keep, rest: self.rest },
            false => Amount::NOTHING,
        };
        layers::amounts(&self.layers, facts.depth, |_| amount)
    }

    fn merging(&self, _: &At, tokens: &Tokens, evidence: Evidence) -> Option<Merging> {
        let mut builder = PlanBuilder::new(tokens.layout.clone());
        let mut weights = vec![1.0; tokens.layout.rows()];
        let mut changes = false;
        for item in 0..tokens.layout.items() {
            let range = tokens.layout.range(item);
            let prefix = tokens.prefix.of(item).min(range.len());
            let patches = range.len() - prefix;
            let keep = kept(self.keep, patches);
            if keep >= patches {
                builder.keep_item();
                continue;
            }
            changes = true;
            let scores = evidence.map(item).mean_row(0);
            let order = by_falling_score(&scores, prefix);
            let (staying, others) = order.split_at(keep);
            let front = 0..prefix as u32;
            let Rest::Fused = self.rest else {
                builder.item(front.chain(staying.iter().copied()), &[]);
                continue;
            };
            let into = others[0];
            let pairs: Vec<(u32, u32)> = others[1..].iter().map(|other| (*other, into)).collect();
            builder.item(front.chain(staying.iter().copied()).chain([into]), &pairs);
            for place in others {
                weights[range.start + *place as usize] = scores[*place as usize];
            }
        }
        if !changes {
            return None;
        }
        let by = Combination { combine: self.combine(), weights: Some(weights.into()), sizes: None };
        Some(Merging { plan: builder.finish(), by })
    }
}

#[cfg(test)]
mod tests;
