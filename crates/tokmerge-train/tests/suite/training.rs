//! Runs as a user starts them: they learn, stop where they must, and leave a model behind.

use crate::common::{begin, bytes, recipe, start, stripes};
use burn::tensor::Device;
use std::path::Path;
use tokmerge_merge::Method;
use tokmerge_models::{Model, ModelOptions, Pass};
use tokmerge_nn::parameters::read;
use tokmerge_train::{Event, Observer, Recipe, Start, Trainer};

#[test]
fn a_small_model_learns_with_merging_and_is_left_as_a_model() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 40);
    let recipe =
        recipe(dir.path(), &["train.epochs=12", "schedule.lr=3e-3", "regularisation.label_smoothing=0.1"]);
    let run = dir.path().join("run");
    let summary = begin(&recipe, &run).run(&mut ()).unwrap();
    let validation = &summary.validations[0];
    assert_eq!(validation.accuracies[0].images, 20);
    assert!(validation.score() >= 90.0, "{validation:?}");
    assert!(validation.accuracies[2].mean_tokens < validation.accuracies[0].mean_tokens);
    for folder in [run.clone(), run.join("best"), summary.best.unwrap().2] {
        let options = ModelOptions::new(format!("local-dir:{}", folder.display()));
        let model = Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((model.classes(), model.config().shape().img_size()), (2, (32, 32)));
        assert_eq!(model.class_names(), ["falling", "rising"]);
        assert_eq!(model.preprocess().expect("of images").crop_pct, 1.0);
    }
}

#[test]
fn a_model_with_experts_learns_behind_a_merger_and_is_left_as_a_model() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 40);
    let changes = [
        "model.name=\"vmoe_small_patch32_e4_224\"",
        "model.depth=4",
        "merge=\"patchmerger:m=6\"",
        "train.validate=[\"patchmerger:m=6\"]",
        "train.epochs=40",
        "schedule.lr=3e-3",
    ];
    let run = dir.path().join("run");
    let summary = begin(&recipe(dir.path(), &changes), &run).run(&mut ()).unwrap();
    assert!(summary.validations[0].score() >= 90.0, "{:?}", summary.validations);
    let options = ModelOptions::new(format!("local-dir:{}", run.display()));
    let model = Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"));
    let experts = model.config().experts().expect("experts");
    assert_eq!((experts.experts, experts.placement.blocks(4)), (4, vec![1, 3]));
    assert_eq!(model.trained_with().to_string(), "patchmerger:m=6");
}

#[test]
fn the_same_recipe_gives_the_same_weights_and_another_seed_others() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 16);
    let weights = |name: &str, changes: &[&str]| {
        let run = dir.path().join(name);
        begin(&recipe(dir.path(), &[&["train.epochs=1"], changes].concat()), &run).run(&mut ()).unwrap();
        bytes(run.join("model.safetensors"))
    };
    let first = weights("a", &[]);
    assert!(first == weights("b", &["data.workers=3"]));
    assert!(first != weights("c", &["train.seed=1"]));
}

#[test]
fn fine_tuning_begins_with_what_the_weights_can_and_a_new_head_for_other_classes() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 40);
    let first = dir.path().join("first");
    let learned =
        begin(&recipe(dir.path(), &["train.epochs=12", "schedule.lr=3e-3"]), &first).run(&mut ()).unwrap();
    let text = format!(
        "model = {{ name = \"local-dir:{}\", weights = \"pretrained\" }}\n[data]\ntrain = \"{}\"\nsplit = 0.25\n[schedule]\nlr = 1e-5\n[train]\nepochs = 1\nbatch_size = 8\n",
        first.display(),
        dir.path().join("images").display()
    );
    let same = Recipe::parse(&text, "a test", &[]).unwrap();
    #[derive(Default)]
    struct First(Option<(usize, f64)>);
    impl Observer for First {
        fn event(&mut self, event: Event<'_>) {
            if let Event::Validated(validation) = event {
                self.0.get_or_insert((validation.step, validation.score()));
            }
        }
    }
    let mut seen = First::default();
    begin(&same, &dir.path().join("second")).run(&mut seen).unwrap();
    let (step, top1) = seen.0.unwrap();
    assert_eq!(
        (step, top1),
        (0, learned.validations[0].score()),
        "before the first step it knows what it learned"
    );
    assert!(top1 >= 80.0, "{top1}");
    let images = dir.path().join("images");
    std::fs::create_dir(images.join("third")).unwrap();
    for number in 0..8 {
        let name = format!("{number:03}.png");
        std::fs::rename(images.join("rising").join(&name), images.join("third").join(&name)).unwrap();
    }
    let other = start(Recipe::parse(&text, "a test", &[]).unwrap());
    assert_eq!(other.architecture().config.shape().classes, 3);
}

