//! Cases by hand, and what training and inference must have in common.

use super::{Decision, Options, Selector};
use crate::mergers::Weighted;
use crate::methods::fixtures::{
    CHANNELS, batch, block, bound, by_hand, close_batch, dense, entered, gelu, tensor, values, weights,
    weights_of,
};
use crate::methods::{At, Rule};
use crate::{
    Amount, Evidence, Layout, Merger, MergerShape, Mergers, Method, ModelFacts, Positions, Reduction, Tokens,
    Trace,
};
use burn::module::Param;
use burn::tensor::{Device, Tensor};
use tokmerge_nn::{Norm, parameters};

fn selector(mergers: &Mergers, index: usize) -> &Selector {
    let Merger::Selector(selector) = &mergers.at[index].1 else { panic!("a selector") };
    selector
}

/// Weights so decided that noise changes nothing: the first of two heads alone counts, and keeps patches by their first channel
/// and, less, by the mean of the third channel of all that count; the second place keeps fewer.
fn decided(spec: &str, device: &Device) -> Mergers {
    let mut mergers = weights(spec, device);
    let param = |values: &[f32], shape| Param::from_tensor(tensor(values, shape, device));
    let bias = |values: &[f32]| Some(Param::from_tensor(tensor(values, [values.len()], device)));
    for (index, (_, merger)) in mergers.at.iter_mut().enumerate() {
        let Merger::Selector(Selector { predictor, excite, .. }) = merger else { panic!("a selector") };
        excite.weight = param(&[0.0; 2], [2, 1]);
        excite.bias = bias(&[50.0, -50.0]);
        // So far above 0 a GELU changes nothing.
        predictor.embed.weight = Param::from_tensor(Tensor::eye(4, device));
        predictor.embed.bias = bias(&[9.0; 4]);
        predictor.fc1.weight = param(&[1.0, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0], [2, 4]);
        predictor.fc2.weight = param(&[1.0, 0.0], [1, 2]);
        predictor.fc3.weight = param(&[1e5, 0.0], [2, 1]);
        predictor.fc3.bias = bias(&[-1e5 * (1.3 * 9.0 + index as f32 - 0.7), 0.0]);
        predictor.norm = Norm::layer(4, 1e-5, device);
        for layer in [&mut predictor.fc1, &mut predictor.fc2] {
            layer.bias = layer.bias.take().map(|bias| Param::from_tensor(bias.val() * 0.0));
        }
    }
    mergers
}

fn evidence(scores: &[f32]) -> Evidence {
    Evidence { scores: Some(scores.to_vec()), ..Evidence::default() }
}

#[test]
fn the_best_stay_in_their_places_and_the_mean_of_the_others_comes_last() {
    let device = Device::flex();
    let x = tensor(&[9.0, 1.0, 2.0, 3.0, 4.0, 9.0, 5.0, 6.0], [8, 1], &device);
    let tokens = Tokens::new(x, Layout::from_lens(&[5, 3]), 1);
    let at = At { layer: 1, depth: 4, amount: Amount::Keep(3) };
    let scores = [0.0, -0.9, -0.2, 0.5, -0.9, 0.0, -3.0, -4.0];
    let options = Options::default();
    let plan = options.plan(&at, &tokens, evidence(&scores)).expect("some are too many");
    assert_eq!(plan.groups(0), [Some(0), Some(3), Some(1), Some(2), Some(3)]);
    assert_eq!(plan.groups(1), [Some(0), Some(1), Some(2)], "two are not too many");
    let kept = tokens.merge(&plan, options.combine());
    assert_eq!(values(kept.x.clone()), [9.0, 2.0, 3.0, 2.5, 9.0, 5.0, 6.0]);
    assert_eq!(kept.sizes()[..], [1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0]);

    // A package stays whatever its score, and the next one stands behind it.
    let at = At { amount: Amount::Keep(2), ..at };
    let scores = [0.0, -0.1, -0.2, -9.0, 0.0, -3.0, -4.0];
    let plan = options.plan(&at, &kept, evidence(&scores)).expect("some are too many");
    assert_eq!(plan.groups(0), [Some(0), Some(2), Some(2), Some(1)]);
    let kept = kept.merge(&plan, options.combine());
    assert_eq!(values(kept.x.clone())[..4], [9.0, 2.5, 2.5, 9.0]);
    assert_eq!(kept.sizes()[..3], [1.0, 2.0, 2.0]);
}

