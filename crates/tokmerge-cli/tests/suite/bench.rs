//! `tokmerge bench`.

use crate::common::{Desk, TINY, assert_keys, number};

const KEYS: [&str; 12] = [
    "model",
    "merge",
    "batch_size",
    "dtype",
    "device",
    "threads",
    "images_per_second",
    "min",
    "max",
    "ms_per_batch",
    "gmacs",
    "tokens",
];

/// The columns of timm's `benchmark.py` that we fill, then ours.
const COLUMNS: [&str; 16] = [
    "model",
    "infer_img_size",
    "infer_samples_per_sec",
    "infer_step_time",
    "infer_batch_size",
    "param_count",
    "infer_gmacs",
    "infer_macts",
    "merge",
    "dtype",
    "device",
    "threads",
    "min",
    "max",
    "convention",
    "train",
];

/// Other programs call it exactly so.
#[test]
fn json_as_an_outside_script_asks_for_it() {
    for (dtype, merge, gmacs, tokens) in [
        ("f32", "none", 1.26, 197.0),
        ("f32", "tome:r=13", 0.74, 41.0),
        ("bf16", "none", 1.26, 197.0),
        ("bf16", "tome:r=13", 0.74, 41.0),
        ("int8", "tome:r=13", 0.74, 41.0),
    ] {
        let command = format!(
            "bench --model vit_tiny_patch16_224 --random-weights --batch-size 2 --dtype {dtype} --merge {merge} --threads 2 --duration 0.3 --json"
        );
        let run = Desk::new().run(&command).ok();
        assert_eq!(run.err, "", "{command}");
        let result = run.one_json();
        assert_keys(&result, &KEYS);
        assert_eq!((&result["dtype"], &result["merge"]), (&dtype.into(), &merge.into()));
        assert_eq!((&result["batch_size"], &result["threads"]), (&2.into(), &2.into()));
        assert_eq!(result["device"], "cpu");
        assert!(result["model"].as_str().is_some_and(|name| name.starts_with("vit_tiny_patch16_224")));
        let [min, median, max] = ["min", "images_per_second", "max"].map(|key| number(&result, key));
        assert!(0.0 < min && min <= median && median <= max, "{result}");
        assert!((number(&result, "ms_per_batch") * median / 2e3 - 1.0).abs() < 1e-6, "{result}");
        assert!((number(&result, "gmacs") - gmacs).abs() < 0.005, "{result}");
        assert_eq!(number(&result, "tokens"), tokens);
    }
}

#[test]
fn results_are_a_share_of_the_peak_where_there_is_one() {
    for (isa, has_peak) in [("portable", false), ("avx2", true), ("avx512", true)] {
        if !tokmerge::Isa::available().iter().any(|available| available.to_string() == isa) {
            continue;
        }
        let command = format!("bench {TINY} --batch-size 1 --duration 0.1 --merge none --peak");
        let desk = Desk::new().with("TOKMERGE_ISA", isa);
        let result = desk.run(&format!("{command} --json")).ok().one_json();
        assert_eq!(result["peak_flops_per_second"]["f32"].is_number(), has_peak, "{result}");
        if has_peak {
            let share = number(&result["peak_share"], "median");
            assert!(share > 0.0, "{result}");
        } else {
            assert!(result["peak_share"].is_null(), "{result}");
        }
        let out = desk.run(&command).ok().out;
        assert!(out.contains("% of peak"), "{out}");
        assert_eq!(out.contains("f32 none (portable has no such products here)"), !has_peak, "{out}");
    }
}

#[test]
fn several_methods_are_compared_in_one_run() {
    let run = Desk::new()
        .run(&format!(
            "bench {TINY} --batch-size 2 --duration 0.1 --json --merge tome:r=13 --merge none --merge tome:r=8"
        ))
        .ok();
    let results = run.json();
    let merges: Vec<_> = results.iter().map(|result| result["merge"].as_str().expect("a spec")).collect();
    assert_eq!(merges, ["tome:r=13", "none", "tome:r=8"]);
    assert!(results[1]["speedup"].is_null(), "{}", results[1]);
    for merged in [&results[0], &results[2]] {
        let speedup = &merged["speedup"];
        let [min, median, max] = ["min", "median", "max"].map(|key| number(speedup, key));
        assert!(0.0 < min && min <= median && median <= max, "{merged}");
    }
}

