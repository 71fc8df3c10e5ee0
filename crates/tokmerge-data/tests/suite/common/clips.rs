//! Clips of frames that count themselves, and what makes them.

#![allow(
    dead_code,
    clippy::print_stderr,
    reason = "not every test binary uses all of it; says what was skipped"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use image::RgbImage;
use tokmerge_data::clip::{Clip, ClipOptions, ClipProcessor, FrameFit, Sampling};
use tokmerge_data::{Preprocess, Rgb};

/// The program, if it is there.
pub(crate) fn ffmpeg() -> Option<PathBuf> {
    let program = std::env::var_os("TOKMERGE_FFMPEG").map_or_else(|| PathBuf::from("ffmpeg"), PathBuf::from);
    let version = Command::new(&program).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if version.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    eprintln!("SKIPPED: ffmpeg is neither on the search path nor named in TOKMERGE_FFMPEG");
    None
}

/// Runs it on `arguments`.
pub(crate) fn make(program: &Path, arguments: &[&str], output: &Path) {
    let mut command = Command::new(program);
    command.args(["-v", "error", "-nostdin", "-y"]).args(arguments).arg(output);
    assert!(command.status().unwrap().success(), "{arguments:?}");
}

/// The frame at `number` of a clip that counts its own frames: blocks of grey for its bits, and a place in colour.
pub(crate) fn drawn(number: usize) -> Rgb {
    let pixel = |x: usize, y: usize| {
        let bit = (number >> (x / 8)) & 1;
        [40 + 160 * bit as u8, (x * 3) as u8, (y * 5) as u8]
    };
    let data = (0..32).flat_map(|y| (0..64).flat_map(move |x| pixel(x, y))).collect();
    Rgb { width: 64, height: 32, data }
}

/// The number that [`drawn`] put into a frame of 64x32.
pub(crate) fn number_in(frame: &Rgb) -> usize {
    let red = |x: usize| frame.data[(16 * 64 + x) * 3];
    (0..8).map(|bit| usize::from(red(bit * 8 + 4) > 120) << bit).sum()
}

pub(crate) fn write_frames(dir: &Path, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let Rgb { width, height, data } = drawn(number);
        let image = RgbImage::from_raw(width as u32, height as u32, data).unwrap();
        image.save(dir.join(format!("{number}.png"))).unwrap();
    }
}

/// A video of drawn frames without loss, 30 per second.
pub(crate) fn write_video(
    program: &Path,
    dir: &Path,
    name: &str,
    count: usize,
    arguments: &[&str],
) -> PathBuf {
    let frames = tempfile::tempdir().unwrap();
    write_frames(frames.path(), 0..count);
    let pattern = frames.path().join("%d.png");
    let output = dir.join(name);
    let input = ["-framerate", "30", "-i", pattern.to_str().unwrap()];
    make(program, &[&input, arguments].concat(), &output);
    output
}

/// Whole frames of 64x32.
pub(crate) fn whole(sampling: Sampling) -> ClipProcessor {
    let fit = Preprocess { input_size: (32, 64), crop_pct: 1.0, ..Preprocess::default() };
    ClipProcessor { sampling, fit: FrameFit::Picture(fit) }
}

pub(crate) fn numbers(clip: &Clip, view: usize) -> Vec<usize> {
    (0..clip.frames()).map(|frame| number_in(&clip.picture(view, frame))).collect()
}

pub(crate) fn spans(views: usize) -> Sampling {
    Sampling::Spans { frames: 16, stride: 4, fps: 30.0, views }
}

pub(crate) fn refused(processor: &ClipProcessor, path: &Path, options: &ClipOptions) -> String {
    let text = processor.open(path, options).expect_err("must be refused").to_string();
    assert!(!text.contains('\n') && text.len() < 500, "one line: {text}");
    text
}