#[test]
fn a_learned_decision_keeps_what_is_likelier_kept_and_never_drops_one_alone() {
    let tokens = Tokens::new(Tensor::zeros([9, 1], &Device::flex()), Layout::from_lens(&[5, 4]), 1);
    let at = At { layer: 1, depth: 4, amount: Amount::ByTokens };
    let options = Options { decision: Decision::Learned, ..Options::default() };
    let scores = [-1.0, 0.0, -0.1, 2.0, f32::NAN, -1.0, 0.5, -0.5, 0.5];
    let plan = options.plan(&at, &tokens, evidence(&scores)).expect("two are dropped");
    assert_eq!(plan.groups(0), [Some(0), Some(1), Some(3), Some(2), Some(3)]);
    assert_eq!(plan.groups(1), [Some(0), Some(1), Some(2), Some(3)]);
    let scores = [-1.0, 0.0, 0.1, 2.0, -1.0, -1.0, 0.5, -0.5, 0.5];
    assert!(options.plan(&at, &tokens, evidence(&scores)).is_none());
    let scores = [-1.0; 9];
    let plan = options.plan(&at, &tokens, evidence(&scores)).expect("all are dropped");
    assert_eq!(plan.output(), &Layout::uniform(2, 2), "a package is left");
}

#[test]
fn stages_leave_parts_of_all_patches_and_a_package_each() {
    let facts = ModelFacts { grid: Some((14, 14)), ..ModelFacts::new(12, 197, 1) };
    let left = |spec: &str| -> Vec<usize> {
        let reduction = Reduction::bind(spec.parse().unwrap(), &facts).unwrap();
        reduction.expected_tokens(197, 12).expect("known").iter().map(|layer| layer.attended).collect()
    };
    // 120 of 196 and a package, 72 and two, 26 and three.
    assert_eq!(left("sp_vit"), [[197; 3], [122; 3], [75; 3], [30; 3]].concat());
    assert_eq!(left("sp_vit:keep=70%"), [[197; 3], [139; 3], [99; 3], [71; 3]].concat());
    // A layer that leaves out one patch, or none, makes no package.
    assert_eq!(left("sp_vit:keep=[99.7%,99.7%,50%]"), [vec![197; 9], vec![100; 3]].concat());
    assert_eq!(left("sp_vit:keep=[50%,50%,25%]"), [vec![197; 3], vec![100; 6], vec![52; 3]].concat());

    // Six heads of 64 channels: layers of 64, 32, 16 and 2; three hidden numbers weigh the heads.
    let head = 64 * 64 + 64 * 32 + 32 * 16 + 16 * 2;
    let macs = (6 * head + 6 * 3 + 3 * 6) as f64;
    let reduction = Reduction::bind("sp_vit".parse().unwrap(), &facts).unwrap();
    assert_eq!(reduction.merger_cost(3, 197, 384), (196.0 * macs, 196.0 * 384.0));
    assert_eq!(reduction.merger_cost(6, 122, 384), (120.0 * macs, 120.0 * 384.0));
    assert_eq!(reduction.merger_cost(4, 122, 384), (0.0, 0.0));
}

/// What a selector says of the patches of one item, number by number.
fn odds(selector: &Selector, heads: usize, patches: &[f32], policy: &[f32]) -> Vec<f64> {
    let dim = CHANNELS / heads;
    let slice = |head: usize| -> Vec<f32> {
        patches.chunks(CHANNELS).flat_map(|row| &row[head * dim..(head + 1) * dim]).copied().collect()
    };
    let logs: Vec<Vec<f64>> =
        (0..heads).map(|head| by_hand(&selector.predictor, &slice(head), policy)).collect();
    let odds = |(patch, row): (usize, &[f32])| {
        let means = row.chunks(dim).map(|head| head.iter().map(|x| f64::from(*x)).sum::<f64>() / dim as f64);
        let hidden = gelu(dense(selector, "squeeze", &means.collect::<Vec<_>>()));
        let weights: Vec<f64> =
            dense(selector, "excite", &hidden).iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect();
        let kept: f64 = weights.iter().zip(&logs).map(|(weight, logs)| weight * logs[patch].exp()).sum();
        let kept = kept / weights.iter().sum::<f64>();
        (kept / (1.0 - kept)).ln()
    };
    patches.chunks(CHANNELS).enumerate().map(odds).collect()
}

