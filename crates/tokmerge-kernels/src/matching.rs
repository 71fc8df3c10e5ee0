//! For every source token the most similar destination token, without writing the similarity matrix.
//!
//! Destinations are packed into panels, strips of sources get their score rows and are reduced to the
//! best score and its place. All instruction sets equal the Portable instantiation up to rounding of
//! the scores. A source's result does not depend on which other sources there are.

use crate::isa::Isa;
use crate::panels::{pack_transposed, transposed_len};
use crate::parallel::{Shared, for_each, part};
use crate::scratch::Scratch;
use crate::simd::{Job, Simd, dispatch, load_at, store_at};
use crate::softmax::softmax_numerators;
use crate::tile::{Operands, Strip, for_each_strip, product, squared_distance};

/// How alike two rows `a`, `b` of a metric are; larger is more alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Similarity {
    /// a·b / (|a| |b|); 0 where either norm is 0.
    Cosine,
    /// a·b.
    Dot,
    /// -|a - b|², summed from the differences, so that close rows keep their digits.
    Euclidean,
    /// The probability of b under a softmax of a·b / √dim over the destinations.
    Softmax,
}

/// The two sides of a matching within one item, as rows of the metric.
#[derive(Clone, Copy, Debug)]
pub struct Bipartite<'a> {
    /// Rows that look for a partner.
    pub sources: &'a [u32],
    /// Rows that can be one.
    pub destinations: &'a [u32],
}

/// Sources of a task, which packs the destinations for itself.
const TASK_SOURCES: usize = 224;

/// Finds for each source its most similar destination.
///
/// `metric: [T, dim]`. `best` and `partner` are concatenated over the items' sources: the score, and the
/// row (not the position in the list) of the destination. Ties go to the destination listed first; a NaN
/// score counts as -∞; with nothing but -∞ the first destination is the partner. A source without any
/// destination gets -∞ and `u32::MAX`.
///
/// # Panics
/// When lengths do not match, a row is not in `metric`, or this CPU does not support `isa`.
pub fn best_match(
    isa: Isa,
    similarity: Similarity,
    metric: &[f32],
    dim: usize,
    items: &[Bipartite<'_>],
    best: &mut [f32],
    partner: &mut [u32],
) {
    let rows = metric.len() / dim.max(1);
    assert!(
        dim > 0 && metric.len() == rows * dim,
        "best_match: metric has {} elements, not rows of {dim}",
        metric.len()
    );
    let total: usize = items.iter().map(|item| item.sources.len()).sum();
    assert!(
        best.len() == total && partner.len() == total,
        "best_match: {total} sources, but room for {} scores and {} partners",
        best.len(),
        partner.len()
    );
    for &row in items.iter().flat_map(|item| item.sources.iter().chain(item.destinations)) {
        assert!((row as usize) < rows, "best_match: row {row} of a metric of {rows} rows");
    }
    let mut tasks = Vec::new();
    let mut first = 0;
    for item in items {
        assert!(item.destinations.len() < 1 << 24, "best_match: {} destinations", item.destinations.len());
        let count = item.sources.len();
        let chunks = count.div_ceil(TASK_SOURCES);
        for i in 0..chunks {
            let range = part(count, chunks, i);
            let chunk = Bipartite { sources: &item.sources[range.clone()], ..*item };
            tasks.push((chunk, first + range.start..first + range.end));
        }
        first += count;
    }
    let (best, partner) = (Shared::new(best), Shared::new(partner));
    for_each(tasks.len(), |i| {
        let (item, range) = &tasks[i];
        // SAFETY: the sources of different tasks do not overlap.
        let (best, partner) = unsafe { (best.range(range.clone()), partner.range(range.clone())) };
        dispatch(isa, Matching { similarity, metric, dim, item: *item, best, partner });
    });
}

/// Some sources of one item.
struct Matching<'a> {
    similarity: Similarity,
    metric: &'a [f32],
    dim: usize,
    item: Bipartite<'a>,
    best: &'a mut [f32],
    partner: &'a mut [u32],
}

impl Job for Matching<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Matching { similarity, metric, dim, item, best, partner } = self;
        let Bipartite { sources, destinations } = item;
        if destinations.is_empty() {
            best.fill(f32::NEG_INFINITY);
            partner.fill(u32::MAX);
            return;
        }
        let mut rows = Scratch::take(sources.len().max(destinations.len()) * dim);
        let mut panels = Scratch::take(transposed_len::<S>(destinations.len(), dim));
        gather(simd, similarity, metric, dim, destinations, &mut rows);
        // SAFETY: `gather` filled `destinations.len()` rows of `dim`.
        unsafe { pack_transposed(simd, rows.as_ptr(), dim, [destinations.len(), dim], &mut panels) };
        gather(simd, similarity, metric, dim, sources, &mut rows);

        let padded = destinations.len().next_multiple_of(S::PANEL);
        let mut bias = Scratch::take(padded);
        bias.fill(0.0);
        bias[destinations.len()..].fill(f32::NEG_INFINITY);
        let mut scores = Scratch::take(S::ROWS * padded);
        let scale = match similarity {
            Similarity::Cosine | Similarity::Dot => 1.0,
            Similarity::Euclidean => -1.0,
            Similarity::Softmax => 1.0 / (dim as f32).sqrt(),
        };
        let mut strip = Sources {
            similarity,
            rows: &rows[..sources.len() * dim],
            dim,
            panels: &panels,
            bias: &bias,
            scores: &mut scores,
            scale,
            destinations,
            best,
            partner,
        };
        // SAFETY: `rows` holds `sources.len()` rows, as many as there are results.
        unsafe { for_each_strip(simd, sources.len(), &mut strip) };
    }
}

