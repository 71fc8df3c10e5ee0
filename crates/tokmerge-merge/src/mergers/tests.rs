//! Golden cases computed by hand, and what must hold for all weights.

use super::{Merger, MergerShape, Mergers};
use crate::{Evidence, LastLayer, Layout, Method, ModelFacts, Positions, Prefix, Reduction, Tokens, Trace};
use crate::{patch_merger, stm};
use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData, s};

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

fn close(given: &[f32], wanted: &[f32]) {
    assert_eq!(given.len(), wanted.len(), "{given:?} {wanted:?}");
    assert!(given.iter().zip(wanted).all(|(x, y)| (x - y).abs() < 1e-5), "{given:?} is not {wanted:?}");
}

fn mergers(spec: &str, channels: usize, device: &Device) -> Mergers {
    let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
    Mergers::new(&method, MergerShape { depth: 4, channels, joining: None }, device)
}

fn facts(tokens: usize, prefix: usize) -> ModelFacts {
    ModelFacts::new(4, tokens, prefix)
}

fn bound(spec: &str, tokens: usize, prefix: usize, mergers: Mergers) -> Reduction {
    let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
    Reduction::bind(method, &facts(tokens, prefix))
        .unwrap_or_else(|error| panic!("{error}"))
        .with_mergers(mergers)
}

fn patch(mergers: &mut Mergers) -> &mut patch_merger::Merger {
    let [(_, Merger::Patch(merger)), ..] = &mut mergers.at[..] else { panic!("a PatchMerger") };
    merger
}

fn soft(mergers: &mut Mergers) -> &mut stm::Merger {
    let [(_, Merger::Soft(merger)), ..] = &mut mergers.at[..] else { panic!("a soft merger") };
    merger
}

/// Deterministic values without structure.
fn noise(rows: usize, channels: usize, device: &Device) -> Tensor<2> {
    let mut random = tokmerge_nn::Random::new(5);
    let values: Vec<f32> = (0..rows * channels).map(|_| random.normal() as f32).collect();
    tensor(&values, [rows, channels], device)
}

/// Two tokens that LayerNorm leaves alone, and queries that score them ln 3, -ln 3 and 0, 0.
#[test]
fn patch_merger_by_hand() {
    let device = Device::flex();
    let half = 3.0f32.ln() / 2.0;
    let x = tensor(&[9.0, 9.0, 1.0, -1.0, -1.0, 1.0], [3, 2], &device);
    for (axis, wanted) in [
        // Token by token: (3/4, 1/4) and (1/4, 3/4).
        ("outputs", [0.5, -0.5, -0.5, 0.5]),
        // Query by query: (9/10, 1/10) and (1/2, 1/2).
        ("inputs", [0.8, -0.8, 0.0, 0.0]),
    ] {
        let spec = format!("patchmerger:m=2,layer=1,axis={axis}");
        let mut weights = mergers(&spec, 2, &device);
        patch(&mut weights).queries = Param::from_tensor(tensor(&[half, -half, 0.0, 0.0], [2, 2], &device));
        let reduction = bound(&spec, 3, 1, weights);
        let mut trace = Trace::default();
        let tokens = Tokens::new(x.clone(), Layout::uniform(1, 3), 1);
        let (merged, held) = reduction.enter(1, tokens, Evidence::default(), &mut trace);
        assert_eq!((merged.prefix.clone(), &merged.layout), (Prefix::Same(1), &Layout::uniform(1, 3)));
        close(&values(reduction.leave(merged, held).x), &[[9.0, 9.0].as_slice(), &wanted].concat());
    }
}

