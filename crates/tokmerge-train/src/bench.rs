//! How fast training is, with and without merging.

use crate::groups::{Learns, Pace};
use crate::loss::{Loss, soft_targets};
use crate::optimizer::{Groups, optimizer};
use crate::pass::{Pass, Target};
use crate::recipe::{AdamRecipe, OptimizerRecipe, Recompute};
use crate::weights::placeholder;
use burn::tensor::{Tensor, TensorData};
use burn_optim::ModuleOptimizer;
use std::collections::BTreeMap;
use std::time::Instant;
use tokmerge_eval::{BenchOptions, MOST_OF_ANSWER, Rounds, Speed};
use tokmerge_merge::Reduction;
use tokmerge_models::{Answers, DropRates, InputShape, Model, Network, NotFinite};
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
/// random normal images, or on random texts: a model that writes is taught texts as long as those that it reads, and
/// of questions short answers. Each way trains a copy of the model of its own.
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
    let target = match model.network().decoder() {
        Some(_) => Target::Texts { answers: answers(&shape, options.batch_size), smoothing: 0.0 },
        None => {
            let labels: Vec<usize> = (0..options.batch_size).map(|item| item % classes.max(1)).collect();
            let targets = TensorData::new(soft_targets(&labels, classes, 0.0), [options.batch_size, classes]);
            let targets = Tensor::from_data(targets, &device);
            Target::Classes { targets, loss: Loss::CrossEntropy, lesson: None }
        }
    };
    let recipe = OptimizerRecipe::AdamW(AdamRecipe { weight_decay: 0.01, ..AdamRecipe::default() });
    let mut learners: Vec<Learner> = reductions
        .iter()
        .map(|reduction| {
            let network = model.network().clone().with_fresh_mergers(reduction.method(), &device);
            let network = assign(network, &BTreeMap::new(), &device);
            let groups = Groups::new(&network, Pace::EQUAL);
            let optimizer = optimizer(&recipe, &groups);
            Learner { network, groups, optimizer }
        })
        .collect();
    let passes: Vec<Pass> = reductions
        .iter()
        .map(|reduction| {
            let (reduction, drop) = (reduction.clone(), DropRates::default());
            Pass { reduction, drop, recompute, consistency: None, class_head: None }
        })
        .collect();
    // What a forward pass costs is counted once, untimed.
    let counts = reductions.iter().map(|reduction| count(model, reduction, &options));
    let counts = counts.collect::<Result<Vec<[f64; 3]>, _>>()?;
    // Operations of a forward pass say no share of what a step does.
    let timing = BenchOptions { peak: None, ..options };
    let rounds = Rounds::measure(reductions.len(), WARM_UP, &timing, |_, index| {
        let (pass, learner) = (&passes[index], &mut learners[index]);
        let (batch, target) = (batch.clone(), target.clone());
        let now = Instant::now();
        let input = batch.into_input(&shape, &device);
        let (_, gradients) = pass.gradients(&learner.network, input, target, 1.0);
        let network = std::mem::replace(&mut learner.network, placeholder());
        learner.network = learner.optimizer.step(learner.groups.rates(1e-4, Learns::All), network, gradients);
        now.elapsed().as_secs_f64()
    });
    Ok(rounds.speeds(reductions, &counts, options.batch_size))
}

/// Random texts to be written: as long as those that go in, or as answers to questions are.
fn answers(shape: &InputShape, items: usize) -> Answers {
    let answer = shape.texts().map(|(vocabulary, room)| InputShape::Text {
        vocabulary,
        most: if shape.pixels() > 0 { MOST_OF_ANSWER.min(room) } else { room },
    });
    Answers::new(&answer.map_or_else(Vec::new, |answer| answer.random(items, 3).texts))
}

/// Operations, tokens left and activations of one item of a forward pass; of all tokens where training masks them and drops none.
fn count(model: &Model, reduction: &Reduction, options: &BenchOptions) -> Result<[f64; 3], NotFinite> {
    let none = Reduction::none();
    let trained = if reduction.relaxes() { &none } else { reduction };
    let measured = model.measure(model.input().random(1, 2), trained, options.convention)?;
    Ok([measured.gmacs[0], measured.tokens_left[0] as f64, measured.mega_activations[0]])
}

#[cfg(test)]
mod tests {
    use super::answers;
    use tokmerge_models::InputShape;

    #[test]
    fn what_is_to_be_written_is_of_the_models_own_tokens() {
        let len = |shape: InputShape| {
            let answers = answers(&shape, 3);
            assert!(answers.layout.items() == 3 && answers.ids.iter().any(|id| *id > 0));
            answers.layout.range(2).len()
        };
        assert_eq!(len(InputShape::Text { vocabulary: 90, most: 20 }), 20);
        let of_patches = InputShape::Question { channels: 3, patch: 8, most: 9, vocabulary: 90, room: 20 };
        let of_images = InputShape::ImageQuestion { channels: 3, size: (24, 24), vocabulary: 90, room: 20 };
        assert_eq!((len(of_patches), len(of_images)), (8, 8));
    }
}
