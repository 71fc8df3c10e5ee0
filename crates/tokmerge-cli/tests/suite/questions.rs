//! `tokmerge eval` of lists of questions, and `tokmerge scenes --questions`.

use crate::common::{Desk, TINY, assert_keys, material, number};
use serde_json::{Value, json};
use tokmerge::scenes::questions::{ANSWERS, texts};
use tokmerge::text::{TextForm, Tokenizer};

/// A folder of a tiny model without weights that knows the drawn questions and these answers.
fn model(desk: &Desk, answers: &[&str]) -> String {
    let tokenizer = Tokenizer::of_words(texts(), TextForm::ClassAndSeparator).unwrap();
    let config = json!({"architecture": "vilt_b32", "num_classes": answers.len(), "label_names": answers,
        "model_args": {"img_size": [64, 64], "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 3,
                       "vocab_size": tokenizer.vocabulary(), "max_text_len": 16}});
    desk.write("vilt/config.json", config.to_string());
    desk.write("vilt/tokenizer.json", tokenizer.to_json());
    "--model local-dir:vilt --random-weights".to_owned()
}

/// A desk with 28 drawn questions, and a model.
fn drawn() -> (Desk, String) {
    let desk = Desk::new();
    let run = desk.run("scenes set --questions --images 28 --side 48").ok();
    assert!(run.err.contains("28 questions of 14 kinds, with 25 answers, are in set"), "{}", run.err);
    let model = model(&desk, &ANSWERS);
    (desk, model)
}

#[test]
fn drawn_questions_are_evaluated_by_every_method_and_kind() {
    let (desk, model) = drawn();
    let eval = format!("eval set {model} --merge none --merge tome:r=3 -b 5 --predictions p.csv --json");
    let run = desk.run(&eval).ok();
    assert_eq!(run.err, "");
    let results = run.json();
    assert_eq!(results.len(), 2);
    for result in &results {
        assert_keys(result, &["model", "merge", "interval", "gmacs", "model_questions_per_second", "dtype"]);
        assert_keys(result, &["run_questions_per_second", "convention"]);
        assert_eq!((&result["questions"], &result["unknown_answers"]), (&json!(28), &json!(0)));
        assert_eq!(result["kinds"].as_array().map(Vec::len), Some(14));
    }
    assert_eq!((number(&results[0], "agreement"), &results[0]["merge"]), (100.0, &json!("none")));
    assert_eq!(number(&results[0], "mean_tokens") - number(&results[1], "mean_tokens"), 6.0);
    assert!(number(&results[1], "gmacs") < number(&results[0], "gmacs"));

    // The predictions say the same.
    let rows = desk.csv("p.csv");
    assert_eq!(
        rows[0].join(","),
        "image,question,kind,answers,score,answer1,answer2,answer3,answer4,answer5,\
        logit1,logit2,logit3,logit4,logit5,merge"
    );
    assert_eq!(rows.len(), 1 + 2 * 28);
    let unmerged: Vec<&Vec<String>> = rows[1..].iter().filter(|row| row[15] == "none").collect();
    let right = unmerged.iter().filter(|row| row[3] == row[5]).count();
    assert!((number(&results[0], "accuracy") - 100.0 * right as f64 / 28.0).abs() < 1e-9);
    assert!(unmerged.iter().all(|row| row[4] == if row[3] == row[5] { "1" } else { "0" }));
    let of_kind: f64 =
        results[0]["kinds"].as_array().unwrap().iter().map(|kind| number(kind, "accuracy")).sum();
    assert!((of_kind / 14.0 - number(&results[0], "accuracy")).abs() < 1e-9, "two of each kind");

    // A batch of another size, and without threads that read: the same.
    let again = desk
        .run(&format!("eval set/questions.jsonl {model} --merge none -b 64 --workers 0 --json"))
        .ok()
        .one_json();
    for key in ["accuracy", "kinds", "mean_tokens", "interval"] {
        assert_eq!(again[key], results[0][key], "{key}");
    }
    // Added up in another order.
    assert!((number(&again, "gmacs") / number(&results[0], "gmacs") - 1.0).abs() < 1e-12);
    // And what `ask` says.
    let first = unmerged[0];
    let ask = [
        &["ask", first[0].as_str(), first[1].as_str(), "--json", "--topk", "1"],
        &model.split(' ').collect::<Vec<_>>()[..],
    ]
    .concat();
    let asked = desk.run_with(&ask).ok().one_json();
    assert_eq!(asked["top"][0]["answer"], json!(first[5]));
    assert_eq!(asked["top"][0]["logit"].to_string(), first[10]);

    let shown = desk.run(&format!("eval set {model} --merge none --merge tome:r=3 --limit 14")).ok();
    assert!(shown.out.contains("14 questions about 14 images, batch 32"), "{}", shown.out);
    for fragment in
        ["accuracy %", "95 % interval", "agreement %", "model questions/s", "colour-beside", "same-colour"]
    {
        assert!(shown.out.contains(fragment), "{fragment}: {}", shown.out);
    }
}

