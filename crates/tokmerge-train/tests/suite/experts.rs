//! Routers that are trained as the recipe says.

use crate::common::{self, begin, bytes, recipe, stripes};
use burn::tensor::Device;
use std::path::Path;
use tokmerge_train::Start;

/// A small model with four experts in each of two blocks.
const EXPERTS: [&str; 4] =
    ["model.name=\"vmoe_small_patch32_e4_224\"", "model.depth=4", "merge=none", "train.validate=[\"none\"]"];

/// Neither losses nor noise.
const FREE: [&str; 4] =
    ["routing.places=free", "routing.noise=0.0", "routing.importance=0.0", "routing.load=0.0"];

fn run(dir: &Path, name: &str, changes: &[&str]) {
    let run = dir.join(name);
    begin(&recipe(dir, changes), &run).run(&mut ()).unwrap_or_else(|error| panic!("{error}"));
}

/// The loss of the first step of a run of one epoch.
fn first_loss(dir: &Path, name: &str, changes: &[&str]) -> f64 {
    run(dir, name, &[changes, &["train.epochs=1"]].concat());
    common::rows(dir.join(name).join("steps.csv"), 4)[1][3].parse().expect("a loss")
}

#[test]
fn the_loss_is_that_of_the_task_and_the_weighted_ones_of_the_routers() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 16);
    for (name, more) in [
        ("whole", &[][..]),
        ("blocks", &["train.recompute=blocks"]),
        ("parts", &["train.accumulate=2", "train.batch_size=4"]),
        ("apart", &["train.replicas=2"]),
    ] {
        let loss = |importance: f64, load: f64| {
            let weights = [format!("routing.importance={importance:?}"), format!("routing.load={load:?}")];
            let set = [&EXPERTS[..], &[&weights[0], &weights[1]], more].concat();
            first_loss(dir.path(), &format!("{name}-{importance}-{load}"), &set)
        };
        let task = loss(0.0, 0.0);
        // Large, since the losses of routers that know nothing yet are small.
        let (importance, load) = (loss(1000.0, 0.0) - task, loss(0.0, 1000.0) - task);
        assert!(importance > 1e-3 && load > 1e-3, "{name}: {importance} and {load}");
        let both = loss(500.0, 2000.0) - task;
        let wanted = 0.5 * importance + 2.0 * load;
        assert!((both - wanted).abs() < 1e-4 + 1e-3 * wanted, "{name}: {both} is not {wanted}");
    }
}

#[test]
fn routers_learn_to_share_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 16);
    let imbalance = |weight: &str| {
        let name = format!("trained-{weight}");
        let set = [&format!("routing.importance={weight}"), "train.epochs=12", "schedule.lr=3e-3"];
        run(dir.path(), &name, &[&EXPERTS[..], &FREE, &set].concat());
        // What the losses of the trained model are, by the first step of training it on.
        let model = format!(
            "model={{name=\"local-dir:{}\",weights=\"pretrained\"}}",
            dir.path().join(&name).display()
        );
        let loss = |of: &str| {
            let weight = format!("routing.importance={of}");
            let set = [&EXPERTS[2..], &FREE, &[&model, &weight]].concat();
            first_loss(dir.path(), &format!("{name}-{of}"), &set)
        };
        loss("1.0") - loss("0.0")
    };
    let (alone, balanced) = (imbalance("0.0"), imbalance("10.0"));
    assert!(alone > 2e-3 && balanced < 0.1 * alone, "{alone} without, {balanced} with");
}

#[test]
fn a_run_writes_how_its_routers_learned() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 16);
    run(dir.path(), "run", &[&EXPERTS[..], &["train.epochs=1", "routing.load=0.25"]].concat());
    let written = String::from_utf8(bytes(dir.path().join("run/recipe.toml"))).expect("text");
    for line in ["places = \"capacity=1.05,group=8\"", "importance = 0.005", "load = 0.25"] {
        assert!(written.contains(line), "{line}: {written}");
    }
    run(dir.path(), "plain", &[&EXPERTS[..], &["train.epochs=1"]].concat());
    let plain = String::from_utf8(bytes(dir.path().join("plain/recipe.toml"))).expect("text");
    assert!(plain.contains("load = 0.005"), "defaults are written out: {plain}");
    assert!(
        bytes(dir.path().join("run/model.safetensors")) != bytes(dir.path().join("plain/model.safetensors"))
    );
    // A model without routers has nothing to set.
    let error = match Start::open(recipe(dir.path(), &["routing.noise=0.5"]), &Device::flex()) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("routing is given, and the model has no experts"), "{error}");
    run(dir.path(), "dense", &["train.epochs=1"]);
    let dense = String::from_utf8(bytes(dir.path().join("dense/recipe.toml"))).expect("text");
    assert!(!dense.contains("[routing]"), "{dense}");
}
