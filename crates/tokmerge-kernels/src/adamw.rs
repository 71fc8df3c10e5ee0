//! A step of AdamW in one pass over memory.

use crate::isa::Isa;
use crate::simd::{Job, Simd, dispatch};
use crate::threads::{Shared, for_each_chunk};

/// What a step of AdamW multiplies by (Loshchilov and Hutter, 2019, algorithm 2, as PyTorch orders it).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamwStep {
    /// Learning rate.
    pub lr: f64,
    /// How slowly the means of gradients and of their squares change.
    pub betas: [f64; 2],
    /// Added to the root of the squares.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Steps of this parameter, this one included: from 1.
    pub time: usize,
}

/// The factors of a step, each the same for all elements.
#[derive(Clone, Copy, Debug)]
struct Factors {
    keep: f32,
    betas: [f32; 2],
    fresh: [f32; 2],
    /// Of the mean, over the learning rate and its bias.
    rate: f32,
    /// Of the root of the squares, over their bias.
    root: f32,
    eps: f32,
}

impl AdamwStep {
    fn factors(&self) -> Factors {
        let [beta1, beta2] = self.betas;
        let time = self.time as i32;
        Factors {
            keep: (1.0 - self.lr * self.weight_decay) as f32,
            betas: [beta1 as f32, beta2 as f32],
            fresh: [(1.0 - beta1) as f32, (1.0 - beta2) as f32],
            rate: (self.lr / (1.0 - beta1.powi(time))) as f32,
            root: (1.0 - beta2.powi(time)).sqrt().recip() as f32,
            eps: self.eps as f32,
        }
    }
}

/// Elements of a task.
const GRAIN: usize = 1 << 14;

/// `to` = `weights` after a step; the moments `mean` and `squares` change in place. All have one length.
///
/// # Panics
/// When lengths differ.
pub fn adamw(
    step: &AdamwStep,
    weights: &[f32],
    grad: &[f32],
    mean: &mut [f32],
    squares: &mut [f32],
    to: &mut [f32],
) {
    let lengths = [grad.len(), mean.len(), squares.len(), to.len()];
    assert!(
        lengths.iter().all(|len| *len == weights.len()),
        "adamw: {} weights, but gradient, moments and result have {lengths:?} elements",
        weights.len()
    );
    let (isa, factors) = (Isa::current(), step.factors());
    let (mean, squares, to) = (Shared::new(mean), Shared::new(squares), Shared::new(to));
    for_each_chunk(weights.len(), GRAIN, |range| {
        // SAFETY: the ranges of different tasks do not overlap.
        let (mean, squares, to) =
            unsafe { (mean.range(range.clone()), squares.range(range.clone()), to.range(range.clone())) };
        let (weights, grad) = (&weights[range.clone()], &grad[range]);
        dispatch(isa, Part { factors, weights, grad, mean, squares, to });
    });
}

struct Part<'a> {
    factors: Factors,
    weights: &'a [f32],
    grad: &'a [f32],
    mean: &'a mut [f32],
    squares: &'a mut [f32],
    to: &'a mut [f32],
}

impl Job for Part<'_> {
    /// A plain loop: compiled for the instruction set, it becomes vectors with roots and quotients in them.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { factors, weights, grad, mean, squares, to } = self;
        let Factors { keep, betas, fresh, rate, root, eps } = factors;
        let count = weights.len();
        let (grad, mean, squares, to) =
            (&grad[..count], &mut mean[..count], &mut squares[..count], &mut to[..count]);
        for i in 0..count {
            let g = grad[i];
            let m = betas[0] * mean[i] + fresh[0] * g;
            let v = betas[1] * squares[i] + fresh[1] * g * g;
            (mean[i], squares[i]) = (m, v);
            to[i] = keep * weights[i] - rate * m / (root * v.sqrt() + eps);
        }
    }
}
