//! What becomes of patches that are not kept, in training: one more token of their item (SP-ViT).

use crate::Tokens;
use crate::methods::patches::{Patches, means};
use burn::tensor::{Tensor, TensorData};
use std::sync::Arc;
use tokmerge_ops::{DROPPED, Layout, gather_rows};

/// Patches of every item that are dropped, `dropped: [P, 1]`, 1 or 0.
fn of_items(dropped: &Tensor<2>, layout: &Layout) -> Vec<Vec<usize>> {
    let dropped: Vec<f32> = dropped.clone().without_autodiff().into_data().iter::<f32>().collect();
    let of = |item| layout.range(item).filter(|patch| dropped[*patch] > 0.5).collect();
    (0..layout.items()).map(of).collect()
}

/// 1 for a patch that is the only one of its item to be dropped, `dropped: [P, 1]` → `[P, 1]`. It is kept: no package is made
/// of one.
pub(super) fn alone(dropped: &Tensor<2>, layout: &Layout) -> Tensor<2> {
    let mut kept = vec![0.0; layout.rows()];
    for patches in of_items(dropped, layout) {
        if let [patch] = patches[..] {
            kept[patch] = 1.0;
        }
    }
    Tensor::from_data(TensorData::new(kept, [layout.rows(), 1]), &dropped.device())
}

/// The same tokens, and at the end of every item of which some are dropped, `dropped: [P, 1]`, their mean, which counts.
pub(super) fn appended(tokens: Tokens, patches: &Patches, dropped: Tensor<2>) -> Tokens {
    let (total, own) = (tokens.layout.rows(), tokens.sizes());
    let (mut rows, mut sizes, mut lens) = (Vec::new(), Vec::new(), Vec::new());
    let mut package = vec![DROPPED; total];
    for (item, dropped) in of_items(&dropped, &patches.layout).iter().enumerate() {
        let range = tokens.layout.range(item);
        rows.extend(range.clone().map(|row| row as u32));
        sizes.extend(&own[range.clone()]);
        lens.push(range.len() + dropped.len().min(1));
        if let [first, ..] = dropped[..] {
            rows.push((total + first) as u32);
            sizes.push(dropped.len() as f32);
            dropped.iter().for_each(|patch| package[patches.rows[*patch] as usize] = first as u32);
        }
    }
    if rows.len() == total {
        return tokens;
    }
    let (rows, count) = (Arc::<[u32]>::from(rows), patches.rows.len());
    // Of every patch the mean of what its item drops: one of them is taken.
    let means = means(patches.rows_of(tokens.x.clone()), Some(dropped), &patches.layout);
    let counting = Tensor::ones([count, 1], &tokens.device());
    let with = |own, more| gather_rows(Tensor::cat(vec![own, more], 0), &rows);
    let placed = tokens.positions.map(|own_places| {
        let means = own_places.mean(&package, &own, count);
        own_places.then(&means).select(&rows)
    });
    Tokens {
        x: with(tokens.x, means),
        layout: Layout::from_lens(&lens),
        size: Some(sizes.into()),
        positions: placed,
        policy: tokens.policy.map(|policy| with(policy, counting)),
        ..tokens
    }
}
