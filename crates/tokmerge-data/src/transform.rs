//! Resize, crop and normalise: timm's evaluation transform, bit for bit.
//!
//! With `input_size` the size of the model's input, everything starts from
//! `scale = floor(input_size / crop_pct)` along each axis:
//!
//! | [`CropMode`] | resize | then |
//! |---|---|---|
//! | `Center` | square `scale`: shorter edge to it, longer edge `int(scale * long / short)` (torchvision's `Resize`); else both edges divided by the *smaller* of `height / scale_h`, `width / scale_w` and rounded to even (timm's `ResizeKeepRatio`) | centre crop, black where the picture is smaller |
//! | `Shortest` | shorter edge to the shorter `scale`, longer edge `int(scale * long / short)`, whatever the input's shape | as `Center` |
//! | `Squash` | exactly to `scale`, whatever the aspect ratio | the same |
//! | `Border` | both edges divided by the *larger* of the two ratios, rounded to even | centre crop, `round(255 * mean)` where the picture is smaller |
//!
//! Crop offsets are `(size - crop) / 2` rounded half to even, as Python's `round` does, or down, as the processors of
//! transformers do ([`CropRounding`]). A grey input is made from the picture in Pillow's mode L before anything else.
//! The pixel values become `(v / 255 - mean) / std` in f32, in this order. Two differences: where a side would round to
//! zero pixels timm fails and this module keeps one; and only the rows and columns that survive the crop
//! are computed, so that a 1x10000 picture costs no more than another.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::Rgb;
use crate::choices::{Colour, CropMode, CropRounding, IMAGENET_MEAN, IMAGENET_STD};
use crate::decode::luma;
use crate::resample::{Interpolation, resize_window};

/// Longest side of a model's input, and of the size resized to before the crop.
const MAX_SIDE: usize = 16_384;
/// Largest side and number of patches where each picture has a size of its own.
pub(crate) const MAX_PATCH: usize = 256;
pub(crate) const MAX_PATCHES: usize = 1 << 16;

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
    /// Where a crop lies that cannot be centred exactly.
    pub crop_rounding: CropRounding,
    /// The colour where the picture does not reach; without one it is `crop_mode`'s, the mean or black.
    pub fill: Option<[u8; 3]>,
    /// How it is resized.
    pub interpolation: Interpolation,
    /// The channels of the input.
    pub colour: Colour,
    /// Subtracted from each channel, after division by 255. A grey input has the first.
    pub mean: [f32; 3],
    /// Divides each channel, after that. A grey input has the first.
    pub std: [f32; 3],
}

