//! Any way of preparing pictures.

use std::cell::OnceCell;
use std::fmt;
use std::io::Read;
use std::path::Path;

use crate::choices::Colour;
use crate::decode::{decode_for, decode_framed, read_file, read_to_end};
use crate::transform::Frame;
use crate::{
    DecodeOptions, ImageError, NaflexPreprocess, Preprocess, PreprocessError, PreprocessOverrides, Rgb,
    ViltPreprocess,
};

/// How pictures are prepared: all to one size, or each to its own.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ImageProcessor {
    /// To one size.
    Fixed(Preprocess),
    /// Each to a size of about its own shape (SigLIP 2 NaFlex).
    Naflex(NaflexPreprocess),
    /// Each to its own size, the shorter side given (ViLT).
    Vilt(ViltPreprocess),
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

impl From<ViltPreprocess> for ImageProcessor {
    fn from(preprocess: ViltPreprocess) -> Self {
        Self::Vilt(preprocess)
    }
}

impl ImageProcessor {
    /// Checks every field; the other functions do the same.
    pub fn validate(&self) -> Result<(), PreprocessError> {
        match self {
            Self::Fixed(preprocess) => preprocess.validate(),
            Self::Naflex(preprocess) => preprocess.validate(),
            Self::Vilt(preprocess) => preprocess.validate(),
        }
    }

    /// The same with the user's settings in place of its own.
    ///
    /// # Errors
    /// When the result makes no sense, or a setting is one of crops and pictures keep their own sizes.
    pub fn with(&self, overrides: &PreprocessOverrides) -> Result<Self, PreprocessError> {
        if let (Self::Naflex(_) | Self::Vilt(_), Some(setting)) = (self, overrides.of_crops()) {
            return Err(PreprocessError::OwnSizes { setting });
        }
        Ok(match self {
            Self::Fixed(preprocess) => preprocess.with(overrides)?.into(),
            Self::Naflex(own) => {
                let NaflexPreprocess { interpolation, mean, std, .. } = own.clone();
                let values = Preprocess { interpolation, mean, std, ..Preprocess::default() };
                let Preprocess { interpolation, mean, std, .. } = values.with(overrides)?;
                NaflexPreprocess { interpolation, mean, std, ..own.clone() }.into()
            }
            Self::Vilt(own) => own.with(overrides)?.into(),
        })
    }

    /// The same for a model that takes another height and width. Pictures of their own sizes stay so.
    #[must_use]
    pub fn with_size(&self, size: (usize, usize)) -> Self {
        match self {
            Self::Fixed(preprocess) => Preprocess { input_size: size, ..preprocess.clone() }.into(),
            Self::Naflex(_) | Self::Vilt(_) => self.clone(),
        }
    }

    /// Values of a picture at most.
    pub fn most_values(&self) -> usize {
        match self {
            Self::Fixed(preprocess) => preprocess.output_len(),
            Self::Naflex(NaflexPreprocess { patch_size, max_num_patches, .. }) => {
                patch_size.saturating_mul(*patch_size).saturating_mul(3).saturating_mul(*max_num_patches)
            }
            Self::Vilt(preprocess) => {
                let values = preprocess.patch_size.saturating_mul(preprocess.patch_size).saturating_mul(3);
                values.saturating_mul(preprocess.most_patches())
            }
        }
    }

    /// The picture as the model sees it, in bytes.
    pub fn fit(&self, image: &Rgb) -> Result<Rgb, PreprocessError> {
        match self {
            Self::Fixed(preprocess) => preprocess.crop(image),
            Self::Naflex(preprocess) => preprocess.fit(image),
            Self::Vilt(preprocess) => preprocess.fit(image),
        }
    }

    fn frame(&self, size: [usize; 2]) -> Frame {
        match self {
            Self::Fixed(preprocess) => preprocess.frame(size),
            Self::Naflex(preprocess) => preprocess.frame(size),
            Self::Vilt(preprocess) => preprocess.frame(size),
        }
    }

