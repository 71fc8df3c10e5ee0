use super::options::{COMBINES, HEADS, MATCHERS, METRICS, PARTITIONS, SIMILARITIES};
use super::{Matcher, Tome};
use crate::methods::{At, Rule};
use crate::{
    Amount, Combine, DROPPED, Evidence, KeyBias, Layout, MergePlan, Method, ModelFacts, Prefix, Reduction,
    Tokens, Trace,
};
use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;

fn tensor(rows: usize, channels: usize, values: impl Fn(usize) -> f32) -> Tensor<2> {
    let values: Vec<f32> = (0..rows * channels).map(values).collect();
    Tensor::from_data(TensorData::new(values, [rows, channels]), &Device::flex())
}

/// Values that look random and are the same on every run.
fn noise(seed: u64) -> impl Fn(usize) -> f32 {
    move |index| {
        let mut z = (index as u64).wrapping_add(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    }
}

fn tokens(lens: &[usize], prefix: usize, seed: u64) -> Tokens {
    let layout = Layout::from_lens(lens);
    Tokens::new(tensor(layout.rows(), 6, noise(seed)), layout, prefix)
}

fn evidence(tokens: &Tokens, seed: u64) -> Evidence {
    let rows = tokens.layout.rows();
    let noise_of = noise(seed.wrapping_add(77));
    Evidence {
        metric: Some(tensor(rows, 4, noise(seed.wrapping_add(5)))),
        received: Some((0..rows).map(|row| noise_of(row) + 1.0).collect()),
        ..Evidence::default()
    }
}

fn values(x: Tensor<2>) -> Vec<f32> {
    x.into_data().try_to_vec().unwrap()
}

fn plan(tome: &Tome, remove: usize, tokens: &Tokens, evidence: &Evidence) -> Option<MergePlan> {
    let at = At { layer: 3, depth: 12, amount: Amount::Count(remove) };
    tome.plan(&at, tokens, evidence.clone())
}

fn one_item(metric: &[[f32; 2]], prefix: usize) -> (Tokens, Evidence) {
    let flat: Vec<f32> = metric.iter().flatten().copied().collect();
    let tokens = tokens(&[metric.len()], prefix, 1);
    let found = Some(tensor(metric.len(), 2, |index| flat[index]));
    (tokens, Evidence { metric: found, ..Evidence::default() })
}

#[test]
fn a_text_in_front_of_an_image_changes_nothing_about_its_patches() {
    let (image, evidence) = one_item(&[[9.0, 9.0], [0.0, 1.0], [1.0, -0.5], [-1.0, 0.0], [-1.0, 0.01]], 1);
    let tome = Tome::new(1);
    let alone = plan(&tome, 1, &image, &evidence).expect("merges");
    let metric = values(evidence.metric.expect("given"));
    for text in [1, 2, 3] {
        let prefix = Prefix::AfterText { text: [text].into(), own: 1 };
        let tokens = Tokens { prefix, ..tokens(&[5 + text], 1 + text, 1) };
        let metric =
            tensor(5 + text, 2, |index| if index < 2 * text { 7.0 } else { metric[index - 2 * text] });
        let evidence = Evidence { metric: Some(metric), ..Evidence::default() };
        let merged = plan(&tome, 1, &tokens, &evidence).expect("merges").groups(0);
        let expected = alone.groups(0).into_iter().map(|group| group.map(|group| group + text as u32));
        assert_eq!(merged[text..], expected.collect::<Vec<_>>(), "{text}");
    }
}

#[test]
fn the_best_pairs_merge_and_the_order_is_prefix_sources_destinations() {
    // Positions: 0 class; odd 1, 3, 5 are destinations; even 2, 4 are sources. 4 fits 3 best, 2 fits 5 a bit.
    let metric = [[9.0, 9.0], [0.0, 1.0], [1.0, -0.5], [-1.0, 0.0], [-1.0, 0.01], [1.0, 0.0]];
    let (tokens, evidence) = one_item(&metric, 1);
    let made = plan(&Tome::new(1), 1, &tokens, &evidence).unwrap();
    // Output: class, 2, then 1, 3 (with 4), 5.
    assert_eq!(made.dst(), [0, 2, 1, 3, 3, 4]);
    assert_eq!(made.representative(), [0, 2, 1, 3, 5]);
    let both = plan(&Tome::new(2), 2, &tokens, &evidence).unwrap();
    assert_eq!(both.dst(), [0, 1, 3, 2, 2, 3]);
    assert_eq!(both.to_string(), "item 0: 6 -> 4 tokens; 2 <- [3, 4]; 3 <- [2, 5]\n");
}

#[test]
fn without_prefix_unmerged_sources_stay_in_order_of_similarity() {
    // Sources 0, 2, 4; destinations 1, 3. Best similarities: 0 -> 0.1, 2 -> 1, 4 -> 0.7 or so.
    let metric = [[0.1, -1.0], [1.0, 0.0], [2.0, 0.0], [1.0, 0.001], [1.0, -1.0]];
    let (tokens, evidence) = one_item(&metric, 0);
    let made = plan(&Tome::new(1), 1, &tokens, &evidence).unwrap();
    assert_eq!(made.representative(), [4, 0, 1, 3]);
}

#[test]
fn equal_similarities_go_to_the_lower_position() {
    let (tokens, evidence) = one_item(&[[1.0, 0.0]; 7], 1);
    let made = plan(&Tome::new(2), 2, &tokens, &evidence).unwrap();
    assert_eq!(made.representative(), [0, 6, 1, 3, 5]);
    assert_eq!(made.dst()[2], made.dst()[1]);
    assert_eq!(made.dst()[4], made.dst()[1]);
}

#[test]
fn greedy_takes_disjoint_pairs_from_the_best_down() {
    let metric = [[5.0, 5.0], [1.0, 0.0], [1.0, 0.01], [1.0, 0.02], [-1.0, 0.0], [0.0, 1.0]];
    let (tokens, evidence) = one_item(&metric, 1);
    let greedy = Tome { matcher: Matcher::Greedy, ..Tome::new(2) };
    let made = plan(&greedy, 2, &tokens, &evidence).unwrap();
    let together = |a: usize, b: usize| made.dst()[a] == made.dst()[b];
    assert!(together(1, 2) || together(2, 3), "{made}");
    assert_eq!(made.output().rows(), 4);
}

#[test]
fn kmeans_finds_obvious_clusters() {
    let metric = [[9.0, -9.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.01], [0.01, 1.0], [1.0, 0.02], [-1.0, -1.0]];
    let (tokens, evidence) = one_item(&metric, 1);
    let kmeans = Tome { matcher: Matcher::KMeans { iterations: 5 }, ..Tome::new(3) };
    let made = plan(&kmeans, 3, &tokens, &evidence).unwrap();
    assert_eq!(made.dst(), [0, 1, 2, 1, 2, 1, 3]);
}

#[test]
fn attention_pruning_drops_the_least_attended() {
    let tokens = tokens(&[5], 1, 1);
    let received = Some(vec![0.0, 0.3, 0.1, 0.4, 0.2]);
    let prune = Tome { matcher: Matcher::AttentionPrune, ..Tome::new(2) };
    let made = plan(&prune, 2, &tokens, &Evidence { received, ..Evidence::default() }).unwrap();
    assert_eq!(made.dst(), [0, 1, DROPPED, 2, DROPPED]);
}

#[test]
fn every_way_to_combine_does_what_it_says() {
    let x = tensor(4, 2, |index| [1.0, -4.0, 2.0, 8.0, 5.0, 5.0, 0.0, 0.0][index]);
    let tokens =
        Tokens { size: Some(vec![3.0, 1.0, 1.0, 1.0].into()), ..Tokens::new(x, Layout::uniform(1, 4), 0) };
    // Rows 0 and 1 become row 1, whose place is row 1's.
    let layout = Layout::uniform(1, 3);
    let plan = MergePlan::new(vec![1, 1, 0, 2], vec![2, 1, 3], tokens.layout.clone(), layout).unwrap();
    let merged = |combine| values(plan.merge(tokens.x.clone(), &tokens.sizes(), combine))[2..4].to_vec();
    assert_eq!(merged(Combine::WeightedAverage), [1.25, -1.0]);
    assert_eq!(merged(Combine::Average), [1.5, 2.0]);
    assert_eq!(merged(Combine::Max), [2.0, 8.0]);
    assert_eq!(merged(Combine::KeepOne), [2.0, 8.0]);
    assert_eq!(tokens.merge(&plan, Combine::Max).sizes().as_ref(), [1.0, 4.0, 1.0]);
}

#[test]
fn specs_of_every_choice_read_back() {
    let base = Tome::new(5);
    let mut all = vec![base.clone()];
    all.extend(MATCHERS.iter().map(|&(_, matcher)| Tome { matcher, ..base.clone() }));
    all.extend(SIMILARITIES.iter().map(|&(_, similarity)| Tome { similarity, ..base.clone() }));
    all.extend(COMBINES.iter().map(|&(_, combine)| Tome { combine, ..base.clone() }));
    all.extend(PARTITIONS.iter().map(|&(_, partition)| Tome { partition, seed: 9, ..base.clone() }));
    for (&(_, of), &(_, heads)) in METRICS.iter().zip(HEADS.iter().cycle()) {
        all.push(Tome { metric: crate::MetricRequest { of, heads }, ..base.clone() });
    }
    for tome in all {
        let method = Method::Tome(tome);
        assert_eq!(method.to_string().parse::<Method>().unwrap(), method, "{method}");
    }
    for spec in [
        "tome:r=16,inflect=-1",
        "tome:r=16,inflect=-1,rounding=exact",
        "tome:r=[3,2,1]",
        "tome:r=8,feature=x_pre,unmerge=on,last=cls,recheck=0.5",
    ] {
        assert_eq!(spec.parse::<Method>().unwrap().to_string(), spec);
    }
    for wrong in [
        "tome:r=-1",
        "tome:r=1.5",
        "tome:r=[1,x]",
        "tome:r=2,inflect=2",
        "tome:r=[1],inflect=1",
        "tome:r=1,matcher=attention_prune,feature=x_pre",
        "tome:r=1,unmerge=on",
        "tome:r=1,iterations=2",
        "tome:r=1,matcher=kmeans,iterations=0",
        "tome:r=99999999999999999999",
    ] {
        assert!(wrong.parse::<Method>().is_err(), "{wrong}");
    }
}

#[test]
fn a_schedule_that_asks_for_all_tokens_is_refused() {
    let facts = ModelFacts::new(12, 197, 1);
    let error = Reduction::bind("tome:r=200".parse().unwrap(), &facts).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("200") && message.contains("197") && message.contains("98"), "{message}");
    assert!(Reduction::bind("tome:r=[1,1,1,1,1,1,1,1,1,1,1,1,1]".parse().unwrap(), &facts).is_err());
    assert!(Reduction::bind("tome:r=98".parse().unwrap(), &facts).is_ok());
}

