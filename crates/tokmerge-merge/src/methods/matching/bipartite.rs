//! Bipartite soft matching (ToMe, §3 and appendix D): every source proposes to its most similar destination.

use super::Split;
use crate::plan::PlanBuilder;
use crate::{Amount, MergePlan, Similarity, Tokens, mergeable};
use burn::tensor::Tensor;
use tokmerge_ops::{Match, best_match};

/// One accepted proposal: a source and the destination it merges into, as positions within the item.
pub(in crate::methods) type Pair = (u32, u32);

/// In which order the sources that do not merge go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::methods) enum Unmerged {
    /// As they were listed.
    Listed,
    /// As in ToMe's published results: as they were listed, but in items without a prefix the most similar first.
    Published,
}

/// What becomes of the mergeable tokens of an item, as positions within it.
#[derive(Debug)]
pub(in crate::methods) struct Accepted {
    pub(in crate::methods) pairs: Vec<Pair>,
    /// Sources that do not merge, as they were listed.
    pub(in crate::methods) unmerged: Vec<u32>,
    pub(in crate::methods) destinations: Vec<u32>,
}

/// What the sources of an item propose, as positions within it.
#[derive(Debug)]
pub(in crate::methods) struct Proposed {
    /// In the order of the sources; none where there is nothing to propose to.
    pub(in crate::methods) pairs: Vec<Pair>,
    /// How similar they are.
    pub(in crate::methods) similarities: Vec<f32>,
    pub(in crate::methods) destinations: Vec<u32>,
}

/// One proposal per source, for all items of a batch.
#[derive(Debug)]
pub(in crate::methods) struct Proposals {
    splits: Vec<Split>,
    found: Match,
}

impl Proposals {
    /// Every source proposes to the destination whose metric (`[T, D]`) is most similar.
    pub(in crate::methods) fn by_similarity(
        tokens: &Tokens,
        splits: Vec<Split>,
        metric: Tensor<2>,
        similarity: Similarity,
    ) -> Self {
        let rows: Vec<(Vec<u32>, Vec<u32>)> = splits
            .iter()
            .enumerate()
            .map(|(item, split)| {
                let start = tokens.layout.range(item).start as u32;
                let rows = |positions: &[u32]| positions.iter().map(|position| start + position).collect();
                (rows(&split.sources), rows(&split.destinations))
            })
            .collect();
        let items: Vec<_> = rows
            .iter()
            .map(|(sources, destinations)| tokmerge_ops::Bipartite { sources, destinations })
            .collect();
        let found = best_match(metric, similarity, &items);
        Self { splits, found }
    }

    /// Proposals made in another way; `found` lists the sources of all items one after the other.
    pub(in crate::methods) fn new(splits: Vec<Split>, found: Match) -> Self {
        Self { splits, found }
    }

    /// The same proposals, ranked by another score: `score(item, source, similarity)`, the source being a position within
    /// its item.
    pub(in crate::methods) fn ranked_by(mut self, score: impl Fn(usize, u32, f32) -> f32) -> Self {
        let mut offset = 0;
        for (item, split) in self.splits.iter().enumerate() {
            let best = &mut self.found.best[offset..offset + split.sources.len()];
            best.iter_mut()
                .zip(&split.sources)
                .for_each(|(best, source)| *best = score(item, *source, *best));
            offset += split.sources.len();
        }
        self
    }

    /// Proposals more similar than a threshold, in all items together.
    pub(in crate::methods) fn above(&self, threshold: f32) -> usize {
        self.found.best.iter().filter(|best| **best > threshold).count()
    }

    /// All proposals of every item.
    pub(in crate::methods) fn all(self, tokens: &Tokens) -> Vec<Proposed> {
        let Self { splits, found } = self;
        let mut offset = 0;
        let of = |(item, Split { sources, destinations }): (usize, Split)| {
            let start = tokens.layout.range(item).start as u32;
            let all = offset..offset + sources.len();
            offset = all.end;
            if destinations.is_empty() {
                return Proposed { pairs: Vec::new(), similarities: Vec::new(), destinations };
            }
            let pairs = sources.into_iter().zip(&found.partner[all.clone()]);
            Proposed {
                pairs: pairs.map(|(source, partner)| (source, partner - start)).collect(),
                similarities: found.best[all].to_vec(),
                destinations,
            }
        };
        splits.into_iter().enumerate().map(of).collect()
    }

