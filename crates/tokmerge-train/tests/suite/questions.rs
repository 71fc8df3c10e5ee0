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
        ("data.class_order=\"plain\"", "data.class_order is a setting of images"),
        ("train.frozen=[\"towr\"]", "train.frozen names towr"),
        ("data.val=\"nothing\"", "nothing"),
    ] {
        let error = Start::open(recipe(dir.path(), &[change]), &Device::flex()).expect_err("refused");
        let error = error.to_string();
        assert!(error.contains(said) && !error.contains('\n'), "{change}: {error}");
    }
}

/// Ten people each, who agree on nothing nine times: no answer is a class. Beside a question with one answer that one is.
#[test]
fn answers_of_people_are_classes_where_they_are_common() {
    let dir = tempfile::tempdir().expect("a folder");
    list(dir.path(), 8);
    let set = dir.path().join("list");
    let line = |index: usize, answers: &str| {
        format!("{{\"image\": \"images/{index:07}.png\", \"question\": \"Is it red?\", {answers}}}\n")
    };
    let people = |first: &str| {
        let all: Vec<String> =
            (0..10).map(|who| if who < 5 { format!("{first:?}") } else { format!("\"{who}\"") }).collect();
        format!("\"answers\": [{}]", all.join(", "))
    };
    let lines: String = (0..8).map(|index| line(index, &people(&format!("colour {index}")))).collect();
    std::fs::write(set.join("rare.jsonl"), &lines).expect("a list");
    let mixed = lines + &line(0, "\"answer\": \"no\"") + &line(1, "\"answer\": \"No.\"");
    std::fs::write(set.join("mixed.jsonl"), mixed).expect("a list");
    let on = |name: &str| {
        let path = format!("{:?}", set.join(name));
        let recipe = recipe(
            dir.path(),
            &[&format!("data.train={path}"), &format!("data.val={path}"), "train.batch_size=4"],
        );
        Start::open(recipe, &Device::flex())
    };
    let error = on("rare.jsonl").expect_err("refused").to_string();
    assert!(error.contains("no answer is a class") && !error.contains('\n'), "{error}");
    let start = on("mixed.jsonl").expect("two answers that are the same");
    assert_eq!(start.class_names(), ["No."]);
}

