//! Features of every patch: tokens after the last block, brought back to where they merged from.

use crate::output::npy;
use crate::{EmbedError, VectorDtype};
use half::f16;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tokmerge_checkpoint::{AtomicFile, shortened};
use tokmerge_merge::Reduction;
use tokmerge_models::{Model, Output};

/// The shape of an image's features, `[patches, C]`.
///
/// # Errors
/// When the model or the method has no features of patches, with the reason.
pub(crate) fn shape(model: &Model, reduction: &Reduction) -> Result<[usize; 2], EmbedError> {
    let refused = |reason: String| Err(EmbedError::Dense { reason });
    if reduction.method().mixes() {
        return refused(format!(
            "{} mixes all tokens, so that none stands for a patch; take a `merge` such as tome:r=8",
            reduction.method()
        ));
    }
    let shape = model.config().shape();
    let Some((rows, cols)) = shape.grid else {
        return refused(
            "images of this model have grids of their own sizes; take a model of one image size".to_owned(),
        );
    };
    Ok([rows * cols, shape.channels])
}

/// Features of the patches of a batch, `[B, patches, C]`.
///
/// # Errors
/// When a patch was dropped.
pub(crate) fn features(
    model: &Model,
    output: Output,
    items: usize,
    [patches, channels]: [usize; 2],
) -> Result<Vec<f32>, EmbedError> {
    let refused = |reason: String| EmbedError::Dense { reason };
    let plan = output.trace.plan_until(None);
    let (tokens, prefix) = (output.tokens.x, model.facts().prefix);
    let tokens = match &plan {
        Some(plan) => {
            let dropped = (0..items).any(|item| plan.groups(item).iter().any(Option::is_none));
            if dropped {
                return Err(refused(
                    "the method drops patches, and those have no feature; take one that merges".to_owned(),
                ));
            }
            plan.unmerge(tokens)
        }
        None => tokens,
    };
    let [rows, width] = tokens.dims();
    if rows != items * (prefix + patches) || width != channels {
        return Err(refused(format!(
            "this model leaves {rows} tokens of {width} channels for {items} images, not one for each of {patches} patches"
        )));
    }
    let values: Vec<f32> = tokens.into_data().iter::<f32>().collect();
    let of_item = values.chunks_exact((prefix + patches) * channels);
    Ok(of_item.flat_map(|item| item[prefix * channels..].iter().copied()).collect())
}

/// An array `[N, patches, C]` whose `N` is known at the end.
pub(crate) struct DenseFile {
    path: PathBuf,
    out: BufWriter<AtomicFile>,
    shape: [usize; 2],
    dtype: VectorDtype,
}

impl DenseFile {
    pub(crate) fn create(path: &Path, shape: [usize; 2], dtype: VectorDtype) -> Result<Self, EmbedError> {
        let created = || {
            let mut out = BufWriter::new(AtomicFile::create(path)?);
            out.write_all(&npy::header(&[0, shape[0], shape[1]], dtype))?;
            Ok(out)
        };
        Ok(Self { path: path.to_owned(), out: created().map_err(EmbedError::write(path))?, shape, dtype })
    }

    /// Adds features of images whose keys are given.
    pub(crate) fn write(&mut self, features: &[f32], keys: &[String]) -> Result<(), EmbedError> {
        let mut images = features.chunks_exact(self.shape[0] * self.shape[1]).zip(keys);
        let wrong = images.find_map(|(image, key)| {
            let value = image.iter().find(|value| match self.dtype {
                VectorDtype::F32 => !value.is_finite(),
                VectorDtype::F16 => !f16::from_f32(**value).is_finite(),
            });
            value.map(|value| (key, *value))
        });
        match wrong {
            Some((key, value)) if value.is_finite() => {
                return Err(EmbedError::TooLargeForF16 { key: key.clone(), value });
            }
            Some((key, value)) => {
                return Err(EmbedError::Dense {
                    reason: format!("a feature of {} is {value}; check the weights", shortened(key)),
                });
            }
            None => {}
        }
        npy::write_values(&mut self.out, features, self.dtype).map_err(EmbedError::write(&self.path))
    }

    /// Puts the array of `rows` images in its place.
    pub(crate) fn finish(self, rows: usize) -> Result<(), EmbedError> {
        let Self { path, mut out, shape, dtype } = self;
        let finished = move || {
            out.seek(SeekFrom::Start(0))?;
            out.write_all(&npy::header(&[rows, shape[0], shape[1]], dtype))?;
            out.into_inner().map_err(std::io::IntoInnerError::into_error)?.finish()
        };
        finished().map_err(EmbedError::write(&path))
    }
}
