//! Wrong lengths and sizes of every public function: each is refused with its values before anything is written.

use crate::common::buffers::{Buffer, Seed, message_of};
use crate::common::{PRECISIONS, Random, isas};
use tokmerge_kernels::{
    Activation, AdamwStep, Angles, Bipartite, Epilogue, HeadAggregation, Heads, Isa, MapOrder, Maps, Mlp,
    Norm, PackedLinear, PackedWinograd, Pairs, Part, Precision, Rotation, Similarity, Window,
    activation_backward, adamw, assemble, attention, attention_backward, best_match, convolution,
    convolution_3x3, cross_attention, fold, gather_rows, head_metric, linear, linear_backward,
    linear_keeping, linear_residual, merge_rows, merge_rows_backward, mlp, norm_linear, normalise,
    normalise_backward, normalise_heads, patchify, rotate, unfold,
};

/// Rounds of every test.
const ROUNDS: u64 = if cfg!(miri) { 1 } else { 24 };

type Run<'a> = &'a dyn Fn(&mut [&mut [f32]]);

/// Calls `run` with arrays of the lengths `right`, then of wrong ones. Those that are not `valid` have to panic with a
/// message of `function` that leaves all arrays as they were.
fn probe(
    random: &mut Random,
    function: &str,
    right: &[usize],
    valid: &dyn Fn(&[usize]) -> bool,
    run: Run<'_>,
) {
    assert!(valid(right), "{function}: {right:?} should be right");
    attempt(random, function, right, true, run);
    for i in 0..right.len() {
        let len = right[i];
        let other = random.below(2 * len + 3);
        let wrong = [len.saturating_sub(1), len + 1, 0, len / 2, 2 * len + 1, 2 * len, other];
        for wrong in wrong.into_iter().take(if cfg!(miri) { 3 } else { 7 }) {
            let mut lens = right.to_vec();
            lens[i] = wrong;
            attempt(random, function, &lens, valid(&lens), run);
        }
    }
    for _ in 0..if cfg!(miri) { 2 } else { 10 } {
        let mut lens = right.to_vec();
        for len in &mut lens {
            if random.unit() < 0.5 {
                *len = random.below(2 * *len + 3);
            }
        }
        attempt(random, function, &lens, valid(&lens), run);
    }
}

fn attempt(random: &mut Random, function: &str, lens: &[usize], valid: bool, run: Run<'_>) {
    let what = format!("{function} with lengths {lens:?}");
    let mut buffers: Vec<Buffer> = lens.iter().map(|&len| Buffer::new(random, len)).collect();
    let before: Vec<_> = buffers.iter().map(Buffer::bits).collect();
    let mut views: Vec<&mut [f32]> = buffers.iter_mut().map(Buffer::get).collect();
    let message = message_of(|| run(&mut views));
    match message {
        None => assert!(valid, "{what}: accepted"),
        Some(message) => {
            assert!(!valid, "{what}: refused with `{message}`");
            let text = message.trim_start_matches("assertion `left == right` failed: ");
            assert!(text.starts_with(&format!("{function}: ")), "{what}: `{message}`");
            let after: Vec<_> = buffers.iter().map(Buffer::bits).collect();
            assert!(before == after, "{what}: something was written before `{message}`");
        }
    }
    buffers.iter().for_each(|buffer| buffer.assert_guards(&what));
}

/// 0, 1, or a few more.
fn size(random: &mut Random, most: usize) -> usize {
    let most = if cfg!(miri) { most.min(9) } else { most };
    [0, 1, 2, 1 + random.below(most), 1 + random.below(most), 1 + random.below(most)][random.below(6)]
}

/// Whether `len` is whole rows of `columns`; how many may be left open by `columns` of 0.
fn rows(len: usize, columns: usize) -> Option<usize> {
    if columns == 0 { (len == 0).then_some(0) } else { len.is_multiple_of(columns).then_some(len / columns) }
}

/// Whether these are as many rows of `k` and of `n`.
fn as_many(x: usize, k: usize, y: usize, n: usize) -> bool {
    match (k, n) {
        (0, _) => x == 0 && rows(y, n).is_some(),
        (_, 0) => y == 0 && rows(x, k).is_some(),
        _ => rows(x, k).is_some() && rows(x, k) == rows(y, n),
    }
}

