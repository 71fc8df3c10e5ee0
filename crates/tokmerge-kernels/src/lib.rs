//! Framework-free CPU kernels for Vision Transformers with token merging: slices in, slices out.
//!
//! Rows are tokens of all items of a batch, one after the other: `x: [T, C]`, row-major and contiguous.
//! Every function is written once, generic over vectors of AVX-512, AVX2 or plain Rust; [`Isa`] says
//! which. All SIMD `unsafe` of the project lives here. Work is divided among the threads of the rayon
//! pool in which a function is called. Outside of any pool the caller itself takes part, with helpers of
//! this process: together as many as the global pool has threads. Working memory is kept by all of them.
//!
//! # What can be relied on
//! - Functions are safe: lengths are checked, and a wrong one panics with the values.
//! - A row of an output depends on its own row of the input only (in attention and matching, on its own
//!   item): results are the same bit for bit whatever the number of rows, items and threads.
//! - NaN and infinities are numbers like any other: they spread as far as the rule above allows. At
//!   [`Precision::Int8`] they spread over their row (weights: their column) as NaN.

#![expect(clippy::needless_range_loop, reason = "register tiles read best indexed by row and half")]

#[cfg(target_endian = "big")]
compile_error!("bf16 pairs are laid out for little-endian machines");

mod activation;
mod adamw;
mod attention;
mod attention_backward;
mod backward;
mod convolution;
mod embed;
mod isa;
mod lengths;
mod linear;
mod matching;
mod math;
mod merge;
mod metric;
mod mlp;
mod norm;
mod pack;
mod panels;
mod parallel;
mod peak;
mod product;
mod quantise;
mod scratch;
mod self_attention;
mod simd;
mod softmax;
mod team;
mod tile;
mod turns;

pub use activation::{Activation, activation_backward};
pub use adamw::{AdamwStep, adamw};
pub use attention::{Heads, attention, cross_attention};
pub use attention_backward::attention_backward;
pub use backward::{linear_backward, normalise_backward};
pub use convolution::{MapOrder, Maps, Window, convolution, fold, unfold};
pub use embed::{assemble, patchify};
pub use isa::{Isa, IsaError};
pub use linear::{Epilogue, linear, linear_keeping, linear_residual, norm_linear};
pub use matching::{Bipartite, Similarity, best_match};
pub use merge::{DROPPED, gather_rows, merge_rows, merge_rows_backward};
pub use metric::{HeadAggregation, Part, head_mean, head_metric};
pub use mlp::{Mlp, mlp};
pub use norm::{Norm, NormKind, normalise};
pub use pack::{PackedLinear, Precision, UnknownPrecision};
pub use peak::peak;
pub use self_attention::{Metric, SelfAttention, self_attention};
pub use team::on_helper_start;
pub use turns::{Turns, turn};
