//! Clips of a seed.

use crate::film::Film;
use crate::motion::MOTIONS;
use crate::random::Random;
use crate::{SIDES, SceneError, Split};

/// The side of a clip in pixels unless asked otherwise: 64 patches of 8x8 in each frame, and objects of 12 pixels or more.
pub const DEFAULT_CLIP_SIDE: usize = 64;
/// The frames of a clip unless asked otherwise. With tubelets of 2x8x8 they are 512 tokens at the default side: enough for
/// merging to matter, few enough to train on with a CPU. Objects move by a pixel or two from frame to frame.
pub const DEFAULT_FRAMES: usize = 16;
/// The numbers of frames that can be drawn.
pub const FRAMES: std::ops::RangeInclusive<usize> = 2..=64;

/// A clip and what happens in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// Number of frames.
    pub frames: usize,
    /// Width and height in pixels.
    pub side: usize,
    /// `[frames, side, side, 3]`: frames in order of time, rows from the top, red, green, blue.
    pub pixels: Vec<u8>,
    /// Index into [`MOTIONS`].
    pub class: usize,
}

/// The clips of a seed; any number of them, at any index.
///
/// The class is what an object does, and it takes several frames to tell: kind, colours, place and size of the object and
/// all that is around it are drawn without regard to it. Of a single frame, only where an object is, how large it is and how
/// many there are hint at the class: what moves to the right is more often at the left in the first frame. Who knew place and
/// size in a frame exactly would guess 13 % of the classes, and 8 % without them. At two frames a clip that bounces looks like
/// one that is still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clips {
    seed: u64,
    side: usize,
    frames: usize,
}

impl Clips {
    /// The clips of a seed: [`DEFAULT_FRAMES`] frames, [`DEFAULT_CLIP_SIDE`] pixels wide and high.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, side: DEFAULT_CLIP_SIDE, frames: DEFAULT_FRAMES }
    }

    /// The clips of a split.
    #[must_use]
    pub fn of(split: Split) -> Self {
        Self::new(split.seed())
    }

    /// The same clips `side` pixels wide and high; odd sides are fine.
    ///
    /// # Errors
    /// When `side` is not one of [`SIDES`].
    pub fn with_side(self, side: usize) -> Result<Self, SceneError> {
        if SIDES.contains(&side) { Ok(Self { side, ..self }) } else { Err(SceneError::Side { side }) }
    }

    /// The same clips with `frames` frames: the same motion over the same time, the first and the last moment included.
    ///
    /// # Errors
    /// When `frames` is not one of [`FRAMES`].
    pub fn with_frames(self, frames: usize) -> Result<Self, SceneError> {
        if FRAMES.contains(&frames) {
            Ok(Self { frames, ..self })
        } else {
            Err(SceneError::Frames { frames })
        }
    }

    /// Width and height in pixels.
    #[must_use]
    pub fn side(&self) -> usize {
        self.side
    }

    /// Number of frames.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// The class of clip `index`, without drawing it. All classes are equally likely.
    #[must_use]
    pub fn class(&self, index: u64) -> usize {
        Random::for_clip(self.seed, index).below(MOTIONS.len())
    }

    /// Clip `index`.
    #[must_use]
    pub fn draw(&self, index: u64) -> Clip {
        let mut pixels = vec![0; self.frames * self.frame_len()];
        let class = self.draw_into(index, &mut pixels);
        Clip { frames: self.frames, side: self.side, pixels, class }
    }

    /// Draws clip `index` into `[frames, side, side, 3]` bytes and returns its class.
    ///
    /// # Panics
    /// When `pixels` has another length.
    pub fn draw_into(&self, index: u64, pixels: &mut [u8]) -> usize {
        assert_eq!(pixels.len(), self.frames * self.frame_len(), "a clip has frames * side * side * 3 bytes");
        let (class, film) = self.film(index);
        for (frame, out) in pixels.chunks_exact_mut(self.frame_len()).enumerate() {
            film.frame(frame, self.frames, out);
        }
        class
    }

    /// Bytes of a frame.
    pub(crate) fn frame_len(&self) -> usize {
        self.side * self.side * 3
    }

    pub(crate) fn film(&self, index: u64) -> (usize, Film) {
        let mut random = Random::for_clip(self.seed, index);
        let class = random.below(MOTIONS.len());
        (class, Film::new(&mut random, class, self.side))
    }
}