#[test]
fn linear_layers() {
    for seed in Seed::all(ROUNDS) {
        let random = &mut seed.random();
        let (t, k, n) = (size(random, 20), size(random, 40), size(random, 40));
        let weight = random.values(n * k, 1.0);
        for (&isa, precision) in isas().iter().flat_map(|isa| PRECISIONS.map(|precision| (isa, precision))) {
            let w = &PackedLinear::new(isa, precision, &weight, n, k);
            let valid = |lens: &[usize]| lens[0] == n && as_many(lens[1], k, lens[2], n);
            probe(random, "linear", &[n, t * k, t * n], &valid, &|views| {
                let [bias, x, y] = views else { unreachable!() };
                linear(w, Some(bias), x, Epilogue::Activate(Activation::Gelu), y);
            });
            let valid = |lens: &[usize]| lens[2] == n && as_many(lens[0], k, lens[1], n);
            probe(random, "linear", &[t * k, t * n, n], &valid, &|views| {
                let [x, y, scale] = views else { unreachable!() };
                linear(w, None, x, Epilogue::Residual { scale: Some(scale) }, y);
            });
            let valid = |lens: &[usize]| lens[..2] == [k, k] && as_many(lens[2], k, lens[3], n);
            probe(random, "norm_linear", &[k, k, t * k, t * n], &valid, &|views| {
                let [weight, bias, x, y] = views else { unreachable!() };
                norm_linear(Norm::layer(weight, bias, 1e-6), w, None, x, Epilogue::Store, y);
            });
            let valid = |lens: &[usize]| lens[1] == lens[2] && as_many(lens[0], k, lens[1], n);
            probe(random, "linear_keeping", &[t * k, t * n, t * n], &valid, &|views| {
                let [x, pre, y] = views else { unreachable!() };
                linear_keeping(w, None, x, Activation::Relu, pre, y);
            });
            probe(random, "linear_residual", &[t * k, t * n, t * n], &valid, &|views| {
                let [x, residual, y] = views else { unreachable!() };
                linear_residual(w, None, x, None, residual, y);
            });
        }
    }
}

#[test]
fn feed_forward() {
    for seed in Seed::all(ROUNDS) {
        let random = &mut seed.random();
        let (t, c, hidden) = (size(random, 20), size(random, 40), size(random, 40));
        let (w1, w2) = (random.values(hidden * c, 1.0), random.values(hidden * c, 1.0));
        for (&isa, precision) in isas().iter().flat_map(|isa| PRECISIONS.map(|precision| (isa, precision))) {
            let fc1 = &PackedLinear::new(isa, precision, &w1, hidden, c);
            let fc2 = &PackedLinear::new(isa, precision, &w2, c, hidden);
            let valid = |lens: &[usize]| lens[..5] == [c, c, hidden, c, c] && rows(lens[5], c).is_some();
            let run = |fc1: &PackedLinear, fc2: &PackedLinear, views: &mut [&mut [f32]]| {
                let [weight, bias, fc1_bias, fc2_bias, scale, x] = views else { unreachable!() };
                let parts = Mlp {
                    norm: Norm::layer(weight, bias, 1e-6),
                    fc1,
                    fc1_bias: Some(fc1_bias),
                    activation: Activation::Gelu,
                    gate: None,
                    inner_norm: None,
                    fc2,
                    fc2_bias: Some(fc2_bias),
                    scale: Some(scale),
                };
                mlp(&parts, x);
            };
            let right = [c, c, hidden, c, c, t * c];
            probe(random, "mlp", &right, &valid, &|views| run(fc1, fc2, views));
            let narrow = &PackedLinear::new(isa, precision, &vec![0.0; (c + 1) * hidden], c + 1, hidden);
            let other = if precision == Precision::F32 { Precision::Int8 } else { Precision::F32 };
            let other = &PackedLinear::new(isa, other, &w2, c, hidden);
            for fc2 in [narrow, other] {
                attempt(random, "mlp", &right, false, &|views| run(fc1, fc2, views));
            }
        }
    }
}

