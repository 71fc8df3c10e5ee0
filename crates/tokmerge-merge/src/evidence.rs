//! What a method may ask of a block, and what it gets.

use burn::tensor::Tensor;
use tokmerge_ops::{AttentionMap, HeadAggregation, MapQueries};

/// What tokens are compared by (ToMe, Table 1a).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The tokens entering the block; merging then happens before attention.
    BlockInput,
    /// The same tokens, for merging that happens after attention.
    Entered,
    /// The tokens after attention and its residual.
    Attended,
    /// The queries of this block's attention.
    Query,
    /// The keys.
    Key,
    /// The values.
    Value,
}

/// A metric and what to do with its heads (ToMe, Table 1c). Tokens themselves have no heads: they are always compared
/// whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricRequest {
    /// What is compared.
    pub of: Metric,
    /// Averaged over the heads or side by side.
    pub heads: HeadAggregation,
}

impl MetricRequest {
    /// The keys, averaged over the heads: what ToMe compares tokens by.
    pub const KEYS: Self = Self { of: Metric::Key, heads: HeadAggregation::Mean };

    /// Channels of the metric, for heads of `head_dim` channels and tokens of `channels`.
    #[must_use]
    pub fn width(self, head_dim: usize, channels: usize) -> usize {
        match (self.of, self.heads) {
            (Metric::BlockInput | Metric::Entered | Metric::Attended, _) | (_, HeadAggregation::Concat) => {
                channels
            }
            (Metric::Query | Metric::Key | Metric::Value, HeadAggregation::Mean) => head_dim,
        }
    }
}

/// From whom the attention that every token receives is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Received {
    /// Not needed: fused attention need not keep it.
    #[default]
    No,
    /// Mean over heads and queries of the attention on each token.
    FromAll,
    /// Mean over heads and over the words of the question in front, of models that have one
    /// ([`TokenKind::PatchesAfterWords`](crate::TokenKind)).
    FromWords,
}

/// What a method asks of one block. Nothing unasked is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// What to compare tokens by.
    pub metric: Option<MetricRequest>,
    /// Attention received, and from whom.
    pub received: Received,
    /// The softmax itself, head by head, and whose.
    pub maps: Option<MapQueries>,
}

impl Wants {
    /// Whether the softmax has to be looked at, which fused attention does not keep.
    #[must_use]
    pub fn attention(self) -> bool {
        self.received != Received::No || self.maps.is_some()
    }
}

/// What a block answers. Carries no gradient: matching is discrete.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// `[T, D]`, one row per token that entered the block.
    pub metric: Option<Tensor<2>>,
    /// `[T]`, summing to one in every item; zeros in an item without words, where it is theirs.
    pub received: Option<Vec<f32>>,
    /// Of every item.
    pub maps: Option<Vec<AttentionMap>>,
    /// What the method's own weights say of every token, `[T]`: not the block's answer.
    pub scores: Option<Vec<f32>>,
    /// What the class token will make of every token in the block that follows, before its softmax, `[T]`: the mean over the
    /// heads of products of queries and keys, neither scaled nor biased.
    pub logits: Option<Vec<f32>>,
}

impl Evidence {
    /// The metric that was asked for, handed over. `[T, D]`.
    ///
    /// # Panics
    /// When the block did not answer: comparing anything else would be silently wrong.
    #[must_use]
    pub fn into_metric(self) -> Tensor<2> {
        self.metric.expect("a block answers what Wants::metric asks for")
    }

    /// The metric that was asked for. `[T, D]`.
    ///
    /// # Panics
    /// When the block did not answer.
    #[must_use]
    pub fn metric(&self) -> &Tensor<2> {
        self.metric.as_ref().expect("a block answers what Wants::metric asks for")
    }

    /// The attention received that was asked for. `[T]`.
    ///
    /// # Panics
    /// When the block did not answer.
    #[must_use]
    pub fn received(&self) -> &[f32] {
        self.received.as_deref().expect("a block answers what Wants::received asks for")
    }

    /// What the method's own weights say of every token. `[T]`.
    ///
    /// # Panics
    /// When they were not asked.
    #[must_use]
    pub fn scores(&self) -> &[f32] {
        self.scores.as_deref().expect("a method whose weights judge tokens has asked them")
    }

    /// The class token's logits in the block that follows. `[T]`.
    ///
    /// # Panics
    /// When that block was not asked.
    #[must_use]
    pub fn logits(&self) -> &[f32] {
        self.logits.as_deref().expect("a block begins with the logits that a method chooses by")
    }

    /// The attention of an item that was asked for.
    ///
    /// # Panics
    /// When the block did not answer, or there is no such item.
    #[must_use]
    pub fn map(&self, item: usize) -> &AttentionMap {
        &self.maps.as_deref().expect("a block answers what Wants::maps asks for")[item]
    }
}
