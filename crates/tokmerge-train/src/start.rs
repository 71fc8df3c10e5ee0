//! What a run starts from: data, and a model for their classes.

use crate::data::{self, Data, View};
use crate::error::TrainError;
use crate::freeze;
use crate::lora;
use crate::loss::Loss;
use crate::parts::{Parts, picture_size};
use crate::recipe::{PoolRecipe, Recipe};
use crate::suit;
use crate::weights::{class_head, random};
use burn::tensor::Device;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use tokmerge_checkpoint::{Progress, Silent};
use tokmerge_data::text::{TextError, TextForm, Tokenizer};
use tokmerge_data::{Media, Preprocess, Processor};
use tokmerge_merge::{Leading, Method, ModelFacts, Readout, SpecError};
use tokmerge_models::{
    Architecture, Config, Model, ModelOptions, Network, ShapeOverrides, Weights, architecture, describe,
    timm_config,
};
use tokmerge_nn::parameters::{assign, read, shapes};

/// Where a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// With random weights.
    Drawn,
    /// With given weights: this is fine-tuning.
    Given,
}

/// What stays the same throughout a run.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) recipe: Recipe,
    pub(crate) data: Data,
    pub(crate) loss: Loss,
    pub(crate) architecture: Architecture,
    /// What the model's weights are to begin with.
    pub(crate) origin: Origin,
    /// One with autodiff.
    pub(crate) device: Device,
    /// Those that copies of the model work on, with autodiff.
    pub(crate) replicas: Vec<Device>,
}

/// A recipe whose data were found and whose model was opened.
#[derive(Clone, Debug)]
pub struct Start {
    pub(crate) setup: Setup,
    /// The model to begin with, tracked by autodiff.
    pub(crate) network: Network,
}

impl Start {
    /// Opens the data and the model of a recipe on a device, which need not be an autodiff one.
    ///
    /// # Errors
    /// When data or weights are missing, or do not go together.
    pub fn open(recipe: Recipe, device: &Device) -> Result<Self, TrainError> {
        Self::open_with_progress(recipe, device, &Silent)
    }

    /// The same, telling `progress` of what is downloaded.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_progress(
        mut recipe: Recipe,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Self, TrainError> {
        let media = suit::media(&recipe)?;
        suit::check(&recipe, media)?;
        let mut data = data::open(&recipe.data, media, recipe.train.seed)?;
        let loss = suit::loss(&recipe, &data)?;
        let device = device.clone().autodiff();
        let classes = recipe.model.num_classes.unwrap_or(data.class_names.len());
        if classes < data.class_names.len() {
            return Err(TrainError::Data(format!(
                "model.num_classes is {classes}, and the {} have {} classes; leave it out, or give as many",
                media.words(),
                data.class_names.len()
            )));
        }
        let (network, mut architecture) = match &recipe.model.weights {
            Some(weights) => {
                let (network, architecture, names) = tuned(&recipe, weights, classes, &device, progress)?;
                if recipe.data.labels.is_none() && recipe.data.class_order.is_none() {
                    data.numbered_as(&names);
                }
                (network, architecture)
            }
            None => drawn(&recipe, &mut data, classes, &device, progress)?,
        };
        let origin = match recipe.model.weights {
            Some(_) => Origin::Given,
            None => Origin::Drawn,
        };
        if media == Media::Question && !architecture.config.writes() {
            data.choosable()?;
        }
        data = data.drawn_for(&architecture.config.shape().input)?;
        architecture.processor = suit::processor(&architecture.processor, &recipe, &mut data)?;
        suit::writes(&recipe, &architecture, &data)?;
        if let Some(texts) = architecture.processor.words() {
            data.note_cut(texts, architecture.config.writes());
        }
        View::new(&architecture.processor, &recipe.regularisation)
            .map_err(|error| TrainError::Data(format!("regularisation: {error}")))?;
        // Refuses a shape that its own config.json could not describe, before anything is trained.
        timm_config(&architecture, &[])?;
        let network = merging(network, &recipe, &device)?;
        let network = routed(network, &mut recipe)?;
        if let Some(lora) = &recipe.lora {
            lora::targets(&network, lora)?;
            lora::check_frozen(&network, lora, &recipe.train.frozen)?;
        }
        freeze::check(&network, &recipe.train.frozen)?;
        let replicas = vec![device.clone(); recipe.train.replicas];
        Ok(Self { setup: Setup { recipe, data, loss, architecture, origin, device, replicas }, network })
    }

