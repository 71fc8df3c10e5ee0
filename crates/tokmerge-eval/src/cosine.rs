//! How alike two vectors are.

/// The cosine of the angle between two vectors, exactly 1 for equal ones; none beside a vector of zeros.
#[must_use]
pub fn cosine(x: &[f32], y: &[f32]) -> Option<f64> {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    // The root of a square is exact.
    let norms = (dot(x, x) * dot(y, y)).sqrt();
    (norms > 0.0).then(|| dot(x, y) / norms)
}
