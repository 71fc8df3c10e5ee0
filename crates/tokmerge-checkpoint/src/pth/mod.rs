//! PyTorch's zip format (`torch.save` since 1.6): a zip of stored entries, `data.pkl` describing the objects and
//! `data/<key>` holding each storage's bytes.
//!
//! `zip.rs` finds the entries, `pickle.rs` interprets the description by an allow-list (`allowed.rs`), this file picks
//! the state dict, and `layout.rs` turns strided views into contiguous bytes. Entries are not checked against their
//! CRC-32, as in `torch.load`: PyTorch can be told not to compute it.

mod allowed;
mod layout;
mod object;
mod pickle;
mod zip;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

use crate::CheckpointError;
use crate::bytes::Bytes;
use crate::checkpoint::{Contents, Entry, Format, Provenance};
use layout::Placed;
use object::{Heap, Object, PickleError, Ref, Storage, Tensor};

const NAME: &str = "PyTorch";
/// A state dict takes some 100 bytes per tensor; this allows for optimiser state beside it.
const MAX_PICKLE: usize = 32 << 20;
/// Keys under which training scripts put the state dict, the preferred first. Averaged weights come last: who wants
/// them says so by saving them alone.
const STATE_DICT_KEYS: [&str; 3] = ["state_dict", "model", "model_ema"];
/// What `DataParallel` puts before every name.
const WRAPPER_PREFIX: &str = "module.";

pub(crate) fn read(path: &Path, bytes: Bytes) -> Result<Contents, CheckpointError> {
    let malformed = |reason: String| CheckpointError::malformed(path, NAME, reason);
    let archive = Archive::open(path, &bytes)?;
    let heap = pickle::load(&bytes[archive.pickle.clone()]).map_err(|error| match error {
        PickleError::Forbidden(global) => CheckpointError::ForbiddenGlobal { path: path.to_owned(), global },
        PickleError::Malformed(reason) => malformed(reason),
    })?;

    let found = StateDict::find(&heap).map_err(malformed)?;
    let mut entries = BTreeMap::new();
    let mut copies = layout::Copies::with_budget_for(bytes.len());
    for (name, tensor) in found.tensors {
        let at_fault = |reason: String| CheckpointError::tensor(path, name, reason);
        let storage = archive.storage(&tensor.storage).map_err(at_fault)?;
        let storage_bytes = &bytes[storage.clone()];
        let (blob, range) = match layout::place(tensor, storage_bytes, &mut copies).map_err(at_fault)? {
            Placed::InStorage(range) => (0, storage.start + range.start..storage.start + range.end),
            Placed::Copied(range) => (1, range),
        };
        let name = &name[found.stripped_prefix.map_or(0, str::len)..];
        let entry = Entry { dtype: tensor.storage.dtype, shape: tensor.shape.clone(), blob, range };
        if name.is_empty() || entries.insert(name.to_owned(), entry).is_some() {
            return Err(CheckpointError::tensor(path, name, "the name is empty or appears twice"));
        }
    }
    let provenance = Provenance {
        format: Format::Pytorch,
        state_dict_key: found.key,
        stripped_prefix: found.stripped_prefix,
        ignored: found.ignored,
    };
    let blobs = vec![bytes, Bytes::Owned(copies.into_bytes())];
    Ok(Contents { blobs, entries, metadata: BTreeMap::new(), provenance })
}