    /// The same with these devices for `train.replicas`, in turn where there are fewer; without this all are on the
    /// device that the model is on.
    #[must_use]
    pub fn with_devices(mut self, devices: &[Device]) -> Self {
        let devices = devices.iter().cycle().take(self.setup.replicas.len());
        let devices: Vec<Device> = devices.map(|device| device.clone().autodiff()).collect();
        if !devices.is_empty() {
            self.setup.replicas = devices;
        }
        self
    }

    /// Shape, name and preprocessing of the model.
    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        &self.setup.architecture
    }

    /// Names of the classes, in order.
    #[must_use]
    pub fn class_names(&self) -> &[String] {
        &self.setup.data.class_names
    }

    /// What the model takes.
    #[must_use]
    pub fn media(&self) -> Media {
        self.setup.data.media
    }

    /// Items to train on and to validate on.
    #[must_use]
    pub fn item_counts(&self) -> (usize, usize) {
        (self.setup.data.train.len(), self.setup.data.val.len())
    }

    /// What a user should know of the data, a line each: what was left out, which classes are not validated.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.setup.data.notes
    }
}

impl Setup {
    /// What a reduction needs to know of the model that is being trained.
    pub(crate) fn facts(&self) -> ModelFacts {
        let method = self.recipe.merge.parse().unwrap_or(Method::None);
        self.architecture.config.facts_after(&method)
    }

    /// The model as it is now, for inference.
    pub(crate) fn model(&self, network: Network) -> Model {
        let device = self.device.clone().without_autodiff();
        let method = self.recipe.merge.parse().unwrap_or(Method::None);
        Model::from_parts(network, self.architecture.clone(), self.data.class_names.clone(), method, &device)
    }
}

/// The model with the weights of the recipe's method: those that it was trained with where they fit, else fresh ones; and with the
/// head on the class token that the recipe asks for.
fn merging(network: Network, recipe: &Recipe, device: &Device) -> Result<Network, TrainError> {
    let network = network.with_fresh_mergers(&method(&recipe.merge)?, device);
    let network = if recipe.train.class_head.is_some() { headed(network, recipe, device)? } else { network };
    // Trained, and with ids that follow from their paths.
    Ok(assign(network, &BTreeMap::new(), device))
}

/// The model with a head on the class token beside its own, which must look at something else.
fn headed(network: Network, recipe: &Recipe, device: &Device) -> Result<Network, TrainError> {
    let (facts, shape) = (network.config().facts(), network.config().shape());
    let reason = match facts {
        _ if shape.classes == 0 => "the model has no classes; leave it out",
        ModelFacts { leading: Leading::Other, .. } => "the model has no class token; leave it out",
        ModelFacts { readout: Readout::Prefix, .. } => {
            "the model's own head looks at the class token; give model.pool = \"avg\", or leave train.class_head out"
        }
        _ => {
            let precision = recipe.train.dtype.precision();
            let head = class_head(shape.channels, shape.classes, precision, recipe.train.seed, device);
            return Ok(network.with_class_head(Some(head)));
        }
    };
    Err(TrainError::Data(format!("train.class_head is given, and {reason}")))
}

fn method(spec: &str) -> Result<Method, TrainError> {
    spec.parse().map_err(|error: SpecError| TrainError::Data(error.to_string()))
}

