//! From what a user asks for to a model: names, folders, the Hub, and the model that comes along.

use crate::config_json::open_clip::Tower;
use crate::config_json::{self, ConfigureError, Understood};
use crate::embedded;
use crate::experts::Routing;
use crate::families::vit::Sizes;
use crate::family::ImageSizeError;
use crate::model::Model;
use crate::network::{Config, Network};
use crate::open_text::{as_sentence_encoder, with_tokenizer_of};
use crate::registry::{Architecture, UnknownModel, architecture};
use crate::weights::key_map::Spelling;
use crate::weights::{LoadError, LoadReport, Unused, load_with, spelling};
use burn::tensor::Device;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tokmerge_checkpoint::{
    Checkpoint, CheckpointError, ConfigError, HfConfig, Hub, HubConfig, HubError, ModelConfig, ModelSource,
    OpenClipConfig, OpenMode, Progress, Silent, SourceError, discover, discover_config, discover_processor,
    quoted, read_text,
};
use tokmerge_data::text::TextError;
use tokmerge_data::{ImageProcessor, Media, Preprocess, PreprocessError, Processor, QuestionProcessor};
use tokmerge_merge::{Method, SpecError};
use tokmerge_nn::parameters;
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
    /// Which of several sets of weights in a file: a key such as `model_ema`, or what the names begin with. Without it
    /// averaged weights are taken where there are some.
    pub state_dict: Option<String>,
    /// What becomes of tensors that the model does not read.
    pub unused: Unused,
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
        let (state_dict, unused) = (None, Unused::default());
        Self { model: model.into(), weights, state_dict, unused, img_size: None, precision, routing }
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
    #[error("{}: there is no config.json, which says what model this is; name the model, and give the file as its `weights`", .0.display())]
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
    /// What the model takes cannot be prepared in that size.
    #[error(transparent)]
    InputSize(PreprocessError),
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
        "the weights of {0} have no classifier head (they were only pretrained), so there is nothing to predict; use fine-tuned weights, or give class names to a model of images and texts (CLIP, SigLIP)"
    )]
    NoHead(String),
    /// Nobody publishes weights of this name where they could be fetched.
    #[error("there are no weights of {0} on the Hugging Face Hub; give a weights file, or random weights")]
    NotPublished(String),
    /// Names of the classes that are not the model's.
    #[error(
        "{}: it names {names} classes (label_names or id2label), but the model has {classes}; correct or remove the names",
        path.display()
    )]
    ClassNames {
        /// The file.
        path: PathBuf,
        /// How many it names.
        names: usize,
        /// Outputs of the model.
        classes: usize,
    },
    /// The tokenizer of a model of texts.
    #[error(transparent)]
    Tokenizer(TextError),
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
}

/// What a name or a folder says, and where its weights are.
struct Found {
    architecture: Architecture,
    class_names: Vec<String>,
    /// The weights to load; `None` for random ones.
    checkpoint: Option<Checkpoint>,
    /// The method that the configuration says they were trained with, where it says so.
    trained_with: Option<Method>,
    /// What says what the model is.
    named: Named,
    /// What a user should know, a line each.
    notes: Vec<String>,
}

/// What says what a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// A name, which leaves open what became of the model: how many classes its weights know.
    ByName,
    /// A `config.json` beside the weights.
    ByConfig,
}

/// Under this name the metadata of a safetensors file say which method its weights were trained with.
pub const TRAINED_WITH: &str = "merge";

/// Looks up what a model is. Of a folder's weights only the names are read.
///
/// # Errors
/// When the name is unknown, or its metadata cannot be read.
pub fn describe(options: &ModelOptions) -> Result<Described, ModelError> {
    describe_with_progress(options, &Silent)
}

/// The same, telling `progress` of what is downloaded.
///
/// # Errors
/// As [`describe`].
pub fn describe_with_progress(
    options: &ModelOptions,
    progress: &dyn Progress,
) -> Result<Described, ModelError> {
    let Found { architecture, class_names, .. } = find(options, progress)?;
    Ok(Described { architecture, class_names })
}

