//! What can go wrong in a run.

use crate::recipe::RecipeError;
use std::path::PathBuf;
use tokmerge_checkpoint::{CheckpointError, LockError};
use tokmerge_data::{DatasetError, LabelsError, MediaError, PreprocessError};
use tokmerge_eval::EvalError;
use tokmerge_merge::BindError;
use tokmerge_models::{ConfigureError, ImageSizeError, ModelError, UnknownModel};

/// Why a run cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The recipe makes no sense.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A folder cannot be used.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The file of labels cannot be used.
    #[error(transparent)]
    Labels(#[from] LabelsError),
    /// The preprocessing makes no sense.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The data do not go together with each other or with the model.
    #[error("{0}")]
    Data(String),
    /// Files cannot be prepared as the recipe says.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The model cannot be opened.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model's name means nothing.
    #[error(transparent)]
    Unknown(#[from] UnknownModel),
    /// The image size does not fit the model.
    #[error(transparent)]
    ImageSize(#[from] ImageSizeError),
    /// The model has a shape that cannot be.
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    /// A way of merging does not fit the model.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Validation failed.
    #[error(transparent)]
    Validation(#[from] EvalError),
    /// No file of a batch could be read.
    #[error(
        "{tried} files in a row could not be read, the last: {last}; see what is wrong with {}", folder.display()
    )]
    Unreadable {
        /// How many were tried.
        tried: usize,
        /// Why the last one failed.
        last: String,
        /// Where they lie.
        folder: PathBuf,
    },
    /// The loss or the weights are no numbers any more.
    #[error(
        "{what} is not a number at step {step} (learning rate {lr:.2e}); {kept}; use a lower schedule.lr, a longer schedule.warmup_epochs or train.clip_grad = 1.0"
    )]
    NotFinite {
        /// `the loss`, or `a weight`.
        what: &'static str,
        /// Counted from 1.
        step: usize,
        /// The learning rate of that step.
        lr: f64,
        /// Which checkpoint is left.
        kept: String,
    },
    /// A file of the run cannot be written.
    #[error("cannot write {}: {reason}; {kept}, and `resume` goes on from there once there is room", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
        /// Which checkpoint is left.
        kept: String,
    },
    /// A checkpoint cannot be read.
    #[error("{}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A weights file cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The folder of the run cannot be made.
    #[error("{}: cannot be made or written ({reason}); give another `output`", path.display())]
    Output {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Another process writes to the folder.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The folder holds another run.
    #[error("{}: {reason}", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// What is in it, and the way out.
        reason: String,
    },
}
