//! What each output position of an axis takes from which input positions.

use std::ops::Range;

use super::Interpolation;

/// Bits after the point of a weight: an `i32` less 8 for the sample and 2 for overshoot.
const PRECISION: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION - 1);
/// Samples that are summed at a time; lines are padded to a multiple.
pub(super) const LANES: usize = 8;

/// For each output position along one axis: where its input begins, and the weights from there on.
pub(super) struct Weights {
    starts: Vec<usize>,
    /// Weights of each output that are not padding.
    counts: Vec<usize>,
    /// Weights of an output, padded with zeros; 0 where the size stays: positions are copied.
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
        let taps = taps.max(1);
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

    /// Whether positions are copied.
    pub(super) fn stays(&self) -> bool {
        self.taps == 0
    }

    /// The input positions used.
    pub(super) fn span(&self) -> Range<usize> {
        let last = self.len() - 1;
        // Both bounds grow with the position.
        self.starts[0]..self.starts[last] + self.counts.get(last).copied().unwrap_or(1)
    }

    /// Output `position` of lines that are `stride` bytes apart, of which the first is line `first` of the input. `sums` is
    /// memory for as many as there are bytes of output.
    #[inline(always)]
    pub(super) fn weigh(
        &self,
        position: usize,
        lines: &[u8],
        stride: usize,
        first: usize,
        sums: &mut [i32],
        out: &mut [u8],
    ) {
        let lines = &lines[(self.starts[position] - first) * stride..];
        if self.taps == 0 {
            out.copy_from_slice(&lines[..out.len()]);
            return;
        }
        let weights = &self.weights[position * self.taps..][..self.counts[position]];
        sums.fill(HALF);
        add_weighted(sums, lines, stride, weights);
        for (byte, &sum) in out.iter_mut().zip(&*sums) {
            *byte = to_byte(sum);
        }
    }
}

/// Adds lines that are `stride` bytes apart, each times its weight: several at a time, so that sums are read and written
/// less often.
#[inline(always)]
fn add_weighted(sums: &mut [i32], lines: &[u8], stride: usize, weights: &[i32]) {
    const AT_A_TIME: usize = 4;
    let length = sums.len();
    let (fours, rest) = weights.as_chunks::<AT_A_TIME>();
    for (number, &[a, b, c, d]) in fours.iter().enumerate() {
        let lines = &lines[number * AT_A_TIME * stride..];
        let (first, second) = (&lines[..length], &lines[stride..][..length]);
        let (third, fourth) = (&lines[2 * stride..][..length], &lines[3 * stride..][..length]);
        let samples = first.iter().zip(second).zip(third).zip(fourth);
        for (sum, (((&first, &second), &third), &fourth)) in sums.iter_mut().zip(samples) {
            *sum = sum
                .wrapping_add(i32::from(first).wrapping_mul(a))
                .wrapping_add(i32::from(second).wrapping_mul(b))
                .wrapping_add(i32::from(third).wrapping_mul(c))
                .wrapping_add(i32::from(fourth).wrapping_mul(d));
        }
    }
    for (number, &weight) in rest.iter().enumerate() {
        let line = &lines[(fours.len() * AT_A_TIME + number) * stride..][..length];
        for (sum, &sample) in sums.iter_mut().zip(line) {
            *sum = sum.wrapping_add(i32::from(sample).wrapping_mul(weight));
        }
    }
}

#[inline(always)]
fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}
