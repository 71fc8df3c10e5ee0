//! How well two lists of numbers agree.

/// Why two lists have no correlation.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CorrelationError {
    /// Not pairs.
    #[error(
        "a correlation needs pairs, and there are {first} and {second} values; give lists of the same length"
    )]
    Lengths {
        /// Values of the first list.
        first: usize,
        /// Values of the second list.
        second: usize,
    },
    /// Too few pairs.
    #[error("a correlation needs at least 2 pairs, and there are {0}; give more")]
    TooFew(usize),
    /// A value that has no rank or no distance from the others.
    #[error("a correlation needs numbers, and value {index} is {value}; leave such pairs out of both lists")]
    NotFinite {
        /// Where, from 0, in the list that has it.
        index: usize,
        /// NaN or an infinity.
        value: f64,
    },
    /// Nothing to go along with.
    #[error("a correlation needs values that differ, and all of a list are {0}; give other values")]
    Constant(f64),
}

/// Pearson's correlation, from -1 to 1.
///
/// # Errors
/// When the lists are of different lengths or of fewer than two values, a value is NaN or infinite, or all values of a list
/// are the same.
pub fn pearson(first: &[f64], second: &[f64]) -> Result<f64, CorrelationError> {
    check(first, second)?;
    let (first, second) = (centred(first), centred(second));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let correlation = dot(&first, &second) / (dot(&first, &first).sqrt() * dot(&second, &second).sqrt());
    Ok(correlation.clamp(-1.0, 1.0))
}

/// Spearman's correlation, from -1 to 1: Pearson's of the ranks. Equal values have the mean of their ranks.
///
/// # Errors
/// As [`pearson`].
pub fn spearman(first: &[f64], second: &[f64]) -> Result<f64, CorrelationError> {
    check(first, second)?;
    pearson(&ranks(first), &ranks(second))
}

fn check(first: &[f64], second: &[f64]) -> Result<(), CorrelationError> {
    if first.len() != second.len() {
        return Err(CorrelationError::Lengths { first: first.len(), second: second.len() });
    }
    if first.len() < 2 {
        return Err(CorrelationError::TooFew(first.len()));
    }
    for list in [first, second] {
        if let Some((index, value)) = list.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(CorrelationError::NotFinite { index, value: *value });
        }
        if list.iter().all(|value| *value == list[0]) {
            return Err(CorrelationError::Constant(list[0]));
        }
    }
    Ok(())
}

/// The distances from the mean, scaled so that the largest is 1: their squares neither overflow nor vanish.
fn centred(values: &[f64]) -> Vec<f64> {
    let scaled = |values: Vec<f64>| {
        let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        values.into_iter().map(|value| value / largest).collect::<Vec<f64>>()
    };
    let values = scaled(values.to_vec());
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    scaled(values.into_iter().map(|value| value - mean).collect())
}

/// Ranks from 1, the smallest value first.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let (mut ranks, mut below) = (vec![0.0; values.len()], 0);
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        for item in tied {
            ranks[*item] = below as f64 + (tied.len() as f64 + 1.0) / 2.0;
        }
        below += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::{CorrelationError, pearson, ranks, spearman};

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} and {expected}");
    }

    #[test]
    fn equal_values_share_the_mean_of_their_ranks() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, -0.0, 0.0, 3.0]), [5.0, 3.0, 5.0, 1.5, 1.5, 5.0]);
    }

    #[test]
    fn known_correlations() {
        // By hand: distances (-1.5, -0.5, 0.5, 1.5) and (-1, -2, 2, 1).
        close(pearson(&[1.0, 2.0, 3.0, 4.0], &[2.0, 1.0, 5.0, 4.0]).unwrap(), 5.0 / 50_f64.sqrt());
        close(spearman(&[1.0, 2.0, 3.0, 4.0], &[2.0, 1.0, 500.0, 4.0]).unwrap(), 0.6);
        // Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4.
        close(spearman(&[0.0, 7.0, 7.0, 9.0], &[1.0, 2.0, 3.0, 4.0]).unwrap(), 4.5 / 22.5_f64.sqrt());
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]).unwrap(), -1.0);
    }

    #[test]
    fn scale_and_offset_do_not_matter() {
        let (a, b) = ([1.0, 2.0, 4.0], [1.0, 5.0, 6.0]);
        let expected = pearson(&a, &b).unwrap();
        for scale in [1e-320, 1e-200, 1e300] {
            let found = pearson(&a.map(|a| a * scale), &b).unwrap();
            assert!((found - expected).abs() < 1e-3, "{scale}: {found}");
        }
        close(pearson(&a.map(|a| 1000.0 - a), &b).unwrap(), -expected);
    }

    #[test]
    fn what_has_no_correlation_is_refused() {
        assert_eq!(pearson(&[1.0], &[1.0, 2.0]), Err(CorrelationError::Lengths { first: 1, second: 2 }));
        assert_eq!(spearman(&[1.0], &[1.0]), Err(CorrelationError::TooFew(1)));
        assert_eq!(spearman(&[1.0, 2.0], &[3.0, 3.0]), Err(CorrelationError::Constant(3.0)));
        let error = spearman(&[1.0, 2.0], &[3.0, f64::NAN]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a correlation needs numbers, and value 1 is NaN; leave such pairs out of both lists"
        );
        assert!(matches!(
            pearson(&[1.0, f64::INFINITY], &[1.0, 2.0]),
            Err(CorrelationError::NotFinite { .. })
        ));
    }
}
