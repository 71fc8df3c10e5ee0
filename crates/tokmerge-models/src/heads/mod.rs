//! What stands after the blocks: from tokens to vectors.

mod pool;

pub(crate) use pool::{average, average_from, largest, normalised, prefix_rows, unit, without_prefix};
