//! Kinds of files that models take, and any way of preparing them.

use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clip::{self, Clip, ClipError, ClipOptions, ClipProcessor, SpatialCrops};
use crate::decode::{read_file, read_to_end};
use crate::sound::{self, SoundError, SoundProcessor, decode_sound};
use crate::text::{self, TextError, TextProcessor, TokenIds, Tokenizer};
use crate::{
    Asked, DecodeOptions, EXTENSIONS, ImageError, ImageProcessor, NaflexPreprocess, Preprocess,
    PreprocessError, PreprocessOverrides, QuestionProcessor, Rgb,
};

/// A kind of files that models take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Media {
    /// Pictures.
    Image,
    /// Sounds.
    Sound,
    /// Clips: video files, and folders of frames.
    Clip,
    /// Texts: the lines of files.
    Text,
    /// Questions about pictures.
    Question,
}

impl Media {
    /// One of them: `image`, `sound`, `clip`, `text` or `question`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Sound => "sound",
            Self::Clip => "clip",
            Self::Text => "text",
            Self::Question => "question",
        }
    }

    /// Several: `images`, `sounds`, `clips`, `texts` or `questions`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Image => "images",
            Self::Sound => "sounds",
            Self::Clip => "clips",
            Self::Text => "texts",
            Self::Question => "questions",
        }
    }

    /// File extensions that count, in lower case; other files do where they begin like one of these.
    #[must_use]
    pub fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Image | Self::Question => &EXTENSIONS,
            Self::Sound => &sound::EXTENSIONS,
            Self::Clip => &clip::EXTENSIONS,
            Self::Text => &text::EXTENSIONS,
        }
    }

    /// What is recognised by its first bytes, as a message says it.
    pub(crate) fn by_content(self) -> &'static str {
        match self {
            Self::Image | Self::Question => "JPEG and PNG",
            Self::Sound => "WAV, FLAC and Ogg",
            Self::Clip => "MP4, Matroska, WebM, AVI and GIF",
            Self::Text => "no text",
        }
    }

    /// Whether the ending is one of [`extensions`](Self::extensions), in any case.
    #[must_use]
    pub fn has_ending(self, path: &Path) -> bool {
        let is = |extension: &std::ffi::OsStr| {
            self.extensions().iter().any(|known| extension.eq_ignore_ascii_case(known))
        };
        path.extension().is_some_and(is)
    }

    /// Whether a file begins like one of this kind with these bytes, 12 or more.
    #[must_use]
    pub fn begins(self, start: &[u8]) -> bool {
        let riff = |kind: &[u8]| start.starts_with(b"RIFF") && start.get(8..12) == Some(kind);
        match self {
            Self::Image | Self::Question => {
                start.starts_with(b"\xFF\xD8\xFF") || start.starts_with(b"\x89PNG\r\n\x1A\n") || riff(b"WEBP")
            }
            Self::Sound => start.starts_with(b"fLaC") || start.starts_with(b"OggS") || riff(b"WAVE"),
            Self::Clip => {
                start.get(4..8) == Some(b"ftyp")
                    || start.starts_with(b"\x1A\x45\xDF\xA3")
                    || start.starts_with(b"GIF8")
                    || riff(b"AVI ")
            }
            Self::Text => false,
        }
    }
}

/// Any way of preparing what a model takes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Processor {
    /// Of pictures.
    Image(ImageProcessor),
    /// Of sounds.
    Sound(SoundProcessor),
    /// Of clips.
    Clip(ClipProcessor),
    /// Of texts.
    Text(TextProcessor),
    /// Of questions about pictures.
    Question(QuestionProcessor),
}

impl From<QuestionProcessor> for Processor {
    fn from(processor: QuestionProcessor) -> Self {
        Self::Question(processor)
    }
}

impl From<TextProcessor> for Processor {
    fn from(processor: TextProcessor) -> Self {
        Self::Text(processor)
    }
}

