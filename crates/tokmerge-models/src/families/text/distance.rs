//! Distances between tokens in buckets (T5; Raffel et al., 2020, §2.1).

use super::Buckets;
use std::sync::Arc;
use tokmerge_merge::{Layout, Positions};

/// Who looks at whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// At tokens before and behind.
    Both,
    /// At earlier ones alone.
    Back,
}

impl Buckets {
    /// The bucket of a key's position less the query's.
    pub(super) fn of(self, distance: i64, direction: Direction) -> u8 {
        let (own, first, distance) = match direction {
            Direction::Both => {
                let half = self.buckets / 2;
                (half, if distance > 0 { half } else { 0 }, distance.unsigned_abs() as usize)
            }
            Direction::Back => (self.buckets, 0, (-distance).max(0) as usize),
        };
        let exact = own / 2;
        let bucket = if distance < exact {
            distance
        } else {
            let share = (distance as f32 / exact as f32).ln() / (self.distance as f32 / exact as f32).ln();
            (exact + (share * (own - exact) as f32) as usize).min(own - 1)
        };
        (first + bucket) as u8
    }

    /// The bucket of every pair of an item's tokens, queries by keys, the items behind each other. Merged tokens may stand
    /// between places: distances are rounded, halves away from zero.
    pub(super) fn of_pairs(self, positions: &Positions, layout: &Layout) -> Arc<[u8]> {
        let Positions::Sequence(at) = positions else { panic!("tokens of a text stand in a sequence") };
        let farthest = at.iter().fold(0.0_f32, |most, at| most.max(*at)).ceil() as i64 + 1;
        let known: Vec<u8> =
            (-farthest..=farthest).map(|distance| self.of(distance, Direction::Both)).collect();
        let pairs = layout.lens().map(|len| len * len).sum();
        let mut rows = Vec::with_capacity(pairs);
        for item in 0..layout.items() {
            let at = &at[layout.range(item)];
            for query in at {
                rows.extend(at.iter().map(|key| known[((key - query).round() as i64 + farthest) as usize]));
            }
        }
        rows.into()
    }
}

#[cfg(test)]
mod tests {
    use super::{Buckets, Direction};
    use tokmerge_merge::{Layout, Positions};

    const T5: Buckets = Buckets { buckets: 32, distance: 128 };

    #[test]
    fn near_distances_have_a_bucket_each_and_far_ones_share() {
        let both = |distance| T5.of(distance, Direction::Both);
        assert_eq!([both(0), both(-1), both(-7), both(1), both(7)], [0, 1, 7, 17, 23]);
        assert_eq!(
            [both(-8), both(-11), both(-12), both(-127), both(-128), both(-9999)],
            [8, 8, 9, 15, 15, 15]
        );
        let back = |distance| T5.of(distance, Direction::Back);
        assert_eq!([back(3), back(0), back(-15), back(-16), back(-128)], [0, 0, 15, 16, 31]);
    }

    #[test]
    fn halves_are_rounded_away_from_zero() {
        let positions = Positions::Sequence([0.0, 2.5, 4.0].into());
        let rows = T5.of_pairs(&positions, &Layout::uniform(1, 3));
        assert_eq!(rows.as_ref(), [0, 16 + 3, 16 + 4, 3, 0, 16 + 2, 4, 2, 0]);
    }
}
