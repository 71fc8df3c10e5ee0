use super::scores::{Scores, units};
use super::{Criteria, Directions, Mctf, MctfPlace, Removal};
use crate::methods::matching::Split;
use crate::methods::{At, Rule};
use crate::{
    Amount, AttentionMap, Evidence, Layout, Merging, Method, Metric, ModelFacts, Received, Reduction, Tokens,
    Trace,
};
use burn::tensor::{Device, Tensor, TensorData};

const COSINE: Criteria = Criteria { similarity: 1.0, information: 0.0, size: 0.0 };

fn rows(rows: &[[f32; 2]]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(rows.as_flattened().to_vec(), [rows.len(), 2]), &Device::flex())
}

/// A row of this length in this direction, in degrees.
fn row(length: f32, degrees: f32) -> [f32; 2] {
    let (sine, cosine) = degrees.to_radians().sin_cos();
    [length * cosine, length * sine]
}

/// One item, its first token of class, all of whose tokens attend as `attention` says.
fn item(x: &[[f32; 2]], sizes: &[f32], attention: &[f32]) -> (Tokens, Evidence) {
    let keys = x.len();
    let map = AttentionMap { heads: 1, queries: keys, keys, values: attention.repeat(keys) };
    let tokens = Tokens { size: Some(sizes.into()), ..Tokens::new(rows(x), Layout::uniform(1, keys), 1) };
    let evidence = Evidence {
        metric: Some(rows(x)),
        maps: Some(vec![map]),
        received: Some(attention.to_vec()),
        ..Evidence::default()
    };
    (tokens, evidence)
}

fn merging(method: &Mctf, count: usize, (tokens, evidence): (Tokens, Evidence)) -> Merging {
    let at = At { layer: 1, depth: 12, amount: Amount::Count(count) };
    method.merging(&at, &tokens, evidence).expect("some go")
}

fn groups(method: &Mctf, count: usize, item: (Tokens, Evidence)) -> Vec<usize> {
    let merging = merging(method, count, item);
    merging.plan.groups(0).into_iter().map(|group| group.expect("none are dropped") as usize).collect()
}

fn mctf(criteria: Criteria, directions: Directions) -> Mctf {
    Mctf { criteria, directions, ..Mctf::new(Removal::Tokens(0)) }
}

/// Of even places 2 is 10° from 1, 4 is 30° from 5 and 6 is 5° from it; 3 is 60° from 4.
fn turned() -> (Tokens, Evidence) {
    let lengths = [1.0, 2.0, 1.0, 0.5, 1.0, 3.0, 1.0];
    let degrees = [42.0, 0.0, 10.0, 90.0, 150.0, 180.0, 185.0];
    let x: Vec<[f32; 2]> = lengths.into_iter().zip(degrees).map(|(length, turn)| row(length, turn)).collect();
    item(&x, &[1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0], &[0.1, 0.1, 0.2, 0.1, 0.1, 0.1, 0.3])
}

#[test]
fn half_merge_forth_and_half_back_and_odd_places_go_on_by_score() {
    let both = mctf(COSINE, Directions::Both);
    // Forth 6 into 5; back 1 into 2. Left of odd places are 5, 30° from 4, and 3, 60° from it.
    assert_eq!(groups(&both, 2, turned()), [0, 1, 1, 4, 2, 3, 3]);
    // The third goes back: 5, with 6 in it, into 4.
    assert_eq!(groups(&both, 3, turned()), [0, 1, 1, 3, 2, 2, 2]);
    // One alone goes back: 5 into 6.
    assert_eq!(groups(&both, 1, turned()), [0, 4, 1, 5, 2, 3, 3]);
    // One way only: 6 into 5 and 2 into 1, and odd places stay in order.
    assert_eq!(groups(&mctf(COSINE, Directions::One), 2, turned()), [0, 2, 2, 3, 1, 4, 4]);
}

#[test]
fn merged_tokens_are_averages_by_attention_and_size_along_chains() {
    let (tokens, evidence) = turned();
    let merging = merging(&mctf(COSINE, Directions::Both), 3, (tokens.clone(), evidence));
    let merged = merging.apply(tokens);
    assert_eq!(merged.sizes()[..], [1.0, 2.0, 4.0, 1.0]);
    let found: Vec<f32> = merged.x.into_data().iter::<f32>().collect();
    // 4 weighs 0.1, 5 twice that for its size, 6 three times.
    let parts = [row(1.0, 150.0), row(3.0, 180.0), row(1.0, 185.0)];
    for axis in 0..2 {
        let wanted = (parts[0][axis] + 2.0 * parts[1][axis] + 3.0 * parts[2][axis]) / 6.0;
        assert!((found[4 + axis] - wanted).abs() < 1e-5, "{found:?}");
    }
}

