//! Which tokens of an item propose and which are proposed to, and the random numbers behind some choices.

use super::Partition;

/// Sources and destinations of one item, positions ascending. Prefix tokens are in neither.
#[derive(Debug, PartialEq)]
pub(super) struct Split {
    pub(super) sources: Vec<u32>,
    pub(super) destinations: Vec<u32>,
}

impl Partition {
    /// Splits the positions of an item of `len` tokens, `prefix` of them protected.
    pub(super) fn split(self, len: usize, prefix: usize, random: &mut Random) -> Split {
        let mergeable: Vec<u32> = (prefix.min(len) as u32..len as u32).collect();
        let half = mergeable.len().div_ceil(2);
        let (sources, destinations) = match self {
            // Positions count from the first prefix token: the class token is at an even place.
            Self::Alternating => mergeable.into_iter().partition(|position| position % 2 == 0),
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
}

/// SplitMix64: the same numbers on every machine and in every version, which a seed in a spec promises.
pub(super) struct Random(u64);

impl Random {
    /// The numbers of one layer for items of `len` tokens: alike for all images.
    pub(super) fn new(seed: u64, layer: usize, len: usize) -> Self {
        let mut random = Self(seed);
        let mixed = random.next() ^ (layer as u64) << 32 ^ len as u64;
        Self(mixed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is small: the bias of the remainder does not matter.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Partition, Random};
    use proptest::prelude::*;

    #[test]
    fn alternating_counts_prefix_tokens_as_positions() {
        let split = Partition::Alternating.split(7, 1, &mut Random::new(0, 0, 7));
        assert_eq!((split.sources, split.destinations), (vec![2, 4, 6], vec![1, 3, 5]));
        let split = Partition::Alternating.split(7, 2, &mut Random::new(0, 0, 7));
        assert_eq!((split.sources, split.destinations), (vec![2, 4, 6], vec![3, 5]));
        let split = Partition::Sequential.split(6, 1, &mut Random::new(0, 0, 6));
        assert_eq!((split.sources, split.destinations), (vec![1, 2, 3], vec![4, 5]));
    }

    proptest! {
        #[test]
        fn every_mergeable_token_is_on_one_side_and_half_can_always_merge(
            len in 0usize..60, prefix in 0usize..6, seed: u64, layer in 0usize..40,
        ) {
            for partition in [Partition::Alternating, Partition::Sequential, Partition::Random] {
                let split = partition.split(len, prefix, &mut Random::new(seed, layer, len));
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
