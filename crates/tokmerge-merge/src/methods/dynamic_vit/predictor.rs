//! What says which patches are worth keeping (DynamicViT, §3.2), and how it learns (§3.3, §3.4).

use crate::Tokens;
use crate::mergers::{Stage, Start, Weighted};
use crate::methods::patches::{Patches, also, means, ratio_loss};
use burn::module::Module;
use burn::tensor::{Tensor, activation::log_softmax, s};
use tokmerge_nn::{Linear, Norm};
use tokmerge_ops::{Activation, Layout, linear};

/// Epsilon of the norm.
const EPS: f64 = 1e-5;

/// Inputs and outputs of the linear layers for tokens of `channels`.
pub(in crate::methods) fn layers(channels: usize) -> [[usize; 2]; 4] {
    let (half, quarter) = ((channels / 2).max(1), (channels / 4).max(1));
    [[channels, channels], [channels, half], [half, quarter], [quarter, 2]]
}

/// Number of parameters for tokens of `channels`.
pub(in crate::methods) fn parameters(channels: usize) -> usize {
    layers(channels).iter().fold(2 * channels, |sum, [inputs, outputs]| sum + (inputs + 1) * outputs)
}

/// Multiply-adds for one patch of `channels`.
pub(in crate::methods) fn macs(channels: usize) -> usize {
    layers(channels).iter().map(|[inputs, outputs]| inputs * outputs).sum()
}

/// The network before a block: `LN, C→C, GELU`; half of the channels of each patch and the mean of all patches in the other
/// half; `C→C/2, GELU, C/2→C/4, GELU, C/4→2`, the logarithm of the softmax.
#[derive(Module, Debug)]
pub struct Predictor {
    /// Of the patches.
    pub norm: Norm,
    /// `[C, C]`.
    pub embed: Linear,
    /// `[C / 2, C]`.
    pub fc1: Linear,
    /// `[C / 4, C / 2]`.
    pub fc2: Linear,
    /// `[2, C / 4]`: keep, drop.
    pub fc3: Linear,
    /// The part of an image's patches that it is to keep.
    #[module(skip)]
    pub(in crate::methods) target: f64,
}

impl Predictor {
    pub(crate) fn new(target: f64, channels: usize, start: &mut Start<'_>) -> Self {
        let [embed, fc1, fc2, fc3] =
            layers(channels).map(|[inputs, outputs]| start.linear(inputs, outputs, 0.02));
        Self { norm: start.layer_norm(channels, EPS), embed, fc1, fc2, fc3, target }
    }

    /// What is kept and what is dropped, as logarithms of probabilities, of patches `x: [P, C]` of which `policy: [P, 1]` says
    /// which still count: `[P, 2]`.
    pub(in crate::methods) fn log_probabilities(
        &self,
        x: Tensor<2>,
        policy: Option<Tensor<2>>,
        layout: &Layout,
    ) -> Tensor<2> {
        if layout.rows() == 0 {
            return Tensor::zeros([0, 2], &x.device());
        }
        let gelu = |x, layer: &Linear| linear(x, layer.weights(), Activation::Gelu);
        let x = gelu(self.norm.forward(x), &self.embed);
        let local = x.dims()[1] / 2;
        let own = x.clone().slice(s![.., ..local]);
        let shared = means(x.slice(s![.., local..]), policy, layout);
        let x = gelu(gelu(Tensor::cat(vec![own, shared], 1), &self.fc1), &self.fc2);
        log_softmax(self.fc3.forward(x), 1)
    }

    fn of(&self, tokens: &Tokens, patches: &Patches) -> Tensor<2> {
        self.log_probabilities(patches.rows_of(tokens.x.clone()), patches.policy(tokens), &patches.layout)
    }
}

impl Weighted for Predictor {
    /// The logarithm of the probability of keeping each token; of prefix tokens, which always stay, 0. `[T]`.
    fn scores(&self, tokens: &Tokens) -> Option<Vec<f32>> {
        let patches = Patches::of(tokens);
        let kept = self.of(tokens, &patches).slice(s![.., 0..1]);
        Some(patches.scores(kept, tokens.layout.rows()))
    }

    /// Draws which patches are kept of those that still are, and returns the same tokens with that policy, and what is to be
    /// added to the loss, `[1]`.
    fn relax(&self, tokens: Tokens, stage: Stage, seed: u64) -> (Tokens, Option<Tensor<1>>) {
        let patches = Patches::of(&tokens);
        let logs = self.of(&tokens, &patches);
        let odds = logs.clone().slice(s![.., 0..1]) - logs.slice(s![.., 1..2]);
        let decided = patches.draw(odds, stage.layer, seed);
        let policy = also(decided, patches.policy(&tokens));
        let loss = ratio_loss(&policy, &patches.layout, self.target, stage);
        let policy = patches.with_others(policy, tokens.layout.rows());
        (Tokens { policy: Some(policy), ..tokens }, Some(loss))
    }
}
