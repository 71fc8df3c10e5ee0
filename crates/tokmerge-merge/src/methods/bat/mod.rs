//! BAT (Long et al., 2023, arXiv:2211.11315, "Beyond Attentive Tokens"), in part: in some layers, between attention and MLP,
//! the patches that the class token attends to most and the others are reduced apart, so that what is left matters and is
//! diverse.
//!
//! **Neither the paper's text nor code could be read.** From its abstract and from memory: layers 4, 7 and 10 of 12, the
//! split by the attention of the class token, clusters of the others by density and distance that are merged with importance
//! as weight, and matched pairs of the most similar among the attentive. **Numbers, formulas and order below are ours**, so
//! that this says nothing about the paper's results.
//!
//! - Attentive are as many patches as are to be left, `keep` of all, by the mean attention of the class token over the heads.
//!   Some of them (`pairs`, 10 %) merge into others, and the others become as many clusters: so many are left again. There is
//!   at least one pair where there are two.
//! - Tokens are compared by the cosine of their keys, averaged over the heads. Every other attentive patch, the first one
//!   too, proposes to the most similar of those between, and the best pairs merge.
//! - Of the others the centres of clusters are those of the largest product of two numbers: a density, which is exp of minus
//!   the mean square of the distances to the 5 nearest (of points on a sphere), and the distance to the nearest that is
//!   denser. All join the most similar centre.
//! - What merges is averaged with the attention of the class token as weight. Sizes add up, and attention weighs tokens by
//!   them (`prop_attn`), as in ToMe.
//! - Tokens keep their places, a cluster that of its centre. Ties go to the patch that stands first; what is no number
//!   matters least and resembles nothing.
//!
//! `pairs=10%` is what seemed right on photographs, with a ViT-Ti off the shelf.

mod clusters;
mod options;

use super::layers::{self, Layers};
use super::matching::bipartite::{Pair, Proposals};
use super::matching::by_falling_score;
use super::matching::{Cosines, Split};
use super::{At, Common, Rule};
use crate::plan::PlanBuilder;
use crate::schedule::kept;
use crate::{
    Amount, Combination, Evidence, LastLayer, MapQueries, MatchShape, Merging, MetricRequest, ModelFacts,
    Rest, ScheduleError, Similarity, Tokens, Wants,
};

pub(super) use options::INFO;

/// The part of the attentive patches that merge: ours.
const PAIRS: f64 = 0.1;
/// What a patch weighs at least, so that averages exist.
const LEAST_WEIGHT: f32 = 1e-9;

/// Attentive patches that merge in pairs, and others that merge in clusters.
#[derive(Clone, Debug, PartialEq)]
pub struct Bat {
    /// The part of the patches that is left, rounded up, above 0.
    pub keep: f64,
    /// The part of the attentive patches that merge into others, at most half, rounded down: as many clusters there are.
    pub pairs: f64,
    /// The layers in which that happens, from 1.
    pub layers: Layers,
    /// Options that methods share.
    pub common: Common,
}

/// What becomes of the patches of an item, as places within it.
#[derive(Default)]
struct Parts {
    attentive: Vec<u32>,
    others: Vec<u32>,
    /// As many pairs of attentive ones merge as others become clusters.
    merged: usize,
}

impl Bat {
    /// The method with a given share.
    #[must_use]
    pub fn new(keep: f64) -> Self {
        Self { keep, pairs: PAIRS, layers: None, common: Common::new(LastLayer::All) }
    }

    /// Of so many patches how many are attentive, and how many of these merge.
    fn counts(&self, patches: usize) -> (usize, usize) {
        let attentive = kept(self.keep, patches);
        let merged = ((self.pairs * attentive as f64) as usize).max(1);
        (attentive, merged.min(attentive / 2).min(patches - attentive))
    }

    /// The parts of an item, which are empty where nothing merges.
    fn parts(&self, scores: &[f32], front: usize) -> Parts {
        let (count, merged) = self.counts(scores.len() - front);
        if count == scores.len() - front {
            return Parts::default();
        }
        let mut attentive = by_falling_score(scores, front);
        let mut others = attentive.split_off(count);
        attentive.sort_unstable();
        others.sort_unstable();
        Parts { attentive, others, merged }
    }
}

