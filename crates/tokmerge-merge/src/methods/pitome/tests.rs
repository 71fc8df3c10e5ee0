use super::{Energy, Pitome, PitomeAmount, Ranked, merged};
use crate::methods::matching::cosines::{Cosines, Grouping};
use crate::methods::{At, Rule};
use crate::{
    Amount, BindError, Evidence, Layout, MergePlan, Method, ModelFacts, Reduction, Schedule, ScheduleError,
    Tokens,
};
use burn::tensor::{Device, Tensor, TensorData};

/// Keys of length one in these directions, in degrees. Three and four of the six are close to each other.
const DIRECTIONS: [f32; 6] = [0.0, 90.0, 5.0, 170.0, 12.0, -4.0];

fn keys(directions: &[f32]) -> Vec<f32> {
    directions.iter().flat_map(|angle| [angle.to_radians().cos(), angle.to_radians().sin()]).collect()
}

fn constant(r: usize) -> Pitome {
    Pitome::new(PitomeAmount::Fewer(Schedule::Constant(r)))
}

/// What becomes of items of such keys, each behind a class token, in a layer of two.
fn plan(method: &Pitome, layer: usize, remove: usize, items: &[&[f32]]) -> Option<MergePlan> {
    let lens: Vec<usize> = items.iter().map(|item| item.len() / 2 + 1).collect();
    let rows: Vec<f32> = items.iter().flat_map(|item| [&[7.0, 7.0][..], item].concat()).collect();
    let x = Tensor::from_data(TensorData::new(rows, [lens.iter().sum(), 2]), &Device::flex());
    let tokens = Tokens::new(x.clone(), Layout::from_lens(&lens), 1);
    let at = At { layer, depth: 2, amount: Amount::Count(remove) };
    method.plan(&at, &tokens, Evidence { metric: Some(x), ..Evidence::default() })
}

fn groups(plan: &MergePlan, item: usize) -> Vec<u32> {
    plan.groups(item).into_iter().map(|group| group.expect("nothing is dropped")).collect()
}

fn close(found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len());
    assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}, not {wanted:?}");
}

#[test]
fn energy_is_the_mean_of_what_lies_above_a_margin_and_falls_exponentially_below() {
    // Two alike, one across and one opposite.
    let cosines = Cosines::of(&[1.0, 0.0, 1.0, 0.0, 0.0, 1.0, -1.0, 0.0], 2);
    let at = |layer| At { layer, depth: 4, amount: Amount::NOTHING };
    let across = (-0.75_f64).exp() - 1.0;
    let opposite = (-1.75_f64).exp() - 1.0;
    let alike = (2.0 * 0.25 + across + opposite) / 4.0;
    let wanted = [alike, alike, (0.25 + 3.0 * across) / 4.0, (0.25 + across + 2.0 * opposite) / 4.0];
    close(&constant(1).energies(&at(0), &cosines), &wanted);
    close(&wanted, &[-0.213465, -0.213465, -0.333225, -0.482521]);

    let paper = Pitome { energy: Energy::Whole, ..constant(1) };
    close(&paper.energies(&at(0), &cosines)[..1], &[(2.0 + across + opposite) / 4.0]);
    // In the third layer of four half of the margin is left.
    let later = (2.0 * (1.0 - 0.45) + (-0.45_f64).exp() - 1.0 + (-1.45_f64).exp() - 1.0) / 4.0;
    let wide = Pitome { margin: 0.9, ..constant(1) };
    close(&wide.energies(&at(2), &cosines)[..1], &[later]);
}

#[test]
fn in_the_first_half_all_take_part_and_the_most_similar_pairs_merge() {
    // By energy 12, 5, 0, -4, 90 and 170 degrees: 12 is nearest to 5, 0 to -4, 90 to 170.
    let keys = keys(&DIRECTIONS);
    let one = plan(&constant(1), 0, 1, &[&keys]).expect("merges");
    // Class token; 12 and 90; then 5, -4 with 0, and 170.
    assert_eq!(groups(&one, 0), [0, 4, 2, 3, 5, 1, 4]);
    let two = plan(&constant(2), 0, 2, &[&keys]).expect("merges");
    assert_eq!(groups(&two, 0), [0, 3, 1, 2, 4, 2, 3]);
}

#[test]
fn what_proposed_in_vain_goes_on_by_similarity() {
    let cosines = Cosines::of(&keys(&DIRECTIONS), 2);
    // 0, 90 and 12 degrees propose to 5, 170 and -4.
    let found = merged(&cosines, &[0, 2, 1, 3, 4, 5], Ranked::All, 1);
    assert_eq!(found, Grouping { kept: vec![4, 1, 2, 3, 5], pairs: vec![(0, 5)] });
}

