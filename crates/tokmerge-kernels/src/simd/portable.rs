//! Plain Rust vectors, for CPUs without a path of their own; the compiler turns them into SSE2 or NEON.
//!
//! `a * b + c` is rounded twice: without an FMA instruction `f32::mul_add` is a library call.

use super::Simd;
use std::array::from_fn;

/// Four lanes.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

const LANES: usize = 4;
/// Adding this leaves the integral part in the lowest bits of the mantissa.
const INTEGRAL: f32 = 12_582_912.0; // 1.5 * 2^23

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

impl Simd for Portable {
    type V = [f32; LANES];
    const LANES: usize = LANES;
    // 8 accumulators, 2 weights and a broadcast fit 16 registers of 4 lanes.
    const ROWS: usize = 4;

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
        from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn dot(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        self.mul_add(a, b, c)
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
    unsafe fn transpose(self, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for r in 0..LANES {
            for c in 0..LANES {
                // SAFETY: the caller promises that these elements are readable and writable.
                unsafe { *to.add(c * to_stride + r) = *from.add(r * from_stride + c) }
            }
        }
    }
}
