//! The vector operations kernels are written in, once for all instruction sets.
//!
//! A kernel is a [`Job`] with a body generic over [`Simd`]; [`dispatch`] runs it inside a function
//! compiled for the instruction set. Everything between the two is `#[inline(always)]`, because code
//! that is not inlined there would be compiled without those instructions. For the same reason vector
//! code holds no closures.

use crate::isa::Isa;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

/// Rows and columns of an instruction set's largest register block, which has two vectors per row.
pub(crate) const fn block(isa: Isa) -> [usize; 2] {
    match isa {
        Isa::Avx512 => [14, 32],
        Isa::Avx2 => [6, 16],
        Isa::Portable => [portable::ROWS, 8],
    }
}

/// What [`Simd::dot`] multiplies, as a parameter of the vector types: f32 values.
pub(crate) const VALUES: u8 = 0;
/// Pairs of bf16.
#[cfg(target_arch = "x86_64")]
pub(crate) const PAIRS: u8 = 1;
/// Four unsigned bytes and four signed ones, by one instruction.
#[cfg(target_arch = "x86_64")]
pub(crate) const QUADS: u8 = 2;
/// The same by several instructions; no sum is rounded or cut off on the way, so the results are the same.
pub(crate) const SPLIT_QUADS: u8 = 3;

/// Operand words of four bytes.
pub(crate) const QUAD: usize = 4;

/// Vectors of `LANES` f32. A value of the type is the proof that the CPU has the instructions.
pub(crate) trait Simd: Copy + Send + Sync {
    /// A vector.
    type V: Copy;
    /// Values in a vector.
    const LANES: usize;
    /// Columns of a weight panel.
    const PANEL: usize = 2 * Self::LANES;
    /// Values in an operand word of [`Simd::dot`]: one f32, two bf16 or four bytes.
    const PER_WORD: usize = 1;
    /// Rows of the largest register block, with two accumulators each.
    const ROWS: usize;

