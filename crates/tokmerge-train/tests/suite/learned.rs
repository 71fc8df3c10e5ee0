//! Methods that learn how much to merge, and how much merges in which step.

use crate::common::{begin, bytes, recipe, rows, stripes};
use burn::tensor::Device;
use std::path::Path;
use tokmerge_merge::{MergeSpec, Method};
use tokmerge_models::{Convention, Model, ModelOptions, Pass};
use tokmerge_nn::parameters::read;
use tokmerge_train::Summary;

fn opened(dir: &Path) -> Model {
    let options = ModelOptions::new(format!("local-dir:{}", dir.display()));
    Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"))
}

/// The losses of all steps.
fn losses(dir: &Path) -> Vec<f64> {
    let rows = rows(dir.join("steps.csv"), 4);
    rows[1..].iter().map(|row| row[3].parse().expect("a loss")).collect()
}

/// What trained numbers leave of the cost of the blocks, as they were trained for it: `2aC² + a²C + 4fC²` of `6nC² + n²C`.
fn cost(model: &Model, merge: &str) -> f64 {
    let reduction = model.bind(&merge.parse().unwrap()).unwrap();
    let output = model.run(model.input().random(8, 3), Pass::new(&reduction));
    let (channels, whole) = (24.0, 17.0);
    let of_item = |item: usize| {
        let layers = model.layer_tokens(&output.trace, item);
        let block = |layer: &tokmerge_merge::LayerTokens| {
            let (attended, fed) = (layer.attended as f64, layer.fed as f64);
            (2.0 * attended * channels + attended * attended + 4.0 * fed * channels)
                / (6.0 * whole * channels + whole * whole)
        };
        layers.iter().map(block).sum::<f64>() / layers.len() as f64
    };
    (0..8).map(of_item).sum::<f64>() / 8.0
}

fn run(dir: &Path, name: &str, changes: &[&str]) -> Summary {
    begin(&recipe(dir, changes), &dir.join(name)).run(&mut ()).unwrap_or_else(|error| panic!("{error}"))
}

/// The cost comes to what it is to be, and what was learned is left as weights, as a spec and as a file, which all do the same.
#[test]
fn thresholds_come_to_the_cost_that_they_are_for() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    let merge = "ltmp:target=70%";
    let set =
        ["train.epochs=30", "schedule.lr=1e-2", "schedule.backbone_scale=0.1", "schedule.warmup_epochs=0"];
    let changes = [&set[..], &["merge=ltmp:target=70%", "train.validate=[\"ltmp:target=70%\"]"]].concat();
    let summary = run(dir.path(), "run", &changes);
    let model = opened(&dir.path().join("run"));
    let found = cost(&model, merge);
    assert!((0.6..0.8).contains(&found), "{found}: {:?}", summary.learned);
    assert!(summary.validations[0].accuracies[0].mean_tokens < 17.0, "{:?}", summary.validations);
    let learned = summary.learned.expect("numbers");
    assert!(learned.to_string().starts_with("ltmp:merge_above=["), "{learned}");
    let file = std::fs::read_to_string(dir.path().join("run/merge.toml")).unwrap();
    assert_eq!(Method::from_spec(&MergeSpec::from_toml(&file).unwrap()), Ok(learned.clone()));
    let measured = |merge: &Method| {
        let reduction = model.bind(merge).unwrap();
        let measured = model.measure(model.input().random(3, 7), &reduction, Convention::Fvcore).unwrap();
        (measured.logits, measured.tokens, measured.gmacs)
    };
    assert_eq!(measured(&learned), measured(&merge.parse().unwrap()));
    assert!(!model.has_fresh_weights(&merge.parse().unwrap()));
    assert!(model.has_fresh_weights(&"ltmp:target=50%".parse().unwrap()), "they are for another cost");
}

