//! Comparisons on random models of four layers and 65 tokens.

use crate::common::{Pictures, fingerprint, headless, images, model, tuner};
use std::path::Path;
use tokmerge_eval::Spread;
use tokmerge_merge::Method;
use tokmerge_models::Model;
use tokmerge_tune::compare::{
    CompareError, CompareOptions, CompareWatcher, Comparison, Entrant, Judge, Role, Standing, Table, Target,
    TargetError, compare,
};
use tokmerge_tune::{Journal, Tuner};

fn options(at: &[&str], methods: &[&str]) -> CompareOptions {
    CompareOptions {
        targets: at.iter().map(|target| target.parse().expect("a cost")).collect(),
        entrants: methods.iter().map(|method| Entrant::named(method).expect("a method")).collect(),
        batch_size: 4,
        seed: 2,
    }
}

/// On twelve pictures each, with journals in a folder if one is given.
fn compared(model: &Model, options: &CompareOptions, journals: Option<&Path>) -> Comparison {
    let pictures = Pictures::new(24);
    let mut searched = pictures.samples();
    let held_out = searched.split_off(12);
    let open = |samples: Vec<_>, name: &str| {
        let journal = journals.map_or_else(Journal::in_memory, |folder| {
            let print = fingerprint(model, samples.clone(), pictures.root());
            Journal::open(folder.join(name), &print).expect("a journal")
        });
        tuner(model, samples, journal)
    };
    let (mut search, mut other) = (open(searched, "search"), open(held_out, "held-out"));
    compare(&mut search, &mut other, options, &mut ()).unwrap_or_else(|error| panic!("{error}"))
}

fn reason<'a>(table: &'a Table, label: &str) -> &'a str {
    let left = table.left_out.iter().find(|left| left.label == label);
    left.map_or_else(|| panic!("{label} is in {table:?}"), |left| &left.reason)
}

#[test]
fn every_method_is_brought_to_every_cost_or_named_with_the_reason() {
    let model = model();
    let all = CompareOptions { entrants: Entrant::all(), ..options(&["gmacs=0.8", "tokens=40"], &[]) };
    let found = compared(&model, &all, None);
    assert_eq!((found.judged_by, found.search_images, found.held_out_images), (Judge::Agreement, 12, 12));
    assert_eq!((found.unmerged.merge.as_str(), found.unmerged.tokens), ("none", 65.0));
    for table in &found.tables {
        assert_eq!(table.rows.len() + table.left_out.len(), all.entrants.len() + 2);
        for row in &table.rows {
            let cost = match table.at {
                Target::Tokens(tokens) => row.tokens / tokens as f64,
                _ => row.gmacs_ratio / 0.8,
            };
            // What the tokens of other images decide may differ on these.
            let counted = row.role == Role::Control || ["tome", "evit"].contains(&row.label.as_str());
            assert!(!counted || (cost - 1.0).abs() < 0.04, "{}: {row:?}", table.at);
            let agreement = row.agreement.expect("a share");
            assert!(agreement.low <= agreement.value && agreement.value <= agreement.high);
            assert!(row.top1.is_none() && row.cosine.is_none());
            assert!(row.ms_per_image.median > 0.0 && row.speedup.min <= row.speedup.max, "{row:?}");
        }
        for label in ["tome", "evit", "random merge", "random prune"] {
            assert!(table.rows.iter().any(|row| row.label == label), "{label} in {table:?}");
        }
        assert_eq!(table.rows.iter().filter(|row| row.role == Role::Control).count(), 2);
        assert_eq!(table.rows[0].standing, Standing::Best);
        assert!(reason(table, "stm").contains("weights of its own") && reason(table, "stm").contains("eval"));
        assert!(reason(table, "patchmerger").contains("weights of its own"));
        assert!(reason(table, "pumer").contains("takes no questions"));
    }
    let tokens = &found.tables[1];
    let tome = tokens.rows.iter().find(|row| row.label == "tome").expect("ToMe");
    assert_eq!((tome.tokens, tome.off_by), (40.0, 0.0));
}

#[test]
fn other_options_stay_and_what_cannot_be_reached_says_how_far_it_comes() {
    let model = model();
    let specs = ["evit:keep=70%,rest=drop,layer=4", "tome:r=1,feature=q", "none"];
    let found = compared(&model, &options(&["gmacs=0.7", "gmacs=0.97"], &specs), None);
    let [far, near] = &found.tables[..] else { panic!("two costs") };
    assert!(reason(far, specs[0]).starts_with("at its strongest it still costs 0."), "{far:?}");
    assert!(reason(far, "none").contains("merges nothing"));
    let of = |table: &Table, label: &str| {
        let row = table.rows.iter().find(|row| row.label == label);
        row.unwrap_or_else(|| panic!("{label} in {table:?}")).merge.clone()
    };
    let evit = of(near, specs[0]);
    assert!(evit.starts_with("evit:keep=") && evit.ends_with("%,rest=drop,layer=4"), "{evit}");
    let tome = of(far, specs[1]);
    assert!(tome.starts_with("tome:r=[") && tome.ends_with("],feature=q"), "{tome}");
}

#[test]
fn a_speed_is_met_by_measuring_it() {
    let found = compared(&model(), &options(&["speedup=1.0001"], &["tome"]), None);
    let table = &found.tables[0];
    assert_eq!(table.rows.len() + table.left_out.len(), 3, "{table:?}");
    assert_eq!(found.unmerged.speedup, Spread { min: 1.0, median: 1.0, max: 1.0 });
    let found = compared(&model(), &options(&["speedup=1000"], &["tome"]), None);
    assert!(found.tables[0].rows.is_empty());
    let reason = reason(&found.tables[0], "tome");
    assert!(reason.contains("it reaches at most") && reason.contains("times the speed"), "{reason}");
}

