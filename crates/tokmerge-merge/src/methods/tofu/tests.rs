use super::Tofu;
use crate::{AverageScale, Evidence, Layout, Method, ModelFacts, Reduction, Schedule, Tokens, Trace};
use burn::tensor::{Device, Tensor, TensorData};

fn rows(rows: &[[f32; 2]]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(rows.as_flattened().to_vec(), [rows.len(), 2]), &Device::flex())
}

/// A class token and four others, of which 2 has the key of 1, in block `layer` of 12.
fn applied(spec: &str, layer: usize) -> (Vec<f32>, Tokens) {
    let reduction = Reduction::bind(spec.parse().expect("a spec"), &ModelFacts::new(12, 5, 1)).expect("fits");
    let x = rows(&[[9.0, 9.0], [3.0, 0.0], [0.0, 4.0], [5.0, 6.0], [7.0, 8.0]]);
    let keys = rows(&[[1.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]);
    let tokens = Tokens::new(x, Layout::uniform(1, 5), 1);
    let evidence = Evidence { metric: Some(keys), ..Evidence::default() };
    let mut trace = Trace::default();
    let tokens = reduction.apply(layer, tokens, evidence, &mut trace);
    // Class token, 4, 1 with 2, 3.
    assert_eq!(trace.plan_until(None).expect("some go").groups(0), [0, 2, 2, 3, 1].map(Some));
    (tokens.x.clone().into_data().iter::<f32>().collect(), tokens)
}

fn assert_pair(found: &[f32], wanted: [f32; 2]) {
    assert_eq!(found[..4], [9.0, 9.0, 7.0, 8.0], "what is alone stays as it is");
    assert!(found[4..6].iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
    assert_eq!(found[6..], [5.0, 6.0]);
}

#[test]
fn the_first_half_and_one_more_leave_out_and_the_others_merge() {
    for layer in [0, 6] {
        let (found, tokens) = applied("tofu:r=1", layer);
        assert_pair(&found, [3.0, 0.0]);
        assert_eq!(tokens.sizes()[..], [1.0, 1.0, 2.0, 1.0], "kept for counting");
    }
    // The mean (1.5, 2) is 2.5 long, the longest 4, and the destination was 3.
    for layer in [7, 11] {
        assert_pair(&applied("tofu:r=1", layer).0, [2.0, 8.0 / 3.0]);
        assert_pair(&applied("tofu:r=1,scale=paper", layer).0, [2.4, 3.2]);
    }
    assert_pair(&applied("tofu:r=1,switch=1", 0).0, [2.0, 8.0 / 3.0]);
    assert_pair(&applied("tofu:r=1,switch=4", 2).0, [3.0, 0.0]);
    assert_pair(&applied("tofu:r=1,switch=4", 3).0, [2.0, 8.0 / 3.0]);
    assert_pair(&applied("tofu:r=1,switch=13", 11).0, [3.0, 0.0]);
}

#[test]
fn attention_does_not_weigh_by_size_unless_asked() {
    let merged = Tokens {
        size: Some([2.0, 1.0].into()),
        ..Tokens::new(rows(&[[0.0; 2]; 2]), Layout::uniform(1, 2), 0)
    };
    for (spec, weighs) in [("tofu:r=1", false), ("tofu:r=1,prop_attn=on", true)] {
        let reduction =
            Reduction::bind(spec.parse().expect("a spec"), &ModelFacts::new(2, 10, 0)).expect("fits");
        assert_eq!(reduction.key_bias(&merged).is_some(), weighs, "{spec}");
    }
}

#[test]
fn it_costs_the_matching_of_keys() {
    let reduction =
        Reduction::bind("tofu:r=13".parse().expect("a spec"), &ModelFacts::new(12, 197, 1)).expect("fits");
    assert_eq!(reduction.matching_macs(0, 197, 64, 192), 99.0 * 98.0 * 64.0);
    let left = reduction.expected_tokens(197, 12).expect("known").last().expect("a block").fed;
    assert_eq!(left, 41);
}

#[test]
fn what_it_is_reads_back() {
    let method = Method::Tofu(Tofu {
        schedule: Schedule::PerLayer(vec![4, 2]),
        switch: Some(3),
        scale: AverageScale::Average,
        ..Tofu::new(0)
    });
    assert_eq!(method.to_string(), "tofu:r=[4,2],switch=3,scale=paper");
    assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    assert_eq!(
        "tofu:r=8,switch=3,scale=code".parse::<Method>().expect("a method").to_string(),
        "tofu:r=8,switch=3"
    );
    for wrong in ["tofu", "tofu:r=51%", "tofu:r=8,switch=0", "tofu:r=8,scale=own"] {
        assert!(wrong.parse::<Method>().is_err(), "{wrong}");
    }
}
