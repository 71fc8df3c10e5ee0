//! What happened, as CSV: one file of steps, one of validations.

use crate::checkpoint::Checkpoints;
use crate::data::Measure;
use crate::error::TrainError;
use crate::validate::Validation;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub(crate) const STEPS: &str = "steps.csv";
const STEPS_HEADING: [&str; 7] = ["step", "epoch", "lr", "loss", "grad_norm", "images_per_second", "seconds"];
pub(crate) const VALIDATION: &str = "validation.csv";
const VALIDATION_HEADING: [&str; 9] =
    ["step", "epoch", "weights", "merge", "top1", "top5", "images", "gmacs", "mean_tokens"];
/// The same where items have several labels.
const VALIDATION_HEADING_OF_LISTS: [&str; 8] =
    ["step", "epoch", "weights", "merge", "map", "images", "gmacs", "mean_tokens"];

/// The same where questions are answered.
const VALIDATION_HEADING_OF_ANSWERS: [&str; 8] =
    ["step", "epoch", "weights", "merge", "accuracy", "questions", "gmacs", "mean_tokens"];

/// What columns of questions were called before they had a heading of their own.
const OLD_NAMES: [(&str, &str); 2] = [("accuracy", "top1"), ("questions", "images")];

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

/// The rows of a table up to a step, with their steps, in the order of a heading: columns are found by their names, also by old
/// ones. A table without one of the columns has none.
fn rows_until(table: impl Read, heading: &[&str], step: usize) -> Vec<(usize, Vec<String>)> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(table);
    let Ok(columns) = reader.headers().cloned() else { return Vec::new() };
    let place = |name: &str| columns.iter().position(|column| column == name);
    let found = heading.iter().map(|name| {
        let old = || OLD_NAMES.iter().find(|(now, _)| now == name).and_then(|(_, old)| place(old));
        place(name).or_else(old)
    });
    let Some(places) = found.collect::<Option<Vec<usize>>>() else { return Vec::new() };
    let rows = reader.records().flatten().filter(|row| row.len() == columns.len());
    let rows = rows.map(|row| places.iter().map(|place| row[*place].to_owned()).collect::<Vec<_>>());
    rows.filter_map(|row| Some((row.first()?.parse().ok().filter(|at| *at <= step)?, row))).collect()
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
        let (steps, rows): (Vec<usize>, Vec<Vec<String>>) = match File::open(&path) {
            Ok(file) => rows_until(file, heading, step).into_iter().unzip(),
            Err(_) => (Vec::new(), Vec::new()),
        };
        let mut text = csv::Writer::from_writer(Vec::new());
        let encode = || -> Result<Vec<u8>, String> {
            text.write_record(heading).map_err(|error| error.to_string())?;
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

#[cfg(test)]
mod tests {
    use super::{VALIDATION_HEADING, VALIDATION_HEADING_OF_ANSWERS, rows_until};

    #[test]
    fn rows_of_questions_under_their_old_heading_stay() {
        let old = "step,epoch,weights,merge,top1,top5,images,gmacs,mean_tokens\n\
                   5,1,model,none,41.000,80.000,96,0.1000,30.00\n\
                   10,2,model,none,52.000,85.000,96,0.1000,30.00\n\
                   5,1,mod";
        let rows = rows_until(old.as_bytes(), &VALIDATION_HEADING_OF_ANSWERS, 5);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].0, rows[0].1.join(",").as_str()), (5, "5,1,model,none,41.000,96,0.1000,30.00"));
        assert_eq!(rows_until(old.as_bytes(), &VALIDATION_HEADING, 10).len(), 2);
        assert!(rows_until("step,epoch\n1,1\n".as_bytes(), &VALIDATION_HEADING, 10).is_empty());
    }
}
