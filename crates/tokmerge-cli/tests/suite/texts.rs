//! Models of texts: `embed`, `search`, `eval` of pairs, `generate`, `bleu` and `info`.

use crate::common::{Desk, material};
use std::path::Path;

/// The material's folder of a name as a model.
fn model(name: &str) -> Option<String> {
    Some(format!("--model local-dir:{}", material()?.join(name).display()))
}

/// A copy of a folder of the material, to change.
fn copy(desk: &Desk, from: &Path, to: &str) {
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let to = format!("{to}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            copy(desk, &entry.path(), &to);
        } else {
            desk.write(&to, std::fs::read(entry.path()).expect("readable"));
        }
    }
}

#[test]
fn texts_become_rows_in_order_and_bad_lines_are_named() {
    let Some(bert) = model("text/bert") else { return };
    let desk = Desk::new();
    desk.write(
        "texts.txt",
        b"the cat sat\n\nthe \xFF dog\n\xF0\x9F\x98\x80 house\nthe train leaves at nine\n",
    );
    let run = desk.run(&format!("embed texts.txt {bert} --json")).code(1);
    let rows = run.json();
    let paths: Vec<&str> = rows.iter().map(|row| row["path"].as_str().expect("a path")).collect();
    assert_eq!(paths, ["texts.txt:1", "texts.txt:4", "texts.txt:5"]);
    let norm = |row: &serde_json::Value| {
        let values = row["embedding"].as_array().expect("a list").iter();
        values.map(|value| value.as_f64().expect("a number").powi(2)).sum::<f64>()
    };
    assert!(rows.iter().all(|row| (norm(row) - 1.0).abs() < 1e-5), "sentence vectors have length 1");
    for part in ["texts.txt:2", "no token is left", "line 3 is not UTF-8 (byte 5)"] {
        assert!(run.err.contains(part), "{part}: {}", run.err);
    }
    let file = desk.run(&format!("embed texts.txt {bert} --merge tome:r=10% -o vectors.jsonl")).ok();
    assert!(file.err.contains("3 vectors") && file.err.contains("could not be read"), "{}", file.err);
    let found =
        desk.run_with(&["search", "the train leaves at nine", "vectors.jsonl", "-k", "1", "--json"]).ok();
    assert_eq!(found.json()[0]["key"].as_str().or(found.json()[0]["path"].as_str()), Some("texts.txt:5"));
}

#[test]
fn standard_input_is_a_file_of_texts_like_any_other() {
    let Some(bert) = model("text/bert") else { return };
    let desk = Desk::new();
    desk.write("texts.txt", "the cat sat\na small house\nthe train leaves\n");
    let from = |command: &str, stdin: &str| {
        desk.run_from(&command.split_whitespace().collect::<Vec<_>>(), Some(stdin))
    };
    let rows = from(&format!("embed - {bert} --json"), "texts.txt").ok().json();
    let file = desk.run(&format!("embed texts.txt {bert} --json")).ok().json();
    let keys: Vec<_> = rows.iter().map(|row| row["path"].as_str()).collect();
    assert_eq!(keys, [Some("-:1"), Some("-:2"), Some("-:3")]);
    assert!(rows.iter().zip(&file).all(|(row, same)| row["embedding"] == same["embedding"]));
    from(&format!("embed - {bert} -o vectors.jsonl"), "texts.txt").ok();
    desk.write("query.txt", "\na small house\n");
    let found = from("search - vectors.jsonl -k 1 --json", "query.txt").ok().json();
    assert_eq!(found[0]["key"].as_str(), Some("-:2"));
    from("search - vectors.jsonl", "texts.txt").fails(&["has several lines", "give a line at a time"]);
    desk.write("empty.txt", "");
    from("search - vectors.jsonl", "empty.txt").fails(&["holds no text"]);
    for fails in [from(&format!("embed - {bert}"), "empty.txt"), desk.run(&format!("embed empty.txt {bert}"))]
    {
        fails.fails(&["no texts there; write one a line"]);
    }
}

