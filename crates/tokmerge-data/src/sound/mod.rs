//! From the bytes of a sound to what a model takes: samples at one rate, then mel spectra or cepstra.
//!
//! The format is found from the content. Channels are averaged, and any rate becomes the model's. Limits are compared with
//! the header, and again while a stream is decoded, so that hours of sound cost nothing.

mod cepstra;
mod mel;
mod processor;
mod read;
mod resample;
mod wav;

use std::path::{Path, PathBuf};

pub use cepstra::Cepstra;
pub use mel::{Framing, LogMel, Spectrum, Window};
pub use processor::{SILENCE, Silence, SoundFeatures, SoundProcessor, SpectraRows};
pub use read::{decode_sound, open_sound};

/// Endings of sounds, in lower case.
pub const EXTENSIONS: [&str; 7] = ["wav", "flac", "mp3", "ogg", "oga", "m4a", "aac"];

/// One channel of samples.
#[derive(Clone, PartialEq)]
pub struct Sound {
    /// Samples per second.
    pub rate: u32,
    /// From -1 to 1 where nothing was clipped.
    pub samples: Vec<f32>,
}

impl std::fmt::Debug for Sound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sound {{ {} samples, {} Hz }}", self.samples.len(), self.rate)
    }
}

/// What a sound may cost before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoundLimits {
    /// The longest, in seconds. 600 by default.
    pub max_seconds: u64,
    /// The most bytes of the encoded file. 1 GiB by default.
    pub max_bytes: u64,
}

impl Default for SoundLimits {
    fn default() -> Self {
        Self { max_seconds: 600, max_bytes: 1 << 30 }
    }
}

/// Why a sound was not read. One line each; with the path where there is a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SoundError {
    /// Any of the others, met in a file.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        source: Box<SoundError>,
    },
    /// The file could not be opened or read.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// There are no bytes.
    #[error("is empty (0 bytes), so it holds no sound; fetch or write it again")]
    Empty,
    /// The file needs more bytes than allowed.
    #[error("needs {bytes} bytes as a file, above the limit of {max_bytes}; cut it, or raise the byte limit")]
    TooManyBytes {
        /// Bytes needed.
        bytes: u64,
        /// [`SoundLimits::max_bytes`].
        max_bytes: u64,
    },
    /// The content is of no supported format.
    #[error("is not a WAV, FLAC, MP3, Ogg Vorbis or AAC sound ({found}); convert it to one of these")]
    UnknownFormat {
        /// What the content looks like.
        found: String,
    },
    /// There is a container, and no sound in it.
    #[error("holds no track of sound; give a file that does")]
    NoTrack,
    /// There are no samples.
    #[error("holds no samples; fetch or write it again")]
    NoSamples,
    /// It is longer than allowed.
    #[error("is longer than {max_seconds} s, which is the limit; cut it, or raise the limit (`max_seconds`)")]
    TooLong {
        /// [`SoundLimits::max_seconds`].
        max_seconds: u64,
    },
    /// No microphone has that rate.
    #[error("has {rate} samples per second, and from {} to {} are understood; convert it", RATES.start(), RATES.end())]
    Rate {
        /// The rate in its header.
        rate: u32,
    },
    /// A sample is no number.
    #[error("holds a sample that is {value}; write it again")]
    NotFinite {
        /// The sample.
        value: f32,
    },
    /// The decoder refused the content.
    #[error("is damaged or unsupported ({reason}); fetch or convert it again")]
    Decode {
        /// The decoder's words.
        reason: String,
    },
    /// It is too short for a single frame.
    #[error("has {samples} samples at {rate} Hz, and a frame takes {window}; give a longer sound")]
    TooShort {
        /// Its samples.
        samples: usize,
        /// Samples per second.
        rate: u32,
        /// Samples of a frame.
        window: usize,
    },
}

/// Samples per second that are understood.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

impl SoundError {
    /// The same error, naming the file.
    fn in_file(self, path: &Path) -> Self {
        match self {
            already @ Self::InFile { .. } => already,
            source => Self::InFile { path: path.to_path_buf(), source: Box::new(source) },
        }
    }
}
