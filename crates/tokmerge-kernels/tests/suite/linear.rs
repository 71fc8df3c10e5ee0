//! Linear layers, norms, activations and the fused feed-forward half against f64 references.

use crate::common::{self, PRECISIONS, Random, assert_close, assert_same_bits, erf, isas, threads};
use proptest::prelude::*;
use tokmerge_kernels::{
    Activation, Epilogue, Gating, Isa, Mlp, Norm, PackedLinear, Precision, activation_backward, linear, mlp,
    norm_linear, normalise,
};

/// Sums of up to 200 products of numbers below 1.
const SUMS: f64 = 2e-6;
/// bf16: GELU as exact as its result is used.
const GELU_BF16: f64 = 1e-5;
/// bf16: an activation that the kernel and the reference round to different sides.
const BF16_STAGE: f64 = 4e-3;
/// int8: the same, where a side is a step of the row.
const INT8_STAGE: f64 = 3e-2;

/// How far a result may be off when something rounded is rounded again.
fn stage(precision: Precision, exact: f64) -> f64 {
    match precision {
        Precision::F32 => exact,
        Precision::Bf16 => BF16_STAGE,
        Precision::Int8 => INT8_STAGE,
    }
}

const ACTIVATIONS: [Activation; 7] = [
    Activation::Identity,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::QuickGelu,
    Activation::Relu,
    Activation::Silu,
    Activation::Tanh,
];

fn activate(activation: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::Identity => x,
        Activation::Gelu => 0.5 * x * (1.0 + erf(x / 2.0_f64.sqrt())),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh())
        }
        Activation::QuickGelu => x * sigmoid(1.702 * x),
        Activation::Relu => x.max(0.0),
        Activation::Silu => x * sigmoid(x),
        Activation::Tanh => x.tanh(),
    }
}

struct Case {
    k: usize,
    n: usize,
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    scale: Vec<f32>,
    y: Vec<f32>,
    norm: (Vec<f32>, Vec<f32>),
}

impl Case {
    fn new(rows: usize, k: usize, n: usize) -> Self {
        let mut random = Random::new((rows * 1000 + k * 10 + n) as u64);
        Self {
            k,
            n,
            x: random.values(rows * k, 2.0),
            w: random.values(n * k, 1.0 / (k as f32).sqrt()),
            bias: random.values(n, 0.5),
            scale: random.values(n, 1.0),
            y: random.values(rows * n, 1.0),
            norm: (random.values(k, 1.5), random.values(k, 0.5)),
        }
    }

    fn norm(&self) -> Norm<'_> {
        Norm::layer(&self.norm.0, &self.norm.1, 1e-6)
    }

    fn pack(&self, isa: Isa, precision: Precision) -> PackedLinear {
        PackedLinear::new(isa, precision, &self.w, self.n, self.k)
    }
}

fn check_linear(rows: usize, k: usize, n: usize) {
    let case = Case::new(rows, k, n);
    for &isa in isas() {
        for precision in PRECISIONS {
            let what = format!("{isa} {precision:?} {rows}x{k}x{n}");
            let w = case.pack(isa, precision);
            let plain = common::linear(precision, &case.w, Some(&case.bias), &case.x, [n, k]);
            let mut y = vec![f32::NAN; rows * n];
            linear(&w, Some(&case.bias), &case.x, Epilogue::Store, &mut y);
            assert_close(&what, &y, &plain, SUMS);

            let want = common::linear(precision, &case.w, None, &case.x, [n, k]);
            linear(&w, None, &case.x, Epilogue::Store, &mut y);
            assert_close(&format!("{what} without bias"), &y, &want, SUMS);

            y.fill(f32::NAN);
            linear(&w, Some(&case.bias), &case.x, Epilogue::Activate(Activation::Gelu), &mut y);
            let want: Vec<f64> = plain.iter().map(|&v| activate(Activation::Gelu, v)).collect();
            let tolerance = if precision == Precision::F32 { SUMS } else { GELU_BF16 };
            assert_close(&format!("{what} with GELU"), &y, &want, tolerance);

            for scale in [None, Some(&case.scale[..])] {
                y.copy_from_slice(&case.y);
                linear(&w, Some(&case.bias), &case.x, Epilogue::Residual { scale }, &mut y);
                let want: Vec<f64> = (0..rows * n)
                    .map(|i| f64::from(case.y[i]) + plain[i] * scale.map_or(1.0, |s| f64::from(s[i % n])))
                    .collect();
                assert_close(&format!("{what} with residual"), &y, &want, SUMS);
            }

            let normed: Vec<f32> =
                common::normalise(case.norm(), &case.x).iter().map(|&v| v as f32).collect();
            let want = common::linear(precision, &case.w, Some(&case.bias), &normed, [n, k]);
            norm_linear(case.norm(), &w, Some(&case.bias), &case.x, Epilogue::Store, &mut y);
            let tolerance = stage(precision, 2e-5);
            // A variance of nearly nothing magnifies rounding.
            if k > 4 {
                assert_close(&format!("{what} behind a norm"), &y, &want, tolerance);
            }
        }
    }
}

