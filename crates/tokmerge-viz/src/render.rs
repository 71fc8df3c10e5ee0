//! Groups as pixels.

use std::cmp::Ordering;

use crate::colormap;
use crate::error::Result;
use crate::layout::Layout;
use crate::patches::Patches;
use crate::picture::{Picture, Rgb};
use crate::style::{Fill, Style};

/// Ground of dropped patches.
pub(crate) const DROPPED: Rgb = [22, 22, 26];

/// Diagonal lines across dropped patches.
pub(crate) const HATCH: Rgb = [74, 74, 82];

/// Width of a hatch line along a row, and how often one comes, for patches of this side.
pub(crate) fn hatch(side: usize) -> (usize, usize) {
    let line = (side / 10).max(1);
    (line, line * 5)
}

/// Draws every group's patches filled with the mean of the group's pixels, bordered in its own colour.
///
/// `groups` holds the final token of each patch, row by row, `None` where the patch was dropped; dropped
/// patches are dark and hatched. A border lies inside its group, wherever a patch of another group, or a
/// dropped one, is next to it or touches it at a corner. The picture is the input enlarged
/// [`Style::upscale`] times, pixel by pixel; the same input always gives the same picture.
///
/// # Errors
/// When the grid is empty or finer than the picture, `groups` has another length than the grid, or the
/// enlarged picture would be empty or too large.
pub fn render(
    picture: &Picture,
    patches: impl Into<Patches>,
    groups: &[Option<u32>],
    style: &Style,
) -> Result<Picture> {
    Ok(draw(&Layout::new(picture, patches.into(), groups, style)?, picture, style))
}

/// A picture of the same size whose patches, row by row, are as light as their share, from 0 (dark) to 1 (light).
///
/// # Errors
/// When the grid is empty or finer than the picture, or `shares` has another length than the grid.
pub fn shaded(picture: &Picture, patches: impl Into<Patches>, shares: &[f64]) -> Result<Picture> {
    let groups: Vec<Option<u32>> = (0..).map(Some).take(shares.len()).collect();
    let layout = Layout::new(picture, patches.into(), &groups, &Style::default())?;
    let (rows, cols) = (bands(&layout.ys, 0), bands(&layout.xs, 0));
    let share = |x: usize, y: usize| layout.token_at(rows[y].patch, cols[x].patch).map(|patch| shares[patch]);
    Ok(Picture::from_fn(layout.width, layout.height, |x, y| share(x, y).map_or(DROPPED, colormap::color)))
}

/// Draws one picture as it is laid out.
pub(crate) fn draw(layout: &Layout, picture: &Picture, style: &Style) -> Picture {
    let rows = bands(&layout.ys, layout.border);
    let cols = bands(&layout.xs, layout.border);
    let (line, every) = hatch(layout.side);
    Picture::from_fn(layout.width, layout.height, |x, y| {
        let (row, col) = (rows[y], cols[x]);
        let Some(token) = layout.token_at(row.patch, col.patch) else {
            return if (x + y) % every < line { HATCH } else { DROPPED };
        };
        let other = |down, right| layout.token_at(row.patch + down, col.patch + right) != Some(token);
        if other(row.toward, 0) || other(0, col.toward) || other(row.toward, col.toward) {
            layout.tokens[token].border
        } else {
            match style.fill {
                Fill::Mean => layout.tokens[token].mean,
                Fill::Original => picture.pixel(x / style.upscale, y / style.upscale),
            }
        }
    })
}

/// Where one row or column of pixels lies.
#[derive(Clone, Copy)]
struct Band {
    /// Row or column of patches it belongs to.
    patch: isize,
    /// Step to the next patch when within a border's width of it, else 0. A border is less than half a
    /// patch, so there is one at most.
    toward: isize,
}

/// The band of each pixel along one side, given where patches start.
fn bands(starts: &[usize], border: usize) -> Vec<Band> {
    let mut bands = Vec::new();
    for (patch, ends) in starts.windows(2).enumerate() {
        bands.extend((ends[0]..ends[1]).map(|at| {
            let toward = match (at - ends[0] < border, (ends[1] - at).cmp(&(border + 1))) {
                (true, _) => -1,
                (false, Ordering::Less) => 1,
                (false, _) => 0,
            };
            Band { patch: patch as isize, toward }
        }));
    }
    bands
}