#[test]
fn fine_tuning_keeps_the_mergers_that_the_weights_were_trained_with() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 16);
    for merge in [
        "patchmerger:m=6,layer=1",
        "stm:p=2,layer=1",
        "dynamicvit:keep=50%,layer=2",
        "ltmp:target=60%",
        "diffrate:target=60%",
        "sp_vit:keep=50%,layer=2,head_dim=8",
        "ia_red2:layer=2",
    ] {
        let (first, second) =
            (dir.path().join(format!("first {merge}")), dir.path().join(format!("then {merge}")));
        let merges = [format!("merge=\"{merge}\""), format!("train.validate=[\"{merge}\"]")];
        let merges = merges.each_ref().map(String::as_str);
        begin(&recipe(dir.path(), &[&["train.epochs=2", "schedule.lr=3e-3"], &merges[..]].concat()), &first)
            .run(&mut ())
            .unwrap();
        let text = format!(
            "model = {{ name = \"local-dir:{}\", weights = \"pretrained\" }}\n[data]\ntrain = \"{}\"\nsplit = 0.25\n[schedule]\nlr = 1e-5\n[train]\nepochs = 0\nbatch_size = 8\n",
            first.display(),
            dir.path().join("images").display()
        );
        let none = Recipe::parse(&text, "a test", &merges.map(str::to_owned)).unwrap();
        begin(&none, &second).run(&mut ()).unwrap();
        let open = |dir: &Path| {
            let options = ModelOptions::new(format!("local-dir:{}", dir.display()));
            Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"))
        };
        let trained = open(&first);
        let logits = |model: &Model| {
            let reduction = model.bind(&merge.parse().unwrap()).unwrap();
            let images = model.input().random(3, 7);
            model.run(images, Pass::head(&reduction)).logits.into_data().try_to_vec::<f32>().unwrap()
        };
        assert_eq!(open(&second).trained_with().to_string(), merge);
        assert_eq!(logits(&open(&second)), logits(&trained), "{merge}: no step, no change");
        let device = trained.device();
        let bare = trained.network().clone().with_fresh_mergers(&Method::None, device);
        let drawn = bare.with_fresh_mergers(&merge.parse().unwrap(), device);
        let mergers = read(trained.network().mergers());
        assert!(mergers != read(drawn.mergers()), "{merge}: its mergers have learned");
    }
}

/// The loss of kept parts alone moves the predictors: with it they come to keep about as many as they are to.
#[test]
fn predictors_learn_while_all_tokens_stay() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 24);
    let losses = |name: &str, merge: &str| -> Vec<f64> {
        let run = dir.path().join(name);
        let merge = format!("merge={merge}");
        let set = ["train.epochs=16", "schedule.lr=3e-2", "schedule.backbone_scale=0.1"];
        let changes = [&set[..], &[merge.as_str(), "train.validate=[\"none\"]"]].concat();
        begin(&recipe(dir.path(), &changes), &run).run(&mut ()).unwrap_or_else(|error| panic!("{error}"));
        let rows = crate::common::rows(run.join("steps.csv"), 4);
        rows[1..].iter().map(|row| row[3].parse().expect("a loss")).collect()
    };
    // Undecided predictors keep half of 16 patches: a tenth is far from that, 2 (0.5 - 0.1)² = 0.32 of loss.
    let (few, half) =
        (losses("few", "dynamicvit:keep=10%,layer=2"), losses("half", "dynamicvit:keep=50%,layer=2"));
    assert!(few[0] > half[0] + 0.15, "{} {}", few[0], half[0]);
    let mean = |losses: &[f64]| losses[losses.len() - 4..].iter().sum::<f64>() / 4.0;
    assert!(mean(&few) < few[0] - 0.15, "{few:?}");
}

