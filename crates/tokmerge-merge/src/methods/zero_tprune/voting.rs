//! How much tokens matter by the graph of attention.

use super::VotingStart;
use crate::AttentionMap;

/// Between these the weights of a head vary if it counts (the paper's variance-based head filter).
const VARIANCES: std::ops::RangeInclusive<f32> = 0.01..=0.7;

/// Tokens of an item that share weights among each other.
pub(super) struct Voters<'a> {
    map: &'a AttentionMap,
    /// Their places, the prefix first.
    places: &'a [u32],
    prefix: usize,
    start: VotingStart,
}

impl<'a> Voters<'a> {
    pub(super) fn new(map: &'a AttentionMap, places: &'a [u32], prefix: usize, start: VotingStart) -> Self {
        Self { map, places, prefix, start }
    }

    /// What every voter gives to every other by one head; all that it gives sums up to one.
    fn shares(&self, head: usize) -> Vec<f32> {
        let mut shares = Vec::with_capacity(self.places.len() * self.places.len());
        for query in self.places {
            let row = self.map.row(head, *query as usize);
            let given = self.places.iter().map(|key| row[*key as usize]);
            let sum: f32 = given.clone().sum();
            shares.extend(given.map(|share| if sum > 0.0 { share / sum } else { share }));
        }
        shares
    }

    /// The weights of the patches after some rounds, by one head, of mean 1.
    fn weights(&self, head: usize, rounds: usize) -> Vec<f32> {
        let count = self.places.len();
        let mut weights = vec![1.0; count];
        if self.start == VotingStart::Class && self.prefix > 0 {
            weights[0] = (count as f32).sqrt();
        }
        let shares = self.shares(head);
        for _ in 0..rounds {
            let mut received = vec![0.0; count];
            for (weight, row) in weights.iter().zip(shares.chunks_exact(count)) {
                received.iter_mut().zip(row).for_each(|(sum, share)| *sum += weight * share);
            }
            weights = received;
        }
        let mut patches = weights.split_off(self.prefix);
        let mean = patches.iter().sum::<f32>() / patches.len() as f32;
        patches.iter_mut().for_each(|weight| *weight /= mean);
        patches
    }
}

/// How much every patch among the voters matters: the root of the mean square over the heads that count, or over all if none
/// does.
pub(super) fn importance(voters: &Voters<'_>, rounds: usize) -> Vec<f32> {
    let heads: Vec<Vec<f32>> = (0..voters.map.heads).map(|head| voters.weights(head, rounds)).collect();
    let counting: Vec<&Vec<f32>> =
        heads.iter().filter(|weights| VARIANCES.contains(&variance(weights))).collect();
    let counting = if counting.is_empty() { heads.iter().collect() } else { counting };
    let joined = |patch: usize| {
        let squares: f32 = counting.iter().map(|weights| weights[patch] * weights[patch]).sum();
        (squares / counting.len() as f32).sqrt()
    };
    (0..voters.places.len() - voters.prefix).map(joined).collect()
}

/// Of weights whose mean is 1.
fn variance(weights: &[f32]) -> f32 {
    weights.iter().map(|weight| (weight - 1.0) * (weight - 1.0)).sum::<f32>() / weights.len() as f32
}

#[cfg(test)]
mod tests {
    use super::{Voters, importance, variance};
    use crate::AttentionMap;
    use crate::methods::zero_tprune::VotingStart;

    /// A class token and two patches. By the first head the class token gives all to patch 1, and the patches give half to
    /// the class token and half to each other; by the second all give alike.
    fn map() -> AttentionMap {
        let first = [0.0, 1.0, 0.0, 0.5, 0.0, 0.5, 0.5, 0.5, 0.0];
        let values = [&first[..], &[1.0 / 3.0; 9]].concat();
        AttentionMap { heads: 2, queries: 3, keys: 3, values }
    }

    fn close(found: &[f32], wanted: &[f32]) {
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
        assert!(found.len() == wanted.len() && found.iter().zip(wanted).all(near), "{found:?}");
    }

    #[test]
    fn every_token_gives_its_weight_away_and_the_class_token_begins_with_more() {
        let map = map();
        let of = |start| Voters::new(&map, &[0, 1, 2], 1, start);
        // Patch 1 gets all of the class token and half of patch 2, patch 2 half of patch 1: 1.5 and 0.5.
        close(&of(VotingStart::Uniform).weights(0, 1), &[1.5, 0.5]);
        // Then the class token has 1: again 1 + 0.25 and 0.75.
        close(&of(VotingStart::Uniform).weights(0, 2), &[1.25, 0.75]);
        // √3 + 0.5 and 0.5, scaled.
        let sum = 3.0_f32.sqrt() + 1.0;
        close(&of(VotingStart::Class).weights(0, 1), &[(2.0 * sum - 1.0) / sum, 1.0 / sum]);
    }

    #[test]
    fn heads_that_do_not_distinguish_do_not_count() {
        let map = map();
        let voters = Voters::new(&map, &[0, 1, 2], 1, VotingStart::Uniform);
        // The second head varies by nothing, the first by 0.25.
        assert_eq!(variance(&voters.weights(0, 1)), 0.25);
        close(&importance(&voters, 1), &[1.5, 0.5]);
        // From a start of √3 the first varies by 0.4: it counts as well. Of two equal heads both count, as none passes.
        let equal = AttentionMap { heads: 2, queries: 3, keys: 3, values: vec![1.0 / 3.0; 18] };
        close(&importance(&Voters::new(&equal, &[0, 1, 2], 1, VotingStart::Class), 3), &[1.0, 1.0]);
    }

    #[test]
    fn who_is_dropped_neither_gives_nor_gets() {
        let map = map();
        // Without patch 1: patch 2 gives all to the class token, which gives nothing that is left.
        let voters = Voters::new(&map, &[0, 2], 1, VotingStart::Uniform);
        close(&voters.shares(0), &[0.0, 0.0, 1.0, 0.0]);
        close(&voters.shares(1), &[0.5; 4]);
    }
}
