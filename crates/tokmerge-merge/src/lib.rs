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
//!
//! # Example
//!
//! Two images of four tokens each, the first of which is the class token. In both, two of the others are alike.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use tokmerge_merge::{Evidence, Layout, Method, ModelFacts, Reduction, Tokens, Trace};
//!
//! let method: Method = "tome:r=1".parse()?;
//! // A model of one block, whose images have four tokens, one of them protected.
//! let reduction = Reduction::bind(method, &ModelFacts::new(1, 4, 1))?;
//!
//! let x = Tensor::<2>::from_data(
//!     [[0.0, 0.0], [1.0, 0.0], [3.0, 0.0], [0.0, 5.0], [0.0, 0.0], [0.0, 1.0], [9.0, 9.0], [8.0, 8.0]],
//!     &Device::flex(),
//! );
//! let tokens = Tokens::new(x.clone(), Layout::uniform(2, 4), 1);
//!
//! // An encoder calls this between the attention and the MLP of block 0. Here tokens are compared by their values.
//! let mut trace = Trace::default();
//! let evidence = Evidence { metric: Some(x), ..Evidence::default() };
//! let tokens = reduction.apply(0, tokens, evidence, &mut trace);
//!
//! assert_eq!(tokens.layout, Layout::uniform(2, 3));
//! assert_eq!(tokens.sizes()[..3], [1.0, 2.0, 1.0]);
//! let merged: Vec<f32> = tokens.x.into_data().iter().collect();
//! assert_eq!(merged[2..4], [2.0, 0.0]);
//! // Where every token went, per image: the class token, the merged pair, the one that stayed alone.
//! let plan = trace.plan_until(None).expect("something merged");
//! assert_eq!(plan.groups(0), [Some(0), Some(1), Some(1), Some(2)]);
//! assert_eq!(plan.groups(1), [Some(0), Some(1), Some(2), Some(2)]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_docs)]

mod budget;
mod carried;
mod choice;
#[cfg(test)]
mod contract;
mod count;
mod decisions;
mod error;
mod evidence;
mod facts;
mod halting;
mod joining;
mod mergers;
mod merging;
mod merging_error;
mod methods;
mod mixing;
mod mixture;
mod plan;
mod policy;
mod positions;
mod prefix;
mod reduction;
#[cfg(test)]
mod refusals;
mod schedule;
mod spec;
mod standing;
mod tokens;
mod trace;
mod words;

pub use carried::Carried;
pub use choice::{Choice, Judged, Pair};
pub use count::MatchShape;
pub use decisions::Decisions;
pub use error::BindError;
pub use evidence::{Evidence, Metric, MetricRequest, Received, Wants};
pub use facts::{KeyBias, LastLayer, Leading, ModelFacts, PositionUse, Readout, Softmax, Training};
pub use halting::Halting;
pub use joining::{Joining, Waiting};
pub use mergers::{Merger, MergerShape, Mergers};
pub use merging::{Combination, Merging};
pub use methods::atc::{Atc, AtcAmount, Linkage};
pub use methods::atm::{Atm, BatchRule, Threshold};
pub use methods::ats::{Ats, AtsForm};
pub use methods::bat::Bat;
pub use methods::cubistmerge::{Cubistmerge, SharedDestination};
pub use methods::diffrate::{CompressionRates, Diffrate, LearnedRates, PublishedRates};
pub use methods::draw::Redraw;
pub use methods::evit::Evit;
pub use methods::evo_vit::{EvoVit, Selection};
pub use methods::idle_vit::IdleVit;
pub use methods::layers::Layers;
pub use methods::ltmp::{LearnedThresholds, Limits, Ltmp, Thresholds};
pub use methods::mctf::{Criteria, Directions, Mctf, MctfPlace, Removal};
pub use methods::pitome::{Energy, Pitome, PitomeAmount};
pub use methods::pumer::{Order, Pumer};
pub use methods::rapid::Rapid;
pub use methods::tofu::Tofu;
pub use methods::token_pooling::{Clustering, MedoidUpdate, PooledTo, TokenPooling};
pub use methods::token_transforming::{Compared, TokenTransforming};
pub use methods::tome::{Matcher, Tome, Unmerge};
pub use methods::zero_tprune::{VotingStart, ZeroTprune};
pub use methods::{
    Common, METHODS, Method, MethodInfo, OptionInfo, Partition, ProportionalAttention, TrainedBy, a_vit,
    dynamic_vit, foresight, ia_red2, patch_merger, sp_vit, stm, token_learner, trainable_pooling,
};
pub use mixing::Mixing;
pub use mixture::{Largest, Mixture};
pub use plan::{AverageScale, Combine, MergePlan, PlanError};
pub use positions::Positions;
pub use prefix::Prefix;
pub use reduction::{Held, Reduction};
pub use schedule::{Amount, Rest, Rounding, Schedule, ScheduleError, mergeable};
pub use spec::{MergeSpec, SpecError, split_list};
pub use standing::Standing;
pub use tokens::Tokens;
pub use tokmerge_ops::{AttentionMap, DROPPED, HeadAggregation, Layout, MapQueries, Similarity};
pub use trace::{How, LastBlockSkip, LayerTokens, Record, Site, Step, Trace};
pub use words::{Protect, SequencePositions, TokenKind};
