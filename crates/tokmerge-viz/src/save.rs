//! Drawings as files.

use std::path::Path;

use crate::error::{Error, Result};
use crate::patches::Patches;
use crate::picture::{Picture, side_by_side, write_file};
use crate::render::render;
use crate::style::Style;
use crate::svg::{gap, svg_over};

/// File formats a drawing can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Pixels.
    Png,
    /// Shapes, with each token's number and size on hover.
    Svg,
}

impl Format {
    /// The format a file's extension asks for, in upper or lower case.
    ///
    /// # Errors
    /// When the extension is neither `png` nor `svg`.
    pub fn from_path(path: &Path) -> Result<Self> {
        let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
        match extension.as_deref().and_then(|extension| extension.to_str()) {
            Some("png") => Ok(Self::Png),
            Some("svg") => Ok(Self::Svg),
            _ => Err(Error::UnknownExtension { path: path.to_path_buf() }),
        }
    }
}

/// Writes a drawing that is a text.
///
/// # Errors
/// When the file cannot be written.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    write_file(path, text.as_bytes())
}

/// Writes the input beside its groups, in the format that the path's extension asks for.
///
/// `caption` (model, merge spec, token counts) appears in SVG only; PNG has no text.
///
/// # Errors
/// As [`Format::from_path`] and [`render`], and when the file cannot be written.
pub fn save(
    path: &Path,
    picture: &Picture,
    patches: impl Into<Patches>,
    groups: &[Option<u32>],
    style: &Style,
    caption: &str,
) -> Result<()> {
    save_over(path, (picture, picture), patches, groups, style, caption)
}

/// As [`save`], with the groups drawn over another picture of the same size, the second.
///
/// # Errors
/// As [`save`], and when the two are not of one size.
pub fn save_over(
    path: &Path,
    (picture, under): (&Picture, &Picture),
    patches: impl Into<Patches>,
    groups: &[Option<u32>],
    style: &Style,
    caption: &str,
) -> Result<()> {
    let patches = patches.into();
    match Format::from_path(path)? {
        Format::Png => {
            let (rendered, grid) = (render(under, patches, groups, style)?, patches.grid());
            let side = (rendered.width() / grid.cols).min(rendered.height() / grid.rows);
            side_by_side(picture, &rendered, gap(side))?.write_png(path)
        }
        Format::Svg => {
            write_file(path, svg_over((picture, under), patches, groups, style, caption)?.as_bytes())
        }
    }
}
