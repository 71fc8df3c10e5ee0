//! What sounds go through on their way into training, in the form of AudioMAE.

use serde::{Deserialize, Serialize};

use super::AugmentError;
use super::random::{Purpose, Random, Visit};

/// A band of frames and one of mels, hidden (SpecAugment, Park et al., 2019, arXiv:1904.08779). Each has a width evenly
/// from 0 to below its setting and lies anywhere, as torchaudio's masks do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpecAugment {
    /// Frames that are hidden at most; 0 for none.
    pub frames: usize,
    /// Mels that are hidden at most; 0 for none.
    pub mels: usize,
    /// What hidden values become.
    pub fill: f32,
}

impl Default for SpecAugment {
    /// AudioMAE's on AudioSet: 192 frames, 48 mels. It hides before it normalises, which makes of 0 what the default
    /// fills in.
    fn default() -> Self {
        Self { frames: 192, mels: 48, fill: 4.267_739_3 / (2.0 * 4.568_997_4) }
    }
}

impl SpecAugment {
    /// Hides a part of the features `[frames, mels]` of a sound.
    ///
    /// # Errors
    /// When the features are not as many as their shape says, or a band can be wider than they are.
    pub fn apply(
        &self,
        features: &mut [f32],
        (frames, mels): (usize, usize),
        visit: Visit,
    ) -> Result<(), AugmentError> {
        let wrong =
            |field, value: String, rule, way_out| Err(AugmentError::Value { field, value, rule, way_out });
        if frames.checked_mul(mels) != Some(features.len()) {
            let rule = "it must be the number of features";
            return wrong("frames x mels", format!("{frames} x {mels}"), rule, "pass their shape");
        }
        let rule = "a sound must have so many";
        if self.frames > frames {
            return wrong("frames", self.frames.to_string(), rule, "hide fewer, e.g. a fifth of them");
        }
        if self.mels > mels {
            return wrong("mels", self.mels.to_string(), rule, "hide fewer, e.g. a third of them");
        }
        let band = |purpose, most: usize, of: usize| {
            let mut random = Random::new(visit, purpose);
            let width = random.unit() * most as f64;
            let start = (random.unit() * (of as f64 - width)) as usize;
            start..start + width as usize
        };
        let hidden = band(Purpose::FrameMask, self.frames, frames);
        features[hidden.start * mels..hidden.end * mels].fill(self.fill);
        let hidden = band(Purpose::MelMask, self.mels, mels);
        features.chunks_exact_mut(mels.max(1)).for_each(|frame| frame[hidden.clone()].fill(self.fill));
        Ok(())
    }
}

/// Lets a waveform begin anywhere: what is moved beyond its end comes in front.
pub fn roll(samples: &mut [f32], visit: Visit) {
    if !samples.is_empty() {
        samples.rotate_right(Random::new(visit, Purpose::Roll).below(samples.len()));
    }
}

/// Moves a waveform by up to `most` samples to either side. Zeros come in at one end, and what goes beyond the other is
/// lost.
pub fn shift(samples: &mut [f32], most: usize, visit: Visit) {
    let most = most.min(samples.len());
    let to = Random::new(visit, Purpose::Shift).below(2 * most + 1);
    if to >= most {
        let late = to - most;
        samples.copy_within(..samples.len() - late, late);
        samples[..late].fill(0.0);
    } else {
        let early = most - to;
        samples.copy_within(early.., 0);
        let kept = samples.len() - early;
        samples[kept..].fill(0.0);
    }
}

/// Makes a waveform louder or softer by up to so many decibels.
///
/// # Errors
/// When they are not a number from 0 to 60.
pub fn gain(samples: &mut [f32], decibels: f64, visit: Visit) -> Result<(), AugmentError> {
    super::number("gain", decibels, [0.0, 60.0])?;
    let by = Random::new(visit, Purpose::Gain).between([-decibels, decibels]);
    let factor = 10.0_f64.powf(by / 20.0) as f32;
    samples.iter_mut().for_each(|sample| *sample *= factor);
    Ok(())
}

/// Mixes a waveform with another (mixup), and returns the weight that its own labels keep; those of the other have the
/// rest.
///
/// Both lose their mean, the other is cut or padded with zeros to the length of the first, the weight comes from the
/// beta distribution with `alpha` twice (10 for AudioMAE), and the mixture loses its mean.
///
/// # Errors
/// When `alpha` is not above 0.
pub fn mix_sounds(samples: &mut [f32], other: &[f32], alpha: f64, visit: Visit) -> Result<f32, AugmentError> {
    if !(alpha > 0.0 && alpha.is_finite()) {
        return Err(AugmentError::Value {
            field: "alpha",
            value: alpha.to_string(),
            rule: "it must be above 0",
            way_out: "use e.g. 10",
        });
    }
    let own = Random::new(visit, Purpose::SoundMix).beta(alpha) as f32;
    let (mean, other_mean) = (mean(samples), mean(other));
    let others = other.iter().map(|sample| sample - other_mean).chain(std::iter::repeat(0.0));
    for (sample, other) in samples.iter_mut().zip(others) {
        *sample = own * (*sample - mean) + (1.0 - own) * other;
    }
    let mean = self::mean(samples);
    samples.iter_mut().for_each(|sample| *sample -= mean);
    Ok(own)
}

