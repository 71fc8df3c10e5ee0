//! Classes by their names: `classify`, `eval` and `tune` on folders of CLIP and SigLIP.

use crate::common::{self, Desk, material, number};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A folder with both towers.
fn folder(name: &str) -> Option<PathBuf> {
    Some(material()?.join("text").join(name))
}

/// The tensor `image.{item}` of a golden file as a PNG at `to`.
fn draw(golden: &Path, item: usize, to: &Path) {
    let bytes = std::fs::read(golden.join("golden.safetensors")).expect("goldens");
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
    let header: Value = serde_json::from_slice(&rest[..length]).expect("JSON");
    let tensor = &header[format!("image.{item}")];
    let at = |index: usize| tensor["data_offsets"][index].as_u64().expect("a number") as usize;
    let side = |index: usize| tensor["shape"][index].as_u64().expect("a number") as u32;
    let pixels = rest[length + at(0)..length + at(1)].to_vec();
    image::RgbImage::from_raw(side(1), side(0), pixels).expect("pixels").save(to).expect("a written image");
}

/// The floats of a golden file.
fn floats(golden: &Path, name: &str) -> Vec<f32> {
    let bytes = std::fs::read(golden.join("golden.safetensors")).expect("goldens");
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
    let header: Value = serde_json::from_slice(&rest[..length]).expect("JSON");
    let at = |index: usize| header[name]["data_offsets"][index].as_u64().expect("a number") as usize;
    let values = rest[length + at(0)..length + at(1)].chunks_exact(4);
    values.map(|value| f32::from_le_bytes(value.try_into().expect("four bytes"))).collect()
}

/// Logit and probability by class.
fn by_class(result: &Value) -> Vec<(f64, f64)> {
    let mut top: Vec<(u64, f64, f64)> = result["top"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|ranked| {
            (
                ranked["index"].as_u64().expect("an index"),
                number(ranked, "logit"),
                number(ranked, "probability"),
            )
        })
        .collect();
    top.sort_by_key(|(index, ..)| *index);
    top.into_iter().map(|(_, logit, probability)| (logit, probability)).collect()
}

fn photographs() -> Option<Vec<String>> {
    let sample = material()?.join("imagenet1k_sample");
    let first = |wnid: &str| {
        let files = sample.join(wnid).read_dir().expect("a class").map(|file| file.expect("readable").path());
        files.min().expect("a photograph").display().to_string()
    };
    Some(["n01443537", "n07753592", "n02504458"].map(first).to_vec())
}

#[test]
fn classify_gives_the_probabilities_of_transformers() {
    for name in ["clip", "siglip"] {
        let Some(golden) = folder(name) else { return };
        let desk = Desk::new();
        let model = format!("local-dir:{}", golden.display());
        let (logits, probabilities) = (floats(&golden, "logits_per_image"), floats(&golden, "probabilities"));
        for item in 0..2 {
            draw(&golden, item, &desk.path("a.png"));
            let arguments =
                ["classify", "a.png", "--model", &model, "--json", "--classes", "cat,dog, small house"];
            let run = desk.run_with(&[&arguments[..], &["--template", "a photo of a {}."]].concat()).ok();
            assert_eq!(run.err, "");
            let found = by_class(&run.one_json());
            for (class, (logit, probability)) in found.iter().enumerate() {
                let expected = |of: &[f32]| f64::from(of[item * 3 + class]);
                assert!((logit - expected(&logits)).abs() < 2e-4, "{name}: {logit} {}", expected(&logits));
                assert!((probability - expected(&probabilities)).abs() < 1e-5, "{name}: {probability}");
            }
            assert_eq!(found.len(), 3);
        }
    }
}

