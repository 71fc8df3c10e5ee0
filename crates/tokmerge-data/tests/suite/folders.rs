//! Models as people have them: what their own configuration makes of a picture equals what their library makes of it.

#![expect(clippy::print_stderr, reason = "says what was skipped")]

use std::path::Path;

use crate::common::{Tensors, material};
use serde_json::Value;
use tokmerge_data::{ImageProcessor, Limits, Preprocess, open_image};

/// transformers multiplies by 1/255 where this crate divides by 255: the last bit of a value up to 2.7.
const TOLERANCE: f32 = 1e-6;

fn json(path: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The preprocessing that the files of a folder describe.
fn described(folder: &Path) -> Preprocess {
    let file = |name: &str| json(&folder.join(name));
    if let Some(processor) = file("preprocessor_config.json").or_else(|| file("processor_config.json")) {
        let Ok(ImageProcessor::Fixed(read)) = ImageProcessor::from_hf(&processor) else {
            panic!("{}: {:?}", folder.display(), ImageProcessor::from_hf(&processor))
        };
        return read;
    }
    match file("open_clip_config.json") {
        Some(config) => Preprocess::from_open_clip_config(&config),
        None => Preprocess::from_timm_config(&file("config.json").unwrap()),
    }
    .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

#[test]
fn every_folders_pictures_become_the_pixels_of_its_library() {
    let Some(folders) = material("folders") else {
        eprintln!("SKIPPED: ../shared/material/folders is absent; nothing was compared");
        return;
    };
    let mut compared = 0;
    for entry in std::fs::read_dir(&folders).unwrap() {
        let folder = entry.unwrap().path();
        let Some(expected) = json(&folder.join("expected.json")) else { continue };
        // Sound and video come as tensors.
        let Some(images) = expected["images"].as_array() else { continue };
        let preprocess = described(&folder);
        let golden = Tensors::open(&folder.join("golden.safetensors")).f32("pixels");
        let pictures = golden.chunks_exact(preprocess.output_len());
        assert_eq!((pictures.len(), pictures.remainder().len()), (images.len(), 0), "{}", folder.display());
        for (image, wanted) in images.iter().zip(pictures) {
            let image = open_image(folder.join(image.as_str().unwrap()), &Limits::default()).unwrap();
            let mut pixels = vec![0.0; preprocess.output_len()];
            preprocess.apply(&image, &mut pixels).unwrap();
            let far = pixels.iter().zip(wanted).map(|(got, wanted)| (got - wanted).abs()).fold(0.0, f32::max);
            assert!(far <= TOLERANCE, "{}: pixels are {far} away, {preprocess}", folder.display());
            compared += 1;
        }
    }
    assert!(compared > 80, "only {compared} pictures were compared");
}
