//! Cases worked out by hand.

use super::TokenTransforming;
use crate::{
    AttentionMap, BindError, Evidence, How, Layout, Leading, Method, ModelFacts, PositionUse, Reduction,
    Tokens, Trace,
};
use burn::tensor::{Device, Tensor, TensorData};

fn tensor(values: &[f32], columns: usize) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len() / columns, columns]), &Device::flex())
}

fn tokens(values: &[f32], lens: &[usize]) -> Tokens {
    Tokens::new(tensor(values, 1), Layout::from_lens(lens), 1)
}

fn evidence(metric: &[f32], rows: &[&[f32]]) -> Evidence {
    let map =
        |row: &&[f32]| AttentionMap { heads: 2, queries: 1, keys: row.len(), values: [*row, *row].concat() };
    Evidence {
        metric: Some(tensor(metric, 2)),
        maps: Some(rows.iter().map(map).collect()),
        ..Evidence::default()
    }
}

fn bound(spec: &str) -> Reduction {
    let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
    Reduction::bind(method, &ModelFacts::new(4, 6, 1)).unwrap_or_else(|error| panic!("{error}"))
}

fn values(tokens: &Tokens) -> Vec<f32> {
    tokens.x.clone().into_data().iter::<f32>().collect()
}

fn close(given: &[f32], wanted: &[f32]) {
    assert_eq!(given.len(), wanted.len(), "{given:?} {wanted:?}");
    assert!(given.iter().zip(wanted).all(|(x, y)| (x - y).abs() < 1e-5), "{given:?} is not {wanted:?}");
}

/// `3^cos`: what is like a kept token goes into it with 3 parts of 4, what is between both with halves.
const THIRDS: &str = "token_transforming:keep=50%,layer=2,tau=0.9102392266268373";

/// The prefix and four patches: two that are kept, at right angles, one between them, and one like the first.
fn case() -> (Tokens, Evidence) {
    let metric = [5.0, 5.0, 2.0, 0.0, 1.0, 1.0, 0.0, 3.0, 1.0, 0.0];
    let attention: [&[f32]; 1] = [&[0.1, 0.3, 0.1, 0.4, 0.1]];
    (tokens(&[9.0, 1.0, 2.0, 4.0, 8.0], &[5]), evidence(&metric, &attention))
}

#[test]
fn every_token_goes_into_all_that_are_kept_by_its_similarity() {
    let (batch, found) = case();
    let mut trace = Trace::default();
    let after = bound(THIRDS).apply(1, batch, found, &mut trace);
    // Parts of the patches: 3/4, 1/2, 1/4, 3/4 in the first, the rest in the second.
    let (first, second) = (0.75 + 0.5 + 0.25 + 0.75, 0.25 + 0.5 + 0.75 + 0.25);
    close(&after.sizes(), &[1.0, first, second]);
    let of = |parts: [f32; 4]| parts.iter().zip([1.0, 2.0, 4.0, 8.0]).map(|(part, x)| part * x).sum::<f32>();
    close(&values(&after), &[9.0, of([0.75, 0.5, 0.25, 0.75]) / first, of([0.25, 0.5, 0.75, 0.25]) / second]);
    let mixture = trace.mixture_until(0, None).expect("mixed");
    close(mixture.weights(1), &[0.0, 0.75, 0.5, 0.25, 0.75]);
    assert_eq!(mixture.largest(4).map(|largest| largest.output), Some(1));
    assert_eq!((trace.mixture_until(0, Some(0)), trace.plan_until(None)), (None, None));
    assert!(matches!(trace.records()[0].how, How::Mixed(_)));
    assert_eq!((trace.tokens_left(0, 5), trace.plan_at(trace.records()[0].step)), (3, None));
}

