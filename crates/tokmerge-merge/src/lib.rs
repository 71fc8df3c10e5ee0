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
mod methods;
mod plan;
mod reduction;
mod schedule;
mod spec;
mod tokens;

pub use evidence::{Evidence, Feature, FeatureRequest, Received, Wants};
pub use methods::tome::{Combine, Matcher, Partition, ProportionalAttention, Tome};
pub use methods::{METHODS, Method, MethodInfo, OptionInfo};
pub use plan::{MergePlan, PlanError};
pub use reduction::{BindError, KeyBias, LayerTokens, Reduction, Seat, Site, Step, Trace};
pub use schedule::{Rounding, Schedule, ScheduleError, mergeable};
pub use spec::{MergeSpec, SpecError};
pub use tokens::Tokens;
pub use tokmerge_ops::{DROPPED, HeadAggregation, Layout, Similarity};
