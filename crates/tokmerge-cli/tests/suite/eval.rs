//! `tokmerge eval` on folders that the tests draw.

use crate::common::files::tiny_tensors;
use crate::common::{Desk, TINY, assert_keys, keys, number};
use serde_json::{Value, json};

const KEYS: [&str; 10] = [
    "model",
    "merge",
    "images",
    "top1",
    "top5",
    "agreement",
    "model_images_per_second",
    "run_images_per_second",
    "gmacs",
    "mean_tokens",
];

const PREDICTION_COLUMNS: [&str; 12] = [
    "path", "label", "index1", "index2", "index3", "index4", "index5", "logit1", "logit2", "logit3",
    "logit4", "logit5",
];

/// The columns of timm's `validate.py` that we fill, then ours.
const RESULT_COLUMNS: [&str; 17] = [
    "model",
    "top1",
    "top1_err",
    "top5",
    "top5_err",
    "param_count",
    "img_size",
    "crop_pct",
    "interpolation",
    "merge",
    "images",
    "agreement",
    "gmacs",
    "mean_tokens",
    "model_images_per_second",
    "run_images_per_second",
    "convention",
];

/// The tiny model, and `data` with three images in each of its five classes.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.model("tiny", &tiny_tensors());
    for class in ["ant", "bee", "cat", "dog", "eel"] {
        for (index, side) in [40, 57, 33].into_iter().enumerate() {
            let taller = u32::from(class.as_bytes()[0]) - 60;
            desk.draw(&format!("data/{class}/{index}.png"), side, taller);
        }
    }
    desk
}

const EVAL: &str = "eval data --model local-dir:tiny";

#[test]
fn json_has_one_object_per_method() {
    let desk = desk();
    let run = desk.run(&format!("{EVAL} --json --merge none --merge tome:r=0 --merge tome:r=4")).ok();
    assert_eq!(run.err, "");
    let results = run.json();
    assert_eq!(results.len(), 3);
    for result in &results {
        assert_keys(result, &KEYS);
        assert_eq!(result["images"], 15);
        for percentage in ["top1", "top5", "agreement"] {
            assert!((0.0..=100.0).contains(&number(result, percentage)), "{percentage} in {result}");
        }
        // Five classes have no sixth.
        assert_eq!(number(result, "top5"), 100.0);
        assert!(number(result, "model_images_per_second") >= number(result, "run_images_per_second"));
    }
    let [none, zero, four] = [&results[0], &results[1], &results[2]];
    assert_eq!((number(none, "agreement"), number(none, "mean_tokens")), (100.0, 17.0));
    for key in ["top1", "top5", "agreement", "gmacs", "mean_tokens"] {
        assert_eq!(none[key], zero[key], "{key}");
    }
    assert_eq!(number(four, "mean_tokens"), 9.0);
    assert!(number(four, "gmacs") < number(none, "gmacs"));
}

#[test]
fn accuracy_is_what_the_predictions_say() {
    let desk = desk();
    let result = desk.run(&format!("{EVAL} --json --predictions p.csv --merge tome:r=3")).ok().one_json();
    let rows = desk.csv("p.csv");
    assert_eq!(rows[0], PREDICTION_COLUMNS);
    assert_eq!(rows.len(), 16);
    let hits = rows[1..].iter().filter(|row| row[1] == row[2]).count();
    assert!((number(&result, "top1") - 100.0 * hits as f64 / 15.0).abs() < 1e-9, "{hits}: {result}");
    for (index, row) in rows[1..].iter().enumerate() {
        let class = ["ant", "bee", "cat", "dog", "eel"][index / 3];
        assert_eq!(row[0], format!("data/{class}/{}.png", index % 3));
        assert_eq!(row[1], (index / 3).to_string());
        let mut classes = row[2..7].to_vec();
        classes.sort_unstable();
        assert_eq!(classes, ["0", "1", "2", "3", "4"]);
        let logits: Vec<f32> = row[7..].iter().map(|logit| logit.parse().expect("a logit")).collect();
        assert!(logits.is_sorted_by(|a, b| a >= b), "{logits:?}");
    }
}

