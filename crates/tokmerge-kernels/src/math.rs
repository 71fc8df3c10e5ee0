//! Elementary functions on vectors; the Portable instantiation is the reference for the others.

use crate::simd::Simd;

/// `Σ c[i] x^(n-1-i)`, highest power first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, x: S::V, coefficients: [f32; N]) -> S::V {
    let mut sum = simd.splat(coefficients[0]);
    for i in 1..N {
        sum = simd.mul_add(sum, x, simd.splat(coefficients[i]));
    }
    sum
}

/// `x` limited to `-limit..=limit`; NaN stays NaN.
#[inline(always)]
fn clamp<S: Simd>(simd: S, x: S::V, limit: f32) -> S::V {
    simd.max(simd.splat(-limit), simd.min(simd.splat(limit), x))
}

/// eˣ to 2 ulp: 0 below -104, infinity above 88.73, subnormal results included.
///
/// Range reduction x = n ln 2 + f and a polynomial for e^f on |f| ≤ ln 2 / 2 (coefficients of Cephes' `expf`).
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::V) -> S::V {
    let x = simd.max(simd.splat(-105.0), simd.min(simd.splat(89.0), x));
    let n = simd.round(simd.mul(x, simd.splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts, the first one short, so that n times it is exact.
    let f = simd.mul_add(n, simd.splat(-0.693_359_4), x);
    let f = simd.mul_add(n, simd.splat(2.121_944_4e-4), f);
    let tail = polynomial(
        simd,
        f,
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5],
    );
    let value = simd.add(simd.mul_add(simd.mul(f, f), tail, f), simd.splat(1.0));
    simd.scale(value, n)
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::V) -> S::V {
    let one = simd.splat(1.0);
    simd.div(one, simd.add(one, exp(simd, simd.sub(simd.splat(0.0), x))))
}

/// tanh, accurate to a few ulp near zero too: a rational function (coefficients of Eigen's `ptanh_float`).
#[inline(always)]
pub(crate) fn tanh<S: Simd>(simd: S, x: S::V) -> S::V {
    let x = clamp(simd, x, 7.905_311);
    let square = simd.mul(x, x);
    let above = polynomial(
        simd,
        square,
        [
            -2.760_768_5e-16,
            2.000_188e-13,
            -8.604_672e-11,
            5.122_297e-8,
            1.485_722_3e-5,
            6.372_619_3e-4,
            4.893_524_6e-3,
        ],
    );
    let below = polynomial(simd, square, [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3]);
    clamp(simd, simd.div(simd.mul(x, above), below), 1.0)
}

/// The normal distribution function Φ(x) = (1 + erf(x / √2)) / 2.
///
/// Φ(-t) is a polynomial in 1 / (1 + pt) times the density, so its error falls with the tail instead of
/// growing with |x| in x Φ(x) (Abramowitz and Stegun 26.2.17, |error| < 7.5e-8 before rounding).
#[inline(always)]
pub(crate) fn normal_cdf<S: Simd>(simd: S, x: S::V) -> S::V {
    let (zero, one) = (simd.splat(0.0), simd.splat(1.0));
    let t = simd.max(simd.sub(zero, x), x);
    let u = simd.div(one, simd.mul_add(t, simd.splat(0.231_641_9), one));
    let sum = polynomial(simd, u, [1.330_274_4, -1.821_256, 1.781_477_9, -0.356_563_78, 0.319_381_53]);
    let tail = simd.mul(simd.mul(sum, u), normal_density(simd, t));
    simd.select_greater(x, zero, simd.sub(one, tail), tail)
}

/// x Φ(x), within 2.5e-7 of it: max(x, 0) - |x| Φ(-|x|), with Φ as in [`normal_cdf`].
#[inline(always)]
pub(crate) fn gelu<S: Simd>(simd: S, x: S::V) -> S::V {
    let zero = simd.splat(0.0);
    // -|x|; from 15 on the density is 0 in f32.
    let a = simd.max(simd.splat(-15.0), simd.min(simd.sub(zero, x), x));
    let one = simd.splat(1.0);
    let u = simd.div(one, simd.mul_add(a, simd.splat(-0.231_641_9), one));
    // The factors of `normal_cdf` over √(2π).
    let sum = polynomial(simd, u, [0.530_702_7, -0.726_576, 0.710_706_9, -0.142_248_37, 0.127_414_8]);
    let power = exp2(simd, simd.mul(simd.mul(a, a), simd.splat(-0.5 * std::f32::consts::LOG2_E)));
    let tail = simd.mul(simd.mul(sum, u), power);
    simd.mul_add(a, tail, simd.max(zero, x))
}

/// x Φ(x), within 7e-6 of it: Φ as a rational function. For results that are rounded to bf16 anyway.
#[inline(always)]
pub(crate) fn gelu_coarse<S: Simd>(simd: S, x: S::V) -> S::V {
    let square = simd.mul(x, x);
    let above = polynomial(
        simd,
        square,
        [-4.952_852_4e-7, -8.800_813e-6, 3.667_091_5e-3, 2.269_702_4e-2, 0.398_947_63],
    );
    let below =
        polynomial(simd, square, [-1.534_374_3e-5, 9.802_438e-4, 2.137_607_5e-2, 2.236_233_4e-1, 1.0]);
    let cdf = simd.mul_add(simd.div(above, below), x, simd.splat(0.5));
    // Further out Φ is 0 or 1 within 1e-8.
    simd.select_greater(square, simd.splat(31.9), simd.max(simd.splat(0.0), x), simd.mul(x, cdf))
}

/// 2ˣ to 2 ulp for x in -250..=120, subnormal results included; to 3 where [`Simd::mul_add`] rounds twice.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(simd: S, x: S::V) -> S::V {
    let n = simd.round(x);
    let f = simd.sub(x, n);
    let value = polynomial(
        simd,
        f,
        [1.326_477_3e-3, 9.671_489e-3, 5.550_739_5e-2, 2.402_223_8e-1, 6.931_469_4e-1, 1.0],
    );
    simd.scale(value, n)
}

