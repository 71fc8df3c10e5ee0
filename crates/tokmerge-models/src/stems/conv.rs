//! Images to patches by several convolutions (LV-ViT's `4_2`).

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use tokmerge_nn::{Bias, constant_parameter, normal_parameter, zeros_parameter};
use tokmerge_ops::{Activation, ConvolutionWeights, Maps, Precision, Window, convolution};

/// Three convolutions with batch norm and ReLU, the first of which halves both sides, and a projection of patches.
#[derive(Module, Debug)]
pub struct ConvStem {
    /// 7x7, stride 2.
    pub conv1: Convolution,
    /// After `conv1`.
    pub bn1: BatchNorm,
    /// 3x3.
    pub conv2: Convolution,
    /// After `conv2`.
    pub bn2: BatchNorm,
    /// 3x3.
    pub conv3: Convolution,
    /// After `conv3`.
    pub bn3: BatchNorm,
    /// Patches to tokens; half as wide as the patches of the image.
    pub proj: Convolution,
}

/// A convolution with a square window.
#[derive(Module, Debug)]
pub struct Convolution {
    /// `[N, C, size, size]`.
    pub weight: Param<Tensor<4>>,
    /// `[N]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    window: Window,
    #[module(skip)]
    precision: Precision,
}

/// Batch normalisation by the statistics that the weights came with; training leaves them as they are.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// Scale, `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[C]`.
    pub bias: Param<Tensor<1>>,
    /// `[C]`; no parameter of training.
    pub running_mean: Param<Tensor<1>>,
    /// `[C]`; no parameter of training.
    pub running_var: Param<Tensor<1>>,
}

/// Added to the variance, as PyTorch does by default.
const EPS: f64 = 1e-5;

/// The shape of a [`ConvStem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConvStemShape {
    /// Colours.
    pub(crate) in_chans: usize,
    /// Channels between the convolutions.
    pub(crate) hidden: usize,
    /// Side of a patch in pixels; even.
    pub(crate) patch_size: usize,
    /// Channels of a token.
    pub(crate) channels: usize,
}

impl ConvStemShape {
    /// The windows of the four convolutions.
    pub(crate) fn windows(&self) -> [Window; 4] {
        let side = self.patch_size / 2;
        let same = Window { size: 3, stride: 1, padding: 1 };
        [
            Window { size: 7, stride: 2, padding: 3 },
            same,
            same,
            Window { size: side, stride: side, padding: 0 },
        ]
    }

    /// Rows and columns of what each convolution gives for images of this size.
    pub(crate) fn grids(&self, (height, width): (usize, usize)) -> [(usize, usize); 4] {
        let mut grid = (height, width);
        self.windows().map(|window| {
            grid = (window.places(grid.0), window.places(grid.1));
            grid
        })
    }

    /// Inputs of a window and outputs of each convolution.
    pub(crate) fn layers(&self) -> [(usize, usize); 4] {
        let Self { in_chans, hidden, channels, .. } = *self;
        let [first, second, third, last] = self.windows().map(|window| window.size * window.size);
        [
            (in_chans * first, hidden),
            (hidden * second, hidden),
            (hidden * third, hidden),
            (hidden * last, channels),
        ]
    }
}

impl ConvStem {
    /// Random until weights are loaded.
    pub(crate) fn new(shape: ConvStemShape, precision: Precision, device: &Device) -> Self {
        let ConvStemShape { in_chans, hidden, channels, .. } = shape;
        let [first, second, third, last] = shape.windows();
        let layer = |inputs, outputs, window, bias| {
            Convolution::new(inputs, outputs, window, bias, precision, device)
        };
        let norm = || BatchNorm::new(hidden, device);
        Self {
            conv1: layer(in_chans, hidden, first, Bias::No),
            bn1: norm(),
            conv2: layer(hidden, hidden, second, Bias::No),
            bn2: norm(),
            conv3: layer(hidden, hidden, third, Bias::No),
            bn3: norm(),
            proj: layer(hidden, channels, last, Bias::Yes),
        }
    }

    /// `images: [B, channels, height, width]` → `[B * N, C]`, patches row by row. What is left of a side beyond whole
    /// patches is not looked at.
    #[must_use]
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let layers = [(&self.conv1, &self.bn1), (&self.conv2, &self.bn2), (&self.conv3, &self.bn3)];
        let layers = layers.map(|(layer, norm)| (layer, norm.fold(layer.weights())));
        // One image after the other: the maps between the convolutions are large, and those of one image stay in the cache.
        let of = |image: Tensor<4>| {
            let maps = layers.iter().fold(Maps::Images(image), |maps, (layer, weights)| {
                layer.run(maps, weights.clone(), Activation::Relu)
            });
            match self.proj.run(maps, self.proj.weights(), Activation::Identity) {
                Maps::Rows { x, .. } => x,
                Maps::Images(_) => unreachable!("a convolution gives rows"),
            }
        };
        match images.dims()[0] {
            0 | 1 => of(images),
            items => Tensor::cat((0..items).map(|item| of(images.clone().narrow(0, item, 1))).collect(), 0),
        }
    }
}

impl Convolution {
    fn new(
        inputs: usize,
        outputs: usize,
        window: Window,
        bias: Bias,
        precision: Precision,
        device: &Device,
    ) -> Self {
        let weight = normal_parameter([outputs, inputs, window.size, window.size], device);
        let bias = (bias == Bias::Yes).then(|| zeros_parameter([outputs], device));
        Self { weight, bias, window, precision }
    }

    fn weights(&self) -> ConvolutionWeights {
        let bias = self.bias.as_ref().map(Param::val);
        ConvolutionWeights { weight: self.weight.val(), bias, precision: self.precision }
    }

    fn run(&self, maps: Maps, weights: ConvolutionWeights, activation: Activation) -> Maps {
        let (height, width) = maps.size();
        let size = (self.window.places(height), self.window.places(width));
        Maps::Rows { x: convolution(maps, weights, self.window, activation), size }
    }
}

impl BatchNorm {
    fn new(channels: usize, device: &Device) -> Self {
        Self {
            weight: constant_parameter([channels], 1.0, device),
            bias: zeros_parameter([channels], device),
            running_mean: zeros_parameter([channels], device),
            running_var: constant_parameter([channels], 1.0, device),
        }
    }

    /// The convolution that gives what this norm makes of the outputs of another one without a bias.
    fn fold(&self, layer: ConvolutionWeights) -> ConvolutionWeights {
        let (mean, variance) = (self.running_mean.val().detach(), self.running_var.val().detach());
        let scale = self.weight.val() / (variance + EPS).sqrt();
        let [outputs] = scale.dims();
        let bias = self.bias.val() - mean * scale.clone();
        ConvolutionWeights {
            weight: layer.weight * scale.reshape([outputs, 1, 1, 1]),
            bias: Some(bias),
            ..layer
        }
    }
}
