//! Weights into a model: a load is a report, not a yes or no.

use crate::families::vit::Vit;
use crate::key_map::{Key, KeyMap};
use crate::pos_embed::resample;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use tokmerge_checkpoint::{Checkpoint, CheckpointError};

/// What became of every tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Parameters that were set.
    pub applied: Vec<String>,
    /// Parameters without a tensor, each with the nearest unused name.
    pub missing: Vec<(String, Option<String>)>,
    /// Tensors that no parameter asked for.
    pub unused: Vec<String>,
    /// Tensors that a classifier does not need, and that were passed over.
    pub expendable: Vec<String>,
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
        "{path} does not hold weights of this model: {report}; check --model, or give --weights of the model named"
    )]
    Mismatch {
        /// The file.
        path: String,
        /// What fits and what does not.
        report: Box<LoadReport>,
    },
    /// A tensor cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Parameters of a model, counted from shapes: nothing is initialised.
#[must_use]
pub fn parameters(model: &impl Module) -> usize {
    struct Counter(usize);
    impl ModuleVisitor for Counter {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 += param.lazy_shape().num_elements();
        }
    }
    let mut counter = Counter(0);
    model.visit(&mut counter);
    counter.0
}

/// Loads a checkpoint into a model whose shape is known.
///
/// Position embeddings of another grid are interpolated. Nothing else is bent: a tensor that is missing, left
/// over or of another shape is an error.
///
/// # Errors
/// When the checkpoint is not one of this model, with the whole report.
pub fn load(model: Vit, checkpoint: &Checkpoint) -> Result<(Vit, LoadReport), LoadError> {
    let map = KeyMap::detect(checkpoint.names());
    let config = model.config().clone();
    let (grid, prefix) = (config.grid(), config.positions((0, 0)));
    let mut loader = Loader {
        checkpoint,
        map,
        path: Vec::new(),
        used: BTreeSet::new(),
        report: LoadReport::default(),
        failure: None,
        grid,
        positional_prefix: prefix,
    };
    let model = model.map(&mut loader);
    let Loader { used, mut report, failure, .. } = loader;
    if let Some(failure) = failure {
        return Err(failure.into());
    }
    let left = checkpoint.names().filter(|name| !used.contains(*name)).map(str::to_owned);
    // A headless model leaves the head of its checkpoint behind.
    let is_head = |name: &str| config.num_classes == 0 && map.is_head(name);
    (report.expendable, report.unused) = left.partition(|name| map.is_expendable(name) || is_head(name));
    let unused = report.unused.clone();
    for (name, near) in &mut report.missing {
        *near = nearest(name, &unused);
    }
    if report.missing.is_empty() && report.unused.is_empty() && report.mismatched.is_empty() {
        Ok((model, report))
    } else {
        let path = checkpoint.path().display().to_string();
        Err(LoadError::Mismatch { path, report: Box::new(report) })
    }
}

fn nearest(name: &str, candidates: &[String]) -> Option<String> {
    candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= name.len() / 2)
        .min()
        .map(|(_, candidate)| candidate.clone())
}

/// Values and shape.
type Found<'a> = (Cow<'a, [f32]>, Vec<usize>);

struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    map: KeyMap,
    path: Vec<String>,
    used: BTreeSet<String>,
    report: LoadReport,
    failure: Option<CheckpointError>,
    grid: (usize, usize),
    /// Rows of the position embedding in front of the grid.
    positional_prefix: usize,
}

impl<'a> Loader<'a> {
    /// Values and shape of a parameter in the checkpoint.
    fn find(&mut self, path: &str) -> Result<Option<Found<'a>>, CheckpointError> {
        let checkpoint = self.checkpoint;
        match self.map.key(path, &|name| checkpoint.get(name).is_some()) {
            Key::One(name) => {
                let Some(view) = checkpoint.get(&name) else { return Ok(None) };
                self.used.insert(name);
                Ok(Some((view.to_f32()?, view.shape.to_vec())))
            }
            Key::Stacked(names) => {
                let (mut values, mut shape) = (Vec::new(), Vec::<usize>::new());
                for name in names {
                    let Some(view) = checkpoint.get(&name) else { return Ok(None) };
                    values.extend_from_slice(&view.to_f32()?);
                    let first = view.shape.first().copied().unwrap_or(1);
                    match shape.first_mut() {
                        Some(rows) => *rows += first,
                        None => shape = view.shape.to_vec(),
                    }
                    self.used.insert(name);
                }
                Ok(Some((Cow::Owned(values), shape)))
            }
        }
    }

    /// Position embeddings for this model's grid, from those of a square or equal grid.
    fn positions(&mut self, values: &[f32], shape: &[usize], wanted: &[usize]) -> Option<Vec<f32>> {
        let ([1, rows, channels], [1, _, wanted_channels]) = (shape, wanted) else { return None };
        let patches = rows.checked_sub(self.positional_prefix)?;
        let side = patches.isqrt();
        if channels != wanted_channels || side * side != patches || patches == 0 {
            return None;
        }
        let (prefix, patches) = values.split_at(self.positional_prefix * channels);
        self.report.interpolated = Some(((side, side), self.grid));
        Some([prefix, &resample(patches, (side, side), self.grid, *channels)].concat())
    }
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        let wanted = param.lazy_shape().to_vec();
        let (values, shape) = match self.find(&path) {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.report.missing.push((path, None));
                return param;
            }
            Err(error) => {
                self.failure.get_or_insert(error);
                return param;
            }
        };
        let values = if shape == wanted {
            values.into_owned()
        } else if let Some(values) =
            (path == "pos_embed").then(|| self.positions(&values, &shape, &wanted)).flatten()
        {
            values
        } else {
            self.report.mismatched.push((path, shape, wanted));
            return param;
        };
        self.report.applied.push(path);
        let device = param.lazy_device();
        let tensor = Tensor::from_data(TensorData::new(values, wanted), &device);
        // Asking a parameter itself would first draw the random values that these replace.
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
}
