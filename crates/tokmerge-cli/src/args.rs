//! What a user can type. Names are timm's where timm has the option.

use crate::output;
use anyhow::{Context, Result, bail};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokmerge::tune::Goal;
use tokmerge::{
    Affinity, Convention, CropMode, Device, EMBEDDED, Interpolation, Limits, MergeSpec, Method, Model,
    ModelOptions, Precision, Reduction, Routing, Weights,
};

/// Makes pretrained Vision Transformers faster by merging their redundant tokens.
#[derive(Parser, Debug)]
#[command(name = "tokmerge", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Say what is on photographs
    Classify(ClassifyArgs),
    /// Measure accuracy on a folder of images, with and without merging
    Eval(EvalArgs),
    /// Measure how much a model's features tell: a linear head from a few images per class, fitted in closed form
    FewShot(FewShotArgs),
    /// Measure speed on random images, with and without merging
    Bench(BenchArgs),
    /// Measure layer by layer what merging costs, and where it happens
    #[command(subcommand)]
    Analyze(AnalyzeCommand),
    /// Search for the merging that saves most at a given loss, or loses least at a given cost
    Tune(TuneArgs),
    /// Train a model on a folder of images, as a recipe says
    Train(TrainArgs),
    /// Train a model on from weights that it has, as a recipe says
    Finetune(TrainArgs),
    /// Write pictures that the program draws itself, one folder per class: something to train and measure on
    Scenes(ScenesArgs),
    /// See merging at work on pictures that the program draws itself: needs no files and no network
    Demo(DemoArgs),
    /// Show size, cost and token counts of a model, without running it
    Info(InfoArgs),
    /// Draw which patches of a photograph have merged
    Viz(VizArgs),
    /// List the models known by name
    Models(ListArgs),
    /// List the merging methods and their options
    Methods(ListArgs),
}

/// Which model, and how it runs.
#[derive(Args, Debug)]
pub(crate) struct ModelArgs {
    /// timm name such as vit_tiny_patch16_224, local-dir:PATH, hf-hub:org/name[@rev], or demo: the small model that
    /// comes with tokmerge
    #[arg(short, long, value_name = "MODEL", env = "TOKMERGE_MODEL")]
    pub(crate) model: Option<String>,
    /// Weights file, safetensors or PyTorch; without it they come from where --model points
    #[arg(short, long, value_name = "FILE", env = "TOKMERGE_WEIGHTS", conflicts_with = "random_weights")]
    pub(crate) weights: Option<PathBuf>,
    /// Random weights: for speed, not for predictions
    #[arg(long)]
    pub(crate) random_weights: bool,
    /// Side of the input image, or HEIGHTxWIDTH; position embeddings are interpolated
    #[arg(long, value_name = "SIZE", value_parser = img_size)]
    pub(crate) img_size: Option<(usize, usize)>,
    /// What products are computed in
    #[arg(long, value_enum, default_value_t = Dtype::F32, env = "TOKMERGE_DTYPE")]
    pub(crate) dtype: Dtype,
    /// Places for tokens in the experts of V-MoE: free (for all), or for example capacity=1.05,group=8,order=gate
    #[arg(long, value_name = "SPEC", default_value_t = Routing::Free)]
    pub(crate) routing: Routing,
    /// Where the model runs
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = device, env = "TOKMERGE_DEVICE")]
    pub(crate) device: DeviceName,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}

/// The threads that compute.
#[derive(Args, Debug)]
pub(crate) struct ThreadArgs {
    /// Threads to compute with [default: one per core that the process may use, as with taskset]
    #[arg(long, value_name = "N", value_parser = thread_count, env = "TOKMERGE_THREADS")]
    threads: Option<usize>,
    /// Keep each of them on a core of its own
    #[arg(long)]
    pin: bool,
}

