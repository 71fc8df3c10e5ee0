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

use crate::methods::matching::bipartite::{Proposals, Unmerged};
use crate::methods::matching::{Partition, Split};
use crate::methods::options::{HEADS, PROPORTIONAL, RECHECK, name_of, read_recheck};
use crate::methods::{Method, MethodInfo, OptionInfo};
use crate::spec::Options;
use crate::{
    Amount, Combine, Evidence, Feature, FeatureRequest, HeadAggregation, LastLayer, MergePlan, MergeSpec,
    ProportionalAttention, Random, Received, Rounding, Schedule, Similarity, Site, SpecError, Tokens, Wants,
};

/// Token merging and its ablations.
#[derive(Clone, Debug, PartialEq)]
pub struct Tome {
    /// How many tokens each layer removes.
    pub schedule: Schedule,
    /// How tokens to merge are found (Table 2).
    pub matcher: Matcher,
    /// What tokens are compared by (Table 1a) and what becomes of heads (Table 1c).
    pub features: FeatureRequest,
    /// How they are compared (Table 1b).
    pub similarity: Similarity,
    /// What merged tokens become (Table 1d).
    pub combine: Combine,
    /// Which tokens propose to which (Table 1e).
    pub partition: Partition,
    /// Whether merged tokens weigh more in attention (Table 1f).
    pub proportional_attention: ProportionalAttention,
    /// Which tokens go through the last MLP.
    pub last_layer: LastLayer,
    /// Images whose two best logits are closer than this run once more, unmerged.
    pub recheck: Option<f32>,
    /// For whatever is random. A layer's random numbers depend on seed, layer and number of tokens only, never
    /// on the image or its neighbours.
    pub seed: u64,
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

const FEATURES: &[(&str, Feature)] = &[
    ("k", Feature::Key),
    ("q", Feature::Query),
    ("v", Feature::Value),
    ("x", Feature::Attended),
    ("x_pre", Feature::BlockInput),
];
const SIMILARITIES: &[(&str, Similarity)] = &[
    ("cosine", Similarity::Cosine),
    ("dot", Similarity::Dot),
    ("euclidean", Similarity::Euclidean),
    ("softmax", Similarity::Softmax),
];
const COMBINES: &[(&str, Combine)] = &[
    ("weighted", Combine::WeightedAverage),
    ("average", Combine::Average),
    ("max", Combine::Max),
    ("keep", Combine::KeepOne),
];
const PARTITIONS: &[(&str, Partition)] = &[
    ("alternating", Partition::Alternating),
    ("sequential", Partition::Sequential),
    ("random", Partition::Random),
];
const LAST_LAYERS: &[(&str, LastLayer)] = &[("keep", LastLayer::All), ("cls", LastLayer::Prefix)];
const ROUNDINGS: &[(&str, Rounding)] = &[("truncate", Rounding::Truncate), ("exact", Rounding::Exact)];
const DEFAULT_ITERATIONS: usize = 5;
const MATCHERS: &[(&str, Matcher)] = &[
    ("bipartite", Matcher::Bipartite),
    ("greedy", Matcher::Greedy),
    ("kmeans", Matcher::KMeans { iterations: DEFAULT_ITERATIONS }),
    ("random_merge", Matcher::RandomMerge),
    ("random_prune", Matcher::RandomPrune),
    ("attention_prune", Matcher::AttentionPrune),
];

pub(super) const INFO: MethodInfo = MethodInfo {
    name: "tome",
    summary: "merge the r most similar pairs of tokens in every layer",
    source: "ToMe (arXiv:2210.09461), §3; options from Tables 1 and 2",
    example: "tome:r=8",
    options: &[
        OptionInfo {
            name: "r",
            values: "a number, or a list such as [16,16,8] with one per layer",
            help: "tokens to remove per layer",
        },
        OptionInfo {
            name: "inflect",
            values: "0, or -1 (decreasing) to 1 (increasing)",
            help: "tilts the schedule around r (eq. 3)",
        },
        OptionInfo {
            name: "rounding",
            values: "truncate, exact",
            help: "fractions of a tilted schedule: cut as published, or carried over so that r * layers go",
        },
        OptionInfo {
            name: "matcher",
            values: "bipartite, greedy, kmeans, random_merge, random_prune, attention_prune",
            help: "how the tokens to remove are found (Table 2)",
        },
        OptionInfo { name: "iterations", values: "5", help: "of kmeans (the paper tries 2 and 5)" },
        OptionInfo { name: "feature", values: "k, q, v, x, x_pre", help: "what is compared (Table 1a)" },
        OptionInfo {
            name: "distance",
            values: "cosine, dot, euclidean, softmax",
            help: "how it is compared (Table 1b)",
        },
        OptionInfo { name: "heads", values: "mean, concat", help: "what becomes of heads (Table 1c)" },
        OptionInfo {
            name: "combine",
            values: "weighted, average, max, keep",
            help: "what merged tokens become (Table 1d)",
        },
        OptionInfo {
            name: "partition",
            values: "alternating, sequential, random",
            help: "who proposes to whom (Table 1e)",
        },
        OptionInfo {
            name: "prop_attn",
            values: "auto, on, off",
            help: "attention weighs tokens by size (Table 1f); auto: on, but off for off-the-shelf MAE",
        },
        OptionInfo {
            name: "last",
            values: "keep, cls",
            help: "what goes through the last MLP: all, or the class token (models that need patches keep them)",
        },
        RECHECK,
        OptionInfo { name: "seed", values: "0", help: "for whatever is random" },
    ],
    read: |options| Tome::read(options).map(Method::Tome),
};

impl Tome {
    /// The paper's defaults with a constant schedule.
    #[must_use]
    pub fn new(r: usize) -> Self {
        Self {
            schedule: Schedule::Constant(r),
            matcher: Matcher::Bipartite,
            features: FeatureRequest { feature: Feature::Key, heads: HeadAggregation::Mean },
            similarity: Similarity::Cosine,
            combine: Combine::WeightedAverage,
            partition: Partition::Alternating,
            proportional_attention: ProportionalAttention::Auto,
            last_layer: LastLayer::All,
            recheck: None,
            seed: 0,
        }
    }

