//! How images are prepared.

use super::values::{crop_mode, crop_pct, decode, interpolation};
use anyhow::Result;
use clap::Args;
use tokmerge::{
    CropMode, Decode, DecodeOptions, ExifOrientation, Interpolation, Limits, Model, PreprocessOverrides,
};

/// Preprocessing that replaces the model's own.
#[derive(Args, Debug)]
pub(crate) struct PreprocessArgs {
    /// Fraction of the resized image that the crop keeps
    #[arg(long, value_name = "FRACTION", value_parser = crop_pct)]
    pub(crate) crop_pct: Option<f64>,
    /// How images are fitted to the input: center, squash, border or shortest
    #[arg(long, value_name = "MODE", value_parser = crop_mode)]
    pub(crate) crop_mode: Option<CropMode>,
    /// Resampling filter: bicubic, bilinear, nearest, box, hamming or lanczos
    #[arg(long, value_name = "FILTER", value_parser = interpolation)]
    pub(crate) interpolation: Option<Interpolation>,
    /// Mean of each colour channel (of values from 0 to 1), which is subtracted
    #[arg(long, value_name = "R", num_args = 3)]
    pub(crate) mean: Option<Vec<f32>>,
    /// Standard deviation of each colour channel, by which the difference is divided
    #[arg(long, value_name = "R", num_args = 3)]
    pub(crate) std: Option<Vec<f32>>,
    /// How JPEGs are decoded: exact, to the pixels of Pillow; or fast, large ones to a half, a quarter or an eighth, never
    /// below the size that they are resized to
    #[arg(long, value_name = "HOW", default_value = "exact", value_parser = decode)]
    pub(crate) decode: Decode,
    /// Leave images as they are stored, and do not turn them upright as their EXIF data say; as tools do that ignore it
    #[arg(long)]
    pub(crate) no_exif: bool,
    /// Largest number of pixels in an image; larger images are refused before they are decoded
    #[arg(long, value_name = "PIXELS", default_value_t = Limits::default().max_pixels)]
    pub(crate) max_pixels: u64,
}

impl PreprocessArgs {
    pub(crate) fn limits(&self) -> Limits {
        Limits { max_pixels: self.max_pixels, ..Limits::default() }
    }

    pub(crate) fn decoding(&self) -> DecodeOptions {
        let orientation = if self.no_exif { ExifOrientation::Ignored } else { ExifOrientation::Applied };
        DecodeOptions { limits: self.limits(), decode: self.decode, orientation }
    }

    fn overrides(&self) -> PreprocessOverrides {
        PreprocessOverrides {
            crop_pct: self.crop_pct,
            crop_mode: self.crop_mode,
            interpolation: self.interpolation,
            mean: self.mean.clone(),
            std: self.std.clone(),
        }
    }

    /// The model with the user's preprocessing in place of its own.
    pub(crate) fn apply(&self, model: Model) -> Result<Model> {
        Ok(model.with_overrides(&self.overrides())?)
    }
}
