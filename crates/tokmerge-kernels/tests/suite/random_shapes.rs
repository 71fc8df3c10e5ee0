//! Random small shapes with sides of 0, 1 and odd numbers, arrays that begin anywhere, and NaN and infinity in them:
//! against f64 references, and bit for bit what aligned arrays give.

use crate::common::{
    self,
    buffers::{Buffer, Seed},
};
use crate::common::{PRECISIONS, Random, assert_close, assert_same_bits, isas};
use tokmerge_kernels::{
    Activation, AdamwStep, Bipartite, DROPPED, Epilogue, Gating, HeadAggregation, Heads, Isa, MapOrder, Maps,
    Mlp, Norm, PackedLinear, Part, Precision, Similarity, Window, activation_backward, adamw, assemble,
    attention, attention_backward, best_match, cross_attention, fold, gather_rows, head_metric, linear,
    linear_backward, linear_keeping, linear_residual, merge_rows, merge_rows_backward, mlp, norm_linear,
    normalise, normalise_backward, patchify, unfold,
};

const ROUNDS: u64 = if cfg!(miri) { 3 } else { 60 };

/// 0, 1 or up to `most`, few under Miri.
fn size(random: &mut Random, most: usize) -> usize {
    let most = if cfg!(miri) { most.min(11) } else { most };
    [0, 1, random.below(most + 1), random.below(most + 1)][random.below(4)]
}

/// Puts NaN or infinity into one or two places, in every other call.
fn spoil(random: &mut Random, values: &mut [f32]) {
    if values.is_empty() || random.unit() < 0.5 {
        return;
    }
    for _ in 0..=random.below(2) {
        let at = random.below(values.len());
        values[at] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][random.below(3)];
    }
}

/// As [`assert_close`], with NaN and the infinities where they belong.
#[track_caller]
fn assert_like(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let (mut numbers, mut expected) = (Vec::new(), Vec::new());
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        if want.is_finite() {
            numbers.push(got);
            expected.push(want);
        } else {
            let same = if want.is_nan() { got.is_nan() } else { f64::from(got) == want };
            assert!(same, "{what}: [{i}] is {got}, expected {want}");
        }
    }
    assert_close(what, &numbers, &expected, tolerance);
}

#[test]
fn linear_layers_equal_the_reference() {
    for seed in Seed::all(ROUNDS) {
        let random = &mut seed.random();
        let (t, k, n) = (size(random, 40), size(random, 70), size(random, 70));
        let weight = random.values(n * k, 1.0);
        let (mut bias, mut scale) = (Buffer::new(random, n), Buffer::new(random, n));
        let mut residual = random.values(t * n, 1.0);
        spoil(random, &mut residual);
        let clean = random.values(t * k, 1.0);
        let mut spoiled = clean.clone();
        spoil(random, &mut spoiled);
        for (&isa, precision) in isas().iter().flat_map(|isa| PRECISIONS.map(|precision| (isa, precision))) {
            // What int8 makes of a row with NaN has a test of its own.
            let x = if precision == Precision::Int8 { &clean } else { &spoiled };
            let what = format!("{isa} {precision:?} {t}x{k}x{n}");
            let sums = match k {
                0 => (0..t * n).map(|i| f64::from(bias.get()[i % n])).collect(),
                _ => common::linear(precision, &weight, Some(bias.get()), x, [n, k]),
            };
            let w = PackedLinear::new(isa, precision, &weight, n, k);
            let (mut x, mut y) = (Buffer::of(random, x), Buffer::of(random, &residual));
            // The number of rows is open where they are empty.
            let y_len = if n == 0 { 0 } else { t * n };
            linear(&w, Some(bias.get()), x.get(), Epilogue::Residual { scale: Some(scale.get()) }, y.get());
            let want: Vec<f64> = (0..y_len)
                .map(|i| f64::from(residual[i]) + sums[i] * f64::from(scale.get()[i % n]))
                .collect();
            assert_like(&what, y.get(), &want, 4e-6);
            linear(&w, Some(bias.get()), x.get(), Epilogue::Activate(Activation::Relu), y.get());
            let want: Vec<f64> = sums.iter().map(|&v| if v.is_nan() { v } else { v.max(0.0) }).collect();
            assert_like(&what, y.get(), &want, 4e-6);
            [&x, &y, &bias, &scale].iter().for_each(|buffer| buffer.assert_guards(&what));
        }
    }
}

