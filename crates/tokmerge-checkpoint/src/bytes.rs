//! The bytes of a file, mapped or read.

use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::CheckpointError;

/// How a weights file comes into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpenMode {
    /// Maps the file read-only: opens in milliseconds, and processes share the pages.
    ///
    /// The file must stay as it is while the checkpoint is open. If another process *shrinks* it, touching the
    /// lost pages kills this process (SIGBUS on Unix), and if one overwrites it in place, the weights change
    /// underneath. Replacing it by rename, as [`save_safetensors`](crate::save_safetensors) and package managers
    /// do, is safe.
    #[default]
    Map,
    /// Copies the file into memory: for files that others may rewrite in place, and for network file systems.
    Read,
}

/// Bytes that live as long as the checkpoint.
pub(crate) enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
    Embedded(&'static [u8]),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
            Self::Embedded(bytes) => bytes,
        }
    }
}

impl Bytes {
    pub(crate) fn open(path: &Path, mode: OpenMode) -> Result<Self, CheckpointError> {
        let not_a_file = || {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file");
            CheckpointError::io(path, "open", source)
        };
        // Before opening: opening a named pipe would wait for its writer.
        let kind = std::fs::metadata(path).map_err(|source| CheckpointError::io(path, "open", source))?;
        if !kind.is_file() {
            return Err(not_a_file());
        }
        let file = File::open(path).map_err(|source| CheckpointError::io(path, "open", source))?;
        let len = file.metadata().map_err(|source| CheckpointError::io(path, "open", source))?.len();
        if mode == OpenMode::Map && len > 0 {
            // SAFETY: the map is read-only and private to `Bytes`, which lends out plain bytes and f32 only (every
            // bit pattern is valid); that nobody shrinks or rewrites the file meanwhile is `OpenMode::Map`'s
            // documented condition, and `OpenMode::Read` is there for those who cannot promise it.
            let map = unsafe { Mmap::map(&file) };
            return map.map(Self::Mapped).map_err(|source| CheckpointError::io(path, "map", source));
        }
        let mut bytes = Vec::new();
        let read_error = |source| CheckpointError::io(path, "read", source);
        let room = usize::try_from(len).unwrap_or(usize::MAX);
        bytes.try_reserve_exact(room).map_err(|error| read_error(std::io::Error::other(error)))?;
        file.take(len).read_to_end(&mut bytes).map_err(read_error)?;
        Ok(Self::Owned(bytes))
    }
}

/// Reads a small text file whole, refusing one that is larger than `limit` bytes, and what is no file: a named pipe would
/// keep its reader waiting, a device has no end.
///
/// # Errors
/// When it is refused, cannot be read, or is no UTF-8.
pub fn read_text(path: &Path, limit: u64) -> std::io::Result<String> {
    let mut text = String::new();
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let file = File::open(path)?;
    file.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(std::io::Error::other(format!("larger than the limit of {limit} bytes")));
    }
    Ok(text)
}
