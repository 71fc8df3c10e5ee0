//! How many tokens each layer removes (ToMe, eq. 2 and 3, appendix C).

use serde::{Deserialize, Serialize};

/// How many tokens every layer is to remove.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Schedule {
    /// `r` in every layer (eq. 2).
    Constant(usize),
    /// From `r * (1 - inflect)` in the first layer linearly to `r * (1 + inflect)` in the last: `inflect = -1`
    /// is the paper's decreasing schedule (eq. 3), 0 the constant one, 1 an increasing one.
    Linear {
        /// Mean tokens per layer.
        r: usize,
        /// In `[-1, 1]`.
        inflect: f64,
        /// What happens to fractions.
        rounding: Rounding,
    },
    /// One number per layer; layers beyond the list remove nothing.
    PerLayer(Vec<usize>),
    /// That part of the tokens that may merge, of every item and in every layer, rounded down: for items of different
    /// lengths. In `[0, 0.5]`.
    Share(f64),
}

/// What happens to the fractions of a linear schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rounding {
    /// Every layer is truncated, as the published numbers were made: `(16, -1)` over 12 layers removes 187
    /// tokens, not 192.
    #[default]
    Truncate,
    /// Fractions carry over to the next layer, so that `r * L` tokens go in all.
    Exact,
}

/// What a layer is to merge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// That many tokens, the most similar pairs first; fewer where there are not enough.
    Count(usize),
    /// That part of the tokens that may merge, rounded down, likewise.
    Share(f64),
    /// First some are dropped, then some of those left merge. Both are parts of the tokens that may, before any goes,
    /// rounded to the nearest (halves to even); one at least is kept, and of `k` kept at most `(k - 1) / 2` merge (PuMer).
    DropAndMerge {
        /// The part to drop, below 1.
        drop: f64,
        /// The part to merge.
        merge: f64,
    },
    /// Every pair whose similarity lies above: as many as the image has.
    Above(f32),
    /// So many are left of the tokens that may merge; nothing happens where there are no more.
    Keep(usize),
    /// That part is kept of the tokens that may merge, rounded up, in `(0, 1]`, and something becomes of the others (EViT).
    KeepShare {
        /// The part.
        keep: f64,
        /// What becomes of the others.
        rest: Rest,
    },
    /// That part of the tokens that may merge is left: what is too much goes, rounded down, at most half of them (PiToMe).
    Ratio(f64),
    /// That many tokens, but never so many that fewer than `least` are left of all, prefix included (MCTF).
    Leaving {
        /// Tokens to remove.
        remove: usize,
        /// Tokens that stay.
        least: usize,
    },
    /// First some are dropped, until so many are left of the tokens that may merge, then some of those merge; nothing
    /// happens where there are no more (DiffRate).
    KeepAndMerge {
        /// Tokens that are not dropped.
        keep: usize,
        /// Of these how many are left.
        left: usize,
    },
    /// Of a whole grid of tokens that may merge a smaller one is left; of any other number all are (CubistMerge).
    OfGrid {
        /// Rows and columns before.
        grid: (usize, usize),
        /// And after.
        left: (usize, usize),
    },
    /// As many as the item's tokens say, by a rule of the method.
    ByTokens,
}

/// What becomes of tokens that are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// They become one token.
    Fused,
    /// They are dropped.
    Dropped,
}

impl Amount {
    /// A layer that merges nothing.
    pub const NOTHING: Self = Self::Count(0);

    /// How many tokens go of an item of `len`, `prefix` of them protected; `None` where that depends on its tokens.
    #[must_use]
    pub fn of(self, len: usize, prefix: usize) -> Option<usize> {
        match self {
            Self::Count(remove) => Some(mergeable(remove, len, prefix)),
            Self::Share(share) => {
                // 10 % of 30 are 3, though a tenth in binary is less.
                let remove = (share * len.saturating_sub(prefix) as f64 * (1.0 + f64::EPSILON)) as usize;
                Some(mergeable(remove, len, prefix))
            }
            Self::DropAndMerge { drop, merge } => {
                let (dropped, merged) = drop_and_merge(drop, merge, len.saturating_sub(prefix));
                Some(dropped + merged)
            }
            Self::Keep(keep) => Some(len.saturating_sub(prefix).saturating_sub(keep)),
            Self::KeepShare { keep, rest } => {
                let tokens = len.saturating_sub(prefix);
                let gone = tokens - kept(keep, tokens);
                Some(match rest {
                    Rest::Fused => gone.saturating_sub(1),
                    Rest::Dropped => gone,
                })
            }
            Self::Ratio(ratio) => {
                let tokens = len.saturating_sub(prefix);
                let gone = (tokens as f64 - tokens as f64 * ratio).max(0.0) as usize;
                Some(mergeable(gone, len, prefix))
            }
            Self::Leaving { remove, least } => {
                Some(mergeable(remove.min(len.saturating_sub(least)), len, prefix))
            }
            Self::KeepAndMerge { keep, left } => {
                Some(len.saturating_sub(prefix).saturating_sub(keep.min(left)))
            }
            Self::OfGrid { grid: (rows, columns), left: (rows_left, columns_left) } => {
                let (cells, cells_left) = (rows * columns, rows_left * columns_left);
                let whole = len.saturating_sub(prefix) == cells;
                Some(if whole { cells.saturating_sub(cells_left) } else { 0 })
            }
            Self::Above(_) | Self::ByTokens => None,
        }
    }
}

