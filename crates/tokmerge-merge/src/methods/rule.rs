//! What a method answers, with the answers of a method that does nothing as defaults.

use crate::budget::Budget;
use crate::mergers::{Merger, Mergers, Start};
use crate::{
    Amount, Choice, Combine, Evidence, KeyBias, LastLayer, MatchShape, MergePlan, Merging, Method, Mixing,
    ModelFacts, Protect, Readout, ScheduleError, SequencePositions, Site, Tokens, Wants,
};
use burn::tensor::Tensor;
use std::fmt;

/// Whether attention weighs tokens by their size (ToMe, eq. 1 and Table 1f).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProportionalAttention {
    /// As suits the weights: off for off-the-shelf MAE models, on for all others.
    Auto,
    /// On.
    On,
    /// Off.
    Off,
}

impl ProportionalAttention {
    /// The key bias, `auto` being what suits the weights.
    #[must_use]
    pub fn key_bias(self, auto: KeyBias) -> KeyBias {
        match self {
            Self::Auto => auto,
            Self::On => KeyBias::LogSize,
            Self::Off => KeyBias::None,
        }
    }
}

/// What training does where a method merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainedBy {
    /// The same as inference.
    Merging,
    /// All tokens stay, and those that are to go are masked in attention, by a choice that has a gradient
    /// ([`Reduction::relax`](crate::Reduction::relax) before blocks, [`Reduction::relax_inside`](crate::Reduction::relax_inside)
    /// within).
    Masks,
    /// The same, but that the choice has no gradient: it is drawn, and rewarded when the answer is known
    /// ([`Decisions`](crate::Decisions)).
    Rewards,
}

/// Options that methods share; methods with weights have those of texts alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Common {
    /// Which tokens go through the last MLP.
    pub last_layer: LastLayer,
    /// Images whose two best logits are closer than this run a second time, unmerged.
    pub recheck: Option<f32>,
    /// Whether merged tokens weigh more in attention.
    pub proportional_attention: ProportionalAttention,
    /// Which tokens of a text never merge.
    pub protect: Protect,
    /// Where merged tokens of a text stand.
    pub positions: SequencePositions,
}

impl Common {
    /// Those of methods that have none of these options.
    pub(super) const NONE: Self = Self {
        last_layer: LastLayer::All,
        recheck: None,
        proportional_attention: ProportionalAttention::Off,
        protect: Protect::Special,
        positions: SequencePositions::Rescaled,
    };

    /// The defaults of methods that have these options.
    pub(super) const fn new(last_layer: LastLayer) -> Self {
        Self { last_layer, proportional_attention: ProportionalAttention::Auto, ..Self::NONE }
    }
}

/// In a method with a field `common`: these are its [shared options](Rule::common).
macro_rules! common {
    () => {
        fn common(&self) -> &$crate::methods::Common {
            &self.common
        }

        fn set_common(&mut self, change: impl FnOnce(&mut $crate::methods::Common)) {
            change(&mut self.common);
        }
    };
}
pub(super) use common;

/// Where and how much a method is asked to merge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct At {
    /// Index of the block, from 0.
    pub(crate) layer: usize,
    /// Blocks of the model.
    pub(crate) depth: usize,
    /// How much.
    pub(crate) amount: Amount,
}

impl At {
    /// Whether something is to go of any item, or may.
    pub(crate) fn removes_any(&self, tokens: &Tokens) -> bool {
        let removed = |(item, len)| self.amount.of(len, tokens.prefix.of(item));
        tokens.layout.lens().enumerate().map(removed).any(|removed| removed != Some(0))
    }
}

/// A method: which tokens merge. How many of them ([`amounts`](Self::amounts)) and where ([`site`](Self::site)) are
/// answers too; everything else is done by [`Reduction`](crate::Reduction).
pub(crate) trait Rule: fmt::Debug {
    /// Options that methods share.
    fn common(&self) -> &Common {
        &Common::NONE
    }

    /// Changes the shared options, where the method has them.
    fn set_common(&mut self, change: impl FnOnce(&mut Common))
    where
        Self: Sized,
    {
        let _ = change;
    }

    /// Where it works.
    fn site(&self) -> Site {
        Site::InsideBlock
    }

    /// What merged tokens become.
    fn combine(&self) -> Combine {
        Combine::WeightedAverage
    }

    /// Whether merged tokens have a position: that of their members.
    fn keeps_positions(&self) -> bool {
        true
    }

    /// Whether it works on the rows and columns of a picture ([`ModelFacts::grid`]).
    fn needs_grid(&self) -> bool {
        false
    }

    /// What it must know about every block that it [asks](Self::asks); of attention alone, if it merges inside that.
    fn wants(&self) -> Wants {
        Wants::default()
    }

    /// Whether it asks what the class token's logits will be in the block that it works around.
    fn needs_logits(&self) -> bool {
        false
    }

    /// Whether block `layer`, from 0, is to report what it [wants](Self::wants), in a model whose blocks merge so much: by
    /// default the block in which it merges, or the one before, if it merges before blocks.
    fn asks(&self, layer: usize, amounts: &[Amount]) -> bool {
        let asking = if self.site() == Site::BeforeBlock { layer + 1 } else { layer };
        amounts.get(asking).is_some_and(|amount| *amount != Amount::NOTHING)
    }

