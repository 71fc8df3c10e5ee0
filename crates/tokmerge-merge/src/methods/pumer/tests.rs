use super::{Order, Pumer};
use crate::methods::{At, Rule};
use crate::{
    Amount, Combine, Evidence, Layout, MergePlan, Method, ModelFacts, Prefix, Reduction, ScheduleError, Site,
    Step, TokenKind, Tokens, Tome, Trace,
};
use burn::tensor::{Device, Tensor, TensorData};

/// Two words and a class token.
const TEXT: usize = 2;

fn tensor(rows: &[[f32; 2]]) -> Tensor<2> {
    let values: Vec<f32> = rows.iter().flatten().copied().collect();
    Tensor::from_data(TensorData::new(values, [rows.len(), 2]), &Device::flex())
}

/// A question of two words about patches with these keys, which receive so much attention.
fn question(keys: &[[f32; 2]], received: &[f32]) -> (Tokens, Evidence) {
    let front = [[7.0, 7.0]; TEXT + 1];
    let metric = tensor(&[&front[..], keys].concat());
    let layout = Layout::uniform(1, TEXT + 1 + keys.len());
    let prefix = Prefix::AfterText { text: [TEXT].into(), own: 1 };
    let received = [&[0.3; TEXT + 1][..], received].concat();
    (
        Tokens::new(metric.clone(), layout, prefix),
        Evidence { metric: Some(metric), received: Some(received), ..Evidence::default() },
    )
}

fn plan(method: &Pumer, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
    let amount = Amount::DropAndMerge { drop: method.prune, merge: method.merge };
    method.plan(&At { layer: 1, depth: 4, amount }, tokens, evidence)
}

/// Where the patches are afterwards, counted from the first patch.
fn patches(plan: &MergePlan) -> Vec<Option<u32>> {
    let groups = plan.groups(0);
    assert_eq!(groups[..=TEXT], [Some(0), Some(1), Some(2)], "the prefix stays");
    groups[TEXT + 1..].iter().map(|group| group.map(|group| group - 1 - TEXT as u32)).collect()
}

/// Ten patches: 3 and 8 receive least. Of the others in place 0, 2, 5 and 7 are destinations, 1, 4, 6 and 9 sources, of
/// which 4 is nearest to 0, then 9 to 7.
const KEYS: [[f32; 2]; 10] = [
    [1.0, 0.0],
    [1.0, -0.9],
    [0.0, 1.0],
    [1.0, 0.0],
    [1.0, 0.01],
    [-1.0, 0.0],
    [0.5, 0.9],
    [0.0, -1.0],
    [0.0, -1.0],
    [0.1, -1.0],
];
const RECEIVED: [f32; 10] = [0.5, 0.1, 0.4, 0.01, 0.2, 0.3, 0.6, 0.15, 0.02, 0.05];

#[test]
fn what_the_words_attend_to_least_is_dropped_and_the_most_similar_of_the_others_merge() {
    let (tokens, evidence) = question(&KEYS, &RECEIVED);
    let made = plan(&Pumer::new(0.2, 0.2), &tokens, evidence).expect("changes");
    // Sources that stay (1, 6), then the destinations 0 (with 4), 2, 5 and 7 (with 9).
    let expected = [2, 0, 3, 99, 2, 4, 1, 5, 99, 5].map(|at| (at < 99).then_some(at));
    assert_eq!(patches(&made), expected);
    assert_eq!(made.output(), &Layout::uniform(1, TEXT + 1 + 6));
    assert_eq!(made.sizes(None)[..], [1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 2.0]);
    assert!(made.to_string().contains("dropped [6, 11]"), "{made}");
}

#[test]
fn by_attention_ranks_decide_who_proposes_and_the_first_never_merges() {
    let (tokens, evidence) = question(&KEYS, &RECEIVED);
    let method = Pumer { order: Order::Attention, ..Pumer::new(0.2, 0.1) };
    let made = plan(&method, &tokens, evidence).expect("changes");
    // By rank 6, 0, 2, 5, 4, 7, 1, 9: sources 2, 4, 1, destinations 0, 5, 7, 9, and 4 is nearest to 0.
    let expected = [3, 2, 1, 99, 3, 4, 0, 5, 99, 6].map(|at| (at < 99).then_some(at));
    assert_eq!(patches(&made), expected);
}

#[test]
fn without_pruning_the_same_merges_as_in_tome() {
    let (tokens, evidence) = question(&KEYS, &RECEIVED);
    let tome =
        Tome::new(3).plan(&At { layer: 1, depth: 4, amount: Amount::Count(3) }, &tokens, evidence.clone());
    assert_eq!(plan(&Pumer::new(0.0, 0.3), &tokens, evidence), tome);
}

