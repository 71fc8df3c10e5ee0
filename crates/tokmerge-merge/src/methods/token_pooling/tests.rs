use super::{Clustering, MedoidUpdate, PooledTo, TokenPooling};
use crate::{BindError, Evidence, Layout, Method, ModelFacts, Received, Reduction, Tokens, Trace};
use burn::tensor::{Device, Tensor, TensorData};

const CLASS: f32 = 99.0;

fn bind(spec: &str, facts: &ModelFacts) -> Result<Reduction, BindError> {
    Reduction::bind(spec.parse().unwrap_or_else(|error| panic!("{error}")), facts)
}

/// What becomes of a class token and patches before layer 2, with the sizes of it and the group of every token.
fn pooled(
    options: &str,
    patches: &[f32],
    received: Option<&[f32]>,
) -> (Vec<f32>, Vec<f32>, Vec<Option<u32>>) {
    let with_class = |values: &[f32], class: f32| [&[class], values].concat();
    let len = patches.len() + 1;
    let x = TensorData::new(with_class(patches, CLASS), [len, 1]);
    let x = Tensor::from_data(x, &Device::flex());
    let tokens = Tokens::new(x, Layout::uniform(1, len), 1);
    let reduction =
        bind(&format!("token_pooling:layer=2,{options}"), &ModelFacts::new(4, len, 1)).expect("fits");
    let received = received.map(|received| with_class(received, 0.7));
    let before = Evidence { received, ..Evidence::default() };
    let mut trace = Trace::default();
    let (after, _) = reduction.enter(1, tokens, before, &mut trace);
    let groups = trace.plan_until(None).map(|plan| plan.groups(0)).unwrap_or_default();
    (after.x.clone().into_data().iter::<f32>().collect(), after.sizes().to_vec(), groups)
}

fn close(found: &[f32], wanted: &[f32]) {
    let near = found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-4);
    assert!(near && found.len() == wanted.len(), "{found:?} {wanted:?}");
}

const LINE: [f32; 6] = [0.0, 1.0, 2.0, 10.0, 11.0, 13.0];
/// The heaviest are the fourth, then the second and, as heavy, the last.
const WEIGHTS: [f32; 6] = [0.1, 0.2, 0.1, 0.3, 0.1, 0.2];

#[test]
fn medoids_begin_with_the_heaviest_and_move_to_the_light_and_central_members() {
    let (values, sizes, groups) = pooled("tokens=2", &LINE, Some(&WEIGHTS));
    // All distances of each together are 37, 33, 31, 31, 33 and 41; times weight 3.7, 6.6, 3.1 and 9.3, 3.3, 8.2.
    close(&values, &[CLASS, 11.0, 2.0]);
    assert_eq!(sizes, [1.0, 3.0, 3.0]);
    assert_eq!(groups, [0, 2, 2, 2, 1, 1, 1].map(Some));
    close(&pooled("tokens=2,iterations=0", &LINE, Some(&WEIGHTS)).0, &[CLASS, 10.0, 1.0]);
    // By the paper's loss 0.6, 0.2, 0.6 and 1.9, 1.1, 3.1.
    close(&pooled("tokens=2,weights=paper", &LINE, Some(&WEIGHTS)).0, &[CLASS, 11.0, 1.0]);
}

#[test]
fn an_equal_medoid_keeps_its_own_cluster() {
    let received: &[f32] = &[0.3, 0.4, 0.1];
    let (values, sizes, groups) = pooled("tokens=2,iterations=0", &[5.0, 5.0, 6.0], Some(received));
    close(&values, &[CLASS, 5.0, 5.0]);
    assert_eq!((sizes, groups), (vec![1.0, 2.0, 1.0], [0, 2, 1, 1].map(Some).to_vec()));
    // Then 6 is the medoid of the first, as it is the lightest, and only itself is left there.
    let (values, _, groups) = pooled("tokens=2", &[5.0, 5.0, 6.0], Some(received));
    close(&values, &[CLASS, 6.0, 5.0]);
    assert_eq!(groups, [0, 2, 2, 1].map(Some));
}

#[test]
fn means_are_weighted_and_draw_their_points_anew() {
    let weights = [0.2, 0.3, 0.26, 0.24];
    let patches = [0.0, 4.0, 5.0, 6.0];
    // From 4 and 5: {0, 4} and {5, 6}, whose means are 2.4 and 5.48; 4 is nearer to the second.
    let once = pooled("tokens=2,cluster=kmeans,iterations=0", &patches, Some(&weights)).0;
    close(&once, &[CLASS, 2.4, 5.48]);
    let (values, sizes, groups) = pooled("tokens=2,cluster=kmeans", &patches, Some(&weights));
    close(&values, &[CLASS, 0.0, 4.925]);
    assert_eq!((sizes, groups), (vec![1.0, 1.0, 3.0], [0, 1, 2, 2, 2].map(Some).to_vec()));
}

