//! From a folder of two towers to both of them.

use super::{Comparison, ZeroShot, ZeroShotError};
use crate::config_json::hugging_face::{TextTower, describe_text_tower};
use crate::model::Model;
use crate::network::Config;
use crate::open::{Located, ModelError, ModelOptions, Weights, left_unread, located};
use crate::open_text::with_tokenizer;
use crate::registry::Architecture;
use crate::weights::key_map::{Spelling, SpellingError};
use crate::weights::{LoadError, Tower, load_spelled, spelling_of};
use burn::tensor::Device;
use std::path::Path;
use tokmerge_checkpoint::{Checkpoint, ModelConfig, Progress, Silent, discover_config};
use tokmerge_merge::Method;

/// What cosines are multiplied by, as a logarithm.
const SCALE: &str = "logit_scale";
/// What is added to them.
const BIAS: &str = "logit_bias";

impl ZeroShot {
    /// Opens both towers of a folder.
    ///
    /// # Errors
    /// When the model cannot be opened, has classes of its own, or no text tower.
    pub fn open(options: &ModelOptions, device: &Device) -> Result<Self, ZeroShotError> {
        Self::open_with_progress(options, device, &Silent)
    }

    /// The same, telling `progress` of what is downloaded.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_progress(
        options: &ModelOptions,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Self, ZeroShotError> {
        let images = Model::open_with_progress(options, device, progress)?;
        Self::beside(images, options, progress)
    }

    /// Adds the text tower to an image tower that was opened with the same options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn beside(
        images: Model,
        options: &ModelOptions,
        progress: &dyn Progress,
    ) -> Result<Self, ZeroShotError> {
        if images.classes() > 0 {
            return Err(ZeroShotError::OwnClasses { model: images.name(), classes: images.classes() });
        }
        if options.weights == Weights::Random {
            return Err(ZeroShotError::RandomWeights);
        }
        let none = || ZeroShotError::NoTextTower(options.model.clone());
        let Located { dir, checkpoint } = located(options, progress)?.ok_or_else(none)?;
        let checkpoint = checkpoint.ok_or_else(none)?;
        let path = discover_config(&dir).ok_or_else(|| ModelError::NoConfig(dir.clone()))?;
        let ModelConfig::HuggingFace(config) = ModelConfig::read(&path).map_err(ModelError::from)? else {
            return Err(none());
        };
        let spelling = match spelling_of(&checkpoint, Tower::Texts) {
            Err(LoadError::Spelling { source: SpellingError::Unknown { .. }, .. }) => return Err(none()),
            found => found?,
        };
        let described =
            describe_text_tower(&config, &spelling).map_err(|error| wrong(&path, error.into()))?;
        let TextTower { config: shape, processor, probability, unread } = described.ok_or_else(none)?;
        let processor = with_tokenizer(&dir, &processor, shape.vocabulary, None)?;
        let shape = Config::Text(shape);
        shape.check().map_err(|reason| wrong(&path, crate::ConfigureError::Shape(reason)))?;
        let network = shape.init(options.precision, images.device());
        let (network, report) = load_spelled(network, &checkpoint, &spelling, options.unused)?;
        let name = format!("the text tower of {}", images.name());
        let architecture =
            Architecture { name, tag: String::new(), config: shape, processor: processor.into() };
        let notes = left_unread(&path, &unread).into_iter().collect();
        let texts = Model::from_parts(network, architecture, Vec::new(), Method::None, images.device())
            .with_report(report, notes);
        let scale = number(&checkpoint, &spelling, SCALE)?
            .ok_or_else(|| ZeroShotError::Scale { path: checkpoint.path().to_owned(), name: SCALE })?;
        let comparison = Comparison {
            scale: f64::from(scale).exp() as f32,
            bias: number(&checkpoint, &spelling, BIAS)?,
            probability,
        };
        let [width, of_texts] = [&images, &texts].map(|model| model.config().shape().embedding);
        if width != of_texts {
            return Err(ZeroShotError::Widths { images: width, texts: of_texts });
        }
        Ok(Self { images, texts, comparison })
    }
}

fn wrong(path: &Path, source: crate::ConfigureError) -> ZeroShotError {
    ModelError::Configure { path: path.to_owned(), source }.into()
}

/// A tensor of one finite number beside the towers; `None` if there is none of that name.
fn number(
    checkpoint: &Checkpoint,
    spelling: &Spelling,
    name: &'static str,
) -> Result<Option<f32>, ZeroShotError> {
    let Some(view) = checkpoint.get(&spelling.names().on_disk(name)) else { return Ok(None) };
    match view.to_f32()?[..] {
        [value] if value.is_finite() => Ok(Some(value)),
        _ => Err(ZeroShotError::Scale { path: checkpoint.path().to_owned(), name }),
    }
}
