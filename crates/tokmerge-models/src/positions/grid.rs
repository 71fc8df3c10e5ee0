//! The positions of patches that form a grid.

use std::sync::Arc;

/// The positions `[0, y, x]` of the patches of `grids` (rows, columns), item by item and row by row, after `prefix` rows
/// per item that stand nowhere.
#[must_use]
pub(crate) fn grid_positions(prefix: usize, grids: &[(usize, usize)]) -> Arc<[[f32; 3]]> {
    let mut positions = Vec::with_capacity(grids.iter().map(|(rows, columns)| prefix + rows * columns).sum());
    for &(rows, columns) in grids {
        positions.resize(positions.len() + prefix, [0.0; 3]);
        for y in 0..rows {
            positions.extend((0..columns).map(|x| [0.0, y as f32, x as f32]));
        }
    }
    positions.into()
}

#[cfg(test)]
mod tests {
    use super::grid_positions;

    #[test]
    fn patches_are_counted_row_by_row_after_the_prefix_of_their_item() {
        let positions = grid_positions(1, &[(1, 2), (2, 1)]);
        let expected = [[0.0; 3], [0.0; 3], [0.0, 0.0, 1.0], [0.0; 3], [0.0; 3], [0.0, 1.0, 0.0]];
        assert_eq!(positions[..], expected);
    }
}
