//! Where an op runs.

use crate::linear::FlexLinear;
use crate::norm::FlexNorm;
use crate::pair_attention::{self, PairPlan};
use crate::{LinearWeights, NormKind, NormWeights, Rotation, attention, linear, merging, norm, rotation};
use burn::backend::autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, DispatchDevice, ExtensionType, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_flex::Flex;
use std::sync::Arc;
use tokmerge_kernels::{Activation, Heads, Precision};

/// The body an op runs for a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// The CPU kernels, and their gradients where the tensor is tracked.
    Kernels,
    /// Ordinary burn ops.
    Composed,
}

/// Kernels for f32 tensors on Flex; ordinary ops for everything else.
pub(crate) fn body<const D: usize>(x: &Tensor<D>) -> Body {
    let device = x.device().without_autodiff();
    match device.as_dispatch() {
        DispatchDevice::Flex(_) if x.dtype() == DType::F32 => Body::Kernels,
        _ => Body::Composed,
    }
}

/// A tensor that an op can do without, in a form that crosses burn's dispatch.
#[derive(ExtensionType)]
pub(crate) enum Maybe<B: Backend> {
    Absent,
    Present(FloatTensor<B>),
}

impl<B: Backend> Maybe<B> {
    pub(crate) fn get(&self) -> Option<&FloatTensor<B>> {
        match self {
            Self::Absent => None,
            Self::Present(tensor) => Some(tensor),
        }
    }

    pub(crate) fn into_option(self) -> Option<FloatTensor<B>> {
        match self {
            Self::Absent => None,
            Self::Present(tensor) => Some(tensor),
        }
    }
}

impl Maybe<Dispatch> {
    pub(crate) fn from_tensor<const D: usize>(tensor: Option<Tensor<D>>) -> Self {
        tensor.map_or(Self::Absent, |tensor| Self::Present(tensor.into_dispatch()))
    }
}

/// A linear layer: [`LinearWeights`] below the dispatch.
#[derive(ExtensionType)]
pub(crate) struct LinearOperands<B: Backend> {
    pub(crate) weight: FloatTensor<B>,
    #[extension_type]
    pub(crate) bias: Maybe<B>,
    pub(crate) precision: Precision,
}

impl From<LinearWeights> for LinearOperands<Dispatch> {
    fn from(layer: LinearWeights) -> Self {
        let LinearWeights { weight, bias, precision } = layer;
        Self { weight: weight.into_dispatch(), bias: Maybe::from_tensor(bias), precision }
    }
}

/// A norm: [`NormWeights`] below the dispatch.
#[derive(ExtensionType)]
pub(crate) struct NormOperands<B: Backend> {
    pub(crate) kind: NormKind,
    pub(crate) weight: FloatTensor<B>,
    #[extension_type]
    pub(crate) bias: Maybe<B>,
    pub(crate) eps: f32,
}

impl From<NormWeights> for NormOperands<Dispatch> {
    fn from(norm: NormWeights) -> Self {
        let NormWeights { kind, weight, bias, eps } = norm;
        Self { kind, weight: weight.into_dispatch(), bias: Maybe::from_tensor(bias), eps }
    }
}

/// The ops that the kernels serve, on burn's backend primitives.
///
/// The fused ones (`norm_linear`, `linear_residual`) default to a composition of the others: that is
/// what autodiff runs, so that only the others need a gradient.
#[backend_extension(Autodiff, Flex)]
pub(crate) trait KernelOps: Backend {
    fn kernel_linear(
        x: FloatTensor<Self>,
        #[extension_type] layer: LinearOperands<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    fn kernel_norm(x: FloatTensor<Self>, #[extension_type] norm: NormOperands<Self>) -> FloatTensor<Self>;

    fn kernel_attention(
        qkv: FloatTensor<Self>,
        key_bias: Option<Arc<[f32]>>,
        heads: Heads,
        precision: Precision,
        offsets: Arc<[usize]>,
    ) -> FloatTensor<Self>;

    fn kernel_pair_attention(
        q: FloatTensor<Self>,
        kv: FloatTensor<Self>,
        #[extension_type] table: Maybe<Self>,
        plan: PairPlan,
    ) -> FloatTensor<Self>;

    fn kernel_rotate(
        x: FloatTensor<Self>,
        rotation: Rotation,
        heads: Heads,
        parts: usize,
    ) -> FloatTensor<Self>;

    fn kernel_merge_rows(
        x: FloatTensor<Self>,
        weight: Arc<[f32]>,
        dst: Arc<[u32]>,
        rows: usize,
    ) -> FloatTensor<Self>;

    fn kernel_gather_rows(y: FloatTensor<Self>, dst: Arc<[u32]>) -> FloatTensor<Self>;

    fn kernel_norm_linear(
        x: FloatTensor<Self>,
        #[extension_type] norm: NormOperands<Self>,
        #[extension_type] layer: LinearOperands<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        Self::kernel_linear(Self::kernel_norm(x, norm), layer, activation)
    }

    fn kernel_linear_residual(
        x: FloatTensor<Self>,
        #[extension_type] layer: LinearOperands<Self>,
        #[extension_type] scale: Maybe<Self>,
        residual: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let y = Self::kernel_linear(x, layer, Activation::Identity);
        linear::add_scaled::<Self>(residual, y, scale.into_option())
    }
}

impl KernelOps for Flex {
    fn kernel_linear(
        x: FloatTensor<Self>,
        layer: LinearOperands<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        linear::on_flex(x, &FlexLinear::new(layer), activation)
    }

