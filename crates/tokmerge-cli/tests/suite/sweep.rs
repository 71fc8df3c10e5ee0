//! `tokmerge sweep`, and the curves of its runs.

use crate::common::{Desk, assert_keys, number};
use crate::train::photos;

const RECIPE: &str = r#"
merge = "tome:r=2"
[model]
patch_size = 8
img_size = 32
embed_dim = 24
depth = 2
num_heads = 3
[data]
train = "photos"
split = 0.25
crop_pct = 1.0
[schedule]
lr = 3e-3
[train]
epochs = 2
batch_size = 8
"#;

fn desk() -> Desk {
    let desk = Desk::new();
    photos(&desk, 16);
    desk.write("small.toml", RECIPE);
    desk
}

fn read(desk: &Desk, name: &str) -> String {
    std::fs::read_to_string(desk.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_combination_is_trained_once_and_summed_up() {
    let desk = desk();
    let sweep = "sweep small.toml --grid schedule.lr=[1e-3,3e-3] --seeds 2 -o rates";
    let run = desk.run(sweep).ok();
    assert!(run.err.contains("4 runs in rates, 0 of them done before"), "{}", run.err);
    assert!(run.err.contains("run 4 of 4: schedule.lr=0.003, seed 1"), "{}", run.err);
    assert!(run.out.contains("top-1 %") && run.out.contains("means over 2 seeds"), "{}", run.out);
    let rows = desk.csv("rates/sweep.csv");
    // Validated without merging and as in training.
    assert_eq!(rows.len(), 1 + 2 * 2);
    assert!(
        read(&desk, "rates/sweep.md").contains("tokmerge sweep small.toml --grid 'schedule.lr=[1e-3,3e-3]'")
    );
    assert!(desk.path("rates/schedule.lr=0.001,seed=1/model.safetensors").is_file());

    // What is finished is not done again, what is new is.
    let again = desk.run(&format!("{sweep} --json")).ok();
    assert!(again.err.contains("4 of them done before") && !again.err.contains("run 1 of"), "{}", again.err);
    let results = again.json();
    assert_eq!(results.len(), 4);
    assert_keys(&results[0], &["grid", "trained", "merge", "top1", "gmacs", "train_seconds", "loss"]);
    assert_eq!(number(&results[0]["top1"], "count"), 2.0);
    assert!(number(&results[0]["top1"], "deviation") >= 0.0);
    let more = desk.run(&sweep.replace("seeds 2", "seeds 3")).ok();
    assert!(more.err.contains("6 runs in rates, 4 of them done before"), "{}", more.err);
    desk.run(&format!("{sweep} --set train.epochs=3"))
        .fails(&["train.epochs is 2 there and 3 here", "--output"]);

    // Results and curves of its runs.
    let report = desk.run("report rates --json").ok();
    assert_eq!(report.json().len(), 4);
    let curves = desk.run("report rates --x epoch --y loss -o loss.svg -o loss.csv").ok();
    assert!(curves.out.contains("schedule.lr=0.001,seed=0"), "{}", curves.out);
    assert!(read(&desk, "loss.svg").contains("training loss, mean of the epoch"));
    assert_eq!(desk.csv("loss.csv").len(), 1 + 6 * 2);
    let one = "rates/schedule.lr=0.001,seed=0";
    let cost = desk.run_with(&["report", &format!("mine={one}"), "--x", "exaflops", "--json"]).ok();
    let results = cost.json();
    assert!(number(&results[0], "exaflops") > 0.0 && results[0]["model"] == "mine", "{}", cost.out);
}

#[test]
fn an_interrupted_run_goes_on_and_one_that_diverged_is_told_in_the_table() {
    let desk = desk();
    let sweep = "sweep small.toml --grid optimizer.name=[sgd,adamw] --set schedule.lr=1e30 --set train.epochs=1 -o odd";
    let run = desk.run(sweep).ok();
    assert!(run.err.contains("warning: optimizer.name=sgd, seed 0: "), "{}", run.err);
    assert!(run.out.contains("0, 1 diverged"), "{}", run.out);
    let again = desk.run(sweep).ok();
    assert!(again.err.contains("is not trained again: "), "{}", again.err);

    desk.run("sweep small.toml --seeds 1 -o killed").ok();
    // As a kill after the first epoch leaves it.
    let dir = "killed/seed=0";
    for name in ["config.json", "model.safetensors"] {
        std::fs::remove_file(desk.path(&format!("{dir}/{name}"))).expect("a result");
    }
    let last = "checkpoints/step-00000006";
    std::fs::remove_dir_all(desk.path(&format!("{dir}/{last}"))).expect("the last checkpoint");
    let before = read(&desk, &format!("{dir}/validation.csv"));
    let resumed = desk.run("sweep small.toml --seeds 1 -o killed").ok();
    assert!(resumed.err.contains("going on after step 3 of 6"), "{}", resumed.err);
    assert_eq!(read(&desk, &format!("{dir}/validation.csv")), before);
}

#[test]
fn mistakes_are_told_before_anything_is_trained() {
    let desk = desk();
    desk.run("sweep small.toml --grid schedule.lr").misused(&["schedule.lr", "KEY=[VALUE,VALUE]"]);
    desk.run("sweep nothing.toml").fails(&["nothing.toml"]);
    desk.run("sweep small.toml --grid train.epochs=[1,0]")
        .fails(&["with train.epochs=0", "train.epochs is 0"]);
    desk.run("sweep small.toml --grid train.seed=[1,2] --seeds 2").fails(&["--grid train.seed", "--seeds 2"]);
    desk.run("sweep small.toml --grid merge=[none,evit:keep=70%] --set model.class_token=false -o classless")
        .fails(&["merge=evit:keep=70%, seed 0", "class token"]);
    assert!(!desk.path("classless").exists());
    desk.write("mine/sweep.csv", "day,note\n");
    desk.run("sweep small.toml -o mine")
        .fails(&["mine/sweep.csv: is there, and no sweep wrote it", "--output"]);
    desk.run("train small.toml -o run --set train.epochs=1").ok();
    desk.run("sweep small.toml -o run").fails(&["run: holds a run of its own", "--output"]);
}