#[test]
fn photographs_are_classified_and_the_images_merge() {
    for name in ["clip", "siglip"] {
        let (Some(golden), Some(photographs)) = (folder(name), photographs()) else { return };
        let (desk, model) = (Desk::new(), format!("local-dir:{}", golden.display()));
        let mut arguments = vec!["classify"];
        arguments.extend(photographs.iter().map(String::as_str));
        arguments.extend(["--model", &model, "--classes", "a goldfish,a banana,an elephant", "--json"]);
        arguments.extend(["--merge", "none", "--merge", "tome:r=2"]);
        let results = desk.run_with(&arguments).ok().json();
        assert_eq!(results.len(), 6);
        for result in &results {
            let sum: f64 = by_class(result).iter().map(|(_, probability)| probability).sum();
            // Each of SigLIP's stands by itself.
            assert_eq!((sum - 1.0).abs() < 1e-5, name == "clip", "{sum}");
            let labels: Vec<_> =
                result["top"].as_array().expect("a list").iter().map(|top| &top["label"]).collect();
            assert!(labels.contains(&&json!("an elephant")), "{result}");
        }
        let (unmerged, merged) = (&results[0], &results[3]);
        assert!(number(merged, "gmacs") < number(unmerged, "gmacs"));
        // The names alone are read where there is no template.
        let template = desk.run_with(&[&arguments[..], &["--template", "{}"]].concat()).ok().json();
        assert_eq!(template[0]["top"], unmerged["top"]);
        let other = desk.run_with(&[&arguments[..], &["--template", "no {}"]].concat()).ok().json();
        assert_ne!(other[0]["top"], unmerged["top"]);
    }
}

/// Class folders with an image each, as goldens have them.
fn class_folders(desk: &Desk, golden: &Path, names: &[&str]) {
    for (item, name) in names.iter().enumerate() {
        std::fs::create_dir_all(desk.path(&format!("photos/{name}"))).expect("folders");
        draw(golden, item % 2, &desk.path(&format!("photos/{name}/{item}.png")));
    }
}

#[test]
fn eval_reads_names_from_folders_or_from_a_file() {
    for name in ["clip", "siglip"] {
        let Some(golden) = folder(name) else { return };
        let (desk, model) = (Desk::new(), format!("local-dir:{}", golden.display()));
        class_folders(&desk, &golden, &["cat", "dog", "small house"]);
        let expected: Value =
            serde_json::from_slice(&std::fs::read(golden.join("expected.json")).expect("readable"))
                .expect("JSON");
        // The first image lies in cat and in small house, the second in dog.
        let predicted: Vec<&str> =
            (0..2).map(|item| expected["predicted"][item].as_str().expect("a name")).collect();
        let hits = [(0, "cat"), (1, "dog"), (0, "small house")]
            .iter()
            .filter(|(item, name)| predicted[*item] == *name);
        let top1 = 100.0 * hits.count() as f64 / 3.0;
        let eval = ["eval", "photos", "--model", &model, "--json", "--merge", "none", "--merge", "tome:r=2"];
        let run = desk.run_with(&eval).ok();
        assert!(run.err.contains("a photo of a cat."), "{}", run.err);
        let by_folder = run.json();
        assert!((number(&by_folder[0], "top1") - top1).abs() < 1e-6, "{} {top1}", by_folder[0]);
        assert_eq!((&by_folder[0]["images"], by_folder.len()), (&json!(3), 2));
        // In another order, with a class that has no folder.
        desk.write("names.txt", "small house\na car\ndog\ncat\n");
        let named = [&eval[..], &["--classes-from", "names.txt", "--predictions", "p.csv"]].concat();
        let results = desk.run_with(&named).ok().json();
        assert_eq!(results.len(), 2);
        let rows = desk.csv("p.csv");
        let label_of = |row: &Vec<String>| (row[0].contains("cat"), row[1].clone());
        assert!(rows[1..].iter().any(|row| label_of(row) == (true, "3".to_owned())), "{rows:?}");
        desk.write("names.tsv", "0\tcat\ta cat\n1\tdog\ta dog\n2\tsmall house\ta house\n");
        desk.run_with(&[&eval[..], &["--classes-from", "names.tsv", "--template", "{}"]].concat()).ok();
        let classes =
            [&eval[..], &["--classes", "cat,dog,small house", "--template", "a photo of a {}."]].concat();
        let run = desk.run_with(&classes).ok();
        assert_eq!((run.json()[0]["top1"].clone(), run.err.as_str()), (by_folder[0]["top1"].clone(), ""));
        let others = [&eval[..], &["--classes", "a,b,c"]].concat();
        assert!(desk.run_with(&others).ok().err.contains("in natural order"));
    }
}

