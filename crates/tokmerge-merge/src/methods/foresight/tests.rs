//! Cases by hand: tokens of two channels that point at angles, a class token in front. Of two channels a norm leaves only
//! which is larger, so that every token is foretold by a sign.

use super::{Foresight, Importance, losses};
use crate::methods::{At, Rule};
use crate::{
    Amount, Evidence, LastLayer, Layout, Limits, MatchShape, Merger, MergerShape, Mergers, Merging, Method,
    ModelFacts, Reduction, Tokens, Trace,
};
use burn::tensor::{Device, Tensor, TensorData};
use std::sync::Arc;

fn at(degrees: f32) -> [f32; 2] {
    [degrees.to_radians().cos(), degrees.to_radians().sin()]
}

fn item(angles: &[f32], size: Option<&[f32]>) -> Tokens {
    let rows: Vec<f32> = angles.iter().flat_map(|angle| at(*angle)).collect();
    let x = Tensor::from_data(TensorData::new(rows, [angles.len(), 2]), &Device::flex());
    let size: Option<Arc<[f32]>> = size.map(Into::into);
    Tokens { size, ..Tokens::new(x, Layout::uniform(1, angles.len()), 1) }
}

fn merging(spec: &str, tokens: &Tokens, scores: &[f32]) -> Option<Merging> {
    let method: Method = spec.parse().unwrap();
    let evidence =
        Evidence { metric: Some(tokens.x.clone()), scores: Some(scores.to_vec()), ..Evidence::default() };
    method.rule().merging(&At { layer: 0, depth: 3, amount: Amount::ByTokens }, tokens, evidence)
}

fn groups(spec: &str, tokens: &Tokens, scores: &[f32]) -> Option<Vec<Option<u32>>> {
    merging(spec, tokens, scores).map(|merging| merging.plan.groups(0).to_vec())
}

fn facts() -> ModelFacts {
    ModelFacts::new(3, 6, 1)
}

#[test]
fn pairs_merge_where_attention_times_size_times_distance_is_below_the_limit() {
    // Positions 2 and 4 propose to 1, 3 and 5: 2 to 1, sixty degrees off (1 - cos = 0.5), 4 to 5 at ninety (1).
    let tokens = item(&[0.0, 30.0, 90.0, 250.0, 150.0, 240.0], None);
    // Costs are (0.05 + 0.15) * 0.5 = 0.1 and (0.04 + 0.01) * 1 = 0.05.
    let scores = [9.0, 0.05, 0.15, 7.0, 0.04, 0.01];
    assert_eq!(groups("foresight:limit=0.04", &tokens, &scores), None);
    assert_eq!(groups("foresight:limit=0.06", &tokens, &scores), Some([0, 1, 2, 3, 4, 4].map(Some).to_vec()));
    assert_eq!(groups("foresight:limit=0.2", &tokens, &scores), Some([0, 1, 1, 2, 3, 3].map(Some).to_vec()));
    // A token of four times the size counts four times as much: 4 * 0.04 + 0.01 = 0.17.
    let larger = item(&[0.0, 30.0, 90.0, 250.0, 150.0, 240.0], Some(&[1.0, 1.0, 1.0, 1.0, 4.0, 1.0]));
    assert_eq!(groups("foresight:limit=0.15", &larger, &scores), Some([0, 1, 1, 2, 3, 4].map(Some).to_vec()));
}

#[test]
fn merged_tokens_are_averages_by_attention_times_size() {
    let tokens = item(&[0.0, 0.0, 90.0], Some(&[1.0, 2.0, 3.0]));
    // 3 * 0.5 of (0, 1) and 2 * 0.25 of (1, 0).
    let merged = merging("foresight:limit=9", &tokens, &[1.0, 0.25, 0.5]).unwrap().apply(tokens);
    let values: Vec<f32> = merged.x.clone().into_data().iter::<f32>().collect();
    let close = |a: f32, b: f32| (a - b).abs() < 1e-6;
    assert!(close(values[2], 0.25) && close(values[3], 0.75), "{values:?}");
    assert_eq!(merged.sizes().as_ref(), [1.0, 5.0]);
}

#[test]
fn what_is_no_number_does_not_merge() {
    let tokens = item(&[0.0, 10.0, 10.0, 90.0, 91.0], None);
    let scores = [1.0, 1.0, f32::NAN, 1.0, 1.0];
    assert_eq!(groups("foresight:limit=9", &tokens, &scores), Some([0, 1, 2, 3, 3].map(Some).to_vec()));
}

#[test]
fn attention_is_foretold_by_a_linear_map_of_the_norm() {
    // Normalised, [3, 1] is [1, -1] and [1, 3] is [-1, 1]; a constant token is 0.
    let rows = TensorData::new(vec![3.0f32, 1.0, 1.0, 3.0, 2.0, 2.0, f32::NAN, 1.0], [4, 2]);
    let x = Tensor::from_data(rows, &Device::flex());
    let tokens = Tokens::new(x, Layout::uniform(1, 4), 0);
    let importance = Importance::fitted(&[0.5, -0.25], 1.0, &Device::flex());
    let foretold = importance.of(&tokens);
    for (foretold, log) in foretold.iter().zip([1.75f32, 0.25, 1.0, 0.0]) {
        assert!((foretold - log.exp()).abs() < 1e-3, "{foretold} {log}");
    }
    let far = Importance::fitted(&[0.0, 0.0], 500.0, &Device::flex()).of(&tokens);
    assert!(far.iter().all(|foretold| foretold.is_finite()), "{far:?}");
}

