use super::{CompressionRates, Diffrate, PublishedRates};
use crate::{
    AttentionMap, BindError, Evidence, KeyBias, Layout, Method, ModelFacts, Reduction, ScheduleError, Tokens,
    Trace,
};
use burn::tensor::{Device, Tensor, TensorData};

fn tensor(rows: &[[f32; 2]]) -> Tensor<2> {
    let values: Vec<f32> = rows.iter().flatten().copied().collect();
    Tensor::from_data(TensorData::new(values, [rows.len(), 2]), &Device::flex())
}

/// One class row for every item, in two heads that differ from it by as much.
fn evidence(x: Tensor<2>, rows: &[&[f32]]) -> Evidence {
    let map = |row: &&[f32]| {
        let shifted = |by: f32| row.iter().map(move |value| value + by);
        let values = shifted(0.01).chain(shifted(-0.01)).collect();
        AttentionMap { heads: 2, queries: 1, keys: row.len(), values }
    };
    Evidence { metric: Some(x), maps: Some(rows.iter().map(map).collect()), ..Evidence::default() }
}

fn bind(spec: &str, facts: &ModelFacts) -> Result<Reduction, BindError> {
    Reduction::bind(spec.parse().unwrap_or_else(|error| panic!("{error}")), facts)
}

/// A class token and five patches, the first of which stands for two; and a class token and three patches.
fn batch() -> (Tokens, Evidence) {
    let class = [9.0, 9.0];
    let x = tensor(&[
        class,
        [4.0, 3.0],
        [1.0, 0.0],
        [8.0, 8.0],
        [3.0, 4.0],
        [0.0, 2.0],
        class,
        [1.0, 0.0],
        [0.0, 1.0],
        [-1.0, -2.0],
    ]);
    let mut tokens = Tokens::new(x.clone(), Layout::from_lens(&[6, 4]), 1);
    tokens.size = Some([1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0].into());
    let rows: [&[f32]; 2] = [&[0.1, 0.1, 0.3, 0.05, 0.2, 0.25], &[0.1, 0.4, 0.4, 0.1]];
    (tokens, evidence(x, &rows))
}

