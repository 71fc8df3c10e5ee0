//! Pictures at sizes of their own, as ViLT takes them: the shorter side is given, the longer is bounded, and both are whole
//! patches.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::naflex::cut;
use crate::transform::{Frame, MAX_PATCH, check_normalisation};
use crate::{
    HALF_MEAN, HALF_STD, Interpolation, Patches, Preprocess, PreprocessError, PreprocessOverrides, Rgb,
};

/// From a picture to patches. The defaults are those of transformers' `ViltImageProcessor`: the shorter side becomes 384
/// pixels, the longer at most 639, and both are cut to multiples of 32, 608 at most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ViltPreprocess {
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// What the shorter side becomes, unless the longer would be too long.
    pub shorter: usize,
    /// What the longer side becomes at most. The paper has 640, which is a patch more than transformers' 639.
    pub longer: usize,
    /// How it is resized.
    pub interpolation: Interpolation,
    /// Subtracted from each channel, after division by 255.
    pub mean: [f32; 3],
    /// Divides each channel, after that.
    pub std: [f32; 3],
}

impl Default for ViltPreprocess {
    fn default() -> Self {
        Self::new(384, 32)
    }
}

/// The longest side that is understood.
pub(crate) const MAX_SIDE: usize = 1 << 14;

impl ViltPreprocess {
    /// For a shorter side of so many pixels, and the longer side that transformers takes with it: `int(1333 / 800 * shorter)`.
    #[must_use]
    pub fn new(shorter: usize, patch_size: usize) -> Self {
        Self {
            patch_size,
            shorter,
            longer: (1333.0 / 800.0 * shorter as f64) as usize,
            interpolation: Interpolation::Bicubic,
            mean: HALF_MEAN,
            std: HALF_STD,
        }
    }

    /// Checks every field; the other functions do the same.
    ///
    /// # Errors
    /// When one makes no sense.
    pub fn validate(&self) -> Result<(), PreprocessError> {
        let Self { patch_size, shorter, longer, .. } = *self;
        let is_patch = (1..=MAX_PATCH).contains(&patch_size);
        if !is_patch || shorter < patch_size || longer < shorter || longer > MAX_SIDE {
            return Err(PreprocessError::Sides { patch_size, shorter, longer, most: MAX_SIDE });
        }
        check_normalisation(self.mean, self.std)
    }

    /// Patches of a picture at most.
    #[must_use]
    pub fn most_patches(&self) -> usize {
        let patches = |side: usize| side / self.patch_size.max(1);
        patches(self.shorter).saturating_mul(patches(self.longer))
    }

    /// Height and width that a picture is resized to, as transformers does it: whole patches, cut and not rounded.
    ///
    /// # Errors
    /// When it is so thin that no whole patch is left of its shorter side.
    pub fn size(&self, height: usize, width: usize) -> Result<(usize, usize), PreprocessError> {
        self.validate()?;
        let [tall, wide] = self.sides(height, width);
        if tall == 0 || wide == 0 {
            let (patch_size, longer) = (self.patch_size, self.longer);
            return Err(PreprocessError::TooThin { height, width, patch_size, longer });
        }
        Ok((tall, wide))
    }

    /// The same without any check: a side may be 0.
    fn sides(&self, height: usize, width: usize) -> [usize; 2] {
        let (tall, wide) = (height as f64, width as f64);
        let scale = self.shorter as f64 / tall.min(wide).max(1.0);
        let mut sides = match height < width {
            true => [self.shorter as f64, scale * wide],
            false => [scale * tall, self.shorter as f64],
        };
        let longest = sides[0].max(sides[1]);
        if longest > self.longer as f64 {
            let scale = self.longer as f64 / longest;
            sides = sides.map(|side| scale * side);
        }
        let patch = self.patch_size.max(1);
        sides.map(|side| (side + 0.5) as usize / patch * patch)
    }

    /// Resizes, normalises and cuts.
    ///
    /// # Errors
    /// When a field makes no sense, or nothing is left of the picture.
    pub fn apply(&self, image: &Rgb) -> Result<Patches, PreprocessError> {
        self.cut(&self.fit(image)?)
    }

    /// Resizes to whole patches.
    ///
    /// # Errors
    /// Those of [`apply`](Self::apply).
    pub fn fit(&self, image: &Rgb) -> Result<Rgb, PreprocessError> {
        image.check()?;
        let (height, width) = self.size(image.height, image.width)?;
        Ok(crate::resize(image, width, height, self.interpolation))
    }

