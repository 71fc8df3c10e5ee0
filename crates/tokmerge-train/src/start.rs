//! What a run starts from: images, and a model for their classes.

use crate::data::{self, Images};
use crate::error::TrainError;
use crate::lora;
use crate::recipe::{ModelRecipe, PoolRecipe, Recipe};
use crate::weights::{assign, fresh, read};
use burn::tensor::Device;
use std::path::PathBuf;
use tokmerge_data::Preprocess;
use tokmerge_merge::{Method, SpecError};
use tokmerge_models::{
    Architecture, ClassToken, Model, ModelOptions, NormPlace, Pool, Vit, VitConfig, Weights, architecture,
    describe, timm_config,
};

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
    pub(crate) images: Images,
    pub(crate) architecture: Architecture,
    /// What the model's weights are to begin with.
    pub(crate) origin: Origin,
    /// One with autodiff.
    pub(crate) device: Device,
    /// Those that copies of the model work on, with autodiff.
    pub(crate) replicas: Vec<Device>,
}

/// A recipe whose images were found and whose model was opened.
#[derive(Clone, Debug)]
pub struct Start {
    pub(crate) setup: Setup,
    /// The model to begin with, tracked by autodiff.
    pub(crate) vit: Vit,
}

impl Start {
    /// Opens the images and the model of a recipe on a device, which need not be an autodiff one.
    ///
    /// # Errors
    /// When images or weights are missing, or do not go together.
    pub fn open(mut recipe: Recipe, device: &Device) -> Result<Self, TrainError> {
        let images = data::open(&recipe.data, recipe.train.seed)?;
        let device = device.clone().autodiff();
        let classes = recipe.model.num_classes.unwrap_or(images.class_names.len());
        if classes < images.class_names.len() {
            return Err(TrainError::Data(format!(
                "model.num_classes is {classes}, and the images have {} classes; leave it out, or give as many",
                images.class_names.len()
            )));
        }
        let (vit, mut architecture) = match &recipe.model.weights {
            Some(weights) => tuned(&recipe, weights, classes, &device)?,
            None => drawn(&recipe, classes, &device)?,
        };
        let origin = match recipe.model.weights {
            Some(_) => Origin::Given,
            None => Origin::Drawn,
        };
        adjust(&mut architecture.preprocess, &recipe);
        architecture.preprocess.validate()?;
        // Refuses a shape that its own config.json could not describe, before anything is trained.
        timm_config(&architecture, &[])?;
        let vit = routed(merging(vit, &recipe, &device)?, &mut recipe)?;
        if let Some(lora) = &recipe.lora {
            lora::targets(&vit, lora)?;
        }
        let replicas = vec![device.clone(); recipe.train.replicas];
        Ok(Self { setup: Setup { recipe, images, architecture, origin, device, replicas }, vit })
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
        &self.setup.images.class_names
    }

    /// Images to train on and to validate on.
    #[must_use]
    pub fn image_counts(&self) -> (usize, usize) {
        (self.setup.images.train.len(), self.setup.images.val.len())
    }

    /// Images beside the class folders, which are left out.
    #[must_use]
    pub fn stray(&self) -> usize {
        self.setup.images.stray
    }
}

impl Setup {
    /// The model as it is now, for inference.
    pub(crate) fn model(&self, vit: Vit) -> Model {
        let device = self.device.clone().without_autodiff();
        let method = self.recipe.merge.parse().unwrap_or(Method::None);
        Model::from_parts(vit, self.architecture.clone(), self.images.class_names.clone(), method, &device)
    }
}

/// The model with the weights of the recipe's method: its own where it has them, else fresh ones.
fn merging(vit: Vit, recipe: &Recipe, device: &Device) -> Result<Vit, TrainError> {
    let method: Method =
        recipe.merge.parse().map_err(|error: SpecError| TrainError::Data(error.to_string()))?;
    let values = read(&vit);
    // Trained, and with ids that follow from their paths.
    Ok(assign(vit.with_fresh_mergers(&method, device), &values, device))
}

/// The model with its routers trained as the recipe says, which is made to say how if there are any.
fn routed(vit: Vit, recipe: &mut Recipe) -> Result<Vit, TrainError> {
    if vit.config().experts.is_none() {
        return match recipe.routing {
            None => Ok(vit),
            Some(_) => Err(TrainError::Data(
                "routing is given, and the model has no experts among which tokens could be distributed; leave the section out, or take a model that has some, e.g. vmoe_small_patch32_224"
                    .to_owned(),
            )),
        };
    }
    let routing = recipe.routing.get_or_insert_default();
    let training = routing.training().map_err(|error| TrainError::Data(error.to_string()))?;
    Ok(vit.with_router_training(training))
}

