//! Equality with Pillow and timm; the fixtures are made by the scripts beside them.

use crate::common::{Tensors, assert_same, image_of};
use serde_json::Value;
use tokmerge_data::{
    CropMode, ImageProcessor, Interpolation, Limits, Patches, Preprocess, Rgb, decode_image, resize,
};

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn resizing_equals_pillow_bit_for_bit() {
    let fixture = Tensors::fixture("resample.safetensors");
    for case in fixture.cases() {
        let image = image_of(&case);
        let (width, height) = (number(&case["out"][0]), number(&case["out"][1]));
        let got = resize(&image, width, height, Interpolation::from_name(text(&case["filter"])).unwrap());
        assert_eq!((got.width, got.height), (width, height), "{case}");
        if let Some(name) = case["tensor"].as_str() {
            assert_eq!(fixture.shape(name), [height, width, 3]);
            assert_same(&got.data, fixture.bytes(name), &case);
        }
        assert_eq!(u64::from(crc32fast::hash(&got.data)), case["crc32"].as_u64().unwrap(), "{case}");
    }
}

fn preprocess_of(case: &Value) -> Preprocess {
    Preprocess {
        input_size: (number(&case["size"][0]), number(&case["size"][1])),
        crop_pct: case["crop_pct"].as_f64().unwrap(),
        crop_mode: CropMode::from_name(text(&case["crop_mode"])).unwrap(),
        interpolation: Interpolation::from_name(text(&case["interpolation"])).unwrap(),
        mean: std::array::from_fn(|i| case["mean"][i].as_f64().unwrap() as f32),
        std: std::array::from_fn(|i| case["std"][i].as_f64().unwrap() as f32),
        ..Preprocess::default()
    }
}

fn planes(image: &Rgb) -> Vec<u8> {
    (0..3).flat_map(|c| image.data.iter().skip(c).step_by(3).copied()).collect()
}

#[test]
fn preprocessing_equals_timm_bit_for_bit() {
    let fixture = Tensors::fixture("transform.safetensors");
    for case in fixture.cases() {
        let (image, preprocess) = (image_of(&case), preprocess_of(&case));
        let bytes = planes(&preprocess.crop(&image).unwrap());
        if let Some(name) = case["tensor"].as_str() {
            assert_same(&bytes, fixture.bytes(name), &case);
        }
        assert_eq!(u64::from(crc32fast::hash(&bytes)), case["crc32_u8"].as_u64().unwrap(), "{case}");
        let mut out = vec![0.0; preprocess.output_len()];
        preprocess.apply(&image, &mut out).unwrap();
        let out: Vec<u8> = out.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(u64::from(crc32fast::hash(&out)), case["crc32_f32"].as_u64().unwrap(), "{case}");
    }
}

/// transformers multiplies by 1/255 where this crate divides by 255: the last bit of a value up to 2.7.
const LAST_BIT: f32 = 1e-6;

#[test]
fn what_configurations_describe_equals_what_their_libraries_do() {
    let fixture = Tensors::fixture("processors.safetensors");
    for case in fixture.cases() {
        let image = image_of(&case);
        let config = &case["config"];
        let fixed = |preprocess: Preprocess| {
            let mut out = vec![0.0; preprocess.output_len()];
            preprocess.apply(&image, &mut out).unwrap();
            out
        };
        let pixels = match text(&case["form"]) {
            "timm" => fixed(Preprocess::from_timm_config(config).unwrap()),
            "open_clip" => fixed(Preprocess::from_open_clip_config(config).unwrap()),
            _ => match ImageProcessor::from_hf(config).unwrap() {
                ImageProcessor::Fixed(preprocess) => fixed(preprocess),
                ImageProcessor::Naflex(preprocess) => {
                    let Patches { grid, pixels } = preprocess.apply(&image).unwrap();
                    assert_eq!(grid, (number(&case["grid"][0]), number(&case["grid"][1])), "{case}");
                    // transformers has the channel last.
                    let area = preprocess.patch_size * preprocess.patch_size;
                    let last = |patch: &[f32]| -> Vec<f32> {
                        (0..area)
                            .flat_map(|pixel| [0, 1, 2].map(|channel| patch[channel * area + pixel]))
                            .collect()
                    };
                    pixels.chunks_exact(3 * area).flat_map(last).collect()
                }
                other => panic!("{other:?}"),
            },
        };
        let wanted = fixture.f32(text(&case["tensor"]));
        assert_eq!(pixels.len(), wanted.len(), "{case}");
        let far = pixels.iter().zip(&wanted).map(|(got, wanted)| (got - wanted).abs()).fold(0.0, f32::max);
        assert!(far <= LAST_BIT, "{case}: {far} away");
    }
}

#[test]
fn every_byte_value_is_normalised_as_by_torch() {
    let fixture = Tensors::fixture("transform.safetensors");
    for (name, mean, std) in [
        ("imagenet", tokmerge_data::IMAGENET_MEAN, tokmerge_data::IMAGENET_STD),
        ("half", tokmerge_data::HALF_MEAN, tokmerge_data::HALF_STD),
        ("clip", tokmerge_data::CLIP_MEAN, tokmerge_data::CLIP_STD),
    ] {
        let ramp = Rgb { width: 16, height: 16, data: (0..=255).flat_map(|v| [v; 3]).collect() };
        let preprocess =
            Preprocess { input_size: (16, 16), crop_pct: 1.0, mean, std, ..Preprocess::default() };
        let mut out = vec![0.0; 768];
        preprocess.apply(&ramp, &mut out).unwrap();
        assert_eq!(out, fixture.f32(&format!("normalised_{name}")), "{name}");
    }
}

#[test]
fn decoding_equals_pillow_bit_for_bit() {
    let fixture = Tensors::fixture("decode.safetensors");
    for case in fixture.cases() {
        let name = text(&case["name"]);
        let got = decode_image(fixture.bytes(&format!("{name}.file")), &Limits::default());
        if let Some(because) = case["refused"].as_str() {
            let error = got.expect_err(name).to_string();
            assert!(error.contains(because), "{name}: {error}");
            continue;
        }
        let got = got.unwrap_or_else(|e| panic!("{name}: {e}"));
        let rgb = format!("{name}.rgb");
        assert_eq!([got.height, got.width, 3].as_slice(), fixture.shape(&rgb), "{name}");
        assert_same(&got.data, fixture.bytes(&rgb), &name);
    }
}
