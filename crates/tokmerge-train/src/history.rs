//! What a run has logged, read back: its steps, its validations and its recipe.

use crate::checkpoint::RECIPE;
use crate::error::TrainError;
use crate::log::{STEPS, VALIDATION};
use crate::recipe::Recipe;
use std::path::Path;
use tokmerge_checkpoint::read_text;

/// The files of a run, as far as it got.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The recipe, every default written out.
    pub recipe: Recipe,
    /// In their order.
    pub steps: Vec<LoggedStep>,
    /// In their order, each with a row for every way of merging and kind of weights.
    pub validations: Vec<LoggedValidation>,
}

/// A step of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoggedStep {
    /// Steps done, this one included.
    pub step: usize,
    /// Its epoch, from 1.
    pub epoch: usize,
    /// Its loss.
    pub loss: f64,
    /// How long it took.
    pub seconds: f64,
}

/// A validation at one way of merging.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedValidation {
    /// Steps trained.
    pub step: usize,
    /// Epochs trained.
    pub epoch: usize,
    /// Which weights: `model` or `ema`.
    pub weights: String,
    /// How it merged, as a spec.
    pub merge: String,
    /// What was measured, by its column: `top1`, `map`, `accuracy`, `bleu`; in percent.
    pub qualities: Vec<(String, f64)>,
    /// Items that it was measured on.
    pub items: usize,
    /// Billions of multiply-adds per item.
    pub gmacs: f64,
    /// Mean tokens after the last block.
    pub mean_tokens: f64,
}

/// Logs of a million steps have 64 MiB.
const MAX_LOG: u64 = 1 << 30;
const MAX_RECIPE: u64 = 1 << 20;

impl History {
    /// Whether a folder holds a run.
    #[must_use]
    pub fn is_run(dir: &Path) -> bool {
        dir.join(RECIPE).is_file() && dir.join(STEPS).is_file()
    }

    /// Reads the files of a run, which may be going on: a row that is not whole yet does not count.
    ///
    /// # Errors
    /// When the folder holds no run, or its files are not what a run writes.
    pub fn open(dir: &Path) -> Result<Self, TrainError> {
        let read = |name: &str, most: u64| {
            let path = dir.join(name);
            read_text(&path, most).map_err(|error| TrainError::Read { path, reason: error.to_string() })
        };
        let place = dir.join(RECIPE).display().to_string();
        let recipe = Recipe::parse(&read(RECIPE, MAX_RECIPE)?, &place, &[])?;
        let wrong = |name: &str| {
            let path = dir.join(name);
            move |reason| TrainError::Read { path, reason }
        };
        let steps = Rows::of(&read(STEPS, MAX_LOG)?).and_then(|rows| rows.steps());
        let validations = Rows::of(&read(VALIDATION, MAX_LOG)?).and_then(|rows| rows.validations());
        Ok(Self {
            recipe,
            steps: steps.map_err(wrong(STEPS))?,
            validations: validations.map_err(wrong(VALIDATION))?,
        })
    }

    /// The validations after the last step that was validated.
    pub fn last(&self) -> impl Iterator<Item = &LoggedValidation> {
        let last = self.validations.last().map(|validation| validation.step);
        self.validations.iter().filter(move |validation| Some(validation.step) == last)
    }

    /// Seconds of all steps: what training took, without validations.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.steps.iter().map(|step| step.seconds).sum()
    }

    /// The mean loss of the last epoch.
    #[must_use]
    pub fn last_loss(&self) -> Option<f64> {
        let epoch = self.steps.last()?.epoch;
        let losses: Vec<f64> =
            self.steps.iter().filter(|step| step.epoch == epoch).map(|step| step.loss).collect();
        Some(losses.iter().sum::<f64>() / losses.len() as f64)
    }
}

/// A table with a heading.
struct Rows {
    heading: Vec<String>,
    rows: Vec<csv::StringRecord>,
}

impl Rows {
    fn of(text: &str) -> Result<Self, String> {
        // A row without its end was cut off by a kill, or is being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(whole.as_bytes());
        let heading = reader.headers().map_err(|error| error.to_string())?;
        let heading: Vec<String> = heading.iter().map(str::to_owned).collect();
        let rows = reader.records().filter_map(Result::ok).filter(|row| row.len() == heading.len());
        Ok(Self { rows: rows.collect(), heading })
    }

