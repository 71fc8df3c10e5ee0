//! The fixtures' container, read by hand, and the images of `fixtures/common.py`.

pub(crate) mod clips;

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokmerge_data::Rgb;

pub(crate) struct Tensors {
    header: serde_json::Map<String, Value>,
    data: Vec<u8>,
}

impl Tensors {
    pub(crate) fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
        Self { header, data: bytes[8 + header_len..].to_vec() }
    }

    pub(crate) fn fixture(name: &str) -> Self {
        Self::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name))
    }

    pub(crate) fn cases(&self) -> Vec<Value> {
        let about = self.header["__metadata__"]["about"].as_str().unwrap();
        let about: Value = serde_json::from_str(about).unwrap();
        about["cases"].as_array().unwrap().clone()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.header.contains_key(name)
    }

    pub(crate) fn shape(&self, name: &str) -> Vec<usize> {
        serde_json::from_value(self.header[name]["shape"].clone()).unwrap()
    }

    pub(crate) fn bytes(&self, name: &str) -> &[u8] {
        let at: [usize; 2] = serde_json::from_value(self.header[name]["data_offsets"].clone()).unwrap();
        &self.data[at[0]..at[1]]
    }

    pub(crate) fn f32(&self, name: &str) -> Vec<f32> {
        assert_eq!(self.header[name]["dtype"], "F32");
        self.bytes(name).as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    pub(crate) fn i32(&self, name: &str) -> Vec<i32> {
        assert_eq!(self.header[name]["dtype"], "I32");
        self.bytes(name).as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect()
    }

    pub(crate) fn u32(&self, name: &str) -> Vec<u32> {
        assert_eq!(self.header[name]["dtype"], "U32");
        self.bytes(name).as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
    }
}

/// The image of a case: `make` of `fixtures/common.py`.
pub(crate) fn image_of(case: &Value) -> Rgb {
    let number = |key: &str| case[key].as_u64().unwrap() as usize;
    let (width, height) = (number("width"), number("height"));
    let mut state = number("seed") as u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as usize
    });
    let noise = noise.take(width * height * 3);
    let data = match case["kind"].as_str().unwrap() {
        "noise" => noise.map(|v| v as u8).collect(),
        "smooth" => noise
            .enumerate()
            .map(|(i, v)| {
                let (x, y, c) = (i / 3 % width, i / 3 / width, i % 3);
                (((x * 3 + y * 5 + c * 80 + (v >> 4)) % 510).abs_diff(255)) as u8
            })
            .collect(),
        kind => panic!("no image of the kind {kind}"),
    };
    Rgb { width, height, data }
}

/// Where the first difference lies, and how many there are.
pub(crate) fn assert_same(got: &[u8], expected: &[u8], what: &dyn std::fmt::Display) {
    assert_eq!(got.len(), expected.len(), "length of {what}");
    let mut different = got.iter().zip(expected).enumerate().filter(|(_, (a, b))| a != b);
    if let Some((at, (a, b))) = different.next() {
        panic!("{what}: {} of {} bytes differ, first {at}: {a} != {b}", different.count() + 1, got.len());
    }
}

/// Test material beside the repository, if it is there; `TOKMERGE_REQUIRE=material` makes its absence a failure.
pub(crate) fn material(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/material").join(name);
    let required = std::env::var("TOKMERGE_REQUIRE").is_ok_and(|what| what == "material");
    assert!(
        !required || path.exists(),
        "{} is absent, and TOKMERGE_REQUIRE=material asks for it",
        path.display()
    );
    path.exists().then_some(path)
}
