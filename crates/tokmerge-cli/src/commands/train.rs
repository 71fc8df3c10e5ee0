//! `tokmerge train` and `tokmerge finetune`.

use crate::args::DeviceArgs;
use crate::memory;
use crate::output;
use crate::progress::{Downloads, TrainProgress};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokmerge::train::{Recipe, Start, Summary, Trainer, Validation};
use tokmerge::{Accuracy, Media};

#[derive(Args, Debug)]
pub(crate) struct TrainArgs {
    /// TOML file with the model, the data and the training settings
    #[arg(value_name = "RECIPE")]
    pub(crate) recipe: PathBuf,
    /// Folder for checkpoints, logs and the trained model [default: runs/ and the name of the recipe]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Resume from the last checkpoint in the folder
    #[arg(long)]
    pub(crate) resume: bool,
    /// Resume with more epochs than the run began with; the learning rate goes on as in the schedule of all of them
    #[arg(long, conflicts_with = "resume")]
    pub(crate) extend: bool,
    /// Change a value of the recipe, e.g. train.epochs=5; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print the last validation to standard output, one JSON object per merging method, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whether a recipe must begin with weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    Optional,
    Required,
}

pub(crate) fn run(args: &TrainArgs, weights: Weights) -> Result<ExitCode> {
    let recipe = Recipe::open(&args.recipe, &args.set)?;
    if weights == Weights::Required && recipe.model.weights.is_none() {
        bail!(
            "{}: fine-tuning goes on from weights, and the recipe has none; give --set model.weights=FILE (or pretrained), or use tokmerge train",
            args.recipe.display()
        );
    }
    memory::keep();
    set_threads(recipe.train.threads)?;
    let dir = args.output.clone().unwrap_or_else(|| default_output(&args.recipe));
    let begin = match (args.resume, args.extend) {
        (_, true) => Begin::Extend,
        (true, false) => Begin::Resume,
        (false, false) => Begin::New,
    };
    let (summary, media) = Job { recipe, dir: &dir, begin, device: args.device }.run()?;
    print(args, &summary, media)?;
    Ok(ExitCode::SUCCESS)
}

/// Starts as many threads as a recipe asks for, once for this process.
pub(super) fn set_threads(threads: Option<usize>) -> Result<()> {
    match threads {
        Some(threads) => {
            tokmerge::set_threads(threads, tokmerge::Affinity::Free).context("cannot start the threads")
        }
        None => Ok(()),
    }
}

/// Whether a run begins or goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    New,
    Resume,
    /// With more epochs.
    Extend,
}

/// A run of training.
pub(super) struct Job<'a> {
    pub(super) recipe: Recipe,
    pub(super) dir: &'a Path,
    pub(super) begin: Begin,
    pub(super) device: DeviceArgs,
}

impl Job<'_> {
    /// Trains to the end, and shows how it goes.
    pub(super) fn run(self) -> Result<(Summary, Media)> {
        let Self { recipe, dir, begin, device } = self;
        let start = Start::open_with_progress(recipe.clone(), &device.open(), &Downloads::default())?;
        let description = describe(&recipe, &start, dir);
        let media = start.media();
        let trainer = match begin {
            Begin::Extend => Trainer::extend(start, dir)?,
            Begin::Resume => Trainer::resume(start, dir)?,
            Begin::New => Trainer::new(start, dir)?,
        };
        description.into_iter().for_each(output::note);
        if recipe.lora.is_some() {
            let (trained, all) = trainer.trained();
            output::note(format!(
                "{:.2} of {:.2} million values are trained",
                trained as f64 / 1e6,
                all as f64 / 1e6
            ));
        }
        let (done, steps) = trainer.progress();
        if done > 0 {
            output::note(format!("going on after step {done} of {steps}"));
        }
        let mut progress = TrainProgress::new(media, done, steps, recipe.train.epochs);
        let summary = trainer.run(&mut progress);
        progress.clear();
        Ok((summary?, media))
    }
}

/// `runs/deit-small` of `recipes/deit-small.toml`.
fn default_output(recipe: &Path) -> PathBuf {
    Path::new("runs").join(recipe.file_stem().unwrap_or_default())
}