#[test]
fn the_last_are_dropped_and_those_before_them_merge_into_the_first() {
    let reduction = bind("diffrate:prune=[9,5],merge=[9,3]", &ModelFacts::new(3, 6, 1)).expect("fits");
    let (tokens, evidence) = batch();
    let mut trace = Trace::default();
    let after = reduction.apply(1, tokens, evidence, &mut trace);
    // By attention 2, 5, 4, 1 and 3: 3 is dropped, 4 is nearest to 5 (0.8), 1 to 2 (0.8). Of the other item nothing is
    // dropped, and 3 is nearer to 1, though not alike: it weighs nothing more.
    let found: Vec<f32> = after.x.clone().into_data().iter().collect();
    assert_eq!(found, [9.0, 9.0, 2.5, 1.5, 1.5, 3.0, 9.0, 9.0, 0.0, -1.0, 0.0, 1.0]);
    let sizes = [1.0, 2.6, 1.8, 1.0, 1.0, 1.0];
    assert!(after.sizes().iter().zip(sizes).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", after.sizes());
    let plan = trace.plan_until(None).expect("merged");
    assert_eq!(plan.groups(0), [Some(0), Some(1), Some(1), None, Some(2), Some(2)]);
    assert_eq!(plan.groups(1), [Some(0), Some(1), Some(2), Some(1)]);
    assert!(reduction.key_bias(&after).is_some(), "attention weighs tokens by size");
}

#[test]
fn each_list_works_alone_and_counts_that_no_item_has_change_nothing() {
    let facts = ModelFacts::new(3, 6, 1);
    let (tokens, evidence) = batch();
    let mut trace = Trace::default();
    let pruned = bind("diffrate:prune=[4]", &facts).expect("fits").apply(0, tokens, evidence, &mut trace);
    let found: Vec<f32> = pruned.x.into_data().iter().step_by(2).collect();
    assert_eq!(found, [9.0, 1.0, 0.0, 3.0, 9.0, 1.0, 0.0, -1.0]);
    assert_eq!(trace.plan_until(None).expect("dropped").groups(0)[1..4], [None, Some(1), None]);

    let same = bind("diffrate:prune=[6,8],merge=[6]", &facts).expect("fits");
    assert!((0..3).all(|layer| same.wants(layer) == crate::Wants::default()));
    let without = ModelFacts { key_bias: KeyBias::None, ..facts };
    let on = bind("diffrate:merge=[3]", &without).expect("fits");
    assert!(on.key_bias(&batch().0).is_some());
    let auto = bind("diffrate:merge=[3],prop_attn=auto", &without).expect("fits");
    assert!(auto.key_bias(&batch().0).is_none());
}

#[test]
fn the_published_schedules_leave_what_they_say_and_cost_what_was_counted() {
    let reduction = bind("diffrate:schedule=deit_ti_0.8", &ModelFacts::new(12, 197, 1)).expect("fits");
    let layers = reduction.expected_tokens(197, 12).expect("known");
    let fed: Vec<usize> = layers.iter().map(|layer| layer.fed).collect();
    assert_eq!(fed, [197, 196, 190, 172, 154, 125, 107, 96, 84, 78, 70, 3]);
    let macs = |(layer, tokens): (usize, &crate::LayerTokens)| {
        reduction.matching_macs(layer, tokens.compared, 64, 192)
    };
    // (P - m) m 192 over all layers.
    assert_eq!(layers.iter().enumerate().map(macs).sum::<f64>(), 2_148_864.0);
    // A distillation token is left besides.
    let distilled = bind("diffrate:schedule=deit_s_2.3", &ModelFacts::new(12, 198, 2)).expect("fits");
    let layers = distilled.expected_tokens(198, 12).expect("known");
    assert_eq!((layers[1].fed, layers[11].fed), (181, 4));
}

#[test]
fn what_it_is_reads_back_and_what_does_not_fit_is_refused() {
    let published = CompressionRates::Published(PublishedRates::DeitSmall29);
    let method = Method::Diffrate(Diffrate::new(published));
    assert_eq!(method.to_string(), "diffrate:schedule=deit_s_2.9");
    assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    let text = "diffrate:prune=[40,20],merge=[30,20],prop_attn=off,last=cls";
    assert_eq!(text.parse::<Method>().expect("a spec").to_string(), text);
    let method = Method::Diffrate(Diffrate::new(CompressionRates::Learned { target: 0.6 }));
    assert_eq!(method.to_string(), "diffrate:target=60%");
    assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    for (wrong, why) in [
        ("diffrate", "needs schedule, prune or merge"),
        ("diffrate:schedule=deit_b", "deit_s_2.9, deit_s_2.3"),
        ("diffrate:prune=20", "a list"),
        ("diffrate:prune=[20,1]", "from 2"),
        ("diffrate:schedule=deit_s_2.9,merge=[20]", "give that, or prune and merge"),
        ("diffrate:target=101%", "below 100%"),
        ("diffrate:target=60%,merge=[20]", "give that, or a schedule, or prune and merge"),
        ("diffrate:schedule=resampled,target=60%", "give that, or a schedule, or prune and merge"),
    ] {
        let error = wrong.parse::<Method>().expect_err(wrong).to_string();
        assert!(error.contains(why), "{error}");
    }
    let error = bind("diffrate:prune=[9],merge=[9,8,7,6]", &ModelFacts::new(3, 10, 1)).unwrap_err();
    let source = ScheduleError::TooManyLayers { given: 4, depth: 3 };
    assert!(matches!(error, BindError::Schedule { source: found, .. } if found == source));
    let error = bind("diffrate:prune=[9]", &ModelFacts::new(3, 10, 0)).unwrap_err();
    assert!(matches!(error, BindError::NoClassToken { .. }), "{error}");
}
