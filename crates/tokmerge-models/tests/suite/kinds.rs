//! Folders of kinds that differ from a plain ViT by more than its shape, against what their libraries make of them;
//! `fixtures/make_folders.py` makes the fixtures.

use crate::common::{floats, integers, values, worst};
use burn::tensor::Device;
use std::path::{Path, PathBuf};
use tokmerge_checkpoint::Checkpoint;
use tokmerge_merge::{Method, Reduction};
use tokmerge_models::{Batch, Model, ModelOptions, Output, Pass};

/// Relative and absolute. The fixtures are computed in f64.
const F32: f32 = 2e-5;

struct Case {
    name: String,
    model: Model,
    golden: Checkpoint,
}

fn fixtures() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/folders");
    let mut folders: Vec<_> =
        std::fs::read_dir(all).expect("fixtures").map(|entry| entry.expect("readable").path()).collect();
    folders.sort();
    folders
}

impl Case {
    fn open(folder: &Path) -> Self {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let options = ModelOptions::new(format!("local-dir:{}", folder.display()));
        let model = Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"));
        let golden = Checkpoint::open(folder.join("golden.safetensors")).unwrap_or_else(|e| panic!("{e}"));
        Self { name, model, golden }
    }

    fn named(name: &str) -> Self {
        let folder = fixtures().into_iter().find(|folder| folder.ends_with(name));
        Self::open(&folder.unwrap_or_else(|| panic!("no fixture {name}")))
    }

    fn run(&self, spec: &str) -> Output {
        let method: Method = spec.parse().expect("a spec");
        let reduction = Reduction::bind(method, &self.model.facts()).expect("fits");
        let grids = self.golden.get("grids").map(|_| {
            let sides = integers(&self.golden, "grids");
            sides.chunks(2).map(|side| (side[0] as usize, side[1] as usize)).collect()
        });
        let batch = Batch { values: floats(&self.golden, "pixels"), grids, ..Batch::default() };
        self.model.run(batch, Pass::new(&reduction))
    }

    fn compare(&self, what: &str, actual: Vec<f32>) -> Option<String> {
        let expected = floats(&self.golden, what);
        if actual.len() != expected.len() {
            return Some(format!(
                "{}: {what} has {} values, not {}",
                self.name,
                actual.len(),
                expected.len()
            ));
        }
        let worst = worst(&actual, &expected);
        (worst.error > F32).then(|| format!("{}: {what} diverges by {:e}", self.name, worst.error))
    }
}

#[test]
fn every_kind_equals_its_library() {
    let mut failures = Vec::new();
    for folder in fixtures() {
        let case = Case::open(&folder);
        let Output { pooled, logits, .. } = case.run("none");
        failures.extend(case.compare("embedding", values(pooled)));
        if case.golden.get("logits").is_some() {
            failures.extend(case.compare("logits", values(logits)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn images_of_their_own_sizes_merge_as_by_definition() {
    let case = Case::named("naflex");
    let merged = case.run("tome:r=2");
    assert_eq!(merged.tokens.sizes().to_vec(), floats(&case.golden, "sizes"));
    assert_eq!(case.compare("merged", values(merged.pooled)), None);
}

/// Each image of a batch of several grids is what it is alone.
#[test]
fn an_image_of_its_own_size_does_not_depend_on_its_neighbours() {
    let case = Case::named("naflex");
    let reduction = Reduction::bind("tome:r=2".parse().expect("a spec"), &case.model.facts()).expect("fits");
    let (pixels, shape) = (floats(&case.golden, "pixels"), case.model.input());
    let grids = vec![(2, 4), (3, 3)];
    let batch = Batch { values: pixels, grids: Some(grids), ..Batch::default() };
    let run = |batch: Batch| values(case.model.run(batch, Pass::new(&reduction)).pooled);
    let alone = [0, 1].map(|item| run(batch.select(&[item], &shape))).concat();
    assert_eq!(run(batch), alone);
}

#[test]
fn windows_refuse_to_merge_and_say_why() {
    let case = Case::named("sam");
    let error = case.model.bind(&"tome:r=2".parse().expect("a spec")).expect_err("windows").to_string();
    assert!(error.contains("windows of a map"), "{error}");
}

#[test]
fn fields_that_nothing_is_known_of_are_named() {
    let folder = fixtures().into_iter().find(|folder| folder.ends_with("vit_pooler")).expect("a fixture");
    let dir = tempfile::tempdir().expect("room");
    for file in ["config.json", "model.safetensors", "preprocessor_config.json"] {
        std::fs::copy(folder.join(file), dir.path().join(file)).expect("a copy");
    }
    let open = || {
        let options = ModelOptions::new(format!("local-dir:{}", dir.path().display()));
        Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"))
    };
    assert_eq!(open().notes(), [""; 0]);
    let path = dir.path().join("config.json");
    let text = std::fs::read_to_string(&path).expect("text");
    std::fs::write(&path, text.replacen('{', "{\"wobble\": 3,", 1)).expect("room");
    let model = open();
    let [note] = model.notes() else { panic!("{:?}", model.notes()) };
    assert!(note.ends_with("config.json: nothing is known of `wobble`, and it was not read"), "{note}");
}