fn describe(recipe: &Recipe, start: &Start, dir: &Path) -> Vec<String> {
    let (train, val) = start.item_counts();
    let words = start.media().words();
    let architecture = start.architecture();
    let config = &architecture.config;
    let model = if recipe.model.name.is_some() {
        architecture.size_name()
    } else {
        format!("a ViT of {} channels and {} blocks", config.shape().channels, config.depth())
    };
    let model = match config.writes() {
        true => model,
        false => format!("{model} with {} classes", config.shape().classes),
    };
    let mut lines = vec![format!(
        "{model}, merging {}: {train} {words} to train on, {val} to validate on; writing to {}",
        recipe.merge,
        dir.display()
    )];
    lines.extend(start.notes().iter().map(|note| format!("note: {note}")));
    lines
}

/// A validation by one way of merging.
#[derive(Serialize)]
struct Row<'a> {
    step: usize,
    epoch: usize,
    weights: &'static str,
    #[serde(flatten)]
    accuracy: &'a Accuracy,
    output: &'a Path,
}

fn print(args: &TrainArgs, summary: &Summary, media: Media) -> Result<()> {
    if args.json {
        for validation in &summary.validations {
            for accuracy in &validation.accuracies {
                output::json(&Row {
                    step: validation.step,
                    epoch: validation.epoch,
                    weights: validation.of.name(),
                    accuracy,
                    output: &summary.dir,
                })?;
            }
        }
        return Ok(());
    }
    for validation in &summary.validations {
        output::line(heading(validation, media))?;
        output::line(table(validation, media))?;
    }
    if let Some((step, score, path)) = &summary.best {
        let measured = summary.validations.iter().flat_map(|validation| &validation.accuracies);
        let score = match measured.filter_map(|accuracy| accuracy.bleu).next() {
            Some(_) => format!("BLEU {score:.1}"),
            None => format!("{score:.1} %"),
        };
        output::line(format!("best validation: {score} after step {step}, kept in {}", path.display()))?;
    }
    if let Some(learned) = &summary.learned {
        output::line(format!("learned: --merge {learned}"))?;
    }
    output::line(format!("the trained model: --model local-dir:{}", summary.dir.display()))
}

fn heading(validation: &Validation, media: Media) -> String {
    let items = validation.accuracies.first().map_or(0, |accuracy| accuracy.images);
    let average = if validation.of.name() == "ema" { ", averaged weights" } else { "" };
    format!(
        "after step {} (epoch {}){average}, on {items} {}:",
        validation.step,
        validation.epoch,
        media.words()
    )
}

fn table(validation: &Validation, media: Media) -> String {
    let percent = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
    let has =
        |of: fn(&Accuracy) -> Option<f64>| validation.accuracies.iter().any(|found| of(found).is_some());
    let is_list = has(|accuracy| accuracy.mean_average_precision);
    let writes = has(|accuracy| accuracy.bleu);
    let answers = media == Media::Question;
    let right: &[&str] = match (is_list, writes) {
        (true, _) => &["mAP %"],
        (false, true) => &["BLEU", "exact %"],
        (false, false) if answers => &["accuracy %"],
        (false, false) => &["top-1 %", "top-5 %"],
    };
    let rows: Vec<Vec<String>> = validation
        .accuracies
        .iter()
        .map(|accuracy| {
            let mut row = vec![accuracy.merge.clone()];
            if is_list {
                row.push(percent(accuracy.mean_average_precision));
            } else if writes {
                row.extend([percent(accuracy.bleu), percent(accuracy.top1)]);
            } else if answers {
                row.push(percent(accuracy.top1));
            } else {
                row.extend([percent(accuracy.top1), percent(accuracy.top5)]);
            }
            row.extend([
                format!("{:.1}", accuracy.agreement),
                output::gmacs(accuracy.gmacs),
                format!("{:.1}", accuracy.mean_tokens),
            ]);
            row
        })
        .collect();
    let header = [&["merge"], right, &["agreement %", "GMACs", "tokens left"]].concat();
    output::table(&header, &rows)
}
