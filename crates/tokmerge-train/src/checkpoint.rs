//! What a killed run goes on from.
//!
//! ```text
//! DIR/recipe.toml                      the recipe, every default written out
//! DIR/steps.csv, DIR/validation.csv    what happened
//! DIR/checkpoints/step-00000200/       the last two: weights (also with what the trained model has not, and apart from what LoRA
//!                                      adds to them), moving average, optimiser, position
//! DIR/best/                            the weights that validated best, as a model
//! DIR/config.json, model.safetensors   the weights at the end, as a model
//! DIR/merge.toml                       what a merging method has learned, where that is a few numbers
//! ```
//!
//! A checkpoint is a folder that is written under another name and renamed when it is whole: at every moment there is
//! a whole one.

use crate::error::TrainError;
use crate::recipe::Recipe;
use crate::start::{Setup, Start};
use crate::trainer::Begin;
use crate::weights::all_finite;
use burn::tensor::Bytes;
use burn_optim::{ModuleOptimizer, OptimizerRecord};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokmerge_checkpoint::{AtomicFile, Checkpoint, Dtype, OutputLock, TensorView, save_safetensors};
use tokmerge_data::text::TOKENIZER_FILE;
use tokmerge_merge::{Mergers, Method};
use tokmerge_models::{Architecture, Model, TRAINED_WITH, timm_config};
use tokmerge_nn::parameters::{self, Values};

/// Checkpoints, below the folder of a run.
const FOLDER: &str = "checkpoints";
/// Held by the process that writes to the folder.
const LOCK: &str = ".lock";

/// Checkpoints that are kept.
const KEPT: usize = 2;

const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";
/// Weights with additions to them apart and heads of training alone, where there are some.
const APART: &str = "apart.safetensors";
const EMA: &str = "ema.safetensors";
const OPTIMIZER: &str = "optimizer.bpk";
const STATE: &str = "state.json";
/// What the weights of a merging method have learned, where that is a few numbers.
pub(crate) const LEARNED: &str = "merge.toml";
/// The recipe of a run, which says that a run wrote the folder.
pub(crate) const RECIPE: &str = "recipe.toml";

/// How far a run is. With the recipe's seed it is the state of everything that is random.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Steps done.
    pub step: usize,
    /// Images to train on: with others a step would mean another batch.
    pub images: usize,
    /// The recipe, as TOML.
    pub recipe: String,
    /// Checksum (CRC-32) of the file of the optimiser beside it; none in checkpoints of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<u32>,
}

/// The weights that validated best so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Best {
    pub(crate) step: usize,
    pub(crate) top1: f64,
}

/// The folder of a run.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    dir: PathBuf,
    /// Held as long as the run goes on.
    _lock: Arc<OutputLock>,
}

/// What a checkpoint holds.
pub(crate) struct Saved {
    pub(crate) position: Position,
    pub(crate) weights: BTreeMap<String, Values>,
    pub(crate) ema: Option<BTreeMap<String, Values>>,
    pub(crate) optimizer: OptimizerRecord,
}

impl Checkpoints {
    /// Refuses a folder that holds a model which no run wrote there, least of all the one that a run begins with.
    ///
    /// # Errors
    /// When it does.
    pub(crate) fn check_free(dir: &Path) -> Result<(), TrainError> {
        let theirs = [WEIGHTS, CONFIG].into_iter().find(|name| dir.join(name).exists());
        match theirs {
            Some(name) if !dir.join(RECIPE).exists() => Err(TrainError::Occupied {
                path: dir.to_owned(),
                reason: format!("holds a model ({name}) that no training wrote; give another `output`"),
            }),
            _ => Ok(()),
        }
    }

    /// Whether a folder holds a whole checkpoint.
    pub(crate) fn has_any(dir: &Path) -> bool {
        !checkpoints_in(&dir.join(FOLDER)).is_empty()
    }

    /// Whether a folder holds the model that its run was for, which is written last.
    pub(crate) fn has_result(dir: &Path) -> bool {
        [WEIGHTS, CONFIG].into_iter().all(|name| dir.join(name).is_file())
    }

