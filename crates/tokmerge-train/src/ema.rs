//! An exponential moving average of the weights.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use tokmerge_models::Network;
use tokmerge_nn::parameters::{Values, assign, read};

/// `average = decay · average + (1 - decay) · weights`, after every step.
///
/// As timm's, the average starts at the weights that training starts from.
#[derive(Clone, Debug)]
pub(crate) struct Ema {
    decay: f64,
    average: Network,
}

impl Ema {
    /// The average of a model that has not been trained yet.
    pub(crate) fn new(decay: f64, network: &Network, device: &Device) -> Self {
        Self::resume(decay, network, &read(network), device)
    }

    /// An average that was saved.
    pub(crate) fn resume(
        decay: f64,
        network: &Network,
        values: &BTreeMap<String, Values>,
        device: &Device,
    ) -> Self {
        let device = device.clone().without_autodiff();
        Self { decay, average: assign(network.valid(), values, &device) }
    }

    /// The averaged model, without autodiff.
    pub(crate) fn model(&self) -> &Network {
        &self.average
    }

    /// Takes a step's weights in.
    pub(crate) fn update(self, network: &Network) -> Self {
        let mut weights = Weights::default();
        network.visit(&mut weights);
        let Self { decay, average } = self;
        Self { decay, average: average.map(&mut Blend { decay, weights }) }
    }
}

/// Parameters by id; a tensor of every rank that models have.
#[derive(Default)]
struct Weights {
    flat: HashMap<u64, Tensor<1>>,
}

impl ModuleVisitor for Weights {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // What is frozen is its own average, but for rounding.
        if !param.is_require_grad() {
            return;
        }
        let tensor = param.val().without_autodiff();
        let count = tensor.shape().num_elements();
        self.flat.insert(param.id.val(), tensor.reshape([count]));
    }
}

struct Blend {
    decay: f64,
    weights: Weights,
}

impl ModuleMapper for Blend {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let weights = self.weights.flat.remove(&param.id.val());
        let decay = self.decay;
        param.map(|average| match weights {
            Some(weights) => {
                let weights = weights.reshape(average.shape());
                average * decay + weights * (1.0 - decay)
            }
            None => average,
        })
    }
}
