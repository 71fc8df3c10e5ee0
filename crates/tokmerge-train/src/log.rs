//! What happened, as CSV: one file of steps, one of validations.

use crate::checkpoint::Checkpoints;
use crate::data::Measure;
use crate::error::TrainError;
use crate::validate::Validation;
use std::fs::File;
use std::path::{Path, PathBuf};

const STEPS: &str = "steps.csv";
const STEPS_HEADING: [&str; 7] = ["step", "epoch", "lr", "loss", "grad_norm", "images_per_second", "seconds"];
const VALIDATION: &str = "validation.csv";
const VALIDATION_HEADING: [&str; 9] =
    ["step", "epoch", "weights", "merge", "top1", "top5", "images", "gmacs", "mean_tokens"];
/// The same where items have several labels.
const VALIDATION_HEADING_OF_LISTS: [&str; 8] =
    ["step", "epoch", "weights", "merge", "map", "images", "gmacs", "mean_tokens"];

/// The same where questions are answered.
const VALIDATION_HEADING_OF_ANSWERS: [&str; 8] =
    ["step", "epoch", "weights", "merge", "accuracy", "questions", "gmacs", "mean_tokens"];

/// The same where texts are to be written.
const VALIDATION_HEADING_OF_TEXTS: [&str; 9] =
    ["step", "epoch", "weights", "merge", "bleu", "exact", "texts", "gmacs", "mean_tokens"];

/// A step, as it is logged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepRow {
    pub(crate) step: usize,
    pub(crate) epoch: usize,
    pub(crate) lr: f64,
    pub(crate) loss: f64,
    /// Of all parameters together, before clipping; known where the recipe clips.
    pub(crate) grad_norm: Option<f64>,
    pub(crate) images_per_second: f64,
    pub(crate) seconds: f64,
}

/// The two files, open at their ends.
pub(crate) struct Log {
    steps: Table,
    validation: Table,
    /// What its rows say.
    measure: Measure,
    /// Steps after which validation is in the file.
    validated: Vec<usize>,
}

impl Log {
    /// Opens the files of a run that has done `step` steps; rows of later steps are taken out, since these will be
    /// done again.
    pub(crate) fn open(checkpoints: &Checkpoints, step: usize, measure: Measure) -> Result<Self, TrainError> {
        let heading: &[&str] = match measure {
            Measure::Classes => &VALIDATION_HEADING,
            Measure::Lists => &VALIDATION_HEADING_OF_LISTS,
            Measure::Answers => &VALIDATION_HEADING_OF_ANSWERS,
            Measure::Texts => &VALIDATION_HEADING_OF_TEXTS,
        };
        let (steps, _) = Table::open(checkpoints, STEPS, &STEPS_HEADING, step)?;
        let (validation, validated) = Table::open(checkpoints, VALIDATION, heading, step)?;
        Ok(Self { steps, validation, measure, validated })
    }

    pub(crate) fn step(&mut self, row: &StepRow) -> Result<(), csv::Error> {
        self.steps.write(&[
            row.step.to_string(),
            row.epoch.to_string(),
            format!("{:e}", row.lr),
            format!("{:.6}", row.loss),
            row.grad_norm.map_or_else(String::new, |norm| format!("{norm:.6}")),
            format!("{:.2}", row.images_per_second),
            format!("{:.3}", row.seconds),
        ])
    }

    /// Whether the validation after a step was logged already.
    pub(crate) fn has_validation(&self, step: usize) -> bool {
        self.validated.contains(&step)
    }

    pub(crate) fn validation(&mut self, validation: &Validation) -> Result<(), csv::Error> {
        let percent = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
        for accuracy in &validation.accuracies {
            let mut row = vec![
                validation.step.to_string(),
                validation.epoch.to_string(),
                validation.of.name().to_owned(),
                accuracy.merge.clone(),
            ];
            match self.measure {
                Measure::Lists => row.push(percent(accuracy.mean_average_precision)),
                Measure::Texts => row.extend([percent(accuracy.bleu), percent(accuracy.top1)]),
                Measure::Answers => row.push(percent(accuracy.top1)),
                Measure::Classes => row.extend([percent(accuracy.top1), percent(accuracy.top5)]),
            }
            row.extend([
                accuracy.images.to_string(),
                format!("{:.4}", accuracy.gmacs),
                format!("{:.2}", accuracy.mean_tokens),
            ]);
            self.validation.write(&row)?;
        }
        self.validated.push(validation.step);
        Ok(())
    }

    pub(crate) fn steps_path(&self) -> &Path {
        &self.steps.path
    }

    pub(crate) fn validation_path(&self) -> &Path {
        &self.validation.path
    }
}

struct Table {
    path: PathBuf,
    writer: csv::Writer<File>,
}

impl Table {
    /// Opens a table whose first column is the step, without the rows after `step`. A row that a kill cut off is one
    /// of those. Also gives the steps that are left.
    fn open(
        checkpoints: &Checkpoints,
        name: &str,
        heading: &[&str],
        step: usize,
    ) -> Result<(Self, Vec<usize>), TrainError> {
        let path = checkpoints.dir().join(name);
        let (mut rows, mut steps) =
            (vec![heading.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()], Vec::new());
        if let Ok(mut reader) = csv::ReaderBuilder::new().flexible(true).from_path(&path) {
            for row in reader.records().flatten() {
                let at = row.get(0).and_then(|cell| cell.parse().ok());
                if let (Some(at), true) = (at.filter(|at| *at <= step), row.len() == heading.len()) {
                    steps.push(at);
                    rows.push(row.iter().map(str::to_owned).collect());
                }
            }
        }
        let mut text = csv::Writer::from_writer(Vec::new());
        let encode = || -> Result<Vec<u8>, String> {
            for row in rows {
                text.write_record(row).map_err(|error| error.to_string())?;
            }
            text.into_inner().map_err(|error| error.to_string())
        };
        let text = encode().map_err(|error| checkpoints.cannot_write(&path, &error))?;
        checkpoints.write_file(name, &text)?;
        let file = File::options()
            .append(true)
            .open(&path)
            .map_err(|error| checkpoints.cannot_write(&path, &error))?;
        Ok((Self { path, writer: csv::Writer::from_writer(file) }, steps))
    }

    fn write(&mut self, row: &[String]) -> Result<(), csv::Error> {
        self.writer.write_record(row)?;
        // A row that nobody can see before the end is of little use.
        Ok(self.writer.flush()?)
    }
}
