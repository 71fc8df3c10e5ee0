//! Pareto fronts: what nothing beats in both cost and quality.

/// Which way a cost is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Operations, milliseconds.
    Less,
    /// Images per second.
    More,
}

/// Indices of the `(cost, quality)` that nothing beats: whatever costs no more is worse. The cheapest comes first, and every
/// further one is dearer and better. Of equal points the first counts; one that is not finite never does.
#[must_use]
pub fn pareto_front(points: &[(f64, f64)], better: Better) -> Vec<usize> {
    let cost = |index: usize| match better {
        Better::Less => points[index].0,
        Better::More => -points[index].0,
    };
    let is_finite = |&index: &usize| points[index].0.is_finite() && points[index].1.is_finite();
    let mut order: Vec<usize> = (0..points.len()).filter(is_finite).collect();
    order.sort_by(|&a, &b| cost(a).total_cmp(&cost(b)).then(points[b].1.total_cmp(&points[a].1)));
    let mut best = f64::NEG_INFINITY;
    order.retain(|&index| {
        let is_better = points[index].1 > best;
        best = best.max(points[index].1);
        is_better
    });
    order
}

#[cfg(test)]
mod tests {
    use super::{Better, pareto_front};

    const POINTS: [(f64, f64); 6] =
        [(1.0, 80.0), (0.5, 70.0), (0.7, 69.0), (0.7, 75.0), (1.2, 80.0), (0.5, 70.0)];

    #[test]
    fn what_is_dearer_and_no_better_is_not_on_the_front() {
        assert_eq!(pareto_front(&POINTS, Better::Less), [1, 3, 0]);
        // As speeds: 1.2 has the best quality at the highest speed.
        assert_eq!(pareto_front(&POINTS, Better::More), [4]);
        assert_eq!(pareto_front(&[(3.0, 70.0), (2.0, 80.0), (2.5, 60.0)], Better::More), [0, 1]);
    }

    #[test]
    fn what_is_not_finite_is_never_on_it() {
        let points = [(f64::NAN, 99.0), (1.0, f64::NAN), (2.0, 50.0), (f64::NEG_INFINITY, 90.0)];
        assert_eq!(pareto_front(&points, Better::Less), [2]);
        assert!(pareto_front(&[], Better::More).is_empty());
    }
}