impl From<ImageProcessor> for Processor {
    fn from(processor: ImageProcessor) -> Self {
        Self::Image(processor)
    }
}

impl From<Preprocess> for Processor {
    fn from(preprocess: Preprocess) -> Self {
        Self::Image(preprocess.into())
    }
}

impl From<NaflexPreprocess> for Processor {
    fn from(preprocess: NaflexPreprocess) -> Self {
        Self::Image(preprocess.into())
    }
}

impl From<SoundProcessor> for Processor {
    fn from(processor: SoundProcessor) -> Self {
        Self::Sound(processor)
    }
}

impl From<ClipProcessor> for Processor {
    fn from(processor: ClipProcessor) -> Self {
        Self::Clip(processor)
    }
}

/// A file that was read, as the model sees it but for its normalisation.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Prepared {
    /// A picture, in bytes.
    Picture(Rgb),
    /// The features of a sound, `[frames, values]`.
    Features(Vec<f32>),
    /// The views of a clip, cropped.
    Clip(Clip),
    /// The tokens of a text.
    Text(TokenIds),
    /// A picture, and a question.
    Question(Asked),
}

/// What normalising has given besides values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Normalised {
    /// Rows and columns of patches, of a picture with a size of its own.
    pub grid: Option<(usize, usize)>,
    /// The tokens, of a text or of a question about a picture.
    pub tokens: Option<TokenIds>,
}

/// Why a file was not read. One line each; with the path where there is a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// A picture.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A sound.
    #[error(transparent)]
    Sound(#[from] SoundError),
    /// A clip.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// A text.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A picture alone, for a model that answers questions about it.
    #[error(
        "the model answers questions about pictures, and nothing is asked about this one; ask something, e.g. with `tokmerge ask`"
    )]
    NothingAsked,
    /// A reader came upon what nobody had thought of.
    #[error(
        "{}: made its reader panic ({reason}); leave it out, and report it with the file",
        path.display()
    )]
    Panicked {
        /// The file.
        path: PathBuf,
        /// What was said.
        reason: String,
    },
}

impl From<PreprocessError> for MediaError {
    fn from(error: PreprocessError) -> Self {
        Self::Image(error.into())
    }
}

impl From<std::io::Error> for MediaError {
    fn from(error: std::io::Error) -> Self {
        Self::Image(error.into())
    }
}

impl MediaError {
    /// Whether the message names the file.
    #[must_use]
    pub fn names_file(&self) -> bool {
        matches!(
            self,
            Self::Image(ImageError::InFile { .. })
                | Self::Sound(SoundError::InFile { .. })
                | Self::Clip(ClipError::InFile { .. })
                | Self::Panicked { .. }
        )
    }
}

impl Processor {
    /// What it prepares.
    #[must_use]
    pub fn media(&self) -> Media {
        match self {
            Self::Image(_) => Media::Image,
            Self::Sound(_) => Media::Sound,
            Self::Clip(_) => Media::Clip,
            Self::Text(_) => Media::Text,
            Self::Question(_) => Media::Question,
        }
    }

    /// How texts are prepared; `None` of anything else.
    #[must_use]
    pub fn text(&self) -> Option<&TextProcessor> {
        match self {
            Self::Text(processor) => Some(processor),
            _ => None,
        }
    }

    /// How texts or questions are prepared; `None` of anything else.
    #[must_use]
    pub fn words(&self) -> Option<&TextProcessor> {
        match self {
            Self::Text(processor) => Some(processor),
            Self::Question(processor) => Some(&processor.text),
            Self::Image(_) | Self::Sound(_) | Self::Clip(_) => None,
        }
    }

