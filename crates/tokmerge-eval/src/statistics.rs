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

/// Repetitions of one measurement, such as runs with several seeds, as a sample of all that there could be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Repeated {
    /// How many.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Estimated standard deviation (divided by one less than their number); `None` of a single one.
    pub deviation: Option<f64>,
}

impl Repeated {
    /// Of at least one value; `None` if there is none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        let mean = (count > 0).then(|| values.iter().sum::<f64>() / count as f64)?;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (count > 1).then(|| (squares / (count - 1) as f64).sqrt());
        Some(Self { count, mean, deviation })
    }

    /// The 95 % interval of the mean, by Student's distribution; `None` of a single value.
    #[must_use]
    pub fn interval(&self) -> Option<(f64, f64)> {
        let half = student(self.count - 1) * self.deviation? / (self.count as f64).sqrt();
        Some((self.mean - half, self.mean + half))
    }
}

/// The 97.5 % quantile of Student's distribution: from a table for few degrees of freedom, for more by its expansion around
/// the normal one (Abramowitz and Stegun, 26.7.5), which is exact to 2e-4 from there on.
fn student(freedom: usize) -> f64 {
    const FEW: [f64; 10] = [12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281];
    if let Some(quantile) = freedom.checked_sub(1).and_then(|at| FEW.get(at)) {
        return *quantile;
    }
    let (z, n) = (Z, freedom as f64);
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / n + second / n.powi(2) + third / n.powi(3)
}

/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_964;

/// The 95 % Wilson interval of a proportion, in percent.
#[must_use]
pub fn wilson(hits: usize, trials: usize) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 100.0);
    }
    let (n, p) = (trials as f64, hits as f64 / trials as f64);
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 100.0 / (1.0 + Z * Z / n);
    (((centre - half) * scale).max(0.0), ((centre + half) * scale).min(100.0))
}

#[cfg(test)]
mod tests {
    use super::{Moments, Repeated, Spread, student, wilson};

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
    fn repeated_runs_are_a_sample() {
        let runs = Repeated::of(&[78.0, 79.0, 83.0]).unwrap();
        assert_eq!((runs.count, runs.mean), (3, 80.0));
        // Squares 4, 1 and 9 over two degrees of freedom.
        assert!((runs.deviation.unwrap() - 7.0_f64.sqrt()).abs() < 1e-12);
        let (low, high) = runs.interval().unwrap();
        let half = 4.3027 * (7.0_f64 / 3.0).sqrt();
        assert!((low - (80.0 - half)).abs() < 1e-9 && (high - (80.0 + half)).abs() < 1e-9);
        let alone = Repeated::of(&[5.0]).unwrap();
        assert_eq!((alone.mean, alone.deviation, alone.interval()), (5.0, None, None));
        assert_eq!(Repeated::of(&[]), None);
    }

    #[test]
    fn quantiles_of_student_are_those_of_tables() {
        for (freedom, quantile) in
            [(1, 12.706), (4, 2.776), (11, 2.201), (20, 2.086), (30, 2.042), (120, 1.980)]
        {
            assert!((student(freedom) - quantile).abs() < 6e-4, "{freedom}: {}", student(freedom));
        }
    }

    #[test]
    fn wilson_interval_of_known_cases() {
        let (low, high) = wilson(99, 100);
        assert!((low - 94.55).abs() < 0.02 && (high - 99.82).abs() < 0.02, "{low} {high}");
        assert_eq!(wilson(0, 0), (0.0, 100.0));
        assert!(wilson(10, 10).1 > 99.999 && wilson(10, 10).0 < 75.0);
    }
}
