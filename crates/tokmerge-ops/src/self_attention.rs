//! The attention half of a pre-norm block, residual included.

use crate::attention::{AttentionSpec, attention, head_features};
use crate::backend::{Body, body};
use crate::linear::{FlexLinear, in_place, linear_residual, norm_linear};
use crate::norm::FlexNorm;
use crate::pool::{contiguous, values};
use crate::{HeadAggregation, Layout, LinearWeights, NormWeights, Part, pool};
use burn::backend::TensorMetadata;
use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};
use std::sync::Arc;
use tokmerge_kernels as kernels;
use tokmerge_kernels::{Activation, Heads};

/// The weights of `norm → qkv → attention → proj`.
#[derive(Clone, Debug)]
pub struct SelfAttentionWeights {
    /// Before `qkv`.
    pub norm: NormWeights,
    /// `[3 * H * D, C]`: queries, keys and values, heads inside each.
    pub qkv: LinearWeights,
    /// Heads and the factor on their logits.
    pub heads: Heads,
    /// `[C, H * D]`.
    pub proj: LinearWeights,
    /// On the branch, `[C]`: LayerScale's gamma.
    pub scale: Option<Tensor<1>>,
}

/// Which features of an attention are asked for: one part of `q | k | v`, its heads averaged or side by side.
pub type HeadFeatures = (Part, HeadAggregation);

/// `x + scale * proj(attention(qkv(norm(x))))`: `[T, C]` → `[T, C]`, and the features asked for, as
/// [`head_features`](crate::head_features) has them. Queries, keys and values are never stored as a whole.
///
/// `key_bias: [T]` is added to the logits of its key: proportional attention (ToMe, eq. 1).
pub fn self_attention(
    x: Tensor<2>,
    weights: SelfAttentionWeights,
    key_bias: Option<Arc<[f32]>>,
    layout: &Layout,
    features: Option<HeadFeatures>,
) -> (Tensor<2>, Option<Tensor<2>>) {
    match (body(&x), Primitives::of(&x, &weights)) {
        (Body::Kernels, Some(primitives)) => {
            drop(x);
            primitives.run(weights.heads, key_bias.as_deref(), &layout.offsets(), features)
        }
        _ => by_layers(x, weights, key_bias, layout, features),
    }
}

/// One op after the other: what backends without kernels run, and what has gradients.
fn by_layers(
    x: Tensor<2>,
    weights: SelfAttentionWeights,
    key_bias: Option<Arc<[f32]>>,
    layout: &Layout,
    features: Option<HeadFeatures>,
) -> (Tensor<2>, Option<Tensor<2>>) {
    let SelfAttentionWeights { norm, qkv, heads, proj, scale } = weights;
    let precision = qkv.precision.without_int8();
    let qkv = norm_linear(x.clone(), norm, qkv, Activation::Identity);
    let features = features.map(|(part, heads_as)| head_features(qkv.clone(), heads, part, heads_as));
    let y = attention(qkv, &AttentionSpec { precision, key_bias, ..AttentionSpec::new(heads, layout) });
    (linear_residual(y, proj, scale, x), features)
}

/// A tensor that may be absent; none if it is there but tracked or elsewhere.
fn optional(tensor: Option<&Tensor<1>>) -> Option<Option<FlexTensor>> {
    match tensor {
        None => Some(None),
        Some(tensor) => Some(Some(contiguous(tensor.clone().try_into_primitive::<Flex>().ok()?))),
    }
}

/// All operands, on Flex and untracked.
struct Primitives {
    x: FlexTensor,
    norm: FlexNorm,
    qkv: FlexLinear,
    proj: FlexLinear,
    scale: Option<FlexTensor>,
}

impl Primitives {
    fn of(x: &Tensor<2>, weights: &SelfAttentionWeights) -> Option<Self> {
        let SelfAttentionWeights { norm, qkv, proj, scale, .. } = weights;
        Some(Self {
            x: x.clone().try_into_primitive::<Flex>().ok()?,
            norm: FlexNorm::of(norm)?,
            qkv: FlexLinear::of(qkv)?,
            proj: FlexLinear::of(proj)?,
            scale: optional(scale.as_ref())?,
        })
    }