/// Patches stop by what the model itself has learned to say, and it learns its task meanwhile.
#[test]
fn a_model_learns_while_its_patches_learn_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 40);
    let merge = "a_vit:gamma=2,beta=3";
    let merges = [format!("merge=\"{merge}\""), format!("train.validate=[\"{merge}\"]")];
    let set = ["model.depth=4", "train.epochs=16", "schedule.lr=3e-3"];
    let run = dir.path().join("run");
    let changes = [&set[..], &merges.each_ref().map(String::as_str)[..]].concat();
    let summary = begin(&recipe(dir.path(), &changes), &run).run(&mut ()).unwrap();
    let [learned] = &summary.validations[0].accuracies[..] else { panic!("one way of merging") };
    assert!(summary.validations[0].score() >= 90.0 && learned.mean_tokens < 17.0, "{learned:?}");
    let options = ModelOptions::new(format!("local-dir:{}", run.display()));
    let model = Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(model.trained_with().to_string(), merge);
    let again = Recipe::parse(
        &format!(
            "merge = \"{merge}\"\n[model]\nname = \"vit_tiny_patch16_224\"\n[data]\ntrain = \"x\"\nsplit = 0.1\n[schedule]\nlr = 1e-3\nbackbone_scale = 0.1\n[train]\nepochs = 1\nbatch_size = 8\n"
        ),
        "a test",
        &[],
    );
    let error = again.expect_err("it has no weights of its own").to_string();
    assert!(error.contains("has no weights of its own, which alone would learn faster"), "{error}");
}

/// Rewards alone move the interpreters: right answers with few patches earn most, so that they come to keep few.
#[test]
fn interpreters_learn_by_rewards_to_keep_few_patches() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 40);
    let tokens = |name: &str, epochs: &str| {
        let set = ["schedule.lr=1e-2", "schedule.backbone_scale=0.3", "merge=\"ia_red2:layer=2\""];
        let changes = [&set[..], &[epochs, "train.validate=[\"ia_red2:layer=2\"]"]].concat();
        let summary = begin(&recipe(dir.path(), &changes), &dir.path().join(name)).run(&mut ()).unwrap();
        let validation = &summary.validations[0];
        (validation.accuracies[0].mean_tokens, validation.score())
    };
    let (first, learned) = (tokens("first", "train.epochs=1"), tokens("learned", "train.epochs=40"));
    assert!(learned.1 >= 90.0 && learned.0 < 0.7 * first.0, "{first:?} {learned:?}");
}