#[test]
fn predictions_do_not_depend_on_batches_and_workers() {
    let desk = desk();
    let classes = |options: &str| -> Vec<Vec<String>> {
        desk.run(&format!("{EVAL} --predictions p.csv --merge tome:r=3 {options}")).ok();
        desk.csv("p.csv").into_iter().map(|row| row[..7].to_vec()).collect()
    };
    let expected = classes("--batch-size 15");
    for options in
        ["--batch-size 1", "--batch-size 4 --workers 3", "--workers 0", "--workers 40", "--threads 1"]
    {
        assert_eq!(classes(options), expected, "{options}");
    }
}

#[test]
fn predictions_of_several_methods_name_theirs() {
    let desk = desk();
    desk.run(&format!("{EVAL} --predictions p.csv --merge none --merge tome:r=0")).ok();
    let rows = desk.csv("p.csv");
    assert_eq!(rows[0].last().map(String::as_str), Some("merge"));
    assert_eq!(rows[0][..12], PREDICTION_COLUMNS);
    let of = |merge: &str| -> Vec<_> {
        rows[1..].iter().filter(|row| row[12] == merge).map(|row| row[..12].to_vec()).collect()
    };
    assert_eq!(of("none").len(), 15);
    assert_eq!(of("none"), of("tome:r=0"));
}

#[test]
fn results_file_has_timms_columns_first() {
    let desk = desk();
    let run = desk
        .run(&format!("{EVAL} --json --results-file r.csv --merge none --merge tome:r=2,inflect=-1"))
        .ok();
    let rows = desk.csv("r.csv");
    assert_eq!(rows[0], RESULT_COLUMNS);
    for (row, result) in rows[1..].iter().zip(run.json()) {
        let cell = |column: &str| {
            let index = RESULT_COLUMNS.iter().position(|name| *name == column).expect("a column");
            row[index].parse::<f64>().unwrap_or_else(|_| panic!("{column} is a number: {row:?}"))
        };
        for key in ["top1", "top5", "agreement", "images"] {
            assert!((cell(key) - number(&result, key)).abs() < 1e-3, "{key} {row:?}");
        }
        assert!((cell("top1") + cell("top1_err") - 100.0).abs() < 1e-3, "{row:?}");
        assert_eq!((cell("img_size"), cell("crop_pct")), (32.0, 1.0));
        assert_eq!((&row[8], json!(row[9])), (&"bicubic".to_owned(), result["merge"].clone()));
    }
    assert_eq!(rows.len(), 3);
}

#[test]
fn folders_are_mapped_to_classes_by_their_ids() {
    let desk = Desk::new();
    desk.draw("data/n02/a.png", 50, 40);
    desk.draw("data/n07/b.jpg", 40, 50);
    let table: String =
        (0..1000).map(|index| format!("{index}\tn{:02}\tname {index}\n", 999 - index)).collect();
    desk.write("labels.tsv", table);
    let run = desk.run(&format!("eval data {TINY} --labels labels.tsv --json --predictions p.csv")).ok();
    assert_eq!((run.one_json()["images"].clone(), run.err.as_str()), (json!(2), ""));
    let labels: Vec<String> = desk.csv("p.csv").into_iter().skip(1).map(|row| row[1].clone()).collect();
    assert_eq!(labels, ["997", "992"]);

    desk.run(&format!("eval data {TINY}")).fails(&["2 classes", "1000", "--labels"]);
    desk.draw("data/other/c.png", 5, 5);
    desk.run(&format!("eval data {TINY} --labels labels.tsv")).fails(&["folder other", "--labels"]);
    desk.write("names.txt", "one\ntwo\n");
    desk.run(&format!("eval data {TINY} --labels names.txt")).fails(&["--labels names 2 classes", "1000"]);
}

