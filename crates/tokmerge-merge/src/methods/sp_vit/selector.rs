//! What says which patches are worth keeping, head by head (SP-ViT).

use super::package;
use crate::Tokens;
use crate::mergers::{Stage, Start, Weighted};
use crate::methods::dynamic_vit::{Predictor, predictor};
use crate::methods::patches::{Patches, also, ratio_loss};
use burn::module::Module;
use burn::tensor::{Tensor, activation::sigmoid, s};
use tokmerge_nn::Linear;
use tokmerge_ops::{Activation, Layout, linear};

/// What no probability that a logarithm is taken of is below: it would have no gradient.
const LEAST: f32 = 1e-30;

/// Inputs and outputs of the squeeze net.
fn squeeze(heads: usize) -> [[usize; 2]; 2] {
    let half = (heads / 2).max(1);
    [[heads, half], [half, heads]]
}

/// Number of parameters for tokens of `channels`.
pub(super) fn parameters(channels: usize, heads: usize) -> usize {
    let weighs: usize = squeeze(heads).iter().map(|[inputs, outputs]| (inputs + 1) * outputs).sum();
    predictor::parameters(channels / heads) + weighs
}

/// Multiply-adds for one patch of `channels`.
pub(super) fn macs(channels: usize, heads: usize) -> usize {
    let weighs: usize = squeeze(heads).iter().map(|[inputs, outputs]| inputs * outputs).sum();
    heads * predictor::macs(channels / heads) + weighs
}

/// The network before a block. The channels of a token are `H` heads of `D`, side by side. The predictor of DynamicViT looks at
/// one head of all patches after the other, always with the same weights, and says how probable it is that each is kept. How
/// much the heads of a patch count is `σ(H/2→H(GELU(H→H/2(m))))`, `m` being the means of their channels; the probabilities are
/// averaged by that.
#[derive(Module, Debug)]
pub struct Selector {
    /// For tokens of `D` channels.
    pub predictor: Predictor,
    /// `[H / 2, H]`.
    pub squeeze: Linear,
    /// `[H, H / 2]`.
    pub excite: Linear,
    #[module(skip)]
    heads: usize,
}

impl Selector {
    pub(super) fn new(target: f64, channels: usize, heads: usize, start: &mut Start<'_>) -> Self {
        let predictor = Predictor::new(target, channels / heads, start);
        let [squeeze, excite] = squeeze(heads).map(|[inputs, outputs]| start.linear(inputs, outputs, 0.02));
        Self { predictor, squeeze, excite, heads }
    }

    /// How much each head counts, `x: [P, H, D]` → `[P, H]`.
    fn weights(&self, x: Tensor<3>) -> Tensor<2> {
        let [patches, heads, _] = x.dims();
        let means = x.mean_dim(2).reshape([patches, heads]);
        sigmoid(self.excite.forward(linear(means, self.squeeze.weights(), Activation::Gelu)))
    }

    /// How much likelier each patch is kept than dropped, as a logarithm, `[P, 1]`.
    fn odds(&self, tokens: &Tokens, patches: &Patches) -> Tensor<2> {
        let (rows, heads) = (patches.rows.len(), self.heads);
        if rows == 0 {
            return Tensor::zeros([0, 1], &tokens.device());
        }
        let x = patches.rows_of(tokens.x.clone());
        let [_, channels] = x.dims();
        let x = x.reshape([rows, heads, channels / heads]);
        let weights = self.weights(x.clone()).swap_dims(0, 1).reshape([heads, rows, 1]);
        let weights = weights.clone() / weights.sum_dim(0).clamp_min(LEAST);
        let by_head = x.swap_dims(0, 1).reshape([heads * rows, channels / heads]);
        let policy = patches.policy(tokens).map(|policy| policy.repeat_dim(0, heads));
        let logs = self.predictor.log_probabilities(by_head, policy, &repeated(&patches.layout, heads));
        let probabilities = (logs.exp().reshape([heads, rows, 2]) * weights).sum_dim(0).reshape([rows, 2]);
        let logs = probabilities.clamp_min(LEAST).log();
        logs.clone().slice(s![.., 0..1]) - logs.slice(s![.., 1..2])
    }
}

/// The same items so many times.
fn repeated(layout: &Layout, times: usize) -> Layout {
    let lens: Vec<usize> = layout.lens().collect();
    Layout::from_lens(&lens.repeat(times))
}

impl Weighted for Selector {
    /// How much likelier each single patch is kept than dropped, as a logarithm; of other tokens, which always stay, 0. `[T]`.
    fn scores(&self, tokens: &Tokens) -> Option<Vec<f32>> {
        let patches = Patches::single(tokens);
        Some(patches.scores(self.odds(tokens, &patches), tokens.layout.rows()))
    }

    /// Draws which patches are kept of those that still are, and returns the same tokens with that policy, the package of the
    /// others at the end of every item, and what is to be added to the loss, `[1]`.
    fn relax(&self, tokens: Tokens, stage: Stage, seed: u64) -> (Tokens, Option<Tensor<1>>) {
        let patches = Patches::single(&tokens);
        let before = patches.policy(&tokens);
        let drawn = patches.draw(self.odds(&tokens, &patches), stage.layer, seed);
        let dropped = also(-drawn.clone() + 1.0, before.clone());
        let alone = package::alone(&dropped, &patches.layout);
        let (policy, dropped) = (also(drawn + alone.clone(), before), dropped - alone);
        let loss = ratio_loss(&policy, &patches.layout, self.predictor.target, stage);
        let policy = patches.with_others(policy, tokens.layout.rows());
        let tokens = Tokens { policy: Some(policy), ..tokens };
        (package::appended(tokens, &patches, dropped), Some(loss))
    }
}
