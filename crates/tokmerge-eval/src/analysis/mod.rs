//! Where merging hurts and where it happens, layer by layer: the studies behind ATM's thresholds (Lee and Choi,
//! 2025, arXiv:2505.15160, Figures 2 and 6).
//!
//! Both studies take batches of pixels one after the other ([`InformationLoss::measure`],
//! [`MergedTokens::measure`]) or a list of images at once ([`information_loss`], [`merged_tokens`]).

mod fit;
mod information_loss;
mod merged_tokens;

pub use fit::{ExponentialFit, exponential_fit};
pub use information_loss::{InformationLoss, LayerLoss, information_loss, loss_per_layer};
pub use merged_tokens::{LayerMerges, MergeProfile, MergedTokens, merged_tokens};

use crate::EvalError;
use tokmerge_merge::BindError;

/// Why a study cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnalysisError {
    /// The images cannot be read.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The model cannot merge.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No cosine.
    #[error("a threshold is a cosine from -1 to 1, not {0}; 1 merges nothing, 0.9 only what is very similar")]
    Threshold(f64),
    /// The same threshold again.
    #[error("threshold {0} is given twice; give each once")]
    Twice(f64),
    /// Nothing to study.
    #[error("there is no threshold to study; give at least one from -1 to 1, e.g. 0.9")]
    NoThreshold,
    /// Nothing merges in the last layer, and there is no other.
    #[error(
        "the model has {0} layer, and nothing merges in the last one; two layers are the fewest to compare"
    )]
    Depth(usize),
    /// A method that never merges.
    #[error(
        "{0} merges nothing in any layer, so there is nothing to count; give one that does, e.g. tome:r=8 or atm:theta=0.9"
    )]
    NeverMerges(String),
    /// A method that mixes.
    #[error(
        "{0} mixes all tokens, so that none merges into another and there is nothing to count; give one that merges or drops tokens, e.g. tome:r=8"
    )]
    Mixes(String),
}
