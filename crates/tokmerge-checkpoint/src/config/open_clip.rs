//! `open_clip_config.json`: a CLIP model as open_clip writes it.

use serde_json::Value;

use super::ConfigError;
use super::fields::{Fields, MAX_SIZE};

/// open_clip's form: both towers by their numbers, and how images are prepared.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OpenClipConfig {
    /// Channels of the space that both towers project into.
    pub embed_dim: usize,
    /// Whether the activation is QuickGELU instead of GELU.
    pub quick_gelu: bool,
    /// Where the image tower is timm's: its name there (`vit_base_patch16_siglip_224`), as written.
    pub timm_model_name: Option<String>,
    /// Where the image tower is transformers': its name there, as written.
    pub hf_model_name: Option<String>,
    /// The whole file.
    pub raw: Value,
}

impl OpenClipConfig {
    pub(super) fn from_json(raw: &Value) -> Result<Self, ConfigError> {
        let model = Fields::of(raw)?.required_object("model_cfg")?;
        let vision = model.required_object("vision_cfg")?;
        let name = |field| Ok(vision.optional_text(field)?.map(str::to_owned));
        Ok(Self {
            embed_dim: model
                .optional_size("embed_dim", 1..=MAX_SIZE)?
                .ok_or_else(|| model.missing("embed_dim"))?,
            quick_gelu: model.flag("quick_gelu", false)?,
            timm_model_name: name("timm_model_name")?,
            hf_model_name: name("hf_model_name")?,
            raw: raw.clone(),
        })
    }

    /// The fields of the image tower, `model_cfg.vision_cfg`: `image_size`, `layers`, `width`, `patch_size`, ….
    ///
    /// # Errors
    /// When `raw` was replaced by something without them.
    pub fn vision(&self) -> Result<Fields<'_>, ConfigError> {
        Fields::of(&self.raw)?.required_object("model_cfg")?.required_object("vision_cfg")
    }
}

#[cfg(test)]
mod tests {
    use super::super::ModelConfig;
    use super::*;

    fn read(text: &str) -> Result<OpenClipConfig, String> {
        match ModelConfig::parse(text) {
            Ok(ModelConfig::OpenClip(config)) => Ok(config),
            Ok(other) => panic!("read as {other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_tower_of_its_own_and_one_of_another_library_are_read() {
        let own = read(
            r#"{"model_cfg": {"embed_dim": 512, "quick_gelu": true, "vision_cfg": {"layers": 12, "width": 768,
                "patch_size": 32, "image_size": 224}, "text_cfg": {}}, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}"#,
        )
        .unwrap();
        assert_eq!((own.embed_dim, own.quick_gelu, own.timm_model_name.as_deref()), (512, true, None));
        let vision = own.vision().unwrap();
        assert_eq!(vision.size("layers", 12, 1024).unwrap(), 12);
        assert_eq!(vision.sides("patch_size", [16, 16]).unwrap(), [32, 32]);
        let timm = read(
            r#"{"model_cfg": {"embed_dim": 768, "vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_224"}}}"#,
        )
        .unwrap();
        assert_eq!(timm.timm_model_name.as_deref(), Some("vit_base_patch16_siglip_224"));
        assert!(!timm.quick_gelu);
    }

    #[test]
    fn nonsense_is_refused_with_its_field() {
        for (text, expected) in [
            (r#"{"model_cfg": 3}"#, "`model_cfg` must be an object"),
            (r#"{"model_cfg": {"embed_dim": 4}}"#, "`model_cfg.vision_cfg` is missing"),
            (r#"{"model_cfg": {"vision_cfg": {}}}"#, "`model_cfg.embed_dim` is missing"),
            (r#"{"model_cfg": {"embed_dim": 0, "vision_cfg": {}}}"#, "`model_cfg.embed_dim` must be a whole"),
            (
                r#"{"model_cfg": {"embed_dim": 4, "vision_cfg": {"timm_model_name": 1}}}"#,
                "`model_cfg.vision_cfg.timm_model_name` must be a string",
            ),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
