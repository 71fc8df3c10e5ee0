//! The layer-wise studies against plain forward passes.

use burn::tensor::Device;
use tokmerge_data::{DecodeOptions, Reading};
use tokmerge_eval::analysis::{
    AnalysisError, InformationLoss, LayerLoss, MergeProfile, MergedTokens, information_loss, loss_per_layer,
    merged_tokens,
};
use tokmerge_merge::{Method, Reduction, Trace};
use tokmerge_models::{Model, ModelOptions, Pass, Weights};
use tokmerge_nn::Random;

const SIDE: usize = 96;
const IMAGES: usize = 5;

/// Twelve random layers, 36 patches and a class token.
fn model() -> Model {
    let options = ModelOptions {
        weights: Weights::Random,
        img_size: Some((SIDE, SIDE)),
        ..ModelOptions::new("vit_tiny_patch16_224")
    };
    Model::open(&options, &Device::flex()).expect("a model without files")
}

fn pixels() -> Vec<f32> {
    // A generator of its own: the device's is one for all the threads that test beside this one.
    let mut random = Random::new(7);
    let image = 3 * SIDE * SIDE;
    // Brighter and darker images, in which not the same number of tokens merges.
    (0..IMAGES * image)
        .map(|index| random.normal() as f32 * 0.3 + (index / image) as f32 * (index % SIDE) as f32 / 90.0)
        .collect()
}

fn bound(model: &Model, spec: &str) -> Reduction {
    let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
    model.bind(&method).unwrap_or_else(|error| panic!("{error}"))
}

fn losses(model: &Model, thresholds: &[f64], batch: usize) -> Vec<LayerLoss> {
    let mut study = InformationLoss::new(model, thresholds).expect("thresholds");
    for pixels in pixels().chunks(batch * 3 * SIDE * SIDE) {
        study.measure(&pixels.to_vec().into()).expect("finite");
    }
    study.losses()
}

fn profiles(model: &Model, specs: &[&str], batch: usize) -> Vec<MergeProfile> {
    let reductions: Vec<Reduction> = specs.iter().map(|spec| bound(model, spec)).collect();
    let mut study = MergedTokens::new(model, &reductions).expect("methods that merge");
    for pixels in pixels().chunks(batch * 3 * SIDE * SIDE) {
        study.measure(&pixels.to_vec().into()).expect("finite");
    }
    study.profiles()
}

fn merged(trace: &Trace) -> usize {
    trace.plans().map(|(_, plan)| plan.input().rows() - plan.output().rows()).sum()
}

#[test]
fn a_threshold_of_one_loses_nothing() {
    let losses = losses(&model(), &[1.0], IMAGES);
    assert_eq!(losses.iter().map(|loss| loss.layer).collect::<Vec<_>>(), (1..12).collect::<Vec<_>>());
    for loss in losses {
        assert_eq!((loss.distance, loss.merged, loss.per_token), (0.0, 0.0, None), "{loss:?}");
        assert_eq!((loss.agreement, loss.images), (Some(100.0), IMAGES));
    }
}

/// Going on from a layer is the same as running its spec from the start, bit for bit.
#[test]
fn every_branch_is_a_full_pass_of_its_spec() {
    let model = model();
    let pooled = |reduction: &Reduction| {
        let output = model.run(pixels(), Pass::new(reduction));
        let pooled = output.pooled;
        let [_, channels] = pooled.dims();
        let flat: Vec<f32> = pooled.into_data().iter::<f32>().collect();
        (flat.chunks(channels).map(<[f32]>::to_vec).collect::<Vec<_>>(), merged(&output.trace))
    };
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let (whole, _) = pooled(&Reduction::none());
    let mut some = 0;
    for loss in losses(&model, &[0.6, 0.9], IMAGES) {
        let (parts, merged) = pooled(&bound(&model, &loss.merge));
        let distance: f64 = (whole.iter().zip(&parts))
            .map(|(x, y)| (1.0 - dot(y, x) / (dot(y, y) * dot(x, x)).sqrt()).max(0.0))
            .sum();
        assert_eq!(loss.merged, merged as f64 / IMAGES as f64, "{}", loss.merge);
        assert!((loss.distance - distance / IMAGES as f64).abs() < 1e-15, "{loss:?} {distance}");
        assert_eq!(loss.per_token.is_some(), merged > 0);
        some += usize::from(merged > 0 && loss.distance > 0.0);
    }
    assert!(some > 5, "the test says something only where tokens merge: {some}");
}

#[test]
fn losses_do_not_depend_on_batches() {
    let model = model();
    let together = losses(&model, &[0.5, 0.8], IMAGES);
    for batch in [1, 2] {
        for (one, all) in losses(&model, &[0.5, 0.8], batch).iter().zip(&together) {
            assert!((one.distance - all.distance).abs() <= 1e-13, "{one:?} {all:?}");
            assert_eq!((one.merged, one.agreement, &one.merge), (all.merged, all.agreement, &all.merge));
        }
    }
}

#[test]
fn the_mean_over_thresholds_is_one_value_per_layer() {
    let losses = losses(&model(), &[0.5, 1.0], IMAGES);
    let means = loss_per_layer(&losses);
    assert_eq!(means.len(), 11);
    for (pair, (layer, mean)) in losses.chunks(2).zip(means) {
        assert_eq!((pair[0].layer, pair[1].layer), (layer, layer));
        assert_eq!(mean, pair[0].distance / 2.0);
    }
}

