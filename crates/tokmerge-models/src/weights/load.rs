//! Weights into a model: a load is a report, not a yes or no.

use super::key_map::{Role, Source, Spelling, SpellingError};
use crate::network::{Config, Network};
use crate::positions::{Absolute, resample, resample_relative_positions};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use tokmerge_checkpoint::{Checkpoint, CheckpointError};
use tokmerge_nn::parameters;

/// What became of every tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Parameters that were set.
    pub applied: Vec<String>,
    /// Parameters without a tensor, each with the nearest unused name.
    pub missing: Vec<(String, Option<String>)>,
    /// Tensors that no parameter asked for.
    pub unused: Vec<String>,
    /// Tensors that this model does not read, and that were passed over.
    pub ignored: Vec<String>,
    /// Tensors whose shape does not fit: name, shape in the file, shape in the model.
    pub mismatched: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Position embeddings that were interpolated: grid in the file, grid of the model.
    pub interpolated: Option<((usize, usize), (usize, usize))>,
}

/// Names and shapes shown at most per kind: one wrong file breaks hundreds.
const SHOWN: usize = 4;

fn list<T>(f: &mut fmt::Formatter<'_>, items: &[T], show: impl Fn(&T) -> String) -> fmt::Result {
    let shown: Vec<_> = items.iter().take(SHOWN).map(show).collect();
    write!(f, "{}", shown.join(", "))?;
    if items.len() > SHOWN { write!(f, " and {} more", items.len() - SHOWN) } else { Ok(()) }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors applied", self.applied.len())?;
        if !self.mismatched.is_empty() {
            write!(f, "; {} of another shape: ", self.mismatched.len())?;
            list(f, &self.mismatched, |(name, file, model)| {
                format!("{name} is {file:?}, the model has {model:?}")
            })?;
        }
        if !self.missing.is_empty() {
            write!(f, "; {} missing: ", self.missing.len())?;
            list(f, &self.missing, |(name, near)| match near {
                Some(near) => format!("{name} (the file has {near})"),
                None => name.clone(),
            })?;
        }
        if !self.unused.is_empty() {
            write!(f, "; {} not used: ", self.unused.len())?;
            list(f, &self.unused, Clone::clone)?;
        }
        if let Some((file, model)) = self.interpolated {
            write!(f, "; positions interpolated from {}x{} to {}x{}", file.0, file.1, model.0, model.1)?;
        }
        Ok(())
    }
}

/// Weights that do not fit a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Tensors are missing, left over or of another shape.
    #[error(
        "{path} does not hold weights of this model: {report}; check `model`, or give other `weights`{}",
        if report.missing.is_empty() && report.mismatched.is_empty() { "; or `ignore_unused` leaves aside what is not used" } else { "" }
    )]
    Mismatch {
        /// The file.
        path: String,
        /// What fits and what does not.
        report: Box<LoadReport>,
    },
    /// The names of the tensors mean nothing here.
    #[error("{path}: {source}")]
    Spelling {
        /// The file.
        path: String,
        /// Why.
        source: SpellingError,
    },
    /// A tensor cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A weight that is no number.
    #[error(
        "{path}: tensor {name} holds {value} at element {index}, and weights are finite numbers; the training has diverged or \
         the file is damaged: take an earlier checkpoint"
    )]
    NotFinite {
        /// The file.
        path: String,
        /// The first such tensor, by its name in the file.
        name: String,
        /// Which of its elements.
        index: usize,
        /// The element.
        value: f32,
    },
}

/// What becomes of tensors that no parameter asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unused {
    /// They are an error: most often the weights are of another model.
    #[default]
    Refuse,
    /// They are left aside, and reported.
    Ignore,
}

/// The spelling of a checkpoint.
///
/// # Errors
/// When its names mean nothing here.
pub(crate) fn spelling(checkpoint: &Checkpoint) -> Result<Spelling, LoadError> {
    spelling_of(checkpoint, Tower::Images)
}

