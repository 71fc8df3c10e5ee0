//! Real photographs beside the repository. Without them every test here says SKIPPED and passes.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "says what was skipped and measured")]

use crate::common::{Tensors, material};
use tokmerge_data::{
    BatchLoader, ClassFolder, ClassNames, DecodeOptions, Limits, Preprocess, Reading, open_image,
};

/// Mean difference, in 8-bit levels, between a photograph and its JPEG; measured 1.2 to 3.0 over the golden
/// images, while any two different ones of them differ by 41 and more.
const SAME_PICTURE: f64 = 8.0;

fn skipped(what: &str) {
    eprintln!("SKIPPED: {what} is not in ../shared/material; nothing was compared");
}

/// The golden images are the pixels *before* the JPEGs were written, so that equality is not to be had;
/// what is compared is that label, order and place of every pixel agree.
fn reading(batch_size: usize) -> Reading {
    Reading { batch_size, workers: 2, decoding: DecodeOptions::default() }
}

#[test]
fn the_golden_images_are_the_sample_jpegs() {
    let (Some(golden), Some(folder)) =
        (material("vit_tiny_augreg/golden_tome.safetensors"), material("imagenet1k_sample"))
    else {
        return skipped("vit_tiny_augreg or imagenet1k_sample");
    };
    let golden = Tensors::open(&golden);
    let folder = ClassFolder::open(folder).unwrap();
    assert_eq!((folder.len(), folder.class_names().len()), (1000, 1000));
    let labels = golden.i32("labels");
    assert_eq!(golden.shape("images_u8"), [labels.len(), 224, 224, 3]);

    let samples: Vec<_> = labels.iter().map(|&label| folder.sample(label as usize)).collect();
    // A scale that turns the loader's output back into bytes: v / 255.
    let preprocess = Preprocess { crop_pct: 1.0, mean: [0.0; 3], std: [1.0; 3], ..Preprocess::default() };
    let loader = BatchLoader::new(samples, preprocess, reading(7)).unwrap();
    let images = golden.bytes("images_u8").chunks_exact(224 * 224 * 3);
    let mut images = images.zip(&labels);
    let (mut different, mut worst, mut means) = (0, 0, Vec::new());
    for batch in loader {
        assert!(batch.failed.is_empty(), "{:?}", batch.failed);
        for (pixels, sample) in batch.values.chunks_exact(3 * 224 * 224).zip(&batch.samples) {
            let (expected, &label) = images.next().unwrap();
            assert_eq!(sample.label, Some(label as usize));
            let mut sum = 0;
            for (i, &value) in expected.iter().enumerate() {
                let got = (pixels[i % 3 * 224 * 224 + i / 3] * 255.0).round() as u8;
                let difference = got.abs_diff(value);
                sum += u64::from(difference);
                different += u64::from(difference > 0);
                worst = worst.max(difference);
            }
            means.push(sum as f64 / expected.len() as f64);
        }
    }
    assert_eq!(means.len(), labels.len());
    let share = different as f64 / (labels.len() * 224 * 224 * 3) as f64;
    let mean = means.iter().sum::<f64>() / means.len() as f64;
    let (least, most) = means.iter().fold((f64::MAX, 0.0), |(l, m): (f64, f64), &v| (l.min(v), m.max(v)));
    println!("golden images: {:.1} % of samples differ, at most by {worst}", 100.0 * share);
    println!("golden images: mean difference {mean:.2}, {least:.2} to {most:.2} for each");
    assert!(means.iter().all(|&m| m < SAME_PICTURE), "another picture: mean differences {means:.1?}");
}

#[test]
fn every_real_image_loads_and_every_class_has_a_name() {
    let (Some(folder), Some(labels)) = (material("imagenet1k_sample"), material("imagenet1k_labels.tsv"))
    else {
        return skipped("imagenet1k_sample or imagenet1k_labels.tsv");
    };
    let folder = ClassFolder::open(folder).unwrap().limit(100);
    let names = ClassNames::open(labels).unwrap();
    assert_eq!((names.len(), names.name(0)), (1000, Some("tench")));
    let index = names.index_of_wnid();
    for (label, wnid) in folder.class_names().iter().enumerate() {
        assert_eq!(index[wnid.as_str()], label);
    }
    let loader = BatchLoader::new(folder.samples().to_vec(), Preprocess::default(), reading(16)).unwrap();
    let sizes: Vec<usize> = loader.map(|b| b.len() + 1000 * b.failed.len()).collect();
    assert_eq!(sizes, [16, 16, 16, 16, 16, 16, 4]);
}

#[test]
fn every_real_image_decodes_to_the_bytes_of_pillow() {
    let Some(folder) = material("imagenet1k_sample") else {
        return skipped("imagenet1k_sample");
    };
    let folder = ClassFolder::open(folder).unwrap();
    let expected = Tensors::fixture("material.safetensors").u32("imagenet1k_sample");
    assert_eq!(folder.len(), expected.len());
    let different = folder.samples().iter().zip(expected).filter(|(sample, expected)| {
        let image = open_image(&sample.path, &Limits::default()).unwrap();
        crc32fast::hash(&image.data) != *expected
    });
    let different: Vec<_> = different.map(|(sample, _)| &sample.path).collect();
    assert!(different.is_empty(), "{} images differ: {:?}", different.len(), different.first());
}
