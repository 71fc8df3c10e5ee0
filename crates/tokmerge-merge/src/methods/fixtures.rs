//! What the tests of methods that learn what to drop have in common.

use crate::methods::dynamic_vit::Predictor;
use crate::{Evidence, Layout, MergerShape, Mergers, Method, ModelFacts, Reduction, Tokens, Trace};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData, activation::softmax};
use tokmerge_nn::{Random, parameters};

/// Channels of a token in a model of four blocks.
pub(super) const CHANNELS: usize = 8;

pub(super) fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

pub(super) fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

/// Items of these lengths, a token in front of each, without structure.
pub(super) fn batch(lens: &[usize], seed: u64, device: &Device) -> Tokens {
    let layout = Layout::from_lens(lens);
    let mut random = Random::new(seed);
    let x: Vec<f32> = (0..layout.rows() * CHANNELS).map(|_| random.normal() as f32).collect();
    Tokens::new(tensor(&x, [layout.rows(), CHANNELS], device), layout, 1)
}

/// The same closer together, so that nobody attends to one token alone: what is masked then has little of a row.
pub(super) fn close_batch(lens: &[usize], seed: u64, device: &Device) -> Tokens {
    let tokens = batch(lens, seed, device);
    let x = tokens.x.clone() * 0.2;
    tokens.with(x)
}

/// Weights of deviation `1 / sqrt(C)`, with which predictors are less undecided than fresh ones.
pub(super) fn weights(spec: &str, device: &Device) -> Mergers {
    weights_of(spec, 0.35, device)
}

/// Weights of any deviation: the larger, the more patches differ.
pub(super) fn weights_of(spec: &str, deviation: f32, device: &Device) -> Mergers {
    let method: Method = spec.parse().expect("a spec");
    let fresh = Mergers::new(&method, MergerShape { depth: 4, channels: CHANNELS, joining: None }, device);
    let mut random = Random::new(11);
    let values = parameters::read(&fresh).into_iter().map(|(path, mut values)| {
        let start = if path.ends_with("norm.weight") { 1.0 } else { 0.0 };
        values.values.iter_mut().for_each(|value| *value = start + deviation * random.normal() as f32);
        (path, values)
    });
    parameters::assign(fresh, &values.collect(), device)
}

pub(super) fn bound(spec: &str, tokens: usize) -> Reduction {
    Reduction::bind(
        spec.parse().expect("a spec"),
        &ModelFacts { grid: Some((14, 14)), ..ModelFacts::new(4, tokens, 1) },
    )
    .expect("fits")
}

pub(super) fn entered(reduction: &Reduction, layer: usize, tokens: Tokens, trace: &mut Trace) -> Tokens {
    reduction.enter(layer, tokens, Evidence::default(), trace).0
}

/// The error function, to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let series = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    (1.0 - series * (-x * x).exp()) * x.signum()
}

/// A parameter, read.
pub(super) fn parameter(module: &impl Module, path: &str) -> Vec<f64> {
    parameters::read(module)[path].values.iter().map(|value| f64::from(*value)).collect()
}

/// A linear layer, number by number.
pub(super) fn dense(module: &impl Module, layer: &str, x: &[f64]) -> Vec<f64> {
    let [weight, bias] = ["weight", "bias"].map(|name| parameter(module, &format!("{layer}.{name}")));
    let row = |(row, bias): (&[f64], &f64)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + bias;
    weight.chunks(x.len()).zip(&bias).map(row).collect()
}

/// The Gaussian error linear unit, number by number.
pub(super) fn gelu(x: Vec<f64>) -> Vec<f64> {
    x.into_iter().map(|x| 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))).collect()
}

/// What a predictor says of the patches of one item, number by number: the logarithm of the probability of keeping each.
pub(super) fn by_hand(predictor: &Predictor, patches: &[f32], policy: &[f32]) -> Vec<f64> {
    let [scale, shift] = ["norm.weight", "norm.bias"].map(|path| parameter(predictor, path));
    let channels = scale.len();
    let embedded: Vec<Vec<f64>> = patches
        .chunks(channels)
        .map(|row| {
            let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / channels as f64;
            let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / channels as f64;
            let normed =
                row.iter().zip(&scale).zip(&shift).map(|((x, scale), shift)| {
                    (f64::from(*x) - mean) / (variance + 1e-5).sqrt() * scale + shift
                });
            gelu(dense(predictor, "embed", &normed.collect::<Vec<_>>()))
        })
        .collect();
    let half = channels / 2;
    let kept: f64 = policy.iter().map(|kept| f64::from(*kept)).sum();
    let shared: Vec<f64> = (half..channels)
        .map(|channel| {
            let of = |(row, kept): (&Vec<f64>, &f32)| row[channel] * f64::from(*kept);
            embedded.iter().zip(policy).map(of).sum::<f64>() / kept
        })
        .collect();
    let score = |row: &Vec<f64>| {
        let x = [&row[..half], &shared].concat();
        let x = gelu(dense(predictor, "fc2", &gelu(dense(predictor, "fc1", &x))));
        let z = dense(predictor, "fc3", &x);
        z[0] - (z[0].exp() + z[1].exp()).ln()
    };
    embedded.iter().map(score).collect()
}

/// One head of attention with a residual, and something for every token.
pub(super) fn block(tokens: Tokens) -> Tokens {
    let maps = (0..tokens.layout.items()).map(|item| {
        let range = tokens.layout.range(item);
        let rows = tokens.x.clone().slice([range, 0..CHANNELS]);
        softmax(rows.clone().matmul(rows.transpose()) * 0.3, 1).unsqueeze::<3>()
    });
    let maps = tokens.masked(maps.collect());
    let mixed = maps.into_iter().enumerate().map(|(item, map)| {
        let range = tokens.layout.range(item);
        let [_, queries, keys] = map.dims();
        map.reshape([queries, keys]).matmul(tokens.x.clone().slice([range, 0..CHANNELS]))
    });
    let x = tokens.x.clone() + Tensor::cat(mixed.collect(), 0);
    tokens.with(x.clone() + x.tanh())
}