    /// What makes tokens of texts and questions; `None` of anything else, and where nobody has given one.
    #[must_use]
    pub fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        self.words().and_then(TextProcessor::tokenizer)
    }

    /// The preprocessing of pictures of one size; `None` of anything else.
    #[must_use]
    pub fn preprocess(&self) -> Option<&Preprocess> {
        match self {
            Self::Image(ImageProcessor::Fixed(preprocess)) => Some(preprocess),
            _ => None,
        }
    }

    /// Checks every field; the other functions do the same.
    ///
    /// # Errors
    /// When one makes no sense.
    pub fn validate(&self) -> Result<(), PreprocessError> {
        match self {
            Self::Image(processor) => processor.validate(),
            Self::Sound(_) | Self::Text(_) => Ok(()),
            Self::Question(processor) => processor.picture.validate(),
            Self::Clip(processor) => processor.validate().map_err(|error| match error {
                ClipError::Preprocess(error) => error,
                other => PreprocessError::Clip(other.to_string()),
            }),
        }
    }

    /// Inputs of the model that one file makes, whose answers are averaged: the views of a clip; 1 of anything else.
    #[must_use]
    pub fn views(&self) -> usize {
        match self {
            Self::Image(_) | Self::Sound(_) | Self::Text(_) | Self::Question(_) => 1,
            Self::Clip(processor) => processor.views(),
        }
    }

    /// Values of a file at most; tokens of a text.
    #[must_use]
    pub fn most_values(&self) -> usize {
        match self {
            Self::Image(processor) => processor.most_values(),
            Self::Sound(processor) => {
                let (frames, values) = processor.shape();
                frames * values
            }
            Self::Clip(processor) => processor.output_len(),
            Self::Text(processor) => processor.max_tokens(),
            Self::Question(processor) => processor.picture.most_values(),
        }
    }

    /// The same with the user's settings in place of its own.
    ///
    /// # Errors
    /// When the result makes no sense, or a setting is one of pictures and there are none.
    pub fn with(&self, overrides: &PreprocessOverrides) -> Result<Self, PreprocessError> {
        match self {
            Self::Image(processor) => Ok(processor.with(overrides)?.into()),
            Self::Question(own) => {
                Ok(QuestionProcessor { picture: own.picture.with(overrides)?, text: own.text.clone() }.into())
            }
            Self::Clip(own) => {
                let of_clips =
                    PreprocessOverrides { crop_pct: None, mean: None, std: None, ..overrides.clone() };
                self.without_those_of_images(&of_clips)?;
                let mut processor = own.clone();
                if let Some(part) = overrides.crop_pct {
                    processor = processor
                        .with_crop_pct(part)
                        .map_err(|error| PreprocessError::Clip(error.to_string()))?;
                }
                let (mean, std) = processor.fit.normalisation();
                let given = PreprocessOverrides {
                    mean: overrides.mean.clone(),
                    std: overrides.std.clone(),
                    ..PreprocessOverrides::default()
                };
                let values = Preprocess { mean, std, ..Preprocess::default() }.with(&given)?;
                Ok(processor.with_statistics(values.mean, values.std).into())
            }
            Self::Sound(_) | Self::Text(_) => {
                self.without_those_of_images(overrides)?;
                Ok(self.clone())
            }
        }
    }

    fn without_those_of_images(&self, overrides: &PreprocessOverrides) -> Result<(), PreprocessError> {
        match overrides.first() {
            None => Ok(()),
            Some(setting) => Err(PreprocessError::OfImages { setting, media: self.media().words() }),
        }
    }

    /// The same for a model that takes another size: height and width of pictures. Pictures of their own sizes stay so.
    ///
    /// # Errors
    /// When sounds would have to be made into spectra of another size.
    pub fn with_size(&self, size: (usize, usize)) -> Result<Self, PreprocessError> {
        match self {
            Self::Image(processor) => Ok(processor.with_size(size).into()),
            Self::Question(own) => {
                Ok(QuestionProcessor { picture: own.picture.with_size(size), text: own.text.clone() }.into())
            }
            Self::Sound(processor) => {
                let resized = processor.clone().with_size(size);
                if resized.shape() == size {
                    return Ok(resized.into());
                }
                Err(PreprocessError::OfImages { setting: "img_size", media: self.media().words() })
            }
            Self::Clip(processor) => Ok(processor.with_size(size).into()),
            Self::Text(_) => {
                Err(PreprocessError::OfImages { setting: "img_size", media: self.media().words() })
            }
        }
    }

    /// Reads and prepares a file. Every error names the path.
    ///
    /// # Errors
    /// When it cannot be read, is above the limits, or is none of its kind.
    pub fn open(&self, path: impl AsRef<Path>, options: &DecodeOptions) -> Result<Prepared, MediaError> {
        let path = path.as_ref();
        match self {
            Self::Image(processor) => Ok(Prepared::Picture(processor.open_fitted(path, options)?)),
            Self::Sound(processor) => {
                Ok(Prepared::Features(processor.open(path, &options.limits.of_sounds())?))
            }
            Self::Clip(processor) => Ok(Prepared::Clip(processor.open(path, &clips(options))?)),
            Self::Text(_) => {
                let bytes = read_file(path, &options.limits).map_err(|error| error.in_file(path))?;
                self.decode(bytes, options)
            }
            Self::Question(_) => Err(MediaError::NothingAsked),
        }
    }

    /// The same of bytes in memory.
    ///
    /// # Errors
    /// As [`open`](Self::open), without the path.
    pub fn decode(&self, bytes: Vec<u8>, options: &DecodeOptions) -> Result<Prepared, MediaError> {
        match self {
            Self::Image(processor) => Ok(Prepared::Picture(processor.decode_fitted(&bytes, options)?)),
            Self::Sound(processor) => {
                let sound = decode_sound(bytes, &options.limits.of_sounds())?;
                Ok(Prepared::Features(processor.prepare(sound)?))
            }
            // ffmpeg looks for indices at the end of files.
            Self::Clip(processor) => {
                let mut file = tempfile::NamedTempFile::new()?;
                file.write_all(&bytes)?;
                let opened = processor.open(file.path(), &clips(options));
                Ok(Prepared::Clip(opened.map_err(ClipError::without_file)?))
            }
            Self::Text(processor) => {
                text::check_text(&bytes)?;
                Ok(Prepared::Text(processor.encode(text::from_utf8(&bytes)?)?))
            }
            Self::Question(_) => Err(MediaError::NothingAsked),
        }
    }

    /// The same of what is read from a stream.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), or when it cannot be read.
    pub fn read(&self, source: impl Read, options: &DecodeOptions) -> Result<Prepared, MediaError> {
        let bytes = match self {
            Self::Image(_) | Self::Question(_) => read_to_end(source, &options.limits)?,
            Self::Sound(_) | Self::Clip(_) | Self::Text(_) => {
                let mut bytes = Vec::new();
                source.take(options.limits.max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
                bytes
            }
        };
        self.decode(bytes, options)
    }

    /// Adds the values of what was prepared to `values`, which stays as it is on an error and for texts.
    ///
    /// # Errors
    /// When it was prepared otherwise.
    pub fn normalise(&self, prepared: &Prepared, values: &mut Vec<f32>) -> Result<Normalised, MediaError> {
        match (self, prepared) {
            (Self::Image(processor), Prepared::Picture(picture)) => {
                Ok(Normalised { grid: processor.normalise(picture, values)?, tokens: None })
            }
            (Self::Text(_), Prepared::Text(tokens)) => {
                Ok(Normalised { grid: None, tokens: Some(tokens.clone()) })
            }
            (Self::Question(processor), Prepared::Question(Asked { picture, tokens })) => {
                let grid = processor.picture.normalise(picture, values)?;
                Ok(Normalised { grid, tokens: Some(tokens.clone()) })
            }
            (Self::Question(_), Prepared::Picture(_)) => Err(MediaError::NothingAsked),
            (Self::Sound(_), Prepared::Features(features)) if features.len() == self.most_values() => {
                values.extend_from_slice(features);
                Ok(Normalised::default())
            }
            (Self::Clip(processor), Prepared::Clip(clip)) => {
                processor.normalise(clip, values)?;
                Ok(Normalised::default())
            }
            _ => Err(std::io::Error::other("was prepared for another model").into()),
        }
    }

    /// Checks that a file can be read whole, for what comes later.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn verify(media: Media, path: &Path, options: &DecodeOptions) -> Result<(), MediaError> {
        match media {
            Media::Image | Media::Question => {
                let bytes = read_file(path, &options.limits).map_err(|error| error.in_file(path))?;
                crate::decode_image(&bytes, &options.limits).map_err(|error| error.in_file(path))?;
            }
            Media::Sound => {
                crate::sound::open_sound(path, &options.limits.of_sounds())?;
            }
            Media::Clip => {
                ClipProcessor::mae_st(1, SpatialCrops::Centre).open(path, &clips(options))?;
            }
            Media::Text => {
                for line in text::read_lines(path)? {
                    line??;
                }
            }
        }
        Ok(())
    }
}

