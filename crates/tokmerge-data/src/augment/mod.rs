//! What a picture goes through on its way into training, so that no two visits to it are the same.
//!
//! | step | item | as |
//! |---|---|---|
//! | crop, resize | [`RandomResizedCrop`] | torchvision's and timm's `RandomResizedCrop` |
//! | mirror | [`Augment::flip`] | |
//! | change | [`RandAugment`] of [`Op`]s, [`ColorJitter`] | timm's `rand-m9-mstd0.5-inc1`; the operations bit for bit as Pillow's |
//! | normalise | [`Preprocess`] | |
//! | erase | [`RandomErasing`] | timm's |
//! | sounds | [`SpecAugment`], [`roll`], [`mix_sounds`] | AudioMAE's |
//! | | [`shift`], [`gain`] | as keyword spotters are trained |
//! | clips | [`ClipProcessor::open_at`](crate::clip::ClipProcessor::open_at), [`flip_clip`] | one crop and mirror for all frames |
//! | mix a batch | [`Mix`], [`Pairing::targets`] | timm's `Mixup` with its label smoothing |
//!
//! Order, ranges and meanings follow timm's documentation and behaviour (version 1.0); the random numbers are our own.
//! Everything random is a function of a [`Visit`], or of seed and step for a batch: a run that goes on from step 1000
//! sees what it would have seen without the interruption, with any number of loader threads.
//!
//! ```
//! use tokmerge_data::augment::{Augment, Mix, Visit};
//! use tokmerge_data::{Preprocess, Rgb};
//!
//! let (augment, mix) = (Augment::deit(), Mix::default());
//! let preprocess = Preprocess { input_size: (32, 32), ..Preprocess::default() };
//! let image = Rgb { width: 60, height: 40, data: vec![128; 60 * 40 * 3] };
//! let mut batch = vec![0.0; 2 * preprocess.output_len()];
//! for (index, pixels) in (0..).zip(batch.chunks_exact_mut(preprocess.output_len())) {
//!     augment.apply(&image, &preprocess, Visit { seed: 1, epoch: 0, index }, pixels)?;
//! }
//! let pairing = mix.apply(&mut batch, [2, 3, 32, 32], 1, 0)?;
//! let targets = pairing.targets(&[3, 5], 10, 0.1)?;
//! assert_eq!(targets.len(), 2 * 10);
//! # Ok::<(), tokmerge_data::augment::AugmentError>(())
//! ```

mod clip;
mod crop;
mod erase;
mod geometry;
mod jitter;
mod mix;
mod ops;
mod rand_augment;
mod random;
mod sound;

use serde::{Deserialize, Serialize};

pub(crate) use clip::clip_start;
pub use clip::flip_clip;
pub use crop::RandomResizedCrop;
pub use erase::{EraseMode, RandomErasing};
pub use jitter::ColorJitter;
pub use mix::{Mix, MixScope, Pairing};
pub use ops::{Op, Resample};
pub use rand_augment::{RandAugment, Severity};
pub use random::Visit;
pub(crate) use random::{Purpose, Random};
pub use sound::{SpecAugment, gain, mix_sounds, roll, shift};

use crate::{Colour, Interpolation, Preprocess, PreprocessError, Rgb};

/// What is done to single pictures. By default nothing: the evaluation's resize and crop.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// A random part of the picture; without it, what evaluation sees.
    pub crop: Option<RandomResizedCrop>,
    /// How the part is resized, and how RandAugment turns and shears.
    pub interpolation: Resampling,
    /// Probability of mirroring left and right.
    pub flip: f64,
    /// Random operations.
    pub rand_augment: Option<RandAugment>,
    /// Random colours; timm uses it where there is no RandAugment, here both can be had.
    pub color_jitter: Option<ColorJitter>,
    /// Erased rectangles.
    pub erase: Option<RandomErasing>,
}

/// How pixels between pixels are found in training; names as in timm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resampling {
    /// Always from a triangle.
    Bilinear,
    /// Always from a cubic.
    #[default]
    Bicubic,
    /// One of the two, at random.
    Random,
}

