//! Token merging (ToMe; Bolya et al., 2023, arXiv:2210.09461, §3), with every choice of its Tables 1 and 2.
//!
//! In each block, between attention and MLP, tokens at even positions propose to their most similar token at
//! odd positions by the mean of their keys over the heads; the `r` best pairs merge, averaged by size. Merged
//! tokens weigh more in attention by the logarithm of their size (eq. 1).
//!
//! Written from the paper. Output order and truncations agree with the published results, because the next
//! layer splits by position again: prefix tokens, unmerged sources, destinations. Without prefix tokens the
//! unmerged sources stay in order of falling similarity. One difference: ties go to the lower position, where
//! the published results leave them open.

mod alternatives;
mod options;

use super::draw::{Draw, Redraw};
use super::matching::bipartite::{Proposals, Unmerged};
use super::{At, Common, Partition, Rule};
use crate::{
    Amount, Combine, Evidence, LastLayer, MatchShape, MergePlan, Metric, MetricRequest, ModelFacts, Received,
    Schedule, ScheduleError, Similarity, Site, Tokens, Wants,
};

pub(super) use options::INFO;

/// Token merging and its ablations.
#[derive(Clone, Debug, PartialEq)]
pub struct Tome {
    /// How many tokens each layer removes.
    pub schedule: Schedule,
    /// How tokens to merge are found (Table 2).
    pub matcher: Matcher,
    /// What tokens are compared by (Table 1a) and what becomes of heads (Table 1c).
    pub metric: MetricRequest,
    /// How they are compared (Table 1b).
    pub similarity: Similarity,
    /// What merged tokens become (Table 1d).
    pub combine: Combine,
    /// Which tokens propose to which (Table 1e).
    pub partition: Partition,
    /// Whether all tokens are there again after each block.
    pub unmerge: Unmerge,
    /// Options that methods share; proportional attention is that of Table 1f.
    pub common: Common,
    /// For everything random. A layer's random numbers depend on seed, layer and number of tokens only, never on the
    /// image or its neighbours.
    pub seed: u64,
    /// Whether they are others for every image and step in training.
    pub redraw: Redraw,
}

/// Whether merged tokens are there again after the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmerge {
    /// No: the next block works on the merged tokens.
    Off,
    /// Yes: each changes as its merged token did, and the next block sees all of them.
    On,
}

/// How the tokens to remove are found (ToMe, Table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// Bipartite soft matching (§3).
    Bipartite,
    /// The most similar pair merges, again and again without replacement.
    Greedy,
    /// As many clusters as tokens are to be left, by Lloyd's algorithm.
    KMeans {
        /// Assignments of all tokens.
        iterations: usize,
    },
    /// Random pairs: a control, which shows what the matching is worth.
    RandomMerge,
    /// Random tokens are dropped.
    RandomPrune,
    /// The tokens that receive the least attention are dropped.
    AttentionPrune,
}

impl Tome {
    /// The paper's defaults with a constant schedule.
    #[must_use]
    pub fn new(r: usize) -> Self {
        Self {
            schedule: Schedule::Constant(r),
            matcher: Matcher::Bipartite,
            metric: MetricRequest::KEYS,
            similarity: Similarity::Cosine,
            combine: Combine::WeightedAverage,
            partition: Partition::Alternating,
            unmerge: Unmerge::Off,
            common: Common::new(LastLayer::All),
            seed: 0,
            redraw: Redraw::On,
        }
    }

    /// Where its random choices come from.
    fn draw(&self, evidence: &Evidence) -> Draw {
        self.redraw.draw(self.seed, evidence.step)
    }
}

impl Rule for Tome {
    super::rule::common!();

    fn site(&self) -> Site {
        match (self.metric.of, self.unmerge) {
            (Metric::BlockInput, Unmerge::Off) => Site::BeforeBlock,
            (Metric::BlockInput, Unmerge::On) => Site::AroundBlock,
            (Metric::Entered | Metric::Attended | Metric::Query | Metric::Key | Metric::Value, _) => {
                Site::InsideBlock
            }
        }
    }

    fn combine(&self) -> Combine {
        self.combine
    }

    fn wants(&self) -> Wants {
        match (self.matcher, self.metric.of) {
            (Matcher::RandomMerge | Matcher::RandomPrune, _) => Wants::default(),
            (Matcher::AttentionPrune, _) => Wants { received: Received::FromAll, ..Wants::default() },
            // Before a block the tokens are their own metric.
            (_, Metric::BlockInput) => Wants::default(),
            _ => Wants { metric: Some(self.metric), ..Wants::default() },
        }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        self.schedule.per_layer(facts.depth)
    }

    fn plan(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
        if !at.removes_any(tokens) {
            return None;
        }
        self.matcher.plan(self, at, tokens, evidence)
    }

    fn matching_macs(&self, shape: MatchShape) -> f64 {
        let Some(remove) = shape.amount.of(shape.tokens, 0) else { return 0.0 };
        let width = self.metric.width(shape.head_dim, shape.channels) as f64;
        let tokens = shape.tokens;
        match self.matcher {
            Matcher::Bipartite => (tokens.div_ceil(2) * (tokens / 2)) as f64 * width,
            Matcher::Greedy => (tokens * tokens) as f64 * width,
            Matcher::KMeans { iterations } => {
                (iterations * tokens * tokens.saturating_sub(remove)) as f64 * width
            }
            Matcher::RandomMerge | Matcher::RandomPrune | Matcher::AttentionPrune => 0.0,
        }
    }
}

impl Matcher {
    fn plan(self, tome: &Tome, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
        match self {
            Self::Bipartite => bipartite(tome, at, tokens, evidence),
            Self::Greedy => alternatives::greedy(tome, at, tokens, evidence),
            Self::KMeans { iterations } => alternatives::kmeans(iterations, tome, at, tokens, evidence),
            Self::RandomMerge => alternatives::random_merge(tome, at, tokens, tome.draw(&evidence)),
            Self::RandomPrune => alternatives::random_prune(at, tokens, tome.draw(&evidence)),
            Self::AttentionPrune => alternatives::attention_prune(at, tokens, &evidence),
        }
    }
}

/// Bipartite soft matching (§3 and appendix D).
fn bipartite(tome: &Tome, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
    let splits = tome.partition.split_drawn(tokens, tome.draw(&evidence), at.layer);
    let proposals = Proposals::by_similarity(tokens, splits, evidence.into_metric(), tome.similarity);
    proposals.accept(at.amount, Unmerged::Published, tokens)
}

#[cfg(test)]
mod tests;
