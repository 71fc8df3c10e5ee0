//! Mixup (Zhang et al., 2017, arXiv:1710.09412) and CutMix (Yun et al., 2019, arXiv:1905.04899) in timm's form.

use serde::{Deserialize, Serialize};

use super::random::{Purpose, Random, Visit};
use super::{AugmentError, number, probability};

/// How pictures of a batch are mixed: each with the one at the same place from the other end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mix {
    /// Both parameters of the beta distribution of mixup's weight; 0 for no mixup. 0.8.
    pub mixup_alpha: f64,
    /// Both parameters of the beta distribution of the part that CutMix leaves; 0 for no CutMix. 1.
    pub cutmix_alpha: f64,
    /// Probability of mixing at all; 1.
    pub probability: f64,
    /// Probability of CutMix where there are both; 0.5.
    pub switch_probability: f64,
    /// What is drawn once.
    pub scope: MixScope,
}

/// For what a kind of mixing, a weight and a rectangle are drawn; names as in timm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MixScope {
    /// The whole batch.
    Batch,
    /// Every picture.
    Elem,
}

impl Default for Mix {
    /// The recipe of DeiT.
    fn default() -> Self {
        Self {
            mixup_alpha: 0.8,
            cutmix_alpha: 1.0,
            probability: 1.0,
            switch_probability: 0.5,
            scope: MixScope::Batch,
        }
    }
}

/// Which labels the pictures of a batch have now: `own[i]` of their own and the rest of `partner[i]`'s.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairing {
    /// Position in the batch of the other picture.
    pub partner: Vec<usize>,
    /// Weight of the picture itself, 0 to 1.
    pub own: Vec<f32>,
}

/// What happens to one picture.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Draw {
    Nothing,
    /// The picture's own weight.
    Mixup(f64),
    /// Rows and columns that come from the partner: top, bottom, left, right.
    Cut([usize; 4]),
}

impl Pairing {
    /// Of a batch that is not mixed.
    #[must_use]
    pub fn unmixed(len: usize) -> Self {
        Self { partner: (0..len).rev().collect(), own: vec![1.0; len] }
    }

    /// Targets `[B, num_classes]` whose rows sum to 1: labels weighted as mixed, smoothed.
    ///
    /// As timm: a label has `1 - smoothing + smoothing / num_classes`, every other class
    /// `smoothing / num_classes`.
    ///
    /// # Errors
    /// When a label is not below `num_classes`, `smoothing` not in 0 to 1, or the batch has another length.
    pub fn targets(
        &self,
        labels: &[usize],
        num_classes: usize,
        smoothing: f64,
    ) -> Result<Vec<f32>, AugmentError> {
        probability("label_smoothing", smoothing)?;
        if labels.len() != self.own.len() {
            return Err(AugmentError::Labels { labels: labels.len(), pictures: self.own.len() });
        }
        if let Some(&label) = labels.iter().find(|&&label| label >= num_classes) {
            return Err(AugmentError::Label { label, num_classes });
        }
        let off = (smoothing / num_classes as f64) as f32;
        let on = (1.0 - smoothing) as f32;
        let mut targets = vec![off; labels.len() * num_classes];
        for (i, row) in targets.chunks_exact_mut(num_classes).enumerate() {
            row[labels[i]] += on * self.own[i];
            row[labels[self.partner[i]]] += on * (1.0 - self.own[i]);
        }
        Ok(targets)
    }
}

impl Mix {
    /// Checks every field; [`apply`](Self::apply) does the same.
    pub fn validate(&self) -> Result<(), AugmentError> {
        number("mixup_alpha", self.mixup_alpha, [0.0, 1e3])?;
        number("cutmix_alpha", self.cutmix_alpha, [0.0, 1e3])?;
        probability("mix.probability", self.probability)?;
        probability("switch_probability", self.switch_probability)
    }

