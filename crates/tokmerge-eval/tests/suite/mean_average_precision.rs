//! Mean average precision against scikit-learn's, and of a model on a list.

#![expect(clippy::print_stderr, reason = "says what is skipped")]

use std::path::Path;
use tokmerge_eval::MeanAveragePrecision;

/// The tensors of a file of safetensors, by name: where they lie in it.
fn tensor<'a>(bytes: &'a [u8], header: &serde_json::Value, start: usize, name: &str) -> &'a [u8] {
    let at = |index: usize| header[name]["data_offsets"][index].as_u64().expect("an offset") as usize;
    &bytes[start + at(0)..start + at(1)]
}

/// 200 items and seven classes, with ties, from the material: scikit-learn's `average_precision_score` of each.
#[test]
fn every_class_is_scored_as_scikit_learn_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/material/families/audio_frontend/map.safetensors");
    if !path.exists() {
        let required = std::env::var("TOKMERGE_REQUIRE").is_ok_and(|what| what == "material");
        assert!(!required, "{} is absent, and TOKMERGE_REQUIRE=material asks for it", path.display());
        eprintln!("skipped: {} is absent", path.display());
        return;
    }
    let bytes = std::fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let of = |name| tensor(&bytes, &header, 8 + length, name);
    let scores: Vec<f32> = of("scores").as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let expected: Vec<f64> =
        of("average_precision").as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
    let classes = expected.len();
    let has: Vec<Vec<usize>> = of("labels")
        .chunks_exact(classes)
        .map(|row| (0..classes).filter(|class| row[*class] == 1).collect())
        .collect();
    let labels: Vec<&[usize]> = has.iter().map(Vec::as_slice).collect();
    let found = MeanAveragePrecision::of(&scores, &labels, classes);
    for (class, (found, expected)) in found.classes.iter().zip(&expected).enumerate() {
        let found = found.expect("items of every class");
        assert!((found - expected).abs() < 1e-12, "class {class}: {found} and {expected}");
    }
    let mean = found.mean().expect("a mean");
    assert!((mean - 0.514_563_636_424_068_3).abs() < 1e-12, "{mean}");
}
