//! Weights into networks: how files spell names, and what becomes of every tensor.

pub mod key_map;
mod load;

pub use load::{LoadError, LoadReport, Unused, load, load_with};
pub(crate) use load::{Tower, load_spelled, spelling, spelling_of};
