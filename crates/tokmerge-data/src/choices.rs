//! What a preprocessing is made of: how a picture is fitted, which channels there are, and the usual means.

use serde::{Deserialize, Serialize};

/// Mean of ImageNet, which most models subtract.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];
/// Mean of the AugReg checkpoints: input in [-1, 1].
pub const HALF_MEAN: [f32; 3] = [0.5; 3];
/// Standard deviation that goes with [`HALF_MEAN`].
pub const HALF_STD: [f32; 3] = [0.5; 3];

/// Mean of CLIP's training images.
pub const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Standard deviation that goes with [`CLIP_MEAN`].
pub const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// How a picture of another shape is fitted; names as in timm, which has no `shortest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CropMode {
    /// Keep the aspect ratio, fill the input, lose the rims.
    Center,
    /// Distort, lose nothing but `1 - crop_pct`.
    Squash,
    /// Keep the aspect ratio, lose nothing but `1 - crop_pct`, fill the rest with the mean.
    Border,
    /// Keep the aspect ratio, make the shorter edges equal, lose the rims. For a square input the same as `Center`; a
    /// wide or tall one may not be filled, as with the processors of transformers.
    Shortest,
}

impl CropMode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Center, Self::Squash, Self::Border, Self::Shortest];

    /// The name that timm uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Center => "center",
            Self::Squash => "squash",
            Self::Border => "border",
            Self::Shortest => "shortest",
        }
    }

    /// The mode of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }
}

/// What a crop does that cannot be centred exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CropRounding {
    /// It goes to the even offset: torchvision and timm.
    #[default]
    Even,
    /// It goes to the lower offset: transformers.
    Down,
}

/// The channels of a model's input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// One: the brightness of Pillow's mode L.
    Grey,
}

impl Colour {
    /// Number of channels: 3 or 1.
    pub fn channels(self) -> usize {
        match self {
            Self::Rgb => 3,
            Self::Grey => 1,
        }
    }

    /// The colour of that many channels, if there is one.
    pub fn of_channels(channels: usize) -> Option<Self> {
        [Self::Rgb, Self::Grey].into_iter().find(|colour| colour.channels() == channels)
    }
}