/// Both tokens score (ln 3, 0): the first weighs 3/4, the second 1/4.
#[test]
fn soft_merging_by_hand() {
    let device = Device::flex();
    let x = tensor(&[9.0, 9.0, 1.0, -1.0, -1.0, 1.0], [3, 2], &device);
    for (scale, merged_to) in [("mean", [0.25, -0.25]), ("sum", [0.5, -0.5])] {
        for inflate in ["off", "on"] {
            let spec = format!("stm:p=2,layer=2,width=1,scale={scale},inflate={inflate}");
            let mut weights = mergers(&spec, 2, &device);
            let first = soft(&mut weights);
            first.norm.as_mut().expect("a norm").bias =
                Some(Param::from_tensor(tensor(&[1.0, 1.0], [2], &device)));
            first.query = Some(Param::from_tensor(tensor(&[0.5, 0.5], [1, 2], &device)));
            first.key = Some(Param::from_tensor(tensor(&[3.0f32.ln() / 2.0, 0.0], [1, 2], &device)));
            let reduction = bound(&spec, 3, 1, weights);
            let tokens = Tokens::new(x.clone(), Layout::uniform(1, 3), 1);
            let mut trace = Trace::default();
            let (less, held) = reduction.enter(1, tokens, Evidence::default(), &mut trace);
            close(&values(less.x.clone()), &[[9.0, 9.0].as_slice(), &merged_to].concat());
            // A block that adds 1 to everything.
            let y = less.clone().with(less.x + 1.0);
            let after = values(reduction.leave(y, held).x);
            let [a, b] = merged_to.map(|value| value + 1.0);
            if inflate == "on" {
                let wanted = [10.0, 10.0, 1.0 + 0.75 * a, -1.0 + 0.75 * b, -1.0 + 0.25 * a, 1.0 + 0.25 * b];
                close(&after, &wanted);
            } else {
                close(&after, &[10.0, 10.0, a, b]);
            }
        }
    }
}

#[test]
fn scores_sum_up_to_one_and_a_remainder_is_a_shorter_window() {
    let device = Device::flex();
    let ones = Tensor::<2>::ones([2 * 8, 4], &device);
    for score in ["attention", "random", "mean", "query", "max"] {
        for window in [2, 3, 4, 9] {
            let spec = format!("stm:p={window},layer=1,scale=sum,score={score}");
            let reduction = bound(&spec, 8, 1, mergers(&spec, 4, &device));
            let tokens = Tokens::new(ones.clone(), Layout::uniform(2, 8), 1);
            let (merged, _) = reduction.enter(0, tokens, Evidence::default(), &mut Trace::default());
            assert_eq!(merged.layout, Layout::uniform(2, 1 + 7usize.div_ceil(window)), "{spec}");
            close(&values(merged.x), &vec![1.0; merged.layout.rows() * 4]);
        }
    }
}

/// The paper's form does not know the order of the tokens, and an item never sees its neighbours.
#[test]
fn patch_merger_knows_neither_order_nor_neighbours() {
    let device = Device::flex();
    let weights = mergers("patchmerger:m=3,layer=2", 6, &device);
    let reduction = bound("patchmerger:m=3,layer=2", 5, 0, weights);
    let run = |x: Tensor<2>, layout: Layout| {
        let (merged, _) =
            reduction.enter(2, Tokens::new(x, layout, 0), Evidence::default(), &mut Trace::default());
        values(merged.x)
    };
    let x = noise(10, 6, &device);
    let both = run(x.clone(), Layout::uniform(2, 5));
    let alone = run(x.clone().slice(s![5..10, ..]), Layout::uniform(1, 5));
    assert_eq!(both[18..], alone[..], "bit for bit");
    assert_eq!(run(x.clone(), Layout::from_lens(&[5, 5])), both);
    let shorter = run(x.clone().slice(s![0..8, ..]), Layout::from_lens(&[5, 3]));
    assert_eq!(shorter[..18], both[..18]);
    close(&run(x.slice(s![5..10, ..]).flip([0]), Layout::uniform(1, 5)), &alone);
}

