//! Plans of methods that compare all tokens of an item with all others.

use super::bipartite::Pair;
use crate::plan::PlanBuilder;
use crate::{Amount, MergePlan, Tokens};
use burn::tensor::Tensor;
use rayon::prelude::*;
use std::sync::Arc;
use tokmerge_ops::gather_rows;

/// How alike any two of some tokens are: the cosine of their rows, 0 where one has no length, -1 where one is no number.
/// In double precision, since which come first can hang on the eighth digit.
#[derive(Debug)]
pub(in crate::methods) struct Cosines {
    tokens: usize,
    values: Vec<f64>,
}

/// What becomes of the tokens that were compared, as places among them.
#[derive(Debug, PartialEq)]
pub(in crate::methods) struct Grouping {
    /// Those that keep a place, in their new order.
    pub(in crate::methods) kept: Vec<u32>,
    /// The others, each with one that is kept.
    pub(in crate::methods) pairs: Vec<Pair>,
}

impl Cosines {
    /// Of `rows: [N, D]`.
    pub(in crate::methods) fn of(rows: &[f32], dim: usize) -> Self {
        let tokens = rows.len() / dim.max(1);
        if tokens == 0 {
            return Self { tokens, values: Vec::new() };
        }
        let mut values = tokmerge_ops::cosines(rows, dim);
        values.iter_mut().filter(|cosine| cosine.is_nan()).for_each(|cosine| *cosine = -1.0);
        Self { tokens, values }
    }

    /// Of some rows of a metric, `[T, D]`.
    pub(in crate::methods) fn of_rows(metric: &Tensor<2>, rows: impl IntoIterator<Item = u32>) -> Self {
        let rows: Arc<[u32]> = rows.into_iter().collect();
        let [_, dim] = metric.dims();
        let values: Vec<f32> =
            gather_rows(metric.clone().without_autodiff(), &rows).into_data().iter::<f32>().collect();
        Self::of(&values, dim)
    }

    /// How many others are more similar to a token than a threshold.
    pub(in crate::methods) fn above(&self, token: usize, threshold: f64) -> usize {
        let others = self.row(token).iter().enumerate().filter(|(other, _)| *other != token);
        others.filter(|(_, cosine)| **cosine > threshold).count()
    }

    /// Tokens that were compared.
    pub(in crate::methods) fn tokens(&self) -> usize {
        self.tokens
    }

    /// How alike a token is to all, itself among them.
    pub(in crate::methods) fn row(&self, token: usize) -> &[f64] {
        &self.values[token * self.tokens..][..self.tokens]
    }

    /// How far apart they are, row by row: one less the cosine.
    pub(in crate::methods) fn into_distances(mut self) -> Vec<f64> {
        self.values.iter_mut().for_each(|value| *value = 1.0 - *value);
        self.values
    }
}

/// A plan by which as many tokens go of every item as `amount` says; `None` if none do. `choose` says which, by the cosines of
/// the item's mergeable tokens and the number to go. Several items are looked at at a time.
pub(in crate::methods) fn plan(
    tokens: &Tokens,
    metric: Tensor<2>,
    amount: Amount,
    choose: impl Fn(Cosines, usize) -> Grouping + Sync,
) -> Option<MergePlan> {
    let remove = |(item, len)| amount.of(len, tokens.prefix.of(item)).unwrap_or(0);
    let counts: Vec<usize> = tokens.layout.lens().enumerate().map(remove).collect();
    if counts.iter().all(|count| *count == 0) {
        return None;
    }
    let [_, dim] = metric.dims();
    let values: Vec<f32> = metric.into_data().iter::<f32>().collect();
    let chosen = |(item, count): (usize, &usize)| {
        let range = tokens.layout.range(item);
        let first = range.start + tokens.prefix.of(item).min(range.len());
        (*count > 0).then(|| choose(Cosines::of(&values[first * dim..range.end * dim], dim), *count))
    };
    let chosen: Vec<Option<Grouping>> = counts.par_iter().enumerate().map(chosen).collect();
    let mut builder = PlanBuilder::new(tokens.layout.clone());
    for (item, chosen) in chosen.into_iter().enumerate() {
        let Some(Grouping { kept, mut pairs }) = chosen else {
            builder.keep_item();
            continue;
        };
        let prefix = tokens.prefix.of(item) as u32;
        pairs.iter_mut().for_each(|(from, into)| (*from, *into) = (*from + prefix, *into + prefix));
        builder.item((0..prefix).chain(kept.into_iter().map(|place| place + prefix)), &pairs);
    }
    Some(builder.finish())
}

#[cfg(test)]
mod tests {
    use super::Cosines;

    #[test]
    fn any_two_are_as_alike_as_their_directions() {
        let rows = [2.0, 0.0, 0.0, 5.0, 3.0, 4.0, 0.0, 0.0, f32::NAN, 1.0];
        let cosines = Cosines::of(&rows, 2);
        assert_eq!(cosines.tokens(), 5);
        assert_eq!(cosines.row(0), [1.0, 0.0, 0.6, 0.0, -1.0]);
        assert_eq!(cosines.row(1), [0.0, 1.0, 0.8, 0.0, -1.0]);
        assert!((cosines.row(2)[2] - 1.0).abs() < 1e-15);
        assert_eq!(cosines.row(3), [0.0, 0.0, 0.0, 0.0, -1.0]);
        assert_eq!(cosines.row(4), [-1.0; 5]);
        assert_eq!(cosines.into_distances()[..3], [0.0, 1.0, 0.4]);
    }
}
