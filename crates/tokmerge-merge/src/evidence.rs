//! What a method may ask of a block, and what it gets.

use burn::tensor::Tensor;
use tokmerge_ops::HeadAggregation;

/// Features by which tokens are compared (ToMe, Table 1a).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// The tokens entering the block; merging then happens before attention.
    BlockInput,
    /// The tokens after attention and its residual.
    Attended,
    /// The queries of this block's attention.
    Query,
    /// The keys.
    Key,
    /// The values.
    Value,
}

/// Features and what to do with their heads (ToMe, Table 1c). Tokens themselves have no heads: they are always
/// compared whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureRequest {
    /// Which features.
    pub feature: Feature,
    /// Averaged over the heads or side by side.
    pub heads: HeadAggregation,
}

/// Whether the attention that every token receives is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Received {
    /// Not needed: fused attention need not keep it.
    #[default]
    No,
    /// Mean over heads and queries of the attention on each token.
    Yes,
}

/// What a method asks of one block. Nothing unasked is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Features to compare tokens by.
    pub features: Option<FeatureRequest>,
    /// Attention received.
    pub received: Received,
}

/// What a block answers. Carries no gradient: matching is discrete.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// `[T, D]`, one row per token that entered the block.
    pub features: Option<Tensor<2>>,
    /// `[T]`, summing to one in every item.
    pub received: Option<Vec<f32>>,
}

impl Evidence {
    /// The features that were asked for, handed over. `[T, D]`.
    ///
    /// # Panics
    /// When the block did not answer: comparing anything else would be wrong in silence.
    #[must_use]
    pub fn into_features(self) -> Tensor<2> {
        self.features.expect("a block answers what Wants::features asks for")
    }

    /// The attention received that was asked for. `[T]`.
    ///
    /// # Panics
    /// When the block did not answer.
    #[must_use]
    pub fn received(&self) -> &[f32] {
        self.received.as_deref().expect("a block answers what Wants::received asks for")
    }
}
