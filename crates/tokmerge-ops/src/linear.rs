//! Linear layers, with what usually precedes and follows them.

use crate::backend::{Body, KernelOps, LinearOperands, Maybe, body};
use crate::norm::FlexNorm;
use crate::pool::{contiguous, values};
use crate::{NormWeights, norm, packs, pool};
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, TensorMetadata};
use burn::tensor::{FloatDType, Shape, Tensor, activation as act, s};
use burn_flex::{Flex, FlexTensor};
use std::ops::Range;
use std::sync::Arc;
use tokmerge_kernels as kernels;
use tokmerge_kernels::{Activation, Epilogue, PackedLinear, Precision};

/// The weights of a linear layer, as PyTorch stores them.
#[derive(Clone, Debug)]
pub struct LinearWeights {
    /// `[N, K]`: outputs by inputs.
    pub weight: Tensor<2>,
    /// `[N]`.
    pub bias: Option<Tensor<1>>,
    /// What the products are computed in. At [`Precision::Int8`] a row of activations is quantised between its smallest
    /// and its largest value and a row of weights symmetrically; sums are exact.
    pub precision: Precision,
}

impl LinearWeights {
    /// Some of the outputs alone: those rows of the weight, and their biases.
    ///
    /// # Panics
    /// When the layer has fewer outputs.
    #[must_use]
    pub fn outputs(self, range: Range<usize>) -> Self {
        let Self { weight, bias, precision } = self;
        let bias = bias.map(|bias| bias.slice(s![range.clone()]));
        Self { weight: weight.slice(s![range, ..]), bias, precision }
    }
}

/// `x: [T, K]` → `activation(x Wᵀ + b): [T, N]`.
pub fn linear(x: Tensor<2>, layer: LinearWeights, activation: Activation) -> Tensor<2> {
    match body(&x) {
        Body::Kernels => Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_linear(
            x.into_dispatch(),
            layer.into(),
            activation,
        )),
        Body::Composed => composed(x, layer, activation),
    }
}

/// `x: [T, K]` → `activation(norm(x) Wᵀ + b): [T, N]`; the normalised rows are never stored as a whole.
pub fn norm_linear(
    x: Tensor<2>,
    norm: NormWeights,
    layer: LinearWeights,
    activation: Activation,
) -> Tensor<2> {
    match body(&x) {
        Body::Kernels => Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_norm_linear(
            x.into_dispatch(),
            norm.into(),
            layer.into(),
            activation,
        )),
        Body::Composed => composed(norm::composed(x, norm), layer, activation),
    }
}

/// `residual + scale * (x Wᵀ + b)`: `x: [T, K]`, `residual: [T, N]` → `[T, N]`.
///
/// `scale: [N]` is LayerScale's gamma, or the constant by which some families divide their branches.
pub fn linear_residual(
    x: Tensor<2>,
    layer: LinearWeights,
    scale: Option<Tensor<1>>,
    residual: Tensor<2>,
) -> Tensor<2> {
    match body(&x) {
        Body::Kernels => Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_linear_residual(
            x.into_dispatch(),
            layer.into(),
            Maybe::from_tensor(scale),
            residual.into_dispatch(),
        )),
        Body::Composed => composed_residual(x, layer, scale, residual),
    }
}

/// Values rounded to bf16 and back, as the bf16 kernels see them.
fn to_bf16(x: Tensor<2>) -> Tensor<2> {
    let dtype = x.dtype();
    x.cast(FloatDType::BF16).cast(dtype)
}

/// Rows on 256 steps from their smallest value to their largest, as the int8 kernels see activations. The gradient
/// passes through unchanged.
fn rows_to_int8(x: Tensor<2>) -> Tensor<2> {
    let values = x.clone().detach();
    let least = values.clone().min_dim(1);
    let step = (values.clone().max_dim(1) - least.clone()) / 255.0;
    // A row of one value has no steps.
    let whole = ((values.clone() - least.clone()) / step.clone().clamp_min(SMALLEST_STEP)).round();
    x + (whole * step + least - values)
}

