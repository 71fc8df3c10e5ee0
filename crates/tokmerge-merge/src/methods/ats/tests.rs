use super::sampling::{nearest, sampled};
use super::{Ats, AtsForm};
use crate::{
    AttentionMap, BindError, Evidence, Layout, Leading, Method, ModelFacts, Prefix, Reduction, Tokens, Trace,
};
use burn::tensor::{Device, Tensor, TensorData};

fn matrix(values: Vec<f32>, width: usize) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.clone(), [values.len() / width, width]), &Device::flex())
}

/// A class token, then patches that it attends to by two heads as given, whose values have a channel for each head.
fn item(attention: [&[f32]; 2], values: &[[f32; 2]]) -> (Tokens, Evidence) {
    let keys = values.len();
    let map = AttentionMap { heads: 2, queries: 1, keys, values: attention.concat() };
    let x: Vec<f32> = (0..keys).map(|place| place as f32).collect();
    let metric = Some(matrix(values.concat(), 2));
    (
        Tokens::new(matrix(x, 1), Layout::uniform(1, keys), 1),
        Evidence { metric, maps: Some(vec![map]), ..Evidence::default() },
    )
}

fn applied(spec: &str, (tokens, evidence): (Tokens, Evidence)) -> Vec<f32> {
    let method: Method = spec.parse().expect("a spec");
    let reduction = Reduction::bind(method, &ModelFacts::new(4, 12, 1)).expect("fits");
    reduction.apply(1, tokens, evidence, &mut Trace::default()).x.into_data().iter::<f32>().collect()
}

/// Enough tokens in front that none are kept for their number.
const FRONT: usize = 7;

fn official(scores: &[f32], samples: usize) -> Option<Vec<usize>> {
    sampled(AtsForm::Official, scores, samples, FRONT)
}

#[test]
fn officially_the_least_is_never_picked_and_the_others_go_on_by_rising_score() {
    // By rising score 1, 3, 0, 2: sums 0.1, 0.3, 0.6 and 1, stretched 0, 2/9, 5/9 and 1. Three points: 2/9, 11/18, 1.
    assert_eq!(official(&[0.3, 0.1, 0.4, 0.2], 4), Some(vec![3, 0, 2]));
    // Of two points 2/9 and 1.
    assert_eq!(official(&[0.3, 0.1, 0.4, 0.2], 3), Some(vec![3, 2]));
    // One point is the first of them.
    assert_eq!(official(&[0.3, 0.1, 0.4, 0.2], 2), Some(vec![3]));
    // Scores need not sum up to 1.
    assert_eq!(official(&[3.0, 1.0, 4.0, 2.0], 4), Some(vec![3, 0, 2]));
}

#[test]
fn what_is_picked_twice_is_kept_once() {
    // Sums 0.02, 0.05, 0.1, 1; stretched 0, 0.031, 0.082, 1; four points from 0.031 on: 0.354 and 0.677 are nearest to
    // 0.082 and 1.
    assert_eq!(official(&[0.9, 0.05, 0.03, 0.02], 5), Some(vec![2, 1, 0]));
    // Of equal scores the first is least.
    assert_eq!(official(&[1.0, 1.0, 1.0], 9), Some(vec![1, 2]));
    // All points are 1 where nothing else scores.
    assert_eq!(official(&[0.0, 1.0, 0.0, 0.0], 9), Some(vec![1]));
}

#[test]
fn the_nearest_is_the_first_of_equals() {
    assert_eq!(nearest(&[0.0, 0.25, 0.75], 0.5), 1);
    assert_eq!(nearest(&[0.0, 0.25, 0.75], 0.51), 2);
    assert_eq!([0.5, 0.6, 0.9].map(|point| nearest(&[0.0, 0.5, 0.5, 1.0], point)), [1, 1, 3]);
    assert_eq!([-1.0, 2.0].map(|point| nearest(&[0.0, 1.0, 1.0], point)), [0, 1]);
}

