//! The safetensors format: eight bytes of header length, a JSON header, the tensors' bytes without gaps.
//!
//! The header is checked twice. First here, so that an error names the tensor and the numbers, and so that no
//! offset leaves the file (the `safetensors` crate 0.8 adds the end of the last tensor to the header length
//! without an overflow check). Then by the crate, which stays the authority on what is valid.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;

use safetensors::SafeTensors;
use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};

use crate::bytes::Bytes;
use crate::checkpoint::{Contents, Entry, Format, Provenance};
use crate::error::{quoted, shortened};
use crate::{CheckpointError, Dtype};

/// The format allows 100 MB; ViT headers have some 20 kB and those of the largest language models a few MB.
const MAX_HEADER: usize = 16 << 20;
/// PyTorch itself stops at 64 axes; checkpoints have at most five.
pub(crate) const MAX_RANK: usize = 16;
const LENGTH_BYTES: usize = 8;
pub(crate) const NAME: &str = "safetensors";

pub(crate) fn read(path: &Path, bytes: Bytes) -> Result<Contents, CheckpointError> {
    let malformed = |reason: String| CheckpointError::malformed(path, NAME, reason);
    let header_end = header_end(&bytes).map_err(malformed)?;
    let header: Header = serde_json::from_slice(&bytes[LENGTH_BYTES..header_end]).map_err(|error| {
        let error = shortened(&error.to_string());
        malformed(format!("the header is not valid JSON of this format: {error}"))
    })?;
    let data_len = bytes.len() - header_end;

    let mut expected_start = 0;
    let mut entries = BTreeMap::new();
    for (name, tensor) in header.in_file_order() {
        let dtype = tensor
            .check(expected_start, data_len)
            .map_err(|reason| CheckpointError::tensor(path, name, reason))?;
        let (start, end) = tensor.data_offsets;
        expected_start = end;
        let range = header_end + start..header_end + end;
        entries.insert(name.clone(), Entry { dtype, shape: tensor.shape.clone(), blob: 0, range });
    }
    if expected_start != data_len {
        return Err(malformed(format!(
            "the tensors end at byte {expected_start} of the data, but the file has {data_len} bytes of it"
        )));
    }
    SafeTensors::read_metadata(&bytes).map_err(|error| malformed(shortened(&error.to_string())))?;

    let provenance = Provenance::new(Format::Safetensors);
    Ok(Contents { blobs: vec![bytes], entries, metadata: header.metadata, provenance })
}

fn header_end(bytes: &[u8]) -> Result<usize, String> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else {
        return Err(format!("it has {} bytes, but the header length alone takes 8; truncated?", bytes.len()));
    };
    if length.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        return Err("it begins with text, not with a header; is it a web page, or a Git LFS pointer that was never pulled?".to_owned());
    }
    let length = u64::from_le_bytes(*length);
    let present = bytes.len() - LENGTH_BYTES;
    match usize::try_from(length) {
        Ok(length) if length > MAX_HEADER => {
            Err(format!("it announces a header of {length} bytes; at most {MAX_HEADER} are read"))
        }
        Ok(length) if length <= present => Ok(LENGTH_BYTES + length),
        _ => Err(format!("it announces a header of {length} bytes, but only {present} follow; truncated?")),
    }
}

#[derive(Deserialize)]
struct TensorInfo {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl TensorInfo {
    fn check(&self, expected_start: usize, data_len: usize) -> Result<Dtype, String> {
        let Self { dtype, shape, data_offsets: (start, end) } = self;
        let dtype =
            Dtype::from_name(dtype).ok_or_else(|| format!("its dtype {} is not supported", quoted(dtype)))?;
        if shape.len() > MAX_RANK {
            return Err(format!("it has {} axes; at most {MAX_RANK} are read", shape.len()));
        }
        if start > end || *end > data_len {
            return Err(format!(
                "its bytes {start}..{end} leave the {data_len} bytes of data; truncated file?"
            ));
        }
        if *start != expected_start {
            let relation = if *start < expected_start { "overlaps" } else { "leaves a gap after" };
            return Err(format!(
                "it starts at {start} and {relation} the tensor before it, which ends at {expected_start}"
            ));
        }
        match dtype.bytes_of(shape) {
            None => Err(format!("the product of its shape {shape:?} is too large for any file")),
            Some(bytes) if bytes != end - start => Err(format!(
                "its shape {shape:?} of {dtype} takes {bytes} bytes, but its offsets span {}",
                end - start
            )),
            Some(_) => Ok(dtype),
        }
    }
}

struct Header {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, TensorInfo)>,
}

impl Header {
    fn in_file_order(&self) -> Vec<(&String, &TensorInfo)> {
        let mut tensors: Vec<_> = self.tensors.iter().map(|(name, tensor)| (name, tensor)).collect();
        tensors.sort_by_key(|(_, tensor)| tensor.data_offsets);
        tensors
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// Unlike a derived map, refuses two tensors of one name and names the tensor whose description is wrong.
struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from tensor names to dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header { metadata: BTreeMap::new(), tensors: Vec::new() };
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format_args!("{} appears twice", quoted(&name))));
            }
            if name == "__metadata__" {
                header.metadata = map.next_value::<Option<_>>()?.unwrap_or_default();
                continue;
            }
            let tensor = map.next_value::<TensorInfo>();
            let tensor = tensor
                .map_err(|error| A::Error::custom(format_args!("tensor {}: {error}", quoted(&name))))?;
            header.tensors.push((name, tensor));
        }
        Ok(header)
    }
}