/// Rows, one per output, as multiples -127..=127 of a 127th of their largest magnitude, as the int8 kernels see
/// weights. The gradient passes through unchanged.
fn weights_to_int8(weight: Tensor<2>) -> Tensor<2> {
    let values = weight.clone().detach();
    let step = values.clone().abs().max_dim(1) / 127.0;
    let whole = (values.clone() / step.clone().clamp_min(SMALLEST_STEP)).round();
    weight + (whole * step - values)
}

/// So that nothing is divided by zero.
const SMALLEST_STEP: f32 = 1e-36;

/// Activations and weights as the kernels see them.
fn rounded(x: Tensor<2>, weight: Tensor<2>, precision: Precision) -> [Tensor<2>; 2] {
    match precision {
        Precision::F32 => [x, weight],
        Precision::Bf16 => [to_bf16(x), to_bf16(weight)],
        Precision::Int8 if x.shape().num_elements() == 0 => [x, weight],
        Precision::Int8 => [rows_to_int8(x), weights_to_int8(weight)],
    }
}

pub(crate) fn composed(x: Tensor<2>, layer: LinearWeights, activation: Activation) -> Tensor<2> {
    let [x, weight] = rounded(x, layer.weight, layer.precision);
    let y = x.matmul(weight.transpose());
    let y = match layer.bias {
        Some(bias) => y + bias.unsqueeze::<2>(),
        None => y,
    };
    activate(y, activation)
}

/// An activation of ordinary burn ops.
pub(crate) fn activate(y: Tensor<2>, activation: Activation) -> Tensor<2> {
    match activation {
        Activation::Identity => y,
        Activation::Gelu => act::gelu(y),
        Activation::GeluTanh => act::gelu_approximate(y),
        Activation::QuickGelu => y.clone() * act::sigmoid(y * 1.702),
        Activation::Relu => act::relu(y),
        Activation::Silu => act::silu(y),
        Activation::Tanh => y.tanh(),
    }
}

pub(crate) fn composed_residual(
    x: Tensor<2>,
    layer: LinearWeights,
    scale: Option<Tensor<1>>,
    residual: Tensor<2>,
) -> Tensor<2> {
    let y = composed(x, layer, Activation::Identity);
    match scale {
        Some(scale) => residual + y * scale.unsqueeze::<2>(),
        None => residual + y,
    }
}

/// `residual + scale * y` on backend primitives.
pub(crate) fn add_scaled<B: Backend>(
    residual: FloatTensor<B>,
    y: FloatTensor<B>,
    scale: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    let y = match scale {
        Some(scale) => {
            let channels = scale.shape().num_elements();
            B::float_mul(y, B::float_reshape(scale, Shape::from(vec![1, channels])))
        }
        None => y,
    };
    B::float_add(residual, y)
}

/// A linear layer on Flex, its bias contiguous.
pub(crate) struct FlexLinear {
    pub(crate) weight: FlexTensor,
    bias: Option<FlexTensor>,
    pub(crate) precision: Precision,
}

impl FlexLinear {
    pub(crate) fn new(layer: LinearOperands<Flex>) -> Self {
        let LinearOperands { weight, bias, precision } = layer;
        Self { weight, bias: bias.into_option().map(contiguous), precision }
    }

    /// None where a weight is tracked or elsewhere.
    pub(crate) fn of(layer: &LinearWeights) -> Option<Self> {
        let weight = layer.weight.clone().try_into_primitive::<Flex>().ok()?;
        Some(Self { weight, bias: optional(layer.bias.as_ref())?, precision: layer.precision })
    }

    pub(crate) fn pack(&self) -> Arc<PackedLinear> {
        packs::packed(&self.weight, self.precision)
    }

    pub(crate) fn bias(&self) -> Option<&[f32]> {
        self.bias.as_ref().map(values)
    }
}

