//! Where the tokens of an image went, as a picture (ToMe, appendix E).

use std::path::Path;
use tokmerge_data::{PreprocessError, Rgb};
use tokmerge_merge::Reduction;
use tokmerge_models::Model;
use tokmerge_viz::{Grid, Picture, Style};

/// Why a picture cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// The image cannot be brought to the model's input size.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The picture cannot be drawn or written.
    #[error(transparent)]
    Draw(#[from] tokmerge_viz::Error),
    /// Nothing has merged: there is nothing to see.
    #[error(
        "{merge} merges nothing{until}, so there is nothing to draw; give a --merge that does, e.g. tome:r=13"
    )]
    NothingMerged {
        /// The method.
        merge: String,
        /// ` until layer N` or nothing.
        until: String,
    },
    /// No such layer.
    #[error("layer {layer} does not exist: the model has layers 1 to {depth}")]
    Layer {
        /// As given, counted from 1.
        layer: usize,
        /// Blocks of the model.
        depth: usize,
    },
}

/// Draws an image, as the model sees it, beside the tokens that are left after `layer` blocks (all blocks if
/// `None`), and writes it as PNG or SVG by the ending of `path`. Returns the number of tokens drawn, prefix
/// tokens not included.
///
/// # Errors
/// When nothing merges until there, the layer does not exist, or the file cannot be written.
pub fn picture(
    model: &Model,
    reduction: &Reduction,
    image: &Rgb,
    layer: Option<usize>,
    style: &Style,
    path: &Path,
) -> Result<usize, PictureError> {
    let config = model.config();
    if let Some(layer) = layer.filter(|layer| *layer == 0 || *layer > config.depth) {
        return Err(PictureError::Layer { layer, depth: config.depth });
    }
    let seen = model.preprocess().crop(image)?;
    let mut pixels = vec![0.0; model.preprocess().output_len()];
    model.preprocess().normalise(&seen, &mut pixels)?;
    let trace = model.forward(pixels, reduction).trace;
    let merge = reduction.method().to_string();
    let plan = trace.plan_until(layer.map(|layer| layer - 1)).ok_or_else(|| PictureError::NothingMerged {
        merge: merge.clone(),
        until: layer.map_or_else(String::new, |layer| format!(" until layer {layer}")),
    })?;
    let groups = &plan.groups(0)[config.prefix()..];
    let left = plan.output().rows() - config.prefix();
    let picture = Picture::new(seen.width, seen.height, seen.data)?;
    let (rows, cols) = config.grid();
    let after = layer.map_or_else(String::new, |layer| format!(" after layer {layer}"));
    let caption = format!("{}, {merge}: {} of {} tokens{after}", model.name(), left, rows * cols);
    tokmerge_viz::save(path, &picture, Grid { rows, cols }, groups, style, &caption)?;
    Ok(left)
}
