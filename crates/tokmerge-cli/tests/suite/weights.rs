//! Weights that are missing, damaged, or of another model, and where they come from.

use crate::common::files::{safetensors, tiny_tensors};
use crate::common::{Desk, TINY, material, real_weights};

const BENCH: &str = "bench --model vit_tiny_patch16_224 --duration 0.1 --merge none";

#[test]
fn offline_the_message_says_what_to_do() {
    let desk = Desk::new();
    for command in
        [BENCH.to_owned(), "bench --model hf-hub:timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k".to_owned()]
    {
        desk.run(&command).fails(&[
            "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
            "HF_HUB_OFFLINE",
            "huggingface-cli download",
            "is not in the cache",
        ]);
    }
    // Nothing is fetched to describe a named model.
    desk.run("info vit_tiny_patch16_224").ok();
}

#[test]
fn sources_that_are_none_are_refused() {
    let desk = Desk::new();
    desk.run("bench --model hf-hub:../x").fails(&["`../x`", "org/name"]);
    desk.run("bench --model hf-hub:a/b@../x").fails(&["../x", "not a revision"]);
    desk.run("bench --model hub:a/b").fails(&["`hub`", "hf-hub:", "local-dir:"]);
    desk.run("bench --model ../weights").fails(&["../weights", "local-dir:PATH"]);
    desk.run_with(&["bench", "--model", ""]).fails(&["not a model name"]);
    desk.write("empty/readme.txt", "");
    desk.run("bench --model local-dir:empty").fails(&["empty: no weights found", "model.safetensors"]);
    desk.write("plain/model.safetensors", safetensors(&tiny_tensors()));
    desk.run("bench --model local-dir:plain").fails(&["plain: there is no config.json", "--weights"]);
}

#[test]
fn weights_and_random_weights_exclude_each_other() {
    let desk = Desk::new();
    desk.run(&format!("bench {TINY} --weights a.safetensors")).misused(&[
        "--weights",
        "cannot be used with",
        "--random-weights",
    ]);
}

#[test]
fn files_that_hold_no_weights_are_refused() {
    let desk = Desk::new();
    let header =
        |length: u64, json: &str| [length.to_le_bytes().as_slice(), json.as_bytes(), &[0; 64]].concat();
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 100].to_vec();
    desk.write("text.safetensors", "these are not the weights you are looking for");
    desk.write("text.pth", "these are not the weights you are looking for");
    desk.write("empty.safetensors", "");
    desk.write("short.safetensors", [1, 2, 3]);
    desk.write("huge.safetensors", header(u64::MAX, "{}"));
    desk.write("long.safetensors", header(5000, "{}"));
    let lying = r#"{"head.weight":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,64]}}"#;
    desk.write("lying.safetensors", header(lying.len() as u64, lying));
    let outside = r#"{"head.weight":{"dtype":"F32","shape":[1000],"data_offsets":[0,4000]}}"#;
    desk.write("outside.safetensors", header(outside.len() as u64, outside));
    desk.write("cut.safetensors", cut(safetensors(&tiny_tensors())));
    desk.write("old.pth", b"\x80\x02}q\x00.");
    desk.write("folder/readme.txt", "");
    for (file, fragment) in [
        ("text.safetensors", "invalid safetensors file"),
        ("text.pth", "not a weights file"),
        ("empty.safetensors", "0 bytes"),
        ("short.safetensors", "3 bytes"),
        ("huge.safetensors", "header"),
        ("long.safetensors", "header of 5000 bytes"),
        ("lying.safetensors", "head.weight"),
        ("outside.safetensors", "truncated"),
        ("cut.safetensors", "truncated"),
        ("old.pth", "old.pth"),
        ("folder", "not a regular file"),
    ] {
        desk.run(&format!("{BENCH} --weights {file}")).fails(&[file, fragment]);
    }
}

#[test]
fn weights_of_another_model_are_reported_in_one_line() {
    let desk = Desk::new();
    desk.write("other.safetensors", safetensors(&tiny_tensors()));
    desk.run(&format!("{BENCH} --weights other.safetensors")).fails(&[
        "other.safetensors does not hold weights of this model",
        "of another shape",
        "the model has [192, 3, 16, 16]",
        "missing: ",
        "check --model, or give other --weights",
    ]);
    desk.write("one.safetensors", safetensors(&vec![("something".to_owned(), vec![2, 3])]));
    desk.run(&format!("{BENCH} --weights one.safetensors")).fails(&[
        "tensors are named like `something`",
        "no spelling of a model known here",
        "convert the weights",
    ]);
}

#[test]
fn real_weights_of_another_size_are_refused() {
    let Some(material) = material() else { return };
    let weights = real_weights(&material);
    Desk::new().run_with(&["bench", "--model", "vit_small_patch16_224", "--weights", &weights]).fails(&[
        "does not hold weights of this model",
        "is [192, 3, 16, 16], the model has [384, 3, 16, 16]",
    ]);
}
