//! What recipes say when they are wrong, and that those that ship are right.

use std::path::Path;
use tokmerge_train::Recipe;

const PLAIN: &str = r#"
    [model]
    name = "vit_small_patch16_224"
    [data]
    train = "images"
    split = 0.1
    [schedule]
    lr = 1e-3
    [train]
    epochs = 10
"#;

fn refused(changes: &[&str]) -> String {
    let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
    match Recipe::parse(PLAIN, "recipe.toml", &changes) {
        Ok(_) => panic!("{changes:?} was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_recipe_is_short_and_its_defaults_can_be_read() {
    let recipe = Recipe::parse(PLAIN, "recipe.toml", &[]).unwrap();
    assert_eq!(
        (recipe.merge.as_str(), recipe.train.batch_size, recipe.schedule.layer_decay),
        ("none", 32, 1.0)
    );
    let written = recipe.to_toml();
    assert_eq!(Recipe::parse(&written, "again", &[]).unwrap(), recipe, "{written}");
    assert!(written.contains("weight_decay = 0.05"), "{written}");
}

#[test]
fn values_can_be_set_with_and_without_quotes() {
    let set = ["merge=tome:r=13", "train.ema=0.999", "optimizer.name=sgd", "schedule.lr_batch=512"];
    let set: Vec<String> = set.iter().map(|change| (*change).to_owned()).collect();
    let recipe = Recipe::parse(PLAIN, "recipe.toml", &set).unwrap();
    assert_eq!((recipe.merge.as_str(), recipe.train.ema), ("tome:r=13", Some(0.999)));
    assert!((recipe.peak_lr() - 1e-3 * 32.0 / 512.0).abs() < 1e-12);
    assert_eq!(recipe.validate_specs(), ["none", "tome:r=13"]);
}

#[test]
fn routing_can_be_set_in_part_and_is_written_whole() {
    let set = |changes: &[&str]| {
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        Recipe::parse(PLAIN, "recipe.toml", &changes).unwrap_or_else(|error| panic!("{error}"))
    };
    let recipe = set(&["routing.importance=0.1", "routing.places=capacity=1.5,group=16,order=gate"]);
    let written = recipe.to_toml();
    for line in
        ["[routing]", "places = \"capacity=1.5,group=16,order=gate\"", "noise = 1.0", "importance = 0.1"]
    {
        assert!(written.contains(line), "{line}: {written}");
    }
    assert_eq!(Recipe::parse(&written, "again", &[]).unwrap(), recipe);
    // What a recipe says nothing of is V-MoE's.
    assert_eq!(set(&["routing.noise=1.0"]).differences(&set(&[])), []);
    let (key, here, there) = &set(&["routing.load=0.1"]).differences(&set(&[]))[0];
    assert_eq!((key.as_str(), here.as_str(), there.as_str()), ("routing.load", "0.1", "0.005"));
}

#[test]
fn every_refusal_names_key_value_and_rule() {
    for (changes, expected) in [
        (&["train.epochs=0"][..], "train.epochs is 0: it must be from 1"),
        (&["schedule.lr=-1.0"], "schedule.lr is -1: it must be above 0"),
        (&["schedule.min_lr=1.0"], "schedule.min_lr is 1"),
        (&["schedule.warmup_epochs=11.0"], "must not be above train.epochs, 10"),
        (&["schedule.layer_decay=1.5"], "schedule.layer_decay is 1.5"),
        (
            &["merge=stm:p=2,layer=2", "schedule.backbone_scale=0.0"],
            "backbone_scale is 0: it must be above 0",
        ),
        (&["schedule.backbone_scale=0.1"], "merge = \"none\" has no weights of its own"),
        (
            &["schedule.backbone_start_epoch=5.0"],
            "backbone_start_epoch is 5: merge = \"none\" has no weights",
        ),
        (
            &["merge=dynamicvit:keep=70%", "schedule.backbone_start_epoch=10.0"],
            "schedule.backbone_start_epoch is 10: it must be below train.epochs, 10",
        ),
        (&["train.class_head=1.0"], "train.class_head is 1: it is the part of the loss"),
        (
            &["train.class_head=0.5", "model.weights=a", "lora.rank=8"],
            "train.class_head is 0.5: with the section lora only what it names is trained",
        ),
        (
            &["schedule.merge_before=tome:r=2"],
            "schedule.merge_before is \"tome:r=2\": it is for the epochs before schedule.merge_start_epoch",
        ),
        (
            &["schedule.merge_before=stm:p=2,layer=2", "schedule.merge_start_epoch=2.0"],
            "schedule.merge_before is \"stm:p=2,layer=2\": it has weights",
        ),
        (
            &[
                "merge=tome:r=2",
                "schedule.merge_before=tome:r=1",
                "schedule.merge_start_epoch=2.0",
                "schedule.merge_rise_epochs=2.0",
            ],
            "with schedule.merge_rise_epochs merging rises from nothing",
        ),
        (
            &["merge=stm:p=2,layer=2", "schedule.merge_before=tome:r=1", "schedule.merge_start_epoch=2.0"],
            "merge = \"stm:p=2,layer=2\" has weights of its own, which would learn nothing",
        ),
        (&["train.replicas=0"], "train.replicas is 0: it must be from 1"),
        (&["train.recompute=layers"], "expected 'nothing' or 'blocks'"),
        (&["distill.weight=1.0"], "distill is given: the teacher is the model before training"),
        (&["distill.weight=0.0"], "distill.weight is 0: it is the teacher's part of the target"),
        (&["distill.answers=-0.5"], "distill.answers is -0.5: it must be 0 or more"),
        (
            &["distill.weight=0.5", "distill.answers=0.5"],
            "distill.answers is 0.5: distill.weight says it too",
        ),
        (&["distill.tokens=0.5"], "distill.tokens is 0.5: merge = \"none\" does not mask patches"),
        (
            &["merge=ltmp:target=60%", "distill.tokens=0.5"],
            "distill.tokens is 0.5: merge = \"ltmp:target=60%\" does not mask patches",
        ),
        (
            &["merge=dynamicvit:keep=70%", "distill.tokens=0.5", "distill.merge=tome:r=2"],
            "distill.merge is \"tome:r=2\": the same tokens are wanted of the teacher",
        ),
        (&["distill.embedding=500.0"], "distill is given: the teacher is the model before training"),
        (&["distill.merge=tomb:r=1"], "distill.merge is \"tomb:r=1\""),
        (&["lora.rank=8"], "lora is given: additions to random weights"),
        (&["lora.rank=0"], "lora.rank is 0: it must be from 1"),
        (&["lora.rank=8", "lora.targets=[]"], "lora.targets is []: name at least one"),
        (&["routing.noise=-1"], "routing.noise is -1: it must be 0 or more"),
        (&["routing.importance=inf"], "routing.importance is inf: it must be 0 or more"),
        (&["routing.load=nan"], "routing.load is NaN: it must be 0 or more"),
        (&["routing.noise=0.0"], "routing.load is 0.005: without noise nobody can say"),
        (
            &["routing.places=capacity=0"],
            "routing.places is \"capacity=0\": capacity is 0, and it must be above 0",
        ),
        (&["routing.weight=1.0"], "unknown field 'weight'"),
        (&["merge=tomme:r=3"], "merge is \"tomme:r=3\""),
        (&["train.validate=[]"], "train.validate is []"),
        (&["train.ema=1.0"], "train.ema is 1"),
        (&["train.seed=18446744073709551615"], "go from -9223372036854775808 to 9223372036854775807"),
        (&["train.epoks=3"], "unknown field 'epoks'"),
        (&["optimizer.name=lion"], "unknown variant 'lion'"),
        (&["optimizer.name=sgd", "optimizer.betas=[0.9,0.99]"], "unknown field 'betas'"),
        (&["data.val=elsewhere"], "data.split is 0.1: data.val is given too"),
        (&["model.weights=a.safetensors", "model.depth=3"], "model.depth is 3"),
        (&["consistency.merge=[]"], "consistency.merge is []: give at least one"),
        (
            &["consistency.merge=[\"none\", \"stm:p=2,layer=2\"]"],
            "consistency.merge is \"stm:p=2,layer=2\": it has weights",
        ),
        (
            &["consistency.merge=[\"none\"]", "consistency.above=1.0"],
            "consistency.above is 1: it is a probability",
        ),
        (
            &["consistency.merge=[\"none\"]", "train.recompute=blocks"],
            "train.recompute is blocks: of two passes",
        ),
        (&["train.random_merge=[\"tome:r=2\"]"], "merge is \"none\": the trained model says"),
        (&["train.random_merge=[\"none\", \"tomb:r=2\"]"], "train.random_merge is \"tomb:r=2\""),
        (
            &["merge=ltmp:target=60%", "train.random_merge=[\"ltmp:target=60%\"]"],
            "train.random_merge is \"ltmp:target=60%\": it has weights",
        ),
        (&["schedule.merge_rise_epochs=2.0"], "merge = \"none\" is not known in parts"),
        (
            &["merge=evit:keep=70%", "schedule.merge_start_epoch=6.0", "schedule.merge_rise_epochs=5.0"],
            "schedule.merge_rise_epochs is 5: with the start it must not be above train.epochs, 10",
        ),
        (
            &["merge=tome:r=2", "schedule.merge_start_epoch=1.0", "train.random_merge=[\"tome:r=2\"]"],
            "leave one of them out",
        ),
        (&["nonsense"], "`set` nonsense: it must be KEY=VALUE"),
        (&["train=3"], "train"),
    ] {
        let error = refused(changes);
        assert!(error.contains(expected), "{changes:?}: {error}");
    }
}

#[test]
fn a_mistake_in_the_file_names_its_line() {
    let error = Recipe::parse("[model]\nnaame = \"vit\"\n", "my.toml", &[]).unwrap_err().to_string();
    assert!(error.contains("my.toml") && error.contains("line 2") && error.contains("naame"), "{error}");
}

#[test]
fn the_recipes_that_ship_are_understood() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            Recipe::open(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
            count += 1;
        }
    }
    assert!(count >= 5);
}

