//! Mixtures of experts (V-MoE; Riquelme et al., 2021, arXiv:2106.05974): several MLPs in place of one, of which every
//! token uses a few.
//!
//! A router gives each token a gate per expert, the softmax of a linear layer; the `K` largest decide where the token
//! goes, and weigh what comes back, without being normalised again. Which token goes where is a list of integers on
//! the host ([`Assignment`]), as a merge plan is. Experts run on the tokens that they got and on nothing else.
//!
//! | file | what |
//! |---|---|
//! | `config.rs` | how many experts, and in which blocks |
//! | `routing.rs` | how many tokens an expert takes, and who competes: what a user can choose |
//! | `assignment.rs` | gates to rows of experts |
//! | `layer.rs` | the module |
//! | `balance.rs` | losses that keep experts equally busy |
//!
//! Written from the papers; where they are silent it agrees with google-research/vmoe: buffers of a multiple of four,
//! first choices of all tokens before second ones, losses per group.

mod assignment;
mod balance;
mod config;
mod layer;
mod routing;

#[cfg(test)]
mod tests;

pub(crate) use balance::Balance;
pub use balance::RouterTraining;
pub use config::{ExpertsConfig, Placement};
pub(crate) use layer::ExpertShape;
pub use layer::MixtureOfExperts;
pub use routing::{Buffers, Group, Order, Routing, RoutingError};
