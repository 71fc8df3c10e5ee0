//! Parts of a model of random weights that begin with those of other models.

use crate::error::TrainError;
use crate::recipe::Recipe;
use burn::tensor::Device;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use tokmerge_checkpoint::Progress;
use tokmerge_data::text::Tokenizer;
use tokmerge_data::{ImageProcessor, Media, PreprocessOverrides, Processor};
use tokmerge_models::{
    Architecture, Config, InputShape, Model, ModelOptions, Network, Part, Weights, describe_with_progress,
};
use tokmerge_nn::parameters::{Values, read, shapes};

/// The models that `model.parts` names, each with the part that it begins.
pub(crate) struct Parts {
    given: Vec<(Part, Model)>,
}

impl Parts {
    /// Opens them. A model of images is opened for pictures as large as the whole takes.
    ///
    /// # Errors
    /// For a part that the model has not, or a setting of a shape that a part's model says.
    pub(crate) fn open(
        recipe: &Recipe,
        architecture: &Architecture,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Self, TrainError> {
        let known = architecture.config.parts();
        let side = picture_size(&architecture.processor);
        let open = |(name, model): (&String, &String)| {
            let part = known.iter().find(|part| part.name() == name).ok_or_else(|| unknown(name, known))?;
            let options = |img_size| ModelOptions {
                weights: Weights::Pretrained,
                img_size,
                precision: recipe.train.dtype.precision(),
                ..ModelOptions::new(model.clone())
            };
            let wrong = |error: &dyn Display| {
                TrainError::Data(format!(
                    "model.parts.{name} = {model:?} cannot be opened ({error}); give a name, or local-dir: and a folder with a \
                     config.json and weights"
                ))
            };
            let described =
                describe_with_progress(&options(None), progress).map_err(|error| wrong(&error))?;
            let is_of_images = described.architecture.processor.media() == Media::Image;
            let options = options(side.filter(|_| is_of_images));
            let opened = Model::open_with_progress(&options, device, progress);
            Ok((*part, opened.map_err(|error| wrong(&error))?))
        };
        let given: Vec<(Part, Model)> =
            recipe.model.parts.iter().map(open).collect::<Result<_, TrainError>>()?;
        let all = !given.is_empty() && given.len() == known.len();
        let of_images = given.iter().any(|(_, model)| model.media() == Media::Image);
        let own = recipe.model.shape().find(|(key, _)| all || (of_images && *key == "model.patch_size"));
        match own {
            Some((key, value)) => Err(TrainError::Data(format!(
                "{key} is {value}, and the models of model.parts have their own shapes; leave it out"
            ))),
            None => Ok(Self { given }),
        }
    }

    /// The shape of the whole, each part as its model is.
    pub(crate) fn shaped(&self, config: Config) -> Result<Config, TrainError> {
        self.given.iter().try_fold(config, |config, (part, model)| {
            config.with_part(part.kind, model.config()).map_err(|reason| {
                TrainError::Data(format!("model.parts.{} is {}: {reason}", part.name(), model.name()))
            })
        })
    }

    /// The tokenizer that goes with the table of tokens of one of them, and the rows of that: `wanted`, or the model's own; `None`
    /// where none of them has a table.
    pub(crate) fn tokenizer(
        &self,
        wanted: Option<&Arc<Tokenizer>>,
    ) -> Result<Option<(Arc<Tokenizer>, usize)>, TrainError> {
        let table = self.given.iter().find_map(|(part, model)| match model.config().shape().input {
            InputShape::Text { vocabulary, .. } => Some((part, model, vocabulary)),
            _ => None,
        });
        let Some((part, model, rows)) = table else { return Ok(None) };
        let tokenizer = wanted.or_else(|| model.processor().tokenizer()).ok_or_else(|| {
            TrainError::Data(format!(
                "model.parts.{} is {}, which has no tokenizer.json; give model.tokenizer",
                part.name(),
                model.name()
            ))
        })?;
        tokenizer.check(rows).map_err(|error| TrainError::Data(format!("model.tokenizer: {error}")))?;
        Ok(Some((tokenizer.clone(), rows)))
    }

    /// The preparation of pictures with the colours that one of them was trained with.
    pub(crate) fn prepared(&self, own: &Processor) -> Result<Processor, TrainError> {
        let colours = self.given.iter().find_map(|(_, model)| match model.processor() {
            Processor::Image(ImageProcessor::Fixed(images)) => {
                let (mean, std) = (Some(images.mean.to_vec()), Some(images.std.to_vec()));
                Some(PreprocessOverrides { mean, std, ..PreprocessOverrides::default() })
            }
            _ => None,
        });
        Ok(match colours {
            Some(colours) => own.with(&colours)?,
            None => own.clone(),
        })
    }

    /// The weights of the parts, by the paths that they have in the whole.
    /// What a user should know of them goes to `notes`.
    pub(crate) fn values(
        &self,
        network: &Network,
        notes: &mut Vec<String>,
    ) -> Result<BTreeMap<String, Values>, TrainError> {
        let wanted = shapes(network);
        let mut all = BTreeMap::new();
        for (part, model) in &self.given {
            let mut values = read(model.network());
            let (part_name, name) = (part.name(), model.name());
            if model.trained_with().has_weights() {
                notes.push(format!(
                    "the weights of {} in {name} (model.parts.{part_name}) are left out",
                    model.trained_with()
                ));
            }
            for (path, shape) in &wanted {
                let Some(within) = part.within(path) else { continue };
                let mut found = values.remove(within);
                if found.is_none() && ["norm.weight", "norm.bias"].contains(&within) {
                    // A model that averages may have its last norm behind the pool.
                    found = values.remove(&format!("fc_{within}"));
                    if found.is_some() && within == "norm.weight" {
                        notes.push(format!(
                            "the last norm of {name} (model.parts.{part_name}) stood behind its pool, and is one of every token now"
                        ));
                    }
                }
                let found = found.filter(|found| found.shape == *shape).ok_or_else(|| {
                    TrainError::Data(format!(
                        "model.parts.{part_name} is {name}, which has no {within} of shape {shape:?}; take a model that has"
                    ))
                })?;
                all.insert(path.clone(), found);
            }
        }
        Ok(all)
    }
}

/// Rows and columns of pixels that the positions of a model of questions are for: its shorter side, where pictures have sizes of
/// their own.
pub(crate) fn picture_size(processor: &Processor) -> Option<(usize, usize)> {
    let Processor::Question(questions) = processor else { return None };
    match &questions.picture {
        ImageProcessor::Vilt(picture) => Some((picture.shorter, picture.shorter)),
        ImageProcessor::Fixed(picture) => Some(picture.input_size),
        _ => None,
    }
}

fn unknown(name: &str, known: &[Part]) -> TrainError {
    let known: Vec<&str> = known.iter().map(Part::name).collect();
    TrainError::Data(match known[..] {
        [] => format!(
            "model.parts.{name}: the model is trained as a whole and has no such parts; leave model.parts out"
        ),
        _ => format!(
            "model.parts.{name}: the model has no such part; it has {}, so give one of these",
            known.join(" and ")
        ),
    })
}
