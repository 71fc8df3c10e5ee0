//! What each output position of an axis takes from which input positions.

use std::ops::Range;

use super::Interpolation;

/// Bits after the point of a weight: an `i32` less 8 for the sample and 2 for overshoot.
const PRECISION: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION - 1);
/// Samples and weights that are multiplied at a time; rows are padded to a multiple.
pub(super) const LANES: usize = 8;

/// For each output position along one axis: where its input begins, and the weights from there on.
pub(super) struct Weights {
    starts: Vec<usize>,
    /// Weights of each output that are not padding.
    counts: Vec<usize>,
    /// Weights of an output, padded with zeros to whole lanes; 0 where the size stays: positions are copied.
    taps: usize,
    weights: Vec<i32>,
}

impl Weights {
    pub(super) fn new(
        input: usize,
        output: usize,
        window: Range<usize>,
        interpolation: Interpolation,
    ) -> Self {
        let (mut starts, mut counts, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        if input == output {
            starts.extend(window);
            return Self { starts, counts, taps: 0, weights };
        }
        let scale = input as f64 / output as f64;
        let stretch = scale.max(1.0);
        let radius = interpolation.radius() * stretch;
        let shrink = 1.0 / stretch;
        let input_of = |position: usize| {
            let centre = (position as f64 + 0.5) * scale;
            // A float below zero becomes 0.
            let start = (centre - radius + 0.5) as usize;
            let end = ((centre + radius + 0.5) as usize).min(input);
            (centre, start, end.saturating_sub(start))
        };
        let taps = window.clone().map(|position| input_of(position).2).max().unwrap_or(0);
        let taps = taps.max(1).next_multiple_of(LANES);
        let mut exact = Vec::new();
        for position in window {
            let (centre, start, count) = input_of(position);
            exact.clear();
            exact.extend(
                (0..count).map(|i| interpolation.kernel(((i + start) as f64 - centre + 0.5) * shrink)),
            );
            let sum: f64 = exact.iter().sum();
            weights.extend(exact.iter().map(|&w| {
                let w = if sum == 0.0 { w } else { w / sum } * f64::from(1 << PRECISION);
                (if w < 0.0 { w - 0.5 } else { w + 0.5 }) as i32
            }));
            starts.push(start);
            counts.push(count);
            weights.resize(starts.len() * taps, 0);
        }
        Self { starts, counts, taps, weights }
    }

    /// Output positions.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Samples that are read, and count for nothing, behind the last one used.
    pub(super) fn slack(&self) -> usize {
        self.taps
    }

    /// The input positions used.
    pub(super) fn span(&self) -> Range<usize> {
        let last = self.len() - 1;
        // Both bounds grow with the position.
        self.starts[0]..self.starts[last] + self.counts.get(last).copied().unwrap_or(1)
    }

    /// Resizes a row whose first sample is sample `first` of the input, and which has [`slack`](Self::slack).
    #[inline(always)]
    pub(super) fn along(&self, row: &[u8], first: usize, out: &mut [u8]) {
        if self.taps == 0 {
            out[..self.len()].copy_from_slice(&row[self.starts[0] - first..][..self.len()]);
            return;
        }
        let weights = self.weights.chunks_exact(self.taps);
        for ((out, &start), weights) in out.iter_mut().zip(&self.starts).zip(weights) {
            *out = to_byte(HALF.wrapping_add(dot(&row[start - first..][..self.taps], weights)));
        }
    }

    /// Output row `position` of `rows`, each of `out.len()` samples, whose first is row `first` of the input.
    #[inline(always)]
    pub(super) fn down(&self, position: usize, rows: &[u8], first: usize, out: &mut [u8]) {
        let stride = out.len();
        let from = self.starts[position] - first;
        if self.taps == 0 {
            out.copy_from_slice(&rows[from * stride..][..stride]);
            return;
        }
        let weights = &self.weights[position * self.taps..][..self.counts[position]];
        let rows = &rows[from * stride..(from + weights.len()) * stride];
        let (wide, rest) = out.as_chunks_mut::<{ 4 * LANES }>();
        let done = wide.len() * 4 * LANES;
        for (at, out) in wide.iter_mut().enumerate() {
            *out = column_sums(rows, stride, at * 4 * LANES, weights);
        }
        for (at, out) in rest.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            *out = column_sums(rows, stride, done + at * LANES, weights);
        }
    }
}

/// `N` columns from `column` on.
#[inline(always)]
fn column_sums<const N: usize>(rows: &[u8], stride: usize, column: usize, weights: &[i32]) -> [u8; N] {
    let mut sums = [HALF; N];
    for (row, &weight) in rows.chunks_exact(stride).zip(weights) {
        for (sum, &sample) in sums.iter_mut().zip(&row[column..][..N]) {
            *sum = sum.wrapping_add(i32::from(sample).wrapping_mul(weight));
        }
    }
    sums.map(to_byte)
}

/// Both have whole lanes.
#[inline(always)]
fn dot(samples: &[u8], weights: &[i32]) -> i32 {
    let mut sums = [0_i32; LANES];
    for (samples, weights) in samples.as_chunks::<LANES>().0.iter().zip(weights.as_chunks::<LANES>().0) {
        for ((sum, &sample), &weight) in sums.iter_mut().zip(samples).zip(weights) {
            *sum = sum.wrapping_add(i32::from(sample).wrapping_mul(weight));
        }
    }
    sums.iter().fold(0, |all, &sum| all.wrapping_add(sum))
}

#[inline(always)]
fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}