/// Why a picture or a batch cannot be augmented.
#[derive(Debug, thiserror::Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum AugmentError {
    /// A field of a specification makes no sense.
    #[error("{field} is {value}, and {rule}; {way_out}")]
    Value {
        /// Name of the field.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What it has to hold.
        rule: &'static str,
        /// What to do.
        way_out: &'static str,
    },
    /// Picture, preprocessing or buffer do not fit.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The values of a batch are fewer or more than its shape says.
    #[error("a batch of shape {shape:?} does not have {values} values; pass its [B, C, H, W]")]
    Batch {
        /// The shape.
        shape: [usize; 4],
        /// The number of values.
        values: usize,
    },
    /// There is not one label per picture.
    #[error("there are {labels} labels for {pictures} pictures; pass the labels of the batch that was mixed")]
    Labels {
        /// Number of labels.
        labels: usize,
        /// Number of pictures.
        pictures: usize,
    },
    /// A label names no class.
    #[error(
        "label {label} is none of {num_classes} classes, which count from 0; check the number of classes"
    )]
    Label {
        /// The label.
        label: usize,
        /// The number of classes.
        num_classes: usize,
    },
}

impl Augment {
    /// Crops, mirrored or not: enough for small models that train briefly.
    #[must_use]
    pub fn light() -> Self {
        Self { crop: Some(RandomResizedCrop::default()), flip: 0.5, ..Self::default() }
    }

    /// The recipe of DeiT (Touvron et al., 2020, arXiv:2012.12877), to which [`Mix::default`] belongs.
    #[must_use]
    pub fn deit() -> Self {
        let (rand_augment, erase) = (Some(RandAugment::default()), Some(RandomErasing::default()));
        Self { rand_augment, erase, ..Self::light() }
    }

    /// Checks every field; [`apply`](Self::apply) does the same.
    pub fn validate(&self) -> Result<(), AugmentError> {
        probability("flip", self.flip)?;
        self.crop.as_ref().map_or(Ok(()), RandomResizedCrop::validate)?;
        self.rand_augment.as_ref().map_or(Ok(()), RandAugment::validate)?;
        self.color_jitter.as_ref().map_or(Ok(()), ColorJitter::validate)?;
        self.erase.as_ref().map_or(Ok(()), RandomErasing::validate)
    }

    /// The picture as it is before normalising and erasing, in the preprocessing's input size.
    ///
    /// # Errors
    /// When a field of either specification is wrong, or `image` does not hold its pixels.
    pub fn picture(&self, image: &Rgb, preprocess: &Preprocess, visit: Visit) -> Result<Rgb, AugmentError> {
        self.validate()?;
        preprocess.validate()?;
        let random = |purpose| Random::new(visit, purpose);
        let mut picture = match &self.crop {
            None => preprocess.crop(image)?,
            Some(crop) => {
                image.check()?;
                let mut random = random(Purpose::Crop);
                let interpolation = self.interpolation.choose(&mut random);
                let size = preprocess.input_size;
                match preprocess.colour {
                    Colour::Rgb => crop.apply(image, size, interpolation, &mut random),
                    Colour::Grey => crop.apply(&image.grey(), size, interpolation, &mut random),
                }
            }
        };
        if random(Purpose::Flip).chance(self.flip) {
            for row in picture.data.chunks_exact_mut(picture.width * 3) {
                row.as_chunks_mut::<3>().0.reverse();
            }
        }
        if let Some(rand_augment) = &self.rand_augment {
            let fill = preprocess.mean.map(|mean| (mean * 255.0).round_ties_even() as u8);
            picture =
                rand_augment.apply(picture, self.interpolation, fill, &mut random(Purpose::RandAugment));
        }
        if let Some(jitter) = &self.color_jitter {
            picture = jitter.apply(picture, &mut random(Purpose::Jitter));
        }
        Ok(picture)
    }