/// Copies rows of the metric, divided by their norms if the similarity needs that.
#[inline(always)]
fn gather<S: Simd>(
    simd: S,
    similarity: Similarity,
    metric: &[f32],
    dim: usize,
    indices: &[u32],
    rows: &mut [f32],
) {
    for (i, &index) in indices.iter().enumerate() {
        let from = &metric[index as usize * dim..][..dim];
        let to = &mut rows[i * dim..(i + 1) * dim];
        if similarity != Similarity::Cosine {
            to.copy_from_slice(from);
            continue;
        }
        let mut squares = simd.splat(0.0);
        let mut at = 0;
        while at < dim {
            let v = load_at(simd, from, at);
            squares = simd.mul_add(v, v, squares);
            at += S::LANES;
        }
        let norm = simd.reduce_add(squares).sqrt();
        let inverse = simd.splat(if norm > 0.0 { 1.0 / norm } else { 0.0 });
        at = 0;
        while at < dim {
            store_at(simd, to, at, simd.mul(load_at(simd, from, at), inverse));
            at += S::LANES;
        }
    }
}

/// Strips of sources.
struct Sources<'a> {
    similarity: Similarity,
    rows: &'a [f32],
    dim: usize,
    panels: &'a [f32],
    /// 0 per destination, padded with -∞.
    bias: &'a [f32],
    scores: &'a mut [f32],
    scale: f32,
    destinations: &'a [u32],
    best: &'a mut [f32],
    partner: &'a mut [u32],
}

impl<S: Simd> Strip<S> for Sources<'_> {
    #[inline(always)]
    unsafe fn run<const ROWS: usize>(&mut self, simd: S, first: usize) {
        let (dim, padded) = (self.dim, self.bias.len());
        assert!(self.rows.len() >= (first + ROWS) * dim);
        assert!(self.panels.len() == padded * dim && self.scores.len() >= ROWS * padded);
        let scale = simd.splat(self.scale);
        let mut at = 0;
        while at < padded {
            // SAFETY: `rows` has these rows, `panels` a panel at `at`, `bias` and each of ROWS rows of `scores`
            // PANEL elements there (asserted).
            unsafe {
                let operands = Operands {
                    a: self.rows.as_ptr().add(first * dim),
                    a_stride: dim,
                    panel: self.panels.as_ptr().add(at * dim),
                    k: dim,
                };
                let sums = if self.similarity == Similarity::Euclidean {
                    squared_distance::<S, ROWS>(simd, operands)
                } else {
                    product::<S, ROWS, 2>(simd, operands, [simd.splat(0.0); 2])
                };
                for half in 0..2 {
                    let at = at + half * S::LANES;
                    let bias = simd.load(self.bias.as_ptr().add(at));
                    for r in 0..ROWS {
                        let to = self.scores.as_mut_ptr().add(r * padded + at);
                        simd.store(to, simd.mul_add(sums[r][half], scale, bias));
                    }
                }
            }
            at += S::PANEL;
        }
        for r in 0..ROWS {
            let row = &mut self.scores[r * padded..(r + 1) * padded];
            let (score, place) = largest(simd, row);
            self.partner[first + r] = self.destinations[place];
            self.best[first + r] = match self.similarity {
                Similarity::Softmax => probability(simd, row, score),
                Similarity::Cosine | Similarity::Dot | Similarity::Euclidean => score,
            };
        }
    }
}

/// The largest score and its first place; NaN counts as -∞, and the place is 0 if all are -∞.
#[inline(always)]
fn largest<S: Simd>(simd: S, row: &[f32]) -> (f32, usize) {
    let mut best = simd.splat(f32::NEG_INFINITY);
    // Numbers of vectors, exact as f32 below 2^24.
    let mut vector = simd.splat(0.0);
    let mut at = 0;
    while at < row.len() {
        let score = load_at(simd, row, at);
        vector = simd.select_greater(score, best, simd.splat((at / S::LANES) as f32), vector);
        best = simd.select_greater(score, best, score, best);
        at += S::LANES;
    }
    let (mut scores, mut vectors) = ([0.0; 16], [0.0; 16]);
    store_at(simd, &mut scores, 0, best);
    store_at(simd, &mut vectors, 0, vector);
    let (mut score, mut place) = (f32::NEG_INFINITY, usize::MAX);
    for lane in 0..S::LANES {
        let here = vectors[lane] as usize * S::LANES + lane;
        if scores[lane] > score || (scores[lane] == score && here < place) {
            (score, place) = (scores[lane], here);
        }
    }
    (score, place)
}

/// The softmax probability of the largest score; -∞ if that is -∞, 1 if it is ∞.
#[inline(always)]
fn probability<S: Simd>(simd: S, row: &mut [f32], largest: f32) -> f32 {
    if largest.is_infinite() {
        return if largest > 0.0 { 1.0 } else { largest };
    }
    let mut at = 0;
    while at < row.len() {
        let score = load_at(simd, row, at);
        let low = simd.splat(f32::NEG_INFINITY);
        // Only NaN is not greater than -∞, apart from -∞ itself.
        store_at(simd, row, at, simd.select_greater(score, low, score, low));
        at += S::LANES;
    }
    1.0 / softmax_numerators(simd, row)
}
