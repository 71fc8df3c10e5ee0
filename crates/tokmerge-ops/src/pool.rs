//! Buffers that outlive the op that made them.
//!
//! A Transformer asks for the same few sizes over and over. Outputs are taken from here and inputs that an op
//! was the last to hold are given back, so that in the steady state no op allocates, zeroes or faults in
//! memory. Buffers hold stale values; every kernel writes its whole output.

use burn::backend::TensorMetadata;
use burn::tensor::{Bytes, DType, Shape, Tensor};
use burn_flex::{Flex, FlexTensor, Layout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Buffers kept at most. Beyond this the one that has lain longest is dropped: a forward pass holds a handful at a
/// time, and sizes that another way of merging needed must not crowd out those of this one.
const MAX_BUFFERS: usize = 32;

/// The same once something is trained: the forward pass's results are kept until the backward pass.
const MAX_BUFFERS_TRAINING: usize = 4096;

/// Buffers that were left unused while this many others were taken are dropped: a training step takes a few hundred.
const MAX_AGE: u64 = 4096;

/// Whether anything was trained.
static TRAINING: AtomicBool = AtomicBool::new(false);

static FREE: Mutex<Free> = Mutex::new(Free { buffers: Vec::new(), taken: 0 });

struct Free {
    /// In the order in which they were given back, each with the number of those taken until then.
    buffers: Vec<(Vec<f32>, u64)>,
    /// Buffers taken so far.
    taken: u64,
}

/// From here on results are kept until the backward pass.
pub(crate) fn train() {
    TRAINING.store(true, Ordering::Relaxed);
}

/// A buffer of `len` values, whatever they are.
pub(crate) fn take(len: usize) -> Vec<f32> {
    let reused = {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest that fits, but none more than twice as large: a tiny output must not pin a huge buffer.
        free.taken += 1;
        let capacity = |i: &usize| free.buffers[*i].0.capacity();
        let fit = (0..free.buffers.len())
            .filter(|i| capacity(i) >= len && capacity(i) <= 2 * len.max(1024))
            .min_by_key(capacity);
        fit.map(|i| free.buffers.remove(i).0)
    };
    let mut buffer = reused.unwrap_or_default();
    // Values up to the old length stay as they are; only what was never written is zeroed.
    buffer.resize(len, 0.0);
    buffer
}

/// Wraps a filled buffer as a tensor.
pub(crate) fn tensor(buffer: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(buffer), Layout::contiguous(shape.into()), DType::F32)
}

/// The tensor with its values in one run, copied only if they are not. Consumes it: a second handle would keep
/// its buffer from being reused.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// The values of a contiguous f32 tensor; it may be part of a larger buffer.
pub(crate) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("a contiguous f32 tensor")
}

/// Gives a tensor's buffer back if nobody else holds it.
pub(crate) fn give(tensor: FlexTensor) {
    let whole = tensor.is_contiguous()
        && tensor.layout().start_offset() == 0
        && tensor.bytes().len() == tensor.shape().num_elements() * size_of::<f32>();
    if !(whole && tensor.dtype() == DType::F32 && tensor.is_unique()) {
        return;
    }
    if let Ok(buffer) = tensor.into_data().into_parts().0.try_into_vec::<f32>() {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = free.taken;
        free.buffers.push((buffer, taken));
        let training = TRAINING.load(Ordering::Relaxed);
        let most = if training { MAX_BUFFERS_TRAINING } else { MAX_BUFFERS };
        while free.buffers.len() > most || free.buffers[0].1 + MAX_AGE < taken {
            free.buffers.remove(0);
        }
    }
}

/// Gives a tensor's memory to the ops to come, if nobody else holds it. Dropping it would be right too, only
/// slower: the next pass would ask the system for the same memory again.
pub fn recycle<const D: usize>(tensor: Tensor<D>) {
    if let Ok(primitive) = tensor.try_into_primitive::<Flex>() {
        give(primitive);
    }
}

#[cfg(test)]
mod tests {
    use super::{give, take, tensor};

    #[test]
    fn a_tensor_nobody_holds_gives_its_buffer_back() {
        let mut buffer = take(70_001);
        buffer[70_000] = 3.5;
        let address = buffer.as_ptr();
        let held = tensor(buffer, [70_001]);
        let other = held.clone();
        give(held);
        let fresh = take(70_001);
        assert_ne!(fresh.as_ptr(), address, "a shared buffer must not be reused");
        give(other);
        let reused = take(70_001);
        assert_eq!(reused.as_ptr(), address);
    }
}