/// A model with weights, and a new head where the classes are others.
fn tuned(
    recipe: &Recipe,
    weights: &str,
    classes: usize,
    device: &Device,
) -> Result<(Vit, Architecture), TrainError> {
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
    let model = Model::open(&options, device)?;
    if recipe.distill.is_some() && model.classes() != classes {
        return Err(TrainError::Data(format!(
            "distill: the weights know {} classes and the images have {classes}, so the model before training is no teacher; leave the section out",
            model.classes()
        )));
    }
    let mut architecture = model.architecture().clone();
    let mut config = architecture.config.clone();
    config.num_classes = classes;
    pool(&mut config, &recipe.model)?;
    // Nothing that is published has these weights any more.
    architecture.tag =
        if architecture.tag.is_empty() { "tuned".to_owned() } else { format!("{}_tuned", architecture.tag) };
    let values = read(model.vit());
    // Whatever the weights have not, a new head above all, is drawn.
    let vit = assign(fresh(&config, options.precision, recipe.train.seed, device), &values, device);
    architecture.config = config;
    Ok((vit, architecture))
}

/// A model of random weights.
fn drawn(recipe: &Recipe, classes: usize, device: &Device) -> Result<(Vit, Architecture), TrainError> {
    let wanted = &recipe.model;
    let mut architecture = match &wanted.name {
        Some(name) if name.contains(':') => {
            describe(&ModelOptions { weights: Weights::Random, ..ModelOptions::new(name.clone()) })?
                .architecture
        }
        Some(name) => architecture(name)?,
        None => Architecture {
            preprocess: Preprocess { crop_pct: 0.9, ..Preprocess::default() },
            ..architecture("vit_small_patch16_224")?
        },
    };
    architecture.tag = "trained".to_owned();
    let mut config = architecture.config.clone();
    let ratio = config.mlp_dim as f64 / config.embed_dim as f64;
    config.num_classes = classes;
    config.patch_size = wanted.patch_size.unwrap_or(config.patch_size);
    config.embed_dim = wanted.embed_dim.unwrap_or(config.embed_dim);
    config.depth = wanted.depth.unwrap_or(config.depth);
    config.num_heads = wanted.num_heads.unwrap_or(config.num_heads);
    config.mlp_dim = (config.embed_dim as f64 * wanted.mlp_ratio.unwrap_or(ratio)) as usize;
    pool(&mut config, wanted)?;
    let size = wanted.img_size.map_or(config.img_size, |side| (side, side));
    let config = config.with_img_size(size)?;
    architecture.preprocess.input_size = size;
    architecture.config = config;
    // Checks what a config.json would be checked for.
    timm_config(&architecture, &[])?;
    let vit = fresh(&architecture.config, recipe.train.dtype.precision(), recipe.train.seed, device);
    let vit = assign(vit, &std::collections::BTreeMap::new(), device);
    Ok((vit, architecture))
}

/// What the head is to look at. An average is normed after pooling, as in MAE's fine-tuning.
fn pool(config: &mut VitConfig, wanted: &ModelRecipe) -> Result<(), TrainError> {
    match wanted.pool {
        None => {}
        Some(PoolRecipe::Token) if config.class_token == ClassToken::Absent => {
            return Err(TrainError::Data(
                "model.pool is token, and this model has no class token; use avg".to_owned(),
            ));
        }
        Some(PoolRecipe::Token) if config.pool != Pool::Token => {
            (config.pool, config.norm_place) = (Pool::Token, NormPlace::BeforePool);
        }
        Some(PoolRecipe::Avg) if config.pool != Pool::Average => {
            (config.pool, config.norm_place) = (Pool::Average, NormPlace::AfterPool);
        }
        Some(_) => {}
    }
    Ok(())
}

/// The recipe's preprocessing in place of the model's.
fn adjust(preprocess: &mut Preprocess, recipe: &Recipe) {
    let data = &recipe.data;
    preprocess.crop_pct = data.crop_pct.unwrap_or(preprocess.crop_pct);
    preprocess.crop_mode = data.crop_mode.unwrap_or(preprocess.crop_mode);
    preprocess.interpolation = data.interpolation.unwrap_or(preprocess.interpolation);
    preprocess.mean = data.mean.unwrap_or(preprocess.mean);
    preprocess.std = data.std.unwrap_or(preprocess.std);
}