#[test]
fn linear_equals_the_reference_on_awkward_shapes() {
    for (rows, k, n) in [
        (0, 5, 7),
        (1, 1, 1),
        (1, 33, 70),
        (2, 48, 32),
        (13, 17, 33),
        (15, 64, 31),
        (71, 129, 65),
        (200, 96, 260),
    ] {
        check_linear(rows, k, n);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn linear_equals_the_reference(rows in 0..90_usize, k in 1..150_usize, n in 1..140_usize) {
        check_linear(rows, k, n);
    }
}

#[test]
fn a_row_is_the_same_bit_for_bit_alone_and_in_any_batch() {
    let case = Case::new(203, 100, 83);
    for &isa in isas() {
        for precision in PRECISIONS {
            let w = case.pack(isa, precision);
            let run = |x: &[f32], threads_: usize| {
                threads(threads_, || {
                    let mut y = vec![0.0; x.len() / case.k * case.n];
                    let epilogue = Epilogue::Activate(Activation::Gelu);
                    norm_linear(case.norm(), &w, Some(&case.bias), x, epilogue, &mut y);
                    y
                })
            };
            let all = run(&case.x, 1);
            for count in [2, 3, 7] {
                assert_same_bits(&format!("{isa} {count} threads"), &run(&case.x, count), &all);
            }
            for (first, rows) in [(0, 1), (5, 1), (13, 2), (202, 1), (100, 103), (64, 64), (7, 90)] {
                let part = run(&case.x[first * case.k..(first + rows) * case.k], 2);
                let what = format!("{isa} {precision:?} rows {first} + {rows}");
                assert_same_bits(&what, &part, &all[first * case.n..(first + rows) * case.n]);
            }
        }
    }
}

/// Whether half of the first layer gates the others, and whether a norm follows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Plain,
    Normed,
    Gated,
    GatedNormed,
}

fn check_mlp(rows: usize, c: usize, hidden: usize, activation: Activation, with_scale: bool, shape: Shape) {
    let first = Case::new(rows, c, hidden);
    let second = Case::new(rows, hidden, c);
    let gating = Case::new(rows + 1, c, hidden);
    let is_gated = matches!(shape, Shape::Gated | Shape::GatedNormed);
    let is_normed = matches!(shape, Shape::Normed | Shape::GatedNormed);
    for &isa in isas() {
        for precision in PRECISIONS {
            let (fc1, fc2) = (first.pack(isa, precision), second.pack(isa, precision));
            let gate = gating.pack(isa, precision);
            let parts = Mlp {
                norm: first.norm(),
                fc1: &fc1,
                fc1_bias: Some(&first.bias),
                activation,
                gate: is_gated.then_some(Gating { w: &gate, bias: Some(&gating.bias) }),
                inner_norm: is_normed.then(|| second.norm()),
                fc2: &fc2,
                fc2_bias: Some(&second.bias),
                scale: with_scale.then_some(&second.scale[..]),
            };
            let run = |x: &[f32], count: usize| {
                let mut x = x.to_vec();
                threads(count, || mlp(&parts, &mut x));
                x
            };
            let got = run(&first.x, 1);
            let narrow = |v: Vec<f64>| v.iter().map(|&v| v as f32).collect::<Vec<f32>>();
            let normed = narrow(common::normalise(parts.norm, &first.x));
            let inner = common::linear(precision, &first.w, Some(&first.bias), &normed, [hidden, c]);
            let inner = if is_gated {
                let gates = common::linear(precision, &gating.w, Some(&gating.bias), &normed, [hidden, c]);
                inner.iter().zip(gates).map(|(v, gate)| v * activate(activation, gate)).collect()
            } else {
                inner.iter().map(|&v| activate(activation, v)).collect::<Vec<_>>()
            };
            let inner = narrow(inner);
            let inner = if is_normed { narrow(common::normalise(second.norm(), &inner)) } else { inner };
            let outer = common::linear(precision, &second.w, Some(&second.bias), &inner, [c, hidden]);
            let want: Vec<f64> = (0..rows * c)
                .map(|i| {
                    let scale = if with_scale { f64::from(second.scale[i % c]) } else { 1.0 };
                    f64::from(first.x[i]) + scale * outer[i]
                })
                .collect();
            let tolerance = stage(precision, 1e-5);
            let what = format!("mlp {isa} {precision:?} {rows}x{c}x{hidden} {activation:?} {shape:?}");
            assert_close(&what, &got, &want, tolerance);
            assert_same_bits(&format!("{what} on 2 threads"), &run(&first.x, 2), &got);
            assert_same_bits(&format!("{what} on 5 threads"), &run(&first.x, 5), &got);
            for row in [0, rows / 2, rows.saturating_sub(1)].into_iter().filter(|&r| r < rows) {
                let range = row * c..(row + 1) * c;
                assert_same_bits(&format!("{what} row {row}"), &run(&first.x[range.clone()], 2), &got[range]);
            }
        }
    }
}

