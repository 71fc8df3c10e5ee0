//! Why a clip was not read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::pipe::Stalled;
use crate::augment::AugmentError;
use crate::{DatasetError, ImageError, PreprocessError};

/// Why a clip was not read. One line each; with the path where there is a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClipError {
    /// Any of the others, met in a file or folder.
    #[error("{}: {source}", one_line(&path.display().to_string()))]
    InFile {
        /// The file or folder.
        path: PathBuf,
        /// What was wrong with it.
        source: Box<ClipError>,
    },
    /// The file could not be opened or read.
    #[error("cannot be read: {0}")]
    Io(#[source] std::io::Error),
    /// The path names a pipe or a device.
    #[error("is a pipe, socket or device, not a clip; name a video file or a folder of frames")]
    NotAFile,
    /// There are no bytes.
    #[error("is empty (0 bytes), so it holds no clip; fetch or write it again")]
    Empty,
    /// The program that decodes video files cannot be run.
    #[error(
        "needs ffmpeg, and `{}` cannot be run ({source}); install it (`apt install ffmpeg`, `dnf install ffmpeg-free`, \
         `brew install ffmpeg` or `winget install Gyan.FFmpeg`), name the program in TOKMERGE_FFMPEG, or give a folder \
         of frames", one_line(&program.display().to_string())
    )]
    NoFfmpeg {
        /// What was to be run.
        program: PathBuf,
        /// Why it was not.
        source: std::io::Error,
    },
    /// `ffmpeg` runs on and hands out nothing.
    #[error(
        "keeps ffmpeg waiting: no frame came for {} s, and it was ended; convert the file, or raise the limit (`max_wait`)",
        max_wait.as_secs_f64()
    )]
    Stalled {
        /// [`ClipLimits::max_wait`](super::ClipLimits::max_wait).
        max_wait: Duration,
    },
    /// `ffmpeg` writes what no `ffmpeg` writes.
    #[error("was not read: `ffmpeg` wrote no list of packets; name another program in TOKMERGE_FFMPEG")]
    Babble,
    /// `ffmpeg` does not read the file.
    #[error("is no video that can be read ({reason}); convert it to MP4, or give a folder of frames")]
    Refused {
        /// The last line that `ffmpeg` wrote.
        reason: String,
    },
    /// There is a container, and no video in it.
    #[error("holds no track of video; give a file that does, or a folder of frames")]
    NoVideo,
    /// The video has no frames.
    #[error("holds no frames; fetch or write it again")]
    NoFrames,
    /// The folder has no frames.
    #[error("is a folder without frames; put JPEG, PNG, WebP or BMP images into it, or name a video file")]
    EmptyFolder,
    /// The file ends before its video does.
    #[error("ends before its video does ({reason}); fetch or write it again")]
    CutOff {
        /// What `ffmpeg` wrote.
        reason: String,
    },
    /// Not all frames that are needed could be decoded.
    #[error("is damaged: {came} of its {frames} frames were decoded ({reason}); fetch or convert it again")]
    Damaged {
        /// Frames that were decoded.
        came: usize,
        /// Frames in the file.
        frames: usize,
        /// The last line that `ffmpeg` wrote.
        reason: String,
    },
    /// It has more frames than allowed.
    #[error(
        "has more than {max_frames} frames, which is the limit; cut it, or raise the limit (`max_frames`)"
    )]
    TooManyFrames {
        /// [`ClipLimits::max_frames`](super::ClipLimits::max_frames).
        max_frames: usize,
    },
    /// It is longer than allowed.
    #[error("is longer than {max_seconds} s, which is the limit; cut it, or raise the limit (`max_seconds`)")]
    TooLong {
        /// [`ClipLimits::max_seconds`](super::ClipLimits::max_seconds).
        max_seconds: u64,
    },
    /// Its frames have more pixels than allowed.
    #[error(
        "has frames of {width}x{height} pixels, above the limit of {max_pixels}; scale it down, or raise the limit \
         (`max_pixels`)"
    )]
    TooManyPixels {
        /// Width of a frame.
        width: usize,
        /// Height of a frame.
        height: usize,
        /// [`ClipLimits::max_pixels`](super::ClipLimits::max_pixels).
        max_pixels: u64,
    },
    /// Two frames have different sizes.
    #[error(
        "has frames of different sizes: {first} is {}x{} and {second} is {}x{}; give all the same size",
        first_size.0, first_size.1, second_size.0, second_size.1
    )]
    SizesDiffer {
        /// The first frame.
        first: String,
        /// Its width and height.
        first_size: (usize, usize),
        /// The frame that differs.
        second: String,
        /// Its width and height.
        second_size: (usize, usize),
    },
    /// A frame of a folder could not be decoded.
    #[error(transparent)]
    Frame(#[from] ImageError),
    /// A folder could not be listed.
    #[error(transparent)]
    Folder(#[from] DatasetError),
    /// A setting is out of its range.
    #[error("{setting} is {value}, and it must be {allowed}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What it may be, and an example.
        allowed: &'static str,
    },
    /// The preprocessing of the frames makes no sense, or does not fit them.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The random crop makes no sense.
    #[error(transparent)]
    Augment(#[from] AugmentError),
    /// The clip was made with other settings.
    #[error("the clip has views of {found}, and the processor makes {wanted}; open it with this processor")]
    OtherShape {
        /// Frames, height and width of the clip.
        found: String,
        /// Those of the processor.
        wanted: String,
    },
}

impl From<std::io::Error> for ClipError {
    fn from(error: std::io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Stalled>()) {
            Some(Stalled(max_wait)) => Self::Stalled { max_wait: *max_wait },
            None => Self::Io(error),
        }
    }
}

impl ClipError {
    /// The same error without the name of the file.
    pub(crate) fn without_file(self) -> Self {
        match self {
            Self::InFile { source, .. } => *source,
            other => other,
        }
    }

    /// The same error, naming the file.
    pub(super) fn in_file(self, path: &Path) -> Self {
        match self {
            // The first three name a file themselves, the others are about no file.
            Self::InFile { .. }
            | Self::Frame(_)
            | Self::Folder(_)
            | Self::Setting { .. }
            | Self::Preprocess(_)
            | Self::Augment(_) => self,
            source => Self::InFile { path: path.to_path_buf(), source: Box::new(source) },
        }
    }
}

/// Text from outside, fit for one line of a terminal: control characters are escaped.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}
