//! Rows and weights as bytes, for products in integers.
//!
//! - A row of activations is `x ≈ factor · u + offset` with `u` in 0..=255, from the row's smallest value to its largest
//!   (an activation after GELU uses hardly a hundredth of the range below zero).
//! - A column of weights is `w ≈ scale · q` with `q` in -127..=127.
//! - So `Σ x w ≈ factor · (scale · Σ u q) + offset · (scale · Σ q)`, where `Σ u q` is exact in 32 bits and the last
//!   bracket is known beforehand.
//!
//! Nothing here is fused, so all instruction sets make the same integers of the same values. A row or column with NaN
//! or infinity in it, or whose range is beyond f32, has NaN as its factor: all its products are NaN.

use crate::simd::{QUAD, Simd};

/// Operand words after the bytes of a row: its factor and its offset.
const PARAMETERS: usize = 2;

/// The longest row whose sums fit 32 bits.
pub(crate) const MAX_FEATURES: usize = (i32::MAX / (255 * 127)) as usize;

/// Steps of a product over `count` values.
pub(crate) fn quads(count: usize) -> usize {
    count.div_ceil(QUAD)
}

/// Operand words of a quantised row of `count` values.
pub(crate) fn row_words(count: usize) -> usize {
    quads(count) + PARAMETERS
}

/// Factor and offset of a row, after its words.
///
/// # Safety
/// `row` is one of [`quantise`], with `steps` words of bytes.
#[inline(always)]
pub(crate) unsafe fn parameters(row: *const f32, steps: usize) -> [f32; 2] {
    // SAFETY: the caller promises a row of `steps + PARAMETERS` words.
    unsafe { [*row.add(steps), *row.add(steps + 1)] }
}

/// The smallest and the largest value of a row, NaN where there is NaN or infinity in it.
#[inline(always)]
fn range<S: Simd>(simd: S, row: &[f32]) -> [f32; 2] {
    // Several chains, since a row is short against the latency of one.
    const CHAINS: usize = 4;
    let (zero, mut at) = (simd.splat(0.0), 0);
    let mut low = [simd.splat(f32::INFINITY); CHAINS];
    let mut high = [simd.splat(f32::NEG_INFINITY); CHAINS];
    let mut poison = [zero; CHAINS];
    while at + CHAINS * S::LANES <= row.len() {
        for i in 0..CHAINS {
            // SAFETY: the row has CHAINS more vectors (just tested).
            let v = unsafe { simd.load(row.as_ptr().add(at + i * S::LANES)) };
            low[i] = simd.min(low[i], v);
            high[i] = simd.max(high[i], v);
            poison[i] = simd.mul_add(v, zero, poison[i]);
        }
        at += CHAINS * S::LANES;
    }
    for i in 1..CHAINS {
        low[0] = simd.min(low[0], low[i]);
        high[0] = simd.max(high[0], high[i]);
        poison[0] = simd.add(poison[0], poison[i]);
    }
    let mut least = -simd.reduce_max(simd.sub(zero, low[0]));
    let mut most = simd.reduce_max(high[0]);
    let mut finite = simd.reduce_add(poison[0]);
    for &value in &row[at..] {
        least = least.min(value);
        most = most.max(value);
        finite += value * 0.0;
    }
    [least + finite, most + finite]
}

/// Quantises a row: its bytes, the last word filled up with zeros, then factor and offset.
#[inline(always)]
pub(crate) fn quantise<S: Simd>(simd: S, row: &[f32], to: &mut [f32]) {
    let steps = quads(row.len());
    assert_eq!(to.len(), steps + PARAMETERS);
    // A row of nothing has no range; its products are 0.
    let [least, most] = if row.is_empty() { [0.0; 2] } else { range(simd, row) };
    let span = most - least;
    let (factor, offset, inverse) = if span.is_finite() {
        let inverse = 255.0 / span;
        // A row of one value, or as good as one, is its offset.
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        (span / 255.0, least, inverse)
    } else {
        (f32::NAN, f32::NAN, 0.0)
    };
    if let Some(last) = to[..steps].last_mut() {
        *last = 0.0;
    }
    let (low, scale) = (simd.splat(offset), simd.splat(inverse));
    let full = row.len() - row.len() % S::LANES;
    let bytes = to.as_mut_ptr().cast::<u8>();
    let mut at = 0;
    while at < full {
        // SAFETY: `row` has LANES values from `at` on, and `to` as many bytes.
        unsafe {
            let v = simd.load(row.as_ptr().add(at));
            simd.store_bytes(bytes.add(at), simd.mul(simd.sub(v, low), scale));
        }
        at += S::LANES;
    }
    while at < row.len() {
        let byte = ((row[at] - offset) * inverse).round_ties_even() as u8;
        // SAFETY: `to` has a byte for each of the row's values.
        unsafe { *bytes.add(at) = byte };
        at += 1;
    }
    to[steps] = factor;
    to[steps + 1] = offset;
}