fn mean(samples: &[f32]) -> f32 {
    (samples.iter().map(|&sample| f64::from(sample)).sum::<f64>() / samples.len().max(1) as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(index: u64) -> Visit {
        Visit { seed: 3, epoch: 1, index }
    }

    #[test]
    fn one_band_of_frames_and_one_of_mels_is_hidden() {
        let (frames, mels) = (40, 16);
        let spec = SpecAugment { frames: 10, mels: 6, fill: 9.0 };
        let (mut widest, mut latest) = ((0, 0), 0);
        for index in 0..400 {
            let mut features = vec![1.0; frames * mels];
            spec.apply(&mut features, (frames, mels), visit(index)).unwrap();
            let hidden = |at: usize| features[at] == 9.0;
            let rows: Vec<usize> = (0..frames).filter(|y| (0..mels).all(|x| hidden(y * mels + x))).collect();
            let columns: Vec<usize> =
                (0..mels).filter(|x| (0..frames).all(|y| hidden(y * mels + x))).collect();
            for band in [&rows, &columns] {
                assert!(band.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{band:?}");
            }
            let count = (0..frames * mels).filter(|&at| hidden(at)).count();
            let (high, wide) = (rows.len(), columns.len());
            assert_eq!(count, high * mels + wide * frames - high * wide, "nothing else");
            assert!(high < 10 && wide < 6);
            widest = (widest.0.max(high), widest.1.max(wide));
            latest = latest.max(rows.last().copied().unwrap_or(0));
        }
        assert_eq!(widest, (9, 5));
        assert!(latest + 4 > frames, "{latest}");
    }

    #[test]
    fn masks_wider_than_the_sound_and_other_shapes_are_refused() {
        let refused =
            |spec: SpecAugment, shape| spec.apply(&mut [0.0; 12], shape, visit(0)).unwrap_err().to_string();
        let spec = SpecAugment { frames: 4, mels: 3, fill: 0.0 };
        assert!(refused(spec, (4, 4)).starts_with("frames x mels is 4 x 4"));
        assert!(refused(spec, (3, 4)).starts_with("frames is 4"));
        assert!(refused(spec, (6, 2)).starts_with("mels is 3"));
        assert!(spec.apply(&mut [0.0; 12], (4, 3), visit(0)).is_ok());
    }

    #[test]
    fn a_rolled_sound_has_the_same_samples_in_the_same_circle() {
        let mut starts = [false; 7];
        for index in 0..200 {
            let mut samples: Vec<f32> = (0..7).map(|at| at as f32).collect();
            roll(&mut samples, visit(index));
            let next = |pair: &[f32]| (pair[0] + 1.0) % 7.0 == pair[1];
            assert!(samples.windows(2).all(next), "{samples:?}");
            starts[samples[0] as usize] = true;
        }
        assert_eq!(starts, [true; 7]);
        roll(&mut [], visit(0));
    }

    #[test]
    fn a_shifted_sound_keeps_its_order_and_zeros_come_in() {
        let mut seen = std::collections::BTreeSet::new();
        for index in 0..200 {
            let mut samples: Vec<f32> = (1..=7).map(|at| at as f32).collect();
            shift(&mut samples, 2, visit(index));
            let by = samples.iter().position(|sample| *sample == 4.0).unwrap() as i64 - 3;
            let expected = |at: i64| if (0..7).contains(&(at - by)) { (at - by + 1) as f32 } else { 0.0 };
            assert_eq!(samples, (0..7).map(expected).collect::<Vec<_>>());
            seen.insert(by);
        }
        assert!(seen.into_iter().eq(-2..=2));
        shift(&mut [], 5, visit(0));
        shift(&mut [1.0, 2.0], 5, visit(0));
    }

    #[test]
    fn a_gain_is_within_its_decibels() {
        let factors: Vec<f32> = (0..500)
            .map(|index| {
                let mut samples = [1.0, -0.5];
                gain(&mut samples, 6.0, visit(index)).unwrap();
                assert_eq!(samples[1], -0.5 * samples[0]);
                samples[0]
            })
            .collect();
        let (low, high) = factors.iter().fold((9.0_f32, 0.0_f32), |(l, h), f| (l.min(*f), h.max(*f)));
        let within = (0.501..0.52).contains(&low) && (1.9..=1.996).contains(&high);
        assert!(within, "{low} {high}");
        assert!(gain(&mut [1.0], -1.0, visit(0)).is_err());
        let mut same = [0.25];
        gain(&mut same, 0.0, visit(3)).unwrap();
        assert_eq!(same, [0.25]);
    }

    #[test]
    fn mixed_sounds_have_no_mean_and_the_weight_that_is_told() {
        let mut weights = Vec::new();
        for index in 0..2000 {
            let mut samples = [3.0, 5.0, 3.0, 5.0];
            let own = mix_sounds(&mut samples, &[0.0, 2.0], 10.0, visit(index)).unwrap();
            let (a, b) = (own, 1.0 - own);
            for (sample, expected) in samples.iter().zip([-a - b, a + b, -a, a]) {
                assert!((sample - expected).abs() < 1e-6, "{samples:?}, {own}");
            }
            weights.push(f64::from(own));
        }
        let mean = weights.iter().sum::<f64>() / 2000.0;
        let variance = weights.iter().map(|weight| (weight - mean).powi(2)).sum::<f64>() / 2000.0;
        assert!((mean - 0.5).abs() < 0.01 && (variance * 84.0 - 1.0).abs() < 0.15, "{mean} {variance}");
        assert!(mix_sounds(&mut [1.0], &[1.0], 0.0, visit(0)).is_err());
        assert!(mix_sounds(&mut [], &[], 10.0, visit(0)).is_ok());
    }
}
