//! Adaptive token merging (ATM; Lee and Choi, 2025, arXiv:2505.15160): every pair of tokens that is similar enough
//! merges, so that simple images lose many tokens and complex ones few.
//!
//! Pairs are found as in ToMe, by the mean of the keys over the heads. Three things differ: a pair merges when its
//! similarity lies strictly above the layer's threshold, which falls from layer to layer (eq. 1); in the last
//! layers small tokens propose to large ones (§3.3); and in the very last layer, in which merging could only
//! cost, nothing merges and only the class token goes through the MLP.
//!
//! What the paper leaves open, and how it is settled here: θ of layer `l` counts layers from 1. Of an odd number of
//! tokens the larger half is the large ones. In a layer in which nothing merges the tokens keep their order;
//! otherwise the order is prefix, unmerged sources, destinations, as they were listed for matching. The batch's
//! mean count of Algorithm 1 is rounded down. A threshold of 1 or more merges nothing, even if rounding lifts the
//! similarity of equal tokens above 1.

use crate::methods::matching::bipartite::{Proposals, Unmerged};
use crate::methods::matching::{Partition, Split};
use crate::methods::options::{HEADS, PROPORTIONAL, RECHECK, name_of, read_recheck};
use crate::methods::{Method, MethodInfo, OptionInfo};
use crate::spec::Options;
use crate::{
    Amount, Evidence, Feature, FeatureRequest, HeadAggregation, LastLayer, MergePlan, MergeSpec,
    ProportionalAttention, Random, Received, ScheduleError, Similarity, SpecError, Tokens, Wants,
};

/// Adaptive token merging.
#[derive(Clone, Debug, PartialEq)]
pub struct Atm {
    /// How similar tokens must be to merge.
    pub threshold: Threshold,
    /// The last layer, counted from 1, in which even positions propose to odd ones; behind it small tokens
    /// propose to large ones (§3.3). `None`: three quarters of the depth, rounded down.
    pub split: Option<usize>,
    /// Whose similarities decide how many tokens of an image merge.
    pub batch: BatchRule,
    /// Which tokens go through the last MLP.
    pub last_layer: LastLayer,
    /// What tokens are compared by.
    pub features: FeatureRequest,
    /// Whether merged tokens weigh more in attention.
    pub proportional_attention: ProportionalAttention,
    /// Images whose two best logits are closer than this run once more, unmerged.
    pub recheck: Option<f32>,
}

/// How similar tokens of a layer must be to merge, as cosine. Nothing merges in the last layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Threshold {
    /// `max(alpha - (exp(beta * (l - 1)) - 1), min)` in layer `l = 1, 2, ...` (eq. 1).
    Exponential {
        /// Threshold of the first layer.
        alpha: f64,
        /// How fast it falls.
        beta: f64,
        /// Where it stops falling.
        min: f64,
    },
    /// The same in every layer.
    Constant(f64),
    /// One per layer; nothing merges in layers beyond the list.
    PerLayer(Vec<f64>),
}

impl Threshold {
    /// The thresholds of `depth` layers; 1, which merges nothing, where there is none.
    ///
    /// # Errors
    /// When the list is longer than the model is deep.
    pub fn per_layer(&self, depth: usize) -> Result<Vec<f64>, ScheduleError> {
        Ok(match self {
            Self::Exponential { alpha, beta, min } => {
                let of = |layer: usize| (alpha - (beta * layer as f64).exp_m1()).max(*min);
                (0..depth).map(of).collect()
            }
            Self::Constant(threshold) => vec![*threshold; depth],
            Self::PerLayer(list) if list.len() > depth => {
                return Err(ScheduleError::TooManyLayers { given: list.len(), depth });
            }
            Self::PerLayer(list) => list.iter().copied().chain(std::iter::repeat(1.0)).take(depth).collect(),
        })
    }
}

/// Whose similarities decide how many tokens of an image merge (§3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchRule {
    /// The image's own: its result does not depend on its neighbours.
    Image,
    /// The mean of the batch, rounded down: all images lose equally many, as the paper does for speed.
    Average,
}

const FEATURES: &[(&str, Feature)] =
    &[("k", Feature::Key), ("q", Feature::Query), ("v", Feature::Value), ("x", Feature::Attended)];
const BATCHES: &[(&str, BatchRule)] = &[("image", BatchRule::Image), ("average", BatchRule::Average)];
const LAST_LAYERS: &[(&str, LastLayer)] = &[("cls", LastLayer::Prefix), ("keep", LastLayer::All)];

