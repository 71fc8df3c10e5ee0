//! Convolutions over maps of pixels, and the windows that they look at.

use crate::backend::{Body, body};
use crate::linear::{LinearWeights, linear};
use crate::pool::{contiguous, values};
use crate::{packs, pool};
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, TensorMetadata, backend_extension};
use burn::tensor::Tensor;
use burn::tensor::module::unfold4d;
use burn::tensor::ops::UnfoldOptions;
use burn_flex::{Flex, FlexTensor};
use tokmerge_kernels as kernels;
pub use tokmerge_kernels::Window;
use tokmerge_kernels::{Activation, MapOrder, PackedWinograd, Precision};

/// Maps that a convolution runs over.
#[derive(Clone, Debug)]
pub enum Maps {
    /// `[B, C, H, W]`.
    Images(Tensor<4>),
    /// A row per pixel.
    Rows {
        /// `[B * H * W, C]`.
        x: Tensor<2>,
        /// H and W.
        size: (usize, usize),
    },
}

impl Maps {
    /// Height and width.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        match self {
            Self::Images(images) => {
                let [_, _, height, width] = images.dims();
                (height, width)
            }
            Self::Rows { size, .. } => *size,
        }
    }

    /// Every window of every map: `[B * down * across, C * size * size]`, places row by row, each window channel by
    /// channel as PyTorch's `unfold` has it. Beyond the border there are zeros.
    #[must_use]
    pub fn unfold(self, window: Window) -> Tensor<2> {
        match self {
            Self::Images(images) => unfold_images(images, window),
            Self::Rows { x, size } => match body(&x) {
                Body::Kernels => Tensor::from_dispatch(<Dispatch as WindowOps>::kernel_unfold(
                    x.into_dispatch(),
                    [size.0, size.1],
                    window,
                )),
                Body::Composed => composed(planes(x, size), window),
            },
        }
    }
}

/// The weights of a convolution, as PyTorch stores them.
#[derive(Clone, Debug)]
pub struct ConvolutionWeights {
    /// `[N, C, size, size]`.
    pub weight: Tensor<4>,
    /// `[N]`.
    pub bias: Option<Tensor<1>>,
    /// What the products are computed in.
    pub precision: Precision,
}

/// `activation(convolution(maps) + b)`: `[B * down * across, N]`, a row per place of the window, row by row.
///
/// # Panics
/// When the window is not as large as the weights are.
pub fn convolution(
    maps: Maps,
    layer: ConvolutionWeights,
    window: Window,
    activation: Activation,
) -> Tensor<2> {
    let [outputs, channels, height, width] = layer.weight.dims();
    assert_eq!([height, width], [window.size; 2], "weights of the size of the window");
    let ConvolutionWeights { weight, bias, precision } = layer;
    let weight = weight.reshape([outputs, channels * height * width]);
    let layer = LinearWeights { weight, bias, precision };
    match Primitives::of(&maps, &layer) {
        Some(primitives) => primitives.run(channels, maps, window, activation),
        None => linear(maps.unfold(window), layer, activation),
    }
}

/// All operands, on Flex and untracked.
struct Primitives {
    values: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    precision: Precision,
}

impl Primitives {
    fn of(maps: &Maps, layer: &LinearWeights) -> Option<Self> {
        let (body, values) = match maps {
            Maps::Images(images) => (body(images), images.clone().try_into_primitive::<Flex>().ok()?),
            Maps::Rows { x, .. } => (body(x), x.clone().try_into_primitive::<Flex>().ok()?),
        };
        let bias = match &layer.bias {
            Some(bias) => Some(bias.clone().try_into_primitive::<Flex>().ok()?),
            None => None,
        };
        let weight = layer.weight.clone().try_into_primitive::<Flex>().ok()?;
        let precision = layer.precision;
        (body == Body::Kernels).then_some(Self { values, weight, bias, precision })
    }