    /// The folder of a run, created if need be.
    ///
    /// # Errors
    /// When it cannot be created, or another process writes to it.
    pub fn new(dir: &Path) -> Result<Self, TrainError> {
        let folder = dir.join(FOLDER);
        fs::create_dir_all(&folder)
            .map_err(|error| TrainError::Output { path: dir.to_owned(), reason: error.to_string() })?;
        let lock = OutputLock::hold(dir, &dir.join(LOCK))?;
        let this = Self { dir: dir.to_owned(), _lock: Arc::new(lock) };
        // A kill between two renames may have left the best weights under their old name.
        let (best, old) = (this.best_folder(), this.dir.join(".best.old"));
        if old.is_dir() && !best.exists() {
            fs::rename(&old, &best).map_err(|error| this.cannot_write(&best, &error))?;
        }
        Ok(this)
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn folder(&self) -> PathBuf {
        self.dir.join(FOLDER)
    }

    fn best_folder(&self) -> PathBuf {
        self.dir.join("best")
    }

    /// Whole checkpoints, the oldest first.
    fn all(&self) -> Vec<(usize, PathBuf)> {
        checkpoints_in(&self.folder())
    }

    /// The newest checkpoint.
    #[must_use]
    pub fn latest(&self) -> Option<PathBuf> {
        self.all().pop().map(|(_, path)| path)
    }

    /// `the last checkpoint is …`, for errors.
    pub(crate) fn kept(&self) -> String {
        match self.latest() {
            Some(path) => format!("the last good checkpoint is {}", path.display()),
            None => "there is no checkpoint yet".to_owned(),
        }
    }

    pub(crate) fn cannot_write(&self, path: &Path, error: &dyn std::fmt::Display) -> TrainError {
        TrainError::Write { path: path.to_owned(), reason: error.to_string(), kept: self.kept() }
    }

    /// Writes a checkpoint and forgets those before the last two. Weights that are no numbers are not written.
    pub(crate) fn save(
        &self,
        setup: &Setup,
        position: &Position,
        weights: &BTreeMap<String, Values>,
        apart: Option<&BTreeMap<String, Values>>,
        ema: Option<&BTreeMap<String, Values>>,
        optimizer: &ModuleOptimizer,
    ) -> Result<Option<PathBuf>, TrainError> {
        if !all_finite(weights) {
            return Ok(None);
        }
        let path = self.folder().join(format!("step-{:08}", position.step));
        self.write_aside(&path, |dir| {
            write_result(setup, weights, dir)?;
            for (file, values) in [(APART, apart), (EMA, ema)] {
                let Some(values) = values else { continue };
                let path = dir.join(file);
                save(values, &setup.recipe.merge, &path).map_err(|error| (path, error))?;
            }
            let bytes = optimizer.into_bytes().map_err(|error| (dir.join(OPTIMIZER), error.to_string()))?;
            write(&dir.join(OPTIMIZER), &bytes)?;
            let position = Position { optimizer: Some(crc32fast::hash(&bytes)), ..position.clone() };
            let state =
                serde_json::to_vec_pretty(&position).map_err(|error| (dir.join(STATE), error.to_string()))?;
            write(&dir.join(STATE), &state)
        })?;
        let all = self.all();
        for (_, old) in &all[..all.len().saturating_sub(KEPT)] {
            // What cannot be removed costs room and nothing else.
            let _ = fs::remove_dir_all(old);
        }
        Ok(Some(path))
    }

    /// Reads a checkpoint of this recipe.
    pub(crate) fn read(&self, path: &Path, start: &Start, begin: Begin) -> Result<Saved, TrainError> {
        let failed = |file: &str, reason: String| TrainError::Read {
            path: path.join(file),
            reason: format!("{reason}; remove {} to go on from the checkpoint before it", path.display()),
        };
        let text = fs::read_to_string(path.join(STATE)).map_err(|error| failed(STATE, error.to_string()))?;
        let position: Position =
            serde_json::from_str(&text).map_err(|error| failed(STATE, error.to_string()))?;
        self.check(&position, &start.setup, begin)?;
        let theirs = fs::read_to_string(path.join(TOKENIZER_FILE)).ok();
        let own = start.setup.architecture.processor.tokenizer();
        if let (Some(own), Some(theirs)) = (own, theirs)
            && own.to_json() != theirs
        {
            let reason = "its checkpoint cuts texts with another tokenizer, since the words to train on were others or in another order; \
                          bring them back, or give another `output`"
                .to_owned();
            return Err(TrainError::Occupied { path: self.dir.clone(), reason });
        }
        let file = if start.setup.recipe.has_more_weights() { APART } else { WEIGHTS };
        let weights = read_weights(&path.join(file))?;
        let expected = parameters::shapes(&start.network);
        for (name, shape) in &expected {
            match weights.get(name) {
                Some(found) if found.shape == *shape => {}
                Some(found) => {
                    let reason = format!(
                        "{name} is {:?}, and the recipe's model has {shape:?}: it is a checkpoint of another model",
                        found.shape
                    );
                    return Err(failed(file, reason));
                }
                None => {
                    return Err(failed(
                        file,
                        format!("{name} is missing: it is a checkpoint of another model"),
                    ));
                }
            }
        }
        let ema = match start.setup.recipe.train.ema {
            Some(_) => Some(read_weights(&path.join(EMA))?),
            None => None,
        };
        // Read as a whole: the file may be gone a moment later.
        let bytes = fs::read(path.join(OPTIMIZER)).map_err(|error| failed(OPTIMIZER, error.to_string()))?;
        if position.optimizer.is_some_and(|saved| saved != crc32fast::hash(&bytes)) {
            return Err(failed(OPTIMIZER, "it is not as it was saved: its checksum is another".to_owned()));
        }
        let optimizer = OptimizerRecord::from_bytes(Bytes::from_bytes_vec(bytes))
            .map_err(|error| failed(OPTIMIZER, error.to_string()))?;
        Ok(Saved { position, weights, ema, optimizer })
    }

    /// Whether a checkpoint is of this run.
    fn check(&self, position: &Position, setup: &Setup, begin: Begin) -> Result<(), TrainError> {
        let occupied = |reason: String| Err(TrainError::Occupied { path: self.dir.clone(), reason });
        let place = "recipe of the checkpoint";
        let theirs = Recipe::parse(&position.recipe, place, &[])?;
        let (now, then) = (setup.recipe.train.epochs, theirs.train.epochs);
        let is_epochs = |key: &str| key == "train.epochs";
        let mut differences = setup.recipe.differences(&theirs);
        if begin == Begin::Extend {
            if now <= then {
                return occupied(format!(
                    "its run has {then} epochs and the recipe {now}, and `extend` adds epochs; give more as train.epochs"
                ));
            }
            differences.retain(|(key, ..)| !is_epochs(key));
        } else if now > then && differences.iter().all(|(key, ..)| is_epochs(key)) {
            return occupied(format!(
                "its run has {then} epochs and the recipe {now}; give `extend` to go on with more (from there on the learning \
                 rate is that of the schedule of all {now}), or train.epochs as it was"
            ));
        }
        if let Some((key, here, there)) = differences.into_iter().next() {
            return occupied(format!(
                "its checkpoint was made by another recipe: {key} is {there} there and {here} here; give the recipe as it was, or another `output`"
            ));
        }
        let images = setup.data.train.len();
        if position.images != images {
            return occupied(format!(
                "its checkpoint was made with {} training images, and there are {images} now; bring them back, or give another `output`",
                position.images
            ));
        }
        Ok(())
    }

    /// The best so far.
    pub(crate) fn best(&self) -> Option<Best> {
        let text = fs::read_to_string(self.best_folder().join(STATE)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Puts weights in place of the best so far.
    pub(crate) fn save_best(
        &self,
        setup: &Setup,
        weights: &BTreeMap<String, Values>,
        best: Best,
    ) -> Result<(), TrainError> {
        self.write_aside(&self.best_folder(), |dir| {
            write_result(setup, weights, dir)?;
            let state = serde_json::to_vec(&best).map_err(|error| (dir.join(STATE), error.to_string()))?;
            write(&dir.join(STATE), &state)
        })
    }

    /// Writes the model that the run was for, so that the folder can be opened as one.
    pub(crate) fn save_result(
        &self,
        setup: &Setup,
        weights: &BTreeMap<String, Values>,
    ) -> Result<(), TrainError> {
        write_result(setup, weights, &self.dir).map_err(|(path, reason)| self.cannot_write(&path, &reason))
    }

    /// Writes a file of the run as a whole or not at all.
    pub(crate) fn write_file(&self, name: &str, content: &[u8]) -> Result<(), TrainError> {
        let path = self.dir.join(name);
        AtomicFile::replace(&path, content).map_err(|error| self.cannot_write(&path, &error.to_string()))
    }

    fn write_aside(
        &self,
        path: &Path,
        fill: impl FnOnce(&Path) -> Result<(), (PathBuf, String)>,
    ) -> Result<(), TrainError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = path.with_file_name(format!(".{name}.incomplete"));
        let old = path.with_file_name(format!(".{name}.old"));
        let here = |error: io::Error| (path.to_owned(), error.to_string());
        let write = || {
            let _ = fs::remove_dir_all(&aside);
            fs::create_dir_all(&aside).map_err(here)?;
            fill(&aside)?;
            if path.exists() {
                let _ = fs::remove_dir_all(&old);
                fs::rename(path, &old).map_err(here)?;
            }
            fs::rename(&aside, path).map_err(here)?;
            let _ = fs::remove_dir_all(&old);
            Ok(())
        };
        write().map_err(|(failed, reason): (PathBuf, String)| {
            let _ = fs::remove_dir_all(&aside);
            self.cannot_write(&failed, &reason)
        })
    }
}

/// Whole checkpoints in a folder of these, the oldest first.
fn checkpoints_in(folder: &Path) -> Vec<(usize, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let step = |name: &str| name.strip_prefix("step-")?.parse().ok();
    let mut found: Vec<(usize, PathBuf)> =
        entries.filter_map(|entry| Some((step(entry.file_name().to_str()?)?, entry.path()))).collect();
    found.sort();
    found
}

fn write(path: &Path, content: &[u8]) -> Result<(), (PathBuf, String)> {
    AtomicFile::replace(path, content).map_err(|error| (path.to_owned(), error.to_string()))
}

fn write_result(
    setup: &Setup,
    weights: &BTreeMap<String, Values>,
    dir: &Path,
) -> Result<(), (PathBuf, String)> {
    write_model(&setup.architecture, &setup.data.class_names, weights, &setup.recipe.merge, dir)
}

/// `config.json`, `model.safetensors` and the tokenizer of a model of texts, as `local-dir:` opens them. `merge` is the spec of
/// the method that the weights are for.
fn write_model(
    architecture: &Architecture,
    class_names: &[String],
    weights: &BTreeMap<String, Values>,
    merge: &str,
    dir: &Path,
) -> Result<(), (PathBuf, String)> {
    let config = timm_config(architecture, class_names);
    let config = config.map_err(|error| (dir.join(CONFIG), error.to_string()))?;
    save(weights, merge, &dir.join(WEIGHTS)).map_err(|error| (dir.join(WEIGHTS), error))?;
    if let Some(tokenizer) = architecture.processor.tokenizer() {
        write(&dir.join(TOKENIZER_FILE), tokenizer.to_json().as_bytes())?;
    }
    write(&dir.join(CONFIG), format!("{config:#}\n").as_bytes())
}

/// Writes a model with other weights of a method than it has, into a folder that is made if need be, as `local-dir:` opens it.
///
/// # Errors
/// When something cannot be written.
pub fn save_with_mergers(
    model: &Model,
    mergers: Mergers,
    method: &Method,
    dir: &Path,
) -> Result<(), TrainError> {
    let cannot = |path: &Path, reason: &str| {
        TrainError::Data(format!(
            "cannot write {}: {reason}; make room, or give another folder",
            path.display()
        ))
    };
    fs::create_dir_all(dir).map_err(|error| cannot(dir, &error.to_string()))?;
    let weights = parameters::read(&model.network().clone().with_mergers(mergers));
    let written = write_model(model.architecture(), model.class_names(), &weights, &method.to_string(), dir);
    written.map_err(|(path, reason)| cannot(&path, &reason))
}

fn save(weights: &BTreeMap<String, Values>, merge: &str, path: &Path) -> Result<(), String> {
    let bytes: Vec<(&String, &Values, Vec<u8>)> = weights
        .iter()
        .map(|(name, values)| {
            (name, values, values.values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    let views =
        bytes.iter().map(|(name, values, bytes)| TensorView::new(name, Dtype::F32, &values.shape, bytes));
    let views = views.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let metadata =
        BTreeMap::from([("format".to_owned(), "pt".to_owned()), (TRAINED_WITH.to_owned(), merge.to_owned())]);
    save_safetensors(path, views, &metadata).map_err(|error| error.to_string())
}

fn read_weights(path: &Path) -> Result<BTreeMap<String, Values>, TrainError> {
    let file = Checkpoint::open(path)?;
    let mut found = BTreeMap::new();
    for name in file.names() {
        if let Some(view) = file.get(name) {
            let values = Values { shape: view.shape.to_vec(), values: view.to_f32()?.into_owned() };
            found.insert(name.to_owned(), values);
        }
    }
    Ok(found)
}
