//! Training of models that answer questions about pictures.

mod common;

use burn::tensor::Device;
use std::path::Path;
use tokmerge_models::{Model, ModelOptions, Weights};
use tokmerge_scenes::questions::Questions;
use tokmerge_scenes::{Split, write_questions};
use tokmerge_train::{Recipe, Start, Trainer};

/// A tiny ViLT on drawn questions, validated on a list in `dir`.
fn recipe(dir: &Path, changes: &[&str]) -> Recipe {
    let text = format!(
        r#"
        merge = "tome:r=2"
        [model]
        name = "vilt_b32"
        img_size = 24
        patch_size = 8
        embed_dim = 24
        depth = 2
        num_heads = 3
        mlp_ratio = 2.0
        [data]
        train = "questions:64"
        val = "{}"
        [schedule]
        lr = 1e-3
        [train]
        epochs = 1
        batch_size = 8
        "#,
        dir.join("list").display()
    );
    common::parsed(&text, changes)
}

fn list(dir: &Path, count: u64) {
    let questions = Questions::of(Split::Validation).with_side(24).expect("a side");
    write_questions(&questions, &dir.join("list"), 0..count).expect("a list");
}

fn opened(dir: &Path) -> Model {
    let options = ModelOptions {
        weights: Weights::Pretrained,
        ..ModelOptions::new(format!("local-dir:{}", dir.display()))
    };
    Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_model_learns_from_drawn_questions_and_its_folder_opens() {
    let dir = tempfile::tempdir().expect("a folder");
    list(dir.path(), 14);
    let start = common::start(recipe(dir.path(), &["regularisation.dropout=0.1", "train.replicas=2"]));
    assert_eq!((start.item_counts(), start.class_names().len()), ((64, 14), 25));
    let run = dir.path().join("run");
    let summary = Trainer::new(start, &run).expect("a run").run(&mut ()).expect("trained");
    let accuracies = &summary.validations[0].accuracies;
    assert_eq!(accuracies.len(), 2, "without merging and with");
    assert!(accuracies[0].top1.is_some() && accuracies[1].mean_tokens < accuracies[0].mean_tokens);
    let model = opened(&run);
    assert_eq!((model.classes(), model.class_names()[0].as_str()), (25, summary_name()));
    assert!(model.processor().tokenizer().is_some());
}

fn summary_name() -> &'static str {
    tokmerge_scenes::questions::ANSWERS[0]
}

/// A list of its own answers, of which the questions about some pictures are held out; gradient checkpointing changes nothing.
#[test]
fn questions_of_a_list_are_split_by_their_pictures() {
    let dir = tempfile::tempdir().expect("a folder");
    list(dir.path(), 28);
    let text = recipe(dir.path(), &[]).to_toml();
    let path = dir.path().join("list").join("questions.jsonl");
    let of_list = |changes: &[&str]| {
        let train = format!("train = {path:?}\nsplit = 0.25\n");
        let lines = text.lines().filter(|line| !line.starts_with("train = ") && !line.starts_with("val = "));
        let mut text: String = lines.map(|line| format!("{line}\n")).collect();
        text = text.replace("[data]\n", &format!("[data]\n{train}"));
        common::parsed(&text, changes)
    };
    let start = common::start(of_list(&[]));
    assert_eq!(start.item_counts(), (21, 7));
    let answers = start.class_names().to_vec();
    assert!(answers.is_sorted() && answers.len() > 5, "{answers:?}");
    let weights = |changes: &[&str], name: &str| {
        let run = dir.path().join(name);
        Trainer::new(common::start(of_list(changes)), &run).expect("a run").run(&mut ()).expect("trained");
        std::fs::read(run.join("model.safetensors")).expect("weights")
    };
    let plain = weights(&[], "plain");
    assert!(plain == weights(&["train.recompute=\"blocks\""], "blocks"), "the same bits");
}

#[test]
fn what_is_no_list_of_questions_is_refused_in_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    list(dir.path(), 1);
    for (change, said) in [
        ("data.train=\"questions:none\"", "draws no questions"),
        ("data.val=\"nothing.jsonl\"", "nothing.jsonl"),
        ("data.train=\"scenes:10\"", "scenes:10"),
        ("regularisation.flip=0.5", "regularisation.flip is a setting of"),
        ("data.max_tokens=2", "`max_tokens` is 2"),
    ] {
        let error = Start::open(recipe(dir.path(), &[change]), &Device::flex()).expect_err("refused");
        let error = error.to_string();
        assert!(error.contains(said) && !error.contains('\n'), "{change}: {error}");
    }
}