    fn run(
        self,
        heads: Heads,
        key_bias: Option<&[f32]>,
        offsets: &[usize],
        features: Option<HeadFeatures>,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        let Self { x, norm, qkv, proj, scale } = self;
        let (qkv_pack, proj_pack) = (qkv.pack(), proj.pack());
        let half = kernels::SelfAttention {
            norm: norm.view(),
            qkv: &qkv_pack,
            qkv_bias: qkv.bias(),
            heads,
            precision: qkv.precision.without_int8(),
            proj: &proj_pack,
            proj_bias: proj.bias(),
            scale: scale.as_ref().map(values),
        };
        let rows = x.shape()[0];
        let mut features = features.map(|(part, aggregation)| {
            let width = match aggregation {
                HeadAggregation::Mean => heads.dim,
                HeadAggregation::Concat => heads.count * heads.dim,
            };
            (part, aggregation, width, pool::take(rows * width))
        });
        let metric = features.as_mut().map(|(part, aggregation, _, out)| kernels::Metric {
            part: *part,
            aggregation: *aggregation,
            out,
        });
        let x = in_place(contiguous(x), |x| kernels::self_attention(&half, offsets, key_bias, metric, x));
        let features = features
            .map(|(_, _, width, out)| Tensor::from_primitive::<Flex>(pool::tensor(out, [rows, width])));
        (Tensor::from_primitive::<Flex>(x), features)
    }
}

#[cfg(test)]
mod tests {
    use super::{SelfAttentionWeights, by_layers, self_attention};
    use crate::testing::{assert_close, devices, gradients_match, normal};
    use crate::{HeadAggregation, Heads, Layout, LinearWeights, NormKind, NormWeights, Part, Precision};
    use burn::tensor::{Device, Tensor};
    use std::sync::Arc;

    fn weights(channels: usize, heads: Heads, device: &Device) -> SelfAttentionWeights {
        let width = heads.count * heads.dim;
        let layer = |inputs: usize, outputs: usize, seed| LinearWeights {
            weight: normal([outputs, inputs], seed, device) * (inputs as f32).powf(-0.5),
            bias: Some(normal([outputs], seed + 1, device)),
            precision: Precision::F32,
        };
        SelfAttentionWeights {
            norm: NormWeights {
                kind: NormKind::Layer,
                weight: normal([channels], 1, device),
                bias: Some(normal([channels], 2, device)),
                eps: 1e-6,
            },
            qkv: layer(channels, 3 * width, 3),
            heads,
            proj: layer(width, channels, 5),
            scale: Some(normal([channels], 7, device)),
        }
    }

    #[test]
    fn kernel_equals_one_op_after_the_other() {
        let device = devices().plain;
        let heads = Heads { count: 2, dim: 32, scale: 0.2 };
        for layout in [Layout::uniform(4, 9), Layout::from_lens(&[3, 0, 8]), Layout::uniform(0, 5)] {
            let x: Tensor<2> = normal([layout.rows(), 24], 9, &device);
            let key_bias: Arc<[f32]> = (0..layout.rows()).map(|row| (row % 3) as f32).collect();
            for features in
                [None, Some((Part::Key, HeadAggregation::Mean)), Some((Part::Query, HeadAggregation::Concat))]
            {
                let run = |op: fn(_, _, _, &_, _) -> _| -> (Tensor<2>, Option<Tensor<2>>) {
                    op(x.clone(), weights(24, heads, &device), Some(key_bias.clone()), &layout, features)
                };
                let ((y, found), (expected, wanted)) = (run(self_attention), run(by_layers));
                assert_close(y, expected, 0.0);
                assert_eq!(found.is_some(), features.is_some());
                if let (Some(found), Some(wanted)) = (found, wanted) {
                    assert_close(found, wanted, 0.0);
                }
            }
        }
    }

    #[test]
    fn the_input_stays_where_somebody_holds_it() {
        let device = devices().plain;
        let heads = Heads { count: 1, dim: 32, scale: 0.2 };
        let x: Tensor<2> = normal([6, 8], 9, &device);
        let before = x.clone().into_data();
        let _ = self_attention(x.clone(), weights(8, heads, &device), None, &Layout::uniform(2, 3), None);
        assert_eq!(x.into_data(), before);
    }

    #[test]
    fn gradients_pass_where_something_is_tracked() {
        let device = devices().tracked;
        let heads = Heads { count: 2, dim: 8, scale: 0.3 };
        let layout = Layout::uniform(2, 3);
        gradients_match(
            [normal([6, 12], 9, &device)],
            |[x]| self_attention(x, weights(12, heads, &device), None, &layout, None).0,
            |[x]| by_layers(x, weights(12, heads, &device), None, &layout, None).0,
            1e-6,
        );
    }
}