#[test]
fn settings_of_the_optimiser_alone_are_those_of_adamw() {
    let base = "[data]\ntrain = \"x\"\nsplit = 0.1\n[schedule]\nlr = 1e-3\n[train]\nepochs = 1\nbatch_size = 8\n[model]\nname = \"vit_tiny_patch16_224\"\n";
    let read = |text: &str, set: &[String]| {
        Recipe::parse(text, "a test", set).unwrap_or_else(|error| panic!("{error}"))
    };
    let named = read(&format!("{base}[optimizer]\nname = \"adamw\"\nweight_decay = 0.1\n"), &[]);
    let nameless = read(&format!("{base}[optimizer]\nweight_decay = 0.1\n"), &[]);
    let set = read(base, &["optimizer.weight_decay=0.1".to_owned()]);
    assert_eq!(nameless, named);
    assert_eq!(set, named);
}

#[test]
fn a_mistake_stays_one_short_line_whatever_the_length_of_the_file() {
    let long = "x".repeat(1 << 20);
    for text in [
        format!("[model]\n{long} = 1\n"),
        format!("[model]\nname = 1 {long}"),
        format!("merge = \"{long}\"\n{PLAIN}"),
        format!("merge = \"tome:r=\\u001b[31m\"\n{PLAIN}"),
        PLAIN.replace("split = 0.1", &format!("split = \"{long}\"")),
        PLAIN.replace("vit_small_patch16_224", &long).replace("[data]", "weights = \"a\"\ndepth = 3\n[data]"),
    ] {
        let message = Recipe::parse(&text, "my.toml", &[]).unwrap_err().to_string();
        assert!(message.len() < 2000 && !message.contains(char::is_control), "{message}");
    }
}
