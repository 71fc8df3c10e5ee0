//! Bipartite soft matching (ToMe, §3 and appendix D), and its random control.

use super::Tome;
use super::partition::{Random, Split};
use crate::plan::PlanBuilder;
use crate::{Evidence, MergePlan, Tokens, mergeable};
use tokmerge_ops::{Match, best_match};

/// One accepted proposal: a source and the destination it merges into, as positions within the item.
type Pair = (u32, u32);

pub(super) fn plan(
    tome: &Tome,
    layer: usize,
    remove: usize,
    tokens: &Tokens,
    evidence: Evidence,
) -> MergePlan {
    let features = evidence.into_features();
    let splits = splits(tome, layer, tokens);
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
    let found = best_match(features, tome.similarity, &items);
    accept(remove, tokens, &splits, &found)
}

/// Random partners and random acceptance: what merging is worth without looking at the tokens.
pub(super) fn random(tome: &Tome, layer: usize, remove: usize, tokens: &Tokens) -> MergePlan {
    let splits = splits(tome, layer, tokens);
    let mut found = Match::default();
    for (item, split) in splits.iter().enumerate() {
        let range = tokens.layout.range(item);
        let mut random = Random::new(tome.seed.wrapping_add(1), layer, range.len());
        for _ in &split.sources {
            found.best.push(random.below(1 << 24) as f32);
            found.partner.push(match split.destinations.len() {
                0 => u32::MAX,
                destinations => range.start as u32 + split.destinations[random.below(destinations)],
            });
        }
    }
    accept(remove, tokens, &splits, &found)
}

fn splits(tome: &Tome, layer: usize, tokens: &Tokens) -> Vec<Split> {
    tokens
        .layout
        .lens()
        .map(|len| tome.partition.split(len, tokens.prefix, &mut Random::new(tome.seed, layer, len)))
        .collect()
}

/// Accepts the best proposals of every item.
fn accept(remove: usize, tokens: &Tokens, splits: &[Split], found: &Match) -> MergePlan {
    let mut builder = PlanBuilder::new(tokens.layout.clone());
    let mut offset = 0;
    for (item, split) in splits.iter().enumerate() {
        let range = tokens.layout.range(item);
        let count = split.sources.len();
        let best = &found.best[offset..offset + count];
        let partner = &found.partner[offset..offset + count];
        offset += count;

        let accepted = mergeable(remove, range.len(), tokens.prefix);
        if accepted == 0 {
            builder.keep_item();
            continue;
        }
        let mut order: Vec<u32> = (0..count as u32).collect();
        // The best first, ties and NaN settled by position.
        order.sort_unstable_by(|&a, &b| {
            let score = |source: u32| {
                Some(best[source as usize]).filter(|s| !s.is_nan()).unwrap_or(f32::NEG_INFINITY)
            };
            score(b).total_cmp(&score(a)).then(a.cmp(&b))
        });
        let (merged, unmerged) = order.split_at_mut(accepted);
        if tokens.prefix > 0 {
            unmerged.sort_unstable();
        }
        let pairs: Vec<Pair> = merged
            .iter()
            .map(|&source| (split.sources[source as usize], partner[source as usize] - range.start as u32))
            .collect();
        let kept = (0..tokens.prefix as u32)
            .chain(unmerged.iter().map(|&source| split.sources[source as usize]))
            .chain(split.destinations.iter().copied());
        builder.item(kept, &pairs);
    }
    builder.finish()
}
