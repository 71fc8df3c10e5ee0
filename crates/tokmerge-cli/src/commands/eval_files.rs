//! What `tokmerge eval` writes: `--predictions` and `--results-file`.

use super::eval::EvalArgs;
use crate::output::{self, CsvFile};
use crate::progress::Progress;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tokmerge::{Accuracy, Convention, MediaError, Method, Model, Observer, Prediction};

/// How many labels a file has, which names their column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Labelling {
    /// One, or none that is known.
    One,
    /// Any number.
    Several,
}

/// Shows progress, and writes what was asked for.
pub(super) struct Outputs {
    progress: Progress,
    predictions: Option<PredictionFile>,
    results: Option<CsvFile>,
    /// Specs of the methods where there are several.
    merges: Vec<String>,
}

impl Outputs {
    /// Begins the files, none of which may be one that is read.
    pub(super) fn begin<'p>(
        args: &EvalArgs,
        labelling: Labelling,
        methods: &[Method],
        progress: Progress,
        items: impl Iterator<Item = &'p Path> + Clone,
    ) -> Result<Self> {
        if args.predictions.is_some() && args.predictions == args.results_file {
            bail!("--predictions and --results-file name the same file; give each its own");
        }
        for (flag, path) in [("--predictions", &args.predictions), ("--results-file", &args.results_file)] {
            if let Some(path) = path {
                let inputs = args.model.files();
                let inputs =
                    inputs.iter().chain(&args.labels).chain(args.classes.file()).map(PathBuf::as_path);
                let list = args.dir.is_file().then_some(args.dir.as_path());
                output::refuse_inputs(flag, path, inputs.chain(list))?;
                let name = path.file_name();
                output::refuse_inputs(flag, path, items.clone().filter(|item| item.file_name() == name))?;
            }
        }
        let several = methods.len() > 1;
        Ok(Self {
            progress,
            predictions: args
                .predictions
                .as_deref()
                .map(|path| PredictionFile::create(path, labelling, several))
                .transpose()?,
            results: args.results_file.as_deref().map(output::csv_file).transpose()?,
            merges: if several { methods.iter().map(ToString::to_string).collect() } else { Vec::new() },
        })
    }

    /// Takes the progress away, whatever came of it.
    pub(super) fn clear(&mut self) {
        self.progress.clear();
    }

    /// Puts the files in their places and says what was not read.
    pub(super) fn finish<'a>(
        self,
        model: &Model,
        results: impl Iterator<Item = &'a Accuracy>,
        convention: Convention,
    ) -> Result<()> {
        if let Some(file) = self.predictions {
            file.finish()?;
        }
        self.progress.report_failures();
        match self.results {
            Some(file) => {
                output::csv_rows(file, results.map(|result| CsvRow::new(model, result, convention)))
                    .context("cannot write the --results-file")
            }
            None => Ok(()),
        }
    }
}

impl Observer for Outputs {
    fn done(&mut self, images: usize) {
        self.progress.done(images);
    }

    fn failed(&mut self, path: &Path, error: &MediaError) {
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

/// `--predictions`: one row per file, and per method where there are several.
struct PredictionFile {
    writer: CsvFile,
    path: String,
}

impl PredictionFile {
    fn create(path: &Path, labelling: Labelling, with_merge: bool) -> Result<Self> {
        let label = match labelling {
            Labelling::One => "label",
            Labelling::Several => "labels",
        };
        let mut header = vec!["path".to_owned(), label.to_owned()];
        header.extend((1..=5).map(|rank| format!("index{rank}")));
        header.extend((1..=5).map(|rank| format!("logit{rank}")));
        header.extend(with_merge.then(|| "merge".to_owned()));
        let shown = path.display().to_string();
        let mut writer = output::csv_file(path)?;
        writer.write_record(header).with_context(|| format!("cannot write {shown}"))?;
        Ok(Self { writer, path: shown })
    }

    /// Several labels have semicolons between them, as in lists.
    fn write(&mut self, prediction: &Prediction<'_>, merge: Option<&String>) -> Result<()> {
        let labels: Vec<String> = prediction.labels.iter().map(ToString::to_string).collect();
        let mut row = vec![prediction.path.display().to_string(), labels.join(";")];
        let at = |rank: usize| prediction.top.get(rank);
        row.extend((0..5).map(|rank| at(rank).map_or_else(String::new, |(index, _)| index.to_string())));
        row.extend((0..5).map(|rank| at(rank).map_or_else(String::new, |(_, logit)| logit.to_string())));
        row.extend(merge.cloned());
        self.writer.write_record(row).with_context(|| format!("cannot write {}", self.path))
    }

    fn finish(self) -> Result<()> {
        let path = self.path;
        output::finish_csv(self.writer).with_context(|| format!("cannot write {path}"))
    }
}

/// timm's columns, then ours.
#[derive(Serialize)]
struct CsvRow<'a> {
    model: String,
    top1: String,
    top1_err: String,
    top5: String,
    top5_err: String,
    param_count: String,
    img_size: usize,
    crop_pct: String,
    interpolation: &'static str,
    merge: &'a str,
    images: usize,
    agreement: String,
    gmacs: String,
    mean_tokens: String,
    model_images_per_second: String,
    run_images_per_second: String,
    convention: Convention,
    /// Of lists alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<String>,
}

impl<'a> CsvRow<'a> {
    fn new(model: &Model, result: &'a Accuracy, convention: Convention) -> Self {
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
        Self {
            model: model.name(),
            top1: number(result.top1),
            top1_err: number(result.top1.map(|top1| 100.0 - top1)),
            top5: number(result.top5),
            top5_err: number(result.top5.map(|top5| 100.0 - top5)),
            param_count: format!("{:.2}", model.parameters() as f64 / 1e6),
            img_size: model.config().shape().img_size().0,
            crop_pct: model
                .preprocess()
                .map_or_else(String::new, |preprocess| preprocess.crop_pct.to_string()),
            interpolation: model.preprocess().map_or("", |preprocess| preprocess.interpolation.name()),
            merge: &result.merge,
            images: result.images,
            agreement: format!("{:.3}", result.agreement),
            gmacs: format!("{:.4}", result.gmacs),
            mean_tokens: format!("{:.2}", result.mean_tokens),
            model_images_per_second: format!("{:.2}", result.model_images_per_second),
            run_images_per_second: format!("{:.2}", result.run_images_per_second),
            convention,
            map: result.mean_average_precision.map(|percent| format!("{percent:.3}")),
        }
    }
}