fn find(options: &ModelOptions, progress: &dyn Progress) -> Result<Found, ModelError> {
    let pretrained = options.weights == Weights::Pretrained;
    let mut found = match ModelSource::parse(&options.model)? {
        ModelSource::Named { .. } if options.model == embedded::EMBEDDED => {
            let (architecture, class_names) = embedded::describe()?;
            let checkpoint = if pretrained { Some(embedded::weights()?) } else { given_weights(options)? };
            let (trained_with, named, notes) = (None, Named::ByConfig, Vec::new());
            Found { architecture, class_names, checkpoint, trained_with, named, notes }
        }
        ModelSource::Named { .. } => {
            let given = given_weights(options)?;
            let mut architecture = architecture(&options.model)?;
            if let Weights::File(path) = &options.weights {
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                with_tokenizer_of(dir, &mut architecture)?;
            }
            Found {
                architecture,
                class_names: Vec::new(),
                checkpoint: given,
                trained_with: None,
                named: Named::ByName,
                notes: Vec::new(),
            }
        }
        _ => match located(options, progress)? {
            Some(Located { dir, checkpoint }) => from_dir(&dir, checkpoint)?,
            None => return Err(UnknownModel::new(&options.model).into()),
        },
    };
    if options.routing != Routing::Free && found.architecture.config.experts().is_none() {
        return Err(ModelError::NoExperts { model: options.model.clone(), routing: options.routing });
    }
    if let Some(size) = options.img_size {
        let Architecture { config, processor, .. } = &mut found.architecture;
        *config = config.clone().with_img_size(size)?;
        *processor = processor.with_size(size).map_err(ModelError::InputSize)?;
    }
    Ok(found)
}

/// A folder, and the weights to read: those in it, or others that were given; `None` for random ones.
pub(crate) struct Located {
    pub dir: PathBuf,
    pub checkpoint: Option<Checkpoint>,
}

/// Finds the folder that a name points to, downloading it if need be; `None` if it points to none.
///
/// # Errors
/// When the name is malformed, or there are no weights.
pub(crate) fn located(
    options: &ModelOptions,
    progress: &dyn Progress,
) -> Result<Option<Located>, ModelError> {
    let (dir, weights) = match ModelSource::parse(&options.model)? {
        ModelSource::LocalDir(dir) => {
            let wanted = options.weights == Weights::Pretrained;
            let weights = wanted.then(|| discover(&dir)).transpose()?.map(|files| files.weights);
            (dir, weights)
        }
        ModelSource::HfHub { repo, revision } => {
            let files = Hub::new(HubConfig::from_env()?)?.fetch_with_progress(&repo, &revision, progress)?;
            (files.weights.parent().unwrap_or(Path::new(".")).to_owned(), Some(files.weights))
        }
        _ => return Ok(None),
    };
    let checkpoint = match (&options.weights, weights) {
        (Weights::Pretrained, Some(weights)) => Some(opened(&weights, options)?),
        _ => given_weights(options)?,
    };
    Ok(Some(Located { dir, checkpoint }))
}

/// The weights that were given as a file.
fn given_weights(options: &ModelOptions) -> Result<Option<Checkpoint>, ModelError> {
    match &options.weights {
        Weights::File(path) => Ok(Some(opened(path, options)?)),
        Weights::Pretrained | Weights::Random => Ok(None),
    }
}

fn opened(path: &Path, options: &ModelOptions) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::open_part(path, OpenMode::default(), options.state_dict.as_deref())
}

