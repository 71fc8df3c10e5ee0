//! The PatchMerger: any number of tokens becomes a fixed number, by learned queries (arXiv:2202.12015, §3).

use super::{Axis, Options};
use crate::mergers::{HeldBack, Run, Start, Weighted, runs};
use crate::{Layout, Mixture, Tokens};
use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::softmax, s};
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

    /// `[B, N, C]` → `[B, kept + M, C]`.
    fn merge(&self, x: Tensor<3>, kept: usize) -> Tensor<3> {
        let (patches, weights) = self.weigh(&x, kept);
        let merged = weights.swap_dims(1, 2).matmul(patches);
        if kept == 0 { merged } else { Tensor::cat(vec![x.slice(s![.., ..kept, ..]), merged], 1) }
    }

    /// `[B, N, C]` → the normalised tokens after the first `kept`, `[B, N - kept, C]`, and what they weigh in every
    /// output, `[B, N - kept, M]`.
    fn weigh(&self, x: &Tensor<3>, kept: usize) -> (Tensor<3>, Tensor<3>) {
        let [items, len, channels] = x.dims();
        let patches = x.clone().slice(s![.., kept.., ..]).reshape([items * (len - kept), channels]);
        let patches = self.norm.forward(patches);
        let queries = LinearWeights { weight: self.queries.val(), bias: None, precision: Precision::F32 };
        let scores = linear(patches.clone(), queries, Activation::Identity);
        let scores = scores.reshape([items as i32, (len - kept) as i32, -1]);
        let weights = match self.method.axis {
            Axis::Outputs => softmax(scores, 2),
            Axis::Inputs => softmax(scores, 1),
        };
        (patches.reshape([items, len - kept, channels]), weights)
    }
}

impl Weighted for Merger {
    /// Items of `N` tokens → items of `M`, and the prefix in front where it is kept. Outputs have no
    /// position.
    fn forward(&self, _: usize, tokens: Tokens) -> (Tokens, Option<Box<dyn HeldBack>>) {
        let (outputs, items, [_, channels]) =
            (self.queries.dims()[0], tokens.layout.items(), tokens.x.dims());
        let merged = runs(&tokens).map(|run| {
            let [items, ..] = run.x.dims();
            let kept = self.method.kept(run.prefix);
            self.merge(run.x, kept).reshape([items * (kept + outputs), channels])
        });
        let x = Tensor::cat(merged.collect(), 0);
        let kept = tokens.prefix.map(items, |item, prefix| {
            self.method.kept(prefix).min(tokens.layout.range(item).len()) + outputs
        });
        // Where the prefix has merged too, the first outputs stand in its place.
        let prefix = tokens.prefix.map(items, |item, prefix| prefix.min(kept.of(item)));
        let layout = Layout::from_lens(&(0..items).map(|item| kept.of(item)).collect::<Vec<_>>());
        (Tokens::new(x, layout, prefix), None)
    }

    /// What every token weighs in every output, of every item.
    fn mixtures(&self, _: usize, tokens: &Tokens) -> Vec<Mixture> {
        let outputs = self.queries.dims()[0];
        let of = |run: Run| {
            let kept = self.method.kept(run.prefix);
            let (_, weights) = self.weigh(&run.x, kept);
            let [items, len, _] = weights.dims();
            let weights: Vec<f32> = weights.into_data().iter::<f32>().collect();
            (0..items).map(move |item| {
                let at = |output: usize, input: usize| weights[(item * len + input) * outputs + output];
                Mixture::after(kept, kept + len, kept + outputs, at)
            })
        };
        runs(tokens).flat_map(|run| of(run).collect::<Vec<_>>()).collect()
    }
}