#[test]
fn a_file_that_is_no_text_is_refused_in_one_line() {
    let (Some(bert), Some(t5)) = (model("text/bert"), model("text/t5")) else { return };
    let desk = Desk::new();
    desk.draw("photo.png", 30, 20);
    for command in [
        format!("embed photo.png {bert}"),
        format!("generate photo.png {t5}"),
        format!("eval photo.png {bert}"),
        format!("eval photo.png {t5}"),
    ] {
        desk.run(&command).fails(&["photo.png: it is no file of texts (byte 9 is zero)"]);
    }
    desk.write("latin.txt", b"caf\xE9\nna\xEFve\n");
    for command in [format!("embed latin.txt {bert}"), format!("generate latin.txt {t5}")] {
        desk.run(&command).fails(&["latin.txt: it is not UTF-8", "save it as UTF-8"]);
    }
    desk.write("other.txt", "a text\n");
    for command in [
        format!("generate gone.txt {t5}"),
        "bleu gone.txt other.txt".to_owned(),
        format!("eval gone.csv {bert}"),
    ] {
        desk.run(&command).fails(&["gone.", "check the path"]);
    }
    desk.run(&format!("embed --files gone.txt {bert}"))
        .fails(&["gone.txt: there is no such file", "check the path"]);
}

#[test]
fn a_text_is_cut_where_it_is_asked() {
    let Some(bert) = model("text/bert") else { return };
    let desk = Desk::new();
    desk.write("long.txt", "the cat sat on the mat ".repeat(20_000));
    let left = |flags: &str| {
        desk.run(&format!("embed long.txt {bert} {flags} --json")).ok().json()[0]["tokens_left"].as_u64()
    };
    assert_eq!((left(""), left("--max-tokens 7")), (Some(40), Some(7)), "the model has room for 40");
    desk.write("some.txt", format!("the cat\n{}\n", "the cat sat on the mat ".repeat(20)));
    for to in ["--json", "-o vectors.jsonl"] {
        let said = desk.run(&format!("embed some.txt {bert} {to}")).ok().err;
        assert!(said.contains("the end of 1 of 2 texts is left out, since"), "{to}: {said}");
        assert!(said.contains("reads 40 tokens of each\n"), "{to}: {said}");
    }
    let said = desk.run(&format!("embed some.txt {bert} --max-tokens 9 --json")).ok().err;
    assert!(said.contains("reads 9 tokens of each; --max-tokens takes up to 40"), "{said}");
    desk.write("short.txt", "the cat sat\n");
    let whole = desk.run(&format!("embed short.txt {bert} --json")).ok();
    assert!(!whole.err.contains("left out"), "{}", whole.err);
    desk.write(
        "pairs.csv",
        "sentence1,sentence2,score\na cat,the old dog sat there,1\na dog,a house,2\na cat,b,3\n",
    );
    desk.run(&format!("eval pairs.csv {bert} --workers 2"))
        .fails(&["--workers is for files that are decoded", "leave it out"]);
    let run = desk.run(&format!("eval pairs.csv {bert} --max-tokens 5 --json")).ok();
    let row = run.one_json();
    assert_eq!((&row["sentences"], &row["cut_sentences"]), (&5.into(), &1.into()), "{row}");
    assert!(run.err.contains("the end of 1 of 5 texts"), "{}", run.err);
    let Some(t5) = model("text/t5") else { return };
    let run = desk.run(&format!("generate some.txt {t5} --max-tokens 9 --max-new-tokens 2")).ok();
    assert!(run.err.contains("the end of 1 of 2 texts is left out"), "{}", run.err);
    let run = desk.run(&format!("embed long.txt {bert} --max-tokens 41"));
    run.fails(&["--max-tokens is 41, and the model has room for 40"]);
}