/// Reads the metadata of a folder. What the configuration leaves open is seen from the weights, if there are some.
fn from_dir(dir: &Path, checkpoint: Option<Checkpoint>) -> Result<Found, ModelError> {
    if !dir.is_dir() {
        // Says what is wrong with the folder itself.
        discover(dir)?;
    }
    let path = discover_config(dir).ok_or_else(|| ModelError::NoConfig(dir.to_owned()))?;
    let wrong = |source| ModelError::Configure { path: path.clone(), source };
    let config = ModelConfig::read(&path)?;
    let (mut weights, mut processor, mut trained_with) = (None, None, None);
    let (silent, class_names) = match &config {
        ModelConfig::Timm(config) => {
            let given = &config.pretrained_cfg;
            let silent = given.mean.is_none() && given.std.is_none() && given.crop_pct.is_none();
            (silent, config.label_names.clone())
        }
        ModelConfig::HuggingFace(config) => {
            config_json::hugging_face::check_type(config).map_err(|error| wrong(error.into()))?;
            trained_with =
                config_json::hugging_face::trained_with(config).map_err(|error| wrong(error.into()))?;
            weights = checkpoint.as_ref().map(spelling).transpose()?;
            processor = discover_processor(dir).as_deref().map(read_processor).transpose()?;
            (processor.is_none(), config.id2label.values().cloned().collect())
        }
        _ => (false, Vec::new()),
    };
    let (mut architecture, unread) = described(&config, weights.as_ref(), processor).map_err(wrong)?;
    let mut notes = match architecture.preprocess().filter(|_| silent) {
        Some(preprocess) => vec![assumed(&path, preprocess)],
        None => Vec::new(),
    };
    notes.extend(left_unread(&path, &unread));
    if let Config::Text(text) = &mut architecture.config {
        as_sentence_encoder(dir, text)?;
    }
    with_tokenizer_of(dir, &mut architecture)?;
    let classes = architecture.config.shape().classes;
    if !class_names.is_empty() && classes > 0 && class_names.len() != classes {
        return Err(ModelError::ClassNames { path, names: class_names.len(), classes });
    }
    let named = Named::ByConfig;
    Ok(Found { architecture, class_names, checkpoint, trained_with, named, notes })
}

/// Says which fields of a configuration were left aside.
pub(crate) fn left_unread(config: &Path, fields: &[String]) -> Option<String> {
    const SHOWN: usize = 5;
    let shown: Vec<String> = fields.iter().take(SHOWN).map(|field| quoted(field)).collect();
    let more = fields.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let text =
        format!("{}: nothing is known of {}{more}, and it was not read", config.display(), shown.join(", "));
    (!fields.is_empty()).then_some(text)
}

/// Says that a folder does not say how images are prepared.
fn assumed(config: &Path, preprocess: &Preprocess) -> String {
    let Preprocess { mean, std, crop_pct, interpolation, .. } = preprocess;
    format!(
        "{} and the files beside it do not say how images are prepared; assumed are `mean` {mean:?}, `std` {std:?}, \
         `crop_pct` {crop_pct} and `interpolation` {}",
        config.display(),
        interpolation.name()
    )
}

/// The model of a `config.json` of transformers, with what its image processor says.
fn hugging_face(
    config_file: &HfConfig,
    weights: Option<&Spelling>,
    given: Option<Processor>,
) -> Result<(Architecture, Vec<String>), ConfigureError> {
    let size = given.as_ref().and_then(Processor::preprocess).map(|given| given.input_size);
    let Understood { mut config, processor: own, unread } =
        config_json::hugging_face::describe(config_file, weights, size)?;
    let name = config_file.model_type.clone();
    let refused = |reason: String| {
        ConfigureError::Shape(format!("{reason}; use the preprocessor_config.json of this model"))
    };
    let processor = match (given, &own) {
        (None, _) => own,
        (
            Some(Processor::Image(ImageProcessor::Naflex(given))),
            Processor::Image(ImageProcessor::Naflex(_)),
        ) => {
            if let Config::Vit(shape) = &mut config {
                let own = shape.patch_size.0;
                if given.patch_size != own {
                    let given = given.patch_size;
                    let reason =
                        format!("its patch_size is {own}, and {given} in the image processor beside it");
                    return Err(refused(reason));
                }
                shape.sizes = Sizes::Own { most: given.max_num_patches };
            }
            given.into()
        }
        (Some(Processor::Image(picture @ ImageProcessor::Fixed(_))), Processor::Question(own))
            if matches!(own.picture, ImageProcessor::Fixed(_)) =>
        {
            QuestionProcessor { picture, text: own.text.clone() }.into()
        }
        (Some(Processor::Image(ImageProcessor::Vilt(picture))), Processor::Question(own)) => {
            if let Config::Vilt(shape) = &mut config {
                let (own, given) = (shape.patch_size, picture.patch_size);
                if given != own {
                    let reason = format!(
                        "its patch_size is {own}, and size_divisor {given} in the image processor beside it"
                    );
                    return Err(refused(reason));
                }
                shape.patches = picture.most_patches();
            }
            QuestionProcessor { picture: picture.into(), text: own.text.clone() }.into()
        }
        // Which frames are taken is for the model to say.
        (Some(Processor::Clip(given)), Processor::Clip(own)) if given.fit.size() == own.fit.size() => {
            given.with_sampling(own.sampling).into()
        }
        (Some(given), own) if std::mem::discriminant(&given) == std::mem::discriminant(own) => {
            let kinds = [&given, own].map(|processor| processor.preprocess().is_some());
            if kinds[0] != kinds[1] {
                let takes = if kinds[1] { "images of one size" } else { "images of their own sizes" };
                return Err(refused(format!(
                    "the image processor beside it prepares images otherwise than the model, which takes {takes}"
                )));
            }
            if given.most_values() != own.most_values() && given.media() != Media::Image {
                return Err(refused(format!(
                    "the processor beside it makes {} of another size than the model takes",
                    given.media().words()
                )));
            }
            given
        }
        (Some(given), own) => {
            let (given, own) = (given.media().words(), own.media().words());
            return Err(refused(format!(
                "the processor beside it prepares {given}, and the model takes {own}"
            )));
        }
    };
    Ok((Architecture { name, tag: String::new(), config, processor }, unread))
}

