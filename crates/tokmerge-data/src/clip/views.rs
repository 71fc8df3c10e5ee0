//! The views of a clip.

use crate::Rgb;

/// The frames of a clip's views, resized and cropped. A frame that several views take is held once.
#[derive(Clone, PartialEq)]
pub struct Clip {
    /// Numbers of the video's frames, for every view along time.
    pub(super) taken: Vec<Vec<usize>>,
    /// Every number in `taken` once, ascending.
    pub(super) needed: Vec<usize>,
    /// Every crop of every one of `needed`, `[3, height, width]` from 0 to 255.
    pub(super) crops: Vec<Box<[f32]>>,
    /// Crops of a frame.
    pub(super) spatial: usize,
    /// Height and width of a crop.
    pub(super) size: (usize, usize),
    /// Frames of the video.
    pub(super) video_frames: usize,
    /// Its frames per second.
    pub(super) fps: f64,
}

impl std::fmt::Debug for Clip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (height, width) = self.size;
        write!(f, "Clip {{ {} views, {} frames, {height}x{width} }}", self.views(), self.frames())
    }
}

impl Clip {
    /// Views: those along time, times the crops of a frame.
    #[must_use]
    pub fn views(&self) -> usize {
        self.taken.len() * self.spatial
    }

    /// Frames of a view.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.taken.first().map_or(0, Vec::len)
    }

    /// Height and width of a frame.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    /// Frames of the video.
    #[must_use]
    pub fn video_frames(&self) -> usize {
        self.video_frames
    }

    /// Frames per second of the video, on average.
    #[must_use]
    pub fn fps(&self) -> f64 {
        self.fps
    }

    /// Numbers of the video's frames that a view takes.
    ///
    /// # Panics
    /// When there is no such view.
    #[must_use]
    pub fn taken(&self, view: usize) -> &[usize] {
        &self.taken[view / self.spatial]
    }

    /// A frame of a view before it is normalised, `[3, height, width]` from 0 to 255. The view is the view along time
    /// times the crops of a frame, plus the crop.
    ///
    /// # Panics
    /// When there is no such view or frame.
    #[must_use]
    pub fn frame(&self, view: usize, frame: usize) -> &[f32] {
        let number = self.taken(view)[frame];
        let place = self.needed.partition_point(|&needed| needed < number);
        &self.crops[place * self.spatial + view % self.spatial]
    }

    /// A frame of a view as a picture, rounded to bytes.
    ///
    /// # Panics
    /// When there is no such view or frame.
    #[must_use]
    pub fn picture(&self, view: usize, frame: usize) -> Rgb {
        let (height, width) = self.size;
        let values = self.frame(view, frame);
        let plane = height * width;
        let pixel = |at: usize| (0..3).map(move |channel| values[channel * plane + at].round() as u8);
        Rgb { width, height, data: (0..plane).flat_map(pixel).collect() }
    }
}
