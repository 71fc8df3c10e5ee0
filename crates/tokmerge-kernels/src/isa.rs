//! Which instruction set the kernels run with: detected once, or forced by `TOKMERGE_ISA`.

use std::fmt;
use std::sync::OnceLock;

/// The environment variable that forces an instruction set.
const VARIABLE: &str = "TOKMERGE_ISA";

/// An instruction set for which every kernel of this crate exists.
///
/// All of them compute the same functions; results differ between them by rounding only. Passing one
/// that this CPU lacks to a kernel panics; [`Isa::available`] lists those it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// x86-64 with AVX-512 F, BW, DQ and VL: 16 lanes. Dot products of bf16 and of bytes (VNNI) are
    /// used where the CPU has them.
    Avx512,
    /// x86-64 with AVX2 and FMA: 8 lanes. Dot products of bytes (AVX-VNNI) are used where the CPU has them.
    Avx2,
    /// Any CPU: plain Rust, and the `gemm` crate for linear layers where that has vectors.
    Portable,
}

impl Isa {
    /// The instruction set to use in this process, decided at the first call.
    ///
    /// # Panics
    /// When `TOKMERGE_ISA` holds a value that [`Isa::from_env`] rejects. Programs call that first, to
    /// report the error in their own way.
    #[must_use]
    pub fn current() -> Self {
        static CURRENT: OnceLock<Isa> = OnceLock::new();
        *CURRENT.get_or_init(|| Self::from_env().unwrap_or_else(|error| panic!("{error}")))
    }

    /// The instruction set named by `TOKMERGE_ISA`, or the best one of this CPU when it is unset.
    ///
    /// # Errors
    /// When the variable names no instruction set, or one that this CPU lacks.
    pub fn from_env() -> Result<Self, IsaError> {
        match std::env::var_os(VARIABLE) {
            None => Ok(Self::available()[0]),
            Some(value) => Self::parse(&value.to_string_lossy()),
        }
    }

    /// The instruction sets this CPU supports, best first; [`Isa::Portable`] is always the last.
    #[must_use]
    pub fn available() -> &'static [Self] {
        static AVAILABLE: OnceLock<Vec<Isa>> = OnceLock::new();
        AVAILABLE.get_or_init(|| {
            [Self::Avx512, Self::Avx2, Self::Portable].into_iter().filter(|i| i.is_supported()).collect()
        })
    }

    fn parse(value: &str) -> Result<Self, IsaError> {
        let isa = match value {
            "avx512" => Self::Avx512,
            "avx2" => Self::Avx2,
            "portable" => Self::Portable,
            _ => return Err(IsaError::Unknown { value: value.to_owned() }),
        };
        if isa.is_supported() { Ok(isa) } else { Err(IsaError::Unsupported { isa }) }
    }

    #[cfg(target_arch = "x86_64")]
    pub(crate) fn is_supported(self) -> bool {
        let avx2 = || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        match self {
            Self::Avx512 => {
                avx2()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            Self::Avx2 => avx2(),
            Self::Portable => true,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn is_supported(self) -> bool {
        self == Self::Portable
    }

    /// Whether this instruction set has a dot product of bf16 pairs on this CPU.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn has_bf16_dot(self) -> bool {
        self == Self::Avx512 && self.is_supported() && is_x86_feature_detected!("avx512bf16")
    }

    /// Whether this instruction set has a dot product of bf16 pairs on this CPU.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn has_bf16_dot(self) -> bool {
        false
    }

    /// Whether this instruction set has a dot product of bytes on this CPU.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn has_int8_dot(self) -> bool {
        self.is_supported()
            && match self {
                Self::Avx512 => is_x86_feature_detected!("avx512vnni"),
                Self::Avx2 => is_x86_feature_detected!("avxvnni"),
                Self::Portable => false,
            }
    }

    /// Whether this instruction set has a dot product of bytes on this CPU.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn has_int8_dot(self) -> bool {
        false
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        })
    }
}

/// Why `TOKMERGE_ISA` cannot be obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IsaError {
    /// The value names no instruction set.
    Unknown {
        /// What the variable holds.
        value: String,
    },
    /// The instruction set exists, but this CPU lacks it.
    Unsupported {
        /// What was asked for.
        isa: Isa,
    },
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { value } => {
                write!(f, "{VARIABLE} is `{value}`, which names no instruction set")?;
            }
            Self::Unsupported { isa } => write!(f, "{VARIABLE} is `{isa}`, which this CPU does not support")?,
        }
        let allowed: Vec<String> = Isa::available().iter().map(Isa::to_string).collect();
        write!(f, "; unset it, or use one of: {}", allowed.join(", "))
    }
}

impl std::error::Error for IsaError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_allowed_ones() {
        let message = Isa::parse("avx9000").unwrap_err().to_string();
        assert!(message.contains("avx9000") && message.contains("portable"), "{message}");
    }

    #[test]
    fn names_round_trip() {
        for &isa in Isa::available() {
            assert_eq!(Isa::parse(&isa.to_string()), Ok(isa));
        }
    }

    #[test]
    fn portable_is_always_available_and_last() {
        assert_eq!(Isa::available().last(), Some(&Isa::Portable));
    }
}
