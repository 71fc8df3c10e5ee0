//! A model that is ready to be used: shape, weights, preprocessing and class names.

use crate::configure::{self, ConfigureError};
use crate::embedded;
use crate::encoder::Watch;
use crate::experts::Routing;
use crate::families::vit::{Classified, ImageSizeError, Predicted, Vit, VitConfig};
use crate::flops::Convention;
use crate::load::{LoadError, LoadReport, load, parameters};
use crate::registry::{Architecture, UnknownModel, architecture};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tokmerge_checkpoint::{
    Checkpoint, CheckpointError, ConfigError, Hub, HubConfig, HubError, ModelConfig, ModelSource,
    SourceError, discover,
};
use tokmerge_data::Preprocess;
use tokmerge_merge::{BindError, LayerTokens, Method, Reduction, SpecError, Trace};
use tokmerge_ops::Precision;

/// Where weights come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weights {
    /// From where the model's name points: a folder, the Hugging Face Hub, or timm's weights on the Hub.
    Pretrained,
    /// From a safetensors or PyTorch file.
    File(PathBuf),
    /// Random: for measuring speed.
    Random,
}

/// What to open, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelOptions {
    /// A timm name, `local-dir:PATH`, `hf-hub:org/name[@rev]`, or [`EMBEDDED`](crate::EMBEDDED).
    pub model: String,
    /// Where the weights come from.
    pub weights: Weights,
    /// Height and width of the input, where not the model's own.
    pub img_size: Option<(usize, usize)>,
    /// What products are computed in.
    pub precision: Precision,
    /// How tokens are distributed among experts, where the model has some.
    pub routing: Routing,
}

impl ModelOptions {
    /// A model with its pretrained weights, in f32.
    #[must_use]
    pub fn new(model: impl Into<String>) -> Self {
        let precision = Precision::F32;
        let (weights, routing) = (Weights::Pretrained, Routing::Free);
        Self { model: model.into(), weights, img_size: None, precision, routing }
    }
}

