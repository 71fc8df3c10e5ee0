//! The patches of a batch, as modules see them that say which are worth keeping, and how these learn: what is decided is drawn,
//! and passes a gradient as if it were not rounded (DynamicViT, §3.2 to §3.4).

use crate::Tokens;
use crate::mergers::Stage;
use burn::tensor::{Tensor, TensorData, activation::sigmoid, s};
use std::sync::Arc;
use tokmerge_nn::Random;
use tokmerge_ops::{Layout, gather_rows};

/// What the loss of kept parts weighs beside that of the task.
const RATIO_WEIGHT: f64 = 2.0;

/// Tokens about which something is decided.
pub(super) struct Patches {
    /// Their rows, `[P]`.
    pub(super) rows: Arc<[u32]>,
    /// Whose they are.
    pub(super) layout: Layout,
}

impl Patches {
    /// All tokens that are no prefix.
    pub(super) fn of(tokens: &Tokens) -> Self {
        Self::that(tokens, |_| true)
    }

    /// Those of them that stand for one patch alone.
    pub(super) fn single(tokens: &Tokens) -> Self {
        Self::that(tokens, |row| tokens.size.as_ref().is_none_or(|size| size[row] <= 1.0))
    }

    fn that(tokens: &Tokens, counts: impl Fn(usize) -> bool) -> Self {
        let of_item = |item: usize| -> Vec<u32> {
            let range = tokens.layout.range(item);
            let rows = range.start + tokens.front_of(item)..range.end;
            rows.filter(|row| counts(*row)).map(|row| row as u32).collect()
        };
        let items: Vec<_> = (0..tokens.layout.items()).map(of_item).collect();
        let lens: Vec<usize> = items.iter().map(Vec::len).collect();
        Self { rows: items.concat().into(), layout: Layout::from_lens(&lens) }
    }

    /// Their rows of `x: [T, C]`, `[P, C]`.
    pub(super) fn rows_of(&self, x: Tensor<2>) -> Tensor<2> {
        gather_rows(x, &self.rows)
    }

    /// What has been decided about them so far, `[P, 1]`.
    pub(super) fn policy(&self, tokens: &Tokens) -> Option<Tensor<2>> {
        tokens.policy.clone().map(|policy| self.rows_of(policy))
    }

    /// `policy: [P, 1]` → `[T, 1]`; all others are always kept.
    pub(super) fn with_others(&self, policy: Tensor<2>, rows: usize) -> Tensor<2> {
        let mut from = vec![0_u32; rows];
        for (index, row) in self.rows.iter().enumerate() {
            from[*row as usize] = index as u32 + 1;
        }
        let kept = Tensor::ones([1, 1], &policy.device());
        gather_rows(Tensor::cat(vec![kept, policy], 0), &from.into())
    }

    /// A number for every token: of patches theirs, `scores: [P, 1]`, of all others 0. `[T]`.
    pub(super) fn scores(&self, scores: Tensor<2>, rows: usize) -> Vec<f32> {
        let mut all = vec![0.0; rows];
        for (row, score) in self.rows.iter().zip(scores.into_data().iter::<f32>()) {
            all[*row as usize] = score;
        }
        all
    }

    /// The mean of each item's patches, or of those that are kept of them, `values` and `policy: [P, 1]` → `[B, 1]`; 0 of an
    /// item without patches.
    pub(super) fn mean_of_items(&self, values: Tensor<2>, policy: Option<Tensor<2>>) -> Tensor<2> {
        let none = Tensor::zeros([1, 1], &values.device());
        let means = match self.rows.is_empty() {
            true => none,
            false => Tensor::cat(vec![none, means(values, policy, &self.layout)], 0),
        };
        // One of them: all of an item are the same.
        let first = |item| {
            let range = self.layout.range(item);
            if range.is_empty() { 0 } else { range.start as u32 + 1 }
        };
        gather_rows(means, &(0..self.layout.items()).map(first).collect())
    }