/// How clips are opened.
fn clips(options: &DecodeOptions) -> ClipOptions {
    ClipOptions { limits: options.limits.of_clips(), ..ClipOptions::default() }
}

impl fmt::Display for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(processor) => processor.fmt(f),
            Self::Sound(processor) => processor.fmt(f),
            Self::Clip(processor) => processor.fmt(f),
            Self::Text(processor) => processor.fmt(f),
            Self::Question(processor) => processor.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_and_first_bytes_tell_the_kinds_apart() {
        for (path, media) in [("a.JPG", Media::Image), ("b.Wav", Media::Sound), ("c.ogg", Media::Sound)] {
            for other in [Media::Image, Media::Sound] {
                assert_eq!(other.has_ending(Path::new(path)), other == media, "{path}");
            }
        }
        let wav = b"RIFF\x10\0\0\0WAVEfmt ";
        let webp = b"RIFF\x10\0\0\0WEBPVP8 ";
        assert!(Media::Sound.begins(wav) && !Media::Image.begins(wav));
        assert!(Media::Image.begins(webp) && !Media::Sound.begins(webp));
        assert!(!Media::Sound.begins(b"RIFF"));
    }

    #[test]
    fn settings_of_pictures_are_refused_for_sounds() {
        let sounds = Processor::from(SoundProcessor::keyword_transformer());
        assert_eq!(sounds.with(&PreprocessOverrides::default()).unwrap(), sounds);
        let crop = PreprocessOverrides { crop_pct: Some(0.9), ..PreprocessOverrides::default() };
        let message = sounds.with(&crop).unwrap_err().to_string();
        assert!(message.contains("crop_pct") && message.contains("sounds"), "{message}");
    }

    #[test]
    fn crops_are_refused_where_pictures_keep_their_sizes() {
        let naflex = Processor::from(NaflexPreprocess::default());
        assert_eq!(naflex.with(&PreprocessOverrides::default()).unwrap(), naflex);
        let crop = PreprocessOverrides { crop_pct: Some(0.9), ..PreprocessOverrides::default() };
        let message = naflex.with(&crop).unwrap_err().to_string();
        assert!(message.contains("`crop_pct` is given") && message.contains("leave it out"), "{message}");
        let mean = PreprocessOverrides { mean: Some(vec![0.5]), ..PreprocessOverrides::default() };
        assert!(naflex.with(&mean).is_ok());
    }

    #[test]
    fn what_was_prepared_for_another_model_is_refused() {
        let sounds = Processor::from(SoundProcessor::keyword_transformer());
        let mut values = vec![1.0];
        assert!(sounds.normalise(&Prepared::Features(vec![0.0; 3]), &mut values).is_err());
        let picture = Rgb { width: 1, height: 1, data: vec![0; 3] };
        assert!(sounds.normalise(&Prepared::Picture(picture), &mut values).is_err());
        assert_eq!(values, [1.0]);
        sounds.normalise(&Prepared::Features(vec![0.0; 98 * 40]), &mut values).unwrap();
        assert_eq!(values.len(), 1 + 98 * 40);
    }
}
