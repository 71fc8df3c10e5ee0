//! Clips: sampling and preprocessing against those of Spatiotemporal MAE, video files and folders of frames, and what
//! is refused.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "says what was skipped and measured")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Tensors, assert_same, material};
use image::RgbImage;
use serde_json::{Value, json};
use tokmerge_data::clip::{
    Clip, ClipError, ClipLimits, ClipOptions, ClipProcessor, FrameFit, Sampling, SpatialCrops,
};
use tokmerge_data::{HALF_MEAN, HALF_STD, Preprocess, Rgb};

/// The program, if it is there.
fn ffmpeg() -> Option<PathBuf> {
    let program = std::env::var_os("TOKMERGE_FFMPEG").map_or_else(|| PathBuf::from("ffmpeg"), PathBuf::from);
    let version = Command::new(&program).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if version.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    eprintln!("SKIPPED: ffmpeg is neither on the search path nor named in TOKMERGE_FFMPEG");
    None
}

/// Runs it on `arguments`.
fn make(program: &Path, arguments: &[&str], output: &Path) {
    let mut command = Command::new(program);
    command.args(["-v", "error", "-nostdin", "-y"]).args(arguments).arg(output);
    assert!(command.status().unwrap().success(), "{arguments:?}");
}

/// The frame at `number` of a clip that counts its own frames: blocks of grey for its bits, and a place in colour.
fn drawn(number: usize) -> Rgb {
    let pixel = |x: usize, y: usize| {
        let bit = (number >> (x / 8)) & 1;
        [40 + 160 * bit as u8, (x * 3) as u8, (y * 5) as u8]
    };
    let data = (0..32).flat_map(|y| (0..64).flat_map(move |x| pixel(x, y))).collect();
    Rgb { width: 64, height: 32, data }
}

/// The number that [`drawn`] put into a frame of 64x32.
fn number_in(frame: &Rgb) -> usize {
    let red = |x: usize| frame.data[(16 * 64 + x) * 3];
    (0..8).map(|bit| usize::from(red(bit * 8 + 4) > 120) << bit).sum()
}

fn write_frames(dir: &Path, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let Rgb { width, height, data } = drawn(number);
        let image = RgbImage::from_raw(width as u32, height as u32, data).unwrap();
        image.save(dir.join(format!("{number}.png"))).unwrap();
    }
}

/// A video of drawn frames without loss, 30 per second.
fn write_video(program: &Path, dir: &Path, name: &str, count: usize, arguments: &[&str]) -> PathBuf {
    let frames = tempfile::tempdir().unwrap();
    write_frames(frames.path(), 0..count);
    let pattern = frames.path().join("%d.png");
    let output = dir.join(name);
    let input = ["-framerate", "30", "-i", pattern.to_str().unwrap()];
    make(program, &[&input, arguments].concat(), &output);
    output
}

/// Whole frames of 64x32.
fn whole(sampling: Sampling) -> ClipProcessor {
    let fit = Preprocess { input_size: (32, 64), crop_pct: 1.0, ..Preprocess::default() };
    ClipProcessor { sampling, fit: FrameFit::Picture(fit) }
}

fn numbers(clip: &Clip, view: usize) -> Vec<usize> {
    (0..clip.frames()).map(|frame| number_in(&clip.picture(view, frame))).collect()
}

fn spans(views: usize) -> Sampling {
    Sampling::Spans { frames: 16, stride: 4, fps: 30.0, views }
}

fn refused(processor: &ClipProcessor, path: &Path, options: &ClipOptions) -> String {
    let text = processor.open(path, options).expect_err("must be refused").to_string();
    assert!(!text.contains('\n') && text.len() < 500, "one line: {text}");
    text
}

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
            stds.push((pixels().map(|v| (v - mean).powi(2)).sum::<f64>() / plane as f64).sqrt() as f32);
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
    let processor = ClipProcessor { sampling: spans(7), fit: FrameFit::Picture(fit) };
    let clip = processor.open(clips.join("video1.mp4"), &ClipOptions::default()).unwrap();
    for (view, tensor) in [(0, "video1.raw_rgb"), (1, "video1.raw_rgb_view1of7")] {
        assert_same(&clip.picture(view, 0).data, golden.bytes(tensor), &tensor);
    }
    for (name, frames, fps) in [("video2.mp4", 360, 30.0), ("video3.mp4", 300, 25.0)] {
        let clip = processor.open(clips.join(name), &ClipOptions::default()).unwrap();
        assert_eq!((clip.video_frames(), clip.fps()), (frames, fps), "{name}");
    }
}
