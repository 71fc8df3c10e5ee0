//! Cases by hand, and what training and inference must have in common.

use super::{Options, Passed};
use crate::methods::fixtures::{CHANNELS, batch, block, bound, close_batch, entered, tensor, values};
use crate::{
    Amount, BindError, Joining, Layout, Method, ModelFacts, Readout, Reduction, Softmax, Tokens, Trace,
};
use burn::tensor::{Device, Tensor};

/// Values that are learned, on a device that learns.
fn leaf(values: &[f32], shape: [usize; 2], device: &Device) -> Tensor<2> {
    let leaf = tensor(values, shape, device);
    if device.is_autodiff() { leaf.require_grad() } else { leaf }
}

fn close(found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len(), "{found:?} {wanted:?}");
    assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} is not {wanted:?}");
}

/// A token that goes on, one that stops as its sum passes 0.99, one that had stopped, and one that is sure to stop.
#[test]
fn a_block_counts_by_its_probability_or_by_the_remainder() {
    let device = Device::flex();
    let column = |values: &[f32]| tensor(values, [values.len(), 1], &device);
    let passed = Passed::new(column(&[0.25, 0.75, 0.995, 0.0]), column(&[0.5, 0.245, 0.5, 1.0]));
    close(&values(passed.running), &[1.0, 1.0, 0.0, 1.0]);
    close(&values(passed.halting), &[0.5, 0.245, 0.0, 1.0]);
    close(&values(passed.sum), &[0.75, 0.995, 0.995, 1.0]);
    close(&values(passed.remainder), &[0.0, 0.25, 0.0, 1.0]);
    close(&values(passed.weight), &[0.5, 0.25, 0.0, 1.0]);
}

/// The first channel with which the probability of stopping is `probability`, of `gamma=1,beta=0`.
fn channel(probability: f32) -> f32 {
    (probability / (1.0 - probability)).ln()
}

/// Rows of a first channel and of a value.
fn rows(of: &[(f32, f32)], device: &Device) -> Tensor<2> {
    let values: Vec<f32> = of.iter().flat_map(|(halting, value)| [channel(*halting), *value]).collect();
    tensor(&values, [of.len(), 2], device)
}

#[test]
fn patches_go_when_they_have_stopped_and_the_class_token_is_the_sum_of_its_blocks() {
    let device = Device::flex();
    let reduction = bound("a_vit:gamma=1,beta=0", 4);
    let mut trace = Trace::default();
    let tokens = Tokens::new(rows(&[(0.5, 7.0); 4], &device), Layout::uniform(1, 4), 1);
    // Before the first block nobody has run.
    let tokens = entered(&reduction, 0, tokens, &mut trace);
    assert_eq!(tokens.layout.rows(), 4);
    // The second patch is sure.
    let first = rows(&[(0.25, 10.0), (0.5, 1.0), (0.999, 2.0), (0.6, 3.0)], &device);
    let tokens = entered(&reduction, 1, tokens.with(first), &mut trace);
    assert_eq!(values(tokens.x.clone().slice([0..3, 1..2])), [10.0, 1.0, 3.0]);
    // The last patch has 1.2 together, the class token 0.75.
    let second = rows(&[(0.5, 20.0), (0.25, 4.0), (0.6, 5.0)], &device);
    let tokens = entered(&reduction, 2, tokens.with(second), &mut trace);
    assert_eq!(values(tokens.x.clone().slice([0..2, 1..2])), [20.0, 4.0]);
    // The class token stops, with a remainder of a quarter; it goes on as a token, but nothing is added.
    let third = rows(&[(0.5, 40.0), (0.1, 6.0)], &device);
    let tokens = entered(&reduction, 3, tokens.with(third), &mut trace);
    assert_eq!(tokens.layout.rows(), 2);
    let (settled, added) = reduction.settle(tokens.with(rows(&[(0.5, 80.0), (0.1, 8.0)], &device)));
    let wanted = 0.25 * 10.0 + 0.5 * 20.0 + 0.25 * 40.0;
    close(&values(settled.x.slice([0..2, 1..2])), &[wanted, 8.0]);
    assert!(added.is_none() && settled.carried.is_none());
    let plan = trace.plan_until(None).expect("some have stopped");
    assert_eq!(plan.groups(0), [Some(0), Some(1), None, None]);
}

