//! Pictures at sizes of their own, cut into patches: the preprocessing of SigLIP 2 NaFlex.

use serde::{Deserialize, Serialize};

use crate::resample::resize;
use crate::transform::{Frame, MAX_PATCH, MAX_PATCHES, check_normalisation, normalised};
use crate::{HALF_MEAN, HALF_STD, Interpolation, PreprocessError, Rgb};

/// From a picture to patches: it is resized to about its own shape, to as many whole patches as `max_num_patches`
/// allows. The defaults are those of transformers' `Siglip2ImageProcessor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NaflexPreprocess {
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// The most patches of a picture.
    pub max_num_patches: usize,
    /// How it is resized.
    pub interpolation: Interpolation,
    /// Subtracted from each channel, after division by 255.
    pub mean: [f32; 3],
    /// Divides each channel, after that.
    pub std: [f32; 3],
}

impl Default for NaflexPreprocess {
    fn default() -> Self {
        Self {
            patch_size: 16,
            max_num_patches: 256,
            interpolation: Interpolation::Bilinear,
            mean: HALF_MEAN,
            std: HALF_STD,
        }
    }
}

/// A picture cut into patches.
#[derive(Debug, Clone, PartialEq)]
pub struct Patches {
    /// Rows and columns of patches.
    pub grid: (usize, usize),
    /// `[rows * columns, 3 * patch_size * patch_size]`: the patches row by row, each of them channel by channel as a
    /// convolution's kernel is. (transformers has the channel last.)
    pub pixels: Vec<f32>,
}

impl NaflexPreprocess {
    /// Checks every field; [`apply`](Self::apply) does the same.
    pub fn validate(&self) -> Result<(), PreprocessError> {
        let Self { patch_size, max_num_patches, .. } = *self;
        if !(1..=MAX_PATCH).contains(&patch_size) || !(1..=MAX_PATCHES).contains(&max_num_patches) {
            return Err(PreprocessError::Patches { patch_size, max_num_patches });
        }
        check_normalisation(self.mean, self.std)
    }

    /// Rows and columns of patches of a picture: the largest scale, found by halving an interval as transformers does
    /// it, at which its sides, rounded up to whole patches, give no more than `max_num_patches`. A picture so thin that
    /// even one row of patches is too many is squeezed to fit, where transformers gives more patches than allowed.
    pub fn grid(&self, height: usize, width: usize) -> (usize, usize) {
        const PRECISION: f64 = 1e-5;
        let patches = |scale: f64, side: usize| {
            let patches = (side as f64 * scale / self.patch_size as f64).ceil() as usize;
            patches.max(1)
        };
        let (mut least, mut most) = (PRECISION / 10.0, 100.0);
        while most - least >= PRECISION {
            let scale = (least + most) / 2.0;
            if patches(scale, height).saturating_mul(patches(scale, width)) <= self.max_num_patches {
                least = scale;
            } else {
                most = scale;
            }
        }
        let (rows, columns) = (patches(least, height), patches(least, width));
        if rows.saturating_mul(columns) <= self.max_num_patches {
            return (rows, columns);
        }
        (
            rows.min(self.max_num_patches / columns.min(self.max_num_patches)),
            columns.min(self.max_num_patches),
        )
    }

    /// Resizes, normalises and cuts.
    pub fn apply(&self, image: &Rgb) -> Result<Patches, PreprocessError> {
        self.cut(&self.fit(image)?)
    }

    /// Resizes to whole patches.
    pub fn fit(&self, image: &Rgb) -> Result<Rgb, PreprocessError> {
        self.validate()?;
        image.check()?;
        let Frame { size: [width, height], interpolation, .. } = self.frame([image.width, image.height]);
        Ok(resize(image, width, height, interpolation))
    }

    /// What a picture of that width and height is resized to.
    pub(crate) fn frame(&self, [width, height]: [usize; 2]) -> Frame {
        let (rows, columns) = self.grid(height, width);
        let size = [columns * self.patch_size, rows * self.patch_size];
        Frame { size, window: size.map(|side| 0..side), offset: [0, 0], interpolation: self.interpolation }
    }

    /// Normalises a picture of whole patches, and cuts it. What is left beyond whole patches is not looked at.
    pub fn cut(&self, picture: &Rgb) -> Result<Patches, PreprocessError> {
        self.validate()?;
        picture.check()?;
        Ok(cut(picture, self.patch_size, self.mean, self.std))
    }
}

