//! PiToMe (Tran et al., 2024, arXiv:2405.16148, §3): between attention and MLP, tokens that many others are like merge first,
//! and those that stand alone are set aside.
//!
//! What is compared are keys, averaged over the heads, of all tokens but the prefix, by their cosine `s`. The *energy* of a
//! token is the mean over all tokens, itself among them, of `s - m` where that is above 0 and of `exp(s - m) - 1` elsewhere; the
//! margin `m` falls linearly from layer to layer, `margin * (1 - l / L)` in layer `l` of `L`, counted from 0. Tokens are ranked
//! by falling energy, those at even ranks propose to their most similar token at odd ranks, and sizes weigh the averages:
//!
//! - In the first half of the layers, rounded up, all tokens are ranked, and the `r` most similar pairs merge, as in ToMe. The
//!   proposing tokens that are left go on by falling similarity.
//! - In the others only the first `2r` ranks take part, and each of the `r` that propose merges. The others are set aside, and
//!   go on by falling energy.
//!
//! Behind the prefix stand the tokens that did not merge, then those that were proposed to, by rank.
//!
//! What that follows, and where other ways have a value:
//!
//! - It is the published code for ViT and DeiT: margin .75 and the two halves. Its variant `aug` has `margin=0.9`, which is also
//!   the paper's. The paper sets tokens aside in all layers (`split=0`) and keeps `s` itself above the margin (`energy=paper`). What
//!   is said of the paper here is from memory.
//! - Attention weighs tokens by size, as in the paper (from memory). The published code has a switch for it that does nothing:
//!   `prop_attn=off`. Where both were measured, on a ViT-Ti without training, on was better (79.8 % and 78.3 % of 1000 pictures
//!   with `r=13`) or equal (81.9 % with `r=8`).
//! - The published code is given a share (`ratio`), of which the class token is no part: of `T` tokens that may merge
//!   `T - T * ratio` go, rounded down. `r` is how OpenToMe has it.
//!
//! The order of energies decides who proposes to whom, and close energies are common: they are computed in double precision, and
//! ties go to the token that stands first.

mod options;

use super::matching::by_falling_score;
use super::matching::cosines::{self, Cosines, Grouping};
use super::{At, Common, Rule};
use crate::{
    Amount, Evidence, LastLayer, MatchShape, MergePlan, MetricRequest, ModelFacts, Schedule, ScheduleError,
    Tokens, Wants,
};

pub(super) use options::INFO;

/// The margin of the first layer in the published code for ViT and DeiT.
const MARGIN: f64 = 0.75;

/// Merging by energy.
#[derive(Clone, Debug, PartialEq)]
pub struct Pitome {
    /// How many tokens go.
    pub amount: PitomeAmount,
    /// The cosine of the first layer above which tokens count as alike, in `[0, 1]`; it falls to 0 linearly.
    pub margin: f64,
    /// What a similarity adds to the energy.
    pub energy: Energy,
    /// The layers, from the first on, in which no token is set aside. `None`: half of them, rounded up.
    pub split: Option<usize>,
    /// Options that methods share.
    pub common: Common,
}

/// How many tokens every layer of [`Pitome`] removes.
#[derive(Clone, Debug, PartialEq)]
pub enum PitomeAmount {
    /// That part of the tokens is left, in `[0.5, 1]`.
    Ratio(f64),
    /// So many go.
    Fewer(Schedule),
}

/// What a similarity above the margin adds to the energy of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Energy {
    /// By how much it is above, as the published code has it.
    AboveMargin,
    /// Itself, as the paper has it.
    Whole,
}

/// Which tokens of a layer propose and are proposed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ranked {
    /// All.
    All,
    /// Twice as many as are to go, those of the most energy.
    Foremost,
}

impl Pitome {
    /// The published method, with proportional attention.
    #[must_use]
    pub fn new(amount: PitomeAmount) -> Self {
        Self {
            amount,
            margin: MARGIN,
            energy: Energy::AboveMargin,
            split: None,
            common: Common::new(LastLayer::All),
        }
    }

    fn ranked(&self, at: &At) -> Ranked {
        let split = self.split.unwrap_or(at.depth.div_ceil(2));
        if at.layer < split { Ranked::All } else { Ranked::Foremost }
    }

    /// How much every token is like all.
    fn energies(&self, at: &At, cosines: &Cosines) -> Vec<f64> {
        let margin = self.margin * (1.0 - at.layer as f64 / at.depth as f64);
        let part = |cosine: &f64| match (*cosine >= margin, self.energy) {
            (true, Energy::AboveMargin) => cosine - margin,
            (true, Energy::Whole) => *cosine,
            (false, _) => (cosine - margin).exp_m1(),
        };
        let energy = |token| cosines.row(token).iter().map(part).sum::<f64>() / cosines.tokens() as f64;
        (0..cosines.tokens()).map(energy).collect()
    }
}

/// Merges `remove` tokens, at most half, which are `order`ed by their energy.
fn merged(cosines: &Cosines, order: &[u32], ranked: Ranked, remove: usize) -> Grouping {
    let (ranked, aside) = match ranked {
        Ranked::All => (order, &[][..]),
        Ranked::Foremost => order.split_at(2 * remove),
    };
    let destinations = || ranked.iter().copied().skip(1).step_by(2);
    let proposal = |source: &u32| {
        let row = cosines.row(*source as usize);
        let similarity = |destination: u32| (row[destination as usize], *source, destination);
        // The first of the best.
        destinations().map(similarity).reduce(|best, next| if next.0 > best.0 { next } else { best })
    };
    let mut proposals: Vec<_> = ranked.iter().step_by(2).filter_map(proposal).collect();
    proposals.sort_by(|a, b| b.0.total_cmp(&a.0));
    let pair = |(_, source, destination): &(f64, u32, u32)| (*source, *destination);
    let (accepted, unmerged) = proposals.split_at(remove);
    let unmerged = unmerged.iter().map(|(_, source, _)| *source);
    let kept = aside.iter().copied().chain(unmerged).chain(destinations()).collect();
    Grouping { kept, pairs: accepted.iter().map(pair).collect() }
}

impl Rule for Pitome {
    super::rule::common!();

    fn wants(&self) -> Wants {
        Wants { metric: Some(MetricRequest::KEYS), ..Wants::default() }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let depth = facts.depth;
        if let Some(split) = self.split.filter(|split| *split > depth) {
            return Err(ScheduleError::Split { split, depth });
        }
        match &self.amount {
            PitomeAmount::Ratio(ratio) if *ratio >= 1.0 => Ok(vec![Amount::NOTHING; depth]),
            PitomeAmount::Ratio(ratio) => Ok(vec![Amount::Ratio(*ratio); depth]),
            PitomeAmount::Fewer(schedule) => schedule.per_layer(depth),
        }
    }

    fn plan(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
        cosines::plan(tokens, evidence.into_metric(), at.amount, |cosines, remove| {
            let order = by_falling_score(&self.energies(at, &cosines), 0);
            merged(&cosines, &order, self.ranked(at), remove)
        })
    }

    fn matching_macs(&self, shape: MatchShape) -> f64 {
        let tokens = shape.tokens.saturating_sub(shape.prefix);
        (tokens * tokens * MetricRequest::KEYS.width(shape.head_dim, shape.channels)) as f64
    }
}

#[cfg(test)]
mod tests;