/// How many of so many tokens are kept, as [`Amount::KeepShare`] says: at least one, where there is one.
pub(crate) fn kept(keep: f64, tokens: usize) -> usize {
    // 70 % of 10 are 7, though seven tenths in binary are more.
    let kept = (keep * tokens as f64 * (1.0 - f64::EPSILON)).ceil() as usize;
    kept.clamp(tokens.min(1), tokens)
}

/// A schedule that does not fit a model.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum ScheduleError {
    /// More entries than layers.
    #[error("the schedule lists {given} layers but the model has {depth}; leave out the last {}", given - depth)]
    TooManyLayers {
        /// Entries in the list.
        given: usize,
        /// Blocks of the model.
        depth: usize,
    },
    /// A schedule that was found for models of another depth.
    #[error(
        "the published schedule is for {published} layers and the model has {depth}; give prune and merge, a number for each layer"
    )]
    OtherDepth {
        /// Layers of the schedule.
        published: usize,
        /// Blocks of the model.
        depth: usize,
    },
    /// A layer after the last. Both count from 1.
    #[error("there is no layer {layer}; the model has layers 1 to {depth}")]
    Layer {
        /// The layer.
        layer: usize,
        /// Blocks of the model.
        depth: usize,
    },
    /// A splitting layer after the last.
    #[error("split={split} is beyond the model's {depth} layers; it may be 0 to {depth}")]
    Split {
        /// The splitting layer.
        split: usize,
        /// Blocks of the model.
        depth: usize,
    },
    /// `inflect` outside `[-1, 1]`.
    #[error("inflect must lie between -1 (decreasing) and 1 (increasing), not {0}")]
    Inflect(f64),
}

impl Schedule {
    /// That part of what every layer removes, whole numbers rounded to the nearest.
    #[must_use]
    pub(crate) fn in_part(&self, part: f64) -> Self {
        let of = |remove: usize| (remove as f64 * part).round() as usize;
        match *self {
            Self::Constant(r) => Self::Constant(of(r)),
            Self::Linear { r, inflect, rounding } => Self::Linear { r: of(r), inflect, rounding },
            Self::PerLayer(ref list) => Self::PerLayer(list.iter().map(|remove| of(*remove)).collect()),
            Self::Share(share) => Self::Share(share * part),
        }
    }

    /// Tokens to remove in each of `depth` layers, before any limit by the number of tokens.
    ///
    /// # Errors
    /// When the list is longer than the model is deep, or `inflect` is outside `[-1, 1]`.
    pub fn per_layer(&self, depth: usize) -> Result<Vec<Amount>, ScheduleError> {
        let counts = match self {
            Self::Share(share) => return Ok(vec![Amount::Share(*share); depth]),
            Self::Constant(r) => Ok(vec![*r; depth]),
            Self::PerLayer(list) if list.len() > depth => {
                Err(ScheduleError::TooManyLayers { given: list.len(), depth })
            }
            Self::PerLayer(list) => {
                Ok(list.iter().copied().chain(std::iter::repeat(0)).take(depth).collect())
            }
            Self::Linear { inflect, .. } if !(-1.0..=1.0).contains(inflect) => {
                Err(ScheduleError::Inflect(*inflect))
            }
            Self::Linear { r, inflect, rounding } => Ok(linear(*r, *inflect, *rounding, depth)),
        };
        Ok(counts?.into_iter().map(Amount::Count).collect())
    }
}

fn linear(r: usize, inflect: f64, rounding: Rounding, depth: usize) -> Vec<usize> {
    let r = r as f64;
    // With one layer there is nowhere to interpolate to; the mean is all there is.
    let last = depth.saturating_sub(1).max(1) as f64;
    match rounding {
        Rounding::Truncate => {
            let first = (r * (1.0 - inflect)).trunc();
            let step = ((2.0 * r - first) - first) / last;
            (0..depth)
                .map(|layer| if depth == 1 { r as usize } else { (first + step * layer as f64) as usize })
                .collect()
        }
        Rounding::Exact => {
            let first = r * (1.0 - inflect);
            let step = 2.0 * r * inflect / last;
            let mut removed = 0;
            let mut ideal = 0.0;
            (0..depth)
                .map(|layer| {
                    ideal += if depth == 1 { r } else { first + step * layer as f64 };
                    let now = ideal.round() as usize - removed;
                    removed += now;
                    now
                })
                .collect()
        }
    }
}