/// The weights that are shown are those that tokens are mixed with.
#[test]
fn mixtures_are_what_entering_does() {
    let device = Device::flex();
    // Rows that LayerNorm leaves as they are.
    let signs = [[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0], [-1.0, 1.0, 1.0, -1.0]];
    let x: Vec<f32> =
        (0..12).flat_map(|row| signs[row * row % 3].map(|sign| if row < 7 { sign } else { -sign })).collect();
    for layout in [Layout::uniform(2, 6), Layout::from_lens(&[7, 5])] {
        for spec in [
            "patchmerger:m=3,layer=1",
            "patchmerger:m=3,layer=1,axis=inputs",
            "patchmerger:m=3,layer=1,cls=merge",
            "stm:p=2,layer=2,scale=sum",
            "stm:p=3,layer=2,scale=sum,score=query",
            "stm:p=4,layer=2,scale=sum,score=random",
            "stm:p=9,layer=2,score=mean",
        ] {
            let reduction = bound(spec, 6, 1, mergers(spec, 4, &device));
            let tokens = || Tokens::new(tensor(&x, [12, 4], &device), layout.clone(), 1);
            let mixtures = reduction.mixtures(1, &tokens()).expect("weights stand there");
            assert!(reduction.mixtures(0, &tokens()).is_none() && reduction.mixtures(2, &tokens()).is_none());
            let (merged, _) = reduction.enter(1, tokens(), Evidence::default(), &mut Trace::default());
            let mut wanted = Vec::new();
            for (item, mixture) in mixtures.iter().enumerate() {
                let rows = &x[layout.range(item).start * 4..layout.range(item).end * 4];
                assert_eq!(
                    (mixture.inputs(), mixture.outputs()),
                    (rows.len() / 4, merged.layout.range(item).len())
                );
                for output in 0..mixture.outputs() {
                    let weights = mixture.weights(output);
                    wanted.extend((0..4).map(|channel| -> f32 {
                        rows.chunks(4).zip(weights).map(|(row, weight)| weight * row[channel]).sum()
                    }));
                }
            }
            close(&values(merged.x), &wanted);
        }
    }
    let inflating = "stm:p=2,layer=2,inflate=on";
    let reduction = bound(inflating, 6, 1, mergers(inflating, 4, &device));
    let tokens = Tokens::new(tensor(&x, [12, 4], &device), Layout::uniform(2, 6), 1);
    assert!(reduction.mixtures(1, &tokens).is_none(), "all tokens come back");
}

/// Detaching blocks the gradient exactly where eq. 6 says: what inflation does to the scores.
#[test]
fn inflation_trains_the_scores_only_when_attached() {
    let device = Device::flex().autodiff();
    for (detach, trains) in [("on", false), ("off", true)] {
        let spec = format!("stm:p=2,layer=1,inflate=on,detach={detach}");
        let mut weights = mergers(&spec, 4, &device);
        let query = soft(&mut weights).query.clone().expect("a query").val();
        let reduction = bound(&spec, 4, 0, weights);
        // Something has a gradient in any case.
        let tokens = Tokens::new(noise(4, 4, &device).require_grad(), Layout::uniform(1, 4), 0);
        let (less, held) = reduction.enter(0, tokens, Evidence::default(), &mut Trace::default());
        // A block whose output does not depend on its input: scores matter through inflation alone.
        let y = less.clone().with(noise(2, 4, &device));
        // Weighted: the scores of a window always have the same sum.
        let loss = (reduction.leave(y, held).x * noise(4, 3, &device).sum_dim(1)).sum();
        let gradient = query.grad(&loss.backward());
        let size: f32 = gradient.map_or(0.0, |gradient| values(gradient).iter().map(|g| g.abs()).sum());
        assert_eq!(size > 1e-6, trains, "detach={detach}: {size}");
        // Through the block the scores are trained either way.
        let tokens = Tokens::new(noise(4, 4, &device), Layout::uniform(1, 4), 0);
        let (less, held) = reduction.enter(0, tokens, Evidence::default(), &mut Trace::default());
        let gradient = query.grad(&reduction.leave(less, held).x.powi_scalar(2).sum().backward());
        assert!(values(gradient.expect("a gradient")).iter().any(|g| g.abs() > 1e-6));
    }
}