#[test]
fn in_the_second_half_those_of_least_energy_are_set_aside() {
    let keys = keys(&DIRECTIONS);
    let two = plan(&constant(2), 1, 2, &[&keys]).expect("merges");
    // Class token; 90 and 170 aside; then 5 with 12, and -4 with 0.
    assert_eq!(groups(&two, 0), [0, 4, 1, 3, 2, 3, 4]);
    // One merges though the other pair is closer: 12 and 5 have the most energy.
    let one = plan(&constant(1), 1, 1, &[&keys]).expect("merges");
    assert_eq!(groups(&one, 0), [0, 1, 3, 5, 4, 5, 2]);

    let always = Pitome { split: Some(0), ..constant(2) };
    assert_eq!(plan(&always, 0, 2, &[&keys]), Some(two));
    let never = Pitome { split: Some(2), ..constant(2) };
    assert_eq!(plan(&never, 1, 2, &[&keys]), plan(&never, 0, 2, &[&keys]));
}

#[test]
fn equal_energies_and_similarities_go_by_place_and_what_is_no_number_is_last() {
    let equal = [1.0, 0.0].repeat(5);
    let found = plan(&constant(1), 0, 1, &[&equal]).expect("merges");
    assert_eq!(groups(&found, 0), [0, 3, 3, 1, 4, 2]);
    let mut broken = equal;
    broken[0] = f32::NAN;
    let found = plan(&constant(1), 1, 1, &[&broken]).expect("merges");
    // The second goes into the third, the others are aside, the broken one behind them.
    assert_eq!(groups(&found, 0), [0, 3, 4, 4, 1, 2]);
}

#[test]
fn items_too_short_stay_as_they_are() {
    let keys = keys(&DIRECTIONS);
    let made = plan(&constant(2), 1, 2, &[&[], &keys, &keys[..2], &keys[..4]]).expect("merges");
    let left: Vec<usize> = made.output().lens().collect();
    assert_eq!(left, [1, 5, 2, 2]);
    assert_eq!(plan(&constant(2), 1, 2, &[&[], &keys[..2]]), None);
}

fn bound(spec: &str) -> Reduction {
    let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
    Reduction::bind(method, &ModelFacts::new(12, 197, 1)).expect("fits")
}

#[test]
fn tokens_and_costs_are_those_of_the_published_code() {
    let left = |spec: &str| -> Vec<usize> {
        bound(spec).expected_tokens(197, 12).expect("known").iter().map(|layer| layer.fed).collect()
    };
    assert_eq!(left("pitome:ratio=92.5%"), [183, 170, 158, 147, 137, 127, 118, 110, 102, 95, 88, 82]);
    assert_eq!(left("pitome:r=13"), [184, 171, 158, 145, 132, 119, 106, 93, 80, 67, 54, 41]);
    assert_eq!(left("pitome:ratio=100%"), [197; 12]);
    assert_eq!(bound("pitome:r=13").matching_macs(0, 197, 64, 192), (196 * 196 * 64) as f64);
    assert_eq!(bound("pitome:ratio=100%").matching_macs(0, 197, 64, 192), 0.0);
}

#[test]
fn what_it_is_reads_back() {
    let method =
        Method::Pitome(Pitome { margin: 0.9, energy: Energy::Whole, split: Some(0), ..constant(13) });
    assert_eq!(method.to_string(), "pitome:r=13,margin=0.9,energy=paper,split=0");
    assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    for spec in ["pitome:ratio=92.5%", "pitome:r=[16,0,8],prop_attn=off,last=cls", "pitome:ratio=50%"] {
        assert_eq!(spec.parse::<Method>().expect("a spec").to_string(), spec);
    }
    for (wrong, reason) in [
        ("pitome", "needs ratio (or r)"),
        ("pitome:ratio=90%,r=8", "leave one of them out"),
        ("pitome:ratio=49%", "from 50% to 100%"),
        ("pitome:ratio=0.9", "from 50% to 100%"),
        ("pitome:r=10%", "whole number"),
        ("pitome:r=8,margin=1.5", "from 0 to 1"),
    ] {
        let error = wrong.parse::<Method>().unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_split_behind_the_last_layer_is_refused() {
    let method: Method = "pitome:r=1,split=13".parse().expect("a spec");
    let error = Reduction::bind(method, &ModelFacts::new(12, 197, 1)).unwrap_err();
    let BindError::Schedule { source, .. } = error else { panic!("{error}") };
    assert_eq!(source, ScheduleError::Split { split: 13, depth: 12 });
}