    fn read(mut options: Options) -> Result<Self, SpecError> {
        let schedule = Self::read_schedule(&mut options)?;
        let mut matcher = options.choice("matcher", MATCHERS)?;
        let iterations = options.value("iterations", "a whole number from 1 to 1000", |text| {
            text.parse().ok().filter(|iterations| (1..=1000).contains(iterations))
        })?;
        match (&mut matcher, iterations) {
            (_, None) => {}
            (Matcher::KMeans { iterations }, Some(given)) => *iterations = given,
            (_, Some(_)) => {
                return Err(SpecError::Conflict {
                    method: INFO.name.to_owned(),
                    reason: "iterations belongs to matcher=kmeans; leave it out or choose that matcher"
                        .to_owned(),
                });
            }
        }
        let feature = options.choice("feature", FEATURES)?;
        if matcher == Matcher::AttentionPrune && feature == Feature::BlockInput {
            return Err(SpecError::Conflict {
                method: INFO.name.to_owned(),
                reason: "feature=x_pre merges before attention, when matcher=attention_prune knows nothing yet; leave feature out".to_owned(),
            });
        }
        Ok(Self {
            schedule,
            matcher,
            features: FeatureRequest { feature, heads: options.choice("heads", HEADS)? },
            similarity: options.choice("distance", SIMILARITIES)?,
            combine: options.choice("combine", COMBINES)?,
            partition: options.choice("partition", PARTITIONS)?,
            proportional_attention: options.choice("prop_attn", PROPORTIONAL)?,
            last_layer: options.choice("last", LAST_LAYERS)?,
            recheck: read_recheck(&mut options)?,
            seed: options.value("seed", "a whole number", |text| text.parse().ok())?.unwrap_or(0),
        })
    }