#[test]
fn pairs_of_sentences_are_compared_with_their_scores() {
    let Some(bert) = model("text/bert") else { return };
    let desk = Desk::new();
    desk.write(
        "pairs.csv",
        "sentence1,sentence2,score\nthe cat sat,the cat sat,5\nthe cat sat,a small house,1\nthe train,the river,2\n\
         the dog ran,the cat ran,4\n",
    );
    let run = desk.run(&format!("eval pairs.csv {bert} --merge none --merge tome:r=25% --json")).ok();
    let rows = run.json();
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0]["pairs"].as_u64(), rows[0]["mean_cosine"].as_f64()), (Some(4), Some(1.0)));
    assert!(rows[1]["mean_cosine"].as_f64().expect("a number") < 1.0);
    assert!(rows[1]["mean_tokens"].as_f64() < rows[0]["mean_tokens"].as_f64());
    desk.write("nothing.csv", "a,b\n1,2\n");
    desk.run(&format!("eval nothing.csv {bert}")).fails(&["sentence1, sentence2 and score"]);
}

#[test]
fn merging_of_texts_is_tuned_on_half_of_the_pairs() {
    let Some(bert) = model("text/bert") else { return };
    let desk = Desk::new();
    let words =
        ["the cat sat on the mat", "a small house", "the train leaves at nine", "how many boats are there"];
    let mut rows = "sentence1,sentence2,score\n".to_owned();
    for (index, first) in words.iter().cycle().take(24).enumerate() {
        let second = words[(index + index / 4) % 4];
        rows.push_str(&format!(
            "{first} {index},{second} {},{}\n",
            index + 1,
            if *first == second { 5 } else { index % 3 }
        ));
    }
    desk.write("pairs.csv", rows);
    let run = desk.run(&format!("tune pairs.csv {bert} --min-spearman -100 --time-budget 2 --json")).ok();
    let found = run.one_json();
    let held_out = found["held_out"].as_array().expect("a list");
    assert_eq!((held_out.len(), held_out[0]["pairs"].as_u64()), (2, Some(12)));
    assert!(held_out[1]["gmacs"].as_f64() < held_out[0]["gmacs"].as_f64());
    assert!(found["measured"].as_array().expect("a list").len() > 10);
    assert_eq!(found["goal"]["min-spearman"].as_f64(), Some(-100.0));
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(desk.path("merge.json")).expect("it was written"))
            .expect("JSON");
    assert_eq!(written, found);
    assert!(desk.csv("merge.csv").len() > 10 && desk.path("merge.svg").is_file());
    let toml = std::fs::read_to_string(desk.path("merge.toml")).expect("a choice");
    assert!(toml.contains("[measured.held_out]") && !toml.contains("img_size"), "{toml}");
    desk.run(&format!("eval pairs.csv {bert} --merge merge.toml")).ok();
    // What a search of pairs wrote may be written over.
    let plain = desk.run(&format!("tune pairs.csv {bert} --min-spearman -100 --time-budget 1")).ok();
    for part in ["Merge with ", "pairs that were not searched on", "Use it: tokmerge embed texts.txt"] {
        assert!(plain.out.contains(part), "{part}: {}", plain.out);
    }
}

#[test]
fn what_tuning_on_pairs_cannot_do_is_refused_before_it_begins() {
    let Some(bert) = model("text/bert") else { return };
    let desk = Desk::new();
    desk.write("pairs.csv", format!("sentence1,sentence2,score\n{}", "a cat,the dog,1\n".repeat(3)));
    let tune = format!("tune pairs.csv {bert}");
    for value in ["nan", "101", "-100.5"] {
        desk.run(&format!("{tune} --min-spearman {value}"))
            .fails(&["--min-spearman", "a rank correlation times 100, from -100 to 100"]);
    }
    desk.run(&format!("{tune} --min-agreement 99")).fails(&["--min-spearman"]);
    let tune = format!("{tune} --min-spearman 80");
    for flag in [
        "--trials 3",
        "--search random --trials 3",
        "--search guided",
        "--search-images 5",
        "--no-recheck",
        "--labels l.tsv",
        "--classes a,b",
        "--template x{}",
        "--class-order plain",
    ] {
        let name = flag.split(' ').next().expect("a flag");
        desk.run(&format!("{tune} {flag}")).fails(&[name, "is for images", "leave it out"]);
    }
    desk.run(&format!("{tune} -o nowhere/m.toml")).fails(&["nowhere/m.toml"]);
    desk.run(&format!("{tune} -o pairs.csv")).fails(&["pairs.csv", "name it *.toml"]);
    desk.write("m.json", "{}");
    desk.run(&format!("{tune} -o m.toml")).fails(&["m.json", "no tuning wrote it"]);
    desk.run(&tune).fails(&["there are 3 pairs, and at least 20 are needed"]);
    desk.run(&format!("tune gone.csv {bert} --min-spearman 80"))
        .fails(&["gone.csv", "there is no such file"]);
    desk.run(&format!("tune . {bert} --min-spearman 80"))
        .fails(&["is a folder", "scored pairs of sentences"]);
}

