//! Cases by hand, and what training and inference must have in common.

use super::{Options, Predictor};
use crate::mergers::Weighted;
use crate::methods::fixtures::{CHANNELS, batch, block, bound, by_hand, entered, tensor, values, weights};
use crate::methods::{At, Rule};
use crate::{
    Amount, BindError, Evidence, Layout, Merger, MergerShape, Mergers, Method, ModelFacts, Reduction,
    Softmax, TokenKind, Tokens, Trace,
};
use burn::tensor::{Device, Tensor};
use tokmerge_nn::parameters;

fn predictor(mergers: &Mergers, index: usize) -> &Predictor {
    let Merger::Predictor(predictor) = &mergers.at[index].1 else { panic!("a predictor") };
    predictor
}

#[test]
fn the_best_are_kept_by_falling_score_behind_the_prefix() {
    let device = Device::flex();
    let x = tensor(&[9.0, 1.0, 2.0, 3.0, 4.0, 9.0, 5.0, 6.0], [8, 1], &device);
    let tokens = Tokens::new(x, Layout::from_lens(&[5, 3]), 1);
    let scores = vec![0.0, -0.9, -0.2, -0.5, -0.2, 0.0, -3.0, -4.0];
    let at = At { layer: 1, depth: 4, amount: Amount::Keep(2) };
    let evidence = Evidence { scores: Some(scores), ..Evidence::default() };
    let options = Options { keep: 0.5, layers: None };
    let plan = options.plan(&at, &tokens, evidence).expect("some are too many");
    // Equals go by place; the second item has two patches, which stay where they are.
    assert_eq!(plan.groups(0), [Some(0), None, Some(1), None, Some(2)]);
    assert_eq!(plan.groups(1), [Some(0), Some(1), Some(2)]);
    let kept = tokens.merge(&plan, options.combine());
    assert_eq!(values(kept.x.clone()), [9.0, 2.0, 4.0, 9.0, 5.0, 6.0]);
    assert_eq!(kept.sizes()[..], [1.0; 6]);
    let at = At { amount: Amount::Keep(4), ..at };
    assert!(options.plan(&at, &kept, Evidence::default()).is_none(), "nobody is asked where nothing goes");
}

#[test]
fn stages_leave_parts_of_what_the_model_began_with() {
    let facts = ModelFacts { grid: Some((14, 14)), ..ModelFacts::new(12, 197, 1) };
    let reduction = Reduction::bind("dynamicvit:keep=70%".parse().unwrap(), &facts).unwrap();
    let left: Vec<usize> =
        reduction.expected_tokens(197, 12).expect("known").iter().map(|layer| layer.attended).collect();
    assert_eq!(left, [[197; 3], [138; 3], [97; 3], [68; 3]].concat());
    // Of 384 channels: layers of 384, 192, 96 and 2, and the norm, of 196 patches.
    let macs = 196.0 * (384.0 * 384.0 + 384.0 * 192.0 + 192.0 * 96.0 + 96.0 * 2.0);
    assert_eq!(reduction.merger_cost(3, 197, 384), (macs, 196.0 * 384.0));
    assert_eq!(reduction.merger_cost(4, 138, 384), (0.0, 0.0));
}

#[test]
fn scores_are_those_of_the_paper_computed_number_by_number() {
    let device = Device::flex();
    let mergers = weights("dynamicvit:keep=50%,layer=[1,2]", &device);
    let predictor = predictor(&mergers, 0);
    for lens in [&[6, 6][..], &[7, 3]] {
        let tokens = batch(lens, 3, &device);
        let x = values(tokens.x.clone());
        let ones = vec![1.0; x.len() / CHANNELS];
        let thirds: Vec<f32> = (0..ones.len()).map(|row| if row % 3 == 1 { 0.0 } else { 1.0 }).collect();
        for policy in [None, Some(thirds)] {
            let given = policy.clone().map(|policy| tensor(&policy, [policy.len(), 1], &device));
            let scores = predictor.scores(&Tokens { policy: given, ..tokens.clone() }).unwrap();
            let policy = policy.unwrap_or_else(|| ones.clone());
            for item in 0..2 {
                let range = tokens.layout.range(item);
                assert_eq!(scores[range.start], 0.0, "prefix tokens are not looked at");
                let patches = range.start + 1..range.end;
                let rows = &x[patches.start * CHANNELS..patches.end * CHANNELS];
                let wanted = by_hand(predictor, rows, &policy[patches.clone()]);
                for (found, wanted) in scores[patches].iter().zip(wanted) {
                    assert!((f64::from(*found) - wanted).abs() < 2e-5, "{found} {wanted}");
                }
            }
        }
    }
}

