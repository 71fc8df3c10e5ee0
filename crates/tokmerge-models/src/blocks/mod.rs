//! The parts that models are made of.

mod attention;
mod block;
mod feed_forward;
mod layers;
mod patch_embed;

pub use attention::Attention;
pub use block::Block;
pub use feed_forward::FeedForward;
pub(crate) use layers::{Bias, truncated_normal, zeros};
pub use layers::{LayerNorm, LayerScale, Linear, Mlp};
pub use patch_embed::PatchEmbed;
