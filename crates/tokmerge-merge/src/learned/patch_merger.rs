//! The PatchMerger: any number of tokens becomes a fixed number, by learned queries (arXiv:2202.12015, §3).

use super::parameters::Start;
use super::{Mixture, Norm};
use crate::methods::patch_merger::{Axis, PatchMerging, Prefix};
use crate::{Layout, Tokens};
use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::softmax, s};
use tokmerge_ops::{Activation, LinearWeights, Precision, linear};

/// `Y = softmax(Wᵀ Xᵀ) X` on normalised tokens `X: [N, C]` (eq. 1).
#[derive(Module, Debug)]
pub struct PatchMerger {
    /// In front.
    pub norm: Norm,
    /// `Wᵀ: [M, C]`: a query per output.
    pub queries: Param<Tensor<2>>,
    #[module(skip)]
    axis: Axis,
    #[module(skip)]
    prefix: Prefix,
}

impl PatchMerger {
    pub(super) fn new(method: &PatchMerging, outputs: usize, channels: usize, start: &mut Start<'_>) -> Self {
        Self {
            norm: start.norm(channels),
            // Scores of normalised tokens begin with deviation 1.
            queries: start.normal([outputs, channels], (channels as f64).powf(-0.5)),
            axis: method.axis,
            prefix: method.prefix,
        }
    }

    /// Items of `N` tokens → items of `M`, and the prefix in front where it is kept.
    pub(super) fn forward(&self, tokens: Tokens) -> Tokens {
        let outputs = self.queries.dims()[0];
        let kept = self.kept(&tokens);
        let merged: Vec<Tensor<3>> = same_length(&tokens).map(|x| self.merge(x, kept)).collect();
        let [_, channels] = tokens.x.dims();
        let items = tokens.layout.items();
        let x = Tensor::cat(merged, 0).reshape([items * (kept + outputs), channels]);
        // Where the prefix has merged too, the first outputs stand in its place.
        let prefix = tokens.prefix.min(kept + outputs);
        Tokens::new(x, Layout::uniform(items, kept + outputs), prefix)
    }

    /// What every token weighs in every output, of every item.
    pub(super) fn mixtures(&self, tokens: &Tokens) -> Vec<Mixture> {
        let (kept, outputs) = (self.kept(tokens), self.queries.dims()[0]);
        let of = |x: Tensor<3>| {
            let (_, weights) = self.weigh(&x, kept);
            let [items, len, _] = weights.dims();
            let weights: Vec<f32> = weights.into_data().iter::<f32>().collect();
            (0..items).map(move |item| {
                let at = |output: usize, input: usize| weights[(item * len + input) * outputs + output];
                Mixture::behind(kept, kept + len, kept + outputs, at)
            })
        };
        same_length(tokens).flat_map(|x| of(x).collect::<Vec<_>>()).collect()
    }

    /// Tokens in front of every item that stay as they are.
    fn kept(&self, tokens: &Tokens) -> usize {
        match self.prefix {
            Prefix::Keep => tokens.prefix,
            Prefix::Merge => 0,
        }
    }

    /// `[B, N, C]` → `[B, kept + M, C]`.
    fn merge(&self, x: Tensor<3>, kept: usize) -> Tensor<3> {
        let (patches, weights) = self.weigh(&x, kept);
        let merged = weights.swap_dims(1, 2).matmul(patches);
        if kept == 0 { merged } else { Tensor::cat(vec![x.slice(s![.., ..kept, ..]), merged], 1) }
    }

    /// `[B, N, C]` → the normalised tokens behind the first `kept`, `[B, N - kept, C]`, and what they weigh in every
    /// output, `[B, N - kept, M]`.
    fn weigh(&self, x: &Tensor<3>, kept: usize) -> (Tensor<3>, Tensor<3>) {
        let [items, len, channels] = x.dims();
        let patches = x.clone().slice(s![.., kept.., ..]).reshape([items * (len - kept), channels]);
        let patches = self.norm.forward(patches);
        let queries = LinearWeights { weight: self.queries.val(), bias: None, precision: Precision::F32 };
        let scores = linear(patches.clone(), queries, Activation::Identity);
        let scores = scores.reshape([items as i32, (len - kept) as i32, -1]);
        let weights = match self.axis {
            Axis::Outputs => softmax(scores, 2),
            Axis::Inputs => softmax(scores, 1),
        };
        (patches.reshape([items, len - kept, channels]), weights)
    }
}

/// The tokens as `[B, N, C]`, all items at once if they are equally long, else one by one.
pub(super) fn same_length(tokens: &Tokens) -> impl Iterator<Item = Tensor<3>> {
    let [_, channels] = tokens.x.dims();
    let (runs, items) = match &tokens.layout {
        Layout::Uniform { items, .. } => (1, *items),
        Layout::Ragged { .. } => (tokens.layout.items(), 1),
    };
    (0..runs).map(move |run| {
        let (start, end) = match &tokens.layout {
            Layout::Uniform { .. } => (0, tokens.layout.rows()),
            Layout::Ragged { .. } => (tokens.layout.range(run).start, tokens.layout.range(run).end),
        };
        let len = (end - start) / items.max(1);
        tokens.x.clone().slice(s![start..end, ..]).reshape([items, len, channels])
    })
}