#[test]
fn questions_with_ten_answers_have_the_vqa_score() {
    let desk = Desk::new();
    let model = model(&desk, &["no", "yes"]);
    desk.draw("a.png", 90, 60);
    let people = |answers: [&str; 10]| json!(answers);
    let mostly_yes = people(["yes", "Yes.", "yes", "no", "no", "maybe", "maybe", "maybe", "maybe", "maybe"]);
    let all = people(["yes"; 10]);
    let unknown = people(["teal"; 10]);
    let line = |answers: &Value| {
        json!({"image": "a.png", "question": "Is there a red circle?", "answers": answers}).to_string()
    };
    desk.write("list.jsonl", [&mostly_yes, &all, &unknown].map(line).join("\n"));
    let run = desk.run(&format!("eval list.jsonl {model} --json")).ok();
    assert!(run.err.contains("note: 1 of 3 questions have no answer that is a class of"), "{}", run.err);
    let result = run.one_json();
    // It answers all three alike: yes is worth 0.9 and 1, no 0.6 and nothing.
    let score = number(&result, "accuracy");
    assert!(
        [100.0 * 1.9 / 3.0, 100.0 * 0.6 / 3.0].iter().any(|right| (right - score).abs() < 1e-6),
        "{score}"
    );
    assert_eq!(result["unknown_answers"], json!(1));
    assert_eq!(result.get("kinds"), None);

    desk.write("three.jsonl", line(&json!(["yes", "no", "yes"])));
    desk.run(&format!("eval three.jsonl {model}")).fails(&["three.jsonl", "line 1", "there are 3"]);
    desk.write("teal.jsonl", line(&unknown));
    desk.run(&format!("eval teal.jsonl {model}")).fails(&["none of the 1 questions", "teal", "no"]);
    // Answers by other names.
    desk.write("answers.txt", "teal\nmaroon\n");
    let named = desk.run(&format!("eval teal.jsonl {model} --labels answers.txt --json")).ok().one_json();
    assert!([0.0, 100.0].contains(&number(&named, "accuracy")));
    desk.write("three.txt", "a\nb\nc\n");
    desk.run(&format!("eval teal.jsonl {model} --labels three.txt")).fails(&["3 classes", "has 2"]);
}

#[test]
fn a_picture_that_cannot_be_read_leaves_its_questions_out() {
    let (desk, model) = drawn();
    desk.write("set/images/0000003.png", "text");
    let run = desk.run(&format!("eval set {model} --json")).ok();
    assert!(
        run.err.contains("1 of 28 images could not be read") && run.err.contains("0000003.png"),
        "{}",
        run.err
    );
    assert_eq!(run.one_json()["questions"], json!(27));
    if let Some(writer) = material().map(|material| material.join("text/pali")) {
        let merges = "--merge none --merge stm:p=2,layer=3";
        let run = desk.run(&format!("eval set --model local-dir:{} {merges} --json", writer.display())).ok();
        assert!(run.err.contains("1 of 28 images could not be read"), "{}", run.err);
        let results = run.json();
        assert!(results.len() == 2 && results.iter().all(|result| result["questions"] == json!(27)));
        assert!(number(&results[0], "tokens_per_second") > 0.0);
        assert_eq!(results[0]["kinds"].as_array().unwrap().len(), 14);
        assert_eq!((&results[0]["unknown_answers"], &results[0]["cut_questions"]), (&Value::Null, &json!(0)));
        let run = desk.run(&format!("eval set --model local-dir:{}", writer.display())).ok();
        assert!(run.out.contains("95 % interval") && run.out.contains("written tokens/s"), "{}", run.out);
    }
    std::fs::remove_file(desk.path("set/images/0000003.png")).unwrap();
    desk.run(&format!("eval set {model}")).fails(&["1 of its 28 pictures are not there", "line 4"]);
}