pub(super) const INFO: MethodInfo = MethodInfo {
    name: "atm",
    summary: "merge all pairs of tokens that are similar enough, as many as the image has",
    source: "ATM (arXiv:2505.15160), §3",
    example: "atm:alpha=0.985,beta=0.025,min=0.885",
    options: &[
        OptionInfo { name: "alpha", values: "-1 to 1", help: "threshold on the cosine in layer 1 (eq. 1)" },
        OptionInfo { name: "beta", values: "0 to 10", help: "how fast the threshold falls (eq. 1)" },
        OptionInfo { name: "min", values: "-1 to 1", help: "where it stops falling (eq. 1)" },
        OptionInfo {
            name: "theta",
            values: "a number from -1 to 1, or a list such as [0.98,0.95,0.9] with one per layer",
            help: "thresholds themselves, instead of alpha, beta and min; 1 merges nothing",
        },
        OptionInfo {
            name: "split",
            values: "three quarters of the layers, or 0 to their number",
            help: "last layer of alternating matching; behind it small tokens propose to large ones (§3.3)",
        },
        OptionInfo {
            name: "batch",
            values: "image, average",
            help: "every image by itself, or all images of a batch equally many (§3.4)",
        },
        OptionInfo {
            name: "last",
            values: "cls, keep",
            help: "what goes through the last MLP: class token (models that need patches keep them), or all",
        },
        OptionInfo { name: "feature", values: "k, q, v, x", help: "what is compared" },
        OptionInfo { name: "heads", values: "mean, concat", help: "what becomes of heads" },
        OptionInfo {
            name: "prop_attn",
            values: "auto, on, off",
            help: "attention weighs tokens by size; auto: on, but off for off-the-shelf MAE",
        },
        RECHECK,
    ],
    read: |options| Atm::read(options).map(Method::Atm),
};

impl Atm {
    /// The paper's method with given thresholds, every image by itself.
    #[must_use]
    pub fn new(threshold: Threshold) -> Self {
        Self {
            threshold,
            split: None,
            batch: BatchRule::Image,
            last_layer: LastLayer::Prefix,
            features: FeatureRequest { feature: Feature::Key, heads: HeadAggregation::Mean },
            proportional_attention: ProportionalAttention::Auto,
            recheck: None,
        }
    }

    fn read(mut options: Options) -> Result<Self, SpecError> {
        Ok(Self {
            threshold: Self::read_threshold(&mut options)?,
            split: options.value("split", "a whole number from 0 to 1000", |text| {
                text.parse().ok().filter(|split| *split <= 1000)
            })?,
            batch: options.choice("batch", BATCHES)?,
            last_layer: options.choice("last", LAST_LAYERS)?,
            features: FeatureRequest {
                feature: options.choice("feature", FEATURES)?,
                heads: options.choice("heads", HEADS)?,
            },
            proportional_attention: options.choice("prop_attn", PROPORTIONAL)?,
            recheck: read_recheck(&mut options)?,
        })
    }

