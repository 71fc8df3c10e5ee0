//! What can be wrong with a drawing: each message gives the rule, the values and the way out.

use std::path::PathBuf;

/// The result of everything fallible in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a picture could not be made or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A picture without pixels.
    #[error("a picture needs at least 1x1 pixels but {width}x{height} was given; pass the image's real size")]
    EmptyPicture {
        /// Width given, in pixels.
        width: usize,
        /// Height given, in pixels.
        height: usize,
    },
    /// The pixel buffer disagrees with the size.
    #[error(
        "a {width}x{height} RGB picture has width * height * 3 bytes but {found} were given; \
         pass interleaved 8-bit RGB, rows from the top, without alpha or padding"
    )]
    PixelBytes {
        /// Width given, in pixels.
        width: usize,
        /// Height given, in pixels.
        height: usize,
        /// Length of the buffer given.
        found: usize,
    },
    /// A grid without patches.
    #[error(
        "a patch grid needs at least 1 row and 1 column but has {rows} rows and {cols} columns; \
         divide the image size by the model's patch size"
    )]
    EmptyGrid {
        /// Rows given.
        rows: usize,
        /// Columns given.
        cols: usize,
    },
    /// A grid with more rows or columns than the picture has pixels.
    #[error(
        "every patch needs at least one pixel but a grid of {rows} rows and {cols} columns was laid over \
         {width}x{height} pixels; pass the image at the size the model sees"
    )]
    GridTooFine {
        /// Rows given.
        rows: usize,
        /// Columns given.
        cols: usize,
        /// Width of the picture, in pixels.
        width: usize,
        /// Height of the picture, in pixels.
        height: usize,
    },
    /// Another number of patches than the grid has.
    #[error(
        "a grid of {rows} rows and {cols} columns needs {expected} groups, one per patch, but {found} were \
         given; leave out class and register tokens, and give dropped patches as None"
    )]
    GroupCount {
        /// Rows of the grid.
        rows: usize,
        /// Columns of the grid.
        cols: usize,
        /// Patches in the grid.
        expected: usize,
        /// Groups given.
        found: usize,
    },
    /// The picture would have no or too many pixels.
    #[error(
        "a picture may have sides of 1 to {max} pixels but {width}x{height} enlarged {upscale} times does not; \
         use an upscale of at least 1, and a smaller one for a large image"
    )]
    Upscale {
        /// Width of the picture, in pixels.
        width: usize,
        /// Height of the picture, in pixels.
        height: usize,
        /// Upscale given.
        upscale: usize,
        /// Longest side allowed.
        max: usize,
    },
    /// The second picture is not a whole multiple of the first.
    #[error(
        "the second picture must be the first enlarged by a whole number but has {}x{} pixels beside {}x{}; \
         render it from the same picture", .rendered.0, .rendered.1, .original.0, .original.1
    )]
    NotAMultiple {
        /// Width and height of the first picture.
        original: (usize, usize),
        /// Width and height of the second picture.
        rendered: (usize, usize),
    },
    /// Neither `.png` nor `.svg`.
    #[error("the file's extension chooses the format, png or svg, but {} has neither; name it *.png or *.svg", .path.display())]
    UnknownExtension {
        /// Path given.
        path: PathBuf,
    },
    /// PNG compression failed.
    #[error("a {width}x{height} picture could not be compressed as PNG: {source}; try a smaller upscale")]
    Encode {
        /// Width of the picture, in pixels.
        width: usize,
        /// Height of the picture, in pixels.
        height: usize,
        /// What the encoder said.
        source: image::ImageError,
    },
    /// The file could not be written.
    #[error("{} could not be written: {source}; check that its folder exists and may be written to", .path.display())]
    Write {
        /// Path given.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}
