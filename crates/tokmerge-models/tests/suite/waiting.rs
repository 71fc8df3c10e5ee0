//! Methods whose tokens wait, in whole models: who is chosen, by what, and what becomes of the others.

use crate::common::{gradients_of, input, noise, random, values};
use burn::tensor::{Device, Gradients, Tensor};
use std::collections::BTreeMap;
use tokmerge_merge::{Evidence, MergePlan, Reduction, Site, Step, Tokens, Trace};
use tokmerge_models::{DropRates, Network, Pass, Probe, VitConfig};

const ITEMS: usize = 3;
const PATCHES: usize = 15;
const DEPTH: usize = 6;

fn config() -> VitConfig {
    let mut config = VitConfig { num_classes: 5, img_size: (12, 20), ..VitConfig::new(4, 24, DEPTH, 3) };
    config.block.mlp.hidden = 40;
    config
}

fn bound(spec: &str) -> Reduction {
    let facts = tokmerge_models::Config::from(config()).facts();
    assert_eq!((facts.tokens, facts.prefix), (1 + PATCHES, 1));
    Reduction::bind(spec.parse().unwrap_or_else(|error| panic!("{error}")), &facts).expect("fits")
}

fn pixels() -> Vec<f32> {
    noise(ITEMS * 3 * 12 * 20, 41)
}

/// All tokens after each block, and what each has reported of the class token's attention, summed over the heads.
#[derive(Default)]
struct Seen {
    left: Vec<Vec<f32>>,
    attended: Vec<Option<Vec<Vec<f32>>>>,
}

impl Probe for Seen {
    fn attended(&mut self, _: usize, _: &Tokens, evidence: &Evidence) {
        self.attended.push(evidence.maps.as_ref().map(|maps| {
            let of = |map: &tokmerge_merge::AttentionMap| -> Vec<f32> {
                map.mean_row(0).iter().map(|mean| mean * map.heads as f32).collect()
            };
            maps.iter().map(of).collect()
        }));
    }

    fn left(&mut self, _: usize, tokens: &Tokens) {
        self.left.push(values(tokens.x.clone()));
    }
}

fn seen(model: &Network, reduction: &Reduction) -> (Seen, Trace) {
    let mut seen = Seen::default();
    let input = input(model.config(), &pixels(), &Device::flex());
    let output = model.run(input, Pass::new(reduction).probed(&mut seen));
    (seen, output.trace)
}

fn plan(trace: &Trace, layer: usize) -> &MergePlan {
    trace.plan_at(Step { layer, site: Site::AroundBlock }).expect("some wait")
}

/// How many tokens of an item each block works on.
fn attended(trace: &Trace, item: usize) -> Vec<usize> {
    trace.layer_tokens(item, 1 + PATCHES, DEPTH).iter().map(|layer| layer.attended).collect()
}

/// The places of the tokens of an item that a block works on.
fn working(plan: &MergePlan, item: usize) -> Vec<usize> {
    plan.groups(item).iter().enumerate().filter_map(|(place, group)| group.map(|_| place)).collect()
}

/// The class token and the best of the patches, ascending.
fn best(scores: &[f32], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (1..scores.len()).collect();
    places.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    places.truncate(count);
    places.push(0);
    places.sort_unstable();
    places
}

#[test]
fn evo_vit_follows_the_running_mean_of_class_attention_stage_by_stage() {
    let model = random(&config(), 3, &Device::flex());
    let (seen, trace) = seen(&model, &bound("evo_vit:keep=40%,layer=[3,5]"));
    let asked: Vec<bool> = seen.attended.iter().map(Option::is_some).collect();
    assert_eq!(asked, [false, true, true, true, false, false]);
    let mut changed = 0;
    for item in 0..ITEMS {
        let of = |layer: usize| &seen.attended[layer].as_ref().expect("asked")[item];
        let mut scores = of(1).clone();
        assert!((scores.iter().sum::<f32>() - 3.0).abs() < 1e-5, "three heads");
        let first = best(&scores, 6);
        for layer in [2, 3] {
            assert_eq!(working(plan(&trace, layer), item), first);
            for (place, attended) in first.iter().zip(of(layer)) {
                scores[*place] = 0.5 * scores[*place] + 0.5 * attended;
            }
        }
        let second = best(&scores, 6);
        changed += usize::from(first != second);
        for layer in [4, 5] {
            assert_eq!(working(plan(&trace, layer), item), second);
        }
        assert_eq!(attended(&trace, item), [16, 16, 7, 7, 7, 7]);
    }
    assert!(changed > 0, "a second stage that is the first would pass this test");
    unchanged_where_it_waits(&seen, &trace, 2);
    assert_eq!((trace.plan_until(None), trace.plan_until(Some(2))), (None, None), "all are themselves");
}

