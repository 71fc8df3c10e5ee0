//! Images to patches, and patches to tokens.

use crate::backend::{Body, body};
use crate::pool;
use crate::pool::{contiguous, values};
use burn::backend::TensorMetadata;
use burn::tensor::{Tensor, s};
use burn_flex::{Flex, FlexTensor};
use tokmerge_kernels as kernels;

/// Cuts images into patches of `(h, w)` pixels: `[B, channels, H, W]` → `[B * N, channels * h * w]`, patches row by row,
/// each in the order of a convolution's weights. What is left of a side beyond whole patches is dropped, as by a
/// convolution.
///
/// # Panics
/// When a side of the patch is 0.
pub fn patchify(images: Tensor<4>, patch: (usize, usize)) -> Tensor<2> {
    let [_, _, height, width] = images.dims();
    let (rows, columns) = (height / patch.0, width / patch.1);
    let images = if rows * patch.0 == height && columns * patch.1 == width {
        images
    } else {
        images.slice(s![.., .., ..rows * patch.0, ..columns * patch.1])
    };
    // Pixels that are trained take the body that has a gradient.
    if images.is_tracked() {
        return composed_patchify(images, patch);
    }
    let strategy = images.gradient_checkpointing_strategy();
    let patches = untracked_patchify(images.without_autodiff(), patch);
    match strategy {
        Some(strategy) => patches.autodiff().with_gradient_checkpointing_strategy(strategy),
        None => patches,
    }
}

fn untracked_patchify(images: Tensor<4>, patch: (usize, usize)) -> Tensor<2> {
    let [items, channels, height, width] = images.dims();
    match (body(&images), images.clone().try_into_primitive::<Flex>()) {
        (Body::Kernels, Ok(primitive)) if patch.0 == patch.1 => {
            drop(images);
            let side = patch.0;
            let primitive = contiguous(primitive);
            let mut out = pool::take(items * channels * height * width);
            // The images came from outside: whoever makes the next ones makes their memory too, and the pool would fill.
            kernels::patchify(values(&primitive), [channels, height, width], side, &mut out);
            let shape = [items * (height / side) * (width / side), channels * side * side];
            Tensor::from_primitive::<Flex>(pool::tensor(out, shape))
        }
        _ => composed_patchify(images, patch),
    }
}

/// Puts prefix tokens before each item's patches and adds positions to these: `patches: [B * N, C]`,
/// `prefix: [P, C]`, `positions: [N, C]` → `[B * (P + N), C]`.
pub fn assemble(patches: Tensor<2>, prefix: Tensor<2>, positions: Tensor<2>) -> Tensor<2> {
    let primitives = || {
        let primitive = |tensor: &Tensor<2>| tensor.clone().try_into_primitive::<Flex>().ok();
        Some((primitive(&patches)?, primitive(&prefix)?, primitive(&positions)?))
    };
    match (body(&patches), primitives()) {
        (Body::Kernels, Some((rows, prefix, positions))) => {
            drop(patches);
            on_flex(rows, &prefix, &positions)
        }
        _ => composed_assemble(patches, prefix, positions),
    }
}

fn on_flex(patches: FlexTensor, prefix: &FlexTensor, positions: &FlexTensor) -> Tensor<2> {
    let (patches, prefix, positions) =
        (contiguous(patches), contiguous(prefix.clone()), contiguous(positions.clone()));
    let ([rows, channels], [per_item, _]) = (patches.shape().dims(), positions.shape().dims());
    let items = rows / per_item.max(1);
    let rows = items * (prefix.shape()[0] + per_item);
    let mut out = pool::take(rows * channels);
    kernels::assemble(values(&patches), values(&prefix), values(&positions), &mut out);
    pool::give(patches);
    Tensor::from_primitive::<Flex>(pool::tensor(out, [rows, channels]))
}

fn composed_patchify(images: Tensor<4>, (h, w): (usize, usize)) -> Tensor<2> {
    let [items, channels, height, width] = images.dims();
    let (rows, columns) = (height / h, width / w);
    let patches: Tensor<6> = images.reshape([items, channels, rows, h, columns, w]);
    patches.permute([0, 2, 4, 1, 3, 5]).reshape([items * rows * columns, channels * h * w])
}

fn composed_assemble(patches: Tensor<2>, prefix: Tensor<2>, positions: Tensor<2>) -> Tensor<2> {
    let ([rows, channels], [front, _], [per_item, _]) = (patches.dims(), prefix.dims(), positions.dims());
    let items = rows / per_item.max(1);
    let patches = patches.reshape([items, per_item, channels]) + positions.unsqueeze::<3>();
    if front == 0 {
        return patches.reshape([rows, channels]);
    }
    let prefix = prefix.unsqueeze::<3>().expand([items, front, channels]);
    Tensor::cat(vec![prefix, patches], 1).reshape([items * (front + per_item), channels])
}

#[cfg(test)]
mod tests {
    use super::{assemble, composed_assemble, composed_patchify, patchify};
    use crate::testing::{assert_close, devices, gradients_match, normal};
    use burn::tensor::s;

    #[test]
    fn kernels_equal_composed() {
        let device = devices().plain;
        let images = normal([2, 3, 8, 12], 1, &device);
        assert_close(patchify(images.clone(), (4, 4)), composed_patchify(images.clone(), (4, 4)), 0.0);
        let odd = normal([2, 3, 9, 15], 1, &device);
        let whole = odd.clone().slice(s![.., .., ..8, ..12]);
        assert_close(patchify(odd, (4, 4)), composed_patchify(whole, (4, 4)), 0.0);
        assert_eq!(patchify(images, (2, 6)).dims(), [2 * 4 * 2, 3 * 2 * 6]);
        for front in [0, 1, 5] {
            let [patches, prefix, positions] =
                [normal([2 * 6, 7], 1, &device), normal([front, 7], 2, &device), normal([6, 7], 3, &device)];
            assert_close(
                assemble(patches.clone(), prefix.clone(), positions.clone()),
                composed_assemble(patches, prefix, positions),
                0.0,
            );
        }
    }

    #[test]
    fn tracked_tensors_keep_their_gradients() {
        let device = devices().tracked;
        let inputs = [normal([2 * 6, 7], 1, &device), normal([2, 7], 2, &device), normal([6, 7], 3, &device)];
        gradients_match(
            inputs.clone(),
            |[patches, prefix, positions]| assemble(patches, prefix, positions),
            |[patches, prefix, positions]| composed_assemble(patches, prefix, positions),
            0.0,
        );
    }
}
