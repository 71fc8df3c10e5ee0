//! Clips: sampling and preprocessing against those of Spatiotemporal MAE and of transformers.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "says what was skipped and measured")]

use crate::common::clips::{drawn, ffmpeg, refused, spans, whole, write_frames};
use crate::common::{Tensors, assert_same, material};
use serde_json::{Value, json};
use tokmerge_data::augment::{RandomResizedCrop, Visit};
use tokmerge_data::clip::{ClipOptions, ClipProcessor, FrameFit, Sampling, SpatialCrops};
use tokmerge_data::{HALF_MEAN, HALF_STD, Preprocess, Rgb};

fn half(bytes: &[u8]) -> Vec<f32> {
    let value = |bits: u16| {
        let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
        let size = match exponent {
            0 => mantissa * 2_f32.powi(-24),
            _ => (1.0 + mantissa / 1024.0) * 2_f32.powi(exponent - 15),
        };
        if bits >> 15 == 1 { -size } else { size }
    };
    bytes.as_chunks::<2>().0.iter().map(|pair| value(u16::from_le_bytes(*pair))).collect()
}

fn worst<'a>(actual: impl IntoIterator<Item = &'a f32>, expected: &[f32]) -> f32 {
    let actual: Vec<f32> = actual.into_iter().copied().collect();
    assert_eq!(actual.len(), expected.len());
    actual.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn frames_are_taken_as_by_the_reference_in_all_its_settings() {
    let Some(folder) = material("families/video_frontend") else {
        eprintln!("SKIPPED: families/video_frontend is not in ../shared/material");
        return;
    };
    let text = std::fs::read_to_string(folder.join("sampling.json")).unwrap();
    let settings: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(settings.len(), 8);
    for (name, setting) in settings {
        let whole = |key: &str| setting[key].as_u64().unwrap() as usize;
        let taken =
            spans(whole("temporal_views")).of(whole("frames_in_video"), setting["fps"].as_f64().unwrap());
        let views = setting["views"].as_array().unwrap();
        assert_eq!(taken.len(), views.len());
        for (taken, view) in taken.iter().zip(views) {
            assert_eq!(json!(taken), view["frames"], "{name}, view {}", view["view"]);
        }
    }
}

#[test]
fn clips_are_prepared_as_by_the_reference() {
    let (Some(folder), Some(clips)) = (material("families/video_frontend"), material("video_clips")) else {
        eprintln!("SKIPPED: families/video_frontend or video_clips is not in ../shared/material");
        return;
    };
    let Some(_) = ffmpeg() else { return };
    let golden = Tensors::open(&folder.join("clips.safetensors"));
    let video = clips.join("video1.mp4");
    let options = ClipOptions::default();

    let processor = ClipProcessor::mae_st(10, SpatialCrops::Centre);
    let started = std::time::Instant::now();
    let clip = processor.open(&video, &options).unwrap();
    let took = started.elapsed();
    assert_eq!((clip.views(), clip.video_frames(), clip.fps()), (10, 247, 30.0));
    let (_, frames, height, width) = processor.shape();
    assert_eq!((processor.views(), frames, height, width), (10, 16, 224, 224));
    let mut values = Vec::new();
    processor.normalise(&clip, &mut values).unwrap();
    assert_eq!(values.len(), processor.output_len());
    let plane = height * width;
    let at = |channel: usize, frame: usize| &values[(channel * frames + frame) * plane..][..plane];
    let kept = (0..3).flat_map(|channel| [0, 5, 15].into_iter().flat_map(move |frame| at(channel, frame)));
    let centre = worst(kept, &half(golden.bytes("video1.view0_centre")));
    let (mut means, mut stds) = (Vec::new(), Vec::new());
    for channel in 0..3 {
        for frame in 0..frames {
            let pixels = || at(channel, frame).iter().map(|&value| f64::from(value));
            let mean = pixels().sum::<f64>() / plane as f64;
            means.push(mean as f32);
            stds.push((pixels().map(|v| (v - mean).powi(2)).sum::<f64>() / (plane - 1) as f64).sqrt() as f32);
        }
    }
    let mean = worst(&means, &golden.f32("video1.view0_frame_mean"));
    let std = worst(&stds, &golden.f32("video1.view0_frame_std"));

    let processor = ClipProcessor::mae_st(7, SpatialCrops::Three);
    let clip = processor.open(&video, &options).unwrap();
    assert_eq!((clip.views(), clip.taken(3)[0]), (21, 30));
    values.clear();
    processor.normalise(&clip, &mut values).unwrap();
    let first = |crop: usize| {
        let view = &values[(3 + crop) * 3 * frames * plane..];
        (0..3).flat_map(move |channel| &view[channel * frames * plane..][..plane])
    };
    let crops = [0, 2].into_iter().flat_map(first);
    let three = worst(crops, &half(golden.bytes("video1.view1of7_three_crops")));
    println!(
        "centre {centre:.1e}, three crops {three:.1e}, means {mean:.1e}, deviations {std:.1e} away; 10 views in {took:?}"
    );
    assert!(centre < 1e-3 && three < 1e-3 && mean < 1e-5 && std < 1e-5);
}

#[test]
fn decoded_frames_are_those_of_the_reference_level_for_level() {
    let (Some(folder), Some(clips)) = (material("families/video_frontend"), material("video_clips")) else {
        eprintln!("SKIPPED: families/video_frontend or video_clips is not in ../shared/material");
        return;
    };
    let Some(_) = ffmpeg() else { return };
    let golden = Tensors::open(&folder.join("clips.safetensors"));
    let fit = Preprocess { input_size: (256, 452), crop_pct: 1.0, ..Preprocess::default() };
    let sampling = Sampling::Spans { frames: 1, stride: 64, fps: 30.0, views: 7 };
    let processor = ClipProcessor { sampling, fit: FrameFit::Picture(fit) };
    let clip = processor.open(clips.join("video1.mp4"), &ClipOptions::default()).unwrap();
    for (view, tensor) in [(0, "video1.raw_rgb"), (1, "video1.raw_rgb_view1of7")] {
        assert_same(&clip.picture(view, 0).data, golden.bytes(tensor), &tensor);
    }
    for (name, frames, fps) in [("video2.mp4", 360, 30.0), ("video3.mp4", 300, 25.0)] {
        let clip = processor.open(clips.join(name), &ClipOptions::default()).unwrap();
        assert_eq!((clip.video_frames(), clip.fps()), (frames, fps), "{name}");
    }
}

#[test]
fn a_short_video_repeats_its_last_frame_and_a_single_view_lies_in_the_middle() {
    let short = spans(2).of(10, 30.0);
    assert_eq!(short, [[0, 4, 8, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]; 2]);
    assert_eq!(spans(1).of(1, 30.0), [[0; 16]]);
    assert_eq!(spans(1).of(164, 30.0)[0][..2], [50, 54]);
    // Half the rate, half the span.
    assert_eq!(spans(1).of(132, 15.0)[0][15], 50 + 31);
}

#[test]
fn uniform_frames_are_those_of_numpy() {
    let of = |frames, count| Sampling::Uniform { frames }.of(count, 30.0).remove(0);
    assert_eq!(of(16, 247), [0, 16, 32, 49, 65, 82, 98, 114, 131, 147, 164, 180, 196, 213, 229, 246]);
    assert_eq!(of(4, 3), [0, 0, 1, 2]);
    assert_eq!(of(1, 9), [0]);
    assert_eq!(of(3, 1), [0, 0, 0]);
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let text = |processor: ClipProcessor| processor.validate().unwrap_err().to_string();
    let sampled = |frames, stride, fps, views| {
        text(ClipProcessor {
            sampling: Sampling::Spans { frames, stride, fps, views },
            ..ClipProcessor::mae_st(1, SpatialCrops::Centre)
        })
    };
    assert_eq!(sampled(0, 4, 30.0, 1), "frames is 0, and it must be 1 to 4096; use e.g. 16");
    assert!(sampled(16, 0, 30.0, 1).starts_with("stride is 0"));
    assert!(sampled(16, 4, f64::NAN, 1).starts_with("fps is NaN"));
    assert!(sampled(16, 4, 30.0, 5000).starts_with("views is 5000"));
    let fitted = |short_side, crop, std| {
        let fit = FrameFit::Float { short_side, crop, crops: SpatialCrops::Three, mean: [0.0; 3], std };
        text(ClipProcessor { sampling: spans(1), fit })
    };
    assert!(fitted(0, 1, [1.0; 3]).starts_with("short_side is 0"));
    assert!(fitted(224, 256, [1.0; 3]).starts_with("crop is 256"));
    assert!(fitted(224, 224, [0.0; 3]).starts_with("std is"));
    let options = ClipOptions { fps: Some(0.0), ..ClipOptions::default() };
    let dir = tempfile::tempdir().unwrap();
    write_frames(dir.path(), 0..1);
    assert!(refused(&whole(spans(1)), dir.path(), &options).starts_with("fps is 0"));
    assert!(Sampling::Uniform { frames: 4 }.with_views(2).is_err());
    assert_eq!(spans(1).with_views(7).unwrap(), spans(7));
}

#[test]
fn crops_lie_along_the_longer_side() {
    // The red value is the column, the green value the row.
    let gradient = |width: usize, height: usize| {
        let pixel = |x: usize, y: usize| [x as u8, y as u8, 7];
        let data = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
        Rgb { width, height, data }
    };
    let corners = |width, height, crops| {
        let fit = FrameFit::Float { short_side: 20, crop: 17, crops, mean: [0.0; 3], std: [1.0; 3] };
        let processor = ClipProcessor { sampling: Sampling::Uniform { frames: 1 }, fit };
        let clip = processor.of_frames(&[gradient(width, height)], None).unwrap();
        let corner = |view| (clip.frame(view, 0)[0], clip.frame(view, 0)[17 * 17]);
        (0..clip.views()).map(corner).collect::<Vec<_>>()
    };
    assert_eq!(corners(30, 20, SpatialCrops::Centre), [(7.0, 2.0)]);
    assert_eq!(corners(30, 20, SpatialCrops::Three), [(0.0, 2.0), (7.0, 2.0), (13.0, 2.0)]);
    assert_eq!(corners(20, 31, SpatialCrops::Three), [(2.0, 0.0), (2.0, 7.0), (2.0, 14.0)]);
}

#[test]
fn a_random_crop_is_one_for_all_frames_and_another_at_every_visit() {
    // The red value is the column, the green value the row, the blue one the frame.
    let frame = |number: usize| {
        let pixel = |x: usize, y: usize| [x as u8, y as u8, number as u8];
        let data = (0..40).flat_map(|y| (0..60).flat_map(move |x| pixel(x, y))).collect();
        Rgb { width: 60, height: 40, data }
    };
    let frames: Vec<Rgb> = (0..4).map(frame).collect();
    let of_float = FrameFit::Float {
        short_side: 20,
        crop: 16,
        crops: SpatialCrops::Three,
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    let of_picture = FrameFit::Picture(Preprocess { input_size: (16, 16), ..Preprocess::default() });
    let crop = RandomResizedCrop { scale: [0.1, 0.5], ..RandomResizedCrop::default() };
    for fit in [of_float, of_picture] {
        let processor = ClipProcessor { sampling: Sampling::Uniform { frames: 4 }, fit };
        let seen = |crop, index| {
            let visit = Visit { seed: 3, epoch: 1, index };
            processor.of_frames_at(visit, Some(crop), &frames, None)
        };
        let mut places = Vec::new();
        for index in 0..20 {
            let clip = seen(crop, index).unwrap();
            assert_eq!((clip.views(), clip.size()), (1, (16, 16)));
            let plane = |frame, channel: usize| &clip.frame(0, frame)[channel * 256..][..256];
            let first = [0, 1].map(|channel| plane(0, channel));
            for number in 0..4 {
                assert_eq!([0, 1].map(|channel| plane(number, channel)), first, "frame {number}");
                assert!(plane(number, 2).iter().all(|blue| *blue == number as f32));
            }
            // A window of at most half of the area, stretched to all pixels.
            let (width, height) = (first[0][15] - first[0][0], first[1][240] - first[1][0]);
            assert!(width * height < 0.5 * 60.0 * 40.0 && width > 5.0 && height > 5.0, "{width} {height}");
            assert!(clip == seen(crop, index).unwrap(), "a visit is a visit");
            places.push((first[0][0] as usize, first[1][0] as usize));
        }
        places.sort_unstable();
        places.dedup();
        assert!(places.len() > 12, "{places:?}");
        let wrong = RandomResizedCrop { scale: [0.5, 0.1], ..crop };
        assert!(seen(wrong, 0).unwrap_err().to_string().starts_with("crop.scale"));
    }
}

#[test]
fn the_processor_of_videomae_is_that_of_pictures_frame_by_frame() {
    let config = json!({
        "image_processor_type": "VideoMAEImageProcessor", "size": {"shortest_edge": 24}, "resample": 2,
        "crop_size": {"height": 20, "width": 20}, "do_center_crop": true, "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    });
    let processor = ClipProcessor::from_hf(&config, Sampling::Uniform { frames: 4 }).unwrap();
    assert_eq!((processor.shape(), processor.views()), ((3, 4, 20, 20), 1));
    assert_eq!(processor.fit.normalisation(), (HALF_MEAN, HALF_STD));
    let frames: Vec<Rgb> = (0..10).map(drawn).collect();
    let clip = processor.of_frames(&frames, None).unwrap();
    let mut values = Vec::new();
    processor.normalise(&clip, &mut values).unwrap();
    let picture = Preprocess::from_hf_preprocessor(&config).unwrap();
    for (place, number) in [0, 3, 6, 9].into_iter().enumerate() {
        let mut expected = vec![0.0; picture.output_len()];
        picture.apply(&frames[number], &mut expected).unwrap();
        for (channel, expected) in expected.chunks_exact(400).enumerate() {
            assert_eq!(&values[(channel * 4 + place) * 400..][..400], expected, "frame {number}");
        }
    }
    let other = ClipProcessor { sampling: Sampling::Uniform { frames: 5 }, ..processor };
    let error = other.normalise(&clip, &mut values).unwrap_err().to_string();
    assert!(error.contains("4 frames of 20x20") && error.contains("5 of 20x20"), "{error}");
}
