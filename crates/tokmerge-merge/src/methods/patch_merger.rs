//! PatchMerger (Renggli et al., 2022, arXiv:2202.12015): learned queries between two blocks turn any number of tokens
//! into a fixed one. The module is [`crate::PatchMerger`]; this is how it is asked for.
//!
//! What the paper leaves open, and how it is settled here: the class token is kept beside the outputs, since prefix
//! tokens never merge here; `cls=merge` merges it too, as the paper's operation counts have it, and the first output
//! then stands in its place.

use crate::methods::options::{name_of, read_list};
use crate::methods::{Method, MethodInfo, OptionInfo};
use crate::spec::Options;
use crate::{MergeSpec, SpecError};

/// Where mergers stand, and what they do.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchMerging {
    /// Tokens that leave each merger (`M`); one number for all, or one per merger.
    pub outputs: Vec<usize>,
    /// The blocks behind which a merger stands, counted from 1. `None`: the middle of the model.
    pub layers: Option<Vec<usize>>,
    /// Over what scores are normalised.
    pub axis: Axis,
    /// Whether the class token merges.
    pub prefix: Prefix,
}

/// Over what the scores of input and output tokens are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Over the outputs: an input is distributed among them (eq. 1).
    Outputs,
    /// Over the inputs, as public ports do and weights made with them need it.
    Inputs,
}

/// What becomes of prefix tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// They stay as they are, in front.
    Keep,
    /// They merge like all others.
    Merge,
}

const AXES: &[(&str, Axis)] = &[("outputs", Axis::Outputs), ("inputs", Axis::Inputs)];
const PREFIXES: &[(&str, Prefix)] = &[("keep", Prefix::Keep), ("merge", Prefix::Merge)];

pub(super) const INFO: MethodInfo = MethodInfo {
    name: "patchmerger",
    summary: "learned queries turn all tokens into a few, once (has weights: train it)",
    source: "PatchMerger (arXiv:2202.12015), §3",
    example: "patchmerger:m=8",
    options: &[
        OptionInfo {
            name: "m",
            values: "1 or more, or a list with one per layer",
            help: "tokens that are left",
        },
        OptionInfo {
            name: "layer",
            values: "half of the layers, or a layer, or a list such as [4,8]",
            help: "the layers behind which mergers stand, counted from 1",
        },
        OptionInfo {
            name: "axis",
            values: "outputs, inputs",
            help: "over what scores are normalised: the paper's, or that of public ports",
        },
        OptionInfo { name: "cls", values: "keep, merge", help: "whether the class token merges" },
    ],
    read: |options| PatchMerging::read(options).map(Method::PatchMerger),
};

impl PatchMerging {
    fn read(mut options: Options) -> Result<Self, SpecError> {
        let outputs = read_list(&mut options, "m", 1)?;
        let Some(outputs) = outputs else {
            return Err(SpecError::Missing {
                method: INFO.name.to_owned(),
                option: "m".to_owned(),
                example: INFO.example.to_owned(),
            });
        };
        let layers = read_list(&mut options, "layer", 1)?;
        let places = layers.as_ref().map_or(1, Vec::len);
        if outputs.len() != 1 && outputs.len() != places {
            let reason = format!(
                "m lists {} mergers and layer {places}; give one m for all, or one per layer",
                outputs.len()
            );
            return Err(SpecError::Conflict { method: INFO.name.to_owned(), reason });
        }
        Ok(Self {
            outputs,
            layers,
            axis: options.choice("axis", AXES)?,
            prefix: options.choice("cls", PREFIXES)?,
        })
    }

    pub(super) fn spec(&self) -> MergeSpec {
        let mut options = vec![("m".to_owned(), super::options::list_text(&self.outputs))];
        if let Some(layers) = &self.layers {
            options.push(("layer".to_owned(), super::options::list_text(layers)));
        }
        if self.axis != Axis::Outputs {
            options.push(("axis".to_owned(), name_of(AXES, &self.axis).to_owned()));
        }
        if self.prefix != Prefix::Keep {
            options.push(("cls".to_owned(), name_of(PREFIXES, &self.prefix).to_owned()));
        }
        MergeSpec { method: INFO.name.to_owned(), options }
    }

    /// The blocks in front of which mergers stand, from 0.
    pub(super) fn before(&self, depth: usize) -> Vec<usize> {
        self.layers.clone().unwrap_or_else(|| vec![depth / 2])
    }

    /// Outputs of each of `mergers`.
    pub(crate) fn outputs_of(&self, mergers: usize) -> Vec<usize> {
        if self.outputs.len() == 1 { vec![self.outputs[0]; mergers] } else { self.outputs.clone() }
    }

    /// Tokens that leave merger `index`.
    pub(super) fn left(&self, index: usize, prefix: usize) -> usize {
        let outputs = self.outputs.get(index).or(self.outputs.first()).copied().unwrap_or(1);
        match self.prefix {
            Prefix::Keep => prefix + outputs,
            Prefix::Merge => outputs,
        }
    }

    /// Multiply-adds of merger `index`, and elements that its norm sees.
    pub(super) fn cost(&self, index: usize, tokens: usize, prefix: usize, channels: usize) -> (f64, f64) {
        let merged = match self.prefix {
            Prefix::Keep => tokens.saturating_sub(prefix),
            Prefix::Merge => tokens,
        };
        let elements = (merged * channels) as f64;
        let outputs = (self.left(index, prefix) - (tokens - merged).min(prefix)) as f64;
        (2.0 * elements * outputs, elements)
    }
}
