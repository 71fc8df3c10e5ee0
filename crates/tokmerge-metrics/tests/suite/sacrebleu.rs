//! BLEU and chrF against sacrebleu: sentences of `fixtures/make.py`, and translations beside the repository.

use crate::common::material;
use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use tokmerge_metrics::{Bleu, BleuScore, Case, ChrF, Orders, Smoothing, Tokenizer, lines};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn golden() -> Value {
    json(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sacrebleu.json"))
}

fn tokenizer(name: &str) -> Tokenizer {
    let all = [Tokenizer::V13a, Tokenizer::International, Tokenizer::None];
    all.into_iter().find(|tokenizer| tokenizer.name() == name).expect("a tokenizer's name")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn close(found: f64, expected: &Value, tolerance: f64, what: &str) {
    let expected = expected.as_f64().expect("a number");
    assert!((found - expected).abs() <= tolerance, "{what}: {found} and {expected}");
}

/// A signature without the version, which is the implementation's.
fn settings(signature: &str) -> &str {
    signature.split_once("|version:").expect("a version").0
}

/// The hypotheses and both references of the fixture.
fn columns(golden: &Value) -> [Vec<&str>; 3] {
    let segments = golden["segments"].as_array().unwrap();
    [0, 1, 2].map(|column| segments.iter().map(|segment| text(&segment[column])).collect())
}

/// The references of one segment.
fn of_segment<'a>(references: &[&[&'a str]], at: usize) -> Vec<&'a str> {
    references.iter().map(|lines| lines[at]).collect()
}

#[test]
fn lines_become_the_same_tokens() {
    let golden = golden();
    let lines: Vec<&str> =
        golden["segments"].as_array().unwrap().iter().flat_map(|s| s.as_array().unwrap()).map(text).collect();
    for name in ["13a", "intl"] {
        let expected = golden["tokens"][name].as_array().unwrap();
        assert_eq!(expected.len(), lines.len());
        for (line, expected) in lines.iter().zip(expected) {
            assert_eq!(tokenizer(name).tokenize(line), text(expected), "{name} of {line:?}");
        }
    }
}

#[test]
fn bleu_of_every_setting_is_sacrebleus() {
    let golden = golden();
    let [hypotheses, first, second] = columns(&golden);
    let references = [first.as_slice(), second.as_slice()];
    let cases = golden["bleu"].as_object().unwrap();
    assert_eq!(cases.len(), 3 * 4 * 2 * 2 + 2 * 2);
    for (what, expected) in cases {
        let words: Vec<&str> = what.split(' ').collect();
        let [name, smoothing, orders, case, count] = words.try_into().unwrap();
        let bleu = Bleu {
            tokenizer: tokenizer(name),
            smoothing: match smoothing {
                "exp" => Smoothing::Exponential,
                "floor" => Smoothing::Floor,
                "add-k" => Smoothing::AddOne,
                _ => Smoothing::None,
            },
            orders: if orders == "effective" { Orders::Effective } else { Orders::All },
            case: if case == "lower" { Case::Lower } else { Case::Mixed },
        };
        let references = &references[..count.parse().unwrap()];
        let found = bleu.corpus(&hypotheses, references).unwrap();
        close(found.score, &expected["score"], 1e-9, what);
        for (order, precision) in found.precisions.iter().enumerate() {
            close(*precision, &expected["precisions"][order], 1e-9, what);
        }
        assert_eq!(found.to_string(), text(&expected["text"]), "{what}");
        let signature = bleu.signature(references.len());
        assert_eq!(settings(&signature), settings(text(&expected["signature"])), "{what}");
        for (at, score) in expected["sentences"].as_array().into_iter().flatten().enumerate() {
            let found = bleu.sentence(hypotheses[at], &of_segment(references, at)).unwrap();
            close(found.score, score, 1e-9, &format!("{what}, sentence {at}"));
        }
    }
}

#[test]
fn chrf_with_and_without_words_is_sacrebleus() {
    let golden = golden();
    let [hypotheses, first, second] = columns(&golden);
    let references = [first.as_slice(), second.as_slice()];
    for (words, metric) in [(0, ChrF::Characters), (2, ChrF::CharactersAndWords)] {
        for count in [1, 2] {
            let what = format!("{words} {count}");
            let (expected, references) = (&golden["chrf"][&what], &references[..count]);
            let found = metric.corpus(&hypotheses, references).unwrap();
            close(found.score, &expected["score"], 1e-9, &what);
            assert_eq!(found.to_string(), text(&expected["text"]));
            assert_eq!(settings(&metric.signature(count)), settings(text(&expected["signature"])));
            for (at, hypothesis) in hypotheses.iter().enumerate() {
                let found = metric.sentence(hypothesis, &of_segment(references, at)).unwrap();
                close(found.score, &expected["sentences"][at], 1e-9, &format!("{what}, sentence {at}"));
            }
        }
    }
}

