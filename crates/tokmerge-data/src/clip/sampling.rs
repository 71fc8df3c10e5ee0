//! Which frames of a video the views of a clip take.

use super::ClipError;

/// Most frames of a view, views of a clip, and frames from one to the next.
const MOST: usize = 4096;

/// Which frames of a video the views of a clip take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// Views of one length in time, as Spatiotemporal MAE tests.
    ///
    /// A view spans `frames * stride` frames at `fps` frames per second, and as long in a video of another rate. Its
    /// frames lie evenly from the first to the last of the span, both included (16 frames at stride 4 are 4.2 frames
    /// apart), rounded down. Views start at multiples of what is left of the video divided by `views - 1`, rounded down;
    /// a single one lies in the middle. Beyond the end of a short video its last frame is repeated.
    Spans {
        /// Frames of a view.
        frames: usize,
        /// Frames of the span for each frame of the view.
        stride: usize,
        /// Frames per second that `stride` counts in.
        fps: f64,
        /// Views along time.
        views: usize,
    },
    /// One view of frames that lie evenly over the whole video, first and last included, rounded down
    /// (`numpy.linspace`), as users of VideoMAE in transformers do.
    Uniform {
        /// Frames of the view.
        frames: usize,
    },
}

impl Sampling {
    /// Frames of a view.
    #[must_use]
    pub fn frames(&self) -> usize {
        match *self {
            Self::Spans { frames, .. } | Self::Uniform { frames } => frames,
        }
    }

    /// Views along time.
    #[must_use]
    pub fn views(&self) -> usize {
        match *self {
            Self::Spans { views, .. } => views,
            Self::Uniform { .. } => 1,
        }
    }

    /// The same, with another number of views along time.
    ///
    /// # Errors
    /// When [`Uniform`](Self::Uniform), which has one, is to have another number.
    pub fn with_views(self, views: usize) -> Result<Self, ClipError> {
        match self {
            Self::Spans { frames, stride, fps, .. } => Ok(Self::Spans { frames, stride, fps, views }),
            Self::Uniform { .. } if views == 1 => Ok(self),
            Self::Uniform { .. } => Err(ClipError::Setting {
                setting: "views",
                value: views.to_string(),
                allowed: "1 where frames lie over the whole video",
            }),
        }
    }

    /// Frames per second that it counts in, where it does.
    #[must_use]
    pub fn fps(&self) -> Option<f64> {
        match *self {
            Self::Spans { fps, .. } => Some(fps),
            Self::Uniform { .. } => None,
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn validate(&self) -> Result<(), ClipError> {
        let wrong = |setting, value: String, allowed| Err(ClipError::Setting { setting, value, allowed });
        let range = 1..=MOST;
        match *self {
            Self::Spans { frames, .. } | Self::Uniform { frames } if !range.contains(&frames) => {
                wrong("frames", frames.to_string(), "1 to 4096; use e.g. 16")
            }
            Self::Spans { stride, .. } if !range.contains(&stride) => {
                wrong("stride", stride.to_string(), "1 to 4096; use e.g. 4")
            }
            Self::Spans { fps, .. } if !is_rate(fps) => {
                wrong("fps", fps.to_string(), "above 0 and at most 100000; use e.g. 30")
            }
            Self::Spans { views, .. } if !range.contains(&views) => {
                wrong("views", views.to_string(), "1 to 4096; use e.g. 10")
            }
            Self::Spans { .. } | Self::Uniform { .. } => Ok(()),
        }
    }

    /// The numbers of the frames of one view that begins at a part, from 0 to 1, of what is left of the video; frames over
    /// the whole video begin with it. As [`of`](Self::of) otherwise.
    #[must_use]
    pub fn from(&self, part: f64, count: usize, fps: f64) -> Vec<usize> {
        match *self {
            Self::Spans { frames, stride, fps: target, .. } => {
                let span = (frames * stride) as f64 * fps / target;
                let left = (count as f64 - span).max(0.0);
                spread((left * part).floor(), span - 1.0, frames, count.saturating_sub(1))
            }
            Self::Uniform { .. } => self.of(count, fps).concat(),
        }
    }

    /// The numbers of the frames of every view along time, of a video of `count` frames, one at least, at `fps` per
    /// second. The fields must be valid.
    #[must_use]
    pub fn of(&self, count: usize, fps: f64) -> Vec<Vec<usize>> {
        let last = count.saturating_sub(1);
        match *self {
            Self::Spans { frames, stride, fps: target, views } => {
                let span = (frames * stride) as f64 * fps / target;
                let left = (count as f64 - span).max(0.0);
                let start = |view: usize| match views {
                    1 => (left / 2.0).floor(),
                    _ => (left / (views - 1) as f64).floor() * view as f64,
                };
                (0..views).map(|view| spread(start(view), span - 1.0, frames, last)).collect()
            }
            Self::Uniform { frames } => {
                // In the order of NumPy's operations, whose rounding may lose a frame.
                let step = last as f64 / frames.saturating_sub(1).max(1) as f64;
                let at = |frame: usize| match frame {
                    0 => 0,
                    _ if frame + 1 == frames => last,
                    _ => (frame as f64 * step) as usize,
                };
                vec![(0..frames).map(at).collect()]
            }
        }
    }
}

/// Whether videos have so many frames per second.
pub(super) fn is_rate(fps: f64) -> bool {
    fps > 0.0 && fps <= 100_000.0
}

/// `frames` numbers, evenly over `length` from `start`, no larger than `last`.
fn spread(start: f64, length: f64, frames: usize, last: usize) -> Vec<usize> {
    // Multiplied before it is divided: whole spans give exact numbers.
    let at = |frame: usize| start + length * frame as f64 / frames.saturating_sub(1).max(1) as f64;
    (0..frames).map(|frame| (at(frame).max(0.0) as usize).min(last)).collect()
}
