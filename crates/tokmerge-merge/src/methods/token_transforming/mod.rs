//! Token Transforming (arXiv:2506.05709), the idea alone: in some layers, between attention and MLP, tokens become fewer by a dense
//! matrix: every token goes into all that are kept, in parts. Dropping tokens and merging them are special cases.
//!
//! **Nothing but the abstract and the introduction could be read**: `Y = W X` with a matrix from many to many, without
//! training. That key tokens are taken by class attention at several temperatures, that `W` is a softmax of similarities with
//! rows that sum up to one, and that attention is corrected by the summed weights is from memory. **Every formula and number
//! below is ours.** This is not a reproduction: it says nothing about the paper's results.
//!
//! - Kept are a share of the patches, an equal part of them at each of the `temperatures`: those of the others whose logarithm of
//!   class attention (the mean over the heads) plus `t` times Gumbel noise is largest. At 0 that are the most attended to, at 1
//!   it draws without replacement in proportion to attention, above that more evenly. The noise is the same for all images of a
//!   length. Kept tokens stay in their order.
//! - Token `j` goes into kept token `i` with the part `softmax_i(cos(i, j) / tau)`; parts of a token sum up to one. What is kept
//!   becomes the average of what goes into it, weighted by part and size, and its size the sum of these: where parts are one or
//!   zero, it is ToMe's merging. Sizes weigh in attention as ToMe's do (`prop_attn`).
//! - What is no number resembles nothing: it goes into all alike. Ties go to the token that stands first.
//!
//! `tau`, `temperatures` and `feature` are what was best on photographs, with a ViT-Ti off the shelf. Keys have much in common in some
//! models: by them tokens of a DINOv2 all become nearly the same.

mod options;
#[cfg(test)]
mod tests;

use super::draw::Draw;
use super::layers::{self, Layers};
use super::matching::{Cosines, by_falling_score};
use super::{At, Common, Rule};
use crate::schedule::kept;
use crate::{
    Amount, Evidence, HeadAggregation, LastLayer, MapQueries, MatchShape, Metric, MetricRequest, Mixing,
    Mixture, ModelFacts, Rest, ScheduleError, Tokens, Wants,
};

pub(super) use options::INFO;

/// Temperature of the parts: ours.
const TAU: f64 = 0.01;

/// Temperatures at which tokens to keep are drawn: ours.
const TEMPERATURES: [f64; 2] = [0.0, 1.0];

/// Transforming tokens by a dense matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenTransforming {
    /// The part of the patches that is kept, rounded up, above 0.
    pub keep: f64,
    /// Temperature of the parts in which a token goes into those kept, above 0.
    pub tau: f64,
    /// Temperatures at which tokens to keep are drawn by class attention, an equal share at each.
    pub temperatures: Vec<f64>,
    /// What is compared.
    pub compared: Compared,
    /// The layers in which that happens.
    pub layers: Layers,
    /// Options that methods share.
    pub common: Common,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The keys, averaged over the heads.
    Keys,
    /// The tokens after attention and its residual.
    Tokens,
}

impl TokenTransforming {
    /// The method with a given share.
    #[must_use]
    pub fn new(keep: f64) -> Self {
        Self {
            keep,
            tau: TAU,
            temperatures: TEMPERATURES.to_vec(),
            compared: Compared::Tokens,
            layers: None,
            common: Common::new(LastLayer::All),
        }
    }

    fn metric(&self) -> MetricRequest {
        match self.compared {
            Compared::Keys => MetricRequest::KEYS,
            Compared::Tokens => MetricRequest { of: Metric::Attended, heads: HeadAggregation::Mean },
        }
    }

    /// The places that are kept of patches that are attended to so much, ascending.
    fn keys(&self, attention: &[f32], count: usize, layer: usize) -> Vec<u32> {
        let mut random = Draw::fixed(0).numbers(layer, 0, attention.len());
        let noise: Vec<f64> =
            attention.iter().map(|_| -(-random.unit().max(f64::MIN_POSITIVE).ln()).ln()).collect();
        let mut scores = vec![0.0; attention.len()];
        let (mut chosen, temperatures): (Vec<u32>, _) = (Vec::with_capacity(count), self.temperatures.len());
        for (place, temperature) in self.temperatures.iter().enumerate() {
            for ((score, attention), noise) in scores.iter_mut().zip(attention).zip(&noise) {
                // The logarithm of nothing is beyond all noise, and of no number at all it is none.
                *score = f64::from(*attention).ln() + temperature * noise;
            }
            let due = count * (place + 1) / temperatures;
            let best = by_falling_score(&scores, 0).into_iter().filter(|patch| !chosen.contains(patch));
            let best: Vec<u32> = best.take(due - chosen.len()).collect();
            chosen.extend(best);
        }
        chosen.sort_unstable();
        chosen
    }

    /// In which parts patches go into those of them that are kept, `[kept, patches]`.
    fn parts(&self, cosines: &Cosines, keys: &[u32]) -> Vec<f32> {
        let patches = cosines.tokens();
        let mut parts = vec![0.0; keys.len() * patches];
        for patch in 0..patches {
            let row = cosines.row(patch);
            let best = keys.iter().map(|key| row[*key as usize]).fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> =
                keys.iter().map(|key| ((row[*key as usize] - best) / self.tau).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for (output, weight) in weights.iter().enumerate() {
                parts[output * patches + patch] = (weight / sum) as f32;
            }
        }
        parts
    }
}

impl Rule for TokenTransforming {
    super::rule::common!();

    fn mixes(&self) -> bool {
        true
    }

    /// Every patch goes into every token: none of these is anywhere.
    fn keeps_positions(&self) -> bool {
        false
    }

    fn wants(&self) -> Wants {
        Wants { metric: Some(self.metric()), maps: Some(MapQueries::First), ..Wants::default() }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let amount = match self.keep < 1.0 {
            true => Amount::KeepShare { keep: self.keep, rest: Rest::Dropped },
            false => Amount::NOTHING,
        };
        layers::amounts(&self.layers, facts.depth, |_| amount)
    }

    fn mixing(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<Mixing> {
        if !at.removes_any(tokens) {
            return None;
        }
        let mixture = |item: usize| {
            let (range, front) = (tokens.layout.range(item), tokens.front_of(item));
            let patches = range.len() - front;
            let count = kept(self.keep, patches);
            if count == patches {
                return Mixture::after(range.len(), range.len(), range.len(), |_, _| 0.0);
            }
            let attention = evidence.map(item).mean_row(0);
            let keys = self.keys(&attention[front..], count, at.layer);
            let rows = (range.start + front..range.end).map(|row| row as u32);
            let parts = self.parts(&Cosines::of_rows(evidence.metric(), rows), &keys);
            Mixture::after(front, range.len(), front + count, |output, input| parts[output * patches + input])
        };
        Some(Mixing::new((0..tokens.layout.items()).map(mixture).collect()))
    }

    /// Similarities of what is kept to all, and the product that mixes them.
    fn matching_macs(&self, shape: MatchShape) -> f64 {
        let patches = shape.tokens.saturating_sub(shape.prefix);
        let width = self.metric().width(shape.head_dim, shape.channels) + shape.channels;
        (kept(self.keep, patches) * patches * width) as f64
    }
}
