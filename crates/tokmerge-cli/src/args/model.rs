//! Which model, and how it runs.

use super::values::{img_size, one_of, thread_count};
use crate::cli::Cli;
use crate::output;
use crate::progress::Downloads;
use anyhow::{Context, Result, bail};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tokmerge::{
    Affinity, Architecture, ClassFolder, ClassOrder, Config, DatasetError, Device, EMBEDDED, Media, Model,
    ModelOptions, Precision, Routing, Unused, Weights, ZeroShot, ZeroShotError, describe_with_progress,
};

/// Which model, and how it runs.
#[derive(Args, Debug)]
pub(crate) struct ModelArgs {
    /// timm name such as vit_tiny_patch16_224, local-dir:PATH, hf-hub:org/name[@rev], or demo: the small model that
    /// comes with tokmerge
    #[arg(short, long, value_name = "MODEL", env = "TOKMERGE_MODEL")]
    pub(crate) model: Option<String>,
    /// Weights file, safetensors or PyTorch [default: those that --model points to]
    #[arg(short, long, value_name = "FILE", env = "TOKMERGE_WEIGHTS", conflicts_with = "random_weights")]
    pub(crate) weights: Option<PathBuf>,
    /// Which weights of a file that holds several: a key such as model_ema, or what their names begin with, such as
    /// student [default: averaged ones where there are some]
    #[arg(long, value_name = "KEY")]
    pub(crate) state_dict: Option<String>,
    /// Leave tensors aside that the model does not read, instead of refusing the file
    #[arg(long)]
    pub(crate) ignore_unused: bool,
    /// Use random weights: for measuring speed, not for predictions
    #[arg(long)]
    pub(crate) random_weights: bool,
    /// Side of the input image, or HEIGHTxWIDTH; position embeddings are resampled
    #[arg(long, value_name = "SIZE", value_parser = img_size)]
    pub(crate) img_size: Option<(usize, usize)>,
    /// Compute precision
    #[arg(
        long,
        value_parser = one_of::<Precision>(Precision::ALL.map(Precision::name)),
        default_value_t = Precision::F32,
        env = "TOKMERGE_DTYPE"
    )]
    pub(crate) dtype: Precision,
    /// Capacity of V-MoE's experts: free (unlimited), or for example capacity=1.05,group=8,order=gate
    #[arg(long, value_name = "SPEC", default_value_t = Routing::Free)]
    pub(crate) routing: Routing,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}

/// What a command wants to know of items by a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Their classes.
    Classes,
    /// Their vectors, or what becomes of their tokens.
    Vectors,
}

/// The command that a model is for.
pub(crate) fn command_for(media: Media, config: &Config) -> &'static str {
    match (media, config.writes(), config.shape().classes) {
        (Media::Question, ..) => "tokmerge ask, or tokmerge eval with a list of questions",
        (Media::Text, true, _) => "tokmerge generate, or tokmerge eval with pairs of texts (.tsv)",
        (Media::Text, false, 0) => "tokmerge embed, or tokmerge eval with scored pairs of sentences",
        (_, _, 0) => "tokmerge embed",
        _ => "tokmerge classify",
    }
}

/// A model without its weights.
fn described(name: &str) -> Result<Architecture> {
    let options = ModelOptions { weights: Weights::Random, ..ModelOptions::new(name.to_owned()) };
    Ok(describe_with_progress(&options, &Downloads::default())?.architecture)
}

impl ModelArgs {
    /// The model's name.
    pub(crate) fn name(&self) -> &str {
        self.model.as_deref().unwrap_or_else(|| {
            let text = format!(
                "--model is required: give a name, e.g. vit_tiny_patch16_224 (tokmerge models lists them), or \
                 --model {EMBEDDED} for the small one that comes with tokmerge"
            );
            Cli::command().error(ErrorKind::MissingRequiredArgument, text).exit()
        })
    }

    /// Opens the model; the number of threads counts from here on.
    pub(crate) fn open(&self) -> Result<Model> {
        self.open_named(self.name())
    }

    /// The same, or the model that comes with tokmerge if none is named.
    pub(crate) fn open_or_demo(&self) -> Result<Model> {
        match &self.model {
            Some(name) => self.open_named(name),
            None if self.weights.is_some() => self.open(),
            None => {
                output::note(format!(
                    "no --model is given: this is {EMBEDDED}, the small one that comes with tokmerge"
                ));
                self.open_named(EMBEDDED)
            }
        }
    }

    /// What the model takes, before its weights are read; images where none is named.
    pub(crate) fn media(&self) -> Result<Media> {
        let Some(name) = &self.model else { return Ok(Media::Image) };
        Ok(described(name)?.processor.media())
    }

    /// Whether the model writes texts, before its weights are read.
    pub(crate) fn writes(&self) -> Result<bool> {
        self.model.as_ref().map_or(Ok(false), |name| Ok(described(name)?.config.writes()))
    }

