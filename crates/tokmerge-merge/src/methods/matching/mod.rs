//! What methods that merge pairs have in common: who proposes to whom, and which proposals are accepted.

pub(in crate::methods) mod bipartite;
pub(in crate::methods) mod clusters;
pub(in crate::methods) mod cosines;
mod partition;
mod ranking;

pub(in crate::methods) use cosines::Cosines;
pub use partition::Partition;
pub(in crate::methods) use partition::Split;
pub(in crate::methods) use ranking::{Kept, best, by_falling_score};
