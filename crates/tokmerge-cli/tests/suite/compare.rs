//! `tokmerge compare` on pictures that the tests draw.

use crate::common::files::{tiny_config, tiny_tensors};
use crate::common::{Desk, assert_keys, number};
use serde_json::Value;

/// Forty images without labels in `flat`, and the tiny model of two blocks.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.model("tiny", &tiny_tensors());
    for index in 0..40 {
        desk.draw(&format!("flat/{index:02}.png"), 30 + 3 * index, 41);
    }
    desk
}

fn read(desk: &Desk, name: &str) -> String {
    std::fs::read_to_string(desk.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn rows(table: &Value) -> &Vec<Value> {
    table["rows"].as_array().expect("rows")
}

/// The tables of a result without times.
fn timeless(result: &Value) -> Value {
    let mut tables = result["tables"].clone();
    for table in tables.as_array_mut().expect("tables") {
        for row in table["rows"].as_array_mut().expect("rows") {
            let row = row.as_object_mut().expect("a row");
            assert!(row.remove("ms_per_image").is_some() && row.remove("speedup").is_some());
        }
    }
    tables
}

#[test]
fn a_trained_model_is_compared_on_drawn_pictures_and_a_second_run_takes_all_from_its_journals() {
    let desk = Desk::new();
    desk.run("scenes pictures --images 72").ok();
    let compare = "compare pictures --model demo --at gmacs=0.7 --at tokens=40 --methods tome,evit:keep=70%,rest=drop,atm,stm \
                   -o c.md -o c.svg -o c.csv";
    let run = desk.run(&format!("{compare} --json")).ok();
    let result = run.one_json();
    assert_keys(&result, &["model", "weights", "dtype", "threads", "isa", "seed", "judged_by", "unmerged"]);
    assert_eq!((&result["judged_by"], &result["search_images"]), (&"top1".into(), &36.into()));
    assert!(number(&result["unmerged"]["top1"], "value") > 80.0, "{result}");
    let tables = result["tables"].as_array().expect("tables");
    assert_eq!(tables.len(), 2);
    for (table, at) in tables.iter().zip(["gmacs=0.7", "tokens=40"]) {
        assert_eq!(table["at"], at);
        let labels: Vec<_> = rows(table).iter().filter_map(|row| row["label"].as_str()).collect();
        for label in ["tome", "evit:keep=70%,rest=drop", "atm", "random merge", "random prune"] {
            assert!(labels.contains(&label), "{label} in {table}");
        }
        assert_eq!(table["left_out"][0]["label"], "stm");
        let quality = |label: &str| {
            let row = rows(table).iter().find(|row| row["label"] == label).expect("a row");
            number(&row["top1"], "value")
        };
        assert!(quality("tome") >= quality("random merge"), "{table}");
        assert_eq!(rows(table)[0]["standing"], "best");
    }
    for row in rows(&tables[0]).iter().filter(|row| row["label"] != "atm") {
        assert!((number(row, "gmacs_ratio") / 0.7 - 1.0).abs() < 0.02, "{row}");
    }

    let page = read(&desk, "c.md");
    for fragment in [
        "# Methods at the same cost: ",
        "## `gmacs=0.7`: ",
        "## `tokens=40`: 40.0 tokens",
        "| unmerged |",
        "`evit:keep=",
        "- stm: left out; it has weights of its own",
        "## What is noise",
        "```sh\ntokmerge compare pictures --model demo --at gmacs=0.7 --at tokens=40 --methods 'tome,evit:keep=70%,rest=drop,atm,stm'",
    ] {
        assert!(page.contains(fragment), "{fragment} in {page}");
    }
    let svg = read(&desk, "c.svg");
    for fragment in ["<svg", "random prune", "GMACs per image", "top-1 %, 36 images", "stroke-opacity"] {
        assert!(svg.contains(fragment), "{fragment} in {svg}");
    }
    let lines = desk.csv("c.csv");
    assert_eq!((lines.len(), lines[0][1].as_str(), lines[1][1].as_str()), (2 + 2 * 6, "method", "unmerged"));

    let drawn = desk.run("report c.csv --json").ok().json();
    assert_eq!(drawn.len(), 1 + 2 * 5);
    assert!(
        drawn.iter().all(|row| row["model"] == result["model"] && number(row, "top1_high") <= 100.0),
        "{drawn:?}"
    );

    let held_out = read(&desk, "c.held-out.jsonl");
    let again = desk.run(&format!("{compare} --json")).ok();
    assert!(again.err.contains("measurements taken over from c.journal.jsonl"), "{}", again.err);
    assert!(again.err.contains("10 measurements taken over from c.held-out.jsonl"), "{}", again.err);
    assert_eq!(timeless(&again.one_json()), timeless(&result));
    assert_eq!(read(&desk, "c.held-out.jsonl"), held_out);

    // A run that was killed while it wrote.
    desk.write("c.held-out.jsonl", &held_out[..held_out.len() - 9]);
    let mended = desk.run(compare).ok();
    assert!(mended.err.contains("9 measurements taken over from c.held-out.jsonl"), "{}", mended.err);
    for fragment in
        ["gmacs=0.7: ", "top-1 % (95 %)", "ms per image", "stm: left out", "Wilson's 95 % interval"]
    {
        assert!(mended.out.contains(fragment), "{fragment} in {}", mended.out);
    }
    assert_eq!(read(&desk, "c.held-out.jsonl").lines().count(), held_out.lines().count());
}

#[test]
fn what_does_not_fit_a_model_is_named_and_models_without_classes_are_compared_by_their_embeddings() {
    let desk = desk().with("TOKMERGE_THREADS", "1");
    let mut without = tiny_config();
    without["model_args"]["class_token"] = false.into();
    without["global_pool"] = "avg".into();
    desk.write("patches/config.json", without.to_string());
    let run = desk.run(
        "compare flat --model local-dir:patches --random-weights --at gmacs=0.9 --methods evit,tome --json",
    );
    let result = run.ok().one_json();
    let table = &result["tables"][0];
    assert_eq!(table["left_out"][0]["label"], "evit");
    let reason = table["left_out"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("this model has none in front"), "{reason}");
    assert_eq!((&result["judged_by"], rows(table).len()), (&"agreement".into(), 3));
    let page = read(&desk, "compare.md");
    assert!(page.contains("```sh\nTOKMERGE_THREADS=1 tokmerge compare flat "), "{page}");

    let mut headless = tiny_config();
    headless["num_classes"] = 0.into();
    headless.as_object_mut().map(|config| config.remove("label_names"));
    desk.write("headless/config.json", headless.to_string());
    let compare = "compare flat --model local-dir:headless --random-weights --at gmacs=0.9 --methods tome";
    let run = desk.run(&format!("{compare} -o h.svg")).ok();
    assert!(run.out.contains("cosine to unmerged (95 %)"), "{}", run.out);
    assert!(read(&desk, "h.svg").contains("cosine to unmerged, 20 images"));
    desk.write("names.txt", "one\n");
    desk.run(&format!("{compare} -o h.svg --labels names.txt"))
        .fails(&["--labels is for classes, and", "has none; leave it out"]);
    // Without its journals it is still ours.
    for journal in ["h.journal.jsonl", "h.held-out.jsonl"] {
        std::fs::remove_file(desk.path(journal)).expect("a journal");
    }
    desk.run(&format!("{compare} -o h.svg")).ok();
}

#[test]
fn costs_and_methods_that_make_no_sense_are_refused_with_the_rule() {
    let desk = desk();
    let compare = "compare flat --model local-dir:nowhere";
    desk.run(compare).misused(&["required", "--at <COST>"]);
    for (cost, fragments) in [
        ("gmacs=2", ["gmacs=2 is not allowed", "below 1, or billions with a G, e.g. 0.93G"]),
        ("gmacs=1", ["gmacs=1 is not allowed", "above 0 and below 1"]),
        ("gmacs=0", ["gmacs=0 is not allowed", "above 0"]),
        ("speedup=1", ["speedup=1 is not allowed", "a factor above 1, e.g. 1.5"]),
        ("tokens=0.5", ["tokens=0.5 is not allowed", "a whole number of at least 1"]),
        ("latency=3", ["'latency=3' is no cost", "write gmacs=0.7"]),
    ] {
        desk.run(&format!("{compare} --at {cost}")).misused(&[fragments[0], fragments[1], "--at <COST>"]);
    }
    let compare = format!("{compare} --at gmacs=0.7");
    desk.run(&format!("{compare} --methods tomee"))
        .fails(&["unknown merging method 'tomee'", "did you mean tome?"]);
    desk.run(&format!("{compare} --methods none"))
        .fails(&["--methods names nothing that merges", "tome,evit"]);
    desk.run(&format!("{compare} --limit 31")).fails(&["31 images are too few", "at least 16"]);
    desk.run(&format!("{compare} --search-images 30"))
        .fails(&["40 images are too few", "smaller --search-images"]);
    desk.run("compare nowhere --model local-dir:tiny --at gmacs=0.7").fails(&["nowhere", "no such folder"]);
    let tiny = "compare flat --model local-dir:tiny --methods tome";
    for (cost, has) in [("gmacs=500G", "GMACs"), ("tokens=17", "17 tokens")] {
        let output = cost.replace(['=', '.'], "");
        desk.run(&format!("{tiny} --at {cost} -o {output}.md")).fails(&[
            &format!("{cost} is no saving: unmerged the model has"),
            has,
            "give less",
        ]);
        assert!(!desk.path(&format!("{output}.journal.jsonl")).exists(), "{output}");
    }
}

#[test]
fn outputs_are_checked_before_any_work() {
    let desk = desk();
    let compare = "compare flat --model local-dir:nowhere --at gmacs=0.7";
    desk.run(&format!("{compare} -o c.txt")).fails(&["c.txt", "name it *.md, *.svg or *.csv"]);
    desk.run(&format!("{compare} -o nowhere/c.md")).fails(&["cannot write nowhere/c.md"]);
    desk.write("c.md", "# Diary\n");
    desk.run(&format!("{compare} -o d.svg -o c.md"))
        .fails(&["c.md: is there, and no comparison wrote it", "--output"]);
    assert_eq!(read(&desk, "c.md"), "# Diary\n");
    // A journal beside it makes it no more ours.
    desk.write("g.journal.jsonl", "");
    desk.write("notes.csv", "day,note\n");
    desk.run(&format!("{compare} -o g.md -o notes.csv"))
        .fails(&["notes.csv: is there, and no comparison wrote it", "--output"]);
    for left in ["d.svg", "d.journal.jsonl", "d.held-out.jsonl", "compare.md"] {
        assert!(!desk.path(left).exists(), "{left}");
    }
    desk.write("e.journal.jsonl", "a diary\n");
    desk.run("compare flat --model local-dir:tiny --at gmacs=0.9 -o e.md")
        .fails(&["e.journal.jsonl is not a journal of tokmerge tune or compare", "--output"]);
}
