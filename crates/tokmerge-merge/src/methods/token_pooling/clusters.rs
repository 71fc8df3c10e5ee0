//! K-Medoids and K-Means, by the distances between points alone.

use super::MedoidUpdate;
use crate::methods::matching::clusters::fill_empty;
use burn::tensor::Tensor;

/// Squared distances between the points of an item.
#[derive(Debug)]
pub(super) struct Distances {
    points: usize,
    channels: usize,
    squared: Vec<f32>,
}

/// Points in clusters.
#[derive(Debug, PartialEq)]
pub(super) struct Clusters {
    /// Of every cluster the member that stands for it.
    pub(super) centres: Vec<usize>,
    /// Of every point its cluster.
    pub(super) of: Vec<usize>,
}

impl Distances {
    /// Between the rows of `x: [N, C]`. What is no number is infinitely far away.
    pub(super) fn of(x: Tensor<2>) -> Self {
        let [points, channels] = x.dims();
        let products = x.clone().matmul(x.transpose()).into_data();
        let mut squared: Vec<f32> = products.iter::<f32>().collect();
        let norms: Vec<f32> = (0..points).map(|point| squared[point * points + point]).collect();
        for (at, value) in squared.iter_mut().enumerate() {
            let (one, other) = (at / points, at % points);
            *value = match norms[one] + norms[other] - 2.0 * *value {
                _ if one == other => 0.0,
                distance if distance.is_nan() => f32::INFINITY,
                distance => distance.max(0.0),
            };
        }
        Self { points, channels, squared }
    }

    pub(super) fn points(&self) -> usize {
        self.points
    }

    /// Channels of the points.
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Squared, from one point to all.
    pub(super) fn from(&self, point: usize) -> &[f32] {
        &self.squared[point * self.points..(point + 1) * self.points]
    }

    /// Of every point the cluster of the nearest centre, the first among equals; every centre is in its own.
    pub(super) fn nearest(&self, centres: &[usize]) -> Vec<usize> {
        let mut of: Vec<usize> = (0..self.points)
            .map(|point| {
                let from = self.from(point);
                let nearer = |a: &usize, b: &usize| from[centres[*a]].total_cmp(&from[centres[*b]]);
                (0..centres.len()).min_by(nearer).unwrap_or(0)
            })
            .collect();
        for (cluster, &centre) in centres.iter().enumerate() {
            of[centre] = cluster;
        }
        of
    }
}

/// From these medoids on, all different, in so many rounds.
pub(super) fn medoids(
    distances: &Distances,
    weights: &[f32],
    mut centres: Vec<usize>,
    update: MedoidUpdate,
    rounds: usize,
) -> Clusters {
    let mut of = distances.nearest(&centres);
    let fixed = (update == MedoidUpdate::Published).then(|| spreads(distances, weights));
    for _ in 0..rounds {
        let losses = fixed.clone().unwrap_or_else(|| losses(distances, weights, &of));
        let mut next = centres.clone();
        for (point, &cluster) in of.iter().enumerate() {
            let held = next[cluster];
            if losses[point] < losses[held] || (losses[point] == losses[held] && point < held) {
                next[cluster] = point;
            }
        }
        if next == centres {
            break;
        }
        centres = next;
        of = distances.nearest(&centres);
    }
    Clusters { centres, of }
}

/// Of every point its weight times the sum of its distances to all.
fn spreads(distances: &Distances, weights: &[f32]) -> Vec<f64> {
    let sum = |point| distances.from(point).iter().map(|squared| f64::from(squared.sqrt())).sum::<f64>();
    weights.iter().enumerate().map(|(point, weight)| f64::from(*weight) * sum(point)).collect()
}

/// Of every point what it would cost its cluster to have it as the medoid: the weighted squared distances of the members.
fn losses(distances: &Distances, weights: &[f32], of: &[usize]) -> Vec<f64> {
    let loss = |point: usize| {
        let members = (0..of.len()).filter(|other| of[*other] == of[point]);
        let from = distances.from(point);
        members.map(|other| f64::from(weights[other]) * f64::from(from[other])).sum()
    };
    (0..of.len()).map(loss).collect()
}

/// From these points on, all different, in so many rounds. The first member stands for a cluster.
pub(super) fn means(distances: &Distances, weights: &[f32], seeds: Vec<usize>, rounds: usize) -> Clusters {
    let clusters = seeds.len();
    let mut of = distances.nearest(&seeds);
    for _ in 0..rounds {
        let (mut next, likeness) = nearest_means(distances, weights, &of, clusters);
        fill_empty(&mut next, &likeness, clusters);
        if next == of {
            break;
        }
        of = next;
    }
    let mut centres = vec![usize::MAX; clusters];
    for (point, &cluster) in of.iter().enumerate().rev() {
        centres[cluster] = point;
    }
    Clusters { centres, of }
}

/// Of every point the cluster with the nearest mean, the first among equals, and its squared distance to that, negated. A
/// mean is known by its members: from any point it is as far as these are on average, less what they are from each other.
fn nearest_means(
    distances: &Distances,
    weights: &[f32],
    of: &[usize],
    clusters: usize,
) -> (Vec<usize>, Vec<f32>) {
    let mut totals = vec![0.0_f64; clusters];
    of.iter().zip(weights).for_each(|(cluster, weight)| totals[*cluster] += f64::from(*weight));
    let shares: Vec<f64> =
        of.iter().zip(weights).map(|(cluster, weight)| f64::from(*weight) / totals[*cluster]).collect();
    let to_members = |point: usize| {
        let mut sums = vec![0.0_f64; clusters];
        for ((other, share), squared) in of.iter().zip(&shares).zip(distances.from(point)) {
            sums[*other] += share * f64::from(*squared);
        }
        sums
    };
    let mut within = vec![0.0_f64; clusters];
    let all: Vec<Vec<f64>> = (0..of.len()).map(to_members).collect();
    for ((cluster, share), sums) in of.iter().zip(&shares).zip(&all) {
        within[*cluster] += share * sums[*cluster] / 2.0;
    }
    let nearest = |sums: &Vec<f64>| {
        let far = |cluster: usize| match sums[cluster] - within[cluster] {
            distance if distance.is_nan() => f64::INFINITY,
            distance => distance,
        };
        let nearest = (0..clusters).min_by(|a, b| far(*a).total_cmp(&far(*b))).unwrap_or(0);
        (nearest, -far(nearest) as f32)
    };
    all.iter().map(nearest).unzip()
}
