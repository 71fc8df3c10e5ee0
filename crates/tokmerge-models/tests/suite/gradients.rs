//! Gradients through merging, against finite differences.

#![expect(clippy::print_stdout, reason = "says what was measured")]

use crate::common::{self, decided, gradients_of, noise, random, random_but};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use std::collections::BTreeMap;
use tokmerge_merge::{BindError, Decisions, Method, Reduction, Trace, TrainedBy, Wants};
use tokmerge_models::{
    BlockConfig, ClassToken, Config, DistillationHead, DropRates, ExpertsConfig, FamilyConfig, Network,
    Output, Pass, Placement, Pool, PositionConfig, QkNorm, QkvBias, TextPositions, VitConfig, parameters,
};

/// Relative, of a finite difference: the loss is in f32 and the third derivative is not nothing. The classifier of ViLT has a
/// norm of its own, behind which both are three times as much.
const DIFFERENCE_F32: f64 = 1e-3;

/// The same where every step crosses kinks: of the stem's ReLU and of a maximum over patches.
const KINKED_F32: f64 = 1e-2;

/// Lengths of a step along a gradient, far above the rounding of the loss. Those that leave the matching as it is count:
/// with the matching, the loss would jump.
const STEPS: [f64; 4] = [8e-3, 4e-3, 2e-3, 1e-3];

/// Gradients shorter than this are compared as if they had this length: the loss is rounded.
const SHORT: f64 = 0.1;

const ITEMS: usize = 3;
/// With others a step may change the winner of a maximum, or every step the matching.
const SEED: u64 = 4;

const SPECS: &[&str] = &[
    "none",
    "tome:r=3",
    "tome:r=2,inflect=-1",
    "tome:r=2,feature=x_pre",
    "tome:r=2,combine=max",
    "tome:r=2,combine=keep,prop_attn=off",
    "tome:r=2,matcher=attention_prune",
    "atm:theta=0.5",
    "atm:alpha=0.9,beta=0.2,min=0.3,last=keep",
    "evit:keep=60%,layer=1",
    "tofu:r=2,switch=1",
    "tofu:r=2,switch=1,scale=paper",
    "cubistmerge:rows=1,columns=1,layer=1",
    "evo_vit:keep=60%,layer=2",
    "idle_vit:keep=50%,layer=1",
];

/// Of the examples of all families, which have many parameters.
const FEW_SPECS: &[&str] = &["none", "tome:r=3", "atm:theta=0.5"];

/// A shorter gradient is nothing but rounding.
const NOTHING: f64 = 1e-4;

fn configs() -> [VitConfig; 3] {
    let mut plain = VitConfig { num_classes: 5, img_size: (12, 20), ..VitConfig::new(4, 16, 2, 2) };
    plain.block.mlp.hidden = 24;
    let block = |change: &dyn Fn(&mut BlockConfig)| {
        let mut block = plain.block.clone();
        change(&mut block);
        block
    };
    [
        VitConfig { block: block(&|block| block.qk_norm = QkNorm::PerHead(block.norm)), ..plain.clone() },
        VitConfig {
            class_token: ClassToken::Distilled(DistillationHead::Averaged),
            positions: PositionConfig::learned(2),
            block: block(&|block| block.layer_scale = Some(0.1)),
            ..plain.clone()
        },
        VitConfig {
            class_token: ClassToken::Absent,
            positions: PositionConfig::learned(0),
            pool: Pool::Average,
            block: block(&|block| block.qkv_bias = QkvBias::No),
            ..plain.clone()
        },
    ]
}

/// Logits under random weights, and the plans behind them.
fn forward(model: &Network, reduction: &Reduction, device: &Device) -> (Tensor<2>, Trace) {
    let values = noise(ITEMS * model.config().shape().input.len(), 23);
    let classified = model.run(common::input(model.config(), &values, device), Pass::new(reduction));
    (classified.logits, classified.trace)
}

fn weighting(count: usize) -> Vec<f32> {
    noise(count, 29)
}

/// The loss, summed in f64: only the logits are rounded.
fn loss(model: &Network, reduction: &Reduction) -> (f64, Trace) {
    let (logits, trace) = forward(model, reduction, &Device::flex());
    let logits = common::values(logits);
    let products = logits.iter().zip(weighting(logits.len())).map(|(x, w)| f64::from(*x) * f64::from(w));
    (products.sum(), trace)
}

