//! What gives all patches back after a block.

use super::learner::mlp;
use crate::Tokens;
use crate::mergers::{HeldBack, Run, Start, runs};
use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::sigmoid, s};
use tokmerge_nn::{Mlp, Norm};
use tokmerge_ops::NormKind;

/// What the block made of the tokens is mixed among them, and added to every patch in parts that the patch chooses.
#[derive(Module, Debug)]
pub struct Fuser {
    /// Before tokens are mixed.
    pub norm1: Norm,
    /// `[S, S]`; a fresh one is zeros.
    pub mix: Param<Tensor<2>>,
    /// After that.
    pub norm2: Norm,
    /// Of the patches.
    pub norm: Norm,
    /// The parts of every patch, before a sigmoid.
    pub mlp: Mlp,
}

/// All tokens, held back while a block works on learned ones.
#[derive(Debug)]
struct Held {
    tokens: Tokens,
    fuser: Fuser,
}

impl Fuser {
    pub(super) fn new(channels: usize, tokens: usize, start: &mut Start<'_>) -> Self {
        let norm = || start.norm(NormKind::Layer, channels);
        let [norm1, norm2, norm] = [norm(), norm(), norm()];
        Self { norm1, mix: start.zeros([tokens, tokens]), norm2, norm, mlp: mlp(channels, tokens, start) }
    }

    /// Keeps tokens until the block is done.
    pub(super) fn hold(&self, tokens: Tokens) -> Box<dyn HeldBack> {
        Box::new(Held { tokens, fuser: self.clone() })
    }

    /// Patches, `[B, N, C]`, with what the block made of the learned tokens, `[B, S, C]`.
    fn fuse(&self, patches: Tensor<3>, learned: Tensor<3>) -> Tensor<3> {
        let [items, len, channels] = patches.dims();
        let [_, tokens, _] = learned.dims();
        let normed = |norm: &Norm, x: Tensor<3>| {
            let [items, rows, channels] = x.dims();
            norm.forward(x.reshape([items * rows, channels])).reshape([items, rows, channels])
        };
        let mix = self.mix.val().reshape([1, tokens, tokens]).repeat_dim(0, items);
        let mixed = normed(&self.norm2, mix.matmul(normed(&self.norm1, learned)));
        let own = self.norm.forward(patches.clone().reshape([items * len, channels]));
        let parts = sigmoid(self.mlp.forward(own).reshape([items, len, tokens]));
        parts.matmul(mixed) + patches
    }
}

impl HeldBack for Held {
    /// The prefix is what the block made of it.
    fn all(self: Box<Self>, after: Tokens) -> Tokens {
        let Self { tokens, fuser } = *self;
        let (mut rows, mut item) = (Vec::new(), 0);
        for Run { x, prefix } in runs(&tokens) {
            let [items, len, channels] = x.dims();
            if items * len == 0 {
                item += items;
                continue;
            }
            let range = after.layout.range(item).start..after.layout.range(item + items - 1).end;
            item += items;
            let left = range.len() / items;
            let block = after.x.clone().slice(s![range, ..]).reshape([items, left, channels]);
            let front = block.clone().slice(s![.., ..prefix, ..]);
            let all = match len - prefix {
                0 => front,
                _ => {
                    let patches = x.slice(s![.., prefix.., ..]);
                    Tensor::cat(vec![front, fuser.fuse(patches, block.slice(s![.., prefix.., ..]))], 1)
                }
            };
            rows.push(all.reshape([items * len, channels]));
        }
        let x = if rows.is_empty() { tokens.x.clone() } else { Tensor::cat(rows, 0) };
        tokens.with(x)
    }
}
