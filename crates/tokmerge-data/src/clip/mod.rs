//! From a video file, or a folder of frames, to what a video Transformer takes: `[views, 3, frames, height, width]`.
//!
//! | step | item | agrees with |
//! |---|---|---|
//! | which frames | [`Sampling`] | the test of Spatiotemporal MAE; `numpy.linspace` over the whole clip |
//! | decode | a process of `ffmpeg`, or [`open_image`](crate::open_image) for frames in a folder | `ffmpeg -pix_fmt rgb24` |
//! | resize, crop | [`FrameFit`] | Spatiotemporal MAE; the VideoMAE processor of transformers, on Pillow's pixels |
//! | all of it | [`ClipProcessor::open`], [`ClipProcessor::normalise`] | |
//!
//! Frames are resized and cropped as they arrive, and those that no view needs are dropped: a clip takes the memory of
//! its views, however long or large the video is.

mod error;
mod ffmpeg;
mod fit;
mod packets;
mod pipe;
mod processor;
mod sampling;
mod settings;
mod source;
mod views;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::ClipError;
pub use fit::{FrameFit, SpatialCrops};
pub use processor::ClipProcessor;
pub use sampling::Sampling;
pub use views::Clip;

/// Endings of clips, in lower case.
pub const EXTENSIONS: [&str; 14] =
    ["mp4", "m4v", "mov", "mkv", "webm", "avi", "gif", "mpg", "mpeg", "ts", "flv", "wmv", "ogv", "3gp"];

/// Images in a folder of frames; `None` of anything else.
#[must_use]
pub fn frames_of_folder(path: &Path) -> Option<usize> {
    path.is_dir().then(|| crate::dataset::frames_in(path).map_or(0, |frames| frames.len()))
}

/// What a clip may cost before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClipLimits {
    /// The longest, in seconds. 600 by default.
    pub max_seconds: u64,
    /// The most frames of the file or folder. 100 000 by default.
    pub max_frames: usize,
    /// The most pixels of a frame. 100 million by default.
    pub max_pixels: u64,
    /// The longest that `ffmpeg` may work on the next frame, or on the next packet while they are counted. A minute by
    /// default. Time that is spent on frames that came does not count.
    pub max_wait: Duration,
}

impl Default for ClipLimits {
    fn default() -> Self {
        Self {
            max_seconds: 600,
            max_frames: 100_000,
            max_pixels: 100_000_000,
            max_wait: Duration::from_secs(60),
        }
    }
}

/// How clips are opened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClipOptions {
    /// What a clip may cost.
    pub limits: ClipLimits,
    /// The `ffmpeg` program. Without one it is what the environment variable `TOKMERGE_FFMPEG` names, or else `ffmpeg`
    /// on the search path.
    pub ffmpeg: Option<PathBuf>,
    /// Frames per second of a folder of frames. Without it, what the [`Sampling`] asks for. A file has its own.
    pub fps: Option<f64>,
}