/// DiffRate's search: the model stays as it is, and the result is a schedule for any model of its shape.
#[test]
fn numbers_of_tokens_are_found_for_a_frozen_model() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    let merge = "merge=diffrate:target=70%";
    let frozen =
        "train.frozen=[\"cls_token\", \"pos_embed\", \"patch_embed\", \"blocks\", \"norm\", \"head\"]";
    let set = [
        "model.depth=3",
        "schedule.warmup_epochs=0",
        "train.validate=[\"diffrate:target=70%\"]",
        merge,
        frozen,
    ];
    let of = |name: &str, more: &[&str]| run(dir.path(), name, &[&set[..], more].concat());
    of("start", &["train.epochs=1", "schedule.lr=1e-9"]);
    let summary = of("run", &["train.epochs=12", "schedule.lr=0.5"]);
    let [start, found] = ["start", "run"].map(|name| opened(&dir.path().join(name)));
    assert_eq!(read(start.network().body()), read(found.network().body()), "the model is frozen");
    let [before, after] = [&start, &found].map(|model| cost(model, "diffrate:target=70%"));
    assert!(before > 0.95 && (0.6..0.8).contains(&after), "{before} {after}: {:?}", summary.learned);
    let Some(Method::Diffrate(learned)) = summary.learned else { panic!("a schedule") };
    let lists = learned.rates.for_model(&found.facts());
    assert_eq!(lists.each_ref().map(Vec::len), [3, 3]);
    assert_eq!((lists[0][0], lists[1][0]), (17, 17), "nothing goes in the first block");
    assert!(lists[1][2] < 17, "{lists:?}");
}

/// One of several ways in each step, the same when the run is resumed.
#[test]
fn every_step_draws_how_it_merges() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    let drawn = "train.random_merge=[\"none\", \"tome:r=2\", \"tome:r=5\"]";
    run(dir.path(), "drawn", &[drawn]);
    for (name, merge) in [("none", "merge=none"), ("two", "merge=tome:r=2"), ("five", "merge=tome:r=5")] {
        run(dir.path(), name, &[merge, "train.validate=[\"none\"]"]);
    }
    let first = |name: &str| losses(&dir.path().join(name))[0];
    let ways = ["none", "two", "five"].map(first);
    assert!(ways.contains(&first("drawn")), "{ways:?} {}", first("drawn"));
    let all =
        ["drawn", "none", "two", "five"].map(|name| bytes(dir.path().join(name).join("model.safetensors")));
    assert!(all[1..].iter().all(|weights| *weights != all[0]), "no one way alone");
    let recipe = recipe(dir.path(), &[drawn]);
    let half = dir.path().join("half");
    begin(&recipe, &half).run_until(5, &mut ()).unwrap_or_else(|error| panic!("{error}"));
    crate::common::resume(&recipe, &half).run(&mut ()).unwrap_or_else(|error| panic!("{error}"));
    assert!(bytes(half.join("model.safetensors")) == all[0]);
}

/// Before merging begins a run is one without merging, step by step; then it is not.
#[test]
fn merging_rises_after_some_epochs() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    let validate = "train.validate=[\"none\"]";
    run(dir.path(), "none", &["merge=none", validate]);
    run(
        dir.path(),
        "rising",
        &["schedule.merge_start_epoch=1.0", "schedule.merge_rise_epochs=1.0", validate],
    );
    run(dir.path(), "whole", &[validate]);
    let [none, rising, whole] = ["none", "rising", "whole"].map(|name| losses(&dir.path().join(name)));
    let epoch = none.len() / 3;
    assert_eq!(none[..=epoch], rising[..=epoch]);
    assert!(none[0] != whole[0] && none[2 * epoch] != rising[2 * epoch], "{none:?} {rising:?}");
}

/// The loss of both passes and of what is between them: equal passes count twice, and nothing is between them.
#[test]
fn a_second_pass_of_the_same_weights_teaches_the_first() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    let validate = "train.validate=[\"none\"]";
    let first = |name: &str, changes: &[&str]| {
        run(dir.path(), name, &[&[validate, "train.epochs=1"], changes].concat());
        losses(&dir.path().join(name))[0]
    };
    let (none, two) = (first("none", &["merge=none"]), first("two", &[]));
    let same = first("same", &["merge=none", "consistency.merge=[\"none\"]", "consistency.above=0.0"]);
    assert!((same - 2.0 * none).abs() < 1e-5, "{same} {none}");
    let with = |name: &str, weight: f64, above: f64| {
        let weight = format!("consistency.weight={weight:?}");
        let above = format!("consistency.above={above:?}");
        first(name, &["consistency.merge=[\"none\"]", &weight, &above])
    };
    // Two classes at the start: neither is as probable as that, and then all are. Embeddings of fresh weights are near each other.
    assert!((with("few", 1e6, 0.9) - none - two).abs() < 1e-5);
    let (one, twice) = (with("one", 1e6, 0.0) - none - two, with("twice", 2e6, 0.0) - none - two);
    assert!(one > 1e-3 && (twice - 2.0 * one).abs() < 1e-2 * one, "{one} {twice}");
}

