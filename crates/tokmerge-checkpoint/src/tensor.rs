//! One tensor of a checkpoint, lent out as it lies in the file.

use std::borrow::Cow;
use std::fmt;

use half::{bf16, f16};

use crate::CheckpointError;

/// Element types that checkpoints hold. Little-endian everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
    /// Signed, 64 bits.
    I64,
    /// Signed, 32 bits.
    I32,
    /// Signed, 16 bits.
    I16,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 64 bits.
    U64,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 8 bits.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

use Dtype::{BF16, Bool, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};

/// Each type with its name in a safetensors header and the type of the `safetensors` crate.
const DTYPES: [(Dtype, &str, safetensors::Dtype); 13] = [
    (F64, "F64", safetensors::Dtype::F64),
    (F32, "F32", safetensors::Dtype::F32),
    (F16, "F16", safetensors::Dtype::F16),
    (BF16, "BF16", safetensors::Dtype::BF16),
    (I64, "I64", safetensors::Dtype::I64),
    (I32, "I32", safetensors::Dtype::I32),
    (I16, "I16", safetensors::Dtype::I16),
    (I8, "I8", safetensors::Dtype::I8),
    (U64, "U64", safetensors::Dtype::U64),
    (U32, "U32", safetensors::Dtype::U32),
    (U16, "U16", safetensors::Dtype::U16),
    (U8, "U8", safetensors::Dtype::U8),
    (Bool, "BOOL", safetensors::Dtype::BOOL),
];

impl Dtype {
    /// Bytes of one element.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            F64 | I64 | U64 => 8,
            F32 | I32 | U32 => 4,
            F16 | BF16 | I16 | U16 => 2,
            I8 | U8 | Bool => 1,
        }
    }

    /// The name in a safetensors header: `F32`, `BF16`, `BOOL`.
    #[must_use]
    pub fn name(self) -> &'static str {
        DTYPES.iter().find(|(dtype, ..)| *dtype == self).map_or("", |(_, name, _)| name)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        DTYPES.iter().find(|(_, known, _)| *known == name).map(|(dtype, ..)| *dtype)
    }

    pub(crate) fn to_safetensors(self) -> safetensors::Dtype {
        DTYPES
            .iter()
            .find(|(dtype, ..)| *dtype == self)
            .map_or(safetensors::Dtype::U8, |(.., theirs)| *theirs)
    }

    /// Bytes of a tensor of this type, or `None` where the product does not fit.
    pub(crate) fn bytes_of(self, shape: &[usize]) -> Option<usize> {
        shape.iter().try_fold(self.size(), |bytes, &dim| bytes.checked_mul(dim))
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tensor inside an open checkpoint, or one about to be saved. Row-major and contiguous.
#[derive(Clone, Copy, PartialEq)]
pub struct TensorView<'a> {
    /// The name in the file, after a common `module.` was dropped.
    pub name: &'a str,
    /// Lengths of the axes; empty for a scalar.
    pub shape: &'a [usize],
    /// The element type.
    pub dtype: Dtype,
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// Wraps little-endian, row-major `bytes`.
    ///
    /// # Errors
    /// When `bytes` is not as long as `shape` and `dtype` say.
    pub fn new(
        name: &'a str,
        dtype: Dtype,
        shape: &'a [usize],
        bytes: &'a [u8],
    ) -> Result<Self, CheckpointError> {
        if dtype.bytes_of(shape) != Some(bytes.len()) {
            let reason = format!("shape {shape:?} of {dtype} cannot be held in {} bytes", bytes.len());
            return Err(CheckpointError::InvalidView { name: name.to_owned(), reason });
        }
        Ok(Self { name, shape, dtype, bytes })
    }

    /// Wraps row-major `values`.
    ///
    /// # Errors
    /// When `values` has another length than the product of `shape`.
    pub fn from_f32(name: &'a str, shape: &'a [usize], values: &'a [f32]) -> Result<Self, CheckpointError> {
        Self::new(name, F32, shape, bytemuck::cast_slice(values))
    }

    /// The raw elements: little-endian, row-major, not necessarily aligned.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The elements as `f32`: borrowed where they are aligned f32 already, converted from f16, bf16 and f64
    /// (rounding to nearest) otherwise.
    ///
    /// # Errors
    /// For integers and booleans, which are rarely meant as weights.
    pub fn to_f32(&self) -> Result<Cow<'a, [f32]>, CheckpointError> {
        #[expect(clippy::cast_possible_truncation, reason = "f64 weights are narrowed on request")]
        let values = match self.dtype {
            F32 => match bytemuck::try_cast_slice(self.bytes) {
                Ok(aligned) => return Ok(Cow::Borrowed(aligned)),
                Err(_) => convert(self.bytes, f32::from_le_bytes),
            },
            F16 => convert(self.bytes, |element| f16::from_le_bytes(element).to_f32()),
            BF16 => convert(self.bytes, |element| bf16::from_le_bytes(element).to_f32()),
            F64 => convert(self.bytes, |element| f64::from_le_bytes(element) as f32),
            dtype => return Err(CheckpointError::NotFloat { name: self.name.to_owned(), dtype }),
        };
        Ok(Cow::Owned(values))
    }
}

fn convert<const SIZE: usize>(bytes: &[u8], element: impl Fn([u8; SIZE]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&chunk| element(chunk)).collect()
}

impl fmt::Debug for TensorView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TensorView({} {}{:?})", self.name, self.dtype, self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f32_is_borrowed_when_aligned_and_copied_when_not() {
        let values = [1.0f32, -2.5];
        let view = TensorView::from_f32("x", &[2], &values).unwrap();
        assert!(matches!(view.to_f32().unwrap(), Cow::Borrowed(_)));

        let mut shifted = [0u8; 12];
        let start = usize::from((shifted.as_ptr() as usize).is_multiple_of(4));
        shifted[start..start + 8].copy_from_slice(bytemuck::cast_slice(&values));
        let view = TensorView::new("x", F32, &[2], &shifted[start..start + 8]).unwrap();
        assert!(matches!(view.to_f32().unwrap(), Cow::Owned(_)));
        assert_eq!(*view.to_f32().unwrap(), values);
    }

    #[test]
    fn halves_and_doubles_become_f32() {
        let half = f16::from_f32(0.5).to_le_bytes();
        let brain = bf16::from_f32(-3.0).to_le_bytes();
        let double = 0.1f64.to_le_bytes();
        assert_eq!(*TensorView::new("x", F16, &[1], &half).unwrap().to_f32().unwrap(), [0.5]);
        assert_eq!(*TensorView::new("x", BF16, &[1], &brain).unwrap().to_f32().unwrap(), [-3.0]);
        assert_eq!(*TensorView::new("x", F64, &[], &double).unwrap().to_f32().unwrap(), [0.1]);
    }

    #[test]
    fn integers_are_refused_by_name() {
        let view = TensorView::new("index", I64, &[1], &[0; 8]).unwrap();
        assert_eq!(
            view.to_f32().unwrap_err().to_string(),
            "tensor `index` holds I64, which is not converted to f32; read its bytes instead"
        );
    }

    #[test]
    fn a_view_must_explain_its_bytes() {
        assert!(TensorView::new("x", F32, &[2, 2], &[0; 15]).is_err());
        assert!(TensorView::new("x", F32, &[usize::MAX, 2], &[0; 8]).is_err());
        assert!(
            TensorView::new("x", F32, &[usize::MAX, 0], &[]).is_err(),
            "the product must not overflow on the way"
        );
    }
}
