use super::{Atm, BatchRule, Threshold};
use crate::methods::{At, Rule};
use crate::{
    Amount, Evidence, LastLayer, LayerTokens, Layout, Method, ModelFacts, Readout, Reduction, Tokens, Trace,
};
use burn::tensor::{Device, Tensor, TensorData};
use std::sync::Arc;

fn tensor(rows: &[[f32; 2]]) -> Tensor<2> {
    let flat: Vec<f32> = rows.iter().flatten().copied().collect();
    Tensor::from_data(TensorData::new(flat, [rows.len(), 2]), &Device::flex())
}

/// A unit vector at an angle in degrees: the cosine of two is that of the difference of their angles.
fn at(degrees: f32) -> [f32; 2] {
    [degrees.to_radians().cos(), degrees.to_radians().sin()]
}

/// Items whose tokens' keys point at angles; the first token of each is the class token.
fn items(angles: &[&[f32]], size: Option<&[f32]>) -> (Tokens, Evidence) {
    let rows: Vec<[f32; 2]> = angles.iter().flat_map(|item| item.iter().map(|angle| at(*angle))).collect();
    let lens: Vec<usize> = angles.iter().map(|item| item.len()).collect();
    let x = tensor(&rows);
    let size: Option<Arc<[f32]>> = size.map(Into::into);
    let evidence = Evidence { metric: Some(x.clone()), ..Evidence::default() };
    (Tokens { size, ..Tokens::new(x, Layout::from_lens(&lens), 1) }, evidence)
}

fn plan(spec: &str, layer: usize, (tokens, evidence): (Tokens, Evidence)) -> Option<crate::MergePlan> {
    let method: Method = spec.parse().unwrap();
    let rule = method.rule();
    let amount = rule.amounts(&ModelFacts::new(4, 9, 1)).unwrap()[layer];
    rule.plan(&At { layer, depth: 4, amount }, &tokens, evidence)
}

fn facts(readout: Readout) -> ModelFacts {
    ModelFacts { readout, ..ModelFacts::new(3, 6, 1) }
}

#[test]
fn thresholds_of_equation_1() {
    let thresholds = |alpha, beta, min| Threshold::Exponential { alpha, beta, min }.per_layer(12).unwrap();
    let printed: Vec<String> =
        thresholds(0.99, 0.04, 0.88).iter().take(5).map(|threshold| format!("{threshold:.3}")).collect();
    assert_eq!(printed, ["0.990", "0.949", "0.907", "0.880", "0.880"]);
    let slow = thresholds(1.0, 0.015, 0.8);
    assert!((slow[11] - (1.0 - (0.165_f64.exp() - 1.0))).abs() < 1e-12, "{slow:?}");
    assert_eq!(Threshold::PerLayer(vec![0.9]).per_layer(2).unwrap(), [0.9, 1.0]);
}

#[test]
fn nothing_merges_at_a_threshold_of_one_or_in_a_last_layer_of_which_only_the_class_token_is_read() {
    let atm = Atm::new(Threshold::PerLayer(vec![1.0, 0.5, 0.25]));
    let amounts = |readout| atm.amounts(&facts(readout)).unwrap();
    assert_eq!(amounts(Readout::Prefix), [Amount::NOTHING, Amount::Above(0.5), Amount::NOTHING]);
    assert_eq!(amounts(Readout::All), [Amount::NOTHING, Amount::Above(0.5), Amount::Above(0.25)]);
}

#[test]
fn models_that_average_their_patches_merge_in_the_last_layer_too() {
    let reduction = Reduction::bind("atm:theta=0.99".parse().unwrap(), &facts(Readout::All)).unwrap();
    // Nothing has merged yet, so the first half proposes to the second: 10 degrees to 11.
    let (tokens, evidence) = items(&[&[0.0, 10.0, 40.0, 11.0, 70.0, 99.0]], None);
    let mut trace = Trace::default();
    let tokens = reduction.apply(2, tokens, evidence, &mut trace);
    assert_eq!(tokens.layout, Layout::uniform(1, 5));
    assert_eq!(
        trace.layer_tokens(0, 6, 3)[2],
        LayerTokens { entered: 6, joined: 0, compared: 6, attended: 6, fed: 5 }
    );
}

