//! The same preparation with another setting.

use super::{ClipError, ClipProcessor, FrameFit, Sampling, SpatialCrops};
use crate::{Interpolation, Preprocess};

impl ClipProcessor {
    /// The same for another height and width of the model's input. The shorter side grows with the crop.
    #[must_use]
    pub fn with_size(&self, size: (usize, usize)) -> Self {
        let fit = match &self.fit {
            FrameFit::Float { short_side, crop, crops, mean, std } if size.0 == size.1 => FrameFit::Float {
                short_side: (size.0 * short_side).div_ceil(*crop).max(size.0),
                crop: size.0,
                crops: *crops,
                mean: *mean,
                std: *std,
            },
            FrameFit::Float { mean, std, .. } => FrameFit::Picture(Preprocess {
                input_size: size,
                interpolation: Interpolation::Bilinear,
                mean: *mean,
                std: *std,
                ..Preprocess::default()
            }),
            FrameFit::Picture(preprocess) => {
                FrameFit::Picture(Preprocess { input_size: size, ..preprocess.clone() })
            }
        };
        Self { sampling: self.sampling, fit }
    }

    /// The same with another sampling.
    #[must_use]
    pub fn with_sampling(self, sampling: Sampling) -> Self {
        Self { sampling, ..self }
    }

    /// The same with so many views along time, and crops of each frame.
    ///
    /// # Errors
    /// When its sampling has one view, its frames have one crop, or there are too many.
    pub fn with_views(&self, views: usize, crops: SpatialCrops) -> Result<Self, ClipError> {
        let sampling =
            if views == self.sampling.views() { self.sampling } else { self.sampling.with_views(views)? };
        let fit = match (&self.fit, crops) {
            (fit, crops) if fit.crops() == crops.count() => fit.clone(),
            (FrameFit::Float { crop, mean, std, .. }, crops) => {
                let short_side = match crops {
                    SpatialCrops::Centre => (crop * 256).div_ceil(224),
                    SpatialCrops::Three => *crop,
                };
                FrameFit::Float { short_side, crop: *crop, crops, mean: *mean, std: *std }
            }
            (FrameFit::Picture(_), _) => {
                return Err(ClipError::Setting {
                    setting: "crops",
                    value: crops.count().to_string(),
                    allowed: "1; frames of this model are prepared as pictures, with one crop",
                });
            }
        };
        Ok(Self { sampling, fit })
    }

    /// The same with a crop that keeps another part of the resized frame.
    ///
    /// # Errors
    /// When the part is not above 0 and at most 1.
    pub fn with_crop_pct(mut self, part: f64) -> Result<Self, ClipError> {
        if !(part > 0.0 && part <= 1.0) {
            return Err(ClipError::Setting {
                setting: "crop_pct",
                value: part.to_string(),
                allowed: "above 0 and at most 1; use e.g. 0.875",
            });
        }
        match &mut self.fit {
            FrameFit::Float { short_side, crop, .. } => *short_side = (*crop as f64 / part).round() as usize,
            FrameFit::Picture(preprocess) => preprocess.crop_pct = part,
        }
        self.validate()?;
        Ok(self)
    }

    /// The part of the resized frame that the crop keeps.
    #[must_use]
    pub fn crop_pct(&self) -> f64 {
        match &self.fit {
            FrameFit::Float { short_side, crop, .. } => *crop as f64 / *short_side as f64,
            FrameFit::Picture(preprocess) => preprocess.crop_pct,
        }
    }

    /// The same with views of so many frames.
    #[must_use]
    pub fn with_frames(mut self, of_view: usize) -> Self {
        match &mut self.sampling {
            Sampling::Spans { frames, .. } | Sampling::Uniform { frames } => *frames = of_view,
        }
        self
    }

    /// The same with another mean and deviation of the channels.
    #[must_use]
    pub fn with_statistics(mut self, given_mean: [f32; 3], given_std: [f32; 3]) -> Self {
        match &mut self.fit {
            FrameFit::Float { mean, std, .. } => (*mean, *std) = (given_mean, given_std),
            FrameFit::Picture(preprocess) => (preprocess.mean, preprocess.std) = (given_mean, given_std),
        }
        self
    }
}
