//! `tokmerge models` and `tokmerge methods`.

use crate::common::{Desk, assert_keys};

#[test]
fn models_are_listed_with_size_and_cost() {
    let run = Desk::new().run("models").ok();
    let row = run.out.lines().find(|line| line.starts_with("deit_base_patch16_224 ")).expect("DeiT-B");
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells, ["deit_base_patch16_224", "86.6", "17.58", "197", "fb_in1k"]);
    for family in ["vit_", "deit_", "deit3_"] {
        assert!(run.out.lines().any(|line| line.starts_with(family)), "{family}");
    }
}

#[test]
fn patterns_choose() {
    let desk = Desk::new();
    let names = |pattern: &str| -> Vec<String> {
        let found = desk.run(&format!("models {pattern} --json")).ok().json();
        found.iter().map(|model| model["model"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names("deit_tiny_patch"), ["deit_tiny_patch16_224"]);
    assert!(names("*_384").iter().all(|name| name.ends_with("_384")) && names("*_384").len() > 5);
    assert_eq!(names("vit_tiny*4"), ["vit_tiny_patch16_224", "vit_tiny_patch16_384"]);
    desk.run("models resnet").fails(&["no model matches 'resnet'"]);
    desk.run("methods nothing").fails(&["no method matches 'nothing'"]);
}

#[test]
fn models_as_json() {
    for model in Desk::new().run("models --json").ok().json() {
        assert_keys(&model, &["model", "tag", "params", "img_size", "tokens", "gmacs", "convention"]);
    }
}

#[test]
fn methods_are_listed_with_their_options() {
    let run = Desk::new().run("methods").ok();
    for fragment in ["none:", "tome:", "arXiv:2210.09461", "--merge tome:r=8", "inflect", "prop_attn", "seed"]
    {
        assert!(run.out.contains(fragment), "{fragment} in {}", run.out);
    }
    let only = Desk::new().run("methods tome").ok();
    assert!(only.out.starts_with("tome:"), "{}", only.out);
}

/// Whoever reads the list can use what it says.
#[test]
fn examples_and_options_of_methods_are_understood() {
    let desk = Desk::new();
    for method in desk.run("methods --json").ok().json() {
        assert_keys(&method, &["method", "summary", "source", "example", "options"]);
        let example = method["example"].as_str().expect("a spec");
        // Somebody must have asked something.
        let plain = if method["method"] == "pumer" { "vilt_b32" } else { "vit_tiny_patch16_224" };
        desk.run(&format!("info {plain} --merge {example}")).ok();
        for option in method["options"].as_array().expect("a list") {
            assert_keys(option, &["name", "values", "help"]);
            let [name, values] = ["name", "values"].map(|key| option[key].as_str().expect("text"));
            // The only options that belong to a value of another one.
            let base = match name {
                "iterations" if method["method"] == "tome" => format!("{example},matcher=kmeans"),
                "unmerge" => format!("{example},feature=x_pre"),
                "pool" if method["method"] == "tokenlearner" => format!("{example}:form=v1"),
                _ => example.to_owned(),
            };
            // Values that are sentences are no values.
            for value in values.split(", ").filter(|value| !value.contains(' ')) {
                let of_texts = ["protect", "positions"].contains(&name);
                let model = if of_texts { "t5_v1_1_small" } else { plain };
                // What weights mix stands nowhere unless it is counted.
                let mixed = ["patchmerger", "tokenlearner", "trainable_pooling"];
                let nowhere = mixed.iter().any(|mixed| method["method"] == *mixed);
                let counted =
                    if of_texts && nowhere && name != "positions" { ",positions=shrunk" } else { "" };
                if nowhere && value == "rescaled" {
                    continue;
                }
                // Said in place of what the example says.
                let base = match base.contains(':') {
                    _ if name == "schedule" => "diffrate:".to_owned(),
                    true => format!("{base},"),
                    false => format!("{base}:"),
                };
                desk.run(&format!("info {model} --merge {base}{name}={value}{counted}")).ok();
            }
        }
    }
}

/// `tokmerge models | head -1`
#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::process::{Command, Stdio};
    let binary = assert_cmd::cargo::cargo_bin!("tokmerge");
    let mut child = Command::new(binary)
        .arg("models")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a start");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
