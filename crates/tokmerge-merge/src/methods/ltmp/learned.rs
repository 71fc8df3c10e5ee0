//! Thresholds that are trained.

use super::super::matching::bipartite::{Proposals, Proposed};
use super::{Limits, Thresholds};
use crate::mergers::{Merger, Mergers, Soft, Start, Weighted};
use crate::{Choice, DROPPED, Judged, MergePlan, Pair, Tokens};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData, activation::sigmoid};
use std::sync::Arc;

/// What the squared distance of the cost from its target weighs in the loss (published code).
pub(super) const COST_WEIGHT: f64 = 10.0;

/// How soft decisions are in the backward pass (published code).
const TEMPERATURE: f64 = 0.1;

/// Where thresholds of merging and of dropping begin (published code).
const START: [f32; 2] = [0.9, 0.0];

/// The two thresholds of a block.
#[derive(Module, Debug)]
pub struct LearnedThresholds {
    /// Pairs merge whose cosine is above, `[1]`.
    pub merge: Param<Tensor<1>>,
    /// Tokens are dropped that get at most as much attention, `[1]`.
    pub prune: Param<Tensor<1>>,
    #[module(skip)]
    target: f64,
}

impl LearnedThresholds {
    pub(crate) fn new(target: f64, start: &Start<'_>) -> Self {
        let [merge, prune] = START.map(|threshold| start.numbers(vec![threshold]));
        Self { merge, prune, target }
    }
}

impl Weighted for LearnedThresholds {
    fn soften(&self, choice: &Choice, _: usize) -> Soft {
        let above = |scores: Vec<f32>, threshold: &Param<Tensor<1>>| {
            let threshold = threshold.val().reshape([1, 1]);
            let scores = numbers(scores, &threshold.device())?;
            Some(sigmoid((scores - threshold) / TEMPERATURE))
        };
        let pairs = choice.pairs.iter().map(|pair| pair.score).collect();
        let judged = choice.judged.iter().map(|judged| judged.score).collect();
        Soft { merges: above(pairs, &self.merge), stays: above(judged, &self.prune) }
    }

    fn target(&self) -> Option<f64> {
        Some(self.target)
    }
}

/// `[K, 1]`; `None` of none.
fn numbers(values: Vec<f32>, device: &Device) -> Option<Tensor<2>> {
    let count = values.len();
    (count > 0).then(|| Tensor::from_data(TensorData::new(values, [count, 1]), device))
}

/// The thresholds of all blocks as numbers that a spec can have.
pub(super) fn given(mergers: &Mergers, depth: usize) -> Thresholds {
    let (mut merge_above, mut prune_at) = (vec![1.0; depth], vec![0.0; depth]);
    for (layer, merger) in &mergers.at {
        if let (Merger::Thresholds(learned), true) = (merger, *layer < depth) {
            merge_above[*layer] = number(&learned.merge).clamp(-1.0, 1.0);
            prune_at[*layer] = number(&learned.prune).clamp(0.0, 1.0);
        }
    }
    let [merge_above, prune_at] = [merge_above, prune_at].map(Limits::PerLayer);
    Thresholds::Given { merge_above, prune_at: Some(prune_at) }
}

/// The shortest decimal that is the same in single precision. What is no number merges and drops nothing.
fn number(threshold: &Param<Tensor<1>>) -> f64 {
    let value = threshold.val().without_autodiff().into_scalar::<f32>();
    value.to_string().parse().unwrap_or(f64::NAN)
}

/// Every source with the destination to which it is most similar. What is no number is as far from merging as can be.
pub(super) fn pairs(tokens: &Tokens, proposals: Proposals, merged: &MergePlan) -> Arc<[Pair]> {
    let of_item = |(item, proposed): (usize, Proposed)| {
        let start = tokens.layout.range(item).start as u32;
        let pair = move |((source, into), cosine): ((u32, u32), f32)| {
            let (source, destination) = (start + source, start + into);
            let merges = merged.dst()[source as usize] == merged.dst()[destination as usize];
            let score = if cosine.is_nan() { f32::NEG_INFINITY } else { cosine };
            Pair { source, destination: Some(destination), score, merges }
        };
        proposed.pairs.into_iter().zip(proposed.similarities).map(pair).collect::<Vec<_>>()
    };
    proposals.all(tokens).into_iter().enumerate().flat_map(of_item).collect()
}

/// Every token that is left and no prefix, by how much it matters, `importance: [T']`. What is no number is as far from being
/// dropped as can be.
pub(super) fn judged(
    tokens: &Tokens,
    merged: &MergePlan,
    importance: &[f32],
    dropped: Option<&MergePlan>,
) -> Arc<[Judged]> {
    let left = (0..merged.output().items()).flat_map(|item| {
        let range = merged.output().range(item);
        range.start + tokens.front_of(item)..range.end
    });
    let judge = |left: usize| Judged {
        row: merged.representative()[left],
        score: if importance[left].is_nan() { f32::INFINITY } else { importance[left] },
        stays: dropped.is_none_or(|plan| plan.dst()[left] != DROPPED),
    };
    left.map(judge).collect()
}
