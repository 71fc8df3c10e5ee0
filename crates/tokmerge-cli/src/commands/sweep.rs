//! `tokmerge sweep`.

use super::train::{Begin, Job, set_threads};
use crate::args::{DeviceArgs, at_least_one};
use crate::memory;
use crate::output;
use crate::progress::Downloads;
use crate::shell::command_line;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokmerge::OutputLock;
use tokmerge::train::sweep::{self, GridAxis, Outcome, RunState, Sweep, SweepRow, SweepRun, SweepTable};
use tokmerge::train::{Start, TrainError};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tokmerge sweep recipe.toml --grid schedule.lr=[1e-3,3e-4,1e-4] --seeds 3 -o runs/rates
  tokmerge sweep recipe.toml --grid merge=[none,tome:r=8] --grid regularisation.drop_path=[0,0.1]
  tokmerge sweep recipe.toml --seeds 5      one setting, to see how far chance goes

The same command goes on with a sweep that was interrupted, and trains what values or seeds were added to it.")]
pub(crate) struct SweepArgs {
    /// TOML file with the model, the data and the training settings, as for tokmerge train
    #[arg(value_name = "RECIPE")]
    pub(crate) recipe: PathBuf,
    /// Values that a key of the recipe takes in turn, e.g. schedule.lr=[1e-3,3e-4]; may be repeated for other keys: every
    /// combination is trained
    #[arg(long, value_name = "KEY=[VALUE,...]")]
    pub(crate) grid: Vec<GridAxis>,
    /// Train every combination with this many seeds, from the recipe's train.seed on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub(crate) seeds: usize,
    /// Folder with a folder for each run, and the tables sweep.md and sweep.csv [default: runs/ and the name of the recipe with
    /// -sweep]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Change a value of the recipe for all runs, e.g. train.epochs=5; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one JSON object per combination and way of merging to standard output, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

const PAGE: &str = "sweep.md";
const TABLE: &str = "sweep.csv";
/// Held by the process that trains.
const LOCK: &str = ".sweep.lock";

pub(crate) fn run(args: &SweepArgs) -> Result<ExitCode> {
    let sweep = Sweep::new(&args.recipe, &args.set, args.grid.clone(), args.seeds)?;
    let dir = args.output.clone().unwrap_or_else(|| default_output(&args.recipe));
    check(&dir)?;
    let states = sweep.runs.iter().map(|run| run.state(&dir.join(&run.folder)));
    let states = states.collect::<Result<Vec<_>, _>>()?;
    memory::keep();
    set_threads(sweep.runs.first().and_then(|run| run.recipe.train.threads))?;
    check_starts(args, &sweep, &states)?;

    std::fs::create_dir_all(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let _lock = OutputLock::hold(&dir, &dir.join(LOCK))?;
    let mut outcomes: Vec<Outcome> = states.iter().map(outcome).collect();
    let done = outcomes.iter().filter(|outcome| **outcome != Outcome::Open).count();
    output::note(format!("{} runs in {}, {done} of them done before", sweep.runs.len(), dir.display()));
    for (index, (run, state)) in sweep.runs.iter().zip(&states).enumerate() {
        let begin = match state {
            RunState::New => Begin::New,
            RunState::Begun => Begin::Resume,
            RunState::Done(_) => continue,
            RunState::Diverged(reason) => {
                output::note(format!("note: {} is not trained again: {reason}", run.name()));
                continue;
            }
        };
        output::note(format!("run {} of {}: {}", index + 1, sweep.runs.len(), run.name()));
        outcomes[index] = train(args, run, &dir.join(&run.folder), begin).with_context(|| run.name())?;
        write(args, &dir, &SweepTable::new(&sweep, &outcomes))?;
    }
    let table = SweepTable::new(&sweep, &outcomes);
    write(args, &dir, &table)?;
    print(args, &dir, &table)?;
    Ok(ExitCode::SUCCESS)
}

/// `runs/deit-small-sweep` of `recipes/deit-small.toml`.
fn default_output(recipe: &Path) -> PathBuf {
    let name = recipe.file_stem().unwrap_or_default().to_string_lossy();
    Path::new("runs").join(format!("{name}-sweep"))
}

/// Refuses a folder that holds something else.
fn check(dir: &Path) -> Result<()> {
    if dir.join("recipe.toml").exists() {
        bail!("{}: holds a run of its own; give another --output", dir.display());
    }
    let ours = [(PAGE, sweep::is_page as fn(&str) -> bool), (TABLE, sweep::is_csv)];
    for (name, is_ours) in ours {
        let path = dir.join(name);
        if path.exists() && !std::fs::read_to_string(&path).is_ok_and(|text| is_ours(&text)) {
            bail!("{}: is there, and no sweep wrote it; give another --output", path.display());
        }
    }
    Ok(())
}

/// Opens the data and the model of every combination that is still to be trained, so that what does not fit is said before
/// hours of training.
fn check_starts(args: &SweepArgs, sweep: &Sweep, states: &[RunState]) -> Result<()> {
    let is_open = |state: &RunState| matches!(state, RunState::New | RunState::Begun);
    let open: Vec<&SweepRun> =
        sweep.runs.iter().zip(states).filter(|(_, state)| is_open(state)).map(|(run, _)| run).collect();
    for runs in open.chunk_by(|one, other| one.settings == other.settings) {
        let Some(run) = runs.first() else { continue };
        let start = || -> Result<(), TrainError> {
            Start::open_with_progress(run.recipe.clone(), &args.device.open(), &Downloads::default())?.check()
        };
        start().with_context(|| run.name())?;
    }
    Ok(())
}

fn outcome(state: &RunState) -> Outcome {
    match state {
        RunState::New | RunState::Begun => Outcome::Open,
        RunState::Done(history) => Outcome::Done(history.clone()),
        RunState::Diverged(_) => Outcome::Diverged,
    }
}

/// Trains one of the runs. Numbers that are none are a result, which the table says; whatever else goes wrong is an error.
fn train(args: &SweepArgs, run: &SweepRun, dir: &Path, begin: Begin) -> Result<Outcome> {
    let job = Job { recipe: run.recipe.clone(), dir, begin, device: args.device };
    match job.run() {
        Ok(_) => Ok(outcome(&run.state(dir)?)),
        Err(error) if matches!(error.downcast_ref(), Some(TrainError::NotFinite { .. })) => {
            let reason = error.to_string();
            run.record_divergence(dir, &reason)?;
            output::note(format!("warning: {}: {reason}", run.name()));
            Ok(Outcome::Diverged)
        }
        Err(error) => Err(error),
    }
}

/// Writes the tables as far as they go, so that an interrupted sweep leaves what it found.
fn write(args: &SweepArgs, dir: &Path, table: &SweepTable) -> Result<()> {
    let (page, csv) = (dir.join(PAGE), dir.join(TABLE));
    let recipe = args.recipe.display().to_string();
    output::write_whole(&page, table.to_markdown(&recipe, &command_line(&["TOKMERGE_DEVICE"])))?;
    let content = table.to_csv().with_context(|| format!("cannot write {}", csv.display()))?;
    output::write_whole(&csv, content)
}

fn print(args: &SweepArgs, dir: &Path, table: &SweepTable) -> Result<()> {
    if args.json {
        return table.rows.iter().try_for_each(|row| output::json(&as_json(table, row)));
    }
    let (header, rows) = table.cells();
    output::line(output::table(&header.iter().map(String::as_str).collect::<Vec<_>>(), &rows))?;
    output::line("")?;
    table.reading().iter().try_for_each(output::line)?;
    output::line(format!("The tables: {}, {}", dir.join(PAGE).display(), dir.join(TABLE).display()))
}

fn as_json(table: &SweepTable, row: &SweepRow) -> Value {
    let grid: Map<String, Value> =
        table.keys.iter().cloned().zip(row.values.iter().map(|value| json!(value))).collect();
    let mut object = json!({
        "grid": grid,
        "trained": row.trained,
        "merge": row.merge,
        "weights": row.weights,
        "runs": row.runs,
        "diverged": row.diverged,
        "images": row.items,
        "gmacs": row.gmacs,
        "mean_tokens": row.mean_tokens,
        "loss": row.loss,
        "train_seconds": row.seconds,
    });
    for (name, found) in &row.qualities {
        object[name] = json!(found);
    }
    object
}
