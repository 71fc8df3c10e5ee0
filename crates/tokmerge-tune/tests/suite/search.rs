//! Searches on a random model of four layers and 65 tokens.

use crate::common::{CONVENTION, Pictures, fingerprint, model, tuner};
use std::path::Path;
use std::time::Duration;
use tokmerge_data::{Decode, DecodeOptions, ExifOrientation, Limits, MediaError, Reading, Sample};
use tokmerge_eval::{EvalOptions, Labels, Observer, Prediction, evaluate};
use tokmerge_merge::Method;
use tokmerge_models::Model;
use tokmerge_tune::{
    Decision, Family, Goal, GoalError, Journal, Outcome, Point, Search, SearchOptions, TuneError, Tuner,
    Watcher, search,
};

const EVAL: EvalOptions = EvalOptions {
    reading: Reading {
        batch_size: 4,
        workers: 0,
        decoding: DecodeOptions {
            limits: Limits { max_pixels: 1 << 20, max_bytes: 1 << 20, max_seconds: 600 },
            decode: Decode::Exact,
            orientation: ExifOrientation::Applied,
        },
    },
    convention: CONVENTION,
};

fn options(search: Search) -> SearchOptions {
    SearchOptions {
        goal: Some(Goal::Gmacs(0.7)),
        search,
        seed: 5,
        time_budget: Duration::from_secs(600),
        batch_size: 4,
        recheck: true,
    }
}

fn ended(tuner: &mut Tuner<'_>, held_out: Vec<Sample>, options: SearchOptions) -> Outcome {
    search(tuner, held_out, EVAL, options, &mut ()).unwrap_or_else(|error| panic!("{error}"))
}

/// Without the times, which differ in every run.
fn timeless(points: &[Point]) -> Vec<Point> {
    let still = |point: &Point| Point { seconds: 0.0, unmerged_seconds: 0.0, ..point.clone() };
    points.iter().map(still).collect()
}

fn points(model: &Model, samples: Vec<Sample>, options: SearchOptions) -> Vec<Point> {
    timeless(&ended(&mut tuner(model, samples, Journal::in_memory()), Vec::new(), options).points)
}

#[test]
fn the_same_seed_goes_the_same_way() {
    let (model, pictures) = (model(), Pictures::new(12));
    for kind in [Search::Guided, Search::Random { trials: 6 }] {
        let first = points(&model, pictures.samples(), options(kind));
        assert_eq!(points(&model, pictures.samples(), options(kind)), first, "{kind:?}");
        let other = SearchOptions { seed: 6, ..options(kind) };
        assert_ne!(points(&model, pictures.samples(), other), first, "{kind:?}");
    }
}

#[test]
fn a_guided_search_measures_methods_of_all_kinds_and_neighbours_of_them() {
    let (model, pictures) = (model(), Pictures::new(12));
    let points = points(&model, pictures.samples(), options(Search::Guided));
    for family in [
        Family::TomeConstant,
        Family::TomeDecreasing,
        Family::TomeIncreasing,
        Family::AtmExponential,
        Family::AtmConstant,
    ] {
        assert!(points.iter().any(|point| point.family == family), "{family:?}");
    }
    let free = [Family::TomePerLayer, Family::AtmPerLayer];
    assert!(points.iter().any(|point| free.contains(&point.family)));
    let mut specs: Vec<&str> = points.iter().map(|point| point.merge.as_str()).collect();
    specs.sort_unstable();
    specs.dedup();
    assert_eq!(specs.len(), points.len(), "nothing is measured twice");
}

#[test]
fn a_random_search_measures_every_reference_and_as_many_schedules_as_asked() {
    let (model, pictures) = (model(), Pictures::new(12));
    let options = SearchOptions { goal: None, ..options(Search::Random { trials: 7 }) };
    let outcome = ended(&mut tuner(&model, pictures.samples(), Journal::in_memory()), Vec::new(), options);
    let count = |family| outcome.points.iter().filter(|point| point.family == family).count();
    assert_eq!(count(Family::Random), 7);
    // Sixteen in each of four layers merge all 64 patches.
    assert_eq!((count(Family::TomeConstant), count(Family::TomeDecreasing)), (16, 16));
    assert!(outcome.decision.is_none() && !outcome.cut_short);
}

