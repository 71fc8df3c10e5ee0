//! `tokmerge analyze` on folders that the tests draw.

use crate::common::files::tiny_tensors;
use crate::common::{Desk, Run, TINY, assert_keys, material, number, real_weights};

/// The tiny model of two blocks and 17 tokens, and six images without labels.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.model("tiny", &tiny_tensors());
    for (index, side) in [40, 57, 33, 64, 32, 90].into_iter().enumerate() {
        desk.draw(&format!("data/{index}.png"), side, 37);
    }
    desk
}

const LAYERS: &str = "analyze layers data --model local-dir:tiny -o loss.svg";
const TOKENS: &str = "analyze tokens data --model local-dir:tiny -o tokens.svg";

const LAYER_COLUMNS: [&str; 8] =
    ["layer", "threshold", "distance", "merged", "distance_per_token", "agreement", "images", "merge"];

fn svg(desk: &Desk, name: &str) -> String {
    let svg = std::fs::read_to_string(desk.path(name)).expect("a chart");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    svg
}

#[test]
fn layers_print_a_table_and_draw_a_line_per_threshold() {
    let desk = desk();
    let run = desk.run(&format!("{LAYERS} --thresholds=-0.5,0.25,1")).ok();
    assert_eq!(run.err, "");
    for fragment in [
        "6 images",
        "layer",
        "loss at -0.5",
        "loss at 0.25",
        "mean",
        "merged at 1",
        "loss per token",
        "explained",
    ] {
        assert!(run.out.contains(fragment), "{fragment} in {}", run.out);
    }
    let svg = svg(&desk, "loss.svg");
    for fragment in ["threshold -0.5", "threshold 0.25", "threshold 1", "mean", "6 images"] {
        assert!(svg.contains(fragment), "{fragment} in {svg}");
    }
}

#[test]
fn csv_and_json_of_layers_say_the_same() {
    let desk = desk();
    let run = desk.run(&format!("{LAYERS} --thresholds=-0.5,1 --csv l.csv --json --log")).ok();
    assert_eq!(run.err, "");
    let rows = desk.csv("l.csv");
    assert_eq!(rows[0], LAYER_COLUMNS);
    let results = run.json();
    // Two blocks, and nothing merges in the last.
    assert_eq!((results.len(), rows.len()), (2, 3));
    for (result, row) in results.iter().zip(&rows[1..]) {
        assert_keys(result, &["model", "dtype", "per_token", "layer", "distance", "merged", "agreement"]);
        let cell = |column: usize| row[column].parse::<f64>().expect("a number");
        for (column, key) in
            [(0, "layer"), (1, "threshold"), (2, "distance"), (3, "merged"), (5, "agreement")]
        {
            assert_eq!(cell(column), number(result, key), "{key} {row:?}");
        }
        assert_eq!(row[7], result["merge"]);
    }
    let [low, one] = [&results[0], &results[1]];
    assert!(number(low, "merged") > 0.0 && number(low, "distance") > 0.0, "{low}");
    assert_eq!(
        (number(one, "merged"), number(one, "distance"), &one["per_token"]),
        (0.0, 0.0, &serde_json::Value::Null)
    );
    svg(&desk, "loss.svg");
}

/// The spec that a row names merges as many tokens elsewhere.
#[test]
fn the_spec_of_a_row_is_what_was_done() {
    let desk = desk();
    let result = &desk.run(&format!("{LAYERS} --thresholds 0.1 --json")).ok().json()[0];
    let spec = result["merge"].as_str().expect("a spec");
    let eval = desk.run(&format!("eval data --model local-dir:tiny --json --merge {spec}")).ok().one_json();
    assert!((17.0 - number(result, "merged") - number(&eval, "mean_tokens")).abs() < 1e-9, "{result} {eval}");
    assert!((number(result, "agreement") - number(&eval, "agreement")).abs() < 1e-9, "{result} {eval}");
}

#[test]
fn tokens_count_what_eval_counts() {
    let desk = desk();
    let specs = ["tome:r=3", "atm:theta=0.1", "tome:r=2,feature=x_pre", "tome:r=1,matcher=random_prune"];
    let merges: String = specs.iter().map(|spec| format!(" --merge {spec}")).collect();
    let run = desk.run(&format!("{TOKENS}{merges} --csv t.csv --json")).ok();
    assert_eq!(run.err, "");
    let eval = desk.run(&format!("eval data --model local-dir:tiny --json{merges}")).ok().json();
    let rows = desk.csv("t.csv");
    assert_eq!(rows.len(), 1 + 2 * specs.len());
    assert_eq!(rows[0][..5], ["merge", "layer", "threshold", "merged", "merged_deviation"]);
    for (index, (result, eval)) in run.json().iter().zip(&eval).enumerate() {
        assert_eq!((&result["merge"], result["images"].as_u64()), (&eval["merge"], Some(6)));
        let last = &result["layers"][1];
        assert!((number(last, "tokens") - number(eval, "mean_tokens")).abs() < 1e-9, "{result} {eval}");
        let row = &rows[2 + 2 * index];
        assert_eq!((&row[0], &row[1]), (&specs[index].to_owned(), &"2".to_owned()));
        assert_eq!(row[7].parse::<f64>().expect("tokens"), number(last, "tokens"));
    }
    let svg = svg(&desk, "tokens.svg");
    assert!(svg.contains("tome:r=3") && svg.contains("threshold of atm:theta=0.1"), "{svg}");

    let table = desk.run(&format!("{TOKENS} --merge atm:theta=0.1")).ok().out;
    for fragment in ["atm:theta=0.1", "threshold", "0.100", "tokens left", "error per merge", "all"] {
        assert!(table.contains(fragment), "{fragment} in {table}");
    }
}

