//! From a clip to a model's input.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::ffmpeg::Ffmpeg;
use super::source::{Came, Folder, Frames, Held, Video};
use super::{Clip, ClipError, ClipOptions, FrameFit, Sampling, SpatialCrops};
use crate::augment::{RandomResizedCrop, Visit, clip_start};
use crate::{ConfigError, Preprocess, Rgb};

/// How clips are prepared.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipProcessor {
    /// Which frames are taken.
    pub sampling: Sampling,
    /// How they are resized, cropped and normalised.
    pub fit: FrameFit,
}

/// Which views along time are taken.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Views {
    /// Those of the sampling.
    All,
    /// One, of a random part of the time, and of the frames where there is a crop.
    At(Visit, Option<RandomResizedCrop>),
}

impl fmt::Display for ClipProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, frames, height, width) = self.shape();
        match self.sampling {
            Sampling::Spans { stride, fps, views, .. } => {
                write!(
                    f,
                    "{frames} frames, every {stride} of {fps} per second, {views} x {} views, ",
                    self.fit.crops()
                )?;
            }
            Sampling::Uniform { .. } => write!(f, "{frames} frames over the whole clip, ")?,
        }
        let (mean, std) = self.fit.normalisation();
        write!(f, "{height}x{width}, mean {mean:?}, std {std:?}")
    }
}

impl ClipProcessor {
    /// Spatiotemporal MAE's: 16 frames at every fourth of 30 per second, mean 0.45, deviation 0.225, 224x224. One crop is
    /// cut from the centre where the shorter side is 256; three, where it is 224.
    #[must_use]
    pub fn mae_st(views: usize, crops: SpatialCrops) -> Self {
        let short_side = match crops {
            SpatialCrops::Centre => 256,
            SpatialCrops::Three => 224,
        };
        Self {
            sampling: Sampling::Spans { frames: 16, stride: 4, fps: 30.0, views },
            fit: FrameFit::Float { short_side, crop: 224, crops, mean: [0.45; 3], std: [0.225; 3] },
        }
    }

    /// From the `preprocessor_config.json` of a `VideoMAEImageProcessor` of transformers, which does not say which frames
    /// are taken.
    ///
    /// # Errors
    /// Those of [`Preprocess::from_hf_preprocessor`].
    pub fn from_hf(config: &Value, sampling: Sampling) -> Result<Self, ConfigError> {
        let fit = FrameFit::Picture(Preprocess::from_hf_preprocessor(config)?);
        Ok(Self { sampling, fit })
    }

    /// Checks every field; the other functions do the same.
    ///
    /// # Errors
    /// When one makes no sense.
    pub fn validate(&self) -> Result<(), ClipError> {
        self.sampling.validate()?;
        self.fit.validate()
    }

    /// Views of a clip: those along time, times the crops of a frame.
    #[must_use]
    pub fn views(&self) -> usize {
        self.sampling.views() * self.fit.crops()
    }

    /// Channels, frames, height and width of a view.
    #[must_use]
    pub fn shape(&self) -> (usize, usize, usize, usize) {
        let (height, width) = self.fit.size();
        (3, self.sampling.frames(), height, width)
    }

    /// Values of a whole clip: those of a view times the views.
    #[must_use]
    pub fn output_len(&self) -> usize {
        let (channels, frames, height, width) = self.shape();
        [self.views(), channels, frames, height, width].into_iter().fold(1, usize::saturating_mul)
    }

    /// Reads a video file with `ffmpeg`, or the images of a folder, in the order of the numbers in their names. Every
    /// error about it names the path.
    ///
    /// Only the first track of video counts. Rotation that the file asks for is applied. Frames are counted as they are
    /// stored, whatever time each is shown for; the rate is their number over the length.
    ///
    /// # Errors
    /// When it cannot be read, is above the limits, damaged or no clip, or a field of the processor makes no sense.
    pub fn open(&self, path: impl AsRef<Path>, options: &ClipOptions) -> Result<Clip, ClipError> {
        self.validate()?;
        let path = path.as_ref();
        self.open_any(path, options, Views::All).map_err(|error| error.in_file(path))
    }

    /// The same with one view as training sees it, another at every visit: it begins anywhere in what is left of the video,
    /// and where a crop is given, it shows the same random part of all frames in place of the other crops.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when a field of the crop makes no sense.
    pub fn open_at(
        &self,
        visit: Visit,
        crop: Option<RandomResizedCrop>,
        path: impl AsRef<Path>,
        options: &ClipOptions,
    ) -> Result<Clip, ClipError> {
        self.validate()?;
        let path = path.as_ref();
        self.open_any(path, options, Views::At(visit, crop)).map_err(|error| error.in_file(path))
    }

