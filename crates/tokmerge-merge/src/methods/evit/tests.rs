use super::Evit;
use crate::{AttentionMap, Evidence, Layout, Method, ModelFacts, Reduction, Rest, Tokens, Trace};
use burn::tensor::{Device, Tensor, TensorData};

fn tokens(values: &[f32], lens: &[usize]) -> Tokens {
    let x = Tensor::from_data(TensorData::new(values.to_vec(), [values.len(), 1]), &Device::flex());
    Tokens::new(x, Layout::from_lens(lens), 1)
}

/// One class row for every item, the same in two heads.
fn evidence(rows: &[&[f32]]) -> Evidence {
    let map =
        |row: &&[f32]| AttentionMap { heads: 2, queries: 1, keys: row.len(), values: [*row, *row].concat() };
    Evidence { maps: Some(rows.iter().map(map).collect()), ..Evidence::default() }
}

fn applied(spec: &str, tokens: Tokens, evidence: Evidence) -> (Tokens, Trace) {
    let method: Method = spec.parse().expect("a spec");
    let reduction = Reduction::bind(method, &ModelFacts::new(4, 6, 1)).expect("fits");
    let mut trace = Trace::default();
    (reduction.apply(1, tokens, evidence, &mut trace), trace)
}

fn values(tokens: Tokens) -> Vec<f32> {
    tokens.x.into_data().iter::<f32>().collect()
}

#[test]
fn the_best_are_kept_by_falling_attention_and_the_others_are_summed_by_it() {
    let batch = tokens(&[9.0, 1.0, 2.0, 3.0, 4.0, 9.0, 5.0, 6.0], &[5, 3]);
    let rows: [&[f32]; 2] = [&[0.1, 0.3, 0.05, 0.4, 0.15], &[0.2, 0.3, 0.5]];
    let (fused, trace) = applied("evit:keep=50%,layer=2", batch.clone(), evidence(&rows));
    // Of four patches two are kept, 3 before 1; 4 leads the others: 0.15 * 4 + 0.05 * 2.
    let wanted = [9.0, 3.0, 1.0, 0.7, 9.0, 6.0, 1.5];
    let found = values(fused.clone());
    assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
    assert_eq!(fused.sizes()[..], [1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0]);
    let plan = trace.plan_until(None).expect("merged");
    assert_eq!(plan.groups(0), [Some(0), Some(2), Some(3), Some(1), Some(3)]);

    let (dropped, _) = applied("evit:keep=50%,rest=drop,layer=2", batch, evidence(&rows));
    assert_eq!(values(dropped), [9.0, 3.0, 1.0, 9.0, 6.0]);
}

#[test]
fn keeping_all_changes_nothing_and_equals_go_by_place() {
    let batch = tokens(&[9.0, 1.0, 2.0, 3.0], &[4]);
    let rows: [&[f32]; 1] = [&[0.1, 0.3, 0.3, 0.3]];
    let (same, trace) = applied("evit:keep=100%,layer=2", batch.clone(), evidence(&rows));
    assert_eq!((values(same), trace.records().len()), (vec![9.0, 1.0, 2.0, 3.0], 0));
    // 80 % of three are all three.
    assert!(applied("evit:keep=80%,layer=2", batch.clone(), evidence(&rows)).1.records().is_empty());
    let (kept, _) = applied("evit:keep=60%,rest=drop,layer=2", batch, evidence(&rows));
    assert_eq!(values(kept), [9.0, 1.0, 2.0]);
}

#[test]
fn what_it_is_reads_back() {
    let method = Method::Evit(Evit { rest: Rest::Dropped, layers: Some(vec![3]), ..Evit::new(0.7) });
    assert_eq!(method.to_string(), "evit:keep=70%,rest=drop,layer=3");
    assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    for wrong in ["evit", "evit:keep=0%", "evit:keep=0.7", "evit:keep=101%", "evit:keep=50%,layer=[2,2]"] {
        assert!(wrong.parse::<Method>().is_err(), "{wrong}");
    }
}
