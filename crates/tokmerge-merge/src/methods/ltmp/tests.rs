use super::{Limits, Ltmp, Thresholds};
use crate::{
    Amount, Evidence, Layout, MergerShape, Mergers, Method, ModelFacts, Prefix, Reduction, Tokens, Trace,
};
use burn::tensor::{Device, Tensor, TensorData};

/// A class token at 9 and patches 1, 2 and so on; keys are points of the circle at these degrees.
fn item(degrees: &[f32], prefix: impl Into<Prefix>, received: &[f32]) -> (Tokens, Evidence) {
    let keys: Vec<f32> =
        degrees.iter().flat_map(|at| [at.to_radians().cos(), at.to_radians().sin()]).collect();
    let count = degrees.len();
    let values: Vec<f32> = (0..count).map(|place| if place == 0 { 9.0 } else { place as f32 }).collect();
    let matrix = |values: Vec<f32>, width: usize| {
        Tensor::from_data(TensorData::new(values, [count, width]), &Device::flex())
    };
    let tokens = Tokens::new(matrix(values, 1), Layout::uniform(1, count), prefix);
    let evidence =
        Evidence { metric: Some(matrix(keys, 2)), received: Some(received.to_vec()), ..Evidence::default() };
    (tokens, evidence)
}

fn applied(spec: &str, layer: usize, (tokens, evidence): (Tokens, Evidence)) -> (Vec<f32>, Vec<f32>, Trace) {
    let method: Method = spec.parse().expect("a spec");
    let reduction = Reduction::bind(method, &ModelFacts::new(3, 7, 1)).expect("fits");
    let mut trace = Trace::default();
    let left = reduction.apply(layer, tokens, evidence, &mut trace);
    (left.x.clone().into_data().iter::<f32>().collect(), left.sizes().to_vec(), trace)
}

/// Sources 2, 4 and 6; destinations 1, 3 and 5. 2 is 10 degrees from 1, 4 is 30 from 3, 6 is 75 from 5.
const DEGREES: [f32; 7] = [0.0, 0.0, 10.0, 90.0, 120.0, 200.0, 275.0];
const RECEIVED: [f32; 7] = [0.0, 0.1, 0.3, 0.1, 0.05, 0.2, 0.25];

#[test]
fn all_pairs_above_the_first_threshold_merge() {
    // Cosines 0.985, 0.866 and 0.259.
    let (values, sizes, _) = applied("ltmp:merge_above=0.9", 0, item(&DEGREES, 1, &RECEIVED));
    assert_eq!((values, sizes), (vec![9.0, 4.0, 6.0, 1.5, 3.0, 5.0], vec![1.0, 1.0, 1.0, 2.0, 1.0, 1.0]));
    let (values, _, _) = applied("ltmp:merge_above=0.5", 0, item(&DEGREES, 1, &RECEIVED));
    assert_eq!(values, [9.0, 6.0, 1.5, 3.5, 5.0]);
}

#[test]
fn then_goes_what_matters_little_and_merged_tokens_matter_as_the_best_of_them() {
    let (values, sizes, trace) =
        applied("ltmp:merge_above=0.5,prune_at=0.2", 0, item(&DEGREES, 1, &RECEIVED));
    // 1 has 2's 0.3; 3 and 4 have 0.1; 5 has just 0.2, and the class token is never asked.
    assert_eq!((values, sizes), (vec![9.0, 6.0, 1.5], vec![1.0, 1.0, 2.0]));
    let plan = trace.plan_until(None).expect("a plan");
    assert_eq!(plan.groups(0), [Some(0), Some(2), Some(2), None, None, None, Some(1)]);
}

#[test]
fn without_merging_tokens_keep_their_places() {
    let (values, _, _) = applied("ltmp:merge_above=1,prune_at=0.1", 0, item(&DEGREES, 1, &RECEIVED));
    assert_eq!(values, [9.0, 2.0, 5.0, 6.0]);
    let (_, _, trace) = applied("ltmp:merge_above=0.99,prune_at=0.01", 0, item(&DEGREES, 1, &RECEIVED));
    assert!(trace.records().is_empty());
}