/// A tensor that may be absent; none if it is there but tracked or elsewhere.
pub(crate) fn optional(tensor: Option<&Tensor<1>>) -> Option<Option<FlexTensor>> {
    match tensor {
        None => Some(None),
        Some(tensor) => Some(Some(contiguous(tensor.clone().try_into_primitive::<Flex>().ok()?))),
    }
}

pub(crate) fn on_flex(x: FlexTensor, layer: &FlexLinear, activation: Activation) -> FlexTensor {
    let (x, pack) = (contiguous(x), layer.pack());
    let rows = x.shape()[0];
    let mut y = pool::take(rows * pack.out_features());
    kernels::linear(&pack, layer.bias(), values(&x), epilogue(activation), &mut y);
    pool::give(x);
    pool::tensor(y, [rows, pack.out_features()])
}

pub(crate) fn normed_on_flex(
    x: FlexTensor,
    norm: &FlexNorm,
    layer: &FlexLinear,
    activation: Activation,
) -> FlexTensor {
    let (x, pack) = (contiguous(x), layer.pack());
    let rows = x.shape()[0];
    let mut y = pool::take(rows * pack.out_features());
    kernels::norm_linear(norm.view(), &pack, layer.bias(), values(&x), epilogue(activation), &mut y);
    pool::give(x);
    pool::tensor(y, [rows, pack.out_features()])
}

pub(crate) fn residual_on_flex(
    x: FlexTensor,
    layer: &FlexLinear,
    scale: Option<FlexTensor>,
    residual: FlexTensor,
) -> FlexTensor {
    let (x, scale, pack) = (contiguous(x), scale.map(contiguous), layer.pack());
    let (bias, scale) = (layer.bias(), scale.as_ref().map(values));
    let mut residual = contiguous(residual);
    let len = residual.shape().num_elements();
    // A part of a larger buffer is contiguous too, but that buffer is not ours to change.
    let y = if let Some(y) = residual.try_storage_mut::<f32>().filter(|own| own.len() == len) {
        kernels::linear(&pack, bias, values(&x), Epilogue::Residual { scale }, y);
        residual
    } else {
        let mut y = pool::take(len);
        kernels::linear_residual(&pack, bias, values(&x), scale, values(&residual), &mut y);
        pool::tensor(y, residual.shape())
    };
    pool::give(x);
    y
}

/// Runs `change` on the values of `tensor`: in its own buffer if nobody else holds it, else in a copy.
pub(crate) fn in_place(tensor: FlexTensor, change: impl FnOnce(&mut [f32])) -> FlexTensor {
    let mut tensor = contiguous(tensor);
    let len = tensor.shape().num_elements();
    // A part of a larger buffer is contiguous too, but that buffer is not ours to change.
    if let Some(own) = tensor.try_storage_mut::<f32>().filter(|own| own.len() == len) {
        change(own);
        return tensor;
    }
    let mut copy = pool::take(len);
    copy.copy_from_slice(values(&tensor));
    change(&mut copy);
    pool::tensor(copy, tensor.shape())
}

fn epilogue(activation: Activation) -> Epilogue<'static> {
    match activation {
        Activation::Identity => Epilogue::Store,
        activation => Epilogue::Activate(activation),
    }
}

/// With a bias three parents, without it two; and the residual, where there is one.
#[derive(Debug)]
struct LinearBackward;

/// What the gradient needs.
#[derive(Clone, Debug)]
struct LinearState {
    x: FlexTensor,
    weight: FlexTensor,
    /// The activation, and the values before it.
    activated: Option<(Activation, FlexTensor)>,
}