#[test]
fn a_score_is_a_product_of_powers() {
    let split = Split { sources: vec![2], destinations: vec![1] };
    let units = units(rows(&[[5.0, 5.0], [2.0, 0.0], row(3.0, 60.0)]));
    let received = [0.6, 0.3, 0.1];
    let score =
        |criteria| Scores::new(criteria, [&received, &[1.0, 2.0, 1.0]], &split, &units, 0).forth().scores[0];
    // (cos 60° + 1) / 2, then (0.1 / 0.3)^(1/20), then (1 / 2)^(1/40).
    let close = |criteria, wanted: f32| {
        let found: f32 = score(criteria);
        assert!((found - wanted).abs() < 1e-5, "{found} instead of {wanted}");
    };
    close(COSINE, 0.75);
    close(Criteria { information: 20.0, ..COSINE }, 0.75 * 0.946_55);
    close(Criteria { size: 40.0, ..COSINE }, 0.75 * 0.982_82);
    close(Criteria::of(MctfPlace::Attention), 0.697_72);
    close(Criteria { similarity: 2.0, ..COSINE }, 0.866_03);
    close(Criteria { similarity: 0.0, ..COSINE }, 1.0);
}

#[test]
fn of_pairs_that_are_as_alike_those_go_first_that_tell_little_and_are_small() {
    let x = [row(1.0, 45.0), row(1.0, 0.0), row(1.0, 0.0), row(1.0, 90.0), row(1.0, 90.0)];
    let [first, second] = [[0, 2, 2, 3, 1], [0, 2, 1, 3, 3]];
    let ones = [1.0; 5];
    let told = || item(&x, &ones, &[0.2, 0.3, 0.3, 0.1, 0.1]);
    let large = || item(&x, &[1.0, 2.0, 2.0, 1.0, 1.0], &[0.2; 5]);
    let one = |criteria, item| groups(&mctf(criteria, Directions::One), 1, item);
    assert_eq!(one(COSINE, told()), first);
    assert_eq!(one(Criteria { information: 20.0, ..COSINE }, told()), second);
    assert_eq!(one(COSINE, large()), first);
    assert_eq!(one(Criteria { size: 40.0, ..COSINE }, large()), second);
}

/// Three tokens in block 1, of which 1 and 2 become one: what they are, and what becomes of other rows of theirs.
fn inside_attention(received: [f32; 3]) -> (Vec<f32>, Vec<f32>) {
    let facts = ModelFacts::new(12, 3, 1);
    let reduction = Reduction::bind("mctf:r=50%,layer=2".parse().expect("a spec"), &facts).expect("fits");
    assert!(reduction.opens_softmax(1) && !reduction.opens_softmax(2));
    assert_eq!(reduction.wants_inside().received, Received::FromAll);
    let x = rows(&[[0.0, 7.0], [1.0, 0.0], [3.0, 0.0]]);
    let tokens = Tokens::new(x.clone(), Layout::uniform(1, 3), 1);
    let evidence = Evidence { metric: Some(x), received: Some(received.to_vec()), ..Evidence::default() };
    let (tokens, merging) = reduction.merge_inside(1, tokens, evidence, &mut Trace::default());
    assert_eq!(tokens.sizes()[..], [1.0, 2.0]);
    let others = rows(&[[5.0, 6.0], [10.0, 0.0], [0.0, 20.0]]);
    let averaged = merging.expect("they merge").average(others);
    let values = |values: TensorData| values.iter::<f32>().collect();
    (values(tokens.x.into_data()), values(averaged.into_data()))
}

fn assert_close(found: &[f32], wanted: &[f32]) {
    let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
    assert!(found.len() == wanted.len() && found.iter().zip(wanted).all(close), "{found:?} {wanted:?}");
}

#[test]
fn tokens_and_what_they_attend_to_are_averages_by_attention_received() {
    let [one, two] = [0.95 / 2.2, 1.25 / 2.2];
    let (x, averaged) = inside_attention([0.8 / 3.0, 0.95 / 3.0, 1.25 / 3.0]);
    assert_close(&x, &[0.0, 7.0, one + 3.0 * two, 0.0]);
    assert_close(&averaged, &[5.0, 6.0, 10.0 * one, 20.0 * two]);
}

#[test]
fn what_receives_nothing_is_averaged_plainly() {
    let (x, averaged) = inside_attention([1.0, 0.0, 0.0]);
    assert_close(&x, &[0.0, 7.0, 2.0, 0.0]);
    assert_close(&averaged, &[5.0, 6.0, 5.0, 10.0]);
}

fn attended(spec: &str) -> Vec<[usize; 3]> {
    let facts = ModelFacts::new(12, 197, 1);
    let reduction = Reduction::bind(spec.parse().expect("a spec"), &facts).expect("fits");
    let layers = reduction.expected_tokens(197, 12).expect("known");
    layers.into_iter().map(|layer| [layer.compared, layer.attended, layer.fed]).collect()
}

