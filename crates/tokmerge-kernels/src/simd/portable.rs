//! Plain Rust vectors, for CPUs without a path of their own; the compiler turns them into SSE2 or NEON.
//!
//! `a * b + c` is rounded twice on x86-64: without an FMA instruction `f32::mul_add` is a library call. Every aarch64 has
//! one, and twice the registers.

use super::{QUAD, SPLIT_QUADS, Simd};
use std::array::from_fn;

/// Four lanes; `DOT` says what [`Simd::dot`] multiplies.
#[derive(Clone, Copy)]
pub(crate) struct Portable<const DOT: u8>;

const LANES: usize = 4;
/// Adding this leaves the integral part in the lowest bits of the mantissa.
const INTEGRAL: f32 = 12_582_912.0; // 1.5 * 2^23

/// Rows of a register block: 8 accumulators, 2 weights and a broadcast fit 16 registers of 4 lanes, 16 of them fit 32.
pub(super) const ROWS: usize = if cfg!(target_arch = "aarch64") { 8 } else { 4 };

#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `c + a · b` of four unsigned and four signed bytes.
#[inline(always)]
fn dot_quad(a: f32, b: f32, c: f32) -> f32 {
    let (a, b) = (a.to_bits().to_le_bytes(), b.to_bits().to_le_bytes());
    let mut sum = c.to_bits() as i32;
    for i in 0..QUAD {
        sum = sum.wrapping_add(i32::from(a[i]) * i32::from(b[i] as i8));
    }
    f32::from_bits(sum as u32)
}

impl<const DOT: u8> Simd for Portable<DOT> {
    type V = [f32; LANES];
    const LANES: usize = LANES;
    const PER_WORD: usize = if DOT == SPLIT_QUADS { QUAD } else { 1 };
    const ROWS: usize = ROWS;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        [value; LANES]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        from_fn(|i| multiply_add(a[i], b[i], c[i]))
    }
    #[inline(always)]
    fn dot(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        if DOT == SPLIT_QUADS { from_fn(|i| dot_quad(a[i], b[i], c[i])) } else { self.mul_add(a, b, c) }
    }
    #[inline(always)]
    fn integers(self, a: Self::V) -> Self::V {
        from_fn(|i| a[i].to_bits() as i32 as f32)
    }
    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        from_fn(|i| (a[i] + INTEGRAL) - INTEGRAL)
    }
    #[inline(always)]
    fn scale(self, a: Self::V, n: Self::V) -> Self::V {
        from_fn(|i| {
            let n = (n[i] + INTEGRAL).to_bits().wrapping_sub(INTEGRAL.to_bits()) as i32;
            // In two steps, because 2^n itself may be out of range where a * 2^n is not.
            a[i] * power_of_two(n >> 1) * power_of_two(n.wrapping_sub(n >> 1))
        })
    }
    #[inline(always)]
    fn select_greater(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        from_fn(|i| if a[i] > b[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    fn round_bf16(self, a: Self::V) -> Self::V {
        from_fn(|i| half::bf16::from_f32(a[i]).to_f32())
    }
    #[inline(always)]
    fn duplicate(self, a: Self::V) -> [Self::V; 2] {
        [from_fn(|i| a[i / 2]), from_fn(|i| a[(LANES + i) / 2])]
    }
    #[inline(always)]
    fn turn_pairs(self, a: Self::V, cos: Self::V, sin: Self::V) -> Self::V {
        from_fn(|i| {
            let across = a[i ^ 1] * sin[i];
            multiply_add(a[i], cos[i], if i % 2 == 0 { -across } else { across })
        })
    }
    #[inline(always)]
    fn reduce_add(self, a: Self::V) -> f32 {
        (a[0] + a[2]) + (a[1] + a[3])
    }
    #[inline(always)]
    fn reduce_max(self, a: Self::V) -> f32 {
        a[0].max(a[1]).max(a[2].max(a[3]))
    }
    #[inline(always)]
    fn prefetch(self, _address: *const f32) {}
    #[inline(always)]
    fn prefetch_l2(self, _address: *const f32) {}

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: the caller promises LANES readable values.
        unsafe { from.cast::<[f32; LANES]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, a: Self::V) {
        // SAFETY: the caller promises LANES writable values.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(a) }
    }
    #[inline(always)]
    unsafe fn load_partial(self, from: *const f32, count: usize) -> Self::V {
        // SAFETY: the caller promises `count` readable values.
        from_fn(|i| if i < count { unsafe { *from.add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, count: usize, a: Self::V) {
        for (i, value) in a.into_iter().enumerate().take(count) {
            // SAFETY: the caller promises `count` writable values.
            unsafe { *to.add(i) = value }
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, a: Self::V) {
        let bytes = self.round(a).map(|value| value as u8);
        // SAFETY: the caller promises LANES writable bytes.
        unsafe { to.cast::<[u8; LANES]>().write_unaligned(bytes) }
    }
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for r in 0..LANES {
            for c in 0..LANES {
                // SAFETY: the caller promises that these elements are readable and writable.
                unsafe { *to.add(c * to_stride + r) = *from.add(r * from_stride + c) }
            }
        }
    }
}