#[test]
fn labels_of_another_number_of_classes_are_refused() {
    let desk = desk();
    let table: String = ["x0", "x1", "ant", "bee", "cat", "dog", "eel"]
        .iter()
        .enumerate()
        .map(|(index, id)| format!("{index}\t{id}\tname\n"))
        .collect();
    desk.write("labels.tsv", table);
    desk.run(&format!("{EVAL} --labels labels.tsv")).fails(&["--labels names 7 classes", "the model has 5"]);
}

#[test]
fn broken_images_are_counted_named_and_left_out() {
    let desk = desk();
    desk.draw_truncated("data/bee/0-truncated.jpg");
    desk.write("data/eel/text.jpg", "not an image");
    desk.draw("data/stray.png", 8, 8);
    let run = desk.run(&format!("{EVAL} --json --batch-size 4 --merge tome:r=2")).ok();
    assert_eq!(run.one_json()["images"], 15);
    for fragment in [
        "2 of 17 images could not be read",
        "data/bee/0-truncated.jpg: is a truncated JPEG",
        "data/eel/text.jpg: is not a JPEG",
        "images beside the class folders",
    ] {
        assert!(run.err.contains(fragment), "{fragment} in {}", run.err);
    }
}

#[test]
fn without_a_single_readable_image_there_is_no_result() {
    let desk = desk();
    for class in ["ant", "bee", "cat", "dog", "eel"] {
        desk.write(&format!("broken/{class}/a.jpg"), "not an image");
    }
    let eval = "eval broken --model local-dir:tiny --json";
    desk.run(eval).fails(&["none of the 5 images could be read", "broken/ant/a.jpg"]);
    desk.run(&format!("{eval} --batch-size 2 --workers 0")).fails(&["none of the 5 images"]);
}

#[test]
fn a_folder_without_images_is_refused() {
    let desk = desk();
    desk.write("nothing/a/readme.txt", "");
    desk.run("eval nothing --model local-dir:tiny").fails(&["nothing", "no images", ".webp"]);
}

#[test]
fn without_labels_agreement_is_measured() {
    let desk = desk();
    for index in 0..7 {
        desk.draw(&format!("flat/{index}.png"), 30 + index, 40);
    }
    let eval = "eval flat --model local-dir:tiny --predictions p.csv --results-file r.csv --merge tome:r=6";
    let run = desk.run(&format!("{eval} --json")).ok();
    let result = run.one_json();
    assert_eq!((&result["top1"], &result["top5"]), (&Value::Null, &Value::Null));
    assert!(number(&result, "agreement") <= 100.0);
    assert_eq!(result["images"], 7);
    assert!(keys(&result).contains(&"top1"));
    assert!(desk.csv("p.csv")[1..].iter().all(|row| row[1].is_empty()));
    assert_eq!(desk.csv("r.csv")[1][1..5], ["", "", "", ""]);
    let table = desk.run(eval).ok().out;
    assert!(table.contains("95 % interval"), "{table}");
}

#[test]
fn a_limit_is_spread_over_the_classes() {
    let desk = desk();
    let result = desk.run(&format!("{EVAL} --json --limit 5 --predictions p.csv")).ok().one_json();
    assert_eq!(result["images"], 5);
    let labels: Vec<String> = desk.csv("p.csv").into_iter().skip(1).map(|row| row[1].clone()).collect();
    assert_eq!(labels, ["0", "1", "2", "3", "4"]);
    assert_eq!(desk.run(&format!("{EVAL} --json --limit 99")).ok().one_json()["images"], 15);
    desk.run(&format!("{EVAL} --limit 0")).misused(&["--limit", "at least 1"]);
}

#[test]
fn unwritable_files_are_refused() {
    let desk = desk();
    desk.run(&format!("{EVAL} --results-file nowhere/r.csv")).fails(&["nowhere/r.csv", "No such file"]);
    desk.run(&format!("{EVAL} --predictions nowhere/p.csv")).fails(&["nowhere/p.csv", "No such file"]);
    desk.run(&format!("{EVAL} --predictions data")).fails(&["data", "directory"]);
    desk.run(&format!("{EVAL} --workers 5000")).fails(&["workers is 5000", "1024"]);
}
