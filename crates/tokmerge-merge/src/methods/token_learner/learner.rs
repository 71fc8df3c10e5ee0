//! The module before a block.

use super::{Form, Fuse, Fuser, HIDDEN, Options, Pool};
use crate::mergers::{HeldBack, Start, Weighted, mixtures_of_pooled, pooled};
use crate::{Mixture, Tokens};
use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::sigmoid, activation::softmax};
use tokmerge_nn::{Mlp, Norm, transparent_module};
use tokmerge_ops::{Activation, ConvolutionWeights, Maps, NormKind, Precision, Window, convolution};

/// The convolutions: maps stay as large as they are.
const WINDOW: Window = Window { size: 3, stride: 1, padding: 1 };

/// How many there are.
const CONVOLUTIONS: usize = 4;

/// Tokens of all patches, by weights that are made of them; and what gives the patches back, where that is asked for.
#[derive(Module, Debug)]
pub struct Learner {
    /// Before the scores.
    pub norm: Norm,
    /// What scores every patch for every token.
    pub scorer: Scorer,
    /// What gives the patches back.
    pub fuser: Option<Fuser>,
    #[module(skip)]
    method: Options,
    #[module(skip)]
    grid: Option<(usize, usize)>,
}

/// What scores every patch for every token.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one before a block")]
pub enum Scorer {
    /// Patch by patch: `[64, C]`, GELU, `[S, 64]`.
    Mlp(Mlp),
    /// In their neighbourhood.
    Convolutions(Convolutions),
}

transparent_module!(Scorer { Mlp, Convolutions });

/// Convolutions of 3x3 without bias, GELU after all but the last.
#[derive(Module, Debug)]
pub struct Convolutions {
    /// `[S, C, 3, 3]`, then `[S, S, 3, 3]`.
    pub convs: Vec<Param<Tensor<4>>>,
}

impl Convolutions {
    fn new(channels: usize, outputs: usize, start: &mut Start<'_>) -> Self {
        let weight = |place: usize| {
            let inputs = if place == 0 { channels } else { outputs };
            start.normal([outputs, inputs, 3, 3], (9.0 * inputs as f64).powf(-0.5))
        };
        Self { convs: (0..CONVOLUTIONS).map(weight).collect() }
    }

    /// `[B * H * W, C]` → `[B * H * W, S]`.
    fn forward(&self, x: Tensor<2>, size: (usize, usize)) -> Tensor<2> {
        let last = self.convs.len() - 1;
        self.convs.iter().enumerate().fold(x, |x, (place, weight)| {
            let layer = ConvolutionWeights { weight: weight.val(), bias: None, precision: Precision::F32 };
            let activation = if place < last { Activation::Gelu } else { Activation::Identity };
            convolution(Maps::Rows { x, size }, layer, WINDOW, activation)
        })
    }
}

/// The MLP of 64 hidden channels that a learner and a fuser have, `[T, C]` → `[T, S]`.
pub(super) fn mlp(channels: usize, outputs: usize, start: &mut Start<'_>) -> Mlp {
    let mut linear =
        |inputs: usize, outputs: usize| start.linear(inputs, outputs, (inputs as f64).powf(-0.5));
    Mlp::of(linear(channels, HIDDEN), Activation::Gelu, None, linear(HIDDEN, outputs))
}

impl Learner {
    pub(crate) fn new(method: &Options, channels: usize, start: &mut Start<'_>) -> Self {
        let tokens = method.tokens;
        let scorer = match method.form {
            Form::Mlp => Scorer::Mlp(mlp(channels, tokens, start)),
            Form::Convolutions => Scorer::Convolutions(Convolutions::new(channels, tokens, start)),
        };
        let fuser = (method.fuse == Fuse::On).then(|| Fuser::new(channels, tokens, start));
        let norm = start.norm(NormKind::Layer, channels);
        Self { norm, scorer, fuser, method: method.clone(), grid: None }
    }

    /// The same for images of this grid.
    pub(crate) fn on(self, grid: Option<(usize, usize)>) -> Self {
        Self { grid, ..self }
    }

    /// Rows and columns of so many patches: the model's, or a single row.
    pub(super) fn size(&self, patches: usize) -> (usize, usize) {
        self.grid.filter(|(rows, columns)| rows * columns == patches).unwrap_or((1, patches))
    }

    /// What every patch weighs in every token: `[B, N, C]` → `[B, S, N]`.
    fn weigh(&self, x: Tensor<3>) -> Tensor<3> {
        let [items, len, channels] = x.dims();
        let patches = self.norm.forward(x.reshape([items * len, channels]));
        let shape = [items, len, self.method.tokens];
        let weights = match &self.scorer {
            Scorer::Mlp(mlp) => softmax(mlp.forward(patches).reshape(shape), 1),
            Scorer::Convolutions(convolutions) => {
                let weights = sigmoid(convolutions.forward(patches, self.size(len)).reshape(shape));
                match self.method.pool {
                    Pool::Sum => weights,
                    Pool::Mean => weights / len as f32,
                }
            }
        };
        weights.swap_dims(1, 2)
    }
}

impl Weighted for Learner {
    /// Items of `N` patches → items of `S` tokens, the prefix in front. They have no position.
    fn forward(&self, _: usize, tokens: Tokens) -> (Tokens, Option<Box<dyn HeldBack>>) {
        let learned =
            pooled(&tokens, self.method.tokens, |prefix| prefix, |x| self.weigh(x.clone()).matmul(x));
        let held = self.fuser.as_ref().map(|fuser| fuser.hold(tokens));
        (learned, held)
    }

    /// What every patch weighs in every token, of every item.
    fn mixtures(&self, _: usize, tokens: &Tokens) -> Vec<Mixture> {
        mixtures_of_pooled(tokens, self.method.tokens, |prefix| prefix, |x| self.weigh(x))
    }
}
