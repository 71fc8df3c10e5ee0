use super::{GridAxis, Outcome, RunState, Sweep, SweepError, SweepTable, folder, is_csv, is_page};
use crate::history::{History, LoggedStep, LoggedValidation};
use std::path::PathBuf;

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
[schedule]
lr = 3e-3
[train]
epochs = 3
seed = 7
"#;

fn desk() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stripes.toml");
    std::fs::write(&path, RECIPE).unwrap();
    (dir, path)
}

fn axes(texts: &[&str]) -> Vec<GridAxis> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn values(text: &str) -> Vec<String> {
    text.parse::<GridAxis>().unwrap().values().to_vec()
}

#[test]
fn values_are_toml_or_texts_without_quotes_in_which_commas_of_specs_stay() {
    assert_eq!(values("schedule.lr=[1e-3, 3e-4]"), ["0.001", "0.0003"]);
    assert_eq!(values("train.epochs = [1,2]"), ["1", "2"]);
    assert_eq!(
        values("merge=[none,tome:r=8,inflect=-1,stm:p=2]"),
        ["none", "tome:r=8,inflect=-1", "stm:p=2"]
    );
    assert_eq!(values(r#"merge=["none","tome:r=8,inflect=-1"]"#), ["none", "tome:r=8,inflect=-1"]);
    // A text that would be read as a number keeps its quotes.
    assert_eq!(values(r#"model.name=["5","vit"]"#), ["\"5\"", "vit"]);
    assert_eq!(values(r#"optimizer.betas=[[0.9,0.99],[0.9,0.95]]"#), ["[0.9, 0.99]", "[0.9, 0.95]"]);
}

#[test]
fn texts_that_are_no_axis_are_refused_with_the_form() {
    for (text, reason) in [
        ("schedule.lr", "it has no ="),
        ("=[1]", "no key in front"),
        ("train.=[1]", "no key in front"),
        ("schedule.lr=1e-3,3e-4", "in no brackets"),
        ("schedule.lr=[]", "a value is missing"),
        ("merge=[none,,tome:r=2]", "a value is missing"),
        ("train.epochs=[1,2,1]", "1 is in it twice"),
    ] {
        let error = text.parse::<GridAxis>().unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("schedule.lr=[1e-3,3e-4]"), "{text}: {error}");
    }
}

#[test]
fn every_combination_is_a_recipe_with_each_seed() {
    let (_dir, recipe) = desk();
    let grid = axes(&["merge=[none,tome:r=2]", "train.epochs=[1,2]"]);
    let sweep = Sweep::new(&recipe, &["schedule.lr=1e-3".to_owned()], grid, 2).unwrap();
    let runs: Vec<String> = sweep.runs.iter().map(super::SweepRun::name).collect();
    assert_eq!(runs.len(), 2 * 2 * 2);
    assert_eq!(runs[0], "merge=none, train.epochs=1, seed 7");
    assert_eq!(runs[1], "merge=none, train.epochs=1, seed 8");
    assert_eq!(runs[2], "merge=none, train.epochs=2, seed 7");
    let last = &sweep.runs[7];
    assert_eq!((last.recipe.merge.as_str(), last.recipe.train.epochs), ("tome:r=2", 2));
    assert_eq!((last.recipe.schedule.lr, last.recipe.train.seed), (1e-3, 8));
    let folders: std::collections::HashSet<_> = sweep.runs.iter().map(|run| &run.folder).collect();
    assert_eq!(folders.len(), 8);
    // Without a grid the seeds alone.
    assert_eq!(Sweep::new(&recipe, &[], Vec::new(), 3).unwrap().runs.len(), 3);
}

#[test]
fn grids_that_make_no_sense_are_refused() {
    let (_dir, recipe) = desk();
    let refused =
        |texts: &[&str], seeds| Sweep::new(&recipe, &[], axes(texts), seeds).unwrap_err().to_string();
    assert!(refused(&["train.epochs=[1]", "train.epochs=[2]"], 1).contains("given twice"));
    assert!(refused(&["train.seed=[1,2]"], 2).contains("`seeds` 2; leave one of them out"));
    assert!(refused(&["train.threads=[1,2]"], 1).contains("for all runs"));
    let error = refused(&["train.epochs=[1,0]"], 1);
    assert!(error.starts_with("with train.epochs=0: train.epochs is 0"), "{error}");
    assert!(refused(&["train.eepochs=[1]"], 1).contains("eepochs"));
    let many: Vec<String> = (0..40).map(|value| value.to_string()).collect();
    let many = format!("[{}]", many.join(","));
    let grid = [format!("train.epochs={many}"), format!("train.batch_size={many}")];
    let error = refused(&[&grid[0], &grid[1]], 3);
    assert!(error.contains("1600 combinations with 3 seeds each are more than 1000 runs"), "{error}");
    assert!(
        matches!(Sweep::new(&recipe, &[], axes(&["train.seed=[1,2]"]), 1), Ok(sweep) if sweep.runs.len() == 2)
    );
    let missing = Sweep::new(&recipe.with_file_name("none.toml"), &[], Vec::new(), 1);
    assert!(matches!(missing, Err(SweepError::Recipe(_))));
}

#[test]
fn folders_are_named_by_what_is_in_them() {
    let setting = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(folder::name(&[setting("schedule.lr", "0.001")], Some(3)), "schedule.lr=0.001,seed=3");
    let odd = folder::name(&[setting("merge", "tome:r=[1,2]")], Some(0));
    assert!(odd.starts_with("merge=tome-r=-1,2-,seed=0-"), "{odd}");
    assert_ne!(odd, folder::name(&[setting("merge", "tome/r=[1,2]")], Some(0)));
    let long = folder::name(&[setting("data.train", &"x/".repeat(300))], None);
    assert!(long.len() < 140 && long.is_ascii(), "{long}");
}

fn validation(step: usize, merge: &str, top1: f64) -> LoggedValidation {
    LoggedValidation {
        step,
        epoch: step / 2,
        weights: "model".to_owned(),
        merge: merge.to_owned(),
        qualities: vec![("top1".to_owned(), top1), ("top5".to_owned(), 99.0)],
        items: 96,
        gmacs: if merge == "none" { 1.0 } else { 0.5 },
        mean_tokens: 17.0,
    }
}

fn finished(sweep: &Sweep, run: usize, top1: f64) -> Outcome {
    let step = |step, loss| LoggedStep { step, epoch: step.div_ceil(2), loss, seconds: 0.5 };
    Outcome::Done(Box::new(History {
        recipe: sweep.runs[run].recipe.clone(),
        steps: vec![step(1, 9.0), step(2, 8.0), step(3, 3.0), step(4, 1.0)],
        validations: vec![
            validation(2, "none", 10.0),
            validation(4, "none", top1),
            validation(4, "tome:r=2", top1 - 2.0),
        ],
    }))
}

#[test]
fn seeds_are_summed_up_by_combination() {
    let (_dir, recipe) = desk();
    let sweep = Sweep::new(&recipe, &[], axes(&["train.epochs=[1,2]"]), 3).unwrap();
    let outcomes = [
        finished(&sweep, 0, 78.0),
        finished(&sweep, 1, 79.0),
        finished(&sweep, 2, 83.0),
        finished(&sweep, 3, 85.0),
        Outcome::Diverged,
        Outcome::Open,
    ];
    let table = SweepTable::new(&sweep, &outcomes);
    assert_eq!(table.rows.len(), 4);
    let first = &table.rows[0];
    assert_eq!((first.merge.as_str(), first.trained.as_str(), first.runs), ("none", "tome:r=2", 3));
    let (name, top1) = &first.qualities[0];
    assert_eq!((name.as_str(), top1.mean), ("top1", 80.0));
    assert!((top1.deviation.unwrap() - 7.0_f64.sqrt()).abs() < 1e-12);
    // The mean of the last epoch, and the time of all steps.
    assert_eq!((first.loss.unwrap().mean, first.seconds), (2.0, Some(2.0)));
    let alone = &table.rows[3];
    assert_eq!((alone.runs, alone.diverged, alone.values[0].as_str()), (1, 1, "2"));
    assert_eq!(table.best().unwrap().qualities[0].1.mean, 85.0);

    let page = table.to_markdown("stripes.toml", "tokmerge sweep stripes.toml");
    for fragment in [
        "| train.epochs | trained with | validated with | runs | top-1 % | top-5 % |",
        "| 1 | tome:r=2 | none | 3 | 80.00 ± 2.65 | 99.00 ± 0.00 | 1.000 | 17.0 | 2.0000 ± 0.0000 | 2.0 |",
        "| 2 | tome:r=2 | tome:r=2 | 1, 1 diverged | 83.00 |",
        "means over 3 seeds",
        "Best in top-1 %: train.epochs=2, merging none (85.00).",
    ] {
        assert!(page.contains(fragment), "{fragment} in {page}");
    }
    let csv = String::from_utf8(table.to_csv().unwrap()).unwrap();
    assert!(is_page(&page) && is_csv(&csv) && !is_csv(&page), "{csv}");
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().clone();
    let at = |name: &str| header.iter().position(|column| column == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!((&rows[0][at("grid.train.epochs")], &rows[0][at("top1")]), ("1", "80"));
    let half = 4.3027 * (7.0_f64 / 3.0).sqrt();
    assert!((rows[0][at("top1_high")].parse::<f64>().unwrap() - 80.0 - half).abs() < 1e-9);
    // A share ends at 100.
    assert_eq!((&rows[0][at("top5_low")], &rows[0][at("top5_high")]), ("99", "99"));
    assert_eq!((&rows[3][at("top1_deviation")], &rows[3][at("diverged")]), ("", "1"));
}

#[test]
fn combinations_without_a_finished_run_have_an_empty_row() {
    let (_dir, recipe) = desk();
    let sweep = Sweep::new(&recipe, &[], axes(&["merge=[none,tome:r=2]"]), 1).unwrap();
    let table = SweepTable::new(&sweep, &[Outcome::Diverged, Outcome::Open]);
    assert_eq!((table.rows.len(), table.best()), (2, None));
    let page = table.to_markdown("stripes.toml", "tokmerge sweep");
    assert!(page.contains("| none |  | 0, 1 diverged | - | - | - | - |"), "{page}");
    assert!(page.contains("of one seed each"), "{page}");
}

#[test]
fn a_folder_says_how_far_its_run_is() {
    let (dir, recipe) = desk();
    let sweep = Sweep::new(&recipe, &[], axes(&["train.epochs=[1,2]"]), 1).unwrap();
    let (run, folder) = (&sweep.runs[0], dir.path().join("run"));
    assert_eq!(run.state(&folder).unwrap(), RunState::New);
    std::fs::create_dir_all(folder.join("checkpoints/.step-00000002.incomplete")).unwrap();
    std::fs::write(folder.join("recipe.toml"), run.recipe.to_toml()).unwrap();
    assert_eq!(run.state(&folder).unwrap(), RunState::New);
    std::fs::create_dir_all(folder.join("checkpoints/step-00000002")).unwrap();
    assert_eq!(run.state(&folder).unwrap(), RunState::Begun);

    let steps = "step,epoch,lr,loss,grad_norm,images_per_second,seconds\n1,1,1e-3,2.5,,80.00,0.100\n";
    let validation = "step,epoch,weights,merge,top1,top5,images,gmacs,mean_tokens\n\
                      1,1,model,none,41.000,80.000,96,0.1000,30.00\n";
    std::fs::write(folder.join("steps.csv"), steps).unwrap();
    std::fs::write(folder.join("validation.csv"), validation).unwrap();
    run.record_divergence(&folder, "the loss is not a number").unwrap();
    assert_eq!(run.state(&folder).unwrap(), RunState::Diverged("the loss is not a number".to_owned()));
    for name in ["model.safetensors", "config.json"] {
        std::fs::write(folder.join(name), "").unwrap();
    }
    // It was not validated with what the recipe now asks for.
    let error = run.state(&folder).unwrap_err().to_string();
    assert!(error.contains("was not validated with tome:r=2"), "{error}");
    std::fs::write(
        folder.join("validation.csv"),
        format!("{validation}1,1,model,tome:r=2,40.0,80.0,96,0.1,20.0\n"),
    )
    .unwrap();
    assert!(matches!(run.state(&folder).unwrap(), RunState::Done(history) if history.last().count() == 2));
    let error = sweep.runs[1].state(&folder).unwrap_err().to_string();
    assert!(error.contains("train.epochs is 1 there and 2 here"), "{error}");
}
