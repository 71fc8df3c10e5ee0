//! Where the tokens of an image went, as a picture (ToMe, appendix E).

use std::path::Path;
use tokmerge_data::{PreprocessError, Rgb};
use tokmerge_merge::Reduction;
use tokmerge_models::Model;
use tokmerge_viz::{Grid, Picture, Style, render, sheet, side_by_side};

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
    /// Every token goes into every output: no patch belongs to one of them.
    #[error(
        "{merge} mixes tokens by weights instead of putting each into one group, so there is nothing to draw; give a \
         --merge that groups, e.g. tome:r=13"
    )]
    Mixed {
        /// The method.
        merge: String,
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
    let merged = merged(model, reduction, image, layer)?;
    let Merged { seen, grid, groups, left } = &merged;
    let after = layer.map_or_else(String::new, |layer| format!(" after layer {layer}"));
    let (name, merge, patches) = (model.name(), reduction.method(), grid.rows * grid.cols);
    let caption = format!("{name}, {merge}: {left} of {patches} tokens{after}");
    tokmerge_viz::save(path, seen, *grid, groups, style, &caption)?;
    Ok(*left)
}

/// Draws images, each beside the tokens that are left of it, `columns` of them in a row, and writes them as PNG.
///
/// # Errors
/// As [`picture`].
pub fn picture_sheet(
    model: &Model,
    reduction: &Reduction,
    images: &[Rgb],
    columns: usize,
    style: &Style,
    path: &Path,
) -> Result<(), PictureError> {
    let pairs: Result<Vec<Picture>, PictureError> = images
        .iter()
        .map(|image| {
            let Merged { seen, grid, groups, .. } = merged(model, reduction, image, None)?;
            Ok(side_by_side(&seen, &render(&seen, grid, &groups, style)?, SHEET_GAP)?)
        })
        .collect();
    Ok(sheet(&pairs?, columns, 4 * SHEET_GAP)?.write_png(path)?)
}

/// White pixels between an image and its tokens.
const SHEET_GAP: usize = 2;

/// An image as the model sees it, and what became of its patches.
struct Merged {
    seen: Picture,
    grid: Grid,
    /// The token of every patch; none where it was dropped.
    groups: Vec<Option<u32>>,
    /// Tokens that are left, prefix tokens not included.
    left: usize,
}

fn merged(
    model: &Model,
    reduction: &Reduction,
    image: &Rgb,
    layer: Option<usize>,
) -> Result<Merged, PictureError> {
    let config = model.config();
    if let Some(layer) = layer.filter(|layer| *layer == 0 || *layer > config.depth) {
        return Err(PictureError::Layer { layer, depth: config.depth });
    }
    if reduction.method().has_weights() {
        return Err(PictureError::Mixed { merge: reduction.method().to_string() });
    }
    let seen = model.preprocess().crop(image)?;
    let mut pixels = vec![0.0; model.preprocess().output_len()];
    model.preprocess().normalise(&seen, &mut pixels)?;
    let trace = model.forward(pixels, reduction).trace;
    let plan = trace.plan_until(layer.map(|layer| layer - 1)).ok_or_else(|| PictureError::NothingMerged {
        merge: reduction.method().to_string(),
        until: layer.map_or_else(String::new, |layer| format!(" until layer {layer}")),
    })?;
    let groups = plan.groups(0)[config.prefix()..].to_vec();
    let left = plan.output().rows() - config.prefix();
    let seen = Picture::new(seen.width, seen.height, seen.data)?;
    let (rows, cols) = config.grid();
    Ok(Merged { seen, grid: Grid { rows, cols }, groups, left })
}