/// Stopped anywhere, a search goes on as if it had not been.
/// What is measured of the grid costs less and less: one setting of each range of cost.
#[test]
fn the_grid_is_measured_where_it_is_forecast_to_lose_least() {
    let (model, pictures) = (model(), Pictures::new(12));
    let options = SearchOptions { goal: None, ..options(Search::Grid { trials: 6 }) };
    let points = points(&model, pictures.samples(), options);
    let in_grid = |point: &&Point| point.family == Family::AtmExponential;
    let found: Vec<&Point> = points.iter().filter(in_grid).collect();
    // Five are seeds.
    assert!((7..=11).contains(&found.len()), "{}", found.len());
    let gmacs: Vec<f64> = found[5..].iter().map(|point| point.gmacs).collect();
    let (least, most) =
        (gmacs.iter().copied().fold(9.0, f64::min), gmacs.iter().copied().fold(0.0, f64::max));
    assert!(most > 1.1 * least, "{gmacs:?}");
    assert!(points.iter().all(|point| point.merge.parse::<Method>().is_ok()));
}

#[test]
fn a_search_that_goes_on_from_its_journal_ends_as_one_that_was_never_stopped() {
    let (model, pictures, desk) = (model(), Pictures::new(12), Pictures::new(0));
    let path = desk.root().join("m.journal.jsonl");
    let prints = fingerprint(&model, pictures.samples(), pictures.root());
    let open = || Journal::open(&path, &prints).unwrap_or_else(|error| panic!("{error}"));
    let whole = points(&model, pictures.samples(), options(Search::Guided));

    let first = ended(&mut tuner(&model, pictures.samples(), open()), Vec::new(), options(Search::Guided));
    assert_eq!(timeless(&first.points), whole);
    let text = std::fs::read_to_string(&path).expect("the journal");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    // As if it had been stopped in the middle of a line.
    let kept = lines[..lines.len() / 2].concat();
    std::fs::write(&path, format!("{kept}{}", &lines[lines.len() / 2][..40])).expect("a cut journal");
    let second = ended(&mut tuner(&model, pictures.samples(), open()), Vec::new(), options(Search::Guided));
    assert_eq!(timeless(&second.points), whole);

    // With all of it known nothing is measured, and no time is needed.
    let no_time = SearchOptions { time_budget: Duration::ZERO, ..options(Search::Random { trials: 3 }) };
    let third = ended(&mut tuner(&model, pictures.samples(), open()), Vec::new(), no_time);
    assert!(third.cut_short && third.points.iter().all(|point| point.family != Family::Random));
    let known = |point: &&Point| whole.iter().any(|other| other == *point);
    assert_eq!(timeless(&third.points).iter().filter(known).count(), third.points.len());
}

/// Removes the held-out images until the search is over.
struct Hidden<'a> {
    pictures: &'a Pictures,
    samples: Vec<Sample>,
    content: Vec<Vec<u8>>,
    read: usize,
}

impl Observer for Hidden<'_> {
    fn done(&mut self, images: usize) {
        self.read += images;
    }

    fn failed(&mut self, path: &Path, error: &MediaError) {
        panic!("{}: {error}", path.display());
    }

    fn predicted(&mut self, prediction: Prediction<'_>) -> Result<(), String> {
        assert!(
            self.samples.iter().any(|sample| sample.path == prediction.path),
            "only held-out images are evaluated"
        );
        Ok(())
    }
}

impl Watcher for Hidden<'_> {
    fn measured(&mut self, point: &Point, _: usize, _: usize) {
        assert_eq!((point.images, self.read), (12, 0), "{}", point.merge);
    }

    fn stage(&mut self, what: &str) {
        if what == "held-out images" {
            for (sample, content) in self.samples.iter().zip(&self.content) {
                std::fs::write(&sample.path, content).expect("an image put back");
            }
        }
    }
}