    /// Mixes a batch `[B, C, H, W]` in place. Seed and step decide everything random.
    ///
    /// The middle of an odd batch is its own partner and stays as it is, with weight 1.
    ///
    /// # Errors
    /// When a field is wrong or `pixels` does not hold the shape.
    pub fn apply(
        &self,
        pixels: &mut [f32],
        shape: [usize; 4],
        seed: u64,
        step: u64,
    ) -> Result<Pairing, AugmentError> {
        self.validate()?;
        let [len, channels, height, width] = shape;
        let needed = shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
        if needed != Some(pixels.len()) {
            return Err(AugmentError::Batch { shape, values: pixels.len() });
        }
        let mut pairing = Pairing::unmixed(len);
        if pixels.is_empty() {
            return Ok(pairing);
        }
        let mut random = Random::new(Visit { seed, epoch: step, index: 0 }, Purpose::Mix);
        let mut draws = vec![self.draw(height, width, &mut random); len];
        if self.scope == MixScope::Elem {
            draws.iter_mut().skip(1).for_each(|draw| *draw = self.draw(height, width, &mut random));
        }
        let one = channels * height * width;
        let (front, back) = pixels.split_at_mut(len / 2 * one);
        // Without the middle of an odd batch, which comes first in the second half.
        let back = &mut back[len % 2 * one..];
        for (i, (a, b)) in front.chunks_exact_mut(one).zip(back.chunks_exact_mut(one).rev()).enumerate() {
            let before = a.to_vec();
            let j = len - 1 - i;
            pairing.own[i] = draws[i].mix(a, b, height, width);
            pairing.own[j] = draws[j].mix(b, &before, height, width);
        }
        Ok(pairing)
    }

    fn draw(&self, height: usize, width: usize, random: &mut Random) -> Draw {
        let (mixup, cutmix) = (self.mixup_alpha > 0.0, self.cutmix_alpha > 0.0);
        if !(random.chance(self.probability) && (mixup || cutmix)) {
            return Draw::Nothing;
        }
        if cutmix && (!mixup || random.chance(self.switch_probability)) {
            let side = (1.0 - random.beta(self.cutmix_alpha)).sqrt();
            // The rectangle's centre lies anywhere in the picture, so that its rim may lie outside.
            let mut extent = |len: usize| {
                let (half, centre) = ((len as f64 * side) as usize / 2, random.below(len));
                [centre.saturating_sub(half), (centre + half).min(len)]
            };
            let ([top, bottom], [left, right]) = (extent(height), extent(width));
            return Draw::Cut([top, bottom, left, right]);
        }
        Draw::Mixup(random.beta(self.mixup_alpha))
    }
}

