//! Equality with timm and transformers, variant by variant; `fixtures/make_models.py` makes the fixtures.

#![expect(clippy::print_stdout, reason = "says what was measured")]

use crate::common::{
    config_of, fixture, floats, forward, images, integers, under_other_instruction_sets, values, worst,
};
use burn::tensor::{Device, Tensor};
use std::collections::BTreeMap;
use tokmerge_checkpoint::{Checkpoint, save_safetensors};
use tokmerge_merge::{Method, Reduction};
use tokmerge_models::{Config, FamilyConfig, Network, Precision, VitConfig, load};

/// Relative and absolute. The fixtures are computed in f64; three blocks in f32 differ by up to 1.6e-6.
const F32: f32 = 2e-5;

/// One per way in which a ViT can differ.
const VARIANTS: &[&str] = &[
    "vit",
    "vit_odd",
    "vit_qk_norm",
    "vit_pre_norm",
    "vit_resized",
    "vit_gap",
    "vit_gap_even",
    "vit_reg4_gap",
    "vit_reg4",
    "mae_gap",
    "deit_distilled",
    "deit3",
    "deit3_resized",
    "hf_vit",
    "hf_deit",
];

/// A schedule of the fixtures and the spec that asks for it.
const SCHEDULES: &[(&str, &str)] = &[("r2", "tome:r=2"), ("decreasing", "tome:r=2,inflect=-1")];

struct Case {
    name: &'static str,
    config: VitConfig,
    checkpoint: Checkpoint,
    golden: Checkpoint,
    /// Largest error of the stages compared so far.
    largest: f32,
}

impl Case {
    fn open(name: &'static str) -> Self {
        let (checkpoint, golden) = (fixture(name), fixture(&format!("{name}.golden")));
        let config = config_of(&golden);
        Self { name, config, checkpoint, golden, largest: 0.0 }
    }

    fn model(&self) -> Network {
        load_into(&self.config, &self.checkpoint)
    }

    /// The first `depth` blocks alone, to look at what comes out of them.
    fn first_blocks(&self, depth: usize) -> Network {
        let block = |name: &str| -> Option<usize> {
            let (_, rest) = name.split_once("blocks.").or_else(|| name.split_once("encoder.layer."))?;
            rest.split('.').next()?.parse().ok()
        };
        let kept =
            self.checkpoint.tensors().filter(|view| block(view.name).is_none_or(|index| index < depth));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("cut.safetensors");
        save_safetensors(&path, kept, &BTreeMap::new()).expect("writable");
        let checkpoint = Checkpoint::open(&path).expect("just written");
        load_into(&VitConfig { depth, ..self.config.clone() }, &checkpoint)
    }

    fn images(&self) -> Tensor<4> {
        let (height, width) = self.config.img_size;
        images(&floats(&self.golden, "images"), [3, 3, height, width], &Device::flex())
    }

    fn compare(&mut self, stage: &str, actual: &[f32]) -> Result<(), String> {
        let expected = floats(&self.golden, stage);
        if actual.len() != expected.len() {
            return Err(format!(
                "{}: {stage} has {} values, not {}",
                self.name,
                actual.len(),
                expected.len()
            ));
        }
        let worst = worst(actual, &expected);
        self.largest = self.largest.max(worst.error);
        if worst.error <= F32 {
            return Ok(());
        }
        let (index, row) = (worst.index, worst.index / (expected.len() / 3));
        Err(format!(
            "{}: {stage} is the first to diverge, by {:e} at {index} (image {row}): {} instead of {}",
            self.name, worst.error, actual[index], expected[index]
        ))
    }

    /// Every stage in order, up to the first that differs.
    fn run(&mut self) -> Result<(), String> {
        let none = Reduction::none();
        for (stage, depth) in [("embed", 0), ("block0", 1)] {
            // A file of transformers is known by its first block.
            if depth == 0 && self.name.starts_with("hf_") {
                continue;
            }
            let encoded = forward(&self.first_blocks(depth), self.images(), &none);
            self.compare(stage, &values(encoded.tokens.x))?;
        }
        let model = self.model();
        let encoded = forward(&model, self.images(), &none);
        self.compare("features", &values(encoded.tokens.x.clone()))?;
        self.compare("logits", &values(encoded.logits))?;
        for (schedule, spec) in SCHEDULES {
            self.run_merging(&model, schedule, spec)?;
        }
        Ok(())
    }

    fn run_merging(&mut self, model: &Network, schedule: &str, spec: &str) -> Result<(), String> {
        let method: Method = spec.parse().expect("a spec");
        let reduction = Reduction::bind(method, &self.config.facts()).expect("fits");
        let encoded = forward(model, self.images(), &reduction);
        // Plans are whole numbers: they are equal or wrong.
        let plan = encoded.trace.plan_until(None).expect("something merges");
        let origins: Vec<i32> = (0..3)
            .flat_map(|item| plan.groups(item))
            .map(|group| group.map_or(-1, |group| group as i32))
            .collect();
        for (what, equal) in [
            ("origin", origins == integers(&self.golden, &format!("origin_{schedule}"))),
            ("size", encoded.tokens.sizes()[..] == floats(&self.golden, &format!("size_{schedule}"))),
        ] {
            if !equal {
                return Err(format!(
                    "{}: {what}_{schedule} is the first to differ; plan:\n{plan}",
                    self.name
                ));
            }
        }
        self.compare(&format!("features_{schedule}"), &values(encoded.tokens.x.clone()))?;
        self.compare(&format!("logits_{schedule}"), &values(encoded.logits))
    }
}

fn load_into(config: &VitConfig, checkpoint: &Checkpoint) -> Network {
    let model = Config::from(config.clone()).init(Precision::F32, &Device::flex());
    load(model, checkpoint).unwrap_or_else(|error| panic!("{error}")).0
}

#[test]
fn every_variant_equals_its_library() {
    let mut failures = Vec::new();
    for name in VARIANTS {
        let mut case = Case::open(name);
        match case.run() {
            Ok(()) => println!("{name:15} largest error {:.1e}", case.largest),
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_instruction_set_agrees() {
    under_other_instruction_sets("parity::every_variant_equals_its_library");
}

#[test]
fn every_fixture_is_in_the_table() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models");
    let names =
        std::fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("readable").file_name());
    let mut found: Vec<_> = names
        .filter_map(|name| name.to_str()?.strip_suffix(".golden.safetensors").map(str::to_owned))
        .collect();
    found.sort();
    let mut listed = VARIANTS.to_vec();
    listed.sort_unstable();
    assert_eq!(found, listed);
}
