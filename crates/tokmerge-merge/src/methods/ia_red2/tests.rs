//! Cases by hand, and what training and inference must have in common.

use super::{Interpreter, Options};
use crate::mergers::Weighted;
use crate::methods::fixtures::{
    CHANNELS, batch, block, bound, close_batch, dense, entered, gelu, parameter, tensor, values, weights,
    weights_of,
};
use crate::methods::patches::noise;
use crate::methods::{At, Rule};
use crate::{
    Amount, Evidence, Layout, Merger, MergerShape, Mergers, Method, ModelFacts, Reduction, Tokens, Trace,
};
use burn::module::Param;
use burn::tensor::{Device, Tensor};
use tokmerge_nn::parameters;

fn interpreter(mergers: &Mergers, index: usize) -> &Interpreter {
    let Merger::Interpreter(interpreter) = &mergers.at[index].1 else { panic!("an interpreter") };
    interpreter
}

/// Weights so decided that noise changes nothing.
fn decided(spec: &str, device: &Device) -> Mergers {
    let mut mergers = weights_of(spec, 1.0, device);
    for (_, merger) in &mut mergers.at {
        let Merger::Interpreter(interpreter) = merger else { panic!("an interpreter") };
        let fc2 = &mut interpreter.fc2;
        fc2.weight = Param::from_tensor(fc2.weight.val() * 1e5);
        fc2.bias = fc2.bias.take().map(|bias| Param::from_tensor(bias.val() * 0.0));
    }
    mergers
}

#[test]
fn patches_above_a_half_are_kept_in_their_order_and_the_best_where_none_is() {
    let tokens = Tokens::new(Tensor::zeros([12, 1], &Device::flex()), Layout::from_lens(&[5, 4, 2, 1]), 1);
    let scores = [-1.0, 0.5, -0.1, f32::NAN, 0.1, -1.0, -3.0, -2.0, -4.0, -1.0, -9.0, -1.0];
    let evidence = || Evidence { scores: Some(scores.to_vec()), ..Evidence::default() };
    let at = At { layer: 1, depth: 4, amount: Amount::ByTokens };
    let plan = Options::default().plan(&at, &tokens, evidence()).expect("some are dropped");
    assert_eq!(plan.groups(0), [Some(0), Some(1), None, None, Some(2)]);
    assert_eq!(plan.groups(1), [Some(0), None, Some(1), None]);
    assert_eq!((plan.groups(2), plan.groups(3)), (vec![Some(0), Some(1)], vec![Some(0)]));
    let at = At { amount: Amount::Keep(1), ..at };
    let plan = Options::default().plan(&at, &tokens, evidence()).expect("some are dropped");
    assert_eq!(plan.groups(0), [Some(0), Some(1), None, None, None]);
}

#[test]
fn groups_begin_with_each_third_of_the_model() {
    let facts = ModelFacts { grid: Some((14, 14)), ..ModelFacts::new(12, 197, 1) };
    let method: Method = "ia_red2:keep=70%".parse().unwrap();
    assert_eq!(
        [12, 24, 5, 2, 1].map(|depth| method.mergers_before(depth)),
        [vec![0, 4, 8], vec![0, 8, 16], vec![0, 1, 3], vec![0, 1], vec![0]]
    );
    let reduction = Reduction::bind(method, &facts).unwrap();
    let left: Vec<usize> =
        reduction.expected_tokens(197, 12).expect("known").iter().map(|layer| layer.attended).collect();
    assert_eq!(left, [[138; 4], [97; 4], [68; 4]].concat());
    // Of 384 channels with 192 hidden: two products of every patch and of the policy token, and one with it.
    let macs = 197.0 * (2.0 * 384.0 * 192.0) + 196.0 * 384.0;
    assert_eq!(reduction.merger_cost(0, 197, 384), (macs, 197.0 * 384.0));
    assert_eq!(reduction.merger_cost(1, 138, 384), (0.0, 0.0));
}

/// What an interpreter says of a patch, number by number.
fn odds(interpreter: &Interpreter, patch: &[f64]) -> f64 {
    let [scale, shift] = ["norm.weight", "norm.bias"].map(|path| parameter(interpreter, path));
    let normed = |x: &[f64]| -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        let of =
            |((x, scale), shift): ((&f64, &f64), &f64)| (x - mean) / (variance + 1e-6).sqrt() * scale + shift;
        x.iter().zip(&scale).zip(&shift).map(of).collect()
    };
    let mlp = |x: &[f64], first: &str, second: &str| {
        dense(interpreter, second, &gelu(dense(interpreter, first, &normed(x))))
    };
    let policy = parameter(interpreter, "policy");
    let (patch, policy) = (mlp(patch, "fc1", "fc2"), mlp(&policy, "policy_fc1", "policy_fc2"));
    patch.iter().zip(policy).map(|(x, p)| x * p).sum()
}

