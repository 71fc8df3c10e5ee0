//! By how much the position of a token turns its channels.

use super::{AxisOrder, Frequencies};
use std::f64::consts::TAU;
use tokmerge_ops::turn;

/// The angles of all pairs of channels as a function of the position: `row * y + column * x + origin`, in radians.
///
/// Every kind of frequencies is such a function. `W` pairs: those of one head, or of all heads in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Turns {
    /// Radians per row of patches, `[W]`.
    row: Vec<f32>,
    /// Radians per column of patches, `[W]`.
    column: Vec<f32>,
    /// Radians of the first patch, `[W]`.
    origin: Vec<f32>,
}

/// What an axis of a grid is measured in: `scale * position + origin`.
#[derive(Clone, Copy)]
struct Axis {
    scale: f64,
    origin: f64,
}

impl Turns {
    /// Of heads of `head_dim` channels on a `grid` of rows and columns. `learned`: mixed frequencies of a block, `[2, W]`,
    /// radians per step along the first axis, then along the second; others have none.
    pub(super) fn of(
        frequencies: &Frequencies,
        head_dim: usize,
        grid: (usize, usize),
        learned: &[f32],
    ) -> Self {
        let count = head_dim / 4;
        let powers = |base: f64| (0..count).map(move |i| base.powf(-(i as f64) / count as f64));
        match *frequencies {
            Frequencies::Axial { temperature, order, offset, reference } => {
                let axis = |side: usize, reference: Option<usize>| {
                    let scale = reference.map_or(1.0, |reference| reference as f64 / side as f64);
                    Axis { scale, origin: offset * scale }
                };
                let rows = axis(grid.0, reference.map(|(rows, _)| rows));
                let columns = axis(grid.1, reference.map(|(_, columns)| columns));
                Self::axial(&powers(temperature).collect::<Vec<_>>(), order, rows, columns)
            }
            Frequencies::Normalised { temperature } => {
                let axis = |side: usize| Axis { scale: 2.0 / side as f64, origin: 1.0 / side as f64 - 1.0 };
                let bands: Vec<f64> = powers(temperature).map(|power| TAU * power).collect();
                Self::axial(&bands, AxisOrder::RowsFirst, axis(grid.0), axis(grid.1))
            }
            Frequencies::Mixed { order } => {
                let (first, second) = learned.split_at(learned.len() / 2);
                let (row, column) = match order {
                    AxisOrder::RowsFirst => (first, second),
                    AxisOrder::ColumnsFirst => (second, first),
                };
                Self { row: row.to_vec(), column: column.to_vec(), origin: vec![0.0; row.len()] }
            }
        }
    }

    /// Half of the pairs by one axis, half by the other, both with the same bands.
    fn axial(bands: &[f64], order: AxisOrder, rows: Axis, columns: Axis) -> Self {
        let of = |factor: f64| bands.iter().map(move |band| (band * factor) as f32);
        let still = || bands.iter().map(|_| 0.0);
        let (row, column) = (of(rows.scale), of(columns.scale));
        let (first, second) = (of(rows.origin), of(columns.origin));
        match order {
            AxisOrder::RowsFirst => Self {
                row: row.chain(still()).collect(),
                column: still().chain(column).collect(),
                origin: first.chain(second).collect(),
            },
            AxisOrder::ColumnsFirst => Self {
                row: still().chain(row).collect(),
                column: column.chain(still()).collect(),
                origin: second.chain(first).collect(),
            },
        }
    }

    /// Pairs that turn (`W`).
    pub(super) fn width(&self) -> usize {
        self.row.len()
    }

    /// Sines and cosines at some positions `[t, y, x]`, one after the other, `[positions, W]`.
    ///
    /// # Panics
    /// When `sines` or `cosines` have another length.
    pub(super) fn fill(&self, positions: &[[f32; 3]], sines: &mut [f32], cosines: &mut [f32]) {
        let turns = tokmerge_ops::Turns { row: &self.row, column: &self.column, origin: &self.origin };
        turn(turns, positions, sines, cosines);
    }
}

#[cfg(test)]
mod tests {
    use super::super::grid_positions;
    use super::{AxisOrder, Frequencies, Turns};
    use std::path::Path;
    use tokmerge_checkpoint::Checkpoint;

