//! How tokens know where they stand.

mod config;
mod grid;
mod relative;
mod resample;
mod rotary;
mod sinusoids;
mod turns;

pub use config::{Absolute, AxisOrder, Frequencies, PositionConfig, Relative, Resampling, RotaryConfig};
pub(crate) use grid::grid_positions;
pub(crate) use relative::{relative_position_index, relative_positions, resample_relative_positions};
pub(crate) use resample::{resample, resample_each, resampling_weights};
pub use rotary::{RotaryEmbedding, RotaryShape};
pub(crate) use sinusoids::{grid_sinusoids, sinusoids, table};
