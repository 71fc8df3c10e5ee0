//! Clips: frames in time steps, and tokens that reach over several of them.

mod animation;
mod colors;
mod save;
mod strip;

pub use save::{ClipFormat, save_clip};

use crate::error::{Error, Result};
use crate::layout::{Grid, Layout};
use crate::patches::Patches;
use crate::picture::Picture;
use crate::render::draw;
use crate::style::Style;

/// Pixels of a clip's frames, drawn and original, over all of them: 800 MB each.
const MAX_PIXELS: usize = 1 << 28;

/// Patches over a clip: a grid of them in each time step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TubeGrid {
    /// Time steps, in each of which every place has one patch.
    pub steps: usize,
    /// Frames in each time step; 2 for tubelets of 2x16x16, 1 where only one frame a step is at hand.
    pub tubelet: usize,
    /// Patches from top to bottom.
    pub rows: usize,
    /// Patches from left to right.
    pub cols: usize,
}

impl TubeGrid {
    /// The grid over each frame.
    fn grid(self) -> Grid {
        Grid { rows: self.rows, cols: self.cols }
    }
}

/// Which frames a strip shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shown {
    /// The first frame of each time step.
    #[default]
    Steps,
    /// Every frame.
    Frames,
}

/// How a drawn clip looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClipStyle {
    /// How each frame looks.
    pub frame: Style,
    /// Which frames a strip shows; an animation shows all.
    pub shown: Shown,
    /// Most frames in one row of a strip, 1 or more; more frames than that take several rows of about the
    /// same length.
    pub columns: usize,
    /// Speed of an animation, 0.02 to 50 frames of the clip a second.
    pub frames_per_second: f64,
}

impl Default for ClipStyle {
    fn default() -> Self {
        Self { frame: Style::default(), shown: Shown::Steps, columns: 8, frames_per_second: 8.0 }
    }
}

/// Draws every frame of a clip as [`render`](crate::render) does one image.
///
/// `groups` holds the token of each patch: time step by time step, each row by row, `None` where the patch
/// was dropped. A token has one fill, the mean of its pixels over all frames, and one border colour in all
/// of them; tokens that are neighbours in a frame, or at one place in two steps that follow each other,
/// have colours far apart. There are as many pictures as frames.
///
/// # Errors
/// When the grid is empty or finer than the frames, there are not `steps * tubelet` frames, all of one
/// size, `groups` is not one per patch, or the pictures would be empty or too large.
pub fn render_clip(
    frames: &[Picture],
    grid: TubeGrid,
    groups: &[Option<u32>],
    style: &Style,
) -> Result<Vec<Picture>> {
    let steps = layouts(frames, grid, groups, style)?;
    Ok(drawn(frames, &steps, grid, style).collect())
}

/// Every frame, drawn.
fn drawn(
    frames: &[Picture],
    steps: &[Layout],
    grid: TubeGrid,
    style: &Style,
) -> impl Iterator<Item = Picture> {
    frames.iter().enumerate().map(move |(at, frame)| draw(&steps[at / grid.tubelet], frame, style))
}

/// The layout of each step, from checked input.
fn layouts(frames: &[Picture], grid: TubeGrid, groups: &[Option<u32>], style: &Style) -> Result<Vec<Layout>> {
    let TubeGrid { steps, tubelet, rows, cols } = grid;
    let first = match frames.first() {
        Some(first) if steps.checked_mul(tubelet) == Some(frames.len()) => first,
        _ => return Err(Error::FrameCount { steps, tubelet, found: frames.len() }),
    };
    let size = (first.width(), first.height());
    if let Some(frame) = frames.iter().position(|frame| (frame.width(), frame.height()) != size) {
        let found = (frames[frame].width(), frames[frame].height());
        return Err(Error::FrameSize { frame, found, first: size });
    }
    let starts = Patches::from(grid.grid()).starts(first)?;
    // Cannot overflow: there are at most as many patches as pixels in memory.
    let expected = steps * rows * cols;
    if groups.len() != expected {
        return Err(Error::ClipGroupCount { steps, rows, cols, expected, found: groups.len() });
    }
    let (width, height) = first.enlarged(style.upscale)?;
    if (width * height).saturating_mul(frames.len()) > MAX_PIXELS {
        return Err(Error::ClipTooLarge { frames: frames.len(), width, height, max: MAX_PIXELS });
    }
    Layout::steps(frames, tubelet, &starts, groups, style)
}