    fn run(self, channels: usize, maps: Maps, window: Window, activation: Activation) -> Tensor<2> {
        let (height, width) = maps.size();
        let order = match maps {
            Maps::Images(_) => MapOrder::Planes,
            Maps::Rows { .. } => MapOrder::Rows,
        };
        drop(maps);
        let (maps, bias) = (contiguous(self.values), self.bias.map(contiguous));
        let bias = bias.as_ref().map(values);
        let outputs = self.weight.shape()[0];
        let items = maps.shape().num_elements() / (channels * height * width).max(1);
        let shape = [items * window.places(height) * window.places(width), outputs];
        let mut y = pool::take(shape[0] * shape[1]);
        let view = kernels::Maps { values: values(&maps), order, channels, size: [height, width] };
        let pixels = window.size * window.size;
        match order {
            MapOrder::Rows if PackedWinograd::suits(window, self.precision, [outputs, channels]) => {
                let pack = packs::winograd(&self.weight, self.precision);
                kernels::convolution_3x3(&pack, bias, view, activation, &mut y);
            }
            MapOrder::Rows => {
                let pack = packs::packed_by_pixel(&self.weight, pixels, self.precision);
                kernels::convolution(&pack, bias, view, window, activation, &mut y);
            }
            MapOrder::Planes => {
                let pack = packs::packed(&self.weight, self.precision);
                kernels::convolution(&pack, bias, view, window, activation, &mut y);
            }
        }
        if order == MapOrder::Rows {
            pool::give(maps);
        }
        Tensor::from_primitive::<Flex>(pool::tensor(y, shape))
    }
}

fn unfold_images(images: Tensor<4>, window: Window) -> Tensor<2> {
    // Pixels that are trained take the body that has a gradient.
    if images.is_tracked() {
        return composed(images, window);
    }
    let strategy = images.gradient_checkpointing_strategy();
    let windows = untracked(images.without_autodiff(), window);
    match strategy {
        Some(strategy) => windows.autodiff().with_gradient_checkpointing_strategy(strategy),
        None => windows,
    }
}

fn untracked(images: Tensor<4>, window: Window) -> Tensor<2> {
    let [_, channels, height, width] = images.dims();
    match (body(&images), images.clone().try_into_primitive::<Flex>()) {
        (Body::Kernels, Ok(primitive)) => {
            drop(images);
            // The images came from outside: their memory is not the pool's.
            let windows =
                windows(&contiguous(primitive), MapOrder::Planes, channels, [height, width], window);
            Tensor::from_primitive::<Flex>(windows)
        }
        _ => composed(images, window),
    }
}

fn windows(
    maps: &FlexTensor,
    order: MapOrder,
    channels: usize,
    size: [usize; 2],
    window: Window,
) -> FlexTensor {
    let items = maps.shape().num_elements() / (channels * size[0] * size[1]).max(1);
    let rows = items * window.places(size[0]) * window.places(size[1]);
    let width = channels * window.size * window.size;
    let mut out = pool::take(rows * width);
    kernels::unfold(kernels::Maps { values: values(maps), order, channels, size }, window, &mut out);
    pool::tensor(out, [rows, width])
}

/// `[B * H * W, C]` → `[B, C, H, W]`.
fn planes(x: Tensor<2>, (height, width): (usize, usize)) -> Tensor<4> {
    let [rows, channels] = x.dims();
    x.reshape([rows / (height * width).max(1), height, width, channels]).permute([0, 3, 1, 2])
}

fn composed(images: Tensor<4>, window: Window) -> Tensor<2> {
    let [items, channels, height, width] = images.dims();
    let Window { size, stride, padding } = window;
    let options = UnfoldOptions::new([stride; 2], [padding; 2], [1; 2]);
    let windows = unfold4d(images, [size; 2], options);
    let rows = items * window.places(height) * window.places(width);
    windows.permute([0, 2, 1]).reshape([rows, channels * size * size])
}

/// The op that has a gradient of its own.
#[backend_extension(Autodiff, Flex)]
pub(crate) trait WindowOps: Backend {
    /// `x: [B * H * W, C]` → `[B * down * across, C * size * size]`.
    fn kernel_unfold(x: FloatTensor<Self>, size: [usize; 2], window: Window) -> FloatTensor<Self>;
}

impl WindowOps for Flex {
    fn kernel_unfold(x: FloatTensor<Self>, size: [usize; 2], window: Window) -> FloatTensor<Self> {
        let x = contiguous(x);
        let out = windows(&x, MapOrder::Rows, x.shape()[1], size, window);
        pool::give(x);
        out
    }
}