#[test]
fn held_out_images_are_not_looked_at_before_the_choice() {
    let (model, pictures) = (model(), Pictures::new(20));
    let mut samples = pictures.samples();
    let held_out = samples.split_off(12);
    let content = held_out.iter().map(|sample| std::fs::read(&sample.path).expect("an image")).collect();
    pictures.remove(&held_out);
    let mut hidden = Hidden { pictures: &pictures, samples: held_out.clone(), content, read: 0 };
    let mut tuner = tuner(&model, samples, Journal::in_memory());
    let outcome = search(&mut tuner, held_out, EVAL, options(Search::Guided), &mut hidden)
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((outcome.search_images, hidden.pictures.samples().len()), (12, 20));
    match outcome.decision {
        Some(Decision::Merge(choice)) => {
            let held_out = choice.held_out.expect("eight images");
            assert_eq!((held_out.merged.images, hidden.read), (8, 8));
            assert_eq!(held_out.merged.merge, choice.method.to_string());
            let (low, high) = held_out.agreement_interval;
            assert!(low <= held_out.merged.agreement && held_out.merged.agreement <= high);
        }
        // So small a model may not gain from merging on this machine.
        Some(Decision::DoNotMerge { reason }) => assert!(reason.contains("times as fast"), "{reason}"),
        None => panic!("there was a goal"),
    }
}

/// A recheck is worked out from one pass; a real evaluation of the spec must say the same.
#[test]
fn rechecked_points_are_what_an_evaluation_measures() {
    let (model, pictures) = (model(), Pictures::new(30));
    let mut tuner = tuner(&model, pictures.samples(), Journal::in_memory());
    let unmerged = tuner.unmerged().clone();
    let mut rechecked = 0;
    for base in ["tome:r=14", "atm:theta=0.7", "tome:r=[20,0,10,0],last=cls"] {
        for gap in ["", ",recheck=0.001", ",recheck=0.05", ",recheck=0.2", ",recheck=100"] {
            let spec = format!("{base}{gap}");
            let method: Method = spec.parse().unwrap_or_else(|error| panic!("{spec}: {error}"));
            let point = tuner.measure(&method, Family::TomeConstant).expect("a measurement");
            assert_eq!(point.merge, method.to_string());
            let measured = evaluate(
                &model,
                &[model.bind(&method).expect("fits")],
                pictures.samples(),
                Labels::Ignored,
                EVAL,
                &mut (),
            )
            .expect("an evaluation")
            .remove(0);
            assert!(
                (point.gmacs - measured.gmacs).abs() < 1e-9,
                "{spec}: {} {}",
                point.gmacs,
                measured.gmacs
            );
            assert!((point.agreement - measured.agreement).abs() < 1e-9, "{spec}: {point:?} {measured:?}");
            assert!((point.tokens - measured.mean_tokens).abs() < 1e-9, "{spec}");
            rechecked +=
                usize::from(point.gmacs > unmerged.gmacs * 0.5 && (1.0..99.9).contains(&point.agreement));
            if gap.ends_with("=100") {
                assert_eq!(point.agreement, 100.0, "{spec}: every image ran once more");
            }
        }
    }
    assert!(rechecked > 0, "some answers must change, or nothing was tested");
}

#[test]
fn goals_that_cannot_be_are_refused() {
    let (model, pictures) = (model(), Pictures::new(12));
    let mut tuner = tuner(&model, pictures.samples(), Journal::in_memory());
    let mut refused = |goal| {
        let options = SearchOptions { goal: Some(goal), ..options(Search::Guided) };
        match search(&mut tuner, Vec::new(), EVAL, options, &mut ()) {
            Err(TuneError::Goal(error)) => error,
            other => panic!("{goal}: {other:?}"),
        }
    };
    assert_eq!(refused(Goal::MaxDrop(1.0)), GoalError::NoLabels);
    assert!(matches!(refused(Goal::Gmacs(2.0)), GoalError::Range { .. }));
    for goal in [Goal::Speedup(50.0), Goal::Gmacs(0.01), Goal::Latency(1e-6)] {
        let error = refused(goal);
        assert!(matches!(error, GoalError::OutOfReach { .. }), "{error}");
        assert!(error.to_string().contains(goal.setting()), "{error}");
    }
}

#[test]
fn where_nothing_measured_keeps_the_promise_the_model_is_left_alone() {
    let (model, pictures) = (model(), Pictures::new(12));
    let mut tuner = tuner(&model, pictures.samples(), Journal::in_memory());
    let options = SearchOptions {
        goal: Some(Goal::MinAgreement(100.0)),
        recheck: false,
        time_budget: Duration::ZERO,
        ..options(Search::Guided)
    };
    let outcome = ended(&mut tuner, Vec::new(), options);
    match &outcome.decision {
        Some(Decision::DoNotMerge { reason }) => {
            assert!(reason.contains("keeps the budget (at least 100 % agreement"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(outcome.choice().is_none());
}
