//! Training of models that write texts.

use crate::common;
use burn::tensor::Device;
use std::path::Path;
use tokmerge_checkpoint::Checkpoint;
use tokmerge_models::{Model, ModelOptions, Weights};
use tokmerge_train::{Recipe, Start, Trainer, Validation};

/// A tiny T5 on made-up sentences, with `changes` as of `--set`.
fn recipe(changes: &[&str]) -> Recipe {
    let text = r#"
        [model]
        name = "t5_v1_1_small"
        embed_dim = 24
        depth = 2
        num_heads = 3
        mlp_ratio = 2.0
        [data]
        train = "sentences:64"
        val = "sentences:9"
        [optimizer]
        name = "adafactor"
        [schedule]
        lr = 1e-2
        kind = "rsqrt"
        warmup_epochs = 1
        [train]
        epochs = 2
        batch_size = 8
        "#;
    common::parsed(text, changes)
}

fn train(dir: &Path, changes: &[&str]) -> Vec<Validation> {
    let start = Start::open(recipe(changes), &Device::flex()).unwrap_or_else(|error| panic!("{error}"));
    let trainer = Trainer::new(start, dir).unwrap_or_else(|error| panic!("{error}"));
    trainer.run(&mut ()).unwrap_or_else(|error| panic!("{error}")).validations
}

fn losses(dir: &Path) -> Vec<f64> {
    let mut steps = csv::Reader::from_path(dir.join("steps.csv")).expect("a log");
    steps.records().map(|row| row.expect("a row")[3].parse().expect("a loss")).collect()
}

fn refused(changes: &[&str]) -> String {
    let error = Start::open(recipe(changes), &Device::flex()).expect_err("refused").to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[test]
fn a_model_learns_what_to_write_and_its_folder_opens() {
    let dir = tempfile::tempdir().expect("a folder");
    let validations = train(dir.path(), &["train.epochs=6", "regularisation.dropout=0.1"]);
    let losses = losses(dir.path());
    assert!(losses.last() < losses.first().map(|loss| loss * 0.8).as_ref(), "{losses:?}");
    let accuracy = &validations[0].accuracies[0];
    assert!(accuracy.bleu.is_some() && accuracy.images == 9 && accuracy.agreement == 100.0);
    let name = format!("local-dir:{}", dir.path().display());
    let options = ModelOptions { weights: Weights::Pretrained, ..ModelOptions::new(name) };
    let model = Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"));
    let tokens = model.processor().text().expect("texts").encode("the old fox see a boat .").expect("tokens");
    assert_eq!(tokens.ids.last(), Some(&1), "a text ends with the decoder's own token");
    let again = train(&dir.path().join("again"), &["train.epochs=6", "regularisation.dropout=0.1"]);
    assert_eq!(again[0].accuracies[0].bleu, accuracy.bleu, "the same recipe trains the same model");
}

/// Every way of the paper's Table 7, over two micro-batches and two replicas.
#[test]
fn soft_token_merging_trains_in_an_encoder_that_is_written_from() {
    for merge in ["stm:p=2,layer=1,inflate=on", "stm:p=2,layer=2", "stm:p=2,layer=1,inflate=on,detach=off"] {
        let dir = tempfile::tempdir().expect("a folder");
        let merge = format!("merge=\"{merge}\"");
        let changes = [merge.as_str(), "train.epochs=1", "train.accumulate=2", "train.replicas=2"];
        let validations = train(dir.path(), &changes);
        assert_eq!(validations[0].accuracies.len(), 2, "without merging and with");
        assert!(losses(dir.path()).iter().all(|loss| loss.is_finite()));
    }
}

#[test]
fn a_resumed_run_ends_where_an_undisturbed_one_does() {
    let (whole, parts) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let changes = ["merge=\"tome:r=10%\"", "regularisation.dropout=0.2", "train.checkpoint_steps=5"];
    train(whole.path(), &changes);
    let open = || Start::open(recipe(&changes), &Device::flex()).expect("a start");
    Trainer::new(open(), parts.path()).expect("a run").run_until(7, &mut ()).expect("steps");
    Trainer::resume(open(), parts.path()).expect("a run").run(&mut ()).expect("the rest");
    let weights = |dir: &Path| std::fs::read(dir.join("model.safetensors")).expect("weights");
    assert!(weights(whole.path()) == weights(parts.path()));
}

/// A recipe that fits a file of forty pairs.
fn of_pairs(path: &Path, model: &str, changes: &[&str]) -> Recipe {
    std::fs::write(path, (0..40).map(|at| format!("one {at} two\ttwo {at} one\n")).collect::<String>())
        .expect("a file");
    let text = format!(
        "[model]\n{model}\n[data]\ntrain = {path:?}\nsplit = 0.2\n[schedule]\nlr = 1e-3\n[train]\nepochs = 1\nbatch_size = 8\n"
    );
    common::parsed(&text, changes)
}

#[test]
fn pairs_of_a_file_are_split_and_additions_of_low_rank_are_trained() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, first, second) = (dir.path().join("pairs.tsv"), dir.path().join("1"), dir.path().join("2"));
    let drawn = "name = \"t5_v1_1_small\"\nembed_dim = 24\ndepth = 2\nnum_heads = 3";
    let start = common::start(of_pairs(&path, drawn, &[]));
    assert_eq!(start.item_counts(), (32, 8));
    assert!(
        start.notes().iter().any(|note| note.contains("tokenizer knows the words")),
        "{:?}",
        start.notes()
    );
    Trainer::new(start, &first).expect("a run").run(&mut ()).expect("trained");
    let given = format!("name = \"local-dir:{}\"\nweights = \"pretrained\"", first.display());
    let lora = "lora={rank=2,targets=[\"qkv\",\"decoder.blocks.0.cross.kv\"]}";
    let trainer = Trainer::new(common::start(of_pairs(&path, &given, &[lora])), &second).expect("a run");
    let (trained, all) = trainer.trained();
    assert!(trained > 0 && trained < all / 10, "{trained} of {all}");
    trainer.run(&mut ()).expect("trained");
    let changed = |name: &str| {
        let of = |dir: &Path| {
            let file = Checkpoint::open(dir.join("model.safetensors")).expect("weights");
            file.get(name).unwrap_or_else(|| panic!("{name}")).to_f32().expect("f32").into_owned()
        };
        of(&first) != of(&second)
    };
    assert!(changed("blocks.0.attn.qkv.weight") && changed("decoder.blocks.0.cross.kv.weight"));
    assert!(!changed("decoder.blocks.1.cross.kv.weight") && !changed("token_embed"));
}

