//! TokenLearner (Ryoo et al., 2021, arXiv:2106.11297): before a block, learned maps of weights over all patches make a few
//! tokens of them; TokenFuser gives all patches back after the block.
//!
//! - `form=v1.1`, the published code's default: an MLP with 64 hidden channels scores every patch, a softmax over the patches
//!   makes weights of the scores. `form=v1`, the paper's: four convolutions of 3x3 without bias, GELU after the first three, and
//!   a sigmoid; tokens are weighted sums, or means with `pool=mean`. It needs patches on a grid; of a number of them that is not
//!   the model's grid it sees a single row.
//! - `fuse=on`: every block from `layer` on works on tokens that are learned anew, and what it makes of them is added to the
//!   patches, in parts that every patch chooses. A fresh fuser adds nothing.
//!
//! Weights are of normalised patches, and weigh the patches themselves [from memory: the facts at hand do not say]. The linear
//! layer of the fuser that mixes tokens has no bias here, since the norm behind it takes away what it would add. GELU is exact.
//!
//! The published code has no class token, and averages what is left at the end. Here prefix tokens never merge: they stand in
//! front, go through the block, and are fused with nothing. A model without a class token does as the published code.

mod fuser;
mod learner;
#[cfg(test)]
mod tests;

use super::option::{Choice, FromOptions, Opt, Refusal, choice, infos, number, positions, protect, whole};
use super::{Common, MethodInfo, Rule};
use crate::Site;
use crate::mergers::{self, Start};

pub use fuser::Fuser;
pub use learner::{Convolutions, Learner, Scorer};

/// Hidden channels of its MLPs (the published code's).
const HIDDEN: usize = 64;

/// Tokens that are learned, in the published code.
const TOKENS: usize = 8;

/// How many tokens are learned where, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Tokens that are learned (`S`).
    pub tokens: usize,
    /// The block before which they are, counted from 1. `None`: the first of the second half.
    pub layer: Option<usize>,
    /// What makes the weights.
    pub form: Form,
    /// What a learned token of [`Form::Convolutions`] is.
    pub pool: Pool,
    /// Whether all patches are there again after the block.
    pub fuse: Fuse,
    /// Options that methods share.
    pub common: Common,
}

/// What makes the weights of the patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An MLP, and a softmax over the patches (v1.1).
    Mlp,
    /// Four convolutions, and a sigmoid (v1).
    Convolutions,
}

/// What a learned token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The weighted sum of the patches.
    Sum,
    /// This, divided by their number.
    Mean,
}

/// Whether all patches are there again after a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fuse {
    /// No: learned tokens stay.
    Off,
    /// Yes, in every block from the layer given on.
    On,
}

const FORMS: &[Choice<Form>] = &[("v1.1", Form::Mlp), ("v1", Form::Convolutions)];
const POOLS: &[Choice<Pool>] = &[("sum", Pool::Sum), ("mean", Pool::Mean)];
const FUSES: &[Choice<Fuse>] = &[("off", Fuse::Off), ("on", Fuse::On)];

pub(super) const INFO: MethodInfo = MethodInfo {
    name: "tokenlearner",
    summary: "learned maps of weights make a few tokens of all patches (has weights: train it)",
    source: "TokenLearner (arXiv:2106.11297), and its published code",
    example: "tokenlearner",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Options>] = &[
    Opt::new(
        "tokens",
        ("8, or 1 or more", "a whole number from 1 to 4096"),
        "tokens that are learned",
        |method, text| {
            method.tokens = whole(text, 1..=4096)?;
            Ok(())
        },
        |method| (method.tokens != TOKENS).then(|| method.tokens.to_string()),
    ),
    number!(
        "layer",
        1..=4096,
        layer,
        ("the first of the second half, or a layer", "a whole number from 1 to 4096"),
        "the layer before which they are learned, counted from 1"
    ),
    choice!(
        "form",
        FORMS,
        form,
        "weights by an MLP and a softmax, or by convolutions on the grid and a sigmoid"
    ),
    choice!(
        "pool",
        POOLS,
        pool,
        "whether a token of form=v1 is the weighted sum of the patches, or their mean"
    ),
    choice!(
        "fuse",
        FUSES,
        fuse,
        "all patches are there again after the block, in every block from layer on (TokenFuser)"
    ),
    protect(),
    positions(),
];

impl FromOptions for Options {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self {
            tokens: TOKENS,
            layer: None,
            form: Form::Mlp,
            pool: Pool::Sum,
            fuse: Fuse::Off,
            common: Common::NONE,
        }
    }

    fn check(&self) -> Result<(), Refusal> {
        match (self.form, self.pool) {
            (Form::Mlp, Pool::Mean) => {
                let reason = "pool=mean belongs to form=v1; the weights of form=v1.1 are those of a mean already, leave pool out";
                Err(Refusal::Conflict(reason.to_owned()))
            }
            _ => Ok(()),
        }
    }
}

impl Rule for Options {
    super::rule::common!();

    fn site(&self) -> Site {
        match self.fuse {
            Fuse::Off => Site::BeforeBlock,
            Fuse::On => Site::AroundBlock,
        }
    }

    /// Every patch goes into every token: none of these is anywhere.
    fn keeps_positions(&self) -> bool {
        false
    }

    fn needs_grid(&self) -> bool {
        self.form == Form::Convolutions
    }

    fn has_weights(&self) -> bool {
        true
    }

    fn mergers_before(&self, depth: usize) -> Vec<usize> {
        let first = self.layer.map_or(depth / 2, |layer| layer - 1);
        match self.fuse {
            Fuse::Off => vec![first],
            Fuse::On => (first..depth.max(first + 1)).collect(),
        }
    }

    fn merger(&self, _: usize, channels: usize, start: &mut Start<'_>) -> Option<mergers::Merger> {
        Some(mergers::Merger::Learner(Learner::new(self, channels, start)))
    }

    fn merger_parameters(&self, _: usize, channels: usize) -> usize {
        let tokens = self.tokens;
        let mlp = (channels + 1) * HIDDEN + (HIDDEN + 1) * tokens;
        let learner = 2 * channels
            + match self.form {
                Form::Mlp => mlp,
                Form::Convolutions => 9 * tokens * (channels + 3 * tokens),
            };
        match self.fuse {
            Fuse::Off => learner,
            Fuse::On => learner + 6 * channels + tokens * tokens + mlp,
        }
    }

    fn merged(&self, _: usize, tokens: usize, prefix: usize) -> usize {
        prefix.min(tokens) + self.tokens
    }

    fn merger_cost(&self, _: usize, tokens: usize, prefix: usize, channels: usize) -> (f64, f64) {
        let (patches, made, c) = (tokens.saturating_sub(prefix) as f64, self.tokens as f64, channels as f64);
        let mlp = patches * HIDDEN as f64 * (c + made);
        // Of what is learned and of what is fused alike.
        let mixing = made * patches * c;
        let scores = match self.form {
            Form::Mlp => mlp,
            Form::Convolutions => 9.0 * patches * made * (c + 3.0 * made),
        };
        match self.fuse {
            Fuse::Off => (scores + mixing, patches * c),
            Fuse::On => (scores + mlp + 2.0 * mixing + made * made * c, 2.0 * (patches + made) * c),
        }
    }
}