/// Rotations and norms of the heads of `t` rows `q | k | v`.
fn heads_of_rows(random: &mut Random, t: usize) {
    let heads = Heads { count: 1 + size(random, 3), dim: 2 + 2 * size(random, 9), scale: 1.0 };
    let (dim, width) = (heads.dim, heads.count * heads.dim);
    let rows = move |x: usize| {
        if t == 0 { x == 0 } else { x.is_multiple_of(t * width) && x >= 2 * t * width }
    };
    for &isa in isas() {
        let angles = t * dim / 2;
        let valid = |lens: &[usize]| lens[..2] == [angles; 2] && rows(lens[2]);
        probe(random, "rotate", &[angles, angles, 3 * t * width], &valid, &|views| {
            let [cos, sin, x] = views else { unreachable!() };
            let rotation = Rotation { cos, sin, angles: Angles::Shared, pairs: Pairs::Adjacent };
            rotate(isa, heads, rotation, 2, x, t);
        });
        let valid = |lens: &[usize]| lens[..2] == [dim; 2] && rows(lens[2]);
        probe(random, "normalise_heads", &[dim, dim, 3 * t * width], &valid, &|views| {
            let [weight, bias, x] = views else { unreachable!() };
            let norm = Norm::layer(weight, bias, 1e-6);
            normalise_heads(isa, heads, &[Some(norm), None], x, t);
        });
    }
}

#[test]
fn norms_activations_and_steps() {
    for seed in Seed::all(ROUNDS) {
        let random = &mut seed.random();
        let (t, c) = (size(random, 40), size(random, 40));
        for &isa in isas() {
            let valid = |lens: &[usize]| {
                lens[0] == lens[1] && lens[2] == lens[3] && (lens[2] == 0 || rows(lens[2], lens[0]).is_some())
            };
            probe(random, "normalise", &[c, c, t * c, t * c], &valid, &|views| {
                let [weight, bias, x, y] = views else { unreachable!() };
                normalise(isa, Norm::layer(weight, bias, 1e-6), x, y);
            });
        }
        heads_of_rows(random, t);
        let c = c + 1;
        let valid = |lens: &[usize]| {
            let (c, x) = (lens[0], lens[2]);
            c > 0 && x.is_multiple_of(c) && lens[1..] == [c, x, x, x, c, c]
        };
        probe(random, "normalise_backward", &[c, c, t * c, t * c, t * c, c, c], &valid, &|views| {
            let [weight, bias, x, grad, dx, dweight, dbias] = views else { unreachable!() };
            normalise_backward(Norm::layer(weight, bias, 1e-6), x, grad, dx, dweight, dbias);
        });
        let equal = |lens: &[usize]| lens.iter().all(|&len| len == lens[0]);
        probe(random, "activation_backward", &[t * c; 2], &equal, &|views| {
            let [pre, grad] = views else { unreachable!() };
            activation_backward(Activation::Silu, pre, grad);
        });
        let step = AdamwStep { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.1, time: 1 };
        probe(random, "adamw", &[t * c; 5], &equal, &|views| {
            let [weights, grad, mean, squares, to] = views else { unreachable!() };
            adamw(&step, weights, grad, mean, squares, to);
        });
        let (n, k) = (size(random, 9), c);
        let valid = |lens: &[usize]| {
            let [nk, tk, tn, dx, dw, db] = *lens else { unreachable!() };
            if nk * tk * tn == 0 {
                return [tk, tn, dx] == [0; 3] && dw == nk;
            }
            let fits = |t: &usize| tk % t == 0 && tn % t == 0 && (tk / t) * (tn / t) == nk;
            (1..=tk).find(fits).is_some_and(|t| [dx, dw, db] == [tk, nk, tn / t])
        };
        let t = if n == 0 { 0 } else { t };
        probe(random, "linear_backward", &[n * k, t * k, t * n, t * k, n * k, n], &valid, &|views| {
            let [weight, x, grad, dx, dw, db] = views else { unreachable!() };
            linear_backward(weight, x, grad, Some(dx), Some(dw), Some(db));
        });
    }
}

/// Cuts `rows` into up to four items, some of them empty.
fn offsets(random: &mut Random, rows: usize) -> Vec<usize> {
    let mut offsets = vec![0, rows];
    (0..random.below(4)).for_each(|_| offsets.push(random.below(rows + 1)));
    offsets.sort_unstable();
    offsets
}