    /// Refuses a model of texts or questions of which a command learns nothing, before its weights are read, and names the
    /// command that it is for. What is wrong with a model that cannot be described is said where it is opened.
    pub(crate) fn refuse_without(&self, wanted: Wanted) -> Result<()> {
        let Some(Ok(found)) = self.model.as_deref().map(described) else { return Ok(()) };
        let (media, config) = (found.processor.media(), &found.config);
        let lacks = match (media, wanted) {
            (Media::Question, _) => "asks for a question about each image",
            (Media::Text, Wanted::Classes) if config.shape().classes == 0 => {
                "takes texts, and knows no classes"
            }
            _ => return Ok(()),
        };
        bail!("{} {lacks}; use {}", self.name(), command_for(media, config))
    }

    /// What lies in a folder of what the model takes. Where nothing is known of the model, it is what is wrong only if the
    /// folder holds no images.
    pub(crate) fn folder(&self, dir: &Path, order: Option<ClassOrder>) -> Result<ClassFolder> {
        self.refuse_without(Wanted::Vectors)?;
        match self.media() {
            Ok(media) => Ok(ClassFolder::open_in(dir, media, order)?),
            Err(unknown) => match ClassFolder::open_in(dir, Media::Image, order) {
                Err(DatasetError::Nothing { .. }) => Err(unknown),
                found => Ok(found?),
            },
        }
    }

    /// Files that are read to open it, as far as they are on this machine.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.weights.iter().cloned().collect();
        if let Some(dir) = self.model.as_deref().and_then(|name| name.strip_prefix("local-dir:")) {
            files.extend(std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
        files
    }

    /// Adds the text tower that stands beside a model which was opened by these arguments.
    pub(crate) fn zero_shot(&self, images: Model) -> Result<ZeroShot, ZeroShotError> {
        let both = ZeroShot::beside(images, &self.options(self.name()), &Downloads::default())?;
        both.texts().notes().iter().for_each(|note| output::note(format!("note: {note}")));
        Ok(both)
    }

    fn options(&self, name: &str) -> ModelOptions {
        let weights = match (&self.weights, self.random_weights) {
            (Some(path), _) => Weights::File(path.clone()),
            (None, true) => Weights::Random,
            (None, false) => Weights::Pretrained,
        };
        ModelOptions {
            model: name.to_owned(),
            weights,
            state_dict: self.state_dict.clone(),
            unused: if self.ignore_unused { Unused::Ignore } else { Unused::Refuse },
            img_size: self.img_size,
            precision: self.dtype,
            routing: self.routing,
        }
    }

    fn open_named(&self, name: &str) -> Result<Model> {
        self.threads.start()?;
        let model =
            Model::open_with_progress(&self.options(name), &self.device.open(), &Downloads::default())?;
        model.notes().iter().for_each(|note| output::note(format!("note: {note}")));
        Ok(model)
    }
}

/// The threads that compute.
#[derive(Args, Debug)]
pub(crate) struct ThreadArgs {
    /// Threads to compute with [default: one per core that the process may use, as with taskset]
    #[arg(long, value_name = "N", value_parser = thread_count, env = "TOKMERGE_THREADS")]
    threads: Option<usize>,
    /// Pin each thread to its own core
    #[arg(long)]
    pin: bool,
}

impl ThreadArgs {
    /// Their number.
    pub(crate) fn count(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// How many threads read images where the user does not say: as many as compute, so that either kind has all cores
    /// whenever the other waits.
    pub(crate) fn workers(&self, asked: Option<usize>) -> usize {
        asked.unwrap_or_else(|| self.count())
    }

    /// Starts them, unless the user is content with the default.
    pub(crate) fn start(&self) -> Result<()> {
        if self.threads.is_none() && !self.pin {
            return Ok(());
        }
        let affinity = if self.pin { Affinity::Pinned } else { Affinity::Free };
        tokmerge::set_threads(self.count(), affinity).context("cannot start the threads")
    }
}

/// Where the model runs.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct DeviceArgs {
    /// Where the model runs
    #[arg(
        long = "device",
        id = "device",
        value_name = "DEVICE",
        default_value = "cpu",
        env = "TOKMERGE_DEVICE"
    )]
    name: DeviceName,
}

impl DeviceArgs {
    /// The device: every command gets it here.
    pub(crate) fn open(self) -> Device {
        (self.name.open)()
    }

    /// Its name, for reports.
    pub(crate) fn name(self) -> &'static str {
        self.name.name
    }
}

/// A device of this build.
#[derive(Clone, Copy, Debug)]
struct DeviceName {
    name: &'static str,
    open: fn() -> Device,
}

/// The devices of this build.
const DEVICES: [DeviceName; 1] = [DeviceName { name: "cpu", open: Device::flex }];

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = DEVICES.into_iter().find(|device| device.name == name);
        found.ok_or_else(|| format!("this build runs on: {}", DEVICES.map(|device| device.name).join(", ")))
    }
}
