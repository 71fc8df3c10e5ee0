//! Pictures of merged tokens, after appendix E of ToMe (Bolya et al., 2023, arXiv:2210.09461).
//!
//! Each final token is followed back to the patches it was merged from; those patches are filled with
//! the mean colour of all their pixels and get a border in a colour of the token's own. Tokens need not
//! be contiguous: regions far apart that share a fill and a border colour are one token.
//!
//! The input is an image, the [`Grid`] of patches over it, and for each patch (row by row) the token it
//! belongs to, `None` where the patch was dropped. Nothing here knows a model or a method.
//!
//! ```
//! use tokmerge_viz::{Grid, Picture, Style, render, side_by_side};
//!
//! let photo = Picture::new(4, 2, vec![90; 4 * 2 * 3])?;
//! let grid = Grid { rows: 1, cols: 2 };
//! let merged = render(&photo, grid, &[Some(0), Some(1)], &Style::default())?;
//! let both = side_by_side(&photo, &merged, 2)?;
//! assert_eq!((both.width(), both.height()), (4 + 2 + 4, 2));
//! # Ok::<(), tokmerge_viz::Error>(())
//! ```
//!
//! [`save`] does all of it for one file, PNG or SVG by the file's extension. Two differences from the
//! paper: border colours are chosen rather than random, so that the same input always gives the same
//! picture and neighbours never look alike; and no border is drawn along the image's own edge.
//!
//! Clips go the same way: [`render_clip`] and [`save_clip`] draw frames over which a token keeps its
//! colours, so that it can be followed through time, as a strip or an animation. A [`Spectrogram`] becomes a
//! picture, and [`drawn_groups`] turns a sound's groups to fit it.
//!
//! [`plot`] draws charts of measurements, also as SVG.

mod clip;
mod colormap;
mod error;
mod labelled;
mod layout;
mod outline;
mod palette;
mod patches;
mod picture;
pub mod plot;
mod render;
mod save;
mod spectrogram;
mod style;
mod svg;

pub use clip::{ClipFormat, ClipStyle, Shown, TubeGrid, render_clip, save_clip};
pub use error::{Error, Result};
pub use labelled::{Labelled, labelled_sheet};
pub use layout::Grid;
pub use patches::{End, Overlap, Patches};
pub use picture::{Picture, sheet, side_by_side};
pub use render::{render, shaded};
pub use save::{Format, save, save_over, write_text};
pub use spectrogram::{Range, Spectrogram, drawn_groups};
pub use style::{BorderWidth, Fill, Style};
pub use svg::svg;
