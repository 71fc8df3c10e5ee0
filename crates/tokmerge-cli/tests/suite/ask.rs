//! `tokmerge ask` with the tiny model of questions beside the repository.

use crate::common::{Desk, TINY, assert_keys, material, number};

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

/// A desk with a picture, and the name of a model that writes.
fn writer() -> Option<(Desk, String)> {
    let folder = material()?.join("text/pali");
    let desk = Desk::new();
    desk.draw("photo.jpg", 90, 70);
    Some((desk, format!("local-dir:{}", folder.display())))
}

#[test]
fn a_model_that_writes_answers_in_words() {
    let Some((desk, model)) = writer() else { return };
    let questions = ["ask", "photo.jpg", "what color is the circle?", "how many boats are there?"];
    let options = [
        "--model",
        &model,
        "--json",
        "--merge",
        "none",
        "--merge",
        "stm:p=2,layer=3",
        "--max-new-tokens",
        "6",
    ];
    let run = desk.run_with(&[&questions[..], &options[..]].concat()).ok();
    assert_eq!(run.err, "", "its merging has weights");
    let results = run.json();
    assert_eq!(results.len(), 4);
    for result in &results {
        assert_keys(result, &["path", "question", "cut", "merge", "top", "gmacs", "tokens", "ms"]);
        let [answer] = &result["top"].as_array().expect("a list")[..] else { panic!("one answer: {result}") };
        assert_keys(answer, &["answer", "ids", "score"]);
        let ids = answer["ids"].as_array().expect("a list");
        assert!((1..=6).contains(&ids.len()) && number(answer, "score") < 0.0, "{answer}");
    }
    // Nine patches in the tower, then the words of the first question, as many as the tokenizer makes.
    let tokens = |index: usize| {
        serde_json::from_value::<Vec<usize>>(results[index]["tokens"].clone()).expect("counts")
    };
    let words = tokens(0)[2] - 9;
    assert_eq!(tokens(0), [9, 9, 9 + words, 9 + words]);
    assert_eq!(tokens(2), [9, 9, 5 + words, 5 + words]);
    assert!(number(&results[2], "gmacs") < number(&results[0], "gmacs"));
    let beams =
        ["ask", "photo.jpg", "how many boats are there?", "--model", &model, "--beams", "3", "--topk", "2"];
    let shown = desk.run_with(&beams).ok();
    assert!(
        shown.out.starts_with("how many boats are there?  [none: ") && shown.out.lines().count() == 3,
        "{}",
        shown.out
    );
}

#[test]
fn settings_of_other_models_are_refused() {
    let (Some((desk, chooses)), Some((_, writes))) = (desk(), writer()) else { return };
    let ask = |model: &str, option: &str| {
        desk.run_with(&["ask", "photo.jpg", "is there a cat?", "--model", model, option, "3"])
    };
    ask(&chooses, "--beams").fails(&["--beams is 3", "leave --beams out"]);
    ask(&chooses, "--max-new-tokens").fails(&["--max-new-tokens is 3"]);
    ask(&writes, "--long-side").fails(&["--long-side is 3", "one size"]);
    desk.run_with(&["ask", "photo.jpg", "", "--model", &writes]).fails(&["question 1", "no text"]);
}

#[test]
fn info_counts_image_tokens_and_words_apart() {
    let run = Desk::new().run("info pali_so400m_patch14_812 --merge none --merge stm:p=2,layer=28").ok();
    assert!(
        run.out.contains("27 blocks of 1152 channels and 16 heads, then 24 blocks of 1024 channels"),
        "{}",
        run.out
    );
    assert!(run.out.contains("3364 tokens (0 never merge), which at most 64 join"), "{}", run.out);
    let row = run.out.lines().last().expect("a table");
    assert!(row.contains(" 3364 1682+64 ") && row.ends_with(" 1682+64"), "{row}");
    let sized = Desk::new().run("info pali_so400m_patch14_812 --img-size 448 --json").ok().one_json();
    assert_eq!((&sized["tokens"][0], &sized["tokens"][27]), (&1024.into(), &(1024 + 64).into()));
    assert_eq!(sized["joined"][27], 64);
}
