//! Real models against the published ToMe implementation, whose outputs lie beside the weights: a ViT-Ti, and a ViT-S/14 of
//! DINOv2's shape.

#![expect(clippy::print_stdout, reason = "says what was measured")]

use crate::common::{
    floats, forward, images, integers, material, under_other_instruction_sets, values, worst_absolute,
};
use burn::tensor::Device;
use tokmerge_checkpoint::Checkpoint;
use tokmerge_merge::Reduction;
use tokmerge_models::{Model, ModelOptions, Network, Pass, Precision, architecture, load};

/// Absolute, on logits of up to 15 after twelve blocks in another order of additions.
const LOGITS_F32: f32 = 1e-4;

const NAME: &str = "vit_tiny_patch16_224.augreg_in21k_ft_in1k";
const IMAGES: usize = 24;
const CLASSES: usize = 1000;
const BATCH: usize = 8;

/// The model and what it should say; nothing where the material is absent.
fn open(precision: Precision) -> Option<(Network, Checkpoint)> {
    let weights = material("vit_tiny_augreg/vit_tiny_patch16_224_augreg_in21k_ft_in1k.safetensors")?;
    let golden = material("vit_tiny_augreg/golden_tome.safetensors")?;
    let model = architecture(NAME).expect("listed").config.init(precision, &Device::flex());
    let weights = Checkpoint::open(weights).expect("readable");
    let (model, _) = load(model, &weights).unwrap_or_else(|error| panic!("{error}"));
    Some((model, Checkpoint::open(golden).expect("readable")))
}

/// `images_u8: [24, 224, 224, 3]`, normalised and channels first.
fn pixels(golden: &Checkpoint) -> Vec<f32> {
    let preprocess = architecture(NAME).expect("listed").preprocess().expect("of images").clone();
    assert_eq!((preprocess.mean, preprocess.std), ([0.5; 3], [0.5; 3]));
    normalised(golden, [0.5; 3], [0.5; 3])
}

/// `images_u8: [N, 224, 224, 3]`, normalised and channels first.
fn normalised(golden: &Checkpoint, mean: [f32; 3], std: [f32; 3]) -> Vec<f32> {
    let bytes = golden.get("images_u8").expect("images").bytes();
    let image = |image: &[u8]| -> Vec<f32> {
        let channel = |channel| image.iter().skip(channel).step_by(3);
        let value = |index: usize, byte: &u8| (f32::from(*byte) / 255.0 - mean[index]) / std[index];
        (0..3).flat_map(|index| channel(index).map(move |byte| value(index, byte))).collect()
    };
    bytes.chunks_exact(224 * 224 * 3).flat_map(image).collect()
}

/// What the model makes of all images, in batches of `batch`.
struct Outputs {
    logits: Vec<f32>,
    sizes: Vec<f32>,
    origins: Vec<i32>,
}

fn run(model: &Network, pixels: &[f32], spec: &str, batch: usize) -> Outputs {
    let method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
    let reduction =
        Reduction::bind(method, &model.config().facts()).unwrap_or_else(|error| panic!("{error}"));
    let mut outputs = Outputs { logits: Vec::new(), sizes: Vec::new(), origins: Vec::new() };
    for pixels in pixels.chunks_exact(batch * 3 * 224 * 224) {
        let images = images(pixels, [batch, 3, 224, 224], &Device::flex());
        let classified = forward(model, images, &reduction);
        outputs.logits.extend(values(classified.logits));
        outputs.sizes.extend_from_slice(&classified.tokens.sizes());
        if let Some(plan) = classified.trace.plan_until(None) {
            let groups = (0..batch).flat_map(|item| plan.groups(item));
            outputs.origins.extend(groups.map(|group| group.map_or(-1, |group| group as i32)));
        }
    }
    outputs
}

/// Images whose tokens went elsewhere than the published implementation sends them.
fn elsewhere(outputs: &Outputs, golden: &Checkpoint, schedule: &str) -> Vec<usize> {
    let (sizes, origins) =
        (floats(golden, &format!("size_{schedule}")), integers(golden, &format!("source_{schedule}")));
    assert_eq!((outputs.sizes.len(), outputs.origins.len()), (sizes.len(), origins.len()));
    let (kept, all) = (sizes.len() / IMAGES, origins.len() / IMAGES);
    (0..IMAGES)
        .filter(|image| {
            let (kept, all) = (image * kept..(image + 1) * kept, image * all..(image + 1) * all);
            outputs.sizes[kept.clone()] != sizes[kept] || outputs.origins[all.clone()] != origins[all]
        })
        .collect()
}

#[test]
fn logits_sizes_and_origins_are_those_published() {
    let Some((model, golden)) = open(Precision::F32) else { return };
    let pixels = pixels(&golden);
    for (spec, logits) in [("none", "base"), ("tome:r=0", "r0"), ("tome:r=8", "r8"), ("tome:r=13", "r13")] {
        let outputs = run(&model, &pixels, spec, BATCH);
        let expected = floats(&golden, &format!("logits_{logits}"));
        if outputs.origins.is_empty() {
            println!("{spec:9} {IMAGES} images");
        } else {
            let elsewhere = elsewhere(&outputs, &golden, logits);
            println!("{spec:9} tokens of {} of {IMAGES} images agree exactly", IMAGES - elsewhere.len());
            assert!(elsewhere.is_empty(), "{spec}: tokens of images {elsewhere:?} went elsewhere");
        }
        let worst = worst_absolute(&outputs.logits, &expected);
        println!("{spec:9} largest error of a logit {:.1e}", worst.error);
        let (image, class) = (worst.index / CLASSES, worst.index % CLASSES);
        assert!(worst.error <= LOGITS_F32, "{spec}: {worst:?} in image {image}, class {class}");
    }
}

