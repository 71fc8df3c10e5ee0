//! Resize, crop and normalise: timm's evaluation transform, bit for bit.
//!
//! With `input_size` the size of the model's input, everything starts from
//! `scale = floor(input_size / crop_pct)` along each axis:
//!
//! | [`CropMode`] | resize | then |
//! |---|---|---|
//! | `Center` | square `scale`: shorter edge to it, longer edge `int(scale * long / short)` (torchvision's `Resize`); else both edges divided by the *smaller* of `height / scale_h`, `width / scale_w` and rounded to even (timm's `ResizeKeepRatio`) | centre crop, black where the picture is smaller |
//! | `Squash` | exactly to `scale`, whatever the aspect ratio | the same |
//! | `Border` | both edges divided by the *larger* of the two ratios, rounded to even | centre crop, `round(255 * mean)` where the picture is smaller |
//!
//! Crop offsets are `(size - crop) / 2` rounded half to even, as Python's `round` does. The pixel values
//! become `(v / 255 - mean) / std` in f32, in this order. Two differences: where a side would round to
//! zero pixels timm fails and this module keeps one; and only the rows and columns that survive the crop
//! are computed, so that a 1x10000 picture costs no more than another.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::Rgb;
use crate::resample::{Interpolation, resize_window};

/// Mean of ImageNet, which most models subtract.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];
/// Mean of the AugReg checkpoints: input in [-1, 1].
pub const HALF_MEAN: [f32; 3] = [0.5; 3];
/// Standard deviation that goes with [`HALF_MEAN`].
pub const HALF_STD: [f32; 3] = [0.5; 3];

/// Longest side of a model's input, and of the size resized to before the crop.
const MAX_SIDE: usize = 16_384;

/// How a picture of another shape is fitted; names as in timm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CropMode {
    /// Keep the aspect ratio, fill the input, lose the rims.
    Center,
    /// Distort, lose nothing but `1 - crop_pct`.
    Squash,
    /// Keep the aspect ratio, lose nothing but `1 - crop_pct`, fill the rest with the mean.
    Border,
}

impl CropMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Center, Self::Squash, Self::Border];

    /// The name that timm uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Center => "center",
            Self::Squash => "squash",
            Self::Border => "border",
        }
    }

    /// The mode of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }
}

/// From a picture to the input of a model. The defaults are timm's: 224x224, `crop_pct` 0.875, centre
/// crop, bicubic, mean and standard deviation of ImageNet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preprocess {
    /// Height and width of the model's input.
    pub input_size: (usize, usize),
    /// The part of the resized picture that the crop keeps, along each edge.
    pub crop_pct: f64,
    /// How the picture is fitted.
    pub crop_mode: CropMode,
    /// How it is resized.
    pub interpolation: Interpolation,
    /// Subtracted from each channel, after division by 255.
    pub mean: [f32; 3],
    /// Divides each channel, after that.
    pub std: [f32; 3],
}

impl Default for Preprocess {
    fn default() -> Self {
        Self {
            input_size: (224, 224),
            crop_pct: 0.875,
            crop_mode: CropMode::Center,
            interpolation: Interpolation::Bicubic,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
        }
    }
}

impl fmt::Display for Preprocess {
    /// One line for logs and reports.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (height, width) = self.input_size;
        let (mode, interpolation) = (self.crop_mode.name(), self.interpolation.name());
        write!(f, "{height}x{width} (height x width), crop_pct {}, {mode}, {interpolation}", self.crop_pct)?;
        write!(f, ", mean {:?}, std {:?}", self.mean, self.std)
    }
}

/// Why a picture cannot be preprocessed.
#[derive(Debug, thiserror::Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum PreprocessError {
    /// A side of the input size is zero or too long.
    #[error("input_size is {height}x{width}, and each side must be 1 to {MAX_SIDE}; pass e.g. 224x224")]
    InputSize {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// `crop_pct` is no usable number.
    #[error(
        "crop_pct is {crop_pct}, and input_size / crop_pct must be 1 to {MAX_SIDE}; use 0.9, or 1 for no crop"
    )]
    CropPct {
        /// The value.
        crop_pct: f64,
    },
    /// A mean is NaN or infinite.
    #[error("mean is {mean:?}, and each value must be finite; use e.g. [0.5, 0.5, 0.5]")]
    Mean {
        /// The values.
        mean: [f32; 3],
    },
    /// A standard deviation is not a positive number.
    #[error("std is {std:?}, and each value must be finite and above 0; use e.g. [0.5, 0.5, 0.5]")]
    Std {
        /// The values.
        std: [f32; 3],
    },
    /// The picture is empty or not as large as it says.
    #[error("a {width}x{height} RGB image needs {width} * {height} * 3 bytes, at least 3, and has {bytes}")]
    Image {
        /// Width of the picture.
        width: usize,
        /// Height of the picture.
        height: usize,
        /// Length of its data.
        bytes: usize,
    },
    /// The buffer for the result has the wrong length.
    #[error("the output holds {len} values, and 3 * height * width = {needed} are needed")]
    OutputLen {
        /// Its length.
        len: usize,
        /// See [`Preprocess::output_len`].
        needed: usize,
    },
}

