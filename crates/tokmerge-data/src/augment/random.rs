//! Random numbers of one visit to one picture.

/// Which time which picture of a training run is seen. Everything random about it follows from these three, so that a
/// run can go on from any step, with any number of loader threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Visit {
    /// Seed of the run.
    pub seed: u64,
    /// How many times all pictures have been seen before.
    pub epoch: u64,
    /// Which picture.
    pub index: u64,
}

/// What the numbers are for. Each use has numbers of its own, so that none moves when another is switched off.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Crop,
    Flip,
    RandAugment,
    Jitter,
    Erase,
    Mix,
    Order,
    Split,
    FrameMask,
    MelMask,
    Roll,
    SoundMix,
    Shift,
    Gain,
    ClipStart,
    ClipFlip,
}

/// SplitMix64, as in `tokmerge-merge`.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(visit: Visit, purpose: Purpose) -> Self {
        let chain = [visit.epoch, visit.index, purpose as u64];
        Self(chain.into_iter().fold(visit.seed, |state, next| Self(Self(state).bits() ^ next).bits()))
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A whole number below `bound`, which is small: the bias of the remainder does not matter.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// From 0 to below 1, evenly.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn between(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Evenly on a logarithmic scale.
    pub(crate) fn ratio(&mut self, range: [f64; 2]) -> f64 {
        self.between(range.map(f64::ln)).exp()
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// The value or its negative, equally often.
    pub(crate) fn either_sign(&mut self, value: f64) -> f64 {
        if self.chance(0.5) { -value } else { value }
    }

    /// From the standard normal distribution (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().max(f64::MIN_POSITIVE).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// From the symmetric beta distribution: two gamma variates, one as part of both.
    pub(crate) fn beta(&mut self, alpha: f64) -> f64 {
        let (a, b) = (self.gamma(alpha), self.gamma(alpha));
        // Both can be too small for a number; then nearly all of the mass is at the two ends.
        if a + b > 0.0 { a / (a + b) } else { self.below(2) as f64 }
    }

    /// Marsaglia and Tsang (2000), with their power of a uniform number for shapes below 1.
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let larger = self.gamma(shape + 1.0);
            return larger * self.unit().powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            let accept = 0.5 * x * x + d - d * v;
            if v > 0.0 && self.unit().max(f64::MIN_POSITIVE).ln() < accept + d * v.ln() {
                return d * v;
            }
        }
    }

    /// Puts items in a random order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_key_counts() {
        let visit = Visit { seed: 1, epoch: 2, index: 3 };
        let first = |visit, purpose| Random::new(visit, purpose).bits();
        let all = [
            first(visit, Purpose::Crop),
            first(visit, Purpose::Flip),
            first(Visit { seed: 2, ..visit }, Purpose::Crop),
            first(Visit { epoch: 3, ..visit }, Purpose::Crop),
            first(Visit { index: 2, ..visit }, Purpose::Crop),
            first(Visit { seed: 1, epoch: 3, index: 2 }, Purpose::Crop),
        ];
        assert!((0..6).all(|i| !all[..i].contains(&all[i])), "{all:?}");
        assert_eq!(first(visit, Purpose::Crop), all[0]);
    }

    #[test]
    fn beta_has_the_right_mean_and_variance() {
        let mut random = Random::new(Visit { seed: 7, epoch: 0, index: 0 }, Purpose::Mix);
        for alpha in [0.2, 0.8, 1.0, 3.0] {
            let drawn: Vec<f64> = (0..20_000).map(|_| random.beta(alpha)).collect();
            assert!(drawn.iter().all(|value| (0.0..=1.0).contains(value)));
            let mean = drawn.iter().sum::<f64>() / 20_000.0;
            let variance = drawn.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 20_000.0;
            let expected = 0.25 / (2.0 * alpha + 1.0);
            assert!(
                (mean - 0.5).abs() < 0.015 && (variance / expected - 1.0).abs() < 0.05,
                "{alpha} {mean} {variance}"
            );
        }
        assert!((0.0..=1.0).contains(&random.beta(1e-6)));
    }
}
