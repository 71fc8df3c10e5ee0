//! Every measured method with every recheck: what a search can choose from.

use crate::{Point, Tuner};
use tokmerge_merge::Method;

/// A measured method with a recheck.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) point: Point,
    /// Index of the method among those measured.
    pub(crate) of: usize,
    /// Percent of the images on which methods that move margins as much, with as many second looks, disagree with
    /// the unmerged model: a line of all that was measured, without the luck of one.
    trend: f64,
    /// Points of accuracy that offers with as much disagreement lose on average.
    drop_trend: f64,
}

impl Offer {
    /// Percent of the images on which it is expected to disagree with the unmerged model: the worse of its own
    /// estimate and of the trend.
    pub(crate) fn doubt(&self) -> f64 {
        (100.0 - self.point.expected_agreement).max(self.trend)
    }

    /// Points of top-1 accuracy that it is expected to lose, `None` without labels: the worse of its own estimate
    /// and of the trend.
    pub(crate) fn drop(&self) -> Option<f64> {
        self.point.expected_drop.map(|own| own.max(self.drop_trend))
    }
}

/// Shares of the images that a recheck may run again.
const SHARES: [f64; 12] = [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.10, 0.13, 0.16, 0.20, 0.25];

/// All offers, with rechecks only if `recheck`.
pub(crate) fn offers(tuner: &Tuner<'_>, points: &[Point], recheck: bool) -> Vec<Offer> {
    let shares = if recheck { &SHARES[..] } else { &SHARES[..1] };
    let mut offers = Vec::new();
    let mut features = Vec::new();
    for (of, base) in points.iter().enumerate() {
        let mut gaps = base.raw.as_ref().map_or_else(Vec::new, |raw| raw.gaps.clone());
        gaps.sort_unstable_by(f32::total_cmp);
        let moved = movement(base).max(1e-12).ln();
        for &share in shares {
            let Some(point) = with_recheck(tuner, base, &gaps, share) else { continue };
            offers.push(Offer { point, of, trend: 0.0, drop_trend: 0.0 });
            features.push(describe(moved, share));
        }
    }
    let losses: Vec<f64> = offers.iter().map(|offer| 100.0 - offer.point.expected_agreement).collect();
    if let Some(trend) = Trend::of(&features, &losses) {
        for (offer, features) in offers.iter_mut().zip(&features) {
            offer.trend = trend.at(features);
        }
    }
    let known: Vec<(f64, f64)> =
        offers.iter().filter_map(|offer| Some((offer.doubt(), offer.point.expected_drop?))).collect();
    let per_doubt = drop_per_doubt(&known, points.first().map_or(0, |point| point.images));
    for offer in &mut offers {
        offer.drop_trend = per_doubt * offer.doubt();
    }
    offers
}

/// Accuracy that a changed answer costs before any label has been seen: on ViT-Ti, ToMe at r = 4 to 16 loses 0 to
/// 0.46 points per point of disagreement, 0.26 at r = 8, and ATM's four settings of the benchmarks 0 to 0.34.
const USUAL_COST: f64 = 0.25;

/// How many changed answers with labels weigh as much as [`USUAL_COST`]. All candidates change the answers of the
/// same few images, so their labels are the same luck many times over.
const USUAL_WEIGHT: f64 = 40.0;

/// Accuracy lost per disagreement: what was seen, drawn towards what is usual, the more the fewer images have
/// changed answers. Never negative: that merging corrects more than it spoils is luck of the images.
fn drop_per_doubt(known: &[(f64, f64)], images: usize) -> f64 {
    let small: Vec<(f64, f64)> =
        known.iter().copied().filter(|(doubt, _)| *doubt > 0.0 && *doubt < 2.0 * LARGE).collect();
    let doubt: f64 = small.iter().map(|(doubt, _)| doubt).sum();
    let drop: f64 = small.iter().map(|(_, drop)| drop).sum();
    if doubt == 0.0 {
        return USUAL_COST;
    }
    let changed = images as f64 * doubt / small.len() as f64 / 100.0;
    ((changed * drop / doubt + USUAL_WEIGHT * USUAL_COST) / (changed + USUAL_WEIGHT)).max(0.0)
}

/// The method with a second look at about a share of the images.
fn with_recheck(tuner: &Tuner<'_>, base: &Point, gaps: &[f32], share: f64) -> Option<Point> {
    if share == 0.0 {
        return Some(Point { raw: None, ..base.clone() });
    }
    let gap = gaps.get((share * gaps.len() as f64).round() as usize)?;
    let gap = (gap * 1e3).round() / 1e3;
    if gap <= 0.0 {
        return None;
    }
    let method = base.merge.parse::<Method>().ok()?.with_recheck(Some(gap));
    Some(tuner.rechecked(base, gap, method.to_string()))
}

/// How much merging moves the margins of an image, squared: what errors in different layers add up to.
pub(crate) fn movement(point: &Point) -> f64 {
    let changes = point.raw.as_ref().map_or(&[][..], |raw| &raw.own.change);
    let mean =
        changes.iter().map(|change| f64::from(change.abs())).sum::<f64>() / changes.len().max(1) as f64;
    mean * mean
}

const TERMS: usize = 6;

/// A quadratic in the logarithm of the movement and the root of the share.
fn describe(moved: f64, share: f64) -> [f64; TERMS] {
    let looked = share.sqrt();
    [1.0, moved, looked, moved * moved, moved * looked, looked * looked]
}