/// Adds the gradients of a pass to those of others, by the paths of their parameters.
fn collect(model: &Network, grads: &Gradients, found: &mut BTreeMap<String, Vec<f32>>) {
    for (path, (_, values)) in gradients_of(model, grads) {
        let sum = found.entry(path).or_insert_with(|| vec![0.0; values.len()]);
        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
}

fn weighted(logits: Tensor<2>) -> Tensor<1> {
    let (dims, device) = (logits.dims(), logits.device());
    let weighting = TensorData::new(weighting(dims[0] * dims[1]), dims);
    (logits * Tensor::<2>::from_data(weighting, &device)).sum()
}

/// The same, and rewards for the first and the last item, if something was drawn.
fn rewarded(logits: Tensor<2>, decisions: Option<&Decisions>) -> Tensor<1> {
    let rewards = decisions.and_then(|decisions| decisions.loss(&[true, false, true]));
    rewards.into_iter().fold(weighted(logits), |loss, rewards| loss + rewards)
}

/// The gradient of the loss by every parameter, under its path.
fn gradients(model: &Network, reduction: &Reduction) -> BTreeMap<String, Vec<f32>> {
    let (logits, _) = forward(model, reduction, &Device::flex().autodiff());
    let mut found = BTreeMap::new();
    collect(model, &weighted(logits).backward(), &mut found);
    found
}

/// Parameters of a model by their paths, and how many values each has.
fn parameters_of(model: &Network) -> BTreeMap<String, usize> {
    #[derive(Default)]
    struct Lister {
        path: Vec<String>,
        found: BTreeMap<String, usize>,
    }
    impl ModuleVisitor for Lister {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found.insert(self.path.join("."), param.lazy_shape().iter().product());
        }
    }
    let mut lister = Lister::default();
    model.visit(&mut lister);
    lister.found
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

/// The loss after one parameter has moved by `step` along `direction`.
fn loss_beside(
    config: &Config,
    reduction: &Reduction,
    name: &str,
    direction: &[f32],
    step: f64,
) -> (f64, Trace) {
    let step = step / norm(direction);
    let model = random_but(config, SEED, &Device::flex(), |path, values| {
        if path == name {
            for (value, along) in values.iter_mut().zip(direction) {
                *value = (f64::from(*value) + step * f64::from(*along)) as f32;
            }
        }
    });
    loss(&model, reduction)
}

/// How far the slope of the loss along a direction is from what it must be, by the best of the steps that leave the
/// matching as it is: long ones see the third derivative, short ones the rounding of the loss.
fn error_along(
    config: &Config,
    reduction: &Reduction,
    trace: &Trace,
    (name, direction): (&str, &[f32]),
    expected: f64,
) -> Option<f64> {
    let mut best = None;
    for step in STEPS {
        let (after, there) = loss_beside(config, reduction, name, direction, step);
        let (before, back) = loss_beside(config, reduction, name, direction, -step);
        if there == *trace && back == *trace {
            let slope = (after - before) / (2.0 * step);
            let error = (slope - expected).abs() / expected.max(SHORT);
            best = Some(best.map_or(error, |best: f64| best.min(error)));
            if error <= DIFFERENCE_F32 / 2.0 {
                break;
            }
        }
    }
    best
}

/// Parameters that are not learned by gradients: statistics of batch norms and the sinusoids of T2T-ViT.
fn is_fixed(name: &str, config: &Config) -> bool {
    let sinusoids = matches!(config, Config::T2tVit(_)) && name == "pos_embed";
    sinusoids || parameters::is_buffer(name)
}

/// Compares every parameter's gradient with finite differences: along it the loss rises by its length, and along noise not
/// at all where it is nothing. Returns the largest error, and whose it is.
fn compare(config: &Config, spec: &str, reduction: &Reduction) -> (f64, String) {
    let frozen = random(config, SEED, &Device::flex());
    let learning = random(config, SEED, &Device::flex().autodiff());
    let (_, trace) = loss(&frozen, reduction);
    let mut found = gradients(&learning, reduction);
    // What a loss does not depend on has no gradient, and must have none.
    for (name, values) in parameters_of(&frozen).into_iter().filter(|(name, _)| !is_fixed(name, config)) {
        found.entry(name).or_insert_with(|| vec![0.0; values]);
    }
    let (mut worst, mut stepped) = ((0.0, String::new()), 0);
    let count = found.len();
    for (name, gradient) in found {
        let expected = norm(&gradient);
        assert!(expected.is_finite(), "{spec}, {name}: gradient of length {expected}");
        let (direction, expected) = match expected > NOTHING {
            true => (gradient, expected),
            false => (noise(gradient.len(), 31), 0.0),
        };
        let along = (name.as_str(), direction.as_slice());
        let Some(error) = error_along(config, reduction, &trace, along, expected) else { continue };
        stepped += 1;
        if error > worst.0 {
            worst = (error, name);
        }
    }
    assert!(2 * stepped > count, "{spec}: steps change the matching for {} of {count}", count - stepped);
    worst
}

/// For every parameter of plain models and of the examples of all families: a new family is under contract by being
/// listed.
#[test]
fn gradients_flow_through_merging_and_equal_finite_differences() {
    let plain = configs().into_iter().map(Config::from).map(|config| (config, SPECS));
    // A step may send tokens to other experts, whose gradients are compared in tests of their own.
    let listed = Config::examples().into_iter().filter(|config| config.experts().is_none());
    let listed = listed.map(|config| (config, FEW_SPECS));
    for (config, specs) in plain.chain(listed) {
        for spec in specs {
            let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
            if !can(&method, &config) {
                continue;
            }
            let reduction =
                Reduction::bind(method, &config.facts()).unwrap_or_else(|error| panic!("{error}"));
            let (error, name) = compare(&config, spec, &reduction);
            println!("{spec:40} prefix {}: largest error {error:.1e} in {name}", config.facts().prefix);
            let allowed = match config {
                Config::LvVit(_) => KINKED_F32,
                Config::Vilt(_) => 3.0 * DIFFERENCE_F32,
                _ => DIFFERENCE_F32,
            };
            assert!(error <= allowed, "{spec} on {config:?}: {error} in {name}");
        }
    }
}

/// A method that would decide otherwise the second time, were it asked.
const REPLAYED: &[&str] = &[
    "tome:r=2,matcher=random_merge",
    "tome:r=2,matcher=random_prune",
    "patchmerger:m=3,layer=1",
    "stm:p=2,layer=1",
    "dynamicvit:keep=60%,layer=[1,2]",
    "ltmp:target=60%",
    "diffrate:target=60%",
    "sp_vit:keep=60%,layer=[1,2]",
    "a_vit:gamma=2,beta=1",
    "ia_red2:layer=[1,2]",
    "token_pooling:keep=70%,layer=2",
    "zero_tprune:keep=60%,layer=2",
    "mctf:r=2",
];

/// A power of two: nothing is rounded.
const SHARE: f64 = 0.5;

/// Whether a method can be right in a model.
fn can(method: &Method, config: &Config) -> bool {
    match Reduction::bind(method.clone(), &config.facts()) {
        Ok(_) => true,
        Err(BindError::LosesPositions { .. } | BindError::Unmergeable { .. }) => false,
        Err(BindError::NoPatches { .. } | BindError::ClosedSoftmax { .. } | BindError::ClosedKeys { .. }) => {
            false
        }
        Err(BindError::NoClassToken { .. } | BindError::NoGrid { .. } | BindError::ReadsPatches { .. }) => {
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// What a block keeps is forgotten, and computed again: the gradients are the same.
#[test]
fn gradients_by_block_equal_those_of_the_whole() {
    let device = Device::flex().autodiff();
    let experts = ExpertsConfig { experts: 4, chosen: 2, placement: Placement::Every(2) };
    let routed = VitConfig { experts: Some(experts), ..configs()[0].clone() };
    // The untracked pass fuses LayerScale, gates and soft merging where the tracked one rounds between the parts.
    let vits = configs().into_iter().chain([routed]).map(|config| {
        let rounds = config.block.layer_scale.is_some() || config.experts.is_some();
        (Config::from(config), rounds)
    });
    // A new family is under contract by being listed.
    let examples = Config::examples().into_iter().map(|config| (config, true));
    for (config, rounds) in vits.chain(examples) {
        // Biases of pairs are added in the kernel there, and beside it here.
        let paired = match &config {
            Config::Text(text) => matches!(text.positions, TextPositions::Buckets(_)),
            Config::Pali(_) => true,
            _ => false,
        };
        for spec in SPECS.iter().chain(REPLAYED) {
            let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
            if !can(&method, &config) {
                continue;
            }
            let model = random(&config, SEED, &device);
            let model = decided(model.with_fresh_mergers(&method, &device), &device);
            let reduction =
                Reduction::bind(method, &config.facts()).unwrap_or_else(|error| panic!("{error}"));
            let reduction = reduction.with_mergers(model.mergers().clone());
            let values = noise(ITEMS * config.shape().input.len(), 23);
            let input = || common::input(&config, &values, &device);
            for drop in [None, Some(DropRates { path: 0.5, seed: 7, ..DropRates::default() })] {
                let pass = match drop {
                    None => Pass::head(&reduction),
                    Some(drop) => Pass::new(&reduction).training(drop),
                };
                let Output { logits, auxiliary, tokens, .. } = model.run(input(), pass);
                let trained_by = reduction.method().trained_by();
                let adds = config.experts().is_some() || trained_by == TrainedBy::Masks;
                assert_eq!(auxiliary.is_some(), drop.is_some() && adds);
                let draws = drop.is_some() && trained_by == TrainedBy::Rewards;
                assert_eq!(tokens.decisions().is_some(), draws);
                let loss = rewarded(logits, tokens.decisions());
                let loss = auxiliary.into_iter().fold(loss, |loss, auxiliary| loss + auxiliary);
                let value = loss.clone().without_autodiff().into_scalar::<f32>();
                let (mut whole, mut parts) = (BTreeMap::new(), BTreeMap::new());
                collect(&model, &loss.backward(), &mut whole);
                let mut found = |grads: Gradients| collect(&model, &grads, &mut parts);
                let of = |output: &Output| rewarded(output.logits.clone(), output.tokens.decisions());
                let again = model.gradients_by_block(input(), &reduction, drop, SHARE, of, &mut found);
                let error = whole.iter().map(|(name, gradient)| {
                    let found = &parts[name];
                    gradient
                        .iter()
                        .zip(found)
                        .map(|(a, b)| (a - b / SHARE as f32).abs() / (1.0 + a.abs()))
                        .fold(0.0, f32::max)
                });
                let error = error.fold(0.0, f32::max);
                println!(
                    "{spec:40} loss {value} {}, largest difference {error:.1e}",
                    again.clone().into_scalar::<f32>()
                );
                let allowed = if paired {
                    5e-5
                } else if reduction.relaxes() {
                    // Masked softmaxes are stored, and rounded, on both ways.
                    3e-5
                } else if spec.starts_with("stm") || spec.starts_with("idle_vit") || rounds {
                    // What is idle has had its keys in a pass that chooses, and none in one that repeats it.
                    1e-5
                } else {
                    0.0
                };
                assert!(whole.len() == parts.len() && error <= allowed, "{spec}, {drop:?}: {error}");
                assert!(
                    (again.into_scalar::<f32>() - value).abs() <= allowed * (1.0 + value.abs()),
                    "{spec}: the loss differs"
                );
            }
        }
    }
}

/// The plans of one pass, followed by other weights: nothing is asked of the blocks, and the trace is the same.
#[test]
fn a_replay_compares_nothing() {
    let device = Device::flex();
    let config = &configs()[0];
    let (model, other) = (random(config, SEED, &device), random(config, SEED + 1, &device));
    for spec in SPECS {
        let method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
        let reduction = Reduction::bind(method, &config.facts()).unwrap_or_else(|error| panic!("{error}"));
        let (_, trace) = forward(&model, &reduction, &device);
        let replay = reduction.replaying(&trace);
        for layer in 0..config.depth {
            // A method that is asked for a plan without its evidence panics.
            assert_eq!(replay.wants(layer), Wants::default(), "{spec}");
        }
        assert_eq!(forward(&other, &replay, &device).1, trace, "{spec}");
        if *spec == "tome:r=3" {
            assert_ne!(forward(&other, &reduction, &device).1, trace, "other weights match otherwise");
        }
    }
}