#[test]
fn pairs_strictly_above_the_threshold_merge_and_the_order_is_that_of_tome() {
    // Positions 2 and 4 propose to 1, 3 and 5. 2 is one degree from 1, 4 is sixty from 3.
    let angles: &[f32] = &[0.0, 10.0, 11.0, 100.0, 160.0, 250.0];
    let found = plan("atm:theta=0.99,split=4", 0, items(&[angles], None)).unwrap();
    assert_eq!(found.groups(0), [0, 2, 2, 3, 1, 4].map(Some));
    // The same rows twice have a cosine of one or so; that is not above one.
    let equal: &[f32] = &[0.0, 10.0, 10.0, 10.0];
    assert_eq!(plan("atm:theta=1", 0, items(&[equal], None)), None);
    // Exactly at the threshold is not above it: orthogonal tokens and a threshold of 0.
    let (tokens, _) = items(&[&[0.0, 0.0, 90.0]], None);
    let evidence =
        Evidence { metric: Some(tensor(&[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])), ..Evidence::default() };
    assert_eq!(plan("atm:theta=0", 0, (tokens.clone(), evidence.clone())), None);
    assert!(plan("atm:theta=-0.1", 0, (tokens, evidence)).is_some());
}

#[test]
fn small_tokens_propose_to_large_ones_after_the_split() {
    let angles: &[f32] = &[0.0, 10.0, 11.0, 100.0, 101.0, 200.0];
    let sizes = [1.0, 5.0, 4.0, 1.0, 3.0, 1.0];
    // By size: 3, 5 | 4, 2, 1. The large neighbours 1 and 2 stay apart, 3 goes into 4.
    let found = plan("atm:theta=0.99,split=0", 0, items(&[angles], Some(&sizes))).unwrap();
    assert_eq!(found.groups(0), [0, 4, 3, 2, 2, 1].map(Some));
    // The default splits a model of four layers after the third.
    assert_eq!(Atm::new(Threshold::Constant(0.9)).split_of(4), 3);
    let alternating = plan("atm:theta=0.99", 2, items(&[angles], Some(&sizes))).unwrap();
    assert_eq!(alternating.groups(0), [0, 1, 1, 2, 2, 3].map(Some));
}

#[test]
fn every_image_has_its_own_number_of_tokens_and_keeps_its_order_where_nothing_merges() {
    let simple: &[f32] = &[0.0, 10.0, 11.0, 12.0, 13.0];
    let complex: &[f32] = &[0.0, 10.0, 60.0, 120.0, 180.0];
    let found = plan("atm:theta=0.99", 0, items(&[complex, simple, complex], None)).unwrap();
    assert_eq!(found.output().lens().collect::<Vec<_>>(), [5, 3, 5]);
    assert_eq!(found.groups(0), [0, 1, 2, 3, 4].map(Some));
    assert_eq!(plan("atm:theta=0.99", 0, items(&[complex, complex], None)), None);
}

#[test]
fn the_batch_average_is_rounded_down_and_the_same_for_all_images() {
    let simple: &[f32] = &[0.0, 10.0, 11.0, 12.0, 13.0];
    let complex: &[f32] = &[0.0, 10.0, 60.0, 120.0, 180.0];
    let lens = |angles: &[&[f32]]| {
        plan("atm:theta=0.99,batch=average", 0, items(angles, None))
            .map(|plan| plan.output().lens().collect::<Vec<_>>())
    };
    assert_eq!(lens(&[simple, complex]), Some(vec![4, 4]), "two of two and none of two: one each");
    assert_eq!(lens(&[simple, complex, complex]), None, "two thirds of a token are none");
    // A batch of one is the image by itself.
    for image in [simple, complex] {
        let alone = plan("atm:theta=0.99,batch=average", 0, items(&[image], None));
        assert_eq!(alone, plan("atm:theta=0.99", 0, items(&[image], None)));
    }
}

#[test]
fn only_the_prefix_goes_through_the_last_mlp_unless_the_output_needs_patches() {
    let run = |spec: &str, readout| {
        let reduction = Reduction::bind(spec.parse().unwrap(), &facts(readout)).unwrap();
        let image: &[f32] = &[0.0, 10.0, 11.0, 40.0, 70.0, 99.0];
        let (mut tokens, evidence) = items(&[image, image], None);
        let mut trace = Trace::default();
        for layer in 0..3 {
            let evidence = if layer == 0 { evidence.clone() } else { Evidence::default() };
            tokens = reduction.apply(layer, tokens, evidence, &mut trace);
        }
        (reduction.last_layer(), tokens, trace)
    };
    let spec = "atm:theta=[0.99]";
    let (last, tokens, trace) = run(spec, Readout::Prefix);
    assert_eq!((last, tokens.layout.clone()), (LastLayer::Prefix, Layout::uniform(2, 1)));
    assert_eq!(tokens.sizes().as_ref(), [1.0, 1.0]);
    let layers = trace.layer_tokens(1, 6, 3);
    assert_eq!(layers[0], LayerTokens { entered: 6, joined: 0, compared: 6, attended: 6, fed: 5 });
    assert_eq!(layers[2], LayerTokens { entered: 5, joined: 0, compared: 5, attended: 5, fed: 1 });
    assert_eq!(trace.tokens_left(1, 6), 5, "skipping the last MLP is not merging");
    for (spec, readout) in [(spec.to_owned(), Readout::All), (format!("{spec},last=keep"), Readout::Prefix)] {
        let (last, tokens, trace) = run(&spec, readout);
        assert_eq!((last, tokens.layout), (LastLayer::All, Layout::uniform(2, 5)), "{spec}");
        assert_eq!(trace.layer_tokens(0, 6, 3)[2].fed, 5);
    }
}

