//! AVX-512: 16 lanes, with dot products of bf16 and of bytes where the CPU has them.

use super::{Job, PAIRS, QUAD, QUADS, SPLIT_QUADS, Simd, VALUES, block};
use crate::isa::Isa;
use std::arch::x86_64::*;
use std::mem::transmute;

/// Exists only on a CPU with AVX-512 F, BW, DQ and VL and, if `DOT` is [`PAIRS`], BF16, if it is [`QUADS`], VNNI.
///
/// `DOT` says what [`Simd::dot`] multiplies.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const DOT: u8>(());

/// Runs `job` compiled for AVX-512.
///
/// # Safety
/// The CPU supports the features named.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn enter<J: Job>(job: J) {
    job.run(Avx512::<VALUES>(()));
}

/// Runs `job` compiled for AVX-512 with [`Simd::dot`] on pairs of bf16.
///
/// # Safety
/// The CPU supports the features named.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub(super) unsafe fn enter_bf16<J: Job>(job: J) {
    job.run(Avx512::<PAIRS>(()));
}

/// Runs `job` compiled for AVX-512 with [`Simd::dot`] on bytes, by VNNI.
///
/// # Safety
/// The CPU supports the features named.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
pub(super) unsafe fn enter_quads<J: Job>(job: J) {
    job.run(Avx512::<QUADS>(()));
}

/// As [`enter_quads`], without VNNI.
///
/// # Safety
/// The CPU supports the features named.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn enter_split_quads<J: Job>(job: J) {
    job.run(Avx512::<SPLIT_QUADS>(()));
}

const LANES: usize = 16;

macro_rules! lane_wise {
    ($($name:ident($($arg:ident),*) $(-> $result:ty)? = $value:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Self::V),*) -> lane_wise!(@ $($result)?) {
            // SAFETY: `self` exists only on a CPU with AVX-512.
            unsafe { $value }
        }
    )*};
    (@) => { Self::V };
    (@ $result:ty) => { $result };
}

#[target_feature(enable = "avx512f")]
#[inline]
fn round_bf16(a: __m512) -> __m512 {
    let bits = _mm512_castps_si512(a);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    let rounded = _mm512_and_si512(rounded, _mm512_set1_epi32(0xffff_0000_u32 as i32));
    // The carry would turn some NaN into infinity or zero.
    _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a), _mm512_castsi512_ps(rounded), a)
}

#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn dot_pairs(a: __m512, b: __m512, c: __m512) -> __m512 {
    // SAFETY: both types are 512 plain bits.
    let (a, b) = unsafe { (transmute::<__m512, __m512bh>(a), transmute::<__m512, __m512bh>(b)) };
    _mm512_dpbf16_ps(c, a, b)
}

#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn dot_quads(a: __m512, b: __m512, c: __m512) -> __m512 {
    let (a, b, c) = (_mm512_castps_si512(a), _mm512_castps_si512(b), _mm512_castps_si512(c));
    _mm512_castsi512_ps(_mm512_dpbusd_epi32(c, a, b))
}

/// [`dot_quads`] from products of 16 bits, even and odd bytes by themselves.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn dot_split_quads(a: __m512, b: __m512, c: __m512) -> __m512 {
    let (a, b, c) = (_mm512_castps_si512(a), _mm512_castps_si512(b), _mm512_castps_si512(c));
    let even = _mm512_and_si512(a, _mm512_set1_epi16(0xff));
    let odd = _mm512_srli_epi16::<8>(a);
    let even = _mm512_madd_epi16(even, _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(b)));
    let odd = _mm512_madd_epi16(odd, _mm512_srai_epi16::<8>(b));
    _mm512_castsi512_ps(_mm512_add_epi32(c, _mm512_add_epi32(even, odd)))
}

#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn to_pairs(a: __m512) -> __m256i {
    // SAFETY: both types are 256 plain bits.
    unsafe { transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(a)) }
}

#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn interleave(low: __m512, high: __m512) -> __m512 {
    let high = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(to_pairs(high)));
    _mm512_castsi512_ps(_mm512_or_si512(high, _mm512_cvtepu16_epi32(to_pairs(low))))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn duplicate(a: __m512) -> [__m512; 2] {
    let low = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    [_mm512_permutexvar_ps(low, a), _mm512_permutexvar_ps(high, a)]
}

