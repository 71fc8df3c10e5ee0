//! `tokmerge classify` on images that the tests draw.

use crate::common::files::{png_claiming, tiny_tensors};
use crate::common::{Desk, TINY, assert_keys, keys, number};
use serde_json::{Value, json};

const MODEL: &str = "--model local-dir:tiny";

/// Batches of another size may be summed in another order.
const TOLERANCE: f64 = 1e-4;

fn desk() -> Desk {
    let desk = Desk::new();
    desk.model("tiny", &tiny_tensors());
    desk
}

/// Logits by class.
fn logits(result: &Value) -> Vec<f64> {
    let mut top: Vec<(u64, f64)> = result["top"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|ranked| (ranked["index"].as_u64().expect("an index"), number(ranked, "logit")))
        .collect();
    top.sort_by_key(|(index, _)| *index);
    top.into_iter().map(|(_, logit)| logit).collect()
}

#[track_caller]
fn assert_close(one: &Value, other: &Value) {
    let difference = logits(one).iter().zip(logits(other)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(difference < TOLERANCE, "{difference}: {one} {other}");
}

#[test]
fn json_has_one_object_per_image() {
    let desk = Desk::new();
    desk.draw("a.png", 300, 200);
    desk.draw("b.jpg", 200, 300);
    let run = desk.run(&format!("classify a.png b.jpg {TINY} --topk 3 --json --merge tome:r=13")).ok();
    assert_eq!(run.err, "");
    let results = run.json();
    assert_eq!((&results[0]["path"], &results[1]["path"]), (&json!("a.png"), &json!("b.jpg")));
    for result in &results {
        assert_keys(result, &["path", "top", "gmacs", "tokens", "ms", "merge"]);
        assert!((number(result, "gmacs") - 0.74).abs() < 0.005 && number(result, "ms") > 0.0, "{result}");
        assert_eq!(result["tokens"][11], 41);
        let top = result["top"].as_array().expect("a list");
        assert_eq!(top.len(), 3);
        for ranked in top {
            assert_eq!(keys(ranked), ["index", "label", "logit", "probability"]);
            let label = ranked["label"].as_str().expect("a name");
            assert!(!label.is_empty() && !label.starts_with("class "), "ImageNet's names: {label}");
        }
        assert!(number(&top[0], "logit") >= number(&top[1], "logit"), "{result}");
        assert!(number(&top[0], "probability") >= number(&top[1], "probability"), "{result}");
    }
    assert_eq!(results.len(), 2);
}

#[test]
fn probabilities_of_all_classes_sum_to_one() {
    let desk = desk();
    desk.draw("a.png", 40, 40);
    let result = desk.run(&format!("classify a.png {MODEL} --topk 99 --json")).ok().one_json();
    let top = result["top"].as_array().expect("a list");
    let sum: f64 = top.iter().map(|ranked| number(ranked, "probability")).sum();
    assert_eq!(top.len(), 5);
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
}

#[test]
fn formats_and_channels_make_no_difference() {
    let desk = desk();
    for name in ["a.png", "a.bmp", "a.webp"] {
        desk.draw(name, 61, 47);
    }
    desk.draw("misnamed.jpg", 61, 47);
    std::fs::copy(desk.path("a.png"), desk.path("misnamed.jpg")).expect("a copy");
    desk.draw_with_alpha("alpha.png", 61, 47);
    desk.draw_gray("gray.png", "gray3.png", 61, 47);
    desk.draw_gray("gray.bmp", "gray3.bmp", 61, 47);
    let images = "a.png a.bmp a.webp misnamed.jpg alpha.png gray.png gray3.png gray.bmp gray3.bmp";
    let results = desk.run(&format!("classify {images} {MODEL} --json")).ok().json();
    assert_eq!(results.len(), 9);
    for same in &results[1..5] {
        assert_close(&results[0], same);
    }
    for gray in &results[6..] {
        assert_close(&results[5], gray);
    }
    let difference: f64 =
        logits(&results[0]).iter().zip(logits(&results[5])).map(|(a, b)| (a - b).abs()).sum();
    assert!(difference > 10.0 * TOLERANCE, "the colours make no difference");
}

#[test]
fn any_shape_and_number_of_images_works() {
    let desk = desk();
    let shapes = [(1, 1), (1, 2000), (2000, 1), (31, 33), (640, 480), (3, 2)];
    // More images than are held in memory at a time.
    let names: Vec<String> =
        (0..4).flat_map(|turn| shapes.map(|(w, h)| format!("{turn}-{w}x{h}.png"))).collect();
    for (name, (width, height)) in names.iter().zip(shapes.iter().cycle()) {
        desk.draw(name, *width, *height);
    }
    let results = desk.run(&format!("classify {} {MODEL} --json", names.join(" "))).ok().json();
    let paths: Vec<_> = results.iter().map(|result| result["path"].as_str().expect("a path")).collect();
    assert_eq!(paths, names);
    for (index, result) in results.iter().enumerate().skip(shapes.len()) {
        assert_close(&results[index % shapes.len()], result);
    }
    for mode in ["squash", "border", "center"] {
        let run = desk.run(&format!("classify {} {MODEL} --json --crop-mode {mode}", names[..6].join(" ")));
        assert_eq!(run.ok().json().len(), 6);
    }
}

#[test]
fn broken_images_are_named_and_the_others_classified() {
    let desk = desk();
    desk.draw("first.png", 40, 30);
    desk.draw("last.jpg", 30, 40);
    desk.draw_truncated("truncated.jpg");
    desk.write("bomb.png", png_claiming(20_000, 20_000));
    desk.write("hollow.png", png_claiming(64, 64));
    desk.write("text.jpg", "not an image");
    desk.write("empty.png", "");
    desk.write("folder/readme.txt", "");
    let broken = [
        ("truncated.jpg", "is a truncated JPEG"),
        ("bomb.png", "is 20000x20000 = 400000000 pixels, above the limit of 100000000"),
        ("hollow.png", "PNG"),
        ("text.jpg", "is not a JPEG, PNG, WebP or BMP image"),
        ("empty.png", "is empty"),
        ("folder", "is a directory"),
        ("gone.png", "No such file"),
    ];
    for (name, reason) in broken {
        desk.run(&format!("classify {name} {MODEL} --json")).fails(&[name, reason]);
        desk.run(&format!("viz {name} {MODEL} --merge tome:r=2 -o a.png")).fails(&[name, reason]);
    }
    let names = broken.map(|(name, _)| name).join(" ");
    let run = desk.run(&format!("classify first.png {names} last.jpg {MODEL} --json")).code(1);
    let paths: Vec<Value> = run.json().into_iter().map(|result| result["path"].clone()).collect();
    assert_eq!(paths, ["first.png", "last.jpg"]);
    let errors: Vec<&str> = run.err.lines().collect();
    assert_eq!(errors.len(), broken.len(), "{}", run.err);
    for ((name, reason), error) in broken.iter().zip(errors) {
        assert!(error.starts_with(&format!("error: {name}: ")) && error.contains(reason), "{error}");
    }
}

#[test]
fn the_limit_of_pixels_can_be_moved() {
    let desk = desk();
    desk.draw("a.png", 20, 10);
    desk.run(&format!("classify a.png {MODEL} --max-pixels 199")).fails(&[
        "20x10",
        "200",
        "--max-pixels 200",
    ]);
    desk.run(&format!("classify a.png {MODEL} --max-pixels 200")).ok();
}

#[test]
fn each_method_is_shown() {
    let desk = desk();
    desk.draw("a.png", 40, 30);
    let run = desk
        .run(&format!("classify a.png {MODEL} --json --merge none --merge tome:r=0 --merge tome:r=4"))
        .ok();
    let results = run.json();
    let merges: Vec<_> = results.iter().map(|result| result["merge"].as_str().expect("a spec")).collect();
    assert_eq!(merges, ["none", "tome:r=0", "tome:r=4"]);
    assert_eq!(results[0]["top"], results[1]["top"]);
    assert_eq!(results[2]["tokens"], json!([13, 9]));
    assert!(number(&results[2], "gmacs") < number(&results[0], "gmacs"));
}

#[test]
fn names_of_classes_come_from_a_file() {
    let desk = desk();
    desk.draw("a.png", 40, 30);
    desk.write("names.txt", "alder\nbirch\ncedar\ndogwood\nelm\n");
    desk.write("names.json", r#"["alder", "birch", "cedar", "dogwood", "elm"]"#);
    desk.write("names.tsv", "0\tn0\talder\n1\tn1\tbirch\n2\tn2\tcedar\n3\tn3\tdogwood\n4\tn4\telm\n");
    for file in ["names.txt", "names.json", "names.tsv"] {
        let result = desk.run(&format!("classify a.png {MODEL} --labels {file} --json")).ok().one_json();
        for ranked in result["top"].as_array().expect("a list") {
            let index = ranked["index"].as_u64().expect("an index") as usize;
            assert_eq!(ranked["label"], ["alder", "birch", "cedar", "dogwood", "elm"][index], "{file}");
        }
    }
    desk.write("four.txt", "alder\nbirch\ncedar\ndogwood\n");
    desk.run(&format!("classify a.png {MODEL} --labels four.txt")).fails(&["--labels", "4 classes", "has 5"]);
    desk.write("broken.tsv", "0\tn0\talder\nx\tn1\tbirch\n");
    desk.run(&format!("classify a.png {MODEL} --labels broken.tsv")).fails(&["broken.tsv", "line 2"]);
}

#[test]
fn without_json_it_is_readable() {
    let desk = desk();
    desk.draw("a.png", 40, 30);
    let run = desk.run(&format!("classify a.png {MODEL} --topk 2 --merge tome:r=3")).ok();
    let lines: Vec<&str> = run.out.lines().collect();
    assert!(lines[0].starts_with("a.png") && lines[0].contains("tome:r=3: 11 tokens left"), "{}", lines[0]);
    assert!(lines[0].contains("GMACs (fvcore)"), "{}", lines[0]);
    assert!(lines[1].contains(" %  ") && lines.len() == 3, "{}", run.out);
}

#[test]
fn a_model_without_a_head_predicts_nothing() {
    let desk = desk();
    desk.draw("a.png", 40, 30);
    desk.run("classify a.png --model vit_base_patch16_224.mae --random-weights")
        .fails(&["no classifier head"]);
}
