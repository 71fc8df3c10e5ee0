//! Attention with biases of pairs and a mask, and its gradient, against f64 references.

use crate::common::{self, Random, assert_close, assert_same_bits, isas};
use tokmerge_kernels::{
    Heads, Isa, PairAttention, PairGradients, PairTable, Sight, cross_attention, pair_attention,
    pair_attention_backward,
};

const HEADS: Heads = Heads { count: 2, dim: 5, scale: 0.6 };
const WIDTH: usize = 10;
const TABLE: usize = 4;
/// The second item has no queries; the last one has fewer queries than keys.
const QUERIES: [usize; 5] = [0, 3, 3, 7, 9];
const KEYS: [usize; 5] = [0, 3, 5, 9, 20];

/// All that goes in.
struct Case {
    q: Vec<f32>,
    kv: Vec<f32>,
    key_bias: Vec<f32>,
    table: Vec<f32>,
    rows: Vec<u8>,
    starts: Vec<usize>,
    grad: Vec<f32>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut starts = vec![0];
        for item in 0..QUERIES.len() - 1 {
            let pairs = (QUERIES[item + 1] - QUERIES[item]) * (KEYS[item + 1] - KEYS[item]);
            starts.push(starts[item] + pairs);
        }
        let rows = (0..starts[starts.len() - 1]).map(|_| random.below(TABLE) as u8).collect();
        Self {
            q: random.values(QUERIES[4] * WIDTH, 1.5),
            kv: random.values(KEYS[4] * 2 * WIDTH, 1.5),
            key_bias: random.values(KEYS[4], 1.0),
            table: random.values(TABLE * HEADS.count, 2.0),
            rows,
            starts,
            grad: random.values(QUERIES[4] * WIDTH, 1.0),
        }
    }

    fn attention(&self, way: Way) -> PairAttention<'_> {
        PairAttention {
            heads: HEADS,
            q: &self.q,
            kv: &self.kv,
            offsets: [&QUERIES, &KEYS],
            key_bias: way.key_bias.then_some(&self.key_bias),
            pair_bias: way.table.then_some(PairTable {
                table: &self.table,
                rows: &self.rows,
                starts: &self.starts,
            }),
            sight: way.sight,
        }
    }

    /// In f64, from the formula.
    fn reference(&self, [q, kv, table]: [&[f64]; 3], way: Way) -> Vec<f64> {
        let mut out = vec![0.0; q.len()];
        for item in 0..QUERIES.len() - 1 {
            let (queries, keys) = (QUERIES[item + 1] - QUERIES[item], KEYS[item + 1] - KEYS[item]);
            for (head, query) in
                (0..HEADS.count).flat_map(|head| (0..queries).map(move |query| (head, query)))
            {
                let row = QUERIES[item] + query;
                let of = |key: usize, part: usize, i: usize| {
                    kv[(KEYS[item] + key) * 2 * WIDTH + part * WIDTH + head * HEADS.dim + i]
                };
                let seen = match way.sight {
                    Sight::All => keys,
                    Sight::UpToOwn => keys + query + 1 - queries,
                };
                let score = |key: usize| {
                    let dot: f64 =
                        (0..HEADS.dim).map(|i| q[row * WIDTH + head * HEADS.dim + i] * of(key, 0, i)).sum();
                    let of_key = if way.key_bias { f64::from(self.key_bias[KEYS[item] + key]) } else { 0.0 };
                    let pair = usize::from(self.rows[self.starts[item] + query * keys + key]);
                    let of_pair = if way.table { table[pair * HEADS.count + head] } else { 0.0 };
                    f64::from(HEADS.scale) * dot + of_key + of_pair
                };
                let scores: Vec<f64> = (0..seen).map(|key| score(key).exp()).collect();
                let sum: f64 = scores.iter().sum();
                for i in 0..HEADS.dim {
                    let value = scores.iter().enumerate().map(|(key, score)| score * of(key, 1, i));
                    out[row * WIDTH + head * HEADS.dim + i] = value.sum::<f64>() / sum;
                }
            }
        }
        out
    }
}

#[derive(Clone, Copy, Debug)]
struct Way {
    key_bias: bool,
    table: bool,
    sight: Sight,
}

fn ways() -> impl Iterator<Item = Way> {
    [Sight::All, Sight::UpToOwn].into_iter().flat_map(|sight| {
        [(false, false), (true, false), (false, true), (true, true)].map(|(key_bias, table)| Way {
            key_bias,
            table,
            sight,
        })
    })
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| f64::from(v)).collect()
}

