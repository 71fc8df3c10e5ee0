//! `tokmerge few-shot`.

use crate::args::{
    MergeArgs, ModelArgs, OutputArgs, PreprocessArgs, at_least_one, batch_of, batch_size, bind, must_exist,
};
use crate::output;
use crate::progress::{Progress, note_left_out};
use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use tokmerge::{ClassFolder, Extracted, FewShot, FewShotError, Model, Reading, extract};

#[derive(Args, Debug)]
pub(crate) struct FewShotArgs {
    /// Folder of images, one sub-folder per class; any classes will do
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    /// Images per class to fit the head to; it is tested on all others. Separate several numbers by commas
    #[arg(
        long,
        value_name = "K,...",
        value_delimiter = ',',
        default_value = "5",
        value_parser = at_least_one
    )]
    pub(crate) shots: Vec<usize>,
    /// Number of random choices of those images; results are means over them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one)]
    pub(crate) seeds: usize,
    /// Strength of the ridge penalty on the head, in units of the features' scatter
    #[arg(long, value_name = "RIDGE", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) ridge: f64,
    /// Items per forward pass [default: 32, of clips 1]
    #[arg(short, long, value_name = "N", value_parser = batch_size)]
    pub(crate) batch_size: Option<usize>,
    /// Threads that read images; 0 reads between forward passes [default: one per thread that computes]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Accuracies of one way of merging at one number of examples.
struct Row<'e> {
    extracted: &'e Extracted,
    shots: usize,
    /// In percent, one for every choice of examples.
    percents: Vec<f64>,
    /// Images that each head was tried on.
    tried: usize,
}

impl Row<'_> {
    fn mean(&self) -> f64 {
        self.percents.iter().sum::<f64>() / self.percents.len().max(1) as f64
    }

    fn range(&self) -> (f64, f64) {
        let fold = |pick: fn(f64, f64) -> f64, from| self.percents.iter().copied().fold(from, pick);
        (fold(f64::min, f64::INFINITY), fold(f64::max, f64::NEG_INFINITY))
    }
}

pub(crate) fn run(args: &FewShotArgs) -> Result<ExitCode> {
    let methods = args.merge.methods(&["none"])?;
    must_exist(&args.dir, "folder")?;
    let folder = args.model.folder(&args.dir, None)?;
    check(args, &folder)?;
    let model = args.preprocess.apply(args.model.open()?)?;
    let reductions = bind(&model, &methods)?;
    note_left_out(&folder, &args.dir);
    let mut progress = Progress::of(model.media(), folder.samples().len());
    let reading = Reading {
        batch_size: batch_of(args.batch_size, 32, model.media()),
        workers: args.model.threads.workers(args.workers),
        decoding: args.preprocess.decoding(),
    };
    let samples = folder.samples().to_vec();
    let found = extract(&model, &reductions, samples, reading, args.output.convention, &mut progress);
    progress.clear();
    let found = found?;
    progress.report_failures();
    let mut rows = Vec::with_capacity(found.len() * args.shots.len());
    for extracted in &found {
        for &shots in &args.shots {
            rows.push(row(args, &folder, extracted, shots)?);
        }
    }
    print(args, &folder, &model, &rows)?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses what could only fail after all images have been looked at.
fn check(args: &FewShotArgs, folder: &ClassFolder) -> Result<()> {
    let dir = args.dir.display();
    let names = folder.class_names();
    if names.len() < 2 {
        bail!(
            "{dir}: a head needs two classes or more to tell apart; put the images of each class into a folder of its own"
        );
    }
    if !(args.ridge >= 0.0 && args.ridge.is_finite()) {
        return Err(FewShotError::Ridge { ridge: args.ridge }.into());
    }
    let shots = args.shots.iter().copied().max().unwrap_or(0);
    let mut images = vec![0; names.len()];
    folder.samples().iter().filter_map(|sample| sample.label).for_each(|label| images[label] += 1);
    let fewest = images.iter().zip(names).filter(|(count, _)| **count > 0).min();
    if let Some((count, name)) = fewest
        && *count < shots
    {
        bail!(
            "{dir}: class {name} has {count} images, and --shots {shots} needs {shots} of every class; use fewer shots or more images"
        );
    }
    Ok(())
}

fn row<'e>(
    args: &FewShotArgs,
    folder: &ClassFolder,
    extracted: &'e Extracted,
    shots: usize,
) -> Result<Row<'e>> {
    let names = folder.class_names();
    let features = extracted.features(names.len());
    let mut row = Row { extracted, shots, percents: Vec::with_capacity(args.seeds), tried: 0 };
    for seed in 0..args.seeds as u64 {
        let accuracy = FewShot { shots, ridge: args.ridge, seed }.accuracy(&features);
        let accuracy = accuracy.map_err(|error| match error {
            FewShotError::TooFew { class, images, shots } => anyhow::anyhow!(
                "{}: only {images} of the images of class {} could be read, and --shots {shots} needs {shots}; use fewer shots or more images",
                args.dir.display(),
                names[class]
            ),
            error => error.into(),
        })?;
        row.percents.push(accuracy.percent);
        row.tried = accuracy.trials;
    }
    Ok(row)
}

fn print(args: &FewShotArgs, folder: &ClassFolder, model: &Model, rows: &[Row<'_>]) -> Result<()> {
    let classes = folder.class_names().len();
    if args.output.json {
        for row in rows {
            let (min, max) = row.range();
            let value = json!({
                "model": model.name(),
                "merge": row.extracted.merge,
                "classes": classes,
                "shots": row.shots,
                "tried": row.tried,
                "seeds": args.seeds,
                "top1": row.mean(),
                "min": min,
                "max": max,
                "ridge": args.ridge,
                "gmacs": row.extracted.gmacs,
                "convention": args.output.convention,
                "mean_tokens": row.extracted.mean_tokens,
                "dtype": args.model.dtype.name(),
            });
            output::line(value.to_string())?;
        }
        return Ok(());
    }
    let items = rows.first().map_or(0, |row| row.extracted.labels.len());
    output::line(format!(
        "{}, {}, {items} {} of {classes} classes, means over {} choices of examples",
        model.name(),
        args.model.dtype.name(),
        model.media().words(),
        args.seeds
    ))?;
    let gmacs = format!("GMACs ({})", args.output.convention);
    let header = ["merge", "shots", "top-1 %", "(min-max)", "tried on", &gmacs, "tokens left"];
    let cells = |row: &Row<'_>| {
        let (min, max) = row.range();
        vec![
            row.extracted.merge.clone(),
            row.shots.to_string(),
            format!("{:.1}", row.mean()),
            format!("{min:.1}-{max:.1}"),
            row.tried.to_string(),
            output::gmacs(row.extracted.gmacs),
            format!("{:.1}", row.extracted.mean_tokens),
        ]
    };
    output::line(output::table(&header, &rows.iter().map(cells).collect::<Vec<_>>()))
}