#[test]
fn what_cannot_be_evaluated_is_refused_in_one_line() {
    let (desk, model) = drawn();
    desk.run(&format!("eval set/questions.jsonl {TINY}")).fails(&["lists of questions", "takes images"]);
    desk.run(&format!("eval set {TINY} --long-side 64")).fails(&["--long-side"]);
    desk.run(&format!("eval set/images {model}")).fails(&["holds no list of questions", "questions.jsonl"]);
    desk.run(&format!("eval set {model} --results-file r.csv")).fails(&["--results-file", "--json"]);
    desk.run(&format!("eval set {model} --classes a,b")).fails(&["--labels"]);
    desk.run(&format!("eval set {model} --predictions set/questions.jsonl")).fails(&["overwrite"]);
    desk.write("bad.csv", "image,question,answer\nset/images/0000001.png,,red\n");
    desk.run(&format!("eval bad.csv {model}")).fails(&["line 2 has an empty question"]);
    desk.run(&format!("eval set {model} --long-side 10")).fails(&["10"]);
    let config = std::fs::read_to_string(desk.path("vilt/config.json")).unwrap();
    desk.write("vilt/config.json", config.replace("label_names", "other_names"));
    desk.run(&format!("eval set {model}")).fails(&["nothing says which answers", "--labels"]);
    std::fs::remove_file(desk.path("vilt/tokenizer.json")).unwrap();
    desk.run(&format!("eval set {model} --labels set/answers.txt")).fails(&["tokenizer.json"]);
    desk.run("scenes more --questions --clips").misused(&["--clips"]);
}

#[test]
fn easy_vqa_is_evaluated_with_a_model_that_knows_some_of_its_answers() {
    let Some(material) = material() else { return };
    let desk = Desk::new();
    let list = material.join("easy_vqa/easy_vqa/data/test/questions.json");
    let model = format!("local-dir:{}", material.join("text/vilt").display());
    let list = list.display().to_string();
    let eval = ["eval", &list, "--model", &model, "--limit", "120", "--merge", "tome:r=2", "--json"];
    let run = desk.run_with(&eval).ok();
    assert!(run.err.contains("of 120 questions have no answer that is a class"), "{}", run.err);
    let result = run.one_json();
    assert_eq!(result["questions"], json!(120));
    assert!(number(&result, "agreement") > 50.0 && number(&result, "accuracy") < 60.0, "{result}");
}

#[test]
fn training_on_questions_speaks_of_answers() {
    let desk = Desk::new();
    desk.run("scenes set --questions --images 14 --side 24").ok();
    std::fs::write(desk.path("set/images/0000003.png"), b"no picture").expect("it was there");
    desk.write(
        "tiny.toml",
        "merge = \"none\"\n[model]\nname = \"vilt_b32\"\nimg_size = 24\npatch_size = 8\nembed_dim = 24\ndepth = 2\n\
         num_heads = 3\n[data]\ntrain = \"questions:32\"\nval = \"set\"\n[schedule]\nlr = 1e-3\n[train]\nepochs = 1\n\
         batch_size = 8\n",
    );
    let run = desk.run("train tiny.toml -o run").ok();
    assert!(run.out.contains("on 13 questions:") && run.out.contains("accuracy %"), "{}", run.out);
    assert!(!run.out.contains("top-1"), "{}", run.out);
    assert!(run.err.contains("it is left out of validations"), "{}", run.err);
    assert_eq!(desk.csv("run/validation.csv")[0][4], "accuracy");
}
