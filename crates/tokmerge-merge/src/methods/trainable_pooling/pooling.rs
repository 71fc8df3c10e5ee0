//! The module before a block.

use super::Options;
use crate::mergers::{HeldBack, Start, Weighted, mixtures_of_pooled, pooled};
use crate::{Mixture, Tokens};
use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::softmax};
use tokmerge_nn::{Linear, Norm};
use tokmerge_ops::NormKind;

/// Channels of a head, as in the models that it is for.
const HEAD: usize = 64;

/// Multi-head attention of learned queries to normalised tokens.
#[derive(Module, Debug)]
pub struct Pooling {
    /// Of the tokens.
    pub norm: Norm,
    /// `[M, C]`.
    pub queries: Param<Tensor<2>>,
    /// `[W, C]`.
    pub query: Linear,
    /// `[W, C]`.
    pub key: Linear,
    /// `[W, C]`.
    pub value: Linear,
    /// `[C, W]`.
    pub proj: Linear,
    #[module(skip)]
    heads: usize,
}

/// Heads of so many channels together: of 64 each, or as few more as divide them.
pub(super) fn heads(width: usize) -> usize {
    (1..=(width / HEAD).max(1)).rev().find(|heads| width.is_multiple_of(*heads)).unwrap_or(1)
}

impl Pooling {
    pub(crate) fn new(method: &Options, channels: usize, start: &mut Start<'_>) -> Self {
        let width = method.width_in(channels);
        let queries = start.normal([method.queries, channels], 1.0);
        let mut linear =
            |inputs: usize, outputs: usize| start.linear(inputs, outputs, (inputs as f64).powf(-0.5));
        let [query, key, value] = [0; 3].map(|_| linear(channels, width));
        let proj = linear(width, channels);
        let norm = start.norm(NormKind::Layer, channels);
        Self { norm, queries, query, key, value, proj, heads: heads(width) }
    }

    /// `[B * rows, W]` → `[B, H, rows, D]`.
    fn split(&self, x: Tensor<2>, items: usize) -> Tensor<4> {
        let [rows, width] = x.dims();
        x.reshape([items, rows / items, self.heads, width / self.heads]).swap_dims(1, 2)
    }

    /// What queries attend to in `[B, N, C]`: `[B, H, M, N]`; and the tokens normalised, `[B * N, C]`.
    fn weigh(&self, x: Tensor<3>) -> (Tensor<4>, Tensor<2>) {
        let [items, len, channels] = x.dims();
        let x = self.norm.forward(x.reshape([items * len, channels]));
        let query = self.split(self.query.forward(self.queries.val()), 1).repeat_dim(0, items);
        let key = self.split(self.key.forward(x.clone()), items);
        let scale = (key.dims()[3] as f32).powf(-0.5);
        (softmax(query.matmul(key.swap_dims(2, 3)) * scale, 3), x)
    }

    /// `[B, N, C]` → `[B, M, C]`.
    fn pool(&self, x: Tensor<3>) -> Tensor<3> {
        let [items, _, channels] = x.dims();
        let (weights, x) = self.weigh(x);
        let [_, heads, queries, _] = weights.dims();
        let gathered = weights.matmul(self.split(self.value.forward(x), items));
        let dim = gathered.dims()[3];
        let gathered = gathered.swap_dims(1, 2).reshape([items * queries, heads * dim]);
        self.proj.forward(gathered).reshape([items, queries, channels])
    }

    fn outputs(&self) -> usize {
        self.queries.dims()[0]
    }
}

impl Weighted for Pooling {
    /// Items of `N` tokens → items of `M`, the prefix in front. They have no position.
    fn forward(&self, _: usize, tokens: Tokens) -> (Tokens, Option<Box<dyn HeldBack>>) {
        (pooled(&tokens, self.outputs(), |prefix| prefix, |x| self.pool(x)), None)
    }

    /// What every token weighs in every output, on average over the heads, of every item.
    fn mixtures(&self, _: usize, tokens: &Tokens) -> Vec<Mixture> {
        let weigh = |x| -> Tensor<3> { self.weigh(x).0.mean_dim(1).squeeze_dim(1) };
        mixtures_of_pooled(tokens, self.outputs(), |prefix| prefix, weigh)
    }
}