/// Gradients of input, weight and bias, those that are wanted.
fn linear_gradients(state: LinearState, grad: FlexTensor, wanted: [bool; 3]) -> [Option<FlexTensor>; 3] {
    let LinearState { x, weight, activated } = state;
    let [out_features, in_features] = weight.shape().dims();
    let grad = match activated {
        None => contiguous(grad),
        Some((activation, pre)) => {
            let grad = in_place(grad, |grad| kernels::activation_backward(activation, values(&pre), grad));
            pool::give(pre);
            grad
        }
    };
    let mut buffers = [x.shape().num_elements(), out_features * in_features, out_features]
        .into_iter()
        .zip(wanted)
        .map(|(len, wanted)| wanted.then(|| pool::take(len)));
    let (mut dx, mut dw, mut db) =
        (buffers.next().flatten(), buffers.next().flatten(), buffers.next().flatten());
    kernels::linear_backward(
        values(&weight),
        values(&x),
        values(&grad),
        dx.as_deref_mut(),
        dw.as_deref_mut(),
        db.as_deref_mut(),
    );
    let shape = x.shape();
    pool::give(x);
    pool::give(grad);
    [
        dx.map(|grad| pool::tensor(grad, shape)),
        dw.map(|grad| pool::tensor(grad, weight.shape())),
        db.map(|grad| pool::tensor(grad, [out_features])),
    ]
}

impl Backward<Flex, 3> for LinearBackward {
    type State = LinearState;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let wanted = [0, 1, 2].map(|i| ops.parents[i].is_some());
        let made = linear_gradients(ops.state, grad, wanted);
        for (parent, grad) in ops.parents.into_iter().zip(made) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                grads.register::<Flex>(parent.id, grad);
            }
        }
    }
}

impl Backward<Flex, 2> for LinearBackward {
    type State = LinearState;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let [to_x, to_weight] = ops.parents;
        let made = linear_gradients(ops.state, grad, [to_x.is_some(), to_weight.is_some(), false]);
        for (parent, grad) in [to_x, to_weight].into_iter().zip(made) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                grads.register::<Flex>(parent.id, grad);
            }
        }
    }
}

/// With bias and residual.
#[derive(Debug)]
struct ResidualBackward;

impl Backward<Flex, 4> for ResidualBackward {
    type State = LinearState;

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let [to_x, to_weight, to_bias, to_residual] = ops.parents;
        // First, so that its buffer is nobody else's any more when the next gradient is added to it.
        if let Some(parent) = to_residual {
            grads.register::<Flex>(parent.id, grad.clone());
        }
        let wanted = [to_x.is_some(), to_weight.is_some(), to_bias.is_some()];
        let made = linear_gradients(ops.state, grad, wanted);
        for (parent, grad) in [to_x, to_weight, to_bias].into_iter().zip(made) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                grads.register::<Flex>(parent.id, grad);
            }
        }
    }
}

/// The primitives of a layer below autodiff.
fn below_autodiff<C: CheckpointStrategy>(layer: LinearOperands<Autodiff<Flex, C>>) -> FlexLinear {
    let LinearOperands { weight, bias, precision } = layer;
    let bias = bias.into_option().map(|bias| contiguous(bias.into_primitive()));
    FlexLinear { weight: contiguous(weight.into_primitive()), bias, precision }
}

/// `residual + x Wᵀ + b`; the gradient of the residual is that of the sum. Without a bias in two ops.
pub(crate) fn residual_tracked<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    layer: LinearOperands<Autodiff<Flex, C>>,
    residual: FloatTensor<Autodiff<Flex, C>>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let Some(bias) = layer.bias.get() else {
        let y = tracked::<C>(x, layer, Activation::Identity);
        return add_scaled::<Autodiff<Flex, C>>(residual, y, None);
    };
    let nodes = [x.node(), layer.weight.node(), bias.node(), residual.node()];
    let layer = below_autodiff::<C>(layer);
    let (x, residual) = (contiguous(x.into_primitive()), residual.into_primitive());
    pool::train();
    let y = residual_on_flex(x.clone(), &layer, None, residual);
    match ResidualBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(LinearState { x, weight: layer.weight, activated: None }, y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    }
}