#[test]
fn attention_and_its_metrics() {
    for seed in Seed::all(ROUNDS) {
        let random = &mut seed.random();
        let (t, q) = (size(random, 30) + 1, size(random, 30));
        let (count, dim) = (1 + size(random, 4), 1 + size(random, 20));
        let (heads, width) = (Heads { count, dim, scale: 0.3 }, count * dim);
        let (items, one, queries) = (&offsets(random, t)[..], &[0, t][..], &[0, q][..]);
        for (&isa, precision) in isas().iter().flat_map(|isa| PRECISIONS.map(|precision| (isa, precision))) {
            let right = [t * 3 * width, t, t * width, t];
            let run = |offsets: &[usize], views: &mut [&mut [f32]]| {
                let [qkv, key_bias, out, received] = views else { unreachable!() };
                attention(isa, precision, heads, qkv, offsets, Some(key_bias), out, Some(received));
            };
            probe(random, "attention", &right, &|lens| lens == right, &|views| run(items, views));
            for wrong in
                [vec![], vec![0], vec![t], vec![1, t], vec![0, t, t - 1], vec![0, t + 1], vec![0, t + 1, t]]
            {
                if wrong != [0, t] {
                    attempt(random, "attention", &right, false, &|views| run(&wrong, views));
                }
            }
            let right = [q * width, t * 2 * width, t, q * width];
            let run = |offsets: [&[usize]; 2], views: &mut [&mut [f32]]| {
                let [queries, keys_values, key_bias, out] = views else { unreachable!() };
                let inputs = [&**queries, &**keys_values];
                cross_attention(isa, precision, heads, inputs, offsets, Some(key_bias), out);
            };
            probe(random, "cross_attention", &right, &|lens| lens == right, &|views| {
                run([queries, one], views)
            });
            for wrong in [&[0, 0, q][..], &[0, q + 1], &[0]] {
                attempt(random, "cross_attention", &right, false, &|views| run([wrong, one], views));
            }
            if q > 0 {
                let empty = [&[0, q, q][..], &[0, 0, t]];
                attempt(random, "cross_attention", &right, false, &|views| run(empty, views));
            }
        }
        for &isa in isas() {
            let right = [t * 3 * width, t, t * width, t * 3 * width];
            probe(random, "attention_backward", &right, &|lens| lens == right, &|views| {
                let [qkv, key_bias, grad, dqkv] = views else { unreachable!() };
                attention_backward(isa, heads, qkv, items, Some(key_bias), grad, dqkv);
            });
            for (aggregation, width) in [(HeadAggregation::Mean, dim), (HeadAggregation::Concat, width)] {
                let valid = |lens: &[usize]| as_many(lens[0], 3 * count * dim, lens[1], width);
                probe(random, "head_metric", &[t * 3 * count * dim, t * width], &valid, &|views| {
                    let [qkv, out] = views else { unreachable!() };
                    head_metric(isa, heads, qkv, Part::Key, aggregation, out);
                });
            }
        }
    }
}

#[test]
fn matching_and_merging() {
    for seed in Seed::all(ROUNDS) {
        let random = &mut seed.random();
        let (t, c, merged) = (1 + size(random, 30), 1 + size(random, 20), 1 + size(random, 9));
        let (sources, destinations): (Vec<u32>, Vec<u32>) = (0..t as u32).partition(|_| random.unit() < 0.5);
        let destination = |i: usize| (i % merged) as u32;
        // Lengths of `x`, of the list of destinations and of `y`.
        let fit = |x: usize, dst: usize, y: usize| match (x, dst) {
            (0, _) => true,
            (_, 0) => false,
            _ => {
                let c = x / dst;
                x.is_multiple_of(dst) && y.is_multiple_of(c) && merged.min(dst) <= y / c
            }
        };
        for &isa in isas() {
            let n = sources.len();
            let valid = |lens: &[usize]| lens[0].is_multiple_of(c) && lens[0] / c >= t && lens[1..] == [n, n];
            for similarity in [Similarity::Cosine, Similarity::Euclidean, Similarity::Softmax] {
                probe(random, "best_match", &[t * c, n, n], &valid, &|views| {
                    let [metric, best, partner] = views else { unreachable!() };
                    let item = Bipartite { sources: &sources, destinations: &destinations };
                    best_match(isa, similarity, metric, c, &[item], best, &mut vec![0; partner.len()]);
                });
            }
            let valid = |lens: &[usize]| lens[1] == lens[2] && fit(lens[0], lens[2], lens[3]);
            probe(random, "merge_rows", &[t * c, t, t, merged * c], &valid, &|views| {
                let [x, weight, dst, y] = views else { unreachable!() };
                let dst: Vec<u32> = (0..dst.len()).map(destination).collect();
                merge_rows(isa, x, weight, &dst, y);
            });
            let valid = |lens: &[usize]| fit(lens[2], lens[1], lens[0]);
            probe(random, "gather_rows", &[merged * c, t, t * c], &valid, &|views| {
                let [y, dst, x] = views else { unreachable!() };
                let dst: Vec<u32> = (0..dst.len()).map(destination).collect();
                gather_rows(isa, y, &dst, x);
            });
        }
        let valid = |lens: &[usize]| lens[0] == lens[1] && fit(lens[3], lens[1], lens[2]);
        probe(random, "merge_rows_backward", &[t, t, merged * c, t * c], &valid, &|views| {
            let [weight, dst, grad, dx] = views else { unreachable!() };
            let dst: Vec<u32> = (0..dst.len()).map(destination).collect();
            merge_rows_backward(weight, &dst, grad, dx);
        });
    }
}

