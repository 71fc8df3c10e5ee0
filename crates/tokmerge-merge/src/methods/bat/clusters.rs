//! Clusters by density and distance (DPC-KNN; Du, Ding and Jia, 2016).

use crate::methods::matching::Cosines;
use crate::methods::matching::by_falling_score;

/// Nearest neighbours that say how dense it is around a token.
const NEIGHBOURS: usize = 5;

/// For every token the centre that it joins, a centre itself; nothing where there are no clusters.
pub(super) fn assigned(cosines: &Cosines, clusters: usize) -> Vec<usize> {
    let mut centres: Vec<usize> = by_falling_score(&scores(cosines), 0)
        .into_iter()
        .take(clusters)
        .map(|token| token as usize)
        .collect();
    centres.sort_unstable();
    let Some(first) = centres.first().copied() else { return Vec::new() };
    let joined = |token: usize| {
        if centres.contains(&token) {
            return token;
        }
        let row = cosines.row(token);
        centres
            .iter()
            .copied()
            .fold(first, |best, centre| if row[centre] > row[best] { centre } else { best })
    };
    (0..cosines.tokens()).map(joined).collect()
}

/// Density times distance to the nearest that is denser; of the densest, that to the farthest.
fn scores(cosines: &Cosines) -> Vec<f32> {
    let densities: Vec<f32> = (0..cosines.tokens()).map(|token| density(cosines, token)).collect();
    let denser = |other: usize, token: usize| {
        densities[other] > densities[token] || (densities[other] == densities[token] && other < token)
    };
    let score = |token: usize| {
        let others = cosines.row(token).iter().enumerate().filter(|(other, _)| *other != token);
        let mut squares = others.map(|(other, cosine)| (denser(other, token), square(*cosine)));
        let nearest =
            squares.clone().filter(|(denser, _)| *denser).map(|(_, square)| square).reduce(f32::min);
        let farthest = || squares.by_ref().map(|(_, square)| square).fold(0.0, f32::max);
        densities[token] * nearest.unwrap_or_else(farthest).sqrt()
    };
    (0..cosines.tokens()).map(score).collect()
}

/// The square of the distance of two points on a sphere.
fn square(cosine: f64) -> f32 {
    (2.0 - 2.0 * cosine).max(0.0) as f32
}

fn density(cosines: &Cosines, token: usize) -> f32 {
    let others = cosines.row(token).iter().enumerate().filter(|(other, _)| *other != token);
    let mut squares: Vec<f32> = others.map(|(_, cosine)| square(*cosine)).collect();
    squares.sort_by(f32::total_cmp);
    squares.truncate(NEIGHBOURS);
    (-squares.iter().sum::<f32>() / squares.len().max(1) as f32).exp()
}