#[test]
fn texts_are_written_line_by_line() {
    let Some(t5) = model("text/t5") else { return };
    let desk = Desk::new();
    desk.write("texts.txt", "the sun\nhow many boats are in it\n");
    let run = desk
        .run(&format!("generate texts.txt {t5} --max-new-tokens 12 --json --merge none --merge tome:r=1"))
        .ok();
    let rows = run.json();
    assert_eq!(rows.len(), 4);
    assert_eq!((rows[0]["path"].as_str(), rows[0]["tokens"].as_u64()), (Some("texts.txt:1"), Some(4)));
    assert!(rows[2]["tokens_left"].as_u64() < rows[0]["tokens_left"].as_u64());
    assert!(run.err.contains("against the first: BLEU"), "{}", run.err);
    let plain = desk.run(&format!("generate texts.txt {t5} --max-new-tokens 12 --beams 4")).ok();
    assert_eq!(plain.out.lines().count(), 2);
    let Some(bert) = model("text/bert") else { return };
    desk.run(&format!("generate texts.txt {bert}")).fails(&["writes no texts; use a model with a decoder"]);
}

#[test]
fn flags_that_would_do_nothing_are_refused() {
    let names = ["text/bert", "text/t5", "text/vilt"].map(model);
    let [Some(bert), Some(t5), Some(vilt)] = names else { return };
    let desk = Desk::new();
    desk.draw("photo.png", 40, 30);
    desk.write("texts.txt", "a text\n");
    desk.write("pairs.csv", "sentence1,sentence2,score\na cat,the dog,1\na dog,a house,2\na cat,b,3\n");
    desk.write("pairs.tsv", "a cat\tthe dog\n");
    for flag in
        ["--labels l.tsv", "--classes a,b", "--template x{}", "--class-order plain", "--results-file r.csv"]
    {
        let name = flag.split(' ').next().expect("a flag");
        for command in [format!("eval pairs.csv {bert}"), format!("eval pairs.tsv {t5}")] {
            desk.run(&format!("{command} {flag}")).fails(&[name, "is for classes", "leave it out"]);
        }
    }
    for flag in ["--decode exact", "--no-exif", "--max-pixels 100000000", "--max-seconds 9"] {
        let name = flag.split(' ').next().expect("a flag");
        for command in [
            format!("embed texts.txt {bert}"),
            format!("generate texts.txt {t5}"),
            format!("eval pairs.csv {bert}"),
        ] {
            desk.run(&format!("{command} {flag}")).fails(&[name, "takes texts", "leave it out"]);
        }
    }
    let ask = format!("ask photo.png what? {vilt}");
    desk.run(&format!("{ask} --max-seconds 9")).fails(&["--max-seconds is for sounds and clips"]);
    desk.run(&format!("{ask} --crop-pct 0.9")).fails(&["--crop-pct is given", "a size of its own"]);
    desk.run(&format!("{ask} --crop-mode squash")).fails(&["--crop-mode is given", "a size of its own"]);
    for flag in ["--length-penalty 1", "--early-stopping"] {
        let name = flag.split(' ').next().expect("a flag");
        desk.run(&format!("generate texts.txt {t5} {flag}")).fails(&[name, "--beams is 1"]);
    }
    desk.run(&format!("generate texts.txt {t5} --convention macs"))
        .fails(&["--convention", "does not count"]);
    desk.run("info t5_v1_1_small --num-classes 7").fails(&["--num-classes is 7", "has no classes"]);
    for kind in ["--questions", "--sentences"] {
        desk.run(&format!("scenes drawn {kind} --frames 8")).misused(&["--frames"]);
    }
    // What nobody gave is no mistake, and what the environment says is for other commands.
    let elsewhere = Desk::new().with("TOKMERGE_LABELS", "labels.tsv");
    elsewhere.write("pairs.csv", std::fs::read(desk.path("pairs.csv")).expect("it was written"));
    elsewhere.run(&format!("eval pairs.csv {bert}")).ok();
}