/// The model with its routers trained as the recipe says, which is made to say how if there are any.
fn routed(network: Network, recipe: &mut Recipe) -> Result<Network, TrainError> {
    if network.config().experts().is_none() {
        return match recipe.routing {
            None => Ok(network),
            Some(_) => Err(TrainError::Data(
                "routing is given, and the model has no experts among which tokens could be distributed; leave the section out, or take a model that has some, e.g. vmoe_small_patch32_224"
                    .to_owned(),
            )),
        };
    }
    let routing = recipe.routing.get_or_insert_default();
    let training = routing.training().map_err(|error| TrainError::Data(error.to_string()))?;
    Ok(network.with_router_training(training))
}

/// A model with weights, and a new head where the classes are others; and the names of the classes that it knew.
fn tuned(
    recipe: &Recipe,
    weights: &str,
    classes: usize,
    device: &Device,
    progress: &dyn Progress,
) -> Result<(Network, Architecture, Vec<String>), TrainError> {
    let weights = match weights {
        "pretrained" => Weights::Pretrained,
        path => Weights::File(PathBuf::from(path)),
    };
    let options = ModelOptions {
        weights,
        img_size: recipe.model.img_size.map(|side| (side, side)),
        precision: recipe.train.dtype.precision(),
        ..ModelOptions::new(recipe.model.name.clone().unwrap_or_default())
    };
    let model = Model::open_with_progress(&options, device, progress)?;
    let classes = if model.config().writes() { 0 } else { classes };
    if recipe.distill.is_some() && model.classes() != classes {
        return Err(TrainError::Data(format!(
            "distill: the weights know {} classes and the images have {classes}, so the model before training is no teacher; leave the section out",
            model.classes()
        )));
    }
    let mut architecture = model.architecture().clone();
    let overrides =
        ShapeOverrides { pool: recipe.model.pool.map(PoolRecipe::pool), ..ShapeOverrides::default() };
    let config = overridden(with_classes(&architecture.config, classes), &overrides)?;
    // Nothing that is published has these weights any more.
    architecture.tag =
        if architecture.tag.is_empty() { "tuned".to_owned() } else { format!("{}_tuned", architecture.tag) };
    let values = read(model.network());
    // Whatever the weights have not, a new head above all, is drawn.
    let network = random(&config, options.precision, recipe.train.seed, device);
    let network = network.with_fresh_mergers(model.trained_with(), device);
    let of_head = |path: &str| path.split('.').any(|name| name.starts_with("head") || name == "aux_head");
    for (path, shape) in shapes(&network) {
        if let Some(given) = values.get(&path)
            && given.shape != shape
            && !of_head(&path)
        {
            return Err(TrainError::Data(format!(
                "{path} is {:?} in the weights and {shape:?} in the model; leave out what changes its shape",
                given.shape
            )));
        }
    }
    let network = assign(network, &values, device);
    architecture.config = config;
    Ok((network, architecture, model.class_names().to_vec()))
}

