//! Preprocessing from the metadata that comes with a checkpoint.
//!
//! Two forms: timm's `config.json` and Hugging Face's `preprocessor_config.json`. A key that is absent has
//! the default of the library that wrote the file; a value that is unknown is an error, never ignored.

use serde_json::Value;

use crate::{CropMode, IMAGENET_MEAN, IMAGENET_STD, Interpolation, Preprocess, PreprocessError};

/// Why metadata gives no preprocessing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A needed key is absent.
    #[error(
        "{key} is missing in the {file}, and it must be {allowed}; add it, or give the preprocessing yourself"
    )]
    Missing {
        /// The key.
        key: &'static str,
        /// Which kind of file.
        file: &'static str,
        /// What may stand there.
        allowed: &'static str,
    },
    /// A value is of the wrong kind, out of range or unknown.
    #[error("{key} is {found} in the {file}, and it must be {allowed}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        found: String,
        /// Which kind of file.
        file: &'static str,
        /// What may stand there.
        allowed: &'static str,
    },
    /// The values are of the right kind but make no sense.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
}

/// An object and what to call it.
struct Keys<'a> {
    object: &'a Value,
    file: &'static str,
}

impl<'a> Keys<'a> {
    /// The value of `key`; `null` counts as absent.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|v| !v.is_null())
    }

    fn wrong(&self, key: &'static str, value: &Value, allowed: &'static str) -> ConfigError {
        let found = value.to_string().chars().take(80).collect();
        ConfigError::Value { key, found, file: self.file, allowed }
    }

    /// The value of `key` as `parse` reads it, `None` where it is absent.
    fn read<T>(
        &self,
        key: &'static str,
        allowed: &'static str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        self.get(key).map(|v| parse(v).ok_or_else(|| self.wrong(key, v, allowed))).transpose()
    }

    fn require<T>(
        &self,
        key: &'static str,
        allowed: &'static str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let missing = ConfigError::Missing { key, file: self.file, allowed };
        self.read(key, allowed, parse)?.ok_or(missing)
    }

    fn flag(&self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        self.read(key, "true or false", Value::as_bool)
    }

    fn triple(&self, key: &'static str) -> Result<Option<[f32; 3]>, ConfigError> {
        self.read(key, "a list of three numbers", triple)
    }
}

fn triple(value: &Value) -> Option<[f32; 3]> {
    let list = value.as_array().filter(|l| l.len() == 3)?;
    let mut out = [0.0; 3];
    for (out, v) in out.iter_mut().zip(list) {
        *out = v.as_f64()? as f32;
    }
    Some(out)
}

fn side(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}

fn height_and_width(value: &Value) -> Option<(usize, usize)> {
    match value {
        Value::Number(_) => side(value).map(|s| (s, s)),
        Value::Object(o) if o.len() == 2 => Some((side(o.get("height")?)?, side(o.get("width")?)?)),
        _ => None,
    }
}

/// What Hugging Face's `size` asks for.
enum Resize {
    Exactly(usize, usize),
    ShortestEdge(usize),
}

impl Preprocess {
    /// From timm's `config.json`: `pretrained_cfg {input_size, crop_pct, crop_mode, interpolation, mean,
    /// std}`, or the same keys at the top (the old form).
    ///
    /// `input_size` is required; other keys that are absent have timm's defaults, those of
    /// [`Preprocess::default`]. `test_input_size` and `test_crop_pct` are not used, as in timm unless it is
    /// asked to.
    pub fn from_timm_config(config: &Value) -> Result<Self, ConfigError> {
        let object = config.get("pretrained_cfg").filter(|v| v.is_object()).unwrap_or(config);
        let keys = Keys { object, file: "timm config" };
        let default = Self::default();
        let input_size =
            keys.require("input_size", "[3, height, width]", |v| match v.as_array()?.as_slice() {
                [channels, height, width] if channels == 3 => Some((side(height)?, side(width)?)),
                _ => None,
            })?;
        let modes = "\"center\", \"squash\" or \"border\"";
        let kinds = "\"nearest\", \"box\", \"bilinear\", \"hamming\", \"bicubic\" or \"lanczos\"";
        let read = Self {
            input_size,
            crop_pct: keys.read("crop_pct", "a number above 0", Value::as_f64)?.unwrap_or(default.crop_pct),
            crop_mode: keys
                .read("crop_mode", modes, |v| CropMode::from_name(v.as_str()?))?
                .unwrap_or(default.crop_mode),
            interpolation: keys
                .read("interpolation", kinds, |v| Interpolation::from_name(v.as_str()?))?
                .unwrap_or(default.interpolation),
            mean: keys.triple("mean")?.unwrap_or(default.mean),
            std: keys.triple("std")?.unwrap_or(default.std),
        };
        read.validate()?;
        Ok(read)
    }

