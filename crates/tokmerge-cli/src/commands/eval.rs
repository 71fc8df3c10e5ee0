//! `tokmerge eval`.

use crate::args::{EvalArgs, bind, must_exist};
use crate::output;
use crate::progress::{Progress, note_stray};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use tokmerge::{
    Accuracy, ClassNames, Convention, EvalOptions, ImageError, ImageFolder, Labels, Model, Observer,
    Prediction, Sample, evaluate, wilson,
};

pub(crate) fn run(args: &EvalArgs) -> Result<ExitCode> {
    let methods = args.merge.methods(&["none"])?;
    must_exist(&args.dir, "folder")?;
    let folder = ImageFolder::open(&args.dir)?;
    let names = args.labels.as_ref().map(ClassNames::open).transpose()?;
    let model = args.preprocess.apply(args.model.open()?)?;
    model.require_head()?;
    bind(&model, &methods)?;
    note_stray(&folder, &args.dir);
    let folder = match args.limit {
        Some(limit) => folder.limit(limit),
        None => folder,
    };
    let (samples, labels) = labelled(&folder, names.as_ref(), &model, args.labels.is_some())?;
    if args.predictions.is_some() && args.predictions == args.results_file {
        bail!("--predictions and --results-file name the same file; give each its own");
    }
    let predictions = args.predictions.as_deref().map(PredictionFile::create).transpose()?;
    let results_file = args.results_file.as_deref().map(output::csv_file).transpose()?;
    let merges =
        if methods.len() > 1 { methods.iter().map(ToString::to_string).collect() } else { Vec::new() };
    let mut watcher = Watcher { progress: Progress::of(samples.len()), predictions, merges };
    let options = EvalOptions {
        batch_size: args.batch_size,
        workers: args.workers,
        limits: args.preprocess.limits(),
        convention: args.output.convention(),
    };
    let results = evaluate(&model, &methods, samples, labels, options, &mut watcher);
    let Watcher { progress, predictions, .. } = watcher;
    progress.clear();
    let results = results?;
    if let Some(file) = predictions {
        file.finish()?;
    }
    progress.report_failures();
    if let Some(file) = results_file {
        write_csv(file, &model, &results, args.output.convention())
            .context("cannot write the --results-file")?;
    }
    print(args, &model, &results)?;
    Ok(ExitCode::SUCCESS)
}

/// Shows progress, writes predictions.
struct Watcher {
    progress: Progress,
    predictions: Option<PredictionFile>,
    /// Specs of the methods where there are several.
    merges: Vec<String>,
}

impl Observer for Watcher {
    fn done(&mut self, images: usize) {
        self.progress.done(images);
    }

    fn failed(&mut self, path: &Path, error: &ImageError) {
        self.progress.failed(path, error);
    }

    fn predicted(&mut self, prediction: Prediction<'_>) -> Result<(), String> {
        let merge = self.merges.get(prediction.method);
        match &mut self.predictions {
            Some(file) => file.write(&prediction, merge).map_err(|error| format!("{error:#}")),
            None => Ok(()),
        }
    }
}

/// Samples whose labels are the model's classes, as far as that can be known.
pub(crate) fn labelled(
    folder: &ImageFolder,
    names: Option<&ClassNames>,
    model: &Model,
    asked: bool,
) -> Result<(Vec<Sample>, Labels)> {
    let classes = model.classes();
    let folders = folder.class_names();
    if folders.is_empty() {
        if asked {
            output::note("note: the images lie in no class folders, so --labels has nothing to map");
        }
        return Ok((folder.samples().to_vec(), Labels::Ignored));
    }
    let by_wnid = names.map(ClassNames::index_of_wnid).filter(|index| !index.is_empty());
    if let Some(index) = by_wnid {
        let class_of: Vec<usize> = folders
            .iter()
            .map(|name| {
                index.get(name.as_str()).copied().with_context(|| {
                    format!("folder {name} is not an id in the --labels file; folders must be named by its second column")
                })
            })
            .collect::<Result<_>>()?;
        let relabel = |sample: &Sample| Sample {
            path: sample.path.clone(),
            label: sample.label.map(|label| class_of[label]),
        };
        return Ok((folder.samples().iter().map(relabel).collect(), Labels::Trusted));
    }
    if folders.len() != classes {
        bail!(
            "the folder has {} classes but the model {classes}: sorted folders would not be the model's classes; give --labels with index<TAB>wnid<TAB>name lines whose wnids are the folders' names",
            folders.len()
        );
    }
    Ok((folder.samples().to_vec(), Labels::Trusted))
}

