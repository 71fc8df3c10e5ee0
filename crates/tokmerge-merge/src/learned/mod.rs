//! Merging with weights: modules that stand in front of a block and make its tokens fewer by weighted sums.
//!
//! What a [`MergePlan`](crate::MergePlan) is for the methods without weights, a matrix of weights is here, and it
//! carries a gradient. The rest is the same: the prefix stays in front, and an item looks at itself alone.

mod mixture;
mod parameters;
mod patch_merger;
mod soft_merger;

#[cfg(test)]
mod tests;

use crate::{Method, Tokens};
use burn::module::Module;
use burn::tensor::Device;
use parameters::Start;

pub use mixture::{Largest, Mixture};
pub use parameters::Norm;
pub use patch_merger::PatchMerger;
pub use soft_merger::SoftMerger;
pub(crate) use soft_merger::{Inflated, windows};

/// The weights of a method that has some, for every block in front of which it stands. Empty for all others.
#[derive(Module, Debug)]
pub struct Mergers {
    /// Of [`PatchMerger`](crate::PatchMerging).
    pub patch: Vec<PatchMerger>,
    /// Of [soft token merging](crate::SoftMerging).
    pub soft: Vec<SoftMerger>,
    #[module(skip)]
    before: Vec<usize>,
}

/// The shape of the model in which mergers stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergerShape {
    /// Blocks (`L`).
    pub depth: usize,
    /// Channels of a token (`C`).
    pub channels: usize,
}

impl Mergers {
    /// Fresh weights, the same in every run; none for a method without weights.
    #[must_use]
    pub fn new(method: &Method, shape: MergerShape, device: &Device) -> Self {
        let mut start = Start::new(device);
        let before = method.mergers_before(shape.depth);
        let (mut patch, mut soft) = (Vec::new(), Vec::new());
        match method {
            Method::PatchMerger(method) => {
                let of = |&outputs| PatchMerger::new(method, outputs, shape.channels, &mut start);
                patch = method.outputs_of(before.len()).iter().map(of).collect();
            }
            Method::Stm(method) => {
                soft = before.iter().map(|_| SoftMerger::new(method, shape.channels, &mut start)).collect();
            }
            Method::None | Method::Tome(_) | Method::Atm(_) => {}
        }
        Self { patch, soft, before }
    }

    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { patch: Vec::new(), soft: Vec::new(), before: Vec::new() }
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.before.is_empty()
    }

    /// Merges in front of block `layer`, if something stands there. Says too how to come back to all tokens, where
    /// that is wanted.
    pub(crate) fn enter(&self, layer: usize, tokens: Tokens) -> Option<(Tokens, Option<Inflated>)> {
        let index = self.before.iter().position(|before| *before == layer)?;
        if let Some(merger) = self.patch.get(index) {
            return Some((merger.forward(tokens), None));
        }
        self.soft.get(index).map(|merger| merger.forward(tokens, layer))
    }

    /// What [`enter`](Self::enter) mixes, of every item, if something stands there.
    pub(crate) fn mixtures(&self, layer: usize, tokens: &Tokens) -> Option<Vec<Mixture>> {
        let index = self.before.iter().position(|before| *before == layer)?;
        let patch = self.patch.get(index).map(|merger| merger.mixtures(tokens));
        patch.or_else(|| self.soft.get(index).map(|merger| merger.mixtures(tokens, layer)))
    }
}
