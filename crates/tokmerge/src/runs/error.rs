//! What can go wrong.

use super::axis::{Cost, Curve, Quality};
use std::path::PathBuf;
use tokmerge_checkpoint::shortened;
use tokmerge_train::TrainError;

/// Why results cannot be read or drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunsError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Neither CSV nor JSON, or not of this program.
    #[error(
        "{}: {reason}; give what eval, bench or few-shot write with --results-file or --json, a .csv or .json of compare or tune, or the folder of a run or a sweep",
        path.display()
    )]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A value makes no sense.
    #[error("{}, result {row}: {column} is {}, and must be {rule}", path.display(), shortened(value))]
    Value {
        /// The file.
        path: PathBuf,
        /// Which result of it, from 1.
        row: usize,
        /// Its column.
        column: String,
        /// The value.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// A run's folder cannot be read.
    #[error(transparent)]
    Run(#[from] TrainError),
    /// There is nothing to draw.
    #[error("none of the results has {}; {way_out}", words)]
    Nothing {
        /// What is missing.
        words: String,
        /// What has it, or can be done.
        way_out: String,
    },
    /// No quality that all results have.
    #[error("the results have no quality in common ({0}); say which to draw with `y`")]
    Uncommon(String),
    /// Counted in different ways.
    #[error(
        "operations are counted as {} in one file and as {} in another, so that GMACs cannot be compared; measure with one `convention`, or give another `x`",
        shortened(.0),
        shortened(.1)
    )]
    Conventions(String, String),
    /// Schedules of different models.
    #[error("some schedules have {0} layers and others {1}; give results of one model")]
    Depths(usize, usize),
    /// Too much to be looked at.
    #[error("there are more than {0} results; give fewer files")]
    TooMany(usize),
}

impl RunsError {
    pub(super) fn no_cost(cost: Cost) -> Self {
        let way_out = match cost {
            Cost::Gmacs | Cost::Tokens => "eval and compare write it",
            Cost::ImagesPerSecond | Cost::Ms => "bench measures it; give its --results-file too",
            Cost::Speedup => "compare writes it, and bench --json",
            Cost::Hours | Cost::Exaflops => "it is known of folders of training runs",
        };
        Self::Nothing { words: cost.words().to_owned(), way_out: way_out.to_owned() }
    }

    pub(super) fn no_quality(quality: Quality, known: &str) -> Self {
        let way_out = format!("they have {known}; say which with `y`");
        Self::Nothing { words: quality.name().to_owned(), way_out }
    }

    pub(super) fn no_schedule() -> Self {
        let words = "a list as r, tokens to merge in every layer".to_owned();
        let way_out = "tokmerge tune --search random draws some".to_owned();
        Self::Nothing { words, way_out }
    }

    pub(super) fn speeds_alone() -> Self {
        let words = "a quality, such as top1 or agreement".to_owned();
        let way_out = "speeds alone are no results; give what eval or compare write too".to_owned();
        Self::Nothing { words, way_out }
    }

    pub(super) fn no_curve(curve: Curve) -> Self {
        Self::Nothing {
            words: format!("a curve of {}", curve.name()),
            way_out: "curves are of folders of tokmerge train or sweep; give these, or a cost as `x`"
                .to_owned(),
        }
    }
}
