//! What a user wants otherwise than a checkpoint's metadata say.

use serde::{Deserialize, Serialize};

use crate::{CropMode, Interpolation, Preprocess, PreprocessError};

/// Settings of a [`Preprocess`] that replace a model's own, the same on the command line and in recipes. What is
/// absent stays as the model has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PreprocessOverrides {
    /// The part of the resized picture that the crop keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop_pct: Option<f64>,
    /// How the picture is fitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop_mode: Option<CropMode>,
    /// How it is resized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpolation: Option<Interpolation>,
    /// Subtracted from each channel: one number for all, or one for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// Divides each channel after that: one number for all, or one for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
}

impl PreprocessOverrides {
    /// The name of the first setting of crops that is given.
    pub(crate) fn of_crops(&self) -> Option<&'static str> {
        self.first().filter(|setting| ["crop_pct", "crop_mode"].contains(setting))
    }

    /// The name of the first setting that is given.
    pub(crate) fn first(&self) -> Option<&'static str> {
        let given = [
            (self.crop_pct.is_some(), "crop_pct"),
            (self.crop_mode.is_some(), "crop_mode"),
            (self.interpolation.is_some(), "interpolation"),
            (self.mean.is_some(), "mean"),
            (self.std.is_some(), "std"),
        ];
        given.into_iter().find_map(|(is_given, name)| is_given.then_some(name))
    }
}

impl Preprocess {
    /// This preprocessing with the user's settings in place of its own.
    ///
    /// # Errors
    /// When the result makes no sense, or a mean or standard deviation has another number of channels.
    pub fn with(&self, overrides: &PreprocessOverrides) -> Result<Self, PreprocessError> {
        let per_channel = |field, given: &Option<Vec<f32>>, own: [f32; 3]| match given.as_deref() {
            None => Ok(own),
            Some([all]) => Ok([*all; 3]),
            Some([red, green, blue]) if self.channels() == 3 || (red == green && green == blue) => {
                Ok([*red, *green, *blue])
            }
            Some(given) => {
                Err(PreprocessError::Channels { field, count: given.len(), channels: self.channels() })
            }
        };
        let changed = Self {
            crop_pct: overrides.crop_pct.unwrap_or(self.crop_pct),
            crop_mode: overrides.crop_mode.unwrap_or(self.crop_mode),
            interpolation: overrides.interpolation.unwrap_or(self.interpolation),
            mean: per_channel("mean", &overrides.mean, self.mean)?,
            std: per_channel("std", &overrides.std, self.std)?,
            ..self.clone()
        };
        changed.validate()?;
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Colour;

    #[test]
    fn what_is_given_replaces_and_what_is_absent_stays() {
        let own = Preprocess { input_size: (32, 48), ..Preprocess::default() };
        assert_eq!(own.with(&PreprocessOverrides::default()).unwrap(), own);
        let wanted: PreprocessOverrides = serde_json::from_value(serde_json::json!({
            "crop_pct": 1.0, "crop_mode": "squash", "interpolation": "box", "mean": [0.5], "std": [0.1, 0.2, 0.3],
        }))
        .unwrap();
        let expected = Preprocess {
            crop_pct: 1.0,
            crop_mode: CropMode::Squash,
            interpolation: Interpolation::Box,
            mean: [0.5; 3],
            std: [0.1, 0.2, 0.3],
            ..own.clone()
        };
        assert_eq!(own.with(&wanted).unwrap(), expected);
        assert_eq!(serde_json::to_value(PreprocessOverrides::default()).unwrap(), serde_json::json!({}));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_value() {
        let own = Preprocess::default();
        let text = |wanted| own.with(&wanted).unwrap_err().to_string();
        let mean = |mean: &[f32]| PreprocessOverrides { mean: Some(mean.to_vec()), ..Default::default() };
        assert!(
            text(mean(&[0.5, 0.5]))
                .contains("mean has 2 numbers, and one for all channels or one for each of 3")
        );
        assert!(text(mean(&[])).contains("mean has 0 numbers"));
        assert!(
            text(PreprocessOverrides { crop_pct: Some(0.0), ..Default::default() }).contains("crop_pct is 0")
        );
        let grey = Preprocess { colour: Colour::Grey, ..own.clone() };
        assert_eq!(grey.with(&mean(&[0.5, 0.5, 0.5])).unwrap().channel_means(), [0.5]);
        let message = grey.with(&mean(&[0.4, 0.5, 0.6])).unwrap_err().to_string();
        assert!(message.contains("each of 1"), "{message}");
    }
}