/// Which part of a file of two towers is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tower {
    /// That of images, or all of a file of one.
    Images,
    /// That of texts.
    Texts,
}

/// The spelling of one of the towers of a checkpoint.
///
/// # Errors
/// When its names mean nothing here.
pub(crate) fn spelling_of(checkpoint: &Checkpoint, tower: Tower) -> Result<Spelling, LoadError> {
    let shapes: Vec<(&str, Vec<usize>)> =
        checkpoint.tensors().map(|tensor| (tensor.name, tensor.shape.to_vec())).collect();
    let tensors = shapes.iter().map(|(name, shape)| (*name, shape.as_slice()));
    let found = match tower {
        Tower::Images => Spelling::detect(tensors),
        Tower::Texts => Spelling::detect_text_tower(tensors),
    };
    found.map_err(|source| LoadError::Spelling { path: checkpoint.path().display().to_string(), source })
}

/// Loads a checkpoint into a network whose shape is known.
///
/// Absolute positions of another grid are resampled. Nothing else is bent: a tensor that is missing, left over or of
/// another shape is an error.
///
/// # Errors
/// When the checkpoint is not one of this network, with the whole report.
pub fn load(network: Network, checkpoint: &Checkpoint) -> Result<(Network, LoadReport), LoadError> {
    load_with(network, checkpoint, Unused::Refuse)
}

/// The same, saying what becomes of tensors that no parameter asks for.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    network: Network,
    checkpoint: &Checkpoint,
    unused: Unused,
) -> Result<(Network, LoadReport), LoadError> {
    load_spelled(network, checkpoint, &spelling(checkpoint)?, unused)
}

/// The same of a file whose spelling is known.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_spelled(
    network: Network,
    checkpoint: &Checkpoint,
    spelling: &Spelling,
    unused: Unused,
) -> Result<(Network, LoadReport), LoadError> {
    let config = network.config().clone();
    let mut loader = Loader {
        checkpoint,
        spelling,
        config: &config,
        used: BTreeSet::new(),
        report: LoadReport::default(),
        failure: None,
    };
    let network = parameters::load(network, |path, wanted| loader.values(path, wanted));
    let Loader { used, mut report, failure, .. } = loader;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let left = checkpoint.names().filter(|name| !used.contains(*name)).map(str::to_owned);
    // A model without a classifier leaves that of its checkpoint behind.
    let headless = config.shape().classes == 0;
    (report.ignored, report.unused) = left.partition(|name| match spelling.role(name) {
        Role::Ignored => true,
        Role::Head => headless,
        Role::Weight => false,
    });
    // Of a wrong file thousands of names would be compared with thousands.
    for (name, near) in report.missing.iter_mut().take(SHOWN) {
        *near = nearest(name, &report.unused);
    }
    let all_used = report.unused.is_empty() || unused == Unused::Ignore;
    if report.missing.is_empty() && all_used && report.mismatched.is_empty() {
        Ok((network, report))
    } else {
        let path = checkpoint.path().display().to_string();
        Err(LoadError::Mismatch { path, report: Box::new(report) })
    }
}

fn nearest(name: &str, candidates: &[String]) -> Option<String> {
    /// Names longer than those of any model, and more than it has, are not compared.
    const LONGEST: usize = 200;
    const MOST: usize = 5000;
    candidates
        .iter()
        .filter(|candidate| candidate.len() <= LONGEST && name.len() <= LONGEST)
        .take(MOST)
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= name.len() / 2)
        .min()
        .map(|(_, candidate)| candidate.clone())
}

/// The values of a tensor, unless one of them is no number.
fn finite<'v>(
    checkpoint: &Checkpoint,
    name: &str,
    values: Cow<'v, [f32]>,
) -> Result<Cow<'v, [f32]>, LoadError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(index) => {
            let path = checkpoint.path().display().to_string();
            Err(LoadError::NotFinite { path, name: name.to_owned(), index, value: values[index] })
        }
    }
}

struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    spelling: &'a Spelling,
    config: &'a Config,
    used: BTreeSet<String>,
    report: LoadReport,
    failure: Option<LoadError>,
}

