//! Clusters by density peaks among nearest neighbours (DPC-KNN; Du et al., 2016).

use super::clusters::{Clusters, Distances};
use crate::methods::matching::by_falling_score;

/// Neighbours that say how dense a point lies, itself included, as in the published code.
const NEIGHBOURS: usize = 5;

/// So many clusters: around the points that lie dense and far from denser ones, in that order.
pub(super) fn density_peaks(distances: &Distances, clusters: usize) -> Clusters {
    let points = distances.points();
    let density: Vec<f64> = (0..points).map(|point| log_density(distances, point)).collect();
    let score = |point: usize| {
        // The square of a distance has half the logarithm.
        let far = to_denser(distances, &density, point) / distances.channels() as f64;
        (density[point] + far.ln() / 2.0) as f32
    };
    let scores: Vec<f32> = (0..points).map(score).collect();
    let centres: Vec<usize> =
        by_falling_score(&scores, 0).into_iter().take(clusters).map(|point| point as usize).collect();
    Clusters { of: distances.nearest(&centres), centres }
}

/// The logarithm of a point's density, which itself is too small for a number where tokens are long.
fn log_density(distances: &Distances, point: usize) -> f64 {
    let mut squared = distances.from(point).to_vec();
    squared.sort_by(f32::total_cmp);
    squared.truncate(NEIGHBOURS);
    let sum: f64 = squared.iter().map(|squared| f64::from(*squared)).sum();
    -sum / (squared.len() * distances.channels()) as f64
}

/// The squared distance of a point to the nearest that lies denser; the greatest of all where there is none.
fn to_denser(distances: &Distances, density: &[f64], point: usize) -> f64 {
    let denser = distances.from(point).iter().zip(density).filter(|(_, other)| **other > density[point]);
    let nearest = denser.map(|(squared, _)| *squared).min_by(f32::total_cmp);
    let greatest = || {
        let all = (0..distances.points()).flat_map(|point| distances.from(point));
        all.fold(0.0, |greatest: f32, squared| greatest.max(*squared))
    };
    f64::from(nearest.unwrap_or_else(greatest))
}