    /// Decodes an image held in memory as [`decode_image`](crate::decode_image) does, where that is
    /// [`Decode::Exact`](crate::Decode::Exact), or else only as large as [`fit`](Self::fit) needs it.
    ///
    /// # Errors
    /// When it is no image, damaged or above the limits, or a field of the processor makes no sense.
    pub fn decode(&self, bytes: &[u8], options: &DecodeOptions) -> Result<Rgb, ImageError> {
        self.validate()?;
        decode_for(bytes, options, &|size| self.frame(size).size)
    }

    /// [`decode`](Self::decode) of what is read from a stream.
    ///
    /// # Errors
    /// Those of `decode`, or when it cannot be read.
    pub fn read(&self, source: impl Read, options: &DecodeOptions) -> Result<Rgb, ImageError> {
        self.decode(&read_to_end(source, &options.limits)?, options)
    }

    /// [`decode`](Self::decode) of a file. Every error names the path.
    ///
    /// # Errors
    /// Those of `decode`, or when the file cannot be read.
    pub fn open(&self, path: impl AsRef<Path>, options: &DecodeOptions) -> Result<Rgb, ImageError> {
        let path = path.as_ref();
        let bytes = read_file(path, &options.limits);
        bytes.and_then(|bytes| self.decode(&bytes, options)).map_err(|e| e.in_file(path))
    }

    /// The same bytes as [`decode`](Self::decode) and then [`fit`](Self::fit), in less time and memory: no more pixels
    /// are made than the crop needs.
    ///
    /// # Errors
    /// Those of `decode`.
    pub fn decode_fitted(&self, bytes: &[u8], options: &DecodeOptions) -> Result<Rgb, ImageError> {
        match self {
            Self::Fixed(preprocess) if preprocess.colour == Colour::Grey => {
                Ok(preprocess.crop(&self.decode(bytes, options)?)?)
            }
            Self::Fixed(preprocess) => {
                self.validate()?;
                let framed = decode_framed(bytes, options, &|size| preprocess.frame(size));
                framed.map(|(picture, frame)| preprocess.filled(picture, &frame))
            }
            Self::Naflex(preprocess) => {
                self.validate()?;
                let framed = decode_framed(bytes, options, &|size| preprocess.frame(size));
                framed.map(|(picture, _)| picture)
            }
            Self::Vilt(preprocess) => {
                self.validate()?;
                let refused = OnceCell::new();
                let framed = decode_framed(bytes, options, &|size| {
                    if let Err(error) = preprocess.size(size[1], size[0]) {
                        let _ = refused.set(error);
                    }
                    preprocess.frame(size)
                });
                let (picture, _) = framed?;
                refused.into_inner().map_or(Ok(picture), |error| Err(error.into()))
            }
        }
    }

    /// [`decode_fitted`](Self::decode_fitted) of a file. Every error names the path.
    ///
    /// # Errors
    /// Those of `decode`, or when the file cannot be read.
    pub fn open_fitted(&self, path: impl AsRef<Path>, options: &DecodeOptions) -> Result<Rgb, ImageError> {
        let path = path.as_ref();
        let bytes = read_file(path, &options.limits);
        bytes.and_then(|bytes| self.decode_fitted(&bytes, options)).map_err(|e| e.in_file(path))
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
            Self::Vilt(preprocess) => {
                let patches = preprocess.cut(picture)?;
                values.extend(patches.pixels);
                Ok(Some(patches.grid))
            }
        }
    }
}

impl fmt::Display for ImageProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(preprocess) => preprocess.fmt(f),
            Self::Naflex(own) => {
                let NaflexPreprocess { patch_size, max_num_patches, mean, std, .. } = own;
                write!(
                    f,
                    "at most {max_num_patches} patches of {patch_size}x{patch_size}, mean {mean:?}, std {std:?}"
                )
            }
            Self::Vilt(own) => own.fmt(f),
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
