//! `tokmerge info`, which needs no weights.

use crate::common::{self, Desk, assert_keys, number};
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
    assert_keys(
        &result,
        &["model", "params", "merger_params", "img_size", "tokens", "gmacs", "convention", "merge"],
    );
    assert!((number(&result, "gmacs") - 22.35).abs() < 0.005, "{result}");
    assert_eq!(result["params"], 304_326_632);
    assert_eq!((&result["img_size"], &result["convention"]), (&json!([224, 224]), &json!("fvcore")));
    let tokens = result["tokens"].as_array().expect("a list");
    assert_eq!((tokens.len(), &tokens[0], &tokens[23]), (24, &json!(181), &json!(16)));
}

#[test]
fn parameters_of_mergers_are_counted_beside_those_of_the_model() {
    let desk = Desk::new();
    let command =
        "info vit_small_patch16_224 --merge none --merge patchmerger:m=8,layer=6 --merge stm:p=4,layer=6";
    let results = desk.run(&format!("{command} --json")).ok().json();
    // PatchMerger: a LayerNorm, and 8 queries of 384 channels.
    let norm = 2 * 384;
    assert_eq!((&results[0]["merger_params"], &results[0]["params"]), (&json!(0), &json!(22_050_664)));
    assert_eq!(results[1]["merger_params"], norm + 8 * 384);
    assert_eq!(results[1]["params"], 22_050_664, "the model's own stay the model's own");
    assert!(number(&results[2], "merger_params") > f64::from(norm), "{}", results[2]);
    let run = desk.run(command).ok();
    assert!(run.out.contains(&format!("22050664 + {}", norm + 8 * 384)), "{}", run.out);
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

/// Uniform pruning of soft token merging's Fig. 6a: every layer is as much narrower, heads too, and there are as many.
#[test]
fn a_width_makes_every_layer_narrower() {
    let desk = Desk::new();
    let narrow = desk.run("info vit_small_patch16_224 --width 75% --json").ok().one_json();
    // 288 channels in 12 blocks: queries, keys, values and outputs, an MLP of 1152, norms; tokens, patches, head.
    let (c, hidden) = (288, 1152);
    let block = 4 * (c * c + c) + 2 * c * hidden + hidden + c + 4 * c;
    let model = 12 * block + 768 * c + c + 198 * c + 2 * c + 1000 * (c + 1);
    assert_eq!(narrow["params"], model);
    let run = desk.run("info vit_small_patch16_224 --width 76%").ok();
    assert!(run.out.contains("vit_294x12"), "the nearest multiple of six heads: {}", run.out);
    let whole =
        |width: &str| desk.run(&format!("info deit_small_patch16_224 {width} --json")).ok().one_json();
    assert_eq!(whole("--width 100%"), whole(""));
    for wrong in ["0%", "101%", "0.75", "x%"] {
        let refused = desk.run(&format!("info vit_small_patch16_224 --width {wrong}")).code(2);
        assert!(refused.err.contains("above 0% and up to 100%"), "{}", refused.err);
    }
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

/// PatchMerger's tables: 8 tokens behind the middle, a head of 18 291 classes, 304.4 million images per epoch.
const JFT: &str = "--json --num-classes 18291 --training --images 304.4e6";

#[test]
fn what_training_costs_is_as_published() {
    let desk = Desk::new();
    // The paper's S/32 is no model of timm's.
    let arguments = json!({"patch_size": 32, "embed_dim": 512, "depth": 8, "num_heads": 8});
    let mut small = common::files::tiny_config();
    small["architecture"] = json!("vit_small_patch32_224");
    small["model_args"] = arguments;
    small["pretrained_cfg"]["input_size"] = json!([3, 224, 224]);
    desk.write("small/config.json", small.to_string());
    for (model, epochs, base, merged) in [
        ("vit_huge_patch14_224", 14, Some(4275.92), 2207.33),
        ("vit_large_patch16_224", 14, Some(1572.74), 819.29),
        ("vit_large_patch32_224", 7, Some(196.11), 114.38),
        ("vit_base_patch16_224", 7, Some(224.45), 117.22),
        ("vit_base_patch32_224", 7, Some(56.07), 32.99),
        ("local-dir:small", 5, Some(12.27), 7.34),
        ("vit_huge_patch11_220", 14, None, 3464.17),
        ("vmoe_huge_patch14_224", 14, Some(4750.73), 2220.96),
        ("vmoe_large_patch16_224", 14, Some(1666.10), 823.54),
        ("vmoe_large_patch32_224", 7, Some(207.94), 116.70),
        ("vmoe_base_patch16_224", 7, Some(250.70), 118.59),
    ] {
        let merger = "--merge none --merge patchmerger:m=8,cls=merge";
        let results = desk.run(&format!("info {model} {JFT} --epochs {epochs} {merger}")).ok().json();
        for (result, printed) in results.iter().zip([base, Some(merged)]) {
            let computed = result["training"]["exaflops"].as_f64().expect("a number");
            let off = printed.map_or(0.0, |printed: f64| 100.0 * (computed / printed - 1.0));
            assert!(off.abs() < 0.4, "{model} {}: {computed}, {off:+.2} %", result["merge"]);
        }
    }
}

#[test]
fn what_training_costs_is_shown_with_what_was_assumed() {
    let desk = Desk::new();
    let training = "--training --images 1281167 --epochs 300 --batch-size 1024";
    let run =
        desk.run(&format!("info vit_small_patch16_224 {training} --merge none --merge atm:theta=0.9")).ok();
    for fragment in
        ["training: 1281167 images, 300 epochs, 375300 steps", "training ExaFLOPs", "as the images allow"]
    {
        assert!(run.out.contains(fragment), "{fragment}: {}", run.out);
    }
    // 6 operations for each of the 4.6 G multiply-adds, but for the embedding's input.
    assert!(run.out.lines().any(|line| line.starts_with("none") && line.contains(" 10.56 ")), "{}", run.out);
    let routing = |routing: &str| {
        let command = format!("info vmoe_base_patch16_224 {training} --json {routing}");
        let result = desk.run(&command).ok().one_json();
        (result["training"]["routing"].clone(), number(&result["training"], "exaflops"))
    };
    let (named, batch) = routing("");
    assert_eq!(named, "capacity=1.05,group=batch");
    assert!(routing("--routing capacity=1.05,group=1").1 > batch, "small groups have places to spare");
    assert!(routing("--routing free").1 < batch);
    let plain = desk.run("info vmoe_base_patch16_224").ok();
    assert!(plain.out.contains("32 experts in blocks 10 12 of which a token uses 2"), "{}", plain.out);
}

#[test]
fn half_a_training_run_cannot_be_counted() {
    let desk = Desk::new();
    let info = "info vit_tiny_patch16_224";
    desk.run(&format!("{info} --training --images 100 --epochs 3 --routing free"))
        .fails(&["vit_tiny_patch16_224 has no experts", "leave --routing out"]);
    for (arguments, fragments) in [
        ("--training", ["--images <N>", "--epochs <N>"]),
        ("--training --images 100", ["required", "--epochs <N>"]),
        ("--images 100 --epochs 3", ["required", "--training"]),
        ("--training --images 0 --epochs 3", ["--images", "from 1 to 1e15"]),
        ("--training --images many --epochs 3", ["many", "such as 1281167 or 304.4e6"]),
        ("--training --images 100 --epochs 0", ["--epochs", "above 0"]),
        ("--training --images 100 --epochs inf", ["--epochs", "at most 1000000"]),
        ("--training --images 100 --epochs 3 --batch-size 0", ["--batch-size", "at least 1"]),
        ("--training --images 100 --epochs 3 --routing half", ["--routing", "e.g. capacity=1.05,group=8"]),
        ("--num-classes 0", ["--num-classes", "at least 1"]),
    ] {
        desk.run(&format!("{info} {arguments}")).misused(&fragments);
    }
}
