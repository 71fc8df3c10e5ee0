use super::{
    AttentionSpec, Mask, PairBias, PairRows, Part, attention, attention_received, attention_received_from,
    composed, composed_cross, composed_features, composed_received, cross_attention, head_features,
};
use crate::testing::{assert_close, devices, gradients_match, normal};
use crate::{HeadAggregation, Heads, Layout, Precision, gather_rows};
use burn::tensor::{Tensor, activation::softmax, s};
use proptest::prelude::*;
use std::sync::Arc;

const HEADS: [Heads; 3] = [
    Heads { count: 1, dim: 64, scale: 0.125 },
    Heads { count: 3, dim: 16, scale: 0.25 },
    Heads { count: 2, dim: 5, scale: 0.4 },
];

fn layouts() -> [Layout; 4] {
    [
        Layout::uniform(2, 19),
        Layout::uniform(1, 1),
        Layout::from_lens(&[7, 33, 1]),
        Layout::from_lens(&[4, 0, 3]),
    ]
}

/// Heads with layouts.
fn cases() -> impl Iterator<Item = (Heads, Layout)> {
    HEADS.into_iter().flat_map(|heads| layouts().map(|layout| (heads, layout)))
}

fn key_biases(rows: usize) -> Arc<[f32]> {
    (0..rows).map(|row| ((row % 5 + 1) as f32).ln()).collect()
}

/// Without a key bias, and with one.
fn specs(heads: Heads, layout: &Layout) -> [AttentionSpec<'_>; 2] {
    [None, Some(key_biases(layout.rows()))]
        .map(|key_bias| AttentionSpec { key_bias, ..AttentionSpec::new(heads, layout) })
}

#[test]
fn kernel_equals_composed() {
    let device = devices().plain;
    for (heads, layout) in cases() {
        let qkv = normal([layout.rows(), 3 * heads.count * heads.dim], 7, &device);
        for spec in specs(heads, &layout) {
            let expected = composed(qkv.clone(), &spec);
            assert_close(attention(qkv.clone(), &spec), expected.clone(), 2e-5);
            let coarse = AttentionSpec { precision: Precision::Bf16, ..spec.clone() };
            assert_close(attention(qkv.clone(), &coarse), expected, 3e-2);
            let received = attention_received(qkv.clone(), &spec);
            let expected = composed_received(qkv.clone(), &spec);
            for (actual, expected) in received.iter().zip(&expected) {
                assert!((actual - expected).abs() < 1e-5, "{actual} instead of {expected}");
            }
            assert_eq!(received.len(), expected.len());
        }
    }
}

#[test]
fn what_the_first_tokens_give_is_the_mean_of_their_rows() {
    let device = devices().plain;
    for (heads, layout) in cases() {
        let width = heads.count * heads.dim;
        let qkv = normal([layout.rows(), 3 * width], 7, &device);
        for spec in specs(heads, &layout) {
            let all = attention_received(qkv.clone(), &spec);
            for (actual, expected) in attention_received_from(qkv.clone(), &layout, &spec).iter().zip(&all) {
                assert!((actual - expected).abs() < 1e-5, "{actual} instead of {expected}");
            }
            // With the queries of the first two in place of all others, all give what these do.
            let front = layout.front(2);
            let found = attention_received_from(qkv.clone(), &front, &spec);
            assert_eq!(found.len(), layout.rows());
            for (item, keys) in layout.lens().enumerate() {
                let (range, queries) = (layout.range(item), front.range(item).len());
                if queries == 0 || keys % queries != 0 {
                    continue;
                }
                let rows = |rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| {
                    qkv.clone().slice(s![rows, columns])
                };
                let q = rows(range.start..range.start + queries, 0..width).repeat_dim(0, keys / queries);
                let one = Tensor::cat(vec![q, rows(range.clone(), width..3 * width)], 1);
                let key_bias = spec.key_bias.as_ref().map(|bias| bias[range.clone()].into());
                let alone = Layout::uniform(1, keys);
                let expected =
                    attention_received(one, &AttentionSpec { key_bias, ..AttentionSpec::new(heads, &alone) });
                for (actual, expected) in found[range].iter().zip(&expected) {
                    assert!((actual - expected).abs() < 1e-5, "{actual} instead of {expected}");
                }
            }
        }
    }
    let layout = Layout::uniform(2, 3);
    let spec = AttentionSpec::new(HEADS[1], &layout);
    let nobody = attention_received_from(normal([6, 144], 1, &device), &Layout::uniform(2, 0), &spec);
    assert_eq!(nobody, [0.0; 6]);
}

