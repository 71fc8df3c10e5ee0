//! Every variant opened from a folder, as `local-dir:` and `hf-hub:` do: weights beside the `config.json` that timm
//! or transformers wrote for them.

use crate::common::{config_of, fixture, floats, values, worst};
use burn::tensor::Device;
use std::path::Path;
use tokmerge_merge::Reduction;
use tokmerge_models::{Config, Model, ModelOptions, Pass};

/// Relative and absolute, as in `parity.rs`.
const F32: f32 = 2e-5;

#[test]
fn every_variant_opens_from_its_folder() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models");
    let mut failures = Vec::new();
    for entry in std::fs::read_dir(&fixtures).expect("fixtures") {
        let name = entry.expect("readable").file_name().into_string().expect("ASCII");
        let Some(name) = name.strip_suffix(".golden.safetensors") else { continue };
        if let Err(failure) = open_and_run(&fixtures, name) {
            failures.push(format!("{name}: {failure}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn open_and_run(fixtures: &Path, name: &str) -> Result<(), String> {
    let golden = fixture(&format!("{name}.golden"));
    let expected = config_of(&golden);
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(fixtures.join(format!("{name}.safetensors")), folder.path().join("model.safetensors"))
        .expect("copied");
    std::fs::write(folder.path().join("config.json"), &golden.metadata()["config_json"]).expect("written");

    let options = ModelOptions {
        // The file says what the checkpoint was made for; some are run on larger images.
        img_size: name.ends_with("resized").then_some(expected.img_size),
        ..ModelOptions::new(format!("local-dir:{}", folder.path().display()))
    };
    let model = Model::open(&options, &Device::flex()).map_err(|error| error.to_string())?;
    if *model.config() != Config::from(expected.clone()) {
        return Err(format!("read as {:?}\ninstead of {expected:?}", model.config()));
    }
    if model.preprocess().expect("of images").input_size != expected.img_size {
        return Err(format!("prepares images of {:?}", model.preprocess().expect("of images").input_size));
    }
    let none = Reduction::none();
    let logits = model.run(floats(&golden, "images"), Pass::new(&none)).logits;
    let worst = worst(&values(logits), &floats(&golden, "logits"));
    if worst.error <= F32 { Ok(()) } else { Err(format!("logits differ: {worst:?}")) }
}