#[test]
fn what_a_stage_drops_stays_dropped_and_the_loss_is_that_of_the_parts() {
    let device = Device::flex();
    let spec = "dynamicvit:keep=50%,layer=[1,3]";
    let reduction = bound(spec, 13).with_mergers(weights(spec, &device));
    for lens in [&[13, 13][..], &[13, 7]] {
        let tokens = batch(lens, 5, &device);
        let (first, one) = reduction.relax(0, tokens.clone(), 3);
        let (between, none) = reduction.relax(1, first.clone(), 3);
        assert!(none.is_none() && between.policy.is_some(), "no predictor stands there");
        let (second, two) = reduction.relax(2, between, 3);
        assert_eq!((&second.layout, values(second.x.clone())), (&tokens.layout, values(tokens.x.clone())));
        let policies = [first, second].map(|tokens| values(tokens.policy.expect("decided")));
        assert!(policies.iter().flatten().all(|kept| *kept == 0.0 || *kept == 1.0));
        assert!(policies[0].iter().zip(&policies[1]).all(|(before, after)| before >= after));
        assert_ne!(policies[0], policies[1]);
        for (policy, loss, target) in [(&policies[0], one, 0.5), (&policies[1], two, 0.25)] {
            let mut wanted = 0.0;
            for item in 0..2 {
                let range = tokens.layout.range(item);
                assert_eq!(policy[range.start], 1.0, "the prefix always counts");
                let patches = &policy[range.start + 1..range.end];
                let kept = patches.iter().sum::<f32>() / patches.len() as f32;
                // Twice, over two stages and two items.
                wanted += 2.0 * (kept - target).powi(2) / 4.0;
            }
            let found = values(loss.expect("a loss"))[0];
            assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
        }
    }
}

#[test]
fn draws_belong_to_a_seed_a_place_and_an_item() {
    let device = Device::flex();
    let spec = "dynamicvit:keep=50%,layer=[1,3]";
    let reduction = bound(spec, 33).with_mergers(weights(spec, &device));
    let drawn = |tokens: Tokens, layer: usize, seed: u64| {
        values(reduction.relax(layer, tokens, seed).0.policy.expect("decided"))
    };
    let batch = batch(&[33, 33], 9, &device);
    let policy = drawn(batch.clone(), 0, 1);
    assert_eq!(policy, drawn(batch.clone(), 0, 1));
    assert_ne!(policy, drawn(batch.clone(), 0, 2));
    assert_ne!(policy, drawn(batch.clone(), 2, 1));
    let x = batch.x.clone().slice([0..33, 0..CHANNELS]);
    let alone = Tokens::new(x.clone(), Layout::uniform(1, 33), 1);
    assert_eq!(drawn(alone, 0, 1), policy[..33]);
    // The same image twice is decided twice.
    let twice = Tokens::new(Tensor::cat(vec![x.clone(), x], 0), Layout::uniform(2, 33), 1);
    let policy = drawn(twice, 0, 1);
    assert_ne!(policy[..33], policy[33..]);
}