#[test]
fn auto_follows_the_weights() {
    let merged = Tokens { size: Some(vec![2.0, 1.0].into()), ..tokens(&[2], 0, 1) };
    for (spec, auto, biased) in [
        ("tome:r=1", KeyBias::LogSize, true),
        ("tome:r=1", KeyBias::None, false),
        ("tome:r=1,prop_attn=on", KeyBias::None, true),
        ("tome:r=1,prop_attn=off", KeyBias::LogSize, false),
    ] {
        let facts = ModelFacts { key_bias: auto, ..ModelFacts::new(2, 10, 0) };
        let reduction = Reduction::bind(spec.parse().unwrap(), &facts).unwrap();
        assert_eq!(reduction.key_bias(&merged).is_some(), biased, "{spec}");
        assert_eq!(reduction.key_bias(&tokens(&[2], 0, 1)), None, "sizes of one need no bias");
    }
}

/// All matchers, by every partition where it matters.
fn all_matchers() -> impl Iterator<Item = Tome> {
    MATCHERS.iter().flat_map(|&(_, matcher)| {
        PARTITIONS.iter().map(move |&(_, partition)| Tome { matcher, partition, ..Tome::new(1) })
    })
}

fn is_pruning(tome: &Tome) -> bool {
    matches!(tome.matcher, Matcher::RandomPrune | Matcher::AttentionPrune)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// What every method promises, over odd and even lengths, prefixes of 0 to 2 and ragged batches.
    #[test]
    fn contract(
        lens in prop::collection::vec(0usize..14, 1..4), prefix in 0usize..3, remove in 0usize..9, seed: u64,
    ) {
        let tokens = tokens(&lens, prefix, seed);
        let evidence = evidence(&tokens, seed);
        for tome in all_matchers() {
            let Some(plan) = plan(&tome, remove, &tokens, &evidence) else {
                prop_assert!(lens.iter().all(|&len| crate::mergeable(remove, len, prefix) == 0));
                continue;
            };
            // A plan is well formed and says what it did in numbers.
            let rebuilt = MergePlan::new(plan.dst(), plan.representative(), plan.input().clone(), plan.output().clone());
            prop_assert_eq!(rebuilt.as_ref(), Ok(&plan));
            for (item, &len) in lens.iter().enumerate() {
                prop_assert_eq!(plan.output().range(item).len(), len - crate::mergeable(remove, len, prefix));
                // Prefix tokens stay in front and alone.
                let groups = plan.groups(item);
                for position in 0..prefix.min(len) {
                    prop_assert_eq!(groups[position], Some(position as u32));
                    prop_assert_eq!(groups.iter().filter(|g| **g == Some(position as u32)).count(), 1);
                }
            }
            // Mass is conserved, except by pruning.
            let merged = tokens.clone().merge(&plan, Combine::WeightedAverage);
            let mass: f32 = merged.sizes().iter().sum();
            if is_pruning(&tome) {
                prop_assert_eq!(mass as usize, plan.output().rows());
            } else {
                prop_assert_eq!(mass as usize, tokens.layout.rows());
            }
            // Unmerging is a projection: doing it twice is doing it once.
            let back = plan.unmerge(merged.x.clone());
            let again = plan.unmerge(plan.merge(back.clone(), &tokens.sizes(), Combine::KeepOne));
            prop_assert_eq!(values(again), values(back));
            // A saved plan reads back.
            let saved = serde_json::to_string(&plan).unwrap();
            prop_assert_eq!(&serde_json::from_str::<MergePlan>(&saved).unwrap(), &plan);
        }
    }

    /// An item in a batch is treated as if it were alone.
    #[test]
    fn items_do_not_see_each_other(
        lens in prop::collection::vec(0usize..14, 2..4), prefix in 0usize..3, remove in 1usize..7, seed: u64,
    ) {
        let batch = tokens(&lens, prefix, seed);
        let all = evidence(&batch, seed);
        for tome in all_matchers() {
            let together = plan(&tome, remove, &batch, &all);
            for item in 0..lens.len() {
                let range = batch.layout.range(item);
                let x = batch.x.clone().slice([range.clone(), 0..6]);
                let alone = Tokens::new(x, Layout::uniform(1, range.len()), prefix);
                let its = Evidence {
                    metric: all.metric.clone().map(|f| f.slice([range.clone(), 0..4])),
                    received: all.received.clone().map(|received| received[range.clone()].to_vec()),
                    ..Evidence::default()
                };
                let expected = plan(&tome, remove, &alone, &its);
                let groups = |plan: &Option<MergePlan>, item: usize| match plan {
                    Some(plan) => plan.groups(item),
                    None => (0..range.len() as u32).map(Some).collect(),
                };
                prop_assert_eq!(groups(&together, item), groups(&expected, 0));
            }
        }
    }

    #[test]
    fn composition_is_associative_and_traces_follow_tokens(seed: u64, prefix in 0usize..3) {
        let facts = ModelFacts::new(3, 13, prefix);
        let reduction = Reduction::bind("tome:r=2".parse().unwrap(), &facts).unwrap();
        let (mut now, mut trace) = (tokens(&[13, 13], prefix, seed), Trace::default());
        for layer in 0..3 {
            let evidence = evidence(&now, seed.wrapping_add(layer));
            now = reduction.apply(layer as usize, now, evidence, &mut trace);
        }
        let plans: Vec<_> = trace.plans().map(|(_, plan)| plan.clone()).collect();
        prop_assert_eq!(plans[0].then(&plans[1]).then(&plans[2]), plans[0].then(&plans[1].then(&plans[2])));
        let whole = trace.plan_until(None).unwrap();
        prop_assert_eq!(whole.sizes(None), now.sizes());
        let expected: Vec<_> = [(13, 11), (11, 9), (9, 7)].map(|(entered, fed)| crate::LayerTokens { entered, joined: 0, compared: entered, attended: entered, fed }).to_vec();
        prop_assert_eq!(trace.layer_tokens(1, 13, 3), expected.clone());
        prop_assert_eq!(reduction.expected_tokens(13, 3), Some(expected));
    }
}

