//! From PyTorch's strided view of a storage to contiguous row-major bytes.

use std::ops::Range;

use super::object::Tensor;
use crate::safetensors_file::MAX_RANK;

/// Where a tensor's contiguous bytes are.
pub(super) enum Placed {
    /// In its storage, as they lie.
    InStorage(Range<usize>),
    /// In [`Copies`], gathered by strides.
    Copied(Range<usize>),
}

/// The gathered bytes of all tensors that do not lie contiguously, within a budget: an expanded tensor (stride 0)
/// of a few bytes could otherwise ask for any amount of memory.
pub(super) struct Copies {
    bytes: Vec<u8>,
    budget: usize,
}

impl Copies {
    pub(super) fn with_budget_for(file_len: usize) -> Self {
        Self { bytes: Vec::new(), budget: file_len.saturating_mul(4).saturating_add(16 << 20) }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Finds the bytes of `tensor` in `storage`, copying only where strides demand it.
pub(super) fn place(tensor: &Tensor<'_>, storage: &[u8], copies: &mut Copies) -> Result<Placed, String> {
    let Tensor { storage: described, offset, shape, strides } = tensor;
    let dtype = described.dtype;
    if shape.len() != strides.len() || shape.len() > MAX_RANK {
        return Err(format!(
            "its shape {shape:?} and strides {strides:?} do not describe a tensor of up to {MAX_RANK} axes"
        ));
    }
    let size = dtype.size();
    let too_large = || format!("the product of its shape {shape:?} is too large for any file");
    let total = dtype.bytes_of(shape).ok_or_else(too_large)?;
    if total == 0 {
        return Ok(Placed::InStorage(0..0));
    }
    let reach = shape
        .iter()
        .zip(strides)
        .try_fold(*offset, |reach, (&dim, &stride)| reach.checked_add((dim - 1).checked_mul(stride)?));
    match reach {
        Some(last) if last < described.len => {}
        _ => {
            return Err(format!(
                "offset {offset}, shape {shape:?} and strides {strides:?} reach outside its storage of {} elements",
                described.len
            ));
        }
    }
    // `reach` is inside the storage, so the products below cannot overflow.
    let first = offset * size;
    if is_contiguous(shape, strides) {
        return Ok(Placed::InStorage(first..first + total));
    }
    if total > copies.budget {
        return Err(format!(
            "its shape {shape:?} expands to {total} bytes, far more than the file holds; call .contiguous() before saving"
        ));
    }
    copies.budget -= total;
    // Each tensor begins aligned for its type, so that f32 can be borrowed.
    let start = copies.bytes.len().next_multiple_of(8);
    copies.bytes.resize(start, 0);
    copies.bytes.try_reserve(total).map_err(|error| format!("no memory for its {total} bytes: {error}"))?;
    gather(&mut copies.bytes, storage, first, shape, strides, size);
    Ok(Placed::Copied(start..start + total))
}

/// Row-major without gaps. Axes of length one may have any stride.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&dim, &stride)| {
        let fits = dim == 1 || stride == expected;
        expected *= dim;
        fits
    })
}

/// Appends the elements in row-major order, `size` bytes each.
fn gather(out: &mut Vec<u8>, storage: &[u8], first: usize, shape: &[usize], strides: &[usize], size: usize) {
    let mut index = vec![0usize; shape.len()];
    let mut at = first;
    loop {
        out.extend_from_slice(&storage[at..at + size]);
        // Counts up like an odometer, the last axis fastest.
        let mut axis = shape.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            at += strides[axis] * size;
            if index[axis] < shape[axis] {
                break;
            }
            at -= index[axis] * strides[axis] * size;
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::object::Storage;
    use super::*;
    use crate::Dtype;

    fn tensor(offset: usize, shape: &[usize], strides: &[usize]) -> Tensor<'static> {
        let storage = Storage { dtype: Dtype::U8, key: "0", len: 12 };
        Tensor { storage, offset, shape: shape.to_vec(), strides: strides.to_vec() }
    }

    fn bytes_of(tensor: &Tensor<'_>) -> Result<Vec<u8>, String> {
        let storage: Vec<u8> = (0..12).collect();
        let mut copies = Copies::with_budget_for(12);
        Ok(match place(tensor, &storage, &mut copies)? {
            Placed::InStorage(range) => storage[range].to_vec(),
            Placed::Copied(range) => copies.bytes[range].to_vec(),
        })
    }

    #[test]
    fn strides_are_followed() {
        assert_eq!(bytes_of(&tensor(4, &[2, 3], &[3, 1])).unwrap(), [4, 5, 6, 7, 8, 9]);
        assert_eq!(bytes_of(&tensor(0, &[4, 3], &[1, 4])).unwrap(), [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
        assert_eq!(bytes_of(&tensor(1, &[2, 2, 2], &[6, 3, 1])).unwrap(), [1, 2, 4, 5, 7, 8, 10, 11]);
        assert_eq!(bytes_of(&tensor(7, &[3], &[0])).unwrap(), [7, 7, 7]);
        assert_eq!(bytes_of(&tensor(11, &[], &[])).unwrap(), [11]);
        assert_eq!(bytes_of(&tensor(99, &[2, 0], &[1, 1])).unwrap(), [0u8; 0]);
    }

    #[test]
    fn nothing_outside_the_storage_is_read() {
        assert!(bytes_of(&tensor(7, &[2, 3], &[3, 1])).unwrap_err().contains("outside its storage of 12"));
        assert!(bytes_of(&tensor(0, &[2], &[usize::MAX])).is_err());
        assert!(bytes_of(&tensor(usize::MAX, &[2], &[1])).is_err());
        assert!(bytes_of(&tensor(0, &[usize::MAX, usize::MAX], &[0, 0])).is_err());
    }

    #[test]
    fn an_expanded_tensor_has_a_budget() {
        let message = bytes_of(&tensor(0, &[1 << 40], &[0])).unwrap_err();
        assert!(message.contains("call .contiguous()"), "{message}");
    }
}