impl ThreadArgs {
    /// Their number.
    pub(crate) fn count(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// Starts them where the user wants them otherwise than by default.
    pub(crate) fn start(&self) -> Result<()> {
        if self.threads.is_none() && !self.pin {
            return Ok(());
        }
        let affinity = if self.pin { Affinity::Pinned } else { Affinity::Free };
        tokmerge::set_threads(self.count(), affinity).context("cannot start the threads")
    }
}

/// How images are prepared, where not as the model's metadata says.
#[derive(Args, Debug)]
pub(crate) struct PreprocessArgs {
    /// Part of the resized image that the crop keeps
    #[arg(long, value_name = "FRACTION", value_parser = crop_pct)]
    pub(crate) crop_pct: Option<f64>,
    /// How the image is fitted: center, squash or border
    #[arg(long, value_name = "MODE", value_parser = crop_mode)]
    pub(crate) crop_mode: Option<CropMode>,
    /// How it is resized: bicubic, bilinear, nearest, box, hamming or lanczos
    #[arg(long, value_name = "FILTER", value_parser = interpolation)]
    pub(crate) interpolation: Option<Interpolation>,
    /// Subtracted from each colour, which is from 0 to 1
    #[arg(long, value_name = "R", num_args = 3)]
    pub(crate) mean: Option<Vec<f32>>,
    /// Divides each colour after that
    #[arg(long, value_name = "R", num_args = 3)]
    pub(crate) std: Option<Vec<f32>>,
    /// Largest width times height of an image; larger ones are refused before they are decoded
    #[arg(long, value_name = "PIXELS", default_value_t = Limits::default().max_pixels)]
    pub(crate) max_pixels: u64,
}

/// `--merge` where several are compared.
#[derive(Args, Debug)]
pub(crate) struct MergeArgs {
    /// Merging method: none, tome:r=8, atm:theta=0.9, ... or a merge.toml; may be repeated
    #[arg(long = "merge", value_name = "SPEC", env = "TOKMERGE_MERGE")]
    pub(crate) merge: Vec<String>,
}

/// How results are shown.
#[derive(Args, Debug)]
pub(crate) struct OutputArgs {
    /// One JSON object per result on standard output, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
    /// What counts as an operation: fvcore (products, and 5 per element that a LayerNorm sees), macs, or
    /// macs+norm (1 per element that a LayerNorm sees)
    #[arg(long, value_enum, default_value_t = Count::Fvcore)]
    pub(crate) convention: Count,
}

#[derive(Args, Debug)]
pub(crate) struct ClassifyArgs {
    /// Photographs: JPEG, PNG, WebP or BMP
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    /// Classes to show per image
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = at_least_one)]
    pub(crate) topk: usize,
    /// Names of the classes: index<TAB>wnid<TAB>name lines, one name per line, or JSON
    #[arg(long, value_name = "FILE", env = "TOKMERGE_LABELS")]
    pub(crate) labels: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    /// Where the picture of merged tokens goes: PNG
    #[arg(short, long, value_name = "FILE", default_value = "demo.png")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    #[command(flatten)]
    pub(crate) shown: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct EvalArgs {
    /// Folder of images, one sub-folder per class in the order of the model's classes; or unlabelled images
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    /// Images per forward pass
    #[arg(short, long, value_name = "N", default_value_t = 32, value_parser = batch_size)]
    pub(crate) batch_size: usize,
    /// Threads that read images; 0 reads between forward passes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) workers: usize,
    /// Evaluate on this many images, spread evenly over the folder
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
    /// Maps folders to classes by their ids: index<TAB>wnid<TAB>name lines
    #[arg(long, value_name = "FILE", env = "TOKMERGE_LABELS")]
    pub(crate) labels: Option<PathBuf>,
    /// Write path, label, and the first five classes with their logits of every image
    #[arg(long, value_name = "FILE")]
    pub(crate) predictions: Option<PathBuf>,
    /// Write the results as CSV, in timm's columns and some of our own
    #[arg(long, value_name = "FILE")]
    pub(crate) results_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct FewShotArgs {
    /// Folder of images, one sub-folder per class; any classes will do
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    /// Images of each class that the head is fitted to; it is tried on all others. Several are separated by commas
    #[arg(long, value_name = "K,...", value_delimiter = ',', default_value = "5", value_parser = at_least_one)]
    pub(crate) shots: Vec<usize>,
    /// Choices of those images to try; the figures are means over them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one)]
    pub(crate) seeds: usize,
    /// How much the head's squared weights cost, in units of the features' scatter
    #[arg(long, value_name = "RIDGE", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) ridge: f64,
    /// Images per forward pass
    #[arg(short, long, value_name = "N", default_value_t = 32, value_parser = batch_size)]
    pub(crate) batch_size: usize,
    /// Threads that read images; 0 reads between forward passes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) workers: usize,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    /// Measure steps of training (forward, backward and AdamW) instead
    #[arg(long)]
    pub(crate) train: bool,
    /// What is computed again on the way back, to save memory
    #[arg(long, value_enum, default_value_t, requires = "train")]
    pub(crate) recompute: RecomputeName,
    /// Images per forward pass
    #[arg(short, long, value_name = "N", default_value_t = 8, value_parser = batch_size)]
    pub(crate) batch_size: usize,
    /// Seconds to measure each method for
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    pub(crate) duration: f64,
    /// Write the results as CSV, in timm's columns and some of our own
    #[arg(long, value_name = "FILE")]
    pub(crate) results_file: Option<PathBuf>,
    /// Measure what this machine can multiply at best, and show results as a share of it
    #[arg(long, conflicts_with = "train")]
    pub(crate) peak: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct TrainArgs {
    /// What to train, on which images and how: a TOML file
    #[arg(value_name = "RECIPE")]
    pub(crate) recipe: PathBuf,
    /// Folder for checkpoints, logs and the trained model [default: runs/ and the name of the recipe]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Go on from the last checkpoint in the folder
    #[arg(long)]
    pub(crate) resume: bool,
    /// Change a value of the recipe, e.g. train.epochs=5; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Where the model runs
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = device, env = "TOKMERGE_DEVICE")]
    pub(crate) device: DeviceName,
    /// The last validation as one JSON object per way of merging on standard output, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ScenesArgs {
    /// Folder to write to
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Pictures to draw
    #[arg(long, value_name = "N", default_value_t = 2400)]
    pub(crate) images: u64,
    /// The first of them, counted from 0
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    pub(crate) first: u64,
    /// Width and height in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = tokmerge::scenes::DEFAULT_SIDE)]
    pub(crate) side: usize,
    /// Which pictures: those to validate on, to train on (as data.train = "scenes:N" of a recipe draws them), or to show
    #[arg(long, value_enum, default_value_t)]
    pub(crate) split: SplitName,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum SplitName {
    #[default]
    Validation,
    Train,
    Samples,
}

#[derive(Subcommand, Debug)]
pub(crate) enum AnalyzeCommand {
    /// Merge in one layer alone, for every layer and threshold: how far does the output move? (ATM, Figure 2)
    Layers(LayersArgs),
    /// Count merged tokens and merging errors in every layer (ATM, Figure 6)
    Tokens(TokensArgs),
}

#[derive(Args, Debug)]
pub(crate) struct LayersArgs {
    #[command(flatten)]
    pub(crate) images: ImagesArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Pairs of tokens more similar than this merge; from -1 to 1, separated by commas
    #[arg(
        long,
        value_name = "COSINE,...",
        value_delimiter = ',',
        default_value = "0.8,0.85,0.9,0.95",
        value_parser = threshold,
        allow_hyphen_values = true
    )]
    pub(crate) thresholds: Vec<f64>,
    /// Draw on a logarithmic axis, on which an exponential curve is a straight line
    #[arg(long)]
    pub(crate) log: bool,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
}

