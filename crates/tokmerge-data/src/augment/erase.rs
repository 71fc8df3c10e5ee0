//! Random erasing (Zhong et al., 2017, arXiv:1708.04896) in timm's form.

use serde::{Deserialize, Serialize};

use super::random::Random;
use super::{AugmentError, probability, range};

/// Erases rectangles of the normalised picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomErasing {
    /// Probability that anything is erased; 0.25.
    pub probability: f64,
    /// Smallest and largest part of the area; 0.02 to 1/3. Several rectangles share it.
    pub area: [f64; 2],
    /// Smallest and largest height by width; 0.3 to 1/0.3.
    pub aspect: [f64; 2],
    /// What comes in place of the pixels.
    pub mode: EraseMode,
    /// The most rectangles; 1. The number is drawn from 1 to this.
    pub count: usize,
}

/// What erased pixels become; names as in timm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EraseMode {
    /// 0, which is the mean colour after normalisation.
    Const,
    /// One colour per rectangle, each channel from the standard normal distribution.
    Rand,
    /// Every value of every pixel from the standard normal distribution.
    Pixel,
}

impl Default for RandomErasing {
    /// The recipe of DeiT.
    fn default() -> Self {
        Self {
            probability: 0.25,
            area: [0.02, 1.0 / 3.0],
            aspect: [0.3, 1.0 / 0.3],
            mode: EraseMode::Pixel,
            count: 1,
        }
    }
}

impl RandomErasing {
    pub(super) fn validate(&self) -> Result<(), AugmentError> {
        probability("erase.probability", self.probability)?;
        range("erase.area", self.area, [1e-6, 1.0])?;
        range("erase.aspect", self.aspect, [1e-3, 1e3])?;
        if (1..=1000).contains(&self.count) {
            return Ok(());
        }
        let (field, value) = ("erase.count", self.count.to_string());
        Err(AugmentError::Value {
            field,
            value,
            rule: "1 to 1000 rectangles can be erased",
            way_out: "use e.g. 1",
        })
    }

    /// `pixels` is `[3, height, width]`, normalised; `size` is height and width.
    pub(super) fn apply(&self, pixels: &mut [f32], size: (usize, usize), random: &mut Random) {
        if !random.chance(self.probability) {
            return;
        }
        let (height, width) = size;
        let count = 1 + random.below(self.count);
        for _ in 0..count {
            // A rectangle that never fits is left out.
            for _ in 0..10 {
                let area = random.between(self.area) * (height * width) as f64 / count as f64;
                let aspect = random.ratio(self.aspect);
                let side = |square: f64| square.sqrt().round_ties_even() as usize;
                let (h, w) = (side(area * aspect), side(area / aspect));
                if h < height && w < width {
                    let (top, left) = (random.below(height - h + 1), random.below(width - w + 1));
                    self.fill(pixels, size, [top, left, h, w], random);
                    break;
                }
            }
        }
    }

    fn fill(
        &self,
        pixels: &mut [f32],
        size: (usize, usize),
        [top, left, h, w]: [usize; 4],
        random: &mut Random,
    ) {
        for plane in pixels.chunks_exact_mut(size.0 * size.1) {
            let colour = if self.mode == EraseMode::Rand { random.normal() as f32 } else { 0.0 };
            for row in plane.chunks_exact_mut(size.1).skip(top).take(h) {
                for value in &mut row[left..left + w] {
                    *value = if self.mode == EraseMode::Pixel { random.normal() as f32 } else { colour };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::{Purpose, Visit};
    use super::*;

    /// Erases a picture of nines and returns it.
    fn erased(spec: &RandomErasing, seed: u64, (height, width): (usize, usize)) -> Vec<f32> {
        spec.validate().unwrap();
        let mut pixels = vec![9.0; 3 * height * width];
        let visit = Visit { seed, epoch: 1, index: 2 };
        spec.apply(&mut pixels, (height, width), &mut Random::new(visit, Purpose::Erase));
        pixels
    }

    #[test]
    fn one_rectangle_of_the_right_area_and_shape() {
        let spec = RandomErasing { probability: 1.0, mode: EraseMode::Const, ..Default::default() };
        for seed in 0..200 {
            let pixels = erased(&spec, seed, (40, 60));
            let at: Vec<_> = (0..2400).filter(|&i| pixels[i] == 0.0).map(|i| (i / 60, i % 60)).collect();
            let (rows, columns) = (at.iter().map(|p| p.0), at.iter().map(|p| p.1));
            let h = rows.clone().max().unwrap() - rows.min().unwrap() + 1;
            let w = columns.clone().max().unwrap() - columns.min().unwrap() + 1;
            assert_eq!(h * w, at.len(), "a full rectangle");
            let slack = (h + w) as f64 / 2.0 + 0.25;
            assert!(at.len() as f64 >= 48.0 - slack && at.len() as f64 <= 800.0 + slack, "{h} x {w}");
            assert!(
                (h as f64 - 0.5) / (w as f64 + 0.5) <= 1.0 / 0.3
                    && (w as f64 - 0.5) / (h as f64 + 0.5) <= 1.0 / 0.3
            );
            assert_eq!(pixels.iter().filter(|&&v| v == 0.0).count(), 3 * at.len(), "all channels");
        }
    }

    #[test]
    fn modes_and_probability() {
        let rand = RandomErasing { probability: 1.0, mode: EraseMode::Rand, ..Default::default() };
        let mut values: Vec<u32> = erased(&rand, 5, (30, 30)).iter().map(|v| v.to_bits()).collect();
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), 4, "nine, and a value per channel");
        let pixel = RandomErasing { mode: EraseMode::Pixel, ..rand };
        let noise: Vec<f32> =
            (0..30).flat_map(|seed| erased(&pixel, seed, (30, 30))).filter(|&v| v != 9.0).collect();
        let mean = noise.iter().sum::<f32>() / noise.len() as f32;
        let variance = noise.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / noise.len() as f32;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        let touched = (0..1000)
            .filter(|&seed| erased(&RandomErasing::default(), seed, (9, 9)).iter().any(|&v| v != 9.0));
        let touched = touched.count();
        assert!((190..310).contains(&touched), "{touched}");
        let many = RandomErasing { count: 5, area: [0.9, 1.0], aspect: [1.0, 1.0], ..rand };
        (0..50).for_each(|seed| assert_eq!(erased(&many, seed, (1, 7)).len(), 21));
    }
}
