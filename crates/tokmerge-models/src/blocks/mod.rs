//! The parts that models are made of.

mod attention;
mod attention_pool;
mod block;
mod config;
mod context;
mod encoder_block;
mod feed_forward;
mod parallel;
mod relative_position;
#[cfg(test)]
mod testing;

pub use attention::Attention;
pub(crate) use attention::normed_linear;
pub use attention_pool::AttentionPool;
pub(crate) use attention_pool::AttentionPoolShape;
pub use block::Block;
pub use config::{BlockConfig, Gate, LogitScale, MlpConfig, NormConfig, NormKind, Order, QkNorm, QkvBias};
pub use context::{Begun, Context, Memory};
pub use encoder_block::EncoderBlock;
pub use feed_forward::FeedForward;
pub(crate) use feed_forward::Joint;
pub use parallel::{BranchesBlock, ParallelBlock};
pub use relative_position::RelativePositionBias;
pub(crate) use relative_position::relative_position_bias;
