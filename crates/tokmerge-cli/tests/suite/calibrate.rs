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
fn tune_tries_foresight_where_the_model_has_its_weights() {
    let desk = Desk::new();
    desk.run("scenes pictures --images 72").ok();
    desk.run("calibrate pictures --model demo --images 24 -o fitted").ok();
    let tried = |model: &str| {
        let options = "--gmacs 0.6 --no-recheck --search-images 24 --time-budget 20 --json";
        let found = desk.run(&format!("tune pictures --model {model} {options}")).ok().one_json();
        let points = found["points"].as_array().expect("points").clone();
        let of_foresight = points.iter().filter(|point| point["family"] == "foresight").cloned();
        of_foresight.map(|point| point["merge"].as_str().expect("a spec").to_owned()).collect::<Vec<_>>()
    };
    let specs = tried("local-dir:fitted");
    let (lists, constants): (Vec<_>, Vec<_>) = specs.iter().partition(|spec| spec.contains("limit=["));
    assert_eq!(constants.len(), 5, "{specs:?}");
    assert!(!lists.is_empty(), "neighbours too: {specs:?}");
    std::fs::remove_file(desk.path("merge.journal.jsonl")).expect("the journal of the first");
    assert!(tried("demo").is_empty(), "nobody has fitted its weights");
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
