//! Cases by hand.

use super::{EvoVit, Selection};
use crate::{
    Amount, AttentionMap, BindError, Evidence, Layout, Leading, MapQueries, Method, ModelFacts, Reduction,
    Tokens, Trace, Wants,
};
use burn::tensor::{Device, Tensor, TensorData};

/// What the class token of each item attends to, head by head.
fn maps(rows: &[[&[f32]; 2]]) -> Evidence {
    let map = |[first, second]: &[&[f32]; 2]| AttentionMap {
        heads: 2,
        queries: 1,
        keys: first.len(),
        values: [*first, *second].concat(),
    };
    Evidence { maps: Some(rows.iter().map(map).collect()), ..Evidence::default() }
}

fn values(tokens: &Tokens) -> Vec<f32> {
    tokens.x.clone().into_data().iter::<f32>().collect()
}

/// Of a model of `depth` blocks for a class token and four patches.
fn bound(spec: &str, depth: usize) -> Result<Reduction, BindError> {
    let facts = ModelFacts { grid: Some((2, 2)), ..ModelFacts::new(depth, 5, 1) };
    Reduction::bind(spec.parse().unwrap_or_else(|error| panic!("{error}")), &facts)
}

/// A batch of an item of five tokens and one of two, the second number of each its place.
fn batch() -> Tokens {
    let x: Vec<f32> = (0..7).map(|row| row as f32 * 10.0).collect();
    let x = Tensor::from_data(TensorData::new(x, [7, 1]), &Device::flex());
    Tokens::new(x, Layout::from_lens(&[5, 2]), 1)
}

/// Blocks that add 1 to what they work on, and have attended as these say. Returns after each block all tokens.
fn run(reduction: &Reduction, evidence: &[Evidence]) -> (Vec<Tokens>, Trace) {
    let (mut tokens, mut trace, mut all) = (batch(), Trace::default(), Vec::new());
    for (layer, evidence) in evidence.iter().enumerate() {
        let (entered, held) = reduction.enter(layer, tokens, Evidence::default(), &mut trace);
        let attended = entered.clone().with(entered.x + 1.0);
        let left = reduction.apply(layer, attended, evidence.clone(), &mut trace);
        tokens = reduction.leave(left, held);
        all.push(tokens.clone());
    }
    (all, trace)
}

/// Two heads; of the patches 1 to 4 the sums are .6, .5, .7 and .1.
const FULL: [&[f32]; 2] = [&[0.1, 0.4, 0.2, 0.3, 0.0], &[0.0, 0.2, 0.3, 0.4, 0.1]];
/// The second item has one patch, which never waits.
const SHORT: [&[f32]; 2] = [&[0.5, 0.5], &[0.5, 0.5]];
/// Of the class token and the patches 1 and 3, which work: the sums are 1.2 and .2.
const STAGE: [&[f32]; 2] = [&[0.2, 0.7, 0.1], &[0.4, 0.5, 0.1]];

#[test]
fn a_stage_works_on_what_matters_and_the_next_chooses_by_the_running_mean() {
    let reduction = bound("evo_vit:keep=50%,layer=[2,4]", 4).expect("fits");
    let evidence = [maps(&[FULL, SHORT]), maps(&[STAGE, SHORT]), maps(&[STAGE, SHORT]), Evidence::default()];
    let (all, trace) = run(&reduction, &evidence);
    let standing = |layer: usize| all[layer].standing.clone().expect("remembered");
    let near = |found: &[f32], wanted: [f32; 4]| {
        found[1..5].iter().zip(wanted).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{found:?}"));
    };
    near(&standing(0).scores, [0.6, 0.5, 0.7, 0.1]);
    // Half of the old and half of the new, of those that worked: (.6 + 1.2) / 2, (.7 + .2) / 2, and again.
    near(&standing(1).scores, [0.9, 0.5, 0.45, 0.1]);
    near(&standing(2).scores, [1.05, 0.5, 0.325, 0.1]);
    // The first stage, two blocks long, works on the patches 1 and 3, though 2 has overtaken 3 after the first; then 1 and 2.
    let plan = |layer| {
        let step = crate::Step { layer, site: crate::Site::AroundBlock };
        trace.plan_at(step).map(|plan| plan.representative().to_vec())
    };
    assert_eq!(
        [0, 1, 2, 3].map(plan),
        [None, Some(vec![0, 1, 3, 5, 6]), Some(vec![0, 1, 3, 5, 6]), Some(vec![0, 1, 2, 5, 6])]
    );
    // Class tokens and the short item have gone through four blocks, patch 4 through the first alone.
    assert_eq!(values(&all[3]), [4.0, 14.0, 22.0, 33.0, 41.0, 54.0, 64.0]);
    assert!(all.iter().all(|tokens| tokens.layout == batch().layout && tokens.size.is_none()));
    // Every token is itself, and none has merged.
    assert_eq!((trace.plan_until(None), trace.tokens_left(0, 5)), (None, 5));
    let worked: Vec<usize> = trace.layer_tokens(0, 5, 4).iter().map(|layer| layer.attended).collect();
    assert_eq!(worked, [5, 3, 3, 3]);
}

