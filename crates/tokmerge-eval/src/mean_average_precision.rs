//! How well a model ranks the files that have a class above those that have not.

/// Average precision of one class: `scores` of items, and whether each has the class. `None` where none has.
///
/// Items are taken from the highest score down, those of one score together. The precision after each score counts with the
/// part of the class's items that have it, as scikit-learn's `average_precision_score` does: nothing is interpolated.
///
/// # Panics
/// When there is not one score for each item, or one is not a number.
#[must_use]
pub fn average_precision(scores: &[f32], has_class: &[bool]) -> Option<f64> {
    assert_eq!(scores.len(), has_class.len(), "a score for each item");
    assert!(scores.iter().all(|score| !score.is_nan()), "scores are numbers");
    let positives = has_class.iter().filter(|has| **has).count();
    if positives == 0 {
        return None;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let (mut taken, mut right, mut sum) = (0_usize, 0_usize, 0.0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let more = tied.iter().filter(|item| has_class[**item]).count();
        (taken, right) = (taken + tied.len(), right + more);
        sum += more as f64 / positives as f64 * (right as f64 / taken as f64);
    }
    Some(sum)
}

/// The average precision of every class, and their mean.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanAveragePrecision {
    /// Of every class, from 0 to 1; `None` of a class that no item has.
    pub classes: Vec<Option<f64>>,
}

impl MeanAveragePrecision {
    /// Of `scores`, `[items, classes]`, of items that have the classes `labels`.
    ///
    /// # Panics
    /// When there is not a score for each item and class, or one is not a number.
    #[must_use]
    pub fn of(scores: &[f32], labels: &[&[usize]], classes: usize) -> Self {
        assert_eq!(scores.len(), labels.len() * classes, "a score for each item and class");
        let of_class = |class: usize| {
            let column: Vec<f32> = scores.iter().skip(class).step_by(classes).copied().collect();
            let has_class: Vec<bool> = labels.iter().map(|labels| labels.contains(&class)).collect();
            average_precision(&column, &has_class)
        };
        Self { classes: (0..classes).map(of_class).collect() }
    }

    /// The mean over the classes that some item has, from 0 to 1; `None` where no item has any.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let known: Vec<f64> = self.classes.iter().flatten().copied().collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    /// Classes that no item has, which the mean leaves out.
    #[must_use]
    pub fn without_items(&self) -> usize {
        self.classes.iter().filter(|class| class.is_none()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::{MeanAveragePrecision, average_precision};

    /// The example of scikit-learn's documentation, and the same with ties by hand.
    #[test]
    fn precision_counts_at_every_step_of_recall_and_ties_are_taken_together() {
        let has = [false, false, true, true];
        let found = average_precision(&[0.1, 0.4, 0.35, 0.8], &has).unwrap();
        assert!((found - 0.833_333_333).abs() < 1e-8, "{found}");
        // All at once: 2 of 4 are right.
        assert_eq!(average_precision(&[0.5; 4], &has), Some(0.5));
        // 1 of 1, then 2 of 3.
        let found = average_precision(&[0.1, 0.4, 0.4, 0.8], &has).unwrap();
        assert!((found - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-12, "{found}");
        assert_eq!(average_precision(&[0.1, 0.4], &[false; 2]), None);
    }

    #[test]
    fn classes_without_items_are_left_out_of_the_mean() {
        let scores = [0.9, 0.1, 0.3, 0.2, 0.8, 0.4];
        let found = MeanAveragePrecision::of(&scores, &[&[0], &[0, 1]], 3);
        assert_eq!(found.classes, [Some(1.0), Some(1.0), None]);
        assert_eq!((found.mean(), found.without_items()), (Some(1.0), 1));
        assert_eq!(MeanAveragePrecision::of(&[0.5], &[&[]], 1).mean(), None);
    }
}