    fn splat(self, value: f32) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller one; `b` where either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger one; `b` where either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the CPU has FMA.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c + a · b` over operand words: f32 values, pairs of bf16 (see [`Simd::store_words`]), or four unsigned bytes
    /// of `a` and signed ones of `b`, whose sums are the bits of an i32.
    fn dot(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Lanes that are the bits of an i32, to the nearest f32.
    fn integers(self, a: Self::V) -> Self::V;
    /// To the nearest integer, ties to even; for magnitudes below 2²².
    fn round(self, a: Self::V) -> Self::V;
    /// `a * 2^n` for integral `n` in -250..=250, with gradual underflow.
    fn scale(self, a: Self::V, n: Self::V) -> Self::V;
    /// `x` where `a > b`, `y` elsewhere and where either is NaN.
    fn select_greater(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// To the nearest bf16, ties to even, as f32.
    fn round_bf16(self, a: Self::V) -> Self::V;
    /// Each lane twice, next to each other: the first half of the lanes, then the other.
    fn duplicate(self, a: Self::V) -> [Self::V; 2];
    /// Neighbouring lanes `(a, b)` as `(a cos - b sin, b cos + a sin)`, cosines and sines being those of both lanes.
    fn turn_pairs(self, a: Self::V, cos: Self::V, sin: Self::V) -> Self::V;
    fn reduce_add(self, a: Self::V) -> f32;
    /// The largest lane; any lane where one is NaN.
    fn reduce_max(self, a: Self::V) -> f32;
    /// Prefetches the cache line at `address`, which need not be valid.
    fn prefetch(self, address: *const f32);
    /// As [`Simd::prefetch`], into L2 only.
    fn prefetch_l2(self, address: *const f32);

    /// # Safety
    /// `LANES` values are readable at `from`.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// # Safety
    /// `LANES` values are writable at `to`.
    unsafe fn store(self, to: *mut f32, a: Self::V);
    /// The first `count` lanes from memory, zeros in the others.
    ///
    /// # Safety
    /// `count < LANES`, and `count` values are readable at `from`.
    unsafe fn load_partial(self, from: *const f32, count: usize) -> Self::V;
    /// Stores the first `count` lanes.
    ///
    /// # Safety
    /// `count < LANES`, and `count` values are writable at `to`.
    unsafe fn store_partial(self, to: *mut f32, count: usize, a: Self::V);
    /// Transposes a block: `to[c * to_stride + r] = from[r * from_stride + c]`, `r, c < LANES`.
    ///
    /// # Safety
    /// All these elements are readable and writable.
    unsafe fn transpose(self, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize);

    /// Stores all lanes, rounded to the nearest integer (ties to even), as bytes; for values from 0 to 255.
    ///
    /// # Safety
    /// `LANES` bytes are writable at `to`.
    unsafe fn store_bytes(self, to: *mut u8, a: Self::V);

    /// Operand words of two rows of values, as neighbouring steps of a product at bf16 precision. Only where
    /// [`Simd::PER_WORD`] is 2.
    #[inline(always)]
    fn pair(self, first: Self::V, _second: Self::V) -> Self::V {
        self.round_bf16(first)
    }

    /// Stores the first `count` lanes as operand words of [`Simd::dot`] at bf16 precision: f32 rounded to bf16, one
    /// word a value, or, where [`Simd::PER_WORD`] is 2, pairs of bf16, an odd count padded with zero.
    ///
    /// # Safety
    /// `count <= LANES`, and `count.div_ceil(PER_WORD)` words are writable at `to`.
    #[inline(always)]
    unsafe fn store_words(self, to: *mut f32, count: usize, a: Self::V) {
        let rounded = self.round_bf16(a);
        // SAFETY: the caller's promise.
        unsafe {
            if count == Self::LANES {
                self.store(to, rounded)
            } else {
                self.store_partial(to, count, rounded)
            }
        }
    }
}

/// What the kernels multiply: how a row of activations is laid out as operand words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// f32 as they are.
    Values,
    /// Rounded to bf16, as [`Simd::store_words`] stores them.
    Bf16,
}

/// Operand words of `count` values.
#[inline(always)]
pub(crate) fn words<S: Simd>(operand: Operand, count: usize) -> usize {
    match operand {
        Operand::Values => count,
        Operand::Bf16 => count.div_ceil(S::PER_WORD),
    }
}

/// Converts a row of activations into operand words at bf16 precision.
#[inline(always)]
pub(crate) fn convert<S: Simd>(simd: S, row: &[f32], to: &mut [f32]) {
    assert_eq!(to.len(), words::<S>(Operand::Bf16, row.len()));
    let mut at = 0;
    while at < row.len() {
        store_words_at(simd, to, at, row.len(), load_at(simd, row, at));
        at += S::LANES;
    }
}

/// Stores the values `at..` of a row of `len` as operand words at bf16 precision, dropping the lanes behind its end.
#[inline(always)]
pub(crate) fn store_words_at<S: Simd>(simd: S, row: &mut [f32], at: usize, len: usize, v: S::V) {
    assert!(at <= len && at.is_multiple_of(S::LANES) && row.len() >= len.div_ceil(S::PER_WORD));
    // SAFETY: the words of all `len` values are writable, and `at` begins a word.
    unsafe { simd.store_words(row.as_mut_ptr().add(at / S::PER_WORD), (len - at).min(S::LANES), v) }
}

/// Loads from `slice[at..]`, zeros behind its end.
#[inline(always)]
pub(crate) fn load_at<S: Simd>(simd: S, slice: &[f32], at: usize) -> S::V {
    assert!(at <= slice.len());
    let left = slice.len() - at;
    // SAFETY: `left` values are readable from `at` on, and both branches read at most that many.
    unsafe {
        let from = slice.as_ptr().add(at);
        if left >= S::LANES { simd.load(from) } else { simd.load_partial(from, left) }
    }
}

/// Stores into `slice[at..]`, dropping the lanes behind its end.
#[inline(always)]
pub(crate) fn store_at<S: Simd>(simd: S, slice: &mut [f32], at: usize, v: S::V) {
    assert!(at <= slice.len());
    let left = slice.len() - at;
    // SAFETY: `left` values are writable from `at` on, and both branches write at most that many.
    unsafe {
        let to = slice.as_mut_ptr().add(at);
        if left >= S::LANES { simd.store(to, v) } else { simd.store_partial(to, left, v) }
    }
}

/// Work that is written once for all instruction sets.
pub(crate) trait Job {
    /// Implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S);
}

/// Runs `job` compiled for `isa`.
///
/// # Panics
/// When this CPU does not support `isa`.
pub(crate) fn dispatch<J: Job>(isa: Isa, job: J) {
    assert!(
        isa.is_supported(),
        "instruction set {isa} is not supported by this CPU; it has {:?}",
        Isa::available()
    );
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: support was checked above.
        Isa::Avx512 => unsafe { avx512::enter(job) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: support was checked above.
        Isa::Avx2 => unsafe { avx2::enter(job) },
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx512 | Isa::Avx2 => unreachable!("checked above"),
        Isa::Portable => job.run(portable::Portable::<VALUES>),
    }
}

/// Runs `job` compiled for `isa` with [`Simd::dot`] on bytes.
///
/// # Panics
/// When this CPU does not support `isa`.
pub(crate) fn dispatch_quads<J: Job>(isa: Isa, job: J) {
    assert!(isa.is_supported(), "instruction set {isa} is not supported by this CPU");
    match (isa, isa.has_int8_dot()) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: support was checked above, and that of the dot product by `has_int8_dot`.
        (Isa::Avx512, true) => unsafe { avx512::enter_quads(job) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: support was checked above.
        (Isa::Avx512, false) => unsafe { avx512::enter_split_quads(job) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: support was checked above, and that of the dot product by `has_int8_dot`.
        (Isa::Avx2, true) => unsafe { avx2::enter_quads(job) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: support was checked above.
        (Isa::Avx2, false) => unsafe { avx2::enter_split_quads(job) },
        #[cfg(not(target_arch = "x86_64"))]
        (Isa::Avx512 | Isa::Avx2, _) => unreachable!("checked above"),
        (Isa::Portable, _) => job.run(portable::Portable::<SPLIT_QUADS>),
    }
}

/// Runs `job` as [`dispatch_quads`] would on a CPU without dot products of bytes.
#[cfg(test)]
pub(crate) fn dispatch_split_quads<J: Job>(isa: Isa, job: J) {
    assert!(isa.is_supported(), "instruction set {isa} is not supported by this CPU");
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: support was checked above.
        Isa::Avx512 => unsafe { avx512::enter_split_quads(job) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: support was checked above.
        Isa::Avx2 => unsafe { avx2::enter_split_quads(job) },
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx512 | Isa::Avx2 => unreachable!("checked above"),
        Isa::Portable => job.run(portable::Portable::<SPLIT_QUADS>),
    }
}

/// Runs `job` with [`Simd::dot`] on pairs of bf16.
///
/// # Panics
/// When this CPU has no such instruction.
pub(crate) fn dispatch_bf16_pairs<J: Job>(job: J) {
    assert!(Isa::Avx512.has_bf16_dot(), "bf16 dot products are not supported by this CPU");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: support was checked above.
    unsafe {
        avx512::enter_bf16(job);
    }
    #[cfg(not(target_arch = "x86_64"))]
    drop(job);
}
