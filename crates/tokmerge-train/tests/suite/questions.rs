//! Training of models that answer questions about pictures.

use crate::common;
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
    write_questions(&questions, dir.join("list"), 0..count).expect("a list");
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
        ("train.frozen=[\"towr\"]", "train.frozen names towr"),
    ] {
        let error = Start::open(recipe(dir.path(), &[change]), &Device::flex()).expect_err("refused");
        let error = error.to_string();
        assert!(error.contains(said) && !error.contains('\n'), "{change}: {error}");
    }
}

/// A tower of images with a language model: full, with a frozen tower, and additions of low rank, each merging in between.
#[test]
fn a_model_that_writes_learns_to_answer() {
    let dir = tempfile::tempdir().expect("a folder");
    list(dir.path(), 6);
    let text = |model: &str| {
        format!(
            "merge = \"stm:p=2,layer=5\"\n[model]\n{model}\n[data]\ntrain = \"questions:16\"\nval = {:?}\n\
             [schedule]\nlr = 1e-3\n[train]\nepochs = 1\nbatch_size = 8\nfrozen = [\"tower\"]\n",
            dir.path().join("list")
        )
    };
    let drawn = text("name = \"pali_tiny\"\nimg_size = 24");
    for (change, said) in [
        ("train.recompute=\"blocks\"", "train.recompute is \"blocks\""),
        ("train.loss=\"bce\"", "train.loss is \"bce\""),
    ] {
        let error = Start::open(common::parsed(&drawn, &[change]), &Device::flex()).expect_err("refused");
        let error = error.to_string();
        assert!(error.contains(said) && !error.contains('\n'), "{change}: {error}");
    }
    let first = dir.path().join("first");
    let start = common::start(common::parsed(&drawn, &["regularisation.dropout=0.1"]));
    let summary = Trainer::new(start, &first).expect("a run").run(&mut ()).expect("trained");
    let accuracies = &summary.validations[0].accuracies;
    assert!(accuracies.iter().all(|found| found.top1.is_some() && found.bleu.is_none()));
    assert!(accuracies[1].mean_tokens < accuracies[0].mean_tokens, "{accuracies:?}");
    let given = text(&format!("name = \"local-dir:{}\"\nweights = \"pretrained\"", first.display()));
    let values = |dir: &Path, name: &str| {
        let file = tokmerge_checkpoint::Checkpoint::open(dir.join("model.safetensors")).expect("weights");
        file.get(name).unwrap_or_else(|| panic!("{name}")).to_f32().expect("f32").into_owned()
    };
    let tuned = |name: &str, changes: &[&str]| {
        let run = dir.path().join(name);
        let trainer = Trainer::new(common::start(common::parsed(&given, changes)), &run).expect("a run");
        trainer.run(&mut ()).expect("trained");
        run
    };
    let frozen = tuned("frozen", &[]);
    let same = |run: &Path, name: &str| values(run, name) == values(&first, name);
    let (tower, text) = ("tower.blocks.0.attn.qkv.weight", "text.blocks.0.attn.qkv.weight");
    assert!(same(&frozen, tower) && !same(&frozen, text));
    let whole = tuned("whole", &["train.frozen=[]"]);
    assert!(!same(&whole, tower) && !same(&whole, text));
    let lora = tuned("lora", &["lora={rank=2,targets=[\"text.blocks.0\"],also=[\"projector\"]}"]);
    assert!(same(&lora, tower) && !same(&lora, text) && !same(&lora, "projector.weight"));
    assert!(same(&lora, "text.token_embed"));
    let taught = common::parsed(&given, &["distill={merge=\"none\"}"]);
    let error = Start::open(taught, &Device::flex()).expect_err("refused").to_string();
    assert!(error.contains("the section distill") && !error.contains('\n'), "{error}");
}

