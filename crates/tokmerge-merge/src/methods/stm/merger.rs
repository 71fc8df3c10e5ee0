//! Soft token merging: neighbours become their weighted sum, by scores that they give each other (STM; Yuan et al.,
//! 2024, §3).

use super::{Inflation, Options, Scale, Score, ScoreGradient, windows};
use crate::mergers::{HeldBack, Run, Start, Weighted, runs};
use crate::{Layout, Mixture, Tokens};
use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, activation::softmax, s};
use std::sync::Arc;
use tokmerge_nn::Norm;
use tokmerge_ops::{Activation, LinearWeights, Precision, gather_rows, linear};

/// The scoring module before a block (eq. 1 to 4).
#[derive(Module, Debug)]
pub struct Merger {
    /// Before the scores. `None` for scores without weights.
    pub norm: Option<Norm>,
    /// `W_Qᵀ: [d', C]`; for trainable pooling the one query itself, `[1, C]`.
    pub query: Option<Param<Tensor<2>>>,
    /// `W_Kᵀ: [d', C]`.
    pub key: Option<Param<Tensor<2>>>,
    #[module(skip)]
    method: Options,
    #[module(skip)]
    step: Option<u64>,
}

/// All tokens, held back while a block works on the merged ones (eq. 6).
#[derive(Debug)]
struct Held {
    tokens: Tokens,
    /// `[T, 1]`; 1 for the prefix.
    scores: Tensor<2>,
    /// Row after merging of every row. `[T]`.
    dst: Arc<[u32]>,
}

impl Merger {
    pub(crate) fn new(method: &Options, channels: usize, start: &mut Start<'_>) -> Self {
        let width = method.width_in(channels);
        let deviation = (channels as f64).powf(-0.5);
        let (mut query, mut key) = (None, None);
        match method.score {
            Score::Attention => {
                query = Some(start.normal([width, channels], deviation));
                key = Some(start.normal([width, channels], deviation));
            }
            Score::Query => query = Some(start.normal([1, channels], deviation)),
            Score::Random | Score::Mean | Score::Max => {}
        }
        let norm = query.is_some().then(|| start.norm(method.norm, channels));
        Self { norm, query, key, method: method.clone(), step: None }
    }

    /// The same in a step of training, or outside it.
    pub(crate) fn in_step(self, step: Option<u64>) -> Self {
        Self { step, ..self }
    }

    /// `[B, N, C]` → `[B, ceil(N / p), C]` and the score of every token, `[B, N]`. The last window is shorter where
    /// `p` does not divide `N`. `first` is the number of the first item.
    fn merge(&self, x: Tensor<3>, layer: usize, first: usize) -> (Tensor<3>, Tensor<2>) {
        let [items, len, channels] = x.dims();
        let window = self.method.window;
        let full = len / window * window;
        let (mut merged, mut scores) = (Vec::new(), Vec::new());
        for (start, end, window) in [(0, full, window), (full, len, len - full)] {
            if start == end {
                continue;
            }
            let count = (end - start) / window;
            let x = x.clone().slice(s![.., start..end, ..]).reshape([items * count, window, channels]);
            let s = self.scores(&x, layer, first, count);
            merged.push(self.combine(x, &s).reshape([items, count, channels]));
            scores.push(s.reshape([items, end - start]));
        }
        if merged.is_empty() {
            return (x.clone(), x.slice(s![.., .., ..1]).reshape([items, 0]));
        }
        (Tensor::cat(merged, 1), Tensor::cat(scores, 1))
    }

    /// Scores of the tokens of each window, which sum up to 1: `[W, p, C]` → `[W, p]`.
    fn scores(&self, x: &Tensor<3>, layer: usize, first: usize, count: usize) -> Tensor<2> {
        let [all, window, channels] = x.dims();
        let device = x.device();
        let projected = |weight: &Option<Param<Tensor<2>>>| {
            let rows = x.clone().reshape([all * window, channels]);
            let (Some(norm), Some(weight)) = (&self.norm, weight) else {
                return rows.reshape([all, window, channels]);
            };
            let weights = LinearWeights { weight: weight.val(), bias: None, precision: Precision::F32 };
            let y = linear(norm.forward(rows), weights, Activation::Identity);
            y.reshape([all as i32, window as i32, -1])
        };
        match self.method.score {
            Score::Attention => {
                let (query, key) = (projected(&self.query), projected(&self.key));
                let width = query.dims()[2] as f32;
                let scores = query.matmul(key.swap_dims(1, 2)) * width.powf(-0.5);
                softmax(scores, 2).mean_dim(1).reshape([all, window])
            }
            Score::Query => softmax(projected(&self.query).reshape([all, window]), 1),
            Score::Mean | Score::Max => Tensor::full([all, window], 1.0 / window as f32, &device),
            Score::Random => {
                let draw = self.method.redraw.draw(0, self.step);
                let mut values = Vec::with_capacity(all * window);
                for item in first..first + all / count {
                    let mut random = draw.numbers(layer, item, count * window);
                    for _ in 0..count {
                        let drawn: Vec<f32> = (0..window).map(|_| random.unit() as f32).collect();
                        let sum: f32 = drawn.iter().sum::<f32>().max(f32::MIN_POSITIVE);
                        values.extend(drawn.iter().map(|score| score / sum));
                    }
                }
                Tensor::from_data(TensorData::new(values, [all, window]), &device)
            }
        }
    }

