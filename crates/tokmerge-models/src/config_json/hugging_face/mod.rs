//! transformers' `config.json`: a `model_type`, a class, and the numbers of its configuration class. Fields that are
//! absent have the defaults of that class.
//!
//! A type of models is a function and a line in [`MODEL_TYPES`].

mod aimv2;
mod beit;
mod clip;
mod dino;
mod pali;
mod preprocessing;
mod reader;
mod siglip;
mod sound;
#[cfg(test)]
mod tests;
mod text;
mod text_tower;
mod unsupported;
mod video;
mod vilt;
mod vit;

use super::description::{DescribeError, Understood};
use crate::families::vit::{Sizes, VitConfig};
use crate::network::Config;
use crate::weights::key_map::Spelling;
pub(crate) use pali::trained_with;
use preprocessing::Preparation;
pub(super) use reader::Reader;
use std::cell::RefCell;
pub(crate) use text_tower::{TextTower, describe_text_tower};
use tokmerge_checkpoint::HfConfig;
use tokmerge_data::{NaflexPreprocess, Processor};

/// A type of models.
struct ModelType {
    /// `model_type` of the file.
    name: &'static str,
    /// What it is, and how what it takes is prepared if no file says it.
    understood: Reading,
}

/// How a configuration is read.
enum Reading {
    /// Of a model of images.
    Images(fn(&Given<'_>) -> Result<VitConfig, DescribeError>, Preparation),
    /// Of any other model.
    Other(fn(&Given<'_>) -> Result<(Config, Processor), DescribeError>),
}

/// A line of the list for a model of images.
const fn images(
    name: &'static str,
    shape: fn(&Given<'_>) -> Result<VitConfig, DescribeError>,
    preparation: Preparation,
) -> ModelType {
    ModelType { name, understood: Reading::Images(shape, preparation) }
}

/// All types that are understood.
const MODEL_TYPES: &[ModelType] = &[
    images("vit", vit::vit, Preparation::VIT),
    images("deit", vit::deit, Preparation::DEIT),
    images("vit_mae", vit::vit_mae, Preparation::MAE),
    images("vit_msn", vit::vit_msn, Preparation::MAE),
    images("ijepa", vit::ijepa, Preparation::VIT),
    images("dinov2", dino::dinov2, Preparation::DINOV2),
    images("dinov2_with_registers", dino::dinov2, Preparation::DINOV2),
    images("dinov3_vit", dino::dinov3, Preparation::DINOV3),
    images("beit", beit::beit, Preparation::BEIT),
    images("data2vec-vision", beit::beit, Preparation::BEIT),
    images("clip", clip::clip, Preparation::CLIP),
    images("clip_vision_model", clip::clip, Preparation::CLIP),
    images("chinese_clip", clip::clip, Preparation::CLIP),
    images("chinese_clip_vision_model", clip::clip, Preparation::CLIP),
    images("altclip", clip::clip, Preparation::CLIP),
    images("altclip_vision_model", clip::clip, Preparation::CLIP),
    images("metaclip_2", clip::clip, Preparation::CLIP),
    images("metaclip_2_vision_model", clip::clip, Preparation::CLIP),
    images("aimv2", aimv2::aimv2, Preparation::CLIP),
    images("aimv2_vision_model", aimv2::aimv2, Preparation::CLIP),
    images("siglip", siglip::siglip, Preparation::SIGLIP),
    images("siglip_vision_model", siglip::siglip, Preparation::SIGLIP),
    images("siglip2", siglip::siglip, Preparation::SIGLIP),
    images("siglip2_vision_model", siglip::siglip, Preparation::SIGLIP),
    ModelType { name: "audio-spectrogram-transformer", understood: Reading::Other(sound::ast) },
    ModelType { name: "videomae", understood: Reading::Other(video::videomae) },
    ModelType { name: "bert", understood: Reading::Other(text::bert) },
    ModelType { name: "t5", understood: Reading::Other(text::t5) },
    ModelType { name: "clip_text_model", understood: Reading::Other(text_tower::clip_alone) },
    ModelType { name: "siglip_text_model", understood: Reading::Other(text_tower::siglip_alone) },
    ModelType { name: "siglip2_text_model", understood: Reading::Other(text_tower::siglip_alone) },
    ModelType { name: pali::PALI, understood: Reading::Other(pali::pali) },
    ModelType { name: "vilt", understood: Reading::Other(vilt::vilt) },
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
    /// Fields beside those of the image tower that were not read.
    left_aside: RefCell<Vec<String>>,
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
    let (vision, left_aside) = (Reader::new(config.vision()?), RefCell::default());
    let given = Given { config, vision, weights, input_size, left_aside };
    given.check_class()?;
    let (config, processor) = match &found.understood {
        Reading::Images(shape, preparation) => {
            let shape = shape(&given)?;
            let processor = match shape.sizes {
                Sizes::One => preparation.preprocess(shape.img_size).into(),
                Sizes::Own { most: max_num_patches } => {
                    let patch_size = shape.patch_size.0;
                    NaflexPreprocess { patch_size, max_num_patches, ..Default::default() }.into()
                }
            };
            (shape.into(), processor)
        }
        Reading::Other(read) => read(&given)?,
    };
    let unread = [given.vision.unread(), given.left_aside.into_inner()].concat();
    Ok(Understood { config, processor, unread })
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
    /// Refuses classes that do something else than encoding or classifying.
    fn check_class(&self) -> Result<(), DescribeError> {
        const ENDINGS: &[&str] = &[
            "Model",
            "Backbone",
            "ForImageClassification",
            "ForImageClassificationWithTeacher",
            "ForAudioClassification",
            "ForVideoClassification",
            "ForMaskedImageModeling",
            "ForPreTraining",
            "ModelWithProjection",
            "ForConditionalGeneration",
            "ForSequenceClassification",
            "ForMaskedLM",
            "ViltForQuestionAnswering",
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
            false => {
                const CLASSES: &[&str] = &[
                    "ForImageClassification",
                    "WithTeacher",
                    "ForAudioClassification",
                    "ForVideoClassification",
                    "ForSequenceClassification",
                    "ViltForQuestionAnswering",
                ];
                CLASSES.iter().any(|class| self.has_class(class))
            }
        };
        if classifies { self.config.num_labels.or(in_file).unwrap_or(2) } else { 0 }
    }
}
