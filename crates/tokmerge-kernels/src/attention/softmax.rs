//! Rows of scores to numerators of a softmax, and what else happens to them.

use crate::math::{exp, exp2, exp2_coarse};
use crate::simd::{Simd, load_at, store_at, store_words_at};

/// The largest value of a row of whole vectors.
#[inline(always)]
fn row_max<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let mut largest = simd.splat(f32::NEG_INFINITY);
    let mut at = 0;
    while at < row.len() {
        largest = simd.max(largest, load_at(simd, row, at));
        at += S::LANES;
    }
    simd.reduce_max(largest)
}

/// Where a power of 2 is 0 for certain, and still within the range of [`exp2`].
const NOTHING: f32 = -160.0;

macro_rules! numerators {
    ($(#[$doc:meta])* $name:ident, $power:ident, $store:expr) => {
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name<S: Simd>(simd: S, row: &mut [f32], largest: f32) -> f32 {
            assert!(row.len().is_multiple_of(S::LANES));
            let (len, largest) = (row.len(), simd.splat(largest));
            let mut sum = simd.splat(0.0);
            let mut at = 0;
            while at < len {
                let difference = simd.sub(load_at(simd, row, at), largest);
                let power = $power(simd, simd.max(simd.splat(NOTHING), difference));
                $store(simd, row, at, power);
                sum = simd.add(sum, power);
                at += S::LANES;
            }
            simd.reduce_add(sum)
        }
    };
}

numerators! {
    /// Replaces a row of scores by 2^(score - largest) and returns the sum.
    numerators, exp2, store_at
}
numerators! {
    /// As [`numerators`], coarsely.
    coarse_numerators, exp2_coarse, store_at
}
numerators! {
    /// As [`coarse_numerators`], and then [`convert_in_place`].
    coarse_words, exp2_coarse, store_words_here
}

/// Stores a vector of a row of whole ones as operand words at bf16 precision. They lie at or before the values, those
/// of earlier values included.
#[inline(always)]
fn store_words_here<S: Simd>(simd: S, row: &mut [f32], at: usize, v: S::V) {
    let len = row.len();
    store_words_at(simd, row, at, len, v);
}

/// A row of whole vectors as operand words at bf16 precision, in its own place.
#[inline(always)]
pub(crate) fn convert_in_place<S: Simd>(simd: S, row: &mut [f32]) {
    let mut at = 0;
    while at < row.len() {
        let v = load_at(simd, row, at);
        store_words_here(simd, row, at, v);
        at += S::LANES;
    }
}

/// Replaces a row of scores by e^(score - largest) and returns the sum.
#[inline(always)]
pub(crate) fn softmax_numerators<S: Simd>(simd: S, row: &mut [f32]) -> f32 {
    assert!(row.len().is_multiple_of(S::LANES));
    let largest = simd.splat(row_max(simd, row));
    let mut sum = simd.splat(0.0);
    let mut at = 0;
    while at < row.len() {
        let power = exp(simd, simd.sub(load_at(simd, row, at), largest));
        store_at(simd, row, at, power);
        sum = simd.add(sum, power);
        at += S::LANES;
    }
    simd.reduce_add(sum)
}

/// `sums += factor * row`.
#[inline(always)]
pub(crate) fn add_scaled<S: Simd>(simd: S, sums: &mut [f32], row: &[f32], factor: f32) {
    assert_eq!(sums.len(), row.len());
    let factor = simd.splat(factor);
    let mut at = 0;
    while at < row.len() {
        let sum = simd.mul_add(load_at(simd, row, at), factor, load_at(simd, sums, at));
        store_at(simd, sums, at, sum);
        at += S::LANES;
    }
}