#[test]
fn it_may_choose_before_each_layer() {
    let reduction = bound("evo_vit:keep=50%,layer=2,select=layer", 3).expect("fits");
    let evidence = [maps(&[FULL, SHORT]), maps(&[STAGE, SHORT]), Evidence::default()];
    let (all, _) = run(&reduction, &evidence);
    assert_eq!(values(&all[2])[..5], [3.0, 13.0, 22.0, 32.0, 41.0]);
    let asked = |reduction: &Reduction, depth| -> Vec<usize> {
        (0..depth).filter(|layer| reduction.wants(*layer) != Wants::default()).collect()
    };
    assert_eq!(asked(&reduction, 3), [0, 1]);
    // Only what a later stage chooses by is asked for.
    let stages = bound("evo_vit:keep=50%,layer=[3,6]", 8).expect("fits");
    assert_eq!(asked(&stages, 8), [1, 2, 3, 4]);
    assert_eq!(stages.wants(1).maps, Some(MapQueries::First));
    assert!(asked(&bound("evo_vit:keep=100%", 8).expect("fits"), 8).is_empty());
}

#[test]
fn by_default_stages_begin_after_each_third_and_keep_a_part_of_all() {
    let facts = ModelFacts { grid: Some((14, 14)), ..ModelFacts::new(12, 197, 1) };
    let left = |spec: &str| -> Vec<usize> {
        let reduction = Reduction::bind(spec.parse().expect("a spec"), &facts).expect("fits");
        reduction.expected_tokens(197, 12).expect("known").iter().map(|layer| layer.attended).collect()
    };
    assert_eq!(left("evo_vit:keep=50%"), [[197; 4].to_vec(), vec![99; 8]].concat());
    assert_eq!(left("evo_vit:keep=70%,layer=9"), [[197; 8].to_vec(), vec![138; 4]].concat());
    let starts = |depth| EvoVit::new(0.5).starts(depth).expect("fits");
    assert_eq!((starts(24), starts(5), starts(3)), (vec![9, 17], vec![2, 4], vec![2, 3]));
    assert_eq!((starts(2), starts(1), starts(0)), (vec![2], vec![], vec![]));
    let whole = Reduction::bind("evo_vit:keep=100%".parse().expect("a spec"), &facts).expect("fits");
    assert!(whole.amounts().iter().all(|amount| *amount == Amount::NOTHING));
}

#[test]
fn options_read_back_and_what_makes_no_sense_is_refused() {
    let spec = "evo_vit:keep=62.5%,layer=[3,5],select=layer,recheck=0.5";
    let method: Method = spec.parse().expect("a spec");
    assert_eq!(method.to_string(), spec);
    let Method::EvoVit(evo) = &method else { panic!("{method:?}") };
    assert_eq!((evo.keep, evo.select), (0.625, Selection::Layer));
    assert_eq!("evo_vit:keep=50%".parse(), Ok(Method::EvoVit(EvoVit::new(0.5))));
    for (spec, fragment) in [
        ("evo_vit", "evo_vit needs keep"),
        ("evo_vit:keep=0%", "a share above 0% and up to 100%"),
        ("evo_vit:keep=50%,layer=[4,4]", "layer 4 is listed twice"),
        ("evo_vit:keep=50%,select=block", "stage, layer"),
    ] {
        let error = spec.parse::<Method>().unwrap_err().to_string();
        assert!(error.contains(fragment), "{error}");
    }
    let error = |spec| bound(spec, 4).unwrap_err().to_string();
    assert!(error("evo_vit:keep=50%,layer=1").contains("begin with layer 2"));
    assert!(error("evo_vit:keep=50%,layer=5").contains("there is no layer 5"));
    let headless = ModelFacts { leading: Leading::Other, ..ModelFacts::new(4, 5, 0) };
    let refused = Reduction::bind("evo_vit:keep=50%".parse().expect("a spec"), &headless).unwrap_err();
    assert!(refused.to_string().contains("this model has none in front"), "{refused}");
}
