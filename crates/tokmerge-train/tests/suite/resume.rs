//! A run that was killed and resumed ends with the weights of one that was not, bit for bit.

use crate::common::{begin, bytes, recipe, resume, rows, sound_recipe, start, stripes, tones};
use tokmerge_train::Trainer;

/// 36 images to train on: 4 steps of 8 an epoch, 12 in all.
fn killed_and_resumed_equals_one_go(changes: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    equals_one_go(&recipe(dir.path(), changes), dir.path(), changes);
}

fn equals_one_go(recipe: &tokmerge_train::Recipe, dir: &std::path::Path, changes: &[&str]) {
    let (whole, parts) = (dir.join("whole"), dir.join("parts"));
    let summary = begin(recipe, &whole).run(&mut ()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(summary.validations[0].accuracies.len(), 3);

    let mut trainer = begin(recipe, &parts);
    // Past the checkpoint after step 5, in the middle of the second epoch; then into the last.
    for stop in [6, 11] {
        trainer.run_until(stop, &mut ()).unwrap_or_else(|error| panic!("{error}"));
        drop(trainer);
        trainer = resume(recipe, &parts);
        assert_eq!(trainer.progress(), (stop / 5 * 5, 12), "the last checkpoint is at a multiple of five");
    }
    trainer.run(&mut ()).unwrap_or_else(|error| panic!("{error}"));
    assert!(bytes(whole.join("model.safetensors")) == bytes(parts.join("model.safetensors")), "{changes:?}");
    assert_eq!(rows(whole.join("steps.csv"), 5), rows(parts.join("steps.csv"), 5));
    assert_eq!(rows(whole.join("steps.csv"), 5).len(), 13);
    assert_eq!(rows(whole.join("validation.csv"), 9), rows(parts.join("validation.csv"), 9));
    assert!(bytes(whole.join("best/model.safetensors")) == bytes(parts.join("best/model.safetensors")));
    let kept = std::fs::read_dir(parts.join("checkpoints")).unwrap().count();
    assert_eq!(kept, 2);
}

const EVERY_FIVE: [&str; 2] = ["train.checkpoint_steps=5", "train.checkpoint_epochs=99"];

#[test]
fn adamw_with_average_accumulation_and_clipping() {
    let more = ["train.ema=0.9", "train.accumulate=2", "train.batch_size=4", "train.clip_grad=0.5"];
    killed_and_resumed_equals_one_go(&[&EVERY_FIVE[..], &more].concat());
}

#[test]
fn interpreters_that_draw_what_is_rewarded() {
    killed_and_resumed_equals_one_go(&[&EVERY_FIVE[..], &["merge=ia_red2:layer=2"]].concat());
}

#[test]
fn sgd_with_flips_and_smoothing() {
    let more = ["optimizer.name=sgd", "regularisation.flip=0.5", "regularisation.label_smoothing=0.1"];
    killed_and_resumed_equals_one_go(&[&EVERY_FIVE[..], &more].concat());
}

#[test]
fn adam_with_layer_decay_and_adaptive_merging() {
    let more = ["optimizer.name=adam", "schedule.layer_decay=0.7", "merge=atm:theta=0.9"];
    killed_and_resumed_equals_one_go(&[&EVERY_FIVE[..], &more].concat());
}

#[test]
fn predictors_that_draw_what_is_dropped() {
    let more = ["merge=dynamicvit:keep=50%,layer=2", "schedule.backbone_scale=0.1"];
    killed_and_resumed_equals_one_go(&[&EVERY_FIVE[..], &more].concat());
}

#[test]
fn thresholds_that_are_learned_block_by_block() {
    let more = ["merge=ltmp:target=60%", "schedule.backbone_scale=0.1", "train.recompute=blocks"];
    killed_and_resumed_equals_one_go(&[&EVERY_FIVE[..], &more].concat());
}

#[test]
fn ways_that_are_drawn_and_a_second_pass() {
    let drawn = "train.random_merge=[\"none\", \"tome:r=2\", \"tome:r=4\"]";
    let second = "consistency.merge=[\"none\", \"tome:r=1\"]";
    killed_and_resumed_equals_one_go(&[&EVERY_FIVE[..], &[drawn, second]].concat());
}

#[test]
fn adafactor_in_bf16_with_more_workers_after_the_kill() {
    let more = ["optimizer.name=adafactor", "train.dtype=bf16", "data.workers=2"];
    killed_and_resumed_equals_one_go(&[&EVERY_FIVE[..], &more].concat());
}

#[test]
fn sounds_that_are_rolled_mixed_and_hidden_in_part() {
    let dir = tempfile::tempdir().unwrap();
    tones(&dir.path().join("sounds"), 24);
    let changes = [&EVERY_FIVE[..], &["data.workers=2"]].concat();
    equals_one_go(&sound_recipe(dir.path(), &changes), dir.path(), &changes);
}

#[test]
fn another_recipe_other_images_or_no_run_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    let run = dir.path().join("run");
    let given = recipe(dir.path(), &["train.checkpoint_steps=2"]);
    let refused = |given: &tokmerge_train::Recipe| match Trainer::resume(start(given.clone()), &run) {
        Ok(_) => panic!("resumed"),
        Err(error) => error.to_string(),
    };
    assert!(refused(&given).contains("there is no checkpoint to resume from"));
    assert!(!run.exists(), "a refusal leaves nothing behind");
    begin(&given, &run).run_until(3, &mut ()).unwrap();
    match Trainer::new(start(given.clone()), &run) {
        Ok(_) => panic!("began twice"),
        Err(error) => assert!(error.to_string().contains("give `resume`"), "{error}"),
    }
    let error = refused(&recipe(dir.path(), &["train.checkpoint_steps=2", "schedule.lr=2e-3"]));
    assert!(error.contains("schedule.lr is 0.001 there and 0.002 here"), "{error}");
    let error = refused(&recipe(dir.path(), &["model.depth=3"]));
    assert!(error.contains("model.depth"), "{error}");
    // What only changes how a run is watched is free.
    resume(
        &recipe(dir.path(), &["train.checkpoint_steps=3", "data.workers=2", "train.validate=[\"none\"]"]),
        &run,
    );
    std::fs::remove_file(dir.path().join("images/rising/000.png")).unwrap();
    std::fs::remove_file(dir.path().join("images/rising/001.png")).unwrap();
    let error = refused(&given);
    assert!(error.contains("training images, and there are"), "{error}");
}

#[test]
fn a_damaged_checkpoint_says_which_and_the_one_before_is_left() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    let run = dir.path().join("run");
    let given = recipe(dir.path(), &["train.checkpoint_steps=2"]);
    begin(&given, &run).run_until(4, &mut ()).unwrap();
    let newest = run.join("checkpoints/step-00000004");
    std::fs::write(newest.join("model.safetensors"), b"cut off").unwrap();
    let error = match Trainer::resume(start(given.clone()), &run) {
        Ok(_) => panic!("resumed from half a file"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("step-00000004"), "{error}");
    std::fs::remove_dir_all(newest).unwrap();
    assert_eq!(resume(&given, &run).progress().0, 2);
    // What a kill in the middle of writing leaves is no checkpoint.
    std::fs::create_dir(run.join("checkpoints/.step-00000009.incomplete")).unwrap();
    assert_eq!(resume(&given, &run).progress().0, 2);
}