    fn open_any(&self, path: &Path, options: &ClipOptions, views: Views) -> Result<Clip, ClipError> {
        // Asked before opening: opening a named pipe would wait for a writer.
        let found = std::fs::metadata(path)?;
        if found.is_dir() {
            return self.collect(&Folder::list(path, self.rate(options)?, &options.limits)?, views);
        }
        if !found.is_file() {
            return Err(ClipError::NotAFile);
        }
        if found.len() == 0 {
            return Err(ClipError::Empty);
        }
        let ffmpeg = Ffmpeg::find(options.ffmpeg.as_deref(), options.limits.max_wait);
        self.collect(&Video::open(path, ffmpeg, self.sampling.fps(), &options.limits)?, views)
    }

    /// The same of frames in memory, of one size, at `fps` per second or what the sampling asks for.
    ///
    /// # Errors
    /// When there are none, their sizes differ, or a field of the processor makes no sense.
    pub fn of_frames(&self, frames: &[Rgb], fps: Option<f64>) -> Result<Clip, ClipError> {
        self.hold(frames, fps, Views::All)
    }

    /// The same with one view as training sees it, as [`open_at`](Self::open_at) does of files.
    ///
    /// # Errors
    /// As [`of_frames`](Self::of_frames), and when a field of the crop makes no sense.
    pub fn of_frames_at(
        &self,
        visit: Visit,
        crop: Option<RandomResizedCrop>,
        frames: &[Rgb],
        fps: Option<f64>,
    ) -> Result<Clip, ClipError> {
        self.hold(frames, fps, Views::At(visit, crop))
    }

    fn hold(&self, frames: &[Rgb], fps: Option<f64>, views: Views) -> Result<Clip, ClipError> {
        self.validate()?;
        let fps = self.rate(&ClipOptions { fps, ..ClipOptions::default() })?;
        self.collect(&Held { frames, fps }, views)
    }

    /// Frames per second of frames that do not say.
    fn rate(&self, options: &ClipOptions) -> Result<f64, ClipError> {
        match options.fps {
            Some(fps) if !super::sampling::is_rate(fps) => Err(ClipError::Setting {
                setting: "fps",
                value: fps.to_string(),
                allowed: "above 0 and at most 100000; use e.g. 30",
            }),
            Some(fps) => Ok(fps),
            // Where the sampling counts in no time, any will do.
            None => Ok(self.sampling.fps().unwrap_or(30.0)),
        }
    }

    fn collect(&self, source: &dyn Frames, views: Views) -> Result<Clip, ClipError> {
        let (mut count, fps) = (source.count(), source.fps());
        let random = match views {
            Views::At(visit, Some(crop)) => {
                crop.validate()?;
                Some((crop, visit))
            }
            Views::All | Views::At(_, None) => None,
        };
        let spatial = if random.is_some() { 1 } else { self.fit.crops() };
        loop {
            if count == 0 {
                return Err(ClipError::NoFrames);
            }
            let taken = match views {
                Views::All => self.sampling.of(count, fps),
                Views::At(visit, _) => vec![self.sampling.from(clip_start(visit), count, fps)],
            };
            let mut needed = taken.concat();
            needed.sort_unstable();
            needed.dedup();
            let mut crops = Vec::with_capacity(needed.len() * spatial);
            let came = source.read(&needed, &mut |frame| {
                match &random {
                    Some((crop, visit)) => crops.push(self.fit.random(frame, crop, *visit)?),
                    None => crops.extend(self.fit.of(frame)?),
                }
                Ok(())
            })?;
            match came {
                Came::All => {
                    let size = self.fit.size();
                    return Ok(Clip { taken, needed, crops, spatial, size, video_frames: count, fps });
                }
                // Packets that show nothing were counted as frames.
                Came::Only(fewer) => count = fewer.min(count - 1),
            }
        }
    }

    /// Adds the values of all views to `values`: `[views, 3, frames, height, width]`, `(v / 255 - mean) / std`.
    ///
    /// # Errors
    /// When the clip was made by a processor of another shape, or a field of this one makes no sense.
    pub fn normalise(&self, clip: &Clip, values: &mut Vec<f32>) -> Result<(), ClipError> {
        self.validate()?;
        let (_, frames, height, width) = self.shape();
        if (clip.frames(), clip.size()) != (frames, (height, width)) {
            let (clip_height, clip_width) = clip.size();
            return Err(ClipError::OtherShape {
                found: format!("{} frames of {clip_height}x{clip_width}", clip.frames()),
                wanted: format!("{frames} of {height}x{width}"),
            });
        }
        let (mean, std) = self.fit.normalisation();
        let plane = height * width;
        values.reserve(clip.views() * frames * 3 * plane);
        for view in 0..clip.views() {
            for channel in 0..3 {
                let (mean, std) = (mean[channel], std[channel]);
                for frame in 0..frames {
                    let pixels = &clip.frame(view, frame)[channel * plane..][..plane];
                    values.extend(pixels.iter().map(|value| (value / 255.0 - mean) / std));
                }
            }
        }
        Ok(())
    }
}