#[test]
fn scores_average_what_heads_say_computed_number_by_number() {
    let device = Device::flex();
    for (spec, heads) in [("sp_vit:keep=50%,layer=2,head_dim=4", 2), ("sp_vit:keep=50%,layer=2", 1)] {
        let mergers = weights(spec, &device);
        let selector = selector(&mergers, 0);
        for lens in [&[6, 6][..], &[7, 3]] {
            let tokens = batch(lens, 3, &device);
            let x = values(tokens.x.clone());
            let policy: Vec<f32> = (0..x.len() / CHANNELS).map(|row| f32::from(row % 3 != 1)).collect();
            let given = Some(tensor(&policy, [policy.len(), 1], &device));
            let scores = selector.scores(&Tokens { policy: given, ..tokens.clone() }).unwrap();
            for item in 0..2 {
                let range = tokens.layout.range(item);
                assert_eq!(scores[range.start], 0.0, "prefix tokens are not looked at");
                let patches = range.start + 1..range.end;
                let rows = &x[patches.start * CHANNELS..patches.end * CHANNELS];
                let wanted = odds(selector, heads, rows, &policy[patches.clone()]);
                for (found, wanted) in scores[patches].iter().zip(wanted) {
                    assert!((f64::from(*found) - wanted).abs() < 5e-5, "{found} {wanted}");
                }
            }
        }
    }
}

#[test]
fn selectors_do_not_look_at_packages() {
    let device = Device::flex();
    let mergers = weights("sp_vit:keep=50%,layer=2,head_dim=4", &device);
    let tokens = batch(&[6], 3, &device);
    let alone = Tokens::new(tokens.x.clone().slice([0..5, 0..CHANNELS]), Layout::uniform(1, 5), 1);
    let sizes = [1.0, 1.0, 1.0, 1.0, 1.0, 2.0];
    let scores = selector(&mergers, 0).scores(&Tokens { size: Some(sizes.into()), ..tokens }).unwrap();
    let wanted = selector(&mergers, 0).scores(&alone).unwrap();
    assert_eq!((&scores[..5], scores[5]), (&wanted[..], 0.0));
}

/// All patches of the first item but one, none or one of others, are dropped in training as by the decision.
#[test]
fn in_training_packages_join_at_the_end_and_count() {
    let device = Device::flex();
    let spec = "sp_vit:keep=50%,layer=[1,3],head_dim=4";
    let reduction = bound(spec, 9).with_mergers(weights(spec, &device));
    let lens = [9, 2, 1, 9];
    let tokens = batch(&lens, 5, &device);
    let places: Vec<f32> = (0..21).map(|place| place as f32).collect();
    let tokens = tokens.with_positions(Positions::Sequence(places.into()));
    let x = values(tokens.x.clone());
    let (relaxed, loss) = reduction.relax(0, tokens.clone(), 3);
    let policy = values(relaxed.policy.clone().expect("decided"));
    let (found, sizes) = (values(relaxed.x.clone()), relaxed.sizes());
    let Some(Positions::Sequence(at)) = &relaxed.positions else { panic!("places in a sequence") };
    let mut wanted_loss = 0.0;
    for (item, len) in lens.into_iter().enumerate() {
        let (was, is) = (tokens.layout.range(item), relaxed.layout.range(item));
        assert_eq!(policy[is.start], 1.0, "the prefix always counts");
        let dropped: Vec<usize> = (0..len).filter(|place| policy[is.start + place] == 0.0).collect();
        assert_eq!(is.len(), len + usize::from(!dropped.is_empty()));
        let rows = &x[was.start * CHANNELS..was.end * CHANNELS];
        assert_eq!(&found[is.start * CHANNELS..(is.start + len) * CHANNELS], rows, "all tokens stay");
        if len > 1 {
            let kept = 1.0 - dropped.len() as f32 / (len - 1) as f32;
            // Twice, over two stages and four items.
            wanted_loss += 2.0 * (kept - 0.5).powi(2) / 8.0;
        }
        let Some(last) = is.clone().last().filter(|_| !dropped.is_empty()) else { continue };
        assert!(dropped.len() > 1);
        assert_eq!((policy[last], sizes[last]), (1.0, dropped.len() as f32));
        let mean = |of: &dyn Fn(usize) -> f32| {
            dropped.iter().map(|place| of(*place)).sum::<f32>() / dropped.len() as f32
        };
        assert!((at[last] - mean(&|place| (was.start + place) as f32)).abs() < 1e-5);
        for channel in 0..CHANNELS {
            let wanted = mean(&|place| rows[place * CHANNELS + channel]);
            assert!((found[last * CHANNELS + channel] - wanted).abs() < 1e-5);
        }
    }
    assert_eq!(relaxed.layout.range(1).len(), 2, "one patch is never dropped alone");
    assert!(relaxed.layout.range(0).len() == 10 && relaxed.layout.range(3).len() == 10);
    let loss = values(loss.expect("a loss"))[0];
    assert!((loss - wanted_loss).abs() < 1e-6, "{loss} {wanted_loss}");

    // What is dropped stays dropped, packages are no patches, and a second one joins behind the first.
    let (second, _) = reduction.relax(2, relaxed.clone(), 3);
    let after = values(second.policy.clone().expect("decided"));
    let (first, both) = (relaxed.layout.range(0), second.layout.range(0));
    assert!((0..9).all(|place| policy[first.start + place] >= after[both.start + place]));
    assert_eq!(after[both.start + 9], 1.0);
    assert_eq!(second.sizes()[both.start + 9], sizes[first.start + 9]);
}

