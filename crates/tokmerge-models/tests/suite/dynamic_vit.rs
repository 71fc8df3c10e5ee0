//! DynamicViT in whole models: what training computes is what inference does where both keep the same patches.

use crate::common::{input, noise, random, random_mergers, values};
use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use tokmerge_merge::{Merger, Mergers, Method, Reduction, TokenKind, Tokens, dynamic_vit};
use tokmerge_models::{Config, DropRates, Network, Output, Pass, Probe};

/// The policy of every block, as it leaves the block.
#[derive(Default)]
struct Policies(Vec<Option<Vec<f32>>>);

impl Probe for Policies {
    fn left(&mut self, _: usize, tokens: &Tokens) {
        self.0.push(tokens.policy.clone().map(values));
    }
}

fn method(keep: f64) -> Method {
    Method::DynamicVit(dynamic_vit::Options { keep, layers: Some(vec![2]) })
}

fn reduction(config: &Config, keep: f64, mergers: &Mergers) -> Reduction {
    let bound = Reduction::bind(method(keep), &config.facts()).unwrap_or_else(|error| panic!("{error}"));
    bound.with_mergers(mergers.clone())
}

/// Weights so decided that noise changes nothing, with this advantage for keeping.
fn decided(config: &Config, advantage: f32) -> Mergers {
    let device = Device::flex();
    let mut mergers = random_mergers(&method(0.5), config, &device);
    for (_, merger) in &mut mergers.at {
        let Merger::Predictor(predictor) = merger else { panic!("a predictor") };
        predictor.fc3.weight = Param::from_tensor(predictor.fc3.weight.val() * 1e5);
        let bias = TensorData::new(vec![advantage, 0.0], [2]);
        predictor.fc3.bias = Some(Param::from_tensor(Tensor::from_data(bias, &device)));
    }
    mergers
}

/// One image in training, and how many of its patches each block counted.
fn trained(model: &Network, pixels: &[f32], mergers: &Mergers) -> (Output, Vec<Option<usize>>) {
    let config = model.config();
    let (reduction, mut seen) = (reduction(config, 0.5, mergers), Policies::default());
    let pass = Pass::new(&reduction).training(DropRates::default()).probed(&mut seen);
    let output = model.run(input(config, pixels, &Device::flex()), pass);
    let prefix = config.facts().prefix;
    let counted = |policy: Option<Vec<f32>>| {
        policy.map(|policy| policy[prefix..].iter().filter(|kept| **kept == 1.0).count())
    };
    (output, seen.0.into_iter().map(counted).collect())
}

#[test]
fn training_computes_what_inference_does_with_the_patches_that_are_kept() {
    let mut compared = 0;
    for config in Config::examples() {
        let facts = config.facts();
        let fixed = facts.tokens_are == TokenKind::Patches && facts.joining.is_none();
        // Experts are chosen in another way in training.
        if !fixed || config.experts().is_some() || Reduction::bind(method(0.5), &facts).is_err() {
            continue;
        }
        let model = random(&config, 5, &Device::flex());
        let pixels = noise(config.shape().input.len(), 19);
        let patches = facts.tokens - facts.prefix;
        // The more keeping is favoured, the more patches are kept.
        let (mut low, mut high) = (-1e7_f32, 1e7_f32);
        let found = (0..60).find_map(|_| {
            let middle = f32::midpoint(low, high);
            let mergers = decided(&config, middle);
            let (output, counts) = trained(&model, &pixels, &mergers);
            let kept = counts[1].expect("a predictor stands before the second block");
            assert!(counts[0].is_none() && counts[1..].iter().all(|count| *count == Some(kept)));
            if (patches / 4..=3 * patches / 4).contains(&kept) {
                return Some((mergers, output, kept));
            }
            if kept < patches / 4 {
                low = middle
            } else {
                high = middle
            }
            None
        });
        let (mergers, output, kept) = found.unwrap_or_else(|| panic!("no threshold parts {config:?}"));
        let loss = values(output.auxiliary.expect("that of the kept part"))[0];
        let wanted = 2.0 * (kept as f32 / patches as f32 - 0.5).powi(2);
        assert!((loss - wanted).abs() < 1e-6, "{loss} {wanted}");
        // The head has seen what was kept.
        assert_eq!(output.tokens.layout.rows(), facts.prefix + kept);
        // A number of a grid's patches is rounded down, a part of other pictures' rounded up.
        let more = if facts.grid.is_some() { 0.5 } else { 0.0 };
        let keep = (kept as f64 + more) / patches as f64;
        let reduction = reduction(&config, keep, &mergers);
        let run = |pass: Pass<'_>| model.run(input(&config, &pixels, &Device::flex()), pass);
        let all = run(Pass::new(&reduction));
        assert_eq!(all.tokens.layout.rows(), facts.prefix + kept);
        let logits = values(output.logits);
        for inferred in [values(all.logits), values(run(Pass::head(&reduction)).logits)] {
            for (a, b) in logits.iter().zip(inferred) {
                assert!((a - b).abs() <= 1e-5 * (1.0 + a.abs()), "{config:?}: {a} {b}");
            }
        }
        compared += 1;
    }
    assert!(compared >= 4, "{compared} models were compared");
}
