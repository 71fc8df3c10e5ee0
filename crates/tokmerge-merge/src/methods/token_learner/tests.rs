//! Cases worked out by hand.

use super::{Learner, Scorer};
use crate::mergers::Merger;
use crate::{
    BindError, Evidence, Layout, MergerShape, Mergers, Method, ModelFacts, PositionUse, Reduction, Tokens,
    Trace,
};
use burn::tensor::{Device, Tensor, TensorData};
use tokmerge_nn::parameters;

/// Rows that LayerNorm brings to length one, `(1, -1)` or `(-1, 1)`, of this sign and size.
fn rows(sizes: &[f32]) -> Vec<f32> {
    sizes.iter().flat_map(|size| [*size, -*size]).collect()
}

fn tokens(x: Vec<f32>, lens: &[usize], prefix: usize) -> Tokens {
    let layout = Layout::from_lens(lens);
    Tokens::new(Tensor::from_data(TensorData::new(x, [layout.rows(), 2]), &Device::flex()), layout, prefix)
}

fn values(tokens: &Tokens) -> Vec<f32> {
    tokens.x.clone().into_data().iter::<f32>().collect()
}

fn close(given: &[f32], wanted: &[f32]) {
    assert_eq!(given.len(), wanted.len(), "{given:?} {wanted:?}");
    assert!(given.iter().zip(wanted).all(|(x, y)| (x - y).abs() < 1e-4), "{given:?} is not {wanted:?}");
}

/// Its weights set by path, all others zero but for norms.
fn reduction(
    spec: &str,
    grid: (usize, usize),
    prefix: usize,
    set: impl Fn(&str, usize) -> Option<f32>,
) -> Reduction {
    let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
    let shape = MergerShape { depth: 2, channels: 2, joining: None };
    let mut mergers = Mergers::new(&method, shape, &Device::flex());
    for (_, merger) in &mut mergers.at {
        *merger = parameters::load(merger.clone(), |path, shape| {
            let count = shape.iter().product();
            let rest = if path.contains("norm") && path.ends_with("weight") { 1.0 } else { 0.0 };
            Some((0..count).map(|index| set(path, index).unwrap_or(rest)).collect())
        });
    }
    let facts = ModelFacts { grid: Some(grid), ..ModelFacts::new(2, grid.0 * grid.1 + prefix, prefix) };
    Reduction::bind(method, &facts).unwrap_or_else(|error| panic!("{error}")).with_mergers(mergers)
}

/// The first hidden channel is ten times the first channel of a patch, through GELU: 10 or 0.
fn ten(path: &str, index: usize) -> Option<f32> {
    (path.ends_with("fc1.weight") && index == 0).then_some(10.0)
}

/// Token 0 scores ln 3 for patches of the one sign and 0 for those of the other, token 1 scores all alike.
#[test]
fn softmax_over_the_patches_weighs_patches_themselves() {
    let score = 3.0_f32.ln() / 10.0;
    let set = |path: &str, index: usize| match (path, index) {
        ("scorer.fc2.weight", 0) => Some(score),
        _ => ten(path, index),
    };
    let reduction = reduction("tokenlearner:tokens=2,layer=2", (1, 3), 1, set);
    let batch = tokens(rows(&[9.0, 2.0, -1.0, 1.0]), &[4], 1);
    let (learned, _) = reduction.enter(1, batch, Evidence::default(), &mut Trace::default());
    // (3 * 2 - 1 + 3 * 1) / 7, and (2 - 1 + 1) / 3.
    close(&values(&learned), &rows(&[9.0, 8.0 / 7.0, 2.0 / 3.0]));
}