/// A run whose words come in another order now would read other rows of its table.
#[test]
fn a_run_is_not_resumed_with_another_tokenizer() {
    let dir = tempfile::tempdir().expect("a folder");
    list(dir.path(), 16);
    let path = dir.path().join("list").join("questions.jsonl");
    let recipe = || recipe(dir.path(), &[&format!("data.train={path:?}"), "train.epochs=1"]);
    let run = dir.path().join("run");
    Trainer::new(common::start(recipe()), &run).expect("a run").run(&mut ()).expect("trained");
    let text = std::fs::read_to_string(&path).expect("a list");
    let reversed: Vec<&str> = text.lines().rev().collect();
    std::fs::write(&path, reversed.join("\n")).expect("a list");
    let error = Trainer::resume(common::start(recipe()), &run).map(|_| ()).expect_err("refused").to_string();
    assert!(error.contains("another tokenizer") && !error.contains('\n'), "{error}");
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
    for (changes, said) in [
        (&["distill={merge=\"none\"}"][..], "the section distill"),
        (&["merge=\"ia_red2\""], "merge learns from right answers"),
        (
            &["lora={rank=2,targets=[\"tower\"]}"],
            "lora.targets names tower, and train.frozen keeps all of that",
        ),
        (&["model.tokenizer=\"t.json\""], "the weights have their own tokenizer"),
    ] {
        let text = Recipe::parse(
            &given,
            "a recipe",
            &changes.iter().map(|change| (*change).to_owned()).collect::<Vec<_>>(),
        );
        let error = match text {
            Err(error) => error.to_string(),
            Ok(recipe) => Start::open(recipe, &Device::flex()).expect_err("refused").to_string(),
        };
        assert!(error.contains(said) && !error.contains('\n'), "{said}: {error}");
    }
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
    // Every weight of a part, but positions of another grid.
    let begun = |run: &Path, prefix: &str, part: &Path| {
        let open = |dir: &Path| {
            tokmerge_checkpoint::Checkpoint::open(dir.join("model.safetensors")).expect("weights")
        };
        let (whole, part) = (open(run), open(part));
        let mut compared = 0;
        for name in part.names().filter(|name| !name.starts_with("head")) {
            let own = format!("{prefix}{}", name.strip_prefix("fc_").unwrap_or(name));
            let (found, expected) = (whole.get(&own).unwrap_or_else(|| panic!("{own}")), part.get(name));
            let expected = expected.expect("it was listed");
            if found.shape == expected.shape {
                assert_eq!(found.to_f32().expect("f32"), expected.to_f32().expect("f32"), "{own}");
                compared += 1;
            } else {
                assert_eq!(name, "pos_embed", "{:?} {:?}", found.shape, expected.shape);
            }
        }
        compared
    };
    let pali = whole("name = \"pali_tiny\"", &[("tower", &tower), ("text", &t5)]);
    // What is frozen says what everything began with.
    let run = made("pali", &format!("{pali}frozen = [\"tower\", \"text\"]\n"));
    assert_eq!((begun(&run, "tower.", &tower), begun(&run, "text.", &t5)), (28, 38));
    let table = std::fs::read_to_string(run.join("validation.csv")).expect("a table");
    assert!(table.starts_with("step,epoch,weights,merge,accuracy,questions,gmacs,mean_tokens\n"), "{table}");
    let model = opened(&run);
    let colours = model.processor().to_string();
    assert!(colours.contains("mean [0.1, 0.2, 0.3]") && colours.contains("std [0.5, 0.6, 0.7]"), "{colours}");
    let own = |dir: &Path| std::fs::read(dir.join("tokenizer.json")).expect("a tokenizer");
    assert_eq!(own(&run), own(&t5));
    let vilt = whole("name = \"vilt_b32\"", &[("image", &image)]).replace("img_size = 24", "img_size = 32");
    let parts = "[\"blocks\", \"patch_embed\", \"pos_embed\", \"cls_token\", \"norm\"]";
    let vilt = made("vilt", &format!("{vilt}frozen = {parts}\n"));
    assert_eq!(begun(&vilt, "", &image), 30);
    let shown = opened(&vilt).processor().to_string();
    assert!(shown.contains("shorter side 32") && shown.contains("patches of 8x8"), "{shown}");
    let nowhere = dir.path().join("nowhere");
    for (text, said) in [
        (whole("name = \"vilt_b32\"", &[("tower", &tower)]), "the model has no such part; it has image"),
        (whole("name = \"vilt_b32\"", &[("image", &t5)]), "it is no Vision Transformer; give a plain one"),
        (whole("name = \"pali_tiny\"", &[("tower", &nowhere)]), "model.parts.tower = \"local-dir:"),
        (
            vit("").replace("patch_size = 8", "patch_size = 64"),
            "model.img_size and model.patch_size do not go together",
        ),
        (
            whole("name = \"vilt_b32\"\npatch_size = 64", &[]),
            "model.img_size and model.patch_size do not go together",
        ),
        (
            whole("name = \"vilt_b32\"", &[("image", &tower)]),
            "its class token and its patches have no learned positions",
        ),
        (whole("name = \"vilt_b32\"\ndepth = 3", &[("image", &image)]), "model.depth is 3"),
        (whole("name = \"pali_tiny\"", &[("tower", &image)]), "has a class token or registers"),
        (whole("name = \"pali_tiny\"", &[("text", &image)]), "it is no model of texts"),
        (whole("name = \"pali_tiny\"\npatch_size = 4", &[("tower", &tower)]), "model.patch_size is 4"),
        (vit("[model.parts]\ntower = \"demo\""), "no such parts"),
        (whole("name = \"pali_tiny\"\nnum_classes = 30", &[("tower", &tower)]), "model.num_classes is given"),
    ] {
        let error =
            Start::open(common::parsed(&text, &[]), &Device::flex()).expect_err("refused").to_string();
        assert!(error.contains(said) && !error.contains('\n'), "{said}: {error}");
    }
}

/// Heads that are wider than channels over heads, as those of T5 1.1 small: what is loaded for fine-tuning is all there.
#[test]
fn fine_tuning_begins_with_every_weight_of_a_language_model_with_wide_heads() {
    let Some(folder) = common::material("text/pali") else { return };
    let dir = tempfile::tempdir().expect("a folder");
    list(dir.path(), 8);
    let text = format!(
        "merge = \"none\"\n[model]\nname = \"local-dir:{}\"\nweights = \"pretrained\"\n[data]\ntrain = \"questions:8\"\n\
         val = {:?}\n[schedule]\nlr = 1e-3\n[train]\nepochs = 1\nbatch_size = 8\nfrozen = [\"tower\", \"text\"]\n",
        folder.display(),
        dir.path().join("list")
    );
    let run = dir.path().join("run");
    Trainer::new(common::start(common::parsed(&text, &[])), &run)
        .expect("a run")
        .run(&mut ())
        .expect("trained");
    let given = opened(&folder);
    let trained = opened(&run);
    let (given, trained) =
        [&given, &trained].map(|model| tokmerge_nn::parameters::read(model.network())).into();
    let mut compared = 0;
    // The recipe merges nothing, and a method's weights are left behind.
    let is_frozen = |path: &str| path.starts_with("tower.") || path.starts_with("text.");
    for (path, values) in given.iter().filter(|(path, _)| is_frozen(path)) {
        assert_eq!(Some(values), trained.get(path), "{path}");
        compared += 1;
    }
    assert!(compared > 40, "{compared}");
}