/// Whether a score and all it was computed from are as written down with six digits.
fn agrees(found: &BleuScore, expected: &Value, what: &str) {
    close(found.score, &expected["score"], 1e-5, what);
    close(found.brevity_penalty, &expected["bp"], 1e-5, what);
    for order in 0..4 {
        close(found.precisions[order], &expected["precisions"][order], 1e-5, what);
        assert_eq!(found.matches[order] as u64, expected["counts"][order], "{what}");
        assert_eq!(found.totals[order] as u64, expected["totals"][order], "{what}");
    }
    assert_eq!(found.hypothesis_length as u64, expected["sys_len"], "{what}");
    assert_eq!(found.reference_length as u64, expected["ref_len"], "{what}");
}

#[test]
fn translations_of_a_shared_task_score_as_published() {
    let Some(folder) = material("text/metrics_bleu") else { return };
    let Some(texts) = material("wmt22_en_de") else { return };
    let read = |name: String| {
        std::fs::read_to_string(texts.join(format!("generaltest2022.en-de.{name}.de"))).unwrap()
    };
    let references = [read("ref.A".into()), read("ref.B".into())];
    let references: Vec<Vec<&str>> = references.iter().map(|text| lines(text)).collect();
    let chosen = |names: &str| -> Vec<&[&str]> {
        names.split('+').map(|name| references[usize::from(name == "B")].as_slice()).collect()
    };
    let expected = json(&folder.join("expected.json"));
    for (what, expected) in expected["corpus"].as_object().unwrap() {
        let words: Vec<&str> = what.split(" | ").collect();
        let [system, names, name, span] = words.try_into().unwrap();
        let system = read(format!("hyp.{system}"));
        let system = lines(&system);
        let end = if span == "all" { system.len() } else { 100 };
        let references: Vec<&[&str]> = chosen(names).iter().map(|lines| &lines[..end]).collect();
        let bleu = Bleu { tokenizer: tokenizer(name), ..Bleu::default() };
        agrees(&bleu.corpus(&system[..end], &references).unwrap(), expected, what);
        let signature = bleu.signature(references.len());
        assert_eq!(settings(&signature), settings(text(&expected["signature"])), "{what}");
    }
    for (what, scores) in expected["sentence"]["scores"].as_object().unwrap() {
        let words: Vec<&str> = what.split(" | ").collect();
        let [system, names, name] = words.try_into().unwrap();
        let system = read(format!("hyp.{system}"));
        let bleu = Bleu { tokenizer: tokenizer(name), ..Bleu::of_sentences() };
        for (at, (line, score)) in lines(&system).iter().zip(scores.as_array().unwrap()).enumerate() {
            let found = bleu.sentence(line, &of_segment(&chosen(names), at)).unwrap();
            close(found.score, score, 1e-5, &format!("{what}, line {at}"));
        }
    }
}

#[test]
fn edge_cases_score_as_published() {
    let Some(folder) = material("text/metrics_bleu") else { return };
    let expected = json(&folder.join("expected.json"));
    let cases = expected["edge_cases"].as_array().unwrap();
    let column = |name| -> Vec<&str> { cases.iter().map(|case| text(&case[name])).collect() };
    let (hypotheses, references) = (column("hypothesis"), column("reference"));
    for name in ["13a", "intl"] {
        let (of_corpus, of_sentences) = (
            Bleu { tokenizer: tokenizer(name), ..Bleu::default() },
            Bleu { tokenizer: tokenizer(name), ..Bleu::of_sentences() },
        );
        for (case, (hypothesis, reference)) in cases.iter().zip(hypotheses.iter().zip(&references)) {
            let what = format!("{}, {name}", case["what"]);
            let tokens = &case[format!("tokens_{name}")];
            assert_eq!(of_corpus.tokenizer.tokenize(hypothesis), text(&tokens["hypothesis"]), "{what}");
            assert_eq!(of_corpus.tokenizer.tokenize(reference), text(&tokens["reference"]), "{what}");
            for (bleu, expected) in [(of_corpus, "corpus"), (of_sentences, "sentence")] {
                let Some(expected) = case.get(format!("{expected}_{name}")) else { continue };
                agrees(&bleu.sentence(hypothesis, &[reference]).unwrap(), expected, &what);
            }
        }
        let found = of_corpus.corpus(&hypotheses, &[&references]).unwrap();
        agrees(&found, &expected["edge_cases_as_one_corpus"][name], name);
    }
}

proptest! {
    #[test]
    fn any_text_scores_from_0_to_100_and_100_against_itself(a in "\\PC{0,40}", b in "\\PC{0,40}") {
        for tokenizer in [Tokenizer::V13a, Tokenizer::International, Tokenizer::None] {
            let bleu = Bleu { tokenizer, ..Bleu::of_sentences() };
            let found = bleu.sentence(&a, &[&b]).unwrap().score;
            prop_assert!((0.0..=100.0 + 1e-9).contains(&found), "{found}");
            if !tokenizer.tokenize(&a).is_empty() {
                prop_assert!((bleu.sentence(&a, &[&b, &a]).unwrap().score - 100.0).abs() < 1e-9);
            }
        }
        for metric in [ChrF::Characters, ChrF::CharactersAndWords] {
            let found = metric.sentence(&a, &[&b]).unwrap().score;
            prop_assert!((0.0..=100.0 + 1e-9).contains(&found), "{found}");
            if !a.trim().is_empty() {
                prop_assert!((metric.sentence(&a, &[&b, &a]).unwrap().score - 100.0).abs() < 1e-9);
            }
        }
    }
}
