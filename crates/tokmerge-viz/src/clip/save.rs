//! Drawn clips as files.

use std::path::Path;

use super::{ClipStyle, TubeGrid, animation, drawn, layouts, strip};
use crate::error::{Error, Result};
use crate::picture::{Picture, side_by_side, write_file};
use crate::svg::gap;

/// File formats a drawn clip can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClipFormat {
    /// A strip of frames, as pixels.
    Png,
    /// A strip of frames, as shapes, with each token's number, size and track on hover.
    Svg,
    /// An animation of at most 256 colours.
    Gif,
    /// An animation with every colour.
    Apng,
}

impl ClipFormat {
    /// The format a file's extension asks for, in upper or lower case.
    ///
    /// # Errors
    /// When the extension is none of `png`, `svg`, `gif` and `apng`.
    pub fn from_path(path: &Path) -> Result<Self> {
        let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
        match extension.as_deref().and_then(|extension| extension.to_str()) {
            Some("png") => Ok(Self::Png),
            Some("svg") => Ok(Self::Svg),
            Some("gif") => Ok(Self::Gif),
            Some("apng") => Ok(Self::Apng),
            _ => Err(Error::UnknownClipExtension { path: path.to_path_buf() }),
        }
    }
}

/// Writes a clip with its groups, in the format that the path's extension asks for.
///
/// A strip (PNG, SVG) shows the frames in rows, the groups below the originals; an animation (GIF, APNG)
/// shows every frame beside its groups, over and over. `caption` (model, merge spec, token counts) appears
/// in SVG only. A GIF keeps the colours of up to 64 tokens exactly and is near in the rest.
///
/// # Errors
/// As [`ClipFormat::from_path`] and [`render_clip`](super::render_clip), when the animation's speed is out
/// of bounds, and when the file cannot be written.
pub fn save_clip(
    path: &Path,
    frames: &[Picture],
    grid: TubeGrid,
    groups: &[Option<u32>],
    style: &ClipStyle,
    caption: &str,
) -> Result<()> {
    let format = ClipFormat::from_path(path)?;
    let steps = layouts(frames, grid, groups, &style.frame)?;
    let animated = || {
        let beside = gap(steps[0].side);
        drawn(frames, &steps, grid, &style.frame)
            .zip(frames)
            .map(|(drawn, frame)| side_by_side(frame, &drawn, beside))
            .collect::<Result<Vec<_>>>()
    };
    let bytes = match format {
        ClipFormat::Png => strip::picture(frames, grid, &steps, style).png()?,
        ClipFormat::Svg => strip::svg(frames, grid, steps, style, caption)?.into_bytes(),
        ClipFormat::Gif => animation::gif(&animated()?, &steps[0].tokens, style.frames_per_second)?,
        ClipFormat::Apng => animation::apng(&animated()?, style.frames_per_second)?,
    };
    write_file(path, &bytes)
}
