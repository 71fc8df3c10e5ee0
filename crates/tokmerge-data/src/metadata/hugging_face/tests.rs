use super::*;
use proptest::prelude::*;
use serde_json::json;

fn hf(value: Value) -> Result<Preprocess, String> {
    Preprocess::from_hf_preprocessor(&value).map_err(|e| e.to_string())
}

#[test]
fn hf_configs_of_known_models_are_read() {
    let vit = hf(json!({
        "do_normalize": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        "size": 224, "feature_extractor_type": "ViTFeatureExtractor", "resample": 2,
    }));
    let vit = vit.unwrap();
    assert_eq!((vit.input_size, vit.crop_pct, vit.crop_mode), ((224, 224), 1.0, CropMode::Squash));
    assert_eq!((vit.interpolation, vit.mean), (Interpolation::Bilinear, [0.5; 3]));

    let dinov2 = hf(json!({
        "crop_size": {"height": 224, "width": 224}, "do_center_crop": true, "do_rescale": true,
        "image_processor_type": "BitImageProcessor", "resample": 3, "rescale_factor": 0.003_921_568_627_450_98,
        "size": {"shortest_edge": 256}, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    }));
    let expected = Preprocess { crop_pct: 0.875, crop_rounding: CropRounding::Down, ..Preprocess::default() };
    assert_eq!(dinov2.unwrap(), expected);

    let clip = json!({
        "crop_size": 224, "do_center_crop": true, "feature_extractor_type": "CLIPFeatureExtractor",
        "resample": 3, "size": 224, "do_normalize": false,
    });
    let clip = hf(clip).unwrap();
    assert_eq!((clip.crop_mode, clip.crop_pct), (CropMode::Center, 1.0));
    assert_eq!((clip.mean, clip.std), ([0.0; 3], [1.0; 3]));

    let deit = json!({"size": {"height": 256, "width": 256}, "crop_size": 224, "do_center_crop": true});
    let deit = hf(deit).unwrap();
    assert_eq!((deit.crop_mode, deit.crop_pct), (CropMode::Squash, 0.875));
}

#[test]
fn keys_that_are_absent_have_the_defaults_of_their_processor() {
    let of = |kind: &str| hf(json!({"image_processor_type": kind})).unwrap();
    let clip = of("CLIPImageProcessor");
    assert_eq!((clip.input_size, clip.crop_pct, clip.crop_mode), ((224, 224), 1.0, CropMode::Center));
    assert_eq!((clip.mean, clip.interpolation), (CLIP_MEAN, Interpolation::Bicubic));
    let vit = of("ViTImageProcessorFast");
    assert_eq!(
        (vit.crop_mode, vit.mean, vit.interpolation),
        (CropMode::Squash, HALF_MEAN, Interpolation::Bilinear)
    );
    let deit = of("DeiTImageProcessor");
    assert_eq!((deit.input_size, deit.crop_pct), ((224, 224), 0.875));
    let dinov3 = of("DINOv3ViTImageProcessorFast");
    assert_eq!((dinov3.mean, dinov3.interpolation), (IMAGENET_MEAN, Interpolation::Bilinear));
    let vit = hf(json!({"image_processor_type": "ViTImageProcessor", "crop_size": 8, "size": 16})).unwrap();
    assert_eq!(vit.input_size, (16, 16), "a processor that does not crop has no use for crop_size");
}

#[test]
fn a_number_as_size_is_what_default_to_square_says() {
    let of = |square: bool| {
        hf(json!({"size": 32, "crop_size": {"height": 24, "width": 24}, "default_to_square": square}))
            .unwrap()
            .crop_mode
    };
    assert_eq!((of(true), of(false)), (CropMode::Squash, CropMode::Center));
}

#[test]
fn a_crop_that_is_not_square_follows_the_shortest_edge() {
    let wide = json!({
        "size": {"shortest_edge": 64}, "crop_size": {"height": 48, "width": 80}, "do_center_crop": true,
    });
    let wide = hf(wide).unwrap();
    assert_eq!((wide.input_size, wide.crop_mode, wide.crop_pct), ((48, 80), CropMode::Shortest, 0.75));
}

