//! Token merging, without any model.
//!
//! A [`Reduction`] sits in the seam that an encoder leaves between the attention and the MLP of its blocks. It
//! asks attention for [`Evidence`], a method turns the evidence into a [`MergePlan`] (plain data: which row goes
//! where), and the plan turns [`Tokens`] into fewer tokens.
//!
//! # Letters
//!
//! | letter | is |
//! |---|---|
//! | `B` | items in a batch |
//! | `N`, `M` | tokens of an item before and after a reduction |
//! | `T`, `T'` | rows of all items together, before and after |
//! | `C` | channels of a token |
//! | `H`, `D` | heads, channels of a head |
//! | `L` | blocks of the model |
//! | `r` | tokens that a layer removes from an item |
#![deny(missing_docs)]

mod evidence;
mod learned;
mod methods;
mod plan;
mod random;
mod reduction;
mod schedule;
mod spec;
mod tokens;

pub use evidence::{Evidence, Feature, FeatureRequest, Received, Wants};
pub use learned::{Largest, MergerShape, Mergers, Mixture, Norm, PatchMerger, SoftMerger};
pub use methods::atm::{Atm, BatchRule, Threshold, merging_error};
pub use methods::matching::Partition;
pub use methods::patch_merger::{Axis, PatchMerging, Prefix};
pub use methods::stm::{Inflation, Scale, Score, ScoreGradient, SoftMerging};
pub use methods::tome::{Matcher, Tome};
pub use methods::{METHODS, Method, MethodInfo, OptionInfo};
pub use plan::{Combine, MergePlan, PlanError};
pub use random::Random;
pub use reduction::{
    BindError, KeyBias, LastLayer, LayerTokens, Narrowed, ProportionalAttention, Readout, Reduction, Seat,
    Site, Step, Trace,
};
pub use schedule::{Amount, Rounding, Schedule, ScheduleError, mergeable};
pub use spec::{MergeSpec, SpecError};
pub use tokens::Tokens;
pub use tokmerge_ops::{DROPPED, HeadAggregation, Layout, Similarity};
