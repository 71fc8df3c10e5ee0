//! What decoding may cost, and how it is done.

use super::Decode;
use crate::clip::ClipLimits;
use crate::sound::SoundLimits;

/// What a picture, a sound or a clip may cost before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest width times height. 100 million by default.
    pub max_pixels: u64,
    /// The most bytes of the encoded file, and of the decoded pixels in the file's own colour type (at
    /// most 8 bytes each). 1 GiB by default.
    pub max_bytes: u64,
    /// The longest sound or clip, in seconds. 600 by default.
    pub max_seconds: u64,
}

impl Limits {
    /// Those of sounds.
    #[must_use]
    pub fn of_sounds(&self) -> SoundLimits {
        SoundLimits { max_seconds: self.max_seconds, max_bytes: self.max_bytes }
    }

    /// Those of clips.
    #[must_use]
    pub fn of_clips(&self) -> ClipLimits {
        let Self { max_pixels, max_seconds, .. } = *self;
        ClipLimits { max_pixels, max_seconds, ..ClipLimits::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_pixels: 100_000_000, max_bytes: 1 << 30, max_seconds: 600 }
    }
}

/// What becomes of the turn that a camera notes in a picture's EXIF data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ExifOrientation {
    /// The picture is turned upright (Pillow's `exif_transpose`).
    #[default]
    Applied,
    /// Rows and columns stay as they are stored, as timm's and torchvision's own data sets leave them.
    Ignored,
}

/// How pictures are decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DecodeOptions {
    /// What one may cost.
    pub limits: Limits,
    /// How much of a JPEG is decoded.
    pub decode: Decode,
    /// Whether pictures are turned upright.
    pub orientation: ExifOrientation,
}

impl From<Limits> for DecodeOptions {
    fn from(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }
}

impl From<Decode> for DecodeOptions {
    fn from(decode: Decode) -> Self {
        Self { decode, ..Self::default() }
    }
}