/// Against finite differences.
#[test]
fn gradients_of_the_weights() {
    for spec in [
        "patchmerger:m=2,layer=1",
        "patchmerger:m=2,layer=1,axis=inputs",
        "stm:p=2,layer=2",
        "stm:p=2,layer=2,score=query",
    ] {
        let loss = |device: &Device, change: f32| {
            let mut weights = mergers(spec, 4, device);
            let slot = match &mut weights.at[0].1 {
                Merger::Patch(merger) => &mut merger.queries,
                Merger::Soft(merger) => merger.query.as_mut().expect("a query"),
                Merger::Predictor(_) | Merger::Selector(_) | Merger::Interpreter(_) => {
                    panic!("it has tests of its own")
                }
            };
            let shape = slot.dims();
            let mut start = values(slot.val());
            start[1] += change;
            *slot = Param::from_tensor(tensor(&start, shape, device));
            let shifted = slot.val();
            let reduction = bound(spec, 6, 1, weights);
            let tokens = Tokens::new(noise(12, 4, device), Layout::uniform(2, 6), 1);
            let (less, _) = reduction.enter(1, tokens, Evidence::default(), &mut Trace::default());
            let rows = less.layout.rows();
            ((less.x * noise(rows, 4, device)).sum(), shifted)
        };
        let (tracked, weight) = loss(&Device::flex().autodiff(), 0.0);
        let gradient = values(weight.grad(&tracked.backward()).expect("a gradient"))[1];
        let step = 1e-2;
        let at = |change: f32| f64::from(values(loss(&Device::flex(), change).0)[0]);
        let difference = (at(step) - at(-step)) / f64::from(2.0 * step);
        assert!(
            (f64::from(gradient) - difference).abs() < 1e-3 + 0.01 * difference.abs(),
            "{spec}: {gradient} {difference}"
        );
    }
}

#[test]
fn counts_are_known_before_anything_runs() {
    for (spec, wanted) in [
        ("patchmerger:m=3", [(9, 9), (9, 9), (4, 4), (4, 4)]),
        ("patchmerger:m=3,cls=merge,layer=1", [(9, 9), (3, 3), (3, 3), (3, 3)]),
        ("patchmerger:m=[5,2],layer=[1,3]", [(9, 9), (6, 6), (6, 6), (3, 3)]),
        ("stm:p=2,layer=2", [(9, 9), (5, 5), (5, 5), (5, 5)]),
        ("stm:p=3,layer=[1,2]", [(4, 4), (2, 2), (2, 2), (2, 2)]),
        ("stm:p=2,layer=3,inflate=on", [(9, 9), (9, 9), (5, 5), (5, 5)]),
    ] {
        let device = Device::flex();
        let reduction = bound(spec, 9, 1, mergers(spec, 4, &device));
        assert_eq!(reduction.last_layer(), LastLayer::All);
        let expected = reduction.expected_tokens(9, 4).expect("a fixed number");
        assert_eq!(
            expected.iter().map(|seen| (seen.attended, seen.fed)).collect::<Vec<_>>(),
            wanted,
            "{spec}"
        );
        let (mut tokens, mut trace) =
            (Tokens::new(noise(18, 4, &device), Layout::uniform(2, 9), 1), Trace::default());
        for layer in 0..4 {
            let (less, held) = reduction.enter(layer, tokens, Evidence::default(), &mut trace);
            tokens = reduction.leave(less, held);
        }
        assert_eq!(trace.layer_tokens(1, 9, 4), expected, "{spec}");
        assert_eq!(trace.tokens_left(1, 9), tokens.layout.range(1).len(), "{spec}");
    }
}

#[test]
fn wrong_specs_say_what_would_be_right() {
    let spec = |spec: &str| spec.parse::<Method>().unwrap_err().to_string();
    assert!(spec("patchmerger").contains("patchmerger needs m, e.g. patchmerger:m=8"));
    assert!(spec("patchmerger:m=0").contains("a whole number from 1"));
    assert!(spec("patchmerger:m=[8,4],layer=6").contains("m lists 2 mergers and layer 1"));
    assert!(spec("stm:p=1,layer=4").contains("a whole number from 2"));
    assert!(spec("stm:p=2").contains("stm needs layer"));
    assert!(spec("stm:p=2,layer=[2,4],inflate=on").contains("give one layer"));
    let bind = |spec: &str| Reduction::bind(spec.parse().unwrap(), &facts(9, 1)).unwrap_err().to_string();
    assert!(bind("stm:p=2,layer=5").contains("no place at layer 5; the model has layers 1 to 4"));
    assert!(bind("patchmerger:m=2,layer=4").contains("no place at layer 4"));
    assert!(bind("stm:p=2,layer=[2,2]").contains("layer 2 is listed twice"));
}