#[test]
fn tokens_of_every_layer_are_those_of_the_published_code() {
    let number = attended("mctf:r=13");
    assert_eq!(number[..3], [[197; 3], [197, 184, 184], [184, 171, 171]]);
    assert_eq!(number[11], [67, 54, 54]);
    let share = attended("mctf:r=35%");
    assert_eq!(
        share.iter().map(|layer| layer[2]).collect::<Vec<_>>(),
        [197, 197, 197, 129, 129, 129, 85, 85, 85, 56, 56, 56]
    );
    assert_eq!(share, attended("mctf:r=35%,layer=[4,7,10]"));
    let mlp = attended("mctf:r=13,place=mlp");
    assert_eq!((mlp[0], mlp[11]), ([197, 197, 184], [54, 54, 41]));
    // Ten are left, class token included, and at most half go.
    let fed = |spec| attended(spec).into_iter().map(|layer| layer[2]).collect::<Vec<_>>();
    assert_eq!(fed("mctf:r=60"), [197, 137, 77, 39, 20, 11, 10, 10, 10, 10, 10, 10]);
}

#[test]
fn before_the_mlp_the_block_input_is_compared_and_attention_weighs() {
    let method = Mctf { place: MctfPlace::Mlp, criteria: COSINE, ..Mctf::new(Removal::Tokens(1)) };
    let wants = method.wants();
    assert_eq!((wants.metric.expect("asked for").of, wants.received), (Metric::Entered, Received::FromAll));
    let (tokens, evidence) = turned();
    let merging = merging(&method, 1, (tokens, Evidence { maps: None, ..evidence }));
    assert_eq!(merging.by.weights.as_deref(), Some(&[0.1, 0.1, 0.2, 0.1, 0.1, 0.2, 0.3][..]));
    let cost = |spec: &str| {
        let reduction =
            Reduction::bind(spec.parse().expect("a spec"), &ModelFacts::new(12, 197, 1)).expect("fits");
        [0, 1].map(|layer| reduction.matching_macs(layer, 197, 64, 192))
    };
    assert_eq!(cost("mctf:r=13"), [0.0, 99.0 * 98.0 * 192.0]);
    assert_eq!(cost("mctf:r=13,place=mlp,tau_sim=0"), [0.0; 2]);
}

#[test]
fn what_it_is_reads_back() {
    let method = Method::Mctf(Mctf {
        layers: Some(vec![4, 7]),
        directions: Directions::One,
        criteria: Criteria { similarity: 1.0, information: 0.0, size: 0.5 },
        ..Mctf::new(Removal::Share(0.35))
    });
    assert_eq!(method.to_string(), "mctf:r=35%,layer=[4,7],direction=one,tau_info=0,tau_size=0.5");
    assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    for spec in
        ["mctf:r=13", "mctf:r=13,place=mlp", "mctf:r=13,place=mlp,tau_info=20", "mctf:r=0,prop_attn=off"]
    {
        assert_eq!(spec.parse::<Method>().expect("a method").to_string(), spec);
    }
    let default = "mctf:r=13,place=mlp,tau_info=0".parse::<Method>().expect("a method");
    assert_eq!(default.to_string(), "mctf:r=13,place=mlp");
    for wrong in [
        "mctf",
        "mctf:r=0.35",
        "mctf:r=51%",
        "mctf:r=4,tau_sim=-1",
        "mctf:r=4,tau_size=inf",
        "mctf:r=4,direction=back",
        "mctf:r=4,place=block",
        "mctf:r=4,layer=[2,2]",
    ] {
        assert!(wrong.parse::<Method>().is_err(), "{wrong}");
    }
}

#[test]
fn above_a_threshold_all_pairs_merge_that_the_item_has() {
    // Of class 0; 1 and 2, 2 and 3, 3 and 4 are 45 degrees apart, which scores 0.854.
    let x = [row(1.0, 300.0), row(1.0, 0.0), row(1.0, 45.0), row(1.0, 90.0), row(1.0, 135.0)];
    let above = |limit: f64| {
        let removal = Removal::Above(limit);
        let method = Mctf { removal, criteria: COSINE, ..Mctf::new(Removal::Tokens(0)) };
        let at = At { layer: 1, depth: 12, amount: Amount::ByTokens };
        let (tokens, evidence) = item(&x, &[1.0; 5], &[0.2; 5]);
        let merging = method.merging(&at, &tokens, evidence)?;
        Some(merging.plan.groups(0).into_iter().flatten().collect::<Vec<u32>>())
    };
    // 2 proposes to 1 and 4 to 3: half of four tokens, no more.
    assert_eq!(above(0.8), Some(vec![0, 1, 1, 2, 2]));
    assert_eq!(above(0.9), None, "nothing is as alike");
    assert_eq!("mctf:above=0.8".parse::<Method>().expect("a spec").to_string(), "mctf:above=0.8");
    for wrong in ["mctf", "mctf:r=8,above=0.9", "mctf:above=1.5"] {
        assert!(wrong.parse::<Method>().is_err(), "{wrong}");
    }
}