#[test]
fn images() {
    for seed in Seed::all(ROUNDS) {
        let random = &mut seed.random();
        windows(random);
        let [b, channels, down, across, patch] = [3, 3, 4, 4, 4].map(|most| 1 + random.below(most));
        let shape = [channels, down * patch, across * patch];
        let len = b * shape.iter().product::<usize>();
        let valid = |lens: &[usize]| lens[0] == lens[1] && lens[0].is_multiple_of(len / b);
        probe(random, "patchify", &[len, len], &valid, &|views| {
            let [images, out] = views else { unreachable!() };
            patchify(images, shape, patch, out);
        });
        let (prefix, positions) = (size(random, 9), size(random, 20));
        let valid = |lens: &[usize]| {
            let items = rows(lens[0], lens[2]);
            items.is_some_and(|items| lens[3] == items * (lens[1] + lens[2]))
        };
        let items = if positions == 0 { 0 } else { b };
        let right = [items * positions, prefix, positions, items * (prefix + positions)];
        probe(random, "assemble", &right, &valid, &|views| {
            let [patches, prefix, positions, out] = views else { unreachable!() };
            assemble(patches, prefix, positions, out);
        });
    }
}

fn windows(random: &mut Random) {
    let [items, channels, height, width, n] = [2, 3, 7, 7, 20].map(|most| 1 + random.below(most));
    let window = Window { size: 1 + random.below(4), stride: 1 + random.below(3), padding: random.below(3) };
    let (map, k) = (channels * height * width, channels * window.size * window.size);
    let places = window.places(height) * window.places(width);
    let fits = |maps: usize, rows: usize, columns: usize| {
        maps.is_multiple_of(map) && rows == maps / map * places * columns
    };
    for order in [MapOrder::Planes, MapOrder::Rows] {
        let size = [height, width];
        let valid = |lens: &[usize]| fits(lens[0], lens[1], k);
        probe(random, "unfold", &[items * map, items * places * k], &valid, &|views| {
            let [values, out] = views else { unreachable!() };
            unfold(Maps { values, order, channels, size }, window, out);
        });
        let weight = vec![0.5; n * k];
        for (&isa, precision) in isas().iter().flat_map(|isa| PRECISIONS.map(|precision| (isa, precision))) {
            let w = PackedLinear::new(isa, precision, &weight, n, k);
            let valid = |lens: &[usize]| lens[1] == n && fits(lens[0], lens[2], n);
            probe(random, "convolution", &[items * map, n, items * places * n], &valid, &|views| {
                let [values, bias, y] = views else { unreachable!() };
                let maps = Maps { values, order, channels, size };
                convolution(&w, Some(bias), maps, window, Activation::Relu, y);
            });
        }
    }
    let (same, weight) = (height * width, vec![0.5; n * channels * 9]);
    for (&isa, precision) in isas().iter().flat_map(|isa| [(isa, Precision::F32), (isa, Precision::Bf16)]) {
        let w = PackedWinograd::new(isa, precision, &weight, [n, channels]);
        let valid = |lens: &[usize]| {
            lens[1] == n && lens[0].is_multiple_of(map) && lens[2] == lens[0] / map * same * n
        };
        probe(random, "convolution_3x3", &[items * map, n, items * same * n], &valid, &|views| {
            let [values, bias, y] = views else { unreachable!() };
            let maps = Maps { values, order: MapOrder::Rows, channels, size: [height, width] };
            convolution_3x3(&w, Some(bias), maps, Activation::Relu, y);
        });
    }
    let valid = |lens: &[usize]| fits(lens[1], lens[0], k);
    probe(random, "fold", &[items * places * k, items * map], &valid, &|views| {
        let [grad, out] = views else { unreachable!() };
        fold(grad, channels, [height, width], window, out);
    });
}