#[derive(Args, Debug)]
pub(crate) struct TokensArgs {
    #[command(flatten)]
    pub(crate) images: ImagesArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
}

/// Which images are looked at, and how they are read.
#[derive(Args, Debug)]
pub(crate) struct ImagesArgs {
    /// Folder of images; labels are not needed
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Images per forward pass
    #[arg(short, long, value_name = "N", default_value_t = 32, value_parser = batch_size)]
    pub(crate) batch_size: usize,
    /// Threads that read images; 0 reads between forward passes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) workers: usize,
    /// Look at this many images, spread evenly over the folder
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
}

/// Where a study goes.
#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// Where to draw the result, an .svg file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Write the result as CSV
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// One JSON object per result on standard output, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct TuneArgs {
    /// Folder of images like those that the model is for; labels are needed for --max-drop alone
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) goal: GoalArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// How to search: guided, or random schedules of ToMe to look around (its Figure 2)
    #[arg(long, value_enum, default_value_t = SearchKind::Guided)]
    pub(crate) search: SearchKind,
    /// Random schedules to measure
    #[arg(long, value_name = "N", value_parser = at_least_one, required_if_eq("search", "random"))]
    pub(crate) trials: Option<usize>,
    /// Decides which images are searched on, and whatever is random
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// When to stop searching: seconds, or a number with s, m or h such as 8m
    #[arg(long, value_name = "TIME", default_value = "480", value_parser = duration)]
    pub(crate) time_budget: Duration,
    /// Use this many images in all, spread evenly over the folder
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
    /// Search on this many images and hold the others out [default: three quarters, at most 256; random: all]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) search_images: Option<usize>,
    /// Never run an image once more, unmerged, where its merged answer is unclear
    #[arg(long)]
    pub(crate) no_recheck: bool,
    /// Images per forward pass when speed is measured
    #[arg(short, long, value_name = "N", default_value_t = 8, value_parser = batch_size)]
    pub(crate) batch_size: usize,
    /// Maps folders to classes by their ids: index<TAB>wnid<TAB>name lines
    #[arg(long, value_name = "FILE", env = "TOKMERGE_LABELS")]
    pub(crate) labels: Option<PathBuf>,
    /// Where to write what was found, a .toml file for --merge; a chart, tables and the journal of the search go
    /// beside it (.svg, .csv, .json, .journal.jsonl)
    #[arg(short, long, value_name = "FILE", default_value = "merge.toml")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) shown: OutputArgs,
}

