//! Journals: what a crash leaves, and files that are none, or of another search.

use crate::common::{self, Pictures, fingerprint, model, tuner};
use std::fs;
use tokmerge_data::Sample;
use tokmerge_merge::Method;
use tokmerge_models::{Convention, Model};
use tokmerge_tune::{Family, Fingerprint, Journal, JournalError, Point};

fn method(spec: &str) -> Method {
    spec.parse().unwrap_or_else(|error| panic!("{error}"))
}

struct Desk {
    model: Model,
    pictures: Pictures,
}

impl Desk {
    fn new() -> Self {
        Self { model: model(), pictures: Pictures::new(6) }
    }

    fn path(&self) -> std::path::PathBuf {
        self.pictures.root().join("m.journal.jsonl")
    }

    fn samples(&self) -> Vec<Sample> {
        self.pictures.samples()
    }

    fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.model, self.samples(), self.pictures.root())
    }

    fn open(&self) -> Result<Journal, JournalError> {
        Journal::open(self.path(), &self.fingerprint())
    }

    fn measure(&self, specs: &[&str]) -> Vec<Point> {
        let journal = self.open().expect("our journal");
        let mut tuner = tuner(&self.model, self.samples(), journal);
        let points = specs.iter().map(|spec| tuner.measure(&method(spec), Family::TomeConstant));
        points.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}"))
    }
}

const SPECS: [&str; 3] = ["tome:r=1", "tome:r=2", "atm:theta=0.8"];

#[test]
fn measurements_are_there_when_the_journal_is_opened_again() {
    let desk = Desk::new();
    let fresh = desk.measure(&SPECS);
    let text = fs::read_to_string(desk.path()).expect("the journal");
    assert_eq!(text.lines().count(), 4);
    assert_eq!(desk.open().expect("our journal").len(), 3);
    // Points, times included: nothing is measured anew.
    assert_eq!(desk.measure(&SPECS), fresh);
    assert_eq!(fs::read_to_string(desk.path()).expect("the journal"), text);
}

/// Wherever a crash cuts the last line, the lines before it count, and what follows is readable. Without its end alone
/// the line counts too.
#[test]
fn a_line_that_was_cut_off_is_dropped() {
    let desk = Desk::new();
    let fresh = desk.measure(&SPECS);
    let whole = fs::read(desk.path()).expect("the journal");
    let last = whole[..whole.len() - 1].iter().rposition(|&byte| byte == b'\n').expect("lines") + 1;
    for cut in [last + 1, (last + whole.len()) / 2, whole.len() - 2, whole.len() - 1] {
        fs::write(desk.path(), &whole[..cut]).expect("a cut journal");
        let left = if cut + 1 == whole.len() { 3 } else { 2 };
        assert_eq!(desk.open().expect("a cut journal").len(), left, "cut at {cut} of {}", whole.len());
        let again = desk.measure(&SPECS);
        assert_eq!(again[..2], fresh[..2]);
        assert_eq!((again[2].gmacs, again[2].agreement), (fresh[2].gmacs, fresh[2].agreement));
        assert_eq!(desk.open().expect("a mended journal").len(), 3);
    }
}

#[test]
fn a_bad_line_costs_itself_alone() {
    let desk = Desk::new();
    desk.measure(&SPECS);
    let text = fs::read_to_string(desk.path()).expect("the journal");
    let lines: Vec<&str> = text.lines().collect();
    let missing_margins = lines[2].replacen("\"gaps\":[", "\"gaps\":[1.0,", 1);
    assert_ne!(missing_margins, lines[2]);
    for bad in ["", "{}", "garbled \u{1}", &lines[2][1..], &missing_margins] {
        fs::write(desk.path(), [lines[0], lines[1], bad, lines[3], ""].join("\n")).expect("written");
        let journal = desk.open().expect("a journal");
        assert_eq!((journal.len(), journal.lost()), (2, 1), "{bad:?}");
    }
    let first = &text[..20];
    fs::write(desk.path(), first).expect("written");
    assert!(desk.open().expect("a journal that was killed at once").is_empty());
}

#[test]
fn one_search_writes_at_a_time() {
    let desk = Desk::new();
    let held = desk.open().expect("ours");
    let error = desk.open().expect_err("held").to_string();
    assert!(error.contains("another search is writing"), "{error}");
    drop(held);
    assert!(desk.open().is_ok());
}

#[test]
fn an_empty_file_is_a_journal_that_was_not_begun() {
    let desk = Desk::new();
    fs::write(desk.path(), "").expect("an empty file");
    desk.measure(&SPECS[..1]);
    assert_eq!(desk.open().expect("our journal").len(), 1);
}

#[test]
fn another_search_is_refused_and_its_journal_kept() {
    let desk = Desk::new();
    desk.measure(&SPECS[..1]);
    let text = fs::read(desk.path()).expect("the journal");
    let ours = desk.fingerprint();
    let other = || "other".to_owned();
    for (theirs, what) in [
        (Fingerprint { model: other(), ..ours.clone() }, "another model: vit_32x4_patch8_64, not other"),
        (Fingerprint { weights: other(), ..ours.clone() }, "another set of weights: "),
        (Fingerprint { img_size: (64, 32), ..ours.clone() }, "another image size: 64x64, not 64x32"),
        (Fingerprint { preprocess: other(), ..ours.clone() }, "another preprocessing"),
        (Fingerprint { dtype: other(), ..ours.clone() }, "another dtype: f32, not other"),
        (Fingerprint { convention: other(), ..ours.clone() }, "another convention: fvcore, not other"),
        (Fingerprint { images: other(), ..ours.clone() }, "another set of images"),
    ] {
        let error = Journal::open(desk.path(), &theirs).expect_err(what).to_string();
        for fragment in ["m.journal.jsonl", what, "give another `output`, or delete the file"] {
            assert!(error.contains(fragment), "{fragment} in {error}");
        }
    }
    assert_eq!(fs::read(desk.path()).expect("the journal"), text);
}

#[test]
fn other_files_are_refused_and_kept() {
    let desk = Desk::new();
    for content in ["not json\n", "{\"a\": 1}\n", "\n", "\0\u{1}", "no end of line"] {
        fs::write(desk.path(), content).expect("a file");
        let error = desk.open().expect_err(content);
        assert!(matches!(error, JournalError::NotOne { .. }), "{content:?}: {error}");
        assert_eq!(fs::read_to_string(desk.path()).expect("the file"), content);
    }
    fs::remove_file(desk.path()).expect("removed");
    fs::create_dir(desk.path()).expect("a folder");
    assert!(matches!(desk.open(), Err(JournalError::Io { .. })));
}

#[test]
fn a_fingerprint_follows_what_measurements_depend_on() {
    let desk = Desk::new();
    let ours = desk.fingerprint();
    assert_eq!(desk.fingerprint(), ours);
    let fewer = fingerprint(&desk.model, desk.samples()[1..].to_vec(), desk.pictures.root());
    assert_ne!(fewer.images, ours.images);
    assert_eq!(Fingerprint { images: ours.images.clone(), ..fewer }, ours);
    let images = common::images(&desk.model, desk.samples());
    let root = desk.pictures.root();
    let macs = Fingerprint::of(&desk.model, "f32", Convention::Macs, &images, root);
    assert_ne!(macs.convention, ours.convention);
    let labelled = desk.samples().into_iter().map(|sample| Sample { label: Some(0), ..sample }).collect();
    assert_ne!(fingerprint(&desk.model, labelled, root).images, ours.images);
}
