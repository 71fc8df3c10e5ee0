//! A random model, and images that the tests make.

use burn::tensor::Device;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokmerge_data::{DecodeOptions, Sample};
use tokmerge_models::{Convention, Model, ModelOptions, Weights};
use tokmerge_tune::{Fingerprint, Images, Journal, Tuner};

pub(crate) const CONVENTION: Convention = Convention::Fvcore;

/// Four random layers, 64 patches and a class token, ten classes.
const CONFIG: &str = r#"{
    "architecture": "vit_tiny_patch16_224",
    "num_classes": 10,
    "num_features": 32,
    "global_pool": "token",
    "model_args": {"img_size": 64, "patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2},
    "pretrained_cfg": {
        "tag": "random",
        "input_size": [3, 64, 64],
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5]
    }
}"#;

pub(crate) fn model() -> Model {
    opened(CONFIG)
}

/// The same without classes.
pub(crate) fn headless() -> Model {
    opened(&CONFIG.replace("\"num_classes\": 10", "\"num_classes\": 0"))
}

fn opened(config: &str) -> Model {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("config.json"), config).expect("a written file");
    let name = format!("local-dir:{}", dir.path().display());
    let options = ModelOptions { weights: Weights::Random, ..ModelOptions::new(name) };
    Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"))
}

/// Pictures in a folder, each its own: bitmaps of 48 by 40 pixels.
pub(crate) struct Pictures {
    dir: TempDir,
    count: usize,
}

impl Pictures {
    pub(crate) fn new(count: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for index in 0..count {
            std::fs::write(path(dir.path(), index), bitmap(48, 40, index as u32)).expect("a written image");
        }
        Self { dir, count }
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn samples(&self) -> Vec<Sample> {
        (0..self.count).map(|index| Sample { path: path(self.dir.path(), index), label: None }).collect()
    }

    pub(crate) fn remove(&self, samples: &[Sample]) {
        for sample in samples {
            std::fs::remove_file(&sample.path).expect("a removed image");
        }
    }
}

fn path(root: &Path, index: usize) -> PathBuf {
    root.join(format!("{index:03}.bmp"))
}

/// An uncompressed picture of 24 bits: header, then rows of blue, green and red from below.
fn bitmap(width: u32, height: u32, seed: u32) -> Vec<u8> {
    let mut pixels = Vec::new();
    let mut state = seed;
    for y in 0..height {
        for x in 0..width {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Broad waves, so that neighbours are alike, and a little noise.
            let wave = |step: u32| ((x * (seed % 5 + step) + y * (seed % 3 + 1)) * 3 + (state >> 29)) as u8;
            pixels.extend([wave(1), wave(2), wave(seed % 7)]);
        }
    }
    let size = 54 + pixels.len() as u32;
    let mut file = b"BM".to_vec();
    for word in [size, 0, 54, 40, width, height, 1 | 24 << 16, 0, pixels.len() as u32, 2835, 2835, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(pixels);
    file
}

pub(crate) fn images(model: &Model, samples: Vec<Sample>) -> Images {
    let refuse = |path: &Path, error: &tokmerge_data::MediaError| panic!("{}: {error}", path.display());
    Images::load(model, samples, 1, DecodeOptions::default(), refuse)
        .unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn tuner(model: &Model, samples: Vec<Sample>, journal: Journal) -> Tuner<'_> {
    let tuner = Tuner::new(model, images(model, samples), false, CONVENTION, journal);
    tuner.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn fingerprint(model: &Model, samples: Vec<Sample>, root: &Path) -> Fingerprint {
    Fingerprint::of(model, "f32", CONVENTION, &images(model, samples), root)
}