impl Draw {
    /// Mixes `other` into `own` and returns the weight that `own` keeps.
    fn mix(self, own: &mut [f32], other: &[f32], height: usize, width: usize) -> f32 {
        match self {
            Self::Nothing => 1.0,
            Self::Mixup(weight) => {
                let weight = weight as f32;
                for (a, &b) in own.iter_mut().zip(other) {
                    *a = *a * weight + b * (1.0 - weight);
                }
                weight
            }
            Self::Cut([top, bottom, left, right]) => {
                for plane in (0..own.len()).step_by(height * width) {
                    for y in top..bottom {
                        let row = plane + y * width;
                        own[row + left..row + right].copy_from_slice(&other[row + left..row + right]);
                    }
                }
                let cut = (bottom - top) * (right - left);
                (1.0 - cut as f64 / (height * width) as f64) as f32
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A batch whose picture `i` is `i + 1` everywhere.
    fn batch([len, channels, height, width]: [usize; 4]) -> Vec<f32> {
        (0..len).flat_map(|i| vec![(i + 1) as f32; channels * height * width]).collect()
    }

    #[test]
    fn targets_by_hand() {
        let pairing = Pairing { partner: vec![2, 1, 0], own: vec![0.75, 1.0, 0.25] };
        let hard = pairing.targets(&[0, 1, 2], 3, 0.0).unwrap();
        assert_eq!(hard, [0.75, 0.0, 0.25, 0.0, 1.0, 0.0, 0.75, 0.0, 0.25]);
        let smooth = pairing.targets(&[0, 1, 1], 4, 0.2).unwrap();
        let expected = [0.65, 0.25, 0.05, 0.05, 0.05, 0.85, 0.05, 0.05, 0.65, 0.25, 0.05, 0.05];
        assert!(smooth.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6), "{smooth:?}");
        let error =
            |labels: &[usize], smoothing| pairing.targets(labels, 3, smoothing).unwrap_err().to_string();
        assert!(error(&[0, 1, 3], 0.0).contains("label 3"), "{}", error(&[0, 1, 3], 0.0));
        assert!(error(&[0, 1], 0.0).contains("2 labels"));
        assert!(error(&[0, 1, 2], 1.5).contains("label_smoothing is 1.5"));
    }

    #[test]
    fn probabilities_and_kinds_are_kept() {
        let shape = [2, 1, 4, 4];
        let spec = Mix { probability: 0.5, switch_probability: 0.25, ..Mix::default() };
        let (mut cut, mut mixed) = (0, 0);
        for step in 0..2000 {
            let mut pixels = batch(shape);
            spec.apply(&mut pixels, shape, 1, step).unwrap();
            let whole = pixels.iter().all(|v| v.fract() == 0.0);
            cut += usize::from(whole && pixels != batch(shape));
            mixed += usize::from(!whole);
        }
        // Of 2000 draws half are used: 750 mixup; 250 CutMix, some of whose rectangles are empty.
        assert!((690..810).contains(&mixed) && (80..290).contains(&cut), "{mixed} {cut}");
        let none = Mix { mixup_alpha: 0.0, cutmix_alpha: 0.0, ..spec };
        let mut pixels = batch(shape);
        assert_eq!(none.apply(&mut pixels, shape, 1, 2).unwrap(), Pairing::unmixed(2));
        assert_eq!(pixels, batch(shape));
    }

    #[test]
    fn nonsense_is_refused() {
        let refused = |spec: Mix, shape| spec.apply(&mut [0.0; 12], shape, 0, 0).unwrap_err().to_string();
        assert!(
            refused(Mix { mixup_alpha: f64::NAN, ..Mix::default() }, [1, 3, 2, 2]).contains("mixup_alpha")
        );
        assert!(
            refused(Mix { probability: 2.0, ..Mix::default() }, [1, 3, 2, 2]).contains("mix.probability")
        );
        assert!(refused(Mix::default(), [2, 3, 2, 2]).contains("12 values"));
        assert!(refused(Mix::default(), [usize::MAX, 3, 2, 2]).contains("12 values"));
        assert!(Mix::default().apply(&mut [], [0, 3, 2, 2], 0, 0).unwrap().own.is_empty());
    }

    proptest! {
        #[test]
        fn weights_say_what_the_pixels_are(
            len in 1..8_usize, height in 1..12_usize, width in 1..12_usize, step in any::<u64>(),
            per_picture in any::<bool>(),
        ) {
            let scope = if per_picture { MixScope::Elem } else { MixScope::Batch };
            let (spec, shape) = (Mix { scope, ..Mix::default() }, [len, 2, height, width]);
            let mut pixels = batch(shape);
            let pairing = spec.apply(&mut pixels, shape, 9, step).unwrap();
            let one = 2 * height * width;
            for (i, picture) in pixels.chunks_exact(one).enumerate() {
                let own = pairing.own[i];
                prop_assert!((0.0..=1.0).contains(&own));
                // Mixup and CutMix alike: the mean is the weighted mean of the two.
                let expected = own * (i + 1) as f32 + (1.0 - own) * (pairing.partner[i] + 1) as f32;
                let mean = picture.iter().sum::<f32>() / one as f32;
                prop_assert!((mean - expected).abs() < 1e-4, "{} {}", mean, expected);
            }
            let labels: Vec<usize> = (0..len).collect();
            let targets = pairing.targets(&labels, 10, 0.1).unwrap();
            prop_assert!(targets.chunks_exact(10).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
            let mut again = batch(shape);
            prop_assert_eq!(spec.apply(&mut again, shape, 9, step).unwrap(), pairing);
            prop_assert_eq!(again, pixels);
        }
    }
}
