//! RandAugment (Cubuk et al., 2019, arXiv:1909.13719) in timm's form.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ops::{Op, Resample};
use super::random::Random;
use super::{AugmentError, Resampling, probability};
use crate::Rgb;

/// Some of fifteen operations, drawn with replacement; each happens with a probability and has a strength.
///
/// The operations and the meaning of the magnitude are those of timm's documentation (`--aa
/// rand-m9-mstd0.5-inc1`): 0 to 10, where 10 is 30 degrees, a shear of 0.3, a shift of 45 %, four bits, a threshold of
/// 256, an addition of 110, an enhancement by 0.9. Text in timm's form is read by [`FromStr`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandAugment {
    /// How many operations are drawn; 2.
    pub ops: usize,
    /// Mean strength, 0 to 10; 9.
    pub magnitude: f64,
    /// Standard deviation of the strength; 0.5.
    pub magnitude_std: f64,
    /// The largest strength; 10.
    pub magnitude_max: f64,
    /// Probability of each operation drawn; 0.5.
    pub probability: f64,
    /// What a strength means to posterising, solarising and the enhancements.
    pub severity: Severity,
}

/// Whether more magnitude is always more change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// More is more: timm's `inc1`.
    Increasing,
    /// As first published: fewer bits, lower thresholds and duller pictures at small magnitudes. timm's `inc0`.
    Original,
}

impl Default for RandAugment {
    /// The recipe of DeiT: `rand-m9-mstd0.5-inc1`.
    fn default() -> Self {
        Self {
            ops: 2,
            magnitude: 9.0,
            magnitude_std: 0.5,
            magnitude_max: DENOMINATOR,
            probability: 0.5,
            severity: Severity::Increasing,
        }
    }
}

/// The magnitude at which arguments reach their ranges.
const DENOMINATOR: f64 = 10.0;
/// Operations to draw from.
const KINDS: usize = 15;

impl RandAugment {
    pub(super) fn validate(&self) -> Result<(), AugmentError> {
        let wrong = |field, value: f64, rule, way_out| {
            Err(AugmentError::Value { field, value: value.to_string(), rule, way_out })
        };
        if !(1..=100).contains(&self.ops) {
            return wrong(
                "rand_augment.ops",
                self.ops as f64,
                "1 to 100 operations can be drawn",
                "use e.g. 2",
            );
        }
        let magnitudes = [
            ("rand_augment.magnitude", self.magnitude),
            ("rand_augment.magnitude_std", self.magnitude_std),
            ("rand_augment.magnitude_max", self.magnitude_max),
        ];
        for (field, value) in magnitudes {
            if !(0.0..=100.0).contains(&value) {
                return wrong(field, value, "a magnitude is 0 to 100", "use e.g. 9, with a deviation of 0.5");
            }
        }
        probability("rand_augment.probability", self.probability)
    }

    /// The operations for one picture.
    pub(super) fn draw(&self, random: &mut Random) -> Vec<Op> {
        let mut drawn: Vec<usize> = (0..self.ops).map(|_| random.below(KINDS)).collect();
        drawn.retain(|_| random.chance(self.probability));
        drawn.into_iter().map(|kind| self.op(kind, random)).collect()
    }

    fn op(&self, kind: usize, random: &mut Random) -> Op {
        let magnitude = self.magnitude + self.magnitude_std * random.normal();
        let level = magnitude.min(self.magnitude_max).max(0.0) / DENOMINATOR;
        let whole = |range: f64| (level * range) as u32;
        let signed = |random: &mut Random, range: f64| random.either_sign(level * range);
        let increasing = self.severity == Severity::Increasing;
        let enhance = |random: &mut Random| match self.severity {
            Severity::Increasing => (1.0 + signed(random, 0.9)).max(0.1),
            Severity::Original => level * 1.8 + 0.1,
        };
        match kind {
            0 => Op::AutoContrast,
            1 => Op::Equalize,
            2 => Op::Invert,
            3 => Op::Rotate(signed(random, 30.0)),
            4 if increasing => Op::Posterize(4_u32.saturating_sub(whole(4.0))),
            4 => Op::Posterize(whole(4.0)),
            5 if increasing => Op::Solarize(256_u32.saturating_sub(whole(256.0))),
            5 => Op::Solarize(whole(256.0).min(256)),
            6 => Op::SolarizeAdd(whole(110.0).min(128)),
            7 => Op::Color(enhance(random)),
            8 => Op::Contrast(enhance(random)),
            9 => Op::Brightness(enhance(random)),
            10 => Op::Sharpness(enhance(random)),
            11 => Op::ShearX(signed(random, 0.3)),
            12 => Op::ShearY(signed(random, 0.3)),
            13 => Op::TranslateX(signed(random, 0.45)),
            _ => Op::TranslateY(signed(random, 0.45)),
        }
    }