#[test]
fn a_model_of_another_kind_is_refused_by_the_command_that_it_is_for() {
    let names = ["text/bert", "text/t5", "text/vilt", "text/pali"].map(model);
    let [Some(bert), Some(t5), Some(vilt), Some(pali)] = names else { return };
    let desk = Desk::new();
    desk.draw("photos/a/photo.png", 40, 30);
    desk.write("texts.txt", "a text\n");
    for (model, instead) in [(&bert, "embed"), (&t5, "generate"), (&vilt, "ask"), (&pali, "ask")] {
        let instead = format!("use tokmerge {instead}");
        for command in ["classify photos/a/photo.png", "eval photos/a"] {
            // A model of questions looks for a list of them.
            if command.starts_with("classify") || instead != "use tokmerge ask" {
                desk.run(&format!("{command} {model}")).fails(&[&instead]);
            }
        }
    }
    for model in [&vilt, &pali] {
        for command in [
            "embed photos",
            "few-shot photos",
            "tune photos --min-agreement 99",
            "viz photos/a/photo.png --merge tome:r=1 -o a.png",
        ] {
            desk.run(&format!("{command} {model}")).fails(&["asks for a question", "use tokmerge ask"]);
        }
        desk.run(&format!("generate texts.txt {model}"))
            .fails(&["generate is for texts", "use tokmerge ask"]);
    }
    desk.run(&format!("bench --train {bert}")).fails(&["nothing to train", "leave --train out"]);
}

#[test]
fn mistakes_with_tokenizers_are_one_line() {
    let Some(material) = material() else { return };
    let (bert, t5) = (material.join("text/bert"), material.join("text/t5"));
    let desk = Desk::new();
    desk.write("texts.txt", "a text\n");
    copy(&desk, &bert, "none");
    std::fs::remove_file(desk.path("none/tokenizer.json")).expect("it was there");
    desk.run("embed texts.txt --model local-dir:none")
        .fails(&["there is no tokenizer.json beside the model"]);
    copy(&desk, &t5, "other");
    desk.write("other/tokenizer.json", std::fs::read(bert.join("tokenizer.json")).expect("readable"));
    desk.run("generate texts.txt --model local-dir:other").fails(&["it is the tokenizer of another model"]);
    copy(&desk, &bert, "broken");
    desk.write("broken/tokenizer.json", "{\"version\": \"1.0\"}");
    desk.run("embed texts.txt --model local-dir:broken").fails(&["is no tokenizer"]);
    desk.write("photo.png", b"\x89PNG");
    desk.run(&format!(
        "viz photo.png --output out.png --merge tome:r=1 --model local-dir:{}",
        bert.display()
    ))
    .fails(&["takes texts"]);
}

#[test]
fn bleu_says_what_sacrebleu_says() {
    let desk = Desk::new();
    desk.write("hypotheses.txt", "The cat sat on the mat.\nA dog ran home!\n");
    desk.write("references.txt", "The cat sat on a mat.\nThe dog ran home!\n");
    let run = desk.run("bleu hypotheses.txt references.txt").ok();
    assert!(run.out.starts_with("BLEU = ") && run.out.contains("tok:13a|smooth:exp"), "{}", run.out);
    let rows = desk.run("bleu hypotheses.txt references.txt --sentence --metric chrf --json").ok().json();
    assert_eq!((rows.len(), rows[1]["line"].as_u64()), (2, Some(2)));
    desk.write("short.txt", "one\n");
    desk.run("bleu hypotheses.txt short.txt").fails(&["a reference has a line for every text"]);
    for (command, stdin) in
        [("bleu - references.txt", "hypotheses.txt"), ("bleu hypotheses.txt -", "references.txt")]
    {
        let piped = desk.run_from(&command.split(' ').collect::<Vec<_>>(), Some(stdin)).ok();
        assert_eq!(piped.out, run.out, "{command}");
    }
    desk.run("bleu - -").fails(&["named 2 times", "give files for the others"]);
    desk.write("bad.txt", b"fine\nso is this\nbut th\xFFs\n");
    desk.run("bleu bad.txt references.txt").fails(&["bad.txt: line 3 is not UTF-8 (byte 7)"]);
}