#[test]
fn weights_of_the_block_say_what_merges_in_it() {
    // In the first block every token counts e^-4, in the second e^4: twenty degrees of two tokens cost 0.002 and 6.6.
    let mergers = |bias: f32| Merger::Importance(Importance::fitted(&[0.0, 0.0], bias, &Device::flex()));
    let reduction = Reduction::bind("foresight:limit=0.1".parse().unwrap(), &facts()).unwrap();
    let reduction = reduction.with_mergers(Mergers { at: vec![(0, mergers(-4.0)), (1, mergers(4.0))] });
    let tokens = item(&[0.0, 0.0, 20.0, 40.0], None);
    let evidence = || Evidence { metric: Some(tokens.x.clone()), ..Evidence::default() };
    let mut trace = Trace::default();
    let after = reduction.apply(0, tokens.clone(), evidence(), &mut trace);
    assert_eq!(after.layout, Layout::uniform(1, 3));
    let untouched = reduction.apply(1, tokens.clone(), evidence(), &mut trace);
    assert_eq!(untouched.layout, tokens.layout);
}

#[test]
fn what_pairs_would_cost_can_be_asked() {
    let tokens = item(&[0.0, 30.0, 90.0, 250.0, 150.0, 240.0], Some(&[1.0, 1.0, 2.0, 1.0, 1.0, 1.0]));
    let mut found = losses(0, &tokens, &Importance::fitted(&[0.0, 0.0], 0.0, &Device::flex()));
    found.sort_by(f32::total_cmp);
    assert_eq!(found.len(), 2);
    // At a cosine of 0.5, of sizes one and two, and of 0, of two tokens of size one.
    assert!((found[0] - 1.5).abs() < 1e-6 && (found[1] - 2.0).abs() < 1e-6, "{found:?}");
}

#[test]
fn nothing_merges_at_a_limit_of_zero_or_in_the_last_layer() {
    let amounts = |limit| Foresight::new(limit).amounts(&facts()).unwrap();
    let some = Amount::ByTokens;
    assert_eq!(amounts(Limits::Constant(0.5)), [some, some, Amount::NOTHING]);
    assert_eq!(amounts(Limits::PerLayer(vec![0.0, 0.5, 0.5])), [Amount::NOTHING, some, Amount::NOTHING]);
    let reduction = Reduction::bind("foresight:limit=0".parse().unwrap(), &facts()).unwrap();
    assert_eq!(reduction.last_layer(), LastLayer::Prefix);
    assert!(reduction.expected_tokens(6, 3).is_some());
}

#[test]
fn weights_stand_in_every_block_but_the_last_and_are_counted() {
    let method: Method = "foresight:limit=[0,0.5]".parse().unwrap();
    assert_eq!(method.mergers_before(3), [0, 1]);
    assert!(method.has_weights() && !method.mixes());
    let shape = MergerShape { depth: 3, channels: 8, joining: None };
    assert_eq!(method.parameters(shape), 2 * (3 * 8 + 1));
    assert_eq!(Mergers::new(&method, shape, &Device::flex()).parameters(), 2 * (3 * 8 + 1));
    // 3 * 2 pairs of five tokens, and the tokens themselves.
    let at =
        |amount| MatchShape { layer: 1, depth: 3, tokens: 5, prefix: 1, head_dim: 4, channels: 8, amount };
    assert_eq!(method.rule().matching_macs(at(Amount::ByTokens)), (6 + 5) as f64 * 8.0);
    assert_eq!(method.rule().matching_macs(at(Amount::NOTHING)), 0.0);
}

#[test]
fn limits_are_turned_in_their_proportion() {
    let turned =
        |spec: &str, dial: f64| spec.parse::<Method>().unwrap().at_dial(dial, &facts()).unwrap().to_string();
    assert_eq!(turned("foresight:limit=0.05", 0.0), "foresight:limit=0");
    assert_eq!(turned("foresight:limit=0.05", 0.1), "foresight:limit=0.01");
    assert_eq!(turned("foresight:limit=[0,0.02,0.1]", 0.1), "foresight:limit=[0,0.002,0.01]");
    assert_eq!(turned("foresight:limit=0.05,last=keep", 1.0), "foresight:limit=100,last=keep");
}

#[test]
fn specs_read_back_and_wrong_ones_are_refused() {
    for spec in ["foresight:limit=0.05", "foresight:limit=[0,0,0.04],prop_attn=off,last=keep,recheck=0.5"] {
        assert_eq!(spec.parse::<Method>().unwrap().to_string(), spec);
    }
    for (spec, expected) in [
        ("foresight", "foresight needs limit, e.g. foresight:limit=0.05"),
        ("foresight:limit=-1", "limit takes a number from 0 to 1000, or a list such as"),
        ("foresight:limit=nan", "limit=nan is not allowed"),
        ("foresight:limit=[0.1,x]", "or a list such as"),
    ] {
        let error = spec.parse::<Method>().unwrap_err().to_string();
        assert!(error.contains(expected), "{spec}: {error}");
    }
    let error =
        Reduction::bind("foresight:limit=[1,1,1,1]".parse().unwrap(), &facts()).unwrap_err().to_string();
    assert!(error.contains("lists 4 layers but the model has 3"), "{error}");
}