/// Normalises a picture, and cuts it into patches of `side`. What is left beyond whole patches is not looked at.
pub(crate) fn cut(picture: &Rgb, side: usize, mean: [f32; 3], std: [f32; 3]) -> Patches {
    let grid = (picture.height / side, picture.width / side);
    let values: [[f32; 256]; 3] = std::array::from_fn(|channel| normalised(mean[channel], std[channel]));
    let mut pixels = Vec::with_capacity(picture.data.len());
    for (row, column) in (0..grid.0).flat_map(|row| (0..grid.1).map(move |column| (row, column))) {
        for (channel, values) in values.iter().enumerate() {
            for y in row * side..(row + 1) * side {
                let line = &picture.data[(y * picture.width + column * side) * 3..][..side * 3];
                let line = line.as_chunks::<3>().0.iter();
                pixels.extend(line.map(|pixel| values[usize::from(pixel[channel])]));
            }
        }
    }
    Patches { grid, pixels }
}

#[cfg(test)]
#[expect(clippy::type_complexity, reason = "a table of numbers")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What `get_image_size_for_max_num_patches` of transformers 5.24 gives, divided by the patch size:
    /// `fixtures/naflex.py`.
    #[test]
    fn grids_are_those_of_transformers() {
        for (height, width, patch_size, max_num_patches, grid) in GRIDS {
            let preprocess = NaflexPreprocess { patch_size, max_num_patches, ..NaflexPreprocess::default() };
            assert_eq!(
                preprocess.grid(height, width),
                grid,
                "{height}x{width}, {patch_size}, {max_num_patches}"
            );
        }
    }

    include!("../fixtures/naflex_grids.rs");

    #[test]
    fn patches_are_cut_row_by_row_and_channel_by_channel() {
        let preprocess = NaflexPreprocess {
            patch_size: 2,
            max_num_patches: 2,
            mean: [0.0, 1.0, 0.0],
            std: [1.0, 1.0, 0.5],
            ..NaflexPreprocess::default()
        };
        let image = Rgb { width: 4, height: 2, data: (0..24).map(|v| v * 10).collect() };
        let Patches { grid, pixels } = preprocess.apply(&image).unwrap();
        assert_eq!(grid, (1, 2));
        let value = |byte: u8, mean: f32, std: f32| (f32::from(byte) / 255.0 - mean) / std;
        let channels = [(0, 0.0, 1.0), (10, 1.0, 1.0), (20, 0.0, 0.5)];
        let patch = |bytes: [u8; 4]| {
            channels.map(|(first, mean, std)| bytes.map(|byte| value(byte + first, mean, std)))
        };
        let expected: Vec<f32> = [[0, 30, 120, 150], [60, 90, 180, 210]].map(patch).concat().concat();
        assert_eq!(pixels, expected);
    }

    #[test]
    fn fields_that_make_no_sense_are_refused_with_their_value() {
        let image = Rgb { width: 4, height: 2, data: vec![0; 24] };
        let text = |p: NaflexPreprocess| p.apply(&image).unwrap_err().to_string();
        assert!(text(NaflexPreprocess { patch_size: 0, ..Default::default() }).contains("patch_size is 0"));
        assert!(
            text(NaflexPreprocess { max_num_patches: 0, ..Default::default() }).contains("max_num_patches 0")
        );
        assert!(text(NaflexPreprocess { std: [0.0; 3], ..Default::default() }).contains("std"));
        let lying = Rgb { width: 9, height: 9, data: vec![0; 9] };
        assert!(NaflexPreprocess::default().apply(&lying).is_err());
    }

    proptest! {
        #[test]
        fn no_picture_has_more_patches_than_allowed(
            height in 1..5000_usize, width in 1..5000_usize, patch_size in 1..40_usize, most in 1..1000_usize,
        ) {
            let preprocess = NaflexPreprocess { patch_size, max_num_patches: most, ..NaflexPreprocess::default() };
            for (height, width) in [(height, width), (1, 1_000_000), (1_000_000, 1)] {
                let (rows, columns) = preprocess.grid(height, width);
                prop_assert!(rows >= 1 && columns >= 1 && rows * columns <= most, "{rows}x{columns}");
            }
        }
    }
}
