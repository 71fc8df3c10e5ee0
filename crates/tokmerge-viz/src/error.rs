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
    /// Frames that are not the time steps' frames.
    #[error(
        "a clip of {steps} time steps of {tubelet} frames needs {steps} * {tubelet} frames, 1 or more, but {found} were \
         given; give every frame, or one of each step with a tubelet of 1"
    )]
    FrameCount {
        /// Time steps of the grid.
        steps: usize,
        /// Frames in each.
        tubelet: usize,
        /// Frames given.
        found: usize,
    },
    /// Frames of several sizes.
    #[error(
        "all frames of a clip have one size but frame {frame} has {}x{} pixels and frame 0 has {}x{}; \
         resize them to the size the model sees", .found.0, .found.1, .first.0, .first.1
    )]
    FrameSize {
        /// The first frame of another size, counted from 0.
        frame: usize,
        /// Its width and height.
        found: (usize, usize),
        /// Width and height of the first frame.
        first: (usize, usize),
    },
    /// Another number of patches than the clip has.
    #[error(
        "a clip of {steps} time steps of {rows} rows and {cols} columns needs {expected} groups, one per patch, but \
         {found} were given; leave out class tokens, and give dropped patches as None"
    )]
    ClipGroupCount {
        /// Time steps of the grid.
        steps: usize,
        /// Rows of the grid.
        rows: usize,
        /// Columns of the grid.
        cols: usize,
        /// Patches in the grid.
        expected: usize,
        /// Groups given.
        found: usize,
    },
    /// The frames together would have too many pixels.
    #[error(
        "the frames of a drawn clip may have {max} pixels together but {frames} of {width}x{height} have more; \
         use a smaller upscale or fewer frames"
    )]
    ClipTooLarge {
        /// Frames given.
        frames: usize,
        /// Width of a drawn frame, in pixels.
        width: usize,
        /// Height of a drawn frame, in pixels.
        height: usize,
        /// Most pixels allowed.
        max: usize,
    },
    /// An animation too slow or too fast to show.
    #[error(
        "frames_per_second must be {min} to {max} but is {found}; use the clip's own rate over the sampling stride"
    )]
    FramesPerSecond {
        /// Speed given.
        found: f64,
        /// Slowest allowed.
        min: f64,
        /// Fastest allowed.
        max: f64,
    },
    /// None of the formats of a clip.
    #[error(
        "the file's extension chooses the format of a clip, png, svg, gif or apng, but {} has none of them; \
         name it *.png or *.svg for a strip, *.gif or *.apng for an animation", .path.display()
    )]
    UnknownClipExtension {
        /// Path given.
        path: PathBuf,
    },
    /// An animation could not be encoded.
    #[error(
        "{frames} frames could not be written as {format}: {source}; try a smaller upscale or fewer frames"
    )]
    EncodeAnimation {
        /// Name of the format.
        format: &'static str,
        /// Frames given.
        frames: usize,
        /// What the encoder said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The spectrogram's values disagree with its size.
    #[error(
        "a spectrogram has frames * bins values, 1 or more, but {frames} frames of {bins} bins came with {found}; \
         pass [frames, bins] without padding"
    )]
    SpectrogramValues {
        /// Frames given.
        frames: usize,
        /// Bins given.
        bins: usize,
        /// Values given.
        found: usize,
    },
    /// A value that has no colour.
    #[error(
        "a spectrogram's values must be finite but frame {frame}, bin {bin} is {value}; \
         check the sound's samples, and add a floor before a logarithm"
    )]
    NotFinite {
        /// The value.
        value: f32,
        /// Its frame, counted from 0.
        frame: usize,
        /// Its bin, counted from 0.
        bin: usize,
    },
    /// A range without values.
    #[error(
        "a range of values needs a finite min below a finite max but goes from {min} to {max}; use Range::Own"
    )]
    ValueRange {
        /// Lower end given.
        min: f32,
        /// Upper end given.
        max: f32,
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
