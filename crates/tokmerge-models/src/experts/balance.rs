//! Losses that keep experts equally busy (V-MoE, appendix A.2).

use super::routing::{Buffers, Group, Order, Routing};
use burn::tensor::{Tensor, s};
use std::ops::Range;

/// How routers are trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RouterTraining {
    /// How tokens are distributed meanwhile.
    pub routing: Routing,
    /// Deviation of the noise on the router's logits, times the number of experts.
    pub noise: f64,
    /// Weight of the importance loss.
    pub importance: f64,
    /// Weight of the load loss.
    pub load: f64,
}

impl Default for RouterTraining {
    /// As V-MoE was pretrained: capacity 1.05 in groups of 8 images, noise 1, both losses at 0.005.
    fn default() -> Self {
        let buffers = Buffers { factor: 1.05, group: Group::Images(8), order: Order::Position };
        Self { routing: Routing::Buffers(buffers), noise: 1.0, importance: 0.005, load: 0.005 }
    }
}

impl RouterTraining {
    /// Images that are balanced among themselves: those that share buffers, else each alone.
    pub(crate) fn group(&self) -> Group {
        match self.routing {
            Routing::Free => Group::Images(1),
            Routing::Buffers(buffers) => buffers.group,
        }
    }
}

/// The losses of one layer, each the mean over its groups, `[1]`.
#[derive(Clone, Debug)]
pub(crate) struct Balance {
    /// How unequal the sums of gates are.
    pub(crate) importance: Tensor<1>,
    /// How unequal the tokens are that experts may expect; without noise there is none.
    pub(crate) load: Option<Tensor<1>>,
}

impl Balance {
    /// From the softmax of the logits without noise, `[T, E]`.
    pub(crate) fn importance(gates: &Tensor<2>, groups: &[Range<usize>]) -> Self {
        Self { importance: mean(groups, |rows| variation(&part(gates, rows).sum_dim(0))), load: None }
    }

    /// With the load: the chance of every token to choose every expert if the noise, normal with `deviation`, were
    /// drawn again. `logits: [T, E]` are without noise; `least: [T, 1]` is the smallest logit, with noise, with which
    /// an expert was chosen.
    pub(crate) fn with_load(
        self,
        logits: &Tensor<2>,
        least: &Tensor<2>,
        deviation: f64,
        groups: &[Range<usize>],
    ) -> Self {
        let missing = (least.clone() - logits.clone()) / (deviation * std::f64::consts::SQRT_2);
        let chance = (-missing.erf() + 1.0) / 2.0;
        Self { load: Some(mean(groups, |rows| variation(&part(&chance, rows).mean_dim(0)))), ..self }
    }

    /// The weighted sum that is added to the loss, `[1]`.
    pub(crate) fn weighted(self, training: &RouterTraining) -> Tensor<1> {
        let importance = self.importance * training.importance;
        match self.load {
            Some(load) => importance + load * training.load,
            None => importance,
        }
    }
}

fn part(x: &Tensor<2>, rows: &Range<usize>) -> Tensor<2> {
    x.clone().slice(s![rows.clone(), ..])
}

/// The square of the coefficient of variation of `[1, E]` values: their variance over the square of their mean, `[1]`.
fn variation(values: &Tensor<2>) -> Tensor<1> {
    let mean = values.clone().mean_dim(1);
    let variance = (values.clone() - mean.clone()).powi_scalar(2).mean_dim(1);
    (variance / mean.powi_scalar(2)).reshape([1])
}

fn mean(groups: &[Range<usize>], of: impl Fn(&Range<usize>) -> Tensor<1>) -> Tensor<1> {
    Tensor::cat(groups.iter().map(of).collect(), 0).mean()
}
