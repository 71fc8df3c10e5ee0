//! How fast training is, with and without merging.

use crate::loss::soft_targets;
use crate::optimizer::{Groups, optimizer};
use crate::pass::Pass;
use crate::recipe::{AdamRecipe, OptimizerRecipe, Recompute};
use crate::weights::{assign, hollow};
use burn::tensor::{Tensor, TensorData};
use burn_optim::ModuleOptimizer;
use std::collections::BTreeMap;
use std::time::Instant;
use tokmerge_eval::{BenchOptions, Rounds, Speed};
use tokmerge_merge::{BindError, Method, Random, Reduction};
use tokmerge_models::{Model, StochasticDepth, Vit};

/// Rounds before any counts.
const WARM_UP: usize = 1;

/// A model in training.
struct Learner {
    vit: Vit,
    groups: Groups,
    optimizer: ModuleOptimizer,
}

/// Times steps of training (forward, backward, AdamW) at several ways of merging in turn, one step each per round, on
/// random normal images. Each way trains a copy of the model of its own.
///
/// # Errors
/// When a method's schedule does not fit the model.
pub fn bench_training(
    model: &Model,
    methods: &[Method],
    options: BenchOptions,
    recompute: Recompute,
) -> Result<Vec<Speed>, BindError> {
    let reductions: Vec<Reduction> =
        methods.iter().map(|method| model.bind(method)).collect::<Result<_, _>>()?;
    let config = model.config();
    let device = model.device().clone().autodiff();
    let shape = [options.batch_size, config.in_chans, config.img_size.0, config.img_size.1];
    let mut random = Random::new(1);
    let pixels: Vec<f32> = (0..shape.iter().product()).map(|_| random.normal() as f32).collect();
    let labels: Vec<usize> = (0..options.batch_size).map(|item| item % config.num_classes.max(1)).collect();
    let targets = soft_targets(&labels, config.num_classes, 0.0);
    let recipe = OptimizerRecipe::AdamW(AdamRecipe { weight_decay: 0.01, ..AdamRecipe::default() });
    let mut learners: Vec<Learner> = reductions
        .iter()
        .map(|reduction| {
            let vit = model.vit().clone().with_fresh_mergers(reduction.method(), &device);
            let vit = assign(vit, &BTreeMap::new(), &device);
            let groups = Groups::new(&vit, 1.0);
            let optimizer = optimizer(&recipe, &groups);
            Learner { vit, groups, optimizer }
        })
        .collect();
    let drop = StochasticDepth { rate: 0.0, seed: 0 };
    let passes: Vec<Pass> =
        reductions.iter().map(|reduction| Pass { reduction: reduction.clone(), drop, recompute }).collect();
    // What a forward pass costs is counted once, untimed.
    let counts: Vec<[f64; 3]> =
        reductions.iter().map(|reduction| count(model, reduction, &options)).collect();
    // Operations of a forward pass say no share of what a step does.
    let timing = BenchOptions { peak: None, ..options };
    let rounds = Rounds::measure(methods.len(), WARM_UP, &timing, |_, index| {
        let (pass, learner) = (&passes[index], &mut learners[index]);
        let (pixels, targets) = (pixels.clone(), targets.clone());
        let now = Instant::now();
        let images = Tensor::from_data(TensorData::new(pixels, shape), &device);
        let targets = TensorData::new(targets, [options.batch_size, config.num_classes]);
        let (_, gradients) = pass.gradients(&learner.vit, images, Tensor::from_data(targets, &device), 1.0);
        let vit = std::mem::replace(&mut learner.vit, hollow());
        learner.vit = learner.optimizer.step(learner.groups.rates(1e-4), vit, gradients);
        now.elapsed().as_secs_f64()
    });
    Ok(rounds.speeds(methods, &counts, options.batch_size))
}

/// Operations, tokens left and activations of one image of a forward pass.
fn count(model: &Model, reduction: &Reduction, options: &BenchOptions) -> [f64; 3] {
    let config = model.config();
    let mut random = Random::new(2);
    let pixels = (0..config.in_chans * config.img_size.0 * config.img_size.1).map(|_| random.normal() as f32);
    let output = model.forward(pixels.collect(), reduction);
    let layers = model.layer_tokens(&output.trace, 0);
    [
        model.gmacs(&output.trace, 0, reduction, options.convention),
        output.trace.tokens_left(0, config.tokens()) as f64,
        config.cost().mega_activations(config.num_heads, &layers),
    ]
}
