//! Gradients with the memory of one block (gradient checkpointing; Chen et al., 2016, arXiv:1604.06174).
//!
//! Burn's own strategy forgets single operations and keeps those that are expensive, which ours all are; and it would
//! not know that merging must not be decided again. So the model is cut at its blocks: what enters each is kept, and on
//! the way back one block after the other runs once more and hands the gradient of what entered it to the one before.

use super::Vit;
use crate::encoder::{StochasticDepth, encode_one, entering};
use burn::module::Module;
use burn::tensor::{Gradients, Tensor};
use tokmerge_merge::{Readout, Reduction, Tokens};

impl Vit {
    /// `share` times the gradients of a loss, with the memory of one block: what happens inside the blocks is forgotten on the way
    /// forward, and all but the last run once more on the way back. They merge then as they did before: nothing is
    /// matched a second time ([`Reduction::replaying`]).
    ///
    /// `loss` takes the logits `[B, classes]`, which are those of [`predict`](Self::predict), or with `drop` those of
    /// [`forward_train`](Self::forward_train); the value of it and of what experts add comes back, untracked, without
    /// `share`. `found` is called with the gradients
    /// of one part of the model after the other; every parameter's gradient is the sum of what it is given.
    ///
    /// # Panics
    /// When the images are not of the size in [`config`](Self::config), on a device without autodiff, or for a model
    /// without blocks.
    pub fn gradients_by_block(
        &self,
        images: Tensor<4>,
        reduction: &Reduction,
        drop: Option<StochasticDepth>,
        share: f64,
        loss: impl FnOnce(Tensor<2>) -> Tensor<1>,
        found: &mut dyn FnMut(Gradients),
    ) -> Tensor<1> {
        let readout = if drop.is_some() { Readout::All } else { self.readout() };
        let run = |layer: usize, tokens: Tokens, reduction: &Reduction| {
            let leaf = tokens.x.autodiff().require_grad();
            let tokens = Tokens { x: leaf.clone(), ..tokens };
            (leaf, encode_one(&self.blocks, layer, tokens, reduction, drop, readout))
        };
        let embedded = self.embed_normed(images);
        let plain = self.valid();
        let untracked = Tokens { x: embedded.x.clone().without_autodiff(), ..embedded.clone() };
        let first = reduction.clone().with_mergers(plain.mergers.clone());
        let (mut entered, trace) = entering(&plain.blocks, untracked, &first, drop);

        let last = entered.pop().expect("a model has blocks");
        let reduction = reduction.clone().with_mergers(self.mergers.clone());
        let scaled = |loss: Tensor<1>| if share == 1.0 { loss } else { loss * share };
        let (leaf, (tokens, auxiliary)) = run(entered.len(), last, &reduction);
        let loss = plus(loss(self.forward_head(&tokens)), auxiliary);
        let mut value = loss.clone().without_autodiff();
        let mut upstream = back(scaled(loss), &leaf, found);
        let again = reduction.replaying(&trace);
        for (layer, tokens) in entered.into_iter().enumerate().rev() {
            let (leaf, (tokens, auxiliary)) = run(layer, tokens, &again);
            value = plus(value, auxiliary.clone().map(Tensor::without_autodiff));
            upstream = back(plus(dot(tokens.x, upstream), auxiliary.map(scaled)), &leaf, found);
        }
        // Not where the embedding is frozen.
        if embedded.x.is_tracked() {
            found(dot(embedded.x, upstream).backward());
        }
        value
    }
}

/// Goes back from a scalar to `leaf`, whose gradient is returned.
fn back(scalar: Tensor<1>, leaf: &Tensor<2>, found: &mut dyn FnMut(Gradients)) -> Tensor<2> {
    let mut gradients = scalar.backward();
    let gradient = leaf.grad_remove(&mut gradients);
    found(gradients);
    gradient.expect("every output of a block depends on what entered it")
}

fn plus(loss: Tensor<1>, more: Option<Tensor<1>>) -> Tensor<1> {
    match more {
        Some(more) => loss + more,
        None => loss,
    }
}

/// A scalar whose gradient by `x` is `gradient`.
fn dot(x: Tensor<2>, gradient: Tensor<2>) -> Tensor<1> {
    (x * gradient.autodiff()).sum()
}