#[test]
fn results_do_not_depend_on_batches_and_threads() {
    let desk = desk();
    let numbers = |options: &str| -> Vec<Vec<String>> {
        desk.run(&format!("{LAYERS} --thresholds 0,0.3 --csv l.csv {options}")).ok();
        desk.run(&format!("{TOKENS} --merge atm:theta=0.2 --csv t.csv {options}")).ok();
        // Sums of doubles depend on their order in the last digits.
        let round = |cell: &String| cell.parse().map_or(cell.clone(), |number: f64| format!("{number:.9}"));
        let rows = desk.csv("l.csv").into_iter().chain(desk.csv("t.csv"));
        rows.map(|row| row.iter().map(round).collect()).collect()
    };
    let expected = numbers("");
    for options in ["--batch-size 1", "--batch-size 4 --workers 0", "--threads 1"] {
        assert_eq!(numbers(options), expected, "{options}");
    }
}

#[test]
fn limits_labels_and_broken_images_are_as_in_eval() {
    let desk = desk();
    let both = |options: &str| -> [Run; 2] {
        [desk.run(&format!("{LAYERS} {options}")), desk.run(&format!("{TOKENS} --merge tome:r=2 {options}"))]
    };
    for run in both("--limit 2") {
        assert!(run.ok().out.contains(" 2 images"));
    }
    desk.write("data/7.jpg", "not an image");
    for run in both("") {
        let run = run.ok();
        assert!(run.out.contains(" 6 images"), "{}", run.out);
        for fragment in ["1 of 7 images could not be read", "data/7.jpg: is not a JPEG"] {
            assert!(run.err.contains(fragment), "{fragment} in {}", run.err);
        }
    }
    desk.write("broken/a.jpg", "not an image");
    desk.write("nothing/readme.txt", "");
    for command in ["layers", "tokens --merge tome:r=2"] {
        let (study, options) = command.split_once(' ').unwrap_or((command, ""));
        let on = |folder: &str| {
            desk.run(&format!("analyze {study} {folder} {options} --model local-dir:tiny -o new.svg"))
        };
        on("broken").fails(&["none of the 1 images could be read"]);
        on("nothing").fails(&["nothing", "no images"]);
        on("nowhere").fails(&["nowhere", "no such folder"]);
    }
}

#[test]
fn mistakes_are_refused_before_any_work() {
    let desk = desk();
    let layers = "analyze layers data --model local-dir:tiny";
    let tokens = "analyze tokens data --model local-dir:tiny";
    for study in [layers, &format!("{tokens} --merge tome:r=2")] {
        desk.run(&format!("{study} -o a.png")).fails(&["a.png", "SVG", "*.svg"]);
        desk.run(&format!("{study} -o nowhere/a.svg")).fails(&["nowhere/a.svg", "No such file"]);
        desk.run(&format!("{study} -o a.svg --csv nowhere/a.csv")).fails(&["nowhere/a.csv", "No such file"]);
        desk.run(&format!("{study} -o a.svg --csv a.svg")).fails(&["--output and --csv", "same file"]);
        desk.run(study).misused(&["required", "--output"]);
    }
    let layers = format!("{layers} -o b.svg");
    for wrong in ["1.01", "-2", "0.9,nan", "0.9,,0.8", "high"] {
        desk.run(&format!("{layers} --thresholds {wrong}")).misused(&["--thresholds", "from -1 to 1"]);
    }
    desk.run(&format!("{layers} --thresholds 0.9,0.8,0.9")).fails(&["0.9 is given twice"]);
    let tokens = format!("{tokens} -o b.svg");
    desk.run(&tokens).fails(&["nothing to count", "--merge", "tome:r=8"]);
    for spec in ["none", "tome:r=0", "atm:theta=1"] {
        desk.run(&format!("{tokens} --merge tome:r=2 --merge {spec}")).fails(&[
            spec,
            "merges nothing in any layer",
            "e.g. tome:r=8",
        ]);
    }
    desk.run(&format!("{tokens} --merge tome:r=99")).fails(&["99", "r must be below"]);
    desk.run(&format!("analyze layers data {TINY} --model local-dir:tiny -o b.svg")).misused(&["--model"]);
    desk.run("analyze").code(2);
    assert!(!desk.path("b.svg").exists());
}

#[test]
fn a_real_model_loses_more_in_early_layers() {
    let Some(material) = material() else { return };
    let weights = real_weights(&material);
    let images = material.join("imagenet1k_sample").display().to_string();
    let desk = Desk::new();
    let run = desk.run_with(&[
        "analyze",
        "layers",
        &images,
        "--model",
        "vit_tiny_patch16_224",
        "--weights",
        &weights,
        "--crop-pct",
        "1",
        "--limit",
        "4",
        "--batch-size",
        "4",
        "--thresholds",
        "0.8",
        "-o",
        "loss.svg",
        "--json",
    ]);
    let results = run.ok().json();
    let loss = |layer: usize| number(&results[layer - 1], "distance");
    assert!(loss(1) > 0.0 && loss(11) < loss(6) && loss(6) < loss(2), "{results:?}");
}
