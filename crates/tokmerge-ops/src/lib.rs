//! The coarse tensor operations of tokmerge, on burn.
//!
//! One file per op. Each holds the public function, its *composed* body made of ordinary burn ops (what every
//! backend without kernels runs, and the oracle of the tests), the body that calls `tokmerge-kernels` on
//! burn's CPU backend (Flex), and the gradient. Model code calls the public functions and cannot tell which
//! body runs.
//!
//! Rows everywhere: activations are `[T, C]`, the tokens of all items of a batch below each other; a [`Layout`]
//! says which rows belong to which item.
//!
//! This is the only crate that names a burn backend.
#![deny(missing_docs)]

mod adamw;
mod attention;
mod backend;
mod convolution;
mod embed;
mod layout;
mod linear;
mod matching;
mod merging;
mod mlp;
mod norm;
mod packs;
mod pair_attention;
mod pool;
mod rotation;
mod self_attention;
#[cfg(test)]
mod testing;
mod turns;

pub use adamw::{AdamwStep, adamw};
pub use attention::{
    AttentionMap, AttentionSpec, MapQueries, Mask, PairBias, PairRows, Part, attention, attention_maps,
    attention_probabilities, attention_received, attention_received_from, cross_attention, head_features,
    mix,
};
pub use convolution::{ConvolutionWeights, Maps, Window, convolution};
pub use embed::{assemble, patchify};
pub use layout::Layout;
pub use linear::{LinearWeights, linear, linear_residual, norm_linear};
pub use matching::{Match, best_match};
pub use merging::{DROPPED, gather_rows, merge_rows, merge_weights};
pub use mlp::{Gate, MlpWeights, mlp, mlp_residual};
pub use norm::{NormKind, NormWeights, normalise, normalise_heads};
pub use pool::recycle;
pub use rotation::{Angles, Pairs, Rotation, rotate_heads};
pub use self_attention::{HeadFeatures, SelfAttentionContext, SelfAttentionWeights, self_attention};
pub use tokmerge_kernels::{
    Activation, Bipartite, HeadAggregation, Heads, Isa, IsaError, Precision, Similarity, UnknownPrecision,
    cosines, peak,
};
pub use turns::{Turns, turn};