/// Where decisions are clear, training computes of the tokens that count what inference does, through two stages.
#[test]
fn masking_is_dropping_where_the_same_are_kept() {
    let device = Device::flex();
    let spec = "sp_vit:keep=60%,layer=[1,3],choice=learned,head_dim=4";
    let reduction = bound(spec, 13).with_mergers(decided(spec, &device));
    let (mut stages, mut packages) = ([0; 3], 0);
    for (seed, lens) in (0..12).flat_map(|seed| [(seed, [13, 13]), (seed, [13, 9])]) {
        let tokens = close_batch(&lens, seed, &device);
        let (mut dropped, mut masked, mut trace) = (tokens.clone(), tokens, Trace::default());
        for layer in 0..4 {
            dropped = block(entered(&reduction, layer, dropped, &mut trace));
            masked = block(reduction.relax(layer, masked, 5).0);
        }
        stages[trace.records().len()] += 1;
        let masked = masked.settled();
        packages += dropped.sizes().iter().filter(|size| **size > 1.0).count();
        assert_eq!((&masked.layout, masked.sizes()), (&dropped.layout, dropped.sizes()));
        for (a, b) in values(masked.x).into_iter().zip(values(dropped.x)) {
            assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{a} {b}");
        }
    }
    assert!(stages[2] > 3 && packages > 20, "{stages:?}, {packages}");
}