    fn place(&self, name: &str) -> Result<usize, String> {
        let found = self.heading.iter().position(|column| column == name);
        found.ok_or_else(|| format!("has no column {name}; is it a log of tokmerge train?"))
    }

    fn steps(&self) -> Result<Vec<LoggedStep>, String> {
        let places = ["step", "epoch", "loss", "seconds"].map(|name| self.place(name));
        let [step, epoch, loss, seconds] = places;
        let (step, epoch, loss, seconds) = (step?, epoch?, loss?, seconds?);
        let read = |row: &csv::StringRecord| {
            Ok(LoggedStep {
                step: whole(row, step)?,
                epoch: whole(row, epoch)?,
                loss: number(row, loss)?,
                seconds: number(row, seconds)?,
            })
        };
        self.rows.iter().map(read).collect()
    }

    fn validations(&self) -> Result<Vec<LoggedValidation>, String> {
        let place = |name: &str| self.place(name);
        let (step, epoch, weights, merge) =
            (place("step")?, place("epoch")?, place("weights")?, place("merge")?);
        let (gmacs, mean_tokens) = (place("gmacs")?, place("mean_tokens")?);
        // What was measured stands between how and on how many.
        let items = gmacs.checked_sub(1).filter(|items| *items > merge).ok_or("has no column of items")?;
        let read = |row: &csv::StringRecord| {
            let qualities = (merge + 1..items).filter(|at| !row[*at].is_empty());
            let qualities = qualities.map(|at| Ok((self.heading[at].clone(), number(row, at)?)));
            Ok(LoggedValidation {
                step: whole(row, step)?,
                epoch: whole(row, epoch)?,
                weights: row[weights].to_owned(),
                merge: row[merge].to_owned(),
                qualities: qualities.collect::<Result<_, String>>()?,
                items: whole(row, items)?,
                gmacs: number(row, gmacs)?,
                mean_tokens: number(row, mean_tokens)?,
            })
        };
        self.rows.iter().map(read).collect()
    }
}

fn whole(row: &csv::StringRecord, at: usize) -> Result<usize, String> {
    row[at].parse().map_err(|_| unexpected(row, at, "a whole number"))
}

fn number(row: &csv::StringRecord, at: usize) -> Result<f64, String> {
    row[at].parse().map_err(|_| unexpected(row, at, "a number"))
}

fn unexpected(row: &csv::StringRecord, at: usize, what: &str) -> String {
    let line = row.position().map_or(0, csv::Position::line);
    let value: String = row[at].chars().take(40).collect();
    format!("line {line}, column {}: {value:?} is not {what}", at + 1)
}

#[cfg(test)]
mod tests {
    use super::Rows;

    const VALIDATION: &str = "step,epoch,weights,merge,top1,top5,images,gmacs,mean_tokens\n\
                              4,1,model,none,41.000,,96,0.1000,30.00\n\
                              8,2,model,\"tome:r=2,inflect=-1\",52.000,85.000,96,0.0800,20.00\n\
                              8,2,ema,none,5";

    #[test]
    fn a_row_that_was_cut_off_does_not_count() {
        let rows = Rows::of(VALIDATION).unwrap().validations().unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].qualities, [("top1".to_owned(), 41.0)]);
        assert_eq!((rows[1].merge.as_str(), rows[1].items), ("tome:r=2,inflect=-1", 96));
        let steps =
            "step,epoch,lr,loss,grad_norm,images_per_second,seconds\n1,1,1e-3,2.5,,80.00,0.100\n2,1,1e";
        let steps = Rows::of(steps).unwrap().steps().unwrap();
        assert_eq!((steps.len(), steps[0].loss, steps[0].seconds), (1, 2.5, 0.1));
    }

    #[test]
    fn tables_of_others_are_refused_by_what_they_lack() {
        let missing = Rows::of("step,epoch,lr\n").unwrap().steps().unwrap_err();
        assert!(missing.contains("has no column loss"), "{missing}");
        let wrong = Rows::of("step,epoch,loss,seconds\n1,1,high,0.1\n").unwrap().steps().unwrap_err();
        assert_eq!(wrong, "line 2, column 3: \"high\" is not a number");
        assert!(Rows::of("").unwrap().steps().is_err());
    }
}
