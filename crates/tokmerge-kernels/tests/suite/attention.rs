//! Attention and its gradient against f64 references.

use crate::common::{self, PRECISIONS, Random, assert_close, assert_same_bits, isas, threads};
use tokmerge_kernels::{
    HeadAggregation, Heads, Isa, Part, Precision, attention, attention_backward, cross_attention, head_mean,
    head_metric,
};

/// Results are averages of numbers below 1.
const AVERAGES: f64 = 2e-6;
/// The same of numbers rounded to bf16, with probabilities that come from such numbers.
const AVERAGES_BF16: f64 = 2e-2;

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| f64::from(v)).collect()
}

fn run(
    isa: Isa,
    heads: Heads,
    qkv: &[f32],
    offsets: &[usize],
    key_bias: Option<&[f32]>,
) -> (Vec<f32>, Vec<f32>) {
    run_at(isa, Precision::F32, heads, qkv, offsets, key_bias)
}

fn run_at(
    isa: Isa,
    precision: Precision,
    heads: Heads,
    qkv: &[f32],
    offsets: &[usize],
    key_bias: Option<&[f32]>,
) -> (Vec<f32>, Vec<f32>) {
    let rows = offsets[offsets.len() - 1];
    let (mut out, mut received) = (vec![f32::NAN; rows * heads.count * heads.dim], vec![f32::NAN; rows]);
    attention(isa, precision, heads, qkv, offsets, key_bias, &mut out, Some(&mut received));
    let mut alone = vec![f32::NAN; out.len()];
    attention(isa, precision, heads, qkv, offsets, key_bias, &mut alone, None);
    assert_same_bits("with and without received", &out, &alone);
    (out, received)
}

#[test]
fn attention_equals_the_reference_for_any_head_and_item() {
    for &isa in isas() {
        for (count, dim) in [(1, 1), (3, 16), (2, 30), (2, 32), (6, 64), (2, 80), (1, 88), (2, 96)] {
            let heads = Heads { count, dim, scale: 1.0 / (dim as f32).sqrt() };
            let offsets = [0, 0, 1, 8, 8, 41, 140, 140];
            let mut random = Random::new((count * 100 + dim) as u64);
            let qkv = random.values(140 * 3 * count * dim, 2.0);
            let key_bias = random.values(140, 2.0);
            for key_bias in [None, Some(&key_bias[..])] {
                let (out, received) = run(isa, heads, &qkv, &offsets, key_bias);
                let (want, want_received) = common::attention(heads, &wide(&qkv), &offsets, key_bias);
                assert_close(&format!("{isa} {count}x{dim}"), &out, &want, AVERAGES);
                assert_close(&format!("{isa} {count}x{dim} received"), &received, &want_received, AVERAGES);
                let (out, received) = run_at(isa, Precision::Bf16, heads, &qkv, &offsets, key_bias);
                assert_close(&format!("{isa} {count}x{dim} bf16"), &out, &want, AVERAGES_BF16);
                assert_close("received, bf16", &received, &want_received, AVERAGES_BF16);
            }
        }
    }
}

#[test]
fn an_item_is_the_same_bit_for_bit_alone_and_in_any_batch() {
    let heads = Heads { count: 3, dim: 40, scale: 0.2 };
    let offsets = [0, 17, 17, 60, 257];
    let row = 3 * heads.count * heads.dim;
    let mut random = Random::new(5);
    let qkv = random.values(257 * row, 1.0);
    let key_bias = random.values(257, 1.0);
    for (isa, precision) in isas().iter().flat_map(|&isa| PRECISIONS.map(|precision| (isa, precision))) {
        let run = |qkv: &[f32], offsets: &[usize], key_bias: &[f32]| {
            run_at(isa, precision, heads, qkv, offsets, Some(key_bias))
        };
        let (out, received) = threads(1, || run(&qkv, &offsets, &key_bias));
        let (out4, received4) = threads(4, || run(&qkv, &offsets, &key_bias));
        assert_same_bits("threads", &out, &out4);
        assert_same_bits("threads, received", &received, &received4);
        for item in offsets.windows(2) {
            let (a, b) = (item[0], item[1]);
            let (alone, alone_received) = run(&qkv[a * row..b * row], &[0, b - a], &key_bias[a..b]);
            assert_same_bits("item", &alone, &out[a * row / 3..b * row / 3]);
            assert_same_bits("item, received", &alone_received, &received[a..b]);
        }
    }
}

#[test]
fn some_queries_get_bit_for_bit_what_all_of_them_get() {
    let offsets = [0, 17, 17, 60, 257];
    for (count, dim) in [(3, 40), (2, 64), (1, 7)] {
        let (heads, width) = (Heads { count, dim, scale: 0.2 }, count * dim);
        let mut random = Random::new(7);
        let (qkv, key_bias) = (random.values(257 * 3 * width, 1.0), random.values(257, 1.0));
        let keys_values: Vec<f32> =
            qkv.chunks_exact(3 * width).flat_map(|row| &row[width..]).copied().collect();
        for (isa, precision) in isas().iter().flat_map(|&isa| PRECISIONS.map(|precision| (isa, precision))) {
            let (all, _) = run_at(isa, precision, heads, &qkv, &offsets, Some(&key_bias));
            for most in [1, 2, 30] {
                let rows: Vec<usize> =
                    offsets.windows(2).flat_map(|item| (item[0]..item[1]).take(most)).collect();
                let mut query_offsets = vec![0];
                for item in offsets.windows(2) {
                    query_offsets.push(query_offsets[query_offsets.len() - 1] + most.min(item[1] - item[0]));
                }
                let queries: Vec<f32> =
                    rows.iter().flat_map(|row| &qkv[row * 3 * width..][..width]).copied().collect();
                let mut out = vec![f32::NAN; queries.len()];
                let (inputs, offsets) = ([&queries[..], &keys_values], [&query_offsets[..], &offsets]);
                cross_attention(isa, precision, heads, inputs, offsets, Some(&key_bias), &mut out);
                let want: Vec<f32> =
                    rows.iter().flat_map(|row| &all[row * width..][..width]).copied().collect();
                assert_same_bits(&format!("{isa} {count}x{dim}, {most} queries"), &out, &want);
            }
        }
    }
}

