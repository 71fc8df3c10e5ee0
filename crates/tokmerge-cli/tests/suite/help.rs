//! `--help` and `--version`: that the main options are named, not how.

use crate::common::Desk;

const MODEL: [&str; 8] =
    ["--model", "--weights", "--random-weights", "--img-size", "--dtype", "--device", "--threads", "--pin"];
const PREPROCESS: [&str; 6] =
    ["--crop-pct", "--crop-mode", "--interpolation", "--mean", "--std", "--max-pixels"];
const OUTPUT: [&str; 2] = ["--json", "--convention"];

#[track_caller]
fn assert_mentions(command: &str, groups: &[&[&str]]) {
    let run = Desk::new().run(&format!("{command} --help")).ok();
    assert_eq!(run.err, "");
    for option in groups.iter().copied().flatten() {
        assert!(run.out.contains(option), "{command} --help lacks {option}:\n{}", run.out);
    }
}

#[test]
fn the_program_says_what_it_is_for() {
    assert_mentions("", &[&["Makes pretrained Transformers for images, sounds, video and text faster"]]);
    assert_mentions(
        "",
        &[&[
            "classify",
            "ask",
            "eval",
            "few-shot",
            "bench",
            "analyze",
            "tune",
            "calibrate",
            "compare",
            "report",
            "sweep",
            "info",
            "viz",
            "models",
            "methods",
            "--version",
            "Train a model on images, sounds, clips, texts or questions about pictures",
            "scored pairs of sentences",
        ]],
    );
    let version = Desk::new().run("--version").ok();
    assert_eq!(version.out.trim(), concat!("tokmerge ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn each_command_names_its_options() {
    let merge: &[&str] = &["--merge", "tome:r=8", "merge.toml"];
    let classes = ["--classes", "--classes-from", "--template", "a photo of a {}."];
    let classify = ["<FILE>...", "--topk", "--labels"];
    assert_mentions("classify", &[&MODEL, merge, &PREPROCESS, &OUTPUT, &classify, &classes]);
    let ask = ["<IMAGE>", "<QUESTION>...", "--topk", "--long-side"];
    assert_mentions("ask", &[&MODEL, merge, &PREPROCESS, &OUTPUT, &ask]);
    let eval =
        ["<DIR>", "--batch-size", "--workers", "--limit", "--labels", "--predictions", "--results-file"];
    assert_mentions("eval", &[&MODEL, merge, &PREPROCESS, &OUTPUT, &eval, &classes]);
    let few_shot = ["<DIR>", "--shots", "--seeds", "--ridge", "--batch-size", "--workers"];
    assert_mentions("few-shot", &[&MODEL, merge, &PREPROCESS, &OUTPUT, &few_shot]);
    assert_mentions("bench", &[&MODEL, merge, &OUTPUT, &["--batch-size", "--duration", "--results-file"]]);
    assert_mentions("analyze", &[&["layers", "tokens"]]);
    let study = ["<DIR>", "--batch-size", "--workers", "--limit", "--output", ".svg", "--csv", "--json"];
    assert_mentions("analyze layers", &[&MODEL, &PREPROCESS, &study, &["--thresholds", "--log"]]);
    assert_mentions("analyze tokens", &[&MODEL, merge, &PREPROCESS, &study]);
    let goals = ["--max-drop", "--min-agreement", "--gmacs", "--latency", "--speedup"];
    let tune = ["<DIR>", "--search", "--trials", "--seed", "--time-budget", "--limit", "--search-images"];
    let more = ["--no-recheck", "--batch-size", "--labels", "--output", "merge.toml", ".journal.jsonl"];
    assert_mentions("tune", &[&MODEL, &goals, &tune, &more, &PREPROCESS, &OUTPUT, &classes]);
    let compare =
        ["<DIR>", "--at", "gmacs=0.7", "speedup=1.5", "--methods", "--search-images", ".held-out.jsonl"];
    assert_mentions("compare", &[&MODEL, &compare, &PREPROCESS, &OUTPUT, &classes]);
    let report = [
        "<RUN>...",
        "--x",
        "images_per_second",
        "--y",
        "agreement",
        "--front",
        "--lines",
        ".svg",
        "LABEL=PATH",
    ];
    assert_mentions("report", &[&report, &["Examples:", "--json", "--smooth", "--output"]]);
    let sweep =
        ["<RECIPE>", "--grid", "--seeds", "--set", "--output", "sweep.csv", "Examples:", "goes on", "--json"];
    assert_mentions("sweep", &[&sweep]);
    assert_mentions("info", &[merge, &OUTPUT, &["<MODEL>", "--img-size"]]);
    let viz = ["<FILE>", "--merge", "--output", ".png", ".svg", "--layer", "--upscale"];
    assert_mentions("viz", &[&MODEL, &PREPROCESS, &viz]);
    assert_mentions("models", &[&["PATTERN", "--json"]]);
    assert_mentions("methods", &[&["PATTERN", "--json"]]);
}

#[test]
fn without_a_command_the_help_is_shown() {
    let run = Desk::new().run("").code(2);
    assert_eq!(run.out, "");
    assert!(run.err.contains("Usage: tokmerge <COMMAND>"), "{}", run.err);
}