    /// From Hugging Face's `preprocessor_config.json`: `size`, `crop_size`, `do_center_crop`, `resample`,
    /// `image_mean`, `image_std`, `do_normalize`.
    ///
    /// `size` as `{height, width}` distorts, as `{shortest_edge}` keeps the aspect ratio and needs a centre
    /// crop; a plain number is the shortest edge for CLIP, BiT, ConvNeXT and LeViT processors and both edges
    /// for others. Two details stay as in timm: a crop that cannot be centred exactly goes to the even offset,
    /// where the slow processors round down; and `/ 255` is a division, not a multiplication by 1/255.
    pub fn from_hf_preprocessor(config: &Value) -> Result<Self, ConfigError> {
        let keys = Keys { object: config, file: "Hugging Face preprocessor config" };
        for (key, why) in [
            ("do_resize", "true; images of any size must become one size"),
            ("do_rescale", "true; pixels are divided by 255"),
        ] {
            keys.read(key, why, |v| (v.as_bool()?).then_some(()))?;
        }
        let exact = |v: &Value| ((v.as_f64()? * 255.0 - 1.0).abs() < 1e-4).then_some(());
        keys.read("rescale_factor", "1/255 (0.00392156862745098)", exact)?;

        let allowed = "a number, {\"height\", \"width\"} or {\"shortest_edge\"}";
        let shortest = shortest_edge_by_default(&keys);
        let resize = keys.require("size", allowed, |v| match v {
            Value::Number(_) if shortest => side(v).map(Resize::ShortestEdge),
            Value::Object(o) if o.len() == 1 => side(o.get("shortest_edge")?).map(Resize::ShortestEdge),
            _ => height_and_width(v).map(|(h, w)| Resize::Exactly(h, w)),
        })?;
        let crop = keys.read("crop_size", "a number or {\"height\", \"width\"}", height_and_width)?;
        // Processors that crop write both keys; in files with one of them it decides.
        let crops = keys.flag("do_center_crop")?.unwrap_or(crop.is_some());
        let crop = if crops {
            let allowed = "a number or {\"height\", \"width\"} where do_center_crop is true";
            Some(keys.require("crop_size", allowed, height_and_width)?)
        } else {
            None
        };
        let (input_size, crop_pct, crop_mode) = fitted(&keys, resize, crop)?;
        let (mean, std) = if keys.flag("do_normalize")?.unwrap_or(true) {
            (
                keys.triple("image_mean")?.unwrap_or(IMAGENET_MEAN),
                keys.triple("image_std")?.unwrap_or(IMAGENET_STD),
            )
        } else {
            ([0.0; 3], [1.0; 3])
        };
        let kinds = "0 (nearest), 1 (lanczos), 2 (bilinear), 3 (bicubic), 4 (box) or 5 (hamming)";
        let by_number = |v: &Value| match v.as_u64()? {
            0 => Some(Interpolation::Nearest),
            1 => Some(Interpolation::Lanczos),
            2 => Some(Interpolation::Bilinear),
            3 => Some(Interpolation::Bicubic),
            4 => Some(Interpolation::Box),
            5 => Some(Interpolation::Hamming),
            _ => None,
        };
        let interpolation = keys.read("resample", kinds, by_number)?.unwrap_or(Interpolation::Bilinear);
        let read = Self { input_size, crop_pct, crop_mode, interpolation, mean, std };
        read.validate()?;
        Ok(read)
    }
}

/// Whether a plain number as `size` means the shortest edge.
fn shortest_edge_by_default(keys: &Keys<'_>) -> bool {
    let kind = |key: &str| keys.get(key).and_then(Value::as_str);
    let kind = kind("image_processor_type").or_else(|| kind("feature_extractor_type")).unwrap_or_default();
    ["CLIP", "Bit", "ConvNext", "Levit"].iter().any(|family| kind.starts_with(family))
}

/// Input size, `crop_pct` and mode that do what `resize` and `crop` ask for.
fn fitted(
    keys: &Keys<'_>,
    resize: Resize,
    crop: Option<(usize, usize)>,
) -> Result<((usize, usize), f64, CropMode), ConfigError> {
    let refuse = |key, allowed| Err(keys.wrong(key, keys.get(key).unwrap_or(&Value::Null), allowed));
    match (resize, crop) {
        (Resize::Exactly(h, w), None) => Ok(((h, w), 1.0, CropMode::Squash)),
        (Resize::Exactly(h, w), Some(crop)) => match crop_pct(crop, (h, w)) {
            Some(pct) => Ok((crop, pct, CropMode::Squash)),
            None => refuse("crop_size", "above 0 and of the shape of size"),
        },
        (Resize::ShortestEdge(edge), Some(crop)) if crop.0 == crop.1 => match crop_pct(crop, (edge, edge)) {
            Some(pct) => Ok((crop, pct, CropMode::Center)),
            None => refuse("crop_size", "above 0, as shortest_edge"),
        },
        (Resize::ShortestEdge(_), Some(_)) => refuse("crop_size", "square where size is a shortest edge"),
        (Resize::ShortestEdge(_), None) => {
            refuse("size", "{\"height\", \"width\"} where do_center_crop is not true")
        }
    }
}