#[test]
#[should_panic(expected = "item 1 has 2 queries but no keys")]
fn queries_without_keys_are_rejected() {
    let heads = Heads { count: 1, dim: 2, scale: 1.0 };
    let (inputs, offsets) = ([&[0.0; 6][..], &[0.0; 12][..]], [&[0, 1, 3][..], &[0, 3, 3][..]]);
    cross_attention(Isa::Portable, Precision::F32, heads, inputs, offsets, None, &mut [0.0; 6]);
}

#[test]
fn nan_and_infinity_stay_in_their_item() {
    let heads = Heads { count: 2, dim: 24, scale: 0.2 };
    let mut qkv = Random::new(6).values(50 * 144, 1.0);
    for (isa, precision) in isas().iter().flat_map(|&isa| PRECISIONS.map(|precision| (isa, precision))) {
        let (clean, _) = run_at(isa, precision, heads, &qkv, &[0, 20, 50], None);
        let kept = qkv.clone();
        qkv[144 * 25 + 48] = f32::NAN;
        qkv[144 * 30 + 50] = f32::INFINITY;
        let (out, _) = run_at(isa, precision, heads, &qkv, &[0, 20, 50], None);
        assert!(out[20 * 48..].iter().step_by(48).all(|value| value.is_nan()), "every query sees the NaN");
        assert_same_bits("the other item", &out[..20 * 48], &clean[..20 * 48]);
        qkv = kept;
    }
}

#[test]
fn a_key_of_key_bias_minus_infinity_is_not_seen() {
    let heads = Heads { count: 1, dim: 16, scale: 0.25 };
    let qkv = Random::new(9).values(10 * 48, 1.0);
    let mut key_bias = [0.0; 10];
    key_bias[9] = f32::NEG_INFINITY;
    for &isa in isas() {
        let (_, received) = run_at(isa, Precision::Bf16, heads, &qkv, &[0, 10], Some(&key_bias));
        assert_eq!(received[9], 0.0);
        let (out, received) = run(isa, heads, &qkv, &[0, 10], Some(&key_bias));
        assert_eq!(received[9], 0.0);
        let (without, _) = run(isa, heads, &qkv[..9 * 48], &[0, 9], None);
        let without: Vec<f64> = wide(&without);
        assert_close("without it", &out[..9 * 16], &without, 1e-6);
    }
}

#[test]
fn long_items_work() {
    let heads = Heads { count: 1, dim: 32, scale: 0.3 };
    let qkv = Random::new(11).values(601 * 96, 1.0);
    let (want, _) = common::attention(heads, &wide(&qkv), &[0, 601], None);
    for &isa in isas() {
        assert_close("601 tokens", &run(isa, heads, &qkv, &[0, 601], None).0, &want, AVERAGES);
    }
}

#[test]
fn the_gradient_equals_finite_differences() {
    let heads = Heads { count: 2, dim: 5, scale: 0.6 };
    let offsets = [0, 3, 3, 10];
    let mut random = Random::new(3);
    let (qkv, grad) = (random.values(10 * 30, 1.5), random.values(10 * 10, 1.0));
    let key_bias = random.values(10, 1.0);
    for &isa in isas() {
        for key_bias in [None, Some(&key_bias[..])] {
            let loss = |qkv: &[f64]| -> f64 {
                let (out, _) = common::attention(heads, qkv, &offsets, key_bias);
                out.iter().zip(&grad).map(|(o, &g)| o * f64::from(g)).sum()
            };
            let want: Vec<f64> = (0..qkv.len())
                .map(|i| {
                    let (mut up, mut down) = (wide(&qkv), wide(&qkv));
                    up[i] += 1e-5;
                    down[i] -= 1e-5;
                    (loss(&up) - loss(&down)) / 2e-5
                })
                .collect();
            let mut dqkv = vec![f32::NAN; qkv.len()];
            attention_backward(isa, heads, &qkv, &offsets, key_bias, &grad, &mut dqkv);
            assert_close(&format!("{isa}"), &dqkv, &want, 2e-6);
        }
    }
}

#[test]
fn head_metrics_take_the_part_asked_for() {
    let heads = Heads { count: 3, dim: 21, scale: 1.0 };
    let qkv = Random::new(8).values(13 * 189, 1.0);
    for &isa in isas() {
        for (part, offset) in [(Part::Query, 0), (Part::Key, 63), (Part::Value, 126)] {
            let (mut mean, mut concat) = (vec![0.0; 13 * 21], vec![0.0; 13 * 63]);
            head_mean(isa, heads, &qkv, part, &mut mean);
            head_metric(isa, heads, &qkv, part, HeadAggregation::Concat, &mut concat);
            let at = |row: usize, i: usize| f64::from(qkv[row * 189 + offset + i]);
            let want: Vec<f64> = (0..13 * 21)
                .map(|i| (0..3).map(|h| at(i / 21, h * 21 + i % 21)).sum::<f64>() / 3.0)
                .collect();
            assert_close("mean", &mean, &want, 1e-6);
            let want: Vec<f64> = (0..13 * 63).map(|i| at(i / 63, i % 63)).collect();
            assert_close("concat", &concat, &want, 0.0);
        }
    }
}