    fn read_threshold(options: &mut Options) -> Result<Threshold, SpecError> {
        let cosine = |text: &str| text.trim().parse::<f64>().ok().filter(|t| (-1.0..=1.0).contains(t));
        let alpha = options.value("alpha", "a number from -1 to 1", cosine)?;
        let beta = options.value("beta", "a number from 0 to 10", |text| {
            text.parse::<f64>().ok().filter(|beta| (0.0..=10.0).contains(beta))
        })?;
        let min = options.value("min", "a number from -1 to 1", cosine)?;
        let allowed = "a number from -1 to 1, or a list such as [0.98,0.95,0.9]";
        let theta = options.value("theta", allowed, |text| {
            match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
                Some(list) => {
                    list.split(',').map(cosine).collect::<Option<Vec<_>>>().map(Threshold::PerLayer)
                }
                None => cosine(text).map(Threshold::Constant),
            }
        })?;
        let missing = |option: &str| SpecError::Missing {
            method: INFO.name.to_owned(),
            option: option.to_owned(),
            example: INFO.example.to_owned(),
        };
        match (theta, alpha, beta, min) {
            (Some(theta), None, None, None) => Ok(theta),
            (Some(_), ..) => Err(SpecError::Conflict {
                method: INFO.name.to_owned(),
                reason: "theta gives the thresholds; leave out alpha, beta and min, which would compute them"
                    .to_owned(),
            }),
            (None, Some(alpha), Some(beta), Some(min)) => Ok(Threshold::Exponential { alpha, beta, min }),
            (None, None, None, None) => Err(missing("alpha, beta and min (or theta)")),
            (None, alpha, beta, _) => Err(missing(match (alpha, beta) {
                (None, _) => "alpha",
                (_, None) => "beta",
                _ => "min",
            })),
        }
    }

    pub(super) fn spec(&self) -> MergeSpec {
        let mut options: Vec<(String, String)> = Vec::new();
        let mut add = |name: &str, value: String| options.push((name.to_owned(), value));
        match &self.threshold {
            Threshold::Exponential { alpha, beta, min } => {
                add("alpha", alpha.to_string());
                add("beta", beta.to_string());
                add("min", min.to_string());
            }
            Threshold::Constant(theta) => add("theta", theta.to_string()),
            Threshold::PerLayer(list) => {
                let list: Vec<_> = list.iter().map(ToString::to_string).collect();
                add("theta", format!("[{}]", list.join(",")));
            }
        }
        let default = Self::new(Threshold::Constant(1.0));
        if let Some(split) = self.split {
            add("split", split.to_string());
        }
        if self.batch != default.batch {
            add("batch", name_of(BATCHES, &self.batch).to_owned());
        }
        if self.last_layer != default.last_layer {
            add("last", name_of(LAST_LAYERS, &self.last_layer).to_owned());
        }
        if self.features.feature != default.features.feature {
            add("feature", name_of(FEATURES, &self.features.feature).to_owned());
        }
        if self.features.heads != default.features.heads {
            add("heads", name_of(HEADS, &self.features.heads).to_owned());
        }
        if self.proportional_attention != default.proportional_attention {
            add("prop_attn", name_of(PROPORTIONAL, &self.proportional_attention).to_owned());
        }
        if let Some(gap) = self.recheck {
            add("recheck", gap.to_string());
        }
        MergeSpec { method: INFO.name.to_owned(), options }
    }

    /// The last layer of alternating matching in a model of `depth` layers.
    #[must_use]
    pub fn split_of(&self, depth: usize) -> usize {
        self.split.unwrap_or(depth * 3 / 4)
    }

    pub(super) fn wants(&self) -> Wants {
        Wants { features: Some(self.features), received: Received::No }
    }

    pub(super) fn amounts(&self, depth: usize) -> Result<Vec<Amount>, ScheduleError> {
        if let Some(split) = self.split.filter(|split| *split > depth) {
            return Err(ScheduleError::Split { split, depth });
        }
        let thresholds = self.threshold.per_layer(depth)?;
        let amount = |(layer, threshold): (usize, f64)| {
            if layer + 1 == depth || threshold >= 1.0 {
                Amount::NOTHING
            } else {
                Amount::Above(threshold as f32)
            }
        };
        Ok(thresholds.into_iter().enumerate().map(amount).collect())
    }

    pub(super) fn plan(
        &self,
        layer: usize,
        depth: usize,
        amount: Amount,
        tokens: &Tokens,
        evidence: Evidence,
    ) -> Option<MergePlan> {
        let proposals = Proposals::by_similarity(
            tokens,
            self.splits(layer, depth, tokens),
            evidence.into_features(),
            Similarity::Cosine,
        );
        let amount = match (amount, self.batch) {
            (Amount::Above(threshold), BatchRule::Average) => {
                Amount::Count(proposals.above(threshold) / tokens.layout.items().max(1))
            }
            (amount, _) => amount,
        };
        proposals.accept(amount, Unmerged::Listed, tokens)
    }

    /// Who proposes to whom in every item.
    fn splits(&self, layer: usize, depth: usize, tokens: &Tokens) -> Vec<Split> {
        let layout = &tokens.layout;
        if layer < self.split_of(depth) {
            let split =
                |len| Partition::Alternating.split(len, tokens.prefix, &mut Random::for_layer(0, layer, len));
            return layout.lens().map(split).collect();
        }
        let split = |item| {
            let range = layout.range(item);
            let len = range.len();
            Split::by_size(len, tokens.prefix, tokens.size.as_ref().map(|size| &size[range]))
        };
        (0..layout.items()).map(split).collect()
    }

    pub(super) fn matching_macs(&self, tokens: usize, head_dim: usize, channels: usize) -> f64 {
        let width = match (self.features.feature, self.features.heads) {
            (Feature::BlockInput | Feature::Attended, _) | (_, HeadAggregation::Concat) => channels,
            (_, HeadAggregation::Mean) => head_dim,
        };
        (tokens.div_ceil(2) * (tokens / 2) * width) as f64
    }
}

/// How much merging two tokens loses: `n_i * δ(x_i, x_ij) + n_j * δ(x_j, x_ij)`, where `x_ij` is their average
/// weighted by size and δ the cosine distance (ATM, definition 2). The vectors are normalised first, as there.
///
/// # Panics
/// When the vectors are of different length.
#[must_use]
pub fn merging_error(x: (&[f32], f32), y: (&[f32], f32)) -> f64 {
    let ((x, n), (y, m)) = (x, y);
    assert_eq!(x.len(), y.len(), "two tokens have as many channels");
    let unit = |x: &[f32]| -> Vec<f64> {
        let norm = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        x.iter().map(|x| f64::from(*x) / norm.max(f64::MIN_POSITIVE)).collect()
    };
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let (x, y, n, m) = (unit(x), unit(y), f64::from(n), f64::from(m));
    let merged: Vec<f64> = x.iter().zip(&y).map(|(x, y)| n * x + m * y).collect();
    let norm = dot(&merged, &merged).sqrt().max(f64::MIN_POSITIVE);
    let distance = |x: &[f64]| 1.0 - dot(x, &merged) / norm;
    n * distance(&x) + m * distance(&y)
}

#[cfg(test)]
mod tests;