#[test]
fn block_inputs_merge_before_attention() {
    let facts = ModelFacts::new(2, 9, 1);
    let reduction = Reduction::bind("tome:r=3,feature=x_pre".parse().unwrap(), &facts).unwrap();
    let mut trace = Trace::default();
    let (merged, _) = reduction.enter(0, tokens(&[9, 9], 1, 4), Evidence::default(), &mut trace);
    assert_eq!(merged.layout, Layout::uniform(2, 6));
    let after = reduction.apply(0, merged, Evidence::default(), &mut trace);
    assert_eq!((after.layout, trace.plans().count()), (Layout::uniform(2, 6), 1));
    assert_eq!(trace.layer_tokens(0, 9, 1)[0].attended, 6);
}

#[test]
fn a_metric_that_is_no_number_still_makes_a_plan() {
    let broken = tensor(8, 4, |index| [f32::NAN, f32::INFINITY, 0.0][index % 3]);
    let tokens = tokens(&[8], 1, 1);
    let evidence =
        Evidence { metric: Some(broken), received: Some(vec![f32::NAN; 8]), ..Evidence::default() };
    for tome in all_matchers() {
        assert_eq!(plan(&tome, 3, &tokens, &evidence).unwrap().output().rows(), 5);
    }
}

#[test]
fn around_a_block_every_token_changes_as_its_merged_token_does() {
    let reduction =
        Reduction::bind("tome:r=1,feature=x_pre,unmerge=on".parse().unwrap(), &ModelFacts::new(2, 4, 1));
    let reduction = reduction.unwrap();
    // Position 2 merges into 1; class token and 3 stay alone.
    let rows = [[9.0, 9.0], [1.0, 0.0], [3.0, 0.0], [0.0, 5.0]];
    let x = tensor(4, 2, |index| rows.as_flattened()[index]);
    let mut trace = Trace::default();
    let (merged, held) =
        reduction.enter(0, Tokens::new(x, Layout::uniform(1, 4), 1), Evidence::default(), &mut trace);
    assert_eq!(values(merged.x.clone()), [9.0, 9.0, 2.0, 0.0, 0.0, 5.0]);
    assert_eq!(merged.sizes().as_ref(), [1.0, 2.0, 1.0]);
    let block = values(merged.x.clone() * 2.0 + 1.0);
    let after = reduction.leave(merged.with(tensor(3, 2, |index| block[index])), held);
    // The merged token went from (2, 0) to (5, 1): its members move by (3, 1).
    assert_eq!(values(after.x), [19.0, 19.0, 4.0, 1.0, 6.0, 1.0, 1.0, 11.0]);
    assert_eq!((after.layout, after.size), (Layout::uniform(1, 4), None));
    // Nothing is merged afterwards, but the block worked on fewer tokens.
    assert_eq!((trace.plan_until(None), trace.plans().count(), trace.records().len()), (None, 0, 1));
    assert_eq!(
        trace.layer_tokens(0, 4, 2)[0],
        crate::LayerTokens { entered: 4, joined: 0, compared: 3, attended: 3, fed: 3 }
    );
    assert_eq!(trace.tokens_left(0, 4), 4);
    assert_eq!(
        reduction.expected_tokens(4, 2).unwrap(),
        [crate::LayerTokens { entered: 4, joined: 0, compared: 3, attended: 3, fed: 3 }; 2]
    );
}

