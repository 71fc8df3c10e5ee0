//! For every source token the most similar destination token, without writing the similarity matrix.
//!
//! Destinations are packed into panels, and strips of sources reduce the products with each panel to the best score so
//! far and its place. All instruction sets equal the Portable instantiation up to rounding of
//! the scores. A source's result does not depend on which other sources there are.

use crate::attention::panels::{keys_len, pack_keys};
use crate::attention::softmax::softmax_numerators;
use crate::isa::Isa;
use crate::linear::tile::{IN_CACHE, MAX_ROWS, Operands, Strip, for_each_strip, product, squared_distance};
use crate::simd::{Job, Operand, Simd, dispatch, load_at, store_at};
use crate::threads::scratch::Scratch;
use crate::threads::{Shared, for_each, part, threads};

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
/// The least that is worth a task where there are fewer items than threads.
const SHARED_SOURCES: usize = 42;

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
    let idle = threads() / items.len().max(1);
    let mut tasks = Vec::new();
    let mut first = 0;
    for item in items {
        assert!(item.destinations.len() < 1 << 24, "best_match: {} destinations", item.destinations.len());
        let count = item.sources.len();
        let chunks = count.div_ceil(TASK_SOURCES).max(idle.min(count / SHARED_SOURCES));
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
        let shape = [destinations.len(), dim];
        let mut panels = Scratch::take(keys_len::<S>(Operand::Values, destinations.len(), dim));
        gather(simd, similarity, metric, dim, destinations, &mut rows);
        // SAFETY: `gather` filled `destinations.len()` rows of `dim`.
        unsafe { pack_keys(simd, Operand::Values, 1.0, rows.as_ptr(), dim, shape, &mut panels) };
        gather(simd, similarity, metric, dim, sources, &mut rows);

        let padded = destinations.len().next_multiple_of(S::LANES);
        let mut bias = Scratch::take(padded);
        bias.fill(0.0);
        bias[destinations.len()..].fill(f32::NEG_INFINITY);
        // A softmax is over all scores; of the others only the largest so far are kept.
        let kept = if similarity == Similarity::Softmax { padded } else { 0 };
        let mut scores = Scratch::take(S::ROWS * kept);
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
    /// Rows of `bias.len()` for the softmax, empty for the other similarities.
    scores: &'a mut [f32],
    scale: f32,
    destinations: &'a [u32],
    best: &'a mut [f32],
    partner: &'a mut [u32],
}

/// Per lane the largest score so far, and its place as f32, exact below 2^24.
type Largest<V> = [[V; 2]; MAX_ROWS];

impl<S: Simd> Strip<S> for Sources<'_> {
    #[inline(always)]
    unsafe fn run<const ROWS: usize>(&mut self, simd: S, first: usize) {
        let padded = self.bias.len();
        let full = padded - padded % S::PANEL;
        let mut largest = [[simd.splat(f32::NEG_INFINITY), lane_numbers(simd)]; MAX_ROWS];
        let mut at = 0;
        // SAFETY: the caller promises these sources; `panels` and `bias` have a panel at each `at`, the last one half
        // as wide.
        unsafe {
            while at < full {
                self.panel::<S, ROWS, 2>(simd, first, at, &mut largest);
                at += S::PANEL;
            }
            if at < padded {
                self.panel::<S, ROWS, 1>(simd, first, at, &mut largest);
            }
        }
        for r in 0..ROWS {
            let [scores, places] = largest[r];
            let score = simd.reduce_max(scores);
            // The first of the places where the largest score is.
            let negative = simd.sub(simd.splat(0.0), places);
            let candidates = simd.select_greater(simd.splat(score), scores, simd.splat(-NOWHERE), negative);
            let place = -simd.reduce_max(candidates) as usize;
            self.partner[first + r] = self.destinations[place];
            self.best[first + r] = match self.similarity {
                Similarity::Softmax => {
                    probability(simd, &mut self.scores[r * padded..(r + 1) * padded], score)
                }
                Similarity::Cosine | Similarity::Dot | Similarity::Euclidean => score,
            };
        }
    }
}

/// Behind every place.
const NOWHERE: f32 = (1 << 25) as f32;

/// 0, 1, …, one per lane.
#[inline(always)]
fn lane_numbers<S: Simd>(simd: S) -> S::V {
    const NUMBERS: [f32; 16] =
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];
    load_at(simd, &NUMBERS[..S::LANES], 0)
}

impl Sources<'_> {
    /// Reduces the scores of ROWS sources and the `VECTORS * LANES` destinations from `at` on.
    ///
    /// # Safety
    /// The sources exist, and so does the panel, with its biases.
    #[inline(always)]
    unsafe fn panel<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        first: usize,
        at: usize,
        largest: &mut Largest<S::V>,
    ) {
        let (dim, padded) = (self.dim, self.bias.len());
        assert!(self.rows.len() >= (first + ROWS) * dim && self.panels.len() == padded * dim);
        assert!(at + VECTORS * S::LANES <= padded);
        let scale = simd.splat(self.scale);
        // SAFETY: `rows` has these rows, `panels` this panel (asserted).
        let sums = unsafe {
            let operands = Operands {
                a: self.rows.as_ptr().add(first * dim),
                a_stride: dim,
                panel: self.panels.as_ptr().add(at * dim),
                k: dim,
            };
            if self.similarity == Similarity::Euclidean {
                squared_distance::<S, ROWS, VECTORS>(simd, operands)
            } else {
                product::<S, ROWS, VECTORS, IN_CACHE>(simd, operands, [simd.splat(0.0); VECTORS])
            }
        };
        for i in 0..VECTORS {
            let at = at + i * S::LANES;
            let bias = load_at(simd, self.bias, at);
            let places = simd.add(simd.splat(at as f32), lane_numbers(simd));
            for r in 0..ROWS {
                let score = simd.mul_add(sums[r][i], scale, bias);
                let [scores, before] = largest[r];
                largest[r] = [
                    simd.select_greater(score, scores, score, scores),
                    simd.select_greater(score, scores, places, before),
                ];
                if self.similarity == Similarity::Softmax {
                    store_at(simd, &mut self.scores[r * padded..(r + 1) * padded], at, score);
                }
            }
        }
    }
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
