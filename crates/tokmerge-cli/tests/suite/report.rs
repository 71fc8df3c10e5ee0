//! `tokmerge report` on results that the program itself wrote.

use crate::common::files::{tiny_config, tiny_tensors};
use crate::common::{Desk, assert_keys, number};

fn read(desk: &Desk, name: &str) -> String {
    std::fs::read_to_string(desk.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn files_of_eval_and_bench_make_charts_and_tables() {
    let desk = Desk::new();
    desk.run("scenes pictures --images 24").ok();
    let merges = "--merge none --merge tome:r=4 --merge tome:r=8 --merge evit:keep=80%";
    desk.run(&format!("eval pictures --model demo {merges} --results-file accuracy.csv")).ok();
    desk.run(&format!("bench --model demo --duration 0.05 -b 2 {merges} --results-file speed.csv")).ok();
    let run = desk.run("report accuracy.csv -o front.svg -o front.md -o front.csv").ok();
    for fragment in ["top-1 % (95 %)", "GMACs (fvcore)", "tome:r=8", "evit:keep=80%", "On the front: "] {
        assert!(run.out.contains(fragment), "{fragment} in {}", run.out);
    }
    let svg = read(&desk, "front.svg");
    for fragment in ["<svg", "Pareto front", "GMACs (fvcore)", "top-1 %, 24 items", "stroke-opacity"] {
        assert!(svg.contains(fragment), "{fragment} in {svg}");
    }
    let page = read(&desk, "front.md");
    for fragment in ["](front.svg)", "| `tome:r=4` |", "tokmerge report accuracy.csv -o front.svg"] {
        assert!(page.contains(fragment), "{fragment} in {page}");
    }
    assert_eq!(desk.csv("front.csv").len(), 1 + 4);
    // A table is read again, and written anew.
    desk.run("report front.csv -o front.md").ok();

    let speed = desk.run("report accuracy.csv speed.csv --x images_per_second --y agreement --json").ok();
    let results = speed.json();
    assert_eq!(results.len(), 4);
    for result in &results {
        assert_keys(
            result,
            &["line", "model", "merge", "front", "agreement", "agreement_low", "threads", "source"],
        );
        assert!(number(result, "images_per_second") > 0.0);
    }
    let unmerged = results.iter().find(|result| result["merge"] == "none").expect("the unmerged model");
    assert_eq!(number(unmerged, "speedup"), 1.0);

    let both = desk.run("report drawn=accuracy.csv front.csv --lines model --front line -o both.svg").ok();
    assert!(both.out.contains("drawn  ") && read(&desk, "both.svg").contains("drawn"), "{}", both.out);
}

#[test]
fn mistakes_are_told_before_anything_is_written() {
    let desk = Desk::new();
    let eval = "model,top1,merge,images,agreement,gmacs,convention\nm,80,none,100,100,4,fvcore\nm,75,tome:r=8,100,95,3,fvcore\n";
    desk.write("a.csv", eval);
    desk.write("b.csv", eval.replace("fvcore", "macs"));
    desk.run("report").misused(&["<RUN>..."]);
    desk.run("report a.csv --x gflops").misused(&["gflops", "images_per_second"]);
    desk.run("report none.csv").fails(&["none.csv"]);
    desk.run("report a.csv -o x.png").fails(&["x.png", "name it *.md, *.svg or *.csv"]);
    desk.run("report a.csv -o a.csv").fails(&["--output a.csv would overwrite what is read"]);
    desk.run("report a.csv -o nowhere/x.svg").fails(&["cannot write nowhere/x.svg"]);
    desk.write("notes.md", "# Diary\n");
    desk.run("report a.csv -o notes.md").fails(&["notes.md: is there, and no report wrote it", "--output"]);
    desk.run("report a.csv b.csv -o x.svg").fails(&[
        "counted as fvcore",
        "macs",
        "--convention",
        "another --x",
    ]);
    desk.run("report a.csv --x ms").fails(&["none of the results has ms per image", "bench measures it"]);
    desk.run("report a.csv --y bleu").fails(&["none of the results has bleu", "top1, agreement", "--y"]);
    desk.run("report a.csv --y loss").fails(&["--y loss is the course of training", "--x step or epoch"]);
    desk.run("report a.csv --smooth 3").fails(&["--smooth is for losses over steps"]);
    desk.run("report a.csv --x step").fails(&["a curve of loss", "folders of tokmerge train or sweep"]);
    desk.run("report a.csv --x step --front line").fails(&["--front is for costs"]);
    desk.run("report a.csv --best 3").fails(&["--best is for schedules (--x layer)"]);
    desk.run("report a.csv --x layer")
        .fails(&["none of the results has a list as r", "tune --search random"]);
    desk.run("report .").fails(&["holds no run of training"]);
    assert!(!desk.path("x.svg").exists());
    let mixed = desk.run("report a.csv one=b.csv --x tokens").code(1);
    assert!(mixed.err.contains("none of the results has tokens left"), "{}", mixed.err);
}

#[test]
fn names_of_models_are_what_files_and_users_call_them() {
    let desk = Desk::new();
    desk.model("tiny", &tiny_tensors());
    desk.write("other/config.json", tiny_config().to_string());
    for index in 0..6 {
        desk.draw(&format!("flat/{index}.png"), 30 + 3 * index, 41);
    }
    let eval = |model: &str| {
        format!("eval flat --model local-dir:{model} --random-weights --merge none --merge tome:r=2")
    };
    let lines = desk.run(&format!("{} --json", eval("tiny"))).ok();
    desk.write("tiny.jsonl", &lines.out);
    desk.run(&format!("{} --results-file other.csv", eval("other"))).ok();
    let run = desk.run("report tiny=tiny.jsonl big=other.csv --json").ok();
    let names: Vec<String> = run.json().iter().map(|row| row["line"].to_string()).collect();
    assert!(names.contains(&"\"tiny\"".to_owned()) && names.contains(&"\"big\"".to_owned()), "{names:?}");
    assert!(run.json().iter().all(|row| row["agreement"].is_number()));
}
