//! Trains and fine-tunes Transformers of images, sounds and clips, with merging and without.
//!
//! A [`Recipe`] says everything that decides the result; a [`Trainer`] follows it. Two runs of one recipe give the
//! same weights bit for bit, whatever the number of threads that read items, and so do a run in one go and a run
//! that was killed and resumed: every random choice is a function of the seed and of a position (epoch, item), and
//! a checkpoint holds everything else.
//!
//! Begin reading at [`Trainer`].
#![deny(missing_docs)]

mod bench;
mod checkpoint;
mod consistency;
mod course;
mod data;
mod distill;
mod ema;
mod error;
mod freeze;
mod gradients;
mod groups;
mod history;
mod log;
mod lora;
mod loss;
mod optimizer;
mod parts;
mod pass;
mod recipe;
mod schedule;
mod start;
mod suit;
pub mod sweep;
mod trainer;
mod validate;
mod weights;

pub use bench::bench_training;
pub use checkpoint::{Checkpoints, Position, save_with_mergers};
pub use error::TrainError;
pub use history::{History, LoggedStep, LoggedValidation};
pub use loss::{Loss, binary_cross_entropy, soft_cross_entropy, soft_targets, token_cross_entropy};
pub use recipe::{
    AdafactorRecipe, AdamRecipe, ConsistencyRecipe, DataRecipe, DistillRecipe, LoraRecipe, ModelRecipe,
    OptimizerRecipe, Recipe, RecipeError, Recompute, RegularisationRecipe, RoutingRecipe, SamplingRecipe,
    ScheduleKind, ScheduleRecipe, SgdRecipe, SilenceRecipe, SpecAugmentRecipe, TrainRecipe, UnknownRecompute,
};
pub use schedule::Schedule;
pub use start::Start;
pub use trainer::{Event, Observer, Summary, Trainer};
pub use validate::{Averaging, Validation};
