//! timm's `config.json`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{ConfigError, Keys, side};
use crate::{Colour, CropMode, CropRounding, Preprocess};

impl Preprocess {
    /// From timm's `config.json`: `pretrained_cfg {input_size, crop_pct, crop_mode, interpolation, mean,
    /// std}`, or the same keys at the top (the old form).
    ///
    /// `input_size` is required, with three channels or one (grey); other keys that are absent have timm's defaults,
    /// those of [`Preprocess::default`]. `test_input_size` and `test_crop_pct` are not used, as in timm unless it is
    /// asked to. What timm has no word for stands under keys of our own: see [`to_timm_config`](Self::to_timm_config).
    pub fn from_timm_config(config: &Value) -> Result<Self, ConfigError> {
        let object = config.get("pretrained_cfg").filter(|v| v.is_object()).unwrap_or(config);
        let keys = Keys { object, file: "timm config" };
        let default = Self::default();
        let allowed = "[channels, height, width] with 3 channels or 1";
        let (colour, input_size) =
            keys.require("input_size", allowed, |v| match v.as_array()?.as_slice() {
                [channels, height, width] => {
                    Some((Colour::of_channels(side(channels)?)?, (side(height)?, side(width)?)))
                }
                _ => None,
            })?;
        let modes = "\"center\", \"squash\", \"border\" or \"shortest\"";
        let read = Self {
            input_size,
            colour,
            crop_pct: keys.read("crop_pct", "a number above 0", Value::as_f64)?.unwrap_or(default.crop_pct),
            crop_mode: keys
                .read("crop_mode", modes, |v| CropMode::from_name(v.as_str()?))?
                .unwrap_or(default.crop_mode),
            interpolation: keys.interpolation("interpolation")?.unwrap_or(default.interpolation),
            mean: keys.per_channel("mean")?.unwrap_or(default.mean),
            std: keys.per_channel("std")?.unwrap_or(default.std),
            crop_rounding: keys
                .read("crop_rounding", "\"even\" or \"down\"", |v| CropRounding::deserialize(v).ok())?
                .unwrap_or_default(),
            fill: keys.read("fill", "three numbers from 0 to 255", |v| <[u8; 3]>::deserialize(v).ok())?,
        };
        read.validate()?;
        Ok(read)
    }

    /// The keys of timm's `pretrained_cfg` that [`from_timm_config`](Self::from_timm_config) reads this preprocessing
    /// back from: `input_size`, `mean`, `std`, `interpolation`, `crop_pct`, `crop_mode`, and, where they are not timm's
    /// own, `crop_rounding` and `fill`, which timm passes over.
    pub fn to_timm_config(&self) -> Value {
        // The shortest decimal that reads back as this value.
        let decimal = |value: &f32| value.to_string().parse::<f64>().unwrap_or(f64::from(*value));
        let decimals = |values: &[f32]| values.iter().map(decimal).collect::<Vec<f64>>();
        let (height, width) = self.input_size;
        let mut written = json!({
            "input_size": [self.channels(), height, width],
            "mean": decimals(self.channel_means()),
            "std": decimals(self.channel_stds()),
            "interpolation": self.interpolation.name(),
            "crop_pct": self.crop_pct,
            "crop_mode": self.crop_mode.name(),
        });
        if self.crop_rounding != CropRounding::default() {
            written["crop_rounding"] = json!(self.crop_rounding);
        }
        if let Some(fill) = self.fill {
            written["fill"] = json!(fill);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timm(value: Value) -> Result<Preprocess, String> {
        Preprocess::from_timm_config(&value).map_err(|e| e.to_string())
    }

    #[test]
    fn timm_configs_of_both_forms_are_read() {
        let inner = json!({
            "input_size": [3, 224, 196], "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "border",
            "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "num_classes": 1000, "fixed_input_size": true,
        });
        let expected = Preprocess {
            input_size: (224, 196),
            crop_pct: 0.9,
            crop_mode: CropMode::Border,
            mean: [0.5; 3],
            std: [0.5; 3],
            ..Preprocess::default()
        };
        assert_eq!(timm(inner.clone()).unwrap(), expected);
        assert_eq!(timm(json!({"architecture": "vit", "pretrained_cfg": inner})).unwrap(), expected);
        assert_eq!(
            timm(json!({"input_size": [3, 224, 224], "crop_mode": null})).unwrap(),
            Preprocess::default()
        );
    }

    #[test]
    fn timm_values_that_are_unknown_are_refused_with_what_is_allowed() {
        let with = |key: &str, value: Value| {
            let mut config = json!({"input_size": [3, 8, 8]});
            config[key] = value;
            timm(config).unwrap_err()
        };
        assert!(timm(json!({})).unwrap_err().contains("input_size is missing"));
        assert!(timm(json!("text")).unwrap_err().contains("input_size is missing"));
        assert!(with("input_size", json!([2, 8, 8])).contains("3 channels or 1"));
        assert!(with("input_size", json!([3, -8, 8])).contains("[3,-8,8]"));
        assert!(with("input_size", json!([3, 0, 8])).contains("0x8"));
        assert!(with("input_size", json!([3, u64::MAX, 8])).contains("input_size"));
        assert!(with("interpolation", json!("random")).contains("\"bilinear\""));
        assert!(with("crop_rounding", json!("up")).contains("\"down\""));
        assert!(with("fill", json!([1, 2, 300])).contains("0 to 255"));
        assert!(with("crop_mode", json!("middle")).contains("\"squash\""));
        let odd = with("crop_mode", json!(format!("bor\u{7f}er\u{9b}31m{}", "x".repeat(100_000))));
        assert!(!odd.contains(char::is_control) && odd.len() < 300, "{odd}");
        assert!(with("crop_pct", json!(0)).contains("crop_pct is 0"));
        assert!(with("crop_pct", json!("0.9")).contains("a number above 0"));
        assert!(with("mean", json!([0.5, 0.5])).contains("one or three numbers"));
        assert!(with("mean", json!([0.5, 1e300, 0.5])).contains("inf"));
        assert!(with("std", json!([0.5, 0.0, 0.5])).contains("std"));
    }

    #[test]
    fn one_channel_is_grey_and_one_number_counts_for_all_channels() {
        let grey = timm(json!({"input_size": [1, 48, 64], "mean": [0.4], "std": [0.25]})).unwrap();
        assert_eq!((grey.colour, grey.channels(), grey.output_len()), (Colour::Grey, 1, 48 * 64));
        assert_eq!((grey.mean, grey.std), ([0.4; 3], [0.25; 3]));
    }

    #[test]
    fn what_is_written_reads_back() {
        let plain = Preprocess::default();
        let odd = Preprocess {
            input_size: (48, 80),
            crop_pct: 0.75,
            crop_mode: CropMode::Shortest,
            crop_rounding: CropRounding::Down,
            fill: Some([1, 2, 3]),
            mean: crate::CLIP_MEAN,
            ..plain.clone()
        };
        let grey = Preprocess { colour: Colour::Grey, mean: [0.3; 3], std: [0.7; 3], ..plain.clone() };
        for preprocess in [plain.clone(), odd, grey] {
            assert_eq!(timm(preprocess.to_timm_config()).unwrap(), preprocess);
        }
        let mut keys: Vec<String> = plain.to_timm_config().as_object().unwrap().keys().cloned().collect();
        keys.sort();
        assert_eq!(keys, ["crop_mode", "crop_pct", "input_size", "interpolation", "mean", "std"]);
    }
}
