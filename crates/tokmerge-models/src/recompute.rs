//! Gradient checkpointing: gradients with the activations of one block (Chen et al., 2016, arXiv:1604.06174).
//!
//! Burn's own strategy forgets single operations and keeps those that are expensive, which ours all are; and it would
//! not know that merging must not be decided again. So the model is cut at its blocks: what enters each is kept, and in
//! the backward pass one block after the other runs once more and hands the gradient of what entered it to the one before.

use crate::family::Family;
use crate::pass::{DropRates, Encoded, Output, Pass, Read, Walk};
use burn::tensor::{Gradients, Tensor};
use tokmerge_merge::{Evidence, Readout, Reduction, Tokens};

/// `share` times the gradients of a loss of what comes out of a network; see `Network::gradients_by_block`.
#[expect(clippy::too_many_arguments, reason = "what a network and its caller know of one pass")]
pub(crate) fn gradients_by_block<F: Family>(
    family: &F,
    embedded: Tokens,
    [first, again]: [&Reduction; 2],
    training: Option<DropRates>,
    readout: Readout,
    share: f64,
    loss: impl FnOnce(&Output) -> Tensor<1>,
    found: &mut dyn FnMut(Gradients),
) -> Tensor<1> {
    let read = if training.is_some() { Read::Tokens } else { Read::Head };
    let run = |layer: usize, tokens: Tokens, reduction: &Reduction, before: Evidence| {
        let tokens = tokens.map(&mut |tensor| tensor.autodiff().require_grad());
        let leaves = tensors(tokens.clone());
        let mut walk =
            Walk::new(family, Pass { reduction, read, training, probe: None }, readout).told(before);
        let tokens = walk.block(layer, tokens);
        (leaves, walk.encoded(tokens))
    };
    let plain = family.valid();
    let mut tokens = Tokens { x: embedded.x.clone().without_autodiff(), ..embedded.clone() };
    // What enters every block, and the plans of all blocks but the last, which is not run here.
    let mut walk = Walk::new(&plain, Pass { reduction: first, read, training, probe: None }, Readout::All);
    let mut entered = Vec::with_capacity(plain.depth());
    for layer in 0..plain.depth() {
        entered.push(tokens.clone());
        if layer + 1 < plain.depth() {
            tokens = walk.block(layer, tokens);
        }
    }
    let (trace, before) = walk.finish();

    let last = entered.pop().expect("a model has blocks");
    let scaled = |loss: Tensor<1>| if share == 1.0 { loss } else { loss * share };
    let (leaves, encoded) = run(entered.len(), last, again, before);
    let output = encoded.read(family);
    let loss = plus(loss(&output), output.auxiliary.clone());
    let mut value = loss.clone().without_autodiff();
    let mut upstream = back(scaled(loss), &leaves, found);
    let again = again.replaying(&trace);
    for (layer, tokens) in entered.into_iter().enumerate().rev() {
        let (leaves, Encoded { tokens, auxiliary, .. }) = run(layer, tokens, &again, Evidence::default());
        value = plus(value, auxiliary.clone().map(Tensor::without_autodiff));
        let [x, rest @ ..] = &tensors(tokens)[..] else { unreachable!("tokens have values") };
        let of_rest =
            rest.iter().zip(upstream.rest).filter_map(|(end, gradient)| Some(dot(end.clone(), gradient?)));
        let scalar = of_rest.fold(dot(x.clone(), upstream.x), |sum, more| sum + more);
        upstream = back(plus(scalar, auxiliary.map(scaled)), &leaves, found);
    }
    // Not where the stem is frozen.
    if embedded.x.is_tracked() {
        found(dot(embedded.x, upstream.x).backward());
    }
    value
}

/// The tensors of tokens that a gradient passes through, their values first.
fn tensors(tokens: Tokens) -> Vec<Tensor<2>> {
    let mut all = Vec::new();
    let _ = tokens.map(&mut |tensor| {
        all.push(tensor.clone());
        tensor
    });
    all
}

/// The gradients of what enters a block.
struct Upstream {
    /// Of the values of its tokens, `[T, C]`.
    x: Tensor<2>,
    /// Of what else [`tensors`] finds there, where a gradient has come so far.
    rest: Vec<Option<Tensor<2>>>,
}

/// Goes back from a scalar to `leaves`, whose gradients are returned.
fn back(scalar: Tensor<1>, leaves: &[Tensor<2>], found: &mut dyn FnMut(Gradients)) -> Upstream {
    let mut gradients = scalar.backward();
    let mut of_leaves = leaves.iter().map(|leaf| leaf.grad_remove(&mut gradients));
    let x = of_leaves.next().flatten().expect("every output of a block depends on what entered it");
    let rest = of_leaves.collect();
    found(gradients);
    Upstream { x, rest }
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
