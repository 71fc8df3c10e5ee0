//! A step of AdamW.

use crate::backend::{Body, body};
use crate::linear::in_place;
use crate::pool;
use crate::pool::{contiguous, values};
use burn::backend::TensorMetadata;
use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};
use tokmerge_kernels as kernels;
pub use tokmerge_kernels::AdamwStep;

/// Weights after a step, and the moments to give to the next one: the mean of the gradients and that of their
/// squares, none before the first. Carries no gradient.
pub fn adamw<const D: usize>(
    step: &AdamwStep,
    weights: Tensor<D>,
    grad: Tensor<D>,
    moments: Option<[Tensor<D>; 2]>,
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let (shape, device) = (weights.shape(), weights.device());
    let [mean, squares] = moments.unwrap_or_else(|| [(); 2].map(|()| Tensor::zeros(shape.clone(), &device)));
    let kernels = [&weights, &grad, &mean, &squares]
        .into_iter()
        .all(|tensor| body(tensor) == Body::Kernels && !tensor.is_autodiff() && tensor.shape() == shape);
    if !kernels {
        return composed(step, weights, grad, [mean, squares]);
    }
    let primitive =
        |tensor: Tensor<D>| contiguous(tensor.try_into_primitive::<Flex>().expect("a tensor on Flex"));
    let (weights, grad) = (primitive(weights), primitive(grad));
    let (weights, [mean, squares]) = on_flex(step, weights, grad, [primitive(mean), primitive(squares)]);
    let tensor = Tensor::from_primitive::<Flex>;
    (tensor(weights), [tensor(mean), tensor(squares)])
}

fn composed<const D: usize>(
    step: &AdamwStep,
    weights: Tensor<D>,
    grad: Tensor<D>,
    [mean, squares]: [Tensor<D>; 2],
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let [beta1, beta2] = step.betas;
    let mean = mean * beta1 + grad.clone() * (1.0 - beta1);
    let squares = squares * beta2 + grad.square() * (1.0 - beta2);
    let time = step.time as i32;
    let root = (squares.clone() / (1.0 - beta2.powi(time))).sqrt() + step.eps;
    let change = mean.clone() / (1.0 - beta1.powi(time)) / root * step.lr;
    (weights * (1.0 - step.lr * step.weight_decay) - change, [mean, squares])
}

fn on_flex(
    step: &AdamwStep,
    weights: FlexTensor,
    grad: FlexTensor,
    [mean, squares]: [FlexTensor; 2],
) -> (FlexTensor, [FlexTensor; 2]) {
    // Packs remember the old weights by their buffer, so the new ones get another.
    let mut to = pool::take(weights.shape().num_elements());
    let mut moved = None;
    let squares = in_place(squares, |squares| {
        moved = Some(in_place(mean, |mean| {
            kernels::adamw(step, values(&weights), values(&grad), mean, squares, &mut to);
        }));
    });
    let to = pool::tensor(to, weights.shape());
    pool::give(grad);
    pool::give(weights);
    (to, [moved.expect("changed above"), squares])
}

#[cfg(test)]
mod tests {
    use super::{AdamwStep, adamw, composed};
    use crate::testing::{assert_close, devices, normal};
    use burn::tensor::Tensor;

    #[test]
    fn kernel_equals_composed_and_moments_are_carried_on() {
        let device = devices().plain;
        let start: Tensor<2> = normal([7, 33], 1, &device);
        let (mut weights, mut expected) = (start.clone(), start.clone());
        let (mut moments, mut wanted) = (None, [(); 2].map(|()| Tensor::zeros([7, 33], &device)));
        for time in 1..=4 {
            let step = AdamwStep { lr: 0.01, betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.1, time };
            let grad = normal([7, 33], 10 + time as u64, &device);
            let held = weights.clone();
            let before = held.clone().into_data();
            let (after, carried) = adamw(&step, weights, grad.clone(), moments);
            assert_eq!(held.into_data(), before, "weights that others hold stay as they are");
            (weights, moments) = (after, Some(carried));
            (expected, wanted) = composed(&step, expected, grad, wanted);
            assert_close(weights.clone(), expected.clone(), 1e-6);
        }
    }
}
