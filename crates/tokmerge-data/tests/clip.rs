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

#[test]
fn containers_rates_and_names_do_not_matter() {
    let Some(program) = ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = ClipOptions::default();
    let expected = [0, 4, 8, 12, 16, 21, 25, 29, 33, 37, 42, 46, 50, 54, 58, 63];
    let lossless = ["-c:v", "ffv1", "-pix_fmt", "gbrp"];
    let mpeg4 = ["-c:v", "mpeg4", "-q:v", "2", "-bf", "2"];
    let mpeg2 = ["-c:v", "mpeg2video", "-q:v", "2", "-bf", "2"];
    for (name, coding) in [
        ("a.mkv", lossless.as_slice()),
        ("b.mp4", &mpeg4),
        ("c.mov", &mpeg4),
        ("d.avi", &mpeg4),
        ("e.ts", &mpeg2),
        ("f.mpg", &mpeg2),
        ("g.gif", &[]),
        ("h.webm", &["-c:v", "libvpx", "-b:v", "2M", "-auto-alt-ref", "1", "-lag-in-frames", "16"]),
    ] {
        let path = write_video(&program, dir.path(), name, 64, coding);
        let clip = whole(spans(1)).open(&path, &options).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(clip.video_frames(), 64, "{name}");
        assert!((clip.fps() - 30.0).abs() < 1e-9, "{name}: {} frames per second", clip.fps());
        assert_eq!(clip.taken(0), expected, "{name}");
        assert_eq!(numbers(&clip, 0), expected, "{name}");
        assert!(tokmerge_data::clip::has_clip_ending(&path), "{name}");
    }
    let mut names = vec!["-y.mkv", "50%d.mkv", "concat:a|b.mkv", "with space.mkv"];
    if cfg!(unix) {
        names.push("two\nlines.mkv");
    }
    for name in names {
        let path = dir.path().join(name);
        std::fs::copy(dir.path().join("a.mkv"), &path).unwrap();
        let clip = whole(spans(1)).open(&path, &options).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(numbers(&clip, 0), expected, "{name}");
    }
}

#[test]
fn a_folder_of_frames_gives_the_clip_of_the_file() {
    let Some(program) = ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let video = write_video(&program, dir.path(), "a.mkv", 100, &["-c:v", "ffv1", "-pix_fmt", "gbrp"]);
    let frames = tempfile::tempdir().unwrap();
    write_frames(frames.path(), 0..100);
    std::fs::write(frames.path().join("notes.txt"), "not a frame").unwrap();
    let fit = FrameFit::Float {
        short_side: 30,
        crop: 28,
        crops: SpatialCrops::Three,
        mean: [0.45; 3],
        std: [0.225; 3],
    };
    for processor in [ClipProcessor { sampling: spans(3), fit }, whole(spans(3))] {
        let of_file = processor.open(&video, &ClipOptions::default()).unwrap();
        assert!(of_file == processor.open(frames.path(), &ClipOptions::default()).unwrap());
        let held: Vec<Rgb> = (0..100).map(drawn).collect();
        assert!(of_file == processor.of_frames(&held, None).unwrap());
    }
    let slower = ClipOptions { fps: Some(15.0), ..ClipOptions::default() };
    let clip = whole(spans(1)).open(frames.path(), &slower).unwrap();
    assert_eq!(clip.taken(0), spans(1).of(100, 15.0)[0]);
}

#[test]
fn a_video_is_turned_as_it_asks_for() {
    let Some(program) = ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let straight = write_video(&program, dir.path(), "a.mp4", 4, &["-c:v", "mpeg4", "-q:v", "2"]);
    let turned = dir.path().join("b.mp4");
    make(&program, &["-display_rotation", "90", "-i", straight.to_str().unwrap(), "-c", "copy"], &turned);
    let fit = Preprocess { input_size: (64, 32), crop_pct: 1.0, ..Preprocess::default() };
    let sampling = Sampling::Uniform { frames: 1 };
    let upright = ClipProcessor { sampling, fit: FrameFit::Picture(fit) };
    let (a, b) = (
        whole(sampling).open(&straight, &ClipOptions::default()).unwrap().picture(0, 0),
        upright.open(&turned, &ClipOptions::default()).unwrap().picture(0, 0),
    );
    let same = (0..32).all(|y| (0..64).all(|x| a.data[(y * 64 + x) * 3] == b.data[((63 - x) * 32 + y) * 3]));
    assert!(same, "a quarter turn against the clock");
}

