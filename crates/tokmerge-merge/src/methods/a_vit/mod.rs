//! A-ViT (Yin et al., 2022, arXiv:2112.07658): every token says after every block how probable it is that it stops there, and
//! stops when that adds up to one. What it is in the end is the mean of what it was after its blocks, weighted by that
//! (adaptive computation time; Graves, 2016, arXiv:1603.08983).
//!
//! - The probability is `σ(γ x - β)` of a token's first channel `x`, γ and β being constants: there are no other weights than
//!   the model's own, which training has to bring to say it.
//! - A token stops after the block in which the sum passes 0.99, at the latest after the last. Blocks count by their
//!   probabilities, the one in which it stops by what is missing to 1, the remainder.
//! - Inference: patches that have stopped are dropped before the next block, as many as an image has. The class token, and
//!   others in front, go on, since tokens in front never go, but nothing is added to their sums any more. The head sees their
//!   sums. It sees no patches: models whose answer is made of these are refused.
//! - Training ([`Reduction::relax`](crate::Reduction::relax)): all tokens stay, those that have stopped are masked in
//!   attention. To the loss are added `5e-4` times the mean over tokens of the number of blocks and the remainder, and `1e-3`
//!   times the Kullback-Leibler divergence `Σ p ln(p / q)` of the mean probabilities of each block, as parts `p` of their sum,
//!   from a Gaussian `q` around `centre`.
//!
//! γ of 10 and β of 30 are those that the published code's README has for DeiT-Ti (β of 75 for DeiT-S); its defaults are 100
//! and 3. As in that code parts are limited to 0.01 to 0.99 in the divergence, and the Gaussian has a deviation of one block
//! and adds up to 0.98 up to its centre, the 8th of 12 blocks. Otherwise than there:
//!
//! - Its mean over the tokens of a block leaves out the first image of the batch, where the class token is meant. Here it is
//!   over all patches.
//! - There a class token that has stopped is masked too. Here patches still attend to it, which changes nothing that the head
//!   sees of a model with one token in front.
//!
//! Ours, since what was read of that code leaves it open: tokens that have stopped count as 0 in the means of all later blocks,
//! the last one too, in which the others count as 1; the centre in models of another depth.

mod loss;
mod options;
#[cfg(test)]
mod tests;

use super::patches::Patches;
use super::{At, Rule};
use crate::plan::PlanBuilder;
use crate::{
    Amount, Carried, Combine, Evidence, Halting, MergePlan, ModelFacts, Readout, ScheduleError, Site, Tokens,
    TrainedBy,
};
use burn::tensor::{Tensor, activation::sigmoid, s};
use std::sync::Arc;
use tokmerge_ops::gather_rows;

pub(super) use options::INFO;

/// What the probabilities of a token that stops add up to: 1 but for 0.01.
const ENOUGH: f64 = 0.99;

/// When tokens stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What the first channel of a token is multiplied by (γ).
    pub gamma: f64,
    /// What is subtracted from that (β): the larger, the later tokens stop.
    pub beta: f64,
    /// In training, the block around which they are to stop, from 1. `None`: after two thirds of the model.
    pub centre: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self { gamma: 10.0, beta: 30.0, centre: None }
    }
}

/// What one block was to the tokens that it leaves, `[T, 1]` each.
struct Passed {
    /// 1 for those that had not stopped before.
    running: Tensor<2>,
    /// The probability of stopping, 0 for all others.
    halting: Tensor<2>,
    /// The sum with it.
    sum: Tensor<2>,
    /// What is missing to 1, for those that stop; 0 for all others.
    remainder: Tensor<2>,
    /// What the block counts.
    weight: Tensor<2>,
}

/// 1 for tokens whose sum is not enough, `[T, 1]`. It has no gradient.
fn running(sum: &Tensor<2>) -> Tensor<2> {
    sum.clone().detach().lower_elem(ENOUGH).float()
}

impl Passed {
    /// By the sums before, and the probabilities of stopping.
    fn new(before: Tensor<2>, halting: Tensor<2>) -> Self {
        let was_running = running(&before);
        let halting = halting * was_running.clone();
        let sum = before.clone() + halting.clone();
        let stops = was_running.clone() * (-running(&sum) + 1.0);
        let remainder = (-before + 1.0) * stops.clone();
        let weight = halting.clone() * (-stops + 1.0) + remainder.clone();
        Self { running: was_running, halting, sum, remainder, weight }
    }

    /// What the tokens in front add to their sums: `x: [T, C]` → `[P, C]`.
    fn added(&self, x: Tensor<2>, front: &Arc<[u32]>) -> Tensor<2> {
        gather_rows(x, front) * gather_rows(self.weight.clone(), front)
    }
}

impl Options {
    /// How probable it is that each token stops, `[T, 1]`.
    fn halting(&self, x: &Tensor<2>) -> Tensor<2> {
        sigmoid(x.clone().slice(s![.., 0..1]) * self.gamma - self.beta)
    }