#[test]
fn mlp_equals_its_parts_and_each_row_alone() {
    for shape in [Shape::Plain, Shape::Normed, Shape::Gated, Shape::GatedNormed] {
        check_mlp(0, 16, 64, Activation::Gelu, false, shape);
        check_mlp(1, 24, 50, Activation::Silu, true, shape);
        check_mlp(197, 48, 99, Activation::Gelu, true, shape);
        check_mlp(430, 32, 65, Activation::QuickGelu, false, shape);
    }
}

/// Layers one after the other, each by its own call, give the same bits.
#[test]
fn a_gated_mlp_is_bit_for_bit_its_layers() {
    for (rows, c, hidden) in [(3, 24, 50), (230, 48, 99)] {
        let (first, second) = (Case::new(rows, c, hidden), Case::new(rows, hidden, c));
        let gating = Case::new(rows + 1, c, hidden);
        for &isa in isas() {
            for precision in PRECISIONS {
                let (fc1, fc2) = (first.pack(isa, precision), second.pack(isa, precision));
                let gate = gating.pack(isa, precision);
                for inner_norm in [None, Some(second.norm())] {
                    let parts = Mlp {
                        norm: first.norm(),
                        fc1: &fc1,
                        fc1_bias: None,
                        activation: Activation::Silu,
                        gate: Some(Gating { w: &gate, bias: Some(&gating.bias) }),
                        inner_norm,
                        fc2: &fc2,
                        fc2_bias: Some(&second.bias),
                        scale: Some(&second.scale),
                    };
                    let mut together = first.x.clone();
                    threads(1, || mlp(&parts, &mut together));

                    let (mut values, mut gates) = (vec![0.0; rows * hidden], vec![0.0; rows * hidden]);
                    norm_linear(parts.norm, &fc1, None, &first.x, Epilogue::Store, &mut values);
                    let activated = Epilogue::Activate(Activation::Silu);
                    norm_linear(parts.norm, &gate, Some(&gating.bias), &first.x, activated, &mut gates);
                    values.iter_mut().zip(&gates).for_each(|(value, gate)| *value *= gate);
                    let mut apart = first.x.clone();
                    let residual = Epilogue::Residual { scale: Some(&second.scale) };
                    match inner_norm {
                        Some(norm) => {
                            norm_linear(norm, &fc2, Some(&second.bias), &values, residual, &mut apart)
                        }
                        None => linear(&fc2, Some(&second.bias), &values, residual, &mut apart),
                    }
                    assert_same_bits(&format!("{isa} {precision:?} {rows}x{c}x{hidden}"), &together, &apart);
                }
            }
        }
    }
}

/// Applies an activation through a linear layer with the identity as weight.
fn through_layer(isa: Isa, activation: Activation, x: &[f32]) -> Vec<f32> {
    let w = PackedLinear::new(isa, Precision::F32, &[1.0], 1, 1);
    let mut y = vec![0.0; x.len()];
    linear(&w, None, x, Epilogue::Activate(activation), &mut y);
    y
}

