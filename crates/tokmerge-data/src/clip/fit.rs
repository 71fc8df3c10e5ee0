//! Frames resized and cropped.

use std::ops::Range;

use super::ClipError;
use crate::augment::{RandomResizedCrop, Visit};
use crate::choices::Colour;
use crate::transform::check_normalisation;
use crate::{Preprocess, Rgb, resize};

/// Longest side of a crop, and of the shorter side resized to.
const MAX_SIDE: usize = 16_384;

/// The parts of a frame that become views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpatialCrops {
    /// The centre.
    Centre,
    /// Beginning, centre and end along the longer side.
    Three,
}

impl SpatialCrops {
    /// How many there are.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Centre => 1,
            Self::Three => 3,
        }
    }
}

/// How a frame becomes the size of the model's input.
#[derive(Debug, Clone, PartialEq)]
pub enum FrameFit {
    /// In floating point, as Spatiotemporal MAE does: the shorter side to `short_side` and the longer to
    /// `floor(long / short * short_side)`, bilinear without antialiasing between pixel centres, then square crops. A
    /// crop in the centre begins at `ceil((side - crop) / 2)`.
    Float {
        /// The shorter side before the crop.
        short_side: usize,
        /// Side of the crop, no longer than `short_side`.
        crop: usize,
        /// Which crops are taken.
        crops: SpatialCrops,
        /// Subtracted from each channel, after division by 255.
        mean: [f32; 3],
        /// Divides each channel, after that.
        std: [f32; 3],
    },
    /// As a picture of three channels, in bytes; one crop.
    Picture(Preprocess),
}

impl FrameFit {
    /// Crops of a frame.
    #[must_use]
    pub fn crops(&self) -> usize {
        match self {
            Self::Float { crops, .. } => crops.count(),
            Self::Picture(_) => 1,
        }
    }

    /// Height and width of a crop.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        match self {
            Self::Float { crop, .. } => (*crop, *crop),
            Self::Picture(preprocess) => preprocess.input_size,
        }
    }

    /// Mean and standard deviation of the channels, of values divided by 255.
    #[must_use]
    pub fn normalisation(&self) -> ([f32; 3], [f32; 3]) {
        match self {
            Self::Float { mean, std, .. } => (*mean, *std),
            Self::Picture(preprocess) => (preprocess.mean, preprocess.std),
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// When one makes no sense.
    pub fn validate(&self) -> Result<(), ClipError> {
        let wrong = |setting, value: usize, allowed| {
            Err(ClipError::Setting { setting, value: value.to_string(), allowed })
        };
        match self {
            Self::Float { short_side, .. } if !(1..=MAX_SIDE).contains(short_side) => {
                wrong("short_side", *short_side, "1 to 16384; use e.g. 256")
            }
            Self::Float { crop, short_side, .. } if !(1..=*short_side).contains(crop) => {
                wrong("crop", *crop, "1 to short_side; use e.g. 224 where short_side is 256")
            }
            Self::Float { mean, std, .. } => Ok(check_normalisation(*mean, *std)?),
            Self::Picture(preprocess) if preprocess.colour == Colour::Grey => Err(ClipError::Setting {
                setting: "colour",
                value: "grey".to_owned(),
                allowed: "rgb; clips have three channels",
            }),
            Self::Picture(preprocess) => Ok(preprocess.validate()?),
        }
    }

    /// The part that a random crop takes of every frame at a visit, `[3, height, width]` from 0 to 255, resized in place
    /// of the other crops. The fields must be valid.
    pub(super) fn random(
        &self,
        frame: &Rgb,
        crop: &RandomResizedCrop,
        visit: Visit,
    ) -> Result<Box<[f32]>, ClipError> {
        frame.check()?;
        let part = crop.window_at(visit, frame.width, frame.height).of(frame);
        match self {
            Self::Float { crop, .. } => {
                let taps = |side| Taps::new(side, *crop, 0..*crop);
                Ok(bilinear(&part, &taps(part.width), &taps(part.height)))
            }
            Self::Picture(preprocess) => {
                let (height, width) = preprocess.input_size;
                Ok(planes(&resize(&part, width, height, preprocess.interpolation)))
            }
        }
    }

    /// Every crop of a frame, `[3, height, width]` from 0 to 255. The fields must be valid.
    pub(super) fn of(&self, frame: &Rgb) -> Result<Vec<Box<[f32]>>, ClipError> {
        match self {
            Self::Float { short_side, crop, crops, .. } => {
                frame.check()?;
                let (width, height) = resized(frame.width, frame.height, *short_side);
                let centre = |side: usize| (side - crop).div_ceil(2);
                let (x, y) = (centre(width), centre(height));
                let corners = match crops {
                    SpatialCrops::Centre => vec![(x, y)],
                    SpatialCrops::Three if height > width => vec![(x, 0), (x, y), (x, height - crop)],
                    SpatialCrops::Three => vec![(0, y), (x, y), (width - crop, y)],
                };
                let part = |(x, y): (usize, usize)| {
                    let across = Taps::new(frame.width, width, x..x + crop);
                    let down = Taps::new(frame.height, height, y..y + crop);
                    bilinear(frame, &across, &down)
                };
                Ok(corners.into_iter().map(part).collect())
            }
            Self::Picture(preprocess) => Ok(vec![planes(&preprocess.crop(frame)?)]),
        }
    }
}

/// A picture channel by channel.
fn planes(picture: &Rgb) -> Box<[f32]> {
    let channel = |channel: usize| picture.data.iter().skip(channel).step_by(3);
    (0..3).flat_map(channel).map(|&value| f32::from(value)).collect()
}

/// Width and height after the shorter one became `short_side`.
fn resized(width: usize, height: usize, short_side: usize) -> (usize, usize) {
    let longer = |long: usize, short: usize| (long as f64 / short as f64 * short_side as f64) as usize;
    if width <= height {
        (short_side, longer(height, width).max(short_side))
    } else {
        (longer(width, height).max(short_side), short_side)
    }
}

/// Along one axis, the two pixels that each pixel lies between, and the weight of the second.
struct Taps(Vec<(usize, usize, f32)>);

impl Taps {
    /// For the pixels `window` of `to`, made of `from`.
    fn new(from: usize, to: usize, window: Range<usize>) -> Self {
        let scale = from as f32 / to as f32;
        let tap = |at: usize| {
            let place = (scale * (at as f32 + 0.5) - 0.5).max(0.0);
            let first = (place as usize).min(from - 1);
            (first, (first + 1).min(from - 1), (place - first as f32).min(1.0))
        };
        Self(window.map(tap).collect())
    }
}

fn bilinear(frame: &Rgb, across: &Taps, down: &Taps) -> Box<[f32]> {
    let mut values = Vec::with_capacity(3 * across.0.len() * down.0.len());
    for channel in 0..3 {
        for &(above, below, lower) in &down.0 {
            let row = |y: usize| &frame.data[y * frame.width * 3 + channel..];
            let (above, below) = (row(above), row(below));
            values.extend(across.0.iter().map(|&(left, right, weight)| {
                let between = |row: &[u8]| {
                    let (left, right) = (f32::from(row[left * 3]), f32::from(row[right * 3]));
                    (1.0 - weight) * left + weight * right
                };
                (1.0 - lower) * between(above) + lower * between(below)
            }));
        }
    }
    values.into_boxed_slice()
}
