//! A recipe trained with every combination of some of its values, and with several seeds (ToMe, Table 14).
//!
//! A [`Sweep`] is a list of runs, each a recipe of its own in a folder of its own below the sweep's. What a folder holds says
//! how far its run is, so that a sweep that was interrupted goes on by being begun again: what is finished is read, not
//! trained.

mod folder;
mod grid;
mod page;
mod table;

pub use folder::RunState;
pub use grid::{GridAxis, GridError};
pub use page::{is_csv, is_page};
pub use table::{Outcome, SweepRow, SweepTable};

use crate::recipe::{Recipe, RecipeError};
use std::path::Path;

/// More runs than that are a mistake in the grid.
const MOST_RUNS: usize = 1000;

/// A recipe with every combination of some of its values.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The values that are combined.
    pub axes: Vec<GridAxis>,
    /// Seeds of every combination.
    pub seeds: Vec<u64>,
    /// The runs: seeds of a combination stand together, and the last axis changes fastest.
    pub runs: Vec<SweepRun>,
}

/// One of the runs.
#[derive(Clone, Debug)]
pub struct SweepRun {
    /// Key and value on every axis.
    pub settings: Vec<(String, String)>,
    /// Of everything that is random.
    pub seed: u64,
    /// What to follow.
    pub recipe: Recipe,
    /// The name of its folder, which follows from the settings and the seed.
    pub folder: String,
}

/// Why there is no such sweep.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// The recipe itself makes no sense.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A combination makes none.
    #[error("with {settings}: {source}")]
    Combination {
        /// Its settings.
        settings: String,
        /// What is wrong.
        source: RecipeError,
    },
    /// Values of one key twice.
    #[error("`grid` {0} is given twice; give all of its values in one, e.g. {0}=[a,b,c]")]
    Twice(String),
    /// Seeds by number and by name.
    #[error("`grid` {0} gives the seeds, and so does `seeds` {1}; leave one of them out")]
    Seeds(&'static str, usize),
    /// Too many runs.
    #[error(
        "{0} combinations with {1} seeds each are more than {MOST_RUNS} runs; give fewer values or seeds"
    )]
    TooMany(usize, usize),
    /// Something that a program sets once.
    #[error("`grid` {0}: a program sets it once, for all runs; give it in the recipe or with `set`")]
    Once(&'static str),
}

const SEED: &str = "train.seed";
const THREADS: &str = "train.threads";

impl Sweep {
    /// The runs of a recipe with some changes (as in [`Recipe::open`]), every combination of the values on the axes, and
    /// as many seeds, counted from the recipe's own.
    ///
    /// # Errors
    /// When the recipe or a combination makes no sense, or there are too many.
    pub fn new(
        recipe: &Path,
        changes: &[String],
        axes: Vec<GridAxis>,
        seeds: usize,
    ) -> Result<Self, SweepError> {
        for (index, axis) in axes.iter().enumerate() {
            match axis.key() {
                key if axes[..index].iter().any(|before| before.key() == key) => {
                    return Err(SweepError::Twice(key.to_owned()));
                }
                SEED if seeds > 1 => return Err(SweepError::Seeds(SEED, seeds)),
                THREADS => return Err(SweepError::Once(THREADS)),
                _ => {}
            }
        }
        let count = axes.iter().try_fold(1_usize, |count, axis| count.checked_mul(axis.values().len()));
        let count = count.unwrap_or(usize::MAX);
        if count.saturating_mul(seeds) > MOST_RUNS {
            return Err(SweepError::TooMany(count, seeds));
        }
        let first = Recipe::open(recipe, changes)?.train.seed;
        let seeds: Vec<u64> = (0..seeds as u64).map(|index| first.wrapping_add(index)).collect();
        let mut runs = Vec::with_capacity(count * seeds.len());
        for settings in combinations(&axes) {
            let set: Vec<String> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let fixed = axes.iter().any(|axis| axis.key() == SEED);
            for &seed in &seeds {
                let mut all = changes.to_vec();
                all.extend(set.iter().cloned());
                all.extend((!fixed).then(|| format!("{SEED}={seed}")));
                let recipe = Recipe::open(recipe, &all)
                    .map_err(|source| SweepError::Combination { settings: shown(&settings), source })?;
                let seed = recipe.train.seed;
                let folder = folder::name(&settings, (!fixed).then_some(seed));
                runs.push(SweepRun { settings: settings.clone(), seed, recipe, folder });
            }
        }
        Ok(Self { axes, seeds, runs })
    }
}

/// Every combination of values, the last axis changing fastest.
fn combinations(axes: &[GridAxis]) -> Vec<Vec<(String, String)>> {
    axes.iter().fold(vec![Vec::new()], |combinations, axis| {
        let with = |settings: Vec<(String, String)>| {
            axis.values().iter().map(move |value| {
                let mut settings = settings.clone();
                settings.push((axis.key().to_owned(), value.clone()));
                settings
            })
        };
        combinations.into_iter().flat_map(with).collect()
    })
}

/// Settings in a line.
fn shown(settings: &[(String, String)]) -> String {
    let each = settings.iter().map(|(key, value)| format!("{key}={value}"));
    each.collect::<Vec<_>>().join(", ")
}

impl SweepRun {
    /// Its settings and its seed, in a line.
    #[must_use]
    pub fn name(&self) -> String {
        match shown(&self.settings) {
            settings if settings.is_empty() => format!("seed {}", self.seed),
            settings => format!("{settings}, seed {}", self.seed),
        }
    }
}

#[cfg(test)]
mod tests;