/// How many of `remove` tokens a layer can remove from an item of `len` tokens, `prefix` of them protected: at
/// most half of the others, since each merges into another.
#[must_use]
pub fn mergeable(remove: usize, len: usize, prefix: usize) -> usize {
    remove.min(len.saturating_sub(prefix) / 2)
}

/// Of so many tokens how many are dropped, and how many of those left merge, as [`Amount::DropAndMerge`] says.
pub(crate) fn drop_and_merge(drop: f64, merge: f64, tokens: usize) -> (usize, usize) {
    let part = |share: f64| (share * tokens as f64).round_ties_even() as usize;
    let dropped = part(drop).min(tokens.saturating_sub(1));
    let kept = tokens - dropped;
    (dropped, part(merge).min(kept.saturating_sub(1) / 2))
}

#[cfg(test)]
mod tests {
    use super::{Amount, Rest, Rounding, Schedule, ScheduleError, drop_and_merge, kept, mergeable};
    use proptest::prelude::*;

    /// The counts of a schedule.
    fn counts(schedule: &Schedule, depth: usize) -> Vec<usize> {
        let count = |amount| match amount {
            Amount::Count(count) => count,
            other => panic!("{other:?} is no count"),
        };
        schedule.per_layer(depth).unwrap().into_iter().map(count).collect()
    }

    fn linear(r: usize, inflect: f64, rounding: Rounding) -> Schedule {
        Schedule::Linear { r, inflect, rounding }
    }

    #[test]
    fn truncation_is_that_of_the_published_numbers() {
        let decreasing = counts(&linear(16, -1.0, Rounding::Truncate), 12);
        assert_eq!(decreasing, [32, 29, 26, 23, 20, 17, 14, 11, 8, 5, 2, 0]);
        assert_eq!(decreasing.iter().sum::<usize>(), 187);
        let exact = counts(&linear(16, -1.0, Rounding::Exact), 12);
        assert_eq!(exact.iter().sum::<usize>(), 192);
        assert_eq!(counts(&linear(8, 0.0, Rounding::Truncate), 3), [8, 8, 8]);
        assert_eq!(counts(&linear(5, 0.3, Rounding::Truncate), 1), [5]);
    }

    #[test]
    fn lists_are_padded_with_zeros_and_may_not_be_too_long() {
        assert_eq!(counts(&Schedule::PerLayer(vec![4, 2]), 4), [4, 2, 0, 0]);
        let error = Schedule::PerLayer(vec![1; 5]).per_layer(4).unwrap_err();
        assert_eq!(error, ScheduleError::TooManyLayers { given: 5, depth: 4 });
        assert!(linear(4, 1.5, Rounding::Exact).per_layer(4).is_err());
        assert!(linear(4, f64::NAN, Rounding::Exact).per_layer(4).is_err());
    }

    #[test]
    fn a_share_is_one_of_the_tokens_that_may_merge_rounded_down() {
        let of =
            |percent: f64, len, prefix| Amount::Share(percent / 100.0).of(len, prefix).expect("a number");
        assert_eq!([of(10.0, 30, 0), of(10.0, 29, 0), of(10.0, 31, 1), of(10.0, 9, 1)], [3, 2, 3, 0]);
        assert_eq!([of(50.0, 9, 1), of(29.0, 100, 0), of(58.0, 100, 0), of(30.0, 0, 2)], [4, 29, 50, 0]);
        for percent in 1..=50 {
            assert_eq!(of(f64::from(percent), 100, 0), percent as usize);
        }
    }

    #[test]
    fn dropped_and_merged_are_parts_of_all_rounded_to_the_nearest() {
        // Of the 240 patches of a large picture, layer by layer.
        let layers = [240, 144, 87, 52, 31].map(|tokens| drop_and_merge(0.1, 0.3, tokens));
        assert_eq!(layers, [(24, 72), (14, 43), (9, 26), (5, 16), (3, 9)]);
        assert_eq!([5, 15, 25].map(|tokens| drop_and_merge(0.1, 0.0, tokens).0), [0, 2, 2]);
        assert_eq!(drop_and_merge(0.99, 0.5, 4), (3, 0));
        assert_eq!([0, 1, 2, 3].map(|tokens| drop_and_merge(0.0, 0.5, tokens).1), [0, 0, 0, 1]);
        let amount = Amount::DropAndMerge { drop: 0.1, merge: 0.3 };
        assert_eq!((amount.of(281, 41), amount.of(3, 41)), (Some(96), Some(0)));
    }

