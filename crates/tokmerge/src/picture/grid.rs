//! Several images, ways of merging and layers on one sheet (ATM, Figures 1, 7 and A1).

use super::{Drawn, Membership, Merged, PictureError, merged};
use std::path::Path;
use tokmerge_data::Rgb;
use tokmerge_merge::Reduction;
use tokmerge_models::Model;
use tokmerge_viz::{Format, Labelled, Picture, Style, labelled_sheet, render, sheet};

/// What stands in the columns of a sheet, beside the image.
#[derive(Clone, Copy, Debug)]
pub struct Column<'r> {
    /// How tokens merge.
    pub reduction: &'r Reduction,
    /// After how many blocks they are drawn; all if `None`.
    pub layer: Option<usize>,
}

/// White pixels between pictures.
const GAP: usize = 8;

/// Draws images as rows, each beside the tokens that are left of it in every column, and writes them as PNG or SVG by the
/// ending of `path`; SVG has headings and numbers of tokens. Where nothing merges in an image, it is drawn as it is. Returns
/// what is drawn, row by row.
///
/// # Errors
/// As [`picture`](super::picture).
pub fn picture_grid(
    model: &Model,
    columns: &[Column<'_>],
    images: &[Rgb],
    style: &Style,
    path: &Path,
) -> Result<Vec<Vec<Drawn>>, PictureError> {
    let format = Format::from_path(path)?;
    let mut cells = Vec::new();
    let mut drawn = Vec::new();
    for image in images {
        let mut row = Vec::new();
        let original = model.preprocess().ok_or_else(|| PictureError::other(model))?.crop(image)?;
        let original =
            Picture::new(original.width, original.height, original.data)?.enlarge(style.upscale)?;
        cells.push(Labelled { picture: original.clone(), label: String::new() });
        for column in columns {
            let (picture, drawn) = cell(model, column, image, style)?
                .map_or_else(|| unmerged(model).map(|drawn| (original.clone(), drawn)), Ok)?;
            cells.push(Labelled { picture, label: format!("{} tokens", drawn.tokens) });
            row.push(drawn);
        }
        drawn.push(row);
    }
    let width = columns.len() + 1;
    match format {
        Format::Png => {
            let pictures: Vec<Picture> = cells.into_iter().map(|cell| cell.picture).collect();
            sheet(&pictures, width, GAP)?.write_png(path)?;
        }
        Format::Svg => {
            let text = labelled_sheet(&cells, &headings(columns), GAP)?;
            tokmerge_viz::write_text(path, &text)?;
        }
    }
    Ok(drawn)
}

/// The tokens of an image in a column; `None` where nothing has merged.
fn cell(
    model: &Model,
    column: &Column<'_>,
    image: &Rgb,
    style: &Style,
) -> Result<Option<(Picture, Drawn)>, PictureError> {
    match merged(model, column.reduction, image, column.layer) {
        Ok(Merged { seen, patches, groups, drawn }) => {
            Ok(Some((render(&seen, patches, &groups, style)?, drawn)))
        }
        Err(PictureError::NothingMerged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An image in which nothing has merged: every patch is a token.
fn unmerged(model: &Model) -> Result<Drawn, PictureError> {
    let (rows, cols) = model.config().shape().grid.ok_or(PictureError::NoGrid)?;
    Ok(Drawn { patches: rows * cols, tokens: rows * cols, membership: Membership::Grouped })
}

fn headings(columns: &[Column<'_>]) -> Vec<String> {
    let heading = |column: &Column<'_>| {
        let after = column.layer.map_or_else(String::new, |layer| format!(" after layer {layer}"));
        format!("{}{after}", column.reduction.method())
    };
    std::iter::once("image".to_owned()).chain(columns.iter().map(heading)).collect()
}
