//! The attention half of a pre-norm block, residual included.

use crate::attention::{AttentionSpec, attention, head_features};
use crate::backend::{Body, body};
use crate::linear::{self, FlexLinear, in_place, linear_residual, norm_linear};
use crate::norm::{self, FlexNorm, normalise, normalise_heads};
use crate::pool::{contiguous, values};
use crate::{HeadAggregation, Layout, LinearWeights, NormWeights, Part, Rotation, pool, rotate_heads};
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
    /// Of queries and keys, over the channels of each head.
    pub qk_norm: [Option<NormWeights>; 2],
    /// Heads and the factor on their logits.
    pub heads: Heads,
    /// Before `proj`, over `H * D` channels.
    pub inner_norm: Option<NormWeights>,
    /// `[C, H * D]`.
    pub proj: LinearWeights,
    /// On the branch, `[C]`: LayerScale's gamma.
    pub scale: Option<Tensor<1>>,
}

/// What attention works with besides rows and weights.
#[derive(Clone, Debug)]
pub struct SelfAttentionContext<'a> {
    /// Whose the rows are.
    pub layout: &'a Layout,
    /// `[T]`, added to the logits of its key: the logarithm of its size in proportional attention (ToMe, eq. 1).
    pub key_bias: Option<Arc<[f32]>>,
    /// By which queries and keys turn, after their norms.
    pub rotation: Option<Arc<Rotation>>,
    /// The features that are asked for.
    pub features: Option<HeadFeatures>,
}

/// Which features of an attention are asked for: one part of `q | k | v`, its heads averaged or side by side.
pub type HeadFeatures = (Part, HeadAggregation);

/// `x + scale * proj(attention(qkv(norm(x))))`: `[T, C]` → `[T, C]`, and the features asked for, as
/// [`head_features`](crate::head_features) has them, of normalised queries and keys before they are rotated. Queries, keys
/// and values are never stored as a whole.
pub fn self_attention(
    x: Tensor<2>,
    weights: SelfAttentionWeights,
    with: &SelfAttentionContext<'_>,
) -> (Tensor<2>, Option<Tensor<2>>) {
    match (body(&x), Primitives::of(&x, &weights)) {
        (Body::Kernels, Some(primitives)) => {
            drop(x);
            primitives.run(weights.heads, with)
        }
        _ => by_layers(x, weights, with),
    }
}

/// One op after the other: what backends without kernels run, and what has gradients.
fn by_layers(
    x: Tensor<2>,
    weights: SelfAttentionWeights,
    with: &SelfAttentionContext<'_>,
) -> (Tensor<2>, Option<Tensor<2>>) {
    let SelfAttentionWeights { norm, qkv, qk_norm, heads, inner_norm, proj, scale } = weights;
    let precision = qkv.precision.without_int8();
    let qkv = norm_linear(x.clone(), norm, qkv, Activation::Identity);
    let qkv = normalise_heads(qkv, heads, &qk_norm);
    let features = with.features.map(|(part, heads_as)| head_features(qkv.clone(), heads, part, heads_as));
    let qkv = match &with.rotation {
        Some(rotation) => rotate_heads(qkv, heads, 2, rotation),
        None => qkv,
    };
    let key_bias = with.key_bias.clone();
    let y = attention(qkv, &AttentionSpec { precision, key_bias, ..AttentionSpec::new(heads, with.layout) });
    let y = match inner_norm {
        Some(norm) => normalise(y, norm),
        None => y,
    };
    (linear_residual(y, proj, scale, x), features)
}

/// All operands, on Flex and untracked.
struct Primitives {
    x: FlexTensor,
    norm: FlexNorm,
    qkv: FlexLinear,
    qk_norm: [Option<FlexNorm>; 2],
    inner_norm: Option<FlexNorm>,
    proj: FlexLinear,
    scale: Option<FlexTensor>,
}

impl Primitives {
    fn of(x: &Tensor<2>, weights: &SelfAttentionWeights) -> Option<Self> {
        let SelfAttentionWeights { norm, qkv, qk_norm: [q_norm, k_norm], inner_norm, proj, scale, .. } =
            weights;
        Some(Self {
            x: x.clone().try_into_primitive::<Flex>().ok()?,
            norm: FlexNorm::of(norm)?,
            qkv: FlexLinear::of(qkv)?,
            qk_norm: [norm::optional(q_norm.as_ref())?, norm::optional(k_norm.as_ref())?],
            inner_norm: norm::optional(inner_norm.as_ref())?,
            proj: FlexLinear::of(proj)?,
            scale: linear::optional(scale.as_ref())?,
        })
    }

