//! The parts that models are made of.

mod attention;
mod block;
mod layers;
mod patch_embed;

pub use attention::Attention;
pub use block::Block;
pub(crate) use layers::{Bias, truncated_normal, zeros};
pub use layers::{LayerNorm, LayerScale, Linear, Mlp};
pub use patch_embed::PatchEmbed;
