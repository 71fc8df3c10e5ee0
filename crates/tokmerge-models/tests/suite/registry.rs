//! Every name of timm's table means what it means in timm; `fixtures/registry.py` asks timm.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokmerge_models::{Config, architecture};

#[test]
fn every_listed_name_is_the_model_that_timm_builds() {
    let fixture: Value = serde_json::from_str(include_str!("../../fixtures/registry.json")).expect("JSON");
    let expected: BTreeMap<String, Value> =
        serde_json::from_value(fixture["models"].clone()).expect("an object of models");
    assert!(expected.len() > 230, "{} names", expected.len());
    let mut failures = Vec::new();
    for (name, expected) in &expected {
        let described = describe(name);
        // Norms, pools, MLPs and rotations are compared beside the tables, where they can be seen.
        for (fact, actual) in described.as_object().expect("facts") {
            if !agree(&expected[fact], actual) {
                failures.push(format!("{name}: {fact} is {actual}, and {} in timm", expected[fact]));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What the fixture says of a name, as it is here.
fn describe(name: &str) -> Value {
    let found = architecture(name).unwrap_or_else(|error| panic!("{error}"));
    let (facts, preprocess) = (found.config.facts(), found.preprocess().expect("of images"));
    let eps = match &found.config {
        Config::Vit(vit) => vit.block.norm.eps,
        #[allow(unreachable_patterns, reason = "timm has no other family of these")]
        _ => panic!("{name} is of another family"),
    };
    json!({
        "tag": found.tag,
        "parameters": found.config.clone().with_num_classes(1000).parameters(),
        "prefix": facts.prefix,
        "tokens": facts.tokens,
        "eps": eps,
        "preprocess": {
            "input_size": [3, preprocess.input_size.0, preprocess.input_size.1],
            "crop_pct": preprocess.crop_pct,
            "crop_mode": preprocess.crop_mode.name(),
            "interpolation": preprocess.interpolation.name(),
            "mean": preprocess.mean,
            "std": preprocess.std,
        },
    })
}

/// Equal, numbers as far as f32 has them.
fn agree(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::Number(expected), Value::Number(actual)) => {
            let (expected, actual) =
                (expected.as_f64().unwrap_or(f64::NAN), actual.as_f64().unwrap_or(f64::NAN));
            (expected - actual).abs() <= 1e-7 * expected.abs()
        }
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len()
                && expected.iter().zip(actual).all(|(expected, actual)| agree(expected, actual))
        }
        (Value::Object(expected), Value::Object(actual)) => expected
            .iter()
            .all(|(name, expected)| actual.get(name).is_some_and(|actual| agree(expected, actual))),
        _ => expected == actual,
    }
}
