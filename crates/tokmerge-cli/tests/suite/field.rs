//! Files and folders as people have them: the cases of the material, each a command line and what must come of it.

use crate::common::{Desk, material};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Between the same weights, spelled in two ways.
const SAME: f64 = 1e-4;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
}

/// Values of the last line of standard output: logits by class, or an embedding.
fn values(out: &str, what: &str) -> BTreeMap<u64, f64> {
    let last: Value = serde_json::from_str(out.trim().lines().last().expect("a line")).expect("JSON");
    let number = |value: &Value| value.as_f64().expect("a number");
    match what {
        "same_logits_as" => {
            let top = last["top"].as_array().expect("classes");
            top.iter()
                .map(|class| (class["index"].as_u64().expect("an index"), number(&class["logit"])))
                .collect()
        }
        _ => {
            let embedding = last["embedding"].as_array().expect("an embedding");
            (0..).zip(embedding.iter().map(number)).collect()
        }
    }
}

/// What is wrong with how a case ended.
fn judge(desk: &Desk, case: &Value) -> Result<(), String> {
    let expect = &case["expect"];
    let run = |arguments: &Value| {
        let arguments = words(arguments);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        desk.run_from(&arguments, expect["stdin"].as_str())
    };
    let ended = run(&case["argv"]);
    let said = |words: &[String]| {
        let err = ended.err.to_lowercase();
        match words.iter().find(|word| !err.contains(&word.to_lowercase())) {
            Some(word) => Err(format!("{word} is not said: {}", ended.err)),
            None => Ok(()),
        }
    };
    if ended.err.contains("panicked") {
        return Err(ended.err.clone());
    }
    if let Some(refused) = expect.get("refused") {
        return if ended.code == Some(0) { Err("accepted".to_owned()) } else { said(&words(refused)) };
    }
    if ended.code != Some(0) {
        return Err(ended.err.clone());
    }
    for what in ["same_logits_as", "same_embedding_as"] {
        let Some(other) = expect.get(what) else { continue };
        let (found, expected) = (values(&ended.out, what), values(&run(other).out, what));
        let close =
            |index: &u64| found.get(index).is_some_and(|value| (value - expected[index]).abs() <= SAME);
        if found.len() != expected.len() || !expected.keys().all(close) {
            return Err(format!("{found:?}, not {expected:?}"));
        }
    }
    if let Some(labels) = expect.get("labels") {
        let rows = desk.csv("OUT.csv");
        let found: BTreeMap<String, String> = rows[1..]
            .iter()
            .map(|row| {
                let folder = Path::new(&row[0]).parent().and_then(Path::file_name).unwrap_or_default();
                (folder.to_string_lossy().into_owned(), row[1].clone())
            })
            .collect();
        let labels = labels.as_object().expect("labels by folder");
        let expected: BTreeMap<String, String> =
            labels.iter().map(|(folder, label)| (folder.clone(), label.to_string())).collect();
        if found != expected {
            return Err(format!("labels {found:?}, not {expected:?}"));
        }
    }
    if let Some(images) = expect.get("images") {
        let last: Value =
            serde_json::from_str(ended.out.trim().lines().last().expect("a line")).expect("JSON");
        if last["images"] != *images {
            return Err(format!("{} images, not {images}", last["images"]));
        }
    }
    if expect["no_control_bytes"] == true
        && (ended.out.clone() + &ended.err).bytes().any(|byte| byte < 32 && byte != b'\t' && byte != b'\n')
    {
        return Err("control bytes reach the terminal".to_owned());
    }
    expect.get("stderr_says").map_or(Ok(()), |says| said(&words(says)))
}

#[test]
fn everyday_files_and_folders_are_understood_or_refused_by_name() {
    let Some(material) = material() else { return };
    let cases = material.join("field/cases");
    let list = std::fs::read_to_string(cases.join("cases.json")).expect("the cases");
    let list: Vec<Value> = serde_json::from_str(&list).expect("JSON");
    let desk = Desk::new();
    copy(&cases, &desk.path(""));
    let wrong: Vec<String> = list
        .iter()
        .filter_map(|case| judge(&desk, case).err().map(|why| format!("{}: {why}", case["name"])))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), list.len(), wrong.join("\n"));
    assert!(list.len() >= 18);
}