#[test]
fn density_peaks_are_found_without_attention_and_become_plain_means() {
    let patches = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0];
    let (values, sizes, groups) = pooled("tokens=2,cluster=dpc_knn", &patches, None);
    // The five nearest are 226, 183, 150, 150, 183 and 226 away, squared: 2 and 10 lie densest.
    close(&values, &[CLASS, 1.0, 11.0]);
    assert_eq!((sizes, groups), (vec![1.0, 3.0, 3.0], [0, 1, 1, 1, 2, 2, 2].map(Some).to_vec()));
    // The next is 1, a step from the denser 2; 0 is as far from 1, but less dense.
    let (values, _, groups) = pooled("tokens=3,cluster=dpc_knn", &patches, None);
    close(&values, &[CLASS, 2.0, 11.0, 0.5]);
    assert_eq!(groups[..4], [0, 3, 3, 1].map(Some));
}

#[test]
fn where_there_are_no_more_than_are_to_be_left_nothing_happens() {
    let (values, _, groups) = pooled("tokens=4", &[3.0, 1.0, 2.0], Some(&[0.1, 0.2, 0.3]));
    assert_eq!((values, groups), (vec![CLASS, 3.0, 1.0, 2.0], vec![]));
    // What is no number is lightest and far from everything.
    let (values, ..) = pooled("tokens=2", &[f32::NAN, 1.0, 2.0], Some(&[f32::NAN, 0.2, 0.3]));
    assert_eq!(values.len(), 3);
}

#[test]
fn shares_are_of_what_was_left_before_and_numbers_say_it_themselves() {
    for spec in ["token_pooling:keep=70%", "token_pooling:tokens=[137,96,67],cluster=dpc_knn"] {
        let reduction = bind(spec, &ModelFacts::new(12, 197, 1)).expect("fits");
        let layers = reduction.expected_tokens(197, 12).expect("known");
        let fed: Vec<usize> = layers.iter().map(|layer| layer.fed).collect();
        assert_eq!(fed, [197, 197, 197, 138, 138, 138, 97, 97, 97, 68, 68, 68], "{spec}");
    }
    let counts = |share, patches| [0, 1, 2].map(|index| PooledTo::Share(share).of(index, patches));
    assert_eq!((counts(0.9, 100), counts(0.1, 50)), ([90, 81, 72], [5, 1, 1]));
}

#[test]
fn attention_is_asked_of_the_layer_before_unless_density_decides() {
    let facts = ModelFacts::new(4, 9, 1);
    let asked = |spec: &str, layer| bind(spec, &facts).expect("fits").wants(layer).received;
    assert_eq!(asked("token_pooling:tokens=4,layer=3", 1), Received::FromAll);
    assert_eq!(asked("token_pooling:tokens=4,layer=3", 2), Received::No);
    assert_eq!(asked("token_pooling:tokens=4,layer=3,cluster=dpc_knn", 1), Received::No);
    let first = bind("token_pooling:tokens=4,layer=1", &facts).unwrap_err();
    assert!(matches!(first, BindError::NoLayerBefore { .. }), "{first}");
    assert!(bind("token_pooling:tokens=4,layer=1,cluster=dpc_knn", &facts).is_ok());
    // By default no layer is listed that could not be.
    let shallow = bind("token_pooling:keep=50%", &ModelFacts::new(2, 9, 1)).expect("fits");
    assert_eq!(shallow.expected_tokens(9, 2).expect("known")[0].fed, 9);
}

#[test]
fn what_it_is_reads_back() {
    let method = Method::TokenPooling(TokenPooling {
        layers: Some(vec![3, 5]),
        update: MedoidUpdate::Paper,
        iterations: 2,
        ..TokenPooling::new(PooledTo::Counts(vec![9, 5]))
    });
    assert_eq!(method.to_string(), "token_pooling:tokens=[9,5],layer=[3,5],weights=paper,iterations=2");
    assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    let peaks =
        TokenPooling { clustering: Clustering::DensityPeaks, ..TokenPooling::new(PooledTo::Share(0.7)) };
    assert_eq!(Method::TokenPooling(peaks).to_string(), "token_pooling:keep=70%,cluster=dpc_knn");
    for (wrong, why) in [
        ("token_pooling", "needs keep or tokens"),
        ("token_pooling:keep=0%", "above 0%"),
        ("token_pooling:keep=50%,tokens=[3,2,1]", "give one"),
        ("token_pooling:tokens=[3,2]", "which are 3"),
        ("token_pooling:tokens=[3,2],layer=[4,4]", "listed twice"),
        ("token_pooling:keep=50%,cluster=kmeans,weights=paper", "kmedoids"),
        ("token_pooling:keep=50%,cluster=dpc_knn,iterations=3", "no iterations"),
    ] {
        let error = wrong.parse::<Method>().expect_err(wrong).to_string();
        assert!(error.contains(why), "{error}");
    }
}