#[test]
fn one_token_is_always_left_and_what_is_no_number_is_kept() {
    let (values, _, _) = applied("ltmp:merge_above=1,prune_at=0.9", 0, item(&DEGREES, 0, &RECEIVED));
    assert_eq!(values, [2.0]);
    let received = [0.0, 0.1, f32::NAN, 0.1, 0.05, 0.2, 0.25];
    let (values, _, _) = applied("ltmp:merge_above=1,prune_at=0.9", 0, item(&DEGREES, 1, &received));
    assert_eq!(values, [9.0, 2.0]);
    // A merged token is kept if one of its members is.
    let (values, _, _) = applied("ltmp:merge_above=0.9,prune_at=0.9", 0, item(&DEGREES, 1, &received));
    assert_eq!(values, [9.0, 1.5]);
}

#[test]
fn every_layer_may_have_its_own_thresholds() {
    let spec = "ltmp:merge_above=[1,0.9],prune_at=[0.2]";
    let layer = |layer| applied(spec, layer, item(&DEGREES, 1, &RECEIVED)).0;
    assert_eq!(layer(0), [9.0, 2.0, 6.0]);
    assert_eq!(layer(1), [9.0, 4.0, 6.0, 1.5, 3.0, 5.0]);
    assert_eq!(layer(2).len(), 7);
    let bound = |spec: &str| Reduction::bind(spec.parse().expect("a spec"), &ModelFacts::new(3, 7, 1));
    let amounts = bound(spec).expect("fits").amounts().to_vec();
    assert_eq!(amounts, [Amount::ByTokens, Amount::ByTokens, Amount::NOTHING]);
    assert!(bound("ltmp:merge_above=[1,1,1,0.9]").unwrap_err().to_string().contains("3"));
}

#[test]
fn what_it_is_reads_back() {
    let prune_at = Some(Limits::PerLayer(vec![0.0, 0.002]));
    let merge_above = Limits::Constant(0.9);
    let method = Method::Ltmp(Ltmp::with(Thresholds::Given { merge_above, prune_at }));
    assert_eq!(method.to_string(), "ltmp:merge_above=0.9,prune_at=[0,0.002]");
    assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    let method = Method::Ltmp(Ltmp::with(Thresholds::Learned { target: 0.65 }));
    assert_eq!(method.to_string(), "ltmp:target=65%");
    assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    for (wrong, why) in [
        ("ltmp", "needs merge_above (or target)"),
        ("ltmp:prune_at=0.1", "needs merge_above (or target)"),
        ("ltmp:merge_above=1.1", "from -1 to 1"),
        ("ltmp:merge_above=x", "from -1 to 1"),
        ("ltmp:merge_above=0.9,prune_at=-1", "from 0 to 1"),
        ("ltmp:target=100%", "below 100%"),
        ("ltmp:target=0.65", "below 100%"),
        ("ltmp:merge_above=0.9,target=65%", "give that, or merge_above and prune_at"),
        ("ltmp:prune_at=0.1,target=65%", "give that, or merge_above and prune_at"),
    ] {
        let error = wrong.parse::<Method>().expect_err(wrong).to_string();
        assert!(error.contains(why), "{error}");
    }
}

/// Thresholds are good for the cost that they were trained for, and for no other.
#[test]
fn learned_thresholds_serve_one_cost() {
    let (device, shape) = (Device::flex(), MergerShape { depth: 3, channels: 2, joining: None });
    let method = |spec: &str| -> Method { spec.parse().expect("a spec") };
    let trained = Mergers::new(&method("ltmp:target=65%"), shape, &device);
    assert!(trained.fit(&method("ltmp:target=65%,prop_attn=off"), shape, &device));
    assert!(!trained.fit(&method("ltmp:target=50%"), shape, &device));
    assert!(!trained.fit(&method("diffrate:target=65%"), shape, &device));
    let facts = ModelFacts::new(3, 7, 1);
    let learned = Reduction::bind(method("ltmp:target=65%"), &facts).expect("fits");
    assert!(learned.relaxes() && learned.relaxes_inside() && learned.expected_tokens(7, 3).is_none());
    let given = Reduction::bind(method("ltmp:merge_above=0.9"), &facts).expect("fits");
    assert!(!given.relaxes() && !given.method().has_weights());
}