#[test]
fn every_instruction_set_agrees() {
    if material("vit_tiny_augreg").is_some() {
        under_other_instruction_sets("real::logits_sizes_and_origins_are_those_published");
    }
}

#[test]
fn the_size_of_a_batch_changes_no_bit() {
    let Some((model, golden)) = open(Precision::F32) else { return };
    let pixels = &pixels(&golden)[..6 * 3 * 224 * 224];
    for spec in ["none", "tome:r=13"] {
        let alone = run(&model, pixels, spec, 1);
        for batch in [2, 3, 6] {
            let together = run(&model, pixels, spec, batch);
            assert_eq!(together.logits, alone.logits, "{spec}, batch {batch}");
            assert_eq!(together.origins, alone.origins, "{spec}, batch {batch}");
        }
    }
}

/// Every image has its own number of tokens in every layer, whoever its neighbours are.
#[test]
fn thresholds_treat_every_image_alone() {
    let Some((model, golden)) = open(Precision::F32) else { return };
    let pixels = pixels(&golden);
    let image = |index: usize| &pixels[index * 3 * 224 * 224..(index + 1) * 3 * 224 * 224];
    for spec in ["atm:alpha=0.985,beta=0.025,min=0.885", "atm:theta=0.8,split=0"] {
        let alone: Vec<Vec<f32>> =
            (0..IMAGES).map(|index| run(&model, image(index), spec, 1).logits).collect();
        let mut order: Vec<usize> = (0..IMAGES).collect();
        for (round, batch) in [2, 3, 4, 6, 12, 24].into_iter().enumerate() {
            // Other neighbours in every round, some of them twice.
            order.rotate_left(5 + round);
            order.swap(round, 23 - round);
            order[2 * round] = order[23];
            let pixels: Vec<f32> = order.iter().flat_map(|&index| image(index).to_vec()).collect();
            let together = run(&model, &pixels, spec, batch).logits;
            for (logits, &index) in together.chunks_exact(CLASSES).zip(&order) {
                assert!(logits == alone[index], "image {index} in a batch of {batch} under {spec}");
            }
        }
    }
}

fn top1(logits: &[f32]) -> Vec<usize> {
    let best =
        |logits: &[f32]| (0..CLASSES).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).expect("classes");
    logits.chunks_exact(CLASSES).map(best).collect()
}

#[test]
fn reduced_precisions_name_the_same_classes() {
    for precision in [Precision::Bf16, Precision::Int8] {
        let (Some((exact, golden)), Some((rounded, _))) = (open(Precision::F32), open(precision)) else {
            return;
        };
        let pixels = pixels(&golden);
        let labels = integers(&golden, "labels");
        for spec in ["none", "tome:r=8", "tome:r=13"] {
            let [exact, rounded] = [&exact, &rounded].map(|model| run(model, &pixels, spec, BATCH).logits);
            let (classes, same) = (top1(&exact), top1(&rounded));
            let agree = classes.iter().zip(&same).filter(|(a, b)| a == b).count();
            let right =
                |classes: &[usize]| classes.iter().zip(&labels).filter(|(a, b)| **a == **b as usize).count();
            println!(
                "{spec:9} {precision:?} agrees with f32 on {agree} of {IMAGES} images; right: {} in f32, {} rounded; largest error {:.2}",
                right(&classes),
                right(&same),
                worst_absolute(&rounded, &exact).error
            );
            assert!(agree + 2 >= IMAGES, "{spec}: {precision:?} agrees on {agree} of {IMAGES} images only");
        }
    }
}

/// Absolute, on class tokens of up to 10 after twelve blocks.
const EMBEDDING_F32: f32 = 1e-4;

#[test]
fn embeddings_sizes_and_origins_of_a_dinov2_are_those_of_the_published_code() {
    let Some(folder) = material("dinov2_small") else { return };
    let golden = Checkpoint::open(folder.join("golden_tome.safetensors")).expect("readable");
    // The model's own files alone, as a user has them.
    let alone = tempfile::tempdir().expect("a temporary folder");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(folder.join(file), alone.path().join(file)).expect("copied");
    }
    let options = ModelOptions::new(format!("local-dir:{}", alone.path().display()));
    let model = Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"));
    let preprocess = model.preprocess().expect("of images");
    let pixels = normalised(&golden, preprocess.mean, preprocess.std);
    let items = pixels.len() / (3 * 224 * 224);
    for (spec, schedule) in [("tome:r=0", "r0"), ("tome:r=8", "r8"), ("tome:r=16", "r16")] {
        let reduction = model.bind(&spec.parse().unwrap_or_else(|error| panic!("{error}"))).expect("fits");
        let output = model.run(pixels.clone(), Pass::new(&reduction));
        let worst = worst_absolute(&values(output.pooled), &floats(&golden, &format!("cls_{schedule}")));
        println!("{spec:9} largest error of an embedding {:.1e}", worst.error);
        assert!(worst.error <= EMBEDDING_F32, "{spec}: {worst:?}");
        let Some(plan) = output.trace.plan_until(None) else { continue };
        let origins: Vec<i32> = (0..items)
            .flat_map(|item| plan.groups(item))
            .map(|group| group.map_or(-1, |group| group as i32))
            .collect();
        assert_eq!(
            origins,
            integers(&golden, &format!("source_{schedule}")),
            "{spec}: tokens went elsewhere"
        );
        assert_eq!(output.tokens.sizes()[..], floats(&golden, &format!("size_{schedule}")), "{spec}: sizes");
    }
}
