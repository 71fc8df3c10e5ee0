//! `open_clip_config.json`.

use serde_json::Value;

use super::{ConfigError, Keys, side};
use crate::{CLIP_MEAN, CLIP_STD, CropMode, Interpolation, Preprocess};

/// A number for both sides, or a list of the two.
fn height_and_width(value: &Value) -> Option<(usize, usize)> {
    match value.as_array().map(Vec::as_slice) {
        None => side(value).map(|side| (side, side)),
        Some([height, width]) => Some((side(height)?, side(width)?)),
        Some(_) => None,
    }
}

impl Preprocess {
    /// From `open_clip_config.json`: `preprocess_cfg {mean, std, interpolation, resize_mode, fill_color}` and the
    /// size of the image tower, `model_cfg.vision_cfg.image_size` (224 where it is absent), as open_clip does it:
    /// `preprocess_cfg.size` counts only where there is no `model_cfg`.
    pub fn from_open_clip_config(config: &Value) -> Result<Self, ConfigError> {
        let null = Value::Null;
        let file = "open_clip config";
        let keys = Keys { object: config.get("preprocess_cfg").unwrap_or(&null), file };
        let size = "a number or [height, width]";
        let input_size = match config.get("model_cfg") {
            Some(model) => {
                let vision = Keys { object: model.get("vision_cfg").unwrap_or(&null), file };
                vision.read("image_size", size, height_and_width)?
            }
            None => keys.read("size", size, height_and_width)?,
        };
        let input_size = input_size.unwrap_or((224, 224));
        keys.read("mode", "\"RGB\"", |v| (v.as_str()? == "RGB").then_some(()))?;
        let crop_mode = keys.read("resize_mode", "\"shortest\", \"longest\" or \"squash\"", |v| {
            Some(match v.as_str()? {
                "shortest" => CropMode::Center,
                "longest" => CropMode::Border,
                "squash" => CropMode::Squash,
                _ => return None,
            })
        })?;
        let crop_mode = crop_mode.unwrap_or(CropMode::Center);
        let interpolation = keys.read("interpolation", "\"bicubic\", \"bilinear\" or \"random\"", |v| {
            Some(match v.as_str()? {
                "bilinear" => Interpolation::Bilinear,
                // Random is for training.
                "bicubic" | "random" => Interpolation::Bicubic,
                _ => return None,
            })
        })?;
        // For inputs that are not square open_clip resizes to the shortest edge by cubics, whatever is asked for.
        let is_square = input_size.0 == input_size.1;
        let interpolation = interpolation
            .filter(|_| is_square || crop_mode != CropMode::Center)
            .unwrap_or(Interpolation::Bicubic);
        let fill =
            keys.read("fill_color", "a whole number from 0 to 255", |v| u8::try_from(v.as_u64()?).ok())?;
        let read = Self {
            input_size,
            crop_pct: 1.0,
            crop_mode,
            interpolation,
            mean: keys.per_channel("mean")?.unwrap_or(CLIP_MEAN),
            std: keys.per_channel("std")?.unwrap_or(CLIP_STD),
            fill: Some([fill.filter(|_| crop_mode == CropMode::Border).unwrap_or(0); 3]),
            ..Self::default()
        };
        read.validate()?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(config: Value) -> Result<Preprocess, String> {
        Preprocess::from_open_clip_config(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn each_resize_mode_is_the_crop_mode_of_the_same_geometry() {
        let of = |preprocess: Value, size: Value| {
            read(json!({"model_cfg": {"vision_cfg": {"image_size": size}}, "preprocess_cfg": preprocess}))
                .unwrap()
        };
        let plain = of(json!({}), json!(null));
        assert_eq!((plain.input_size, plain.crop_pct, plain.crop_mode), ((224, 224), 1.0, CropMode::Center));
        assert_eq!(
            (plain.mean, plain.std, plain.interpolation),
            (CLIP_MEAN, CLIP_STD, Interpolation::Bicubic)
        );
        let squash =
            of(json!({"resize_mode": "squash", "interpolation": "bilinear", "mean": 0.5}), json!([32, 48]));
        assert_eq!((squash.input_size, squash.crop_mode), ((32, 48), CropMode::Squash));
        assert_eq!((squash.interpolation, squash.mean), (Interpolation::Bilinear, [0.5; 3]));
        let longest = of(json!({"resize_mode": "longest", "fill_color": 7}), json!(32));
        assert_eq!((longest.crop_mode, longest.fill), (CropMode::Border, Some([7; 3])));
        let wide = of(json!({"interpolation": "bilinear"}), json!([32, 48]));
        assert_eq!(wide.interpolation, Interpolation::Bicubic, "as open_clip does it");
        let alone = read(json!({"preprocess_cfg": {"size": 336}})).unwrap();
        assert_eq!(alone.input_size, (336, 336));
    }

    #[test]
    fn unknown_values_are_refused_with_what_is_allowed() {
        for (key, value, allowed) in [
            ("resize_mode", json!("middle"), "\"longest\""),
            ("interpolation", json!("lanczos"), "\"bilinear\""),
            ("fill_color", json!(300), "0 to 255"),
            ("mode", json!("L"), "\"RGB\""),
            ("mean", json!([0.5, 0.5]), "one or three"),
            ("size", json!([1, 2, 3]), "[height, width]"),
        ] {
            let message = read(json!({"preprocess_cfg": {key: value}})).unwrap_err();
            assert!(message.contains(key) && message.contains(allowed), "{message}");
        }
    }
}