/// A model of MAE's shape is off the shelf until merging has been part of its training, also in its folder.
#[test]
fn mae_attends_in_proportion_to_sizes_once_it_is_trained_with_merging() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 16);
    for (merge, trained_with_merging) in [("none", false), ("tome:r=2", true)] {
        let run = dir.path().join(merge);
        let merge = format!("merge=\"{merge}\"");
        let changes =
            ["model.name=\"vit_base_patch16_224.mae_ft_in1k\"", "schedule.lr=3e-3", "train.epochs=2", &merge];
        begin(&recipe(dir.path(), &changes), &run).run(&mut ()).unwrap();
        let options = ModelOptions::new(format!("local-dir:{}", run.display()));
        let model = Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"));
        let logits = |spec: &str| {
            let reduction = model.bind(&spec.parse().unwrap()).unwrap();
            let images = model.input().random(3, 7);
            model.run(images, Pass::head(&reduction)).logits.into_data().try_to_vec::<f32>().unwrap()
        };
        let [auto, on, off] = ["tome:r=4", "tome:r=4,prop_attn=on", "tome:r=4,prop_attn=off"].map(logits);
        assert_ne!(on, off, "{merge}: the bias makes a difference");
        assert_eq!((auto == on, auto == off), (trained_with_merging, !trained_with_merging), "{merge}");
    }
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 16);
    let run = dir.path().join("run");
    let changes =
        ["schedule.lr=1e30", "schedule.warmup_epochs=1", "train.checkpoint_steps=1", "optimizer.name=sgd"];
    let error = match begin(&recipe(dir.path(), &changes), &run).run(&mut ()) {
        Ok(_) => panic!("went on"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("is not a number at step"), "{error}");
    assert!(error.contains("use a lower schedule.lr"), "{error}");
    // The first step of a warm-up changes nothing: its weights are numbers, and they are kept.
    assert!(error.contains("the last good checkpoint is") && error.contains("step-0000000"), "{error}");
    let newest = std::fs::read_dir(run.join("checkpoints"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .max()
        .unwrap();
    let options = ModelOptions::new(format!("local-dir:{}", newest.display()));
    Model::open(&options, &Device::flex()).unwrap();
}

#[test]
fn broken_images_are_told_once_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    stripes(&images, 24);
    for name in ["falling/003.png", "rising/011.png"] {
        std::fs::write(images.join(name), b"no picture").unwrap();
    }
    #[derive(Default)]
    struct Told(Vec<String>);
    impl Observer for Told {
        fn event(&mut self, event: Event<'_>) {
            if let Event::Unreadable(reason) | Event::LeftOut(reason) = event {
                self.0.push(reason.to_owned());
            }
        }
    }
    let mut told = Told::default();
    begin(&recipe(dir.path(), &[]), &dir.path().join("run")).run(&mut told).unwrap();
    told.0.sort();
    assert_eq!(told.0.len(), 2, "{:?}", told.0);
    assert!(told.0[0].contains("003.png") && told.0[1].contains("011.png"), "{:?}", told.0);
}

#[test]
fn what_cannot_be_written_says_where_and_why() {
    let dir = tempfile::tempdir().unwrap();
    stripes(&dir.path().join("images"), 16);
    let run = dir.path().join("run");
    let trainer = begin(&recipe(dir.path(), &[]), &run);
    // A file where the folder of checkpoints was.
    std::fs::remove_dir(run.join("checkpoints")).unwrap();
    std::fs::write(run.join("checkpoints"), b"").unwrap();
    let error = match trainer.run(&mut ()) {
        Ok(_) => panic!("wrote into a file"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("cannot write") && error.contains("checkpoints"), "{error}");
    assert!(error.contains("`resume`"), "{error}");
}

#[test]
fn images_and_recipe_must_go_together() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    stripes(&images, 16);
    let refused = |changes: &[&str]| match Start::open(recipe(dir.path(), changes), &Device::flex()) {
        Ok(start) => match Trainer::new(start, &dir.path().join("run")) {
            Ok(_) => panic!("{changes:?} was accepted"),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    assert!(refused(&["train.batch_size=64"]).contains("fewer than the 64 of one step"));
    assert!(refused(&["model.img_size=3"]).contains("patch"));
    assert!(refused(&["model.num_heads=7"]).contains("heads"));
    assert!(refused(&["model.num_classes=1"]).contains("model.num_classes is 1"));
    assert!(refused(&["data.train=/nowhere"]).contains("no such directory"));
    assert!(refused(&["data.split=0.001"]).contains("data.split"));
    let flat = format!("data.train={}", images.join("rising").display());
    assert!(refused(&[&flat]).contains("no class folders"));
    assert!(!dir.path().join("run").exists());
}
