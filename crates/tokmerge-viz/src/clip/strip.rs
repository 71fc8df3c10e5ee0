//! A clip as one still: frames in rows, the originals above the groups.

use std::fmt::Write;

use super::{ClipStyle, Shown, TubeGrid};
use crate::error::Result;
use crate::layout::Layout;
use crate::picture::{GAP, Picture};
use crate::render::draw;
use crate::svg::{Heading, gap, write_groups, write_image};

/// Where the shown frames stand, in pixels.
struct Places {
    columns: usize,
    width: usize,
    height: usize,
    gap: usize,
    /// Extra distance between one row of frames with its groups and the next.
    band: usize,
    frames: usize,
}

impl Places {
    fn new(layout: &Layout, frames: usize, most: usize) -> Self {
        let rows = frames.div_ceil(most.clamp(1, frames));
        let gap = gap(layout.side);
        let (width, height) = (layout.width, layout.height);
        Self { columns: frames.div_ceil(rows), width, height, gap, band: 2 * gap, frames }
    }

    /// Pixels from one row of originals to the next.
    fn pitch(&self) -> usize {
        2 * (self.height + self.gap) + self.band
    }

    /// Left and upper end of an original.
    fn original(&self, at: usize) -> (usize, usize) {
        (at % self.columns * (self.width + self.gap), at / self.columns * self.pitch())
    }

    /// Left and upper end of the groups below an original.
    fn groups(&self, at: usize) -> (usize, usize) {
        let (x, y) = self.original(at);
        (x, y + self.height + self.gap)
    }

    /// Width and height of it all.
    fn size(&self) -> (usize, usize) {
        let width = self.columns * (self.width + self.gap) - self.gap;
        let rows = self.frames.div_ceil(self.columns);
        (width, rows * self.pitch() - self.gap - self.band)
    }

    /// Which frame a pixel is of, and where in it; the groups' rows follow those of the original.
    fn find(&self, x: usize, y: usize) -> Option<(usize, Part, usize, usize)> {
        let (column, x) = (x / (self.width + self.gap), x % (self.width + self.gap));
        let (row, y) = (y / self.pitch(), y % self.pitch());
        let below = self.height + self.gap;
        let (part, y) = if y < below { (Part::Original, y) } else { (Part::Groups, y - below) };
        let at = row * self.columns + column;
        (x < self.width && y < self.height && at < self.frames).then_some((at, part, x, y))
    }
}

#[derive(Clone, Copy)]
enum Part {
    Original,
    Groups,
}

/// The indices of the frames to show.
fn shown(grid: TubeGrid, style: &ClipStyle) -> Vec<usize> {
    let every = match style.shown {
        Shown::Steps => grid.tubelet,
        Shown::Frames => 1,
    };
    (0..grid.steps * grid.tubelet).step_by(every).collect()
}

/// The strip as pixels.
pub(super) fn picture(frames: &[Picture], grid: TubeGrid, steps: &[Layout], style: &ClipStyle) -> Picture {
    let shown = shown(grid, style);
    let drawn: Vec<Picture> =
        shown.iter().map(|&at| draw(&steps[at / grid.tubelet], &frames[at], &style.frame)).collect();
    let places = Places::new(&steps[0], shown.len(), style.columns);
    let (width, height) = places.size();
    Picture::from_fn(width, height, |x, y| match places.find(x, y) {
        Some((at, Part::Original, x, y)) => {
            frames[shown[at]].pixel(x / style.frame.upscale, y / style.frame.upscale)
        }
        Some((at, Part::Groups, x, y)) => drawn[at].pixel(x, y),
        None => GAP,
    })
}

/// The strip as shapes: one path per token over all its frames, so that pointing at a token shows its
/// track.
pub(super) fn svg(
    frames: &[Picture],
    grid: TubeGrid,
    steps: Vec<Layout>,
    style: &ClipStyle,
    caption: &str,
) -> Result<String> {
    let shown = shown(grid, style);
    let places = Places::new(&steps[0], shown.len(), style.columns);
    let (width, height) = places.size();
    let heading = Heading::new(caption, width);
    let size = (places.width, places.height);
    let mut out = String::new();
    heading.open(&mut out, width, height);
    let mut inside = String::new();
    let mut moved = Vec::with_capacity(shown.len());
    for (at, &frame) in shown.iter().enumerate() {
        let (x, y) = places.original(at);
        write_image(&mut out, &format!("frame{frame}"), &frames[frame], (x, y + heading.height), size)?;
        let (x, y) = places.groups(at);
        let y = y + heading.height;
        // Writing to a String cannot fail.
        let _ = writeln!(out, r##"<use href="#frame{frame}" y="{}"/>"##, places.height + places.gap);
        let _ = write!(inside, "M{x} {y}h{}v{}h-{}Z", size.0, size.1, size.0);
        moved.push(steps[frame / grid.tubelet].moved(x, y));
    }
    // Borders along a frame's own edge lie outside it.
    let _ = writeln!(out, r#"<clipPath id="frames"><path d="{inside}"/></clipPath>"#);
    out.push_str("<g clip-path=\"url(#frames)\">\n");
    write_groups(&mut out, &moved, &style.frame);
    out.push_str("</g>\n</svg>\n");
    Ok(out)
}