/// What tuning is to reach: one of these.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub(crate) struct GoalArgs {
    /// Cheapest that loses at most so many points of top-1 accuracy; needs labelled images
    #[arg(long, value_name = "POINTS", allow_negative_numbers = true)]
    max_drop: Option<f64>,
    /// Cheapest that names the unmerged model's class on at least so many percent of images
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true)]
    min_agreement: Option<f64>,
    /// Best at this part of the unmerged model's GMACs, e.g. 0.7
    #[arg(long, value_name = "RATIO", allow_negative_numbers = true)]
    gmacs: Option<f64>,
    /// Best that takes at most so many milliseconds per batch on this machine
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    latency: Option<f64>,
    /// Best that is at least so many times as fast as unmerged on this machine
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    speedup: Option<f64>,
}

impl GoalArgs {
    /// The goal, if one was given and makes sense.
    pub(crate) fn goal(&self) -> Result<Option<Goal>> {
        let goals = [
            self.max_drop.map(Goal::MaxDrop),
            self.min_agreement.map(Goal::MinAgreement),
            self.gmacs.map(Goal::Gmacs),
            self.latency.map(Goal::Latency),
            self.speedup.map(Goal::Speedup),
        ];
        Ok(goals.into_iter().flatten().next().map(Goal::validate).transpose()?)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SearchKind {
    Guided,
    Random,
}

#[derive(Args, Debug)]
pub(crate) struct InfoArgs {
    /// timm name such as vit_large_patch16_224, local-dir:PATH, or hf-hub:org/name[@rev]
    #[arg(value_name = "MODEL", required_unless_present = "model_option")]
    pub(crate) model: Option<String>,
    /// The same, as the other commands take it
    #[arg(short, long = "model", id = "model_option", value_name = "MODEL", conflicts_with = "model")]
    pub(crate) model_option: Option<String>,
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    /// Side of the input image, or HEIGHTxWIDTH
    #[arg(long, value_name = "SIZE", value_parser = img_size)]
    pub(crate) img_size: Option<(usize, usize)>,
    /// Outputs of the head, where not the model's own
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) num_classes: Option<usize>,
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What training would cost, as PatchMerger's Tables 1 and 2 count it.
#[derive(Args, Debug)]
pub(crate) struct TrainingArgs {
    /// Show what training costs: 2 operations per multiply-add, forward and twice as many backward
    #[arg(long, requires_all = ["images", "epochs"])]
    pub(crate) training: bool,
    /// Images of an epoch, e.g. 1281167 or 304.4e6
    #[arg(long, value_name = "N", value_parser = images, requires = "training")]
    pub(crate) images: Option<f64>,
    /// Epochs
    #[arg(long, value_name = "N", value_parser = epochs, requires = "training")]
    pub(crate) epochs: Option<f64>,
    /// Images of a step, to show how many steps that is
    #[arg(short, long, value_name = "N", value_parser = at_least_one, requires = "training")]
    pub(crate) batch_size: Option<usize>,
    /// Places for tokens in the experts of V-MoE while it trains, all of which are counted, filled or not; group=batch
    /// is counted without rounding [default: capacity=1.05,group=batch]
    #[arg(long, value_name = "SPEC", requires = "training")]
    pub(crate) routing: Option<Routing>,
}

#[derive(Args, Debug)]
pub(crate) struct VizArgs {
    /// A photograph
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Merging method, e.g. tome:r=13, or a merge.toml
    #[arg(long, value_name = "SPEC", env = "TOKMERGE_MERGE")]
    pub(crate) merge: String,
    /// Where to write the picture; the ending decides: .png or .svg
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Draw the tokens after this layer, from 1 [default: the last]
    #[arg(long, value_name = "N")]
    pub(crate) layer: Option<usize>,
    /// Pixels of the picture per pixel of the model's input
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = at_least_one)]
    pub(crate) upscale: usize,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only names that contain this; * stands for anything
    #[arg(value_name = "PATTERN")]
    pub(crate) pattern: Option<String>,
    /// One JSON object per entry
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum RecomputeName {
    /// Nothing
    #[default]
    Nothing,
    /// Everything inside blocks
    Blocks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dtype {
    F32,
    Bf16,
    Int8,
}

impl Dtype {
    pub(crate) const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    pub(crate) fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
            Self::Int8 => Precision::Int8,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Count {
    Fvcore,
    Macs,
    #[value(name = "macs+norm")]
    MacsNorm,
}

impl OutputArgs {
    pub(crate) fn convention(&self) -> Convention {
        match self.convention {
            Count::Fvcore => Convention::Fvcore,
            Count::Macs => Convention::Macs,
            Count::MacsNorm => Convention::MacsNorm,
        }
    }
}

/// A device by name.
#[derive(Clone, Debug)]
pub(crate) struct DeviceName(pub(crate) String);

fn device(name: &str) -> Result<DeviceName, String> {
    match name {
        "cpu" => Ok(DeviceName(name.to_owned())),
        _ => Err("this build runs on: cpu".to_owned()),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("it must be a whole number of at least 1".to_owned()),
    }
}

/// Threads beyond this make a system refuse, or crawl.
fn thread_count(text: &str) -> Result<usize, String> {
    at_least_one(text)
        .ok()
        .filter(|count| *count <= 1024)
        .ok_or_else(|| "it must be from 1 to 1024".to_owned())
}

/// Batches beyond this fit into no memory.
fn batch_size(text: &str) -> Result<usize, String> {
    at_least_one(text)
        .ok()
        .filter(|count| *count <= 65_536)
        .ok_or_else(|| "it must be from 1 to 65536".to_owned())
}

/// A number of images; those of large collections are often known in millions.
fn images(text: &str) -> Result<f64, String> {
    let images = text.parse().ok().filter(|images: &f64| *images >= 1.0 && *images <= 1e15);
    images.ok_or_else(|| "it must be a number from 1 to 1e15, such as 1281167 or 304.4e6".to_owned())
}

fn epochs(text: &str) -> Result<f64, String> {
    let epochs = text.parse().ok().filter(|epochs: &f64| *epochs > 0.0 && *epochs <= 1e6);
    epochs.ok_or_else(|| "it must be above 0 and at most 1000000".to_owned())
}

fn img_size(text: &str) -> Result<(usize, usize), String> {
    const RULE: &str =
        "it must be one side such as 224, or HEIGHTxWIDTH such as 224x320, each from 1 to 16384";
    let side = |text: &str| text.trim().parse().ok().filter(|side| (1..=16384).contains(side)).ok_or(RULE);
    let (height, width) = text.split_once(['x', ',']).unwrap_or((text, text));
    Ok((side(height)?, side(width)?))
}

fn crop_pct(text: &str) -> Result<f64, String> {
    let fraction = text.parse().ok().filter(|fraction: &f64| *fraction > 0.0 && *fraction <= 2.0);
    fraction.ok_or_else(|| "it must be above 0 and at most 2; 1.0 keeps the whole shorter edge".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| *seconds > 0.0 && *seconds <= 86_400.0);
    seconds.ok_or_else(|| "it must be above 0 and at most 86400 seconds".to_owned())
}

/// Seconds, or a number with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    const WEEK: f64 = 604_800.0;
    let text = text.trim();
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        _ => (text, 1.0),
    };
    let seconds = number.parse().ok().map(|number: f64| number * unit);
    let seconds = seconds.filter(|seconds| *seconds > 0.0 && *seconds <= WEEK);
    seconds.map(Duration::from_secs_f64).ok_or_else(|| {
        "it must be seconds, or a number with s, m or h such as 8m; above 0 and at most 7 days".to_owned()
    })
}

fn threshold(text: &str) -> Result<f64, String> {
    let threshold = text.trim().parse().ok().filter(|threshold| (-1.0..=1.0).contains(threshold));
    threshold
        .ok_or_else(|| "a threshold is a cosine from -1 to 1; give one or several, e.g. 0.8,0.9".to_owned())
}

fn crop_mode(text: &str) -> Result<CropMode, String> {
    CropMode::from_name(text).ok_or_else(|| "it must be center, squash or border".to_owned())
}

fn interpolation(text: &str) -> Result<Interpolation, String> {
    Interpolation::from_name(text)
        .ok_or_else(|| "it must be bicubic, bilinear, nearest, box, hamming or lanczos".to_owned())
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

    fn open_named(&self, name: &str) -> Result<Model> {
        self.threads.start()?;
        let weights = match (&self.weights, self.random_weights) {
            (Some(path), _) => Weights::File(path.clone()),
            (None, true) => Weights::Random,
            (None, false) => Weights::Pretrained,
        };
        let options = ModelOptions {
            model: name.to_owned(),
            weights,
            img_size: self.img_size,
            precision: self.dtype.precision(),
            routing: self.routing,
        };
        Ok(Model::open(&options, &Device::flex())?)
    }
}

impl PreprocessArgs {
    pub(crate) fn limits(&self) -> Limits {
        Limits { max_pixels: self.max_pixels, ..Limits::default() }
    }