#[test]
fn it_equals_the_formula_and_its_gradient_finite_differences() {
    let case = Case::new(3);
    let inputs = [wide(&case.q), wide(&case.kv), wide(&case.table)];
    for way in ways() {
        let want = case.reference([&inputs[0], &inputs[1], &inputs[2]], way);
        let loss = |inputs: &[Vec<f64>; 3]| -> f64 {
            let out = case.reference([&inputs[0], &inputs[1], &inputs[2]], way);
            out.iter().zip(&case.grad).map(|(o, &g)| o * f64::from(g)).sum()
        };
        let differences = |of: usize| -> Vec<f64> {
            let difference = |at: usize| {
                let (mut up, mut down) = (inputs.clone(), inputs.clone());
                up[of][at] += 1e-5;
                down[of][at] -= 1e-5;
                (loss(&up) - loss(&down)) / 2e-5
            };
            (0..inputs[of].len()).map(difference).collect()
        };
        let expected = [0, 1, 2].map(differences);
        for &isa in isas() {
            let attention = case.attention(way);
            let mut out = vec![f32::NAN; case.q.len()];
            pair_attention(isa, &attention, &mut out);
            assert_close(&format!("{isa} {way:?}"), &out, &want, 2e-6);
            let mut found = [&case.q, &case.kv, &case.table].map(|like| vec![f32::NAN; like.len()]);
            let [q, kv, table] = &mut found;
            let table: &mut [f32] = if way.table { table } else { &mut [] };
            pair_attention_backward(isa, &attention, &case.grad, PairGradients { q, kv, table });
            for (part, (found, expected)) in found.iter().zip(&expected).enumerate() {
                if part < 2 || way.table {
                    assert_close(&format!("{isa} {way:?} {part}"), found, expected, 5e-6);
                }
            }
        }
    }
}

#[test]
fn without_biases_of_pairs_it_is_cross_attention() {
    let case = Case::new(8);
    let way = Way { key_bias: true, table: false, sight: Sight::All };
    for &isa in isas() {
        let (mut out, mut plain) = (vec![0.0; case.q.len()], vec![0.0; case.q.len()]);
        pair_attention(isa, &case.attention(way), &mut out);
        let (inputs, offsets) = ([&case.q[..], &case.kv], [&QUERIES[..], &KEYS]);
        let f32 = tokmerge_kernels::Precision::F32;
        cross_attention(isa, f32, HEADS, inputs, offsets, Some(&case.key_bias), &mut plain);
        assert_close("cross", &out, &wide(&plain), 2e-6);
    }
}

#[test]
fn threads_change_no_bit() {
    let case = Case::new(5);
    let way = Way { key_bias: true, table: true, sight: Sight::UpToOwn };
    let run = || {
        let mut found = [&case.q, &case.kv, &case.table].map(|like| vec![f32::NAN; like.len()]);
        let [q, kv, table] = &mut found;
        let gradients = PairGradients { q, kv, table };
        pair_attention_backward(Isa::current(), &case.attention(way), &case.grad, gradients);
        found.concat()
    };
    let alone = common::threads(1, run);
    for threads in [2, 3] {
        assert_same_bits("threads", &common::threads(threads, run), &alone);
    }
}

#[test]
#[should_panic(expected = "item 0 has 2 queries that see UpToOwn of 1 keys")]
fn a_query_that_sees_nothing_is_rejected() {
    let heads = Heads { count: 1, dim: 2, scale: 1.0 };
    let attention = PairAttention {
        heads,
        q: &[0.0; 4],
        kv: &[0.0; 4],
        offsets: [&[0, 2], &[0, 1]],
        key_bias: None,
        pair_bias: None,
        sight: Sight::UpToOwn,
    };
    pair_attention(Isa::Portable, &attention, &mut [0.0; 4]);
}

#[test]
#[should_panic(expected = "elements of grad_out and of the gradients of q, kv and table")]
fn gradients_of_other_lengths_are_rejected() {
    let case = Case::new(1);
    let way = Way { key_bias: false, table: true, sight: Sight::All };
    let (mut q, mut kv) = (case.q.clone(), case.kv.clone());
    let gradients = PairGradients { q: &mut q, kv: &mut kv, table: &mut [] };
    pair_attention_backward(Isa::Portable, &case.attention(way), &case.grad, gradients);
}
