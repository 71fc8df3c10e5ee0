//! Where an op runs.

use crate::{attention, linear, merging, mlp, norm};
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

/// The ops that the kernels serve, on burn's backend primitives.
///
/// The fused ones (`norm_linear`, `linear_residual`, `mlp`) default to a composition of the others: that is
/// what autodiff runs, so that only the others need a gradient.
#[allow(clippy::too_many_arguments, reason = "a fused op takes the operands of its parts")]
#[backend_extension(Autodiff, Flex)]
pub(crate) trait KernelOps: Backend {
    fn kernel_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Maybe<Self>,
        activation: Activation,
        precision: Precision,
    ) -> FloatTensor<Self>;

    fn kernel_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self>;

    fn kernel_attention(
        qkv: FloatTensor<Self>,
        log_size: Option<Arc<[f32]>>,
        heads: Heads,
        precision: Precision,
        offsets: Arc<[usize]>,
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
        norm_weight: FloatTensor<Self>,
        norm_bias: FloatTensor<Self>,
        eps: f32,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Maybe<Self>,
        activation: Activation,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let x = Self::kernel_layer_norm(x, norm_weight, norm_bias, eps);
        Self::kernel_linear(x, weight, bias, activation, precision)
    }

    fn kernel_linear_residual(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Maybe<Self>,
        #[extension_type] scale: Maybe<Self>,
        residual: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self> {
        linear::add_scaled::<Self>(
            residual,
            Self::kernel_linear(x, weight, bias, Activation::Identity, precision),
            scale.into_option(),
        )
    }

    fn kernel_mlp(
        x: FloatTensor<Self>,
        norm_weight: FloatTensor<Self>,
        norm_bias: FloatTensor<Self>,
        eps: f32,
        fc1_weight: FloatTensor<Self>,
        #[extension_type] fc1_bias: Maybe<Self>,
        activation: Activation,
        fc2_weight: FloatTensor<Self>,
        #[extension_type] fc2_bias: Maybe<Self>,
        #[extension_type] scale: Maybe<Self>,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let hidden = Self::kernel_layer_norm(x.clone(), norm_weight, norm_bias, eps);
        let hidden = Self::kernel_linear(hidden, fc1_weight, fc1_bias, activation, precision);
        Self::kernel_linear_residual(hidden, fc2_weight, fc2_bias, scale, x, precision)
    }
}

impl KernelOps for Flex {
    fn kernel_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Maybe<Self>,
        activation: Activation,
        precision: Precision,
    ) -> FloatTensor<Self> {
        linear::on_flex(x, &weight, bias.get(), activation, precision)
    }

    fn kernel_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        norm::on_flex(x, &weight, &bias, eps)
    }

    fn kernel_attention(
        qkv: FloatTensor<Self>,
        log_size: Option<Arc<[f32]>>,
        heads: Heads,
        precision: Precision,
        offsets: Arc<[usize]>,
    ) -> FloatTensor<Self> {
        attention::on_flex(qkv, log_size.as_deref(), heads, precision, &offsets)
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
        norm_weight: FloatTensor<Self>,
        norm_bias: FloatTensor<Self>,
        eps: f32,
        weight: FloatTensor<Self>,
        bias: Maybe<Self>,
        activation: Activation,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let norm = norm::FlexNorm::new(&norm_weight, &norm_bias, eps);
        linear::normed_on_flex(x, &norm, &weight, bias.get(), activation, precision)
    }

    fn kernel_linear_residual(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Maybe<Self>,
        scale: Maybe<Self>,
        residual: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self> {
        linear::residual_on_flex(x, &weight, bias.get(), scale.get(), residual, precision)
    }

    fn kernel_mlp(
        x: FloatTensor<Self>,
        norm_weight: FloatTensor<Self>,
        norm_bias: FloatTensor<Self>,
        eps: f32,
        fc1_weight: FloatTensor<Self>,
        fc1_bias: Maybe<Self>,
        activation: Activation,
        fc2_weight: FloatTensor<Self>,
        fc2_bias: Maybe<Self>,
        scale: Maybe<Self>,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let norm = norm::FlexNorm::new(&norm_weight, &norm_bias, eps);
        let fc1 = (&fc1_weight, fc1_bias.get());
        let fc2 = (&fc2_weight, fc2_bias.get());
        mlp::on_flex(x, &norm, fc1, activation, fc2, scale.get(), precision)
    }
}

impl<C: CheckpointStrategy> KernelOps for Autodiff<Flex, C> {
    fn kernel_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Maybe<Self>,
        activation: Activation,
        precision: Precision,
    ) -> FloatTensor<Self> {
        linear::tracked::<C>(x, weight, bias.into_option(), activation, precision)
    }

    fn kernel_linear_residual(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Maybe<Self>,
        scale: Maybe<Self>,
        residual: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self> {
        match (bias, scale) {
            (Maybe::Present(bias), Maybe::Absent) => {
                linear::residual_tracked::<C>(x, weight, bias, residual, precision)
            }
            (bias, scale) => {
                let y = Self::kernel_linear(x, weight, bias, Activation::Identity, precision);
                linear::add_scaled::<Self>(residual, y, scale.into_option())
            }
        }
    }

    fn kernel_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        norm::tracked::<C>(x, weight, bias, eps)
    }

    fn kernel_attention(
        qkv: FloatTensor<Self>,
        log_size: Option<Arc<[f32]>>,
        heads: Heads,
        precision: Precision,
        offsets: Arc<[usize]>,
    ) -> FloatTensor<Self> {
        attention::tracked::<C>(qkv, log_size, heads, precision, offsets)
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
