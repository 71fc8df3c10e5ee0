//! What the configurations of other libraries come to.

use crate::network::Config;
use tokmerge_checkpoint::{ConfigError, quoted};
use tokmerge_data::Processor;

/// What a configuration says of a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Understood {
    /// The shape.
    pub config: Config,
    /// How what it takes is prepared if no file says it.
    pub processor: Processor,
    /// Fields that were not read because nothing is known of them. They are not known to change the model either.
    pub unread: Vec<String>,
}

/// A configuration that describes no model understood here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescribeError {
    /// A field is missing, nonsense, or asks for something that is not understood.
    #[error(transparent)]
    Field(#[from] ConfigError),
    /// Preprocessing that is not understood.
    #[error(transparent)]
    Preprocess(#[from] tokmerge_data::ConfigError),
    /// A type of models that is not understood.
    #[error(
        "`model_type` is {}, {kind}; understood are the models {known}; open one of these, or a folder in timm's \
         form",
        quoted(model_type)
    )]
    ModelType {
        /// The type, as the file has it.
        model_type: String,
        /// What is known of it.
        kind: &'static str,
        /// The types that are understood.
        known: String,
    },
    /// A class that does something else with such a model.
    #[error(
        "`architectures` is {}, which is neither an encoder of images nor a classifier; open a folder of {} saved as its \
         model or its `...ForImageClassification`",
        quoted(class),
        quoted(model_type)
    )]
    Class {
        /// The class, as the file has it.
        class: String,
        /// The type of the model.
        model_type: String,
    },
    /// The tower is a model of another library.
    #[error("the image tower is {tower} of {library}; {way_out}")]
    Tower {
        /// Its name there.
        tower: String,
        /// The library.
        library: &'static str,
        /// What to do instead.
        way_out: &'static str,
    },
}
