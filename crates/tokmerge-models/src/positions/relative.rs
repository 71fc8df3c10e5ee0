//! Which entry of a table belongs to which pair of tokens.

use super::{Resampling, resample};

/// Rows of BEiT's table: a row for every distance between two patches of `grid` (rows, columns), and three more for the
/// class token.
#[must_use]
pub(crate) fn relative_positions((rows, columns): (usize, usize)) -> usize {
    (2 * rows - 1) * (2 * columns - 1) + 3
}

/// BEiT's table `[R, H]` for another grid, as transformers makes it: of a grid that is not square its rows are taken for
/// columns, so that it is resampled even where the grids are the same. `None` when the table is of another grid than `from`.
pub(crate) fn resample_relative_positions(
    table: &[f32],
    from: (usize, usize),
    to: (usize, usize),
) -> Option<Vec<f32>> {
    let rows = relative_positions(from);
    if table.is_empty() || !table.len().is_multiple_of(rows) {
        return None;
    }
    let heads = table.len() / rows;
    let (distances, of_class) = table.split_at((rows - 3) * heads);
    let (from, to) = ((2 * from.1 - 1, 2 * from.0 - 1), (2 * to.0 - 1, 2 * to.1 - 1));
    Some([resample(Resampling::Bilinear, distances, from, to, heads).as_slice(), of_class].concat())
}

/// The row of BEiT's table that every pair of tokens has, `[N, N]`, queries by keys: the class token, then patches that
/// form `grid`.
///
/// Distances are counted row by row, the key furthest down and right of its query first. The last three rows are from
/// class to patch, from patch to class, and from class to class.
#[must_use]
pub(crate) fn relative_position_index(grid @ (rows, columns): (usize, usize)) -> Vec<u32> {
    let tokens = 1 + rows * columns;
    let end = relative_positions(grid);
    let row_of = |query: usize, key: usize| match (query.checked_sub(1), key.checked_sub(1)) {
        (None, Some(_)) => end - 3,
        (Some(_), None) => end - 2,
        (None, None) => end - 1,
        (Some(query), Some(key)) => {
            let down = query / columns + rows - 1 - key / columns;
            let across = query % columns + columns - 1 - key % columns;
            down * (2 * columns - 1) + across
        }
    };
    (0..tokens * tokens).map(|pair| row_of(pair / tokens, pair % tokens) as u32).collect()
}

#[cfg(test)]
#[expect(clippy::type_complexity, reason = "tables of numbers")]
mod tests {
    use super::{relative_position_index, relative_positions, resample_relative_positions};

    include!("../../fixtures/relative.in");

    #[test]
    fn every_pair_has_the_row_that_timm_gives_it() {
        for (grid, expected) in EXPECTED {
            assert_eq!(relative_position_index(*grid), *expected, "{grid:?}");
        }
    }

    #[test]
    fn every_row_of_the_table_belongs_to_a_pair() {
        for grid in [(3, 5), (4, 4), (1, 1)] {
            let mut rows = relative_position_index(grid);
            rows.sort_unstable();
            rows.dedup();
            assert_eq!(rows, (0..relative_positions(grid) as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_table_for_another_grid_is_that_of_transformers() {
        const HEADS: usize = 2;
        for (from, to, expected) in BIASES {
            let values = relative_positions(*from) * HEADS;
            let table: Vec<f32> = (0..values).map(|value| (value as f32).sin()).collect();
            let table = resample_relative_positions(&table, *from, *to).expect("of this grid");
            let index = relative_position_index(*to);
            for head in 0..HEADS {
                for (pair, row) in index.iter().enumerate() {
                    let (actual, expected) =
                        (table[*row as usize * HEADS + head], expected[head * index.len() + pair]);
                    assert!((actual - expected).abs() < 1e-5, "{from:?} {to:?}: {actual} for {expected}");
                }
            }
        }
        assert_eq!(resample_relative_positions(&[0.0; 7], (2, 2), (3, 3)), None);
    }
}
