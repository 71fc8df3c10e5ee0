//! A class token in front of patches, and positions for both.

use burn::tensor::{Tensor, s};
use tokmerge_merge::{Layout, Tokens};
use tokmerge_ops::assemble;

/// `patches: [B * N, C]`, `class: [1, 1, C]`, `positions: [1, 1 + N, C]`, the class token's first → tokens with a prefix of
/// one.
pub(crate) fn with_class_token(patches: Tensor<2>, class: Tensor<3>, positions: Tensor<3>) -> Tokens {
    let [rows, _] = patches.dims();
    let [_, len, _] = positions.dims();
    let positions: Tensor<2> = positions.squeeze_dim(0);
    let class = class.squeeze_dim::<2>(0) + positions.clone().slice(s![..1, ..]);
    let x = assemble(patches, class, positions.slice(s![1.., ..]));
    Tokens::new(x, Layout::uniform(rows / (len - 1).max(1), len), 1)
}