/// 2ˣ to a relative 3e-6 for x in -250..=120. For results that are rounded to bf16 anyway.
#[inline(always)]
pub(crate) fn exp2_coarse<S: Simd>(simd: S, x: S::V) -> S::V {
    let n = simd.round(x);
    let f = simd.sub(x, n);
    let value =
        polynomial(simd, f, [9.569_989_5e-3, 5.591_758e-2, 2.402_474_4e-1, 6.931_218_5e-1, 9.999_993e-1]);
    simd.scale(value, n)
}

/// The normal density φ(x) = e^(-x²/2) / √(2π).
#[inline(always)]
pub(crate) fn normal_density<S: Simd>(simd: S, x: S::V) -> S::V {
    let power = exp(simd, simd.mul(simd.mul(x, x), simd.splat(-0.5)));
    simd.mul(power, simd.splat(0.398_942_3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::simd::{Job, dispatch, load_at, store_at};

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Function {
        Exp,
        Exp2,
        Exp2Coarse,
    }

    struct Map<'a> {
        function: Function,
        values: &'a mut [f32],
    }

    impl Job for Map<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for at in (0..self.values.len()).step_by(S::LANES) {
                let x = load_at(simd, self.values, at);
                let y = match self.function {
                    Function::Exp => exp(simd, x),
                    Function::Exp2 => exp2(simd, x),
                    Function::Exp2Coarse => exp2_coarse(simd, x),
                };
                store_at(simd, self.values, at, y);
            }
        }
    }

    /// The error that each function states, in units in the last place or relative; subnormal results count as multiples
    /// of the smallest.
    #[test]
    fn powers_are_as_accurate_as_they_say() {
        let steps = if cfg!(miri) { 300 } else { 300_000 };
        for &isa in Isa::available() {
            for (function, lowest, highest) in [
                (Function::Exp, -104.0, 88.7),
                (Function::Exp2, -160.0, 120.0),
                (Function::Exp2Coarse, -120.0, 120.0),
                (Function::Exp2, -0.5, 0.5),
                (Function::Exp2Coarse, -0.5, 0.5),
            ] {
                let at = |i: usize| lowest + (highest - lowest) * (i as f32 / steps as f32);
                let x: Vec<f32> = (0..=steps).map(at).collect();
                let mut y = x.clone();
                dispatch(isa, Map { function, values: &mut y });
                for (x, y) in x.into_iter().zip(y) {
                    let (exact, y) = (f64::from(x), f64::from(y));
                    let exact = if function == Function::Exp { exact.exp() } else { exact.exp2() };
                    let unit = 2_f64.powi((exact.log2().floor() as i32).max(-126) - 23);
                    let bound = match function {
                        Function::Exp2Coarse => 3e-6 * exact,
                        Function::Exp2 if isa == Isa::Portable => 3.0 * unit,
                        Function::Exp | Function::Exp2 => 2.0 * unit,
                    };
                    assert!((y - exact).abs() <= bound, "{isa} {function:?}({x}) = {y:e}, not {exact:e}");
                }
            }
        }
    }
}