impl Parts {
    /// Every other attentive patch proposes to those between.
    fn split(&self) -> Split {
        let (sources, destinations): (Vec<_>, Vec<_>) =
            self.attentive.iter().enumerate().partition(|(rank, _)| rank.is_multiple_of(2));
        let places = |listed: Vec<(usize, &u32)>| listed.into_iter().map(|(_, place)| *place).collect();
        Split { sources: places(sources), destinations: places(destinations) }
    }

    /// The next item of a plan: `pairs` of attentive patches merge, the others join the centres of clusters.
    fn join(
        &self,
        builder: &mut PlanBuilder,
        front: usize,
        mut pairs: Vec<Pair>,
        metric: impl Fn(&[u32]) -> Cosines,
    ) {
        let joins = clusters::assigned(&metric(&self.others), self.merged);
        let merging: Vec<u32> = pairs.iter().map(|(source, _)| *source).collect();
        let mut staying: Vec<u32> =
            self.attentive.iter().copied().filter(|place| !merging.contains(place)).collect();
        for (other, centre) in joins.iter().enumerate() {
            match *centre == other {
                true => staying.push(self.others[other]),
                false => pairs.push((self.others[other], self.others[*centre])),
            }
        }
        staying.sort_unstable();
        builder.item((0..front as u32).chain(staying), &pairs);
    }
}

impl Rule for Bat {
    super::rule::common!();

    fn wants(&self) -> Wants {
        Wants { metric: Some(MetricRequest::KEYS), maps: Some(MapQueries::First), ..Wants::default() }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let amount = match self.keep < 1.0 {
            // Of the attentive as many go as clusters come.
            true => Amount::KeepShare { keep: self.keep, rest: Rest::Dropped },
            false => Amount::NOTHING,
        };
        layers::amounts(&self.layers, facts.depth, |_| amount)
    }

    fn merging(&self, _: &At, tokens: &Tokens, evidence: Evidence) -> Option<Merging> {
        let mut weights = vec![1.0; tokens.layout.rows()];
        let mut parts = Vec::new();
        for item in 0..tokens.layout.items() {
            let (range, front) = (tokens.layout.range(item), tokens.front_of(item));
            if range.len() == front {
                parts.push(Parts::default());
                continue;
            }
            let scores = evidence.map(item).mean_row(0);
            parts.push(self.parts(&scores, front));
            for (weight, score) in weights[range].iter_mut().zip(scores).skip(front) {
                *weight = score.max(LEAST_WEIGHT);
            }
        }
        if parts.iter().all(|parts| parts.attentive.is_empty()) {
            return None;
        }
        let metric = evidence.metric();
        let counts: Vec<usize> = parts.iter().map(|parts| parts.merged).collect();
        let splits = parts.iter().map(Parts::split).collect();
        let proposals = Proposals::by_similarity(tokens, splits, metric.clone(), Similarity::Cosine);
        let mut builder = PlanBuilder::new(tokens.layout.clone());
        for (item, (parts, accepted)) in parts.iter().zip(proposals.best(tokens, &counts)).enumerate() {
            if parts.attentive.is_empty() {
                builder.keep_item();
                continue;
            }
            let start = tokens.layout.range(item).start as u32;
            let cosines = |places: &[u32]| Cosines::of_rows(metric, places.iter().map(|place| start + place));
            parts.join(&mut builder, tokens.front_of(item), accepted.pairs, cosines);
        }
        let by = Combination { weights: Some(weights.into()), ..self.combine().into() };
        Some(Merging { plan: builder.finish(), by })
    }

    fn matching_macs(&self, shape: MatchShape) -> f64 {
        let patches = shape.tokens.saturating_sub(shape.prefix);
        let attentive = self.counts(patches).0;
        let others = patches - attentive;
        let pairs = attentive.div_ceil(2) * (attentive / 2) + others * others;
        (pairs * MetricRequest::KEYS.width(shape.head_dim, shape.channels)) as f64
    }
}

#[cfg(test)]
mod tests;