/// Queries of the first `front` tokens of every item, and keys and values of all.
fn front_of(qkv: Tensor<2>, heads: Heads, layout: &Layout, front: usize) -> (Tensor<2>, Tensor<2>) {
    let width = heads.count * heads.dim;
    let queries = gather_rows(qkv.clone().slice(s![.., ..width]), &layout.front_rows(front));
    (queries, qkv.slice(s![.., width..]))
}

#[test]
fn the_front_attends_as_among_all_bit_for_bit() {
    for device in [devices().plain, devices().tracked] {
        for (heads, layout, front) in
            cases().flat_map(|(heads, layout)| [1, 2, 50].map(|front| (heads, layout.clone(), front)))
        {
            let qkv = normal([layout.rows(), 3 * heads.count * heads.dim], 7, &device);
            for precision in [Precision::F32, Precision::Bf16] {
                let spec = AttentionSpec { precision, ..specs(heads, &layout)[1].clone() };
                let all = attention(qkv.clone(), &spec);
                let (queries, keys_values) = front_of(qkv.clone(), heads, &layout, front);
                let some = cross_attention(queries, &layout.front(front), keys_values, &spec);
                assert_close(some, gather_rows(all, &layout.front_rows(front)), 0.0);
            }
        }
    }
}

#[test]
fn gradients_of_the_front_equal_composed() {
    for (heads, layout) in cases() {
        let qkv = normal([layout.rows(), 3 * heads.count * heads.dim], 9, &devices().tracked);
        let spec = specs(heads, &layout)[1].clone();
        gradients_match(
            [qkv],
            |[qkv]| {
                let (queries, keys_values) = front_of(qkv, heads, &layout, 2);
                cross_attention(queries, &layout.front(2), keys_values, &spec)
            },
            |[qkv]| gather_rows(composed(qkv, &spec), &layout.front_rows(2)),
            2e-4,
        );
    }
}

#[test]
fn attention_between_two_layouts_equals_composed_with_gradients() {
    let device = devices();
    for heads in HEADS {
        for (queries, keys) in [([3, 3], [5, 5]), ([7, 1], [2, 9]), ([0, 4], [0, 1])] {
            let (q_layout, layout) = (Layout::from_lens(&queries), Layout::from_lens(&keys));
            let width = heads.count * heads.dim;
            for spec in specs(heads, &layout) {
                let kv: Tensor<2> = normal([layout.rows(), 2 * width], 8, &device.plain);
                let q: Tensor<2> = normal([q_layout.rows(), width], 9, &device.plain);
                let expected = composed_cross(q.clone(), &q_layout, kv.clone(), &spec);
                assert_close(cross_attention(q.clone(), &q_layout, kv.clone(), &spec), expected, 2e-5);
                let q = q.clone().into_data();
                let tracked = || Tensor::<2>::from_data(q.clone(), &device.tracked);
                gradients_match(
                    [normal([layout.rows(), 2 * width], 8, &device.tracked)],
                    |[kv]| cross_attention(tracked(), &q_layout, kv, &spec),
                    |[kv]| composed_cross(tracked(), &q_layout, kv, &spec),
                    2e-4,
                );
            }
        }
    }
}

/// A row of a table of so many for every pair.
fn pair_rows(layout: &Layout, table: Tensor<2>) -> PairRows {
    let [rows, _] = table.dims();
    let pairs = layout.lens().flat_map(|len| (0..len * len).map(move |pair| ((7 * pair + len) % rows) as u8));
    PairRows { table, rows: pairs.collect() }
}

#[test]
fn every_item_has_its_own_biases_of_pairs() {
    let device = devices();
    for (heads, layout) in cases() {
        let qkv: Tensor<2> = normal([layout.rows(), 3 * heads.count * heads.dim], 7, &device.plain);
        let table: Tensor<2> = normal([5, heads.count], 8, &device.plain);
        for spec in specs(heads, &layout) {
            let pairs = pair_rows(&layout, table.clone());
            let spec = AttentionSpec { pair_bias: Some(PairBias::Rows(pairs)), ..spec };
            let expected = composed(qkv.clone(), &spec);
            assert_close(attention(qkv.clone(), &spec), expected, 2e-5);
        }
        // All zeros are no bias.
        let pairs = pair_rows(&layout, table.zeros_like());
        let [plain, _] = specs(heads, &layout);
        let zeros = AttentionSpec { pair_bias: Some(PairBias::Rows(pairs)), ..plain.clone() };
        let values = |spec| attention(qkv.clone(), spec).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(values(&zeros), values(&plain), "bit for bit");
    }
}