    /// Nothing, before the first block.
    fn begin(tokens: Tokens, means: Option<Vec<Tensor<2>>>) -> Tokens {
        let ([rows, channels], device) = (tokens.x.dims(), tokens.device());
        let front = tokens.prefix.front(&tokens.layout).rows();
        let (sum, output) = (Tensor::zeros([rows, 1], &device), Tensor::zeros([front, channels], &device));
        Tokens { carried: Some(Carried::Halting(Halting { sum, output, means })), ..tokens }
    }

    /// The same tokens after a block that makes it that probable to stop, and what the block was to them.
    fn passed(tokens: Tokens, halting: Tensor<2>) -> (Tokens, Passed) {
        let (tokens, Halting { sum, output, means }) = gathered(tokens);
        let passed = Passed::new(sum, halting);
        let front = tokens.layout.rows_of(&tokens.prefix.front(&tokens.layout));
        let output = output + passed.added(tokens.x.clone(), &front);
        let means = means.map(|mut means| {
            let patches = Patches::of(&tokens).rows_of(passed.halting.clone());
            means.push(loss::mean(patches));
            means
        });
        let halting = Halting { sum: passed.sum.clone(), output, means };
        (Tokens { carried: Some(Carried::Halting(halting)), ..tokens }, passed)
    }
}

/// Tokens, and what they have gathered.
fn gathered(mut tokens: Tokens) -> (Tokens, Halting) {
    match tokens.carried.take() {
        Some(Carried::Halting(halting)) => (tokens, halting),
        _ => panic!("A-ViT weighs every block: a pass with it begins before the first"),
    }
}

impl Rule for Options {
    fn site(&self) -> Site {
        Site::BeforeBlock
    }

    fn combine(&self) -> Combine {
        Combine::KeepOne
    }

    fn trained_by(&self) -> TrainedBy {
        TrainedBy::Masks
    }

    fn reads(&self) -> Option<Readout> {
        Some(Readout::Prefix)
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        if let Some(layer) = self.centre.filter(|centre| *centre > facts.depth) {
            return Err(ScheduleError::Layer { layer, depth: facts.depth });
        }
        let amount = |layer| if layer == 0 { Amount::NOTHING } else { Amount::ByTokens };
        Ok((0..facts.depth).map(amount).collect())
    }

    fn noted(&self, at: &At, tokens: Tokens) -> Tokens {
        if at.layer == 0 {
            return Self::begin(tokens, None);
        }
        let halting = self.halting(&tokens.x);
        Self::passed(tokens, halting).0
    }

    fn plan(&self, _: &At, tokens: &Tokens, _: Evidence) -> Option<MergePlan> {
        let (_, Halting { sum, .. }) = gathered(tokens.clone());
        let sums: Vec<f32> = sum.without_autodiff().into_data().iter::<f32>().collect();
        let mut builder = PlanBuilder::new(tokens.layout.clone());
        let mut changes = false;
        for item in 0..tokens.layout.items() {
            let sums = &sums[tokens.layout.range(item)];
            let patches = tokens.front_of(item) as u32..sums.len() as u32;
            // What is no number has stopped.
            let runs = |place: &u32| f64::from(sums[*place as usize]) < ENOUGH;
            let stopped: Vec<u32> = patches.filter(|place| !runs(place)).collect();
            changes |= !stopped.is_empty();
            builder.item_dropping(&stopped);
        }
        changes.then(|| builder.finish())
    }

    fn relax(&self, at: &At, tokens: Tokens) -> (Tokens, Option<Tensor<1>>) {
        if at.layer == 0 {
            return (Self::begin(tokens, Some(Vec::new())), None);
        }
        let halting = self.halting(&tokens.x);
        let (tokens, passed) = Self::passed(tokens, halting);
        let patches = Patches::of(&tokens);
        let policy = patches.with_others(patches.rows_of(running(&passed.sum)), tokens.layout.rows());
        (Tokens { policy: Some(policy), ..tokens }, Some(loss::ponder(&passed)))
    }

    /// In the last block all stop that have not.
    fn settle(&self, at: &At, tokens: Tokens) -> (Tokens, Option<Tensor<1>>) {
        let last = Tensor::ones([tokens.layout.rows(), 1], &tokens.device());
        let (tokens, passed) = Self::passed(tokens, last);
        let (tokens, Halting { output, means, .. }) = gathered(tokens);
        let centre = self.centre.unwrap_or_else(|| (2 * at.depth).div_ceil(3));
        let added = means.map(|means| loss::ponder(&passed) + loss::divergence(means, centre));
        let mut from: Vec<u32> =
            (0..tokens.layout.rows()).map(|row| (output.dims()[0] + row) as u32).collect();
        let front = tokens.layout.rows_of(&tokens.prefix.front(&tokens.layout));
        front.iter().enumerate().for_each(|(index, row)| from[*row as usize] = index as u32);
        let x = gather_rows(Tensor::cat(vec![output, tokens.x], 0), &from.into());
        (Tokens { x, ..tokens }.settled(), added)
    }
}
