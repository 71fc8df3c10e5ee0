//! Where tokens are, for models whose attention needs to know.

use crate::{Combine, DROPPED, MergePlan};
use std::sync::Arc;

/// The position of every row of a batch, `[T]`.
///
/// Merged tokens stand at the mean of their members, weighted by size, as their values do. Prefix tokens that stand
/// nowhere have any value; it stays what it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Positions {
    /// Frame, row and column, in patches: the first patch is at `[0, 0, 0]`.
    Grid(Arc<[[f32; 3]]>),
    /// The place in a sequence, the first being 0.
    Sequence(Arc<[f32]>),
}

impl Positions {
    /// Rows that have a position (`T`).
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Self::Grid(positions) => positions.len(),
            Self::Sequence(positions) => positions.len(),
        }
    }

    /// The positions of some rows, in the order given.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn select(&self, rows: &[u32]) -> Self {
        match self {
            Self::Grid(positions) => Self::Grid(rows.iter().map(|&row| positions[row as usize]).collect()),
            Self::Sequence(positions) => {
                Self::Sequence(rows.iter().map(|&row| positions[row as usize]).collect())
            }
        }
    }

    /// These, then more of the same kind.
    ///
    /// # Panics
    /// When they are of another kind.
    pub(crate) fn and(&self, more: &Self) -> Self {
        match (self, more) {
            (Self::Grid(own), Self::Grid(more)) => {
                Self::Grid(own.iter().chain(more.iter()).copied().collect())
            }
            (Self::Sequence(own), Self::Sequence(more)) => {
                Self::Sequence(own.iter().chain(more.iter()).copied().collect())
            }
            (own, more) => panic!("positions of one kind, not {own:?} and {more:?}"),
        }
    }

    /// The mean of every group's positions, weighted by size. `dst: [T]`, `size: [T]`, `groups` of them.
    pub(crate) fn mean(&self, dst: &[u32], size: &[f32], groups: usize) -> Self {
        match self {
            Self::Grid(positions) => Self::Grid(means(positions, dst, size, groups)),
            Self::Sequence(positions) => {
                let positions: Vec<[f32; 1]> = positions.iter().map(|position| [*position]).collect();
                Self::Sequence(means(&positions, dst, size, groups).iter().map(|[mean]| *mean).collect())
            }
        }
    }
}

fn means<const D: usize>(
    positions: &[[f32; D]],
    dst: &[u32],
    size: &[f32],
    groups: usize,
) -> Arc<[[f32; D]]> {
    let mut found = vec![(0_u32, 0.0_f64, [0.0_f64; D], [0.0_f32; D]); groups];
    for ((position, &dst), &size) in positions.iter().zip(dst).zip(size) {
        if dst == DROPPED {
            continue;
        }
        let (members, total, sum, last) = &mut found[dst as usize];
        (*members, *total, *last) = (*members + 1, *total + f64::from(size), *position);
        sum.iter_mut().zip(position).for_each(|(sum, value)| *sum += f64::from(size) * f64::from(*value));
    }
    // A token that stays alone stays exactly where it is.
    let mean = |(members, total, sum, last): (u32, f64, [f64; D], [f32; D])| match members {
        1 => last,
        _ => sum.map(|sum| (sum / total) as f32),
    };
    found.into_iter().map(mean).collect()
}

impl MergePlan {
    /// Positions after the plan, `[T]` → `[T']`: the mean of the members of every group, weighted by `size: [T]`; with
    /// [`Combine::KeepOne`] that of the member whose values are kept.
    ///
    /// # Panics
    /// When there are more or fewer positions or sizes than rows.
    #[must_use]
    pub fn positions(&self, positions: &Positions, size: &[f32], combine: Combine) -> Positions {
        let rows = self.dst().len();
        assert_eq!((positions.rows(), size.len()), (rows, rows), "one position and one size per row");
        match combine {
            Combine::WeightedAverage
            | Combine::Average
            | Combine::Max
            | Combine::Sum
            | Combine::ScaledAverage(_)
            | Combine::LargestMagnitude => positions.mean(self.dst(), size, self.representative().len()),
            Combine::KeepOne => positions.select(self.representative()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Positions;
    use crate::{Combine, DROPPED, Layout, MergePlan};

    #[test]
    fn merged_tokens_stand_at_the_mean_of_their_members_weighted_by_size() {
        let grid =
            Positions::Grid([[7.3, 0.1, 0.1], [0.0, 0.0, 0.0], [0.0, 1.0, 2.0], [0.0, 5.0, 5.0]].into());
        let plan = MergePlan::new([0, 1, 1, DROPPED], [0, 2], Layout::uniform(1, 4), Layout::uniform(1, 2));
        let plan = plan.expect("a plan");
        let sizes = [1.0, 3.0, 1.0, 1.0];
        for combine in [Combine::WeightedAverage, Combine::Average, Combine::Max] {
            let merged = plan.positions(&grid, &sizes, combine);
            assert_eq!(merged, Positions::Grid([[7.3, 0.1, 0.1], [0.0, 0.25, 0.5]].into()), "{combine:?}");
        }
        let kept = plan.positions(&grid, &sizes, Combine::KeepOne);
        assert_eq!(kept, Positions::Grid([[7.3, 0.1, 0.1], [0.0, 1.0, 2.0]].into()));
        let sequence = Positions::Sequence([0.0, 1.0, 2.0, 3.0].into());
        let merged = plan.positions(&sequence, &sizes, Combine::WeightedAverage);
        assert_eq!(merged, Positions::Sequence([0.0, 1.25].into()));
    }
}