impl Loader<'_> {
    /// The values of a parameter of shape `wanted`, if the checkpoint has them; the report says what became of it.
    fn values(&mut self, path: &str, wanted: &[usize]) -> Option<Vec<f32>> {
        let missing = |report: &mut LoadReport| {
            report.missing.push((path.to_owned(), None));
            None
        };
        let is_table = parameters::is_table(path);
        let source = match self.spelling.source(path) {
            Some(source) => source,
            None if is_table => return None,
            None => return missing(&mut self.report),
        };
        let checkpoint = self.checkpoint;
        let read = |name: &str| {
            let view = checkpoint.get(name);
            view.map(|view| Ok((finite(checkpoint, view.name, view.to_f32()?)?, view.shape.to_vec())))
                .transpose()
        };
        let (values, shape) = match source.values(read) {
            Ok(Some(found)) => found,
            Ok(None) => return self.without_values(path, &source, wanted),
            Err(error) => {
                self.failure.get_or_insert(error);
                return None;
            }
        };
        self.used.extend(source.names().map(str::to_owned));
        let tables = self.config.table_grids().filter(|_| path.ends_with("relative_position_bias_table"));
        let table = tables.and_then(|[from, to]| resample_relative_positions(&values, from, to));
        let values =
            if let Some(table) = table.filter(|table| table.len() == wanted.iter().product::<usize>()) {
                table
            } else if shape == wanted {
                values.into_owned()
            } else if let Some(values) = ["pos_embed", "pos_embed_spatial", "tower.pos_embed"]
                .contains(&path)
                .then(|| self.positions(&values, &shape, wanted))
                .flatten()
            {
                values
            } else if is_table {
                // That of another shape: the model's own follows from its shape.
                return None;
            } else {
                self.report.mismatched.push((path.to_owned(), shape, wanted.to_vec()));
                return None;
            };
        self.report.applied.push(path.to_owned());
        Some(values)
    }

    /// Says why a parameter has no values although the file is thought to have it: tensors are absent, or do not fit
    /// together.
    fn without_values(&mut self, path: &str, source: &Source, wanted: &[usize]) -> Option<Vec<f32>> {
        let shapes: Option<Vec<_>> = source
            .names()
            .map(|name| self.checkpoint.get(name).map(|view| (name.to_owned(), view.shape.to_vec())))
            .collect();
        match shapes {
            Some(shapes) if !shapes.is_empty() => {
                let mut part = wanted.to_vec();
                if let Some(rows) = part.first_mut() {
                    *rows /= source.parts.len().max(1);
                }
                self.used.extend(source.names().map(str::to_owned));
                let others = shapes.into_iter().filter(|(_, shape)| *shape != part);
                self.report.mismatched.extend(others.map(|(name, shape)| (name, shape, part.clone())));
            }
            _ => self.report.missing.push((path.to_owned(), None)),
        }
        None
    }

    /// Absolute positions for this network's grid, from those of the grid that its configuration names, or of a square.
    fn positions(&mut self, values: &[f32], shape: &[usize], wanted: &[usize]) -> Option<Vec<f32>> {
        let (Absolute::Learned { prefix, resampling, grid }, to) = self.config.absolute_positions()? else {
            return None;
        };
        let channels = *shape.last()?;
        let (patches, from) = match *shape {
            [1, rows, _] => {
                let patches = rows.checked_sub(prefix)?;
                let side = patches.isqrt();
                let square = (side, side);
                (patches, grid.filter(|(rows, columns)| rows * columns == patches).unwrap_or(square))
            }
            // A map of positions.
            [1, rows, columns, _] => (rows * columns, (rows, columns)),
            _ => return None,
        };
        if Some(&channels) != wanted.last() || from.0 * from.1 != patches || patches == 0 {
            return None;
        }
        let (front, patches) = values.split_at(prefix * channels);
        self.report.interpolated = Some((from, to));
        Some([front, &resample(resampling, patches, from, to, channels)].concat())
    }
}
