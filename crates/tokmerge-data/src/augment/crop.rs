//! Random resized crop, as torchvision's and timm's.

use serde::{Deserialize, Serialize};

use super::random::{Purpose, Random, Visit};
use super::{AugmentError, range};
use crate::{Interpolation, Rgb, resize};

/// A part of the picture of random area and shape, resized to the model's input.
///
/// Ten tries draw an area evenly and an aspect ratio evenly on a logarithmic scale; when none fits into the picture,
/// the middle of it is taken, as large as the range of ratios allows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// Smallest and largest part of the area; 0.08 to 1.
    pub scale: [f64; 2],
    /// Smallest and largest width by height; 3/4 to 4/3.
    pub ratio: [f64; 2],
}

impl Default for RandomResizedCrop {
    fn default() -> Self {
        Self { scale: [0.08, 1.0], ratio: [0.75, 4.0 / 3.0] }
    }
}

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) left: usize,
    pub(crate) top: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl Window {
    /// The pixels in it.
    pub(crate) fn of(self, image: &Rgb) -> Rgb {
        let Self { left, top, width, height } = self;
        let rows = image.data.chunks_exact(image.width * 3).skip(top).take(height);
        let data = rows.flat_map(|row| &row[left * 3..(left + width) * 3]).copied().collect();
        Rgb { width, height, data }
    }
}

impl RandomResizedCrop {
    pub(crate) fn validate(&self) -> Result<(), AugmentError> {
        range("crop.scale", self.scale, [1e-6, 1.0])?;
        range("crop.ratio", self.ratio, [1e-3, 1e3])
    }

    /// The part of every frame of a clip: the same at every call.
    pub(crate) fn window_at(&self, visit: Visit, width: usize, height: usize) -> Window {
        self.window(width, height, &mut Random::new(visit, Purpose::Crop))
    }

    fn window(&self, width: usize, height: usize, random: &mut Random) -> Window {
        for _ in 0..10 {
            let area = random.between(self.scale) * (width * height) as f64;
            let ratio = random.ratio(self.ratio);
            let side = |square: f64| square.sqrt().round_ties_even() as usize;
            let (w, h) = (side(area * ratio), side(area / ratio));
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let top = random.below(height - h + 1);
                return Window { left: random.below(width - w + 1), top, width: w, height: h };
            }
        }
        let whole = width as f64 / height as f64;
        let side = |length: f64, most: usize| (length.round_ties_even() as usize).clamp(1, most);
        let (w, h) = if whole < self.ratio[0] {
            (width, side(width as f64 / self.ratio[0], height))
        } else if whole > self.ratio[1] {
            (side(height as f64 * self.ratio[1], width), height)
        } else {
            (width, height)
        };
        Window { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h }
    }

    /// `size` is height and width of the result.
    pub(super) fn apply(
        &self,
        image: &Rgb,
        size: (usize, usize),
        interpolation: Interpolation,
        random: &mut Random,
    ) -> Rgb {
        let window = self.window(image.width, image.height, random);
        resize(&window.of(image), size.1, size.0, interpolation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn random(seed: u64) -> Random {
        Random::new(Visit { seed, epoch: 0, index: 0 }, Purpose::Crop)
    }

    #[test]
    fn shapes_that_do_not_fit_fall_back_to_the_middle() {
        let crop = RandomResizedCrop { scale: [1.0, 1.0], ..Default::default() };
        let window = |width, height| crop.window(width, height, &mut random(3));
        assert_eq!(window(10, 100), Window { left: 0, top: 43, width: 10, height: 13 });
        assert_eq!(window(300, 30), Window { left: 130, top: 0, width: 40, height: 30 });
        let square = RandomResizedCrop { ratio: [1.0, 1.0], ..crop };
        assert_eq!(square.window(20, 20, &mut random(3)), Window { left: 0, top: 0, width: 20, height: 20 });
    }

    proptest! {
        #[test]
        fn windows_lie_in_the_picture_and_have_the_area(
            width in 1..300_usize, height in 1..300_usize, seed in any::<u64>(), low in 0.05..1.0_f64,
        ) {
            let crop = RandomResizedCrop { scale: [low, 1.0], ..Default::default() };
            let w = crop.window(width, height, &mut random(seed));
            prop_assert!(w.width > 0 && w.height > 0 && w.left + w.width <= width && w.top + w.height <= height);
            if (100..200).contains(&width) && (100..200).contains(&height) && width * 3 < height * 4 && height * 3 < width * 4 {
                // Rounding of the sides may take half a pixel off each.
                let least = low * (width * height) as f64 - (w.width + w.height) as f64;
                prop_assert!((w.width * w.height) as f64 >= least, "{:?}", w);
            }
        }
    }
}