    /// The `counts[item]` best proposals of every item.
    pub(in crate::methods) fn best(self, tokens: &Tokens, counts: &[usize]) -> Vec<Accepted> {
        let Self { splits, found } = self;
        let mut offset = 0;
        let of = |(item, (split, count)): (usize, (Split, &usize))| {
            let (range, prefix) = (tokens.layout.range(item), tokens.prefix.of(item));
            let partner = &found.partner[offset..offset + split.sources.len()];
            let best = &found.best[offset..offset + split.sources.len()];
            offset += split.sources.len();
            let (accepted, rest) = choose(Amount::Count(*count), best, Unmerged::Listed, range.len(), prefix);
            let source = |&source: &u32| split.sources[source as usize];
            let pair = |at: &u32| (source(at), partner[*at as usize] - range.start as u32);
            Accepted {
                pairs: accepted.iter().map(pair).collect(),
                unmerged: rest.iter().map(source).collect(),
                destinations: split.destinations,
            }
        };
        splits.into_iter().zip(counts).enumerate().map(of).collect()
    }

    /// Accepts the best proposals of every item; `None` if there are none.
    ///
    /// The new order of an item in which something merges is prefix, unmerged sources, destinations.
    pub(in crate::methods) fn accept(
        &self,
        amount: Amount,
        unmerged: Unmerged,
        tokens: &Tokens,
    ) -> Option<MergePlan> {
        let mut builder = PlanBuilder::new(tokens.layout.clone());
        let mut offset = 0;
        let mut merges = false;
        for (item, split) in self.splits.iter().enumerate() {
            let range = tokens.layout.range(item);
            let count = split.sources.len();
            let best = &self.found.best[offset..offset + count];
            let partner = &self.found.partner[offset..offset + count];
            offset += count;

            let prefix = tokens.prefix.of(item);
            let (accepted, rest) = choose(amount, best, unmerged, range.len(), prefix);
            if accepted.is_empty() {
                builder.keep_item();
                continue;
            }
            merges = true;
            let pairs: Vec<Pair> = accepted
                .iter()
                .map(|&source| {
                    (split.sources[source as usize], partner[source as usize] - range.start as u32)
                })
                .collect();
            let kept = (0..prefix as u32)
                .chain(rest.iter().map(|&source| split.sources[source as usize]))
                .chain(split.destinations.iter().copied());
            builder.item(kept, &pairs);
        }
        merges.then(|| builder.finish())
    }
}

/// The sources of an item that merge, in any order, and the others in the order in which they go on.
fn choose(
    amount: Amount,
    best: &[f32],
    unmerged: Unmerged,
    len: usize,
    prefix: usize,
) -> (Vec<u32>, Vec<u32>) {
    let sources = 0..best.len() as u32;
    let wanted = match amount {
        Amount::Above(threshold) => best.iter().filter(|best| **best > threshold).count(),
        Amount::Count(remove) => remove,
        _ => amount.of(len, prefix).unwrap_or(0),
    };
    let accepted = mergeable(wanted, len, prefix).min(best.len());
    let by_similarity = unmerged == Unmerged::Published && prefix == 0;
    if let Amount::Above(threshold) = amount
        && accepted == wanted
        && !by_similarity
    {
        // No need to sort.
        return sources.partition(|&source| best[source as usize] > threshold);
    }
    if accepted == 0 {
        return (Vec::new(), sources.collect());
    }
    // The best first, ties and NaN settled by position.
    let score =
        |source: u32| Some(best[source as usize]).filter(|s| !s.is_nan()).unwrap_or(f32::NEG_INFINITY);
    let best_first = |a: &u32, b: &u32| score(*b).total_cmp(&score(*a)).then(a.cmp(b));
    let mut order: Vec<u32> = sources.collect();
    if by_similarity {
        order.sort_unstable_by(best_first);
    } else {
        order.select_nth_unstable_by(accepted - 1, best_first);
    }
    let mut rest = order.split_off(accepted);
    if !by_similarity {
        rest.sort_unstable();
    }
    (order, rest)
}