/// Why a model cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The name is malformed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The name means nothing here.
    #[error(transparent)]
    Unknown(#[from] UnknownModel),
    /// The `config.json` cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The `config.json` describes another kind of model.
    #[error("{}: {source}", path.display())]
    Configure {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigureError,
    },
    /// The folder has no `config.json`.
    #[error("{}: there is no config.json, which says what model this is; name the model and give the file as --weights", .0.display())]
    NoConfig(PathBuf),
    /// The weights file cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The weights are not of this model.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The Hub does not answer as hoped.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The image size does not fit.
    #[error(transparent)]
    ImageSize(#[from] ImageSizeError),
    /// There is nothing to distribute tokens among.
    #[error(
        "{model} has no experts among which tokens could be distributed (routing {routing}); leave the routing out"
    )]
    NoExperts {
        /// The model.
        model: String,
        /// What was asked for.
        routing: Routing,
    },
    /// The file says that it was trained with a method that does not exist.
    #[error("{}: its metadata say that it was trained with merge = {merge}, but {reason}", path.display())]
    TrainedMerge {
        /// The weights.
        path: PathBuf,
        /// The method as the file names it.
        merge: String,
        /// What is wrong with that.
        reason: String,
    },
    /// The weights have no head.
    #[error(
        "the weights of {0} have no classifier head (they were only pretrained), so there is nothing to predict; use fine-tuned weights"
    )]
    NoHead(String),
    /// A preprocessor file cannot be read.
    #[error("{}: {reason}", path.display())]
    Preprocessor {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// What a name stands for, before any weights are loaded.
#[derive(Clone, Debug)]
pub struct Described {
    /// Shape and preprocessing.
    pub architecture: Architecture,
    /// Names of the classes, where the metadata has them.
    pub class_names: Vec<String>,
    /// The weights that belong to it, where the source has them.
    weights: Option<PathBuf>,
}

/// A model that is ready to be used.
#[derive(Clone, Debug)]
pub struct Model {
    vit: Vit,
    architecture: Architecture,
    class_names: Vec<String>,
    /// What the weights were trained with.
    trained_with: Method,
    report: LoadReport,
    device: Device,
}

/// Under this name the metadata of a safetensors file say which method its weights were trained with.
pub const TRAINED_WITH: &str = "merge";

/// Looks up what a model is, without its weights unless they come with it.
///
/// # Errors
/// When the name is unknown, or its metadata cannot be read.
pub fn describe(options: &ModelOptions) -> Result<Described, ModelError> {
    let mut described = match ModelSource::parse(&options.model)? {
        ModelSource::Named { .. } if options.model == embedded::EMBEDDED => {
            let (architecture, class_names) = embedded::describe()?;
            Described { architecture, class_names, weights: None }
        }
        ModelSource::Named { .. } => {
            let architecture = architecture(&options.model)?;
            Described { architecture, class_names: Vec::new(), weights: None }
        }
        ModelSource::LocalDir(dir) => {
            let wanted = options.weights == Weights::Pretrained;
            let weights = wanted.then(|| discover(&dir)).transpose()?.map(|files| files.weights);
            Described { weights, ..from_dir(&dir)? }
        }
        ModelSource::HfHub { repo, revision } => {
            let files = Hub::new(HubConfig::from_env()?)?.fetch(&repo, &revision)?;
            let dir = files.weights.parent().unwrap_or(Path::new(".")).to_owned();
            Described { weights: Some(files.weights), ..from_dir(&dir)? }
        }
        _ => return Err(UnknownModel::new(&options.model).into()),
    };
    if options.routing != Routing::Free && described.architecture.config.experts.is_none() {
        return Err(ModelError::NoExperts { model: options.model.clone(), routing: options.routing });
    }
    if let Some(size) = options.img_size {
        let Architecture { config, preprocess, .. } = &mut described.architecture;
        *config = config.clone().with_img_size(size)?;
        preprocess.input_size = size;
    }
    Ok(described)
}

/// Reads the metadata of a folder; its weights may be missing.
fn from_dir(dir: &Path) -> Result<Described, ModelError> {
    if !dir.is_dir() {
        // Says what is wrong with the folder itself.
        discover(dir)?;
    }
    let existing = |name: &str| Some(dir.join(name)).filter(|path| path.is_file());
    let path = existing("config.json").ok_or_else(|| ModelError::NoConfig(dir.to_owned()))?;
    let wrong = |source| ModelError::Configure { path: path.clone(), source };
    let (architecture, class_names) = match ModelConfig::read(&path)? {
        ModelConfig::Timm(config) => (configure::timm(&config).map_err(wrong)?, config.label_names),
        ModelConfig::HuggingFace(config) => {
            let preprocessor = existing("preprocessor_config.json").as_deref().map(read_json).transpose()?;
            let found = configure::hugging_face(&config, preprocessor.as_ref()).map_err(wrong)?;
            (found, config.id2label.into_values().collect())
        }
        other => {
            let reason = format!("{other:?} is of a kind that is not understood");
            return Err(wrong(ConfigureError::Shape(reason)));
        }
    };
    Ok(Described { architecture, class_names, weights: None })
}

fn read_json(path: &Path) -> Result<serde_json::Value, ModelError> {
    let wrong = |reason: String| ModelError::Preprocessor { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}

impl Model {
    /// Opens a model.
    ///
    /// # Errors
    /// When the name is unknown, or the weights are missing, damaged or of another model.
    pub fn open(options: &ModelOptions, device: &Device) -> Result<Self, ModelError> {
        let mut described = describe(options)?;
        let checkpoint = match (&options.weights, &described.weights) {
            (Weights::Random, _) => None,
            (Weights::File(path), _) | (Weights::Pretrained, Some(path)) => Some(Checkpoint::open(path)?),
            (Weights::Pretrained, None) if options.model == embedded::EMBEDDED => Some(embedded::weights()?),
            (Weights::Pretrained, None) => Some(Checkpoint::open(timm_weights(&described.architecture)?)?),
        };
        if let Some(checkpoint) = &checkpoint {
            described.architecture.config.num_classes = classes(checkpoint);
        }
        let config = &described.architecture.config;
        let (vit, trained_with, report) = match &checkpoint {
            Some(checkpoint) => {
                let method = trained_with(checkpoint)?;
                let vit = config.init(options.precision, device).with_fresh_mergers(&method, device);
                let (vit, report) = load(vit, checkpoint)?;
                (vit, method, report)
            }
            None => {
                // None of the published ones.
                described.architecture.tag = String::new();
                let vit = drawn(&described.architecture.config, options.precision, device);
                (vit, Method::None, LoadReport::default())
            }
        };
        let Described { architecture, class_names, .. } = described;
        let vit = vit.with_routing(options.routing);
        Ok(Self { vit, architecture, class_names, trained_with, report, device: device.clone() })
    }

    /// The method that the weights were trained with; [`Method::None`] if nobody says.
    #[must_use]
    pub fn trained_with(&self) -> &Method {
        &self.trained_with
    }

    /// A model made of a network and what is known of it, for weights that come from no file.
    #[must_use]
    pub fn from_parts(
        vit: Vit,
        architecture: Architecture,
        class_names: Vec<String>,
        trained_with: Method,
        device: &Device,
    ) -> Self {
        let report = LoadReport::default();
        Self { vit, architecture, class_names, trained_with, report, device: device.clone() }
    }

    /// Name, shape and preprocessing.
    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Where it runs.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The network.
    #[must_use]
    pub fn vit(&self) -> &Vit {
        &self.vit
    }

    /// Its shape.
    #[must_use]
    pub fn config(&self) -> &VitConfig {
        &self.architecture.config
    }

    /// Name and tag, as timm writes them ([`Architecture::full_name`]).
    #[must_use]
    pub fn name(&self) -> String {
        self.architecture.full_name()
    }

    /// How images are prepared for it.
    #[must_use]
    pub fn preprocess(&self) -> &Preprocess {
        &self.architecture.preprocess
    }

    /// The same model with images prepared in another way; their size stays the model's.
    #[must_use]
    pub fn with_preprocess(mut self, preprocess: Preprocess) -> Self {
        let input_size = self.config().img_size;
        self.architecture.preprocess = Preprocess { input_size, ..preprocess };
        self
    }

    /// Outputs of the head.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.config().num_classes
    }

    /// Refuses a model without a head: its outputs are no predictions.
    ///
    /// # Errors
    /// When the weights have no head.
    pub fn require_head(&self) -> Result<(), ModelError> {
        if self.classes() == 0 { Err(ModelError::NoHead(self.name())) } else { Ok(()) }
    }

    /// Names of the classes, where the model's metadata has them.
    #[must_use]
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// What became of every tensor of the weights file.
    #[must_use]
    pub fn report(&self) -> &LoadReport {
        &self.report
    }

    /// Number of parameters.
    #[must_use]
    pub fn parameters(&self) -> usize {
        parameters(&self.vit)
    }

    /// A method, bound to this model. A method with weights gets those that were trained with the model's, or fresh
    /// ones ([`has_fresh_weights`](Self::has_fresh_weights)).
    ///
    /// # Errors
    /// When the method's schedule does not fit the model.
    pub fn bind(&self, method: &Method) -> Result<Reduction, BindError> {
        let reduction = Reduction::bind(method.clone(), &self.config().seat())?;
        Ok(if method == &self.trained_with {
            reduction.with_mergers(self.vit.mergers().clone())
        } else {
            reduction.with_fresh_mergers(self.config().embed_dim, &self.device)
        })
    }

    /// Whether a method would run with weights that nobody has trained.
    #[must_use]
    pub fn has_fresh_weights(&self, method: &Method) -> bool {
        method.has_weights() && method != &self.trained_with
    }

    /// Brings the weights into the form that the kernels want, which the first forward pass would do otherwise:
    /// runs one blank image. Times taken after that are those of a model in use.
    pub fn warm_up(&self) {
        let config = self.config();
        let pixels = vec![0.0; config.in_chans * config.img_size.0 * config.img_size.1];
        let _ = self.predict(pixels, &Reduction::none()).logits.into_data();
    }

    /// Runs a batch: `pixels: [B, 3, H, W]`, preprocessed.
    ///
    /// # Panics
    /// When `pixels` is not a whole number of images of the model's size.
    #[must_use]
    pub fn forward(&self, pixels: Vec<f32>, reduction: &Reduction) -> Classified {
        let Some(clear) = self.recheck(reduction) else {
            return self.vit.forward(self.images(pixels), reduction);
        };
        let Classified { logits, tokens, mut trace } =
            self.vit.forward(self.images(pixels.clone()), reduction);
        let logits = self.rechecked(&pixels, logits, clear, &mut trace);
        Classified { logits, tokens, trace }
    }

    /// As [`forward`](Self::forward) for who reads nothing but logits: the same, sooner ([`Vit::predict`]).
    ///
    /// # Panics
    /// When `pixels` is not a whole number of images of the model's size.
    #[must_use]
    pub fn predict(&self, pixels: Vec<f32>, reduction: &Reduction) -> Predicted {
        let Some(clear) = self.recheck(reduction) else {
            return self.vit.predict(self.images(pixels), reduction);
        };
        let Predicted { logits, mut trace } = self.vit.predict(self.images(pixels.clone()), reduction);
        let logits = self.rechecked(&pixels, logits, clear, &mut trace);
        Predicted { logits, trace }
    }

    /// The vectors that the head looks at, `[B, C]`, and how tokens merged on the way; a method's second look at
    /// unclear images is not taken. `pixels: [B, 3, H, W]`, preprocessed.
    ///
    /// # Panics
    /// When `pixels` is not a whole number of images of the model's size.
    #[must_use]
    pub fn features(&self, pixels: Vec<f32>, reduction: &Reduction) -> (Tensor<2>, Trace) {
        self.vit.features(self.images(pixels), reduction)
    }

    /// How clear an answer must be to be the last word, if any but the unmerged model's can be.
    fn recheck(&self, reduction: &Reduction) -> Option<f32> {
        reduction.method().recheck().filter(|_| self.classes() > 1)
    }

    /// The merged model's logits, but those of the unmerged one for images whose answer is not clear. Each image
    /// decides for itself.
    fn rechecked(&self, pixels: &[f32], merged: Tensor<2>, clear: f32, trace: &mut Trace) -> Tensor<2> {
        let classes = self.classes();
        let mut logits: Vec<f32> = merged.clone().into_data().iter::<f32>().collect();
        // Not a number is not clear either.
        let unclear = |logits: &[f32]| gap(logits).is_nan() || gap(logits) < clear;
        let again: Vec<usize> = logits
            .chunks_exact(classes)
            .enumerate()
            .filter_map(|(item, logits)| unclear(logits).then_some(item))
            .collect();
        if again.is_empty() {
            return merged;
        }
        let image = pixels.len() * classes / logits.len();
        let pixels =
            again.iter().flat_map(|item| &pixels[item * image..(item + 1) * image]).copied().collect();
        let unmerged = self.vit.predict(self.images(pixels), &Reduction::none()).logits;
        let unmerged: Vec<f32> = unmerged.into_data().iter::<f32>().collect();
        for (item, unmerged) in again.iter().zip(unmerged.chunks_exact(classes)) {
            logits[item * classes..(item + 1) * classes].copy_from_slice(unmerged);
        }
        let items = logits.len() / classes;
        trace.set_rechecked(again);
        Tensor::from_data(TensorData::new(logits, [items, classes]), &self.device)
    }

    /// As [`forward`](Self::forward), with somebody looking on.
    ///
    /// # Panics
    /// When `pixels` is not a whole number of images of the model's size.
    #[must_use]
    pub fn forward_watched(
        &self,
        pixels: Vec<f32>,
        reduction: &Reduction,
        watch: &mut dyn Watch,
    ) -> Classified {
        self.vit.forward_watched(self.images(pixels), reduction, watch)
    }

    fn images(&self, pixels: Vec<f32>) -> Tensor<4> {
        let config = self.config();
        let (height, width) = config.img_size;
        let items = pixels.len() / (config.in_chans * height * width);
        let images = TensorData::new(pixels, [items, config.in_chans, height, width]);
        Tensor::from_data(images, &self.device)
    }

    /// Tokens that the blocks see of one image of a pass: what the method is counted by.
    #[must_use]
    pub fn layer_tokens(&self, trace: &Trace, item: usize) -> Vec<LayerTokens> {
        trace.layer_tokens(item, self.config().tokens(), self.config().depth)
    }

    /// Billions of multiply-adds of one image of a pass, a second look at it included.
    #[must_use]
    pub fn gmacs(&self, trace: &Trace, item: usize, reduction: &Reduction, convention: Convention) -> f64 {
        let cost = self.config().cost();
        let first = cost.gmacs(&self.layer_tokens(trace, item), reduction, convention);
        match trace.rechecked().binary_search(&item) {
            Ok(_) => first + self.config().unmerged_gmacs(convention),
            Err(_) => first,
        }
    }
}

/// How clear an answer is: the largest logit less the second. Infinite for a single logit, NaN if any is.
#[must_use]
pub fn gap(logits: &[f32]) -> f32 {
    let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &logit in logits {
        if logit.is_nan() {
            return f32::NAN;
        }
        if logit > first {
            (first, second) = (logit, first);
        } else if logit > second {
            second = logit;
        }
    }
    first - second
}

/// The method that a checkpoint's metadata name.
fn trained_with(checkpoint: &Checkpoint) -> Result<Method, ModelError> {
    let Some(merge) = checkpoint.metadata().get(TRAINED_WITH) else { return Ok(Method::None) };
    merge.parse().map_err(|error: SpecError| ModelError::TrainedMerge {
        path: checkpoint.path().to_owned(),
        merge: merge.clone(),
        reason: error.to_string(),
    })
}

/// timm publishes its weights on the Hub under `timm/name.tag`.
fn timm_weights(architecture: &Architecture) -> Result<PathBuf, ModelError> {
    let repo = format!("timm/{}.{}", architecture.name, architecture.tag);
    let source = ModelSource::parse(&format!("hf-hub:{repo}"))?;
    let ModelSource::HfHub { repo, revision } = source else {
        return Err(UnknownModel::new(&architecture.name).into());
    };
    Ok(Hub::new(HubConfig::from_env()?)?.fetch(&repo, &revision)?.weights)
}

/// Outputs of the head in a checkpoint, whatever it is wrapped in; 0 if it has none.
fn classes(checkpoint: &Checkpoint) -> usize {
    let heads = ["head.weight", "classifier.weight", "cls_classifier.weight"];
    let is_head = |name: &&str| {
        heads
            .iter()
            .any(|head| name.strip_suffix(head).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
    };
    let head = checkpoint.names().find(is_head).and_then(|name| checkpoint.get(name));
    head.and_then(|head| head.shape.first().copied()).unwrap_or(0)
}

/// A model of random weights, the same in every run and beside whatever else draws from the device's generator.
fn drawn(config: &VitConfig, precision: Precision, device: &Device) -> Vit {
    struct Draw;
    impl ModuleVisitor for Draw {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            param.val();
        }
    }
    static DRAWING: Mutex<()> = Mutex::new(());
    let _alone = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(0);
    let vit = config.init(precision, device);
    // Burn draws a parameter when it is first read, which may be while another model is seeding.
    vit.visit(&mut Draw);
    vit
}