#[test]
fn where_nothing_merges_what_is_kept_stays_in_its_order() {
    let (tokens, evidence) = question(&KEYS, &RECEIVED);
    let made = plan(&Pumer::new(0.2, 0.0), &tokens, evidence).expect("drops");
    let expected = [0, 1, 2, 99, 3, 4, 5, 6, 99, 7].map(|at| (at < 99).then_some(at));
    assert_eq!(patches(&made), expected);
}

#[test]
fn of_equal_attention_the_first_is_kept_and_what_is_no_number_goes_first() {
    let keys = [[1.0, 0.0]; 4];
    let (tokens, evidence) = question(&keys, &[f32::NAN, 0.1, 0.1, 0.1]);
    let made = plan(&Pumer::new(0.5, 0.0), &tokens, evidence).expect("drops");
    assert_eq!(patches(&made), [None, Some(0), Some(1), None]);
    let (tokens, evidence) = question(&keys[..1], &[0.1]);
    assert_eq!(plan(&Pumer::new(0.99, 0.5), &tokens, evidence), None, "one patch stays");
}

#[test]
fn it_works_in_four_layers_as_far_as_the_model_has_them() {
    let facts =
        |depth| ModelFacts { tokens_are: TokenKind::PatchesAfterWords, ..ModelFacts::new(depth, 281, 41) };
    let layers = |spec: &str, depth| {
        let reduction = Reduction::bind(spec.parse().unwrap(), &facts(depth)).unwrap();
        let amounts = reduction.amounts().iter().enumerate();
        amounts
            .filter(|(_, amount)| **amount != Amount::NOTHING)
            .map(|(layer, _)| layer + 1)
            .collect::<Vec<_>>()
    };
    assert_eq!(layers("pumer:prune=10%,merge=30%", 12), [2, 4, 6, 8]);
    assert_eq!(layers("pumer:prune=10%,merge=30%", 5), [2, 4]);
    assert_eq!(layers("pumer:prune=10%,merge=30%,layer=[3,6,9]", 12), [3, 6, 9]);
    assert!(layers("pumer:prune=0%,merge=0%", 12).is_empty());
    let method: Method = "pumer:prune=10%,merge=30%,layer=13".parse().unwrap();
    let error = Reduction::bind(method, &facts(12)).unwrap_err().to_string();
    assert!(error.contains(&ScheduleError::Layer { layer: 13, depth: 12 }.to_string()), "{error}");
}

#[test]
fn words_do_not_merge_and_options_say_so() {
    let refused = |spec: &str| spec.parse::<Method>().unwrap_err().to_string();
    let error = refused("pumer:prune=10%,merge=30%,text=20%");
    assert!(error.contains("words never merge"), "{error}");
    assert!("pumer:prune=10%,merge=30%,text=0%".parse::<Method>().is_ok());
    assert!(refused("pumer:prune=100%,merge=30%").contains("up to 99%"));
    assert!(refused("pumer:prune=10%,merge=0.3").contains("30%"));
    assert!(refused("pumer:prune=10%,merge=30%,layer=[2,2]").contains("twice"));
    assert!(refused("pumer:prune=10%").contains("merge"));
}

#[test]
fn as_published_sizes_are_not_kept() {
    let spec = "pumer:prune=20%,merge=20%,layer=1,combine=average,prop_attn=off";
    let facts = ModelFacts { tokens_are: TokenKind::PatchesAfterWords, ..ModelFacts::new(2, 13, 3) };
    let reduction = Reduction::bind(spec.parse().unwrap(), &facts).unwrap();
    let (mut tokens, evidence) = question(&KEYS, &RECEIVED);
    tokens.size = Some((0..13).map(|row| if row == 7 { 9.0 } else { 1.0 }).collect());
    let mut trace = Trace::default();
    let left = reduction.apply(0, tokens, evidence, &mut trace);
    assert_eq!(reduction.method().to_string(), spec);
    assert!(trace.plan_at(Step { layer: 0, site: Site::InsideBlock }).is_some());
    assert_eq!(reduction.key_bias(&left), None);
    let values: Vec<f32> = left.x.into_data().iter::<f32>().collect();
    // The mean of patches 0 and 4, whatever the size of 4.
    assert!((values[2 * 5 + 1] - 0.005).abs() < 1e-6, "{values:?}");
    assert_eq!(reduction.method().spec().method, "pumer");
    assert!(matches!(reduction.method(), Method::Pumer(Pumer { combine: Combine::Average, .. })));
}
