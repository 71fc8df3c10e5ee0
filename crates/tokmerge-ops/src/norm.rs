//! Norms over the channels of each row: LayerNorm and RMSNorm, with and without a bias.

use crate::backend::{Body, KernelOps, Maybe, NormOperands, body};
use crate::linear::{self, in_place};
use crate::pool::{contiguous, values};
use crate::{Heads, pool};
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Dispatch, TensorMetadata};
use burn::tensor::{Tensor, s};
use burn_flex::{Flex, FlexTensor};
use tokmerge_kernels as kernels;
pub use tokmerge_kernels::NormKind;
use tokmerge_kernels::{Isa, Norm};

/// The weights of a norm.
#[derive(Clone, Debug)]
pub struct NormWeights {
    /// LayerNorm or RMSNorm.
    pub kind: NormKind,
    /// Scale, `[C]`.
    pub weight: Tensor<1>,
    /// Shift, `[C]`.
    pub bias: Option<Tensor<1>>,
    /// Added to the variance or the mean of squares. timm's ViTs use 1e-6, Hugging Face's 1e-12: the checkpoint decides.
    pub eps: f32,
}

/// `x: [T, C]` → `[T, C]`: every row shifted to mean 0 and scaled to variance 1 (LayerNorm), or scaled to a root mean
/// square of 1 (RMSNorm), then `* weight + bias`.
pub fn normalise(x: Tensor<2>, norm: NormWeights) -> Tensor<2> {
    match body(&x) {
        Body::Kernels => {
            Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_norm(x.into_dispatch(), norm.into()))
        }
        Body::Composed => composed(x, norm),
    }
}

/// Normalises the heads of the first parts of `x: [T, P * H * D]`, each part by its norm over the D channels of a head,
/// and leaves the parts that have none.
pub fn normalise_heads(x: Tensor<2>, heads: Heads, norms: &[Option<NormWeights>]) -> Tensor<2> {
    if norms.iter().all(Option::is_none) {
        return x;
    }
    if body(&x) == Body::Kernels
        && let Some(flex) = norms.iter().map(|norm| optional(norm.as_ref())).collect::<Option<Vec<_>>>()
        && let Ok(primitive) = x.clone().try_into_primitive::<Flex>()
    {
        drop(x);
        let views: Vec<_> = flex.iter().map(|norm| norm.as_ref().map(FlexNorm::view)).collect();
        let rows = primitive.shape()[0];
        let change = |x: &mut [f32]| kernels::normalise_heads(Isa::current(), heads, &views, x, rows);
        return Tensor::from_primitive::<Flex>(in_place(primitive, change));
    }
    let width = heads.count * heads.dim;
    let [rows, columns] = x.dims();
    let part = |part: usize| x.clone().slice(s![.., part * width..(part + 1) * width]);
    let normalised = norms.iter().enumerate().map(|(index, norm)| match norm {
        None => part(index),
        Some(norm) => {
            let heads = part(index).reshape([rows * heads.count, heads.dim]);
            normalise(heads, norm.clone()).reshape([rows, width])
        }
    });
    let mut parts: Vec<Tensor<2>> = normalised.collect();
    if columns > norms.len() * width {
        parts.push(x.clone().slice(s![.., norms.len() * width..]));
    }
    Tensor::cat(parts, 1)
}

/// A norm that may be absent; none if it is there but tracked or elsewhere.
pub(crate) fn optional(norm: Option<&NormWeights>) -> Option<Option<FlexNorm>> {
    match norm {
        None => Some(None),
        Some(norm) => FlexNorm::of(norm).map(Some),
    }
}

pub(crate) fn composed(x: Tensor<2>, norm: NormWeights) -> Tensor<2> {
    let centred = match norm.kind {
        NormKind::Layer => x.clone() - x.mean_dim(1),
        NormKind::Rms => x,
    };
    let squares = centred.clone().square().mean_dim(1);
    let scaled = centred / (squares + norm.eps).sqrt() * norm.weight.unsqueeze::<2>();
    match norm.bias {
        Some(bias) => scaled + bias.unsqueeze::<2>(),
        None => scaled,
    }
}