/// In the first epochs everything but the predictors is as it began, bit for bit.
#[test]
fn weights_of_the_method_learn_alone_at_first() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    let set = [
        "merge=dynamicvit:keep=50%,layer=2",
        "train.validate=[\"none\"]",
        "schedule.warmup_epochs=0",
        "schedule.backbone_start_epoch=2.0",
    ];
    let of = |name: &str, lr: &str| run(dir.path(), name, &[&set[..], &[lr]].concat());
    of("slow", "schedule.lr=1e-4");
    of("fast", "schedule.lr=1e-3");
    let differing = |step: usize| -> Vec<String> {
        let weights = |name: &str| {
            let folder = dir.path().join(name).join(format!("checkpoints/step-{step:08}"));
            read(opened(&folder).network())
        };
        let (slow, fast) = (weights("slow"), weights("fast"));
        slow.into_iter().filter(|(path, values)| fast[path] != *values).map(|(path, _)| path).collect()
    };
    let alone = differing(8);
    assert!(!alone.is_empty() && alone.iter().all(|path| path.starts_with("mergers.")), "{alone:?}");
    assert!(differing(12).contains(&"head.weight".to_owned()));
}

/// A head on the class token beside that of the mean: its loss counts by its weight, runs resume with it, and the trained model has
/// none.
#[test]
fn a_second_head_is_of_training_alone() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    let set =
        ["model.pool=avg", "merge=evo_vit:keep=50%,layer=2", "train.validate=[\"none\"]", "train.ema=0.9"];
    let with = |weight: f64| format!("train.class_head={weight:?}");
    let loss = |name: &str, weight: f64| {
        let more = [with(weight), "train.epochs=1".to_owned(), "schedule.warmup_epochs=0".to_owned()];
        let more = more.iter().map(String::as_str);
        run(dir.path(), name, &set.into_iter().chain(more).collect::<Vec<_>>());
        losses(&dir.path().join(name))[0]
    };
    let [quarter, half, most] =
        [("quarter", 0.25), ("half", 0.5), ("most", 0.75)].map(|(name, w)| loss(name, w));
    assert!(
        (half - quarter).abs() > 1e-5 && (2.0 * half - quarter - most).abs() < 1e-5,
        "{quarter} {half} {most}"
    );

    let half = with(0.5);
    let recipe = recipe(dir.path(), &[&set[..], &[&half]].concat());
    let [whole, parts] = ["whole", "parts"].map(|name| dir.path().join(name));
    begin(&recipe, &whole).run(&mut ()).unwrap_or_else(|error| panic!("{error}"));
    begin(&recipe, &parts).run_until(5, &mut ()).unwrap_or_else(|error| panic!("{error}"));
    crate::common::resume(&recipe, &parts).run(&mut ()).unwrap_or_else(|error| panic!("{error}"));
    assert!(bytes(whole.join("model.safetensors")) == bytes(parts.join("model.safetensors")));
    for folder in [whole.clone(), whole.join("best"), whole.join("checkpoints/step-00000012")] {
        assert!(!read(opened(&folder).network()).keys().any(|path| path.contains("class_head")));
    }

    for (changes, expected) in [
        (
            &["model.pool=token"][..],
            "the model's own head looks at the class token; give model.pool = \"avg\"",
        ),
        (&["model.class_token=false", "merge=tome:r=2"], "the model has no class token; leave it out"),
    ] {
        let given = crate::common::recipe(dir.path(), &[&set[..], &[&half], changes].concat());
        let error = match tokmerge_train::Start::open(given, &Device::flex()) {
            Ok(_) => panic!("{changes:?} was accepted"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(expected), "{error}");
    }
}

/// Another way of merging in the first epochs, step by step, and then that of the recipe.
#[test]
fn the_first_epochs_may_merge_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    let validate = "train.validate=[\"none\"]";
    run(dir.path(), "before", &["merge=tome:r=5", validate]);
    run(dir.path(), "both", &["schedule.merge_before=tome:r=5", "schedule.merge_start_epoch=1.0", validate]);
    let [before, both] = ["before", "both"].map(|name| losses(&dir.path().join(name)));
    let epoch = before.len() / 3;
    assert_eq!(before[..epoch], both[..epoch]);
    assert!(before[epoch] != both[epoch], "{before:?} {both:?}");
}
