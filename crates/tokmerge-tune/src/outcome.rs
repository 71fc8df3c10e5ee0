//! What a search found.

use crate::{Goal, Point};
use serde::Serialize;
use tokmerge_eval::{Accuracy, Spread};
use tokmerge_merge::Method;

/// Everything that a search found.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// What was asked for.
    pub goal: Option<Goal>,
    /// Images searched on.
    pub search_images: usize,
    /// The model as it is.
    pub unmerged: Point,
    /// Everything measured on the images searched on, in the order of measuring.
    pub points: Vec<Point>,
    /// Indices into `points`: those that nothing beats in both cost and quality, the cheapest first.
    pub front: Vec<usize>,
    /// Whether time ran out before the search was done.
    pub cut_short: bool,
    /// What to do.
    pub decision: Option<Decision>,
}

/// What to do.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Merge like this.
    Merge(Box<Choice>),
    /// Leave the model as it is.
    DoNotMerge {
        /// Why, in a sentence.
        reason: String,
    },
}

/// What was chosen, and what it is worth.
#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    /// The method.
    #[serde(serialize_with = "as_spec")]
    pub method: Method,
    /// On the images searched on.
    pub search: Point,
    /// On images that the search never saw; `None` if all were searched on.
    pub held_out: Option<HeldOut>,
    /// Speed over the unmerged model on this machine, measured in turn.
    pub speedup: Spread,
    /// Milliseconds per batch.
    pub ms_per_batch: Spread,
    /// Images per batch of these.
    pub batch_size: usize,
}

/// What the choice is worth on images that the search never saw.
#[derive(Clone, Debug, Serialize)]
pub struct HeldOut {
    /// Merged.
    pub merged: Accuracy,
    /// Unmerged, on the same images.
    pub unmerged: Accuracy,
    /// 95 % interval of the agreement, in percent.
    pub agreement_interval: (f64, f64),
}

fn as_spec<S: serde::Serializer>(method: &Method, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(method)
}
