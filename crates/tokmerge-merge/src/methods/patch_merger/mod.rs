//! PatchMerger (Renggli et al., 2022, arXiv:2202.12015): learned queries between two blocks turn any number of tokens
//! into a fixed one.
//!
//! What the paper leaves open, and how it is settled here: the class token is kept beside the outputs, since prefix
//! tokens never merge here; `cls=merge` merges it too, as the paper's operation counts have it, and the first output
//! then stands in its place.

mod merger;

use super::option::{
    Choice, FromOptions, ONE_OR_LIST, Opt, Refusal, choice, infos, one_or_list, one_or_list_text, positions,
    protect,
};
use super::{Common, MethodInfo, Rule};
use crate::Site;
use crate::mergers::{self, Start};

pub use merger::Merger;

/// Where mergers stand, and what they do.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Tokens that leave each merger (`M`); one number for all, or one per merger.
    pub outputs: Vec<usize>,
    /// The blocks after which a merger stands, counted from 1. `None`: the middle of the model.
    pub layers: Option<Vec<usize>>,
    /// Over what scores are normalised.
    pub axis: Axis,
    /// Whether the class token merges.
    pub prefix: PrefixTokens,
    /// Options that methods share.
    pub common: Common,
}

/// Over what the scores of input and output tokens are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Over the outputs: an input is distributed among them (eq. 1).
    Outputs,
    /// Over the inputs, as public ports do, and as weights made with them need it.
    Inputs,
}

/// What becomes of prefix tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixTokens {
    /// They stay as they are, in front.
    Keep,
    /// They merge like all others.
    Merge,
}

const AXES: &[Choice<Axis>] = &[("outputs", Axis::Outputs), ("inputs", Axis::Inputs)];
const PREFIXES: &[Choice<PrefixTokens>] = &[("keep", PrefixTokens::Keep), ("merge", PrefixTokens::Merge)];

pub(super) const INFO: MethodInfo = MethodInfo {
    name: "patchmerger",
    summary: "learned queries turn all tokens into a few, once (has weights: train it)",
    source: "PatchMerger (arXiv:2202.12015), §3",
    example: "patchmerger:m=8",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Options>] = &[
    Opt::required(
        "m",
        ("1 or more, or a list with one per layer", ONE_OR_LIST),
        "tokens that are left",
        |method, text| {
            method.outputs = one_or_list(text)?;
            Ok(())
        },
        |method| Some(one_or_list_text(&method.outputs)),
    ),
    Opt::new(
        "layer",
        ("half of the layers, or a layer, or a list such as [4,8]", ONE_OR_LIST),
        "the layers after which mergers stand, counted from 1",
        |method, text| {
            method.layers = Some(one_or_list(text)?);
            Ok(())
        },
        |method| method.layers.as_deref().map(one_or_list_text),
    ),
    choice!("axis", AXES, axis, "over what scores are normalised: the paper's, or that of public ports"),
    choice!("cls", PREFIXES, prefix, "whether the class token merges"),
    protect(),
    positions(),
];

impl FromOptions for Options {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self {
            outputs: Vec::new(),
            layers: None,
            axis: Axis::Outputs,
            prefix: PrefixTokens::Keep,
            common: Common::NONE,
        }
    }

    fn check(&self) -> Result<(), Refusal> {
        let (outputs, places) = (self.outputs.len(), self.layers.as_ref().map_or(1, Vec::len));
        if outputs == 1 || outputs == places {
            return Ok(());
        }
        Err(Refusal::Conflict(format!(
            "m lists {outputs} mergers and layer {places}; give one m for all, or one per layer"
        )))
    }
}

impl Options {
    /// Outputs of merger `index` (`M`).
    fn outputs_of(&self, index: usize) -> usize {
        self.outputs.get(index).or(self.outputs.first()).copied().unwrap_or(1)
    }

    /// Tokens of a prefix that stay as they are.
    fn kept(&self, prefix: usize) -> usize {
        match self.prefix {
            PrefixTokens::Keep => prefix,
            PrefixTokens::Merge => 0,
        }
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

    /// Counts the blocks before it, as the paper does.
    fn layer_of(&self, before: usize) -> usize {
        before
    }

    fn mergers_before(&self, depth: usize) -> Vec<usize> {
        self.layers.clone().unwrap_or_else(|| vec![depth / 2])
    }

    fn merger(&self, index: usize, channels: usize, start: &mut Start<'_>) -> Option<mergers::Merger> {
        let merger = Merger::new(self, self.outputs_of(index), channels, start);
        Some(mergers::Merger::Patch(merger))
    }

    fn merger_parameters(&self, index: usize, channels: usize) -> usize {
        (2 + self.outputs_of(index)) * channels
    }

    fn merged(&self, index: usize, tokens: usize, prefix: usize) -> usize {
        self.kept(prefix).min(tokens) + self.outputs_of(index)
    }

    fn merger_cost(&self, index: usize, tokens: usize, prefix: usize, channels: usize) -> (f64, f64) {
        let elements = (tokens.saturating_sub(self.kept(prefix)) * channels) as f64;
        (2.0 * elements * self.outputs_of(index) as f64, elements)
    }
}
