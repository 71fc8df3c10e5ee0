//! A run damages nothing that it did not write, and nobody damages it.

use crate::common::{begin, bytes, recipe, resume, start, stripes};
use std::path::Path;
use tokmerge_train::{Recipe, Trainer};

fn refused(
    run: fn(tokmerge_train::Start, &Path) -> Result<Trainer, tokmerge_train::TrainError>,
    recipe: &Recipe,
    dir: &Path,
) -> String {
    match run(start(recipe.clone()), dir) {
        Ok(_) => panic!("begun"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_model_that_no_run_wrote_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 12);
    let recipe = recipe(dir.path(), &[]);
    for name in ["model.safetensors", "config.json"] {
        let theirs = dir.path().join(name.split('.').next().unwrap());
        std::fs::create_dir_all(&theirs).unwrap();
        std::fs::write(theirs.join(name), "theirs").unwrap();
        let error = refused(Trainer::new, &recipe, &theirs);
        assert!(error.contains(name) && error.contains("another `output`"), "{error}");
        assert_eq!(bytes(theirs.join(name)), b"theirs");
        assert_eq!(std::fs::read_dir(&theirs).unwrap().count(), 1, "nothing is left behind");
    }
}

#[test]
fn one_run_writes_to_a_folder_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 12);
    let (recipe, run) = (recipe(dir.path(), &["train.checkpoint_steps=1"]), dir.path().join("run"));
    let mut first = begin(&recipe, &run);
    assert!(refused(Trainer::new, &recipe, &run).contains("another run (process "));
    first.run_until(1, &mut ()).unwrap();
    assert!(refused(Trainer::resume, &recipe, &run).contains("is writing to it"));
    drop(first);
    resume(&recipe, &run);
}

#[test]
fn an_optimiser_that_was_changed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 12);
    let (recipe, run) = (recipe(dir.path(), &["train.checkpoint_steps=2"]), dir.path().join("run"));
    begin(&recipe, &run).run_until(2, &mut ()).unwrap();
    let file = run.join("checkpoints/step-00000002/optimizer.bpk");
    let good = bytes(file.clone());
    let mut renamed = good.clone();
    let at = good.windows(8).position(|window| window == b"param_id").expect("named in the header");
    renamed[at + 7] = b'x';
    for bad in [renamed, good[..good.len() - 1].to_vec(), Vec::new()] {
        std::fs::write(&file, bad).unwrap();
        let error = refused(Trainer::resume, &recipe, &run);
        assert!(error.contains("optimizer.bpk") && error.contains("checksum"), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(refused(Trainer::resume, &recipe, &run).contains("optimizer.bpk"));
    std::fs::write(&file, good).unwrap();
    resume(&recipe, &run);
}

#[test]
fn a_run_goes_on_with_more_epochs_when_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 12);
    let run = dir.path().join("run");
    let [short, long] = ["1", "3"]
        .map(|epochs| recipe(dir.path(), &[&format!("train.epochs={epochs}"), "schedule.warmup_epochs=0"]));
    begin(&short, &run).run(&mut ()).unwrap();
    let error = refused(Trainer::resume, &long, &run);
    assert!(error.contains("1 epochs and the recipe 3") && error.contains("give `extend`"), "{error}");
    assert!(refused(Trainer::extend, &short, &run).contains("give more as train.epochs"));
    let trainer = Trainer::extend(start(long.clone()), &run).unwrap_or_else(|error| panic!("{error}"));
    let (done, steps) = trainer.progress();
    assert_eq!(steps, 3 * done);
    assert_eq!(trainer.run(&mut ()).unwrap().steps, steps);
    // The folder is one of the longer run now.
    resume(&long, &run);
}

#[test]
fn classes_that_cannot_be_learnt_or_measured_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    stripes(&images, 12);
    let recipe = recipe(dir.path(), &[]);
    std::fs::create_dir_all(images.join("run/best")).unwrap();
    std::fs::write(images.join("run/best/model.safetensors"), "x").unwrap();
    let began = start(recipe.clone());
    assert_eq!(began.class_names(), ["falling", "rising"], "a folder without images is no class");
    assert!(
        began.notes().iter().any(|note| note.contains("folders without images: run")),
        "{:?}",
        began.notes()
    );
    std::fs::create_dir(images.join("single")).unwrap();
    std::fs::copy(images.join("rising/000.png"), images.join("single/000.png")).unwrap();
    let notes = start(recipe.clone()).notes().join("\n");
    assert!(notes.contains("1 of 3 classes have no image to") && notes.contains("on: single"), "{notes}");
    for class in ["rising", "single"] {
        std::fs::remove_dir_all(images.join(class)).unwrap();
    }
    let error = tokmerge_train::Start::open(recipe, &burn::tensor::Device::flex()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("holds one class (falling)"), "{error}");
}
