//! The model that comes with the program.

use crate::common::{Desk, assert_keys, number};

#[test]
fn merging_is_seen_without_any_files() {
    let desk = Desk::new();
    let demo = desk.run("demo").ok();
    assert!(demo.err.contains("demo.png") && demo.err.contains("never seen in training"), "{}", demo.err);
    let picture = image::open(desk.path("demo.png")).expect("a picture").into_rgb8();
    // Three pairs of 192 pixels and four rows.
    assert_eq!(picture.dimensions(), (3 * (2 * 192 + 2) + 2 * 8, 4 * 192 + 3 * 8));

    let lines =
        desk.run("demo --merge none --merge tome:r=12 --merge atm:alpha=0.9,beta=0.0,min=0.9 --json").ok();
    let lines = lines.json();
    assert_eq!(lines.len(), 3);
    for line in &lines {
        assert_keys(line, &["merge", "correct", "tokens", "gmacs", "ms", "pictures"]);
        assert!(number(line, "correct") >= 10.0, "{line}");
        assert_eq!(line["pictures"].as_array().map(Vec::len), Some(12));
    }
    assert_eq!(lines[0]["tokens"], serde_json::json!(vec![145.0; 8]));
    assert_eq!(lines[1]["tokens"][7], 145.0 - 8.0 * 12.0);
    assert!(number(&lines[1], "gmacs") < 0.7 * number(&lines[0], "gmacs"));
    // Every image its own number.
    assert!(lines[2]["tokens"][7].as_f64().is_some_and(|tokens| tokens < 145.0), "{}", lines[2]);
}

#[test]
fn mistakes_in_demo_are_told() {
    let desk = Desk::new();
    desk.run("demo -o demo.svg").fails(&["demo.svg", "*.png"]);
    desk.run("demo -o nowhere/demo.png").fails(&["cannot write nowhere/demo.png"]);
    desk.run("demo --merge tome:r=x").fails(&["r=x is not allowed"]);
    let none = desk.run("demo --merge none").ok();
    assert!(none.err.contains("no picture is drawn"), "{}", none.err);
    assert!(!desk.path("demo.png").exists());
}

#[test]
fn the_model_that_comes_along_is_used_where_none_is_named() {
    let desk = Desk::new();
    desk.run("scenes pictures --images 480").ok();
    let star =
        std::fs::read_dir(desk.path("pictures/star")).expect("stars").next().expect("one").expect("one");
    let path = star.path();
    let classified = desk.run(&format!("classify {} --merge tome:r=12", path.display())).ok();
    assert!(classified.out.contains("star") && classified.err.contains("no --model is given"));
    desk.run(&format!("viz {} --merge tome:r=12 -o star.svg", path.display())).ok();
    assert!(desk.path("star.svg").is_file());
    desk.run("classify star.png --weights W.safetensors").misused(&["--model is required"]);

    // As measured on other pictures, but for what chance does to 480.
    let eval = desk.run("eval pictures --model demo --merge none --merge tome:r=8 --json").ok();
    let [none, merged] = &eval.json()[..] else { panic!("two lines") };
    assert!(number(none, "top1") >= 90.0, "{none}");
    assert!(number(merged, "agreement") >= 90.0, "{merged}");
}

/// As docs/training.md says, with the model that needs no download.
#[test]
fn the_model_that_comes_along_learns_two_other_classes() {
    let desk = Desk::new();
    desk.run("scenes all --images 720").ok();
    for (class, name) in [("star", "cats"), ("heart", "dogs")] {
        std::fs::create_dir_all(desk.path("photos")).expect("a folder");
        std::fs::rename(desk.path(&format!("all/{class}")), desk.path(&format!("photos/{name}")))
            .expect("moved");
    }
    desk.write(
        "my.toml",
        "merge = \"tome:r=12\"\n[model]\nname = \"demo\"\nweights = \"pretrained\"\n[data]\ntrain = \"photos\"\nsplit = 0.2\n\
         [schedule]\nlr = 3e-4\n[train]\nepochs = 3\nbatch_size = 8\n",
    );
    desk.run("finetune my.toml -o mine").ok();
    let eval = desk.run("eval photos --model local-dir:mine --merge none --merge tome:r=12 --json").ok();
    for line in eval.json() {
        assert!(number(&line, "top1") >= 85.0, "{line}");
    }
}