#[test]
fn the_table_names_hardware_settings_and_convention() {
    let run = Desk::new()
        .run(&format!(
            "bench {TINY} --batch-size 2 --threads 1 --duration 0.1 --merge none --merge tome:r=13"
        ))
        .ok();
    let lines: Vec<&str> = run.out.lines().collect();
    for fragment in ["vit_tiny_patch16_224", "f32", "batch 2", "cpu", "1 threads"] {
        assert!(lines[0].contains(fragment), "{fragment} in {}", lines[0]);
    }
    for fragment in ["img/s", "min", "max", "GMACs (fvcore)", "tokens left", "speed-up"] {
        assert!(lines[1].contains(fragment), "{fragment} in {}", lines[1]);
    }
    assert!(lines[2].starts_with("none"), "{}", lines[2]);
    assert!(lines[3].starts_with("tome:r=13") && lines[3].contains("x ("), "{}", lines[3]);
}

#[test]
fn without_the_unmerged_model_there_is_no_speed_up_but_a_hint() {
    let run = Desk::new().run(&format!("bench {TINY} --batch-size 1 --duration 0.05 --merge tome:r=13")).ok();
    assert!(run.out.contains("--merge none"), "{}", run.out);
}

#[test]
fn results_file_has_timms_columns_first() {
    let desk = Desk::new();
    let options = "--batch-size 2 --threads 2 --duration 0.05 --merge none --merge tome:r=13,inflect=-1";
    desk.run(&format!("bench {TINY} {options} --results-file speed.csv")).ok();
    let rows = desk.csv("speed.csv");
    assert_eq!(rows[0], COLUMNS);
    assert_eq!(rows.len(), 3);
    let cell = |row: usize, column: &str| {
        let index = COLUMNS.iter().position(|name| *name == column).expect("a column");
        rows[row][index].as_str()
    };
    assert_eq!((cell(1, "merge"), cell(2, "merge")), ("none", "tome:r=13,inflect=-1"));
    assert_eq!((cell(1, "infer_gmacs"), cell(1, "param_count")), ("1.26", "5.72"));
    assert_eq!((cell(1, "infer_batch_size"), cell(1, "infer_img_size")), ("2", "224"));
    // What fvcore counts for DeiT-Ti.
    assert_eq!(cell(1, "infer_macts"), "5.97");
    for column in ["infer_samples_per_sec", "infer_step_time", "min", "max"] {
        assert!(
            cell(2, column).parse::<f64>().is_ok_and(|value| value > 0.0),
            "{column}: {}",
            cell(2, column)
        );
    }
}

/// Minutes of measuring must not be lost to a mistyped folder.
#[test]
fn an_unwritable_results_file_is_refused_before_anything_is_measured() {
    let start = std::time::Instant::now();
    Desk::new()
        .run(&format!("bench {TINY} --duration 600 --results-file nowhere/speed.csv"))
        .fails(&["nowhere/speed.csv", "No such file"]);
    assert!(start.elapsed().as_secs() < 60, "it measured first");
}

#[test]
fn options_come_from_the_environment_too() {
    let desk = Desk::new()
        .with("TOKMERGE_MODEL", "vit_tiny_patch16_224")
        .with("TOKMERGE_DTYPE", "bf16")
        .with("TOKMERGE_THREADS", "1")
        .with("TOKMERGE_MERGE", "tome:r=16");
    let result = desk.run("bench --random-weights --batch-size 1 --duration 0.05 --json").ok().one_json();
    assert_eq!((&result["dtype"], &result["merge"]), (&"bf16".into(), &"tome:r=16".into()));
    assert_eq!(result["threads"], 1);
}

/// What it is taught are random texts.
#[test]
fn training_of_models_that_write_is_timed() {
    let desk = Desk::new();
    let bench = "bench --train --model pali_tiny --random-weights --batch-size 1 --duration 0.1 --json";
    let rows = desk.run(&format!("{bench} --merge none --merge tome:r=1")).ok().json();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["images_per_second"].as_f64() > Some(0.0)), "{rows:?}");
    desk.run(&format!("{bench} --recompute blocks")).fails(&["--recompute blocks", "decoder"]);
}

/// DynamicViT masks tokens while it is trained, and drops none.
#[test]
fn training_by_masks_is_counted_with_all_tokens() {
    let bench = "bench --train --model demo --batch-size 2 --duration 0.1 --json";
    let rows =
        Desk::new().run(&format!("{bench} --merge none --merge dynamicvit:keep=50%,layer=2")).ok().json();
    let counts = |row: &serde_json::Value| (row["gmacs"].clone(), row["tokens"].clone());
    assert!(
        rows.len() == 2 && rows[0]["gmacs"].is_number() && counts(&rows[0]) == counts(&rows[1]),
        "{rows:?}"
    );
}
