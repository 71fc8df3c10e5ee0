//! Cases worked out by hand.

use super::pooling::heads;
use crate::{
    BindError, Evidence, Layout, MergerShape, Mergers, Method, ModelFacts, PositionUse, Reduction, Tokens,
    Trace,
};
use burn::tensor::{Device, Tensor, TensorData};
use tokmerge_nn::parameters;

/// Its weights set by path and by shape.
fn run(
    spec: &str,
    x: Vec<f32>,
    lens: &[usize],
    channels: usize,
    set: impl Fn(&str, usize) -> f32,
) -> (Reduction, Tokens, Tokens) {
    let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
    let shape = MergerShape { depth: 2, channels, joining: None };
    let mut mergers = Mergers::new(&method, shape, &Device::flex());
    mergers.at[0].1 = parameters::load(mergers.at[0].1.clone(), |path, shape| {
        let count = shape.iter().product();
        Some((0..count).map(|index| set(path, index)).collect())
    });
    let layout = Layout::from_lens(lens);
    let reduction =
        Reduction::bind(method, &ModelFacts::new(2, lens[0], 1)).expect("fits").with_mergers(mergers);
    let x = Tensor::from_data(TensorData::new(x, [layout.rows(), channels]), &Device::flex());
    let tokens = Tokens::new(x, layout, 1);
    let (pooled, _) = reduction.enter(1, tokens.clone(), Evidence::default(), &mut Trace::default());
    (reduction, tokens, pooled)
}

fn values(tokens: &Tokens) -> Vec<f32> {
    tokens.x.clone().into_data().iter::<f32>().collect()
}

fn identity(index: usize, side: usize) -> f32 {
    if index.is_multiple_of(side + 1) { 1.0 } else { 0.0 }
}

/// Normalised, the patches are (1, -1) and (-1, 1). The query scores them by `ln 3 / 2` and its opposite, so they weigh 3/4 and
/// 1/4; values are twice the patches, and the output adds (0, 5).
#[test]
fn a_query_gathers_values_of_normalised_tokens() {
    let query = 3.0_f32.ln() / 2.0 * 2.0_f32.sqrt();
    let set = |path: &str, index: usize| match path {
        "norm.weight" => 1.0,
        "queries" => [query, 0.0][index],
        "query.weight" | "key.weight" | "proj.weight" => identity(index, 2),
        "value.weight" => 2.0 * identity(index, 2),
        "proj.bias" => [0.0, 5.0][index],
        _ => 0.0,
    };
    let x = vec![7.0, 7.0, 3.0, -3.0, -2.0, 2.0, 8.0, 8.0];
    let (reduction, tokens, pooled) = run("trainable_pooling:m=1,layer=2", x, &[3, 1], 2, set);
    assert_eq!(pooled.layout, Layout::uniform(2, 2));
    let found = values(&pooled);
    let wanted = [7.0, 7.0, 1.0, 4.0, 8.0, 8.0, 0.0, 0.0];
    assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?}");
    let mixtures = reduction.mixtures(1, &tokens).expect("weights stand there");
    assert!(mixtures[0].weights(1).iter().zip([0.0, 0.75, 0.25]).all(|(a, b)| (a - b).abs() < 1e-5));
    assert_eq!((mixtures[1].inputs(), mixtures[1].outputs()), (1, 2));
}

/// Of 128 channels a head has 64: the first head looks at the one patch, the second at its opposite, and the halves of the
/// output come from different patches.
#[test]
fn every_head_attends_on_its_own() {
    let sign = |channel: usize| if channel.is_multiple_of(2) { 1.0 } else { -1.0 };
    let patch: Vec<f32> =
        (0..128).map(|channel| if channel < 64 { sign(channel) } else { -sign(channel) }).collect();
    let opposite = patch.iter().map(|value| -value);
    let x = [vec![0.5; 128], patch.clone(), opposite.collect()].concat();
    let set = |path: &str, index: usize| match path {
        "norm.weight" => 1.0,
        "queries" => 10.0 * sign(index),
        "query.weight" | "key.weight" | "value.weight" | "proj.weight" => identity(index, 128),
        _ => 0.0,
    };
    let (.., pooled) = run("trainable_pooling:m=1,layer=2", x, &[3], 128, set);
    let found = values(&pooled);
    assert!((0..128).all(|channel| (found[128 + channel] - sign(channel)).abs() < 1e-3), "{found:?}");
}

#[test]
fn heads_have_64_channels_or_as_few_more_as_divide_the_width() {
    assert_eq!([384, 192, 128, 96, 64, 32, 1, 200, 0].map(heads), [6, 3, 2, 1, 1, 1, 1, 2, 1]);
}

/// ViT-S/16 with 196 tokens: of keys and values 196, of queries and outputs 98 rows through 384 x 384, and two products.
#[test]
fn costs_are_its_products() {
    let cost = |spec: &str| {
        let method: Method = spec.parse().expect("a spec");
        Reduction::bind(method, &ModelFacts::new(12, 196, 0)).expect("fits").merger_cost(3, 196, 384)
    };
    let products = 2.0 * (196.0 + 98.0) * 384.0 * 384.0 + 2.0 * 98.0 * 196.0 * 384.0;
    assert_eq!(cost("trainable_pooling:m=98,layer=4"), (products, 196.0 * 384.0));
    assert_eq!(cost("trainable_pooling:m=98,layer=4,width=192").0, products / 2.0);
}

#[test]
fn what_it_is_reads_back_and_what_cannot_be_right_is_refused() {
    for spec in ["trainable_pooling:m=98", "trainable_pooling:m=8,layer=4,width=192"] {
        assert_eq!(spec.parse::<Method>().expect("a spec").to_string(), spec);
    }
    let error = "trainable_pooling".parse::<Method>().unwrap_err().to_string();
    assert!(error.contains("trainable_pooling needs m, e.g. trainable_pooling:m=8"), "{error}");
    let facts = ModelFacts { positions: PositionUse::Followed, ..ModelFacts::new(4, 9, 1) };
    let refused = Reduction::bind("trainable_pooling:m=2".parse().expect("a spec"), &facts);
    assert!(matches!(refused, Err(BindError::LosesPositions { .. })));
}