    /// The model with the user's preprocessing in place of its own.
    pub(crate) fn apply(&self, model: Model) -> Result<Model> {
        let mut preprocess = model.preprocess().clone();
        let three = |values: &Vec<f32>| [values[0], values[1], values[2]];
        if let Some(crop_pct) = self.crop_pct {
            preprocess.crop_pct = crop_pct;
        }
        if let Some(crop_mode) = self.crop_mode {
            preprocess.crop_mode = crop_mode;
        }
        if let Some(interpolation) = self.interpolation {
            preprocess.interpolation = interpolation;
        }
        if let Some(mean) = &self.mean {
            preprocess.mean = three(mean);
        }
        if let Some(std) = &self.std {
            preprocess.std = three(std);
        }
        preprocess.validate()?;
        Ok(model.with_preprocess(preprocess))
    }
}

impl MergeArgs {
    /// The methods asked for; `fallback` if none is.
    pub(crate) fn methods(&self, fallback: &[&str]) -> Result<Vec<Method>> {
        if self.merge.is_empty() {
            return fallback.iter().map(|spec| method(spec)).collect();
        }
        self.merge.iter().map(|spec| method(spec)).collect()
    }
}

/// Methods bound to a model, with a note where a wish could not be followed.
pub(crate) fn bind(model: &Model, methods: &[Method]) -> Result<Vec<Reduction>> {
    let bound = methods.iter().map(|method| {
        let reduction = model.bind(method)?;
        output::note_kept_patches(&model.name(), &reduction);
        output::note_fresh_weights(model, method);
        Ok(reduction)
    });
    bound.collect()
}

/// A method from a spec or from the path of a `merge.toml`.
pub(crate) fn method(spec: &str) -> Result<Method> {
    let path = Path::new(spec);
    let is_file = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    if !is_file {
        return Ok(spec.parse()?);
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read --merge {spec}"))?;
    let read = || Method::from_spec(&MergeSpec::from_toml(&text)?);
    read().with_context(|| format!("--merge {spec}"))
}

/// Refuses a folder or file that does not exist before anything slow happens.
pub(crate) fn must_exist(path: &Path, what: &str) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    bail!("{}: there is no such {what}", path.display())
}
