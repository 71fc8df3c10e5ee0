//! Images to the rows of a patch embedding, and its outputs to tokens. Copies and additions only: one body for
//! every instruction set.

use crate::lengths::length_of;
use crate::threads::{Shared, for_each};

/// Cuts images into patches: `images: [B, C, H, W]` → `out: [B * (H / patch) * (W / patch), C * patch * patch]`,
/// patches row by row, each in the order of a convolution's weights.
///
/// # Panics
/// When height or width is no multiple of `patch`, or a length does not match.
pub fn patchify(images: &[f32], [channels, height, width]: [usize; 3], patch: usize, out: &mut [f32]) {
    let image = length_of([channels, height, width]);
    assert!(
        patch > 0 && height.is_multiple_of(patch) && width.is_multiple_of(patch),
        "patchify: {height}x{width} cannot be cut into patches of {patch}"
    );
    assert!(
        match image {
            None => false,
            Some(0) => images.is_empty(),
            Some(image) => images.len().is_multiple_of(image),
        },
        "patchify: {} values are not images of {channels}x{height}x{width}",
        images.len()
    );
    assert_eq!(out.len(), images.len(), "patchify: as many values out as in");
    let Some(image) = image.filter(|_| !images.is_empty()) else {
        return;
    };
    let (rows, columns) = (height / patch, width / patch);
    let strip = columns * channels * patch * patch;
    let shared = Shared::new(out);
    for_each(images.len() / image * rows, |task| {
        let (item, row) = (task / rows, task % rows);
        // SAFETY: every task has its own strip of patches.
        let out = unsafe { shared.range(task * strip..(task + 1) * strip) };
        for channel in 0..channels {
            for line in 0..patch {
                let from = item * image + (channel * height + row * patch + line) * width;
                for (column, pixels) in images[from..from + width].chunks_exact(patch).enumerate() {
                    let to = ((column * channels + channel) * patch + line) * patch;
                    out[to..to + patch].copy_from_slice(pixels);
                }
            }
        }
    });
}

/// Puts prefix tokens before each item's patches and adds positions to these: `patches: [B * N, C]`,
/// `prefix: [P, C]`, `positions: [N, C]` → `out: [B * (P + N), C]`.
///
/// # Panics
/// When lengths do not match.
pub fn assemble(patches: &[f32], prefix: &[f32], positions: &[f32], out: &mut [f32]) {
    let item = positions.len();
    assert!(
        if item == 0 { patches.is_empty() } else { patches.len().is_multiple_of(item) },
        "assemble: {} values are not items of {item}",
        patches.len()
    );
    let items = patches.len().checked_div(item).unwrap_or(0);
    let whole = prefix.len() + item;
    assert_eq!(out.len(), items * whole, "assemble: prefix and patches of {items} items");
    let shared = Shared::new(out);
    for_each(items, |index| {
        // SAFETY: every task has its own item.
        let out = unsafe { shared.range(index * whole..(index + 1) * whole) };
        let (front, rest) = out.split_at_mut(prefix.len());
        front.copy_from_slice(prefix);
        let patches = &patches[index * item..(index + 1) * item];
        for ((out, patch), position) in rest.iter_mut().zip(patches).zip(positions) {
            *out = patch + position;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::{assemble, patchify};

    #[test]
    fn patches_are_in_the_order_of_a_convolution() {
        // Two images of 2 channels, 4x6 pixels, patches of 2.
        let images: Vec<f32> = (0..2 * 2 * 4 * 6).map(|value| value as f32).collect();
        let mut out = vec![-1.0; images.len()];
        patchify(&images, [2, 4, 6], 2, &mut out);
        for (row, patch) in out.chunks(8).enumerate() {
            let (item, y, x) = (row / 6, row % 6 / 3, row % 3);
            for (at, value) in patch.iter().enumerate() {
                let (channel, dy, dx) = (at / 4, at % 4 / 2, at % 2);
                let expected = ((item * 2 + channel) * 4 + y * 2 + dy) * 6 + x * 2 + dx;
                assert_eq!(*value, expected as f32);
            }
        }
        patchify(&[], [3, 4, 4], 2, &mut []);
    }

    #[test]
    fn prefix_goes_in_front_and_positions_onto_patches() {
        let mut out = vec![0.0; 2 * 3];
        assemble(&[1.0, 2.0, 3.0, 4.0], &[9.0], &[10.0, 20.0], &mut out);
        assert_eq!(out, [9.0, 11.0, 22.0, 9.0, 13.0, 24.0]);
        assemble(&[], &[], &[], &mut []);
    }
}