    /// What it is to remember of the tokens that a block has attended to, `[T]`, by what that has reported and what it
    /// remembers of them already ([`Tokens::standing`]); `None` to leave that as it is.
    fn scores(&self, at: &At, tokens: &Tokens, evidence: &Evidence) -> Option<Vec<f32>> {
        let _ = (at, tokens, evidence);
        None
    }

    /// Whether training adds to the loss by what all tokens attend to in the blocks before which it merges.
    fn teaches_softmax(&self) -> bool {
        false
    }

    /// What it adds in one of them, by the softmaxes of all tokens of every item, `[H, N, N]`, and what has merged: `[1]`.
    fn softmax_loss(&self, maps: &[Tensor<3>], plan: &MergePlan) -> Tensor<1> {
        let _ = (maps, plan);
        unreachable!("a method that teaches the softmax says what it adds")
    }

    /// What each layer is to merge.
    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        Ok(vec![Amount::NOTHING; facts.depth])
    }

    /// Which tokens merge; `None` if none do. Must look at each item alone.
    fn plan(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
        let _ = (at, tokens, evidence);
        None
    }

    /// Which tokens merge, and how, where [`combine`](Self::combine) does not say it all.
    fn merging(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<Merging> {
        let plan = self.plan(at, tokens, evidence)?;
        Some(Merging { plan, by: self.combine().into() })
    }

    /// In which parts tokens go into those that are left, of a method that [mixes](Self::mixes) without weights; `None` if
    /// nothing is to be done. Must look at each item alone.
    fn mixing(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<Mixing> {
        let _ = (at, tokens, evidence);
        None
    }

    /// Multiply-adds of finding them in one layer.
    fn matching_macs(&self, shape: MatchShape) -> f64 {
        let _ = shape;
        0.0
    }

    /// Whether it has weights of its own, which have to be trained.
    fn has_weights(&self) -> bool {
        false
    }

    /// Whether it mixes tokens, by weights of its own or by a [mixing](Self::mixing), rather than say which are to go.
    fn mixes(&self) -> bool {
        self.has_weights()
    }

    /// What training does in its place.
    fn trained_by(&self) -> TrainedBy {
        TrainedBy::Merging
    }

    /// What the answer of a model has to be made of, where it cannot be made of the rest.
    fn reads(&self) -> Option<Readout> {
        None
    }

    /// Tokens that are about to enter a block, before anything merges there, with what it notes of them.
    fn noted(&self, at: &At, tokens: Tokens) -> Tokens {
        let _ = at;
        tokens
    }

    /// In training, in place of merging before a block, of a method without weights that is [trained by
    /// masks](TrainedBy::Masks): the same tokens with a [policy](Tokens::policy), and what is to be added to the loss, `[1]`.
    fn relax(&self, at: &At, tokens: Tokens) -> (Tokens, Option<Tensor<1>>) {
        let _ = at;
        (tokens, None)
    }

    /// After the last block: what the head is to see, and what training is to add to the loss, `[1]`.
    fn settle(&self, at: &At, tokens: Tokens) -> (Tokens, Option<Tensor<1>>) {
        let _ = at;
        (tokens.settled(), None)
    }

    /// The same method with the numbers that its weights have learned written out, which then has no weights.
    fn given(&self, mergers: &Mergers, facts: &ModelFacts) -> Option<Method> {
        let _ = (mergers, facts);
        None
    }

    /// What [`merging`](Self::merging) does, and all that might have, with scores: asked of a method with given numbers, where
    /// they are being learned.
    fn choice(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Choice {
        let _ = (at, evidence);
        Choice::nothing(&tokens.layout)
    }

    /// What it is to cost, where it learns that.
    fn budget(&self) -> Option<Budget> {
        None
    }

    /// The blocks, from 0, before which its weights stand, or in which, if it works inside blocks.
    fn mergers_before(&self, depth: usize) -> Vec<usize> {
        let _ = depth;
        Vec::new()
    }

    /// How its options count the layer whose weights stand before, or in, block `before`: that block, from 1.
    fn layer_of(&self, before: usize) -> usize {
        before + 1
    }

    /// Fresh weights of its merger `index`, for tokens of `channels`.
    fn merger(&self, index: usize, channels: usize, start: &mut Start<'_>) -> Option<Merger> {
        let _ = (index, channels, start);
        None
    }

    /// Number of parameters of its merger `index`.
    fn merger_parameters(&self, index: usize, channels: usize) -> usize {
        let _ = (index, channels);
        0
    }

    /// Tokens that its merger `index` makes of an item of `tokens`.
    fn merged(&self, index: usize, tokens: usize, prefix: usize) -> usize {
        let _ = (index, prefix);
        tokens
    }

    /// Multiply-adds of its merger `index` for an item of `tokens`, and elements that its norm sees.
    fn merger_cost(&self, index: usize, tokens: usize, prefix: usize, channels: usize) -> (f64, f64) {
        let _ = (index, tokens, prefix, channels);
        (0.0, 0.0)
    }
}