/// The entries of the zip that matter here.
struct Archive<'a> {
    pickle: Range<usize>,
    /// By storage key.
    storages: HashMap<&'a str, Range<usize>>,
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
        let mut pickle = 0..0;
        let mut storages = HashMap::new();
        for entry in entries {
            let Some(name) = entry.name.strip_prefix(root) else { continue };
            match name {
                "data.pkl" => pickle = entry.data,
                "byteorder" if bytes[entry.data.clone()].trim_ascii() != b"little" => {
                    let found = "a file written on a big-endian machine";
                    return Err(CheckpointError::UnsupportedPytorch { path: path.to_owned(), found });
                }
                "constants.pkl" => {
                    let found = "a TorchScript archive, which holds code beside weights,";
                    return Err(CheckpointError::UnsupportedPytorch { path: path.to_owned(), found });
                }
                _ => {
                    if let Some(key) = name.strip_prefix("data/") {
                        storages.insert(key, entry.data);
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
        Ok(Self { pickle, storages })
    }

    fn storage(&self, wanted: &Storage<'_>) -> Result<Range<usize>, String> {
        let key = wanted.key;
        let range = self
            .storages
            .get(key)
            .ok_or_else(|| format!("its storage data/{} is missing", key.escape_debug()))?;
        match wanted.dtype.bytes_of(&[wanted.len]) {
            Some(bytes) if bytes <= range.len() => Ok(range.start..range.start + bytes),
            _ => Err(format!(
                "its storage is said to hold {} elements of {}, but data/{} has {} bytes; truncated?",
                wanted.len,
                wanted.dtype,
                key.escape_debug(),
                range.len()
            )),
        }
    }
}

/// The tensors to load, and what lay beside them.
struct StateDict<'h, 'p> {
    key: Option<&'static str>,
    stripped_prefix: Option<&'static str>,
    tensors: Vec<(&'p str, &'h Tensor<'p>)>,
    ignored: Vec<String>,
}

impl<'h, 'p> StateDict<'h, 'p> {
    fn find(heap: &'h Heap<'p>) -> Result<Self, String> {
        let Object::Dict(top) = heap.get(heap.root()) else {
            return Err(format!(
                "it holds {} where a dict of tensors is expected",
                heap.describe(heap.root())
            ));
        };
        let nested = STATE_DICT_KEYS.into_iter().find_map(|key| {
            let (_, value) = top
                .iter()
                .rev()
                .find(|(name, _)| matches!(heap.get(*name), Object::Str(name) if *name == key))?;
            match heap.get(*value) {
                Object::Dict(items) if has_tensor(heap, items) => Some((key, items)),
                _ => None,
            }
        });
        let mut found = Self { key: None, stripped_prefix: None, tensors: Vec::new(), ignored: Vec::new() };
        match nested {
            Some((key, items)) => {
                found.key = Some(key);
                let is_key = |name: Ref| matches!(heap.get(name), Object::Str(name) if *name == key);
                found.ignore(heap, top.iter().map(|(name, _)| *name).filter(|name| !is_key(*name)));
                found.collect(heap, items);
            }
            None => found.collect(heap, top),
        }
        if found.tensors.is_empty() {
            return Err(format!(
                "no dict of tensors at top level nor under state_dict, model or model_ema; keys: {}",
                shown(&found.ignored)
            ));
        }
        if found.tensors.iter().all(|(name, _)| name.starts_with(WRAPPER_PREFIX)) {
            found.stripped_prefix = Some(WRAPPER_PREFIX);
        }
        Ok(found)
    }

    fn collect(&mut self, heap: &'h Heap<'p>, items: &[(Ref, Ref)]) {
        let mut others = Vec::new();
        for (name, value) in items {
            match (heap.get(*name), heap.get(*value)) {
                (Object::Str(name), Object::Tensor(tensor)) => self.tensors.push((name, tensor)),
                _ => others.push(*name),
            }
        }
        self.ignore(heap, others);
    }

    fn ignore(&mut self, heap: &Heap<'_>, keys: impl IntoIterator<Item = Ref>) {
        // A hostile pickle may use one long string as a key a million times.
        let mut seen = HashSet::new();
        let keys = keys.into_iter().filter(|key| seen.insert(*key));
        self.ignored.extend(keys.map(|key| key_text(heap, key)));
    }
}

fn has_tensor(heap: &Heap<'_>, items: &[(Ref, Ref)]) -> bool {
    items.iter().any(|(_, value)| matches!(heap.get(*value), Object::Tensor(_)))
}

fn key_text(heap: &Heap<'_>, key: Ref) -> String {
    match heap.get(key) {
        Object::Str(text) => (*text).to_owned(),
        _ => format!("({})", heap.describe(key)),
    }
}

fn shown(keys: &[String]) -> String {
    const SHOWN: usize = 10;
    let mut list: Vec<_> = keys.iter().take(SHOWN).map(|key| crate::error::quoted(key)).collect();
    if keys.len() > SHOWN {
        list.push(format!("and {} more", keys.len() - SHOWN));
    }
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}