const SPECS: [&str; 7] = [
    "tome:r=3",
    "tome:r=9",
    "tome:r=2,feature=x_pre",
    "tome:r=3,matcher=kmeans",
    "atm:theta=0.6",
    "atm:alpha=0.9,beta=0.05,min=0.3",
    "tome:r=2,matcher=random_prune",
];

#[test]
fn merged_tokens_are_those_of_the_trace() {
    let model = model();
    for profile in profiles(&model, &SPECS, IMAGES) {
        let trace = model.run(pixels(), Pass::new(&bound(&model, &profile.merge))).trace;
        let counted: f64 = profile.layers.iter().map(|layer| layer.merged.mean).sum();
        assert!((counted * IMAGES as f64 - merged(&trace) as f64).abs() < 1e-9, "{}", profile.merge);
        let left: usize = (0..IMAGES).map(|item| trace.tokens_left(item, model.config().tokens())).sum();
        let last = profile.layers.last().expect("layers");
        assert!((last.tokens * IMAGES as f64 - left as f64).abs() < 1e-9, "{}", profile.merge);
        for layer in &profile.layers {
            let m = layer.merged;
            assert!(m.min <= m.mean && m.mean <= m.max && m.deviation >= 0.0, "{layer:?}");
        }
    }
}

#[test]
fn profiles_do_not_depend_on_batches() {
    let model = model();
    let together = profiles(&model, &SPECS, IMAGES);
    for batch in [1, 3] {
        for (one, all) in profiles(&model, &SPECS, batch).iter().zip(&together) {
            assert_eq!((&one.merge, one.images), (&all.merge, IMAGES));
            for (one, all) in one.layers.iter().zip(&all.layers) {
                assert_eq!((one.merged, one.threshold), (all.merged, all.threshold));
                assert!((one.error - all.error).abs() < 1e-9 * (1.0 + all.error), "{one:?} {all:?}");
            }
        }
    }
}

#[test]
fn thresholds_and_errors_are_there_where_they_mean_something() {
    let model = model();
    for profile in profiles(&model, &SPECS, IMAGES) {
        let atm = profile.merge.starts_with("atm");
        let (last, before) = profile.layers.split_last().expect("layers");
        assert!(before.iter().all(|layer| layer.threshold.is_some() == atm), "{}", profile.merge);
        assert!(last.threshold.is_none());
        for layer in &profile.layers {
            // Dropping is no merging.
            let merges = layer.merged.mean > 0.0 && !profile.merge.contains("prune");
            assert_eq!(layer.error_per_merge.is_some(), merges, "{}: {layer:?}", profile.merge);
            assert_eq!(layer.error > 0.0, merges, "{}: {layer:?}", profile.merge);
        }
    }
    let first = |spec| profiles(&model, &[spec], IMAGES)[0].layers[0].threshold;
    assert_eq!((first("atm:theta=0.6"), first("atm:theta=[1,0.9]")), (Some(0.6), None));
}

#[test]
fn what_cannot_be_studied_is_refused() {
    let model = model();
    let refused =
        |thresholds: &[f64]| InformationLoss::new(&model, thresholds).expect_err("refused").to_string();
    assert!(refused(&[]).contains("at least one"));
    assert!(refused(&[0.9, 1.5]).contains("from -1 to 1, not 1.5"));
    assert!(refused(&[f64::NAN]).contains("not NaN"));
    assert!(refused(&[0.9, 0.8, 0.9]).contains("0.9 is given twice"));
    for spec in ["none", "tome:r=0", "atm:theta=1", "atm:theta=[1,1]"] {
        let reductions = ["tome:r=3", spec].map(|spec| bound(&model, spec));
        let error = MergedTokens::new(&model, &reductions).expect_err("refused");
        assert!(
            matches!(&error, AnalysisError::NeverMerges(merge) if merge.starts_with(&spec[..3])),
            "{error}"
        );
    }
    for spec in ["token_transforming:keep=50%,layer=1", "patchmerger:m=2,layer=1"] {
        let error = MergedTokens::new(&model, &[bound(&model, spec)]).expect_err("refused").to_string();
        assert!(error.contains("mixes all tokens") && error.contains("e.g. tome:r=8"), "{error}");
    }
    let too_many: Method = "tome:r=99".parse().expect("a spec");
    assert!(model.bind(&too_many).expect_err("refused").to_string().contains("r must be below"));
}

#[test]
fn without_images_everything_is_zero() {
    let model = model();
    let reading = Reading { batch_size: 2, workers: 0, decoding: DecodeOptions::default() };
    let losses = information_loss(&model, &[0.9], Vec::new(), reading, &mut ()).expect("nothing to read");
    assert!(losses.iter().all(|loss| (loss.images, loss.distance, loss.merged) == (0, 0.0, 0.0)));
    let reductions = [bound(&model, "tome:r=3")];
    let profiles = merged_tokens(&model, &reductions, Vec::new(), reading, &mut ()).expect("nothing to read");
    assert_eq!((profiles[0].images, profiles[0].layers[11].tokens), (0, 37.0));
}