/// Along one axis: the size resized to, the part of it that is kept, and where that part goes.
struct Axis {
    resized: usize,
    kept: Range<usize>,
    offset: usize,
}

impl Axis {
    fn new(resized: usize, crop: usize) -> Self {
        if resized < crop {
            return Self { resized, kept: 0..resized, offset: (crop - resized) / 2 };
        }
        let start = round((resized - crop) as f64 / 2.0);
        Self { resized, kept: start..start + crop, offset: 0 }
    }
}

/// Python's `int(round(x))` for a positive number.
fn round(x: f64) -> usize {
    x.round_ties_even() as usize
}

impl Rgb {
    /// Whether there are pixels, and as many bytes as they need.
    pub(crate) fn check(&self) -> Result<(), PreprocessError> {
        let (width, height, bytes) = (self.width, self.height, self.data.len());
        let needed = width.checked_mul(height).and_then(|n| n.checked_mul(3));
        if needed != Some(bytes) || bytes == 0 {
            return Err(PreprocessError::Image { width, height, bytes });
        }
        Ok(())
    }
}

impl Preprocess {
    /// Number of values of one preprocessed picture: `3 * height * width`.
    pub fn output_len(&self) -> usize {
        self.input_size.0.saturating_mul(self.input_size.1).saturating_mul(3)
    }