    /// Made by `fixtures/rotary.py`.
    struct Golden(Checkpoint);

    impl Golden {
        fn open() -> Self {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/rotary.safetensors");
            Self(Checkpoint::open(path).expect("a fixture"))
        }

        fn grid(&self, case: &str) -> (usize, usize) {
            let grid = self.values(&format!("{case}.grid"));
            (grid[0] as usize, grid[1] as usize)
        }

        fn values(&self, name: &str) -> Vec<f32> {
            let tensor = self.0.get(name).unwrap_or_else(|| panic!("no {name}"));
            tensor.to_f32().expect("floats").into_owned()
        }

        /// Positions `[0, y, x]` between patches.
        fn between(&self) -> Vec<[f32; 3]> {
            self.values("between").chunks_exact(2).map(|place| [0.0, place[0], place[1]]).collect()
        }

        /// Checks the tables of block `layer` of `layers`, whose golden values are `[L, H, positions, D / 2]`.
        fn check(&self, name: &str, (layer, layers): (usize, usize), turns: &Turns, places: &[[f32; 3]]) {
            let count = places.len() * turns.width();
            let (mut sines, mut cosines) = (vec![0.0; count], vec![0.0; count]);
            turns.fill(places, &mut sines, &mut cosines);
            for (kind, actual) in [("cos", cosines), ("sin", sines)] {
                let expected = self.values(&format!("{name}.{kind}"));
                assert_eq!(expected.len(), layers * count, "{name}.{kind}");
                let pairs = self.pairs(name);
                let heads = turns.width() / pairs;
                for (at, actual) in actual.iter().enumerate() {
                    let (place, head, pair) = (at / turns.width(), at / pairs % heads, at % pairs);
                    let expected = expected[((layer * heads + head) * places.len() + place) * pairs + pair];
                    let error = (actual - expected).abs();
                    assert!(error < 2e-6, "{name}.{kind}[{at}]: {actual} instead of {expected}");
                }
            }
        }

        /// Pairs of a head.
        fn pairs(&self, name: &str) -> usize {
            *self.0.get(&format!("{name}.cos")).expect("cosines").shape.last().expect("a table")
        }
    }

    #[test]
    fn patches_and_merged_tokens_turn_as_in_timm_and_transformers() {
        let axial = |temperature, order, offset, reference| Frequencies::Axial {
            temperature,
            order,
            offset,
            reference,
        };
        let cases = [
            ("eva02", 12, axial(1e4, AxisOrder::RowsFirst, 0.0, Some((16, 16)))),
            ("rope_axial", 16, axial(100.0, AxisOrder::ColumnsFirst, 0.0, None)),
            ("pe_core", 12, axial(1e4, AxisOrder::ColumnsFirst, 1.0, Some((14, 14)))),
            ("dinov3", 16, Frequencies::Normalised { temperature: 100.0 }),
            ("hf_dinov3", 16, Frequencies::Normalised { temperature: 100.0 }),
        ];
        let golden = Golden::open();
        for (name, head_dim, frequencies) in cases {
            let grid = golden.grid(name);
            let turns = Turns::of(&frequencies, head_dim, grid, &[]);
            golden.check(name, (0, 1), &turns, &grid_positions(0, &[grid]));
            if name != "hf_dinov3" {
                golden.check(&format!("{name}.between"), (0, 1), &turns, &golden.between());
            }
        }
    }

    #[test]
    fn heads_of_every_block_turn_by_their_own_learned_frequencies() {
        let golden = Golden::open();
        let grid = golden.grid("rope_mixed");
        // [2, L, H, D / 2] of two blocks.
        let frequencies = golden.values("rope_mixed.freqs");
        let of_block: Vec<&[f32]> = frequencies.chunks_exact(frequencies.len() / 4).collect();
        for layer in 0..2 {
            let of_layer = [of_block[layer], of_block[2 + layer]].concat();
            let mixed = Frequencies::Mixed { order: AxisOrder::ColumnsFirst };
            let turns = Turns::of(&mixed, 12, grid, &of_layer);
            golden.check("rope_mixed", (layer, 2), &turns, &grid_positions(0, &[grid]));
            golden.check("rope_mixed.between", (layer, 2), &turns, &golden.between());
        }
    }
}