#[test]
fn a_table_of_biases_of_pairs_has_a_gradient() {
    let (heads, layout) = (HEADS[1], Layout::from_lens(&[4, 2, 4]));
    let device = devices().tracked;
    let qkv: Tensor<2> = normal([10, 3 * 48], 3, &device);
    let ours = |table: Tensor<2>| {
        let pair_bias = Some(PairBias::Rows(pair_rows(&layout, table)));
        attention(qkv.clone(), &AttentionSpec { pair_bias, ..AttentionSpec::new(heads, &layout) })
    };
    // The same by one item at a time, each with a bias of its own.
    let by_item = |table: Tensor<2>| {
        let rows = pair_rows(&layout, table);
        let starts = PairRows::starts(&layout, &layout);
        let items = (0..3).map(|item| {
            let (range, one) = (layout.range(item), Layout::uniform(1, layout.range(item).len()));
            let bias = rows.of(&[item], &starts, 3, [range.len(); 2]).squeeze_dim::<3>(0);
            let pair_bias = Some(PairBias::Shared(bias));
            let qkv = qkv.clone().slice(s![range.start..range.end, ..]);
            attention(qkv, &AttentionSpec { pair_bias, ..AttentionSpec::new(heads, &one) })
        });
        Tensor::cat(items.collect(), 0)
    };
    gradients_match([normal([5, 3], 4, &device)], |[table]| ours(table), |[table]| by_item(table), 1e-5);
}

#[test]
fn queries_keys_and_biases_of_pairs_have_the_gradients_of_composed() {
    let device = devices().tracked;
    let (q_layout, layout) = (Layout::from_lens(&[2, 0, 3]), Layout::from_lens(&[5, 1, 3]));
    let heads = HEADS[1];
    let rows: Arc<[u8]> = (0..2 * 5 + 3 * 3).map(|pair| (pair * 3 % 5) as u8).collect();
    for mask in [Mask::None, Mask::Causal] {
        let spec_of = |table: Tensor<2>| AttentionSpec {
            mask,
            pair_bias: Some(PairBias::Rows(PairRows { table, rows: rows.clone() })),
            ..specs(heads, &layout)[1].clone()
        };
        let inputs = [normal([5, 48], 1, &device), normal([9, 96], 2, &device), normal([5, 3], 3, &device)];
        gradients_match(
            inputs,
            |[q, kv, table]| cross_attention(q, &q_layout, kv, &spec_of(table)),
            |[q, kv, table]| composed_cross(q, &q_layout, kv, &spec_of(table)),
            2e-4,
        );
    }
}

#[test]
fn a_pair_bias_is_added_to_the_logits_and_has_a_gradient() {
    let (heads, layout) = (HEADS[1], Layout::uniform(2, 6));
    let device = devices().tracked;
    let qkv: Tensor<2> = normal([12, 3 * 48], 3, &device);
    gradients_match(
        [normal([3, 6, 6], 4, &device)],
        |[bias]| {
            let spec = AttentionSpec {
                pair_bias: Some(PairBias::Shared(bias)),
                ..AttentionSpec::new(heads, &layout)
            };
            attention(qkv.clone(), &spec)
        },
        |[bias]| {
            let part = |i: usize| -> Tensor<4> {
                let part = qkv.clone().slice(s![.., i * 48..(i + 1) * 48]);
                part.reshape([2, 6, 3, 16]).swap_dims(1, 2)
            };
            let logits = part(0).matmul(part(1).swap_dims(2, 3)) * heads.scale;
            let y = softmax(logits + bias.unsqueeze_dim::<4>(0), 3).matmul(part(2));
            y.swap_dims(1, 2).reshape([12, 48])
        },
        1e-5,
    );
}

