//! The matchers that bipartite matching is compared with (ToMe, Table 2). They run on the host and are there to
//! be measured, not to be fast; the output keeps the order of the tokens.

use super::Tome;
use crate::methods::At;
use crate::methods::draw::Draw;
use crate::methods::matching::bipartite::{Proposals, Unmerged};
use crate::methods::matching::clusters::fill_empty;
use crate::plan::PlanBuilder;
use crate::{Evidence, MergePlan, Similarity, Tokens};
use tokmerge_ops::Match;

/// The metric of a batch on the host, normalised where the similarity asks for it.
struct Rows {
    values: Vec<f32>,
    dim: usize,
    similarity: Similarity,
}

impl Rows {
    fn new(tome: &Tome, evidence: Evidence) -> Self {
        let metric = evidence.into_metric();
        let [_, dim] = metric.dims();
        let mut values: Vec<f32> = metric.into_data().iter::<f32>().collect();
        if tome.similarity == Similarity::Cosine {
            for row in values.chunks_exact_mut(dim.max(1)) {
                normalise(row);
            }
        }
        Self { values, dim, similarity: tome.similarity }
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..(row + 1) * self.dim]
    }

    /// How similar two vectors are; NaN counts as not similar at all. Between two single vectors softmax ranks
    /// pairs as the dot product does.
    fn similarity_of(&self, a: &[f32], b: &[f32]) -> f32 {
        let score: f32 = match self.similarity {
            Similarity::Euclidean => a.iter().zip(b).map(|(a, b)| -(a - b) * (a - b)).sum(),
            Similarity::Cosine | Similarity::Dot | Similarity::Softmax => {
                a.iter().zip(b).map(|(a, b)| a * b).sum()
            }
        };
        if score.is_nan() { f32::NEG_INFINITY } else { score }
    }
}

fn normalise(row: &mut [f32]) {
    let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    row.iter_mut().for_each(|value| *value /= norm);
}

/// Tokens that item `item` of `len` can lose of those that are to go.
fn count(at: &At, tokens: &Tokens, item: usize, len: usize) -> usize {
    at.amount.of(len, tokens.prefix.of(item)).unwrap_or(0)
}

/// Random partners and random acceptance: what merging is worth without looking at the tokens.
pub(super) fn random_merge(tome: &Tome, at: &At, tokens: &Tokens, draw: Draw) -> Option<MergePlan> {
    let splits = tome.partition.split_drawn(tokens, draw, at.layer);
    let mut found = Match::default();
    for (item, split) in splits.iter().enumerate() {
        let range = tokens.layout.range(item);
        let mut random = draw.another().numbers(at.layer, item, range.len());
        for _ in &split.sources {
            found.best.push(random.below(1 << 24) as f32);
            found.partner.push(match split.destinations.len() {
                0 => u32::MAX,
                destinations => range.start as u32 + split.destinations[random.below(destinations)],
            });
        }
    }
    Proposals::new(splits, found).accept(at.amount, Unmerged::Published, tokens)
}

/// Merges the most similar pair of an item, then the most similar pair of the others, and so on: no token is in
/// two pairs. The later token of a pair goes into the earlier.
pub(super) fn greedy(tome: &Tome, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
    let metric = Rows::new(tome, evidence);
    let mut builder = PlanBuilder::new(tokens.layout.clone());
    for item in 0..tokens.layout.items() {
        let range = tokens.layout.range(item);
        let count = count(at, tokens, item, range.len());
        let positions = tokens.prefix.of(item).min(range.len())..range.len();
        let mut candidates: Vec<(f32, u32, u32)> = Vec::new();
        for first in positions.clone() {
            let a = metric.row(range.start + first);
            candidates.extend((first + 1..range.len()).map(|second| {
                (metric.similarity_of(a, metric.row(range.start + second)), first as u32, second as u32)
            }));
        }
        candidates.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut taken = vec![false; range.len()];
        let mut pairs = Vec::with_capacity(count);
        for (_, first, second) in candidates {
            if pairs.len() == count {
                break;
            }
            if !taken[first as usize] && !taken[second as usize] {
                (taken[first as usize], taken[second as usize]) = (true, true);
                pairs.push((second, first));
            }
        }
        builder.item_without(&pairs);
    }
    Some(builder.finish())
}