    /// Draws which are kept, 1 or 0, by how much likelier that is than dropping them, as a logarithm, `odds: [P, 1]`. The
    /// gradient is that of the number which is rounded: a Gumbel softmax of two. Of a seed, a place and an item's number in the
    /// batch always the same is drawn.
    pub(super) fn draw(&self, odds: Tensor<2>, layer: usize, seed: u64) -> Tensor<2> {
        let noise = TensorData::new(noise(&self.layout, layer, seed), [self.rows.len(), 1]);
        let drawn = odds.clone() + Tensor::<2>::from_data(noise, &odds.device());
        let hard = drawn.clone().detach().greater_equal_elem(0.0).float();
        let soft = sigmoid(drawn);
        hard + (soft.clone() - soft.detach())
    }
}

/// What stays kept of what was, `[P, 1]` both.
pub(super) fn also(decided: Tensor<2>, before: Option<Tensor<2>>) -> Tensor<2> {
    match before {
        Some(before) => decided * before,
        None => decided,
    }
}

/// Items of equal length that stand below each other.
#[derive(Clone, Copy)]
pub(super) struct Run {
    start: usize,
    items: usize,
    len: usize,
}

impl Run {
    /// Its rows of `x: [P, C]`, `[items, len, C]`.
    pub(super) fn of(self, x: Tensor<2>) -> Tensor<3> {
        let [_, channels] = x.dims();
        let rows = x.slice(s![self.start..self.start + self.items * self.len, ..]);
        rows.reshape([self.items, self.len, channels])
    }
}

/// All items at once if they are equally long, otherwise one by one; none without rows.
pub(super) fn runs(layout: &Layout) -> Vec<Run> {
    match layout {
        Layout::Uniform { items, len } if items * len > 0 => {
            vec![Run { start: 0, items: *items, len: *len }]
        }
        Layout::Uniform { .. } => Vec::new(),
        Layout::Ragged { .. } => {
            let items = (0..layout.items()).map(|item| layout.range(item));
            items
                .filter(|range| !range.is_empty())
                .map(|range| Run { start: range.start, items: 1, len: range.len() })
                .collect()
        }
    }
}

/// The mean of the patches of an item that are kept, in place of each: `x: [P, C]`, `policy: [P, 1]` → `[P, C]`.
pub(super) fn means(x: Tensor<2>, policy: Option<Tensor<2>>, layout: &Layout) -> Tensor<2> {
    let [_, channels] = x.dims();
    let of_run = |run: Run| {
        let values = run.of(x.clone());
        let mean = match &policy {
            None => values.mean_dim(1),
            Some(policy) => {
                let policy = run.of(policy.clone());
                // Of an item of which nothing is kept, nothing: not a division by zero.
                let kept = policy.clone().sum_dim(1).clamp_min(0.5);
                (values * policy).sum_dim(1) / kept
            }
        };
        mean.repeat_dim(1, run.len).reshape([run.items * run.len, channels])
    };
    Tensor::cat(runs(layout).into_iter().map(of_run).collect(), 0)
}

/// `2 / places · mean over items of (kept - target)²`, `kept` being the part of an item's patches that is kept:
/// `policy: [P, 1]` → `[1]`.
pub(super) fn ratio_loss(policy: &Tensor<2>, layout: &Layout, target: f64, stage: Stage) -> Tensor<1> {
    let of_run = |run: Run| {
        let kept = run.of(policy.clone()).mean_dim(1);
        (kept - target).powi_scalar(2).sum()
    };
    let zero = Tensor::zeros([1], &policy.device());
    let sum = runs(layout).into_iter().map(of_run).fold(zero, |sum, more| sum + more);
    sum * (RATIO_WEIGHT / (stage.count * layout.items().max(1)) as f64)
}

/// Logistic noise for every patch, the difference of two draws of Gumbel noise.
pub(super) fn noise(layout: &Layout, layer: usize, seed: u64) -> Vec<f32> {
    let mut all = Vec::with_capacity(layout.rows());
    for (item, len) in layout.lens().enumerate() {
        // Other numbers than those that leave branches and values out.
        let mut random = Random::for_layer(seed.rotate_left(16), layer, item);
        all.extend((0..len).map(|_| {
            let unit = random.unit().clamp(1e-12, 1.0 - 1e-12);
            (unit / (1.0 - unit)).ln() as f32
        }));
    }
    all
}
