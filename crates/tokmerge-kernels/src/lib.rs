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

mod adamw;
mod attention;
mod convolution;
mod embed;
mod isa;
mod lengths;
mod linear;
mod math;
mod merging;
mod peak;
mod simd;
mod threads;

pub use adamw::{AdamwStep, adamw};
pub use attention::backward::attention_backward;
pub use attention::fused::{Metric, SelfAttention, self_attention};
pub use attention::metric::{HeadAggregation, Part, head_mean, head_metric};
pub use attention::pairs::{PairAttention, PairGradients, Sight, pair_attention, pair_attention_backward};
pub use attention::rotation::{Angles, Pairs, Rotation, rotate};
pub use attention::turns::{Turns, turn};
pub use attention::{Heads, PairTable, attention, cross_attention, paired_attention};
pub use convolution::winograd::{PackedWinograd, convolution_3x3};
pub use convolution::{MapOrder, Maps, Window, convolution, fold, unfold};
pub use embed::{assemble, patchify};
pub use isa::{Isa, IsaError};
pub use linear::activation::{Activation, activation_backward};
pub use linear::backward::{linear_backward, normalise_backward};
pub use linear::mlp::{Gating, Mlp, mlp};
pub use linear::norm::{Norm, NormKind, normalise, normalise_heads};
pub use linear::pack::PackedLinear;
pub use linear::precision::{Precision, UnknownPrecision};
pub use linear::{Epilogue, linear, linear_keeping, linear_residual, norm_linear};
pub use merging::cosines::cosines;
pub use merging::matching::{Bipartite, Similarity, best_match};
pub use merging::rows::{DROPPED, gather_rows, merge_rows, merge_rows_backward};
pub use peak::peak;
pub use threads::team::on_helper_start;
