//! The PatchMerger: any number of tokens becomes a fixed number, by learned queries (arXiv:2202.12015, §3).

use super::{Axis, Options};
use crate::mergers::{HeldBack, Start, Weighted, mixtures_of_pooled, pooled};
use crate::{Mixture, Tokens};
use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::softmax};
use tokmerge_nn::Norm;
use tokmerge_ops::{Activation, LinearWeights, NormKind, Precision, linear};

/// `Y = softmax(Wᵀ Xᵀ) X` on normalised tokens `X: [N, C]` (eq. 1).
#[derive(Module, Debug)]
pub struct Merger {
    /// Before the scores.
    pub norm: Norm,
    /// `Wᵀ: [M, C]`: a query per output.
    pub queries: Param<Tensor<2>>,
    #[module(skip)]
    method: Options,
}

impl Merger {
    pub(crate) fn new(method: &Options, outputs: usize, channels: usize, start: &mut Start<'_>) -> Self {
        Self {
            norm: start.norm(NormKind::Layer, channels),
            // Scores of normalised tokens begin with deviation 1.
            queries: start.normal([outputs, channels], (channels as f64).powf(-0.5)),
            method: method.clone(),
        }
    }

    /// `[B, N, C]` → the tokens normalised, and what they weigh in every output, `[B, M, N]`.
    fn weigh(&self, x: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let [items, len, channels] = x.dims();
        let patches = self.norm.forward(x.reshape([items * len, channels]));
        let queries = LinearWeights { weight: self.queries.val(), bias: None, precision: Precision::F32 };
        let scores = linear(patches.clone(), queries, Activation::Identity);
        let scores = scores.reshape([items as i32, len as i32, -1]);
        let weights = match self.method.axis {
            Axis::Outputs => softmax(scores, 2),
            Axis::Inputs => softmax(scores, 1),
        };
        (patches.reshape([items, len, channels]), weights.swap_dims(1, 2))
    }
}

impl Weighted for Merger {
    /// Items of `N` tokens → items of `M`, and the prefix in front where it is kept. Outputs have no
    /// position.
    fn forward(&self, _: usize, tokens: Tokens) -> (Tokens, Option<Box<dyn HeldBack>>) {
        let merged = pooled(
            &tokens,
            self.queries.dims()[0],
            |prefix| self.method.kept(prefix),
            |x| {
                let (patches, weights) = self.weigh(x);
                weights.matmul(patches)
            },
        );
        (merged, None)
    }

    /// What every token weighs in every output, of every item.
    fn mixtures(&self, _: usize, tokens: &Tokens) -> Vec<Mixture> {
        let kept = |prefix| self.method.kept(prefix);
        mixtures_of_pooled(tokens, self.queries.dims()[0], kept, |x| self.weigh(x).1)
    }
}