    #[test]
    fn what_is_kept_is_rounded_up_and_a_fused_token_counts_as_one_of_all() {
        // Of 196 patches, at 70 % in three layers, the others fused: 197, 140, 100 and 72 tokens with the class token.
        let amount = Amount::KeepShare { keep: 0.7, rest: Rest::Fused };
        let left = |len: usize| len - amount.of(len, 1).expect("a number");
        assert_eq!([left(197), left(140), left(100), left(72)], [140, 100, 72, 52]);
        let dropped = Amount::KeepShare { keep: 0.7, rest: Rest::Dropped };
        assert_eq!(197 - dropped.of(197, 1).expect("a number"), 139);
        assert_eq!(
            (kept(0.7, 10), kept(0.71, 10), kept(1.0, 7), kept(0.01, 3), kept(0.5, 0)),
            (7, 8, 7, 1, 0)
        );
    }

    #[test]
    fn what_is_left_is_a_number_a_ratio_or_a_floor() {
        assert_eq!(
            [Amount::Keep(96).of(197, 1), Amount::Keep(96).of(90, 1), Amount::Keep(0).of(9, 2)],
            [Some(100), Some(0), Some(7)]
        );
        // PiToMe's 92.5 % of 196 are 181.3: 14 go; of 40 they are 37 in floating point too.
        assert_eq!([197, 41].map(|len| Amount::Ratio(0.925).of(len, 1)), [Some(14), Some(3)]);
        assert_eq!(Amount::Ratio(0.1).of(21, 1), Some(10), "at most half");
        let leaving = Amount::Leaving { remove: 16, least: 10 };
        assert_eq!([197, 37, 21, 12, 9].map(|len| leaving.of(len, 1)), [16, 16, 10, 2, 0].map(Some));
        assert_eq!(Amount::ByTokens.of(197, 1), None);
    }

    #[test]
    fn what_is_dropped_before_some_merge_counts_and_only_a_whole_grid_shrinks() {
        let amount = |keep, left| Amount::KeepAndMerge { keep, left };
        assert_eq!(
            [amount(185, 171).of(190, 1), amount(185, 200).of(190, 1), amount(300, 250).of(190, 1)],
            [Some(18), Some(4), Some(0)]
        );
        let of_grid = Amount::OfGrid { grid: (14, 14), left: (12, 13) };
        assert_eq!([197, 196, 1, 0].map(|len| of_grid.of(len, 1)), [40, 0, 0, 0].map(Some));
    }

    /// Tokens left after the last layer: facts that follow from arithmetic alone.
    #[test]
    fn tokens_left_after_the_last_layer() {
        for (depth, len, prefix, schedule, left) in [
            (24, 197, 1, Schedule::Constant(8), 7),
            (24, 197, 1, linear(8, -1.0, Rounding::Truncate), 16),
            (12, 197, 1, Schedule::Constant(16), 11),
            (12, 197, 1, Schedule::Constant(13), 41),
            (32, 257, 1, Schedule::Constant(7), 33),
            (24, 577, 1, Schedule::Constant(23), 25),
            (12, 577, 1, Schedule::Constant(45), 42),
            (24, 1025, 1, Schedule::Constant(40), 65),
            (32, 1370, 1, Schedule::Constant(40), 90),
            (24, 1569, 1, Schedule::Constant(65), 38),
            (24, 1569, 1, linear(65, -1.0, Rounding::Truncate), 20),
            (12, 513, 1, Schedule::Constant(40), 37),
            (12, 198, 2, Schedule::Constant(16), 12),
        ] {
            let removed = counts(&schedule, depth);
            let len = removed.iter().fold(len, |len, &remove| len - mergeable(remove, len, prefix));
            assert_eq!(len, left, "{schedule:?}");
        }
    }

    proptest! {
        #[test]
        fn exact_schedules_remove_r_per_layer_on_average(
            r in 0usize..200, inflect in -1.0f64..=1.0, depth in 1usize..64,
        ) {
            let layers = counts(&linear(r, inflect, Rounding::Exact), depth);
            prop_assert_eq!(layers.iter().sum::<usize>(), r * depth);
        }

        #[test]
        fn truncation_loses_less_than_one_token_per_layer(
            r in 0usize..200, inflect in -1.0f64..=1.0, depth in 2usize..64,
        ) {
            let total: usize = counts(&linear(r, inflect, Rounding::Truncate), depth).iter().sum();
            prop_assert!(total <= r * depth && total + depth >= r * depth);
        }
    }
}