#[test]
fn under_a_causal_mask_a_token_is_as_if_it_were_the_last() {
    let device = devices().plain;
    for (heads, layout) in cases() {
        let width = heads.count * heads.dim;
        let qkv: Tensor<2> = normal([layout.rows(), 3 * width], 7, &device);
        let spec = AttentionSpec { mask: Mask::Causal, ..specs(heads, &layout)[1].clone() };
        let y = attention(qkv.clone(), &spec);
        for item in 0..layout.items() {
            for row in layout.range(item) {
                let seen = layout.range(item).start..row + 1;
                let alone = Layout::uniform(1, seen.len());
                let bias = key_biases(layout.rows())[seen.clone()].into();
                let spec = AttentionSpec { key_bias: Some(bias), ..AttentionSpec::new(heads, &alone) };
                let last = attention(qkv.clone().slice(s![seen.clone(), ..]), &spec);
                let last = last.slice(s![seen.len() - 1..seen.len(), ..]);
                assert_close(y.clone().slice(s![row..=row, ..]), last, 2e-5);
            }
        }
        // The last queries alone stand at the last keys.
        let (q_layout, keys) = (layout.front(1), qkv.clone().slice(s![.., width..]));
        let lasts: Vec<u32> =
            (0..layout.items()).filter_map(|item| layout.range(item).last()).map(|row| row as u32).collect();
        let lasts: Arc<[u32]> = lasts.into();
        let queries = gather_rows(qkv.slice(s![.., ..width]), &lasts);
        assert_close(cross_attention(queries, &q_layout, keys, &spec), gather_rows(y, &lasts), 2e-5);
    }
}

#[test]
fn features_equal_composed() {
    let device = devices().plain;
    for heads in HEADS {
        let qkv = normal([11, 3 * heads.count * heads.dim], 8, &device);
        for part in [Part::Query, Part::Key, Part::Value] {
            for aggregation in [HeadAggregation::Mean, HeadAggregation::Concat] {
                assert_close(
                    head_features(qkv.clone(), heads, part, aggregation),
                    composed_features(qkv.clone(), heads, part, aggregation),
                    1e-6,
                );
            }
        }
    }
}

#[test]
fn gradients_equal_composed() {
    let device = devices().tracked;
    for (heads, layout) in cases() {
        let qkv = normal([layout.rows(), 3 * heads.count * heads.dim], 9, &device);
        for spec in specs(heads, &layout) {
            gradients_match([qkv.clone()], |[qkv]| attention(qkv, &spec), |[qkv]| composed(qkv, &spec), 2e-4);
        }
    }
}

/// What `op` gives for each item that has rows, alone.
fn alone<T>(
    qkv: &Tensor<2>,
    spec: &AttentionSpec<'_>,
    op: impl Fn(Tensor<2>, &AttentionSpec<'_>) -> T,
) -> Vec<T> {
    let layout = spec.layout;
    let items = (0..layout.items()).map(|item| layout.range(item)).filter(|range| !range.is_empty());
    items
        .map(|range| {
            let key_bias = spec.key_bias.as_ref().map(|bias| bias[range.clone()].into());
            let alone = Layout::uniform(1, range.len());
            let spec = AttentionSpec { key_bias, layout: &alone, ..spec.clone() };
            op(qkv.clone().slice(s![range, ..]), &spec)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_item_in_a_ragged_batch_is_as_alone(
        mut lens in prop::collection::vec(0usize..7, 0..9),
        heads in prop::sample::select(HEADS.to_vec()),
        seed in any::<u64>(),
    ) {
        lens.extend([0, 1, 40]);
        let layout = Layout::from_lens(&lens);
        let qkv = normal([layout.rows(), 3 * heads.count * heads.dim], seed, &devices().plain);
        for spec in specs(heads, &layout) {
            let expected = Tensor::cat(alone(&qkv, &spec, composed), 0);
            assert_close(composed(qkv.clone(), &spec), expected, 1e-6);

            let received = composed_received(qkv.clone(), &spec);
            let expected = alone(&qkv, &spec, composed_received).concat();
            assert_eq!(received.len(), expected.len());
            for (actual, expected) in received.iter().zip(&expected) {
                assert!((actual - expected).abs() < 1e-6, "{actual} instead of {expected}");
            }

            gradients_match(
                [normal(qkv.dims(), seed, &devices().tracked)],
                |[qkv]| composed(qkv, &spec),
                |[qkv]| Tensor::cat(alone(&qkv, &spec, composed), 0),
                1e-6,
            );
        }
    }
}

#[test]
fn a_batch_without_rows_has_no_attention() {
    let heads = HEADS[1];
    let ragged = Layout::Ragged { offsets: [0, 0, 0].into() };
    for layout in [Layout::uniform(0, 0), Layout::uniform(2, 0), ragged] {
        let qkv = normal([0, 3 * heads.count * heads.dim], 1, &devices().plain);
        let spec = AttentionSpec::new(heads, &layout);
        assert_eq!(composed(qkv.clone(), &spec).dims(), [0, heads.count * heads.dim]);
        assert!(composed_received(qkv, &spec).is_empty());
    }
}
