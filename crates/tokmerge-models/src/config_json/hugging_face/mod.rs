//! transformers' `config.json`: a `model_type`, a class, and the numbers of its configuration class. Fields that are
//! absent have the defaults of that class.
//!
//! A type of models is a function and a line in [`MODEL_TYPES`].

mod aimv2;
mod beit;
mod clip;
mod dino;
mod preprocessing;
mod reader;
mod siglip;
#[cfg(test)]
mod tests;
mod unsupported;
mod vit;

use super::description::{DescribeError, Understood};
use crate::families::vit::VitConfig;
use crate::weights::key_map::Spelling;
use preprocessing::Preparation;
pub(super) use reader::Reader;
use tokmerge_checkpoint::HfConfig;

/// A type of models.
struct ModelType {
    /// `model_type` of the file.
    name: &'static str,
    /// Its shape.
    shape: fn(&Given<'_>) -> Result<VitConfig, DescribeError>,
    /// How its pictures are prepared if no file says it.
    preparation: Preparation,
}

/// All types that are understood.
const MODEL_TYPES: &[ModelType] = &[
    ModelType { name: "vit", shape: vit::vit, preparation: Preparation::VIT },
    ModelType { name: "deit", shape: vit::deit, preparation: Preparation::DEIT },
    ModelType { name: "vit_mae", shape: vit::vit_mae, preparation: Preparation::MAE },
    ModelType { name: "vit_msn", shape: vit::vit_msn, preparation: Preparation::MAE },
    ModelType { name: "ijepa", shape: vit::ijepa, preparation: Preparation::VIT },
    ModelType { name: "dinov2", shape: dino::dinov2, preparation: Preparation::DINOV2 },
    ModelType { name: "dinov2_with_registers", shape: dino::dinov2, preparation: Preparation::DINOV2 },
    ModelType { name: "dinov3_vit", shape: dino::dinov3, preparation: Preparation::DINOV3 },
    ModelType { name: "beit", shape: beit::beit, preparation: Preparation::BEIT },
    ModelType { name: "data2vec-vision", shape: beit::beit, preparation: Preparation::BEIT },
    ModelType { name: "clip", shape: clip::clip, preparation: Preparation::CLIP },
    ModelType { name: "clip_vision_model", shape: clip::clip, preparation: Preparation::CLIP },
    ModelType { name: "chinese_clip", shape: clip::clip, preparation: Preparation::CLIP },
    ModelType { name: "chinese_clip_vision_model", shape: clip::clip, preparation: Preparation::CLIP },
    ModelType { name: "altclip", shape: clip::clip, preparation: Preparation::CLIP },
    ModelType { name: "altclip_vision_model", shape: clip::clip, preparation: Preparation::CLIP },
    ModelType { name: "metaclip_2", shape: clip::clip, preparation: Preparation::CLIP },
    ModelType { name: "metaclip_2_vision_model", shape: clip::clip, preparation: Preparation::CLIP },
    ModelType { name: "aimv2", shape: aimv2::aimv2, preparation: Preparation::CLIP },
    ModelType { name: "aimv2_vision_model", shape: aimv2::aimv2, preparation: Preparation::CLIP },
    ModelType { name: "siglip", shape: siglip::siglip, preparation: Preparation::SIGLIP },
    ModelType { name: "siglip_vision_model", shape: siglip::siglip, preparation: Preparation::SIGLIP },
    ModelType { name: "siglip2", shape: siglip::siglip, preparation: Preparation::SIGLIP },
    ModelType { name: "siglip2_vision_model", shape: siglip::siglip, preparation: Preparation::SIGLIP },
];

/// What a shape is read from.
struct Given<'a> {
    config: &'a HfConfig,
    /// The fields of the image tower.
    vision: Reader<'a>,
    /// Names and shapes of the weights, if they are at hand: some configurations leave open what the file holds.
    weights: Option<&'a Spelling>,
    /// Height and width that the image processor gives, if it says so.
    input_size: Option<(usize, usize)>,
}

/// The model that a `config.json` of transformers describes.
///
/// `weights` are the names in the file of weights: they decide what the configuration leaves open (a pooler, a
/// projection, the number of classes if it is not written). `input_size` is height and width of what the image
/// processor gives; it overrides the configuration's `image_size`, which some published models set for training.
///
/// # Errors
/// When the type or the class is no image model understood here, or a field that changes the model has a value that
/// is missing, nonsense or not understood.
pub(crate) fn describe(
    config: &HfConfig,
    weights: Option<&Spelling>,
    input_size: Option<(usize, usize)>,
) -> Result<Understood, DescribeError> {
    let found = model_type(config)?;
    let given = Given { config, vision: Reader::new(config.vision()?), weights, input_size };
    given.check_class()?;
    let shape = (found.shape)(&given)?;
    let preprocess = found.preparation.preprocess(shape.img_size);
    Ok(Understood { config: shape, preprocess, unread: given.vision.unread() })
}

/// Refuses a type of models that is not understood, before anything is made of its weights.
///
/// # Errors
/// With what is known of the type.
pub(crate) fn check_type(config: &HfConfig) -> Result<(), DescribeError> {
    model_type(config).map(|_| ())
}

fn model_type(config: &HfConfig) -> Result<&'static ModelType, DescribeError> {
    let found = MODEL_TYPES.iter().find(|known| known.name == config.model_type);
    found.ok_or_else(|| unsupported::error(&config.model_type, MODEL_TYPES.iter().map(|known| known.name)))
}

impl Given<'_> {
    /// Refuses classes that do something else than encoding or classifying images.
    fn check_class(&self) -> Result<(), DescribeError> {
        const ENDINGS: &[&str] = &[
            "Model",
            "Backbone",
            "ForImageClassification",
            "ForImageClassificationWithTeacher",
            "ForMaskedImageModeling",
            "ForPreTraining",
            "ModelWithProjection",
        ];
        match self.config.architectures.first() {
            Some(class) if !ENDINGS.iter().any(|ending| class.ends_with(ending)) => {
                Err(DescribeError::Class { class: class.clone(), model_type: self.config.model_type.clone() })
            }
            _ => Ok(()),
        }
    }

    fn has_class(&self, ending: &str) -> bool {
        self.config.has_architecture(ending)
    }

    /// Whether the file has a parameter; `otherwise` if there is no file to look into.
    fn has_parameter(&self, path: &str, otherwise: bool) -> bool {
        self.weights.map_or(otherwise, |weights| weights.shape(path).is_some())
    }

    /// Outputs of the classifier: as many as the configuration names, else as many as the file has, else two, as in
    /// transformers. 0 if the class has no classifier.
    fn num_classes(&self) -> usize {
        let in_file = self.weights.and_then(Spelling::head);
        let classifies = match self.config.architectures.is_empty() {
            true => in_file.is_some() || self.weights.is_none() && self.config.num_labels.is_some(),
            false => self.has_class("ForImageClassification") || self.has_class("WithTeacher"),
        };
        if classifies { self.config.num_labels.or(in_file).unwrap_or(2) } else { 0 }
    }
}
