//! The VQA score against the numbers beside the repository.

use crate::common::material;
use safetensors::SafeTensors;
use serde_json::Value;
use tokmerge_metrics::{SoftAnswers, Spelling, classes, most_frequent};

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|text| text.as_str().expect("text")).collect()
}

#[test]
fn scores_classes_and_targets_are_as_published() {
    let Some(folder) = material("text/metrics_vqa") else { return };
    let expected: Value =
        serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let rule = &expected["class_rule"];
    let seen = texts(&rule["most_frequent_answers_seen"]);
    let classes = classes(seen.iter().copied(), rule["at_least"].as_u64().unwrap() as usize);
    assert_eq!(classes, texts(&rule["classes_sorted"]));

    let bytes = std::fs::read(folder.join("golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |name: &str| -> Vec<[u8; 4]> { golden.tensor(name).unwrap().data().as_chunks().0.to_vec() };
    let targets: Vec<f32> = tensor("targets").into_iter().map(f32::from_le_bytes).collect();
    let predicted: Vec<i32> = tensor("predicted").into_iter().map(i32::from_le_bytes).collect();
    let scores: Vec<f32> = tensor("scores").into_iter().map(f32::from_le_bytes).collect();

    let items = expected["items"].as_array().unwrap();
    let mut sum = 0.0;
    for (at, item) in items.iter().enumerate() {
        let answers = texts(&item["answers"]);
        // The first questions of those that the classes were chosen from.
        assert_eq!(most_frequent(&answers), Some(seen[at]));
        let answers = SoftAnswers::new(&answers, Spelling::AsWritten).unwrap();
        let soft: Vec<(&str, f64)> = answers.iter().collect();
        let expected: Vec<(&str, f64)> = item["soft"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(a, s)| (a.as_str(), s.as_f64().unwrap()))
            .collect();
        assert_eq!(soft, expected);
        let score = answers.score(item["prediction"].as_str().unwrap());
        assert_eq!(score, item["score"].as_f64().unwrap());
        sum += score;
        let found = answers.targets(&classes);
        assert_eq!(found, targets[at * classes.len()..][..classes.len()]);
        assert_eq!(found[predicted[at] as usize], scores[at]);
    }
    let mean = sum / items.len() as f64;
    assert!((mean - expected["mean_score"].as_f64().unwrap()).abs() < 1e-6, "{mean}");
}