#[test]
fn scores_are_products_with_the_policy_token_computed_number_by_number() {
    let device = Device::flex();
    let mergers = weights("ia_red2:layer=2", &device);
    let tokens = batch(&[6, 4], 3, &device);
    let x: Vec<f64> = values(tokens.x.clone()).iter().map(|x| f64::from(*x)).collect();
    let scores = interpreter(&mergers, 0).scores(&tokens).unwrap();
    assert_eq!((scores[0], scores[6]), (0.0, 0.0), "prefix tokens are not looked at");
    for row in (0..10).filter(|row| ![0, 6].contains(row)) {
        let wanted = odds(interpreter(&mergers, 0), &x[row * CHANNELS..(row + 1) * CHANNELS]);
        assert!((f64::from(scores[row]) - wanted).abs() < 1e-5, "{} {wanted}", scores[row]);
    }
}

#[test]
fn heads_divide_what_all_channels_say() {
    let device = Device::flex();
    let method: Method = "ia_red2:layer=1".parse().unwrap();
    let mergers = Mergers::new(&method, MergerShape { depth: 2, channels: 192, joining: None }, &device);
    let x = tensor(&(0..384).map(|x| (x % 17) as f32 - 8.0).collect::<Vec<_>>(), [2, 192], &device);
    let tokens = Tokens::new(x.clone(), Layout::uniform(1, 2), 1);
    let scores = interpreter(&mergers, 0).scores(&tokens).unwrap();
    let patch: Vec<f64> = values(x)[192..].iter().map(|x| f64::from(*x)).collect();
    let wanted = odds(interpreter(&mergers, 0), &patch) / 3.0;
    assert!((f64::from(scores[1]) - wanted).abs() < 1e-6, "{} {wanted}", scores[1]);
}

/// Where decisions are clear, training computes of the tokens that count what inference does, through two groups.
#[test]
fn masking_is_dropping_where_the_same_are_kept() {
    let device = Device::flex();
    let spec = "ia_red2:layer=[1,3]";
    let reduction = bound(spec, 13).with_mergers(decided(spec, &device));
    let mut stages = [0; 3];
    for (seed, lens) in (0..12).flat_map(|seed| [(seed, [13, 13]), (seed, [13, 9])]) {
        let tokens = close_batch(&lens, seed, &device);
        let (mut dropped, mut masked, mut trace) = (tokens.clone(), tokens, Trace::default());
        for layer in 0..4 {
            dropped = block(entered(&reduction, layer, dropped, &mut trace));
            let (relaxed, added) = reduction.relax(layer, masked, 5);
            assert!(added.is_none());
            masked = block(relaxed);
        }
        // Inference never drops all, which training may draw.
        if dropped.layout.lens().any(|len| len < 3) {
            continue;
        }
        stages[trace.records().len()] += 1;
        let (masked, _) = reduction.settle(masked);
        assert_eq!(masked.layout, dropped.layout);
        for (a, b) in values(masked.x).into_iter().zip(values(dropped.x)) {
            assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{a} {b}");
        }
    }
    assert!(stages[1] + stages[2] > 5 && stages[2] > 0, "{stages:?}");
}

