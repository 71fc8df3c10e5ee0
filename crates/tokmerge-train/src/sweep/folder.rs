//! The folder of a run, and how far the run in it is.

use super::SweepRun;
use crate::checkpoint::{Checkpoints, RECIPE};
use crate::error::TrainError;
use crate::history::History;
use std::path::Path;
use tokmerge_checkpoint::{AtomicFile, read_text};

/// Says that a run ended where numbers did.
const DIVERGED: &str = "diverged.txt";
const MAX_REASON: u64 = 1 << 16;

/// How far a run is.
#[derive(Clone, Debug, PartialEq)]
pub enum RunState {
    /// It has not begun, or wrote no checkpoint yet.
    New,
    /// It has a checkpoint.
    Begun,
    /// It is finished; what it logged.
    Done(Box<History>),
    /// It ended because the loss or the weights were no numbers any more; what it said.
    Diverged(String),
}

/// Longer names are cut: systems allow 255 bytes.
const LONGEST: usize = 120;

/// A name for the folder of a run. What file systems or shells could misunderstand is replaced, and then a checksum keeps
/// names apart.
pub(super) fn name(settings: &[(String, String)], seed: Option<u64>) -> String {
    let seed = seed.map(|seed| format!("seed={seed}"));
    let each = settings.iter().map(|(key, value)| format!("{key}={value}"));
    let whole = each.chain(seed).collect::<Vec<_>>().join(",");
    let plain = |c: char| c.is_ascii_alphanumeric() || "._=,+-".contains(c);
    let kept: String = whole.chars().map(|c| if plain(c) { c } else { '-' }).take(LONGEST).collect();
    // A leading dot hides a folder.
    let kept = kept.trim_start_matches('.').to_owned();
    if kept == whole { kept } else { format!("{kept}-{:08x}", crc32fast::hash(whole.as_bytes())) }
}

impl SweepRun {
    /// How far the run in the folder `dir` is.
    ///
    /// # Errors
    /// When the folder holds a finished run of another recipe, or one that was not validated as this one is, or cannot be
    /// read.
    pub fn state(&self, dir: &Path) -> Result<RunState, TrainError> {
        let occupied = |reason: String| TrainError::Occupied { path: dir.to_owned(), reason };
        if !dir.join(RECIPE).is_file() {
            return Ok(RunState::New);
        }
        let diverged = dir.join(DIVERGED);
        let is_done = Checkpoints::has_result(dir);
        if !is_done && !diverged.is_file() {
            return Ok(if Checkpoints::has_any(dir) { RunState::Begun } else { RunState::New });
        }
        let history = History::open(dir)?;
        if let Some((key, here, there)) = self.recipe.differences(&history.recipe).into_iter().next() {
            return Err(occupied(format!(
                "its run was of another recipe: {key} is {there} there and {here} here; give the recipe as it was, or another `output`"
            )));
        }
        if !is_done {
            let read = |source: std::io::Error| TrainError::Read {
                path: diverged.clone(),
                reason: source.to_string(),
            };
            return Ok(RunState::Diverged(read_text(&diverged, MAX_REASON).map_err(read)?.trim().to_owned()));
        }
        if self.recipe.data.val != history.recipe.data.val {
            return Err(occupied(
                "its run was validated on other data; give data.val as it was, or another `output`"
                    .to_owned(),
            ));
        }
        let specs = self.recipe.validate_specs();
        if let Some(spec) = specs.iter().find(|spec| !history.last().any(|found| same(&found.merge, spec))) {
            return Err(occupied(format!(
                "its run is finished and was not validated with {spec}; give train.validate as it was, or another `output`"
            )));
        }
        Ok(RunState::Done(Box::new(history)))
    }

    /// Remembers that the run in the folder `dir` ended because of numbers that are none: it would again.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn record_divergence(&self, dir: &Path, reason: &str) -> Result<(), TrainError> {
        let path = dir.join(DIVERGED);
        AtomicFile::replace(&path, format!("{reason}\n")).map_err(|error| TrainError::Write {
            path,
            reason: error.to_string(),
            kept: "there is no result".to_owned(),
        })
    }
}

/// Whether two specs mean one method: logs have it as methods print themselves.
fn same(one: &str, other: &str) -> bool {
    let read = |spec: &str| spec.parse::<tokmerge_merge::Method>().ok();
    one == other || read(one).is_some_and(|one| Some(one) == read(other))
}
