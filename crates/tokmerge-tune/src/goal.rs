//! What a user is willing to pay.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The goal of tuning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// As cheap as possible, losing at most this many points of top-1 accuracy.
    MaxDrop(f64),
    /// As cheap as possible, agreeing with the unmerged model on at least this percentage of images.
    MinAgreement(f64),
    /// As good as possible at this fraction of the unmerged model's multiply-adds.
    Gmacs(f64),
    /// As good as possible at this many milliseconds per batch.
    Latency(f64),
    /// As good as possible at this many times the unmerged model's speed.
    Speedup(f64),
}

/// A goal that makes no sense.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum GoalError {
    /// A number outside its range.
    #[error("`{setting}` {value} is not allowed; `{setting}` takes {allowed}")]
    Range {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: f64,
        /// What it takes.
        allowed: &'static str,
    },
    /// Accuracy cannot be measured without labels.
    #[error(
        "`max_drop` needs labelled images, one folder per class; for unlabelled images give `min_agreement`, e.g. 99"
    )]
    NoLabels,
    /// More than merging can give.
    #[error("{asked} cannot be reached: {best}, and nothing merges more; ask for a milder goal")]
    OutOfReach {
        /// What was asked for.
        asked: String,
        /// The best there is.
        best: String,
    },
}

impl Goal {
    /// Refuses numbers outside their ranges.
    ///
    /// # Errors
    /// When the number makes no sense, whatever the model.
    pub fn validate(self) -> Result<Self, GoalError> {
        let (value, allowed, fine): (f64, _, fn(f64) -> bool) = match self {
            Self::MaxDrop(value) => {
                (value, "points of top-1 accuracy from 0 to 100", |v| (0.0..=100.0).contains(&v))
            }
            Self::MinAgreement(value) => (value, "percent from 0 to 100", |v| (0.0..=100.0).contains(&v)),
            Self::Gmacs(value) => {
                (value, "a part of the unmerged model's GMACs, above 0 and at most 1", |v| {
                    v > 0.0 && v <= 1.0
                })
            }
            Self::Latency(value) => (value, "milliseconds above 0", |v| v > 0.0 && v.is_finite()),
            Self::Speedup(value) => (value, "a factor of at least 1", |v| v >= 1.0 && v.is_finite()),
        };
        if fine(value) { Ok(self) } else { Err(GoalError::Range { setting: self.setting(), value, allowed }) }
    }

    /// The name of the setting.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            Self::MaxDrop(_) => "max_drop",
            Self::MinAgreement(_) => "min_agreement",
            Self::Gmacs(_) => "gmacs",
            Self::Latency(_) => "latency",
            Self::Speedup(_) => "speedup",
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxDrop(points) => write!(f, "at most {points} points of top-1 accuracy lost"),
            Self::MinAgreement(percent) => {
                write!(f, "at least {percent} % agreement with the unmerged model")
            }
            Self::Gmacs(ratio) => write!(f, "at most {ratio} of the unmerged model's GMACs"),
            Self::Latency(ms) => write!(f, "at most {ms} ms per batch"),
            Self::Speedup(factor) => write!(f, "at least {factor} times as fast as unmerged"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Goal;

    #[test]
    fn numbers_outside_their_ranges_are_refused_with_the_rule() {
        for (goal, expected) in [
            (Goal::MaxDrop(-1.0), "`max_drop` -1 is not allowed; `max_drop` takes points"),
            (Goal::MinAgreement(101.0), "`min_agreement` takes percent from 0 to 100"),
            (Goal::MinAgreement(f64::NAN), "`min_agreement` NaN"),
            (Goal::Gmacs(0.0), "above 0 and at most 1"),
            (Goal::Latency(0.0), "milliseconds above 0"),
            (Goal::Speedup(0.5), "a factor of at least 1"),
            (Goal::Speedup(f64::INFINITY), "a factor of at least 1"),
        ] {
            let error = goal.validate().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(Goal::MaxDrop(0.0).validate().is_ok());
        assert!(Goal::Speedup(50.0).validate().is_ok(), "whether 50 can be reached depends on the model");
    }
}
