//! What training adds to the loss (IdleViT's token cut): attention is to part the chosen from the idle.

use crate::{DROPPED, MergePlan};
use burn::tensor::{Tensor, TensorData};

/// What the tokens that a block works on attend to, if all could be attended to, in the chosen and in the idle: the mean over tokens
/// of `inter² + (intra - chosen)²`, and over items. `intra` and `inter` are how much a chosen token attends to the chosen and to the
/// idle, the mean of all heads, and 0 of an idle one; `chosen` is 1 and 0. `maps: [H, N, N]` of every item → `[1]`.
///
/// # Panics
/// When there are more or fewer maps than items, or none.
pub(super) fn cut(maps: &[Tensor<3>], plan: &MergePlan) -> Tensor<1> {
    let items = plan.input().items();
    assert_eq!(maps.len(), items, "a map for every item");
    let of_item = |(item, map): (usize, &Tensor<3>)| {
        let [_, tokens, _] = map.dims();
        let dst = &plan.dst()[plan.input().range(item)];
        let chosen: Vec<f32> = dst.iter().map(|dst| f32::from(*dst != DROPPED)).collect();
        let chosen = Tensor::<2>::from_data(TensorData::new(chosen, [tokens, 1]), &map.device());
        let map: Tensor<2> = map.clone().mean_dim(0).squeeze_dim(0);
        let intra = map.clone().matmul(chosen.clone()) * chosen.clone();
        let inter = map.matmul(-chosen.clone() + 1.0) * chosen.clone();
        (inter.powi_scalar(2) + (intra - chosen).powi_scalar(2)).sum() / tokens.max(1) as f64
    };
    let sum = maps.iter().enumerate().map(of_item).reduce(|sum, more| sum + more);
    sum.expect("a batch has items") / items as f64
}
