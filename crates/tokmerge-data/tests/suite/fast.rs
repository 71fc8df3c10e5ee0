//! Decoding no more than a crop needs, and decoding smaller.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "says what was skipped and measured")]

use crate::common::{Tensors, material};
use libjpeg_turbo_rs::{PixelFormat, Subsampling, compress};
use serde_json::Value;
use tokmerge_data::{
    ClassFolder, Colour, CropMode, Decode, DecodeOptions, ExifOrientation, ImageProcessor, Interpolation,
    Limits, NaflexPreprocess, Preprocess, Rgb, decode_image, open_image, resize,
};

/// Every committed file that decodes, with its name.
fn files(fixture: &Tensors) -> Vec<(String, &[u8])> {
    let good = fixture.cases().into_iter().filter(|case| case["refused"].is_null());
    let names = good.map(|case| case["name"].as_str().unwrap().to_owned());
    names.map(|name| (name.clone(), fixture.bytes(&format!("{name}.file")))).collect()
}

fn processors() -> Vec<ImageProcessor> {
    let small = Preprocess { input_size: (11, 8), ..Preprocess::default() };
    let deep = Preprocess { crop_pct: 0.3, interpolation: Interpolation::Bilinear, ..small.clone() };
    let mut all: Vec<ImageProcessor> = vec![small.clone().into(), deep.clone().into()];
    for crop_mode in [CropMode::Squash, CropMode::Border, CropMode::Shortest] {
        all.push(Preprocess { crop_mode, interpolation: Interpolation::Lanczos, ..small.clone() }.into());
    }
    all.push(Preprocess { interpolation: Interpolation::Nearest, ..deep.clone() }.into());
    all.push(Preprocess { colour: Colour::Grey, ..deep }.into());
    // Larger than the pictures, as large as some, and taller.
    all.push(Preprocess { input_size: (90, 70), crop_pct: 0.5, ..small.clone() }.into());
    all.push(
        Preprocess { input_size: (35, 50), crop_pct: 1.0, crop_mode: CropMode::Squash, ..small.clone() }
            .into(),
    );
    all.push(Preprocess { input_size: (30, 2), crop_mode: CropMode::Squash, ..small }.into());
    all.push(NaflexPreprocess { patch_size: 4, max_num_patches: 20, ..NaflexPreprocess::default() }.into());
    all
}

#[test]
fn what_is_fitted_while_it_is_decoded_equals_what_is_decoded_and_then_fitted() {
    let fixture = Tensors::fixture("decode.safetensors");
    let limits = Limits::default();
    for (name, bytes) in files(&fixture) {
        let whole = decode_image(bytes, &limits).unwrap();
        for processor in processors() {
            let exact = processor.decode_fitted(bytes, &Decode::Exact.into()).unwrap();
            assert!(exact == processor.fit(&whole).unwrap(), "{name}, {processor:?}");
            assert!(processor.decode(bytes, &Decode::Exact.into()).unwrap() == whole, "{name}");
            let smaller = processor.decode(bytes, &Decode::Fast.into()).unwrap();
            let fast = processor.decode_fitted(bytes, &Decode::Fast.into()).unwrap();
            assert!(fast == processor.fit(&smaller).unwrap(), "{name}, {processor:?}, fast");
            if matches!(processor, ImageProcessor::Fixed(_)) {
                assert_eq!((fast.width, fast.height), (exact.width, exact.height), "{name}, {processor:?}");
            }
        }
    }
}

fn squash(width: usize, height: usize) -> ImageProcessor {
    let crop_mode = CropMode::Squash;
    Preprocess { input_size: (height, width), crop_pct: 1.0, crop_mode, ..Preprocess::default() }.into()
}

#[test]
fn decoding_smaller_equals_the_draft_of_pillow() {
    let fixture = Tensors::fixture("decode.safetensors");
    let pair = |value: &Value| [0, 1].map(|at| value[at].as_u64().unwrap() as usize);
    let cases = Tensors::fixture("draft.safetensors").cases();
    assert!(cases.len() > 500);
    for case in cases {
        let ([width, height], size) = (pair(&case["wanted"]), pair(&case["size"]));
        let name = case["name"].as_str().unwrap();
        let bytes = fixture.bytes(&format!("{name}.file"));
        let got = squash(width, height).decode(bytes, &Decode::Fast.into()).unwrap();
        assert!(got.width >= width && got.height >= height, "{case}");
        if name.contains("cmyk") {
            assert!(got == decode_image(bytes, &Limits::default()).unwrap(), "{case}");
            continue;
        }
        assert_eq!([got.width, got.height], size, "{case}");
        assert_eq!(u64::from(crc32fast::hash(&got.data)), case["crc32"].as_u64().unwrap(), "{case}");
    }
}

