//! What a seed promises of questions.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use tokmerge_scenes::questions::{ANSWERS, KINDS, Questions, answers, texts};
use tokmerge_scenes::{Split, write_questions};

/// FNV-1a, 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

/// Training runs and reports refer to these: a change here is a new set of questions.
#[test]
fn questions_are_the_same_everywhere_and_always() {
    let questions = Questions::of(Split::Train);
    let sum = |questions: &Questions| {
        (0..56).map(|index| questions.question(index)).fold(0_u64, |sum, question| {
            sum.rotate_left(1)
                ^ hash(&question.pixels)
                ^ hash(question.text.as_bytes())
                ^ question.answer as u64
        })
    };
    let odd = questions.with_side(61).unwrap();
    let found = [sum(&questions), sum(&odd)];
    assert_eq!(found, [0x08FC_D4E6_B59E_5109, 0x67CA_8921_C979_7B28], "{found:#x?}");
}

#[test]
fn order_does_not_matter_and_splits_differ() {
    let questions = Questions::of(Split::Validation);
    let later = questions.question(9);
    let mut pixels = vec![1; later.pixels.len()];
    questions.draw_into(3, &mut pixels);
    let asked = questions.draw_into(9, &mut pixels);
    assert_eq!(
        (asked.kind, &asked.text, asked.answer, &pixels),
        (later.kind, &later.text, later.answer, &later.pixels)
    );
    assert_eq!(questions.asked(9), asked);
    for split in [Split::Train, Split::Samples] {
        let others: HashSet<_> = (0..200).map(|index| Questions::of(split).question(index).pixels).collect();
        assert!((0..200).all(|index| !others.contains(&questions.question(index).pixels)));
    }
}

#[test]
fn questions_without_their_pictures_cannot_be_answered() {
    for (split, first) in [(Split::Train, 0), (Split::Validation, 12_345)] {
        let questions = Questions::of(split);
        // What every answer was given to, by kind and by text.
        let mut counts: HashMap<(usize, String), HashMap<usize, usize>> = HashMap::new();
        for index in first..first + 10_000 {
            let asked = questions.asked(index);
            *counts.entry((asked.kind, asked.text)).or_default().entry(asked.answer).or_default() += 1;
        }
        for (kind, name) in KINDS.iter().enumerate() {
            let of_kind: Vec<_> =
                counts.iter().filter(|((k, _), _)| *k == kind).map(|(_, counts)| counts).collect();
            let total: usize = of_kind.iter().flat_map(|counts| counts.values()).sum();
            // Who knows the most frequent answer to each text of exactly these questions.
            let hits: usize = of_kind.iter().filter_map(|counts| counts.values().max()).sum();
            let (hits, chance) = (hits as f64 / total as f64, 1.0 / answers(kind).len() as f64);
            assert!(hits < chance + 0.03, "{name} of {split}: {hits} and {chance}");
            let given: HashSet<usize> = of_kind.iter().flat_map(|counts| counts.keys().copied()).collect();
            assert_eq!(given, answers(kind).into_iter().collect(), "{name}");
        }
    }
}

/// Who always chooses the answer that most questions of the same text had so far.
#[test]
fn what_was_asked_before_does_not_help() {
    let questions = Questions::of(Split::Train);
    let mut counts: HashMap<String, Vec<usize>> = HashMap::new();
    let (mut hits, mut chance) = (0, 0.0);
    for index in 0..20_000 {
        let asked = questions.asked(index);
        let counts = counts.entry(asked.text).or_insert_with(|| vec![0; ANSWERS.len()]);
        let known = answers(asked.kind);
        let guess = known.iter().copied().max_by_key(|answer| counts[*answer]);
        hits += usize::from(guess == Some(asked.answer));
        chance += 1.0 / known.len() as f64;
        counts[asked.answer] += 1;
    }
    assert!((hits as f64) < chance * 1.05, "{hits} and {chance}");
}

#[test]
fn all_kinds_texts_and_answers_are_seen() {
    let questions = Questions::of(Split::Samples);
    let seen: Vec<_> = (0..14 * 144).map(|index| questions.asked(index)).collect();
    let found: HashSet<&str> = seen.iter().map(|asked| asked.text.as_str()).collect();
    let texts = texts();
    assert_eq!(found, texts.iter().map(String::as_str).collect());
    assert_eq!(seen.iter().map(|asked| asked.answer).collect::<HashSet<_>>().len(), ANSWERS.len());
    assert!(KINDS.len() >= 8);
}

#[test]
fn a_larger_side_shows_the_same_scene() {
    let (small, large) = (Questions::new(5), Questions::new(5).with_side(192).unwrap());
    for index in 0..28 {
        let (a, b) = (small.question(index), large.question(index));
        assert_eq!((a.text, a.answer), (b.text, b.answer));
        let mean = |pixels: &[u8]| pixels.iter().map(|&v| f64::from(v)).sum::<f64>() / pixels.len() as f64;
        assert!((mean(&a.pixels) - mean(&b.pixels)).abs() < 4.0, "question {index}");
    }
    assert!(small.with_side(15).unwrap_err().to_string().contains("sides are 16 to 4096"));
}

proptest! {
    #[test]
    fn any_question_can_be_drawn(seed in any::<u64>(), index in any::<u64>(), side in 16..120_usize) {
        let question = Questions::new(seed).with_side(side).unwrap().question(index);
        prop_assert!(question.kind < KINDS.len() && answers(question.kind).contains(&question.answer));
        prop_assert_eq!(question.pixels.len(), side * side * 3);
    }
}

#[test]
fn a_list_names_every_question_with_its_picture() {
    let dir = tempfile::tempdir().unwrap();
    let questions = Questions::of(Split::Validation).with_side(48).unwrap();
    write_questions(&questions, dir.path(), 14..30).unwrap();
    let list = std::fs::read_to_string(dir.path().join("questions.jsonl")).unwrap();
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 16);
    for (index, line) in (14..).zip(lines) {
        let question = questions.question(index);
        let [text, answer, kind] = [question.text.as_str(), ANSWERS[question.answer], KINDS[question.kind]];
        let expected = format!(
            r#"{{"image": "images/{index:07}.png", "question": "{text}", "answer": "{answer}", "kind": "{kind}"}}"#
        );
        assert_eq!(line, expected);
        let picture = image::open(dir.path().join(format!("images/{index:07}.png"))).unwrap();
        assert_eq!(picture.into_rgb8().into_raw(), question.pixels);
    }
    let answers = std::fs::read_to_string(dir.path().join("answers.txt")).unwrap();
    assert!(answers.lines().eq(ANSWERS));
    // Another list takes its place.
    write_questions(&questions, dir.path(), 0..2).unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("questions.jsonl")).unwrap().lines().count(), 2);
    assert!(dir.path().join("images/0000029.png").is_file());
    let file = dir.path().join("answers.txt");
    assert!(write_questions(&questions, file, 0..1).unwrap_err().to_string().contains("cannot be created"));
}

/// What stands in a list without being escaped.
#[test]
fn nothing_that_is_asked_or_answered_has_to_be_escaped() {
    let plain =
        |text: &str| text.chars().all(|c| (c.is_ascii_graphic() || c == ' ') && c != '"' && c != '\\');
    assert!(texts().iter().all(|text| plain(text)));
    assert!(ANSWERS.into_iter().chain(KINDS).all(plain));
}