/// What a `config.json` or an `open_clip_config.json` describes, without weights that could say what it leaves open;
/// `processor` is the `preprocessor_config.json` beside one of transformers.
///
/// # Errors
/// When it is no model that is known here, or makes no sense.
pub fn configured(
    config: &ModelConfig,
    processor: Option<&serde_json::Value>,
) -> Result<Architecture, ConfigureError> {
    Ok(described(config, None, processor.map(Processor::from_hf).transpose()?)?.0)
}

/// The same, with weights that say what a configuration of transformers leaves open; and the fields that were not read.
fn described(
    config: &ModelConfig,
    weights: Option<&Spelling>,
    processor: Option<Processor>,
) -> Result<(Architecture, Vec<String>), ConfigureError> {
    let (architecture, unread) = match config {
        ModelConfig::Timm(config) => (config_json::timm(config)?, Vec::new()),
        ModelConfig::HuggingFace(config) => hugging_face(config, weights, processor)?,
        ModelConfig::OpenClip(config) => open_clip(config)?,
        other => return Err(ConfigureError::Shape(format!("{other:?} is of a kind that is not understood"))),
    };
    architecture.config.check().map_err(ConfigureError::Shape)?;
    Ok((architecture, unread))
}

/// The image tower of an `open_clip_config.json`.
fn open_clip(config: &OpenClipConfig) -> Result<(Architecture, Vec<String>), ConfigureError> {
    match config_json::open_clip::describe(config)? {
        Tower::Own(Understood { config, processor, unread }) => {
            let (name, tag) = ("open_clip".to_owned(), String::new());
            Ok((Architecture { name, tag, config, processor }, unread))
        }
        Tower::Timm(tower) => Ok((config_json::timm_tower(&tower)?, Vec::new())),
    }
}

/// A preprocessor file has a few hundred bytes, beside a tokenizer's settings some thousands.
const MAX_JSON: u64 = 1 << 20;

/// How images are prepared, by a file of transformers.
fn read_processor(path: &Path) -> Result<Processor, ModelError> {
    Processor::from_hf(&read_json(path)?)
        .map_err(|error| ModelError::Preprocessor { path: path.to_owned(), reason: error.to_string() })
}

pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value, ModelError> {
    let wrong = |reason: String| ModelError::Preprocessor { path: path.to_owned(), reason };
    let text = read_text(path, MAX_JSON).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}

impl Model {
    /// Opens a model.
    ///
    /// # Errors
    /// When the name is unknown, or the weights are missing, damaged or of another model.
    pub fn open(options: &ModelOptions, device: &Device) -> Result<Self, ModelError> {
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
    ) -> Result<Self, ModelError> {
        let Found { mut architecture, class_names, mut checkpoint, trained_with, named, mut notes } =
            find(options, progress)?;
        if checkpoint.is_none() && options.weights == Weights::Pretrained {
            let (path, mode) = (weights_of(&architecture, progress)?, OpenMode::default());
            checkpoint = Some(Checkpoint::open_part(path, mode, options.state_dict.as_deref())?);
        }
        let (network, trained_with, report) = match &checkpoint {
            Some(checkpoint) => {
                architecture.config = fitted(architecture.config, checkpoint, named)?;
                let method = named_method(checkpoint)?.or(trained_with).unwrap_or(Method::None);
                let network = architecture.config.init(options.precision, device);
                let network = network.with_fresh_mergers(&method, device);
                let (network, report) = load_with(network, checkpoint, options.unused)?;
                notes.extend(weights_taken(checkpoint, &report)?);
                (network, method, report)
            }
            None => {
                // None of the published ones.
                architecture.tag = String::new();
                let network = random_weights(&architecture.config, options.precision, device);
                (network, Method::None, LoadReport::default())
            }
        };
        // The tables know the classes of some names, where the weights have as many.
        let class_names = match named {
            Named::ByName => architecture.listed_classes(),
            Named::ByConfig => class_names,
        };
        let network = network.with_routing(options.routing);
        Ok(Self::from_parts(network, architecture, class_names, trained_with, device)
            .with_report(report, notes))
    }
}

