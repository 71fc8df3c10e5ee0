//! What training does to an image before the model sees it.

use crate::recipe::RegularisationRecipe;
use tokmerge_data::augment::{Augment, AugmentError, Visit};
use tokmerge_data::{Preprocess, Rgb};

/// From a picture to the input of a model, differently every time.
#[derive(Clone, Debug)]
pub(crate) struct View {
    preprocess: Preprocess,
    augment: Augment,
}

impl View {
    /// # Errors
    /// When a setting makes no sense.
    pub(crate) fn new(
        preprocess: Option<&Preprocess>,
        with: &RegularisationRecipe,
    ) -> Result<Self, AugmentError> {
        let augment = with.augment()?;
        augment.validate()?;
        Ok(Self { preprocess: preprocess.cloned().unwrap_or_default(), augment })
    }

    /// Channels, height and width of a prepared image.
    pub(crate) fn shape(&self) -> [usize; 3] {
        let (height, width) = self.preprocess.input_size;
        [3, height, width]
    }

    /// Values of a prepared image.
    pub(crate) fn len(&self) -> usize {
        self.preprocess.output_len()
    }

    /// Prepares an image.
    pub(crate) fn apply(&self, image: &Rgb, visit: Visit, out: &mut [f32]) -> Result<(), AugmentError> {
        self.augment.apply(image, &self.preprocess, visit, out)
    }
}
