//! How exponential a curve is.

use serde::Serialize;

/// `y = y0 * factor^x`, fitted by least squares to the logarithms of `y`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ExponentialFit {
    /// `y` at `x + 1` over `y` at `x`: below 1 where the curve falls.
    pub factor: f64,
    /// Part of the variance of the logarithms that the fit explains: 1 for an exponential curve.
    pub r_squared: f64,
}

/// Fits points `(x, y)`. Points whose `y` is not above zero have no logarithm and are left out; `None` if fewer
/// than three are left, since a line through two always fits, or if all have the same `x`.
#[must_use]
pub fn exponential_fit(points: &[(f64, f64)]) -> Option<ExponentialFit> {
    let points: Vec<(f64, f64)> =
        points.iter().filter(|(_, y)| *y > 0.0 && y.is_finite()).map(|(x, y)| (*x, y.ln())).collect();
    if points.len() < 3 {
        return None;
    }
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        points.iter().map(|(x, y)| of(x - mean_x, y - mean_y)).sum()
    };
    let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
    if xx == 0.0 {
        return None;
    }
    // A curve that is flat is explained.
    let r_squared = if yy == 0.0 { 1.0 } else { xy * xy / (xx * yy) };
    Some(ExponentialFit { factor: (xy / xx).exp(), r_squared })
}

#[cfg(test)]
mod tests {
    use super::exponential_fit;

    #[test]
    fn exponential_curves_are_recognised() {
        let curve: Vec<(f64, f64)> = (1..12).map(|x| (f64::from(x), 0.3 * 0.7f64.powi(x))).collect();
        let fit = exponential_fit(&curve).unwrap();
        assert!((fit.factor - 0.7).abs() < 1e-12 && (fit.r_squared - 1.0).abs() < 1e-12, "{fit:?}");
        let flat = exponential_fit(&[(1.0, 2.0), (2.0, 2.0), (3.0, 2.0)]).unwrap();
        assert_eq!((flat.factor, flat.r_squared), (1.0, 1.0));
        let zigzag = exponential_fit(&[(1.0, 1.0), (2.0, 9.0), (3.0, 1.0)]).unwrap();
        assert!(zigzag.r_squared < 1e-12, "{zigzag:?}");
    }

    #[test]
    fn too_few_points_are_no_curve() {
        assert_eq!(exponential_fit(&[(1.0, 1.0), (2.0, 2.0), (3.0, 0.0), (4.0, f64::NAN)]), None);
        assert_eq!(exponential_fit(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
    }
}