#[test]
fn what_is_not_decoded_smaller_is_exact() {
    let fixture = Tensors::fixture("decode.safetensors");
    for (name, bytes) in files(&fixture) {
        let whole = decode_image(bytes, &Limits::default()).unwrap();
        let as_large = squash(whole.width.div_ceil(2) + 1, whole.height.div_ceil(2) + 1);
        assert!(as_large.decode(bytes, &Decode::Fast.into()).unwrap() == whole, "{name}");
    }
}

#[test]
fn the_turn_of_exif_can_be_ignored() {
    let fixture = Tensors::fixture("decode.safetensors");
    let processor = ImageProcessor::from(Preprocess { input_size: (4, 6), ..Preprocess::default() });
    let stored = DecodeOptions { orientation: ExifOrientation::Ignored, ..DecodeOptions::default() };
    let upright = fixture.bytes("jpeg_orientation_1.file");
    let upright = decode_image(upright, &Limits::default()).unwrap();
    let mut turned = 0;
    for (name, bytes) in files(&fixture).iter().filter(|(name, _)| name.contains("orientation")) {
        let ignoring = processor.decode(bytes, &stored).unwrap();
        assert_eq!((ignoring.width, ignoring.height), (upright.width, upright.height), "{name}");
        if name.contains("jpeg") {
            assert!(ignoring == upright, "{name}");
        }
        let fitted = processor.decode_fitted(bytes, &stored).unwrap();
        assert!(fitted == processor.fit(&ignoring).unwrap(), "{name}");
        turned += usize::from(decode_image(bytes, &Limits::default()).unwrap() != ignoring);
    }
    assert!(turned >= 9, "{turned}");
}

#[test]
fn limits_and_damage_are_seen_whatever_is_decoded() {
    let fixture = Tensors::fixture("decode.safetensors");
    let processor = ImageProcessor::from(Preprocess { input_size: (4, 4), ..Preprocess::default() });
    for decode in Decode::ALL {
        for case in fixture.cases() {
            let bytes = fixture.bytes(&format!("{}.file", case["name"].as_str().unwrap()));
            if let Some(because) = case["refused"].as_str() {
                for got in
                    [processor.decode(bytes, &decode.into()), processor.decode_fitted(bytes, &decode.into())]
                {
                    let error = got.err().unwrap_or_else(|| panic!("{case} {decode:?}")).to_string();
                    assert!(error.contains(because), "{case}: {error}");
                }
            }
            let tight = Limits { max_pixels: 0, ..Limits::default() };
            assert!(
                processor.decode_fitted(bytes, &DecodeOptions { decode, ..tight.into() }).is_err(),
                "{case}"
            );
        }
        assert!(processor.decode_fitted(b"", &decode.into()).is_err());
        let missing = processor.open_fitted("no/such/file.jpg", &decode.into());
        assert!(missing.unwrap_err().to_string().contains("file.jpg: cannot be read"));
    }
}

/// Mean difference, in 8-bit levels; measured up to 1.5.
const SAME_PICTURE: f64 = 2.0;

fn mean_difference(a: &Rgb, b: &Rgb) -> f64 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let sum: u64 = a.data.iter().zip(&b.data).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.data.len() as f64
}

#[test]
fn photographs_look_the_same_when_they_are_decoded_smaller() {
    let Some(folder) = material("imagenet1k_sample") else {
        eprintln!("SKIPPED: imagenet1k_sample is not in ../shared/material; nothing was compared");
        return;
    };
    let folder = ClassFolder::open(folder).unwrap().limit(6);
    let limits = Limits::default();
    let processor = ImageProcessor::from(Preprocess::default());
    let mut worst = 0.0_f64;
    for sample in folder.samples() {
        let photograph = open_image(&sample.path, &limits).unwrap();
        assert!(
            processor.open_fitted(&sample.path, &Decode::Exact.into()).unwrap()
                == processor.fit(&photograph).unwrap()
        );
        let large = resize(&photograph, 1600, 1200, Interpolation::Bicubic);
        for sampling in [Subsampling::S444, Subsampling::S420] {
            let bytes = compress(&large.data, 1600, 1200, PixelFormat::Rgb, 88, sampling).unwrap();
            let smaller = processor.decode(&bytes, &Decode::Fast.into()).unwrap();
            assert_eq!((smaller.width, smaller.height), (400, 300));
            let exact = processor.decode_fitted(&bytes, &Decode::Exact.into()).unwrap();
            assert!(exact == processor.fit(&decode_image(&bytes, &limits).unwrap()).unwrap());
            let fast = processor.decode_fitted(&bytes, &Decode::Fast.into()).unwrap();
            worst = worst.max(mean_difference(&exact, &fast));
        }
    }
    println!("decoded at a quarter: mean difference at most {worst:.2} of 255");
    assert!(worst < SAME_PICTURE, "mean difference {worst}");
}
