//! Writes safetensors files.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use safetensors::tensor::{Metadata, TensorInfo};

use crate::atomic_file::AtomicFile;
use crate::{CheckpointError, TensorView};

/// Writes `tensors` and free-form `metadata` to a safetensors file: aside first, then renamed, so that a reader of
/// an older file at `path` (even one that has it mapped) is not disturbed and a failure leaves nothing behind.
///
/// Tensors are laid out by falling alignment, then by name, each aligned to its element size, so that equal input
/// gives equal files whatever its order.
///
/// # Errors
/// When two tensors share a name, or the file cannot be written.
pub fn save_safetensors<'a>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = TensorView<'a>>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), CheckpointError> {
    let path = path.as_ref();
    let mut tensors: Vec<_> = tensors.into_iter().collect();
    tensors.sort_by_key(|tensor| (std::cmp::Reverse(tensor.dtype.size()), tensor.name));
    let header =
        header(&tensors, metadata).map_err(|(name, reason)| CheckpointError::tensor(path, name, reason))?;

    let write = || -> io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, AtomicFile::create(path)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for tensor in &tensors {
            file.write_all(tensor.bytes())?;
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
    };
    write().map_err(|source| CheckpointError::io(path, "write", source))
}

/// The JSON header, padded so that the data begin at a multiple of eight.
fn header<'a>(
    tensors: &[TensorView<'a>],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, (&'a str, Cow<'static, str>)> {
    let mut seen = BTreeSet::from(["__metadata__"]);
    let mut infos = Vec::with_capacity(tensors.len());
    let mut offset = 0;
    for tensor in tensors {
        if !seen.insert(tensor.name) {
            return Err((tensor.name, "the name is taken; each tensor needs its own".into()));
        }
        let end = offset + tensor.bytes().len();
        let dtype = tensor.dtype.to_safetensors();
        let info = TensorInfo { dtype, shape: tensor.shape.to_vec(), data_offsets: (offset, end) };
        infos.push((tensor.name.to_owned(), info));
        offset = end;
    }
    // The crate keeps metadata in a HashMap, whose order varies from run to run: it checks, we write.
    let unordered: HashMap<_, _> = metadata.clone().into_iter().collect();
    let last = tensors.last().map_or("", |tensor| tensor.name);
    Metadata::new(Some(unordered), infos.clone()).map_err(|error| (last, error.to_string().into()))?;

    let mut json = serde_json::Map::new();
    if !metadata.is_empty() {
        json.insert("__metadata__".to_owned(), serde_json::json!(metadata));
    }
    json.extend(infos.into_iter().map(|(name, info)| (name, serde_json::json!(info))));
    let mut header = serde_json::Value::Object(json).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}