    fn read_schedule(options: &mut Options) -> Result<Schedule, SpecError> {
        let allowed = "a whole number from 0 to 100000, or a list such as [16,16,8]";
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|&r| r <= 100_000);
        let r = options.value("r", allowed, |text| {
            match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
                Some(list) => list.split(',').map(number).collect::<Option<Vec<_>>>().map(Schedule::PerLayer),
                None => number(text).map(Schedule::Constant),
            }
        })?;
        let r = r.ok_or_else(|| SpecError::Missing {
            method: INFO.name.to_owned(),
            option: "r".to_owned(),
            example: INFO.example.to_owned(),
        })?;
        let inflect =
            options.value("inflect", "a number from -1 (decreasing) to 1 (increasing)", |text| {
                text.parse::<f64>().ok().filter(|inflect| (-1.0..=1.0).contains(inflect))
            })?;
        let rounding = options.choice("rounding", ROUNDINGS)?;
        match (r, inflect) {
            (Schedule::Constant(r), Some(inflect)) if inflect != 0.0 => {
                Ok(Schedule::Linear { r, inflect, rounding })
            }
            (Schedule::PerLayer(_), Some(_)) => Err(SpecError::Conflict {
                method: INFO.name.to_owned(),
                reason: "inflect tilts a single r; a list already says how many each layer removes"
                    .to_owned(),
            }),
            (r, _) => Ok(r),
        }
    }

    pub(super) fn spec(&self) -> MergeSpec {
        let mut options: Vec<(String, String)> = Vec::new();
        let mut add = |name: &str, value: String| options.push((name.to_owned(), value));
        match &self.schedule {
            Schedule::Constant(r) => add("r", r.to_string()),
            Schedule::PerLayer(list) => {
                let list: Vec<_> = list.iter().map(ToString::to_string).collect();
                add("r", format!("[{}]", list.join(",")));
            }
            Schedule::Linear { r, inflect, rounding } => {
                add("r", r.to_string());
                add("inflect", inflect.to_string());
                if *rounding != Rounding::default() {
                    add("rounding", name_of(ROUNDINGS, rounding).to_owned());
                }
            }
        }
        let default = Self::new(0);
        if let Matcher::KMeans { iterations } = self.matcher {
            add("matcher", "kmeans".to_owned());
            if iterations != DEFAULT_ITERATIONS {
                add("iterations", iterations.to_string());
            }
        } else if self.matcher != default.matcher {
            add("matcher", name_of(MATCHERS, &self.matcher).to_owned());
        }
        if self.features.feature != default.features.feature {
            add("feature", name_of(FEATURES, &self.features.feature).to_owned());
        }
        if self.similarity != default.similarity {
            add("distance", name_of(SIMILARITIES, &self.similarity).to_owned());
        }
        if self.features.heads != default.features.heads {
            add("heads", name_of(HEADS, &self.features.heads).to_owned());
        }
        if self.combine != default.combine {
            add("combine", name_of(COMBINES, &self.combine).to_owned());
        }
        if self.partition != default.partition {
            add("partition", name_of(PARTITIONS, &self.partition).to_owned());
        }
        if self.proportional_attention != default.proportional_attention {
            add("prop_attn", name_of(PROPORTIONAL, &self.proportional_attention).to_owned());
        }
        if self.last_layer != default.last_layer {
            add("last", name_of(LAST_LAYERS, &self.last_layer).to_owned());
        }
        if let Some(gap) = self.recheck {
            add("recheck", gap.to_string());
        }
        if self.seed != default.seed {
            add("seed", self.seed.to_string());
        }
        MergeSpec { method: INFO.name.to_owned(), options }
    }

    pub(super) fn site(&self) -> Site {
        match self.features.feature {
            Feature::BlockInput => Site::BeforeBlock,
            Feature::Attended | Feature::Query | Feature::Key | Feature::Value => Site::InsideBlock,
        }
    }

    pub(super) fn wants(&self) -> Wants {
        match (self.matcher, self.features.feature) {
            (Matcher::RandomMerge | Matcher::RandomPrune, _) => Wants::default(),
            (Matcher::AttentionPrune, _) => Wants { features: None, received: Received::Yes },
            // At the block's entrance the tokens are their own features.
            (_, Feature::BlockInput) => Wants::default(),
            _ => Wants { features: Some(self.features), received: Received::No },
        }
    }

    pub(super) fn plan(
        &self,
        layer: usize,
        amount: Amount,
        tokens: &Tokens,
        evidence: Evidence,
    ) -> Option<MergePlan> {
        // Its schedules are numbers of tokens.
        let Amount::Count(remove) = amount else { return None };
        let nothing = tokens.layout.lens().all(|len| crate::mergeable(remove, len, tokens.prefix) == 0);
        if nothing {
            return None;
        }
        Some(match self.matcher {
            Matcher::Bipartite => {
                let splits = self.splits(layer, tokens);
                let features = evidence.into_features();
                let proposals = Proposals::by_similarity(tokens, splits, features, self.similarity);
                return proposals.accept(amount, unmerged(tokens), tokens);
            }
            Matcher::RandomMerge => {
                let proposals = alternatives::random_proposals(self, layer, tokens);
                return proposals.accept(amount, unmerged(tokens), tokens);
            }
            Matcher::Greedy => alternatives::greedy(self, remove, tokens, evidence),
            Matcher::KMeans { iterations } => {
                alternatives::kmeans(self, iterations, remove, tokens, evidence)
            }
            Matcher::RandomPrune => alternatives::random_prune(self, layer, remove, tokens),
            Matcher::AttentionPrune => alternatives::attention_prune(remove, tokens, &evidence),
        })
    }

    /// Who proposes to whom in every item.
    fn splits(&self, layer: usize, tokens: &Tokens) -> Vec<Split> {
        let split =
            |len| self.partition.split(len, tokens.prefix, &mut Random::for_layer(self.seed, layer, len));
        tokens.layout.lens().map(split).collect()
    }

    pub(super) fn matching_macs(
        &self,
        tokens: usize,
        amount: Amount,
        head_dim: usize,
        channels: usize,
    ) -> f64 {
        let Amount::Count(remove) = amount else { return 0.0 };
        let width = match (self.features.feature, self.features.heads) {
            (Feature::BlockInput | Feature::Attended, _) | (_, HeadAggregation::Concat) => channels,
            (_, HeadAggregation::Mean) => head_dim,
        } as f64;
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

/// As in the published results: without prefix tokens the order of the unmerged sources is that of the sorting.
fn unmerged(tokens: &Tokens) -> Unmerged {
    if tokens.prefix > 0 { Unmerged::Listed } else { Unmerged::BySimilarity }
}

#[cfg(test)]
mod tests;
