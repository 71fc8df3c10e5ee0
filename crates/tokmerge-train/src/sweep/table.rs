//! What the runs of a sweep came to: mean and deviation over seeds for every combination.

use super::{Sweep, SweepRun};
use crate::history::{History, LoggedValidation};
use tokmerge_eval::Repeated;

/// What became of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is finished.
    Done(Box<History>),
    /// Its loss or its weights were no numbers any more.
    Diverged,
    /// It is not finished.
    Open,
}

/// The runs of a sweep, summed up.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepTable {
    /// Keys of the grid.
    pub keys: Vec<String>,
    /// Seeds of every combination.
    pub seeds: usize,
    /// A row for every combination, way of merging and kind of weights.
    pub rows: Vec<SweepRow>,
}

/// Runs of one combination, validated in one way.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepRow {
    /// Values of the keys of the grid.
    pub values: Vec<String>,
    /// How the runs merged in training.
    pub trained: String,
    /// How they merge in this row.
    pub merge: String,
    /// `model` or `ema`.
    pub weights: String,
    /// Finished runs, and those that ended because of numbers that are none.
    pub runs: usize,
    /// Of these.
    pub diverged: usize,
    /// What was measured, by the column of the log: the first is what the best is chosen by.
    pub qualities: Vec<(String, Repeated)>,
    /// Items that were measured on.
    pub items: usize,
    /// Billions of multiply-adds per item, in the mean.
    pub gmacs: Option<f64>,
    /// Tokens after the last block, in the mean.
    pub mean_tokens: Option<f64>,
    /// Training loss of the last epoch.
    pub loss: Option<Repeated>,
    /// Seconds of training, in the mean.
    pub seconds: Option<f64>,
}

impl SweepTable {
    /// Sums up runs, one for each of the sweep's.
    #[must_use]
    pub fn new(sweep: &Sweep, outcomes: &[Outcome]) -> Self {
        let runs: Vec<(&SweepRun, &Outcome)> = sweep.runs.iter().zip(outcomes).collect();
        let combinations = runs.chunk_by(|(one, _), (other, _)| one.settings == other.settings);
        Self {
            keys: sweep.axes.iter().map(|axis| axis.key().to_owned()).collect(),
            seeds: sweep.seeds.len(),
            rows: combinations.flat_map(rows).collect(),
        }
    }

    /// The row with the best mean of what is measured first, where several have one.
    #[must_use]
    pub fn best(&self) -> Option<&SweepRow> {
        let score = |row: &SweepRow| row.qualities.first().map(|(_, found)| found.mean);
        let mut scored = self.rows.iter().filter_map(|row| Some((row, score(row)?)));
        let first = scored.next()?;
        Some(scored.fold(first, |best, row| if row.1 > best.1 { row } else { best }).0)
    }
}

/// The rows of a combination; one without figures where none of its runs is finished.
fn rows(runs: &[(&SweepRun, &Outcome)]) -> Vec<SweepRow> {
    let Some((first, _)) = runs.first() else { return Vec::new() };
    let done: Vec<&History> = runs
        .iter()
        .filter_map(|(_, outcome)| match outcome {
            Outcome::Done(history) => Some(&**history),
            Outcome::Diverged | Outcome::Open => None,
        })
        .collect();
    let values: Vec<String> = first.settings.iter().map(|(_, value)| value.clone()).collect();
    let diverged = runs.iter().filter(|(_, outcome)| **outcome == Outcome::Diverged).count();
    let losses: Vec<f64> = done.iter().filter_map(|history| history.last_loss()).collect();
    let seconds: Vec<f64> = done.iter().map(|history| history.seconds()).collect();
    let empty = SweepRow {
        values,
        trained: first.recipe.merge.clone(),
        merge: String::new(),
        weights: String::new(),
        runs: done.len(),
        diverged,
        qualities: Vec::new(),
        items: 0,
        gmacs: None,
        mean_tokens: None,
        loss: Repeated::of(&losses),
        seconds: mean(&seconds),
    };
    let Some(example) = done.first() else { return vec![empty] };
    let row = |like: &LoggedValidation| {
        let alike = |found: &&LoggedValidation| found.merge == like.merge && found.weights == like.weights;
        let found: Vec<&LoggedValidation> =
            done.iter().filter_map(|history| history.last().find(alike)).collect();
        let of =
            |get: fn(&LoggedValidation) -> f64| mean(&found.iter().map(|row| get(row)).collect::<Vec<_>>());
        let quality = |name: &String| {
            let value =
                |row: &&LoggedValidation| row.qualities.iter().find(|(of, _)| of == name).map(|(_, v)| *v);
            Some((name.clone(), Repeated::of(&found.iter().filter_map(value).collect::<Vec<_>>())?))
        };
        SweepRow {
            merge: like.merge.clone(),
            weights: like.weights.clone(),
            runs: found.len(),
            qualities: like.qualities.iter().filter_map(|(name, _)| quality(name)).collect(),
            items: like.items,
            gmacs: of(|row| row.gmacs),
            mean_tokens: of(|row| row.mean_tokens),
            ..empty.clone()
        }
    };
    example.last().map(row).collect()
}

fn mean(values: &[f64]) -> Option<f64> {
    Repeated::of(values).map(|found| found.mean)
}