#[test]
fn paths_of_parameters_are_those_of_saved_files() {
    let device = Device::flex();
    let paths = |spec: &str| -> Vec<String> {
        tokmerge_nn::parameters::shapes(&mergers(spec, 4, &device)).into_keys().collect()
    };
    assert_eq!(
        paths("patchmerger:m=[3,2],layer=[1,2]"),
        ["0", "1"]
            .map(|index| ["norm.bias", "norm.weight", "queries"].map(|name| format!("patch.{index}.{name}")))
            .as_flattened()
    );
    assert_eq!(
        paths("stm:p=2,layer=2"),
        ["soft.0.key", "soft.0.norm.bias", "soft.0.norm.weight", "soft.0.query"]
    );
}

#[test]
fn parameters_are_counted_without_drawing_them() {
    let (device, shape) = (Device::flex(), MergerShape { depth: 4, channels: 6, joining: None });
    for spec in [
        "none",
        "tome:r=1",
        "patchmerger:m=3",
        "patchmerger:m=[3,2],layer=[1,2],cls=merge",
        "stm:p=2,layer=2",
        "stm:p=2,layer=[1,2],width=5",
        "stm:p=2,layer=2,inflate=on",
        "stm:p=2,layer=2,score=query",
        "stm:p=2,layer=2,score=mean",
    ] {
        let method: Method = spec.parse().unwrap();
        assert_eq!(method.parameters(shape), Mergers::new(&method, shape, &device).parameters(), "{spec}");
    }
}

#[test]
fn fresh_weights_never_replace_given_ones() {
    let (device, shape) = (Device::flex(), MergerShape { depth: 4, channels: 4, joining: None });
    let spec = "patchmerger:m=2,layer=[1,3]";
    let mut trained = mergers(spec, 4, &device);
    patch(&mut trained).queries = Param::from_tensor(tensor(&[7.0; 8], [2, 4], &device));
    let queries = |mergers: &Mergers| values(patch(&mut mergers.clone()).queries.val());
    // Another option that has no weights changes what they do, not what they are.
    let other: Method = "patchmerger:m=[2,5],layer=[1,2],axis=inputs".parse().unwrap();
    let fitted = trained.clone().fitted(&other, shape, &device);
    assert_eq!(queries(&fitted), [7.0; 8]);
    assert_eq!(fitted.at.iter().map(|(before, _)| *before).collect::<Vec<_>>(), [1, 2]);
    // Other shapes and other methods begin fresh.
    let larger: Method = "patchmerger:m=3,layer=1".parse().unwrap();
    assert_ne!(queries(&trained.clone().fitted(&larger, shape, &device))[..8], [7.0; 8]);
    let soft: Method = "stm:p=2,layer=2".parse().unwrap();
    assert!(matches!(trained.clone().fitted(&soft, shape, &device).at[..], [(1, Merger::Soft(_))]));
    // A reduction keeps what it was given.
    let run = |reduction: &Reduction| {
        let tokens = Tokens::new(noise(5, 4, &device), Layout::uniform(1, 5), 1);
        values(reduction.enter(1, tokens, Evidence::default(), &mut Trace::default()).0.x)
    };
    let given = bound(spec, 5, 1, trained);
    assert_eq!(run(&given.clone().with_fresh_mergers(4, &device)), run(&given));
    assert_eq!(run(&given.clone().with_mergers(Mergers::none())), run(&given));
}

/// Windows of two: the prefix stays where it is, neighbours meet halfway.
#[test]
fn windows_stand_where_their_tokens_stood_on_average() {
    let device = Device::flex();
    let spec = "stm:p=2,layer=2";
    let reduction = bound(spec, 4, 1, mergers(spec, 4, &device));
    let positions = Positions::Sequence([9.0, 0.0, 1.0, 2.0].into());
    let tokens = Tokens::new(noise(4, 4, &device), Layout::uniform(1, 4), 1).with_positions(positions);
    let (less, _) = reduction.enter(1, tokens, Evidence::default(), &mut Trace::default());
    assert_eq!(less.positions, Some(Positions::Sequence([9.0, 0.5, 2.0].into())));
}