#[test]
fn a_merging_is_found_for_classes_by_name() {
    let Some(golden) = folder("clip") else { return };
    let (desk, model) = (Desk::new(), format!("local-dir:{}", golden.display()));
    for item in 0..40 {
        desk.draw(&format!("photos/{item}.png"), 40 + item, 50);
    }
    let arguments = ["tune", "photos", "--model", &model, "--gmacs", "0.8", "--time-budget", "5"];
    desk.run_with(&[&arguments[..], &["--classes", "cat,dog"]].concat()).ok();
    desk.run_with(&arguments).fails(&["no classifier head", "class names"]);
}

#[test]
fn what_cannot_be_meant_is_refused_in_one_line() {
    let Some(golden) = folder("clip") else { return };
    let desk = Desk::new();
    desk.draw("a.png", 40, 40);
    desk.model("tiny", &common::files::tiny_tensors());
    let model = format!("local-dir:{}", golden.display());
    let classify =
        |options: &[&str]| desk.run_with(&[&["classify", "a.png", "--model", &model], options].concat());
    classify(&[]).fails(&["no classifier head", "class names"]);
    classify(&["--classes", "cat,,dog"]).fails(&["class 1 has no name"]);
    classify(&["--classes", "cat,dog, cat"]).fails(&["\"cat\"", "twice"]);
    classify(&["--classes", "cat", "--template", "a photo"]).fails(&["--template is \"a photo\"", "{}"]);
    classify(&["--template", "a {}"]).fails(&["--template", "--classes"]);
    classify(&["--classes-from", "gone.txt"]).fails(&["gone.txt"]);
    classify(&["--classes", "cat", "--random-weights"]).fails(&["random weights", "--random-weights"]);
    desk.write("names.txt", "cat\n\ndog\n");
    classify(&["--classes-from", "names.txt"]).fails(&["class 1 has no name"]);
    classify(&["--classes", "cat", "--labels", "names.txt"]).misused(&["--labels", "cannot be used with"]);
    desk.run("classify a.png --model local-dir:tiny --classes cat,dog").fails(&["has 5 classes of its own"]);
    desk.run("classify a.png --model local-dir:tiny --template {}").fails(&["--template"]);
    let copied = |without: &str, to: &str| {
        for name in ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"] {
            if name != without {
                desk.write(&format!("{to}/{name}"), std::fs::read(golden.join(name)).expect("readable"));
            }
        }
    };
    copied("tokenizer.json", "wordless");
    desk.run("classify a.png --model local-dir:wordless --classes cat,dog").fails(&["tokenizer.json"]);
    let Some(folders) = material().map(|material| material.join("folders")) else { return };
    let dino = format!("local-dir:{}", folders.join("hf-dinov2").display());
    desk.run(&format!("classify a.png --model {dino} --classes cat,dog")).fails(&["no text tower"]);
    desk.draw("ids/n01440764/a.png", 40, 40);
    desk.draw("ids/n01443537/b.png", 40, 40);
    let eval = |options: &[&str]| desk.run_with(&[&["eval", "ids", "--model", &model], options].concat());
    assert!(eval(&[]).ok().err.contains("a photo of a tench."));
    desk.write("ids.tsv", "0\tn01443537\tgoldfish\n1\tn01440764\ttench\n2\tn1\tcrane\n3\tn2\tcrane\n");
    eval(&["--classes-from", "ids.tsv"]).ok();
    desk.write("list.csv", "path,labels\na.png,cat\n");
    desk.run_with(&["eval", "list.csv", "--model", &model, "--classes", "cat,dog"]).fails(&["--labels"]);
}