#[test]
fn texts_that_are_not_read_to_their_end_are_counted() {
    let notes = |changes: &[&str]| {
        let start = Start::open(recipe(changes), &Device::flex()).unwrap_or_else(|error| panic!("{error}"));
        start.notes().join("\n")
    };
    let cut = notes(&["data.max_tokens=5"]);
    for part in
        ["of the 64 texts to train on is left out", "texts to validate on", "(data.max_tokens, up to "]
    {
        assert!(cut.contains(part), "{part}: {cut}");
    }
    assert!(!notes(&[]).contains("left out"), "{}", notes(&[]));
}

#[test]
fn what_cannot_be_learned_is_refused_in_one_line() {
    for (change, said) in [
        ("data.train=\"sentences:many\"", "makes up no sentences"),
        ("data.train=\"texts.txt\"", "ends in .tsv"),
        ("train.recompute=\"blocks\"", "train.recompute is \"blocks\""),
        ("train.loss=\"bce\"", "learns every next token by cross-entropy"),
        ("regularisation.flip=0.5", "regularisation.flip is a setting of images and clips"),
        ("regularisation.mixup=0.5", "regularisation.mixup is a setting of"),
        ("model.img_size=32", "model.img_size is a setting of images"),
        ("model.num_classes=7", "model.num_classes is given"),
        ("data.class_order=\"plain\"", "data.class_order is a setting of images"),
        ("model.name=\"bert_base_uncased\"", "writes none"),
        ("model.tokenizer=\"nothing.json\"", "model.tokenizer: nothing.json"),
        ("data.max_tokens=3", "`max_tokens` is 3"),
    ] {
        let error = refused(&[change]);
        assert!(error.contains(said), "{change}: {error}");
    }
}
