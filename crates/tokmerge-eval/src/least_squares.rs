//! Least squares by Cholesky's decomposition.

/// Numbers row by row.
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) values: Vec<f64>,
}

impl Matrix {
    pub(crate) fn new(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) -> Self {
        let value = &value;
        let values = (0..rows).flat_map(|i| (0..columns).map(move |j| value(i, j))).collect();
        Self { rows, columns, values }
    }

    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.columns..][..self.columns]
    }

    pub(crate) fn transposed(&self) -> Self {
        Self::new(self.columns, self.rows, |i, j| self.values[j * self.columns + i])
    }

    pub(crate) fn mean_row(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.columns];
        (0..self.rows).for_each(|i| mean.iter_mut().zip(self.row(i)).for_each(|(sum, value)| *sum += value));
        mean.iter().map(|sum| sum / self.rows.max(1) as f64).collect()
    }

    pub(crate) fn minus_row(&self, row: &[f64]) -> Self {
        Self::new(self.rows, self.columns, |i, j| self.row(i)[j] - row[j])
    }

    pub(crate) fn times(&self, other: &Self) -> Self {
        let mut values = vec![0.0; self.rows * other.columns];
        for (i, out) in values.chunks_exact_mut(other.columns.max(1)).enumerate() {
            for (&factor, row) in self.row(i).iter().zip(other.values.chunks_exact(other.columns.max(1))) {
                out.iter_mut().zip(row).for_each(|(sum, value)| *sum += factor * value);
            }
        }
        Self { rows: self.rows, columns: other.columns, values }
    }

    /// The matrix times its transpose, with `ridge` added to the diagonal. Only the lower half is filled.
    pub(crate) fn gram(&self, ridge: f64) -> Self {
        let n = self.rows;
        let mut values = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                values[i * n + j] = dot(self.row(i), self.row(j));
            }
            values[i * n + i] += ridge;
        }
        Self { rows: n, columns: n, values }
    }

    /// `X` with `self * X = right`, by Cholesky's decomposition of the lower half; nothing if that is not positive
    /// definite.
    pub(crate) fn solve(mut self, mut right: Self) -> Option<Self> {
        let (n, width) = (self.rows, right.columns);
        // Rounding leaves pivots of about this size where there should be none.
        let largest = (0..n).map(|i| self.values[i * n + i]).fold(0.0, f64::max);
        let least = largest * n as f64 * f64::EPSILON;
        for i in 0..n {
            let (above, below) = self.values.split_at_mut(i * n);
            for j in 0..i {
                let other = &above[j * n..][..=j];
                below[j] = (below[j] - dot(&below[..j], &other[..j])) / other[j];
            }
            let pivot = below[i] - dot(&below[..i], &below[..i]);
            if pivot.is_nan() || pivot <= least {
                return None;
            }
            below[i] = pivot.sqrt();
        }
        let mut eliminate = |i: usize, from: std::ops::Range<usize>, factor: &dyn Fn(usize) -> f64| {
            let mut row = right.values[i * width..][..width].to_vec();
            for j in from {
                let (factor, other) = (factor(j), &right.values[j * width..][..width]);
                row.iter_mut().zip(other).for_each(|(value, other)| *value -= factor * other);
            }
            row.iter_mut().for_each(|value| *value /= self.values[i * n + i]);
            right.values[i * width..][..width].copy_from_slice(&row);
        };
        (0..n).for_each(|i| eliminate(i, 0..i, &|j| self.values[i * n + j]));
        (0..n).rev().for_each(|i| eliminate(i, i + 1..n, &|j| self.values[j * n + i]));
        Some(right)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The weights `w` for which `gram * w = moment`, of a sum of squares `gram: [n * n]` of which the lower half is read: least
/// squares, or ridge regression where something was added to the diagonal. Nothing where that is not positive definite.
///
/// # Panics
/// When the sizes do not fit.
#[must_use]
pub fn least_squares(gram: Vec<f64>, moment: Vec<f64>) -> Option<Vec<f64>> {
    let n = moment.len();
    assert_eq!(gram.len(), n * n, "a square of the moments' number");
    let gram = Matrix { rows: n, columns: n, values: gram };
    Some(gram.solve(Matrix { rows: n, columns: 1, values: moment })?.values)
}

#[cfg(test)]
mod tests {
    use super::least_squares;

    #[test]
    fn two_unknowns_by_hand() {
        // 4a + 2b = 10 and 2a + 3b = 9: a = 1.5, b = 2. The upper half is not read.
        let found = least_squares(vec![4.0, f64::NAN, 2.0, 3.0], vec![10.0, 9.0]).unwrap();
        assert!((found[0] - 1.5).abs() < 1e-12 && (found[1] - 2.0).abs() < 1e-12, "{found:?}");
        assert_eq!(least_squares(vec![1.0, 1.0, 1.0, 1.0], vec![1.0, 1.0]), None);
    }
}