/// Says which of several weights were taken, and what was left aside.
fn weights_taken(checkpoint: &Checkpoint, report: &LoadReport) -> Result<Vec<String>, ModelError> {
    let (file, provenance) = (checkpoint.path().display(), checkpoint.provenance());
    let spelling = spelling(checkpoint)?;
    let mut notes = Vec::new();
    match (&provenance.state_dict_key, &provenance.raw_weights_key) {
        (Some(taken), Some(raw)) => notes.push(format!(
            "{file}: the averaged weights {taken} are taken and not the raw ones {raw}; choose with `state_dict`"
        )),
        (Some(taken), None) if taken.contains('.') => {
            notes.push(format!("{file}: the weights were found below {taken}"));
        }
        _ => {}
    }
    if let Some((taken, raw)) = spelling.averaged() {
        let (taken, raw) = (taken.trim_end_matches('.'), raw.trim_end_matches('.'));
        notes.push(format!(
            "{file}: the averaged weights {taken} are taken and not the raw ones {raw}; choose with `state_dict`"
        ));
    }
    if !report.unused.is_empty() {
        let shown: Vec<&str> = report.unused.iter().take(4).map(String::as_str).collect();
        let more = report.unused.len().saturating_sub(shown.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        notes.push(format!("{file}: the model does not read {}{more}", shown.join(", ")));
    }
    Ok(notes)
}

/// The shape that the weights have, where a name alone leaves that open: with the number of classes in the file, and
/// with an average of the patches where the file's last norm is made for one (MAE, fine-tuned). A `config.json` leaves
/// nothing open.
fn fitted(config: Config, checkpoint: &Checkpoint, named: Named) -> Result<Config, ModelError> {
    if named == Named::ByConfig {
        return Ok(config);
    }
    let spelling = spelling(checkpoint)?;
    let has = |path: &str| spelling.source(path).is_some();
    Ok(config.fitted(&has).with_num_classes(spelling.head().unwrap_or(0)))
}

/// The method that a checkpoint's metadata name.
fn named_method(checkpoint: &Checkpoint) -> Result<Option<Method>, ModelError> {
    let Some(merge) = checkpoint.metadata().get(TRAINED_WITH) else { return Ok(None) };
    merge.parse().map(Some).map_err(|error: SpecError| ModelError::TrainedMerge {
        path: checkpoint.path().to_owned(),
        merge: merge.clone(),
        reason: error.to_string(),
    })
}

/// Where the weights of a name are on the Hub.
fn weights_of(architecture: &Architecture, progress: &dyn Progress) -> Result<PathBuf, ModelError> {
    let name = architecture.full_name();
    let repository = architecture.repository().ok_or_else(|| ModelError::NotPublished(name.clone()))?;
    match ModelSource::parse(&format!("hf-hub:{repository}"))? {
        ModelSource::HfHub { repo, revision } => {
            let hub = Hub::new(HubConfig::from_env()?)?;
            Ok(hub.fetch_with_progress(&repo, &revision, progress)?.weights)
        }
        _ => Err(ModelError::NotPublished(name)),
    }
}

/// A network of random weights, the same in every run and beside whatever else draws from the device's generator.
fn random_weights(config: &Config, precision: Precision, device: &Device) -> Network {
    static DRAWING: Mutex<()> = Mutex::new(());
    let _alone = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(0);
    let network = config.init(precision, device);
    // Burn draws a parameter when it is first read, which may be while another model is seeding.
    parameters::materialise(&network);
    network
}
