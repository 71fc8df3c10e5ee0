//! How fast training is, with and without merging.

use crate::loss::{Loss, soft_targets};
use crate::optimizer::{Groups, optimizer};
use crate::pass::Pass;
use crate::recipe::{AdamRecipe, OptimizerRecipe, Recompute};
use crate::weights::placeholder;
use burn::tensor::{Tensor, TensorData};
use burn_optim::ModuleOptimizer;
use std::collections::BTreeMap;
use std::time::Instant;
use tokmerge_eval::{BenchOptions, Rounds, Speed};
use tokmerge_merge::Reduction;
use tokmerge_models::{Model, Network, NotFinite, StochasticDepth};
use tokmerge_nn::parameters::assign;

/// Rounds before any counts.
const WARM_UP: usize = 1;

/// A model in training.
struct Learner {
    network: Network,
    groups: Groups,
    optimizer: ModuleOptimizer,
}

/// Times steps of training (forward, backward, AdamW) at several ways of merging in turn, one step each per round, on
/// random normal images. Each way trains a copy of the model of its own.
///
/// # Errors
/// When an output of the model is not finite.
pub fn bench_training(
    model: &Model,
    reductions: &[Reduction],
    options: BenchOptions,
    recompute: Recompute,
) -> Result<Vec<Speed>, NotFinite> {
    let (shape, classes) = (model.input(), model.classes());
    let device = model.device().clone().autodiff();
    let batch = shape.random(options.batch_size, 1);
    let labels: Vec<usize> = (0..options.batch_size).map(|item| item % classes.max(1)).collect();
    let targets = soft_targets(&labels, classes, 0.0);
    let recipe = OptimizerRecipe::AdamW(AdamRecipe { weight_decay: 0.01, ..AdamRecipe::default() });
    let mut learners: Vec<Learner> = reductions
        .iter()
        .map(|reduction| {
            let network = model.network().clone().with_fresh_mergers(reduction.method(), &device);
            let network = assign(network, &BTreeMap::new(), &device);
            let groups = Groups::new(&network, 1.0);
            let optimizer = optimizer(&recipe, &groups);
            Learner { network, groups, optimizer }
        })
        .collect();
    let drop = StochasticDepth { rate: 0.0, seed: 0 };
    let passes: Vec<Pass> = reductions
        .iter()
        .map(|reduction| Pass { reduction: reduction.clone(), drop, recompute, loss: Loss::CrossEntropy })
        .collect();
    // What a forward pass costs is counted once, untimed.
    let counts = reductions.iter().map(|reduction| count(model, reduction, &options));
    let counts = counts.collect::<Result<Vec<[f64; 3]>, _>>()?;
    // Operations of a forward pass say no share of what a step does.
    let timing = BenchOptions { peak: None, ..options };
    let rounds = Rounds::measure(reductions.len(), WARM_UP, &timing, |_, index| {
        let (pass, learner) = (&passes[index], &mut learners[index]);
        let (batch, targets) = (batch.clone(), targets.clone());
        let now = Instant::now();
        let input = batch.into_input(&shape, &device);
        let targets = TensorData::new(targets, [options.batch_size, classes]);
        let (_, gradients) =
            pass.gradients(&learner.network, input, Tensor::from_data(targets, &device), 1.0);
        let network = std::mem::replace(&mut learner.network, placeholder());
        learner.network = learner.optimizer.step(learner.groups.rates(1e-4), network, gradients);
        now.elapsed().as_secs_f64()
    });
    Ok(rounds.speeds(reductions, &counts, options.batch_size))
}

/// Operations, tokens left and activations of one item of a forward pass.
fn count(model: &Model, reduction: &Reduction, options: &BenchOptions) -> Result<[f64; 3], NotFinite> {
    let measured = model.measure(model.input().random(1, 2), reduction, options.convention)?;
    Ok([measured.gmacs[0], measured.tokens_left[0] as f64, measured.mega_activations[0]])
}
