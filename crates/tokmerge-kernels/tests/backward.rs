//! Gradients of linear layers and layer normalisation against analytic f64 references.

mod common;
use common::{Random, assert_close, assert_same_bits, threads};
use tokmerge_kernels::{Norm, layer_norm_backward, linear_backward};

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
fn layer_norm_gradients_equal_finite_differences() {
    for (rows, c) in [(1, 2), (5, 9), (40, 33)] {
        let mut random = Random::new((rows * c) as u64);
        let (x, grad) = (random.values(rows * c, 2.0), random.values(rows * c, 1.0));
        let (weight, bias) = (random.values(c, 1.0), random.values(c, 1.0));
        let norm = Norm { weight: &weight, bias: &bias, eps: 1e-3 };
        let run = |count| {
            let (mut dx, mut dw, mut db) = (vec![f32::NAN; rows * c], vec![f32::NAN; c], vec![f32::NAN; c]);
            threads(count, || layer_norm_backward(norm, &x, &grad, &mut dx, &mut dw, &mut db));
            (dx, dw, db)
        };
        let (dx, dweight, dbias) = run(1);
        let parallel = run(3);
        assert_same_bits("dx", &dx, &parallel.0);
        assert_same_bits("dweight", &dweight, &parallel.1);

        let normed = |row: &[f64]| -> Vec<f64> {
            let mean = row.iter().sum::<f64>() / c as f64;
            let var = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / c as f64;
            row.iter().map(|v| (v - mean) / (var + 1e-3_f32 as f64).sqrt()).collect()
        };
        let row = |r: usize| -> Vec<f64> { x[r * c..(r + 1) * c].iter().map(|&v| f64::from(v)).collect() };
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