#[test]
fn without_classes_embeddings_are_compared() {
    let found = compared(&headless(), &options(&["gmacs=0.8"], &["tome", "evit"]), None);
    assert_eq!(found.judged_by, Judge::Cosine);
    let cosine = |row: &tokmerge_tune::compare::Row| row.cosine.expect("a mean");
    assert_eq!(cosine(&found.unmerged).value, 1.0);
    for row in &found.tables[0].rows {
        let cosine = cosine(row);
        assert!(cosine.low <= cosine.value && cosine.value < 1.0 && cosine.value > -1.0, "{row:?}");
        assert!(row.agreement.is_none() && row.top1.is_none());
    }
    let values: Vec<f64> = found.tables[0].rows.iter().map(|row| cosine(row).value).collect();
    assert!(values.is_sorted_by(|a, b| a >= b), "{values:?}");
}

#[test]
fn second_looks_are_left_out_and_costs_are_those_of_the_images_that_are_shown() {
    let specs = ["tome:r=8,recheck=0.1", "atm"];
    let found = compared(&headless(), &options(&["gmacs=0.8"], &specs), None);
    let row = |label: &str| found.tables[0].rows.iter().find(|row| row.label == label).expect("a row");
    let tome = row(specs[0]);
    assert!(!tome.merge.contains("recheck"), "{}", tome.merge);
    assert!(tome.cosine.expect("a mean").value < 1.0, "{tome:?}");
    for row in &found.tables[0].rows {
        assert!((row.off_by - (row.gmacs_ratio / 0.8 - 1.0)).abs() < 1e-9, "{row:?}");
    }
}

#[test]
fn a_second_run_measures_nothing_again_and_finds_the_same() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = model();
    let options = options(&["gmacs=0.8"], &["tome", "atm", "evit"]);
    let settings = || {
        let found = compared(&model, &options, Some(folder.path()));
        let rows = found.tables.into_iter().flat_map(|table| table.rows);
        rows.map(|row| (row.merge, row.agreement, row.gmacs, row.off_by)).collect::<Vec<_>>()
    };
    let lines =
        |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("a journal").lines().count();
    let first = settings();
    let (search, held_out) = (lines("search"), lines("held-out"));
    assert!(search > 2 && held_out == 1 + first.len(), "{search} {held_out}");
    assert_eq!(settings(), first);
    assert_eq!((lines("search"), lines("held-out")), (search, held_out));
}

/// What a model has learned takes part at any strength; what it has not is named.
#[test]
fn a_model_takes_part_with_what_it_was_trained_with() {
    let options = options(&["gmacs=0.8"], &["dynamicvit", "a_vit"]);
    let found = compared(&model(), &options, None);
    assert!(reason(&found.tables[0], "dynamicvit").contains("has none of them; train it with this method"));
    assert!(reason(&found.tables[0], "a_vit").starts_with("the model itself has to learn what it says"));
    for (spec, label, ending) in [
        ("dynamicvit:keep=60%,layer=[2,3]", "dynamicvit", ",layer=[2,3]"),
        ("a_vit:centre=2", "a_vit", ",centre=2"),
    ] {
        let (model, method) = (model(), spec.parse::<Method>().expect("a method"));
        let network = model.network().clone().with_fresh_mergers(&method, model.device());
        let (architecture, names) = (model.architecture().clone(), model.class_names().to_vec());
        let trained = Model::from_parts(network, architecture, names, method, model.device());
        let found = compared(&trained, &options, None);
        let row = found.tables[0].rows.iter().find(|row| row.label == label);
        let row = row.unwrap_or_else(|| panic!("{label} in {:?}", found.tables));
        assert!(row.merge.starts_with(label) && row.merge.ends_with(ending), "{}", row.merge);
        assert!((0.7..0.9).contains(&row.gmacs_ratio), "{row:?}");
    }
}

#[test]
fn costs_that_save_nothing_are_refused_and_progress_is_told() {
    #[derive(Default)]
    struct Told(Vec<(String, usize, usize)>);
    impl CompareWatcher for Told {
        fn doing(&mut self, what: &str, done: usize, planned: usize) {
            self.0.push((what.to_owned(), done, planned));
        }
    }
    let (model, pictures) = (model(), Pictures::new(16));
    let open = || {
        Tuner::new(
            &model,
            images(&model, pictures.samples()),
            false,
            crate::common::CONVENTION,
            Journal::in_memory(),
        )
    };
    let mut told = Told::default();
    let mut run = |options: &CompareOptions| {
        compare(&mut open().expect("runs"), &mut open().expect("runs"), options, &mut told)
    };
    for at in ["gmacs=50G", "tokens=65"] {
        let target: Target = at.parse().expect("a cost");
        assert!(matches!(
            target.check_for(&model, crate::common::CONVENTION),
            Err(TargetError::NoSaving { .. })
        ));
        match run(&options(&[at], &["tome"])) {
            Err(CompareError::Target(error @ TargetError::NoSaving { .. })) => {
                assert!(error.to_string().starts_with(&format!("{at} is no saving: unmerged the model has")));
            }
            other => panic!("{at}: {other:?}"),
        }
    }
    // Each cost once.
    run(&options(&["gmacs=0.9", "gmacs=0.9"], &["tome"])).expect("a comparison");
    let told: Vec<_> = told.0.iter().map(|(what, done, planned)| (what.as_str(), *done, *planned)).collect();
    assert_eq!(
        told,
        [
            ("gmacs=0.9, tome", 0, 4),
            ("gmacs=0.9, random merge", 1, 4),
            ("gmacs=0.9, random prune", 2, 4),
            ("speeds", 3, 4)
        ]
    );
}
