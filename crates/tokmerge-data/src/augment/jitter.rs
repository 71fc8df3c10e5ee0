//! Colour jitter, as torchvision's on Pillow pictures.

use serde::{Deserialize, Serialize};

use super::ops::{Op, Resample};
use super::random::Random;
use super::{AugmentError, number};
use crate::Rgb;

/// Brightness, contrast and saturation times random factors from `1 - x` (at least 0) to `1 + x`, in random order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitter {
    /// `x` of the brightness; 0.4.
    pub brightness: f64,
    /// `x` of the contrast; 0.4.
    pub contrast: f64,
    /// `x` of the saturation; 0.4.
    pub saturation: f64,
}

impl Default for ColorJitter {
    /// timm's `--color-jitter 0.4`.
    fn default() -> Self {
        Self { brightness: 0.4, contrast: 0.4, saturation: 0.4 }
    }
}

impl ColorJitter {
    pub(super) fn validate(&self) -> Result<(), AugmentError> {
        number("color_jitter.brightness", self.brightness, [0.0, 10.0])?;
        number("color_jitter.contrast", self.contrast, [0.0, 10.0])?;
        number("color_jitter.saturation", self.saturation, [0.0, 10.0])
    }

    pub(super) fn apply(&self, image: Rgb, random: &mut Random) -> Rgb {
        let mut factor = |x: f64| random.between([(1.0 - x).max(0.0), 1.0 + x]);
        let mut ops = [
            Op::Brightness(factor(self.brightness)),
            Op::Contrast(factor(self.contrast)),
            Op::Color(factor(self.saturation)),
        ];
        random.shuffle(&mut ops);
        ops.into_iter().fold(image, |image, op| op.apply(image, Resample::Bilinear, [0; 3]))
    }
}