    pub(super) fn apply(
        &self,
        image: Rgb,
        resampling: Resampling,
        fill: [u8; 3],
        random: &mut Random,
    ) -> Rgb {
        let ops = self.draw(random);
        ops.into_iter().fold(image, |image, op| {
            let resample = match resampling {
                Resampling::Bilinear => Resample::Bilinear,
                Resampling::Bicubic => Resample::Bicubic,
                Resampling::Random => [Resample::Bilinear, Resample::Bicubic][random.below(2)],
            };
            op.apply(image, resample, fill)
        })
    }
}

impl FromStr for RandAugment {
    type Err = AugmentError;

    /// timm's spelling, `rand-m9-n2-p0.5-mstd0.5-mmax10-inc1` in any order; what is missing has timm's default
    /// (m10, n2, p0.5, mstd0, mmax10, inc0).
    fn from_str(text: &str) -> Result<Self, AugmentError> {
        let refused = || AugmentError::Value {
            field: "rand_augment",
            value: format!("\"{text}\""),
            rule: "only rand with m, n, p, mstd, mmax and inc is understood",
            way_out: "use e.g. rand-m9-mstd0.5-inc1",
        };
        let mut sections = text.split('-');
        if sections.next() != Some("rand") {
            return Err(refused());
        }
        let start =
            Self { magnitude: 10.0, magnitude_std: 0.0, severity: Severity::Original, ..Self::default() };
        let spec = sections.try_fold(start, |spec, section| {
            let digits = section.find(|c: char| c.is_ascii_digit() || c == '.').ok_or_else(refused)?;
            let (name, value) = section.split_at(digits);
            let number: f64 = value.parse().map_err(|_| refused())?;
            Ok(match name {
                "m" => Self { magnitude: number, ..spec },
                "n" => Self { ops: number as usize, ..spec },
                "p" => Self { probability: number, ..spec },
                "mstd" => Self { magnitude_std: number, ..spec },
                "mmax" => Self { magnitude_max: number, ..spec },
                "inc" if number == 0.0 => Self { severity: Severity::Original, ..spec },
                "inc" => Self { severity: Severity::Increasing, ..spec },
                _ => return Err(refused()),
            })
        })?;
        spec.validate().map(|()| spec)
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::{Purpose, Visit};
    use super::*;

    fn random(seed: u64) -> Random {
        Random::new(Visit { seed, epoch: 0, index: 0 }, Purpose::RandAugment)
    }

    #[test]
    fn timm_spellings_are_read() {
        assert_eq!("rand-m9-mstd0.5-inc1".parse::<RandAugment>().unwrap(), RandAugment::default());
        let other: RandAugment = "rand-n3-p0.25-mmax12".parse().unwrap();
        assert_eq!((other.ops, other.probability, other.magnitude), (3, 0.25, 10.0));
        assert_eq!(
            (other.magnitude_std, other.magnitude_max, other.severity),
            (0.0, 12.0, Severity::Original)
        );
        for bad in [
            "augmix-m3",
            "rand-w0",
            "rand-m",
            "rand-mx",
            "rand-m9-mstd1e9",
            "rand-n0",
            "",
            "rand--",
            "rand-pé1",
        ] {
            assert!(bad.parse::<RandAugment>().is_err(), "{bad}");
        }
    }

    #[test]
    fn arguments_at_full_magnitude_are_those_of_timm() {
        let spec = RandAugment { magnitude: 10.0, magnitude_std: 0.0, ..RandAugment::default() };
        let at = |spec: &RandAugment, kind| spec.op(kind, &mut random(1));
        assert_eq!(
            (at(&spec, 4), at(&spec, 5), at(&spec, 6)),
            (Op::Posterize(0), Op::Solarize(0), Op::SolarizeAdd(110))
        );
        let (mut degrees, mut factors) = (Vec::new(), Vec::new());
        let mut random = random(2);
        for _ in 0..40 {
            let Op::Rotate(by) = spec.op(3, &mut random) else { panic!("not a rotation") };
            let Op::Color(factor) = spec.op(7, &mut random) else { panic!("not a colour") };
            degrees.push(by);
            factors.push((factor * 10.0).round());
        }
        assert!(
            degrees.contains(&30.0) && degrees.contains(&-30.0) && degrees.iter().all(|by| by.abs() == 30.0)
        );
        assert!(
            factors.contains(&1.0)
                && factors.contains(&19.0)
                && factors.iter().all(|&f| f == 1.0 || f == 19.0)
        );
        let original = RandAugment { severity: Severity::Original, magnitude: 5.0, ..spec };
        assert_eq!((at(&original, 4), at(&original, 5)), (Op::Posterize(2), Op::Solarize(128)));
        assert_eq!(at(&original, 8), Op::Contrast(1.0));
    }

    #[test]
    fn every_operation_is_drawn_about_equally_often() {
        let spec = RandAugment { ops: 100, probability: 0.5, ..RandAugment::default() };
        let mut counts = std::collections::HashMap::new();
        for seed in 0..60 {
            for op in spec.draw(&mut random(seed)) {
                *counts.entry(std::mem::discriminant(&op)).or_insert(0) += 1;
            }
        }
        // 6000 draws, half of them used, of 15 kinds: 200 each.
        assert!(counts.len() == 15 && counts.values().all(|count| (140..260).contains(count)), "{counts:?}");
    }
}
