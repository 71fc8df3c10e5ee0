//! AVX2 with FMA: 8 lanes, with dot products of bytes where the CPU has them.

use super::{Job, QUAD, QUADS, SPLIT_QUADS, Simd, VALUES, block};
use crate::isa::Isa;
use std::arch::x86_64::*;

/// Exists only on a CPU with AVX2 and FMA and, if `DOT` is [`QUADS`], AVX-VNNI.
///
/// `DOT` says what [`Simd::dot`] multiplies.
#[derive(Clone, Copy)]
pub(crate) struct Avx2<const DOT: u8>(());

/// Runs `job` compiled for AVX2 and FMA.
///
/// # Safety
/// The CPU supports both.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn enter<J: Job>(job: J) {
    job.run(Avx2::<VALUES>(()));
}

/// Runs `job` compiled for AVX2 and FMA with [`Simd::dot`] on bytes, by AVX-VNNI.
///
/// # Safety
/// The CPU supports the features named.
#[target_feature(enable = "avx2,fma,avxvnni")]
pub(super) unsafe fn enter_quads<J: Job>(job: J) {
    job.run(Avx2::<QUADS>(()));
}

/// As [`enter_quads`], without AVX-VNNI.
///
/// # Safety
/// The CPU supports the features named.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn enter_split_quads<J: Job>(job: J) {
    job.run(Avx2::<SPLIT_QUADS>(()));
}

const LANES: usize = 8;

macro_rules! lane_wise {
    ($($name:ident($($arg:ident),*) $(-> $result:ty)? = $value:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Self::V),*) -> lane_wise!(@ $($result)?) {
            // SAFETY: `self` exists only on a CPU with AVX2 and FMA.
            unsafe { $value }
        }
    )*};
    (@) => { Self::V };
    (@ $result:ty) => { $result };
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn power_of_two(n: __m256i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127))))
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn scale(a: __m256, n: __m256) -> __m256 {
    // In two steps, because 2^n itself may be out of range where a * 2^n is not.
    let n = _mm256_cvtps_epi32(n);
    let half = _mm256_srai_epi32::<1>(n);
    _mm256_mul_ps(_mm256_mul_ps(a, power_of_two(half)), power_of_two(_mm256_sub_epi32(n, half)))
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn round_bf16(a: __m256) -> __m256 {
    let bits = _mm256_castps_si256(a);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    let rounded = _mm256_and_si256(rounded, _mm256_set1_epi32(0xffff_0000_u32 as i32));
    // The carry would turn some NaN into infinity or zero.
    _mm256_blendv_ps(_mm256_castsi256_ps(rounded), a, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a))
}

#[target_feature(enable = "avx2,avxvnni")]
#[inline]
fn dot_quads(a: __m256, b: __m256, c: __m256) -> __m256 {
    let (a, b, c) = (_mm256_castps_si256(a), _mm256_castps_si256(b), _mm256_castps_si256(c));
    _mm256_castsi256_ps(_mm256_dpbusd_avx_epi32(c, a, b))
}

