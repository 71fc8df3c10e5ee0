//! What says how informative patches are, and what it learns from (IA-RED², the idea).

use crate::decisions::{Decisions, Drawn};
use crate::mergers::{Stage, Start, Weighted};
use crate::methods::heads::{HEAD_DIM, heads};
use crate::methods::patches::{Patches, also};
use crate::{Carried, Tokens};
use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::log_sigmoid};
use tokmerge_nn::{Linear, Norm};
use tokmerge_ops::{Activation, linear};

/// Epsilon of the norm: ours.
const EPS: f64 = 1e-6;

/// Hidden channels of an MLP.
fn hidden(channels: usize) -> usize {
    (channels / 2).max(1)
}

/// Number of parameters for tokens of `channels`.
pub(super) fn parameters(channels: usize) -> usize {
    let hidden = hidden(channels);
    2 * ((channels + 1) * hidden + (hidden + 1) * channels) + 3 * channels
}

/// Multiply-adds of an MLP for one token.
pub(super) fn mlp_macs(channels: usize) -> usize {
    2 * channels * hidden(channels)
}

/// The network in front of a group of blocks. What speaks for keeping a patch `x` is the mean over `H` heads of the products
/// `F(LN(x)) · G(LN(p))`, `p` being the policy token and both `F` and `G` `C→C/2, GELU, C/2→C`: the sum over all channels,
/// divided by `H`.
#[derive(Module, Debug)]
pub struct Interpreter {
    /// Of patches and of the policy token.
    pub norm: Norm,
    /// `[C / 2, C]`, of patches.
    pub fc1: Linear,
    /// `[C, C / 2]`, of patches.
    pub fc2: Linear,
    /// The policy token, `[1, C]`.
    pub policy: Param<Tensor<2>>,
    /// `[C / 2, C]`, of the policy token.
    pub policy_fc1: Linear,
    /// `[C, C / 2]`, of the policy token.
    pub policy_fc2: Linear,
    #[module(skip)]
    tau: f64,
}

impl Interpreter {
    pub(super) fn new(tau: f64, channels: usize, start: &mut Start<'_>) -> Self {
        let hidden = hidden(channels);
        let [fc1, fc2, policy_fc1, policy_fc2] =
            [[channels, hidden], [hidden, channels], [channels, hidden], [hidden, channels]]
                .map(|[inputs, outputs]| start.linear(inputs, outputs, 0.02));
        let (norm, policy) = (start.layer_norm(channels, EPS), start.normal([1, channels], 0.02));
        Self { norm, fc1, fc2, policy, policy_fc1, policy_fc2, tau }
    }

    /// How much likelier each patch is kept than dropped, as a logarithm, `[P, 1]`. It has no gradient by the tokens.
    fn odds(&self, tokens: &Tokens, patches: &Patches) -> Tensor<2> {
        if patches.rows.is_empty() {
            return Tensor::zeros([0, 1], &tokens.device());
        }
        let mlp = |x: Tensor<2>, first: &Linear, second: &Linear| {
            second.forward(linear(self.norm.forward(x), first.weights(), Activation::Gelu))
        };
        let x = mlp(patches.rows_of(tokens.x.clone().detach()), &self.fc1, &self.fc2);
        let policy = mlp(self.policy.val(), &self.policy_fc1, &self.policy_fc2);
        let [_, channels] = x.dims();
        (x * policy).sum_dim(1) / heads(channels, HEAD_DIM) as f64
    }
}

impl Weighted for Interpreter {
    /// How much likelier each patch is kept than dropped, as a logarithm; of prefix tokens, which always stay, 0. `[T]`.
    fn scores(&self, tokens: &Tokens) -> Option<Vec<f32>> {
        let patches = Patches::of(tokens);
        Some(patches.scores(self.odds(tokens, &patches), tokens.layout.rows()))
    }

    /// Draws which patches are kept of those that still are, and returns the same tokens with that policy, which has no
    /// gradient, and with what is to be rewarded.
    fn relax(&self, tokens: Tokens, stage: Stage, seed: u64) -> (Tokens, Option<Tensor<1>>) {
        let patches = Patches::of(&tokens);
        let (odds, before) = (self.odds(&tokens, &patches), patches.policy(&tokens));
        let drawn = patches.draw(odds.clone(), stage.layer, seed).detach();
        let logs = log_sigmoid(odds * (drawn.clone() * 2.0 - 1.0));
        let logs = patches.mean_of_items(logs, before.clone());
        let policy = also(drawn, before);
        let kept = patches.mean_of_items(policy.clone(), None).into_data().iter::<f32>().collect();
        let policy = patches.with_others(policy, tokens.layout.rows());
        let decisions = match tokens.carried {
            Some(Carried::Decisions(decisions)) => decisions,
            _ => Decisions::none(self.tau),
        };
        let carried = Some(Carried::Decisions(decisions.and(Drawn { logs, kept })));
        (Tokens { policy: Some(policy), carried, ..tokens }, None)
    }
}
