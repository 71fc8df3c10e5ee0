//! Methods that are trained by masks, in whole models: what training computes is what inference does where both keep the same
//! patches.

use crate::common::{input, noise, random, random_mergers, values};
use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use tokmerge_merge::{
    Merger, Mergers, Method, Reduction, TokenKind, Tokens, a_vit, dynamic_vit, ia_red2, sp_vit,
};
use tokmerge_models::{Config, DropRates, Network, Output, Pass, Probe};
use tokmerge_nn::Linear;

/// A method that works before the second block, and how it is made to keep more patches or fewer.
struct Case {
    /// The method in training: the larger the number, the more is kept.
    method: fn(f32) -> Method,
    /// Its weights, so decided that noise changes nothing.
    decide: fn(&mut Merger, f32),
    /// The method that keeps so many of so many patches at inference, where it is not the same.
    inferred: Option<fn(usize, usize, &Config) -> Method>,
    /// What is added to the loss then, if it is that number alone.
    added: fn(usize, usize) -> Option<f32>,
}

const CASES: &[Case] = &[
    Case {
        method: |_| Method::DynamicVit(dynamic_vit::Options { keep: 0.5, layers: Some(vec![2]) }),
        decide: |merger, advantage| {
            let Merger::Predictor(predictor) = merger else { panic!("a predictor") };
            decide(&mut predictor.fc3, &[advantage, 0.0]);
        },
        inferred: Some(|kept, patches, config| {
            // A number of a grid's patches is rounded down, a part of other pictures' rounded up.
            let more = if config.facts().grid.is_some() { 0.5 } else { 0.0 };
            let keep = (kept as f64 + more) / patches as f64;
            Method::DynamicVit(dynamic_vit::Options { keep, layers: Some(vec![2]) })
        }),
        added: |kept, patches| Some(2.0 * (kept as f32 / patches as f32 - 0.5).powi(2)),
    },
    Case {
        method: |_| {
            let decision = sp_vit::Decision::Learned;
            let layers = Some(vec![2]);
            Method::SpVit(sp_vit::Options { keep: vec![0.5], layers, decision, head_dim: None })
        },
        decide: |merger, advantage| {
            let Merger::Selector(selector) = merger else { panic!("a selector") };
            decide(&mut selector.predictor.fc3, &[advantage, 0.0]);
        },
        inferred: None,
        // One of them is the package.
        added: |kept, patches| Some(2.0 * ((kept - 1) as f32 / patches as f32 - 0.5).powi(2)),
    },
    Case {
        method: |_| Method::IaRed2(ia_red2::Options { layers: Some(vec![2]), ..Default::default() }),
        decide: |merger, advantage| {
            let Merger::Interpreter(interpreter) = merger else { panic!("an interpreter") };
            let [channels, _] = interpreter.fc2.weight.dims();
            let mut bias = vec![0.0; channels];
            bias[0] = advantage;
            decide(&mut interpreter.fc2, &bias);
            // The sum over all channels.
            interpreter.policy_fc2.weight = Param::from_tensor(interpreter.policy_fc2.weight.val() * 0.0);
            interpreter.policy_fc2.bias = Some(parameter(&vec![1.0; channels]));
        },
        inferred: None,
        added: |_, _| None,
    },
    Case {
        method: |advantage| {
            Method::AVit(a_vit::Options { gamma: 1.0, beta: f64::from(advantage), centre: None })
        },
        decide: |_, _| unreachable!("it has no weights"),
        inferred: None,
        added: |_, _| None,
    },
];

fn parameter(values: &[f32]) -> Param<Tensor<1>> {
    let values = TensorData::new(values.to_vec(), [values.len()]);
    Param::from_tensor(Tensor::from_data(values, &Device::flex()))
}

fn decide(layer: &mut Linear, bias: &[f32]) {
    layer.weight = Param::from_tensor(layer.weight.val() * 1e5);
    layer.bias = Some(parameter(bias));
}

/// The policy of every block, as it leaves the block.
#[derive(Default)]
struct Policies(Vec<Option<Vec<f32>>>);

impl Probe for Policies {
    fn left(&mut self, _: usize, tokens: &Tokens) {
        self.0.push(tokens.policy.clone().map(values));
    }
}