#[test]
fn what_is_left_in_the_last_block_is_the_remainder() {
    let device = Device::flex();
    let reduction = bound("a_vit:gamma=1,beta=0", 2);
    let mut tokens = Tokens::new(rows(&[(0.2, 1.0), (0.2, 1.0)], &device), Layout::uniform(1, 2), 1);
    for layer in 0..4 {
        tokens = entered(&reduction, layer, tokens, &mut Trace::default());
        tokens = tokens.with(rows(&[(0.2, 10.0 * (layer + 1) as f32), (0.2, 0.0)], &device));
    }
    let (settled, _) = reduction.settle(tokens);
    close(&values(settled.x.slice([0..1, 1..2])), &[0.2 * 10.0 + 0.2 * 20.0 + 0.2 * 30.0 + 0.4 * 40.0]);
}

#[test]
fn by_default_nothing_stops_that_has_not_learned_to() {
    let device = Device::flex();
    let reduction = bound("a_vit", 9);
    let tokens = close_batch(&[9, 9], 3, &device);
    let x = tokens.x.clone() * 0.1;
    let tokens = tokens.with(x);
    let (mut halting, mut plain, mut trace) = (tokens.clone(), tokens, Trace::default());
    for layer in 0..4 {
        halting = block(entered(&reduction, layer, halting, &mut trace));
        plain = block(plain);
    }
    let (settled, _) = reduction.settle(halting);
    assert_eq!(trace, Trace::default());
    for (a, b) in values(settled.x).into_iter().zip(values(plain.x)) {
        assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{a} {b}");
    }
}

/// Training computes of the tokens in front, and of the patches that go through all blocks, what inference does.
#[test]
fn masking_is_dropping() {
    let device = Device::flex();
    let reduction = bound("a_vit:gamma=2,beta=1", 13);
    let (mut records, mut left) = (0, 0);
    for (seed, lens) in (0..6).flat_map(|seed| [(seed, [13, 13]), (seed, [13, 9])]) {
        let tokens = close_batch(&lens, seed, &device);
        let (mut dropped, mut masked, mut trace) = (tokens.clone(), tokens, Trace::default());
        for layer in 0..4 {
            dropped = block(entered(&reduction, layer, dropped, &mut trace));
            let (relaxed, added) = reduction.relax(layer, masked, 5);
            assert_eq!((relaxed.layout.rows(), added.is_some()), (lens.iter().sum(), layer > 0));
            masked = block(relaxed);
        }
        let (dropped, _) = reduction.settle(dropped);
        let (masked, added) = reduction.settle(masked);
        assert!(values(added.expect("a loss"))[0] > 0.0);
        records += trace.records().len();
        for item in 0..2 {
            let [of_masked, of_dropped] = [&masked, &dropped].map(|tokens| {
                let range = tokens.layout.range(item);
                values(tokens.x.clone().slice([range, 0..CHANNELS]))
            });
            // A head that looks at patches must find some, so that training leaves all where all have stopped.
            assert!(of_masked.len() == of_dropped.len() || of_dropped.len() == CHANNELS);
            left += of_dropped.len() / CHANNELS;
            for (a, b) in of_masked.into_iter().zip(of_dropped) {
                assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{a} {b}");
            }
        }
    }
    assert!(records > 15 && left > 50, "{records} {left}");
}

/// One item whose first channels are given block by block; the loss after all of them.
fn loss(gamma: f64, blocks: &[Vec<f32>], device: &Device) -> (f32, Option<Vec<f32>>) {
    let reduction = bound(&format!("a_vit:gamma={gamma},beta=0,centre=2"), 4);
    let leaves: Vec<Tensor<2>> = blocks.iter().map(|block| leaf(block, [4, 1], device)).collect();
    let mut tokens = Tokens::new(leaves[0].clone(), Layout::uniform(1, 4), 1);
    let mut sum = Tensor::zeros([1], device);
    for (layer, leaf) in leaves.iter().enumerate() {
        let (relaxed, added) = reduction.relax(layer, tokens, 0);
        sum = added.map_or(sum.clone(), |added| sum + added);
        tokens = relaxed.with(leaf.clone());
    }
    let (_, added) = reduction.settle(tokens);
    let sum = sum + added.expect("a loss");
    let gradients = device.is_autodiff().then(|| sum.backward());
    let gradient = gradients.map(|gradients| {
        leaves.iter().flat_map(|leaf| leaf.grad(&gradients).map_or(vec![0.0; 4], values)).collect()
    });
    (values(sum)[0], gradient)
}

