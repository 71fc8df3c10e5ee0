//! A folder with a timm `config.json` and weights, written by the tests.

use crate::common::Desk;
use crate::common::files::{Tensors, safetensors, tiny_config, tiny_tensors};
use serde_json::json;

fn desk(tensors: &Tensors) -> Desk {
    let desk = Desk::new();
    desk.model("tiny", tensors);
    desk.draw("a.png", 48, 40);
    desk
}

const CLASSIFY: &str = "classify a.png --model local-dir:tiny --json";

#[test]
fn its_labels_are_shown() {
    let result = desk(&tiny_tensors()).run(CLASSIFY).ok().one_json();
    assert_eq!(result["tokens"], json!([17, 17]));
    let top = result["top"].as_array().expect("a list");
    assert_eq!(top.len(), 5);
    for ranked in top {
        let index = ranked["index"].as_u64().expect("an index") as usize;
        assert_eq!(ranked["label"], ["ant", "bee", "cat", "dog", "eel"][index]);
    }
}

#[test]
fn every_run_predicts_the_same() {
    let desk = desk(&tiny_tensors());
    let top = |options: &str| desk.run(&format!("{CLASSIFY} {options}")).ok().one_json()["top"].clone();
    assert_eq!(top(""), top(""));
    assert_eq!(top("--threads 1"), top("--threads 2"));
    assert_eq!(top("--threads 1"), top("--pin"));
    assert_ne!(top(""), top("--merge tome:r=6"));
}

#[test]
fn other_weights_may_be_given() {
    let desk = desk(&tiny_tensors());
    // In another order the same names have other values.
    let other: Tensors = tiny_tensors().into_iter().rev().collect();
    desk.model("other", &other);
    desk.write("other.safetensors", safetensors(&other));
    let top = |command: &str| desk.run(command).ok().one_json()["top"].clone();
    let given = top(&format!("{CLASSIFY} --weights other.safetensors"));
    assert_eq!(given, top(&CLASSIFY.replace("tiny", "other")));
    assert_ne!(given, top(CLASSIFY));
}

#[test]
fn a_folder_without_weights_says_what_was_looked_for() {
    let desk = desk(&tiny_tensors());
    std::fs::remove_file(desk.path("tiny/model.safetensors")).expect("removed");
    desk.run(CLASSIFY).fails(&["tiny: no weights found", "model.safetensors"]);
}

#[test]
fn a_larger_image_interpolates_positions() {
    let desk = desk(&tiny_tensors());
    let result = desk.run(&format!("{CLASSIFY} --img-size 48x64")).ok().one_json();
    assert_eq!(result["tokens"], json!([49, 49]));
}

#[test]
fn a_missing_tensor_is_named() {
    let mut tensors = tiny_tensors();
    tensors.retain(|(name, _)| name != "blocks.1.attn.proj.bias");
    desk(&tensors).run(CLASSIFY).fails(&["1 missing: blocks.1.attn.proj.bias", "model.safetensors"]);
}

#[test]
fn a_misspelt_tensor_is_named_with_what_the_file_has() {
    let mut tensors = tiny_tensors();
    let (name, _) = tensors.iter_mut().find(|(name, _)| name == "blocks.0.mlp.fc1.weight").expect("a layer");
    *name = "blocks.0.mlp.fcl.weight".to_owned();
    desk(&tensors).run(CLASSIFY).fails(&[
        "1 missing: blocks.0.mlp.fc1.weight (the file has blocks.0.mlp.fcl.weight)",
        "1 not used: blocks.0.mlp.fcl.weight",
    ]);
}

#[test]
fn a_tensor_that_nobody_asked_for_is_refused() {
    let mut tensors = tiny_tensors();
    tensors.push(("blocks.2.norm1.weight".to_owned(), vec![32]));
    desk(&tensors).run(CLASSIFY).fails(&["1 not used: blocks.2.norm1.weight"]);
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both() {
    let mut tensors = tiny_tensors();
    let (_, shape) = tensors.iter_mut().find(|(name, _)| name == "norm.weight").expect("a layer");
    *shape = vec![16];
    desk(&tensors).run(CLASSIFY).fails(&["norm.weight is [16], the model has [32]"]);
}

#[test]
fn a_config_that_is_not_understood_is_refused() {
    let desk = desk(&tiny_tensors());
    let mut no_class_token = tiny_config();
    no_class_token["model_args"]["class_token"] = json!(false);
    let mut unknown = tiny_config();
    unknown["model_args"]["window_size"] = json!(7);
    let mut architecture = tiny_config();
    architecture["architecture"] = json!("swin_tiny_patch4_window7_224");
    let mut heads = tiny_config();
    heads["model_args"]["num_heads"] = json!(5);
    for (config, fragment) in [
        (no_class_token.to_string(), "class token"),
        (unknown.to_string(), "window_size"),
        (architecture.to_string(), "swin_tiny_patch4_window7_224"),
        (heads.to_string(), "embed_dim is 32, and its channels cannot be divided among 5 heads"),
        ("[]".to_owned(), "config.json"),
        ("{\"architecture\": \n\n oops".to_owned(), "config.json"),
        (String::new(), "config.json"),
    ] {
        desk.write("tiny/config.json", config);
        desk.run(CLASSIFY).fails(&["tiny/config.json", fragment]);
        desk.run("info local-dir:tiny").fails(&["tiny/config.json", fragment]);
    }
}

#[test]
fn two_candidates_for_the_weights_are_not_guessed_between() {
    let desk = desk(&tiny_tensors());
    std::fs::remove_file(desk.path("tiny/model.safetensors")).expect("removed");
    desk.write("tiny/one.safetensors", safetensors(&tiny_tensors()));
    desk.run(CLASSIFY).ok();
    desk.write("tiny/two.safetensors", safetensors(&tiny_tensors()));
    desk.run(CLASSIFY).fails(&["one.safetensors", "two.safetensors"]);
}
