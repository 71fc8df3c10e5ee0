//! Pictures drawn from a seed: one object each, of 24 classes, in front of anything from a plain wall to clutter.
//!
//! A task for small models that needs no download and no licence. Ten classes are outlines, eight are glyphs, six
//! are textures, so that colour says nothing and size, place and turn say little. Objects take 35 to 80 % of the
//! side; light, noise, focus, small things of other classes and lines in front make some pictures hard.
//!
//! A picture is a function of seed and index, byte for byte on every platform: integers, and f32 arithmetic without
//! functions that platforms round differently. At another side the same scene is drawn at another resolution, with
//! other noise.
//!
//! ```
//! use tokmerge_scenes::{CLASSES, Scenes, Split};
//!
//! let scenes = Scenes::of(Split::Train);
//! let scene = scenes.draw(7);
//! assert_eq!(scene.pixels.len(), 96 * 96 * 3);
//! println!("a {}", CLASSES[scene.class]);
//! assert_eq!(scenes.draw(7), scene);
//! ```
//!
//! [`write()`] makes a folder of PNG files, one sub-folder per class.
//!
//! Scenes that move are [`Clips`]: an object of any of the 24 kinds moves, turns, grows, comes or goes, and what it does is
//! the class, one of the 13 of [`MOTIONS`]. A clip is a function of seed and index as well; at another number of frames the
//! same happens in the same time. [`write_clips()`] makes a folder of frames of each.
//!
//! ```
//! use tokmerge_scenes::{Clips, MOTIONS, Split};
//!
//! let clip = Clips::of(Split::Train).draw(7);
//! assert_eq!(clip.pixels.len(), 16 * 64 * 64 * 3);
//! println!("it {}", MOTIONS[clip.class]);
//! ```
//!
//! [`questions`] are asked about pictures of several things, such as "What shape is left of the red one?", and cannot be
//! answered without looking; [`write_questions()`] makes a list of them and a folder of their pictures. [`sentences`] are to be
//! translated from one language into another, both made up.

mod canvas;
mod class;
mod clips;
mod compose;
mod fill;
mod film;
mod folder;
mod geometry;
mod motion;
pub mod questions;
mod random;
pub mod sentences;
mod shape;

pub use class::CLASSES;
pub use clips::{Clip, Clips, DEFAULT_CLIP_SIDE, DEFAULT_FRAMES, FRAMES};
pub use folder::{WriteError, write, write_clips, write_questions};
pub use motion::MOTIONS;

use random::Random;
use std::fmt;
use std::str::FromStr;

/// The side of a picture in pixels unless asked otherwise: 144 patches of 8x8.
pub const DEFAULT_SIDE: usize = 96;
/// The sides that can be drawn.
pub const SIDES: std::ops::RangeInclusive<usize> = 16..=4096;

/// Pictures, or clips, that must not be mixed: each split is drawn from a seed of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// To learn from.
    Train,
    /// To choose by and to report; never learned from.
    Validation,
    /// To show.
    Samples,
}

impl Split {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Validation, Self::Train, Self::Samples];

    /// The name: `validation`, `train` or `samples`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Train => "train",
            Self::Samples => "samples",
        }
    }

    /// The seed.
    #[must_use]
    pub fn seed(self) -> u64 {
        match self {
            Self::Train => TRAIN_SEED,
            Self::Validation => VALIDATION_SEED,
            Self::Samples => SAMPLES_SEED,
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no split's.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no split '{0}'; give {names}", names = Split::ALL.map(Split::name).join(", "))]
pub struct UnknownSplit(String);

impl FromStr for Split {
    type Err = UnknownSplit;

    fn from_str(name: &str) -> Result<Self, UnknownSplit> {
        let found = Self::ALL.into_iter().find(|split| split.name() == name);
        found.ok_or_else(|| UnknownSplit(name.to_owned()))
    }
}

/// Seed of [`Split::Train`].
pub const TRAIN_SEED: u64 = 0x7261_494E;
/// Seed of [`Split::Validation`].
pub const VALIDATION_SEED: u64 = 0x0056_614C;
/// Seed of [`Split::Samples`].
pub const SAMPLES_SEED: u64 = 0x5341_4D50;

/// A picture and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// Width and height in pixels.
    pub side: usize,
    /// `[side, side, 3]`: rows from the top, red, green, blue.
    pub pixels: Vec<u8>,
    /// Index into [`CLASSES`].
    pub class: usize,
}

/// The pictures of a seed; any number of them, at any index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenes {
    seed: u64,
    side: usize,
}

/// Why no pictures or clips can be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SceneError {
    /// Too small to show anything, or too large for memory.
    #[error(
        "a side of {side} pixels cannot be drawn; sides are {} to {}, e.g. {DEFAULT_SIDE}",
        SIDES.start(), SIDES.end()
    )]
    Side {
        /// The side.
        side: usize,
    },
    /// No motion, or too much memory.
    #[error(
        "a clip of {frames} frames cannot be drawn; frames are {} to {}, e.g. {DEFAULT_FRAMES}",
        FRAMES.start(), FRAMES.end()
    )]
    Frames {
        /// Number of frames.
        frames: usize,
    },
}

impl Scenes {
    /// The pictures of a seed, [`DEFAULT_SIDE`] pixels wide and high.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, side: DEFAULT_SIDE }
    }

    /// The pictures of a split.
    #[must_use]
    pub fn of(split: Split) -> Self {
        Self::new(split.seed())
    }

    /// The same scenes `side` pixels wide and high; odd sides are fine.
    ///
    /// # Errors
    /// When `side` is not one of [`SIDES`].
    pub fn with_side(self, side: usize) -> Result<Self, SceneError> {
        if SIDES.contains(&side) { Ok(Self { side, ..self }) } else { Err(SceneError::Side { side }) }
    }

    /// Width and height in pixels.
    #[must_use]
    pub fn side(&self) -> usize {
        self.side
    }

    /// The class of picture `index`, without drawing it. All classes are equally likely.
    #[must_use]
    pub fn class(&self, index: u64) -> usize {
        Random::for_image(self.seed, index).below(CLASSES.len())
    }

    /// Picture `index`.
    #[must_use]
    pub fn draw(&self, index: u64) -> Scene {
        let mut pixels = vec![0; self.side * self.side * 3];
        let class = self.draw_into(index, &mut pixels);
        Scene { side: self.side, pixels, class }
    }

    /// Draws picture `index` into `[side, side, 3]` bytes and returns its class.
    ///
    /// # Panics
    /// When `pixels` has another length.
    pub fn draw_into(&self, index: u64, pixels: &mut [u8]) -> usize {
        assert_eq!(pixels.len(), self.side * self.side * 3, "a picture has side * side * 3 bytes");
        let mut random = Random::for_image(self.seed, index);
        let class = random.below(CLASSES.len());
        compose::compose(&mut random, class, self.side, pixels);
        class
    }
}
