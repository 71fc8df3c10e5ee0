//! Why an evaluation cannot start or go on.

use tokmerge_data::text::TextError;
use tokmerge_data::{LoaderError, Media, Place};
use tokmerge_metrics::VqaError;
use tokmerge_models::NotFinite;

/// Why an evaluation cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The images cannot be loaded.
    #[error(transparent)]
    Loader(#[from] LoaderError),
    /// A label that is none of the model's classes.
    #[error(
        "{path}: its label is class {label}, but the model has {classes} classes; the folders of the data set must be the model's classes"
    )]
    Label {
        /// The image.
        path: String,
        /// Its label.
        label: usize,
        /// Outputs of the model.
        classes: usize,
    },
    /// Not a single image could be read.
    #[error("none of the {failed} {} could be read; the first: {first}", media.words())]
    NothingRead {
        /// What they were to be.
        media: Media,
        /// How many failed.
        failed: usize,
        /// Why the first did.
        first: String,
    },
    /// An output that is no number.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// The model answers in words.
    #[error("{model} writes its answers, and has no classes among which one is chosen; let it write")]
    Writes {
        /// The model.
        model: String,
    },
    /// A model of one class is always right.
    #[error(
        "the model has one class, so every answer is right and nothing can be measured; give a model of at least two classes"
    )]
    OneClass,
    /// The model takes something else.
    #[error(
        "the model takes {media}, and questions about pictures are for models that answer them, such as ViLT (vilt_b32)"
    )]
    NoQuestions {
        /// What it takes.
        media: &'static str,
    },
    /// A question that nothing is left of, or no tokenizer.
    #[error("the question of {place}: {source}")]
    Question {
        /// Where it stands in its list.
        place: Place,
        /// Why.
        source: TextError,
    },
    /// Numbers of answers that no score is defined for.
    #[error("the question of {place}: {source}")]
    Answers {
        /// Where it stands in its list.
        place: Place,
        /// Why.
        source: VqaError,
    },
    /// Nobody says which answer a class is.
    #[error("nothing says which answers the model's classes are; give them as its `labels`, one a line")]
    NoAnswers,
    /// Answers of other questions.
    #[error(
        "none of the {questions} questions has an answer that is one of the model's {classes} (the first is {first}, and the \
         model's first {own}); give a model that was trained on such answers, or its `labels`"
    )]
    UnknownAnswers {
        /// How many there are.
        questions: usize,
        /// The first answer.
        first: String,
        /// Classes of the model.
        classes: usize,
        /// The first class of the model.
        own: String,
    },
    /// The observer refused a prediction.
    #[error("{0}")]
    Observer(String),
}