fn reduction(config: &Config, method: Method, mergers: &Mergers) -> Reduction {
    let bound = Reduction::bind(method, &config.facts()).unwrap_or_else(|error| panic!("{error}"));
    bound.with_mergers(mergers.clone())
}

/// One image in training, and how many tokens that are no prefix each block counted.
fn trained(model: &Network, pixels: &[f32], reduction: &Reduction) -> (Output, Vec<Option<usize>>) {
    let (config, mut seen) = (model.config(), Policies::default());
    let pass = Pass::new(reduction).training(DropRates::default()).probed(&mut seen);
    let output = model.run(input(config, pixels, &Device::flex()), pass);
    let prefix = config.facts().prefix;
    let counted = |policy: Option<Vec<f32>>| {
        policy.map(|policy| policy[prefix..].iter().filter(|kept| **kept == 1.0).count())
    };
    (output, seen.0.into_iter().map(counted).collect())
}

/// Training that keeps some of the patches, and drops some: the method, its weights, what came out, and how many are kept.
fn parted(case: &Case, model: &Network, pixels: &[f32]) -> (Method, Mergers, Output, usize) {
    let (config, facts) = (model.config(), model.config().facts());
    let patches = facts.tokens - facts.prefix;
    let (mut low, mut high) = (-1e7_f32, 1e7_f32);
    let found = (0..60).find_map(|_| {
        let advantage = f32::midpoint(low, high);
        let method = (case.method)(advantage);
        let mut mergers = random_mergers(&method, config, &Device::flex());
        mergers.at.iter_mut().for_each(|(_, merger)| (case.decide)(merger, advantage));
        let (output, counts) = trained(model, pixels, &reduction(config, method.clone(), &mergers));
        assert!(counts[0].is_none(), "nothing is decided before the second block");
        let kept = counts.last().copied().flatten().expect("something is decided there");
        match kept {
            kept if kept < patches / 4 => low = advantage,
            kept if kept > 3 * patches / 4 => high = advantage,
            kept => return Some((method, mergers, output, kept)),
        }
        None
    });
    found.unwrap_or_else(|| panic!("no threshold of {} parts {config:?}", (case.method)(0.0)))
}

#[test]
fn training_computes_what_inference_does_with_the_patches_that_are_kept() {
    for case in CASES {
        let mut compared = 0;
        for config in Config::examples() {
            let facts = config.facts();
            let fixed = facts.tokens_are == TokenKind::Patches && facts.joining.is_none();
            let binds = Reduction::bind((case.method)(0.0), &facts).is_ok();
            // Experts are chosen in another way in training.
            if !fixed || config.experts().is_some() || !binds {
                continue;
            }
            let model = random(&config, 5, &Device::flex());
            let pixels = noise(config.shape().input.len(), 19);
            let patches = facts.tokens - facts.prefix;
            let (method, mergers, output, kept) = parted(case, &model, &pixels);
            if let Some(wanted) = (case.added)(kept, patches) {
                let loss = values(output.auxiliary.expect("that of the kept part"))[0];
                assert!((loss - wanted).abs() < 1e-6, "{method}: {loss} {wanted}");
            }
            // The head has seen what was kept.
            assert_eq!(output.tokens.layout.rows(), facts.prefix + kept, "{method}");
            let plan = output.kept.as_ref().expect("some were dropped");
            assert_eq!(plan.output(), &output.tokens.layout, "{method}");
            assert!(plan.input().rows() >= facts.tokens, "{method}");
            let inferred = case.inferred.map_or(method, |inferred| inferred(kept, patches, &config));
            let reduction = reduction(&config, inferred, &mergers);
            let run = |pass: Pass<'_>| model.run(input(&config, &pixels, &Device::flex()), pass);
            let all = run(Pass::new(&reduction));
            assert_eq!(all.tokens.layout.rows(), facts.prefix + kept, "{}", reduction.method());
            let logits = values(output.logits);
            for inferred in [values(all.logits), values(run(Pass::head(&reduction)).logits)] {
                for (a, b) in logits.iter().zip(inferred) {
                    let close = (a - b).abs() <= 1e-5 * (1.0 + a.abs());
                    assert!(close, "{} on {config:?}: {a} {b}", reduction.method());
                }
            }
            compared += 1;
        }
        assert!(compared >= 3, "{}: {compared} models were compared", (case.method)(0.0));
    }
}
