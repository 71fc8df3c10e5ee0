//! Images whose merged answer is not clear run once more, each by its own decision.

use crate::common::{noise, values};
use burn::tensor::Device;
use tokmerge_models::{Convention, Model, ModelOptions, Pass, Weights, top2_margin};

fn model() -> Model {
    let options = ModelOptions {
        weights: Weights::Random,
        img_size: Some((64, 48)),
        ..ModelOptions::new("vit_tiny_patch16_224")
    };
    Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"))
}

const IMAGE: usize = 3 * 64 * 48;

#[test]
fn unclear_images_get_the_unmerged_answer_and_the_others_keep_theirs() {
    let model = model();
    let pixels = noise(6 * IMAGE, 3);
    let run = |spec: &str, pixels: &[f32]| {
        let method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
        let reduction = model.bind(&method).unwrap_or_else(|error| panic!("{error}"));
        let output = model.run(pixels.to_vec(), Pass::new(&reduction));
        let gmacs = model.gmacs(&output.trace, 0, &reduction, Convention::Macs);
        let read = model.run(pixels.to_vec(), Pass::head(&reduction));
        assert_eq!(values(read.logits), values(output.logits.clone()), "{spec}");
        assert_eq!(read.trace.rechecked(), output.trace.rechecked(), "{spec}");
        assert_eq!(model.gmacs(&read.trace, 0, &reduction, Convention::Macs), gmacs, "{spec}");
        (values(output.logits), output.trace, gmacs)
    };
    let (unmerged, _, full) = run("none", &pixels);
    let (merged, _, less) = run("tome:r=3", &pixels);
    assert_ne!(unmerged, merged);
    let (all, trace, both) = run("tome:r=3,recheck=1000", &pixels);
    assert_eq!((all, trace.rechecked()), (unmerged.clone(), &[0, 1, 2, 3, 4, 5][..]));
    assert!((both - full - less).abs() < 1e-9, "a second look is counted");

    let classes = model.classes();
    let mut margins: Vec<f32> = merged.chunks_exact(classes).map(top2_margin).collect();
    margins.sort_by(f32::total_cmp);
    let clear = (margins[2] + margins[3]) / 2.0;
    let spec = format!("tome:r=3,recheck={clear}");
    let (some, trace, _) = run(&spec, &pixels);
    assert_eq!(trace.rechecked().len(), 3);
    for item in 0..6 {
        let source = if trace.rechecked().contains(&item) { &unmerged } else { &merged };
        let range = item * classes..(item + 1) * classes;
        assert_eq!(some[range.clone()], source[range.clone()], "image {item}");
        let (alone, _, _) = run(&spec, &pixels[item * IMAGE..(item + 1) * IMAGE]);
        assert_eq!(alone, some[range], "image {item} alone");
    }
}

#[test]
fn margins_are_between_the_two_best() {
    assert_eq!(top2_margin(&[1.0, 4.0, 2.5]), 1.5);
    assert_eq!(top2_margin(&[2.0, 2.0]), 0.0);
    assert_eq!(top2_margin(&[2.0]), f32::INFINITY);
    assert!(top2_margin(&[f32::NAN, 1.0]).is_nan() && top2_margin(&[1.0, f32::NAN, 3.0]).is_nan());
}
