use super::Rapid;
use crate::{
    AttentionMap, Evidence, Layout, Method, ModelFacts, Reduction, Schedule, ScheduleError, Tokens, Trace,
};
use burn::tensor::{Device, Tensor, TensorData};

/// A class token at 9 and patches 1, 2 and so on, whose keys are points of the circle at these degrees, and which the class
/// token attends to like this.
fn item(degrees: &[f32], attention: &[f32]) -> (Tokens, Evidence) {
    let count = degrees.len();
    let keys: Vec<f32> =
        degrees.iter().flat_map(|at| [at.to_radians().cos(), at.to_radians().sin()]).collect();
    let values: Vec<f32> = (0..count).map(|place| if place == 0 { 9.0 } else { place as f32 }).collect();
    let matrix = |values: Vec<f32>, width: usize| {
        Tensor::from_data(TensorData::new(values, [count, width]), &Device::flex())
    };
    let map = AttentionMap { heads: 1, queries: 1, keys: count, values: attention.to_vec() };
    let evidence = Evidence { metric: Some(matrix(keys, 2)), maps: Some(vec![map]), ..Evidence::default() };
    (Tokens::new(matrix(values, 1), Layout::uniform(1, count), 1), evidence)
}

fn applied(spec: &str, layer: usize, (tokens, evidence): (Tokens, Evidence)) -> (Vec<f32>, Vec<f32>) {
    let method: Method = spec.parse().expect("a spec");
    let reduction = Reduction::bind(method, &ModelFacts::new(4, 7, 1)).expect("fits");
    let left = reduction.apply(layer, tokens, evidence, &mut Trace::default());
    (left.x.clone().into_data().iter::<f32>().collect(), left.sizes().to_vec())
}

/// Sources 2, 4 and 6. 2 is 1 degree from 1 and near nothing else; 4 is 6 degrees from 5 and near 3 and 6 too.
const DEGREES: [f32; 7] = [0.0, 0.0, 1.0, 90.0, 95.0, 101.0, 108.0];
const ATTENTION: [f32; 7] = [0.0, 0.1, 0.2, 0.15, 0.2, 0.05, 0.3];

#[test]
fn in_shallow_layers_the_most_redundant_is_dropped() {
    // Within about 26 degrees, 2 has one other, 4 and 6 have three each. 4 is 5 degrees from 3, 6 is 7 degrees from 5.
    let dropped = |spec, layer| applied(spec, layer, item(&DEGREES, &ATTENTION));
    assert_eq!(dropped("rapid:r=1", 0), (vec![9.0, 1.0, 2.0, 3.0, 5.0, 6.0], vec![1.0; 6]));
    assert_eq!(dropped("rapid:r=2", 1).0, [9.0, 1.0, 2.0, 3.0, 5.0]);
    // Where nothing counts as redundant the most similar goes: 2.
    assert_eq!(dropped("rapid:r=1,similar=1", 0).0, [9.0, 1.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn in_deep_layers_what_is_attended_to_less_merges() {
    // Less attended are 1, 3 and 5; the others 2, 4 and 6. Attention lacks 2/3, 1/2 and 5/6 of the most, 0.3: 1 merges into
    // 2 at 0.67, 3 into 4 at 0.5, 5 into 4 at 0.83.
    let merged = |spec, layer| applied(spec, layer, item(&DEGREES, &ATTENTION));
    assert_eq!(
        merged("rapid:r=1", 2),
        (vec![9.0, 1.0, 2.0, 3.0, 4.5, 6.0], vec![1.0, 1.0, 1.0, 1.0, 2.0, 1.0])
    );
    assert_eq!(merged("rapid:r=2", 3).0, [9.0, 1.5, 3.0, 4.5, 6.0]);
    assert_eq!(merged("rapid:r=3,switch=0", 0), (vec![9.0, 1.5, 4.0, 6.0], vec![1.0, 2.0, 3.0, 1.0]));
    // What is no number is attended to least.
    let (values, _) = applied("rapid:r=1", 2, item(&DEGREES, &[0.0, f32::NAN, 0.2, 0.15, 0.2, 0.05, 0.3]));
    assert_eq!(values, [9.0, 1.5, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn where_all_matter_alike_the_first_of_the_later_half_merges() {
    // 4, 5 and 6 propose; no attention is lacking, so that all score 0.
    let (values, _) = applied("rapid:r=1", 3, item(&DEGREES, &[0.1; 7]));
    assert_eq!(values, [9.0, 1.0, 2.0, 3.5, 5.0, 6.0]);
}

#[test]
fn what_it_is_reads_back() {
    let method = Method::Rapid(Rapid {
        schedule: Schedule::PerLayer(vec![3, 2]),
        similar: 0.8,
        switch: Some(1),
        ..Rapid::new(0)
    });
    assert_eq!(method.to_string(), "rapid:r=[3,2],similar=0.8,switch=1");
    assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    assert_eq!(
        "rapid:r=12.5%".parse::<Method>().map(|method| method.to_string()),
        Ok("rapid:r=12.5%".to_owned())
    );
    for wrong in ["rapid", "rapid:r=60%", "rapid:r=1,similar=2", "rapid:r=1,switch=-1"] {
        assert!(wrong.parse::<Method>().is_err(), "{wrong}");
    }
    let method: Method = "rapid:r=1,switch=5".parse().expect("a spec");
    let error = Reduction::bind(method, &ModelFacts::new(4, 7, 1)).unwrap_err().to_string();
    assert!(error.contains(&ScheduleError::Layer { layer: 5, depth: 4 }.to_string()), "{error}");
}