fn print(args: &EvalArgs, model: &Model, results: &[Accuracy]) -> Result<()> {
    if args.output.json {
        for result in results {
            let value = json!({
                "model": model.name(),
                "merge": result.merge,
                "images": result.images,
                "top1": result.top1,
                "top5": result.top5,
                "agreement": result.agreement,
                "images_per_second": result.images_per_second,
                "gmacs": result.gmacs,
                "convention": args.output.convention(),
                "mean_tokens": result.mean_tokens,
                "dtype": args.model.dtype.name(),
            });
            output::line(value.to_string())?;
        }
        return Ok(());
    }
    let images = results.first().map_or(0, |result| result.images);
    output::line(format!(
        "{}, {}, {images} images, batch {}, {} threads",
        model.name(),
        args.model.dtype.name(),
        args.batch_size,
        args.model.threads.count()
    ))?;
    let percent = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
    let gmacs = format!("GMACs ({})", args.output.convention());
    let header =
        ["merge", "top-1 %", "top-5 %", "agreement %", "(95 % interval)", &gmacs, "tokens left", "img/s"];
    let rows: Vec<Vec<String>> = results
        .iter()
        .map(|result| {
            let hits = (result.agreement * result.images as f64 / 100.0).round() as usize;
            let (low, high) = wilson(hits, result.images);
            vec![
                result.merge.clone(),
                percent(result.top1),
                percent(result.top5),
                format!("{:.1}", result.agreement),
                format!("{low:.1}-{high:.1}"),
                format!("{:.2}", result.gmacs),
                format!("{:.1}", result.mean_tokens),
                format!("{:.1}", result.images_per_second),
            ]
        })
        .collect();
    output::line(output::table(&header, &rows))
}

/// timm's columns, then ours.
fn write_csv(
    mut writer: csv::Writer<File>,
    model: &Model,
    results: &[Accuracy],
    convention: Convention,
) -> Result<()> {
    writer.write_record([
        "model",
        "top1",
        "top1_err",
        "top5",
        "top5_err",
        "param_count",
        "img_size",
        "crop_pct",
        "interpolation",
        "merge",
        "images",
        "agreement",
        "gmacs",
        "mean_tokens",
        "convention",
    ])?;
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
    for result in results {
        writer.write_record([
            model.name(),
            number(result.top1),
            number(result.top1.map(|top1| 100.0 - top1)),
            number(result.top5),
            number(result.top5.map(|top5| 100.0 - top5)),
            format!("{:.2}", model.parameters() as f64 / 1e6),
            model.config().img_size.0.to_string(),
            model.preprocess().crop_pct.to_string(),
            model.preprocess().interpolation.name().to_owned(),
            result.merge.clone(),
            result.images.to_string(),
            format!("{:.3}", result.agreement),
            format!("{:.4}", result.gmacs),
            format!("{:.2}", result.mean_tokens),
            convention.to_string(),
        ])?;
    }
    Ok(writer.flush()?)
}

/// `--predictions`: one row per image, and per method where there are several.
struct PredictionFile {
    writer: csv::Writer<File>,
    path: String,
    header_written: bool,
}

impl PredictionFile {
    fn create(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        Ok(Self { writer: output::csv_file(path)?, path: shown, header_written: false })
    }

    fn write(&mut self, prediction: &Prediction<'_>, merge: Option<&String>) -> Result<()> {
        if !self.header_written {
            let mut header = vec!["path".to_owned(), "label".to_owned()];
            header.extend((1..=5).map(|rank| format!("index{rank}")));
            header.extend((1..=5).map(|rank| format!("logit{rank}")));
            header.extend(merge.is_some().then(|| "merge".to_owned()));
            self.writer.write_record(header)?;
            self.header_written = true;
        }
        let label = prediction.sample.label.map_or_else(String::new, |label| label.to_string());
        let mut row = vec![prediction.sample.path.display().to_string(), label];
        let at = |rank: usize| prediction.top.get(rank);
        row.extend((0..5).map(|rank| at(rank).map_or_else(String::new, |(index, _)| index.to_string())));
        row.extend((0..5).map(|rank| at(rank).map_or_else(String::new, |(_, logit)| logit.to_string())));
        row.extend(merge.cloned());
        self.writer.write_record(row).with_context(|| format!("cannot write {}", self.path))
    }

    fn finish(mut self) -> Result<()> {
        self.writer.flush().with_context(|| format!("cannot write {}", self.path))
    }
}