/// The number for which `floor(crop / number)` is `size` along both edges.
fn crop_pct(crop: (usize, usize), size: (usize, usize)) -> Option<f64> {
    let fits = |pct: f64| {
        let scale = |side: usize| (side as f64 / pct).floor() as usize;
        (scale(crop.0), scale(crop.1)) == size
    };
    // The plain quotient may miss by rounding, or by the two shapes differing by less than a pixel.
    let candidates = [crop.0 as f64 / size.0 as f64, crop.0 as f64 / (size.0 as f64 + 0.5)];
    candidates.into_iter().find(|&pct| pct > 0.0 && pct.is_finite() && fits(pct))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn timm(value: Value) -> Result<Preprocess, String> {
        Preprocess::from_timm_config(&value).map_err(|e| e.to_string())
    }

    fn hf(value: Value) -> Result<Preprocess, String> {
        Preprocess::from_hf_preprocessor(&value).map_err(|e| e.to_string())
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
            interpolation: Interpolation::Bicubic,
            mean: [0.5; 3],
            std: [0.5; 3],
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
        assert!(with("input_size", json!([1, 8, 8])).contains("[3, height, width]"));
        assert!(with("input_size", json!([3, -8, 8])).contains("[3,-8,8]"));
        assert!(with("input_size", json!([3, 0, 8])).contains("0x8"));
        assert!(with("input_size", json!([3, u64::MAX, 8])).contains("input_size"));
        assert!(with("interpolation", json!("random")).contains("\"bilinear\""));
        assert!(with("crop_mode", json!("middle")).contains("\"squash\""));
        assert!(with("crop_pct", json!(0)).contains("crop_pct is 0"));
        assert!(with("crop_pct", json!("0.9")).contains("a number above 0"));
        assert!(with("mean", json!([0.5])).contains("three numbers"));
        assert!(with("mean", json!([0.5, 1e300, 0.5])).contains("inf"));
        assert!(with("std", json!([0.5, 0.0, 0.5])).contains("std"));
    }

    #[test]
    fn hf_configs_of_known_models_are_read() {
        let vit = hf(json!({
            "do_normalize": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
            "size": 224, "feature_extractor_type": "ViTFeatureExtractor", "resample": 2,
        }));
        let vit = vit.unwrap();
        assert_eq!((vit.input_size, vit.crop_pct, vit.crop_mode), ((224, 224), 1.0, CropMode::Squash));
        assert_eq!((vit.interpolation, vit.mean), (Interpolation::Bilinear, [0.5; 3]));

        let dinov2 = hf(json!({
            "crop_size": {"height": 224, "width": 224}, "do_center_crop": true, "do_rescale": true,
            "image_processor_type": "BitImageProcessor", "resample": 3, "rescale_factor": 0.003_921_568_627_450_98,
            "size": {"shortest_edge": 256}, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
        }));
        let expected = Preprocess { crop_pct: 0.875, ..Preprocess::default() };
        assert_eq!(dinov2.unwrap(), expected);

        let clip = json!({
            "crop_size": 224, "do_center_crop": true, "feature_extractor_type": "CLIPFeatureExtractor",
            "resample": 3, "size": 224, "do_normalize": false,
        });
        let clip = hf(clip).unwrap();
        assert_eq!((clip.crop_mode, clip.crop_pct), (CropMode::Center, 1.0));
        assert_eq!((clip.mean, clip.std), ([0.0; 3], [1.0; 3]));

        let deit = json!({"size": {"height": 256, "width": 256}, "crop_size": 224, "do_center_crop": true});
        let deit = hf(deit).unwrap();
        assert_eq!((deit.crop_mode, deit.crop_pct), (CropMode::Squash, 0.875));
    }

    #[test]
    fn hf_values_that_cannot_be_done_are_refused_with_what_can() {
        let with = |key: &str, value: Value| {
            let mut config = json!({"size": {"height": 8, "width": 8}});
            config[key] = value;
            hf(config).unwrap_err()
        };
        assert!(hf(json!({})).unwrap_err().contains("size is missing"));
        assert!(with("size", json!({"longest_edge": 8})).contains("shortest_edge"));
        assert!(with("size", json!({"shortest_edge": 8})).contains("do_center_crop"));
        assert!(with("size", json!({"height": 0, "width": 8})).contains("0x8"));
        assert!(with("size", json!(1e99)).contains("size"));
        assert!(with("crop_size", json!({"height": 0, "width": 8})).contains("crop_size"));
        assert!(with("do_center_crop", json!(true)).contains("crop_size is missing"));
        assert!(with("do_center_crop", json!("yes")).contains("true or false"));
        assert!(with("resample", json!(9)).contains("3 (bicubic)"));
        assert!(with("do_resize", json!(false)).contains("do_resize is false"));
        assert!(with("rescale_factor", json!(1.0)).contains("1/255"));
        assert!(with("image_std", json!([0, 1, 1])).contains("std"));
    }

    proptest! {
        #[test]
        fn a_crop_pct_is_found_for_every_crop(size in 1..3000_usize, crop in 1..3000_usize) {
            let pct = crop_pct((crop, crop), (size, size)).unwrap();
            prop_assert_eq!((crop as f64 / pct).floor() as usize, size);
        }
    }
}
