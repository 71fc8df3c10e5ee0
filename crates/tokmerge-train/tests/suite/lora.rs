//! Low-rank additions: what is trained, what stays, and what comes out.

use crate::common::{begin, bytes, recipe, resume, start, stripes};
use std::collections::BTreeMap;
use std::path::Path;
use tokmerge_checkpoint::Checkpoint;
use tokmerge_train::{Recipe, Start, Trainer};

/// A recipe that tunes the model in `first`.
fn tuning(dir: &Path, changes: &[&str]) -> Recipe {
    let model =
        format!("model={{name=\"local-dir:{}\",weights=\"pretrained\"}}", dir.join("first").display());
    recipe(dir, &[&[model.as_str(), "schedule.lr=1e-2", "schedule.warmup_epochs=0"], changes].concat())
}

/// Images, and a model that was trained on them a little.
fn trained() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    stripes(&dir.path().join("images"), 24);
    begin(&recipe(dir.path(), &["train.epochs=1"]), &dir.path().join("first")).run(&mut ()).expect("trained");
    dir
}

fn weights(folder: &Path, file: &str) -> BTreeMap<String, Vec<f32>> {
    let checkpoint = Checkpoint::open(folder.join(file)).unwrap_or_else(|error| panic!("{error}"));
    let values = |name: &str| checkpoint.get(name).expect("a tensor").to_f32().expect("f32").into_owned();
    checkpoint.names().map(|name| (name.to_owned(), values(name))).collect()
}

/// Names of the tensors in which two files differ.
fn differ(one: &BTreeMap<String, Vec<f32>>, other: &BTreeMap<String, Vec<f32>>) -> Vec<String> {
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    one.keys().filter(|name| one[*name] != other[*name]).cloned().collect()
}

const LORA: &str = "lora={rank=4,alpha=8.0,targets=[\"qkv\",\"blocks.1.mlp.fc2\"],also=[\"head\"]}";

#[test]
fn before_the_first_step_nothing_has_changed() {
    let dir = trained();
    let mut trainer = begin(&tuning(dir.path(), &[LORA, "schedule.lr=1e-30"]), &dir.path().join("run"));
    let (trained, all) = trainer.trained();
    // 24 channels: two qkv of 72x24, one fc2 of 24x96, each with factors of rank 4; and a head of 2 classes.
    assert_eq!(trained, 2 * 4 * (72 + 24) + 4 * (24 + 96) + 2 * 24 + 2);
    assert!(all > 5 * trained, "{trained} of {all}");
    trainer.run_until(1, &mut ()).unwrap();
    trainer.run(&mut ()).unwrap();
    let (before, after) = (
        weights(&dir.path().join("first"), "model.safetensors"),
        weights(&dir.path().join("run"), "model.safetensors"),
    );
    let moved =
        before.iter().flat_map(|(name, values)| values.iter().zip(&after[name]).map(|(a, b)| (a - b).abs()));
    assert!(moved.fold(0.0, f32::max) < 1e-6, "with next to no learning rate the weights stay");
}

#[test]
fn only_the_named_layers_and_the_head_change_and_the_result_is_an_ordinary_model() {
    let dir = trained();
    let run = dir.path().join("run");
    begin(&tuning(dir.path(), &[LORA]), &run).run(&mut ()).unwrap();
    let (before, after) =
        (weights(&dir.path().join("first"), "model.safetensors"), weights(&run, "model.safetensors"));
    let changed = differ(&before, &after);
    let expected = [
        "blocks.0.attn.qkv.weight",
        "blocks.1.attn.qkv.weight",
        "blocks.1.mlp.fc2.weight",
        "head.bias",
        "head.weight",
    ];
    assert_eq!(changed, expected);

    // What lies in the last checkpoint apart adds up to what the model has: W + alpha / rank · a b.
    let checkpoint =
        std::fs::read_dir(run.join("checkpoints")).unwrap().flatten().map(|entry| entry.path()).max();
    let apart = weights(&checkpoint.unwrap(), "apart.safetensors");
    let name = "blocks.1.mlp.fc2.weight";
    let (a, b) = (&apart[&format!("{name}.lora.a")], &apart[&format!("{name}.lora.b")]);
    assert_eq!((a.len(), b.len()), (24 * 4, 4 * 96));
    assert_eq!(apart[name], before[name], "the weights below are those before training");
    for (at, merged) in after[name].iter().enumerate() {
        let (row, column) = (at / 96, at % 96);
        let product: f32 = (0..4).map(|k| a[row * 4 + k] * b[k * 96 + column]).sum();
        assert!((merged - (before[name][at] + 2.0 * product)).abs() < 1e-5, "row {row}, column {column}");
    }
}

#[test]
fn killed_and_resumed_equals_one_go() {
    let dir = trained();
    let given = tuning(dir.path(), &[LORA, "train.checkpoint_steps=4", "train.ema=0.9"]);
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    begin(&given, &whole).run(&mut ()).unwrap();
    begin(&given, &parts).run_until(6, &mut ()).unwrap();
    resume(&given, &parts).run(&mut ()).unwrap();
    assert!(bytes(whole.join("model.safetensors")) == bytes(parts.join("model.safetensors")));
    let other = tuning(dir.path(), &["train.checkpoint_steps=4", "train.ema=0.9"]);
    match Trainer::resume(start(other), &parts) {
        Ok(_) => panic!("resumed without lora"),
        Err(error) => assert!(error.to_string().contains("lora."), "{error}"),
    }
}

#[test]
fn what_cannot_be_added_to_is_refused_before_anything_is_written() {
    let dir = trained();
    let refused =
        |change: &str| match Start::open(tuning(dir.path(), &[change]), &burn::tensor::Device::flex()) {
            Ok(_) => panic!("{change} was accepted"),
            Err(error) => error.to_string(),
        };
    let error = refused("lora={rank=4,targets=[\"query\"]}");
    assert!(
        error.contains("lora.targets names query") && error.contains("fc1, fc2, head, proj, qkv"),
        "{error}"
    );
    assert!(refused("lora={rank=24}").contains("use a rank below 24"));
    assert!(refused("lora={rank=4,also=[\"tail\"]}").contains("lora.also names tail"));
}
