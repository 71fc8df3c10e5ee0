//! Any way of preparing pictures.

use crate::{NaflexPreprocess, Preprocess, PreprocessError, Rgb};

/// How pictures are prepared: all to one size, or each to its own.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ImageProcessor {
    /// To one size.
    Fixed(Preprocess),
    /// Each to a size of about its own shape (SigLIP 2 NaFlex).
    Naflex(NaflexPreprocess),
}

impl From<Preprocess> for ImageProcessor {
    fn from(preprocess: Preprocess) -> Self {
        Self::Fixed(preprocess)
    }
}

impl From<NaflexPreprocess> for ImageProcessor {
    fn from(preprocess: NaflexPreprocess) -> Self {
        Self::Naflex(preprocess)
    }
}

impl ImageProcessor {
    /// Checks every field; the other functions do the same.
    pub fn validate(&self) -> Result<(), PreprocessError> {
        match self {
            Self::Fixed(preprocess) => preprocess.validate(),
            Self::Naflex(preprocess) => preprocess.validate(),
        }
    }

    /// Values of a picture at most.
    pub fn most_values(&self) -> usize {
        match self {
            Self::Fixed(preprocess) => preprocess.output_len(),
            Self::Naflex(NaflexPreprocess { patch_size, max_num_patches, .. }) => {
                patch_size.saturating_mul(*patch_size).saturating_mul(3).saturating_mul(*max_num_patches)
            }
        }
    }

    /// The picture as the model sees it, in bytes.
    pub fn fit(&self, image: &Rgb) -> Result<Rgb, PreprocessError> {
        match self {
            Self::Fixed(preprocess) => preprocess.crop(image),
            Self::Naflex(preprocess) => preprocess.fit(image),
        }
    }

    /// Adds the values of a picture that [`fit`](Self::fit) made to `values`, which stays as it is on an error. Rows and
    /// columns of patches where pictures have sizes of their own.
    pub fn normalise(
        &self,
        picture: &Rgb,
        values: &mut Vec<f32>,
    ) -> Result<Option<(usize, usize)>, PreprocessError> {
        match self {
            Self::Fixed(preprocess) => {
                let from = values.len();
                values.resize(from + preprocess.output_len(), 0.0);
                let done = preprocess.normalise(picture, &mut values[from..]);
                done.inspect_err(|_| values.truncate(from)).map(|()| None)
            }
            Self::Naflex(preprocess) => {
                let patches = preprocess.cut(picture)?;
                values.extend(patches.pixels);
                Ok(Some(patches.grid))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_one_size_and_of_their_own_are_added_behind_each_other() {
        let image = Rgb { width: 6, height: 4, data: vec![51; 72] };
        let fixed = Preprocess { input_size: (2, 2), ..Preprocess::default() };
        let naflex = NaflexPreprocess { patch_size: 2, max_num_patches: 7, ..NaflexPreprocess::default() };
        let mut values = vec![9.0];
        for (processor, grid, length) in
            [(ImageProcessor::from(fixed), None, 12), (naflex.into(), Some((2, 3)), 72)]
        {
            let before = values.len();
            let fitted = processor.fit(&image).unwrap();
            assert_eq!(processor.normalise(&fitted, &mut values).unwrap(), grid);
            assert_eq!(values.len() - before, length);
            assert!(processor.most_values() >= length);
            let lying = Rgb { width: 9, height: 9, data: vec![0; 9] };
            assert!(processor.normalise(&lying, &mut values).is_err());
            assert_eq!(values.len() - before, length);
        }
        assert_eq!(values[0], 9.0);
    }
}