#[test]
fn activations_and_their_derivatives_are_accurate() {
    let x: Vec<f32> = (-12_000..=12_000).map(|i| i as f32 / 1000.0).chain([-1e3, 1e3, -1e-6, 1e-6]).collect();
    for &isa in isas() {
        for activation in ACTIVATIONS {
            let y = through_layer(isa, activation, &x);
            let want: Vec<f64> = x.iter().map(|&v| activate(activation, f64::from(v))).collect();
            assert_close(&format!("{isa} {activation:?}"), &y, &want, 2.5e-7);
        }
    }
    for activation in ACTIVATIONS {
        let mut grad = vec![2.0; x.len()];
        activation_backward(activation, &x, &mut grad);
        let slope = |x: f64| {
            let h = 1e-5;
            (activate(activation, x + h) - activate(activation, x - h)) / h
        };
        let want: Vec<f64> =
            x.iter()
                .map(|&v| {
                    if activation == Activation::Relu {
                        2.0 * f64::from(v > 0.0)
                    } else {
                        slope(f64::from(v))
                    }
                })
                .collect();
        assert_close(&format!("{activation:?}'"), &grad, &want, 2e-6);
    }
}

#[test]
fn norms_equal_the_reference() {
    for &isa in isas() {
        for (rows, c) in [(0, 8), (1, 5), (3, 16), (7, 33), (90, 384), (5, 770)] {
            let mut random = Random::new((rows + c) as u64);
            let x: Vec<f32> = random.values(rows * c, 3.0).iter().map(|v| v + 5.0).collect();
            let (weight, bias) = (random.values(c, 2.0), random.values(c, 1.0));
            let mut y = vec![f32::NAN; rows * c];
            for norm in common::norms(&weight, &bias, 1e-6) {
                normalise(isa, norm, &x, &mut y);
                let want = common::normalise(norm, &x);
                assert_close(&format!("{isa} {rows}x{c} {:?}", norm.kind), &y, &want, 5e-6);
            }
        }
    }
}

#[test]
fn a_row_of_nan_or_infinity_leaves_the_others_alone() {
    let mut case = Case::new(40, 37, 45);
    for &isa in isas() {
        for precision in PRECISIONS {
            let w = case.pack(isa, precision);
            let mut clean = vec![0.0; 40 * 45];
            linear(&w, Some(&case.bias), &case.x, Epilogue::Activate(Activation::Gelu), &mut clean);
            let kept = case.x.clone();
            case.x[3 * 37 + 36] = f32::NAN;
            case.x[17 * 37] = f32::INFINITY;
            let mut y = vec![0.0; 40 * 45];
            linear(&w, Some(&case.bias), &case.x, Epilogue::Activate(Activation::Gelu), &mut y);
            case.x = kept;
            for row in 0..40 {
                let range = row * 45..(row + 1) * 45;
                if row == 3 || (row == 17 && precision == Precision::Int8) {
                    assert!(y[range].iter().all(|v| v.is_nan()), "{isa} {precision:?} row {row}");
                } else if row != 17 {
                    assert_same_bits(&format!("{isa} row {row}"), &y[range.clone()], &clean[range]);
                }
            }
        }
    }
}

#[test]
fn int8_sums_are_the_same_on_every_path() {
    // Without a bias and an offset nothing is left to rounding but two factors.
    let mut case = Case::new(30, 90, 47);
    case.x.iter_mut().for_each(|v| *v = v.abs());
    case.x.chunks_exact_mut(90).for_each(|row| row[7] = 0.0);
    let run = |isa| {
        let mut y = vec![f32::NAN; 30 * 47];
        linear(&case.pack(isa, Precision::Int8), None, &case.x, Epilogue::Store, &mut y);
        y
    };
    let portable = run(Isa::Portable);
    for &isa in isas() {
        assert_same_bits(&isa.to_string(), &run(isa), &portable);
    }
}

#[test]
fn a_column_without_numbers_leaves_the_others_alone() {
    let mut case = Case::new(5, 37, 45);
    case.w[3 * 37 + 36] = f32::NAN;
    case.w[17 * 37] = f32::INFINITY;
    for &isa in isas() {
        let mut y = vec![0.0; 5 * 45];
        linear(&case.pack(isa, Precision::Int8), Some(&case.bias), &case.x, Epilogue::Store, &mut y);
        for (i, v) in y.iter().enumerate() {
            assert_eq!(v.is_nan(), [3, 17].contains(&(i % 45)), "{isa} column {}", i % 45);
        }
    }
}

#[test]
#[should_panic(expected = "rows of 66312 are too long for int8")]
fn rows_that_could_overflow_the_sums_are_refused() {
    let _ = PackedLinear::new(Isa::Portable, Precision::Int8, &[0.0; 66_312], 1, 66_312);
}

#[test]
#[should_panic(expected = "linear: x has 10 and y 9 elements")]
fn a_wrong_length_is_reported_with_its_values() {
    let w = PackedLinear::new(Isa::Portable, Precision::F32, &[0.0; 15], 3, 5);
    linear(&w, None, &[0.0; 10], Epilogue::Store, &mut [0.0; 9]);
}
