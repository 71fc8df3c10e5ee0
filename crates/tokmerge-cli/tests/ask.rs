//! `tokmerge ask` with the tiny model of questions beside the repository.

mod common;

use common::{Desk, TINY, assert_keys, material, number};

/// A desk with a picture, and the model's name.
fn desk() -> Option<(Desk, String)> {
    let folder = material()?.join("text/vilt");
    let desk = Desk::new();
    desk.draw("photo.jpg", 90, 70);
    Some((desk, format!("local-dir:{}", folder.display())))
}

#[test]
fn every_question_has_its_answers_with_their_probabilities() {
    let Some((desk, model)) = desk() else { return };
    let questions = ["ask", "photo.jpg", "what color is the circle?", "is there a cat?"];
    let options = ["--model", &model, "--topk", "3", "--json", "--merge", "none", "--merge", "tome:r=2"];
    let run = desk.run_with(&[&questions[..], &options[..]].concat()).ok();
    assert_eq!(run.err, "");
    let results = run.json();
    assert_eq!(results.len(), 4);
    for result in &results {
        assert_keys(result, &["path", "question", "cut", "merge", "top", "gmacs", "tokens", "ms"]);
        assert_eq!((&result["path"], &result["cut"]), (&"photo.jpg".into(), &false.into()));
        let top = result["top"].as_array().expect("a list");
        assert_eq!(top.len(), 3);
        for answer in top {
            let logit = number(answer, "logit");
            let sigmoid = 1.0 / (1.0 + (-logit).exp());
            assert!((number(answer, "probability") - sigmoid).abs() < 1e-5, "{answer}");
        }
        assert!(number(&top[0], "logit") >= number(&top[1], "logit"), "{result}");
    }
    // The picture of 90x70 pixels is one of 5x4 patches: 82x64 pixels, cut to 80x64.
    assert_eq!(results[0]["tokens"], serde_json::json!([11 + 1 + 20, 11 + 1 + 20]));
    assert_eq!(results[2]["tokens"], serde_json::json!([11 + 1 + 18, 11 + 1 + 16]));
    // Alone, a question has the same answer.
    let alone = ["ask", "photo.jpg", "is there a cat?", "--model", &model, "--topk", "3", "--json"];
    assert_eq!(desk.run_with(&alone).ok().one_json()["top"], results[1]["top"]);
    let shown = desk.run_with(&["ask", "photo.jpg", "is there a cat?", "--model", &model]).ok();
    assert!(shown.out.starts_with("is there a cat?  [none: 28 tokens left, "), "{}", shown.out);
    assert!(shown.out.lines().count() == 6 && shown.out.contains(" %  "), "{}", shown.out);
}

#[test]
fn a_question_that_is_too_long_is_cut_with_a_note() {
    let Some((desk, model)) = desk() else { return };
    let long = "is there a cat ".repeat(2000);
    let run = desk.run_with(&["ask", "photo.jpg", &long, "--model", &model, "--json"]).ok();
    assert!(run.err.lines().count() == 1 && run.err.contains("room for 20 tokens"), "{}", run.err);
    assert_eq!(run.one_json()["cut"], true);
}

#[test]
fn a_longer_side_may_be_asked_for() {
    let Some((desk, model)) = desk() else { return };
    desk.draw("wide.png", 300, 80);
    let tokens = |side: &str| {
        let ask = ["ask", "wide.png", "is there a cat?", "--model", &model, "--json", "--long-side", side];
        desk.run_with(&ask).ok().one_json()["tokens"][0].as_u64()
    };
    // 300x80 pixels become 106x28, cut to 96x16; and 160x43, cut to 160x32.
    assert_eq!((tokens("106"), tokens("160")), (Some(8 + 6), Some(8 + 20)));
    desk.run_with(&["ask", "wide.png", "a?", "--model", &model, "--long-side", "20"]).fails(&["20", "64"]);
}

#[test]
fn what_cannot_be_asked_is_refused_in_one_line() {
    let Some((desk, model)) = desk() else { return };
    let ask = |image: &str, question: &str| desk.run_with(&["ask", image, question, "--model", &model]);
    ask("photo.jpg", "").fails(&["question 1", "no text"]);
    ask("photo.jpg", " \t ").fails(&["question 1", "no text"]);
    ask("absent.jpg", "is there a cat?").fails(&["absent.jpg"]);
    desk.draw("thin.png", 1000, 8);
    ask("thin.png", "is there a cat?").fails(&["thin.png", "1000x8", "crop"]);
    desk.run(&format!("ask photo.jpg what? {TINY}")).fails(&["images", "answers no questions"]);
    desk.run_with(&["classify", "photo.jpg", "--model", &model]).code(1);
    desk.run("ask photo.jpg --model demo").misused(&["<QUESTION>"]);
}

#[test]
fn info_counts_the_longest_question_about_the_largest_picture() {
    let run = Desk::new().run("info vilt_b32 --merge none --merge tome:r=8").ok();
    assert!(run.out.contains("117.59 M parameters") && run.out.contains("at most 40 tokens"), "{}", run.out);
    assert!(run.out.contains("281"), "{}", run.out);
}
