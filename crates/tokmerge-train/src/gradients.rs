//! Gradients of all parameters together.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn_optim::GradientsParams;
use rayon::prelude::*;
use tokmerge_models::Network;

/// Values whose squares are added up by one task: fixed, so that the sum does not depend on the threads.
const CHUNK: usize = 1 << 16;

/// The length of the gradient of all parameters together.
pub(crate) fn norm(network: &Network, gradients: &GradientsParams) -> f64 {
    struct Squares<'g> {
        gradients: &'g GradientsParams,
        sum: f64,
    }
    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                self.sum += squares(gradient);
            }
        }
    }
    let mut squares = Squares { gradients, sum: 0.0 };
    network.visit(&mut squares);
    squares.sum.sqrt()
}

fn squares<const D: usize>(gradient: Tensor<D>) -> f64 {
    let data = gradient.into_data();
    let sum = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
    match data.as_slice::<f32>() {
        Ok(values) => {
            let parts: Vec<f64> = values.par_chunks(CHUNK).map(sum).collect();
            parts.into_iter().sum()
        }
        Err(_) => sum(&data.iter::<f32>().collect::<Vec<_>>()),
    }
}

/// Every gradient, multiplied.
pub(crate) fn scale(network: &Network, gradients: GradientsParams, factor: f64) -> GradientsParams {
    struct Scaler {
        gradients: GradientsParams,
        factor: f64,
    }
    impl ModuleVisitor for Scaler {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                self.gradients.register(param.id, gradient * self.factor);
            }
        }
    }
    let mut scaler = Scaler { gradients, factor };
    network.visit(&mut scaler);
    scaler.gradients
}
