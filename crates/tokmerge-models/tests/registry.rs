//! Every listed name means what it means in timm; `fixtures/registry.py` asks timm.

use burn::tensor::Device;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokmerge_models::{Precision, architectures, parameters};

#[test]
fn every_listed_name_is_the_model_that_timm_builds() {
    let fixture: Value = serde_json::from_str(include_str!("../fixtures/registry.json")).expect("JSON");
    let expected: BTreeMap<String, Value> =
        serde_json::from_value(fixture["models"].clone()).expect("an object of models");
    let round = |values: [f32; 3]| values.map(|value| (f64::from(value) * 1e6).round() / 1e6);
    let mut actual = BTreeMap::new();
    // timm has no V-MoE.
    for found in architectures().filter(|found| found.config.experts.is_none()) {
        let (config, preprocess) = (&found.config, &found.preprocess);
        let with_head = tokmerge_models::VitConfig { num_classes: 1000, ..config.clone() };
        let described = json!({
            "tag": found.tag,
            "parameters": parameters(&with_head.init(Precision::F32, &Device::flex())),
            "prefix": config.prefix(),
            "tokens": config.tokens(),
            "preprocess": {
                "input_size": [3, preprocess.input_size.0, preprocess.input_size.1],
                "crop_pct": preprocess.crop_pct,
                "crop_mode": preprocess.crop_mode.name(),
                "interpolation": preprocess.interpolation.name(),
                "mean": round(preprocess.mean),
                "std": round(preprocess.std),
            },
        });
        actual.insert(found.name, described);
    }
    for (name, expected) in &expected {
        assert_eq!(actual.get(name), Some(expected), "{name}");
    }
    assert_eq!(actual.len(), expected.len());
}
