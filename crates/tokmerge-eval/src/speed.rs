//! How fast a model runs, with and without merging.

use crate::Spread;
use burn::tensor::{Device, Distribution, Tensor};
use serde::Serialize;
use std::time::{Duration, Instant};
use tokmerge_merge::{BindError, Method, Reduction};
use tokmerge_models::{Convention, Model};

/// How to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BenchOptions {
    /// Images per forward pass.
    pub batch_size: usize,
    /// Time to measure each method for, warm-up not included.
    pub duration: Duration,
    /// What counts as an operation.
    pub convention: Convention,
}

/// Forward passes of one method, timed.
#[derive(Clone, Debug, Serialize)]
pub struct Speed {
    /// The method, as a spec.
    pub merge: String,
    /// Images per second of each timed batch.
    pub images_per_second: Spread,
    /// Median milliseconds of a batch.
    pub ms_per_batch: f64,
    /// Batches timed.
    pub batches: usize,
    /// Per image, in billions.
    pub gmacs: f64,
    /// Tokens after the last block.
    pub tokens: f64,
    /// Millions of values that products write, per image (timm's `infer_macts`).
    pub mega_activations: f64,
    /// Speed over that of the unmerged model, round by round; `None` for itself, or where it was not measured.
    pub speedup: Option<Spread>,
}

/// Rounds before any counts: weights are packed and buffers made in the first.
const WARM_UP: usize = 2;
const FEWEST_ROUNDS: usize = 3;

/// Times several methods in turn, one batch each per round, on random normal images.
///
/// # Errors
/// When a method's schedule does not fit the model.
pub fn bench(model: &Model, methods: &[Method], options: BenchOptions) -> Result<Vec<Speed>, BindError> {
    let reductions: Vec<Reduction> =
        methods.iter().map(|method| model.bind(method)).collect::<Result<_, _>>()?;
    let config = model.config();
    let (height, width) = config.img_size;
    let pixels = normal(options.batch_size * config.in_chans * height * width);
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    let mut counts = vec![[0.0; 3]; methods.len()];
    let limit = options.duration.mul_f64(methods.len().max(1) as f64);
    let mut start = Instant::now();
    for round in 0.. {
        if round == WARM_UP {
            start = Instant::now();
        }
        if round >= WARM_UP + FEWEST_ROUNDS && start.elapsed() >= limit {
            break;
        }
        let mut times = Vec::with_capacity(methods.len());
        for (reduction, count) in reductions.iter().zip(&mut counts) {
            let input = pixels.clone();
            let now = Instant::now();
            let output = model.predict(input, reduction);
            if round == 0 {
                let items = options.batch_size as f64;
                for item in 0..options.batch_size {
                    let layers = model.layer_tokens(&output.trace, item);
                    count[0] += model.gmacs(&output.trace, item, reduction, options.convention) / items;
                    count[1] += output.trace.tokens_left(item, config.tokens()) as f64 / items;
                    count[2] += config.cost().mega_activations(config.num_heads, &layers) / items;
                }
            }
            // Reading the logits is part of the work: nothing may be left lazy.
            let logits = output.logits.into_data();
            times.push(now.elapsed().as_secs_f64());
            drop(logits);
        }
        if round >= WARM_UP {
            rounds.push(times);
        }
    }
    let unmerged = methods.iter().position(|method| *method == Method::None);
    let results =
        methods.iter().zip(counts).enumerate().map(|(index, (method, [gmacs, tokens, mega_activations]))| {
            let speeds: Vec<f64> =
                rounds.iter().map(|times| options.batch_size as f64 / times[index]).collect();
            let speedup = unmerged.filter(|unmerged| *unmerged != index).map(|unmerged| {
                let ratios: Vec<f64> = rounds.iter().map(|times| times[unmerged] / times[index]).collect();
                Spread::of(&ratios)
            });
            let images_per_second = Spread::of(&speeds);
            Speed {
                merge: method.to_string(),
                images_per_second,
                ms_per_batch: 1e3 * options.batch_size as f64 / images_per_second.median,
                batches: rounds.len(),
                gmacs,
                tokens,
                mega_activations,
                speedup,
            }
        });
    Ok(results.collect())
}

/// Seeded standard normal values: never zeros, which some processors multiply faster.
fn normal(count: usize) -> Vec<f32> {
    let device = Device::default();
    device.seed(1);
    Tensor::<1>::random([count], Distribution::Normal(0.0, 1.0), &device).into_data().iter::<f32>().collect()
}
