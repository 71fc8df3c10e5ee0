//! Runs of training.

use super::axis::{Cost, Quality};
use super::error::RunsError;
use super::point::{Estimate, Point};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokmerge_merge::{Method, Reduction};
use tokmerge_models::{ModelOptions, Weights, describe};
use tokmerge_train::{History, LoggedValidation};

/// The folder of a run.
#[derive(Clone, Debug)]
pub struct TrainingRun {
    /// What it is called.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// What it logged.
    pub history: History,
}

impl TrainingRun {
    /// Reads what a run logged.
    ///
    /// # Errors
    /// When the folder holds no run.
    pub fn open(name: &str, dir: &Path) -> Result<Self, RunsError> {
        Ok(Self { name: name.to_owned(), dir: dir.to_owned(), history: History::open(dir)? })
    }

    /// A point for every way of merging that the last validation measured.
    pub(super) fn points(&self) -> Vec<Point> {
        let hours = self.history.seconds() / 3600.0;
        let training =
            [(Cost::Hours, Some(hours).filter(|hours| *hours > 0.0)), (Cost::Exaflops, self.exaflops())];
        let training: BTreeMap<Cost, f64> =
            training.into_iter().filter_map(|(cost, value)| Some((cost, value?))).collect();
        self.history.last().map(|validation| self.point(validation, &training)).collect()
    }

    fn point(&self, validation: &LoggedValidation, training: &BTreeMap<Cost, f64>) -> Point {
        let mut costs = training.clone();
        costs.extend([(Cost::Gmacs, validation.gmacs), (Cost::Tokens, validation.mean_tokens)]);
        let mut settings = BTreeMap::new();
        let trained = &self.history.recipe.merge;
        if *trained != validation.merge {
            settings.insert("trained".to_owned(), trained.clone());
        }
        if validation.weights == "ema" {
            settings.insert("weights".to_owned(), validation.weights.clone());
        }
        let quality = |quality: Quality| {
            let value = self.value(validation, quality)?;
            Some((
                quality,
                match quality.is_share() {
                    true => Estimate::counted(value, validation.items),
                    false => Estimate { value, interval: None },
                },
            ))
        };
        Point {
            source: self.dir.display().to_string(),
            model: self.name.clone(),
            named: self.name.clone(),
            method: None,
            merge: validation.merge.clone(),
            settings,
            // As validations count.
            convention: Some("fvcore".to_owned()),
            items: Some(validation.items),
            costs,
            qualities: Quality::ALL.into_iter().filter_map(quality).collect(),
        }
    }

    /// A quality of a validation.
    pub(super) fn value(&self, validation: &LoggedValidation, quality: Quality) -> Option<f64> {
        let found = validation.qualities.iter().find(|(name, _)| name == quality.name());
        found.map(|(_, value)| *value)
    }

    /// Operations of the whole training, as `tokmerge info --training` counts them; `None` where images decide how many
    /// tokens merge, or the model is not there yet.
    fn exaflops(&self) -> Option<f64> {
        let name = format!("local-dir:{}", self.dir.display());
        let options = ModelOptions { weights: Weights::Random, ..ModelOptions::new(&name) };
        let config = describe(&options).ok()?.architecture.config;
        let method: Method = self.history.recipe.merge.parse().ok()?;
        let reduction = Reduction::bind(method, &config.facts()).ok()?;
        let layers = match reduction.relaxes() {
            true => config.facts().unmerged(),
            false => reduction.expected_tokens(config.tokens(), config.depth())?,
        };
        let train = &self.history.recipe.train;
        let items = self.history.steps.last()?.step * train.batch_size * train.accumulate;
        Some(config.cost().training_flops(&layers, &reduction) * items as f64 / 1e18)
    }
}