    /// Augments and normalises a picture into `out`: `[channels, height, width]`, channel by channel.
    ///
    /// # Errors
    /// As [`picture`](Self::picture), and when `out` has another length.
    pub fn apply(
        &self,
        image: &Rgb,
        preprocess: &Preprocess,
        visit: Visit,
        out: &mut [f32],
    ) -> Result<(), AugmentError> {
        preprocess.normalise(&self.picture(image, preprocess, visit)?, out)?;
        if let Some(erase) = &self.erase {
            erase.apply(out, preprocess.input_size, &mut Random::new(visit, Purpose::Erase));
        }
        Ok(())
    }
}

impl Resampling {
    fn choose(self, random: &mut Random) -> Interpolation {
        match self {
            Self::Bilinear => Interpolation::Bilinear,
            Self::Bicubic => Interpolation::Bicubic,
            Self::Random => [Interpolation::Bilinear, Interpolation::Bicubic][random.below(2)],
        }
    }
}

fn number(field: &'static str, value: f64, [low, high]: [f64; 2]) -> Result<(), AugmentError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let (rule, way_out) = ("it must be a number from 0 that is not huge", "use e.g. 0.4, or 0 for none");
    Err(AugmentError::Value { field, value: value.to_string(), rule, way_out })
}

fn probability(field: &'static str, value: f64) -> Result<(), AugmentError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    let (rule, way_out) = ("it must lie from 0 to 1", "use e.g. 0.1, or 0 for never");
    Err(AugmentError::Value { field, value: value.to_string(), rule, way_out })
}