/// A model of random weights.
fn drawn(
    recipe: &Recipe,
    data: &mut Data,
    classes: usize,
    device: &Device,
    progress: &dyn Progress,
) -> Result<(Network, Architecture), TrainError> {
    let wanted = &recipe.model;
    let mut architecture = match &wanted.name {
        Some(name) if name.contains(':') => {
            describe(&ModelOptions { weights: Weights::Random, ..ModelOptions::new(name.clone()) })?
                .architecture
        }
        Some(name) => architecture(name)?,
        None => Architecture {
            processor: Preprocess { crop_pct: 0.9, ..Preprocess::default() }.into(),
            ..architecture("vit_small_patch16_224")?
        },
    };
    architecture.tag = "trained".to_owned();
    let overrides = ShapeOverrides {
        patch_size: wanted.patch_size,
        embed_dim: wanted.embed_dim,
        depth: wanted.depth,
        num_heads: wanted.num_heads,
        mlp_ratio: wanted.mlp_ratio,
        pool: wanted.pool.map(PoolRecipe::pool),
        class_token: wanted.class_token,
        num_frames: wanted.num_frames,
    };
    let config = overridden(with_classes(&architecture.config, classes), &overrides)?;
    let config = match data.media {
        Media::Text => config,
        Media::Question if matches!(config, Config::Vilt(_)) => {
            architecture.config = config;
            let own = picture_size(&architecture.processor).map(|(side, _)| side);
            let side = wanted.img_size.or(own);
            if let (true, Some(side)) = (wanted.img_size.or(wanted.patch_size).is_some(), side) {
                architecture = architecture.with_shorter_side(side);
                // The patches of a part are those of its model.
                if wanted.parts.is_empty() {
                    architecture.config.check().map_err(|reason| too_small(&reason))?;
                }
            }
            architecture.config.clone()
        }
        _ => {
            let size = wanted.img_size.map_or_else(|| config.shape().img_size(), |side| (side, side));
            architecture.processor = architecture.processor.with_size(size)?;
            config.with_img_size(size).map_err(|error| too_small(&error))?
        }
    };
    if let (Processor::Clip(clips), Some(frames)) = (&architecture.processor, wanted.num_frames) {
        architecture.processor = clips.clone().with_frames(frames).into();
    }
    architecture.config = config;
    let parts = Parts::open(recipe, &architecture, device, progress)?;
    architecture.config = parts.shaped(architecture.config)?;
    if !wanted.parts.is_empty() {
        architecture = architecture.with_own_patches();
    }
    architecture.processor = parts.prepared(&architecture.processor)?;
    if let Some((tokenizer, rows)) = tokenizer(recipe, data, &architecture, &parts)? {
        architecture = architecture.with_tokenizer(tokenizer, rows);
    }
    // Checks what a config.json would be checked for.
    timm_config(&architecture, &[])?;
    let network = random(&architecture.config, recipe.train.dtype.precision(), recipe.train.seed, device);
    let values = parts.values(&network, &mut data.notes)?;
    Ok((assign(network, &values, device), architecture))
}

/// A picture of a size that the model cannot take.
fn too_small(reason: &dyn Display) -> TrainError {
    TrainError::Data(format!("model.img_size and model.patch_size do not go together: {reason}"))
}

/// What cuts the texts of a model of random weights, if it takes texts and has no tokenizer: the recipe's, that of the weights of a
/// part, or one that knows the words of the training texts; and the rows of its table.
fn tokenizer(
    recipe: &Recipe,
    data: &mut Data,
    architecture: &Architecture,
    parts: &Parts,
) -> Result<Option<(Arc<Tokenizer>, usize)>, TrainError> {
    let wrong = |error: TextError| TrainError::Data(format!("model.tokenizer: {error}"));
    let wanted = recipe
        .model
        .tokenizer
        .as_ref()
        .map(|path| Tokenizer::open(path))
        .transpose()
        .map_err(wrong)?
        .map(Arc::new);
    if let Some(of_part) = parts.tokenizer(wanted.as_ref())? {
        return Ok(Some(of_part));
    }
    if let Some(wanted) = wanted {
        let rows = wanted.vocabulary();
        return Ok(Some((wanted, rows)));
    }
    if architecture.processor.tokenizer().is_some() || !matches!(data.media, Media::Text | Media::Question) {
        return Ok(None);
    }
    let form = if architecture.config.writes() { TextForm::End } else { TextForm::ClassAndSeparator };
    let tokenizer = Tokenizer::of_words(data.train.words(), form).map_err(wrong)?;
    let tokens = tokenizer.vocabulary();
    data.notes.push(format!(
        "the tokenizer knows the words of the training texts: {tokens} tokens (model.tokenizer)"
    ));
    Ok(Some((Arc::new(tokenizer), tokens)))
}

/// The shape with so many classes, of which a model that writes has none.
fn with_classes(config: &Config, classes: usize) -> Config {
    config.clone().with_num_classes(if config.writes() { 0 } else { classes })
}

/// The shape with a recipe's changes.
fn overridden(config: Config, overrides: &ShapeOverrides) -> Result<Config, TrainError> {
    config.with_overrides(overrides).map_err(|reason| TrainError::Data(format!("model: {reason}")))
}
