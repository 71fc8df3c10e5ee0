//! Where the frames of a clip come from.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use super::ffmpeg::{Ended, Ffmpeg};
use super::packets::{Packets, check_pixels};
use super::{ClipError, ClipLimits};
use crate::dataset::frames_in;
use crate::{Limits, Rgb, open_image, path_text};

/// Which of the needed frames came.
pub(super) enum Came {
    All,
    /// The video ended after so many.
    Only(usize),
}

/// Frames in their order.
pub(super) trait Frames {
    /// How many there are, as far as known.
    fn count(&self) -> usize;

    /// How many follow each other in a second.
    fn fps(&self) -> f64;

    /// Hands the frames of these numbers, ascending and each once, to `each`.
    fn read(
        &self,
        needed: &[usize],
        each: &mut dyn FnMut(&Rgb) -> Result<(), ClipError>,
    ) -> Result<Came, ClipError>;
}

/// A frame's name and size, compared with the first.
#[derive(Default)]
struct OneSize(Option<(String, (usize, usize))>);

impl OneSize {
    fn check(&mut self, frame: &Rgb, name: impl FnOnce() -> String) -> Result<(), ClipError> {
        let size = (frame.width, frame.height);
        match &self.0 {
            Some((_, first)) if *first == size => Ok(()),
            Some((first, first_size)) => Err(ClipError::SizesDiffer {
                first: first.clone(),
                first_size: *first_size,
                second: name(),
                second_size: size,
            }),
            None => {
                self.0 = Some((name(), size));
                Ok(())
            }
        }
    }
}

/// Frames in memory.
pub(super) struct Held<'a> {
    pub(super) frames: &'a [Rgb],
    pub(super) fps: f64,
}

impl Frames for Held<'_> {
    fn count(&self) -> usize {
        self.frames.len()
    }

    fn fps(&self) -> f64 {
        self.fps
    }

    fn read(
        &self,
        needed: &[usize],
        each: &mut dyn FnMut(&Rgb) -> Result<(), ClipError>,
    ) -> Result<Came, ClipError> {
        let mut size = OneSize::default();
        for &number in needed {
            size.check(&self.frames[number], || format!("frame {number}"))?;
            each(&self.frames[number])?;
        }
        Ok(Came::All)
    }
}

/// Images in a folder, in the order of the numbers in their names.
pub(super) struct Folder {
    paths: Vec<PathBuf>,
    fps: f64,
    limits: Limits,
}

impl Folder {
    pub(super) fn list(dir: &Path, fps: f64, limits: &ClipLimits) -> Result<Self, ClipError> {
        let paths = frames_in(dir)?;
        if paths.is_empty() {
            return Err(ClipError::EmptyFolder);
        }
        if paths.len() > limits.max_frames {
            return Err(ClipError::TooManyFrames { max_frames: limits.max_frames });
        }
        if paths.len() as f64 / fps > limits.max_seconds as f64 {
            return Err(ClipError::TooLong { max_seconds: limits.max_seconds });
        }
        Ok(Self { paths, fps, limits: Limits { max_pixels: limits.max_pixels, ..Limits::default() } })
    }
}

impl Frames for Folder {
    fn count(&self) -> usize {
        self.paths.len()
    }

    fn fps(&self) -> f64 {
        self.fps
    }

    fn read(
        &self,
        needed: &[usize],
        each: &mut dyn FnMut(&Rgb) -> Result<(), ClipError>,
    ) -> Result<Came, ClipError> {
        let mut size = OneSize::default();
        for &number in needed {
            let path = &self.paths[number];
            let frame = open_image(path, &self.limits)?;
            let name = || path_text(Path::new(path.file_name().unwrap_or_default()));
            size.check(&frame, || super::error::one_line(&name()))?;
            each(&frame)?;
        }
        Ok(Came::All)
    }
}

/// Options under which every frame that is decoded comes once, in the words of `ffmpeg` 5.1 and later, and before.
const EVERY_FRAME: [&str; 2] = ["-fps_mode", "-vsync"];

/// A video file.
pub(super) struct Video<'a> {
    path: &'a Path,
    ffmpeg: Ffmpeg,
    count: usize,
    fps: f64,
    limits: ClipLimits,
}

impl<'a> Video<'a> {
    /// Counts the frames. A file without times has `fps` frames per second.
    pub(super) fn open(
        path: &'a Path,
        ffmpeg: Ffmpeg,
        fps: Option<f64>,
        limits: &ClipLimits,
    ) -> Result<Self, ClipError> {
        let packets = Packets::count(&ffmpeg, path, limits)?;
        let fps = packets.fps.or(fps).unwrap_or(30.0);
        Ok(Self { path, ffmpeg, count: packets.count, fps, limits: *limits })
    }

    /// Decodes as far as the last of the needed frames. How many came and how it ended, where it ended before.
    fn decode(
        &self,
        every_frame: &str,
        needed: &[usize],
        each: &mut dyn FnMut(&Rgb) -> Result<(), ClipError>,
    ) -> Result<Option<(usize, Ended)>, ClipError> {
        let pipe = [every_frame, "passthrough", "-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe"];
        let mut process = self.ffmpeg.start(self.path, &[&["-xerror"], pipe.as_slice()].concat())?;
        let mut frame = Rgb { width: 0, height: 0, data: Vec::new() };
        let (mut came, mut needed) = (0, needed.iter().peekable());
        while let Some(&&number) = needed.peek() {
            if !next_frame(process.out()?, &mut frame, &self.limits)? {
                return Ok(Some((came, process.finish()?)));
            }
            if came == number {
                each(&frame)?;
                needed.next();
            }
            came += 1;
        }
        Ok(None)
    }
}

impl Frames for Video<'_> {
    fn count(&self) -> usize {
        self.count
    }

    fn fps(&self) -> f64 {
        self.fps
    }

    fn read(
        &self,
        needed: &[usize],
        each: &mut dyn FnMut(&Rgb) -> Result<(), ClipError>,
    ) -> Result<Came, ClipError> {
        let [newer, older] = EVERY_FRAME;
        let mut ended = self.decode(newer, needed, each)?;
        if ended.as_ref().is_some_and(|(came, ended)| *came == 0 && ended.line_with("fps_mode").is_some()) {
            ended = self.decode(older, needed, each)?;
        }
        match ended {
            None => Ok(Came::All),
            Some((came, ended)) if ended.well() => Ok(Came::Only(came)),
            Some((came, ended)) => {
                Err(ClipError::Damaged { came, frames: self.count, reason: ended.reason() })
            }
        }
    }
}

/// The next of a row of PPM pictures, and whether there was a whole one.
fn next_frame(from: &mut impl BufRead, frame: &mut Rgb, limits: &ClipLimits) -> Result<bool, ClipError> {
    let mut header = Vec::new();
    for _ in 0..3 {
        from.by_ref().take(64).read_until(b'\n', &mut header)?;
    }
    if header.is_empty() {
        return Ok(false);
    }
    let text = String::from_utf8_lossy(&header);
    let mut words = text.split_ascii_whitespace().skip(1).map(str::parse::<usize>);
    let (Some(Ok(width)), Some(Ok(height)), Some(Ok(255)), true) =
        (words.next(), words.next(), words.next(), header.starts_with(b"P6") && header.ends_with(b"\n"))
    else {
        return Ok(false);
    };
    check_pixels(width, height, limits)?;
    (frame.width, frame.height) = (width, height);
    frame.data.resize(width * height * 3, 0);
    match from.read_exact(&mut frame.data) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error.into()),
    }
}