/// The gradient of the rewarded logarithms of what was drawn, number by number, through two groups, the second of which counts
/// what the first has left alone.
#[test]
fn gradients_of_rewards_equal_finite_differences() {
    let spec = "ia_red2:layer=[1,2],tau=0.25";
    let (lens, seed, right) = ([7, 5, 1], 6, [true, false, true]);
    let tracked = Device::flex().autodiff();
    let mergers = weights(spec, &tracked);
    let reduction = bound(spec, 7).with_mergers(mergers.clone());
    let tokens = batch(&lens, 2, &tracked);
    let x = tokens.x.clone().require_grad();
    let (first, _) = reduction.relax(0, tokens.clone().with(x.clone()), seed);
    let (second, _) = reduction.relax(1, first.clone(), seed);
    let policies = [&first, &second].map(|tokens| values(tokens.policy.clone().expect("drawn")));
    assert!(policies[0].iter().zip(&policies[1]).all(|(before, after)| before >= after));
    assert_ne!(policies[0], policies[1]);
    let loss = second.decisions().expect("drawn").loss(&right).expect("rewards");
    let gradients = loss.backward();
    assert!(x.grad(&gradients).is_none(), "blocks in front learn nothing of it");

    let plain = Device::flex();
    let before = parameters::read(&mergers);
    let patches: Vec<Vec<usize>> = vec![(1..7).collect(), (8..12).collect(), Vec::new()];
    let expected = |moved: &std::collections::BTreeMap<String, parameters::Values>| -> f64 {
        let mergers = parameters::assign(weights(spec, &plain), moved, &plain);
        let mut sum = 0.0;
        for place in 0..2 {
            let scores = interpreter(&mergers, place).scores(&batch(&lens, 2, &plain)).unwrap();
            let was = |row: usize| place == 0 || policies[0][row] == 1.0;
            let noise = noise(&Layout::from_lens(&[6, 4, 0]), place, seed);
            let mut number = 0;
            let (mut rewards, mut logs) = (Vec::new(), Vec::new());
            for (rows, right) in patches.iter().zip(right) {
                let (mut log, mut count, mut kept) = (0.0, 0.0, 0.0);
                for row in rows {
                    // What the unmoved weights have drawn.
                    let clean = f64::from(interpreter_scores(&before, spec, place, &lens)[*row]);
                    let drawn = clean + f64::from(noise[number]) >= 0.0;
                    number += 1;
                    kept += f64::from(drawn && was(*row)) / rows.len() as f64;
                    if was(*row) {
                        let odds = f64::from(scores[*row]) * if drawn { 1.0 } else { -1.0 };
                        log -= (-odds).exp().ln_1p();
                        count += 1.0;
                    }
                }
                logs.push(if count > 0.0 { log / count } else { 0.0 });
                rewards.push(if right { 1.0 - kept * kept } else { -0.25 });
            }
            let total: f64 = rewards.iter().sum();
            for (reward, log) in rewards.iter().zip(logs) {
                sum -= (reward - (total - reward) / 2.0) * log / 3.0;
            }
        }
        sum
    };
    assert!((f64::from(loss.into_scalar::<f32>()) - expected(&before)).abs() < 1e-5);
    let of = interpreter(&mergers, 1);
    let gradient = |weight: &Param<Tensor<2>>| values(weight.val().grad(&gradients).expect("a gradient"));
    for (path, gradient) in [
        ("interpreter.1.fc1.weight", gradient(&of.fc1.weight)),
        ("interpreter.1.fc2.weight", gradient(&of.fc2.weight)),
        ("interpreter.1.policy", gradient(&of.policy)),
        ("interpreter.1.policy_fc2.weight", gradient(&of.policy_fc2.weight)),
        ("interpreter.0.policy_fc1.weight", gradient(&interpreter(&mergers, 0).policy_fc1.weight)),
    ] {
        assert!(gradient.iter().any(|value| value.abs() > 1e-5), "{path}: {gradient:?}");
        for index in [0, gradient.len() / 2, gradient.len() - 1] {
            let step = 1e-2;
            let at = |step: f32| {
                let mut moved = before.clone();
                moved.get_mut(path).expect("a parameter").values[index] += step;
                expected(&moved)
            };
            let slope = (at(step) - at(-step)) / f64::from(2.0 * step);
            let error = (f64::from(gradient[index]) - slope).abs();
            assert!(error < 2e-5 + 0.02 * slope.abs(), "{path} {index}: {} {slope}", gradient[index]);
        }
    }
}

/// Scores of one place with given weights.
fn interpreter_scores(
    weights_are: &std::collections::BTreeMap<String, parameters::Values>,
    spec: &str,
    place: usize,
    lens: &[usize],
) -> Vec<f32> {
    let plain = Device::flex();
    let mergers = parameters::assign(weights(spec, &plain), weights_are, &plain);
    interpreter(&mergers, place).scores(&batch(lens, 2, &plain)).unwrap()
}

#[test]
fn what_it_is_reads_back_and_what_cannot_be_is_refused() {
    for spec in ["ia_red2", "ia_red2:keep=70%,layer=[2,3]", "ia_red2:layer=4,tau=0.25"] {
        assert_eq!(spec.parse::<Method>().unwrap().to_string(), spec);
    }
    for wrong in
        ["ia_red2:keep=0%", "ia_red2:keep=100%", "ia_red2:tau=-1", "ia_red2:layer=[2,2]", "ia_red2:r=8"]
    {
        assert!(wrong.parse::<Method>().is_err(), "{wrong}");
    }
}

#[test]
fn parameters_are_counted_and_have_paths_of_their_own() {
    let device = Device::flex();
    for channels in [1, 3, 8] {
        let shape = MergerShape { depth: 4, channels, joining: None };
        let method: Method = "ia_red2:layer=[2,3]".parse().unwrap();
        assert_eq!(
            method.parameters(shape),
            Mergers::new(&method, shape, &device).parameters(),
            "{channels}"
        );
    }
    let paths: Vec<String> = parameters::shapes(&weights("ia_red2:layer=2", &device)).into_keys().collect();
    assert!(paths.contains(&"interpreter.0.policy".to_owned()), "{paths:?}");
    assert_eq!(paths.len(), 2 + 1 + 4 * 2);
}