/// The last convolution looks to the right alone, the others at their own place.
#[test]
fn convolutions_see_neighbours_on_the_grid_and_nothing_beyond_it() {
    let score = 3.0_f32.ln() / 10.0;
    let set = |path: &str, index: usize| match (path, index) {
        ("scorer.convs.0", 4) => Some(10.0),
        ("scorer.convs.1" | "scorer.convs.2", 4) => Some(1.0),
        ("scorer.convs.3", 5) => Some(score),
        _ => None,
    };
    // + - - above - + +: right of the fourth and of the fifth is a plus, and these weigh 3/4, the others 1/2.
    let sizes = [1.0, -2.0, -3.0, -4.0, 5.0, 6.0];
    let sum = (1.0 - 2.0 - 3.0 + 6.0) / 2.0 + (-4.0 + 5.0) * 0.75;
    for (pool, wanted) in [("sum", sum), ("mean", sum / 6.0)] {
        let spec = format!("tokenlearner:tokens=1,layer=1,form=v1,pool={pool}");
        let reduction = reduction(&spec, (2, 3), 0, set);
        let batch = tokens(rows(&sizes), &[6], 0);
        let (learned, _) = reduction.enter(0, batch, Evidence::default(), &mut Trace::default());
        close(&values(&learned), &rows(&[wanted]));
    }
}

#[test]
fn a_fresh_fuser_adds_nothing_and_the_prefix_is_what_the_block_made_of_it() {
    let method: Method = "tokenlearner:tokens=3,layer=1,fuse=on".parse().expect("a spec");
    let reduction = Reduction::bind(method, &ModelFacts::new(2, 4, 1))
        .expect("fits")
        .with_fresh_mergers(2, &Device::flex());
    let batch = tokens(rows(&[9.0, 2.0, -1.0, 1.0, 7.0, 3.0]), &[4, 2], 1);
    for layer in [0, 1] {
        let (learned, held) =
            reduction.enter(layer, batch.clone(), Evidence::default(), &mut Trace::default());
        assert_eq!(learned.layout, Layout::uniform(2, 4));
        let block = learned.x.clone() + 1.0;
        let after = reduction.leave(learned.with(block), held);
        assert_eq!(after.layout, batch.layout);
        close(
            &values(&after),
            &[vec![10.0, -8.0], rows(&[2.0, -1.0, 1.0]), vec![8.0, -6.0], rows(&[3.0])].concat(),
        );
    }
}

/// A patch of the one sign takes 3/4 of token 0, one of the other 1/2; of token 1 all take half. Tokens swap places first.
#[test]
fn patches_choose_what_they_take_of_mixed_tokens() {
    let score = 3.0_f32.ln() / 10.0;
    let set = |path: &str, index: usize| match (path, index) {
        ("fuser.mix", 1 | 2) => Some(1.0),
        ("fuser.mlp.fc2.weight", 0) => Some(score),
        _ if path.starts_with("fuser") => ten(path, index),
        _ => None,
    };
    let reduction = reduction("tokenlearner:tokens=2,layer=2,fuse=on", (1, 2), 1, set);
    let batch = tokens(rows(&[9.0, 2.0, -3.0]), &[3], 1);
    let (learned, held) = reduction.enter(1, batch, Evidence::default(), &mut Trace::default());
    // Norms make (1, -1) and (-1, 1) of these, which change places: token 0 is (-1, 1) then.
    let block = tokens(rows(&[8.0, 5.0, -4.0]), &[3], 1);
    let after = reduction.leave(learned.with(block.x), held);
    close(&values(&after), &rows(&[8.0, 2.0 - 0.75 + 0.5, -3.0 - 0.5 + 0.5]));
}

#[test]
fn items_without_patches_become_zeros_and_come_back_as_they_were() {
    for spec in ["tokenlearner:tokens=2,layer=1,fuse=on", "tokenlearner:tokens=2,layer=1,form=v1"] {
        let reduction = reduction(spec, (1, 2), 1, |_, _| None);
        let batch = tokens(rows(&[1.0, 2.0, 3.0]), &[1, 2, 0], 1);
        let (learned, held) = reduction.enter(0, batch.clone(), Evidence::default(), &mut Trace::default());
        assert_eq!(learned.layout, Layout::from_lens(&[3, 3, 2]), "{spec}");
        close(&values(&learned)[..6], &[1.0, -1.0, 0.0, 0.0, 0.0, 0.0]);
        let after = reduction.leave(learned, held);
        if reduction.method().inflates() {
            assert_eq!((after.layout, after.x.dims()), (batch.layout, [3, 2]));
        }
    }
}

