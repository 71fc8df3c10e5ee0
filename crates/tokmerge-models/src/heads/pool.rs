//! One vector of the tokens of an item.

use burn::tensor::{Tensor, s};
use std::sync::Arc;
use tokmerge_merge::{DROPPED, Layout, Prefix, Tokens};
use tokmerge_nn::Norm;
use tokmerge_ops::{gather_rows, merge_rows};

/// `norm(x)`, or `x` where the model has no such norm.
pub(crate) fn normalised(x: Tensor<2>, norm: Option<&Norm>) -> Tensor<2> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}

/// `x: [B, C]` with rows of length 1.
pub(crate) fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().powi_scalar(2).sum_dim(1).sqrt().clamp_min(1e-12);
    x / length
}

/// One prefix token of every item: `[B, C]`.
pub(crate) fn prefix_rows(tokens: &Tokens, index: usize) -> Tensor<2> {
    match &tokens.layout {
        Layout::Uniform { items, len } => {
            let [_, channels] = tokens.x.dims();
            let x = tokens.x.clone().reshape([*items, *len, channels]);
            x.slice(s![.., index..=index, ..]).reshape([*items, channels])
        }
        Layout::Ragged { offsets } => {
            let rows: Vec<i32> =
                offsets[..offsets.len() - 1].iter().map(|row| (row + index) as i32).collect();
            tokens.x.clone().select(0, Tensor::from_data(rows.as_slice(), &tokens.device()))
        }
    }
}

/// The mean of every item's patch tokens, each weighted by its size: `[B, C]`.
pub(crate) fn average(tokens: &Tokens) -> Tensor<2> {
    mean_from(tokens, |item| tokens.prefix.of(item))
}

/// The mean of every item's tokens from one on, each weighted by its size: `[B, C]`; from 0 of all, prefix included.
pub(crate) fn average_from(tokens: &Tokens, first: usize) -> Tensor<2> {
    mean_from(tokens, |_| first)
}

/// The mean of every item's tokens from some place on.
fn mean_from(tokens: &Tokens, first: impl Fn(usize) -> usize) -> Tensor<2> {
    let items = tokens.layout.items();
    let mut item_of = vec![DROPPED; tokens.layout.rows()];
    for item in 0..items {
        let range = tokens.layout.range(item);
        item_of[range.start + first(item)..range.end].fill(item as u32);
    }
    merge_rows(tokens.x.clone(), &tokens.sizes(), &Arc::from(item_of), items)
}

/// The patch tokens of every item alone.
pub(crate) fn without_prefix(tokens: Tokens) -> Tokens {
    if tokens.prefix == Prefix::Same(0) {
        return tokens;
    }
    let kept = |item: usize| {
        let range = tokens.layout.range(item);
        (range.start + tokens.prefix.of(item)).min(range.end)..range.end
    };
    let ranges: Vec<_> = (0..tokens.layout.items()).map(kept).collect();
    let rows: Arc<[u32]> = ranges.iter().cloned().flatten().map(|row| row as u32).collect();
    let lens: Vec<usize> = ranges.iter().map(ExactSizeIterator::len).collect();
    let size = tokens.size.map(|size| rows.iter().map(|&row| size[row as usize]).collect());
    let positions = tokens.positions.map(|positions| positions.select(&rows));
    let x = gather_rows(tokens.x, &rows);
    Tokens {
        x,
        layout: Layout::from_lens(&lens),
        prefix: Prefix::Same(0),
        size,
        positions,
        waiting: tokens.waiting,
        policy: None,
        standing: None,
        carried: None,
    }
}

/// The largest of every item's patch rows in each column: `rows: [T, K]`, a row per token → `[B, K]`.
///
/// # Panics
/// When an item has no patches.
pub(crate) fn largest(rows: Tensor<2>, tokens: &Tokens) -> Tensor<2> {
    let [_, width] = rows.dims();
    if let (Layout::Uniform { items, len }, Some(prefix)) = (&tokens.layout, tokens.prefix.common()) {
        let rows = rows.reshape([*items, *len, width]).slice(s![.., prefix.., ..]);
        return rows.max_dim(1).reshape([*items, width]);
    }
    let largest = |item: usize| {
        let range = tokens.layout.range(item);
        rows.clone().slice(s![range.start + tokens.prefix.of(item)..range.end, ..]).max_dim(0)
    };
    Tensor::cat((0..tokens.layout.items()).map(largest).collect(), 0)
}
