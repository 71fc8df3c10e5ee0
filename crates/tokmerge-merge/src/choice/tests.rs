//! Cases by hand, and what training and inference must have in common.

use super::{Choice, Counting, Judged, Meeting, Pair};
use crate::budget::{Budget, spend};
use crate::mergers::Soft;
use crate::policy::{COST, COUNTS, WEIGHT};
use crate::{
    AttentionMap, Combination, Combine, Evidence, KeyBias, Layout, MergePlan, Merger, MergerShape, Mergers,
    Merging, Method, ModelFacts, Positions, Reduction, Tokens, Trace,
};
use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData, activation::softmax, s};
use tokmerge_nn::Random;
use tokmerge_ops::DROPPED;

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

fn column(tokens: &Tokens, column: usize) -> Vec<f32> {
    values(tokens.policy_column(column).expect("a policy"))
}

fn close(found: &[f32], wanted: &[f32], allowed: f32) {
    assert_eq!(found.len(), wanted.len());
    for (a, b) in found.iter().zip(wanted) {
        assert!((a - b).abs() <= allowed * (1.0 + b.abs()), "{found:?} {wanted:?}");
    }
}

/// A class token and four patches of one channel, of which the second stands for three.
fn five(device: &Device) -> Tokens {
    let tokens = Tokens::new(tensor(&[9.0, 1.0, 5.0, 3.0, 7.0], [5, 1], device), Layout::uniform(1, 5), 1);
    let positions = Positions::Sequence([0.0, 1.0, 2.0, 3.0, 4.0].into());
    Tokens { size: Some([1.0, 1.0, 3.0, 1.0, 1.0].into()), ..tokens }.with_positions(positions)
}

/// 2 merges into 1, 4 might merge into 3; then 3 is dropped.
fn choice() -> Choice {
    let plan = MergePlan::new([0, 2, 2, DROPPED, 1], [0, 4, 1], Layout::uniform(1, 5), Layout::uniform(1, 3));
    let pair =
        |source, destination, merges| Pair { source, destination: Some(destination), score: 0.0, merges };
    let judged = |row, stays| Judged { row, score: 0.0, stays };
    Choice {
        merging: Merging { plan: plan.expect("a plan"), by: Combine::WeightedAverage.into() },
        pairs: [pair(2, 1, true), pair(4, 3, false)].into(),
        judged: [judged(4, true), judged(1, true), judged(3, false)].into(),
    }
}

fn soft(merges: Tensor<2>, stays: Tensor<2>) -> Soft {
    Soft { merges: Some(merges), stays: Some(stays) }
}