/// [`dot_quads`] from products of 16 bits, even and odd bytes by themselves.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn dot_split_quads(a: __m256, b: __m256, c: __m256) -> __m256 {
    let (a, b, c) = (_mm256_castps_si256(a), _mm256_castps_si256(b), _mm256_castps_si256(c));
    let even = _mm256_and_si256(a, _mm256_set1_epi16(0xff));
    let odd = _mm256_srli_epi16::<8>(a);
    let even = _mm256_madd_epi16(even, _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b)));
    let odd = _mm256_madd_epi16(odd, _mm256_srai_epi16::<8>(b));
    _mm256_castsi256_ps(_mm256_add_epi32(c, _mm256_add_epi32(even, odd)))
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn to_bytes(a: __m256) -> __m128i {
    let words = _mm256_cvtps_epi32(a);
    let words = _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
    _mm_packus_epi16(words, words)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn duplicate(a: __m256) -> [__m256; 2] {
    let (low, high) = (_mm256_unpacklo_ps(a, a), _mm256_unpackhi_ps(a, a));
    [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn reduce_add(a: __m256) -> f32 {
    let quad = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
    let pair = _mm_add_ps(quad, _mm_movehl_ps(quad, quad));
    _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn reduce_max(a: __m256) -> f32 {
    let quad = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
    let pair = _mm_max_ps(quad, _mm_movehl_ps(quad, quad));
    _mm_cvtss_f32(_mm_max_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn transpose(rows: [__m256; LANES]) -> [__m256; LANES] {
    let [a, b, c, d, e, f, g, h] = rows;
    let pairs = [
        _mm256_unpacklo_ps(a, b),
        _mm256_unpackhi_ps(a, b),
        _mm256_unpacklo_ps(c, d),
        _mm256_unpackhi_ps(c, d),
        _mm256_unpacklo_ps(e, f),
        _mm256_unpackhi_ps(e, f),
        _mm256_unpacklo_ps(g, h),
        _mm256_unpackhi_ps(g, h),
    ];
    let [a, b, c, d, e, f, g, h] = pairs;
    let quads = [
        _mm256_shuffle_ps::<0x44>(a, c),
        _mm256_shuffle_ps::<0xee>(a, c),
        _mm256_shuffle_ps::<0x44>(b, d),
        _mm256_shuffle_ps::<0xee>(b, d),
        _mm256_shuffle_ps::<0x44>(e, g),
        _mm256_shuffle_ps::<0xee>(e, g),
        _mm256_shuffle_ps::<0x44>(f, h),
        _mm256_shuffle_ps::<0xee>(f, h),
    ];
    let [a, b, c, d, e, f, g, h] = quads;
    [
        _mm256_permute2f128_ps::<0x20>(a, e),
        _mm256_permute2f128_ps::<0x20>(b, f),
        _mm256_permute2f128_ps::<0x20>(c, g),
        _mm256_permute2f128_ps::<0x20>(d, h),
        _mm256_permute2f128_ps::<0x31>(a, e),
        _mm256_permute2f128_ps::<0x31>(b, f),
        _mm256_permute2f128_ps::<0x31>(c, g),
        _mm256_permute2f128_ps::<0x31>(d, h),
    ]
}

impl<const DOT: u8> Simd for Avx2<DOT> {
    type V = __m256;
    const LANES: usize = LANES;
    const PER_WORD: usize = if DOT == VALUES { 1 } else { QUAD };
    // 12 accumulators, 2 weights and a broadcast fit 16 registers.
    const ROWS: usize = block(Isa::Avx2)[0];

    lane_wise! {
        add(a, b) = _mm256_add_ps(a, b);
        sub(a, b) = _mm256_sub_ps(a, b);
        mul(a, b) = _mm256_mul_ps(a, b);
        div(a, b) = _mm256_div_ps(a, b);
        min(a, b) = _mm256_min_ps(a, b);
        max(a, b) = _mm256_max_ps(a, b);
        mul_add(a, b, c) = _mm256_fmadd_ps(a, b, c);
        dot(a, b, c) = match DOT {
            QUADS => dot_quads(a, b, c),
            SPLIT_QUADS => dot_split_quads(a, b, c),
            _ => _mm256_fmadd_ps(a, b, c),
        };
        integers(a) = _mm256_cvtepi32_ps(_mm256_castps_si256(a));
        round(a) = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        scale(a, n) = scale(a, n);
        select_greater(a, b, x, y) = _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b));
        round_bf16(a) = round_bf16(a);
        duplicate(a) -> [__m256; 2] = duplicate(a);
        turn_pairs(a, cos, sin) =
            _mm256_fmaddsub_ps(a, cos, _mm256_mul_ps(_mm256_permute_ps::<0b10_11_00_01>(a), sin));
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        // SAFETY: `self` exists only on a CPU with AVX2 and FMA.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    fn reduce_add(self, a: Self::V) -> f32 {
        // SAFETY: `self` exists only on a CPU with AVX2 and FMA.
        unsafe { reduce_add(a) }
    }
    #[inline(always)]
    fn reduce_max(self, a: Self::V) -> f32 {
        // SAFETY: `self` exists only on a CPU with AVX2 and FMA.
        unsafe { reduce_max(a) }
    }
    #[inline(always)]
    fn prefetch(self, address: *const f32) {
        // SAFETY: a prefetch never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[inline(always)]
    fn prefetch_l2(self, address: *const f32) {
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: the caller promises LANES readable values.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, a: Self::V) {
        // SAFETY: the caller promises LANES writable values.
        unsafe { _mm256_storeu_ps(to, a) }
    }
    #[inline(always)]
    unsafe fn load_partial(self, from: *const f32, count: usize) -> Self::V {
        let mut lanes = [0.0; LANES];
        for (i, lane) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller promises `count` readable values.
            *lane = unsafe { *from.add(i) };
        }
        // SAFETY: `lanes` holds LANES values.
        unsafe { self.load(lanes.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, count: usize, a: Self::V) {
        // A masked store costs dozens of cycles on AMD.
        let mut lanes = [0.0; LANES];
        // SAFETY: `lanes` holds LANES values.
        unsafe { self.store(lanes.as_mut_ptr(), a) }
        for (i, lane) in lanes.into_iter().enumerate().take(count) {
            // SAFETY: the caller promises `count` writable values.
            unsafe { *to.add(i) = lane }
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, a: Self::V) {
        // SAFETY: `self` exists only on a CPU with AVX2 and FMA; the caller promises LANES writable bytes.
        unsafe { _mm_storel_epi64(to.cast(), to_bytes(a)) }
    }
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        let mut rows = [self.splat(0.0); LANES];
        for (r, row) in rows.iter_mut().enumerate() {
            // SAFETY: the caller promises LANES readable values in each of LANES rows.
            *row = unsafe { self.load(from.add(r * from_stride)) };
        }
        // SAFETY: `self` exists only on a CPU with AVX2 and FMA.
        let columns = unsafe { transpose(rows) };
        for (c, column) in columns.into_iter().enumerate() {
            // SAFETY: the caller promises LANES writable values in each of LANES rows.
            unsafe { self.store(to.add(c * to_stride), column) }
        }
    }
}