#[test]
fn a_folder_names_the_frame_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let options = ClipOptions::default();
    let processor = whole(Sampling::Uniform { frames: 12 });
    assert!(refused(&processor, dir.path(), &options).contains("is a folder without frames"));
    write_frames(dir.path(), 0..12);
    let clip = processor.open(dir.path(), &options).unwrap();
    assert_eq!(numbers(&clip, 0), (0..12).collect::<Vec<_>>(), "10 comes after 9");

    let fewer = ClipLimits { max_frames: 11, ..ClipLimits::default() };
    let limited = |limits| ClipOptions { limits, ..ClipOptions::default() };
    assert!(refused(&processor, dir.path(), &limited(fewer)).contains("more than 11 frames"));
    let smaller = ClipLimits { max_pixels: 2047, ..ClipLimits::default() };
    assert!(refused(&processor, dir.path(), &limited(smaller)).contains("`max_pixels`"));
    let slow = ClipOptions { fps: Some(0.01), ..ClipOptions::default() };
    assert!(refused(&processor, dir.path(), &slow).contains("longer than 600 s"));

    RgbImage::new(63, 32).save(dir.path().join("7.png")).unwrap();
    let text = refused(&processor, dir.path(), &options);
    assert!(text.contains("0.png is 64x32 and 7.png is 63x32"), "{text}");
    std::fs::write(dir.path().join("5.png"), "no image").unwrap();
    let text = refused(&processor, dir.path(), &options);
    assert!(text.contains("5.png: is not a JPEG"), "{text}");
}

#[test]
fn what_is_no_clip_is_refused_in_one_line() {
    let Some(program) = ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let options = ClipOptions::default();
    let text = |name: &str| refused(&whole(spans(1)), &path(name), &options);
    let video = write_video(&program, dir.path(), "a.mkv", 64, &["-c:v", "ffv1", "-pix_fmt", "gbrp"]);
    let write = |name: &str, bytes: &[u8]| std::fs::write(path(name), bytes).unwrap();

    write("text.mp4", b"this is a text, and no video at all\n");
    assert!(text("text.mp4").contains("text.mp4: is no video that can be read"), "{}", text("text.mp4"));
    write("empty.mp4", b"");
    assert!(text("empty.mp4").contains("is empty (0 bytes)"));
    assert!(text("gone.mp4").contains("gone.mp4: cannot be read"));
    make(&program, &["-f", "lavfi", "-i", "sine=d=0.5"], &path("sound.m4a"));
    assert!(text("sound.m4a").contains("holds no track of video"));
    make(&program, &["-f", "lavfi", "-i", "testsrc=d=1", "-t", "0", "-c:v", "mpeg4"], &path("nothing.avi"));
    assert!(text("nothing.avi").contains("holds no frames"), "{}", text("nothing.avi"));

    // What names other files is not followed, whatever its ending.
    let list = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.mkv\n#EXT-X-ENDLIST\n";
    for name in ["list.m3u8", "list.ts"] {
        write(name, list.as_bytes());
        assert!(text(name).contains("is no video that can be read"), "{}", text(name));
    }
    write("list.mp4", b"ffconcat version 1.0\nfile a.mkv\n");
    assert!(text("list.mp4").contains("it is no MP4, Matroska"), "{}", text("list.mp4"));
    if cfg!(unix) {
        write("two\nlines\u{1b}.mp4", b"text");
        let text = text("two\nlines\u{1b}.mp4");
        assert!(text.contains("two\\nlines\\u{1b}.mp4: is no video"), "{text}");
        let text = refused(&whole(spans(1)), Path::new("/dev/null"), &options);
        assert!(text.contains("is a pipe, socket or device"), "{text}");
    }

    let limited = |limits| ClipOptions { limits, ..ClipOptions::default() };
    let of = |limits| refused(&whole(spans(1)), &video, &limited(limits));
    let default = ClipLimits::default();
    assert!(of(ClipLimits { max_seconds: 2, ..default }).contains("longer than 2 s"));
    assert!(of(ClipLimits { max_frames: 63, ..default }).contains("more than 63 frames"));
    assert!(of(ClipLimits { max_pixels: 2047, ..default }).contains("64x32 pixels, above the limit of 2047"));
}

