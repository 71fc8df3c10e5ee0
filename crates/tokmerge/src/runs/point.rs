//! A result: one model at one way of merging.

use super::axis::{Cost, Quality};
use serde::Serialize;
use std::collections::BTreeMap;
use tokmerge_eval::wilson;

/// A value and its 95 % interval, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// What was measured.
    pub value: f64,
    /// From where to where.
    pub interval: Option<(f64, f64)>,
}

/// One model at one way of merging.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point {
    /// The file or folder that it was read from.
    pub source: String,
    /// What the model is called here: by the user, else as the file has it.
    pub model: String,
    /// What the file calls it, by which speeds are matched.
    pub named: String,
    /// What the file calls the method, where it does.
    pub method: Option<String>,
    /// How it merges, as a spec.
    pub merge: String,
    /// What else is set: `dtype`, `img_size`, `clips`, `shots` and so on.
    pub settings: BTreeMap<String, String>,
    /// What counts as an operation.
    pub convention: Option<String>,
    /// Items that were measured on.
    pub items: Option<usize>,
    /// What it costs.
    pub costs: BTreeMap<Cost, f64>,
    /// How good it is.
    pub qualities: BTreeMap<Quality, Estimate>,
}

impl Estimate {
    /// A percentage that was counted on a number of items.
    pub(super) fn counted(percent: f64, items: usize) -> Self {
        let hits = (percent.clamp(0.0, 100.0) * items as f64 / 100.0).round() as usize;
        Self { value: percent, interval: (items > 0).then(|| wilson(hits, items)) }
    }
}

impl Point {
    /// Whether nothing merges.
    #[must_use]
    pub fn is_unmerged(&self) -> bool {
        self.merge == "none"
    }
}