impl<C: CheckpointStrategy> WindowOps for Autodiff<Flex, C> {
    fn kernel_unfold(x: FloatTensor<Self>, size: [usize; 2], window: Window) -> FloatTensor<Self> {
        let node = x.node();
        let x = contiguous(x.into_primitive());
        let [rows, channels] = x.shape().dims();
        let out = windows(&x, MapOrder::Rows, channels, size, window);
        pool::train();
        match UnfoldBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(UnfoldState { rows, channels, size, window }, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

#[derive(Debug)]
struct UnfoldBackward;

/// What was unfolded.
#[derive(Clone, Copy, Debug)]
struct UnfoldState {
    rows: usize,
    channels: usize,
    size: [usize; 2],
    window: Window,
}

impl Backward<Flex, 1> for UnfoldBackward {
    type State = UnfoldState;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let UnfoldState { rows, channels, size, window } = ops.state;
        if let [Some(parent)] = ops.parents {
            let mut dx = pool::take(rows * channels);
            kernels::fold(values(&grad), channels, size, window, &mut dx);
            pool::give(grad);
            grads.register::<Flex>(parent.id, pool::tensor(dx, [rows, channels]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ConvolutionWeights, Maps, Window, composed, convolution, planes};
    use crate::linear::{LinearWeights, composed as composed_linear};
    use crate::testing::{assert_close, devices, gradients_match, normal};
    use burn::tensor::{Device, Tensor};
    use tokmerge_kernels::{Activation, Precision};

    const WINDOWS: [Window; 4] = [
        Window { size: 7, stride: 2, padding: 3 },
        Window { size: 3, stride: 1, padding: 1 },
        Window { size: 3, stride: 2, padding: 1 },
        Window { size: 4, stride: 4, padding: 0 },
    ];

    fn weights(channels: usize, size: usize, device: &Device) -> ConvolutionWeights {
        let weight = normal([9, channels, size, size], 7, device);
        ConvolutionWeights { weight, bias: Some(normal([9], 8, device)), precision: Precision::F32 }
    }

    fn oracle(images: Tensor<4>, layer: ConvolutionWeights, window: Window) -> Tensor<2> {
        let ConvolutionWeights { weight, bias, precision } = layer;
        let [outputs, channels, size, _] = weight.dims();
        let weight = weight.reshape([outputs, channels * size * size]);
        let layer = LinearWeights { weight, bias, precision };
        composed_linear(composed(images, window), layer, Activation::Relu)
    }

    #[test]
    fn kernels_equal_composed() {
        let device = devices().plain;
        for window in WINDOWS {
            let images: Tensor<4> = normal([2, 5, 9, 12], 1, &device);
            let x = images.clone().permute([0, 2, 3, 1]).reshape([2 * 9 * 12, 5]);
            let expected = composed(images.clone(), window);
            for maps in [Maps::Images(images.clone()), Maps::Rows { x: x.clone(), size: (9, 12) }] {
                assert_close(maps.clone().unfold(window), expected.clone(), 0.0);
                let layer = weights(5, window.size, &device);
                let y = convolution(maps, layer.clone(), window, Activation::Relu);
                assert_close(y, oracle(images.clone(), layer, window), 2e-5);
            }
        }
    }

    #[test]
    fn gradients_equal_composed() {
        let device = devices().tracked;
        for window in WINDOWS {
            gradients_match(
                [normal([2 * 9 * 12, 5], 1, &device)],
                |[x]| Maps::Rows { x, size: (9, 12) }.unfold(window),
                |[x]| composed(planes(x, (9, 12)), window),
                1e-5,
            );
            let images: Tensor<4> = normal([2, 5, 9, 12], 1, &device);
            let x = images.clone().permute([0, 2, 3, 1]).reshape([2 * 9 * 12, 5]);
            for maps in [Maps::Images(images.clone()), Maps::Rows { x, size: (9, 12) }] {
                gradients_match(
                    [weights(5, window.size, &device).weight],
                    |[weight]| {
                        let layer = ConvolutionWeights { weight, ..weights(5, window.size, &device) };
                        convolution(maps.clone(), layer, window, Activation::Relu)
                    },
                    |[weight]| {
                        let layer = ConvolutionWeights { weight, ..weights(5, window.size, &device) };
                        oracle(images.clone(), layer, window)
                    },
                    1e-3,
                );
            }
        }
    }
}
