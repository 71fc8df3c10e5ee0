//! Gradients of linear layers and norms against analytic f64 references.

use crate::common::{self, Random, assert_close, assert_same_bits, threads};
use tokmerge_kernels::{
    Activation, AdamwStep, Epilogue, Isa, NormKind, PackedLinear, Precision, adamw, linear, linear_backward,
    linear_keeping, linear_residual, normalise_backward,
};

#[test]
fn linear_gradients_equal_the_reference() {
    for (t, n, k) in [(1, 1, 1), (7, 5, 3), (64, 33, 17), (150, 70, 90)] {
        let mut random = Random::new((t + n + k) as u64);
        let (w, x, g) = (random.values(n * k, 1.0), random.values(t * k, 1.0), random.values(t * n, 1.0));
        let (mut dx, mut dw, mut db) = (vec![f32::NAN; t * k], vec![f32::NAN; n * k], vec![f32::NAN; n]);
        linear_backward(&w, &x, &g, Some(&mut dx), Some(&mut dw), Some(&mut db));
        let (w, x, g) = (|i: usize| f64::from(w[i]), |i: usize| f64::from(x[i]), |i: usize| f64::from(g[i]));
        let want: Vec<f64> =
            (0..t * k).map(|i| (0..n).map(|j| g(i / k * n + j) * w(j * k + i % k)).sum()).collect();
        assert_close("dx", &dx, &want, 5e-6);
        let want: Vec<f64> =
            (0..n * k).map(|i| (0..t).map(|r| g(r * n + i / k) * x(r * k + i % k)).sum()).collect();
        assert_close("dw", &dw, &want, 5e-6);
        let want: Vec<f64> = (0..n).map(|j| (0..t).map(|r| g(r * n + j)).sum()).collect();
        assert_close("db", &db, &want, 1e-6);
    }
}

#[test]
fn without_rows_the_sums_are_zero() {
    let (mut dw, mut db) = ([f32::NAN; 6], [f32::NAN; 2]);
    linear_backward(&[1.0; 6], &[], &[], None, Some(&mut dw), Some(&mut db));
    assert!(dw.iter().chain(&db).all(|&v| v == 0.0));
}

#[test]
fn gradients_of_norms_equal_finite_differences() {
    for (rows, c) in [(1, 2), (5, 9), (40, 33)] {
        let mut random = Random::new((rows * c) as u64);
        let (x, grad) = (random.values(rows * c, 2.0), random.values(rows * c, 1.0));
        let (weight, bias) = (random.values(c, 1.0), random.values(c, 1.0));
        for norm in common::norms(&weight, &bias, 1e-3) {
            let run = |count| {
                let (mut dx, mut dw, mut db) =
                    (vec![f32::NAN; rows * c], vec![f32::NAN; c], vec![f32::NAN; c]);
                threads(count, || normalise_backward(norm, &x, &grad, &mut dx, &mut dw, &mut db));
                (dx, dw, db)
            };
            let (dx, dweight, dbias) = run(1);
            let parallel = run(3);
            assert_same_bits("dx", &dx, &parallel.0);
            assert_same_bits("dweight", &dweight, &parallel.1);

            let normed = |row: &[f64]| -> Vec<f64> {
                let mean = match norm.kind {
                    NormKind::Layer => row.iter().sum::<f64>() / c as f64,
                    NormKind::Rms => 0.0,
                };
                let var = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / c as f64;
                row.iter().map(|v| (v - mean) / (var + 1e-3_f32 as f64).sqrt()).collect()
            };
            let row =
                |r: usize| -> Vec<f64> { x[r * c..(r + 1) * c].iter().map(|&v| f64::from(v)).collect() };
            let g = |i: usize| f64::from(grad[i]);
            let want: Vec<f64> = (0..rows * c)
                .map(|i| {
                    let loss = |step: f64| -> f64 {
                        let mut row = row(i / c);
                        row[i % c] += step;
                        let y = normed(&row);
                        (0..c).map(|j| y[j] * f64::from(weight[j]) * g(i / c * c + j)).sum()
                    };
                    (loss(1e-5) - loss(-1e-5)) / 2e-5
                })
                .collect();
            assert_close("dx", &dx, &want, 1e-5);
            let want: Vec<f64> =
                (0..c).map(|j| (0..rows).map(|r| g(r * c + j) * normed(&row(r))[j]).sum()).collect();
            assert_close("dweight", &dweight, &want, 1e-5);
            let want: Vec<f64> = (0..c).map(|j| (0..rows).map(|r| g(r * c + j)).sum()).collect();
            assert_close("dbias", &dbias, &want, 1e-5);
        }
    }
}

