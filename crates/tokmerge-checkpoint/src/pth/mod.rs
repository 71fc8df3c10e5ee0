//! PyTorch's zip format (`torch.save` since 1.6): a zip of stored entries, `data.pkl` describing the objects and
//! `data/<key>` holding each storage's bytes. A TorchScript archive (`torch.jit.save`) is the same with code beside it.
//!
//! `zip.rs` finds the entries, `pickle.rs` interprets the description by an allow-list (`allowed.rs`), `state_dict.rs`
//! picks the tensors, and `layout.rs` turns strided views into contiguous bytes. Entries are not checked against their
//! CRC-32, as in `torch.load`: PyTorch can be told not to compute it.

mod allowed;
mod layout;
mod object;
mod pickle;
mod state_dict;
mod zip;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

use crate::CheckpointError;
use crate::bytes::Bytes;
use crate::checkpoint::{Contents, Entry, Format, Provenance};
use crate::error::quoted;
use layout::Placed;
use object::{PickleError, Storage};
use state_dict::StateDict;

const NAME: &str = "PyTorch";
/// A state dict takes some 100 bytes per tensor; this allows for optimiser state beside it.
const MAX_PICKLE: usize = 32 << 20;

pub(crate) fn read(path: &Path, bytes: Bytes, state_dict: Option<&str>) -> Result<Contents, CheckpointError> {
    let malformed = |reason: String| CheckpointError::malformed(path, NAME, reason);
    let archive = Archive::open(path, &bytes)?;
    let heap = pickle::load(&bytes[archive.pickle.clone()]).map_err(|error| match error {
        PickleError::Forbidden(global) => CheckpointError::ForbiddenGlobal { path: path.to_owned(), global },
        PickleError::Malformed(reason) => malformed(reason),
    })?;

    let found = StateDict::find(&heap, state_dict).map_err(malformed)?;
    let mut entries = BTreeMap::new();
    let mut copies = layout::Copies::with_budget_for(bytes.len());
    for (name, tensor) in found.tensors {
        let at_fault = |reason: String| CheckpointError::tensor(path, &name, reason);
        let storage = archive.storage(&tensor.storage).map_err(at_fault)?;
        let storage_bytes = &bytes[storage.clone()];
        let (blob, range) = match layout::place(tensor, storage_bytes, &mut copies).map_err(at_fault)? {
            Placed::InStorage(range) => (0, storage.start + range.start..storage.start + range.end),
            Placed::Copied(range) => (1, range),
        };
        let entry = Entry { dtype: tensor.storage.dtype, shape: tensor.shape.clone(), blob, range };
        if name.is_empty() || entries.contains_key(name.as_ref()) {
            return Err(CheckpointError::tensor(path, &name, "the name is empty or appears twice"));
        }
        entries.insert(name.into_owned(), entry);
    }
    let provenance = Provenance {
        state_dict_key: found.key,
        raw_weights_key: found.raw_key,
        ignored: found.ignored,
        ..Provenance::new(if archive.has_code { Format::TorchScript } else { Format::Pytorch })
    };
    let blobs = vec![bytes, Bytes::Owned(copies.into_bytes())];
    Ok(Contents { blobs, entries, metadata: BTreeMap::new(), provenance })
}

/// The entries of the zip that matter here.
struct Archive<'a> {
    pickle: Range<usize>,
    /// By storage key.
    storages: HashMap<&'a str, Range<usize>>,
    /// Whether it is TorchScript.
    has_code: bool,
}

impl<'a> Archive<'a> {
    fn open(path: &Path, bytes: &'a [u8]) -> Result<Self, CheckpointError> {
        let malformed = |reason: String| CheckpointError::malformed(path, NAME, reason);
        let entries = zip::entries(bytes).map_err(malformed)?;
        let root = entries.iter().find_map(|entry| {
            let root = entry.name.strip_suffix("data.pkl")?;
            (root.is_empty() || root.find('/') == Some(root.len() - 1)).then_some(root)
        });
        let Some(root) = root else {
            return Err(malformed(
                "the zip holds no data.pkl, so it was not written by torch.save".to_owned(),
            ));
        };
        let (mut pickle, mut storages, mut has_code) = (0..0, HashMap::new(), false);
        for entry in entries {
            let Some(name) = entry.name.strip_prefix(root) else { continue };
            match name {
                "data.pkl" => pickle = entry.stored().map_err(malformed)?,
                "byteorder" => {
                    let order = entry.stored().map_err(malformed)?;
                    if bytes[order].trim_ascii() != b"little" {
                        let found = "a file written on a big-endian machine";
                        return Err(CheckpointError::UnsupportedPytorch { path: path.to_owned(), found });
                    }
                }
                "constants.pkl" => has_code = true,
                _ => {
                    if let Some(key) = name.strip_prefix("data/") {
                        storages.insert(key, entry.stored().map_err(malformed)?);
                    }
                }
            }
        }
        if pickle.len() > MAX_PICKLE {
            return Err(malformed(format!(
                "data.pkl has {} bytes; at most {MAX_PICKLE} are read",
                pickle.len()
            )));
        }
        Ok(Self { pickle, storages, has_code })
    }

    fn storage(&self, wanted: &Storage<'_>) -> Result<Range<usize>, String> {
        let key = wanted.key;
        let range = self
            .storages
            .get(key)
            .ok_or_else(|| format!("its storage {} is missing", quoted(&format!("data/{key}"))))?;
        match wanted.dtype.bytes_of(&[wanted.len]) {
            Some(bytes) if bytes <= range.len() => Ok(range.start..range.start + bytes),
            _ => Err(format!(
                "its storage is said to hold {} elements of {}, but {} has {} bytes; truncated?",
                wanted.len,
                wanted.dtype,
                quoted(&format!("data/{key}")),
                range.len()
            )),
        }
    }
}
