//! Methods that learn how much to merge, in whole models: training computes what inference does.

use crate::common::{decided, input, noise, random, values};
use burn::tensor::Device;
use tokmerge_merge::{How, Method, Reduction, TokenKind};
use tokmerge_models::{Config, DropRates, Pass};

const LEARNED: [&str; 3] =
    ["ltmp:target=60%", "ltmp:target=60%,prop_attn=off,last=cls", "diffrate:target=60%"];

/// Masks of the last block are what its MLP and head see.
#[test]
fn training_computes_what_inference_does() {
    let device = Device::flex();
    for spec in LEARNED {
        let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
        let (mut compared, mut merged) = (0, 0);
        for config in Config::examples() {
            let facts = config.facts();
            // Experts are chosen in another way in training.
            let suits = facts.tokens_are != TokenKind::Words && config.experts().is_none();
            let Ok(reduction) = Reduction::bind(method.clone(), &facts) else { continue };
            if !suits {
                continue;
            }
            let model = random(&config, 5, &device).with_fresh_mergers(&method, &device);
            let model = decided(model, &device);
            let reduction = reduction.with_mergers(model.mergers().clone());
            let pixels = noise(2 * config.shape().input.len(), 19);
            let run = |pass: Pass<'_>| model.run(input(&config, &pixels, &device), pass);
            let trained = run(Pass::new(&reduction).training(DropRates::default()));
            let masked = trained.trace.records().iter().filter(|record| matches!(record.how, How::Masked(_)));
            assert_eq!(masked.count(), facts.depth, "{spec}: every block decides");
            assert!(trained.auxiliary.is_some());
            let inferred = run(Pass::new(&reduction));
            assert_eq!(trained.tokens.layout, inferred.tokens.layout, "{spec} on {config:?}");
            let logits = values(trained.logits);
            for inferred in [values(inferred.logits), values(run(Pass::head(&reduction)).logits)] {
                for (a, b) in logits.iter().zip(inferred) {
                    assert!((a - b).abs() <= 3e-5 * (1.0 + a.abs()), "{spec} on {config:?}: {a} {b}");
                }
            }
            compared += 1;
            merged += usize::from(inferred.trace.plan_until(None).is_some());
        }
        assert!(compared >= 4 && merged >= 3, "{spec}: {compared} {merged}");
    }
}
