//! The kinds of blocks that a Vision Transformer may have.

use super::Wiring;
use crate::blocks::{
    Begun, Block, BlockConfig, BranchesBlock, Context, EncoderBlock, FeedForward, ParallelBlock,
};
use crate::experts::MixtureOfExperts;
use burn::tensor::{Device, Tensor};
use tokmerge_merge::{Evidence, Merging, Tokens, Wants};
use tokmerge_nn::{Random, transparent_module};
use tokmerge_ops::Precision;

/// A block of a Vision Transformer. Paths of parameters are the same as without this enum.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "all blocks of a model are of one kind")]
pub enum VitBlock {
    /// Attention, then an MLP or experts.
    Sequential(Block),
    /// Attention and MLP from one matrix.
    Parallel(ParallelBlock),
    /// Several attentions side by side, then several MLPs.
    Branches(BranchesBlock),
}

transparent_module!(VitBlock { Sequential, Parallel, Branches });

impl VitBlock {
    pub(super) fn new(wiring: Wiring, config: &BlockConfig, precision: Precision, device: &Device) -> Self {
        match wiring {
            Wiring::Sequential => Self::Sequential(Block::new(config, precision, device)),
            Wiring::Parallel => Self::Parallel(ParallelBlock::new(config, precision, device)),
            Wiring::Branches(count) => Self::Branches(BranchesBlock::new(count, config, precision, device)),
        }
    }

    /// The experts of the block, if it has some.
    #[must_use]
    pub fn experts(&self) -> Option<&MixtureOfExperts> {
        match self {
            Self::Sequential(Block { mlp: FeedForward::Experts(experts), .. }) => Some(experts),
            _ => None,
        }
    }

    pub(super) fn map_experts(self, change: impl Fn(MixtureOfExperts) -> MixtureOfExperts) -> Self {
        match self {
            Self::Sequential(block) => Self::Sequential(match block.mlp {
                FeedForward::Experts(ref experts) => {
                    let changed = FeedForward::Experts(change(experts.clone()));
                    block.with_feed_forward(changed)
                }
                _ => block,
            }),
            other => other,
        }
    }
}

/// Evaluates an expression with the block's own type.
macro_rules! each {
    ($self:expr, $block:ident => $of:expr) => {
        match $self {
            VitBlock::Sequential($block) => $of,
            VitBlock::Parallel($block) => $of,
            VitBlock::Branches($block) => $of,
        }
    };
}

impl EncoderBlock for VitBlock {
    fn attend(&self, tokens: Tokens, with: &Context, wants: Wants) -> (Tokens, Evidence) {
        each!(self, block => block.attend(tokens, with, wants))
    }

    fn begin(&self, tokens: &Tokens, with: &Context) -> (Begun, Vec<f32>) {
        each!(self, block => block.begin(tokens, with))
    }

    fn attend_merging(
        &self,
        tokens: Tokens,
        with: &Context,
        wants: Wants,
        reduce: &mut dyn FnMut(Tokens, Evidence) -> (Tokens, Option<Merging>),
    ) -> Tokens {
        each!(self, block => block.attend_merging(tokens, with, wants, reduce))
    }

    fn attend_masked(&self, tokens: Tokens, with: &Context, wants: Wants) -> (Tokens, Evidence) {
        each!(self, block => block.attend_masked(tokens, with, wants))
    }

    fn softmaxes(&self, tokens: &Tokens, with: &Context) -> Vec<Tensor<3>> {
        each!(self, block => block.softmaxes(tokens, with))
    }

    fn attend_prefix(&self, tokens: Tokens, with: &Context) -> Tokens {
        each!(self, block => block.attend_prefix(tokens, with))
    }

    fn feed_forward(&self, tokens: Tokens, training: Option<&mut Random>) -> (Tokens, Option<Tensor<1>>) {
        each!(self, block => block.feed_forward(tokens, training))
    }
}
