//! timm's `config.json`, as `timm.models.push_to_hf_hub` writes it, and the flat form of earlier versions.

use serde_json::{Map, Value};

use super::ConfigError;
use super::fields::{Fields, MAX_SIZE};

/// timm's form: an architecture by name, and how its weights were trained.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TimmConfig {
    /// The name in timm's registry: `vit_tiny_patch16_224`.
    pub architecture: String,
    /// Classes of the head; 0 where it was removed.
    pub num_classes: Option<usize>,
    /// Channels before the head.
    pub num_features: Option<usize>,
    /// `token`, `avg`, ….
    pub global_pool: Option<String>,
    /// Training and preprocessing.
    pub pretrained_cfg: PretrainedConfig,
    /// Changes to the architecture's arguments, as written.
    pub model_args: Map<String, Value>,
    /// Names of the classes, in order; empty where not given.
    pub label_names: Vec<String>,
    /// The whole file.
    pub raw: Value,
}

/// How timm's weights were trained and expect their images.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PretrainedConfig {
    /// Which weights: `augreg_in21k_ft_in1k`.
    pub tag: Option<String>,
    /// Channels, height, width.
    pub input_size: Option<[usize; 3]>,
    /// As `input_size`, where evaluation uses another one.
    pub test_input_size: Option<[usize; 3]>,
    /// Per channel, for pixels in 0..=1.
    pub mean: Option<Vec<f64>>,
    /// Per channel, for pixels in 0..=1; above zero.
    pub std: Option<Vec<f64>>,
    /// `bicubic`, `bilinear`, ….
    pub interpolation: Option<String>,
    /// Part of the image kept by the centre crop.
    pub crop_pct: Option<f64>,
    /// As `crop_pct`, where evaluation uses another one.
    pub test_crop_pct: Option<f64>,
    /// `center`, `squash`, `border`.
    pub crop_mode: Option<String>,
}

impl TimmConfig {
    pub(super) fn from_json(raw: &Value) -> Result<Self, ConfigError> {
        let top = Fields::of(raw)?;
        let text = |field| Ok(top.optional_text(field)?.map(str::to_owned));
        let architecture = text("architecture")?.ok_or_else(|| top.missing("architecture"))?;
        // The flat form has the fields of pretrained_cfg beside the others.
        let pretrained = top.object("pretrained_cfg")?.unwrap_or_else(|| top.clone());
        let num_classes = match top.optional_size("num_classes", 0..=MAX_SIZE)? {
            None => pretrained.optional_size("num_classes", 0..=MAX_SIZE)?,
            given => given,
        };
        let label_names = match top.get("label_names") {
            Some(Value::Object(by_index)) => labels_by_index(&top, by_index)?,
            Some(_) => top.texts("label_names")?,
            None => top.texts("labels")?,
        };
        Ok(Self {
            architecture,
            num_classes,
            num_features: top.optional_size("num_features", 1..=MAX_SIZE)?,
            global_pool: text("global_pool")?,
            pretrained_cfg: PretrainedConfig::from_json(&pretrained)?,
            model_args: match top.get("model_args") {
                None => Map::new(),
                Some(Value::Object(arguments)) => arguments.clone(),
                Some(other) => return Err(top.wrong("model_args", "an object", other)),
            },
            label_names,
            raw: raw.clone(),
        })
    }

    /// The changes to the architecture's arguments, to be read by name.
    #[must_use]
    pub fn arguments(&self) -> Fields<'_> {
        Fields::from(&self.model_args)
    }
}

impl PretrainedConfig {
    fn from_json(fields: &Fields<'_>) -> Result<Self, ConfigError> {
        const MAX_SIDE: usize = 1 << 16;
        let image_size = |field| fields.array(field, |side| fields.size_of(field, side, &(1..=MAX_SIDE)));
        let part = |field| {
            let part = fields.optional_number(field, 0.0..=10.0)?;
            match part.zip(fields.get(field)) {
                Some((0.0, value)) => Err(fields.wrong(field, "above 0 and at most 10", value)),
                _ => Ok(part),
            }
        };
        let text = |field| Ok(fields.optional_text(field)?.map(str::to_owned));
        Ok(Self {
            tag: text("tag")?,
            input_size: image_size("input_size")?,
            test_input_size: image_size("test_input_size")?,
            mean: channels(fields, "mean", "finite", f64::is_finite)?,
            std: channels(fields, "std", "above 0", |std| std.is_finite() && std > 0.0)?,
            interpolation: text("interpolation")?,
            crop_pct: part("crop_pct")?,
            test_crop_pct: part("test_crop_pct")?,
            crop_mode: text("crop_mode")?,
        })
    }
}