#[test]
fn norms_equal_the_reference() {
    for seed in Seed::all(ROUNDS) {
        let random = &mut seed.random();
        let (t, c) = (size(random, 40), 1 + size(random, 70));
        let (mut weight, mut bias) = (Buffer::new(random, c), Buffer::new(random, c));
        let mut x = random.values(t * c, 1.0);
        spoil(random, &mut x);
        // An eps that keeps rows of one and two channels from being divided by nearly nothing.
        let (weight, bias) = (weight.get(), bias.get());
        for norm in common::norms(weight, bias, 0.1) {
            let want = common::normalise(norm, &x);
            for &isa in isas() {
                let (mut x, mut y) = (Buffer::of(random, &x), Buffer::new(random, t * c));
                normalise(isa, norm, x.get(), y.get());
                assert_like(&format!("{isa} {t}x{c}"), y.get(), &want, 5e-6);
                [&x, &y].iter().for_each(|buffer| buffer.assert_guards("normalise"));
            }
        }
    }
}

#[test]
fn attention_equals_the_reference() {
    for seed in Seed::all(ROUNDS) {
        let random = &mut seed.random();
        let (count, dim, t) = (1 + size(random, 3), 1 + size(random, 40), size(random, 60));
        let (heads, width) = (Heads { count, dim, scale: 0.3 }, count * dim);
        let mut offsets = vec![0, t, random.below(t + 1), random.below(t + 1)];
        offsets.sort_unstable();
        let mut qkv = random.values(t * 3 * width, 1.0);
        spoil(random, &mut qkv);
        let mut key_bias = random.values(t, 1.0);
        for item in offsets.windows(2).filter(|item| item[1] - item[0] > 1) {
            key_bias[item[0]] = f32::NEG_INFINITY;
        }
        let wide: Vec<f64> = qkv.iter().map(|&v| f64::from(v)).collect();
        let (want, want_received) = common::attention(heads, &wide, &offsets, Some(&key_bias));
        for (&isa, precision) in isas().iter().flat_map(|isa| PRECISIONS.map(|precision| (isa, precision))) {
            let what = format!("{isa} {precision:?} {offsets:?} of {count}x{dim}");
            let mut qkv = Buffer::of(random, &qkv);
            let mut key_bias = Buffer::of(random, &key_bias);
            let (mut out, mut received) = (Buffer::new(random, t * width), Buffer::new(random, t));
            let (bias, to) = (Some(&*key_bias.get()), Some(received.get()));
            attention(isa, precision, heads, qkv.get(), &offsets, bias, out.get(), to);
            let tolerance = if precision == Precision::F32 { 3e-6 } else { 2e-2 };
            assert_like(&what, out.get(), &want, tolerance);
            assert_like(&what, received.get(), &want_received, tolerance);
            [&qkv, &key_bias, &out, &received].iter().for_each(|buffer| buffer.assert_guards(&what));
        }
    }
}

/// Runs a function on arrays that begin at a cache line or so, and on the same values elsewhere.
fn twice(random: &mut Random, what: &str, lens: &[usize], run: &dyn Fn(&mut [&mut [f32]])) {
    let mut values: Vec<Vec<f32>> = lens.iter().map(|&len| random.values(len, 1.0)).collect();
    values.iter_mut().for_each(|values| spoil(random, values));
    let mut buffers: Vec<Buffer> = values.iter().map(|values| Buffer::of(random, values)).collect();
    run(&mut values.iter_mut().map(|values| &mut values[..]).collect::<Vec<_>>());
    run(&mut buffers.iter_mut().map(Buffer::get).collect::<Vec<_>>());
    // Which NaN it is says nothing, and Miri draws it.
    let plain = |values: &[f32]| -> Vec<f32> {
        values.iter().map(|&value| if value.is_nan() { f32::NAN } else { value }).collect()
    };
    for (values, buffer) in values.iter().zip(&mut buffers) {
        assert_same_bits(what, &plain(buffer.get()), &plain(values));
        buffer.assert_guards(what);
    }
}