/// By hand, number by number: four tokens, one in front, through four blocks.
#[test]
fn the_loss_is_that_of_blocks_and_of_where_patches_stop() {
    let probabilities: [[f64; 4]; 4] =
        [[0.3, 0.2, 0.6, 0.995], [0.3, 0.5, 0.7, 0.1], [0.2, 0.1, 0.1, 0.1], [0.1; 4]];
    let blocks: Vec<Vec<f32>> =
        probabilities.iter().map(|block| block.iter().map(|p| channel(*p as f32)).collect()).collect();
    // Blocks and remainder: 4 + (1 - 0.8), 4 + (1 - 0.8), 2 + (1 - 0.6), 1 + 1.
    let ponder = 5e-4 * (4.2 + 4.2 + 2.4 + 2.0) / 4.0;
    // Of patches: sums over those that have not stopped.
    let means: [f64; 4] = [0.2 + 0.6 + 0.995, 0.5 + 0.7, 0.1, 1.0].map(|sum| sum / 3.0);
    let total: f64 = means.iter().sum();
    let scale = 0.98 / ((-0.5_f64).exp() + 1.0);
    let divergence: f64 = means
        .iter()
        .zip([0.5_f64, 0.0, 0.5, 2.0])
        .map(|(mean, half_square)| {
            let part = (mean / total).clamp(0.01, 0.99);
            part * (part.ln() - ((-half_square).exp() * scale).ln())
        })
        .sum();
    let (found, _) = loss(1.0, &blocks, &Device::flex());
    let wanted = ponder + 1e-3 * divergence;
    assert!((f64::from(found) - wanted).abs() < 1e-7, "{found} {wanted}");
}

#[test]
fn gradients_of_the_loss_and_of_the_output_equal_finite_differences() {
    // Two tokens stop in the third block and two in the second, none of them narrowly.
    let value = |block: usize, token: usize| {
        [-0.5, -0.5, 1.0, 1.0][token] + ((block * 5 + token * 3) % 7) as f32 * 0.03
    };
    let blocks: Vec<Vec<f32>> =
        (0..4).map(|block| (0..4).map(|token| value(block, token)).collect()).collect();
    let (_, gradient) = loss(0.8, &blocks, &Device::flex().autodiff());
    let gradient = gradient.expect("tracked");
    assert!(gradient.iter().any(|value| value.abs() > 1e-5), "{gradient:?}");
    for index in 0..16 {
        let step = 5e-2;
        let at = |step: f32| {
            let mut moved = blocks.clone();
            moved[index / 4][index % 4] += step;
            f64::from(loss(0.8, &moved, &Device::flex()).0)
        };
        let slope = (at(step) - at(-step)) / f64::from(2.0 * step);
        let error = (f64::from(gradient[index]) - slope).abs();
        assert!(error < 2e-6 + 0.02 * slope.abs(), "{index}: {} {slope}", gradient[index]);
    }

    // What the head sees of the class token: a mean of its blocks by weights that have a gradient.
    let device = Device::flex().autodiff();
    let output = |blocks: &[Vec<f32>], device: &Device| {
        let reduction = bound("a_vit:gamma=0.8,beta=0", 2);
        let leaves: Vec<Tensor<2>> = blocks.iter().map(|block| leaf(block, [2, 2], device)).collect();
        let mut tokens = Tokens::new(leaves[0].clone(), Layout::uniform(1, 2), 1);
        for (layer, leaf) in leaves.iter().enumerate() {
            tokens = reduction.relax(layer, tokens, 0).0.with(leaf.clone());
        }
        let x = reduction.settle(tokens).0.x.slice([0..1, 0..2]);
        ((x * tensor(&[0.7, -1.9], [1, 2], device)).sum(), leaves)
    };
    let (sum, leaves) = output(&blocks, &device);
    let gradients = sum.backward();
    for (block, leaf) in leaves.iter().enumerate() {
        let gradient = leaf.grad(&gradients).map_or(vec![0.0; 4], values);
        for index in 0..4 {
            let step = 2e-2;
            let at = |step: f32| {
                let mut moved = blocks.clone();
                moved[block][index] += step;
                f64::from(values(output(&moved, &Device::flex()).0)[0])
            };
            let slope = (at(step) - at(-step)) / f64::from(2.0 * step);
            let error = (f64::from(gradient[index]) - slope).abs();
            assert!(error < 1e-4 + 0.01 * slope.abs(), "{block} {index}: {} {slope}", gradient[index]);
        }
        assert!(gradient[2..] == [0.0, 0.0] && (gradient[0] != 0.0 || block > 2), "{gradient:?}");
    }
}

