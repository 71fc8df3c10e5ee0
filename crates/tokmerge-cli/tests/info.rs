//! `tokmerge info`, which needs no weights.

mod common;

use common::{Desk, assert_keys, number};
use serde_json::json;

/// ToMe, table 4: ViT-L with a decreasing schedule of r = 8.
const LARGE: &str = "info vit_large_patch16_224 --merge tome:r=8,inflect=-1";

#[test]
fn a_published_number_is_shown() {
    let run = Desk::new().run(LARGE).ok();
    let row = run.out.lines().last().expect("a table");
    assert!(row.starts_with("tome:r=8,inflect=-1") && row.contains(" 22.35 "), "{row}");
    assert!(row.ends_with(" 16"), "{row}");
    assert!(run.out.contains("GMACs (fvcore)") && run.out.contains("304.33 M parameters"), "{}", run.out);
    assert_eq!(run.err, "");
}

#[test]
fn json_says_the_same() {
    let result = Desk::new().run(&format!("{LARGE} --json")).ok().one_json();
    assert_keys(&result, &["model", "params", "img_size", "tokens", "gmacs", "convention", "merge"]);
    assert!((number(&result, "gmacs") - 22.35).abs() < 0.005, "{result}");
    assert_eq!(result["params"], 304_326_632);
    assert_eq!((&result["img_size"], &result["convention"]), (&json!([224, 224]), &json!("fvcore")));
    let tokens = result["tokens"].as_array().expect("a list");
    assert_eq!((tokens.len(), &tokens[0], &tokens[23]), (24, &json!(181), &json!(16)));
}

#[test]
fn the_convention_is_named_and_changes_the_count() {
    let desk = Desk::new();
    let of = |convention: &str| {
        let result = desk.run(&format!("{LARGE} --json --convention {convention}")).ok().one_json();
        assert_eq!(result["convention"], convention);
        number(&result, "gmacs")
    };
    // LayerNorms count in fvcore only.
    assert!(of("macs") < of("fvcore") && of("macs") > 22.3, "{} {}", of("macs"), of("fvcore"));
    let run = desk.run(&format!("{LARGE} --convention macs")).ok();
    assert!(run.out.contains("GMACs (macs)"), "{}", run.out);
}

#[test]
fn each_method_has_its_line() {
    let run = Desk::new().run("info deit_small_patch16_224 --json --merge none --merge tome:r=13").ok();
    let results = run.json();
    assert_eq!((&results[0]["merge"], &results[1]["merge"]), (&json!("none"), &json!("tome:r=13")));
    // As published for DeiT-S: 4.6 GFLOPs, and 2.7 at r = 13.
    assert!((number(&results[0], "gmacs") - 4.6).abs() < 0.05, "{}", results[0]);
    assert!((number(&results[1], "gmacs") - 2.7).abs() < 0.05, "{}", results[1]);
    assert_eq!(results.len(), 2);
}

#[test]
fn a_merge_toml_equals_its_spec() {
    let desk = Desk::new();
    desk.write("merge.toml", "method = 'tome'\nr = 8\ninflect = -1\n\n[measured]\ntop1 = 81.9\n");
    let both =
        desk.run("info vit_large_patch16_224 --json --merge tome:r=8,inflect=-1 --merge merge.toml").ok();
    let both = both.json();
    assert_eq!(both[0], both[1]);
}

#[test]
fn a_wrong_merge_toml_is_refused_by_name() {
    let desk = Desk::new();
    let info = "info vit_tiny_patch16_224 --merge";
    desk.run(&format!("{info} gone.toml")).fails(&["gone.toml", "No such file"]);
    for (text, fragments) in [
        ("r = 8", ["merge.toml", "method"]),
        ("method = 'tome'\nrr = 8", ["merge.toml", "rr"]),
        ("method = 'tomme'\nr = 8", ["merge.toml", "did you mean tome?"]),
        ("method = 'tome'\nr = [1, 2", ["merge.toml", "name:option=value"]),
        ("\u{0}\u{1}", ["merge.toml", "cannot read"]),
    ] {
        desk.write("merge.toml", text);
        desk.run(&format!("{info} merge.toml")).fails(&fragments);
    }
}

#[test]
fn image_sizes_are_followed() {
    let desk = Desk::new();
    for (size, sides, tokens) in [("384", [384, 384], 577), ("224x320", [224, 320], 281)] {
        let result = desk.run(&format!("info vit_tiny_patch16_224 --json --img-size {size}")).ok().one_json();
        assert_eq!(result["img_size"], json!(sides));
        assert_eq!(result["tokens"], json!(vec![tokens; 12]));
    }
    let result = desk.run("info vit_tiny_patch16_384 --json").ok().one_json();
    assert_eq!((&result["tokens"][11], &result["params"]), (&json!(577), &json!(5_790_376)));
}

#[test]
fn it_reads_the_config_of_a_folder() {
    let desk = Desk::new();
    desk.model("tiny", &common::files::tiny_tensors());
    let result = desk.run("info local-dir:tiny --json --merge tome:r=3").ok().one_json();
    assert_eq!((&result["tokens"], &result["img_size"]), (&json!([14, 11]), &json!([32, 32])));
    let parameters: usize =
        common::files::tiny_tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert_eq!(result["params"], parameters);
}