#[test]
fn arrays_may_begin_anywhere_and_hold_anything() {
    for seed in Seed::all(ROUNDS) {
        let random = &mut seed.random();
        for &isa in isas() {
            layers(random, isa);
            rows_and_heads(random, isa);
        }
        gradients(random);
    }
}

fn layers(random: &mut Random, isa: Isa) {
    let (t, c, n) = (size(random, 40), 1 + size(random, 50), size(random, 70));
    let (up, down) = (random.values(n * c, 1.0), random.values(n * c, 1.0));
    for precision in PRECISIONS {
        let what = format!("{isa} {precision:?} {t}x{c}x{n}");
        let fc1 = PackedLinear::new(isa, precision, &up, n, c);
        let fc2 = PackedLinear::new(isa, precision, &down, c, n);
        twice(random, &what, &[c, c, n, t * c, t * n], &|views| {
            let [weight, bias, b, x, y] = views else { unreachable!() };
            norm_linear(Norm::layer(weight, bias, 1e-6), &fc1, Some(b), x, Epilogue::Store, y);
        });
        twice(random, &what, &[t * c, t * n, t * n, t * n, t * n], &|views| {
            let [x, pre, y, residual, z] = views else { unreachable!() };
            linear_keeping(&fc1, None, x, Activation::Gelu, pre, y);
            linear_residual(&fc1, None, x, None, residual, z);
        });
        twice(random, &what, &[c, c, n, c, c, t * c], &|views| {
            let [weight, bias, fc1_bias, fc2_bias, scale, x] = views else { unreachable!() };
            let norm = Norm::layer(weight, bias, 1e-6);
            let (fc1_bias, fc2_bias, scale) = (Some(&**fc1_bias), Some(&**fc2_bias), Some(&**scale));
            let (fc1, fc2, activation) = (&fc1, &fc2, Activation::GeluTanh);
            for gate in [None, Some(Gating { w: fc1, bias: None })] {
                let inner_norm = None;
                mlp(&Mlp { norm, fc1, fc1_bias, activation, gate, inner_norm, fc2, fc2_bias, scale }, x);
            }
        });
    }
}

fn rows_and_heads(random: &mut Random, isa: Isa) {
    let (t, q, merged) = (1 + size(random, 60), size(random, 30), 1 + size(random, 20));
    let (count, dim) = (1 + size(random, 3), 1 + size(random, 40));
    let (heads, c) = (Heads { count, dim, scale: 0.3 }, count * dim);
    let what = format!("{isa} {t} rows of {count}x{dim}, {merged} left");
    for precision in PRECISIONS {
        twice(random, &what, &[q * c, t * 2 * c, t, q * c], &|views| {
            let [queries, keys_values, key_bias, out] = views else { unreachable!() };
            let (inputs, offsets) = ([&**queries, &**keys_values], [&[0, q][..], &[0, t][..]]);
            cross_attention(isa, precision, heads, inputs, offsets, Some(key_bias), out);
        });
    }
    for aggregation in [HeadAggregation::Mean, HeadAggregation::Concat] {
        let width = if aggregation == HeadAggregation::Mean { dim } else { c };
        twice(random, &what, &[t * 3 * c, t * width], &|views| {
            let [qkv, out] = views else { unreachable!() };
            head_metric(isa, heads, qkv, Part::Value, aggregation, out);
        });
    }
    let (sources, destinations): (Vec<u32>, Vec<u32>) = (0..t as u32).partition(|_| random.unit() < 0.5);
    for similarity in [Similarity::Cosine, Similarity::Dot, Similarity::Euclidean, Similarity::Softmax] {
        twice(random, &what, &[t * c, sources.len(), sources.len()], &|views| {
            let [metric, best, places] = views else { unreachable!() };
            let item = Bipartite { sources: &sources, destinations: &destinations };
            let mut partner = vec![7; sources.len()];
            best_match(isa, similarity, metric, c, &[item], best, &mut partner);
            assert!(
                partner.iter().all(|p| destinations.contains(p) || destinations.is_empty()),
                "{partner:?}"
            );
            places.iter_mut().zip(partner).for_each(|(place, partner)| *place = partner as f32);
        });
    }
    let mut dst: Vec<u32> = (0..t).map(|_| random.below(merged) as u32).collect();
    dst[0] = DROPPED;
    twice(random, &what, &[t * c, t, merged * c, t * c], &|views| {
        let [x, weight, y, back] = views else { unreachable!() };
        merge_rows(isa, x, weight, &dst, y);
        gather_rows(isa, y, &dst, back);
    });
}