pub(crate) fn tracked<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    layer: LinearOperands<Autodiff<Flex, C>>,
    activation: Activation,
) -> FloatTensor<Autodiff<Flex, C>> {
    let (to_x, to_weight) = (x.node(), layer.weight.node());
    let to_bias = layer.bias.get().map(|bias| bias.node());
    let layer = below_autodiff::<C>(layer);
    let x = contiguous(x.into_primitive());
    pool::train();
    let (y, activated) = match activation {
        Activation::Identity => (on_flex(x.clone(), &layer, activation), None),
        activation => {
            let (pre, y) = keeping_on_flex(&x, &layer, activation);
            (y, Some((activation, pre)))
        }
    };
    let state = LinearState { x, weight: layer.weight, activated };
    match to_bias {
        Some(to_bias) => {
            match LinearBackward.prepare::<C>([to_x, to_weight, to_bias]).compute_bound().stateful() {
                OpsKind::Tracked(prep) => prep.finish(state, y),
                OpsKind::UnTracked(prep) => prep.finish(y),
            }
        }
        None => match LinearBackward.prepare::<C>([to_x, to_weight]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(state, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        },
    }
}

/// Values before and after the activation.
fn keeping_on_flex(x: &FlexTensor, layer: &FlexLinear, activation: Activation) -> (FlexTensor, FlexTensor) {
    let pack = layer.pack();
    let (rows, columns) = (x.shape()[0], pack.out_features());
    let (mut pre, mut y) = (pool::take(rows * columns), pool::take(rows * columns));
    kernels::linear_keeping(&pack, layer.bias(), values(x), activation, &mut pre, &mut y);
    (pool::tensor(pre, [rows, columns]), pool::tensor(y, [rows, columns]))
}

#[cfg(test)]
mod tests {
    use super::{
        LinearWeights, composed, composed_residual, linear, linear_residual, norm_linear, rows_to_int8,
        weights_to_int8,
    };
    use crate::testing::{assert_close, devices, gradients_match, normal};
    use crate::{Activation, NormKind, NormWeights, Precision, norm};
    use burn::tensor::{Tensor, s};

    const ACTIVATIONS: [Activation; 7] = [
        Activation::Identity,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::Silu,
        Activation::Tanh,
    ];

    fn layer(inputs: usize, outputs: usize, device: &burn::tensor::Device) -> LinearWeights {
        LinearWeights {
            weight: normal([outputs, inputs], 1, device) * (inputs as f32).powf(-0.5),
            bias: Some(normal([outputs], 2, device)),
            precision: Precision::F32,
        }
    }

    #[test]
    fn kernels_equal_composed() {
        let device = devices().plain;
        for (rows, inputs, outputs) in [(1, 1, 1), (5, 48, 33), (31, 64, 192), (0, 4, 4)] {
            let x = normal([rows, inputs], 3, &device);
            for activation in ACTIVATIONS {
                let layer = layer(inputs, outputs, &device);
                assert_close(
                    linear(x.clone(), layer.clone(), activation),
                    composed(x.clone(), layer.clone(), activation),
                    3e-5,
                );
                let norm = NormWeights {
                    kind: NormKind::Layer,
                    weight: normal([inputs], 4, &device),
                    bias: Some(normal([inputs], 5, &device)),
                    eps: 1e-6,
                };
                assert_close(
                    norm_linear(x.clone(), norm.clone(), layer.clone(), activation),
                    composed(norm::composed(x.clone(), norm), layer, activation),
                    3e-5,
                );
            }
        }
    }

    #[test]
    fn some_outputs_are_those_of_the_whole_layer_bit_for_bit() {
        let device = devices().plain;
        let x = normal([9, 48], 3, &device);
        for precision in [Precision::F32, Precision::Bf16] {
            let layer = LinearWeights { precision, ..layer(48, 90, &device) };
            let all = linear(x.clone(), layer.clone(), Activation::Identity);
            for range in [0..30, 30..90, 17..18, 0..90] {
                let some = linear(x.clone(), layer.clone().outputs(range.clone()), Activation::Identity);
                assert_close(some, all.clone().slice(s![.., range]), 0.0);
            }
        }
    }

    #[test]
    fn bf16_kernel_equals_composed_on_rounded_values() {
        let device = devices().plain;
        let x = normal([9, 65], 3, &device);
        let layer = LinearWeights { precision: Precision::Bf16, ..layer(65, 40, &device) };
        assert_close(
            linear(x.clone(), layer.clone(), Activation::Gelu),
            composed(x, layer, Activation::Gelu),
            1e-3,
        );
    }

    #[test]
    fn int8_kernel_equals_composed_on_quantised_values() {
        let device = devices().plain;
        for (rows, inputs, outputs) in [(0, 3, 2), (1, 1, 1), (9, 65, 40), (30, 64, 33)] {
            let x = normal([rows, inputs], 3, &device);
            let layer = LinearWeights { precision: Precision::Int8, ..layer(inputs, outputs, &device) };
            assert_close(
                linear(x.clone(), layer.clone(), Activation::Gelu),
                composed(x, layer, Activation::Gelu),
                5e-5,
            );
        }
    }

    #[test]
    fn int8_is_within_a_hundredth_of_f32() {
        let device = devices().plain;
        let (x, exact) = (normal([50, 384], 3, &device), layer(384, 64, &device));
        let layer = LinearWeights { precision: Precision::Int8, ..exact.clone() };
        let error = linear(x.clone(), layer, Activation::Identity) - linear(x, exact, Activation::Identity);
        let error = error.square().mean().sqrt().into_scalar::<f32>();
        assert!((1e-3..2e-2).contains(&error), "{error}");
    }

    #[test]
    fn gradients_at_int8_pass_through_the_rounding() {
        let device = devices().tracked;
        gradients_match(
            [normal([5, 12], 4, &device)],
            |[x]| {
                let layer = LinearWeights { precision: Precision::Int8, ..layer(12, 7, &device) };
                composed(x, layer, Activation::Identity)
            },
            |[x]| {
                let mut layer = layer(12, 7, &device);
                layer.weight = weights_to_int8(layer.weight);
                composed(x.clone(), layer.clone(), Activation::Identity)
                    + (rows_to_int8(x.clone().detach()) - x.detach()).matmul(layer.weight.transpose())
            },
            1e-4,
        );
    }

    #[test]
    fn residual_is_added_in_place_only_when_nobody_else_holds_it() {
        let device = devices().plain;
        let (x, residual) = (normal([6, 10], 1, &device), normal([6, 20], 2, &device));
        let layer = layer(10, 20, &device);
        for scale in [None, Some(normal([20], 3, &device))] {
            let held = residual.clone();
            let y = linear_residual(x.clone(), layer.clone(), scale.clone(), residual.clone());
            assert_close(y, composed_residual(x.clone(), layer.clone(), scale, residual.clone()), 3e-5);
            assert_close(held, residual.clone(), 0.0);
        }
    }

    #[test]
    fn gradients_equal_composed() {
        let device = devices().tracked;
        let inputs = [normal([7, 12], 1, &device), normal([9, 12], 2, &device), normal([1, 9], 3, &device)];
        let weights = |[x, weight, bias]: [Tensor<2>; 3]| {
            let layer = LinearWeights { weight, bias: Some(bias.squeeze_dim(0)), precision: Precision::F32 };
            (x, layer)
        };
        for activation in ACTIVATIONS {
            gradients_match(
                inputs.clone(),
                |inputs| {
                    let (x, layer) = weights(inputs);
                    linear(x, layer, activation)
                },
                |inputs| {
                    let (x, layer) = weights(inputs);
                    composed(x, layer, activation)
                },
                2e-4,
            );
        }
        let scale = normal([9], 5, &device);
        let residual = normal([7, 9], 6, &device);
        gradients_match(
            inputs.clone(),
            |inputs| {
                let (x, layer) = weights(inputs);
                linear_residual(x, layer, Some(scale.clone()), residual.clone())
            },
            |inputs| {
                let (x, layer) = weights(inputs);
                composed_residual(x, layer, Some(scale.clone()), residual.clone())
            },
            1e-4,
        );
    }
}
