//! The register-blocked product that linear layers, attention and matching share.
//!
//! `[rows, K] · [K, PANEL]`: a value of `a` is broadcast per row and step and multiplied into two vectors
//! of a panel. Every output element has one accumulator that runs over K in order, whatever the number
//! of rows, so a row's result does not depend on its neighbours.

use crate::isa::Isa;
use crate::simd::{Simd, block};

/// Rows of the largest tile of any instruction set.
pub(crate) const MAX_ROWS: usize = block(Isa::Avx512)[0];
/// Columns of the widest one.
pub(crate) const MAX_PANEL: usize = block(Isa::Avx512)[1];

/// A tile of sums: usually two vectors per row.
pub(crate) type Tile<V, const ROWS: usize, const VECTORS: usize = 2> = [[V; VECTORS]; ROWS];

/// Where a tile reads: `a[r * a_stride + k]` and `panel[k * PANEL + column]`.
#[derive(Clone, Copy)]
pub(crate) struct Operands {
    pub(crate) a: *const f32,
    pub(crate) a_stride: usize,
    pub(crate) panel: *const f32,
    pub(crate) k: usize,
}

/// Steps of K that a panel is prefetched ahead of its use.
const PREFETCH: usize = 8;
/// Words of a cache line, the unit of prefetching.
const LINE: usize = 16;

/// A panel that was just written: nothing has to be prefetched long before its use.
pub(crate) const IN_CACHE: usize = 0;
/// A panel of weights: every layer's are used once in a pass, and all together are larger than caches. Prefetched
/// this many words ahead, beyond the panel's end if need be, they arrive in time.
pub(crate) const IN_MEMORY: usize = 4096;

/// `init + Σₖ a[r, k] · panel[k]` over operand words, for a panel of `VECTORS` vectors. The words `AHEAD` of the
/// current ones are prefetched into L2; with [`IN_CACHE`] nothing is.
///
/// # Safety
/// `a` is readable for `ROWS` rows of `k` words, `panel` for `k * VECTORS * LANES` words.
#[inline(always)]
pub(crate) unsafe fn product<S: Simd, const ROWS: usize, const VECTORS: usize, const AHEAD: usize>(
    simd: S,
    operands: Operands,
    init: [S::V; VECTORS],
) -> Tile<S::V, ROWS, VECTORS> {
    let Operands { mut a, a_stride, mut panel, k } = operands;
    let mut sums = [init; ROWS];
    for _ in 0..k {
        // SAFETY: `panel` has another step and each row of `a` another word, as the caller promises `k` of them; the
        // last increment leaves both at most one beyond the end.
        unsafe {
            let mut weights = init;
            for i in 0..VECTORS {
                weights[i] = simd.load(panel.add(i * S::LANES));
                if (i * S::LANES).is_multiple_of(LINE) {
                    simd.prefetch(panel.wrapping_add((PREFETCH * VECTORS + i) * S::LANES));
                    if AHEAD != IN_CACHE {
                        simd.prefetch_l2(panel.wrapping_add(AHEAD + i * S::LANES));
                    }
                }
            }
            for r in 0..ROWS {
                let value = simd.splat(*a.add(r * a_stride));
                for i in 0..VECTORS {
                    sums[r][i] = simd.dot(value, weights[i], sums[r][i]);
                }
            }
            a = a.add(1);
            panel = panel.add(VECTORS * S::LANES);
        }
    }
    sums
}

/// `Σₖ (a[r, k] - panel[k])²`, for a panel of `VECTORS` vectors.
///
/// # Safety
/// As [`product`].
#[inline(always)]
pub(crate) unsafe fn squared_distance<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    operands: Operands,
) -> Tile<S::V, ROWS, VECTORS> {
    let Operands { mut a, a_stride, mut panel, k } = operands;
    let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
    for _ in 0..k {
        // SAFETY: as in `product`.
        unsafe {
            let mut weights = [simd.splat(0.0); VECTORS];
            for i in 0..VECTORS {
                weights[i] = simd.load(panel.add(i * S::LANES));
            }
            for r in 0..ROWS {
                let value = simd.splat(*a.add(r * a_stride));
                for i in 0..VECTORS {
                    let difference = simd.sub(value, weights[i]);
                    sums[r][i] = simd.mul_add(difference, difference, sums[r][i]);
                }
            }
            a = a.add(1);
            panel = panel.add(VECTORS * S::LANES);
        }
    }
    sums
}

/// What to do with strips of a compile-time number of rows.
pub(crate) trait Strip<S: Simd> {
    /// Handles rows `first..first + ROWS`; implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// The rows exist in the operands the implementation was made for.
    unsafe fn run<const ROWS: usize>(&mut self, simd: S, first: usize);

    /// What follows for `rows` rows after [`Strip::run`], compiled once for all numbers of rows.
    ///
    /// # Safety
    /// As [`Strip::run`].
    #[inline(always)]
    unsafe fn finish(&mut self, _simd: S, _first: usize, _rows: usize) {}
}

/// Cuts `rows` into as few strips of at most `S::ROWS` as possible, whose rows differ by one at most.
///
/// # Safety
/// `strip` may be run on every one of `rows` rows.
#[inline(always)]
pub(crate) unsafe fn for_each_strip<S: Simd>(simd: S, rows: usize, strip: &mut impl Strip<S>) {
    const { assert!(S::ROWS <= MAX_ROWS && S::PANEL <= MAX_PANEL) }
    let strips = rows.div_ceil(S::ROWS);
    let mut first = 0;
    for left in (1..=strips).rev() {
        let count = (rows - first).div_ceil(left);
        // SAFETY: these rows are among `rows`.
        unsafe {
            run_strip(simd, first, count, strip);
            strip.finish(simd, first, count);
        }
        first += count;
    }
}

/// Runs `strip` on `count` rows, at most `S::ROWS`.
///
/// # Safety
/// `strip` may be run on rows `first..first + count`.
#[inline(always)]
pub(crate) unsafe fn run_strip<S: Simd>(simd: S, first: usize, count: usize, strip: &mut impl Strip<S>) {
    // SAFETY: the caller promises these rows.
    unsafe {
        match count {
            14 if S::ROWS >= 14 => strip.run::<14>(simd, first),
            13 if S::ROWS >= 13 => strip.run::<13>(simd, first),
            12 if S::ROWS >= 12 => strip.run::<12>(simd, first),
            11 if S::ROWS >= 11 => strip.run::<11>(simd, first),
            10 if S::ROWS >= 10 => strip.run::<10>(simd, first),
            9 if S::ROWS >= 9 => strip.run::<9>(simd, first),
            8 if S::ROWS >= 8 => strip.run::<8>(simd, first),
            7 if S::ROWS >= 7 => strip.run::<7>(simd, first),
            6 if S::ROWS >= 6 => strip.run::<6>(simd, first),
            5 if S::ROWS >= 5 => strip.run::<5>(simd, first),
            4 => strip.run::<4>(simd, first),
            3 => strip.run::<3>(simd, first),
            2 => strip.run::<2>(simd, first),
            1 => strip.run::<1>(simd, first),
            _ => unreachable!("no strip of {count} rows"),
        }
    }
}
