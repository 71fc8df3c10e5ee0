//! A bias for every pair of tokens by where they stand to each other, from a table (BEiT).

use crate::positions::{relative_position_index, relative_positions};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use tokmerge_nn::zeros_parameter;
use tokmerge_ops::PairBias;

/// One table for all blocks.
#[derive(Module, Debug)]
pub struct RelativePositionBias {
    /// `[(2 h - 1) (2 w - 1) + 3, H]` for a grid of `h` rows and `w` columns: distances row by row, then class token to
    /// patch, patch to class token, and class token to itself.
    pub relative_position_bias_table: Param<Tensor<2>>,
    #[module(skip)]
    grid: (usize, usize),
}

impl RelativePositionBias {
    /// For patches of a grid of `(rows, columns)` after a class token, adding nothing until weights are loaded.
    #[must_use]
    pub fn new(grid: (usize, usize), heads: usize, device: &Device) -> Self {
        let table = zeros_parameter([relative_positions(grid), heads], device);
        Self { relative_position_bias_table: table, grid }
    }

    /// What is added to the logits.
    #[must_use]
    pub fn forward(&self) -> PairBias {
        relative_position_bias(self.relative_position_bias_table.val(), self.grid)
    }
}

/// What `table: [(2 h - 1) (2 w - 1) + 3, H]` adds to the logits of a class token and the patches of a grid of `(h, w)`.
///
/// # Panics
/// When the table is of another grid.
pub(crate) fn relative_position_bias(table: Tensor<2>, grid: (usize, usize)) -> PairBias {
    let ([rows, heads], tokens) = (table.dims(), 1 + grid.0 * grid.1);
    assert_eq!(
        rows,
        relative_positions(grid),
        "the table of relative positions is of another grid than {grid:?}"
    );
    let indices: Vec<i32> = relative_position_index(grid).iter().map(|&row| row as i32).collect();
    let indices = TensorData::new(indices, [tokens * tokens]);
    let indices = Tensor::<1, Int>::from_data(indices, &table.device());
    let values = table.select(0, indices).reshape([tokens, tokens, heads]);
    PairBias::Shared(values.permute([2, 0, 1]))
}

#[cfg(test)]
mod tests {
    use super::{PairBias, relative_position_bias};
    use crate::positions::relative_positions;
    use burn::tensor::{Device, Tensor, TensorData};

    #[test]
    fn pairs_at_the_same_distance_share_a_row_of_the_table() {
        let (grid, heads) = ((2, 3), 2);
        let rows = relative_positions(grid);
        assert_eq!(rows, 3 * 5 + 3);
        let values: Vec<f32> = (0..rows * heads).map(|i| i as f32).collect();
        let table = Tensor::<2>::from_data(TensorData::new(values, [rows, heads]), &Device::flex());
        let PairBias::Shared(bias) = relative_position_bias(table, grid) else { panic!("one of all items") };
        assert_eq!(bias.dims(), [heads, 7, 7]);
        let bias: Vec<f32> = bias.into_data().iter::<f32>().collect();
        let row = |query: usize, key: usize| bias[query * 7 + key] as usize / heads;
        // Tokens: class, (0,0), (0,1), (0,2), (1,0), (1,1), (1,2). A patch stands to itself as (0, 0), the middle.
        assert_eq!((1..7).map(|token| row(token, token)).collect::<Vec<_>>(), [7; 6]);
        assert_eq!((row(1, 2), row(2, 3), row(5, 6)), (6, 6, 6), "one to the left of its key");
        assert_eq!((row(4, 1), row(1, 4)), (12, 2), "one below its key, and one above");
        assert_eq!((row(0, 3), row(3, 0), row(0, 0)), (rows - 3, rows - 2, rows - 1));
        assert_eq!(bias[49 + 7 + 1], (7 * heads + 1) as f32, "the second head has its own column");
    }
}
