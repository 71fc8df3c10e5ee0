//! Soft token merging (STM; Yuan, Fei and Baek, 2024, "Efficient Transformer Adaptation with Soft Token Merging"):
//! neighbouring tokens become their weighted sum, by scores that they give each other.
//!
//! What the paper leaves open, and how it is settled here: windows follow the order of the tokens, after the prefix;
//! where `p` does not divide the number of tokens the last window is shorter. Position `l` means before block
//! `l`, counted from 1. With inflation every block from `l` on merges and inflates (Algorithm 1 is `layer=1`).
//! `y` of eq. 6 is what the block returns, its residuals included.

mod merger;

use super::draw::{REDRAWS, Redraw};
use super::option::{
    Choice, FromOptions, ONE_OR_LIST, Opt, Refusal, choice, infos, number, one_or_list, one_or_list_text,
    positions, protect, whole,
};
use super::{Common, MethodInfo, Rule};
use crate::Site;
use crate::mergers::{self, Start};
use tokmerge_ops::NormKind;

pub use merger::Merger;

/// Where neighbours merge, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Neighbours that become one (`p`).
    pub window: usize,
    /// The blocks before which they merge, counted from 1.
    pub layers: Vec<usize>,
    /// Whether all tokens are there again after the block.
    pub inflation: Inflation,
    /// What the weighted sum is divided by.
    pub scale: Scale,
    /// Where scores come from.
    pub score: Score,
    /// Whether inflation trains the scores.
    pub gradient: ScoreGradient,
    /// Channels of queries and keys (`d'`). `None`: half of the tokens' (§3.1).
    pub width: Option<usize>,
    /// The norm before the scores.
    pub norm: NormKind,
    /// Whether random scores are others for every image and step in training.
    pub redraw: Redraw,
    /// Options that methods share.
    pub common: Common,
}

/// Whether all tokens are there again after a block (§3.2).
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
    /// Random numbers that sum up to 1 (baseline of §4.4); outside training the same for all images.
    Random,
    /// All equal: mean pooling (baseline of §4.4).
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

const NORMS: &[Choice<NormKind>] = &[("layer", NormKind::Layer), ("rms", NormKind::Rms)];
const INFLATIONS: &[Choice<Inflation>] = &[("off", Inflation::Off), ("on", Inflation::On)];
const SCALES: &[Choice<Scale>] = &[("mean", Scale::Mean), ("sum", Scale::Sum)];
const SCORES: &[Choice<Score>] = &[
    ("attention", Score::Attention),
    ("random", Score::Random),
    ("mean", Score::Mean),
    ("max", Score::Max),
    ("query", Score::Query),
];
const GRADIENTS: &[Choice<ScoreGradient>] =
    &[("on", ScoreGradient::Detached), ("off", ScoreGradient::Attached)];

pub(super) const INFO: MethodInfo = MethodInfo {
    name: "stm",
    summary: "neighbours become their weighted sum, by learned scores (has weights: train it)",
    source: "Soft token merging (Yuan et al., CVPR workshops 2024), §3",
    example: "stm:p=2,layer=4",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Options>] = &[
    Opt::required(
        "p",
        ("2 or more", "a whole number from 2 to 4096"),
        "neighbours that become one",
        |method, text| {
            method.window = whole(text, 2..=4096)?;
            Ok(())
        },
        |method| Some(method.window.to_string()),
    ),
    Opt::required(
        "layer",
        ("a layer, or a list such as [4,8]", ONE_OR_LIST),
        "the layers before which they merge, counted from 1",
        |method, text| {
            method.layers = one_or_list(text)?;
            Ok(())
        },
        |method| Some(one_or_list_text(&method.layers)),
    ),
    choice!(
        "inflate",
        INFLATIONS,
        inflation,
        "all tokens are there again after the block, in every block from layer on (eq. 6)"
    ),
    choice!("scale", SCALES, scale, "divide by p as eq. 4, or not"),
    choice!("score", SCORES, score, "where scores come from; all but the first are baselines"),
    choice!("detach", GRADIENTS, gradient, "no gradient from inflation to the scores (eq. 6)"),
    number!(
        "width",
        1..=4096,
        width,
        ("half of the channels, or 1 or more", "a whole number from 1 to 4096"),
        "channels of queries and keys"
    ),
    choice!("norm", NORMS, norm, "the norm before the scores"),
    choice!("redraw", REDRAWS, redraw, "in training, draw random scores anew for every image and step"),
    protect(),
    positions(),
];

impl FromOptions for Options {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self {
            window: 2,
            layers: Vec::new(),
            inflation: Inflation::Off,
            scale: Scale::Mean,
            score: Score::Attention,
            gradient: ScoreGradient::Detached,
            width: None,
            norm: NormKind::Layer,
            redraw: Redraw::On,
            common: Common::NONE,
        }
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.inflation == Inflation::On && self.layers.len() > 1 {
            let reason = "with inflate=on every block from layer on merges; give one layer";
            return Err(Refusal::Conflict(reason.to_owned()));
        }
        Ok(())
    }
}

impl Options {
    /// Channels of queries and keys for tokens of `channels`.
    fn width_in(&self, channels: usize) -> usize {
        self.width.unwrap_or(channels / 2).max(1)
    }

    /// Parameters of its norm for every channel.
    fn norm_tensors(&self) -> usize {
        match self.norm {
            NormKind::Layer => 2,
            NormKind::Rms => 1,
        }
    }
}

/// Tokens of an item of `len` after merging windows of `window` after the prefix.
fn windows(len: usize, prefix: usize, window: usize) -> usize {
    let prefix = prefix.min(len);
    prefix + (len - prefix).div_ceil(window)
}

impl Rule for Options {
    super::rule::common!();

    fn site(&self) -> Site {
        match self.inflation {
            Inflation::Off => Site::BeforeBlock,
            Inflation::On => Site::AroundBlock,
        }
    }

    fn has_weights(&self) -> bool {
        true
    }

    fn mergers_before(&self, depth: usize) -> Vec<usize> {
        let first = || self.layers.first().map_or(0, |layer| layer - 1);
        match self.inflation {
            Inflation::Off => self.layers.iter().map(|layer| layer - 1).collect(),
            Inflation::On => (first()..depth.max(first() + 1)).collect(),
        }
    }

    fn merger(&self, _: usize, channels: usize, start: &mut Start<'_>) -> Option<mergers::Merger> {
        Some(mergers::Merger::Soft(Merger::new(self, channels, start)))
    }

    fn merger_parameters(&self, _: usize, channels: usize) -> usize {
        match self.score {
            Score::Attention => channels * (self.norm_tensors() + 2 * self.width_in(channels)),
            Score::Query => channels * (self.norm_tensors() + 1),
            Score::Random | Score::Mean | Score::Max => 0,
        }
    }

    fn merged(&self, _: usize, tokens: usize, prefix: usize) -> usize {
        windows(tokens, prefix, self.window)
    }

    fn merger_cost(&self, _: usize, tokens: usize, prefix: usize, channels: usize) -> (f64, f64) {
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
