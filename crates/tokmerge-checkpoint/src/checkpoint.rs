//! An open weights file of any supported format.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::bytes::{Bytes, OpenMode};
use crate::error::quoted;
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
    /// `pytorch_model.bin.index.json` and its shards.
    ShardedPytorch,
    /// A TorchScript archive, of which the tensors are read and the code is not.
    TorchScript,
}

/// Where in the file the tensors were found, and what was left aside: for reports, so that nothing is lost silently.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provenance {
    /// The format recognised by content.
    pub format: Format,
    /// `state_dict`, `model`, `model_ema`, … where the tensors lay under such a key of a `.pth`; `None` at top level.
    pub state_dict_key: Option<String>,
    /// The key of the raw weights where averaged ones lay beside them and were taken: `model` beside `model_ema`,
    /// `student` beside `teacher`.
    pub raw_weights_key: Option<String>,
    /// What every tensor name began with and was dropped, such as `module.` or `_orig_mod.module.`.
    pub stripped_prefix: Option<String>,
    /// Keys of a `.pth` that hold something else than a tensor to load: optimiser state, arguments, counters.
    pub ignored: Vec<String>,
}

impl Provenance {
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            state_dict_key: None,
            raw_weights_key: None,
            stripped_prefix: None,
            ignored: Vec::new(),
        }
    }
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

/// What wrappers put before every name: `DataParallel`, `torch.compile`, and modules that hold the model.
const WRAPPER_PREFIXES: [&str; 3] = ["module.", "_orig_mod.", "model."];

impl Contents {
    /// Keeps the tensors of one module, named as inside it.
    fn keep_module(&mut self, path: &Path, module: &str) -> Result<(), CheckpointError> {
        let prefix = format!("{}.", module.trim_end_matches('.'));
        let inside = |name: &str| name.len() > prefix.len() && name.starts_with(&prefix);
        if !self.entries.keys().any(|name| inside(name)) {
            let modules: BTreeSet<&str> =
                self.entries.keys().map(|name| name.split('.').next().unwrap_or_default()).collect();
            let shown: Vec<_> = modules.iter().take(10).map(|module| quoted(module)).collect();
            let found = format!("names begin with {}", shown.join(", "));
            return Err(CheckpointError::NoStateDict {
                path: path.to_owned(),
                wanted: module.to_owned(),
                found,
            });
        }
        let entries = std::mem::take(&mut self.entries).into_iter();
        let (kept, left): (Vec<_>, Vec<_>) = entries.partition(|(name, _)| inside(name));
        self.entries =
            kept.into_iter().map(|(name, entry)| (name[prefix.len()..].to_owned(), entry)).collect();
        self.provenance.state_dict_key = Some(module.to_owned());
        let left: BTreeSet<String> =
            left.iter().map(|(name, _)| name.split('.').next().unwrap_or_default().to_owned()).collect();
        self.provenance.ignored.extend(left);
        Ok(())
    }

    /// Drops the prefixes of wrappers that all tensors share.
    fn unwrap_names(&mut self) {
        let mut dropped = String::new();
        while let Some(prefix) = WRAPPER_PREFIXES.into_iter().find(|prefix| {
            let wrapped = |name: &String| name.len() > prefix.len() && name.starts_with(prefix);
            !self.entries.is_empty() && self.entries.keys().all(wrapped)
        }) {
            let entries = std::mem::take(&mut self.entries).into_iter();
            self.entries = entries.map(|(name, entry)| (name[prefix.len()..].to_owned(), entry)).collect();
            dropped += prefix;
        }
        if !dropped.is_empty() {
            self.provenance.stripped_prefix = Some(dropped);
        }
    }
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
        Self::open_part(path, mode, None)
    }

    /// As [`Checkpoint::open_with`], of a file that holds several sets of weights those that are called `state_dict`: a key
    /// of a PyTorch file (`model_ema`, or `checkpoint.model` for a dict in a dict), or what all their names begin with
    /// (`teacher` of `teacher.blocks.0.…`).
    ///
    /// # Errors
    /// As [`Checkpoint::open`], and when the file has none of that name.
    pub fn open_part(
        path: impl AsRef<Path>,
        mode: OpenMode,
        state_dict: Option<&str>,
    ) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        let bytes = Bytes::open(path, mode)?;
        let mut contents = match recognise(path, &bytes)? {
            Content::Safetensors => safetensors_file::read(path, bytes)?,
            Content::Index => sharded::read(path, &bytes, mode)?,
            Content::Zip => pth::read(path, bytes, state_dict)?,
        };
        if let Some(state_dict) = state_dict
            && contents.provenance.state_dict_key.as_deref() != Some(state_dict)
        {
            contents.keep_module(path, state_dict)?;
        }
        contents.unwrap_names();
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

    /// A weights file that is in memory already; `name` stands for its path in messages. The index of a sharded file is
    /// checked and then refused: its shards lie in a folder.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], and for an index.
    pub fn from_bytes(name: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self, CheckpointError> {
        let path = name.as_ref();
        let bytes = Bytes::Owned(bytes);
        let mut contents = match recognise(path, &bytes)? {
            Content::Safetensors => safetensors_file::read(path, bytes)?,
            Content::Index => return Err(sharded::without_folder(path, &bytes)),
            Content::Zip => pth::read(path, bytes, None)?,
        };
        contents.unwrap_names();
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

/// What the first bytes of a file look like.
enum Content {
    Safetensors,
    Index,
    Zip,
}

/// Tells the format by content. The ending decides only whose error message a broken file gets.
fn recognise(path: &Path, bytes: &[u8]) -> Result<Content, CheckpointError> {
    let unsupported = |found| CheckpointError::UnsupportedPytorch { path: path.to_owned(), found };
    let unrecognised =
        |found: &str| CheckpointError::Unrecognised { path: path.to_owned(), found: found.to_owned() };
    // A safetensors header is JSON right after its eight-byte length.
    if bytes.get(8) == Some(&b'{') {
        return Ok(Content::Safetensors);
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return Ok(Content::Zip);
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
        return Ok(Content::Index);
    }
    if path.extension().is_some_and(|ending| ending == "safetensors") {
        return Ok(Content::Safetensors);
    }
    if bytes.is_empty() {
        return Err(unrecognised("the file is empty"));
    }
    let start = bytes.iter().take(16).flat_map(|&byte| std::ascii::escape_default(byte));
    let start: String = start.map(char::from).collect();
    Err(unrecognised(&format!("it begins with \"{start}\"")))
}