    fn kernel_norm(x: FloatTensor<Self>, norm: NormOperands<Self>) -> FloatTensor<Self> {
        norm::on_flex(x, &FlexNorm::new(norm))
    }

    fn kernel_attention(
        qkv: FloatTensor<Self>,
        key_bias: Option<Arc<[f32]>>,
        heads: Heads,
        precision: Precision,
        offsets: Arc<[usize]>,
    ) -> FloatTensor<Self> {
        attention::on_flex(qkv, key_bias.as_deref(), heads, precision, &offsets)
    }

    fn kernel_pair_attention(
        q: FloatTensor<Self>,
        kv: FloatTensor<Self>,
        table: Maybe<Self>,
        plan: PairPlan,
    ) -> FloatTensor<Self> {
        pair_attention::on_flex(q, kv, table.into_option(), &plan)
    }

    fn kernel_merge_rows(
        x: FloatTensor<Self>,
        weight: Arc<[f32]>,
        dst: Arc<[u32]>,
        rows: usize,
    ) -> FloatTensor<Self> {
        merging::merge_on_flex(x, &weight, &dst, rows)
    }

    fn kernel_gather_rows(y: FloatTensor<Self>, dst: Arc<[u32]>) -> FloatTensor<Self> {
        merging::gather_on_flex(y, &dst)
    }

    fn kernel_norm_linear(
        x: FloatTensor<Self>,
        norm: NormOperands<Self>,
        layer: LinearOperands<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        linear::normed_on_flex(x, &FlexNorm::new(norm), &FlexLinear::new(layer), activation)
    }

    fn kernel_linear_residual(
        x: FloatTensor<Self>,
        layer: LinearOperands<Self>,
        scale: Maybe<Self>,
        residual: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        linear::residual_on_flex(x, &FlexLinear::new(layer), scale.into_option(), residual)
    }

    fn kernel_rotate(
        x: FloatTensor<Self>,
        rotation: Rotation,
        heads: Heads,
        parts: usize,
    ) -> FloatTensor<Self> {
        rotation::on_flex(x, &rotation, heads, parts)
    }
}

impl<C: CheckpointStrategy> KernelOps for Autodiff<Flex, C> {
    fn kernel_linear(
        x: FloatTensor<Self>,
        layer: LinearOperands<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        linear::tracked::<C>(x, layer, activation)
    }

    fn kernel_linear_residual(
        x: FloatTensor<Self>,
        layer: LinearOperands<Self>,
        scale: Maybe<Self>,
        residual: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        match scale {
            Maybe::Absent => linear::residual_tracked::<C>(x, layer, residual),
            Maybe::Present(scale) => {
                let y = Self::kernel_linear(x, layer, Activation::Identity);
                linear::add_scaled::<Self>(residual, y, Some(scale))
            }
        }
    }

    fn kernel_norm(x: FloatTensor<Self>, norm: NormOperands<Self>) -> FloatTensor<Self> {
        norm::tracked::<C>(x, norm)
    }

    fn kernel_attention(
        qkv: FloatTensor<Self>,
        key_bias: Option<Arc<[f32]>>,
        heads: Heads,
        precision: Precision,
        offsets: Arc<[usize]>,
    ) -> FloatTensor<Self> {
        attention::tracked::<C>(qkv, key_bias, heads, precision, offsets)
    }

    fn kernel_pair_attention(
        q: FloatTensor<Self>,
        kv: FloatTensor<Self>,
        table: Maybe<Self>,
        plan: PairPlan,
    ) -> FloatTensor<Self> {
        pair_attention::tracked::<C>(q, kv, table, plan)
    }

    fn kernel_rotate(
        x: FloatTensor<Self>,
        rotation: Rotation,
        heads: Heads,
        parts: usize,
    ) -> FloatTensor<Self> {
        rotation::tracked::<C>(x, rotation, heads, parts)
    }

    fn kernel_merge_rows(
        x: FloatTensor<Self>,
        weight: Arc<[f32]>,
        dst: Arc<[u32]>,
        rows: usize,
    ) -> FloatTensor<Self> {
        merging::merge_tracked::<C>(x, weight, dst, rows)
    }

    fn kernel_gather_rows(y: FloatTensor<Self>, dst: Arc<[u32]>) -> FloatTensor<Self> {
        merging::gather_tracked::<C>(y, dst)
    }
}