/// The logarithm of losses as a quadratic.
struct Trend([f64; TERMS]);

/// Keeps logarithms of no loss finite, in percent.
const FLOOR: f64 = 0.1;
/// Losses beyond this, in percent, say nothing about small ones.
const LARGE: f64 = 6.0;

impl Trend {
    /// Least squares over losses in percent; `None` where there are too few.
    fn of(features: &[[f64; TERMS]], losses: &[f64]) -> Option<Self> {
        let mut normal = [[0.0; TERMS + 1]; TERMS];
        let mut used = 0;
        for (x, loss) in features.iter().zip(losses).filter(|(x, loss)| **loss < LARGE && x[1] > -20.0) {
            used += 1;
            let y = (loss + FLOOR).ln();
            for (row, a) in normal.iter_mut().zip(x) {
                for (cell, b) in row.iter_mut().zip(x.iter().chain([&y])) {
                    *cell += a * b;
                }
            }
        }
        if used < 3 * TERMS {
            return None;
        }
        for (index, row) in normal.iter_mut().enumerate() {
            row[index] += 1e-6 * used as f64;
        }
        solve(normal).map(Self)
    }

    fn at(&self, features: &[f64; TERMS]) -> f64 {
        // What does not move anything loses nothing.
        if features[1] <= -20.0 {
            return 0.0;
        }
        let sum: f64 = self.0.iter().zip(features).map(|(weight, feature)| weight * feature).sum();
        (sum.exp() - FLOOR).max(0.0)
    }
}

/// Gauss's elimination with the largest pivot.
fn solve(mut rows: [[f64; TERMS + 1]; TERMS]) -> Option<[f64; TERMS]> {
    for column in 0..TERMS {
        let pivot =
            (column..TERMS).max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs()))?;
        rows.swap(column, pivot);
        let lead = rows[column];
        if lead[column].abs() < 1e-12 {
            return None;
        }
        for (_, row) in rows.iter_mut().enumerate().filter(|(index, _)| *index != column) {
            let factor = row[column] / lead[column];
            for (cell, lead) in row.iter_mut().zip(&lead) {
                *cell -= factor * lead;
            }
        }
    }
    Some(std::array::from_fn(|row| rows[row][TERMS] / rows[row][row]))
}

#[cfg(test)]
mod tests {
    use super::{FLOOR, TERMS, Trend, USUAL_COST, describe, drop_per_doubt, solve};

    #[test]
    fn a_system_with_a_known_solution() {
        let expected = [1.0, -2.0, 3.0, 0.5, 0.0, 4.0];
        let matrix =
            |row: usize, column: usize| ((row * 7 + column * 3) % 5) as f64 + f64::from(row == column) * 6.0;
        let rows = std::array::from_fn(|row| {
            std::array::from_fn(|column| match column {
                TERMS => (0..TERMS).map(|column| matrix(row, column) * expected[column]).sum(),
                column => matrix(row, column),
            })
        });
        let found = solve(rows).expect("regular");
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
        assert!(solve([[0.0; TERMS + 1]; TERMS]).is_none());
    }

    #[test]
    fn accuracy_lost_per_disagreement() {
        assert_eq!(drop_per_doubt(&[], 256), USUAL_COST);
        assert_eq!(drop_per_doubt(&[(0.0, 0.0)], 256), USUAL_COST);
        // A lucky sample of 256 images, on which merging seems to help, is believed a little.
        let lucky: Vec<(f64, f64)> = (1..=8).map(|x| (f64::from(x), -0.2 * f64::from(x))).collect();
        let believed = drop_per_doubt(&lucky, 256);
        assert!(0.1 < believed && believed < USUAL_COST, "{believed}");
        // With very many images what they say counts, and merging never pays in accuracy.
        let costly: Vec<(f64, f64)> = (1..=8).map(|x| (f64::from(x), 0.5 * f64::from(x))).collect();
        assert!((drop_per_doubt(&costly, 1_000_000) - 0.5).abs() < 1e-3);
        assert_eq!(drop_per_doubt(&lucky, 1_000_000), 0.0);
    }

    #[test]
    fn a_trend_finds_the_quadratic_behind_losses_and_evens_out_luck() {
        let truth = |moved: f64, share: f64| (0.4 * moved - 3.0 * share.sqrt()).exp();
        let (mut features, mut losses) = (Vec::new(), Vec::new());
        for step in 0..40 {
            for (index, share) in [0.0, 0.03, 0.1, 0.2].into_iter().enumerate() {
                let moved = -6.0 + 0.15 * f64::from(step);
                let luck = if (step as usize + index).is_multiple_of(2) { 0.8 } else { 1.25 };
                features.push(describe(moved, share));
                losses.push((truth(moved, share) + FLOOR) * luck - FLOOR);
            }
        }
        let trend = Trend::of(&features, &losses).expect("enough");
        for (moved, share) in [(-3.0, 0.0), (-1.0, 0.1), (-4.0, 0.05)] {
            let (found, truth) = (trend.at(&describe(moved, share)), truth(moved, share));
            assert!((found - truth).abs() < 0.1 * (truth + FLOOR), "{found} {truth}");
        }
        assert!(Trend::of(&features[..10], &losses[..10]).is_none());
    }
}