/// Contiguous norm weights on Flex.
#[derive(Clone, Debug)]
pub(crate) struct FlexNorm {
    kind: NormKind,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    eps: f32,
}

impl FlexNorm {
    pub(crate) fn new(norm: NormOperands<Flex>) -> Self {
        let NormOperands { kind, weight, bias, eps } = norm;
        Self { kind, weight: contiguous(weight), bias: bias.into_option().map(contiguous), eps }
    }

    /// None where a weight is tracked or elsewhere.
    pub(crate) fn of(norm: &NormWeights) -> Option<Self> {
        let weight = norm.weight.clone().try_into_primitive::<Flex>().ok().map(contiguous)?;
        let bias = linear::optional(norm.bias.as_ref())?;
        Some(Self { kind: norm.kind, weight, bias, eps: norm.eps })
    }

    pub(crate) fn view(&self) -> Norm<'_> {
        let Self { kind, weight, bias, eps } = self;
        Norm { kind: *kind, weight: values(weight), bias: bias.as_ref().map(values), eps: *eps }
    }
}

pub(crate) fn on_flex(x: FlexTensor, norm: &FlexNorm) -> FlexTensor {
    let x = contiguous(x);
    let mut y = pool::take(x.shape().num_elements());
    kernels::normalise(Isa::current(), norm.view(), values(&x), &mut y);
    let y = pool::tensor(y, x.shape());
    pool::give(x);
    y
}

/// With a bias three parents, without it two.
#[derive(Debug)]
struct NormBackward;

/// Gradients of input, weight and bias.
fn norm_gradients(x: FlexTensor, norm: &FlexNorm, grad: FlexTensor) -> [FlexTensor; 3] {
    let grad = contiguous(grad);
    let channels = norm.weight.shape().num_elements();
    let mut dx = pool::take(x.shape().num_elements());
    let (mut dweight, mut dbias) = (pool::take(channels), pool::take(channels));
    kernels::normalise_backward(norm.view(), values(&x), values(&grad), &mut dx, &mut dweight, &mut dbias);
    let shape = x.shape();
    pool::give(x);
    pool::give(grad);
    [pool::tensor(dx, shape), pool::tensor(dweight, [channels]), pool::tensor(dbias, [channels])]
}

impl Backward<Flex, 3> for NormBackward {
    type State = (FlexTensor, FlexNorm);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let (x, norm) = ops.state;
        for (parent, grad) in ops.parents.into_iter().zip(norm_gradients(x, &norm, grad)) {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, grad);
            }
        }
    }
}

impl Backward<Flex, 2> for NormBackward {
    type State = (FlexTensor, FlexNorm);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let (x, norm) = ops.state;
        for (parent, grad) in ops.parents.into_iter().zip(norm_gradients(x, &norm, grad)) {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, grad);
            }
        }
    }
}

