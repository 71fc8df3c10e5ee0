//! How alike any two rows are, in double precision.

use crate::isa::Isa;
use crate::simd::{Job, Simd, dispatch};

/// Rows and columns of a register block.
const HEIGHT: usize = 4;
const WIDTH: usize = 16;

/// The cosine of any two of `rows: [N, D]`, `[N, N]`: 0 where one has no length, and NaN where one is no number. Products are
/// rounded, then added in the order of the columns, so that the result is the same bit for bit on every CPU.
///
/// # Panics
/// When `dim` is 0 or does not divide the rows.
#[must_use]
pub fn cosines(rows: &[f32], dim: usize) -> Vec<f64> {
    cosines_with(Isa::current(), rows, dim)
}

fn cosines_with(isa: Isa, rows: &[f32], dim: usize) -> Vec<f64> {
    assert!(dim > 0 && rows.len().is_multiple_of(dim), "cosines: {} values are no rows of {dim}", rows.len());
    let tokens = rows.len() / dim;
    let padded = tokens.next_multiple_of(WIDTH);
    let units = units(rows, dim, padded);
    let mut values = vec![0.0; tokens * tokens];
    dispatch(isa, Products { units: &units, padded, tokens, to: &mut values });
    for row in 1..tokens {
        for earlier in 0..row {
            values[row * tokens + earlier] = values[earlier * tokens + row];
        }
    }
    values
}

/// Rows at unit length, column by column: `[D, padded]`, zeros behind the rows.
fn units(rows: &[f32], dim: usize, padded: usize) -> Vec<f64> {
    let mut units = vec![0.0; dim * padded];
    for (token, row) in rows.chunks_exact(dim).enumerate() {
        let square: f64 = row.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
        let norm = if square == 0.0 { 1.0 } else { square.sqrt() };
        for (channel, value) in row.iter().enumerate() {
            units[channel * padded + token] = f64::from(*value) / norm;
        }
    }
    units
}

/// The blocks on and above the diagonal.
struct Products<'a> {
    units: &'a [f64],
    padded: usize,
    tokens: usize,
    to: &'a mut [f64],
}

impl Job for Products<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { units, padded, tokens, to } = self;
        let mut first = 0;
        while first < tokens {
            let mut column = first / WIDTH * WIDTH;
            while column < padded {
                let mut sums = [[0.0f64; WIDTH]; HEIGHT];
                let mut channel = 0;
                while channel < units.len() {
                    let own = &units[channel + first..][..HEIGHT];
                    let others = &units[channel + column..][..WIDTH];
                    for row in 0..HEIGHT {
                        for lane in 0..WIDTH {
                            sums[row][lane] += own[row] * others[lane];
                        }
                    }
                    channel += padded;
                }
                for row in 0..HEIGHT.min(tokens - first) {
                    let found = WIDTH.min(tokens - column);
                    to[(first + row) * tokens + column..][..found].copy_from_slice(&sums[row][..found]);
                }
                column += WIDTH;
            }
            first += HEIGHT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cosines_with;
    use crate::Isa;

    /// One pair after the other, in the same order of columns.
    fn expected(rows: &[f32], dim: usize) -> Vec<f64> {
        let unit = |row: &[f32]| {
            let square: f64 = row.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
            let norm = if square == 0.0 { 1.0 } else { square.sqrt() };
            row.iter().map(|value| f64::from(*value) / norm).collect::<Vec<f64>>()
        };
        let units: Vec<Vec<f64>> = rows.chunks_exact(dim).map(unit).collect();
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b);
        units.iter().flat_map(|a| units.iter().map(|b| product(a, b)).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for (tokens, dim) in [(0, 3), (1, 1), (3, 5), (4, 64), (16, 8), (17, 7), (50, 33)] {
            let mut rows: Vec<f32> =
                (0..tokens * dim).map(|i| ((i * 7919 % 1009) as f32 - 500.0) / 97.0).collect();
            if tokens > 2 {
                rows[dim..2 * dim].fill(0.0);
            }
            let expected = expected(&rows, dim);
            for isa in Isa::available() {
                let found = cosines_with(*isa, &rows, dim);
                assert!(
                    found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{isa}, {tokens} x {dim}"
                );
                assert_eq!(found.len(), expected.len());
            }
        }
    }

    #[test]
    fn what_is_no_number_spreads_over_its_row_and_column() {
        let found = cosines_with(Isa::current(), &[1.0, 0.0, f32::NAN, 1.0, 0.0, 2.0], 2);
        assert!([1, 3, 4, 5, 7].iter().all(|place| found[*place].is_nan()), "{found:?}");
        assert_eq!([found[0], found[2], found[6], found[8]], [1.0, 0.0, 0.0, 1.0]);
    }
}