    /// Checks every field; [`apply`](Self::apply) does the same.
    pub fn validate(&self) -> Result<(), PreprocessError> {
        let (height, width) = self.input_size;
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&height) || !sides.contains(&width) {
            return Err(PreprocessError::InputSize { height, width });
        }
        // NaN and negative values become 0 here, infinite ones leave the range as well.
        if !(self.crop_pct > 0.0 && sides.contains(&self.scale(height)) && sides.contains(&self.scale(width)))
        {
            return Err(PreprocessError::CropPct { crop_pct: self.crop_pct });
        }
        if !self.mean.iter().all(|v| v.is_finite()) {
            return Err(PreprocessError::Mean { mean: self.mean });
        }
        // Subnormal deviations overflow the division.
        if !self.std.iter().all(|v| v.is_finite() && *v >= f32::MIN_POSITIVE) {
            return Err(PreprocessError::Std { std: self.std });
        }
        Ok(())
    }

    /// Resizes and crops, without normalising: what the model sees, as a picture.
    pub fn crop(&self, image: &Rgb) -> Result<Rgb, PreprocessError> {
        self.validate()?;
        image.check()?;
        let (height, width) = self.input_size;
        let [resized_height, resized_width] = self.resized(image.height, image.width);
        let (down, across) = (Axis::new(resized_height, height), Axis::new(resized_width, width));
        let size = [across.resized, down.resized];
        let window = [across.kept.clone(), down.kept.clone()];
        let picture = resize_window(image, size, window, self.interpolation);
        if (picture.width, picture.height) == (width, height) {
            return Ok(picture);
        }
        let mut data = self.fill().repeat(width * height);
        for (y, row) in picture.data.chunks_exact(picture.width * 3).enumerate() {
            let at = ((y + down.offset) * width + across.offset) * 3;
            data[at..at + row.len()].copy_from_slice(row);
        }
        Ok(Rgb { width, height, data })
    }

    /// Resizes, crops and normalises into `out`: `[3, height, width]`, channel by channel.
    pub fn apply(&self, image: &Rgb, out: &mut [f32]) -> Result<(), PreprocessError> {
        self.normalise(&self.crop(image)?, out)
    }

    /// Normalises a picture that already has the input size, e.g. from [`crop`](Self::crop).
    pub fn normalise(&self, image: &Rgb, out: &mut [f32]) -> Result<(), PreprocessError> {
        self.validate()?;
        let plane = self.input_size.0 * self.input_size.1;
        if image.data.len() != plane * 3 || (image.height, image.width) != self.input_size {
            let (width, height, bytes) = (image.width, image.height, image.data.len());
            return Err(PreprocessError::Image { width, height, bytes });
        }
        if out.len() != plane * 3 {
            return Err(PreprocessError::OutputLen { len: out.len(), needed: plane * 3 });
        }
        for (channel, out) in out.chunks_exact_mut(plane).enumerate() {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            // 256 values are possible; looking them up costs less than two divisions per pixel.
            let values: [f32; 256] = std::array::from_fn(|v| (v as f32 / 255.0 - mean) / std);
            for (value, pixel) in out.iter_mut().zip(image.data.as_chunks::<3>().0) {
                *value = values[usize::from(pixel[channel])];
            }
        }
        Ok(())
    }

    /// `floor(side / crop_pct)`.
    fn scale(&self, side: usize) -> usize {
        (side as f64 / self.crop_pct).floor() as usize
    }

    /// Height and width before the crop.
    fn resized(&self, height: usize, width: usize) -> [usize; 2] {
        let scale = [self.scale(self.input_size.0), self.scale(self.input_size.1)];
        let ratios = [height as f64 / scale[0] as f64, width as f64 / scale[1] as f64];
        let keep_ratio = |ratio: f64| [height, width].map(|side| round(side as f64 / ratio).max(1));
        match self.crop_mode {
            CropMode::Squash => scale,
            CropMode::Border => keep_ratio(ratios[0].max(ratios[1])),
            CropMode::Center if scale[0] == scale[1] => {
                let (short, long) = (height.min(width), height.max(width));
                // The product is exact below 2^53, as Python's is.
                let longer = ((scale[0] as f64 * long as f64) / short as f64) as usize;
                if width <= height { [longer, scale[0]] } else { [scale[0], longer] }
            }
            CropMode::Center => keep_ratio(ratios[0].min(ratios[1])),
        }
    }

    /// The colour of what the picture does not cover.
    fn fill(&self) -> [u8; 3] {
        match self.crop_mode {
            CropMode::Border => {
                self.mean.map(|v| (f64::from(v) * 255.0).round_ties_even().clamp(0.0, 255.0) as u8)
            }
            CropMode::Center | CropMode::Squash => [0; 3],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gray(width: usize, height: usize) -> Rgb {
        Rgb { width, height, data: vec![100; width * height * 3] }
    }

    #[test]
    fn long_thin_images_cost_no_more_than_others() {
        let started = std::time::Instant::now();
        for (width, height) in [(1, 1), (1, 10_000), (10_000, 1), (2, 1), (1, 1_000_000)] {
            for crop_mode in CropMode::ALL {
                let preprocess = Preprocess { crop_mode, ..Preprocess::default() };
                let got = preprocess.crop(&gray(width, height)).unwrap();
                assert_eq!((got.width, got.height), (224, 224));
            }
        }
        assert!(started.elapsed().as_secs() < 5);
    }

    #[test]
    fn fields_that_make_no_sense_are_refused_with_their_value() {
        let text = |p: Preprocess| p.crop(&gray(3, 3)).unwrap_err().to_string();
        let base = Preprocess::default();
        assert!(text(Preprocess { input_size: (0, 224), ..base.clone() }).contains("0x224"));
        assert!(text(Preprocess { input_size: (usize::MAX, 224), ..base.clone() }).contains("input_size"));
        for crop_pct in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300, 1e300] {
            assert!(text(Preprocess { crop_pct, ..base.clone() }).contains("crop_pct"), "{crop_pct}");
        }
        assert!(text(Preprocess { mean: [f32::NAN, 0.0, 0.0], ..base.clone() }).contains("NaN"));
        assert!(text(Preprocess { std: [0.0, 1.0, 1.0], ..base.clone() }).contains("std"));
        assert!(text(Preprocess { std: [1e-42, 1.0, 1.0], ..base.clone() }).contains("std"));
        assert!(base.apply(&gray(3, 3), &mut [0.0; 5]).unwrap_err().to_string().contains("150528"));
        let lying = Rgb { width: 9, height: 9, data: vec![0; 9] };
        assert!(base.crop(&lying).unwrap_err().to_string().contains("9x9"));
        assert!(base.crop(&Rgb { width: 0, height: 9, data: vec![] }).is_err());
        assert!(base.crop(&Rgb { width: usize::MAX, height: 9, data: vec![] }).is_err());
    }

    #[test]
    fn serde_round_trips_and_rejects_misspellings() {
        let preprocess = Preprocess { crop_mode: CropMode::Border, ..Preprocess::default() };
        let json = serde_json::to_string(&preprocess).unwrap();
        assert!(json.contains(r#""crop_mode":"border""#), "{json}");
        assert_eq!(serde_json::from_str::<Preprocess>(&json).unwrap(), preprocess);
        assert!(serde_json::from_str::<Preprocess>(r#"{"crop_percent": 1.0}"#).is_err());
    }

    proptest! {
        #[test]
        fn the_output_has_the_input_size(
            w in 1..300_usize, h in 1..300_usize, size in (1..80_usize, 1..80_usize),
            crop_pct in 0.3..2.0_f64, mode in 0..3_usize,
        ) {
            let crop_mode = CropMode::ALL[mode];
            let preprocess = Preprocess { input_size: size, crop_pct, crop_mode, ..Preprocess::default() };
            let valid = preprocess.validate();
            prop_assume!(valid.is_ok());
            let got = preprocess.crop(&gray(w, h)).unwrap();
            prop_assert_eq!((got.height, got.width), size);
            let mut out = vec![f32::NAN; preprocess.output_len()];
            preprocess.apply(&gray(w, h), &mut out).unwrap();
            prop_assert!(out.iter().all(|v| v.is_finite()));
        }
    }
}