#[test]
fn a_video_that_was_cut_off_or_damaged_is_refused() {
    let Some(program) = ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = ClipOptions::default();
    let mpeg4 = ["-c:v", "mpeg4", "-q:v", "2"];
    let whole_file = write_video(&program, dir.path(), "end.mp4", 64, &mpeg4);
    let front = [mpeg4.as_slice(), &["-movflags", "+faststart"]].concat();
    let with_index = write_video(&program, dir.path(), "front.mp4", 64, &front);
    let mkv = write_video(&program, dir.path(), "a.mkv", 64, &["-c:v", "ffv1", "-pix_fmt", "gbrp"]);
    for (path, expected) in [
        (&whole_file, "is no video that can be read (moov atom not found)"),
        (&with_index, "ends before its video does"),
        (&mkv, "ends before its video does"),
    ] {
        let bytes = std::fs::read(path).unwrap();
        let cut = dir.path().join("cut.mp4");
        std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
        let text = refused(&whole(spans(1)), &cut, &options);
        println!("{text}");
        assert!(text.contains(expected), "{text}");
    }
    let mut bytes = std::fs::read(&mkv).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 2000].fill(0x55);
    std::fs::write(&mkv, &bytes).unwrap();
    let text = refused(&whole(spans(1)), &mkv, &options);
    println!("{text}");
    assert!(text.contains("is damaged: ") && !text.contains("thread"), "{text}");
    // The damage lies behind these.
    let beginning = Sampling::Spans { frames: 4, stride: 1, fps: 30.0, views: 2 };
    assert!(refused(&whole(beginning), &mkv, &options).contains("is damaged"));
    let first = ClipProcessor { sampling: Sampling::Uniform { frames: 1 }, ..whole(beginning) };
    assert_eq!(numbers(&first.open(&mkv, &options).unwrap(), 0), [0]);
}

#[cfg(unix)]
#[test]
fn an_older_program_is_asked_in_its_own_words() {
    use std::os::unix::fs::PermissionsExt;
    let Some(program) = ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let video = write_video(&program, dir.path(), "a.mkv", 20, &["-c:v", "ffv1", "-pix_fmt", "gbrp"]);
    let older = dir.path().join("older");
    let script = format!(
        "#!/bin/bash\nwords=()\nfor word in \"$@\"; do\n[ \"$word\" = -fps_mode ] && \
         {{ echo \"Unrecognized option 'fps_mode'.\" >&2; exit 1; }}\n\
         [ \"$word\" = -vsync ] && word=-fps_mode\nwords+=(\"$word\")\ndone\nexec '{}' \"${{words[@]}}\"\n",
        program.display()
    );
    std::fs::write(&older, script).unwrap();
    std::fs::set_permissions(&older, std::fs::Permissions::from_mode(0o755)).unwrap();
    let options = ClipOptions { ffmpeg: Some(older), ..ClipOptions::default() };
    let clip = whole(Sampling::Uniform { frames: 3 }).open(&video, &options).unwrap();
    assert_eq!(numbers(&clip, 0), [0, 9, 19]);
}

#[test]
fn a_program_that_is_absent_or_no_ffmpeg_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let video = dir.path().join("a.mp4");
    std::fs::write(&video, b"anything").unwrap();
    let with = |program: &Path| ClipOptions { ffmpeg: Some(program.to_path_buf()), ..ClipOptions::default() };
    let absent = with(&dir.path().join("no-ffmpeg"));
    let text = refused(&whole(spans(1)), &video, &absent);
    for part in
        ["a.mp4: needs ffmpeg", "no-ffmpeg", "apt install", "brew install", "TOKMERGE_FFMPEG", "folder"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let error = whole(spans(1)).open(&video, &absent).unwrap_err();
    assert!(
        matches!(error, ClipError::InFile { source, .. } if matches!(*source, ClipError::NoFfmpeg { .. }))
    );
    // A folder of frames needs no program.
    write_frames(dir.path(), 0..2);
    assert!(whole(spans(1)).open(dir.path(), &absent).is_ok());
}