/// With next to no temperature all of a token goes into the nearest, and sizes weigh it: ToMe's average.
#[test]
fn without_temperature_it_is_merging_by_size() {
    let (mut batch, found) = case();
    batch.size = Some([1.0, 2.0, 1.0, 1.0, 3.0].into());
    // The one between both would be halved whatever the temperature: bring it nearer to the second.
    let metric = [5.0, 5.0, 2.0, 0.0, 1.0, 2.0, 0.0, 3.0, 1.0, 0.0];
    let found = Evidence { metric: Some(tensor(&metric, 2)), ..found };
    let after =
        bound("token_transforming:keep=50%,layer=2,tau=0.001").apply(1, batch, found, &mut Trace::default());
    close(&after.sizes(), &[1.0, 5.0, 2.0]);
    close(&values(&after), &[9.0, (2.0 + 3.0 * 8.0) / 5.0, (2.0 + 4.0) / 2.0]);
}

#[test]
fn two_layers_are_the_product_of_their_matrices() {
    let (batch, found) = case();
    let mut trace = Trace::default();
    let spec = "token_transforming:keep=50%,layer=[2,3],tau=0.9102392266268373";
    let reduction = bound(spec);
    let once = reduction.apply(1, batch.clone(), found.clone(), &mut trace);
    let then = evidence(&[1.0, 0.0, 1.0, 0.0, 0.0, 1.0], &[&[0.2, 0.3, 0.5]]);
    let twice = reduction.apply(2, once, then, &mut trace);
    // Of two the second is kept, and all goes into it.
    close(&twice.sizes(), &[1.0, 4.0]);
    close(&values(&twice), &[9.0, 15.0 / 4.0]);
    close(trace.mixture_until(0, None).expect("mixed").weights(1), &[0.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(trace.mixture_until(0, Some(1)).expect("mixed").outputs(), 3);
    let again = reduction.replaying(&trace).apply(1, batch, Evidence::default(), &mut Trace::default());
    assert_eq!(again.layout, Layout::uniform(1, 3));
}

/// Gradients flow through the rows: of a loss of the first output alone, that of a patch is its weight there.
#[test]
fn gradients_are_the_weights_of_rows() {
    let (batch, found) = case();
    let device = Device::flex().autodiff();
    let x = Tensor::<2>::from_data(batch.x.into_data(), &device).require_grad();
    let batch = Tokens::new(x.clone(), batch.layout, 1);
    let after = bound(THIRDS).apply(1, batch, found, &mut Trace::default());
    let weighting = Tensor::<2>::from_data([[0.0], [1.0], [0.0]], &device);
    let gradient = x.grad(&(after.x * weighting).sum().backward()).expect("a gradient");
    let gradient: Vec<f32> = gradient.into_data().iter::<f32>().collect();
    close(&gradient, &[0.0, 0.75, 0.5, 0.25, 0.75].map(|part| part / 2.25));
}

#[test]
fn tokens_to_keep_are_drawn_by_attention_at_every_temperature() {
    let method = TokenTransforming { temperatures: vec![0.0], ..TokenTransforming::new(0.5) };
    assert_eq!(method.keys(&[0.1, 0.4, 0.1, 0.3], 2, 0), [1, 3]);
    assert_eq!(method.keys(&[0.2, f32::NAN, 0.01, 0.2], 3, 0), [0, 2, 3], "what is no number comes last");
    // Half of them are the most attended to in every layer, the others are drawn.
    let mixed = TokenTransforming { temperatures: vec![0.0, 1.0], ..method.clone() };
    let attention = [0.02, 0.02, 0.4, 0.02, 0.04, 0.5];
    let drawn: Vec<_> = (0..50).map(|layer| mixed.keys(&attention, 4, layer)).collect();
    assert!(drawn.iter().all(|keys| keys.len() == 4 && keys.contains(&2) && keys.contains(&5)));
    assert!(drawn.iter().any(|keys| keys != &drawn[0]));
    assert_eq!(drawn[7], mixed.keys(&attention, 4, 7));
    // At 1 a single one is drawn in proportion to attention, at 3 more evenly.
    let share = |temperature: f64| {
        let method = TokenTransforming { temperatures: vec![temperature], ..method.clone() };
        let first = (0..3000).filter(|layer| method.keys(&[0.7, 0.2, 0.1], 1, *layer) == [0]).count();
        first as f64 / 3000.0
    };
    assert!((share(1.0) - 0.7).abs() < 0.03, "{}", share(1.0));
    let flat =
        0.7_f64.powf(1.0 / 3.0) / [0.7_f64, 0.2, 0.1].map(|share| share.powf(1.0 / 3.0)).iter().sum::<f64>();
    assert!((share(3.0) - flat).abs() < 0.03, "{} {flat}", share(3.0));
}

#[test]
fn few_and_no_tokens_stay_as_they_are() {
    let reduction = bound("token_transforming:keep=50%,layer=2");
    let metric = [1.0; 14];
    let rows: [&[f32]; 4] = [&[1.0], &[0.5, 0.5], &[], &[0.1, 0.2, 0.3, 0.4]];
    let batch = tokens(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], &[1, 2, 0, 4]);
    let after = reduction.apply(1, batch, evidence(&metric, &rows), &mut Trace::default());
    assert_eq!(after.layout, Layout::from_lens(&[1, 2, 0, 3]));
    close(&values(&after)[..4], &[1.0, 2.0, 3.0, 4.0]);
    let mut trace = Trace::default();
    let batch = tokens(&[1.0, 2.0], &[2]);
    let _ = reduction.apply(1, batch, evidence(&[1.0; 4], &[&[0.5, 0.5]]), &mut trace);
    assert!(trace.records().is_empty());
}

#[test]
fn what_it_is_reads_back_and_what_cannot_be_right_is_refused() {
    let long =
        "token_transforming:keep=60%,tau=0.1,temperatures=[0,0.5,2],feature=k,layer=[2,3],prop_attn=off";
    for spec in ["token_transforming:keep=70%", "token_transforming:keep=70%,temperatures=1", long] {
        assert_eq!(spec.parse::<Method>().expect("a spec").to_string(), spec);
    }
    for wrong in
        ["tau=0", "tau=NaN", "temperatures=-1", "temperatures=[]", "temperatures=[0,inf]", "layer=[2,2]"]
    {
        assert!(format!("token_transforming:keep=50%,{wrong}").parse::<Method>().is_err(), "{wrong}");
    }
    let refused = |facts: ModelFacts| {
        Reduction::bind("token_transforming:keep=50%".parse().expect("a spec"), &facts).expect_err("refused")
    };
    let facts = ModelFacts::new(4, 9, 1);
    assert!(matches!(
        refused(ModelFacts { leading: Leading::Other, ..facts }),
        BindError::NoClassToken { .. }
    ));
    let rotary = ModelFacts { positions: PositionUse::Followed, ..facts };
    assert!(matches!(refused(rotary), BindError::LosesPositions { .. }));
}

/// 138 of 196 patches are kept: their similarities by 384 channels, of keys by 64, and a product of 384.
#[test]
fn costs_are_similarities_and_the_product() {
    let bound = |spec: &str| {
        Reduction::bind(spec.parse().expect("a spec"), &ModelFacts::new(12, 197, 1)).expect("fits")
    };
    let (reduction, keys) =
        (bound("token_transforming:keep=70%"), bound("token_transforming:keep=70%,feature=k"));
    assert_eq!(reduction.matching_macs(3, 197, 64, 384), 138.0 * 196.0 * (384.0 + 384.0));
    assert_eq!(keys.matching_macs(3, 197, 64, 384), 138.0 * 196.0 * (64.0 + 384.0));
    assert_eq!(reduction.matching_macs(4, 139, 64, 384), 0.0);
    let tokens = reduction.expected_tokens(197, 12).expect("a fixed number");
    assert_eq!([2, 3, 6, 9].map(|layer: usize| tokens[layer].fed), [197, 139, 98, 69]);
}
