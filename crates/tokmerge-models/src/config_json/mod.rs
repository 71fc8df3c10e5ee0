//! From a `config.json` to the shape of a model and its preprocessing, and back.
//!
//! | file or folder | whose |
//! |---|---|
//! | `timm.rs`, `arguments.rs` | timm: an architecture by name, and the arguments that differ |
//! | `hugging_face/` | transformers: a type of models and its numbers |
//! | `open_clip.rs` | open_clip: the image tower of a CLIP model |

mod arguments;
mod description;
pub(crate) mod hugging_face;
pub(crate) mod open_clip;
mod timm;

pub(crate) use arguments::Arguments;
pub(crate) use description::DescribeError;
pub(crate) use description::Understood;
pub use timm::timm_config;
pub(crate) use timm::{timm, timm_tower};

use crate::registry::UnknownModel;
use tokmerge_checkpoint::shortened;
use tokmerge_data::ConfigError as PreprocessConfigError;

/// A `config.json` that describes no model known here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigureError {
    /// An architecture that is not in the registry.
    #[error(transparent)]
    Unknown(#[from] UnknownModel),
    /// An argument whose value is not understood: guessing would give wrong predictions.
    #[error("the argument {name} is {}, and only {allowed} can be built", shortened(value))]
    Argument {
        /// The argument.
        name: String,
        /// Its value.
        value: String,
        /// What would be understood.
        allowed: String,
    },
    /// An argument that has no meaning.
    #[error(
        "the argument {} is {}, and {class} has no such argument here; leave it out if it does not change what the model \
         computes",
        shortened(name),
        shortened(value)
    )]
    Meaningless {
        /// The argument.
        name: String,
        /// Its value.
        value: String,
        /// The class that the arguments are given to.
        class: String,
    },
    /// A configuration of another library that is not understood.
    #[error(transparent)]
    Describe(#[from] DescribeError),
    /// Preprocessing that is not understood.
    #[error(transparent)]
    Preprocess(#[from] PreprocessConfigError),
    /// A combination that makes no model.
    #[error("{0}")]
    Shape(String),
}
