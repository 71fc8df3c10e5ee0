//! What a method carries along from block to block, beside the tokens.

use crate::{Decisions, Halting, Tokens};
use burn::tensor::Tensor;

/// What a method has noted of tokens so far. Gradients pass through it as they do through the tokens.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of a batch")]
pub enum Carried {
    /// What layers have added up to (A-ViT).
    Halting(Halting),
    /// What was drawn, in training (IA-RED²).
    Decisions(Decisions),
}

impl Carried {
    /// The same of some of the tokens, which `pick` finds among rows of them all, `[T, W]` → `[T', W]`; the prefix is among
    /// them.
    pub(crate) fn select(self, pick: impl Fn(Tensor<2>) -> Tensor<2>) -> Self {
        match self {
            Self::Halting(halting) => Self::Halting(halting.select(pick)),
            Self::Decisions(_) => self,
        }
    }

    fn map(self, change: &mut dyn FnMut(Tensor<2>) -> Tensor<2>) -> Self {
        match self {
            Self::Halting(halting) => Self::Halting(halting.map(change)),
            Self::Decisions(decisions) => Self::Decisions(decisions.map(change)),
        }
    }
}

impl Tokens {
    /// The same tokens, each tensor that a gradient passes through changed: their values first, then their policy and what is
    /// carried along, always in the same order.
    #[must_use]
    pub fn map(self, change: &mut dyn FnMut(Tensor<2>) -> Tensor<2>) -> Self {
        Self {
            x: change(self.x),
            policy: self.policy.map(&mut *change),
            carried: self.carried.map(|carried| carried.map(change)),
            ..self
        }
    }
}
