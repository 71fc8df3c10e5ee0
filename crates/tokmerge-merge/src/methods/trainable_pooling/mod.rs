//! Trainable pooling by cross-attention, the baseline of Table 9 in "Efficient Transformer Adaptation with Soft Token Merging"
//! (Yuan, Fei and Baek, 2024, §4.4): before a block, learned queries attend to all tokens, and what they gather takes their
//! place.
//!
//! The paper says no more of it than that it generalises the trainable pooling of Pietruszka et al. (2022) "by adopting
//! cross-attention". What stands here is ours: multi-head attention with projections of queries, keys, values and outputs, as in
//! the pooling by attention of Set Transformers, on normalised tokens, without a residual. Heads have 64 channels where that
//! divides the width, as in the models that it is for; else they are as few channels wider as divides it. The other reading,
//! a learned query for every window of neighbours, is `stm:score=query`.

mod pooling;
#[cfg(test)]
mod tests;

use super::option::{FromOptions, Opt, infos, number, positions, protect, whole};
use super::{Common, MethodInfo, Rule};
use crate::Site;
use crate::mergers::{self, Start};

pub use pooling::Pooling;

/// How many queries pool where.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Queries, and so tokens that are left (`M`).
    pub queries: usize,
    /// The block before which they attend, counted from 1. `None`: the first of the second half.
    pub layer: Option<usize>,
    /// Channels of queries, keys and values. `None`: those of the tokens.
    pub width: Option<usize>,
    /// Options that methods share.
    pub common: Common,
}

pub(super) const INFO: MethodInfo = MethodInfo {
    name: "trainable_pooling",
    summary: "learned queries gather a few tokens of all by cross-attention (has weights: train it)",
    source: "baseline of soft token merging (Yuan et al., CVPR workshops 2024), §4.4 and Table 9",
    example: "trainable_pooling:m=8",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Options>] = &[
    Opt::required(
        "m",
        ("1 or more", "a whole number from 1 to 4096"),
        "queries, and so tokens that are left",
        |method, text| {
            method.queries = whole(text, 1..=4096)?;
            Ok(())
        },
        |method| Some(method.queries.to_string()),
    ),
    number!(
        "layer",
        1..=4096,
        layer,
        ("the first of the second half, or a layer", "a whole number from 1 to 4096"),
        "the layer before which they attend, counted from 1"
    ),
    number!(
        "width",
        1..=4096,
        width,
        ("all channels, or 1 or more", "a whole number from 1 to 4096"),
        "channels of queries, keys and values"
    ),
    protect(),
    positions(),
];

impl FromOptions for Options {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self { queries: 1, layer: None, width: None, common: Common::NONE }
    }
}

impl Options {
    /// Channels of queries, keys and values for tokens of `channels`.
    fn width_in(&self, channels: usize) -> usize {
        self.width.unwrap_or(channels)
    }
}

impl Rule for Options {
    super::rule::common!();

    fn site(&self) -> Site {
        Site::BeforeBlock
    }

    /// Every token goes into every output: none of these is anywhere.
    fn keeps_positions(&self) -> bool {
        false
    }

    fn has_weights(&self) -> bool {
        true
    }

    fn mergers_before(&self, depth: usize) -> Vec<usize> {
        vec![self.layer.map_or(depth / 2, |layer| layer - 1)]
    }

    fn merger(&self, _: usize, channels: usize, start: &mut Start<'_>) -> Option<mergers::Merger> {
        Some(mergers::Merger::Pooling(Pooling::new(self, channels, start)))
    }

    fn merger_parameters(&self, _: usize, channels: usize) -> usize {
        let width = self.width_in(channels);
        let projections = 3 * (channels + 1) * width + (width + 1) * channels;
        (2 + self.queries) * channels + projections
    }

    fn merged(&self, _: usize, tokens: usize, prefix: usize) -> usize {
        prefix.min(tokens) + self.queries
    }

    /// Projections of queries and outputs, of keys and values, and both products.
    fn merger_cost(&self, _: usize, tokens: usize, prefix: usize, channels: usize) -> (f64, f64) {
        let (queries, tokens) = (self.queries as f64, tokens.saturating_sub(prefix) as f64);
        let (width, channels) = (self.width_in(channels) as f64, channels as f64);
        let macs = 2.0 * (queries + tokens) * channels * width + 2.0 * queries * tokens * width;
        (macs, tokens * channels)
    }
}