pub(crate) fn tracked<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    norm: NormOperands<Autodiff<Flex, C>>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let NormOperands { kind, weight, bias, eps } = norm;
    let (to_x, to_weight) = (x.node(), weight.node());
    let bias = bias.into_option();
    let to_bias = bias.as_ref().map(|bias| bias.node());
    let bias = match bias {
        Some(bias) => Maybe::Present(bias.into_primitive()),
        None => Maybe::Absent,
    };
    let norm = FlexNorm::new(NormOperands { kind, weight: weight.into_primitive(), bias, eps });
    let x = contiguous(x.into_primitive());
    let y = on_flex(x.clone(), &norm);
    match to_bias {
        Some(to_bias) => {
            match NormBackward.prepare::<C>([to_x, to_weight, to_bias]).compute_bound().stateful() {
                OpsKind::Tracked(prep) => prep.finish((x, norm), y),
                OpsKind::UnTracked(prep) => prep.finish(y),
            }
        }
        None => match NormBackward.prepare::<C>([to_x, to_weight]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, norm), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{NormKind, NormWeights, composed, normalise, normalise_heads};
    use crate::Heads;
    use crate::testing::{assert_close, devices, gradients_match, normal};
    use burn::tensor::{Device, Tensor, s};

    /// Both kinds, with and without bias.
    fn norms(channels: usize, device: &Device) -> [NormWeights; 4] {
        let bias: Tensor<1> = normal([channels], 2, device);
        [(NormKind::Layer, true), (NormKind::Layer, false), (NormKind::Rms, true), (NormKind::Rms, false)]
            .map(|(kind, biased)| NormWeights {
                kind,
                weight: normal([channels], 1, device) * 0.2 + 1.0,
                bias: biased.then(|| bias.clone()),
                eps: 1e-6,
            })
    }

    #[test]
    fn kernel_equals_composed() {
        let device = devices().plain;
        for (rows, channels) in [(1, 1), (3, 17), (19, 192), (0, 8)] {
            let x = normal([rows, channels], 3, &device) * 3.0 + 1.0;
            for norm in norms(channels, &device) {
                assert_close(normalise(x.clone(), norm.clone()), composed(x.clone(), norm), 2e-5);
            }
        }
    }

    #[test]
    fn heads_are_normalised_one_by_one_tracked_or_not() {
        let heads = Heads { count: 3, dim: 5, scale: 1.0 };
        for device in [devices().plain, devices().tracked] {
            for norm in norms(5, &device) {
                for norms in [[Some(norm.clone()), None], [None, Some(norm.clone())]] {
                    let x: Tensor<2> = normal([4, 45], 3, &device);
                    let part = |part: usize| x.clone().slice(s![.., part * 15..(part + 1) * 15]);
                    let expected = [0, 1].map(|index| match &norms[index] {
                        None => part(index),
                        Some(norm) => composed(part(index).reshape([12, 5]), norm.clone()).reshape([4, 15]),
                    });
                    let expected = Tensor::cat(expected.into_iter().chain([part(2)]).collect(), 1);
                    assert_close(normalise_heads(x.clone(), heads, &norms), expected, 2e-5);
                }
            }
        }
    }

    #[test]
    fn rms_norm_keeps_the_mean() {
        let device = devices().plain;
        let ones = Tensor::ones([2], &device);
        let norm = NormWeights { kind: NormKind::Rms, weight: ones, bias: None, eps: 0.0 };
        let y = normalise(Tensor::from_data([[3.0_f32, 4.0]], &device), norm);
        let root = 12.5_f32.sqrt();
        assert_close(y, Tensor::from_data([[3.0 / root, 4.0 / root]], &device), 1e-6);
    }

    #[test]
    fn gradients_equal_composed() {
        let device = devices().tracked;
        for index in 0..4 {
            gradients_match(
                [normal([7, 33], 4, &device)],
                |[x]| normalise(x, norms(33, &device)[index].clone()),
                |[x]| composed(x, norms(33, &device)[index].clone()),
                1e-4,
            );
            let x = normal([7, 33], 4, &device);
            let norm = |weight: Tensor<1>, bias: Tensor<1>| {
                let norm = norms(33, &device)[index].clone();
                NormWeights { weight, bias: norm.bias.is_some().then_some(bias), ..norm }
            };
            let biased = norms(33, &device)[index].bias.is_some();
            let leaves = || [normal([33], 5, &device), normal([33], 6, &device)];
            if biased {
                gradients_match(
                    leaves(),
                    |[weight, bias]| normalise(x.clone(), norm(weight, bias)),
                    |[weight, bias]| composed(x.clone(), norm(weight, bias)),
                    1e-4,
                );
            } else {
                let [weight, bias] = leaves();
                gradients_match(
                    [weight],
                    |[weight]| normalise(x.clone(), norm(weight, bias.clone())),
                    |[weight]| composed(x.clone(), norm(weight, bias.clone())),
                    1e-4,
                );
            }
        }
    }
}
