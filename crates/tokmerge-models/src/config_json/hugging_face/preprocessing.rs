//! How pictures are prepared for each type of models when no `preprocessor_config.json` says it: as for the models that
//! its authors published.

use tokmerge_data::{
    CLIP_MEAN, CLIP_STD, CropMode, CropRounding, HALF_MEAN, HALF_STD, IMAGENET_MEAN, IMAGENET_STD,
    Interpolation, Preprocess,
};

/// How pictures are prepared, whatever the size.
#[derive(Clone, Copy)]
pub(super) struct Preparation {
    mean: [f32; 3],
    std: [f32; 3],
    interpolation: Interpolation,
    crop_mode: CropMode,
    crop_pct: f64,
}

impl Preparation {
    pub(super) const VIT: Self = Self {
        mean: HALF_MEAN,
        std: HALF_STD,
        interpolation: Interpolation::Bilinear,
        crop_mode: CropMode::Squash,
        crop_pct: 1.0,
    };
    pub(super) const DEIT: Self = Self {
        mean: IMAGENET_MEAN,
        std: IMAGENET_STD,
        interpolation: Interpolation::Bicubic,
        crop_mode: CropMode::Squash,
        crop_pct: 0.875,
    };
    pub(super) const MAE: Self = Self { mean: IMAGENET_MEAN, std: IMAGENET_STD, ..Self::VIT };
    pub(super) const DINOV2: Self = Self { crop_mode: CropMode::Center, ..Self::DEIT };
    pub(super) const DINOV3: Self = Self::MAE;
    pub(super) const BEIT: Self = Self { interpolation: Interpolation::Bicubic, ..Self::VIT };
    pub(super) const CLIP: Self = Self {
        mean: CLIP_MEAN,
        std: CLIP_STD,
        interpolation: Interpolation::Bicubic,
        crop_mode: CropMode::Center,
        crop_pct: 1.0,
    };
    pub(super) const SIGLIP: Self = Self::BEIT;

    /// The preprocessing for an input of this height and width.
    pub(super) fn preprocess(self, input_size: (usize, usize)) -> Preprocess {
        let Self { mean, std, interpolation, crop_mode, crop_pct } = self;
        let crop_rounding = CropRounding::Down;
        Preprocess {
            input_size,
            crop_pct,
            crop_mode,
            crop_rounding,
            interpolation,
            mean,
            std,
            ..Preprocess::default()
        }
    }
}
