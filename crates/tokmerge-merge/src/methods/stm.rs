//! Soft token merging (STM; Yuan, Fei and Baek, 2024, "Efficient Transformer Adaptation with Soft Token Merging"):
//! neighbouring tokens become their weighted sum, by scores that they give each other. The module is
//! [`crate::SoftMerger`]; this is how it is asked for.
//!
//! What the paper leaves open, and how it is settled here: windows follow the order of the tokens, behind the prefix;
//! where `p` does not divide the number of tokens the last window is shorter. Position `l` means in front of block
//! `l`, counted from 1. With inflation every block from `l` on merges and inflates (Algorithm 1 is `layer=1`).
//! `y` of eq. 6 is what the block returns, its residuals included.

use crate::methods::options::{list_text, name_of, read_list};
use crate::methods::{Method, MethodInfo, OptionInfo};
use crate::spec::Options;
use crate::{MergeSpec, SpecError};

/// Where neighbours merge, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftMerging {
    /// Neighbours that become one (`p`).
    pub window: usize,
    /// The blocks in front of which they merge, counted from 1.
    pub layers: Vec<usize>,
    /// Whether all tokens come back behind the block.
    pub inflation: Inflation,
    /// What the weighted sum is divided by.
    pub scale: Scale,
    /// Where scores come from.
    pub score: Score,
    /// Whether inflation trains the scores.
    pub gradient: ScoreGradient,
    /// Channels of queries and keys (`d'`). `None`: half of the tokens' (§3.1).
    pub width: Option<usize>,
}

/// Whether all tokens come back behind a block (§3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inflation {
    /// No: merged tokens stay merged.
    Off,
    /// Yes, in every block from the first layer given on.
    On,
}

/// What the weighted sum of a window is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// The number of tokens, as eq. 4 says, though the scores sum up to 1 already.
    Mean,
    /// Nothing: a weighted average.
    Sum,
}

/// Where the scores of a window come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// Its tokens score each other (eq. 1 to 3).
    Attention,
    /// Random numbers that sum up to 1 (baseline of §4.4); the same for all images.
    Random,
    /// All alike: mean pooling (baseline of §4.4).
    Mean,
    /// Maximum of each channel instead of a sum: max pooling (baseline of §4.4).
    Max,
    /// A learned query scores them: trainable pooling by cross-attention (baseline of Table 9).
    Query,
}

/// Whether gradients of the inflated tokens reach the scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreGradient {
    /// No (eq. 6).
    Detached,
    /// Yes, which the paper finds unstable (Table 7).
    Attached,
}

const INFLATIONS: &[(&str, Inflation)] = &[("off", Inflation::Off), ("on", Inflation::On)];
const SCALES: &[(&str, Scale)] = &[("mean", Scale::Mean), ("sum", Scale::Sum)];
const SCORES: &[(&str, Score)] = &[
    ("attention", Score::Attention),
    ("random", Score::Random),
    ("mean", Score::Mean),
    ("max", Score::Max),
    ("query", Score::Query),
];
const GRADIENTS: &[(&str, ScoreGradient)] =
    &[("on", ScoreGradient::Detached), ("off", ScoreGradient::Attached)];

pub(super) const INFO: MethodInfo = MethodInfo {
    name: "stm",
    summary: "neighbours become their weighted sum, by learned scores (has weights: train it)",
    source: "Soft token merging (Yuan et al., CVPR workshops 2024), §3",
    example: "stm:p=2,layer=4",
    options: &[
        OptionInfo { name: "p", values: "2 or more", help: "neighbours that become one" },
        OptionInfo {
            name: "layer",
            values: "a layer, or a list such as [4,8]",
            help: "the layers in front of which they merge, counted from 1",
        },
        OptionInfo {
            name: "inflate",
            values: "off, on",
            help: "all tokens come back behind the block, in every block from layer on (eq. 6)",
        },
        OptionInfo { name: "scale", values: "mean, sum", help: "divide by p as eq. 4, or not" },
        OptionInfo {
            name: "score",
            values: "attention, random, mean, max, query",
            help: "where scores come from; all but the first are baselines",
        },
        OptionInfo {
            name: "detach",
            values: "on, off",
            help: "no gradient from inflation to the scores (eq. 6)",
        },
        OptionInfo {
            name: "width",
            values: "half of the channels, or 1 or more",
            help: "channels of queries and keys",
        },
    ],
    read: |options| SoftMerging::read(options).map(Method::Stm),
};

impl SoftMerging {
    fn read(mut options: Options) -> Result<Self, SpecError> {
        let missing = |option: &str| SpecError::Missing {
            method: INFO.name.to_owned(),
            option: option.to_owned(),
            example: INFO.example.to_owned(),
        };
        let whole = |least: usize| move |text: &str| text.parse().ok().filter(|n| (least..=4096).contains(n));
        let window =
            options.value("p", "a whole number from 2 to 4096", whole(2))?.ok_or_else(|| missing("p"))?;
        let layers = read_list(&mut options, "layer", 1)?.ok_or_else(|| missing("layer"))?;
        let inflation = options.choice("inflate", INFLATIONS)?;
        if inflation == Inflation::On && layers.len() > 1 {
            let reason = "with inflate=on every block from layer on merges; give one layer".to_owned();
            return Err(SpecError::Conflict { method: INFO.name.to_owned(), reason });
        }
        Ok(Self {
            window,
            layers,
            inflation,
            scale: options.choice("scale", SCALES)?,
            score: options.choice("score", SCORES)?,
            gradient: options.choice("detach", GRADIENTS)?,
            width: options.value("width", "a whole number from 1 to 4096", whole(1))?,
        })
    }

    pub(super) fn spec(&self) -> MergeSpec {
        let mut options =
            vec![("p".to_owned(), self.window.to_string()), ("layer".to_owned(), list_text(&self.layers))];
        let mut add = |name: &str, value: &str| options.push((name.to_owned(), value.to_owned()));
        if self.inflation != Inflation::Off {
            add("inflate", name_of(INFLATIONS, &self.inflation));
        }
        if self.scale != Scale::Mean {
            add("scale", name_of(SCALES, &self.scale));
        }
        if self.score != Score::Attention {
            add("score", name_of(SCORES, &self.score));
        }
        if self.gradient != ScoreGradient::Detached {
            add("detach", name_of(GRADIENTS, &self.gradient));
        }
        if let Some(width) = self.width {
            add("width", &width.to_string());
        }
        MergeSpec { method: INFO.name.to_owned(), options }
    }

    /// The blocks in front of which tokens merge, from 0.
    pub(super) fn before(&self, depth: usize) -> Vec<usize> {
        let first = || self.layers.first().map_or(0, |layer| layer - 1);
        match self.inflation {
            Inflation::Off => self.layers.iter().map(|layer| layer - 1).collect(),
            Inflation::On => (first()..depth.max(first() + 1)).collect(),
        }
    }

    /// Multiply-adds of scoring and summing `tokens` once, and elements that the norm sees.
    pub(super) fn cost(&self, tokens: usize, prefix: usize, channels: usize) -> (f64, f64) {
        let merged = tokens.saturating_sub(prefix) as f64;
        let (channels, window) = (channels as f64, self.window as f64);
        let width = self.width.map_or(channels / 2.0, |width| width as f64);
        match self.score {
            Score::Attention => (merged * (2.0 * channels * width + window * width), merged * channels),
            Score::Query => (merged * channels, merged * channels),
            Score::Random | Score::Mean | Score::Max => (0.0, 0.0),
        }
    }
}