#[test]
fn how_many_tokens_are_left_is_not_known_beforehand_unless_nothing_merges() {
    let bind = |spec: &str| Reduction::bind(spec.parse().unwrap(), &facts(Readout::Prefix)).unwrap();
    assert_eq!(bind("atm:theta=0.9").expected_tokens(6, 3), None);
    let nothing = bind("atm:theta=1").expected_tokens(6, 3).unwrap();
    assert_eq!(nothing[2], LayerTokens { entered: 6, joined: 0, compared: 6, attended: 6, fed: 1 });
}

#[test]
fn wrong_options_say_what_is_right() {
    for (spec, expected) in [
        ("atm", "atm needs alpha, beta and min (or theta), e.g. atm:alpha="),
        ("atm:alpha=0.9,beta=0.1", "atm needs min"),
        ("atm:beta=0.1,min=0.8", "atm needs alpha"),
        ("atm:alpha=1.2,beta=0.1,min=0.8", "alpha=1.2 is not allowed; alpha takes a number from -1 to 1"),
        ("atm:alpha=nan,beta=0.1,min=0.8", "alpha=nan is not allowed"),
        ("atm:alpha=0.9,beta=-1,min=0.8", "beta takes a number from 0 to 10"),
        ("atm:theta=0.9,min=0.8", "leave out alpha, beta and min"),
        ("atm:theta=[0.9,2]", "or a list such as"),
        ("atm:theta=0.9,split=-1", "split takes a whole number from 0 to 1000"),
        ("atm:theta=0.9,batch=mean", "batch takes image, average"),
        ("atm:theta=0.9,last=class", "last takes cls, keep"),
        ("atm:theta=0.9,feature=x_pre", "feature takes k, q, v, x"),
        ("atm:theta=0.9,recheck=0", "recheck takes never, or a number above 0"),
    ] {
        let error = spec.parse::<Method>().unwrap_err().to_string();
        assert!(error.contains(expected), "{spec}: {error}");
    }
    for (spec, expected) in [
        ("atm:theta=0.9,split=4", "split=4 is beyond the model's 3 layers"),
        ("atm:theta=[0.9,0.9,0.9,0.9]", "lists 4 layers but the model has 3"),
    ] {
        let error = Reduction::bind(spec.parse().unwrap(), &facts(Readout::Prefix)).unwrap_err().to_string();
        assert!(error.contains(expected), "{spec}: {error}");
    }
}

#[test]
fn specs_read_back() {
    for spec in [
        "atm:alpha=0.98,beta=0.035,min=0.93",
        "atm:theta=0.9,split=2,batch=average,last=keep,feature=v,heads=concat,prop_attn=off",
        "atm:theta=[0.98,0.9],recheck=0.5",
    ] {
        let method: Method = spec.parse().unwrap();
        assert_eq!(method.to_string(), spec);
        let Method::Atm(atm) = &method else { panic!("{method:?}") };
        assert_eq!(atm.batch == BatchRule::Average, spec.contains("average"));
    }
}

#[test]
fn thresholds_are_turned_from_nothing_to_everything_in_their_shape() {
    let at = |spec: &str, dial| {
        let facts = ModelFacts::new(4, 197, 1);
        spec.parse::<Method>().unwrap().at_dial(dial, &facts).expect("a dial").to_string()
    };
    assert_eq!(at("atm:theta=0.9", 0.0), "atm:theta=1");
    assert_eq!(
        (at("atm:theta=0.9", 0.05), at("atm:theta=0.9", 1.0)),
        ("atm:theta=0.9".into(), "atm:theta=-1".into())
    );
    let list = "atm:theta=[0.9,1,0.8],split=2";
    assert_eq!(at(list, 0.0), "atm:theta=[1,1,1],split=2");
    // The lowest begins at 1, the highest ends at -1: from +0.2 to -1.9.
    assert_eq!(at(list, 0.1), "atm:theta=[0.89,1,0.79],split=2");
    assert_eq!(at(list, 1.0), "atm:theta=[-1,1,-1],split=2");
    assert_eq!(at("atm:alpha=0.9,beta=0.0,min=0.5", 0.1), "atm:theta=[0.8,0.8,0.8,0.8]");
}