impl Default for Preprocess {
    fn default() -> Self {
        Self {
            input_size: (224, 224),
            crop_pct: 0.875,
            crop_mode: CropMode::Center,
            crop_rounding: CropRounding::Even,
            fill: None,
            interpolation: Interpolation::Bicubic,
            colour: Colour::Rgb,
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
        if self.crop_rounding == CropRounding::Down {
            write!(f, ", crop rounded down")?;
        }
        if let Some(fill) = self.fill {
            write!(f, ", filled with {fill:?}")?;
        }
        match self.colour {
            Colour::Rgb => write!(f, ", mean {:?}, std {:?}", self.mean, self.std),
            Colour::Grey => write!(f, ", grey, mean {:?}, std {:?}", self.mean[0], self.std[0]),
        }
    }
}

/// Why a picture cannot be preprocessed.
#[derive(Debug, thiserror::Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum PreprocessError {
    /// An image for a model that takes something else.
    #[error("the model takes {media}, and was given images; prepare {media} with its processor")]
    TakesNoImages {
        /// What the model takes.
        media: &'static str,
    },
    /// A setting of clips makes no sense.
    #[error("{0}")]
    Clip(String),
    /// A setting of pictures for a model that takes something else.
    #[error("{setting} is a setting of images, and the model takes {media}; leave it out")]
    OfImages {
        /// The setting.
        setting: &'static str,
        /// What the model takes.
        media: &'static str,
    },
    /// A setting of crops, where pictures keep their own sizes.
    #[error(
        "`{setting}` is given, and the model takes every image at a size of its own, whole; leave it out"
    )]
    OwnSizes {
        /// The setting.
        setting: &'static str,
    },
    /// A setting of pictures that keep their own sizes, where all have one.
    #[error("`{setting}` is {value}, and the model takes all images at one size; leave it out")]
    OneSize {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: usize,
    },
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
    #[error("the output holds {len} values, and channels * height * width = {needed} are needed")]
    OutputLen {
        /// Its length.
        len: usize,
        /// See [`Preprocess::output_len`].
        needed: usize,
    },
    /// A mean or standard deviation has another number of channels.
    #[error("{field} has {count} numbers, and one for all channels or one for each of {channels} is needed")]
    Channels {
        /// `mean` or `std`.
        field: &'static str,
        /// Its numbers.
        count: usize,
        /// The channels of the input.
        channels: usize,
    },
    /// The longer side is to be shorter than the shorter one, or longer than is understood.
    #[error(
        "`long_side` is {value}, and it must be at least the shorter side, {least}, and at most {most}; use e.g. 640"
    )]
    LongSide {
        /// What was asked for.
        value: usize,
        /// The shorter side.
        least: usize,
        /// The longest that is understood.
        most: usize,
    },
    /// The sides that a picture is to have make no sense.
    #[error(
        "patch_size is {patch_size}, the shorter side {shorter} and the longer at most {longer}, and they must be 1 to \
         {MAX_PATCH}, at least a patch, and at least as much and at most {most}; use e.g. 32, 384 and 640"
    )]
    Sides {
        /// Side of a patch.
        patch_size: usize,
        /// The shorter side.
        shorter: usize,
        /// The longer side at most.
        longer: usize,
        /// The longest that is understood.
        most: usize,
    },
    /// A picture of which no whole patch is left.
    #[error(
        "a picture of {width}x{height} is so thin that no patch of {patch_size}x{patch_size} is left of it once it is at \
         most {longer} pixels long; crop it"
    )]
    TooThin {
        /// Height of the picture.
        height: usize,
        /// Width of the picture.
        width: usize,
        /// Side of a patch.
        patch_size: usize,
        /// The longer side at most.
        longer: usize,
    },
    /// The patches that a picture is to be cut into make no sense.
    #[error(
        "patch_size is {patch_size} and max_num_patches {max_num_patches}, and they must be 1 to {MAX_PATCH} and 1 to \
         {MAX_PATCHES}; use e.g. 16 and 256"
    )]
    Patches {
        /// Side of a patch.
        patch_size: usize,
        /// The most patches.
        max_num_patches: usize,
    },
}

/// What a picture is resized to, the part of that which is made (columns, rows), and where it goes (x, y).
#[derive(Clone)]
pub(crate) struct Frame {
    /// Width and height.
    pub(crate) size: [usize; 2],
    pub(crate) window: [Range<usize>; 2],
    pub(crate) offset: [usize; 2],
    pub(crate) interpolation: Interpolation,
}

/// Along one axis: the size resized to, the part of it that is kept, and where that part goes.
struct Axis {
    resized: usize,
    kept: Range<usize>,
    offset: usize,
}

impl Axis {
    fn new(resized: usize, crop: usize, rounding: CropRounding) -> Self {
        if resized < crop {
            let offset = match rounding {
                CropRounding::Even => (crop - resized) / 2,
                CropRounding::Down => (crop - resized).div_ceil(2),
            };
            return Self { resized, kept: 0..resized, offset };
        }
        let start = match rounding {
            CropRounding::Even => round((resized - crop) as f64 / 2.0),
            CropRounding::Down => (resized - crop) / 2,
        };
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

    /// The picture in Pillow's mode L, its brightness in all three channels.
    pub(crate) fn grey(&self) -> Self {
        let data = self.data.as_chunks::<3>().0.iter().flat_map(|pixel| [luma(*pixel); 3]).collect();
        Self { width: self.width, height: self.height, data }
    }
}

/// The value of each byte of a channel: `(v / 255 - mean) / std`. 256 values are possible; looking them up costs less
/// than two divisions per pixel.
pub(crate) fn normalised(mean: f32, std: f32) -> [f32; 256] {
    std::array::from_fn(|v| (v as f32 / 255.0 - mean) / std)
}

/// Refuses means that are no numbers, and standard deviations that cannot divide.
pub(crate) fn check_normalisation(mean: [f32; 3], std: [f32; 3]) -> Result<(), PreprocessError> {
    if !mean.iter().all(|v| v.is_finite()) {
        return Err(PreprocessError::Mean { mean });
    }
    // Subnormal deviations overflow the division.
    if !std.iter().all(|v| v.is_finite() && *v >= f32::MIN_POSITIVE) {
        return Err(PreprocessError::Std { std });
    }
    Ok(())
}

impl Preprocess {
    /// Number of channels of the input: 3 or 1.
    pub fn channels(&self) -> usize {
        self.colour.channels()
    }