#[test]
fn a_size_for_each_picture_is_another_kind_of_preprocessing() {
    let naflex = json!({"image_processor": {
        "image_processor_type": "Siglip2ImageProcessorFast", "max_num_patches": 64, "patch_size": 14, "resample": 2,
        "do_rescale": true, "rescale_factor": 0.003_921_568_627_450_98, "image_mean": [0.5, 0.5, 0.5],
    }});
    let Ok(ImageProcessor::Naflex(read)) = ImageProcessor::from_hf(&naflex) else { panic!("not NaFlex") };
    assert_eq!((read.patch_size, read.max_num_patches, read.mean), (14, 64, HALF_MEAN));
    let fixed = ImageProcessor::from_hf(&json!({"image_processor_type": "SiglipImageProcessor"}));
    assert!(matches!(fixed, Ok(ImageProcessor::Fixed(read)) if read.input_size == (224, 224)));
    assert!(
        ImageProcessor::from_hf(&json!({"image_processor_type": "Siglip2ImageProcessor", "patch_size": 0}))
            .is_err()
    );
}

#[test]
fn hf_values_that_cannot_be_done_are_refused_with_what_can() {
    let with = |key: &str, value: Value| {
        let mut config = json!({"size": {"height": 8, "width": 8}});
        config[key] = value;
        hf(config).unwrap_err()
    };
    assert!(hf(json!({})).unwrap_err().contains("size is missing"));
    assert!(with("size", json!({"longest_edge": 8})).contains("shortest_edge"));
    assert!(with("size", json!({"shortest_edge": 8})).contains("do_center_crop"));
    assert!(with("size", json!({"height": 0, "width": 8})).contains("0x8"));
    assert!(with("size", json!(1e99)).contains("size"));
    assert!(with("crop_size", json!({"height": 0, "width": 8})).contains("crop_size"));
    assert!(with("do_center_crop", json!(true)).contains("crop_size is missing"));
    assert!(with("do_center_crop", json!("yes")).contains("true or false"));
    assert!(with("crop_to_patches", json!(true)).contains("crop_to_patches is true"));
    assert!(with("rescale_offset", json!(true)).contains("rescale_offset is true"));
    assert!(with("image_processor_type", json!("LevitImageProcessor")).contains("ViTImageProcessor"));
    assert!(with("image_processor_type", json!("Siglip2ImageProcessor")).contains("one size"));
    assert!(
        hf(json!({"processor_class": "CLIPProcessor"})).unwrap_err().contains("image_processor is missing")
    );
    assert!(hf(json!({"image_processor": 3})).unwrap_err().contains("an object"));
    assert!(with("resample", json!(9)).contains("3 (bicubic)"));
    assert!(with("do_resize", json!(false)).contains("do_resize is false"));
    assert!(with("rescale_factor", json!(0)).contains("1/255"));
    assert!(with("image_std", json!([0, 1, 1])).contains("std"));
}

/// `(v * factor - mean) / std`, in terms of `v / 255`.
#[test]
fn another_factor_than_1_over_255_changes_mean_and_deviation() {
    let of = |fields: Value| {
        let mut config = json!({"size": 8, "image_mean": 1.0, "image_std": 0.5});
        config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let read = hf(config).unwrap();
        (read.mean[0], read.std[0])
    };
    assert_eq!(of(json!({})), (1.0, 0.5));
    assert_eq!(of(json!({"rescale_factor": 1.0 / 127.5})), (0.5, 0.25));
    assert_eq!(of(json!({"do_rescale": false})), (1.0 / 255.0, 0.5 / 255.0));
    assert_eq!(of(json!({"do_normalize": false})), (0.0, 1.0));
    assert_eq!(of(json!({"rescale_factor": 1.0 / 127.5, "do_normalize": false})), (0.0, 0.5));
}

proptest! {
    #[test]
    fn a_crop_pct_is_found_for_every_crop(size in 1..3000_usize, crop in 1..3000_usize) {
        let pct = crop_pct((crop, crop), (size, size)).unwrap();
        prop_assert_eq!((crop as f64 / pct).floor() as usize, size);
    }
}

#[test]
fn vilt_has_a_shorter_side_and_a_divisor_and_pads_for_batches_alone() {
    let vilt = json!({
        "image_processor_type": "ViltImageProcessor", "size": {"shortest_edge": 64}, "size_divisor": 16, "resample": 3,
        "do_pad": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]
    });
    let Ok(ImageProcessor::Vilt(read)) = ImageProcessor::from_hf(&vilt) else { panic!("not ViLT") };
    assert_eq!(read, crate::ViltPreprocess::new(64, 16));
    assert_eq!(read.longer, 106);
    let turned = json!({"image_processor_type": "ViltImageProcessor", "do_flip_channel_order": true});
    assert!(ImageProcessor::from_hf(&turned).unwrap_err().to_string().contains("do_flip_channel_order"));
    assert!(Preprocess::from_hf_preprocessor(&vilt).is_err());
}
