//! Small statistics.

use serde::Serialize;

/// The smallest, the middle and the largest of several measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Median; the mean of the two in the middle of an even number.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one value; all NaN if there is none.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.as_slice() {
            [] => Self { min: f64::NAN, median: f64::NAN, max: f64::NAN },
            [min, .., max] if sorted.len().is_multiple_of(2) => {
                Self { min: *min, median: (sorted[middle - 1] + sorted[middle]) / 2.0, max: *max }
            }
            [first, ..] => Self { min: *first, median: sorted[middle], max: sorted[sorted.len() - 1] },
        }
    }
}

/// Mean, deviation and range of a count over the images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Moments {
    /// Mean.
    pub mean: f64,
    /// Standard deviation of these values (not an estimate for others: divided by their number).
    pub deviation: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

impl Moments {
    /// Of at least one value; all zero if there is none.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        let (min, max) = (values.iter().copied().reduce(f64::min), values.iter().copied().reduce(f64::max));
        Self { mean, deviation: variance.sqrt(), min: min.unwrap_or(0.0), max: max.unwrap_or(0.0) }
    }
}

/// The 95 % Wilson interval of a proportion, in percent.
#[must_use]
pub fn wilson(hits: usize, trials: usize) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 100.0);
    }
    const Z: f64 = 1.959_964;
    let (n, p) = (trials as f64, hits as f64 / trials as f64);
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 100.0 / (1.0 + Z * Z / n);
    (((centre - half) * scale).max(0.0), ((centre + half) * scale).min(100.0))
}

#[cfg(test)]
mod tests {
    use super::{Moments, Spread, wilson};

    #[test]
    fn median_of_odd_and_even_counts() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]), Spread { min: 1.0, median: 2.5, max: 4.0 });
        assert_eq!(Spread::of(&[5.0]), Spread { min: 5.0, median: 5.0, max: 5.0 });
        assert!(Spread::of(&[]).median.is_nan());
    }

    #[test]
    fn moments_of_few_values() {
        let moments = Moments::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!(moments, Moments { mean: 5.0, deviation: 2.0, min: 2.0, max: 9.0 });
        assert_eq!(Moments::of(&[]), Moments { mean: 0.0, deviation: 0.0, min: 0.0, max: 0.0 });
    }

    #[test]
    fn wilson_interval_of_known_cases() {
        let (low, high) = wilson(99, 100);
        assert!((low - 94.55).abs() < 0.02 && (high - 99.82).abs() < 0.02, "{low} {high}");
        assert_eq!(wilson(0, 0), (0.0, 100.0));
        assert!(wilson(10, 10).1 > 99.999 && wilson(10, 10).0 < 75.0);
    }
}
