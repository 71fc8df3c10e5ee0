//! Ways to get the same gradients with less memory or on more devices, and targets of a teacher.

use crate::common::{self, begin, bytes, recipe, start, stripes};
use burn::tensor::Device;
use std::path::Path;
use tokmerge_train::{Start, Trainer};

fn model(dir: &Path, name: &str, changes: &[&str]) -> Vec<u8> {
    let run = dir.join(name);
    begin(&recipe(dir, changes), &run).run(&mut ()).unwrap_or_else(|error| panic!("{error}"));
    bytes(run.join("model.safetensors"))
}

/// The loss of every step.
fn losses(run: &Path) -> Vec<f64> {
    let rows = common::rows(run.join("steps.csv"), 4);
    rows[1..].iter().map(|row| row[3].parse().expect("a loss")).collect()
}

#[test]
fn recomputed_blocks_train_the_same_weights_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    for (name, more) in [
        ("plain", &["train.epochs=1"][..]),
        ("deep", &["train.epochs=1", "model.depth=4", "merge=atm:theta=0.8", "regularisation.drop_path=0.3"]),
        ("parts", &["train.epochs=1", "train.accumulate=2", "train.batch_size=4", "merge=stm:p=2,layer=2"]),
        ("random", &["train.epochs=1", "merge=tome:r=3,matcher=random_merge"]),
        ("headed", &["train.epochs=1", "model.pool=avg", "train.class_head=0.5"]),
        ("transformed", &["train.epochs=1", "merge=token_transforming:keep=60%,tau=0.2,layer=1"]),
    ] {
        let again = [more, &["train.recompute=blocks"]].concat();
        assert!(
            model(dir.path(), name, more) == model(dir.path(), &format!("{name}-again"), &again),
            "{name}"
        );
    }
}

/// What does not look at tokens is a control in training too, where every step and every image is merged in a way of its own.
#[test]
fn random_merging_is_drawn_anew_in_every_step() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    for (name, merge) in
        [("pairs", "tome:r=3,matcher=random_merge"), ("windows", "stm:p=2,layer=2,score=random")]
    {
        let trained = |redraw: &str| {
            let merge = format!("merge={merge},redraw={redraw}");
            model(dir.path(), &format!("{name}-{redraw}"), &["train.epochs=1", &merge])
        };
        assert!(trained("on") != trained("off"), "{name}");
    }
}

/// Two workers on the one device that a CPU is: half of the batch each, and gradients that are averaged.
#[test]
fn two_replicas_train_as_one_does_on_the_whole_batch() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    let (one, two, three) = (dir.path().join("one"), dir.path().join("two"), dir.path().join("three"));
    begin(&recipe(dir.path(), &[]), &one).run(&mut ()).unwrap();
    let given = recipe(dir.path(), &["train.replicas=2"]);
    let apart = start(given.clone()).with_devices(&[Device::flex(), Device::flex()]);
    Trainer::new(apart, &two).unwrap().run(&mut ()).unwrap();
    // Parts of 2, 3 and 3 images count by their sizes.
    begin(&recipe(dir.path(), &["train.replicas=3", "train.recompute=blocks"]), &three).run(&mut ()).unwrap();
    let whole = losses(&one);
    assert_eq!(whole.len(), 12);
    for run in [&two, &three] {
        for (step, (a, b)) in whole.iter().zip(losses(run)).enumerate() {
            assert!((a - b).abs() < 2e-4, "step {step}: {a} and {b}");
        }
    }
    // Who is first does not matter.
    let again = dir.path().join("again");
    begin(&given, &again).run(&mut ()).unwrap();
    assert!(bytes(two.join("model.safetensors")) == bytes(again.join("model.safetensors")));
}

/// What each distance from the teacher adds to the loss goes with its weight, whether blocks run once or twice.
#[test]
fn distances_from_a_teacher_count_by_their_weights() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    let first = dir.path().join("first");
    begin(&recipe(dir.path(), &["train.epochs=6", "schedule.lr=3e-3"]), &first).run(&mut ()).unwrap();
    let model = format!("model={{name=\"local-dir:{}\",weights=\"pretrained\"}}", first.display());
    let set = [&model, "merge=dynamicvit:keep=50%,layer=2", "train.epochs=1", "train.validate=[\"none\"]"];
    let loss = |name: &str, more: &[&str]| {
        let run = dir.path().join(name);
        begin(&recipe(dir.path(), &[&set, more].concat()), &run).run(&mut ()).unwrap();
        losses(&run)[0]
    };
    let plain = loss("plain", &[]);
    let (mut all, mut sum) = (Vec::new(), 0.0);
    for (what, once, twice) in [
        ("answers", "distill.answers=100.0", "distill.answers=200.0"),
        ("tokens", "distill.tokens=100.0", "distill.tokens=200.0"),
        ("embedding", "distill.embedding=1000.0", "distill.embedding=2000.0"),
    ] {
        let added = loss(what, &[once]) - plain;
        let doubled = loss(&format!("{what}-twice"), &[twice]) - plain;
        let near = |a: f64, b: f64| (a - b).abs() < 2e-6 + 0.01 * b.abs();
        assert!(added > 1e-4 && near(doubled, 2.0 * added), "{what}: {added} {doubled}");
        all.push(once);
        sum += added;
    }
    let together = loss("together", &all) - plain;
    assert!((together - sum).abs() < 0.01 * sum, "{together} {sum}");
    all.push("train.recompute=blocks");
    let again = loss("again", &all) - plain;
    assert!((again - sum).abs() < 0.01 * sum, "{again} {sum}");
}

/// Where the model merges as its teacher does, there is nothing to learn; where it does not, there is.
#[test]
fn a_teacher_teaches_what_merging_changes() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    let first = dir.path().join("first");
    begin(&recipe(dir.path(), &["train.epochs=6", "schedule.lr=3e-3"]), &first).run(&mut ()).unwrap();
    let model = format!("model={{name=\"local-dir:{}\",weights=\"pretrained\"}}", first.display());
    let set = [&model, "distill={merge=\"none\"}", "train.epochs=2", "optimizer.name=sgd", "schedule.lr=1.0"];
    let moved = |name: &str, more: &[&str]| {
        let run = dir.path().join(name);
        begin(&recipe(dir.path(), &[&set, more].concat()), &run).run(&mut ()).unwrap();
        common::distance(&first.join("model.safetensors"), &run.join("model.safetensors"))
    };
    let (same, merged) = (moved("same", &["merge=none"]), moved("merged", &["merge=tome:r=6"]));
    assert!(same < 1e-4 && merged > 10.0 * same, "{same} and {merged}");
    let labels = moved("labels", &["merge=none", "distill.weight=0.5"]);
    assert!(labels > 10.0 * same, "half of the target is the label's: {labels}");

    // Whoever knows other classes teaches nothing; nor does a model of random weights.
    std::fs::create_dir(dir.path().join("images/third")).unwrap();
    std::fs::copy(dir.path().join("images/rising/000.png"), dir.path().join("images/third/0.png")).unwrap();
    std::fs::copy(dir.path().join("images/rising/001.png"), dir.path().join("images/third/1.png")).unwrap();
    let error = match Start::open(recipe(dir.path(), &set), &Device::flex()) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("the weights know 2 classes and the images have 3"), "{error}");
}
