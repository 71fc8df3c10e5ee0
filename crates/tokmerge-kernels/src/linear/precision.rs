//! What linear layers and attention compute in.

use super::quantise::MAX_FEATURES;
use std::fmt;
use std::str::FromStr;

/// How the products of a linear layer are computed. Inputs, outputs and sums are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// f32 throughout.
    F32,
    /// Weights and activations rounded to bf16 (nearest, ties to even), products summed in f32. Twice
    /// as fast where the CPU has bf16 dot products; elsewhere emulated at the speed of f32.
    Bf16,
    /// Weights rounded to 8 bits with a scale per output, activations to 8 bits between the smallest and the largest
    /// value of their row; products summed exactly in 32-bit integers. Four times as fast where the CPU has dot
    /// products of bytes (VNNI); elsewhere the same integers, at the speed of f32 or below. Linear layers only:
    /// attention is computed as at [`Precision::Bf16`].
    Int8,
}

impl Precision {
    /// All of them, the most exact first.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// The name: `f32`, `bf16` or `int8`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// What everything that is not a linear layer with many rows is computed in: bf16 in place of int8.
    #[must_use]
    pub fn without_int8(self) -> Self {
        match self {
            Self::Int8 => Self::Bf16,
            other => other,
        }
    }

    /// The same, or bf16 where rows of `features` are too long for the sums of int8.
    #[must_use]
    pub fn for_rows_of(self, features: usize) -> Self {
        if features > MAX_FEATURES { self.without_int8() } else { self }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no precision's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPrecision(String);

impl fmt::Display for UnknownPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "there is no precision '{}'; give {}",
            self.0,
            Precision::ALL.map(Precision::name).join(", ")
        )
    }
}

impl std::error::Error for UnknownPrecision {}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, UnknownPrecision> {
        let found = Self::ALL.into_iter().find(|precision| precision.name() == name);
        found.ok_or_else(|| UnknownPrecision(name.to_owned()))
    }
}
