//! Cases by hand.

use super::IdleVit;
use crate::{
    Amount, BindError, DROPPED, Evidence, Layout, Leading, MergePlan, Method, ModelFacts, Reduction, Softmax,
    Tokens, Trace, Wants,
};
use burn::tensor::{Device, Tensor, TensorData};

fn deit() -> ModelFacts {
    ModelFacts { grid: Some((14, 14)), ..ModelFacts::new(12, 197, 1) }
}

fn bound(spec: &str, facts: &ModelFacts) -> Result<Reduction, BindError> {
    Reduction::bind(spec.parse().unwrap_or_else(|error| panic!("{error}")), facts)
}

/// Tokens that the blocks work on.
fn worked(spec: &str, facts: &ModelFacts) -> Vec<usize> {
    let tokens = bound(spec, facts).expect("fits").expected_tokens(facts.tokens, facts.depth);
    tokens.expect("known").iter().map(|layer| layer.attended).collect()
}

#[test]
fn each_block_works_on_the_best_and_what_was_idle_may_return() {
    let facts = ModelFacts { grid: Some((2, 2)), ..ModelFacts::new(3, 5, 1) };
    let reduction = bound("idle_vit:keep=50%,layer=1", &facts).expect("fits");
    let x: Vec<f32> = (0..7).map(|row| row as f32 * 10.0).collect();
    let x = Tensor::from_data(TensorData::new(x, [7, 1]), &Device::flex());
    let (mut tokens, mut trace) = (Tokens::new(x, Layout::from_lens(&[5, 2]), 1), Trace::default());
    // Logits may be negative, and ties go to the first.
    for (layer, logits) in [
        [9.0, -1.0, 2.0, -3.0, 5.0, 0.0, -8.0],
        [0.0, -1.0, -1.0, -1.0, -2.0, 0.0, 1.0],
        [0.0, f32::NAN, -7.0, 4.0, -9.0, 0.0, 0.0],
    ]
    .into_iter()
    .enumerate()
    {
        assert!(reduction.wants_logits(layer) && reduction.wants(layer) == Wants::default());
        let told = Evidence { logits: Some(logits.to_vec()), ..Evidence::default() };
        let (entered, held) = reduction.enter(layer, tokens, told, &mut trace);
        let left = entered.clone().with(entered.x + 1.0);
        tokens = reduction.leave(reduction.apply(layer, left, Evidence::default(), &mut trace), held);
    }
    // The patches 2 and 4, then 1 and 2, then 3 and 2.
    let all: Vec<f32> = tokens.x.clone().into_data().iter::<f32>().collect();
    assert_eq!(all, [3.0, 11.0, 23.0, 31.0, 41.0, 53.0, 63.0]);
    assert_eq!((tokens.size, tokens.standing, trace.plan_until(None)), (None, None, None));
    assert!(trace.layer_tokens(0, 5, 3).iter().all(|layer| (layer.entered, layer.fed) == (5, 3)));
    assert!(trace.layer_tokens(1, 2, 3).iter().all(|layer| (layer.entered, layer.fed) == (2, 2)));
    assert!(!reduction.replaying(&trace).wants_logits(1), "what is repeated asks nothing");
}

#[test]
fn stages_keep_ever_smaller_parts_of_all() {
    let parts = |counts: [usize; 4]| [197, 138, 97, 68].into_iter().zip(counts);
    let layers = |counts| -> Vec<usize> {
        parts(counts).flat_map(|(tokens, count)| std::iter::repeat_n(tokens, count)).collect()
    };
    assert_eq!(worked("idle_vit:keep=70%", &deit()), layers([3, 3, 3, 3]));
    assert_eq!(worked("idle_vit:keep=70%,layer=[5,8,11]", &deit()), layers([4, 3, 3, 2]));
    assert_eq!(worked("idle_vit:keep=70%,layer=9", &deit()), layers([8, 4, 0, 0]));
    // Of pictures of their own sizes a part, rounded up: .7 of 196 are 137.2.
    let amounts = bound("idle_vit:keep=70%", &ModelFacts { grid: None, ..deit() }).expect("fits");
    assert_eq!(amounts.amounts()[3].of(197, 1), Some(196 - 138));
    assert!(
        bound("idle_vit:keep=100%", &deit()).expect("fits").amounts().iter().all(|a| *a == Amount::NOTHING)
    );
}