#[test]
fn at_least_eight_tokens_are_left() {
    let scores = [8.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    // One point picks the second by rising score, which is 2; with the class token seven more are kept.
    let kept = sampled(AtsForm::Official, &scores, 2, 1);
    assert_eq!(kept, Some(vec![2, 4, 5, 6, 7, 8, 0]));
    assert_eq!(sampled(AtsForm::Official, &scores[..7], 2, 1), None);
    assert_eq!(sampled(AtsForm::TokenReduction, &scores, 2, 1).map(|kept| kept.len()), Some(1));
}

#[test]
fn as_in_token_reduction_patches_keep_their_places() {
    let of = |scores: &[f32], samples| sampled(AtsForm::TokenReduction, scores, samples, 1);
    // Sums 0.3, 0.4, 0.8, 1; of four samples the points 1/8, 3/8, 5/8: 0, 1, 2, of which 1 is least.
    assert_eq!(of(&[0.3, 0.1, 0.4, 0.2], 4), Some(vec![0, 1, 2]));
    // Of five 0.1, 0.3, 0.5, 0.7: 0, 0, 1, 2.
    assert_eq!(of(&[0.3, 0.1, 0.4, 0.2], 5), Some(vec![0, 1, 2]));
    // Of two 1/4.
    assert_eq!(of(&[0.3, 0.1, 0.4, 0.2], 2), Some(vec![0]));
    assert_eq!(of(&[0.3, 0.1, 0.4, 0.2], 100), None, "all, where they are");
}

#[test]
fn nothing_happens_where_nothing_scores() {
    for form in [AtsForm::Official, AtsForm::TokenReduction] {
        for scores in [&[][..], &[0.0], &[0.0, 0.0, 0.0]] {
            assert_eq!(sampled(form, scores, 197, FRONT), None, "{form:?} {scores:?}");
        }
    }
    assert_eq!(official(&[0.5], 197), None);
}

#[test]
fn scores_are_attention_times_the_norm_of_the_value() {
    // Nine patches. The whole norm of the last is 5, of the others 1; attention on all is alike.
    let alike = [0.1; 10];
    let mut values = [[0.6, 0.8]; 10];
    values[9] = [3.0, 4.0];
    let (_, evidence) = item([&alike, &alike], &values);
    let norms = Ats::default().norms(evidence.metric(), 2);
    let score = |place| norms.score(place, evidence.map(0), place);
    assert!((score(1) - 0.2).abs() < 1e-6 && (score(9) - 1.0).abs() < 1e-6);
    let by_head = Ats { form: AtsForm::TokenReduction, ..Ats::default() };
    let norms = by_head.norms(evidence.metric(), 2);
    let score = |place| norms.score(place, evidence.map(0), place);
    assert!((score(1) - 0.14).abs() < 1e-6 && (score(9) - 0.7).abs() < 1e-6);
    // By head what a head attends to counts with its own part of the value.
    let (_, evidence) = item([&alike, &[0.0; 10]], &values);
    let norms = by_head.norms(evidence.metric(), 2);
    assert!((norms.score(9, evidence.map(0), 9) - 0.3).abs() < 1e-6);
}

#[test]
fn a_batch_is_sampled_item_by_item() {
    let scores: Vec<f32> = (0..12).map(|patch| if patch % 2 == 0 { 1.0 } else { 3.0 }).collect();
    let values = [[1.0, 0.0]; 13];
    let attention = [&[0.0][..], &scores].concat();
    let tokens = || item([&attention, &attention], &values);
    let kept = applied("ats:samples=60,layer=2", tokens());
    // All twelve but the first of the least, by rising score.
    assert_eq!(kept, [0.0, 3.0, 5.0, 7.0, 9.0, 11.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    let spec = "ats:samples=[6,20],layer=[2,3],form=token_reduction";
    // Sums are 1/24, 4/24, 5/24, 8/24 and so on; the points 2/24, 6/24, 10/24, 14/24 and 18/24.
    assert_eq!(applied(spec, tokens()), [0.0, 1.0, 3.0, 5.0, 7.0, 9.0]);
}

#[test]
fn it_works_behind_the_first_quarter_of_a_model() {
    let layers = |depth| Ats::default().layers_of(depth).expect("fits");
    assert_eq!((layers(12), layers(5), layers(2)), ((4..=12).collect(), vec![2, 3, 4, 5], vec![1, 2]));
    let facts = ModelFacts { leading: Leading::Other, ..ModelFacts::new(4, 6, 0) };
    let error = Reduction::bind(Method::Ats(Ats::default()), &facts).unwrap_err();
    assert!(matches!(error, BindError::NoClassToken { .. }));
    let empty = Tokens::new(matrix(vec![1.0], 1), Layout::from_lens(&[0, 1]), Prefix::Same(1));
    let map = |keys| AttentionMap { heads: 1, queries: keys, keys, values: vec![1.0; keys] };
    let evidence = Evidence {
        metric: Some(matrix(vec![1.0], 1)),
        maps: Some(vec![map(0), map(1)]),
        ..Evidence::default()
    };
    assert_eq!(applied("ats", (empty, evidence)), [1.0]);
}

#[test]
fn what_it_is_reads_back() {
    let method = Method::Ats(Ats {
        samples: vec![138, 97, 68],
        layers: Some(vec![4, 7, 10]),
        form: AtsForm::TokenReduction,
        ..Ats::default()
    });
    assert_eq!(method.to_string(), "ats:samples=[138,97,68],layer=[4,7,10],form=token_reduction");
    assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    assert_eq!("ats".parse::<Method>(), Ok(Method::Ats(Ats::default())));
    for wrong in [
        "ats:samples=1",
        "ats:samples=0",
        "ats:samples=[9,1],layer=[2,3]",
        "ats:samples=[9,8]",
        "ats:samples=[9,8],layer=[2,3,4]",
        "ats:layer=[2,2]",
        "ats:form=paper",
    ] {
        assert!(wrong.parse::<Method>().is_err(), "{wrong}");
    }
}
