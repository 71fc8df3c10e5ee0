//! Layer normalisation over the channels of each row.

use crate::backend::{Body, KernelOps, body};
use crate::pool;
use crate::pool::{contiguous, values};
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Dispatch, TensorMetadata};
use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};
use tokmerge_kernels as kernels;
use tokmerge_kernels::{Isa, Norm};

/// The weights of a layer normalisation.
#[derive(Clone, Debug)]
pub struct NormWeights {
    /// Scale, `[C]`.
    pub weight: Tensor<1>,
    /// Shift, `[C]`.
    pub bias: Tensor<1>,
    /// Added to the variance. timm's ViTs use 1e-6, Hugging Face's 1e-12: the checkpoint decides.
    pub eps: f32,
}

/// `x: [T, C]` → `[T, C]`: every row shifted to mean 0 and scaled to variance 1, then `* weight + bias`.
pub fn layer_norm(x: Tensor<2>, norm: NormWeights) -> Tensor<2> {
    match body(&x) {
        Body::Kernels => Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_layer_norm(
            x.into_dispatch(),
            norm.weight.into_dispatch(),
            norm.bias.into_dispatch(),
            norm.eps,
        )),
        Body::Composed => composed(x, norm),
    }
}

pub(crate) fn composed(x: Tensor<2>, norm: NormWeights) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    let scaled = centred / (variance + norm.eps).sqrt();
    scaled * norm.weight.unsqueeze::<2>() + norm.bias.unsqueeze::<2>()
}

/// Contiguous norm weights on Flex.
pub(crate) struct FlexNorm {
    weight: FlexTensor,
    bias: FlexTensor,
    eps: f32,
}

impl FlexNorm {
    pub(crate) fn new(weight: &FlexTensor, bias: &FlexTensor, eps: f32) -> Self {
        Self { weight: contiguous(weight.clone()), bias: contiguous(bias.clone()), eps }
    }

    pub(crate) fn view(&self) -> Norm<'_> {
        Norm { weight: values(&self.weight), bias: values(&self.bias), eps: self.eps }
    }
}

pub(crate) fn on_flex(x: FlexTensor, weight: &FlexTensor, bias: &FlexTensor, eps: f32) -> FlexTensor {
    let x = contiguous(x);
    let mut y = pool::take(x.shape().num_elements());
    kernels::layer_norm(Isa::current(), FlexNorm::new(weight, bias, eps).view(), values(&x), &mut y);
    let y = pool::tensor(y, x.shape());
    pool::give(x);
    y
}

#[derive(Debug)]
struct NormBackward;

impl Backward<Flex, 3> for NormBackward {
    type State = (FlexTensor, FlexTensor, FlexTensor, f32);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [to_x, to_weight, to_bias] = ops.parents;
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let (x, weight, bias, eps) = ops.state;
        let norm = FlexNorm::new(&weight, &bias, eps);
        let mut dx = pool::take(x.shape().num_elements());
        let mut dweight = pool::take(weight.shape().num_elements());
        let mut dbias = pool::take(bias.shape().num_elements());
        kernels::layer_norm_backward(
            norm.view(),
            values(&x),
            values(&grad),
            &mut dx,
            &mut dweight,
            &mut dbias,
        );
        let shape = x.shape();
        pool::give(x);
        pool::give(grad);
        for (parent, grad, shape) in
            [(to_x, dx, shape), (to_weight, dweight, weight.shape()), (to_bias, dbias, bias.shape())]
        {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, pool::tensor(grad, shape));
            }
        }
    }
}

pub(crate) fn tracked<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    weight: FloatTensor<Autodiff<Flex, C>>,
    bias: FloatTensor<Autodiff<Flex, C>>,
    eps: f32,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = [x.node(), weight.node(), bias.node()];
    let (x, weight, bias) = (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
    let y = on_flex(x.clone(), &weight, &bias, eps);
    match NormBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((contiguous(x), weight, bias, eps), y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    }
}

#[cfg(test)]
mod tests {
    use super::{NormWeights, composed, layer_norm};
    use crate::testing::{assert_close, devices, gradients_match, normal};

    fn weights(channels: usize, device: &burn::tensor::Device) -> NormWeights {
        let weight = normal([channels], 1, device) * 0.2 + 1.0;
        NormWeights { weight, bias: normal([channels], 2, device), eps: 1e-6 }
    }

    #[test]
    fn kernel_equals_composed() {
        let device = devices().plain;
        for (rows, channels) in [(1, 1), (3, 17), (19, 192), (0, 8)] {
            let x = normal([rows, channels], 3, &device) * 3.0 + 1.0;
            let norm = weights(channels, &device);
            assert_close(layer_norm(x.clone(), norm.clone()), composed(x, norm), 2e-5);
        }
    }

    #[test]
    fn gradients_equal_composed() {
        let device = devices().tracked;
        let inputs = [normal([7, 33], 4, &device)];
        gradients_match(
            inputs.clone(),
            |[x]| layer_norm(x, weights(33, &device)),
            |[x]| composed(x, weights(33, &device)),
            1e-4,
        );
    }
}