    fn run(self, heads: Heads, with: &SelfAttentionContext<'_>) -> (Tensor<2>, Option<Tensor<2>>) {
        let Self { x, norm, qkv, qk_norm, inner_norm, proj, scale } = self;
        let (qkv_pack, proj_pack) = (qkv.pack(), proj.pack());
        let half = kernels::SelfAttention {
            norm: norm.view(),
            qkv: &qkv_pack,
            qkv_bias: qkv.bias(),
            qk_norm: qk_norm.each_ref().map(|norm| norm.as_ref().map(FlexNorm::view)),
            rotation: with.rotation.as_deref().map(Rotation::view),
            heads,
            precision: qkv.precision.without_int8(),
            inner_norm: inner_norm.as_ref().map(FlexNorm::view),
            proj: &proj_pack,
            proj_bias: proj.bias(),
            scale: scale.as_ref().map(values),
        };
        let rows = x.shape()[0];
        let mut features = with.features.map(|(part, aggregation)| {
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
        let (offsets, key_bias) = (with.layout.offsets(), with.key_bias.as_deref());
        let x = in_place(contiguous(x), |x| kernels::self_attention(&half, &offsets, key_bias, metric, x));
        let features = features
            .map(|(_, _, width, out)| Tensor::from_primitive::<Flex>(pool::tensor(out, [rows, width])));
        (Tensor::from_primitive::<Flex>(x), features)
    }
}

#[cfg(test)]
mod tests {
    use super::{SelfAttentionContext, SelfAttentionWeights, by_layers, self_attention};
    use crate::testing::{assert_close, devices, gradients_match, normal};
    use crate::{
        Angles, HeadAggregation, Heads, Layout, LinearWeights, NormKind, NormWeights, Pairs, Part, Precision,
        Rotation,
    };
    use burn::tensor::{Device, Tensor};
    use std::sync::Arc;

    /// With all that may stand between the layers, or with nothing.
    fn weights(channels: usize, heads: Heads, between: bool, device: &Device) -> SelfAttentionWeights {
        let width = heads.count * heads.dim;
        let layer = |inputs: usize, outputs: usize, seed| LinearWeights {
            weight: normal([outputs, inputs], seed, device) * (inputs as f32).powf(-0.5),
            bias: Some(normal([outputs], seed + 1, device)),
            precision: Precision::F32,
        };
        let norm = |channels: usize, kind, seed| NormWeights {
            kind,
            weight: normal([channels], seed, device),
            bias: Some(normal([channels], seed + 1, device)),
            eps: 1e-6,
        };
        let inner = |channels, seed| between.then(|| norm(channels, NormKind::Rms, seed));
        SelfAttentionWeights {
            norm: norm(channels, NormKind::Layer, 1),
            qkv: layer(channels, 3 * width, 3),
            qk_norm: [inner(heads.dim, 11), inner(heads.dim, 13)],
            heads,
            inner_norm: inner(width, 15),
            proj: layer(width, channels, 5),
            scale: Some(normal([channels], 7, device)),
        }
    }

    fn context(layout: &Layout, heads: Heads, between: bool) -> SelfAttentionContext<'_> {
        let rows = layout.rows();
        let angles: Vec<f32> = (0..rows * heads.dim / 2).map(|i| (i * i % 17) as f32).collect();
        let rotation = between.then(|| {
            let cos = angles.iter().map(|angle| angle.cos()).collect();
            let sin = angles.iter().map(|angle| angle.sin()).collect();
            Arc::new(Rotation { cos, sin, angles: Angles::Shared, pairs: Pairs::Adjacent, learned: None })
        });
        let key_bias = Some((0..rows).map(|row| (row % 3) as f32).collect());
        SelfAttentionContext { layout, key_bias, rotation, features: None }
    }

    #[test]
    fn kernel_equals_one_op_after_the_other() {
        let device = devices().plain;
        let heads = Heads { count: 2, dim: 32, scale: 0.2 };
        for layout in [Layout::uniform(4, 9), Layout::from_lens(&[3, 0, 8]), Layout::uniform(0, 5)] {
            let x: Tensor<2> = normal([layout.rows(), 24], 9, &device);
            for (between, features) in [false, true].into_iter().flat_map(|between| {
                [None, Some((Part::Key, HeadAggregation::Mean)), Some((Part::Query, HeadAggregation::Concat))]
                    .map(|features| (between, features))
            }) {
                let with = SelfAttentionContext { features, ..context(&layout, heads, between) };
                let (y, found) = self_attention(x.clone(), weights(24, heads, between, &device), &with);
                let (expected, wanted) = by_layers(x.clone(), weights(24, heads, between, &device), &with);
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
        let layout = Layout::uniform(2, 3);
        let _ = self_attention(x.clone(), weights(8, heads, true, &device), &context(&layout, heads, true));
        assert_eq!(x.into_data(), before);
    }

    #[test]
    fn gradients_pass_where_something_is_tracked() {
        let device = devices().tracked;
        let heads = Heads { count: 2, dim: 8, scale: 0.3 };
        let layout = Layout::uniform(2, 3);
        for between in [false, true] {
            let with = context(&layout, heads, between);
            gradients_match(
                [normal([6, 12], 9, &device)],
                |[x]| self_attention(x, weights(12, heads, between, &device), &with).0,
                |[x]| by_layers(x, weights(12, heads, between, &device), &with).0,
                1e-6,
            );
        }
    }
}