/// What is not the model's grid is a row: convolutions see it so, and so does the learner of a model that has no grid.
#[test]
fn other_numbers_of_patches_are_a_row() {
    let set = |path: &str, index: usize| path.starts_with("scorer").then_some(0.01 * index as f32 - 0.1);
    let run = |grid: (usize, usize)| {
        let reduction = reduction("tokenlearner:tokens=1,layer=1,form=v1", grid, 0, set);
        let batch = tokens(rows(&[1.0, -2.0, 3.0, 4.0]), &[4], 0);
        values(&reduction.enter(0, batch, Evidence::default(), &mut Trace::default()).0)
    };
    assert_eq!(run((2, 3)), run((1, 4)));
    assert_ne!(run((2, 2)), run((1, 4)));
}

#[test]
fn costs_are_the_products_of_scores_and_mixing() {
    let cost = |spec: &str| {
        let method: Method = spec.parse().expect("a spec");
        let facts = ModelFacts { grid: Some((14, 14)), ..ModelFacts::new(12, 197, 1) };
        Reduction::bind(method, &facts).expect("fits").merger_cost(6, 197, 384)
    };
    assert_eq!(
        cost("tokenlearner"),
        (196.0 * (64.0 * 384.0 + 64.0 * 8.0) + 8.0 * 196.0 * 384.0, 196.0 * 384.0)
    );
    let v1 = 196.0 * 9.0 * (384.0 * 8.0 + 3.0 * 64.0) + 8.0 * 196.0 * 384.0;
    assert_eq!(cost("tokenlearner:form=v1").0, v1);
    assert_eq!(cost("tokenlearner:fuse=on").0, 2.0 * cost("tokenlearner").0 + 64.0 * 384.0);
    assert_eq!(cost("tokenlearner:layer=8").0, 0.0);
}

#[test]
fn what_cannot_be_right_is_refused() {
    let spec = |spec: &str| spec.parse::<Method>().unwrap_err().to_string();
    assert!(spec("tokenlearner:pool=mean").contains("pool=mean belongs to form=v1"));
    assert!(spec("tokenlearner:tokens=0").contains("a whole number from 1"));
    let bind = |spec: &str, facts: &ModelFacts| {
        Reduction::bind(spec.parse().expect("a spec"), facts).expect_err("refused")
    };
    let facts = ModelFacts::new(4, 9, 1);
    assert!(matches!(bind("tokenlearner:form=v1", &facts), BindError::NoGrid { .. }));
    assert!(bind("tokenlearner:layer=5", &facts).to_string().contains("no place at layer 5"));
    let rotary = ModelFacts { positions: PositionUse::Followed, ..facts };
    assert!(matches!(bind("tokenlearner", &rotary), BindError::LosesPositions { .. }));
    for spec in ["tokenlearner", "tokenlearner:tokens=4,layer=3,form=v1,pool=mean,fuse=on"] {
        assert_eq!(spec.parse::<Method>().expect("a spec").to_string(), spec);
    }
}

#[test]
fn a_grid_is_told_when_weights_are_given() {
    let reduction = reduction("tokenlearner:layer=1,form=v1", (2, 2), 0, |_, _| None);
    let mergers = Mergers::new(
        reduction.method(),
        MergerShape { depth: 2, channels: 2, joining: None },
        &Device::flex(),
    );
    let [(0, Merger::Learner(learner))] = &mergers.placed(Some((2, 2)), None).at[..] else {
        panic!("a learner")
    };
    let Learner { scorer: Scorer::Convolutions(convolutions), .. } = learner else { panic!("convolutions") };
    assert_eq!((learner.size(4), learner.size(5), convolutions.convs.len()), ((2, 2), (1, 5), 4));
}