/// A tower from a Vision Transformer, a language model from a T5, and a ViLT from a Vision Transformer: their weights bit for bit,
/// their tokenizer and their colours; positions for pictures of another size.
#[test]
fn parts_begin_with_the_weights_of_other_models() {
    let dir = tempfile::tempdir().expect("a folder");
    list(dir.path(), 4);
    common::stripes(&dir.path().join("stripes"), 8);
    let made = |name: &str, text: &str| {
        let run = dir.path().join(name);
        let start = common::start(common::parsed(text, &[]));
        Trainer::new(start, &run).expect("a run").run(&mut ()).expect("trained");
        run
    };
    let shape = "embed_dim = 24\ndepth = 2\nnum_heads = 3\nmlp_ratio = 2.0";
    let train = "[schedule]\nlr = 1e-3\n[train]\nepochs = 1\nbatch_size = 8\n";
    let vit = |more: &str| {
        format!(
            "merge = \"none\"\n[model]\nimg_size = 32\npatch_size = 8\n{shape}\n{more}\n[data]\ntrain = {:?}\n\
             split = 0.5\nmean = [0.1, 0.2, 0.3]\nstd = [0.5, 0.6, 0.7]\n{train}",
            dir.path().join("stripes")
        )
    };
    let (tower, image) = (made("tower", &vit("class_token = false")), made("image", &vit("")));
    let t5 = format!(
        "merge = \"none\"\n[model]\nname = \"t5_v1_1_small\"\n{shape}\n[data]\ntrain = \"sentences:16\"\n\
         val = \"sentences:4\"\n{train}"
    );
    let t5 = made("t5", &t5);
    let whole = |model: &str, parts: &[(&str, &Path)]| {
        let parts: String = parts
            .iter()
            .map(|(name, dir)| format!("{name} = {:?}\n", format!("local-dir:{}", dir.display())))
            .collect();
        format!(
            "merge = \"none\"\n[model]\n{model}\nimg_size = 24\n[model.parts]\n{parts}[data]\n\
             train = \"questions:8\"\nval = {:?}\n{train}",
            dir.path().join("list")
        )
    };
    let values = |dir: &Path, name: &str| {
        let file = tokmerge_checkpoint::Checkpoint::open(dir.join("model.safetensors")).expect("weights");
        file.get(name).unwrap_or_else(|| panic!("{name}")).to_f32().expect("f32").into_owned()
    };
    let pali = whole("name = \"pali_tiny\"", &[("tower", &tower), ("text", &t5)]);
    // What is frozen says what everything began with.
    let run = made("pali", &format!("{pali}frozen = [\"tower\", \"text\"]\n"));
    assert_eq!(values(&run, "tower.blocks.1.mlp.fc2.weight"), values(&tower, "blocks.1.mlp.fc2.weight"));
    assert_eq!(values(&run, "text.token_embed"), values(&t5, "token_embed"));
    assert_eq!(values(&run, "text.decoder.lm_head.weight"), values(&t5, "decoder.lm_head.weight"));
    assert_eq!(values(&run, "tower.pos_embed").len(), 9 * 24);
    let model = opened(&run);
    let colours = model.processor().to_string();
    assert!(colours.contains("mean [0.1, 0.2, 0.3]") && colours.contains("std [0.5, 0.6, 0.7]"), "{colours}");
    let own = |dir: &Path| std::fs::read(dir.join("tokenizer.json")).expect("a tokenizer");
    assert_eq!(own(&run), own(&t5));
    let vilt = made(
        "vilt",
        &format!("{}frozen = [\"blocks\"]\n", whole("name = \"vilt_b32\"", &[("image", &image)])),
    );
    assert_eq!(values(&vilt, "blocks.0.attn.qkv.weight"), values(&image, "blocks.0.attn.qkv.weight"));
    for (text, said) in [
        (whole("name = \"vilt_b32\"", &[("tower", &tower)]), "the model has no such part, but image"),
        (whole("name = \"vilt_b32\"", &[("image", &t5)]), "it is no Vision Transformer"),
        (whole("name = \"vilt_b32\"", &[("image", &tower)]), "it is no plain Vision Transformer"),
        (whole("name = \"vilt_b32\"\ndepth = 3", &[("image", &image)]), "model.depth is 3"),
        (whole("name = \"pali_tiny\"", &[("tower", &image)]), "has a class token or registers"),
        (whole("name = \"pali_tiny\"", &[("text", &image)]), "it is no model of texts"),
        (whole("name = \"pali_tiny\"\npatch_size = 4", &[("tower", &tower)]), "model.patch_size is 4"),
        (vit("[model.parts]\ntower = \"demo\""), "no such parts"),
    ] {
        let error =
            Start::open(common::parsed(&text, &[]), &Device::flex()).expect_err("refused").to_string();
        assert!(error.contains(said) && !error.contains('\n'), "{said}: {error}");
    }
}
