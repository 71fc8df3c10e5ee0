//! An open weights file of any supported format.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::bytes::{Bytes, OpenMode};
use crate::{CheckpointError, Dtype, TensorView, pth, safetensors_file, sharded};

/// The file formats read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// One safetensors file.
    Safetensors,
    /// `model.safetensors.index.json` and its shards.
    ShardedSafetensors,
    /// PyTorch's zip format, read by the restricted unpickler.
    Pytorch,
}

/// Where in the file the tensors were found, and what was left aside: for reports, so that nothing is lost silently.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provenance {
    /// The format recognised by content.
    pub format: Format,
    /// `state_dict`, `model` or `model_ema` where the tensors lay under such a key of a `.pth`; `None` at top level.
    pub state_dict_key: Option<&'static str>,
    /// `module.` where every tensor name began with it and it was dropped.
    pub stripped_prefix: Option<&'static str>,
    /// Keys of a `.pth` that hold something else than a tensor to load: optimiser state, arguments, counters.
    pub ignored: Vec<String>,
}

/// Where one tensor lies.
pub(crate) struct Entry {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Index into the blobs.
    pub(crate) blob: usize,
    pub(crate) range: Range<usize>,
}

/// What a format's reader returns. Every entry's range lies inside its blob and has the length that its shape
/// and dtype say.
pub(crate) struct Contents {
    pub(crate) blobs: Vec<Bytes>,
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) provenance: Provenance,
}

/// An open weights file, validated as a whole; tensors are lent out without copying.
pub struct Checkpoint {
    path: PathBuf,
    contents: Contents,
}

impl Checkpoint {
    /// Opens a weights file, memory-mapped; the format is recognised by content, not by ending.
    ///
    /// # Errors
    /// When the file cannot be opened, is of no known format, or breaks a rule of its format.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        Self::open_with(path, OpenMode::default())
    }

    /// As [`Checkpoint::open`], choosing how the bytes come into memory.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_with(path: impl AsRef<Path>, mode: OpenMode) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        let bytes = Bytes::open(path, mode)?;
        let contents = match recognise(path, &bytes)? {
            Format::Safetensors => safetensors_file::read(path, bytes)?,
            Format::ShardedSafetensors => sharded::read(path, &bytes, mode)?,
            Format::Pytorch => pth::read(path, bytes)?,
        };
        Ok(Self { path: path.to_owned(), contents })
    }

    /// A safetensors file that is part of the program; `name` stands for its path in messages. Where the bytes do not
    /// lie at an address that is a multiple of four, reading a tensor as f32 copies it.
    ///
    /// # Errors
    /// When the bytes break a rule of the format.
    pub fn embedded(name: impl AsRef<Path>, bytes: &'static [u8]) -> Result<Self, CheckpointError> {
        let path = name.as_ref();
        let contents = safetensors_file::read(path, Bytes::Embedded(bytes))?;
        Ok(Self { path: path.to_owned(), contents })
    }

    /// The path it was opened from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tensor names, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.contents.entries.keys().map(String::as_str)
    }

    /// The tensor of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<TensorView<'_>> {
        let (name, entry) = self.contents.entries.get_key_value(name)?;
        Some(self.view(name, entry))
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorView<'_>> {
        self.contents.entries.iter().map(|(name, entry)| self.view(name, entry))
    }

    /// The free-form strings of a safetensors header; empty for other formats.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.contents.metadata
    }

    /// Where in the file the tensors were found, and what was left aside.
    #[must_use]
    pub fn provenance(&self) -> &Provenance {
        &self.contents.provenance
    }

    fn view<'a>(&'a self, name: &'a str, entry: &'a Entry) -> TensorView<'a> {
        let bytes = &self.contents.blobs[entry.blob][entry.range.clone()];
        TensorView::new(name, entry.dtype, &entry.shape, bytes).expect("readers check lengths against shapes")
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("path", &self.path)
            .field("tensors", &self.contents.entries.len())
            .field("provenance", &self.contents.provenance)
            .finish()
    }
}

const LEGACY_PICKLE: &str = "PyTorch's legacy (pre-1.6, non-zip) pickle format";
const LEGACY_TAR: &str = "PyTorch's legacy tar format";

/// Tells the format by content. The ending decides only whose error message a broken file gets.
fn recognise(path: &Path, bytes: &[u8]) -> Result<Format, CheckpointError> {
    let unsupported = |found| CheckpointError::UnsupportedPytorch { path: path.to_owned(), found };
    let unrecognised =
        |found: &str| CheckpointError::Unrecognised { path: path.to_owned(), found: found.to_owned() };
    // A safetensors header is JSON right after its eight-byte length.
    if bytes.get(8) == Some(&b'{') {
        return Ok(Format::Safetensors);
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return Ok(Format::Pytorch);
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Err(unsupported(LEGACY_TAR));
    }
    if bytes.len() > 2 && bytes[0] == 0x80 && (1..=5).contains(&bytes[1]) {
        return Err(unsupported(LEGACY_PICKLE));
    }
    if bytes.starts_with(b"version https://git-lfs") {
        return Err(unrecognised("a Git LFS pointer (run `git lfs pull` to fetch the weights themselves)"));
    }
    if bytes.trim_ascii_start().starts_with(b"{") {
        return Ok(Format::ShardedSafetensors);
    }
    if path.extension().is_some_and(|ending| ending == "safetensors") {
        return Ok(Format::Safetensors);
    }
    if bytes.is_empty() {
        return Err(unrecognised("the file is empty"));
    }
    let start = bytes.iter().take(16).flat_map(|&byte| std::ascii::escape_default(byte));
    let start: String = start.map(char::from).collect();
    Err(unrecognised(&format!("it begins with \"{start}\"")))
}