#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(mut v: [__m512; LANES]) -> [__m512; LANES] {
    let mut w = v;
    for i in (0..LANES).step_by(2) {
        w[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
        w[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
    // Now v[4g + c] takes column c of each 128-bit lane, for rows 4g..4g + 4.
    for i in (0..LANES).step_by(4) {
        v[i] = _mm512_shuffle_ps::<0x44>(w[i], w[i + 2]);
        v[i + 1] = _mm512_shuffle_ps::<0xee>(w[i], w[i + 2]);
        v[i + 2] = _mm512_shuffle_ps::<0x44>(w[i + 1], w[i + 3]);
        v[i + 3] = _mm512_shuffle_ps::<0xee>(w[i + 1], w[i + 3]);
    }
    // What remains is a 4 x 4 transpose of 128-bit lanes for each c.
    for c in 0..4 {
        let low = _mm512_shuffle_f32x4::<0x44>(v[c], v[c + 4]);
        let high = _mm512_shuffle_f32x4::<0xee>(v[c], v[c + 4]);
        let low2 = _mm512_shuffle_f32x4::<0x44>(v[c + 8], v[c + 12]);
        let high2 = _mm512_shuffle_f32x4::<0xee>(v[c + 8], v[c + 12]);
        w[c] = _mm512_shuffle_f32x4::<0x88>(low, low2);
        w[c + 4] = _mm512_shuffle_f32x4::<0xdd>(low, low2);
        w[c + 8] = _mm512_shuffle_f32x4::<0x88>(high, high2);
        w[c + 12] = _mm512_shuffle_f32x4::<0xdd>(high, high2);
    }
    w
}

impl<const DOT: u8> Simd for Avx512<DOT> {
    type V = __m512;
    const LANES: usize = LANES;
    const PER_WORD: usize = match DOT {
        PAIRS => 2,
        QUADS | SPLIT_QUADS => QUAD,
        _ => 1,
    };
    // 28 accumulators, 2 weights and a broadcast fit 32 registers.
    const ROWS: usize = block(Isa::Avx512)[0];

    lane_wise! {
        add(a, b) = _mm512_add_ps(a, b);
        sub(a, b) = _mm512_sub_ps(a, b);
        mul(a, b) = _mm512_mul_ps(a, b);
        div(a, b) = _mm512_div_ps(a, b);
        min(a, b) = _mm512_min_ps(a, b);
        max(a, b) = _mm512_max_ps(a, b);
        mul_add(a, b, c) = _mm512_fmadd_ps(a, b, c);
        dot(a, b, c) = match DOT {
            PAIRS => dot_pairs(a, b, c),
            QUADS => dot_quads(a, b, c),
            SPLIT_QUADS => dot_split_quads(a, b, c),
            _ => _mm512_fmadd_ps(a, b, c),
        };
        integers(a) = _mm512_cvtepi32_ps(_mm512_castps_si512(a));
        round(a) = _mm512_roundscale_ps::<0>(a);
        scale(a, n) = _mm512_scalef_ps(a, n);
        select_greater(a, b, x, y) = _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), y, x);
        round_bf16(a) = round_bf16(a);
        duplicate(a) -> [__m512; 2] = duplicate(a);
        turn_pairs(a, cos, sin) =
            _mm512_fmaddsub_ps(a, cos, _mm512_mul_ps(_mm512_permute_ps::<0b10_11_00_01>(a), sin));
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        // SAFETY: `self` exists only on a CPU with AVX-512.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    fn reduce_add(self, a: Self::V) -> f32 {
        // SAFETY: `self` exists only on a CPU with AVX-512.
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    fn reduce_max(self, a: Self::V) -> f32 {
        // SAFETY: `self` exists only on a CPU with AVX-512.
        unsafe { _mm512_reduce_max_ps(a) }
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
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, a: Self::V) {
        // SAFETY: the caller promises LANES writable values.
        unsafe { _mm512_storeu_ps(to, a) }
    }
    #[inline(always)]
    unsafe fn load_partial(self, from: *const f32, count: usize) -> Self::V {
        // SAFETY: the mask admits the `count` values that the caller promises, and no other is touched.
        unsafe { _mm512_maskz_loadu_ps((1_u16 << count) - 1, from) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, count: usize, a: Self::V) {
        // SAFETY: the mask admits the `count` values that the caller promises, and no other is touched.
        unsafe { _mm512_mask_storeu_ps(to, (1_u16 << count) - 1, a) }
    }
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        let mut rows = [self.splat(0.0); LANES];
        for (r, row) in rows.iter_mut().enumerate() {
            // SAFETY: the caller promises LANES readable values in each of LANES rows.
            *row = unsafe { self.load(from.add(r * from_stride)) };
        }
        // SAFETY: `self` exists only on a CPU with AVX-512.
        let columns = unsafe { transpose(rows) };
        for (c, column) in columns.into_iter().enumerate() {
            // SAFETY: the caller promises LANES writable values in each of LANES rows.
            unsafe { self.store(to.add(c * to_stride), column) }
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, a: Self::V) {
        // SAFETY: `self` exists only on a CPU with AVX-512; the caller promises LANES writable bytes.
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a))) }
    }

    #[inline(always)]
    fn pair(self, first: Self::V, second: Self::V) -> Self::V {
        // SAFETY: `self` exists only on a CPU with AVX-512, and with BF16 where DOT is PAIRS.
        unsafe { if DOT == PAIRS { interleave(first, second) } else { round_bf16(first) } }
    }
    #[inline(always)]
    unsafe fn store_words(self, to: *mut f32, count: usize, a: Self::V) {
        if DOT != PAIRS {
            let rounded = self.round_bf16(a);
            // SAFETY: the mask admits the `count` words that the caller promises.
            return unsafe { _mm512_mask_storeu_ps(to, ((1_u32 << count) - 1) as u16, rounded) };
        }
        // SAFETY: `self` exists only on a CPU with AVX-512 BF16 where DOT is PAIRS; the mask admits the words that the
        // caller promises.
        unsafe {
            if count == LANES {
                return _mm256_storeu_si256(to.cast(), to_pairs(a));
            }
            let a = _mm512_maskz_mov_ps((1_u16 << count) - 1, a);
            let mask = ((1_u16 << count.div_ceil(2)) - 1) as u8;
            _mm256_mask_storeu_epi32(to.cast(), mask, to_pairs(a));
        }
    }
}
