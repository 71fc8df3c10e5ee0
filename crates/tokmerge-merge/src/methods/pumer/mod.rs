//! PuMer (Cao, Paranjape and Hajishirzi, 2023, arXiv:2305.17530, §3), for models of questions about pictures: in some
//! layers, between attention and MLP, the patches that the words attend to least are dropped, and some of the others
//! merge as in ToMe.
//!
//! How much the words attend to a patch is the mean over the heads and over the words, so that the question decides what
//! is left of the picture. Both shares are of the patches that enter, and are rounded to the nearest; merging compares
//! keys, averaged over the heads.
//!
//! Where the published code differs:
//!
//! - It keeps no sizes: `combine=average,prop_attn=off`. Here merged patches carry their sizes on, as after ToMe, and
//!   dropped ones take theirs with them.
//! - It lists the kept patches by falling attention before matching, so that ranks decide who proposes to whom, and never
//!   lets the first merge: `order=attention`. Here patches keep their places.
//! - It counts the image's class token as a patch, which can be dropped. Here that is prefix, and neither counts nor goes.
//! - It merges words too (`text=20%`). Words never merge here: they are prefix, and what they attend to is the evidence.
//! - Its layers are a setting, counted from 0, those of `layer` from 1. The default is 2, 4, 6 and 8, of which a shallow
//!   model takes those that it has; the published weights for VQA were trained with `layer=[3,6,9]`.
//! - It can also read the first head alone, and weigh what is compared by attention.
//!
//! Ties go to the patch that stands first. Trained weights are needed for the paper's accuracy; the method has none itself.

mod options;

use super::matching::Split;
use super::matching::bipartite::{Accepted, Proposals};
use super::{At, Common, Rule};
use crate::plan::PlanBuilder;
use crate::schedule::drop_and_merge;
use crate::{
    Amount, Combine, Evidence, LastLayer, MatchShape, MergePlan, MetricRequest, ModelFacts, Received,
    ScheduleError, Similarity, Tokens, Wants,
};

pub(super) use options::INFO;

/// The layers in which it works by default, from 1.
const LAYERS: [usize; 4] = [2, 4, 6, 8];

/// Pruning by the words of a question, then merging.
#[derive(Clone, Debug, PartialEq)]
pub struct Pumer {
    /// The part of the patches that is dropped, below 1.
    pub prune: f64,
    /// The part of the patches that merges into others, at most half.
    pub merge: f64,
    /// The layers in which that happens, from 1. `None`: 2, 4, 6 and 8, as far as the model has them.
    pub layers: Option<Vec<usize>>,
    /// In which order the patches that are left are matched.
    pub order: Order,
    /// What merged patches become.
    pub combine: Combine,
    /// Options that methods share.
    pub common: Common,
}

/// In which order patches are matched, which decides who proposes to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they stand, as in ToMe.
    Place,
    /// By falling attention of the words, the first of which never merges: as in the published code.
    Attention,
}

impl Pumer {
    /// The paper's method with given shares.
    #[must_use]
    pub fn new(prune: f64, merge: f64) -> Self {
        Self {
            prune,
            merge,
            layers: None,
            order: Order::Place,
            combine: Combine::WeightedAverage,
            common: Common::new(LastLayer::All),
        }
    }

    /// The places of an item's patches that are kept, in the order in which they are matched.
    fn kept(&self, received: &[f32], prefix: usize, count: usize) -> Vec<u32> {
        // What is no number is least.
        let score = |place: &u32| match received[*place as usize] {
            score if score.is_nan() => f32::NEG_INFINITY,
            score => score,
        };
        let mut kept: Vec<u32> = (prefix as u32..received.len() as u32).collect();
        kept.sort_by(|a, b| score(b).total_cmp(&score(a)));
        kept.truncate(count);
        if self.order == Order::Place {
            kept.sort_unstable();
        }
        kept
    }

    /// Who proposes to whom among the patches that are kept; those of a picture count from its class token.
    fn split(&self, kept: &[u32], own_prefix: usize) -> Split {
        let (shift, protected) = match self.order {
            Order::Place => (own_prefix, 0),
            Order::Attention => (0, 1),
        };
        let ranks = kept.iter().copied().enumerate();
        let (even, odd): (Vec<_>, Vec<_>) = ranks.partition(|(rank, _)| (rank + shift).is_multiple_of(2));
        let sources = even.into_iter().skip(protected).map(|(_, place)| place).collect();
        Split { sources, destinations: odd.into_iter().map(|(_, place)| place).collect() }
    }
}

impl Rule for Pumer {
    super::rule::common!();

    fn combine(&self) -> Combine {
        self.combine
    }

    fn wants(&self) -> Wants {
        Wants { metric: Some(MetricRequest::KEYS), received: Received::FromWords, ..Wants::default() }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let depth = facts.depth;
        let layers = self.layers.as_deref().unwrap_or(&LAYERS);
        if let (Some(_), Some(&layer)) = (&self.layers, layers.iter().find(|layer| **layer > depth)) {
            return Err(ScheduleError::Layer { layer, depth });
        }
        let some = Amount::DropAndMerge { drop: self.prune, merge: self.merge };
        let works = |layer: usize| layers.contains(&layer) && self.prune + self.merge > 0.0;
        Ok((1..=depth).map(|layer| if works(layer) { some } else { Amount::NOTHING }).collect())
    }

    fn plan(&self, _: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
        let (mut all_kept, mut splits, mut counts, mut changes) = (Vec::new(), Vec::new(), Vec::new(), false);
        for item in 0..tokens.layout.items() {
            let range = tokens.layout.range(item);
            let (len, prefix) = (range.len(), tokens.prefix.of(item).min(range.len()));
            let (dropped, merged) = drop_and_merge(self.prune, self.merge, len - prefix);
            let kept = self.kept(&evidence.received()[range], prefix, len - prefix - dropped);
            splits.push(self.split(&kept, prefix - tokens.prefix.counted_from(item).min(prefix)));
            counts.push(merged);
            changes |= dropped + merged > 0;
            all_kept.push(kept);
        }
        if !changes {
            return None;
        }
        let proposals = Proposals::by_similarity(tokens, splits, evidence.into_metric(), Similarity::Cosine);
        let mut builder = PlanBuilder::new(tokens.layout.clone());
        let accepted = proposals.best(tokens, &counts);
        for (item, (kept, Accepted { pairs, unmerged, destinations })) in
            all_kept.into_iter().zip(accepted).enumerate()
        {
            let prefix = 0..tokens.prefix.of(item).min(tokens.layout.range(item).len()) as u32;
            // The first of a picture's patches is never a source where ranks count.
            let first = kept.first().copied().filter(|_| self.order == Order::Attention);
            if pairs.is_empty() {
                builder.item(prefix.chain(kept), &pairs);
            } else {
                builder.item(prefix.chain(first).chain(unmerged).chain(destinations), &pairs);
            }
        }
        Some(builder.finish())
    }

    fn matching_macs(&self, shape: MatchShape) -> f64 {
        let patches = shape.tokens.saturating_sub(shape.prefix);
        let kept = patches - drop_and_merge(self.prune, self.merge, patches).0;
        (kept.div_ceil(2) * (kept / 2)) as f64
            * MetricRequest::KEYS.width(shape.head_dim, shape.channels) as f64
    }
}

#[cfg(test)]
mod tests;