    /// Number of values of one preprocessed picture: `channels * height * width`.
    pub fn output_len(&self) -> usize {
        self.input_size.0.saturating_mul(self.input_size.1).saturating_mul(self.channels())
    }

    /// The mean of each channel of the input, one or three.
    pub fn channel_means(&self) -> &[f32] {
        &self.mean[..self.channels()]
    }

    /// The standard deviation of each channel of the input, one or three.
    pub fn channel_stds(&self) -> &[f32] {
        &self.std[..self.channels()]
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
        check_normalisation(self.mean, self.std)
    }

    /// Resizes and crops, without normalising: what the model sees, as a picture. A grey one has three equal channels.
    pub fn crop(&self, image: &Rgb) -> Result<Rgb, PreprocessError> {
        self.validate()?;
        image.check()?;
        let frame = self.frame([image.width, image.height]);
        let Frame { size, window, interpolation, .. } = frame.clone();
        let picture = match self.colour {
            Colour::Rgb => resize_window(image, size, window, interpolation),
            Colour::Grey => resize_window(&image.grey(), size, window, interpolation),
        };
        Ok(self.filled(picture, &frame))
    }

    /// What a picture of that width and height is resized to. The fields must be valid.
    pub(crate) fn frame(&self, [width, height]: [usize; 2]) -> Frame {
        let [resized_height, resized_width] = self.resized(height, width);
        let across = Axis::new(resized_width, self.input_size.1, self.crop_rounding);
        let down = Axis::new(resized_height, self.input_size.0, self.crop_rounding);
        Frame {
            size: [across.resized, down.resized],
            window: [across.kept, down.kept],
            offset: [across.offset, down.offset],
            interpolation: self.interpolation,
        }
    }

    /// The picture that was made of a frame, with colour around it where it is smaller than the input.
    pub(crate) fn filled(&self, picture: Rgb, frame: &Frame) -> Rgb {
        let (height, width) = self.input_size;
        if (picture.width, picture.height) == (width, height) {
            return picture;
        }
        let mut data = self.fill().repeat(width * height);
        for (y, row) in picture.data.chunks_exact(picture.width * 3).enumerate() {
            let at = ((y + frame.offset[1]) * width + frame.offset[0]) * 3;
            data[at..at + row.len()].copy_from_slice(row);
        }
        Rgb { width, height, data }
    }

    /// Resizes, crops and normalises into `out`: `[channels, height, width]`, channel by channel.
    pub fn apply(&self, image: &Rgb, out: &mut [f32]) -> Result<(), PreprocessError> {
        self.normalise(&self.crop(image)?, out)
    }

    /// Normalises a picture that already has the input size, e.g. from [`crop`](Self::crop). Of a grey one the first
    /// channel counts.
    pub fn normalise(&self, image: &Rgb, out: &mut [f32]) -> Result<(), PreprocessError> {
        self.validate()?;
        let plane = self.input_size.0 * self.input_size.1;
        if image.data.len() != plane * 3 || (image.height, image.width) != self.input_size {
            let (width, height, bytes) = (image.width, image.height, image.data.len());
            return Err(PreprocessError::Image { width, height, bytes });
        }
        if out.len() != self.output_len() {
            return Err(PreprocessError::OutputLen { len: out.len(), needed: self.output_len() });
        }
        for (channel, out) in out.chunks_exact_mut(plane).enumerate() {
            let values = normalised(self.mean[channel], self.std[channel]);
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
        let shorter_edge_to = |edge: usize| {
            let (short, long) = (height.min(width), height.max(width));
            // The product is exact below 2^53, as Python's is.
            let longer = ((edge as f64 * long as f64) / short as f64) as usize;
            if width <= height { [longer, edge] } else { [edge, longer] }
        };
        match self.crop_mode {
            CropMode::Squash => scale,
            CropMode::Border => keep_ratio(ratios[0].max(ratios[1])),
            CropMode::Shortest => shorter_edge_to(scale[0].min(scale[1])),
            CropMode::Center if scale[0] == scale[1] => shorter_edge_to(scale[0]),
            CropMode::Center => keep_ratio(ratios[0].min(ratios[1])),
        }
    }

    /// The colour of what the picture does not cover.
    fn fill(&self) -> [u8; 3] {
        match (self.fill, self.crop_mode) {
            (Some(fill), _) => fill,
            (None, CropMode::Border) => {
                self.mean.map(|v| (f64::from(v) * 255.0).round_ties_even().clamp(0.0, 255.0) as u8)
            }
            (None, CropMode::Center | CropMode::Squash | CropMode::Shortest) => [0; 3],
        }
    }
}

#[cfg(test)]
mod tests;