/// Lloyd's algorithm with as many clusters as tokens are to be left, from evenly spaced tokens.
pub(super) fn kmeans(
    iterations: usize,
    tome: &Tome,
    at: &At,
    tokens: &Tokens,
    evidence: Evidence,
) -> Option<MergePlan> {
    let metric = Rows::new(tome, evidence);
    let mut builder = PlanBuilder::new(tokens.layout.clone());
    for item in 0..tokens.layout.items() {
        let range = tokens.layout.range(item);
        let count = count(at, tokens, item, range.len());
        let first = tokens.prefix.of(item).min(range.len());
        let points = range.len() - first;
        let clusters = points - count;
        if count == 0 {
            builder.keep_item();
            continue;
        }
        let rows = range.start + first..range.end;
        let cluster_of = lloyd(&metric, rows, clusters, iterations);
        // The first member of a cluster keeps its place.
        let mut representative = vec![u32::MAX; clusters];
        let mut pairs = Vec::with_capacity(count);
        for (point, &cluster) in cluster_of.iter().enumerate() {
            let position = (first + point) as u32;
            match representative[cluster] {
                u32::MAX => representative[cluster] = position,
                representative => pairs.push((position, representative)),
            }
        }
        builder.item_without(&pairs);
    }
    Some(builder.finish())
}

/// Cluster of every row; none is empty.
fn lloyd(metric: &Rows, rows: std::ops::Range<usize>, clusters: usize, iterations: usize) -> Vec<usize> {
    let points = rows.len();
    let mut centres: Vec<Vec<f32>> =
        (0..clusters).map(|cluster| metric.row(rows.start + cluster * points / clusters).to_vec()).collect();
    let mut cluster_of = vec![0; points];
    let mut score = vec![0.0; points];
    for _ in 0..iterations {
        for (point, row) in rows.clone().enumerate() {
            let row = metric.row(row);
            (cluster_of[point], score[point]) = centres
                .iter()
                .map(|centre| metric.similarity_of(row, centre))
                .enumerate()
                .fold((0, f32::NEG_INFINITY), |best, next| if next.1 > best.1 { next } else { best });
        }
        fill_empty(&mut cluster_of, &score, clusters);
        for (cluster, centre) in centres.iter_mut().enumerate() {
            centre.fill(0.0);
            let members = (0..points).filter(|&point| cluster_of[point] == cluster);
            let mut count = 0.0;
            for point in members {
                count += 1.0;
                for (sum, value) in centre.iter_mut().zip(metric.row(rows.start + point)) {
                    *sum += value;
                }
            }
            centre.iter_mut().for_each(|value| *value /= count);
            if metric.similarity == Similarity::Cosine {
                normalise(centre);
            }
        }
    }
    cluster_of
}

/// Drops random tokens; outside training the same positions in every item of a length.
pub(super) fn random_prune(at: &At, tokens: &Tokens, draw: Draw) -> Option<MergePlan> {
    let mut builder = PlanBuilder::new(tokens.layout.clone());
    for (item, len) in tokens.layout.lens().enumerate() {
        let mut positions: Vec<u32> = (tokens.prefix.of(item).min(len) as u32..len as u32).collect();
        draw.numbers(at.layer, item, len).shuffle(&mut positions);
        positions.truncate(count(at, tokens, item, len));
        builder.item_dropping(&positions);
    }
    Some(builder.finish())
}

/// Drops the tokens that receive the least attention, averaged over heads and queries (Kim et al., 2021).
pub(super) fn attention_prune(at: &At, tokens: &Tokens, evidence: &Evidence) -> Option<MergePlan> {
    let received = evidence.received();
    let mut builder = PlanBuilder::new(tokens.layout.clone());
    for item in 0..tokens.layout.items() {
        let range = tokens.layout.range(item);
        let mut positions: Vec<u32> =
            (tokens.prefix.of(item).min(range.len()) as u32..range.len() as u32).collect();
        let of = |position: &u32| received[range.start + *position as usize];
        positions.sort_by(|a, b| of(a).total_cmp(&of(b)));
        positions.truncate(count(at, tokens, item, range.len()));
        builder.item_dropping(&positions);
    }
    Some(builder.finish())
}