/// Two numbers in order, within bounds that nobody needs to leave.
fn range(field: &'static str, [low, high]: [f64; 2], bounds: [f64; 2]) -> Result<(), AugmentError> {
    if bounds[0] <= low && low <= high && high <= bounds[1] {
        return Ok(());
    }
    let rule = "it must be a positive range, smaller end first, and areas end at 1";
    let (value, way_out) = (format!("{low} to {high}"), "use e.g. [0.5, 1.0]");
    Err(AugmentError::Value { field, value, rule, way_out })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(width: usize, height: usize) -> Rgb {
        let data = (0..width * height * 3).map(|i| (i * i * 31 + i * 7) as u8).collect();
        Rgb { width, height, data }
    }

    fn small() -> Preprocess {
        Preprocess { input_size: (12, 15), ..Preprocess::default() }
    }

    #[test]
    fn a_grey_input_is_cropped_from_a_grey_picture() {
        let (image, rgb) = (noise(50, 41), small());
        let grey = Preprocess { colour: Colour::Grey, ..rgb.clone() };
        let spec = Augment::light();
        for index in 0..4 {
            let visit = Visit { seed: 3, epoch: 0, index };
            let picture = spec.picture(&image, &grey, visit).unwrap();
            assert!(picture.data.as_chunks::<3>().0.iter().all(|[r, g, b]| r == g && g == b));
            assert_eq!(picture, spec.picture(&image.grey(), &rgb, visit).unwrap());
            let mut out = vec![0.0; grey.output_len()];
            spec.apply(&image, &grey, visit, &mut out).unwrap();
            assert_eq!(out.len(), 12 * 15);
        }
    }

    #[test]
    fn nothing_by_default() {
        let (image, preprocess) = (noise(40, 30), small());
        let visit = Visit { seed: 1, epoch: 2, index: 3 };
        let (mut plain, mut same) = (vec![0.0; preprocess.output_len()], vec![0.0; preprocess.output_len()]);
        preprocess.apply(&image, &mut plain).unwrap();
        Augment::default().apply(&image, &preprocess, visit, &mut same).unwrap();
        assert_eq!(plain, same);
    }

    #[test]
    fn mirrors_half_of_the_time() {
        let (image, preprocess) = (noise(15, 12), Preprocess { crop_pct: 1.0, ..small() });
        let spec = Augment { flip: 0.5, ..Augment::default() };
        let mut mirrored = image.clone();
        for y in 0..12 {
            for x in 0..15 {
                for c in 0..3 {
                    mirrored.data[(y * 15 + x) * 3 + c] = image.data[(y * 15 + 14 - x) * 3 + c];
                }
            }
        }
        let mut count = 0;
        for index in 0..400 {
            let got = spec.picture(&image, &preprocess, Visit { seed: 0, epoch: 0, index }).unwrap();
            count += usize::from(got == mirrored);
            assert!(got == mirrored || got == image);
        }
        assert!((150..250).contains(&count), "{count}");
    }

    #[test]
    fn switching_one_thing_off_leaves_the_others() {
        let (image, preprocess) = (noise(50, 41), small());
        let light = Augment { flip: 0.0, ..Augment::light() };
        for index in 0..40 {
            let visit = Visit { seed: 3, epoch: 1, index };
            let of = |spec: &Augment| spec.picture(&image, &preprocess, visit).unwrap();
            let mut flipped = of(&Augment { flip: 1.0, ..light.clone() });
            flipped.data.chunks_exact_mut(45).for_each(|row| row.as_chunks_mut::<3>().0.reverse());
            assert_eq!(flipped, of(&light), "the same crop, mirrored");
        }
    }

    #[test]
    fn specifications_are_read_and_wrong_ones_refused() {
        let read = |text: &str| serde_json::from_str::<Augment>(text);
        assert_eq!(read("{}").unwrap(), Augment::default());
        let some = read(r#"{"crop": {"scale": [0.3, 1.0]}, "flip": 0.5, "rand_augment": {"magnitude": 5}}"#)
            .unwrap();
        assert_eq!(some.crop.unwrap().scale, [0.3, 1.0]);
        assert_eq!(some.rand_augment.unwrap().ops, 2);
        assert!(read(r#"{"crops": {}}"#).is_err());
        let deit = Augment::deit();
        assert_eq!(read(&serde_json::to_string(&deit).unwrap()).unwrap(), deit);
        let crop = |scale, ratio| Some(RandomResizedCrop { scale, ratio });
        let erase = |erase| Augment { erase: Some(erase), ..Augment::default() };
        let bad = [
            ("flip", Augment { flip: -0.1, ..Augment::default() }),
            ("crop.scale", Augment { crop: crop([0.0, 1.0], [1.0, 1.0]), ..Augment::default() }),
            ("crop.scale", Augment { crop: crop([0.8, 0.2], [1.0, 1.0]), ..Augment::default() }),
            ("crop.ratio", Augment { crop: crop([0.1, 1.0], [1.0, f64::INFINITY]), ..Augment::default() }),
            ("erase.area", erase(RandomErasing { area: [0.1, f64::NAN], ..Default::default() })),
            ("erase.count", erase(RandomErasing { count: 0, ..Default::default() })),
        ];
        let visit = Visit { seed: 0, epoch: 0, index: 0 };
        for (field, spec) in bad {
            let error = spec.picture(&noise(9, 9), &small(), visit).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
        let broken = Rgb { width: 5, height: 5, data: vec![0; 10] };
        assert!(Augment::light().picture(&broken, &small(), visit).is_err());
        assert!(Augment::light().apply(&noise(9, 9), &small(), visit, &mut [0.0; 5]).is_err());
    }

    proptest! {
        #[test]
        fn any_visit_gives_the_same_picture_again_and_others_another(
            width in 1..60_usize, height in 1..60_usize, seed in any::<u64>(), index in any::<u64>(), random in any::<bool>(),
        ) {
            let (image, preprocess) = (noise(width, height), small());
            let interpolation = if random { Resampling::Random } else { Resampling::Bicubic };
            let spec = Augment { color_jitter: Some(ColorJitter::default()), interpolation, ..Augment::deit() };
            let run = |epoch| {
                let mut out = vec![f32::NAN; preprocess.output_len()];
                spec.apply(&image, &preprocess, Visit { seed, epoch, index }, &mut out).unwrap();
                out
            };
            let first = run(4);
            prop_assert!(first.iter().all(|v| v.is_finite()));
            prop_assert_eq!(&run(4), &first);
            if width > 8 && height > 8 {
                prop_assert!((5..25).any(|epoch| run(epoch) != first));
            }
        }
    }
}
