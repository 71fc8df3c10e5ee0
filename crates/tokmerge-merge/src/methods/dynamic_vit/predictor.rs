//! What says which patches are worth keeping (DynamicViT, §3.2), and how it learns (§3.3, §3.4).

use crate::Tokens;
use crate::mergers::{Stage, Start, Weighted};
use burn::module::Module;
use burn::tensor::{Tensor, TensorData, activation::log_softmax, activation::sigmoid, s};
use std::sync::Arc;
use tokmerge_nn::{Linear, Norm, Random};
use tokmerge_ops::{Activation, Layout, gather_rows, linear};

/// Epsilon of the norm.
const EPS: f64 = 1e-5;

/// What the loss of kept parts weighs beside that of the task.
const RATIO_WEIGHT: f64 = 2.0;

/// Inputs and outputs of the linear layers for tokens of `channels`.
pub(super) fn layers(channels: usize) -> [[usize; 2]; 4] {
    let (half, quarter) = ((channels / 2).max(1), (channels / 4).max(1));
    [[channels, channels], [channels, half], [half, quarter], [quarter, 2]]
}

/// The network before a block: `LN, C→C, GELU`; half of the channels of each patch and the mean of all patches in the other
/// half; `C→C/2, GELU, C/2→C/4, GELU, C/4→2`, the logarithm of the softmax.
#[derive(Module, Debug)]
pub struct Predictor {
    /// Of the patches.
    pub norm: Norm,
    /// `[C, C]`.
    pub embed: Linear,
    /// `[C / 2, C]`.
    pub fc1: Linear,
    /// `[C / 4, C / 2]`.
    pub fc2: Linear,
    /// `[2, C / 4]`: keep, drop.
    pub fc3: Linear,
    #[module(skip)]
    keep: f64,
}

impl Predictor {
    pub(crate) fn new(keep: f64, channels: usize, start: &mut Start<'_>) -> Self {
        let [embed, fc1, fc2, fc3] =
            layers(channels).map(|[inputs, outputs]| start.linear(inputs, outputs, 0.02));
        Self { norm: start.layer_norm(channels, EPS), embed, fc1, fc2, fc3, keep }
    }

    /// `weight / places · mean over items of (kept - k^i)²`: `policy: [P, 1]` → `[1]`.
    fn ratio_loss(&self, policy: &Tensor<2>, layout: &Layout, stage: Stage) -> Tensor<1> {
        let target = self.keep.powi(stage.index as i32 + 1);
        let of_run = |run: Run| {
            let kept = run.of(policy.clone()).mean_dim(1);
            (kept - target).powi_scalar(2).sum()
        };
        let zero = Tensor::zeros([1], &policy.device());
        let sum = runs(layout).into_iter().map(of_run).fold(zero, |sum, more| sum + more);
        sum * (RATIO_WEIGHT / (stage.count * layout.items().max(1)) as f64)
    }

    /// What is kept and what is dropped, as logarithms of probabilities: a row per patch, `[P, 2]`.
    fn log_probabilities(&self, tokens: &Tokens, patches: &Patches) -> Tensor<2> {
        let x = gather_rows(tokens.x.clone(), &patches.rows);
        if patches.rows.is_empty() {
            return Tensor::zeros([0, 2], &x.device());
        }
        let gelu = |x, layer: &Linear| linear(x, layer.weights(), Activation::Gelu);
        let x = gelu(self.norm.forward(x), &self.embed);
        let local = x.dims()[1] / 2;
        let own = x.clone().slice(s![.., ..local]);
        let shared = means(x.slice(s![.., local..]), patches.policy(tokens), &patches.layout);
        let x = gelu(gelu(Tensor::cat(vec![own, shared], 1), &self.fc1), &self.fc2);
        log_softmax(self.fc3.forward(x), 1)
    }
}