/// Where the policy is that of the best, what training computes of the tokens that count is what inference does, through
/// two stages; and so is what the second predictor says.
#[test]
fn masking_is_dropping_where_the_same_are_kept() {
    let device = Device::flex();
    let spec = "dynamicvit:keep=60%,layer=[1,3]";
    let mergers = weights(spec, &device);
    let reduction = bound(spec, 11).with_mergers(mergers.clone());
    let tokens = batch(&[11, 11], 21, &device);
    let (mut dropped, mut masked, mut trace) = (tokens.clone(), tokens.clone(), Trace::default());
    for layer in 0..4 {
        if layer == 2 {
            let [of_dropped, of_masked] =
                [&dropped, &masked].map(|tokens| predictor(&mergers, 1).scores(tokens).unwrap());
            let plan = trace.plan_until(None).expect("some were dropped");
            for (row, representative) in plan.representative().iter().enumerate() {
                let (a, b) = (of_dropped[row], of_masked[*representative as usize]);
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
        dropped = entered(&reduction, layer, dropped, &mut trace);
        if let Some(plan) = trace.plan_until(None) {
            let kept: Vec<f32> =
                plan.dst().iter().map(|dst| if *dst == crate::DROPPED { 0.0 } else { 1.0 }).collect();
            masked.policy = Some(tensor(&kept, [kept.len(), 1], &device));
        }
        (dropped, masked) = (block(dropped), block(masked));
    }
    assert_eq!(dropped.layout, Layout::uniform(2, 1 + 3));
    let plan = trace.plan_until(None).expect("some were dropped");
    let (dropped, masked) = (values(dropped.x), values(masked.x));
    for (row, representative) in plan.representative().iter().enumerate() {
        for channel in 0..CHANNELS {
            let (a, b) =
                (dropped[row * CHANNELS + channel], masked[*representative as usize * CHANNELS + channel]);
            assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{a} {b}");
        }
    }
}

/// The gradient of what is decided is that of the same without rounding, noise and all.
#[test]
fn gradients_of_the_predictor_are_those_of_what_is_not_rounded() {
    let spec = "dynamicvit:keep=50%,layer=1";
    let seed = 6;
    let tracked = Device::flex().autodiff();
    let reduction = bound(spec, 7).with_mergers(weights(spec, &tracked));
    let lens = [7, 5];
    let counts = |row: usize| ((row * 5 % 7) as f32) - 2.5;
    let counted =
        |rows: usize, device: &Device| tensor(&(0..rows).map(counts).collect::<Vec<_>>(), [rows, 1], device);
    let mergers = weights(spec, &tracked);
    let tracked_reduction = reduction.clone().with_mergers(mergers.clone());
    let (decided, _) = tracked_reduction.relax(0, batch(&lens, 2, &tracked), seed);
    let policy = decided.policy.expect("decided");
    let gradients = (policy.clone() * counted(12, &tracked)).sum().backward();
    let noise = crate::methods::patches::noise(&Layout::from_lens(&[6, 4]), 0, seed);
    let plain = Device::flex();
    let before = parameters::read(&mergers);
    let soft = |path: &str, index: usize, step: f32| -> f64 {
        let mut moved = before.clone();
        moved.get_mut(path).expect("a parameter").values[index] += step;
        let mergers = parameters::assign(weights(spec, &plain), &moved, &plain);
        let scores = predictor(&mergers, 0).scores(&batch(&lens, 2, &plain)).unwrap();
        let patches = (0..12).filter(|row| ![0, 7].contains(row));
        patches
            .zip(&noise)
            .map(|(row, noise)| {
                let kept = f64::from(scores[row]);
                let odds = kept - (-kept.exp()).ln_1p() + f64::from(*noise);
                f64::from(counts(row)) / (1.0 + (-odds).exp())
            })
            .sum()
    };
    let of = predictor(&mergers, 0);
    let found = [
        ("predictor.0.fc3.weight", values(of.fc3.weight.val().grad(&gradients).expect("a gradient"))),
        ("predictor.0.fc2.weight", values(of.fc2.weight.val().grad(&gradients).expect("a gradient"))),
        ("predictor.0.fc1.weight", values(of.fc1.weight.val().grad(&gradients).expect("a gradient"))),
        ("predictor.0.embed.weight", values(of.embed.weight.val().grad(&gradients).expect("a gradient"))),
        ("predictor.0.norm.weight", values(of.norm.weight.val().grad(&gradients).expect("a gradient"))),
    ];
    for (path, gradient) in found {
        assert!(gradient.iter().any(|value| value.abs() > 1e-4), "{path}: {gradient:?}");
        for index in [0, gradient.len() / 2, gradient.len() - 1] {
            let step = 1e-2;
            let slope = (soft(path, index, step) - soft(path, index, -step)) / f64::from(2.0 * step);
            let error = (f64::from(gradient[index]) - slope).abs();
            assert!(error < 1e-3 + 0.01 * slope.abs(), "{path} {index}: {} {slope}", gradient[index]);
        }
    }
}

#[test]
fn what_it_is_reads_back_and_what_cannot_be_is_refused() {
    let method = Method::DynamicVit(Options { keep: 0.7, layers: Some(vec![2, 3]) });
    assert_eq!(method.to_string(), "dynamicvit:keep=70%,layer=[2,3]");
    assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    for wrong in [
        "dynamicvit",
        "dynamicvit:keep=0%",
        "dynamicvit:keep=101%",
        "dynamicvit:keep=0.7",
        "dynamicvit:keep=50%,layer=[2,2]",
    ] {
        assert!(wrong.parse::<Method>().is_err(), "{wrong}");
    }
    let spec = "dynamicvit:keep=70%";
    let bind = |facts: ModelFacts| Reduction::bind(spec.parse().unwrap(), &facts).map(|_| ());
    let facts = ModelFacts { grid: Some((14, 14)), ..ModelFacts::new(12, 197, 1) };
    let merge = spec.to_owned();
    assert_eq!(
        bind(ModelFacts { softmax: Softmax::Closed, ..facts }),
        Err(BindError::ClosedSoftmax { merge: merge.clone() })
    );
    let error = bind(ModelFacts { tokens_are: TokenKind::Words, ..facts }).unwrap_err();
    assert!(error.to_string().contains("this model reads words alone"), "{error}");
    assert_eq!(error, BindError::NoPatches { merge });
    let error = Reduction::bind("dynamicvit:keep=70%,layer=13".parse().unwrap(), &facts).unwrap_err();
    assert!(error.to_string().contains("there is no layer 13"), "{error}");
    assert!(bind(facts).is_ok());
}

#[test]
fn parameters_are_counted_and_have_paths_of_their_own() {
    let device = Device::flex();
    for channels in [3, 6, 8] {
        let shape = MergerShape { depth: 4, channels, joining: None };
        let method: Method = "dynamicvit:keep=70%,layer=[2,3]".parse().unwrap();
        assert_eq!(
            method.parameters(shape),
            Mergers::new(&method, shape, &device).parameters(),
            "{channels}"
        );
    }
    let paths: Vec<String> =
        parameters::shapes(&weights("dynamicvit:keep=70%,layer=2", &device)).into_keys().collect();
    let layers = ["embed", "fc1", "fc2", "fc3", "norm"];
    let wanted = layers.map(|name| ["bias", "weight"].map(|tensor| format!("predictor.0.{name}.{tensor}")));
    assert_eq!(paths, wanted.as_flattened());
}

/// Weights that were trained to keep one part keep another where they stand at the same places.
#[test]
fn trained_weights_serve_any_part() {
    let device = Device::flex();
    let shape = MergerShape { depth: 4, channels: CHANNELS, joining: None };
    let trained = weights("dynamicvit:keep=70%,layer=[1,3]", &device);
    let other: Method = "dynamicvit:keep=30%,layer=[1,3]".parse().unwrap();
    assert!(trained.fit(&other, shape, &device));
    let fitted = trained.clone().fitted(&other, shape, &device);
    assert_eq!(parameters::read(&fitted), parameters::read(&trained));
    assert!(!trained.fit(&"dynamicvit:keep=70%,layer=[1,2]".parse().unwrap(), shape, &device));
}
