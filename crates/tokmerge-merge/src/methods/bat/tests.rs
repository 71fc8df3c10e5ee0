use super::clusters::assigned;
use super::{Bat, Parts};
use crate::methods::matching::Cosines;
use crate::{Amount, AttentionMap, Evidence, Layout, Method, ModelFacts, Reduction, Rest, Tokens, Trace};
use burn::tensor::{Device, Tensor, TensorData};

fn matrix(values: Vec<f32>, width: usize) -> Tensor<2> {
    let rows = values.len() / width;
    Tensor::from_data(TensorData::new(values, [rows, width]), &Device::flex())
}

/// Points of the circle.
fn points(degrees: &[f32]) -> Tensor<2> {
    matrix(degrees.iter().flat_map(|at| [at.to_radians().cos(), at.to_radians().sin()]).collect(), 2)
}

fn cosines(degrees: &[f32]) -> Cosines {
    Cosines::of_rows(&points(degrees), 0..degrees.len() as u32)
}

#[test]
fn centres_are_dense_and_far_from_what_is_denser_and_all_join_the_nearest() {
    // Six points on either side. Of the first the third is nearest to the others, and of the second, which is wider.
    let sides = [0.0, 6.0, 10.0, 14.0, 20.0, 21.0, 180.0, 189.0, 195.0, 201.0, 210.0, 211.5];
    assert_eq!(assigned(&cosines(&sides), 2), [[2; 6], [8; 6]].concat());
    assert_eq!(assigned(&cosines(&sides), 1), [2; 12]);
    let degrees = [0.0, 5.0, 10.0, 90.0, 95.0, 60.0];
    assert_eq!(assigned(&cosines(&degrees), 6), [0, 1, 2, 3, 4, 5]);
    assert!(assigned(&cosines(&degrees), 0).is_empty() && assigned(&cosines(&[]), 3).is_empty());
    assert_eq!(assigned(&cosines(&[7.0]), 1), [0]);
    // Of equals the first is a centre, and only one.
    assert_eq!(assigned(&cosines(&[30.0, 30.0, 200.0, 30.0]), 2), [0, 0, 2, 0]);
}

#[test]
fn as_many_pairs_merge_as_there_are_clusters() {
    let counts = |keep: f64, pairs: f64, patches| Bat { pairs, ..Bat::new(keep) }.counts(patches);
    // Of 196 patches 138 are attentive, of which 13 merge; the other 58 become 13.
    assert_eq!(counts(0.7, 0.1, 196), (138, 13));
    // One at least, and no more than there are others, or pairs.
    assert_eq!((counts(0.7, 0.0, 10), counts(0.9, 0.5, 10), counts(0.5, 0.5, 6)), ((7, 1), (9, 1), (3, 1)));
    // A single patch that is kept has no pair, and the others are dropped.
    assert_eq!((counts(0.1, 0.5, 5), counts(0.7, 0.1, 0)), ((1, 0), (0, 0)));
}

#[test]
fn every_other_attentive_patch_proposes_in_the_order_of_places() {
    let parts = Bat::new(0.5).parts(&[9.0, 0.1, 0.4, 0.05, 0.3, f32::NAN, 0.2, 0.2], 1);
    let Parts { attentive, others, merged } = &parts;
    assert_eq!((attentive.as_slice(), others.as_slice(), *merged), (&[2, 4, 6, 7][..], &[1, 3, 5][..], 1));
    let split = parts.split();
    assert_eq!((split.sources, split.destinations), (vec![2, 6], vec![4, 7]));
    assert!(Bat::new(0.9).parts(&[1.0, 0.5], 1).attentive.is_empty(), "nothing to merge");
}

#[test]
fn what_merges_is_averaged_by_the_attention_of_the_class_token() {
    // Attentive: 1, 2, 4 and 6, of which 1 proposes to 2 (10 degrees) and 4 to 6 (40 degrees): 1 merges into 2. The others,
    // 3, 5 and 7, are one cluster around 5, which lies between.
    let keys = points(&[0.0, 0.0, 10.0, 200.0, 90.0, 210.0, 130.0, 220.0]);
    let attention = vec![0.0, 0.1, 0.3, 0.02, 0.2, 0.04, 0.25, 0.06];
    let map = AttentionMap { heads: 1, queries: 1, keys: 8, values: attention };
    let values = vec![9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
    let tokens = Tokens::new(matrix(values, 1), Layout::uniform(1, 8), 1);
    let evidence = Evidence { metric: Some(keys), maps: Some(vec![map]), ..Evidence::default() };
    let method: Method = "bat:keep=50%,layer=1".parse().expect("a spec");
    let reduction = Reduction::bind(method, &ModelFacts::new(2, 8, 1)).expect("fits");
    assert_eq!(reduction.amounts()[0], Amount::KeepShare { keep: 0.5, rest: Rest::Dropped });
    let mut trace = Trace::default();
    let left = reduction.apply(0, tokens, evidence, &mut trace);
    let plan = trace.plan_until(None).expect("merged");
    assert_eq!(plan.groups(0), [0, 1, 1, 3, 2, 3, 4, 3].map(Some));
    assert_eq!(left.sizes()[..], [1.0, 2.0, 1.0, 3.0, 1.0]);
    let found: Vec<f32> = left.x.into_data().iter::<f32>().collect();
    // (0.1 * 1 + 0.3 * 2) / 0.4, and (0.02 * 3 + 0.04 * 5 + 0.06 * 7) / 0.12.
    let wanted = [9.0, 1.75, 4.0, 0.68 / 0.12, 6.0];
    assert!(found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-5), "{found:?}");
}

#[test]
fn what_it_is_reads_back() {
    let method = Method::Bat(Bat { pairs: 0.25, layers: Some(vec![3]), ..Bat::new(0.5) });
    assert_eq!(method.to_string(), "bat:keep=50%,pairs=25%,layer=3");
    assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    for wrong in ["bat", "bat:keep=0%", "bat:keep=70%,pairs=51%", "bat:keep=70%,layer=[2,2]"] {
        assert!(wrong.parse::<Method>().is_err(), "{wrong}");
    }
}