impl Weighted for Predictor {
    /// The logarithm of the probability of keeping each token; of prefix tokens, which always stay, 0. `[T]`.
    fn scores(&self, tokens: &Tokens) -> Option<Vec<f32>> {
        let patches = Patches::of(tokens);
        let mut scores = vec![0.0; tokens.layout.rows()];
        let kept = self.log_probabilities(tokens, &patches).slice(s![.., 0..1]);
        for (row, score) in patches.rows.iter().zip(kept.into_data().iter::<f32>()) {
            scores[*row as usize] = score;
        }
        Some(scores)
    }

    /// Draws which patches are kept of those that still are, and returns the same tokens with that policy, and what is to be
    /// added to the loss, `[1]`. Of a seed, a place and an item's number in the batch always the same is drawn.
    fn relax(&self, tokens: Tokens, stage: Stage, seed: u64) -> (Tokens, Option<Tensor<1>>) {
        let (patches, device) = (Patches::of(&tokens), tokens.device());
        let logs = self.log_probabilities(&tokens, &patches);
        let noise = TensorData::new(noise(&patches.layout, stage.layer, seed), [patches.rows.len(), 1]);
        let noise = Tensor::<2>::from_data(noise, &device);
        // The larger of two logits with Gumbel noise each, which differ by logistic noise.
        let drawn = logs.clone().slice(s![.., 0..1]) - logs.slice(s![.., 1..2]) + noise;
        let hard = drawn.clone().detach().greater_equal_elem(0.0).float();
        let soft = sigmoid(drawn);
        let decided = hard + (soft.clone() - soft.detach());
        let policy = match patches.policy(&tokens) {
            Some(before) => decided * before,
            None => decided,
        };
        let loss = self.ratio_loss(&policy, &patches.layout, stage);
        let policy = patches.with_prefix(policy, tokens.layout.rows());
        (Tokens { policy: Some(policy), ..tokens }, Some(loss))
    }
}

/// The tokens that are no prefix.
struct Patches {
    /// Their rows, `[P]`.
    rows: Arc<[u32]>,
    /// Whose they are.
    layout: Layout,
}

impl Patches {
    fn of(tokens: &Tokens) -> Self {
        let ranges = (0..tokens.layout.items()).map(|item| {
            let range = tokens.layout.range(item);
            (range.start + tokens.prefix.of(item)).min(range.end)..range.end
        });
        let ranges: Vec<_> = ranges.collect();
        let lens: Vec<usize> = ranges.iter().map(ExactSizeIterator::len).collect();
        Self {
            rows: ranges.into_iter().flatten().map(|row| row as u32).collect(),
            layout: Layout::from_lens(&lens),
        }
    }

    /// What has been decided about them so far, `[P, 1]`.
    fn policy(&self, tokens: &Tokens) -> Option<Tensor<2>> {
        tokens.policy.as_ref().map(|policy| gather_rows(policy.clone(), &self.rows))
    }

    /// `policy: [P, 1]` → `[T, 1]`; the prefix is always kept.
    fn with_prefix(&self, policy: Tensor<2>, rows: usize) -> Tensor<2> {
        let mut from = vec![0_u32; rows];
        for (index, row) in self.rows.iter().enumerate() {
            from[*row as usize] = index as u32 + 1;
        }
        let kept = Tensor::ones([1, 1], &policy.device());
        gather_rows(Tensor::cat(vec![kept, policy], 0), &from.into())
    }
}

/// Items of equal length that stand below each other.
#[derive(Clone, Copy)]
struct Run {
    start: usize,
    items: usize,
    len: usize,
}

impl Run {
    /// Its rows of `x: [P, C]`, `[items, len, C]`.
    fn of(self, x: Tensor<2>) -> Tensor<3> {
        let [_, channels] = x.dims();
        let rows = x.slice(s![self.start..self.start + self.items * self.len, ..]);
        rows.reshape([self.items, self.len, channels])
    }
}

/// All items at once if they are equally long, otherwise one by one; none without rows.
fn runs(layout: &Layout) -> Vec<Run> {
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
fn means(x: Tensor<2>, policy: Option<Tensor<2>>, layout: &Layout) -> Tensor<2> {
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
