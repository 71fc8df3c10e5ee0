//! A real ViT-Ti on 1000 real images, one per class.

use crate::common::{Desk, material, number, real_weights};

/// PyTorch's numbers are of the same images; another JPEG decoder and another order of sums move a few of 1000.
const TOP1_TOLERANCE: f64 = 0.3;

#[test]
fn top1_is_that_of_pytorch() {
    let Some(material) = material() else { return };
    let (images, weights) =
        (material.join("imagenet1k_sample").display().to_string(), real_weights(&material));
    let methods = ["none", "tome:r=8", "tome:r=13", "tome:r=13,matcher=random_merge"];
    let mut arguments = vec!["eval", &images, "--model", "vit_tiny_patch16_224", "--weights", &weights];
    arguments.extend(["--crop-pct", "1.0", "--json"]);
    arguments.extend(methods.iter().flat_map(|method| ["--merge", method]));
    let run = Desk::new().run_with(&arguments).ok();
    let results = run.json();
    for ((result, method), expected) in results.iter().zip(methods).zip([83.1, 81.9, 80.4]) {
        assert_eq!((&result["merge"], &result["images"]), (&method.into(), &1000.into()));
        let top1 = number(result, "top1");
        assert!(
            (top1 - expected).abs() <= TOP1_TOLERANCE + 1e-9,
            "{method}: top-1 {top1}, PyTorch {expected}"
        );
    }
    assert_eq!(number(&results[0], "agreement"), 100.0);
    assert!(number(&results[1], "agreement") > number(&results[2], "agreement"), "{}", run.out);
    // Merging pairs that are not alike is no way to merge.
    assert!(number(&results[3], "top1") < 70.0, "{}", results[3]);
    assert_eq!(number(&results[3], "mean_tokens"), number(&results[2], "mean_tokens"));
    assert_eq!(results.len(), 4);
}

#[test]
fn photographs_are_recognised() {
    let Some(material) = material() else { return };
    let (labels, weights) = (material.join("imagenet1k_labels.tsv"), real_weights(&material));
    let labels = labels.display().to_string();
    for (wnid, name) in
        [("n01443537", "goldfish"), ("n07753592", "banana"), ("n02504458", "African_elephant")]
    {
        let folder = material.join("imagenet1k_sample").join(wnid);
        let photograph =
            folder.read_dir().expect("a class").next().expect("a photograph").expect("readable").path();
        let photograph = photograph.display().to_string();
        let mut arguments =
            vec!["classify", &photograph, "--model", "vit_tiny_patch16_224", "--weights", &weights];
        arguments.extend([
            "--labels",
            &labels,
            "--crop-pct",
            "1.0",
            "--merge",
            "none",
            "--merge",
            "tome:r=8",
        ]);
        let run = Desk::new().run_with(&arguments).ok();
        assert!(run.out.contains(name), "{}", run.out);
        arguments.push("--json");
        for result in Desk::new().run_with(&arguments).ok().json() {
            let best = &result["top"][0];
            assert!(best["label"].as_str().is_some_and(|label| label.contains(name)), "{result}");
        }
    }
}