#[test]
fn around_the_last_block_nothing_comes_back_where_only_the_prefix_goes_on() {
    let spec = "tome:r=1,feature=x_pre,unmerge=on,last=cls".parse().unwrap();
    let reduction = Reduction::bind(spec, &ModelFacts::new(1, 5, 1)).unwrap();
    let (batch, mut trace) = (tokens(&[5], 1, 4), Trace::default());
    let (merged, held) = reduction.enter(0, batch, Evidence::default(), &mut trace);
    let after = reduction.leave(reduction.apply(0, merged, Evidence::default(), &mut trace), held);
    assert_eq!(after.layout, Layout::uniform(1, 1));
    let expected = reduction.expected_tokens(5, 1).unwrap();
    assert_eq!((trace.layer_tokens(0, 5, 1), expected[0].fed), (expected, 1));
    assert_eq!(trace.tokens_left(0, 5), 5);
}

#[test]
fn a_merge_that_nobody_would_read_is_skipped_and_counted() {
    let reduction = Reduction::bind("tome:r=3".parse().unwrap(), &ModelFacts::new(1, 9, 1)).unwrap();
    let (batch, mut trace) = (tokens(&[9, 4], 1, 4), Trace::default());
    reduction.skip_last(0, batch.layout.clone(), batch.prefix.clone(), &mut trace);
    let (from, skip) = trace.last_block_skip().unwrap();
    assert_eq!((from.layer, skip.merges_skipped, skip.prefix.common()), (0, Amount::Count(3), Some(1)));
    assert_eq!([trace.tokens_left(0, 9), trace.tokens_left(1, 4)], [6, 3], "at most half of what may merge");
    assert_eq!(
        trace.layer_tokens(0, 9, 1)[0],
        crate::LayerTokens { entered: 9, joined: 0, compared: 9, attended: 9, fed: 6 }
    );
    assert_eq!(trace.plan_until(None), None);
}
