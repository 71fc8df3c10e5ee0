//! `model.safetensors.index.json` and `pytorch_model.bin.index.json`: tensors spread over several files of one folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use crate::bytes::{Bytes, OpenMode};
use crate::checkpoint::{Contents, Format, Provenance};
use crate::error::{quoted, shortened};
use crate::{CheckpointError, pth, safetensors_file};

pub(crate) const MAX_INDEX: usize = 16 << 20;
const MAX_SHARDS: usize = 1024;
const NAME: &str = "shard index";
/// Endings of shards: an index names those of one format.
const SAFETENSORS: &str = ".safetensors";
const PYTORCH: &str = ".bin";

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

pub(crate) fn read(path: &Path, index: &[u8], mode: OpenMode) -> Result<Contents, CheckpointError> {
    let malformed = |reason: String| CheckpointError::malformed(path, NAME, reason);
    let weight_map = weight_map(index).map_err(malformed)?;
    let folder = path.parent().unwrap_or(Path::new(""));

    let shards = shards_of(&weight_map).map_err(malformed)?;
    let format = if shards.iter().all(|name| name.ends_with(PYTORCH)) {
        Format::ShardedPytorch
    } else {
        Format::ShardedSafetensors
    };
    let provenance = Provenance::new(format);
    let mut all =
        Contents { blobs: Vec::new(), entries: BTreeMap::new(), metadata: BTreeMap::new(), provenance };
    for shard_name in shards {
        let shard_path = folder.join(shard_name);
        let bytes = Bytes::open(&shard_path, mode)?;
        let shard = match format {
            Format::ShardedPytorch => pth::read(&shard_path, bytes, None)?,
            _ => safetensors_file::read(&shard_path, bytes)?,
        };
        let blob = all.blobs.len();
        all.blobs.extend(shard.blobs);
        all.metadata.extend(shard.metadata);
        all.provenance.ignored.extend(shard.provenance.ignored);
        for (name, mut entry) in shard.entries {
            if weight_map.get(&name).map(String::as_str) != Some(shard_name) {
                let reason = format!(
                    "the index {} does not place it in this shard; the two do not belong together",
                    path.display()
                );
                return Err(CheckpointError::tensor(&shard_path, &name, reason));
            }
            entry.blob += blob;
            all.entries.insert(name, entry);
        }
    }
    match weight_map.iter().find(|(name, _)| !all.entries.contains_key(*name)) {
        Some((name, shard)) => {
            let reason = format!("the index places it in {}, which does not hold it", quoted(shard));
            Err(CheckpointError::tensor(path, name, reason))
        }
        None => Ok(all),
    }
}

/// Why an index cannot be opened from its bytes alone.
pub(crate) fn without_folder(path: &Path, index: &[u8]) -> CheckpointError {
    match shard_names(index) {
        Ok(shards) => {
            let found = format!("an index of {} shards, which are read from its folder alone", shards.len());
            CheckpointError::Unrecognised { path: path.to_owned(), found }
        }
        Err(reason) => CheckpointError::malformed(path, NAME, reason),
    }
}

/// The shard files that an index names: plain names in the index's own folder, sorted.
pub(crate) fn shard_names(index: &[u8]) -> Result<Vec<String>, String> {
    let weight_map = weight_map(index)?;
    Ok(shards_of(&weight_map)?.into_iter().map(str::to_owned).collect())
}

fn weight_map(index: &[u8]) -> Result<BTreeMap<String, String>, String> {
    if index.len() > MAX_INDEX {
        return Err(format!("it has {} bytes; at most {MAX_INDEX} are read", index.len()));
    }
    let index: Index = serde_json::from_slice(index)
        .map_err(|error| format!("no usable weight_map: {}", shortened(&error.to_string())))?;
    if index.weight_map.is_empty() {
        return Err("its weight_map is empty".to_owned());
    }
    Ok(index.weight_map)
}

fn shards_of(weight_map: &BTreeMap<String, String>) -> Result<BTreeSet<&str>, String> {
    let shards: BTreeSet<&str> = weight_map.values().map(String::as_str).collect();
    if let Some(name) = shards.iter().find(|name| !is_plain_shard_name(name)) {
        return Err(format!(
            "the shard name {} is refused; shards are plain names ending in .safetensors or .bin in the index's own folder",
            quoted(name)
        ));
    }
    let is_pytorch = |name: &&&str| name.ends_with(PYTORCH);
    if let (Some(one), Some(other)) =
        (shards.iter().find(is_pytorch), shards.iter().find(|name| !is_pytorch(name)))
    {
        return Err(format!(
            "the shards {} and {} are of two formats; all must be safetensors or all PyTorch's",
            quoted(one),
            quoted(other)
        ));
    }
    if shards.len() > MAX_SHARDS {
        return Err(format!("it names {} shards; at most {MAX_SHARDS} are read", shards.len()));
    }
    Ok(shards)
}

/// No separators of any system, no drive letters, no leading dot, nothing to escape in a URL.
fn is_plain_shard_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_weights = [SAFETENSORS, PYTORCH].into_iter().any(|ending| name.ends_with(ending));
    name.len() <= 255 && !name.starts_with('.') && name.bytes().all(plain) && is_weights
}

#[cfg(test)]
mod tests {
    use super::is_plain_shard_name;

    #[test]
    fn shard_names_cannot_leave_the_folder() {
        assert!(is_plain_shard_name("model-00001-of-00002.safetensors"));
        for name in
            ["../m.safetensors", "/m.safetensors", "a/m.safetensors", "a\\m.safetensors", "C:m.safetensors"]
        {
            assert!(!is_plain_shard_name(name), "{name}");
        }
        assert!(is_plain_shard_name("pytorch_model-00001-of-00002.bin"));
        for name in ["../m.bin", "/m.bin", "a\\m.bin", "..safetensors", ".bin", "m.pth"] {
            assert!(!is_plain_shard_name(name), "{name}");
        }
    }
}
