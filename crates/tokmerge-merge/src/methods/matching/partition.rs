//! Which tokens of an item propose and which are proposed to.

use super::by_falling_score;
use crate::Tokens;
use crate::methods::draw::Draw;
use tokmerge_nn::Random;

/// How tokens are split into sources and destinations (ToMe, Table 1e).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// Even positions propose to odd ones; prefix tokens count as positions, those of a text in front do not.
    Alternating,
    /// The first half of the mergeable tokens proposes to the second.
    Sequential,
    /// A random half proposes to the other.
    Random,
}

/// Sources and destinations of one item, positions ascending. Prefix tokens are in neither.
#[derive(Debug, PartialEq)]
pub(in crate::methods) struct Split {
    pub(in crate::methods) sources: Vec<u32>,
    pub(in crate::methods) destinations: Vec<u32>,
}

impl Partition {
    /// Splits the positions of an item of `len` tokens, `prefix` of them protected, which count from `first`.
    pub(in crate::methods) fn split(
        self,
        len: usize,
        prefix: usize,
        first: usize,
        random: &mut Random,
    ) -> Split {
        let mergeable: Vec<u32> = (prefix.min(len) as u32..len as u32).collect();
        let half = mergeable.len().div_ceil(2);
        let (sources, destinations) = match self {
            // The first that counts, a class token, is at an even place.
            Self::Alternating => {
                mergeable.into_iter().partition(|position| (*position as usize - first).is_multiple_of(2))
            }
            Self::Sequential => (mergeable[..half].to_vec(), mergeable[half..].to_vec()),
            Self::Random => {
                let mut shuffled = mergeable;
                random.shuffle(&mut shuffled);
                let mut destinations = shuffled.split_off(half);
                shuffled.sort_unstable();
                destinations.sort_unstable();
                (shuffled, destinations)
            }
        };
        Split { sources, destinations }
    }

    /// Splits every item. Random numbers depend on seed, layer and number of tokens only.
    pub(in crate::methods) fn split_items(self, tokens: &Tokens, seed: u64, layer: usize) -> Vec<Split> {
        self.split_drawn(tokens, Draw::fixed(seed), layer)
    }

    /// Splits every item, with these random numbers.
    pub(in crate::methods) fn split_drawn(self, tokens: &Tokens, draw: Draw, layer: usize) -> Vec<Split> {
        let split = |(item, len)| {
            let (prefix, first) = (tokens.prefix.of(item), tokens.prefix.counted_from(item));
            self.split(len, prefix, first, &mut draw.numbers(layer, item, len))
        };
        tokens.layout.lens().enumerate().map(split).collect()
    }
}

impl Split {
    /// The half of the mergeable tokens that scores less proposes to the other, both in their order; of an odd number the
    /// larger part is proposed to. `scores` are those of the item, prefix included; what is no number is least.
    pub(in crate::methods) fn by_score(scores: &[f32], prefix: usize) -> Self {
        let mut destinations = by_falling_score(scores, prefix);
        let mut sources = destinations.split_off(destinations.len().div_ceil(2));
        sources.sort_unstable();
        destinations.sort_unstable();
        Self { sources, destinations }
    }

    /// Small tokens propose to large ones, so that two large ones never merge: the mergeable tokens in order of
    /// their size, equal ones as they stand, cut in half (ATM, §3.3). Of an odd number the larger part is
    /// proposed to. `sizes` are those of the item, prefix included; ones if `None`.
    pub(in crate::methods) fn by_size(len: usize, prefix: usize, sizes: Option<&[f32]>) -> Self {
        let mut sources: Vec<u32> = (prefix.min(len) as u32..len as u32).collect();
        if let Some(sizes) = sizes {
            sources.sort_by(|&a, &b| sizes[a as usize].total_cmp(&sizes[b as usize]));
        }
        let destinations = sources.split_off(sources.len() / 2);
        Self { sources, destinations }
    }
}

#[cfg(test)]
mod tests {
    use super::{Partition, Split};
    use proptest::prelude::*;
    use tokmerge_nn::Random;

    #[test]
    fn alternating_counts_prefix_tokens_as_positions() {
        let split = Partition::Alternating.split(7, 1, 0, &mut Random::for_layer(0, 0, 7));
        assert_eq!((split.sources, split.destinations), (vec![2, 4, 6], vec![1, 3, 5]));
        let split = Partition::Alternating.split(7, 2, 0, &mut Random::for_layer(0, 0, 7));
        assert_eq!((split.sources, split.destinations), (vec![2, 4, 6], vec![3, 5]));
        let split = Partition::Sequential.split(6, 1, 0, &mut Random::for_layer(0, 0, 6));
        assert_eq!((split.sources, split.destinations), (vec![1, 2, 3], vec![4, 5]));
    }

    #[test]
    fn a_text_in_front_does_not_count() {
        let split = Partition::Alternating.split(10, 4, 3, &mut Random::for_layer(0, 0, 10));
        assert_eq!((split.sources, split.destinations), (vec![5, 7, 9], vec![4, 6, 8]));
    }

    #[test]
    fn by_size_the_small_propose_to_the_large_and_equals_keep_their_order() {
        let sizes = [1.0, 3.0, 1.0, 2.0, 1.0, 7.0];
        let split = Split::by_size(6, 1, Some(&sizes));
        assert_eq!((split.sources, split.destinations), (vec![2, 4], vec![3, 1, 5]));
        let split = Split::by_size(6, 0, None);
        assert_eq!((split.sources, split.destinations), (vec![0, 1, 2], vec![3, 4, 5]));
        for (len, prefix) in [(0, 0), (0, 3), (1, 1), (2, 1)] {
            let split = Split::by_size(len, prefix, None);
            assert!(split.sources.is_empty(), "{len} {prefix}");
        }
    }

    #[test]
    fn by_score_the_lesser_half_proposes_and_equals_and_no_numbers_stand_behind() {
        let split = Split::by_score(&[9.0, 0.1, 0.4, f32::NAN, 0.4, 0.3], 1);
        assert_eq!((split.sources, split.destinations), (vec![1, 3], vec![2, 4, 5]));
        let split = Split::by_score(&[0.5, 0.5, 0.5, 0.5], 0);
        assert_eq!((split.sources, split.destinations), (vec![2, 3], vec![0, 1]));
        for (len, prefix) in [(0, 0), (1, 1), (2, 1)] {
            assert!(Split::by_score(&[1.0, 1.0][..len], prefix).sources.is_empty());
        }
    }

    proptest! {
        #[test]
        fn every_mergeable_token_is_on_one_side_and_half_can_always_merge(
            len in 0usize..60, prefix in 0usize..6, seed: u64, layer in 0usize..40,
        ) {
            for partition in [Partition::Alternating, Partition::Sequential, Partition::Random] {
                let split = partition.split(len, prefix, 0, &mut Random::for_layer(seed, layer, len));
                let mut all = [split.sources.clone(), split.destinations.clone()].concat();
                all.sort_unstable();
                prop_assert_eq!(all, (prefix.min(len) as u32..len as u32).collect::<Vec<_>>());
                let removable = crate::mergeable(usize::MAX, len, prefix);
                prop_assert!(split.sources.len() >= removable);
                prop_assert!(removable == 0 || !split.destinations.is_empty());
            }
        }
    }
}