#[test]
fn idle_vit_chooses_in_each_block_and_the_idle_may_return() {
    let model = random(&config(), 3, &Device::flex());
    let (seen, trace) = seen(&model, &bound("idle_vit:keep=60%,layer=[2,5]"));
    assert!(seen.attended.iter().all(Option::is_none), "nobody asks for softmaxes");
    let mut returned = 0;
    for item in 0..ITEMS {
        assert_eq!(attended(&trace, item), [16, 10, 10, 10, 6, 6]);
        let of = |layer| working(plan(&trace, layer), item);
        returned +=
            (2..DEPTH).filter(|layer| of(*layer).iter().any(|place| !of(layer - 1).contains(place))).count();
    }
    assert!(returned > 0, "tokens that never return would pass this test");
    unchanged_where_it_waits(&seen, &trace, 1);
}

/// Bit for bit, in every block from `first` on, while everything else changes.
fn unchanged_where_it_waits(seen: &Seen, trace: &Trace, first: usize) {
    for layer in first..DEPTH {
        let plan = plan(trace, layer);
        let [before, after] = [layer - 1, layer].map(|layer| seen.left[layer].chunks(24).collect::<Vec<_>>());
        for (row, dst) in plan.dst().iter().enumerate() {
            assert_eq!(
                before[row] == after[row],
                *dst == tokmerge_merge::DROPPED,
                "layer {layer}, row {row}"
            );
        }
    }
}

/// Over stages of several blocks, each of which runs a second time.
#[test]
fn gradients_by_block_are_those_of_the_whole_while_tokens_wait() {
    let device = Device::flex().autodiff();
    let model = random(&config(), 3, &device);
    let input = || input(model.config(), &pixels(), &device);
    let weighted = |logits: Tensor<2>| (logits.clone() * logits).sum();
    for (spec, training) in [
        ("evo_vit:keep=40%,layer=[3,5]", None),
        ("evo_vit:keep=60%,layer=2,select=layer", None),
        ("idle_vit:keep=50%,layer=2", None),
        ("idle_vit:keep=50%,layer=[2,4],cut=20", Some(DropRates::default())),
    ] {
        let reduction = bound(spec);
        let mut whole = BTreeMap::new();
        let pass = Pass::new(&reduction);
        let pass = training.map_or(Pass::head(&reduction), |training| pass.training(training));
        let output = model.run(input(), pass);
        assert_eq!(output.auxiliary.is_some(), training.is_some(), "{spec}");
        let loss = output.auxiliary.into_iter().fold(weighted(output.logits), |loss, more| loss + more);
        whole.extend(gradients_of(&model, &loss.backward()));
        let mut parts: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        let mut found = |grads: Gradients| {
            for (path, (_, values)) in gradients_of(&model, &grads) {
                let sum = parts.entry(path).or_insert_with(|| vec![0.0; values.len()]);
                sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
        };
        let _ = model.gradients_by_block(
            input(),
            &reduction,
            training,
            1.0,
            |output| weighted(output.logits.clone()),
            &mut found,
        );
        assert_eq!(whole.len(), parts.len());
        for (path, (_, values)) in &whole {
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4 * (1.0 + a.abs());
            assert!(values.iter().zip(&parts[path]).all(near), "{spec}: {path}");
        }
    }
}
