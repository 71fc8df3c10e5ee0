//! Why images cannot be compared with texts. One line each.

use crate::finite::NotFinite;
use crate::open::ModelError;
use crate::weights::LoadError;
use std::path::PathBuf;
use tokmerge_checkpoint::CheckpointError;
use tokmerge_data::text::TextError;

/// Why images cannot be compared with texts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZeroShotError {
    /// The model cannot be opened.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model looks at images alone.
    #[error(
        "{0} has no text tower that class names could be read by; open a folder of transformers' CLIP, MetaCLIP 2, SigLIP or SigLIP 2 with both towers"
    )]
    NoTextTower(String),
    /// The model knows its classes.
    #[error(
        "{model} has {classes} classes of its own; leave the class names out, or open a model of images and texts without a classifier"
    )]
    OwnClasses {
        /// The model.
        model: String,
        /// Outputs of its classifier.
        classes: usize,
    },
    /// Nobody has trained the weights.
    #[error(
        "random weights know nothing of texts; leave `random_weights` out where classes are given by their names"
    )]
    RandomWeights,
    /// The weights do not say what cosines are multiplied by.
    #[error("{}: there is no {name} of one number, and images are compared with texts by it; give the weights of both towers", path.display())]
    Scale {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: &'static str,
    },
    /// The towers do not meet.
    #[error(
        "the image tower gives {images} values and the text tower {texts}, and they are compared one by one; give the weights of both projections"
    )]
    Widths {
        /// Channels of an image's embedding.
        images: usize,
        /// Channels of a text's.
        texts: usize,
    },
    /// No class at all.
    #[error("there are no class names; give at least one")]
    NoNames,
    /// A class without a name.
    #[error("class {0} has no name; give each class one, from 0 on")]
    EmptyName(usize),
    /// Two classes that nothing could tell apart.
    #[error(
        "the class name {} is given twice, as {first} and {second}; give each class a name of its own",
        said(name)
    )]
    Twice {
        /// The name.
        name: String,
        /// The index of the first.
        first: usize,
        /// The index of the second.
        second: usize,
    },
    /// A template without a place for the name.
    #[error("the `template` is {}, and {{}} must stand in it where the class name goes; e.g. \"a photo of a {{}}.\"", said(.0))]
    Template(String),
    /// A text that has no tokens.
    #[error("{}: {source}", said(text))]
    Text {
        /// The text.
        text: String,
        /// Why.
        source: TextError,
    },
    /// There is nothing to make tokens of texts with.
    #[error(transparent)]
    Tokenizer(TextError),
    /// A text's vector is no number.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
}

/// The beginning of a text, in quotes and without control characters.
fn said(text: &str) -> String {
    const SHOWN: usize = 120;
    format!("{:?}", text.chars().take(SHOWN).collect::<String>())
}

impl From<LoadError> for ZeroShotError {
    fn from(error: LoadError) -> Self {
        Self::Model(error.into())
    }
}

impl From<CheckpointError> for ZeroShotError {
    fn from(error: CheckpointError) -> Self {
        Self::Model(error.into())
    }
}