/// 1.5 · 2²³.
const INTEGRAL: f32 = 12_582_912.0;

/// A column of weights: its scale, `scale · Σ q`, and its quantised values by `each(index, q)`.
pub(crate) fn quantise_column(weights: &[f32], mut each: impl FnMut(usize, i8)) -> [f32; 2] {
    let largest = weights.iter().fold(0.0, |largest: f32, w| largest.max(w.abs()));
    let finite = weights.iter().all(|w| w.is_finite());
    let inverse = 127.0 / largest;
    if !finite || !inverse.is_finite() {
        // All zero or as good as zero, or not a number.
        for i in 0..weights.len() {
            each(i, 0);
        }
        let scale = if finite { 0.0 } else { f32::NAN };
        return [scale, scale];
    }
    let scale = largest / 127.0;
    let mut sum = 0_i64;
    for (i, w) in weights.iter().enumerate() {
        // To the nearest integer, ties to even: this leaves nothing below one in the mantissa.
        let q = ((w * inverse + INTEGRAL) - INTEGRAL).clamp(-127.0, 127.0) as i8;
        sum += i64::from(q);
        each(i, q);
    }
    [scale, (f64::from(scale) * sum as f64) as f32]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::linear::tile::{IN_CACHE, Operands, product};
    use crate::simd::{Job, dispatch_quads, dispatch_split_quads};
    use proptest::prelude::*;

    struct Quantise<'a>(&'a [f32], &'a mut [f32]);

    impl Job for Quantise<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            quantise(simd, self.0, self.1);
        }
    }

    /// The words of a row as bits.
    fn quantised(isa: Isa, row: &[f32]) -> Vec<u32> {
        let mut to = vec![f32::from_bits(0x0101_0101); row_words(row.len())];
        dispatch_quads(isa, Quantise(row, &mut to));
        to.into_iter().map(f32::to_bits).collect()
    }

    /// Sums of two rows and two columns, the same ones for every lane.
    struct Sums<'a> {
        rows: &'a [f32],
        column: &'a [f32],
        sums: &'a mut Vec<i32>,
    }

    impl Job for Sums<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let k = self.column.len();
            let panel: Vec<f32> = self.column.iter().flat_map(|&w| vec![w; S::PANEL]).collect();
            let operands = Operands { a: self.rows.as_ptr(), a_stride: k, panel: panel.as_ptr(), k };
            // SAFETY: there are two rows of `k` words and as many steps of a panel.
            let tile = unsafe { product::<S, 2, 2, IN_CACHE>(simd, operands, [simd.splat(0.0); 2]) };
            for row in tile {
                let mut lanes = vec![0.0; S::LANES];
                // SAFETY: there is room for the lanes.
                unsafe { simd.store(lanes.as_mut_ptr(), row[1]) };
                assert!(lanes.iter().all(|lane| lane.to_bits() == lanes[0].to_bits()));
                self.sums.push(lanes[0].to_bits() as i32);
            }
        }
    }

    fn word(bytes: &[u8]) -> f32 {
        f32::from_bits(u32::from_le_bytes(bytes.try_into().unwrap()))
    }

    fn check_sums(bytes: &[u8]) {
        let words: Vec<f32> = bytes.chunks_exact(4).map(word).collect();
        let k = words.len() / 3;
        let (rows, column) = (&words[..2 * k], &words[2 * k..3 * k]);
        let want: Vec<i32> = (0..2)
            .map(|r| {
                (0..4 * k).map(|i| i32::from(bytes[4 * r * k + i]) * i32::from(bytes[8 * k + i] as i8)).sum()
            })
            .collect();
        for &isa in Isa::available() {
            for split in [false, true] {
                let mut sums = Vec::new();
                let job = Sums { rows, column, sums: &mut sums };
                if split {
                    dispatch_split_quads(isa, job)
                } else {
                    dispatch_quads(isa, job)
                }
                assert_eq!(sums, want, "{isa}, split: {split}");
            }
        }
    }

    const CASES: u32 = if cfg!(miri) { 2 } else { 64 };

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes there")]
    fn the_largest_sums_are_exact_on_every_path() {
        let steps = MAX_FEATURES / QUAD;
        for weight in [-127_i8, 127] {
            let mut bytes = vec![255; 3 * QUAD * steps];
            bytes[2 * QUAD * steps..].fill(weight as u8);
            check_sums(&bytes);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn sums_are_the_same_integers_on_every_path(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            check_sums(&bytes);
        }

        #[test]
        fn a_row_is_quantised_to_the_same_words_everywhere_and_to_half_a_step(
            row in prop::collection::vec(-3.0_f32..9.0, 1..300),
            scale in prop::sample::select(vec![1e-30_f32, 1e-3, 1.0, 1e30]),
        ) {
            let row: Vec<f32> = row.iter().map(|v| v * scale).collect();
            let words = quantised(Isa::Portable, &row);
            for &isa in Isa::available() {
                prop_assert_eq!(&quantised(isa, &row), &words, "{}", isa);
            }
            let steps = quads(row.len());
            let (factor, offset) = (f32::from_bits(words[steps]), f32::from_bits(words[steps + 1]));
            for (i, &value) in row.iter().enumerate() {
                let byte = f64::from(words[i / 4].to_le_bytes()[i % 4]);
                let error = (f64::from(factor) * byte + f64::from(offset) - f64::from(value)).abs();
                prop_assert!(error <= 0.50001 * f64::from(factor) + 2e-7 * f64::from(value.abs()), "{} {}", value, error);
            }
        }
    }

    #[test]
    fn rows_without_a_range_are_their_offset_and_rows_without_numbers_are_nan() {
        for &isa in Isa::available() {
            for len in [1, 5, 16, 64, 70] {
                let words = quantised(isa, &vec![-2.5; len]);
                let steps = quads(len);
                assert!(words[..steps].iter().all(|&word| word == 0), "{isa}");
                assert_eq!(
                    words[steps..].iter().map(|&w| f32::from_bits(w)).collect::<Vec<_>>(),
                    [0.0, -2.5]
                );
                for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    for at in [0, len / 2, len - 1] {
                        let mut row = vec![1.0; len];
                        row[at] = value;
                        let words = quantised(isa, &row);
                        assert!(words[..steps].iter().all(|&word| word == 0), "{isa} {value} at {at}");
                        assert!(words[steps..].iter().all(|&w| f32::from_bits(w).is_nan()));
                    }
                }
            }
            let words = quantised(isa, &[f32::MAX, -f32::MAX]);
            assert!(f32::from_bits(words[1]).is_nan(), "{isa}");
        }
    }

    #[test]
    fn a_column_keeps_its_largest_weight_and_reports_what_is_no_number() {
        let mut column = Vec::new();
        let [scale, sum] = quantise_column(&[0.5, -2.0, 0.0, 1.0], |_, q| column.push(q));
        assert_eq!(column, [32, -127, 0, 64]);
        assert!((scale * 127.0 - 2.0).abs() < 1e-6 && (sum - scale * -31.0).abs() < 1e-6);
        assert_eq!(quantise_column(&[0.0, 0.0], |_, q| assert_eq!(q, 0)), [0.0, 0.0]);
        assert!(quantise_column(&[0.0, f32::NAN], |_, q| assert_eq!(q, 0))[0].is_nan());
        assert!(quantise_column(&[f32::INFINITY], |_, q| assert_eq!(q, 0))[1].is_nan());
    }
}
