//! What a block does with each token after attention: one MLP, or a choice of several.

use super::{LayerNorm, Mlp};
use crate::experts::MixtureOfExperts;
use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::{Device, Tensor};
use std::fmt;
use tokmerge_merge::{Layout, Random};
use tokmerge_ops::mlp_residual;

/// The second half of a block.
///
/// `Module` is written out, since a derived one would put the name of the variant into the paths of parameters, and
/// those are timm's: `mlp.fc1.weight`. Of experts they are `mlp.router.weight` and `mlp.experts.0.fc1.weight`.
#[derive(Clone, Debug)]
pub enum FeedForward {
    /// One MLP for all tokens.
    Dense(Mlp),
    /// Every token uses a few of several.
    Experts(MixtureOfExperts),
}

impl FeedForward {
    /// `x + scale * branch(norm(x))`: `[T, C]` → `[T, C]`.
    pub(crate) fn residual(
        &self,
        x: Tensor<2>,
        norm: &LayerNorm,
        scale: Option<Tensor<1>>,
        layout: &Layout,
    ) -> Tensor<2> {
        match self {
            Self::Dense(mlp) => mlp_residual(x, mlp.weights(norm), scale),
            Self::Experts(experts) => {
                let y = experts.forward(norm.forward(x.clone()), layout);
                add(x, y, scale)
            }
        }
    }

    /// As [`residual`](Self::residual), for training. Says too what is to be added to the loss, `[1]`.
    pub(crate) fn residual_train(
        &self,
        x: Tensor<2>,
        norm: &LayerNorm,
        scale: Option<Tensor<1>>,
        layout: &Layout,
        random: &mut Random,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        match self {
            Self::Experts(experts) if layout.rows() > 0 => {
                let normed = norm.forward(x.clone());
                let (y, balance) = experts.forward_train(normed, layout, random);
                (add(x, y, scale), Some(balance.weighted(experts.training())))
            }
            Self::Dense(_) | Self::Experts(_) => (self.residual(x, norm, scale, layout), None),
        }
    }
}

fn add(x: Tensor<2>, y: Tensor<2>, scale: Option<Tensor<1>>) -> Tensor<2> {
    match scale {
        Some(scale) => x + y * scale.unsqueeze::<2>(),
        None => x + y,
    }
}

/// The same of either kind.
macro_rules! either {
    ($self:expr, $part:ident => $of:expr) => {
        match $self {
            FeedForward::Dense($part) => $of,
            FeedForward::Experts($part) => $of,
        }
    };
    ($self:expr, map $part:ident => $of:expr) => {
        match $self {
            FeedForward::Dense($part) => FeedForward::Dense($of),
            FeedForward::Experts($part) => FeedForward::Experts($of),
        }
    };
}

impl Module for FeedForward {
    fn num_params(&self) -> usize {
        either!(self, part => Module::num_params(part))
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        either!(self, part => part.visit(visitor));
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        either!(self, map part => part.map(mapper))
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        either!(self, part => part.collect_devices(devices))
    }

    fn to_device(self, device: &Device) -> Self {
        either!(self, map part => part.to_device(device))
    }

    fn fork(self, device: &Device) -> Self {
        either!(self, map part => part.fork(device))
    }

    fn valid(&self) -> Self {
        either!(self, map part => part.valid())
    }

    fn train(self) -> Self {
        either!(self, map part => part.train())
    }

    fn materialize(self) -> Self {
        either!(self, map part => part.materialize())
    }
}

impl fmt::Display for FeedForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        either!(self, part => fmt::Display::fmt(part, f))
    }
}

impl ModuleDisplayDefault for FeedForward {
    fn content(&self, content: Content) -> Option<Content> {
        either!(self, part => part.content(content))
    }

    fn num_params(&self) -> usize {
        Module::num_params(self)
    }
}

impl ModuleDisplay for FeedForward {}
