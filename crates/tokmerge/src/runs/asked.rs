//! Axes by the names that users give them.

use super::axis::{Cost, Progress, Quality};
use std::fmt;
use std::str::FromStr;

/// A horizontal axis: a cost, or progress of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum X {
    /// A point for every result.
    Cost(Cost),
    /// A curve for every run.
    Progress(Progress),
    /// What the best schedules merge in every layer.
    Layer,
}

/// A vertical axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Y {
    /// How good results are.
    Quality(Quality),
    /// The loss of training.
    Loss,
}

/// A name that is no axis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no axis; give {1}")]
pub struct UnknownAxis(String, String);

const LOSS: &str = "loss";
const LAYER: &str = "layer";

impl X {
    /// Names of all of them.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Cost::ALL.map(Cost::name).into_iter().chain(Progress::ALL.map(Progress::name)).chain([LAYER])
    }
}

impl Y {
    /// Names of all of them.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Quality::ALL.map(Quality::name).into_iter().chain([LOSS])
    }
}

impl fmt::Display for X {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cost(cost) => cost.name(),
            Self::Progress(progress) => progress.name(),
            Self::Layer => LAYER,
        })
    }
}

impl fmt::Display for Y {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quality(quality) => quality.name(),
            Self::Loss => LOSS,
        })
    }
}

fn unknown(name: &str, names: impl Iterator<Item = &'static str>) -> UnknownAxis {
    UnknownAxis(tokmerge_checkpoint::shortened(name), names.collect::<Vec<_>>().join(", "))
}

impl FromStr for X {
    type Err = UnknownAxis;

    fn from_str(name: &str) -> Result<Self, UnknownAxis> {
        let costs = Cost::ALL.into_iter().map(Self::Cost);
        let mut all = costs.chain(Progress::ALL.into_iter().map(Self::Progress)).chain([Self::Layer]);
        all.find(|x| x.to_string() == name).ok_or_else(|| unknown(name, Self::names()))
    }
}

impl FromStr for Y {
    type Err = UnknownAxis;

    fn from_str(name: &str) -> Result<Self, UnknownAxis> {
        let mut all = Quality::ALL.into_iter().map(Self::Quality).chain([Self::Loss]);
        all.find(|y| y.to_string() == name).ok_or_else(|| unknown(name, Self::names()))
    }
}

impl FromStr for Cost {
    type Err = UnknownAxis;

    fn from_str(name: &str) -> Result<Self, UnknownAxis> {
        let found = Self::ALL.into_iter().find(|cost| cost.name() == name);
        found.ok_or_else(|| unknown(name, Self::ALL.map(Self::name).into_iter()))
    }
}