#[test]
fn info_counts_encoder_and_decoder() {
    let desk = Desk::new();
    // Table 4 of the soft merging paper counts training with and without inflation; it does not say from which block
    // on they merge: the third fits all four figures.
    for (model, unmerged, [inflated, shorter]) in
        [("t5_v1_1_small", 16.69, [0.904, 0.852]), ("t5_v1_1_base", 60.67, [0.852, 0.795])]
    {
        let merges = "--merge none --merge stm:p=2,layer=3,inflate=on --merge stm:p=2,layer=3";
        let rows = desk.run(&format!("info {model} {merges} --convention macs --json")).ok().json();
        let whole = |row: usize| rows[row]["gmacs_with_decoder"].as_f64().expect("a number");
        assert!((whole(0) - unmerged).abs() < 0.02, "{model}: {}", whole(0));
        let ratios = [whole(1) / whole(0), whole(2) / whole(0)];
        let near = |ratio: f64, paper: f64| (ratio / paper - 1.0).abs() < 0.03;
        assert!(near(ratios[0], inflated) && near(ratios[1], shorter), "{model}: {ratios:?}");
    }
}

#[test]
fn what_is_counted_of_texts_is_called_texts() {
    let desk = Desk::new();
    let info = "info t5_v1_1_small --training --images 1000 --epochs 2 --merge atm:theta=0.9";
    let said = desk.run(info).ok().out;
    for part in ["training: 1000 texts, 2 epochs", "as the texts allow", "as the text allows, above"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("image"), "{said}");
}

#[test]
fn a_model_that_learned_to_translate_translates_and_is_judged() {
    let desk = Desk::new();
    let run = desk.run("scenes val.tsv --sentences --images 9").ok();
    assert!(run.err.contains("9 sentences"), "{}", run.err);
    desk.run("scenes val.tsv --sentences --images 9").fails(&["val.tsv exists already", "another name"]);
    desk.run("scenes more.tsv --sentences --side 32").misused(&["--side"]);
    desk.write(
        "tiny.toml",
        "[model]\nname = \"t5_v1_1_small\"\nembed_dim = 24\ndepth = 2\nnum_heads = 3\n[data]\ntrain = \"sentences:64\"\n\
         val = \"val.tsv\"\n[schedule]\nlr = 3e-3\n[train]\nepochs = 1\nbatch_size = 8\n",
    );
    let run = desk.run("train tiny.toml -o run --set merge=tome:r=10%").ok();
    assert!(run.err.contains("64 texts to train on, 9 to validate on"), "{}", run.err);
    assert!(run.out.contains("BLEU") && run.out.contains("exact %"), "{}", run.out);
    let table = std::fs::read_to_string(desk.path("run/validation.csv")).expect("a table");
    assert!(table.starts_with("step,epoch,weights,merge,bleu,exact,texts,gmacs,mean_tokens\n"), "{table}");
    let run = desk.run("eval val.tsv --model local-dir:run --merge none --merge tome:r=10% --json").ok();
    let rows = run.json();
    assert_eq!((rows.len(), &rows[0]["texts"], &rows[0]["agreement"]), (2, &9.into(), &100.0.into()));
    assert!(rows[1]["mean_tokens"].as_f64() < rows[0]["mean_tokens"].as_f64(), "{rows:?}");
    desk.write("in.txt", "the old fox see a boat .\n");
    assert_eq!(desk.run("generate in.txt --model local-dir:run").ok().out.lines().count(), 1);
    desk.run("eval val.tsv --model local-dir:run --predictions p.csv").fails(&["--predictions", "generate"]);
    desk.write("bad.tsv", "one field\n");
    desk.run("eval bad.tsv --model local-dir:run").fails(&["line 1 has 1 fields"]);
}