fn gradients(random: &mut Random) {
    let (t, n, c) = (1 + size(random, 40), 1 + size(random, 20), 1 + size(random, 40));
    let what = format!("gradients of {t}x{c}x{n}");
    let dst: Vec<u32> = (0..t).map(|_| random.below(n) as u32).collect();
    twice(random, &what, &[t, n * c, t * c], &|views| {
        let [weight, grad, dx] = views else { unreachable!() };
        merge_rows_backward(weight, &dst, grad, dx);
    });
    twice(random, &what, &[n * c, t * c, t * n, t * c, n * c, n], &|views| {
        let [weight, x, grad, dx, dw, db] = views else { unreachable!() };
        linear_backward(weight, x, grad, Some(dx), Some(dw), Some(db));
    });
    twice(random, &what, &[c, c, t * c, t * c, t * c, c, c], &|views| {
        let [weight, bias, x, grad, dx, dweight, dbias] = views else { unreachable!() };
        normalise_backward(Norm::layer(weight, bias, 1e-6), x, grad, dx, dweight, dbias);
    });
    let heads = Heads { count: n, dim: c, scale: 0.3 };
    twice(random, &what, &[t * 3 * n * c, t, t * n * c, t * 3 * n * c], &|views| {
        let [qkv, key_bias, grad, dqkv] = views else { unreachable!() };
        attention_backward(Isa::current(), heads, qkv, &[0, t], Some(key_bias), grad, dqkv);
    });
    twice(random, &what, &[t * c; 7], &|views| {
        let [pre, slope, weights, grad, mean, squares, to] = views else { unreachable!() };
        activation_backward(Activation::Gelu, pre, slope);
        let step = AdamwStep { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.1, time: 3 };
        adamw(&step, weights, grad, mean, squares, to);
    });
    let (b, shape) = (1 + random.below(2), [3, 2 * (n % 4), 2 * (c % 5)]);
    let len = b * shape.iter().product::<usize>();
    twice(random, &what, &[len, len, t * c, n * c, b * t * c, b * (t + n) * c], &|views| {
        let [images, patches, positions, prefix, tokens, out] = views else { unreachable!() };
        patchify(images, shape, 2, patches);
        assemble(tokens, prefix, positions, out);
    });
    let [channels, height, width] = shape;
    let window = Window { size: 3, stride: 1 + n % 2, padding: 1 };
    let windows = b * window.places(height) * window.places(width) * channels * 9;
    twice(random, &what, &[len, windows, windows, len], &|views| {
        let [values, out, grad, dx] = views else { unreachable!() };
        let maps = Maps { values, order: MapOrder::Rows, channels, size: [height, width] };
        unfold(maps, window, out);
        fold(grad, channels, [height, width], window, dx);
    });
}