/// Sizes whose products are 0 or small if they are taken without looking.
fn beyond_usize(random: &mut Random) -> [usize; 2] {
    let half = 1 << (usize::BITS / 2);
    let small = 2 << random.below(4);
    [[half, half], [usize::MAX, 2], [usize::MAX / small + 2, small], [small, usize::MAX / small + 2]]
        [random.below(4)]
}

#[test]
fn sizes_whose_products_overflow() {
    for seed in Seed::all(4 * ROUNDS) {
        let random = &mut seed.random();
        let [a, b] = beyond_usize(random);
        let len = [0, a.wrapping_mul(b).min(200), 24 * size(random, 5)][random.below(3)];
        let heads = Heads { count: a, dim: b, scale: 1.0 };
        for (&isa, precision) in isas().iter().flat_map(|isa| PRECISIONS.map(|precision| (isa, precision))) {
            attempt(random, "PackedLinear", &[len], false, &|views| {
                let _ = PackedLinear::new(isa, precision, views[0], a, b);
            });
            attempt(random, "PackedLinear", &[len], false, &|views| {
                let _ = PackedLinear::transposed(isa, views[0], a, b);
            });
            for rows in [0, 1, len / 8, len / 24, len] {
                attempt(random, "attention", &[len, len / 3], false, &|views| {
                    let [qkv, out] = views else { unreachable!() };
                    attention(isa, precision, heads, qkv, &[0, rows], None, out, None);
                });
                attempt(random, "cross_attention", &[len, len, len], false, &|views| {
                    let [queries, keys_values, out] = views else { unreachable!() };
                    let inputs = [&**queries, &**keys_values];
                    cross_attention(isa, precision, heads, inputs, [&[0, rows], &[0, rows]], None, out);
                });
            }
            attempt(random, "attention_backward", &[len, len / 3, len], false, &|views| {
                let [qkv, grad, dqkv] = views else { unreachable!() };
                attention_backward(isa, heads, qkv, &[0, len / 24], None, grad, dqkv);
            });
            attempt(random, "head_metric", &[len, len / 3], false, &|views| {
                let [qkv, out] = views else { unreachable!() };
                head_metric(isa, heads, qkv, Part::Key, HeadAggregation::Mean, out);
            });
        }
        for shape in [[a, b, 1], [1, a, b], [b, 1, a]] {
            attempt(random, "patchify", &[len, len], false, &|views| {
                let [images, out] = views else { unreachable!() };
                patchify(images, shape, 1, out);
            });
            let [channels, height, width] = shape;
            let window = Window { size: 1, stride: 1, padding: 0 };
            attempt(random, "unfold", &[len, len], false, &|views| {
                let [values, out] = views else { unreachable!() };
                let maps = Maps { values, order: MapOrder::Rows, channels, size: [height, width] };
                unfold(maps, window, out);
            });
            attempt(random, "fold", &[len, len], false, &|views| {
                let [grad, out] = views else { unreachable!() };
                fold(grad, channels, [height, width], window, out);
            });
        }
    }
}

#[test]
fn layers_without_inputs_can_have_any_number_of_outputs() {
    for &isa in isas() {
        for precision in PRECISIONS {
            let outputs = if precision == Precision::Int8 { 70 } else { usize::MAX };
            let w = PackedLinear::new(isa, precision, &[], outputs, 0);
            linear(&w, None, &[], Epilogue::Store, &mut []);
        }
        let _ = PackedLinear::transposed(isa, &[], usize::MAX, 0);
    }
}

#[test]
fn an_instruction_set_that_is_missing_is_refused() {
    for isa in [Isa::Avx512, Isa::Avx2].into_iter().filter(|isa| !Isa::available().contains(isa)) {
        let random = &mut Random::new(1);
        attempt(random, "PackedLinear", &[6], false, &|views| {
            let _ = PackedLinear::new(isa, Precision::F32, views[0], 2, 3);
        });
        attempt(random, "gather_rows", &[6, 6], false, &|views| {
            let [y, x] = views else { unreachable!() };
            gather_rows(isa, y, &[0, 1], x);
        });
    }
}