    /// What a picture of that width and height is resized to: a patch where no side would be left, which
    /// [`size`](Self::size) refuses.
    pub(crate) fn frame(&self, [width, height]: [usize; 2]) -> Frame {
        let [tall, wide] = self.sides(height, width).map(|side| side.max(self.patch_size));
        let size = [wide, tall];
        Frame { size, window: size.map(|side| 0..side), offset: [0, 0], interpolation: self.interpolation }
    }

    /// The same with the user's settings of normalising and resampling in place of its own.
    ///
    /// # Errors
    /// When the result makes no sense, or a setting is one of crops.
    pub(crate) fn with(&self, overrides: &PreprocessOverrides) -> Result<Self, PreprocessError> {
        let Self { interpolation, mean, std, .. } = self.clone();
        let values = Preprocess { interpolation, mean, std, ..Preprocess::default() };
        let Preprocess { interpolation, mean, std, .. } = values.with(overrides)?;
        Ok(Self { interpolation, mean, std, ..self.clone() })
    }

    /// Normalises a picture of whole patches, and cuts it. What is left beyond whole patches is not looked at.
    ///
    /// # Errors
    /// When a field makes no sense.
    pub fn cut(&self, picture: &Rgb) -> Result<Patches, PreprocessError> {
        self.validate()?;
        picture.check()?;
        Ok(cut(picture, self.patch_size, self.mean, self.std))
    }
}

impl fmt::Display for ViltPreprocess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { patch_size, shorter, longer, mean, std, .. } = self;
        write!(
            f,
            "shorter side {shorter}, longer at most {longer}, patches of {patch_size}x{patch_size}, mean {mean:?}, std \
             {std:?}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_defaults_are_those_of_transformers() {
        let vilt = ViltPreprocess::default();
        assert_eq!((vilt.shorter, vilt.longer, vilt.patch_size), (384, 639, 32));
        for ((height, width), size) in [
            ((480, 640), (384, 512)),
            ((1000, 400), (608, 256)),
            ((384, 384), (384, 384)),
            ((97, 101), (384, 384)),
            ((120, 1000), (64, 608)),
        ] {
            assert_eq!(vilt.size(height, width).unwrap(), size, "{height}x{width}");
        }
        let paper = ViltPreprocess { longer: 640, ..vilt };
        assert_eq!(paper.size(300, 1200).unwrap(), (160, 640));
        assert_eq!((vilt_most(639), vilt_most(640)), (12 * 19, 12 * 20));
    }

    fn vilt_most(longer: usize) -> usize {
        ViltPreprocess { longer, ..ViltPreprocess::default() }.most_patches()
    }

    #[test]
    fn a_picture_that_comes_to_no_row_is_refused_with_its_size() {
        let vilt = ViltPreprocess::default();
        let error = vilt.size(33, 1000).unwrap_err().to_string();
        assert!(error.contains("1000x33") && error.contains("crop"), "{error}");
        let thin = Rgb { width: 1000, height: 33, data: vec![0; 99_000] };
        assert!(vilt.fit(&thin).is_err());
    }

    #[test]
    fn fields_that_make_no_sense_are_refused_with_their_value() {
        let text = |vilt: ViltPreprocess| vilt.validate().unwrap_err().to_string();
        assert!(text(ViltPreprocess { patch_size: 0, ..Default::default() }).contains("patch_size is 0"));
        assert!(text(ViltPreprocess { shorter: 16, ..Default::default() }).contains("16"));
        assert!(text(ViltPreprocess { longer: 100, ..Default::default() }).contains("100"));
        assert!(text(ViltPreprocess { std: [0.0; 3], ..Default::default() }).contains("std"));
    }

    proptest! {
        #[test]
        fn sizes_are_whole_patches_and_no_more_than_allowed(
            height in 1..5000_usize, width in 1..5000_usize, patch in 1..40_usize, more in 0..300_usize,
        ) {
            let vilt = ViltPreprocess::new(patch + more, patch);
            if let Ok((tall, wide)) = vilt.size(height, width) {
                prop_assert!(tall % patch == 0 && wide % patch == 0 && tall.max(wide) <= vilt.longer);
                prop_assert!(tall / patch * (wide / patch) <= vilt.most_patches(), "{}x{}", tall, wide);
                prop_assert_eq!(vilt.frame([width, height]).size, [wide, tall]);
            }
        }
    }
}
