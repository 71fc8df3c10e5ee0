//! Whatever the bytes: no panic, no absurd allocation, and what opens is consistent.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use tokmerge_checkpoint::{Checkpoint, ModelConfig, ModelSource, OpenMode, TensorView, save_safetensors};

/// What the process may have taken at its worst, in kB: resident, and reserved at all (threads reserve some 64 MB each).
const MAX_RESIDENT: u64 = 256 << 10;
const MAX_RESERVED: u64 = 4 << 20;

/// A field of Linux's `/proc/self/status` in kB; `None` on other systems.
fn process_status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)).unwrap()
}

fn valid_safetensors() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let tensors = ["blocks.0.attn.qkv.weight", "blocks.0.attn.qkv.bias"];
    let tensors = tensors.map(|name| TensorView::from_f32(name, &[2, 3], &values).unwrap());
    save_safetensors(&path, tensors, &BTreeMap::from([("format".to_owned(), "pt".to_owned())])).unwrap();
    std::fs::read(path).unwrap()
}

/// Opens the bytes and touches all that can be reached.
fn exercise(bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    std::fs::write(&path, bytes).unwrap();
    for mode in [OpenMode::Map, OpenMode::Read] {
        match Checkpoint::open_with(&path, mode) {
            Ok(checkpoint) => {
                for tensor in checkpoint.tensors() {
                    let count: usize = tensor.shape.iter().product();
                    assert_eq!(tensor.bytes().len(), count * tensor.dtype.size());
                    if let Ok(values) = tensor.to_f32() {
                        assert_eq!(values.len(), count);
                    }
                }
            }
            Err(error) => {
                let message = error.to_string();
                assert!(!message.contains('\n') && message.len() < 2000, "{message}");
            }
        }
    }
    for (field, limit) in [("VmHWM", MAX_RESIDENT), ("VmPeak", MAX_RESERVED)] {
        let taken = process_status(field).unwrap_or(0);
        assert!(taken < limit, "{field} is {taken} kB after a file of {} bytes", bytes.len());
    }
}

/// A valid file of either format with some bytes changed and, sometimes, its end cut off.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let files =
        ["plain.pth", "nested.pth", "strided.pth", "dtypes.pth", "plain_protocol4.pth", "scripted.pt"]
            .map(fixture);
    let files: Vec<Vec<u8>> = files.into_iter().chain([valid_safetensors()]).collect();
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (prop::sample::select(files), changes, prop::option::of(any::<prop::sample::Index>())).prop_map(
        |(mut file, changes, cut)| {
            for (at, byte) in changes {
                let at = at.index(file.len());
                file[at] = byte;
            }
            if let Some(cut) = cut {
                file.truncate(cut.index(file.len()));
            }
            file
        },
    )
}

/// A zip whose pickle is a random sequence of plausible opcodes.
fn random_pickle() -> impl Strategy<Value = Vec<u8>> {
    let pieces: [&[u8]; 26] = [
        b"(",
        b"}",
        b"]",
        b")",
        b"N",
        b"K\x01",
        b"K\x02",
        b"X\x01\0\0\0w",
        b"X\x07\0\0\0storage",
        b"ctorch\nFloatStorage\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n",
        b"t",
        b"\x85",
        b"\x86",
        b"\x87",
        b"R",
        b"Q",
        b"s",
        b"u",
        b"a",
        b"e",
        b"b",
        b"\x81",
        b"q\0",
        b"h\0",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..60)
        .prop_map(|pieces| [b"\x80\x02", pieces.concat().as_slice(), b"."].concat())
}

#[path = "suite/common/mod.rs"]
#[allow(dead_code, reason = "a part is used here")]
mod common;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn damaged_files_never_panic(bytes in damaged()) {
        exercise(&bytes);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        exercise(&bytes);
    }

    #[test]
    fn random_headers_never_panic(header in r#"\{("[ab]":\{"dtype":"(F32|U8|F16)","shape":\[[0-9]{1,21}(,[0-9]{1,2})?\],"data_offsets":\[[0-9]{1,20},[0-9]{1,20}\]\},?){1,2}\}"#) {
        exercise(&common::safetensors(&header, &[0; 64]));
    }

    #[test]
    fn random_pickles_never_panic(pickle in random_pickle()) {
        exercise(&common::StoredZip::default().entry("a/data.pkl", &pickle).entry("a/data/w", &[0; 64]).finish());
    }

    #[test]
    fn sources_and_configs_never_panic(text in "\\PC{0,80}") {
        if let Ok(source) = ModelSource::parse(&text) {
            prop_assert_eq!(ModelSource::parse(&source.to_string()), Ok(source));
        }
        let _ = ModelConfig::parse(&text);
    }
}

#[test]
fn every_truncation_is_refused() {
    for file in [fixture("nested.pth"), valid_safetensors()] {
        for len in 0..file.len() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x");
            std::fs::write(&path, &file[..len]).unwrap();
            assert!(Checkpoint::open(&path).is_err(), "{len} of {} bytes", file.len());
        }
    }
}

#[test]
fn every_bit_flip_of_a_header_is_survived() {
    let file = valid_safetensors();
    for bit in 0..(file.len() - 48) * 8 {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        exercise(&flipped);
    }
}
