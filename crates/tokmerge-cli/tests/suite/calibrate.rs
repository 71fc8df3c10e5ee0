//! `tokmerge calibrate` on pictures that the tests draw.

use crate::common::{Desk, number};

#[test]
fn a_calibrated_model_is_opened_again_and_merges_by_what_was_fitted() {
    let desk = Desk::new();
    desk.run("scenes pictures --images 72").ok();
    let calibrate = "calibrate pictures --model demo --images 24";
    let found = desk.run(&format!("{calibrate} -o fitted --json")).ok().one_json();
    assert_eq!(number(&found, "images"), 24.0);
    let explained = found["explained"].as_array().expect("a number for each layer");
    assert!(explained.len() > 2 && explained.iter().all(|part| part.as_f64().is_some_and(|part| part > 0.3)));

    let eval = "eval pictures --model local-dir:fitted --merge none --merge foresight:limit=0.1 --json";
    let results = desk.run(eval).ok().json();
    let [unmerged, merged] = &results[..] else { panic!("{results:?}") };
    assert!(number(merged, "gmacs") < 0.6 * number(unmerged, "gmacs"), "{merged}");
    assert!(number(merged, "agreement") > 95.0, "{merged}");
    // The same images and the same seed give the same weights.
    desk.run(&format!("{calibrate} -o again")).ok();
    let read =
        |folder: &str| std::fs::read(desk.path(&format!("{folder}/model.safetensors"))).expect("weights");
    assert!(read("fitted") == read("again"));
}

#[test]
fn what_cannot_be_calibrated_is_refused() {
    let desk = Desk::new();
    desk.run("scenes pictures --images 24").ok();
    desk.write("taken/notes.txt", "mine");
    let calibrate = "calibrate pictures --model demo";
    desk.run(&format!("{calibrate} -o taken")).fails(&["taken", "is there already", "--output"]);
    desk.run(&format!("{calibrate} -o new --images 2")).fails(&["--images 2", "at least 16"]);
    desk.run("calibrate nowhere --model demo -o new").fails(&["nowhere"]);
    assert!(!desk.path("new").exists());
}
