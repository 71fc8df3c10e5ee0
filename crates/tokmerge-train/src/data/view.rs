//! What training does to an image before the model sees it.

use crate::recipe::RegularisationRecipe;
use tokmerge_data::{Preprocess, PreprocessError, Rgb};
use tokmerge_merge::Random;

/// From a picture to the input of a model, differently every time.
#[derive(Clone, Debug)]
pub(crate) struct View {
    preprocess: Preprocess,
    flip: f64,
}

impl View {
    pub(crate) fn new(preprocess: &Preprocess, with: &RegularisationRecipe) -> Self {
        Self { preprocess: preprocess.clone(), flip: with.flip }
    }

    /// Values of a prepared image.
    pub(crate) fn len(&self) -> usize {
        self.preprocess.output_len()
    }

    /// Prepares an image: resize and crop as for evaluation, then what is drawn.
    pub(crate) fn apply(
        &self,
        image: &Rgb,
        draws: &mut Random,
        out: &mut [f32],
    ) -> Result<(), PreprocessError> {
        let mut picture = self.preprocess.crop(image)?;
        // Drawn even if never used, so that the draws after it do not depend on this setting.
        if draws.unit() < self.flip {
            mirror(&mut picture);
        }
        self.preprocess.normalise(&picture, out)
    }
}

/// Left becomes right.
fn mirror(picture: &mut Rgb) {
    for row in picture.data.chunks_exact_mut(3 * picture.width) {
        let (mut left, mut right) = (0, picture.width.saturating_sub(1));
        while left < right {
            for channel in 0..3 {
                row.swap(3 * left + channel, 3 * right + channel);
            }
            (left, right) = (left + 1, right - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::mirror;
    use tokmerge_data::Rgb;

    #[test]
    fn a_mirrored_picture_keeps_its_colours_together() {
        let mut picture = Rgb { width: 3, height: 2, data: (0..18).collect() };
        mirror(&mut picture);
        assert_eq!(picture.data, [6, 7, 8, 3, 4, 5, 0, 1, 2, 15, 16, 17, 12, 13, 14, 9, 10, 11]);
    }
}