#[test]
fn what_is_left_stands_in_front_and_all_rows_stay() {
    let device = Device::flex();
    let halves = |count| Tensor::full([count, 1], 0.5, &device);
    let relaxed = choice().relax(five(&device), soft(halves(2), halves(3)), KeyBias::LogSize);
    // The class token, 4, the mean of 1 and three of 2; then 2 and 3, which do not count.
    assert_eq!(values(relaxed.x.clone()), [9.0, 7.0, 4.0, 5.0, 3.0]);
    assert_eq!(column(&relaxed, COUNTS), [1.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!((column(&relaxed, WEIGHT), column(&relaxed, COST)), (vec![1.0; 5], vec![0.0; 5]));
    assert_eq!(relaxed.sizes()[..], [1.0, 1.0, 4.0, 3.0, 1.0]);
    assert_eq!(relaxed.positions, Some(Positions::Sequence([0.0, 4.0, 1.75, 2.0, 3.0].into())));
    // Inference leaves the same.
    let merged = choice().merging.apply(five(&device));
    let settled = relaxed.settled();
    assert_eq!(values(settled.x), values(merged.x));
    assert_eq!((settled.size, settled.positions), (merged.size, merged.positions));
}

#[test]
fn a_later_choice_is_about_what_counts_alone() {
    let device = Device::flex();
    let relaxed = choice().relax(five(&device), Soft::default(), KeyBias::LogSize);
    let counting = Counting::of(&relaxed);
    assert_eq!(values(counting.tokens.x.clone()), [9.0, 7.0, 4.0]);
    assert_eq!(counting.tokens.sizes()[..], [1.0, 1.0, 4.0]);
    let map = |queries: usize| AttentionMap {
        heads: 1,
        queries,
        keys: 5,
        values: (0..queries * 5).map(|value| value as f32).collect(),
    };
    let evidence = |queries| Evidence {
        metric: Some(relaxed.x.clone()),
        received: Some(vec![0.1, 0.2, 0.3, 0.4, 0.5]),
        maps: Some(vec![map(queries)]),
        ..Evidence::default()
    };
    let known = counting.evidence(evidence(5));
    assert_eq!(
        (values(known.metric().clone()), known.received()),
        (vec![9.0, 7.0, 4.0], &[0.1, 0.2, 0.3][..])
    );
    assert_eq!(known.map(0).values, [0.0, 1.0, 2.0, 5.0, 6.0, 7.0, 10.0, 11.0, 12.0]);
    assert_eq!(counting.evidence(evidence(1)).map(0).values, [0.0, 1.0, 2.0]);
    // Of three that count, the last merges into the one in the middle.
    let plan = MergePlan::new([0, 1, 1], [0, 1], Layout::uniform(1, 3), Layout::uniform(1, 2));
    let pair = Pair { source: 2, destination: Some(1), score: 0.5, merges: true };
    let by = Combination { sizes: Some([1.0, 1.0, 2.0].into()), ..Combine::Average.into() };
    let second = Choice {
        merging: Merging { plan: plan.expect("a plan"), by },
        pairs: [pair].into(),
        judged: [Judged { row: 1, score: 0.2, stays: true }].into(),
    };
    let lifted = counting.lift(second);
    assert_eq!(lifted.merging.plan.groups(0), [Some(0), Some(1), Some(1), None, None]);
    let after = lifted.relax(relaxed, Soft::default(), KeyBias::LogSize);
    assert_eq!(values(after.x.clone()), [9.0, 5.5, 4.0, 5.0, 3.0]);
    assert_eq!(column(&after, COUNTS), [1.0, 1.0, 0.0, 0.0, 0.0]);
    // The size that is brought along is said, and is not the member's own.
    assert_eq!(after.sizes()[..2], [1.0, 3.0]);
}

/// By hand: with `w` the destination's size and `v` the source's, `(w x + g v y) / (w + g v)` has the gradient `v (y - x') / (w + g v)`
/// by `g`, and the logarithm of `w + g v` has `v / (w + g v)`.
#[test]
fn what_might_merge_has_a_gradient_and_so_have_sizes() {
    let device = Device::flex().autodiff();
    // A gradient of one number of what is left, at row and column of its values (`None`) or of its policy.
    let gradients = |weigh: KeyBias, numbers: &[(usize, Option<usize>)]| {
        let halves = |count| Tensor::full([count, 1], 0.5, &device).require_grad();
        let (merges, stays) = (halves(2), halves(3));
        let relaxed = choice().relax(five(&device), soft(merges.clone(), stays.clone()), weigh);
        let number = |(row, column): &(usize, Option<usize>)| match column {
            None => relaxed.x.clone().slice(s![*row..*row + 1, ..]).sum(),
            Some(column) => {
                let column = relaxed.policy_column(*column).expect("a policy");
                column.slice(s![*row..*row + 1, ..]).sum()
            }
        };
        let all = numbers.iter().map(number).reduce(|sum, more| sum + more).expect("a number").backward();
        let of = |leaf: &Tensor<2>| leaf.grad(&all).map_or(vec![0.0; leaf.dims()[0]], values);
        (of(&merges), of(&stays))
    };
    let one = |row, column| gradients(KeyBias::LogSize, &[(row, column)]);
    // 1 with 2 in it: sizes 1 and 3, values 1 and 5, mean 4.
    assert_eq!(one(2, None), (vec![3.0 * (5.0 - 4.0) / 4.0, 0.0], vec![0.0; 3]));
    assert_eq!(one(2, Some(WEIGHT)), (vec![0.75, 0.0], vec![0.0; 3]));
    // 3 without 4 in it: both of size 1.
    assert_eq!(one(4, None), (vec![0.0, 7.0 - 3.0], vec![0.0; 3]));
    assert_eq!(one(4, Some(WEIGHT)), (vec![0.0, 1.0], vec![0.0; 3]));
    // 2 is gone, 4 might go in two ways, 3 is dropped.
    assert_eq!(one(3, Some(COUNTS)), (vec![-1.0, 0.0], vec![0.0; 3]));
    assert_eq!(one(1, Some(COUNTS)), (vec![0.0, -1.0], vec![1.0, 0.0, 0.0]));
    assert_eq!(one(4, Some(COUNTS)), (vec![0.0; 2], vec![0.0, 0.0, 1.0]));
    // Where attention does not weigh by sizes, they have none.
    let numbers = [(2, Some(WEIGHT)), (2, Some(COUNTS))];
    assert_eq!(gradients(KeyBias::None, &numbers), (vec![0.0; 2], vec![0.0, 1.0, 0.0]));
}

/// What merges by halves, against finite differences.
#[test]
fn values_and_sizes_follow_how_much_merges() {
    let run = |shares: [f32; 2], device: &Device| {
        let merges = tensor(&shares, [2, 1], device);
        let merges = if device.is_autodiff() { merges.require_grad() } else { merges };
        let weight = tensor(&[1.0, 1.2, 0.8, 1.0, 1.1], [5, 1], device);
        let meeting = Meeting::of(&choice(), Some(merges.clone()), 5);
        let (x, weight) = choice().met(&five(device), weight, meeting);
        let rows = tensor(&[0.3, -1.0, 0.7, 2.0, 0.4], [5, 1], device);
        ((x * rows.clone()).sum() + (weight * rows).sum(), merges)
    };
    let shares = [0.7, 0.2];
    let (sum, leaf) = run(shares, &Device::flex().autodiff());
    let gradient = values(leaf.grad(&sum.backward()).expect("a gradient"));
    // Of the weight only the gradient is defined, which is that of a logarithm.
    let by_hand = |shares: [f64; 2]| {
        let (of_1, of_3) = (1.2 + shares[0] * 2.4, 1.0 + shares[1] * 1.1);
        let x_1 = (1.2 + shares[0] * 2.4 * 5.0) / of_1;
        let x_3 = (3.0 + shares[1] * 1.1 * 7.0) / of_3;
        -x_1 + 2.0 * x_3 - of_1.ln() + 2.0 * of_3.ln()
    };
    for place in 0..2 {
        let step = |by: f64| {
            let mut shares = shares.map(f64::from);
            shares[place] += by;
            by_hand(shares)
        };
        let slope = (step(1e-5) - step(-1e-5)) / 2e-5;
        assert!((f64::from(gradient[place]) - slope).abs() < 1e-4, "{gradient:?} {slope}");
    }
}

/// By hand, for 2 of 4 tokens of 3 channels in attention and 1 in the MLP: `2·2·3 + 4 + 4·1·3` of `6·4·3 + 16`.
#[test]
fn blocks_cost_what_the_tokens_that_count_cost() {
    let device = Device::flex().autodiff();
    let policy = |counts: [f32; 4]| {
        let rows = counts.map(|counts| [counts, 1.0, 0.25]);
        tensor(rows.as_flattened(), [4, 3], &device).require_grad()
    };
    let of = |policy: Option<Tensor<2>>| {
        let tokens = Tokens::new(Tensor::zeros([4, 3], &device), Layout::from_lens(&[0, 4]), 0);
        Tokens { policy, ..tokens }
    };
    let [before, after] = [[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]].map(policy);
    let spent = spend(&of(Some(before.clone())), of(Some(after.clone())), 10);
    let wanted = 0.25 + 28.0 / 88.0 / 10.0;
    close(&column(&spent, COST), &[wanted; 4], 1e-6);
    let whole = spend(&of(None), of(Some(policy([1.0; 4]))), 10);
    close(&column(&whole, COST), &[0.35; 4], 1e-6);
    let budget = Budget { target: 0.2, weight: 10.0 };
    let excess = budget.excess(&spent);
    close(&values(excess.clone()), &[10.0 * (wanted - 0.2).powi(2)], 1e-5);
    let gradients = excess.backward();
    let outer = 20.0 * (wanted - 0.2) / 88.0 / 10.0;
    let of = |leaf: &Tensor<2>| values(leaf.grad(&gradients).expect("a gradient"))[0];
    close(&[of(&before), of(&after)], &[outer * (6.0 + 2.0 * 2.0), outer * 12.0], 1e-5);
    let none = Tokens::new(Tensor::zeros([0, 3], &device), Layout::from_lens(&[0]), 0);
    assert_eq!(values(budget.excess(&spend(&none.clone(), none, 1))), [0.0]);
}

const CHANNELS: usize = 4;
const DEPTH: usize = 4;

/// Items of these lengths, a class token in front of each, without structure.
fn batch(lens: &[usize], seed: u64, device: &Device) -> Tokens {
    let layout = Layout::from_lens(lens);
    let mut random = Random::new(seed);
    let x: Vec<f32> = (0..layout.rows() * CHANNELS).map(|_| random.normal() as f32).collect();
    Tokens::new(tensor(&x, [layout.rows(), CHANNELS], device), layout, 1)
}

/// One head of attention that weighs by size, with a residual; and what it tells of itself.
fn attend(reduction: &Reduction, layer: usize, tokens: Tokens) -> (Tokens, Evidence) {
    let bias = reduction.key_bias(&tokens);
    let maps = (0..tokens.layout.items()).map(|item| {
        let range = tokens.layout.range(item);
        let rows = tokens.x.clone().slice(s![range.clone(), ..]);
        let logits = rows.clone().matmul(rows.transpose()) * 0.2;
        let logits = match &bias {
            Some(bias) => logits + tensor(&bias[range.clone()], [1, range.len()], &tokens.device()),
            None => logits,
        };
        softmax(logits, 1).unsqueeze::<3>()
    });
    let maps = tokens.masked(maps.collect());
    let relaxes = tokens.policy.is_some();
    let wants = if relaxes { reduction.wants_relaxed(layer) } else { reduction.wants(layer) };
    let mixed = maps.iter().enumerate().map(|(item, map)| {
        let [_, queries, keys] = map.dims();
        let rows = tokens.x.clone().slice(s![tokens.layout.range(item), ..]);
        map.clone().reshape([queries, keys]).matmul(rows)
    });
    let x = (tokens.x.clone() + Tensor::cat(mixed.collect(), 0)) * 0.7;
    let evidence = tokens.evidence(&maps, wants);
    let metric = wants.metric.map(|_| x.clone().without_autodiff());
    (tokens.with(x), Evidence { metric, ..evidence })
}

fn fed(tokens: Tokens) -> Tokens {
    let x = tokens.x.clone();
    tokens.with(x.clone() * 0.8 + x.tanh() * 0.3)
}

fn inferred(reduction: &Reduction, mut tokens: Tokens) -> (Tokens, Trace) {
    let mut trace = Trace::default();
    for layer in 0..DEPTH {
        let (attended, evidence) = attend(reduction, layer, tokens);
        tokens = fed(reduction.apply(layer, attended, evidence, &mut trace));
    }
    (tokens, trace)
}

fn masked(reduction: &Reduction, mut tokens: Tokens) -> (Tokens, Trace, Option<Tensor<1>>) {
    let (mut trace, mut added) = (Trace::default(), None);
    for layer in 0..DEPTH {
        if tokens.policy.is_none() {
            // The first block is asked as it is.
            let rows = tokens.layout.rows();
            let all = Tensor::<2>::ones([rows, 1], &tokens.device());
            tokens.policy = Some(Tensor::cat(vec![all.clone(), all.clone(), all * 0.0], 1));
        }
        let (attended, evidence) = attend(reduction, layer, tokens);
        let (relaxed, loss) = reduction.relax_inside(layer, attended, evidence, &mut trace);
        assert_eq!(loss.is_some(), layer + 1 == DEPTH);
        (tokens, added) = (fed(relaxed), loss);
    }
    (tokens, trace, added)
}

/// Weights that merge and drop something in most layers.
fn decided(method: &Method, device: &Device) -> Mergers {
    let shape = MergerShape { depth: DEPTH, channels: CHANNELS, joining: None };
    let mut mergers = Mergers::new(method, shape, device);
    let number = |value: f32| Param::from_tensor(tensor(&[value], [1], device));
    for (layer, merger) in &mut mergers.at {
        match merger {
            Merger::Thresholds(learned) => {
                learned.merge = number([0.9, 0.8, 0.7, 0.6][*layer]);
                learned.prune = number([0.03, 0.04, 0.05, 0.06][*layer]);
            }
            Merger::Rates(rates) => {
                // Of 12 patches 11, 9 and 8 are kept, of which 9, 8 and 6 are left.
                let most = |choice: usize| {
                    let logits: Vec<f32> = (0..196).map(|at| if at == choice { 30.0 } else { 0.0 }).collect();
                    Param::from_tensor(tensor(&logits, [196], device))
                };
                rates.prune = most([17, 49, 66][*layer - 1]);
                rates.merge = most([49, 66, 98][*layer - 1]);
            }
            _ => panic!("it is not learned in blocks"),
        }
    }
    mergers
}

const LEARNED: [&str; 3] = ["ltmp:target=60%", "ltmp:target=60%,prop_attn=off", "diffrate:target=60%"];

fn learned(spec: &str, device: &Device) -> Reduction {
    let method: Method = spec.parse().expect("a spec");
    let mergers = decided(&method, device);
    Reduction::bind(method, &ModelFacts::new(DEPTH, 13, 1)).expect("fits").with_mergers(mergers)
}

#[test]
fn training_computes_what_inference_does() {
    let device = Device::flex();
    for spec in LEARNED {
        let reduction = learned(spec, &device);
        for lens in [&[13, 13][..], &[13, 7, 1, 2]] {
            for seed in 0..6 {
                let tokens = batch(lens, seed, &device);
                let (merged, trace) = inferred(&reduction, tokens.clone());
                let (relaxed, _, loss) = masked(&reduction, tokens.clone());
                assert_eq!(relaxed.layout, tokens.layout, "{spec}: all rows stay");
                let settled = Tokens::merge(
                    Tokens { policy: None, ..relaxed.clone() },
                    &relaxed.counting(crate::policy::Empty::Stays).expect("decided"),
                    Combine::KeepOne,
                );
                assert_eq!(settled.layout, merged.layout, "{spec}, {lens:?}, {seed}");
                close(&values(settled.x), &values(merged.x.clone()), 2e-5);
                close(&settled.size.expect("sizes"), &merged.sizes(), 1e-5);
                // The cost is that of what inference does.
                let cost = |item: usize| {
                    let (whole, channels) = (lens[item] as f64, CHANNELS as f64);
                    let layers = trace.layer_tokens(item, lens[item], DEPTH);
                    let cost = |layer: &crate::LayerTokens| {
                        let (attended, fed) = (layer.attended as f64, layer.fed as f64);
                        2.0 * attended * channels + attended * attended + 4.0 * fed * channels
                    };
                    let block = 6.0 * whole * channels + whole * whole;
                    layers.iter().map(cost).sum::<f64>() / block / DEPTH as f64
                };
                let mean = (0..lens.len()).map(cost).sum::<f64>() / lens.len() as f64;
                let weight = if spec.starts_with("ltmp") { 10.0 } else { 5.0 * 4.6 * 4.6 };
                let found = f64::from(values(loss.expect("a loss"))[0]);
                assert!((found - weight * (mean - 0.6).powi(2)).abs() < 1e-4, "{spec}: {found} {mean}");
            }
        }
        let (merged, _) = inferred(&reduction, batch(&[13, 13], 1, &device));
        assert!(merged.layout.rows() < 20, "{spec} merges: {}", merged.layout.rows());
    }
}

#[test]
fn written_out_it_does_the_same_without_weights() {
    let device = Device::flex();
    let facts = ModelFacts::new(DEPTH, 13, 1);
    for (spec, wanted) in [
        ("ltmp:target=60%", "ltmp:merge_above=[0.9,0.8,0.7,0.6],prune_at=[0.03,0.04,0.05,0.06]"),
        ("diffrate:target=60%", "diffrate:prune=[13,12,10,9],merge=[13,10,9,7]"),
    ] {
        let method: Method = spec.parse().expect("a spec");
        let given = method.given(&decided(&method, &device), &facts).expect("numbers");
        assert_eq!(given.to_string(), wanted);
        assert!(!given.has_weights() && given.to_string().parse::<Method>() == Ok(given.clone()));
        let tokens = batch(&[13, 7], 3, &device);
        let alone = inferred(&Reduction::bind(given, &facts).expect("fits"), tokens.clone());
        let by_weights = inferred(&learned(spec, &device), tokens);
        assert_eq!((values(alone.0.x), alone.1), (values(by_weights.0.x), by_weights.1));
    }
    let fresh = |spec: &str| {
        let method: Method = spec.parse().expect("a spec");
        let shape = MergerShape { depth: 3, channels: CHANNELS, joining: None };
        let mergers = Mergers::new(&method, shape, &device);
        assert_eq!(method.parameters(shape), mergers.parameters());
        method.given(&mergers, &ModelFacts::new(3, 197, 1)).expect("numbers").to_string()
    };
    assert_eq!(fresh("ltmp:target=50%"), "ltmp:merge_above=[0.9,0.9,0.9],prune_at=[0,0,0]");
    assert_eq!(fresh("diffrate:target=50%"), "diffrate:prune=[197,195,195],merge=[197,195,195]");
    assert!("tome:r=8".parse::<Method>().unwrap().given(&Mergers::none(), &facts).is_none());
}

/// A pass that is repeated decides the same, whatever it is told; and scores that are no numbers spoil no gradient.
#[test]
fn a_repeated_pass_decides_the_same() {
    let tracked = Device::flex().autodiff();
    for spec in LEARNED {
        let reduction = learned(spec, &tracked);
        let mut tokens = batch(&[13, 9], 4, &tracked);
        let (first, trace, _) = masked(&reduction, tokens.clone());
        let again = reduction.replaying(&trace);
        for layer in 0..DEPTH {
            assert_eq!(again.wants_relaxed(layer), crate::Wants::default());
        }
        let mut repeated = Trace::default();
        for layer in 0..DEPTH {
            if tokens.policy.is_none() {
                let all = Tensor::<2>::ones([22, 1], &tracked);
                tokens.policy = Some(Tensor::cat(vec![all.clone(), all.clone(), all * 0.0], 1));
            }
            let (attended, _) = attend(&reduction, layer, tokens);
            let nothing = Evidence::default();
            tokens = fed(again.relax_inside(layer, attended, nothing, &mut repeated).0);
        }
        assert_eq!(repeated, trace, "{spec}");
        assert_eq!(values(tokens.x), values(first.x), "{spec}");
        let broken = batch(&[13, 9], 4, &tracked);
        let (attended, mut evidence) = attend(&reduction, 1, broken);
        evidence.metric = evidence.metric.map(|metric| metric * f32::NAN);
        evidence.received = Some(vec![f32::NAN; 22]);
        let map = AttentionMap { heads: 1, queries: 1, keys: 0, values: Vec::new() };
        let maps = [13, 9].map(|keys| AttentionMap { keys, values: vec![f32::NAN; keys], ..map.clone() });
        evidence.maps = Some(maps.into());
        let (relaxed, _) = reduction.relax_inside(1, attended, evidence, &mut Trace::default());
        assert!(column(&relaxed, COUNTS).iter().all(|counts| *counts == 0.0 || *counts == 1.0), "{spec}");
    }
}

/// What is not rounded, against finite differences.
#[test]
fn gradients_of_what_is_learned() {
    let score = |row: u32| Judged { row, score: [0.0, 3.0, 7.0, 0.02][row as usize], stays: true };
    let pair = |source: u32| Pair { source, destination: None, score: 0.4 * source as f32, merges: false };
    let choice = Choice { pairs: [pair(0), pair(2)].into(), judged: [score(1), score(3)].into(), ..choice() };
    for spec in ["ltmp:target=60%", "diffrate:target=60%"] {
        let method: Method = spec.parse().expect("a spec");
        // Parameters and a weighted sum of the soft answers, one of the parameters changed.
        let run = |which: usize, index: usize, by: f32, device: &Device| {
            let mergers = decided(&method, device);
            let mut merger = mergers.at[1].1.clone();
            let (one, two) = match &mut merger {
                Merger::Thresholds(learned) => (&mut learned.merge, &mut learned.prune),
                Merger::Rates(rates) => (&mut rates.prune, &mut rates.merge),
                _ => panic!("it is not learned in blocks"),
            };
            // Less decided.
            for numbers in [&mut *one, &mut *two] {
                *numbers = Param::from_tensor((numbers.val() * 0.1).detach());
            }
            let changed = if which == 0 { one } else { two };
            let mut numbers = values(changed.val());
            numbers[index] += by;
            let count = numbers.len();
            *changed = Param::from_tensor(tensor(&numbers, [count], device));
            let leaf = changed.val();
            let mergers = Mergers { at: vec![(1, merger)] };
            let Soft { merges, stays } = mergers.soften(1, &choice, 12);
            let weights = tensor(&[70.0, -130.0], [2, 1], device);
            let sum = |soft: Option<Tensor<2>>| (soft.expect("some") * weights.clone()).sum();
            (sum(merges) + sum(stays) * 3.0, leaf)
        };
        let mut largest: f64 = 0.0;
        for which in 0..2 {
            let (sum, leaf) = run(which, 0, 0.0, &Device::flex().autodiff());
            let gradient = values(leaf.grad(&sum.backward()).expect("a gradient"));
            for index in [0, gradient.len() / 3, gradient.len() - 1] {
                let at = |by: f32| f64::from(values(run(which, index, by, &Device::flex()).0)[0]);
                let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
                assert!(
                    (f64::from(gradient[index]) - slope).abs() < 2e-3 * (1.0 + slope.abs()),
                    "{spec}: {} {slope}",
                    gradient[index]
                );
                largest = largest.max(slope.abs());
            }
        }
        assert!(largest > 0.5, "{spec}: {largest}");
    }
}