/// The gradient of what is decided, and of the packages, is that of the decisions without rounding. By hand: of the mean `m` of
/// `n` dropped rows by the decision to drop row `j` it is `(x_j - m) / n`.
#[test]
fn gradients_of_the_selector_are_those_of_what_is_not_rounded() {
    let spec = "sp_vit:keep=50%,layer=1,head_dim=4";
    let (lens, seed) = ([7, 6], 6);
    let tracked = Device::flex().autodiff();
    let mergers = weights_of(spec, 1.0, &tracked);
    let reduction = bound(spec, 7).with_mergers(mergers.clone());
    let (relaxed, _) = reduction.relax(0, batch(&lens, 2, &tracked), seed);
    let counts = |row: usize| ((row * 5 % 7) as f32) - 2.5;
    let rows = relaxed.layout.rows();
    assert_eq!(rows, 15, "both items have a package");
    let counted = tensor(&(0..rows).map(counts).collect::<Vec<_>>(), [rows, 1], &tracked);
    let policy = relaxed.policy.clone().expect("decided");
    let sum = (policy.clone() * counted.clone()).sum() + (relaxed.x.clone() * counted).sum();
    let gradients = sum.backward();

    // What every decision is worth, and which noise it has.
    let (x, policy, layout) = (values(relaxed.x), values(policy), relaxed.layout);
    let noise = crate::methods::patches::noise(&Layout::from_lens(&[6, 5]), 0, seed);
    let mut worth = Vec::new();
    for (item, len) in lens.into_iter().enumerate() {
        let start = layout.range(item).start;
        let package = start + len;
        let sum = |row: usize| x[row * CHANNELS..(row + 1) * CHANNELS].iter().sum::<f32>();
        let dropped = (start..package).filter(|row| policy[*row] == 0.0).count() as f32;
        worth.extend(
            (start + 1..package)
                .map(|row| counts(row) - counts(package) * (sum(row) - sum(package)) / dropped),
        );
    }
    let plain = Device::flex();
    let before = parameters::read(&mergers);
    let soft = |path: &str, index: usize, step: f32| -> f64 {
        let mut moved = before.clone();
        moved.get_mut(path).expect("a parameter").values[index] += step;
        let mergers = parameters::assign(weights_of(spec, 1.0, &plain), &moved, &plain);
        let scores = selector(&mergers, 0).scores(&batch(&lens, 2, &plain)).unwrap();
        let patches = (0..13).filter(|row| ![0, 7].contains(row));
        let soft = |((row, noise), worth): ((usize, &f32), &f32)| {
            f64::from(*worth) / (1.0 + (-f64::from(scores[row]) - f64::from(*noise)).exp())
        };
        patches.zip(&noise).zip(&worth).map(soft).sum()
    };
    let of = selector(&mergers, 0);
    let gradient = |weight: &Param<Tensor<2>>| values(weight.val().grad(&gradients).expect("a gradient"));
    for (path, gradient) in [
        ("selector.0.excite.weight", gradient(&of.excite.weight)),
        ("selector.0.squeeze.weight", gradient(&of.squeeze.weight)),
        ("selector.0.predictor.fc3.weight", gradient(&of.predictor.fc3.weight)),
        ("selector.0.predictor.embed.weight", gradient(&of.predictor.embed.weight)),
    ] {
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
    let read = |spec: &str| spec.parse::<Method>();
    for spec in [
        "sp_vit",
        "sp_vit:keep=70%,layer=[2,3]",
        "sp_vit:keep=[50%,20%],layer=[2,3],choice=learned,head_dim=32",
    ] {
        assert_eq!(read(spec).unwrap().to_string(), spec);
    }
    assert_eq!(read("sp_vit:keep=[61.7%,36.9%,13.7%],choice=top").unwrap(), read("sp_vit").unwrap());
    let error = |spec: &str| read(spec).unwrap_err().to_string();
    let rises = error("sp_vit:keep=[50%,60%,10%]");
    assert!(rises.contains("keep rises from 50% to 60%; each share is one of all patches"), "{rises}");
    let listed = error("sp_vit:keep=[50%,40%]");
    assert!(listed.contains("list these with layer"), "{listed}");
    let numbers = error("sp_vit:keep=[50%,40%],layer=2");
    assert!(numbers.contains("keep has 2 numbers for 1 layers"), "{numbers}");
    for wrong in ["sp_vit:keep=0%", "sp_vit:keep=100%", "sp_vit:keep=[50%,0.2,10%]", "sp_vit:head_dim=0"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn parameters_are_counted_and_have_paths_of_their_own() {
    let device = Device::flex();
    for (channels, spec) in [(3, "sp_vit:layer=[1,2,3],head_dim=1"), (8, "sp_vit:keep=70%"), (192, "sp_vit")]
    {
        let shape = MergerShape { depth: 4, channels, joining: None };
        let method: Method = spec.parse().unwrap();
        assert_eq!(method.parameters(shape), Mergers::new(&method, shape, &device).parameters(), "{spec}");
    }
    let paths: Vec<String> =
        parameters::shapes(&weights("sp_vit:keep=70%,layer=2", &device)).into_keys().collect();
    assert!(paths.iter().all(|path| path.starts_with("selector.0.")), "{paths:?}");
    assert!(paths.contains(&"selector.0.squeeze.weight".to_owned()), "{paths:?}");
    assert!(paths.contains(&"selector.0.predictor.fc1.bias".to_owned()), "{paths:?}");
}
