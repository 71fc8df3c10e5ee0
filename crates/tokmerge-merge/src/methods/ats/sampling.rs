//! Inverse transform sampling at points that are always the same.

use super::AtsForm;

/// Tokens that are left at least, prefix included, of an item that has as many (published code).
const LEAST: usize = 8;
/// What is added to the sum of scores (Haurum et al., 2023).
const EPSILON: f32 = 1e-6;

/// The patches that are kept of those with these scores, in their new order; `None` if all are, where they are. `prefix`
/// tokens beside them are kept anyway.
pub(super) fn sampled(form: AtsForm, scores: &[f32], samples: usize, prefix: usize) -> Option<Vec<usize>> {
    let points = samples - 1;
    let kept = match form {
        AtsForm::Official => {
            let order = by_rising_score(scores);
            let cdf = stretched(scores, &order)?;
            let picked = picked(&cdf, official_points(&cdf, points));
            let ranks = filled_up(picked, order.len(), LEAST.saturating_sub(prefix));
            ranks.into_iter().map(|rank| order[rank]).collect()
        }
        AtsForm::TokenReduction => {
            let sum = scores.iter().sum::<f32>() + EPSILON;
            let cdf = cumulative(scores.iter().map(|score| score / sum));
            if cdf.last().is_none_or(|last| *last == 0.0) {
                return None;
            }
            picked(&cdf, odd_multiples(samples))
        }
    };
    (kept.len() < scores.len()).then_some(kept)
}

fn by_rising_score(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    order
}

fn cumulative(parts: impl Iterator<Item = f32>) -> Vec<f32> {
    let sums = parts.scan(0.0, |sum, part| {
        *sum += part;
        Some(*sum)
    });
    sums.collect()
}

/// The cumulative distribution from exactly 0 to 1; `None` where there is nothing between.
fn stretched(scores: &[f32], order: &[usize]) -> Option<Vec<f32>> {
    let sum: f32 = scores.iter().sum();
    let cdf = cumulative(order.iter().map(|patch| scores[*patch] / sum));
    let (first, last) = (*cdf.first()?, *cdf.last()?);
    (last > first).then(|| cdf.iter().map(|entry| (entry - first) / (last - first)).collect())
}

/// Evenly from the first entry above 0 to 1.
fn official_points(cdf: &[f32], count: usize) -> impl Iterator<Item = f32> {
    let start = cdf.iter().copied().find(|entry| *entry > 0.0).unwrap_or(1.0);
    let steps = count.saturating_sub(1).max(1) as f32;
    (0..count).map(move |step| start + (1.0 - start) * step as f32 / steps)
}

/// Of `samples` the odd multiples of half the inverse of their number, without the last.
fn odd_multiples(samples: usize) -> impl Iterator<Item = f32> {
    let samples_of = samples as f64;
    (0..samples - 1).map(move |step| (0.5 / samples_of + step as f64 / samples_of) as f32)
}

/// The entries that are nearest to the points, ascending, each once.
fn picked(cdf: &[f32], points: impl Iterator<Item = f32>) -> Vec<usize> {
    let mut picked: Vec<usize> = points.map(|point| nearest(cdf, point)).collect();
    picked.dedup();
    picked
}

/// The entry nearest to a point among ascending ones, the first of equals.
pub(super) fn nearest(cdf: &[f32], point: f32) -> usize {
    let first_from = |value: f32| cdf.partition_point(|entry| *entry < value);
    let above = first_from(point);
    let Some(below) = above.checked_sub(1) else { return 0 };
    let below = first_from(cdf[below]);
    if cdf.get(above).is_some_and(|entry| entry - point < point - cdf[below]) { above } else { below }
}

/// The picked ranks of `count`, and so many of the highest others that there are `least`.
fn filled_up(mut picked: Vec<usize>, count: usize, least: usize) -> Vec<usize> {
    let missing = least.min(count).saturating_sub(picked.len());
    let others: Vec<usize> =
        (0..count).rev().filter(|rank| picked.binary_search(rank).is_err()).take(missing).collect();
    picked.extend(others);
    picked.sort_unstable();
    picked
}
