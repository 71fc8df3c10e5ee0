use super::{VotingStart, ZeroTprune};
use crate::{
    AttentionMap, BindError, Evidence, Layout, Leading, Method, ModelFacts, Reduction, Tokens, Trace,
};
use burn::tensor::{Device, Tensor, TensorData};

/// A class token at 9 and patches 1, 2 and so on; all attend to the tokens like this, and keys are points of the circle at
/// these degrees.
fn item(attention: &[f32], degrees: &[f32]) -> (Tokens, Evidence) {
    let count = attention.len();
    let keys: Vec<f32> =
        degrees.iter().flat_map(|at| [at.to_radians().cos(), at.to_radians().sin()]).collect();
    let values: Vec<f32> = (0..count).map(|place| if place == 0 { 9.0 } else { place as f32 }).collect();
    let matrix = |values: Vec<f32>, width: usize| {
        Tensor::from_data(TensorData::new(values, [count, width]), &Device::flex())
    };
    let map = AttentionMap { heads: 1, queries: count, keys: count, values: attention.repeat(count) };
    let evidence = Evidence { metric: Some(matrix(keys, 2)), maps: Some(vec![map]), ..Evidence::default() };
    (Tokens::new(matrix(values, 1), Layout::uniform(1, count), 1), evidence)
}

fn bound(spec: &str) -> Reduction {
    Reduction::bind(spec.parse().expect("a spec"), &ModelFacts::new(4, 7, 1)).expect("fits")
}

fn entering(spec: &str, layer: usize, (tokens, evidence): (Tokens, Evidence)) -> Vec<f32> {
    let (left, _) = bound(spec).enter(layer, tokens, evidence, &mut Trace::default());
    left.x.into_data().iter::<f32>().collect()
}

const ATTENTION: [f32; 7] = [0.1, 0.2, 0.05, 0.15, 0.1, 0.25, 0.15];
/// 2, 4 and 6 matter less than 1, 3 and 5. 4 is 1 degree from 3, 2 is 20 from 1, 6 is 30 from 5.
const DEGREES: [f32; 7] = [0.0, 0.0, 20.0, 90.0, 91.0, 200.0, 230.0];

#[test]
fn what_matters_least_goes_and_the_others_keep_their_places() {
    // Every token is attended to alike by all, so that one round or many say the same.
    for rounds in [1, 40] {
        let spec = |keep| format!("zero_tprune:keep={keep}%,r=0,layer=2,rounds={rounds}");
        assert_eq!(entering(&spec(50), 1, item(&ATTENTION, &DEGREES)), [9.0, 1.0, 3.0, 5.0]);
        // Of 3 and 6, which matter alike, the first stays; 4 is next.
        assert_eq!(entering(&spec(40), 1, item(&ATTENTION, &DEGREES)), [9.0, 1.0, 3.0, 5.0]);
        assert_eq!(entering(&spec(70), 1, item(&ATTENTION, &DEGREES)), [9.0, 1.0, 3.0, 4.0, 5.0, 6.0]);
    }
}

#[test]
fn first_goes_what_resembles_something_that_matters_more() {
    // One of two goes for its likeness, 4, and the other, 2, for what it is worth.
    let left = entering("zero_tprune:keep=60%,r=1,layer=2", 1, item(&ATTENTION, &DEGREES));
    assert_eq!(left, [9.0, 1.0, 3.0, 5.0, 6.0]);
    // Of three 4 and 2 go for theirs.
    let left = entering("zero_tprune:keep=50%,r=2,layer=2", 1, item(&ATTENTION, &DEGREES));
    assert_eq!(left, [9.0, 1.0, 3.0, 5.0]);
    // With keep=80% only one goes at all, and with r by likeness.
    let left = |r| entering(&format!("zero_tprune:keep=80%,r={r},layer=2"), 1, item(&ATTENTION, &DEGREES));
    assert_eq!((left(0), left(9)), (vec![9.0, 1.0, 3.0, 4.0, 5.0, 6.0], vec![9.0, 1.0, 2.0, 3.0, 5.0, 6.0]));
}

#[test]
fn it_works_before_blocks_by_the_attention_of_the_one_before() {
    let reduction = bound("zero_tprune:keep=50%,layer=[2,4],r=[1,0]");
    let asks = |layer| reduction.wants(layer).maps.is_some() && reduction.wants(layer).metric.is_some();
    assert_eq!([0, 1, 2, 3].map(asks), [true, false, true, false]);
    let method: Method = "zero_tprune:keep=50%,layer=1".parse().expect("a spec");
    let error = Reduction::bind(method, &ModelFacts::new(4, 7, 1)).unwrap_err();
    assert!(matches!(error, BindError::NoLayerBefore { .. }));
    // Models without a class token are welcome.
    let facts = ModelFacts { leading: Leading::Other, ..ModelFacts::new(4, 7, 0) };
    assert!(Reduction::bind(Method::ZeroTprune(ZeroTprune::new(0.5)), &facts).is_ok());
}

#[test]
fn rounds_go_by_the_third_of_the_model_in_which_the_attention_is() {
    let method = ZeroTprune::new(0.7);
    // Before layers 2, 4, 5, 7, 8, 9, 10 and 12, by blocks 0, 2, 3, 5, 6, 7, 8 and 10.
    let rounds = [1, 3, 4, 6, 7, 8, 9, 11].map(|layer| method.rounds_before(layer, 12));
    assert_eq!(rounds, [40, 40, 40, 8, 8, 8, 1, 1]);
    assert_eq!(ZeroTprune { rounds: Some(5), ..method }.rounds_before(9, 12), 5);
}

#[test]
fn costs_are_those_of_voting_and_of_comparing_halves() {
    let reduction = |spec: &str| {
        Reduction::bind(spec.parse().expect("a spec"), &ModelFacts::new(12, 197, 1)).expect("fits")
    };
    // Before layer 4, by block 2: 40 rounds of 3 heads.
    let macs = |spec: &str| reduction(spec).matching_macs(3, 197, 64, 192);
    assert_eq!(macs("zero_tprune:keep=70%,r=0"), 40.0 * 3.0 * 197.0 * 197.0);
    let votes = (40 * 3 * 187 * 187 + 3 * 197 * 197) as f64;
    assert_eq!(macs("zero_tprune:keep=70%"), votes + 98.0 * 98.0 * 64.0);
    assert_eq!(reduction("zero_tprune:keep=70%").matching_macs(4, 197, 64, 192), 0.0);
}

#[test]
fn what_it_is_reads_back() {
    let method = Method::ZeroTprune(ZeroTprune {
        similar: vec![20, 0],
        layers: Some(vec![3, 7]),
        start: VotingStart::Uniform,
        rounds: Some(5),
        ..ZeroTprune::new(0.5)
    });
    assert_eq!(method.to_string(), "zero_tprune:keep=50%,r=[20,0],layer=[3,7],start=uniform,rounds=5");
    assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    for wrong in [
        "zero_tprune",
        "zero_tprune:keep=0%",
        "zero_tprune:keep=50%,r=[1,2]",
        "zero_tprune:keep=50%,layer=[2,2]",
        "zero_tprune:keep=50%,rounds=0",
    ] {
        assert!(wrong.parse::<Method>().is_err(), "{wrong}");
    }
}
