//! What a block does with each token after attention: one MLP, or a choice of several.

use super::{BlockConfig, Gate, Order};
use crate::experts::MixtureOfExperts;
use burn::tensor::{Device, Tensor};
use tokmerge_merge::Layout;
use tokmerge_nn::{Bias, GatedMlp, Linear, Mlp, Norm, Random, transparent_module};
use tokmerge_ops::{Precision, mlp_residual};

/// The second half of a block.
///
/// Paths of parameters are timm's, whichever is there: `mlp.fc1.weight`; of experts `mlp.router.weight` and
/// `mlp.experts.0.fc1.weight`.
#[derive(Clone, Debug)]
pub enum FeedForward {
    /// One MLP for all tokens.
    Dense(Mlp),
    /// One MLP for all tokens, half of whose hidden channels gate the others.
    Gated(GatedMlp),
    /// Every token uses a few of several.
    Experts(MixtureOfExperts),
}

/// Where a branch is normed, and how it is added to what it branches off from.
pub(crate) struct Joint<'a> {
    pub(crate) order: Order,
    pub(crate) norm: &'a Norm,
    /// One factor per channel of the branch, `[C]`; none is 1.
    pub(crate) scale: Option<Tensor<1>>,
}

impl Joint<'_> {
    /// The result from `x: [T, C]` and a branch that begins with the norm where one stands there.
    fn join(self, x: Tensor<2>, branch: Tensor<2>) -> Tensor<2> {
        match self.order {
            Order::PreNorm => add(x, branch, self.scale),
            Order::ResidualPostNorm => add(x, self.norm.forward(branch), self.scale),
            Order::PostNorm => self.norm.forward(add(x, branch, self.scale)),
        }
    }
}

impl FeedForward {
    /// A dense or gated MLP, random until weights are loaded.
    #[must_use]
    pub fn new(config: &BlockConfig, precision: Precision, device: &Device) -> Self {
        let (channels, mlp) = (config.channels, config.mlp);
        let bias = Bias::when(mlp.bias);
        let fc1 = Linear::new(channels, mlp.gate.outputs() * mlp.hidden, bias, precision, device);
        let norm = mlp.norm.then(|| config.norm.layer(mlp.hidden, device));
        let fc2 = Linear::new(mlp.hidden, channels, bias, precision, device);
        match mlp.gate {
            Gate::None => Self::Dense(Mlp::of(fc1, mlp.activation, norm, fc2)),
            gate => Self::Gated(GatedMlp::of(fc1, mlp.activation, gate, norm, fc2)),
        }
    }

    /// Without norm and residual: `[T, C]` → `[T, C]`. In training also what is to be added to the loss, `[1]`.
    pub(crate) fn branch(
        &self,
        x: Tensor<2>,
        layout: &Layout,
        training: Option<&mut Random>,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        match (self, training) {
            (Self::Dense(mlp), _) => (mlp.forward(x), None),
            (Self::Gated(mlp), _) => (mlp.forward(x), None),
            (Self::Experts(experts), Some(random)) if layout.rows() > 0 => {
                let (y, balance) = experts.forward_train(x, layout, random);
                (y, Some(balance.weighted(experts.training())))
            }
            (Self::Experts(experts), _) => (experts.forward(x, layout), None),
        }
    }

    /// The half with its norm and residual, as [`branch`](Self::branch) otherwise.
    pub(crate) fn residual(
        &self,
        x: Tensor<2>,
        joint: Joint<'_>,
        layout: &Layout,
        training: Option<&mut Random>,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        let fused = match self {
            Self::Dense(mlp) if joint.order == Order::PreNorm => Some(mlp.weights()),
            Self::Gated(mlp) if joint.order == Order::PreNorm => Some(mlp.weights()),
            _ => None,
        };
        if let Some(weights) = fused {
            return (mlp_residual(x, joint.norm.weights(), weights, joint.scale), None);
        }
        let entering = match joint.order {
            Order::PreNorm => joint.norm.forward(x.clone()),
            Order::ResidualPostNorm | Order::PostNorm => x.clone(),
        };
        let (y, auxiliary) = self.branch(entering, layout, training);
        (joint.join(x, y), auxiliary)
    }
}

/// `x + scale * y`.
pub(crate) fn add(x: Tensor<2>, y: Tensor<2>, scale: Option<Tensor<1>>) -> Tensor<2> {
    match scale {
        Some(scale) => x + y * scale.unsqueeze::<2>(),
        None => x + y,
    }
}

transparent_module!(FeedForward { Dense, Gated, Experts });
