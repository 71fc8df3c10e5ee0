//! `tokmerge tune` on folders that the tests draw.

use crate::common::files::tiny_tensors;
use crate::common::{Desk, Run, TINY, assert_keys, material, number, real_weights};
use serde_json::Value;

/// Twenty images without labels in `flat`, five classes of four in `classed`, and the tiny model of two blocks.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.model("tiny", &tiny_tensors());
    for index in 0..20 {
        desk.draw(&format!("flat/{index:02}.png"), 30 + 3 * index, 41);
        let class = ["ant", "bee", "cat", "dog", "eel"][index as usize % 5];
        desk.draw(&format!("classed/{class}/{index:02}.png"), 33, 30 + 2 * index);
    }
    desk
}

/// Twelve blocks and 50 tokens: enough for merging to pay on any machine.
fn tune(options: &str) -> String {
    format!("tune flat {TINY} --img-size 112 --batch-size 4 {options}")
}

/// A search that measures the same points in every run: eight references and five schedules.
const RANDOM: &str = "--search random --trials 5 --search-images 16 --gmacs 0.6";

fn read(desk: &Desk, name: &str) -> String {
    std::fs::read_to_string(desk.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Runs until merging pays: where other work disturbs the times, it may seem not to.
#[track_caller]
fn merging(desk: &Desk, search: &str) -> Run {
    let paid = (0..8)
        .map(|_| desk.run(search).ok())
        .find(|run| run.out.contains("Merge with ") || run.out.contains("\"decision\":{\"merge\""));
    paid.expect("half of the work takes less time")
}

/// The points of a result without their times.
fn points(result: &Value) -> Vec<Value> {
    let mut points = result["points"].as_array().expect("points").clone();
    for point in points.iter_mut().filter_map(Value::as_object_mut) {
        assert!(point.remove("seconds").is_some() && point.remove("unmerged_seconds").is_some());
    }
    points
}

/// All of a `merge.toml` but its times.
fn timeless(desk: &Desk) -> String {
    let text = read(desk, "merge.toml");
    text.split_once("[measured.speed]").expect("speeds at the end").0.to_owned()
}

#[test]
fn a_guided_search_writes_a_merge_toml_that_every_command_accepts() {
    let desk = desk();
    let run = merging(&desk, &tune("--gmacs 0.6 --time-budget 4s --seed 3"));
    for fragment in [
        "vit_tiny_patch16_224, f32,",
        "measurements on 16 images",
        "family",
        "GMACs (fvcore)",
        "expected agreement %",
        "unmerged",
        "Merge with ",
        "times as fast on this machine (",
        "On 4 images that were not searched on it saves",
        "(95 % interval",
        "Use it: tokmerge classify photo.jpg --model vit_tiny_patch16_224 --random-weights --img-size 112x112 --merge merge.toml",
    ] {
        assert!(run.out.contains(fragment), "{fragment} in {}", run.out);
    }
    let json: Value = serde_json::from_str(&read(&desk, "merge.json")).expect("JSON");
    let method = json["decision"]["merge"]["method"].as_str().expect("a method");
    let on = format!("{TINY} --img-size 112 --merge merge.toml --json");
    let eval = desk.run(&format!("eval flat {on}")).ok().one_json();
    assert_eq!(eval["merge"], method);
    assert!(number(&eval, "gmacs") <= 0.7 * number(&json["unmerged"], "gmacs"), "{eval}");
    desk.run(&format!("bench {on} --duration 0.1 --batch-size 2")).ok();
    desk.run(&format!("classify flat/00.png {on}")).ok();
    desk.run(&format!("viz flat/00.png {TINY} --img-size 112 --merge merge.toml -o v.svg")).ok();
    desk.run("info vit_tiny_patch16_224 --img-size 112 --merge merge.toml").ok();

    let rows = desk.csv("merge.csv");
    assert_eq!(rows.len(), 2 + json["points"].as_array().map_or(0, Vec::len));
    assert_eq!((&rows[0][0], &rows[1][0]), (&"merge".to_owned(), &"none".to_owned()));
    let svg = read(&desk, "merge.svg");
    for fragment in
        ["<svg", "Pareto front", "choice", "ATM, exponential", "unmerged 100.0", "GMACs per image"]
    {
        assert!(svg.contains(fragment), "{fragment} in {svg}");
    }
    assert!(!desk.path("merge.toml.tmp").exists());
}

#[test]
fn json_is_one_object_and_the_same_as_the_file() {
    let desk = desk();
    let run = desk.run(&tune(&format!("{RANDOM} --json -o found/../m.toml"))).code(1);
    assert!(run.err.contains("found/../m.toml"), "{}", run.err);
    let run = merging(&desk, &tune(&format!("{RANDOM} --json -o m.toml")));
    let result = run.one_json();
    assert_keys(
        &result,
        &["model", "weights", "img_size", "dtype", "convention", "device", "threads", "isa", "seed", "goal"],
    );
    assert_keys(&result, &["search_images", "unmerged", "points", "front", "cut_short", "decision"]);
    assert_eq!(result, serde_json::from_str::<Value>(&read(&desk, "m.json")).expect("JSON"));
    assert_eq!((&result["goal"]["gmacs"], &result["search_images"]), (&0.6.into(), &16.into()));
    assert_eq!(result["points"].as_array().map(Vec::len), Some(13));
    let choice = &result["decision"]["merge"];
    assert_eq!(choice["held_out"]["merged"]["images"], 4);
    assert!(number(&choice["search"], "gmacs") <= 0.6 * number(&result["unmerged"], "gmacs"), "{choice}");
    assert!(read(&desk, "m.svg").contains("random schedules"));
    for ending in ["toml", "svg", "csv", "json", "journal.jsonl"] {
        assert!(desk.path(&format!("m.{ending}")).is_file(), "m.{ending}");
    }
}

#[test]
fn a_second_run_takes_everything_from_the_journal() {
    let desk = desk();
    let search = tune(&format!("{RANDOM} --json"));
    let first = merging(&desk, &search).one_json();
    let toml = timeless(&desk);
    let journal = read(&desk, "merge.journal.jsonl");
    let again = merging(&desk, &search);
    assert_eq!(again.err, "13 measurements taken over from merge.journal.jsonl\n");
    assert_eq!(points(&again.one_json()), points(&first));
    assert_eq!((timeless(&desk), read(&desk, "merge.journal.jsonl")), (toml.clone(), journal.clone()));

    // A run that was killed while it wrote.
    desk.write("merge.journal.jsonl", &journal[..journal.len() - 9]);
    let mended = desk.run(&search).ok();
    assert!(
        mended.err.starts_with("12 measurements taken over from merge.journal.jsonl\n"),
        "{}",
        mended.err
    );
    assert_eq!(points(&mended.one_json()), points(&first));
    merging(&desk, &search);
    assert_eq!(timeless(&desk), toml);
    assert_eq!(read(&desk, "merge.journal.jsonl").lines().count(), journal.lines().count());

    // Another goal, and more schedules, on the same images.
    let more = search.replace("--trials 5", "--trials 6").replace("0.6", "0.7");
    let more = desk.run(&more).ok();
    assert!(more.err.starts_with("13 measurements taken over"), "{}", more.err);
    assert_eq!(more.one_json()["points"].as_array().map(Vec::len), Some(14));
}

#[test]
fn the_journal_of_another_search_is_refused() {
    let desk = desk();
    let search = tune(RANDOM);
    merging(&desk, &search);
    let journal = read(&desk, "merge.journal.jsonl");
    let toml = read(&desk, "merge.toml");
    let out = "give another --output, or delete the file";
    for (change, what) in [
        (search.replace("112", "96"), "another image size: 112x112, not 96x96"),
        (search.replace("flat", "classed").replace(TINY, "--model local-dir:tiny"), "another model"),
        (
            format!("{search} --seed 9"),
            "another set of images (the folder, --seed, --limit, --search-images and --labels decide which): 16 images",
        ),
        (format!("{search} --convention macs"), "another convention: fvcore, not macs"),
        (format!("{search} --crop-pct 0.5"), "another preprocessing"),
    ] {
        desk.run(&change).fails(&["merge.journal.jsonl holds measurements of", what, out]);
    }
    assert_eq!((read(&desk, "merge.journal.jsonl"), read(&desk, "merge.toml")), (journal, toml));
    desk.write("merge.journal.jsonl", "a diary\n");
    desk.run(&search).fails(&["merge.journal.jsonl is not a journal of tokmerge tune", "--output"]);
    // A copy of the model with one other weight.
    let tiny = "tune flat --model local-dir:tiny -o t.toml --search random --trials 1";
    desk.run(tiny).ok();
    let mut weights = std::fs::read(desk.path("tiny/model.safetensors")).expect("weights");
    let last = weights.len() - 2;
    weights[last] ^= 1;
    desk.write("tiny/model.safetensors", weights);
    desk.run(tiny).fails(&["t.journal.jsonl", "another set of weights", out]);
}

#[test]
fn without_a_choice_an_earlier_merge_toml_is_left_alone() {
    let desk = desk();
    desk.write("merge.toml", "method = 'none'\n");
    let left = "note: merge.toml is from an earlier run and was left as it is\n";
    let run = desk.run(&tune("--gmacs 0.5 --time-budget 0.001")).ok();
    assert!(run.out.contains("Do not merge: nothing that was measured keeps the budget"), "{}", run.out);
    assert!(run.out.contains("Time ran out before the search was done"), "{}", run.out);
    assert_eq!(run.err, left);
    let run = desk.run(&tune("--search random --trials 2 --search-images 16")).ok();
    assert!(run.err.ends_with(left), "{}", run.err);
    desk.run(&tune("--search random --trials 2 --gmacs 0.5 --time-budget 0.001 --json -o n.toml"))
        .ok()
        .one_json();
    assert_eq!(read(&desk, "merge.toml"), "method = 'none'\n");
    assert!(!desk.path("n.toml").exists() && desk.path("n.json").exists());
    // What tune wrote is known by what is in it, with a journal beside it or without.
    std::fs::remove_file(desk.path("n.journal.jsonl")).expect("a journal");
    desk.run(&tune("--search random --trials 2 -o n.toml")).ok();
    desk.write("n.json", "{}");
    desk.run(&tune("--search random --trials 2 -o n.toml"))
        .fails(&["n.json: is there, and no tuning wrote it"]);
}

#[test]
fn labels_are_those_of_eval() {
    let desk = desk();
    let tune = "tune classed --model local-dir:tiny --time-budget 2";
    let run = desk.run(&format!("{tune} --max-drop 5 --json")).ok();
    let top1 = |folder: &str| {
        let eval = desk.run(&format!("eval {folder} --model local-dir:tiny --json")).ok();
        eval.one_json()["top1"].clone()
    };
    let result = run.one_json();
    assert!(result["unmerged"]["top1"].is_number() && top1("classed").is_number(), "{result}");
    let all = desk.run("tune classed --model local-dir:tiny --search random --trials 2 -o r.toml").ok().out;
    assert!(all.contains("top-1 %") && all.contains("No goal was given"), "{all}");
    let rows = desk.csv("r.csv");
    let column = rows[0].iter().position(|name| name == "top1").expect("a column");
    assert_eq!(rows[1][column].parse::<f64>().ok(), top1("classed").as_f64());

    desk.run("tune flat --model local-dir:tiny --max-drop 1").fails(&[
        "--max-drop needs labelled images",
        "one folder per class",
        "--min-agreement, e.g. 99",
    ]);
    desk.run(&format!("tune classed {TINY} --max-drop 1")).fails(&[
        "folder cat",
        "--labels",
        "--class-order",
    ]);
    let unlabelled = desk.run("tune flat --model local-dir:tiny --search random --trials 2 -o f.toml").ok();
    assert!(!unlabelled.out.contains("top-1"), "{}", unlabelled.out);
}

#[test]
fn broken_and_too_few_images() {
    let desk = desk();
    let tune = "tune flat --model local-dir:tiny --gmacs 0.8 --time-budget 0.01";
    desk.run(&format!("{tune} --limit 15")).fails(&["at least 16 images", "here are 15"]);
    let all = desk.run(&format!("{tune} --limit 16")).ok();
    assert!(all.err.contains("note: all 16 images are searched on and none is held out"), "{}", all.err);
    desk.write("flat/00.png", "not an image");
    desk.write("flat/01.png", "not an image");
    let run = desk.run(&format!("{tune} --search-images 20 -o b.toml")).ok();
    for fragment in ["2 of 20 images could not be read", "flat/00.png: is not a JPEG, PNG"] {
        assert!(run.err.contains(fragment), "{fragment} in {}", run.err);
    }
    assert!(run.out.contains("on 18 images"), "{}", run.out);
    for index in 0..20 {
        desk.write(&format!("broken/{index}.jpg"), "not an image");
    }
    desk.run("tune broken --model local-dir:tiny --gmacs 0.8 --search-images 18")
        .fails(&["none of the 18 images could be read", "broken/"]);
    desk.write("nothing/readme.txt", "");
    desk.run("tune nothing --model local-dir:tiny --gmacs 0.8").fails(&["nothing", "no images", ".webp"]);
    desk.run("tune nowhere --model local-dir:tiny --gmacs 0.8").fails(&["nowhere", "no such folder"]);
}

#[test]
fn budgets_that_cannot_be_are_refused_with_the_rule() {
    let desk = desk();
    for (goal, fragments) in [
        ("--max-drop -1", ["--max-drop -1 is not allowed", "from 0 to 100"]),
        ("--min-agreement 101", ["--min-agreement 101 is not allowed", "percent from 0 to 100"]),
        ("--gmacs 0", ["--gmacs 0 is not allowed", "above 0 and at most 1"]),
        ("--gmacs 40", ["--gmacs 40 is not allowed", "above 0 and at most 1"]),
        ("--latency -3", ["--latency -3 is not allowed", "milliseconds above 0"]),
        ("--speedup 0.5", ["--speedup 0.5 is not allowed", "a factor of at least 1"]),
        ("--speedup nan", ["--speedup NaN is not allowed", "a factor of at least 1"]),
    ] {
        // Before the model is looked for.
        desk.run(&format!("tune flat --model local-dir:nowhere {goal}")).fails(&fragments);
    }
    let reach = "and nothing merges more; ask for a milder goal";
    for (goal, best) in [
        ("--speedup 50", "times as fast on this machine"),
        ("--latency 0.0001", "ms per batch on this machine"),
        ("--gmacs 0.01", "of the multiply-adds of vit_tiny_patch16_224"),
    ] {
        desk.run(&tune(goal)).fails(&[goal, "cannot be reached", "merging half of all tokens", best, reach]);
    }
}

#[test]
fn contradictions_are_refused_before_any_work() {
    let desk = desk();
    let tune = "tune flat --model local-dir:nowhere";
    desk.run(&format!("{tune} --gmacs 0.5 --speedup 2")).misused(&[
        "--gmacs",
        "cannot be used with",
        "--speedup",
    ]);
    desk.run(&format!("{tune} --search random")).misused(&["required", "--trials"]);
    desk.run(&format!("{tune} --search lucky --gmacs 0.5")).misused(&["lucky", "guided", "random"]);
    desk.run(tune).fails(&[
        "nothing to reach",
        "--max-drop",
        "--min-agreement 99",
        "--search random --trials N",
    ]);
    desk.run(&format!("{tune} --trials 5 --gmacs 0.5")).fails(&["--trials", "--search random"]);
    let tune = format!("{tune} --gmacs 0.5");
    for budget in ["0", "-5", "8x", "m", "2d", "inf", "999h", "nan"] {
        desk.run(&format!("{tune} --time-budget={budget}")).misused(&["--time-budget", "8m", "7 days"]);
    }
    desk.run(&format!("{tune} --search-images 5")).fails(&["--search-images 5", "at least 16"]);
    desk.run(&format!("{tune} --trials 0 --search random")).misused(&["--trials", "at least 1"]);
    desk.run(&format!("{tune} -o merge.json")).fails(&["merge.json", "TOML", "*.toml"]);
    desk.run(&format!("{tune} -o nowhere/m.toml")).fails(&["cannot write nowhere/m.toml", "No such file"]);
    std::fs::create_dir(desk.path("m.svg")).expect("a folder");
    desk.run(&format!("{tune} -o m.toml")).fails(&["cannot write m.svg", "directory"]);
    for left in ["merge.toml", "m.toml", "m.csv", "merge.journal.jsonl", "merge.svg"] {
        assert!(!desk.path(left).exists(), "{left}");
    }
}

#[test]
fn budgets_of_time_are_understood_in_their_units() {
    let desk = desk();
    for budget in ["0.001", "0.001s", "0.00001m", "0.000001h"] {
        let run =
            desk.run(&format!("tune flat --model local-dir:tiny --gmacs 0.9 --time-budget {budget}")).ok();
        assert!(run.out.contains("Time ran out"), "{budget}: {}", run.out);
    }
}

#[test]
fn a_real_model_keeps_its_promise() {
    let Some(material) = material() else { return };
    let weights = real_weights(&material);
    let images = material.join("imagenet1k_sample").display().to_string();
    let desk = Desk::new();
    let model = ["--model", "vit_tiny_patch16_224", "--weights", &weights, "--crop-pct", "1"];
    let search = [
        "--limit",
        "40",
        "--min-agreement",
        "80",
        "--time-budget",
        "6",
        "--json",
        "--seed",
        "1",
        "-o",
        "m.toml",
    ];
    let run = desk.run_with(&[&["tune", &images][..], &model, &search].concat()).ok();
    let result = run.one_json();
    assert!(number(&result["unmerged"], "top1") > 60.0, "{result}");
    let choice = &result["decision"]["merge"];
    if choice.is_null() {
        // On a machine that is busy with other tests merging may seem not to pay.
        assert!(result["decision"]["do-not-merge"]["reason"].is_string(), "{result}");
        return;
    }
    assert!(number(&choice["speedup"], "median") > 1.0, "{result}");
    assert!(number(&choice["held_out"]["merged"], "agreement") >= 70.0, "{choice}");
    let eval = ["--limit", "8", "--json", "--merge", "m.toml"];
    let eval = desk.run_with(&[&["eval", &images][..], &model, &eval].concat()).ok().one_json();
    assert_eq!(eval["merge"], choice["method"]);
}