#[test]
fn values_before_an_activation_are_kept_and_those_behind_are_the_same_bits() {
    for isa in Isa::available() {
        for (rows, inputs, outputs) in [(1, 3, 5), (15, 17, 33), (200, 40, 70)] {
            let mut random = Random::new((rows + outputs) as u64);
            let (w, x, bias) = (
                random.values(inputs * outputs, 1.0),
                random.values(rows * inputs, 1.0),
                random.values(outputs, 1.0),
            );
            let pack = PackedLinear::new(*isa, Precision::F32, &w, outputs, inputs);
            let mut want = [vec![f32::NAN; rows * outputs], vec![f32::NAN; rows * outputs]];
            let (before, behind) = want.split_at_mut(1);
            linear(&pack, Some(&bias), &x, Epilogue::Store, &mut before[0]);
            linear(&pack, Some(&bias), &x, Epilogue::Activate(Activation::Gelu), &mut behind[0]);
            let (mut pre, mut y) = (vec![f32::NAN; rows * outputs], vec![f32::NAN; rows * outputs]);
            linear_keeping(&pack, Some(&bias), &x, Activation::Gelu, &mut pre, &mut y);
            assert_same_bits("pre", &pre, &want[0]);
            assert_same_bits("y", &y, &want[1]);
            let residual = random.values(rows * outputs, 1.0);
            let mut want = residual.clone();
            linear(&pack, Some(&bias), &x, Epilogue::Residual { scale: None }, &mut want);
            linear_residual(&pack, Some(&bias), &x, None, &residual, &mut y);
            assert_same_bits("sum", &y, &want);
        }
    }
}

#[test]
fn a_transposed_pack_multiplies_by_the_weight_itself() {
    for isa in Isa::available() {
        for (rows, n, k) in [(1, 1, 1), (9, 33, 70), (30, 64, 17)] {
            let mut random = Random::new((rows + n + k) as u64);
            let (w, g) = (random.values(n * k, 1.0), random.values(rows * n, 1.0));
            let mut dx = vec![f32::NAN; rows * k];
            linear(&PackedLinear::transposed(*isa, &w, k, n), None, &g, Epilogue::Store, &mut dx);
            let product = |i: usize| {
                (0..n).map(|j| f64::from(g[i / k * n + j]) * f64::from(w[j * k + i % k])).sum::<f64>()
            };
            let want: Vec<f64> = (0..rows * k).map(product).collect();
            assert_close("dx", &dx, &want, 5e-6);
        }
    }
}

/// Three steps, in f64 beside it.
#[test]
fn adamw_equals_its_definition() {
    let count = 40_003;
    let mut random = Random::new(5);
    let mut weights = random.values(count, 1.0);
    let (mut mean, mut squares) = (vec![0.0; count], vec![0.0; count]);
    let mut want: Vec<[f64; 3]> = weights.iter().map(|w| [f64::from(*w), 0.0, 0.0]).collect();
    for time in 1..=3 {
        let step = AdamwStep { lr: 1e-2, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.1, time };
        let grad = random.values(count, 0.5);
        let mut to = vec![f32::NAN; count];
        adamw(&step, &weights, &grad, &mut mean, &mut squares, &mut to);
        weights = to;
        for ([w, m, v], g) in want.iter_mut().zip(&grad) {
            let g = f64::from(*g);
            (*m, *v) = (0.9 * *m + 0.1 * g, 0.999 * *v + 0.001 * g * g);
            let (m_hat, v_hat) =
                (*m / (1.0 - 0.9f64.powi(time as i32)), *v / (1.0 - 0.999f64.powi(time as i32)));
            *w = *w * (1.0 - 1e-2 * 0.1) - 1e-2 * m_hat / (v_hat.sqrt() + 1e-8);
        }
    }
    let want: Vec<f64> = want.iter().map(|[w, ..]| *w).collect();
    assert_close("weights", &weights, &want, 2e-6);
}
