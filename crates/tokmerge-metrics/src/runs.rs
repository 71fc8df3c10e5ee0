//! n-grams of all orders by one sort.

/// The n-grams of a sequence of characters or tokens, of 1 to `longest` of them.
///
/// From every place the `longest` items that begin there are one number: each item plus one in as many bits, the first
/// highest, 0 past the end. A shorter n-gram is the beginning of such a number, so that sorting them sorts all orders.
pub(crate) struct Runs {
    sorted: Vec<u128>,
    longest: usize,
}

impl Runs {
    /// Of items that are below 2^(128 / longest) - 1.
    pub(crate) fn new(items: &[u32], longest: usize) -> Self {
        let bits = u128::BITS as usize / longest;
        let run = |start: usize| {
            let at = |offset: usize| items.get(start + offset).map_or(0, |item| u128::from(*item) + 1);
            (0..longest).fold(0, |run, offset| (run << bits) | at(offset))
        };
        let mut sorted: Vec<u128> = (0..items.len()).map(run).collect();
        sorted.sort_unstable();
        Self { sorted, longest }
    }

    /// Number of n-grams of an order, from 1.
    pub(crate) fn total(&self, order: usize) -> usize {
        (self.sorted.len() + 1).saturating_sub(order)
    }

    /// n-grams of an order that stand in `others` too: each as often as here, and at most as often as in the one that has
    /// most of it.
    pub(crate) fn matches(&self, others: &[Self], order: usize) -> usize {
        let mut others: Vec<_> = others.iter().map(|other| other.counts(order).peekable()).collect();
        let mut matches = 0;
        for (run, count) in self.counts(order) {
            let most = others.iter_mut().map(|other| {
                while other.next_if(|(below, _)| *below < run).is_some() {}
                other.next_if(|(same, _)| *same == run).map_or(0, |(_, count)| count)
            });
            matches += most.max().unwrap_or(0).min(count);
        }
        matches
    }

    /// The different n-grams of an order in ascending order, and how often each occurs.
    fn counts(&self, order: usize) -> impl Iterator<Item = (u128, usize)> {
        let bits = u128::BITS as usize / self.longest;
        let cut = bits * (self.longest - order);
        let last = u128::MAX >> (u128::BITS as usize - bits);
        let tied = self.sorted.chunk_by(move |a, b| a >> cut == b >> cut);
        // What ends before the n-gram does is none.
        tied.map(move |tied| (tied[0] >> cut, tied.len())).filter(move |(run, _)| run & last != 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::Runs;

    fn counted(items: &[u32], order: usize) -> HashMap<&[u32], usize> {
        let mut counts = HashMap::new();
        for run in items.windows(order) {
            *counts.entry(run).or_default() += 1;
        }
        counts
    }

    fn items() -> impl Strategy<Value = Vec<u32>> {
        prop::collection::vec(prop_oneof![0_u32..4, Just(0x10_FFFF)], 0..12)
    }

    proptest! {
        #[test]
        fn sorted_runs_count_as_a_table_does(own in items(), others in prop::collection::vec(items(), 0..3)) {
            for longest in [1, 4, 6] {
                let (runs, all): (_, Vec<Runs>) =
                    (Runs::new(&own, longest), others.iter().map(|other| Runs::new(other, longest)).collect());
                for order in 1..=longest {
                    let own = counted(&own, order);
                    prop_assert_eq!(runs.total(order), own.values().sum::<usize>());
                    let most = |run: &[u32]| {
                        others.iter().map(|o| counted(o, order).get(run).copied().unwrap_or(0)).max().unwrap_or(0)
                    };
                    let expected: usize = own.iter().map(|(run, count)| most(run).min(*count)).sum();
                    prop_assert_eq!(runs.matches(&all, order), expected);
                }
            }
        }
    }
}