    /// `[W, p, C]` with `[W, p]` → `[W, C]` (eq. 4).
    fn combine(&self, x: Tensor<3>, scores: &Tensor<2>) -> Tensor<2> {
        let [all, window, channels] = x.dims();
        if self.method.score == Score::Max {
            return x.max_dim(1).reshape([all, channels]);
        }
        let sum = (x * scores.clone().reshape([all, window, 1])).sum_dim(1).reshape([all, channels]);
        match (self.method.score, self.method.scale) {
            (Score::Mean, _) | (_, Scale::Sum) => sum,
            (_, Scale::Mean) => sum / window as f32,
        }
    }
}

impl Weighted for Merger {
    /// Windows of `p` neighbours → one token each, where they stood on average; the prefix stays.
    fn forward(&self, layer: usize, tokens: Tokens) -> (Tokens, Option<Box<dyn HeldBack>>) {
        let ([_, channels], window) = (tokens.x.dims(), self.method.window);
        let (mut merged, mut scores, mut first) = (Vec::new(), Vec::new(), 0);
        for Run { x, prefix } in runs(&tokens) {
            let [items, len, _] = x.dims();
            let (y, s) = self.merge(x.clone().slice(s![.., prefix.., ..]), layer, first);
            first += items;
            let rows = y.dims()[1] + prefix;
            let y = Tensor::cat(vec![x.slice(s![.., ..prefix, ..]), y], 1);
            merged.push(y.reshape([items * rows, channels]));
            let ones = Tensor::ones([items, prefix], &s.device());
            scores.push(Tensor::cat(vec![ones, s], 1).reshape([items * len, 1]));
        }
        let lens = tokens.layout.lens().enumerate();
        let lens: Vec<usize> = lens.map(|(item, len)| windows(len, tokens.prefix.of(item), window)).collect();
        let layout = Layout::from_lens(&lens);
        let dst = destinations(&tokens, &layout, window);
        let mut less = Tokens::new(Tensor::cat(merged, 0), layout, tokens.prefix.clone());
        less.positions =
            tokens.positions.as_ref().map(|at| at.mean(&dst, &tokens.sizes(), less.layout.rows()));
        let held: Option<Box<dyn HeldBack>> = match self.method.inflation {
            Inflation::Off => None,
            Inflation::On => {
                let scores = Tensor::cat(scores, 0);
                let scores = match self.method.gradient {
                    ScoreGradient::Detached => scores.detach(),
                    ScoreGradient::Attached => scores,
                };
                Some(Box::new(Held { dst, scores, tokens }))
            }
        };
        (less, held)
    }

    /// What every token weighs in the one of its window, of every item; of [maxima](Score::Max) all the same.
    fn mixtures(&self, layer: usize, tokens: &Tokens) -> Vec<Mixture> {
        let window = self.method.window;
        let mut first = 0;
        let mut of = |Run { x, prefix }| {
            let [items, len, _] = x.dims();
            let (_, scores) = self.merge(x.slice(s![.., prefix.., ..]), layer, first);
            first += items;
            let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
            (0..items).map(move |item| {
                let score = |input: usize| scores[item * (len - prefix) + input];
                let at =
                    |output: usize, input: usize| if input / window == output { score(input) } else { 0.0 };
                Mixture::after(prefix, len, windows(len, prefix, window), at)
            })
        };
        runs(tokens).flat_map(|run| of(run).collect::<Vec<_>>()).collect()
    }
}

impl HeldBack for Held {
    /// The tokens that a block has made of the merged ones, back at the places of all: `X + y' s` (eq. 6). The
    /// prefix, which has not merged, is what the block made of it.
    fn all(self: Box<Self>, y: Tokens) -> Tokens {
        let Self { tokens, scores, dst } = *self;
        let [rows, _] = tokens.x.dims();
        let mut keep = vec![1.0f32; rows];
        for item in 0..tokens.layout.items() {
            tokens.layout.range(item).take(tokens.prefix.of(item)).for_each(|row| keep[row] = 0.0);
        }
        let keep = Tensor::from_data(TensorData::new(keep, [rows, 1]), &tokens.x.device());
        let x = tokens.x.clone() * keep + gather_rows(y.x, &dst) * scores;
        tokens.with(x)
    }
}

/// The merged row of every row.
fn destinations(tokens: &Tokens, less: &Layout, window: usize) -> Arc<[u32]> {
    let of = |item: usize| {
        let (first, prefix) = (less.range(item).start, tokens.prefix.of(item));
        tokens.layout.range(item).enumerate().map(move |(index, _)| {
            let index = if index < prefix { index } else { prefix + (index - prefix) / window };
            (first + index) as u32
        })
    };
    (0..less.items()).flat_map(of).collect()
}