#[test]
fn keys_of_the_idle_and_a_query_are_what_choosing_costs() {
    let reduction = bound("idle_vit:keep=70%", &deit()).expect("fits");
    // 59 of 197 are idle: their norm, at 5 an element, and keys; one query, and its product with all keys.
    let width = 384.0;
    let wanted = 59.0 * (5.0 * width + width * width) + width * width + 197.0 * width;
    assert!((reduction.matching_macs(3, 197, 64, 384) - wanted).abs() < 0.5);
    assert_eq!(reduction.matching_macs(2, 197, 64, 384), 0.0);
}

/// Two heads whose mean is .5 .2 .1 .2, .25 .25 .25 .25, .4 .3 .2 .1 and 1/4 everywhere; the class token and the second patch work. Of the
/// class token's row .6 are among these, of the patch's .6 too: `inter` is .4 of both. By hand, with the weights of a row's columns for
/// gradients: of what is idle `2 inter / 4`, of what is chosen `2 (intra - 1) / 4`, halved for the heads.
#[test]
fn the_cut_counts_what_the_chosen_attend_to_among_the_idle() {
    let device = Device::flex().autodiff();
    let mean = [0.5f32, 0.2, 0.1, 0.2, 0.25, 0.25, 0.25, 0.25, 0.4, 0.3, 0.2, 0.1, 0.25, 0.25, 0.25, 0.25];
    let heads: Vec<f32> = [0.05f32, -0.05].iter().flat_map(|more| mean.map(|value| value + more)).collect();
    let map = Tensor::<3>::from_data(TensorData::new(heads, [2, 4, 4]), &device).require_grad();
    let (all, left) = (Layout::uniform(1, 4), Layout::uniform(1, 2));
    let plan = MergePlan::new([0, DROPPED, 1, DROPPED], [0, 2], all, left).expect("a plan");
    let facts = ModelFacts { grid: Some((1, 3)), ..ModelFacts::new(4, 4, 1) };
    // Three of four blocks choose.
    let reduction = bound("idle_vit:keep=70%,layer=2,cut=3", &facts).expect("fits");
    assert!(
        reduction.teaches_softmax() && !bound("idle_vit:keep=70%", &deit()).expect("fits").teaches_softmax()
    );
    let loss = reduction.softmax_loss(std::slice::from_ref(&map), &plan);
    let gradient = map.grad(&loss.clone().backward()).expect("a gradient");
    let wanted = (2.0 * 0.4f32.powi(2) + 2.0 * 0.4f32.powi(2)) / 4.0;
    assert!((loss.into_scalar::<f32>() - wanted).abs() < 1e-6, "{wanted}");
    let gradient: Vec<f32> = gradient.into_data().iter::<f32>().collect();
    let row = [-0.1f32, 0.1, -0.1, 0.1];
    for (index, found) in gradient.iter().enumerate() {
        let wanted = if [0, 2].contains(&(index / 4 % 4)) { row[index % 4] } else { 0.0 };
        assert!((found - wanted).abs() < 1e-6, "{index}: {found} {wanted}");
    }
}

#[test]
fn options_read_back_and_what_makes_no_sense_is_refused() {
    let spec = "idle_vit:keep=70%,layer=[5,8,11],cut=20,recheck=1";
    assert_eq!(spec.parse::<Method>().expect("a spec").to_string(), spec);
    assert_eq!("idle_vit:keep=70%".parse(), Ok(Method::IdleVit(IdleVit::new(0.7))));
    for (spec, fragment) in [
        ("idle_vit", "idle_vit needs keep"),
        ("idle_vit:keep=0.7", "a share above 0% and up to 100%"),
        ("idle_vit:keep=70%,layer=[5,5]", "layer 5 is listed twice"),
    ] {
        let error = spec.parse::<Method>().unwrap_err().to_string();
        assert!(error.contains(fragment), "{error}");
    }
    let refused = |facts: &ModelFacts| bound("idle_vit:keep=70%", facts).unwrap_err().to_string();
    let error = refused(&ModelFacts { softmax: Softmax::Closed, ..deit() });
    assert!(error.contains("queries and keys of a block before that attends"), "{error}");
    let error = refused(&ModelFacts { leading: Leading::Other, ..deit() });
    assert!(error.contains("this model has none in front"), "{error}");
}