#[test]
fn what_is_carried_goes_with_its_tokens() {
    let device = Device::flex();
    let reduction = bound("a_vit:gamma=2,beta=1", 9);
    let tokens = entered(&reduction, 0, batch(&[9, 7], 3, &device), &mut Trace::default());
    let tokens = entered(&reduction, 1, block(tokens), &mut Trace::default());
    let count = |tokens: &Tokens| {
        let mut shapes = Vec::new();
        let _ = tokens.clone().map(&mut |tensor| {
            shapes.push(tensor.dims());
            tensor
        });
        shapes
    };
    let rows = tokens.layout.rows();
    assert_eq!(count(&tokens), [[rows, CHANNELS], [rows, 1], [2, CHANNELS]]);
    assert_eq!(count(&tokens.prefix_only()), [[2, CHANNELS], [2, 1], [2, CHANNELS]]);
}

#[test]
fn a_dial_turns_beta_from_nothing_through_its_own_to_all() {
    let facts = ModelFacts::new(12, 197, 1);
    let options = Options { gamma: 10.0, beta: 75.0, centre: Some(6) };
    let at = |dial: f64| match Method::AVit(options.clone()).at_dial(dial, &facts) {
        Some(Method::AVit(turned)) => turned,
        other => panic!("{other:?}"),
    };
    assert_eq!((at(0.0).beta, at(1.0).beta, at(0.5)), (1e4, -1e4, options.clone()));
    // 10 ln 9 on either side.
    assert!((at(0.1).beta - 96.9722).abs() < 1e-3 && (at(0.9).beta - 53.0278).abs() < 1e-3);
    assert!((1..1000).all(|step| at(f64::from(step) / 1000.0).beta < at(f64::from(step - 1) / 1000.0).beta));
}

#[test]
fn what_it_is_reads_back_and_what_cannot_be_is_refused() {
    for spec in ["a_vit", "a_vit:gamma=5,beta=75", "a_vit:beta=-2.5,centre=6"] {
        assert_eq!(spec.parse::<Method>().unwrap().to_string(), spec);
    }
    assert_eq!("a_vit:gamma=10,beta=30".parse(), Ok(Method::AVit(Options::default())));
    for wrong in ["a_vit:gamma=0", "a_vit:beta=nan", "a_vit:centre=0", "a_vit:gamma=inf", "a_vit:r=8"] {
        assert!(wrong.parse::<Method>().is_err(), "{wrong}");
    }
    let facts = ModelFacts::new(12, 197, 1);
    let bind = |spec: &str, facts: ModelFacts| Reduction::bind(spec.parse().unwrap(), &facts);
    let merge = "a_vit".to_owned();
    let reads = BindError::ReadsPatches { merge: merge.clone() };
    let all = ModelFacts { readout: Readout::All, ..facts };
    assert_eq!(bind("a_vit", all).unwrap_err(), reads);
    assert!(reads.to_string().contains("the answer of this model is made of patches; use it with a model"));
    let joined = ModelFacts { joining: Some(Joining { layer: 6, tokens: 4, channels: 8 }), ..facts };
    assert_eq!(bind("a_vit", joined).unwrap_err(), reads);
    let closed = ModelFacts { softmax: Softmax::Closed, ..facts };
    assert_eq!(bind("a_vit", closed).unwrap_err(), BindError::ClosedSoftmax { merge });
    let beyond = bind("a_vit:centre=13", facts).unwrap_err().to_string();
    assert!(beyond.contains("there is no layer 13; the model has layers 1 to 12"), "{beyond}");
    let amounts = bind("a_vit", facts).unwrap();
    assert_eq!(amounts.amounts()[..2], [Amount::NOTHING, Amount::ByTokens]);
    assert!(amounts.expected_tokens(197, 12).is_none(), "that depends on the image");
}