/// One number per channel.
fn channels(
    fields: &Fields<'_>,
    field: &str,
    rule: &str,
    fits: impl Fn(f64) -> bool,
) -> Result<Option<Vec<f64>>, ConfigError> {
    const MAX_CHANNELS: usize = 1024;
    let Some(value) = fields.get(field) else { return Ok(None) };
    let list = value.as_array().filter(|list| (1..=MAX_CHANNELS).contains(&list.len()));
    let list = list.ok_or_else(|| fields.wrong(field, "a list with a number per channel", value))?;
    let number = |value: &Value| {
        value.as_f64().filter(|number| fits(*number)).ok_or_else(|| fields.wrong(field, rule, value))
    };
    list.iter().map(number).collect::<Result<_, _>>().map(Some)
}

/// timm also accepts `{"0": name, "1": name, …}`.
fn labels_by_index(top: &Fields<'_>, labels: &Map<String, Value>) -> Result<Vec<String>, ConfigError> {
    let rule = "a list of names, or an object whose keys count from 0";
    (0..labels.len())
        .map(|index| {
            let label = labels.get(&index.to_string()).and_then(Value::as_str);
            let all = || top.wrong("label_names", rule, &Value::Object(labels.clone()));
            label.map(str::to_owned).ok_or_else(all)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{ModelConfig, TimmConfig};

    fn timm(text: &str) -> Result<TimmConfig, String> {
        match ModelConfig::parse(text) {
            Ok(ModelConfig::Timm(config)) => Ok(config),
            Ok(other) => panic!("read as {other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_nested_form_is_read() {
        let config = timm(
            r#"{"architecture": "vit_tiny_patch16_224", "num_classes": 1000, "num_features": 192, "global_pool": "token",
                "pretrained_cfg": {"tag": "augreg_in21k_ft_in1k", "input_size": [3, 224, 224], "test_input_size": null,
                "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "crop_pct": 0.9,
                "crop_mode": "center"}, "model_args": {"img_size": 224}, "label_names": ["a", "b"]}"#,
        )
        .unwrap();
        assert_eq!((config.num_classes, config.num_features), (Some(1000), Some(192)));
        assert_eq!(config.pretrained_cfg.tag.as_deref(), Some("augreg_in21k_ft_in1k"));
        assert_eq!(config.pretrained_cfg.input_size, Some([3, 224, 224]));
        assert_eq!(
            (config.pretrained_cfg.crop_pct, config.pretrained_cfg.test_input_size),
            (Some(0.9), None)
        );
        assert_eq!(config.model_args["img_size"], 224);
        assert_eq!(config.label_names, ["a", "b"]);
        assert_eq!(config.raw["architecture"], "vit_tiny_patch16_224");
    }

    #[test]
    fn the_old_flat_form_is_read() {
        let config = timm(
            r#"{"architecture": "resnet18", "num_classes": 10, "input_size": [3, 32, 48], "crop_pct": 1,
                "mean": [0, 0, 0], "labels": {"0": "x"}}"#,
        );
        assert!(config.unwrap_err().contains("`labels` must be a list of strings"));
        let config =
            timm(r#"{"architecture": "a", "num_classes": 10, "input_size": [3, 32, 48], "crop_pct": 1, "labels": ["x"]}"#)
                .unwrap();
        assert_eq!(config.pretrained_cfg.input_size, Some([3, 32, 48]));
        assert_eq!((config.num_classes, config.label_names.len()), (Some(10), 1));
    }

    #[test]
    fn labels_may_be_numbered() {
        let text = r#"{"architecture": "a", "label_names": {"1": "dog", "0": "cat"}}"#;
        assert_eq!(timm(text).unwrap().label_names, ["cat", "dog"]);
        assert!(timm(r#"{"architecture": "a", "label_names": {"7": "dog"}}"#).is_err());
    }

    #[test]
    fn nonsense_is_refused_with_its_field() {
        for (text, expected) in [
            (r#"{"architecture": 3}"#, "`architecture` must be a string, not 3"),
            (r#"{"architecture": "a", "num_classes": -1}"#, "`num_classes` must be a whole number"),
            (r#"{"architecture": "a", "num_features": 0}"#, "`num_features`"),
            (r#"{"architecture": "a", "num_classes": 99999999999}"#, "`num_classes`"),
            (
                r#"{"architecture": "a", "pretrained_cfg": {"input_size": [3, 0, 224]}}"#,
                "`pretrained_cfg.input_size`",
            ),
            (r#"{"architecture": "a", "pretrained_cfg": {"input_size": [3, 224]}}"#, "a list of 3"),
            (
                r#"{"architecture": "a", "pretrained_cfg": {"std": [0.5, 0, 0.5]}}"#,
                "`pretrained_cfg.std` must be above 0, not 0",
            ),
            (
                r#"{"architecture": "a", "pretrained_cfg": {"crop_pct": 0}}"#,
                "`pretrained_cfg.crop_pct` must be above 0",
            ),
            (r#"{"architecture": "a", "pretrained_cfg": []}"#, "`pretrained_cfg` must be an object"),
        ] {
            let message = timm(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
