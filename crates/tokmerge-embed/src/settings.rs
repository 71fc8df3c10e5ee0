//! How images are read and vectors written.

use crate::EmbedError;
use serde_json::{Map, Value};
use std::path::Path;
use std::str::FromStr;

/// A format of vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Columns `key` (text) and `vector` (a list of numbers), what it was made with in the metadata.
    #[default]
    Parquet,
    /// NumPy's array `[N, C]`, the keys a line each in a file beside it.
    Npy,
    /// `{"key": ..., "vector": [...]}`, a line each.
    Jsonl,
    /// Columns `key`, `v0`, `v1` and so on.
    Csv,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Parquet, Self::Npy, Self::Jsonl, Self::Csv];

    /// As users write it, which is also the ending.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Npy => "npy",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        }
    }

    /// The format that the ending of a file says.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?;
        Self::ALL.into_iter().find(|format| ending.eq_ignore_ascii_case(format.name()))
    }
}

/// What numbers of vectors are stored in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VectorDtype {
    /// Single precision.
    #[default]
    F32,
    /// Half precision, rounded to nearest.
    F16,
}

impl VectorDtype {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::F32, Self::F16];

    /// As users write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    /// Bytes of a number.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// How long vectors are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Length {
    /// As the model gives them.
    #[default]
    Own,
    /// Scaled to length 1 (L2); a vector of zeros stays as it is.
    Unit,
}

impl Length {
    /// A vector of that length.
    #[must_use]
    pub fn of(self, vector: &[f32]) -> Vec<f32> {
        let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        match self {
            Self::Unit if length > 0.0 => {
                vector.iter().map(|value| (f64::from(*value) / length) as f32).collect()
            }
            Self::Own | Self::Unit => vector.to_vec(),
        }
    }
}

/// What is written of every image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Its embedding.
    #[default]
    Image,
    /// Its embedding, and a feature of each of its patches.
    Patches,
}

/// Which parts a process does: those whose number leaves `index` when divided by `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub index: usize,
    /// Processes that share the work.
    pub count: usize,
}

impl Shard {
    /// All parts.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// Whether a part is one of its.
    #[must_use]
    pub fn has(self, part: usize) -> bool {
        part % self.count == self.index
    }
}

/// `0/2`.
impl FromStr for Shard {
    type Err = EmbedError;

    fn from_str(text: &str) -> Result<Self, EmbedError> {
        let read = || {
            let (index, count) = text.split_once('/')?;
            let shard = Self { index: index.trim().parse().ok()?, count: count.trim().parse().ok()? };
            (shard.index < shard.count && shard.count <= 4096).then_some(shard)
        };
        read().ok_or_else(|| EmbedError::Setting {
            setting: "shard",
            value: text.to_owned(),
            rule: "it is i/n with i below n and n at most 4096, for example 0/2 for the first of two processes",
        })
    }
}

/// What is written.
#[derive(Clone, Debug)]
pub struct Writing {
    /// The format of the parts, and of what they are joined to.
    pub format: Format,
    /// What numbers are stored in.
    pub dtype: VectorDtype,
    /// How long vectors are.
    pub length: Length,
    /// Of what there are features.
    pub detail: Detail,
    /// Images per part, broken ones included.
    pub shard_size: usize,
    /// Which parts.
    pub shard: Shard,
    /// What else the vectors depend on, for the manifest: model, weights, precision.
    pub made_with: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_read_or_refused() {
        assert_eq!("1/3".parse::<Shard>().unwrap(), Shard { index: 1, count: 3 });
        assert!((0..7).filter(|part| Shard { index: 1, count: 3 }.has(*part)).eq([1, 4]));
        for wrong in ["", "1", "2/2", "0/0", "-1/2", "a/b", "0/5000"] {
            let error = wrong.parse::<Shard>().unwrap_err().to_string();
            assert!(error.starts_with("`shard`"), "{error}");
        }
    }

    #[test]
    fn endings_say_the_format() {
        assert_eq!(Format::of("a/b.NPY".as_ref()), Some(Format::Npy));
        assert_eq!(Format::of("a/b.parquet".as_ref()), Some(Format::Parquet));
        assert_eq!(Format::of("a/b".as_ref()), None);
    }
}
