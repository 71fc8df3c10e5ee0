//! Questions about pictures: a picture at its own size and the tokens of a question.

use std::fmt;

use crate::text::{TextError, TextProcessor, TokenIds};
use crate::vilt::MAX_SIDE;
use crate::{ImageProcessor, PreprocessError, Rgb};

/// How a picture and a question are prepared for a model that answers it.
#[derive(Debug, Clone, PartialEq)]
pub struct QuestionProcessor {
    /// Of the picture: at its own size (ViLT), or at one that all have (PaLI).
    pub picture: ImageProcessor,
    /// Of the question.
    pub text: TextProcessor,
}

/// A question as a model takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Its tokens.
    pub tokens: TokenIds,
    /// Whether it was longer than the model has room for, so that its end is left out.
    pub is_cut: bool,
}

impl QuestionProcessor {
    /// The tokens of a question.
    ///
    /// # Errors
    /// When there is no tokenizer, or nothing of the question is left.
    pub fn question(&self, text: &str) -> Result<Question, TextError> {
        let tokens = self.text.encode(text)?;
        Ok(Question { is_cut: tokens.is_cut, tokens })
    }

    /// The same with pictures whose longer side is at most so many pixels.
    ///
    /// # Errors
    /// When that is less than the shorter side becomes, or all pictures have one size.
    pub fn with_longer(mut self, longer: usize) -> Result<Self, PreprocessError> {
        match &mut self.picture {
            ImageProcessor::Vilt(picture) if !(picture.shorter..=MAX_SIDE).contains(&longer) => {
                return Err(PreprocessError::LongSide {
                    value: longer,
                    least: picture.shorter,
                    most: MAX_SIDE,
                });
            }
            ImageProcessor::Vilt(picture) => picture.longer = longer,
            ImageProcessor::Fixed(_) | ImageProcessor::Naflex(_) => {
                return Err(PreprocessError::OneSize { setting: "long_side", value: longer });
            }
        }
        self.picture.validate().map(|()| self)
    }
}

/// A picture, and what is asked about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The picture, in bytes, as the model's [`QuestionProcessor`] resized it.
    pub picture: Rgb,
    /// The tokens of the question.
    pub tokens: TokenIds,
}

impl fmt::Display for QuestionProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; questions of {}", self.picture, self.text)
    }
}
