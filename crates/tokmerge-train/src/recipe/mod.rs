//! What a run is: a TOML file.
//!
//! Everything that decides the trained weights is in here. Keys that are not known are refused, and so are values
//! that make no sense: see `check.rs`.

mod check;
pub(crate) mod overrides;

use crate::groups::Pace;
use crate::loss::Loss;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tokmerge_checkpoint::{read_text, shortened};
use tokmerge_data::augment::{Augment, AugmentError, Mix, RandomErasing, RandomResizedCrop, SpecAugment};
use tokmerge_data::sound::{Silence, SoundProcessor};
use tokmerge_data::{ClassOrder, CropMode, Interpolation, PreprocessOverrides};
use tokmerge_models::{PoolOverride, Precision, RouterTraining, RoutingError};

/// A run, as written in a TOML file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// How tokens are merged while training, a spec such as `tome:r=13`.
    #[serde(default = "unmerged")]
    pub merge: String,
    /// What is trained.
    pub model: ModelRecipe,
    /// On which images.
    pub data: DataRecipe,
    /// How weights follow gradients.
    #[serde(default)]
    pub optimizer: OptimizerRecipe,
    /// How fast, and when.
    pub schedule: ScheduleRecipe,
    /// What keeps the model from learning by heart.
    #[serde(default)]
    pub regularisation: RegularisationRecipe,
    /// What the model as it was before training teaches; without this section there are labels alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distill: Option<DistillRecipe>,
    /// A second pass of every batch through the same weights, which merges less, and from which the first is to differ little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<ConsistencyRecipe>,
    /// Low-rank additions to be trained in place of the weights; without this section all weights are trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraRecipe>,
    /// How routers learn which expert a token gets; for models with experts, which have it whether it is given or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<RoutingRecipe>,
    /// How long, in which portions, and what is written.
    pub train: TrainRecipe,
}

fn unmerged() -> String {
    "none".to_owned()
}

/// What is trained: a model by name, or a shape.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelRecipe {
    /// A timm name, `local-dir:DIR` or `hf-hub:org/name`. Without it `patch_size`, `embed_dim`, `depth` and
    /// `num_heads` say what the model is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `pretrained` (from where the name points) or a weights file; without it the weights are random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Models whose weights parts of a model of random weights begin with: `tower` and `text` of a PaLI, `image` of a ViLT.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, String>,
    /// A tokenizer.json, of random weights of models that take texts. Without it every word of the training texts is a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Outputs of the head, where not one per class of the training images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_classes: Option<usize>,
    /// Side of the input in pixels; position embeddings are interpolated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub img_size: Option<usize>,
    /// What the head looks at: `token` or `avg`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolRecipe>,
    /// Side of a patch in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_size: Option<usize>,
    /// Channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embed_dim: Option<usize>,
    /// Blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Heads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_heads: Option<usize>,
    /// Hidden channels of the MLP over channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mlp_ratio: Option<f64>,
    /// Whether a class token leads the tokens. A model without one averages its patches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_token: Option<bool>,
    /// Frames of a clip, of models that take clips.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_frames: Option<usize>,
}

impl ModelRecipe {
    /// What is given of the shape of blocks and patches, by its key.
    pub(crate) fn shape(&self) -> impl Iterator<Item = (&'static str, String)> {
        let whole = [
            ("model.patch_size", self.patch_size),
            ("model.embed_dim", self.embed_dim),
            ("model.depth", self.depth),
            ("model.num_heads", self.num_heads),
        ];
        let whole = whole.into_iter().filter_map(|(key, value)| Some((key, value?.to_string())));
        whole.chain(self.mlp_ratio.map(|ratio| ("model.mlp_ratio", ratio.to_string())))
    }
}

/// What the head looks at, in timm's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolRecipe {
    /// The class token.
    Token,
    /// The mean of the patch tokens.
    Avg,
}

impl PoolRecipe {
    pub(crate) fn pool(self) -> PoolOverride {
        match self {
            Self::Token => PoolOverride::Token,
            Self::Avg => PoolOverride::Average,
        }
    }
}

/// On which images, sounds or clips, and how they are prepared. Which of them it is the model decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecipe {
    /// Folder with one sub-folder of files per class; a list of files with several labels each, which ends in `.csv`;
    /// `scenes:N` or `clips:N`, so many that are drawn. Of texts a file that ends in `.tsv`, with a text and what is to be
    /// written of it on each line; or `sentences:N`, so many that are made up.
    pub train: PathBuf,
    /// Folder to validate on, with the same classes, or such a list; of texts such a file, or `sentences:N`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val: Option<PathBuf>,
    /// Part of the training items that is held out to validate on, where there is no `val`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<f64>,
    /// Maps the class folders to the model's classes by their ids or names: index, wnid, name lines. Without it the
    /// sorted folders are the classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// How the folders are sorted: `natural` (2 before 10) unless it is `plain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_order: Option<ClassOrder>,
    /// The part of the resized picture that the crop keeps, where not the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop_pct: Option<f64>,
    /// How a picture is fitted, where not the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop_mode: Option<CropMode>,
    /// How it is resized, where not the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpolation: Option<Interpolation>,
    /// Subtracted from each channel, one number for all or one for each, where not the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// Divides each channel after that, where not the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
    /// What becomes of recordings in the class `_silence_`: `zeros` stand for each unless they are `recorded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<SilenceRecipe>,
    /// Which frames of a clip are taken, where not the model's: `uniform` over the whole clip, or a `span` of it. Where
    /// every clip is a folder of as many frames as the model takes, it is `uniform` unless it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<SamplingRecipe>,
    /// Tokens of a text at most, where not the model's own limit; the rest is cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Threads that read and prepare items.
    #[serde(default = "one")]
    pub workers: usize,
}

/// What becomes of recordings of silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SilenceRecipe {
    /// Zeros stand for each.
    Zeros,
    /// They are read like any other.
    Recorded,
}

impl SilenceRecipe {
    pub(crate) fn silence(self) -> Silence {
        match self {
            Self::Zeros => Silence::Zeros,
            Self::Recorded => Silence::Recorded,
        }
    }
}

/// Which frames of a clip are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SamplingRecipe {
    /// Frames that lie evenly over the whole clip.
    Uniform,
    /// Frames of a span, which begins anywhere in training and lies in the middle otherwise.
    Span,
}

fn one() -> usize {
    1
}

impl DataRecipe {
    /// What replaces the model's own preprocessing. The fields stand in the section itself, not in a flattened
    /// struct, because then errors in a recipe could no longer name the line.
    #[must_use]
    pub fn overrides(&self) -> PreprocessOverrides {
        PreprocessOverrides {
            crop_pct: self.crop_pct,
            crop_mode: self.crop_mode,
            interpolation: self.interpolation,
            mean: self.mean.clone(),
            std: self.std.clone(),
        }
    }
}

/// How weights follow gradients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum OptimizerRecipe {
    /// Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
    AdamW(AdamRecipe),
    /// Adam (Kingma and Ba, 2015); its weight decay is added to the gradient.
    Adam(AdamRecipe),
    /// Adafactor (Shazeer and Stern, 2018), at the schedule's learning rate.
    Adafactor(AdafactorRecipe),
    /// Stochastic gradient descent with momentum.
    Sgd(SgdRecipe),
}

impl Default for OptimizerRecipe {
    fn default() -> Self {
        Self::AdamW(AdamRecipe::default())
    }
}

/// Of Adam and AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamRecipe {
    /// How slowly the means of gradients and of their squares change.
    pub betas: [f64; 2],
    /// Added to the root of the squares.
    pub eps: f64,
    /// Of weight matrices. Biases, norms, tokens and positions never decay.
    pub weight_decay: f64,
}

impl Default for AdamRecipe {
    fn default() -> Self {
        Self { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.05 }
    }
}

/// Of Adafactor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdafactorRecipe {
    /// Added to squared gradients.
    pub eps: f64,
    /// Updates whose root mean square is larger are scaled down to it.
    pub clip_threshold: f64,
    /// Exponent of the decay of the second moment, below 0.
    pub decay_rate: f64,
    /// Whether a step is multiplied by the root mean square of its weights.
    pub scale_parameter: bool,
    /// Of weight matrices. Biases, norms, tokens and positions never decay.
    pub weight_decay: f64,
}

impl Default for AdafactorRecipe {
    fn default() -> Self {
        Self { eps: 1e-30, clip_threshold: 1.0, decay_rate: -0.8, scale_parameter: false, weight_decay: 0.0 }
    }
}

/// Of stochastic gradient descent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdRecipe {
    /// Part of the last step that is taken again.
    pub momentum: f64,
    /// Whether the momentum looks ahead.
    pub nesterov: bool,
    /// Of weight matrices. Biases, norms, tokens and positions never decay.
    pub weight_decay: f64,
}

impl Default for SgdRecipe {
    fn default() -> Self {
        Self { momentum: 0.9, nesterov: false, weight_decay: 0.0 }
    }
}

/// The course of the learning rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Half a cosine from the learning rate to the least.
    #[default]
    Cosine,
    /// A straight line from the learning rate to the least.
    Linear,
    /// The learning rate throughout.
    Constant,
    /// From the end of the warm-up on in proportion to one over the root of the step (T5).
    Rsqrt,
}

/// How fast, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRecipe {
    /// The largest learning rate.
    pub lr: f64,
    /// If given, `lr` is for this many images per step and grows in proportion to `train.batch_size` times
    /// `train.accumulate` (DeiT: 512, MAE: 256).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr_batch: Option<usize>,
    /// What follows the warm-up.
    #[serde(default)]
    pub kind: ScheduleKind,
    /// Epochs in which the learning rate rises in a straight line.
    #[serde(default)]
    pub warmup_epochs: f64,
    /// Where it starts from.
    #[serde(default)]
    pub warmup_lr: f64,
    /// Where it ends.
    #[serde(default)]
    pub min_lr: f64,
    /// Every block learns slower than the next by this factor (BEiT, MAE); 1 for all alike.
    #[serde(default = "unit")]
    pub layer_decay: f64,
    /// Epochs before tokens merge as `merge` says.
    #[serde(default)]
    pub merge_start_epoch: f64,
    /// How they merge in those epochs (Evo-ViT: with `select=layer`, 200).
    #[serde(default = "unmerged")]
    pub merge_before: String,
    /// Epochs after that over which merging rises to all that `merge` says, in half a cosine (EViT: 100, from scratch); 0 for at
    /// once.
    #[serde(default)]
    pub merge_rise_epochs: f64,
    /// Factor on the learning rate of everything but the weights of the merging method, where it has some (DynamicViT: 0.01).
    #[serde(default = "unit")]
    pub backbone_scale: f64,
    /// Epochs in which the weights of the merging method learn alone, where it has some (DynamicViT: 5).
    #[serde(default)]
    pub backbone_start_epoch: f64,
}

impl ScheduleRecipe {
    pub(crate) fn pace(&self) -> Pace {
        Pace { layer_decay: self.layer_decay, backbone: self.backbone_scale }
    }
}

fn unit() -> f64 {
    1.0
}

/// What keeps the model from learning by heart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegularisationRecipe {
    /// Part of the target that is spread over all classes.
    pub label_smoothing: f64,
    /// Chance that a residual branch is left out, in the last block; it rises from 0 in the first.
    pub drop_path: f64,
    /// Chance that a value is left out: of embedded tokens, and of what each branch of a block adds (dropout).
    pub dropout: f64,
    /// Chance that an image, or a whole clip, is mirrored.
    pub flip: f64,
    /// Parts of the area that a random crop may take; the same crop of all frames of a clip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random_resized_crop: Option<[f64; 2]>,
    /// As timm writes it: `rand-m9-mstd0.5-inc1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub randaugment: Option<String>,
    /// Chance that a rectangle is replaced by noise.
    pub random_erasing: f64,
    /// Mixup's alpha; waveforms are mixed where the model takes sounds.
    pub mixup: f64,
    /// CutMix's alpha.
    pub cutmix: f64,
    /// Whether a sound begins anywhere, with what is moved beyond its end in front.
    pub roll: bool,
    /// Seconds by which a sound is moved at most, to either side.
    pub shift: f64,
    /// Decibels by which a sound is made louder or softer at most.
    pub gain: f64,
    /// Bands of a sound's features that are hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec_augment: Option<SpecAugmentRecipe>,
}

/// Bands of features that are hidden (SpecAugment, Park et al., 2019, arXiv:1904.08779).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecAugmentRecipe {
    /// Frames that are hidden at most.
    pub frames: usize,
    /// Mels, or coefficients, that are hidden at most.
    pub mels: usize,
}

impl SpecAugmentRecipe {
    /// The same with what hidden values become: silence of spectra, as AudioMAE has it, and 0 of cepstra.
    pub(crate) fn of(self, processor: &SoundProcessor) -> SpecAugment {
        let fill = processor.statistics().map_or(0.0, |(mean, std)| (-mean / (2.0 * std)) as f32);
        SpecAugment { frames: self.frames, mels: self.mels, fill }
    }
}

impl RegularisationRecipe {
    /// What is done to every image.
    pub(crate) fn augment(&self) -> Result<Augment, AugmentError> {
        let crop =
            self.random_resized_crop.map(|scale| RandomResizedCrop { scale, ..RandomResizedCrop::default() });
        let rand_augment = self.randaugment.as_deref().map(str::parse).transpose()?;
        let erase = (self.random_erasing > 0.0)
            .then(|| RandomErasing { probability: self.random_erasing, ..RandomErasing::default() });
        Ok(Augment { crop, flip: self.flip, rand_augment, erase, ..Augment::default() })
    }

    /// What is done to every batch.
    pub(crate) fn mix(&self) -> Option<Mix> {
        let mix = Mix { mixup_alpha: self.mixup, cutmix_alpha: self.cutmix, ..Mix::default() };
        (self.mixup > 0.0 || self.cutmix > 0.0).then_some(mix)
    }
}

/// What the model as it was before training says, whose weights do not change: the teacher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillRecipe {
    /// How the teacher merges.
    #[serde(default = "unmerged")]
    pub merge: String,
    /// Part of the target that is the teacher's; the rest is the label's. Without it all of it is, or nothing where one of the
    /// weights below is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// What the divergence of the answers from the teacher's weighs in the loss, beside the whole loss of labels (DynamicViT: 0.5).
    #[serde(default)]
    pub answers: f64,
    /// What the mean squared distance of the patches that are left from the teacher's weighs, after the last block and its norm; of
    /// methods that mask in training (DynamicViT: 0.5).
    #[serde(default)]
    pub tokens: f64,
    /// What the mean squared distance of the embedding from the teacher's weighs, both brought to length 1 (IdleViT: 500 to 1000).
    #[serde(default)]
    pub embedding: f64,
}

impl DistillRecipe {
    /// Part of the target that is the teacher's.
    #[must_use]
    pub fn weight(&self) -> f64 {
        let others = self.answers + self.tokens + self.embedding;
        self.weight.unwrap_or(if others > 0.0 { 0.0 } else { 1.0 })
    }
}

/// A second pass of every batch through the same weights (token reduction consistency; MCTF, Lee et al., 2024,
/// arXiv:2403.10030, §3.4): both learn the labels, and the embedding of the first is drawn to that of the second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyRecipe {
    /// How the second pass merges: one of these is drawn for every step.
    pub merge: Vec<String>,
    /// What the distance of the embeddings weighs in the loss (published code: 3).
    #[serde(default = "three")]
    pub weight: f64,
    /// The distance counts of items alone of which the second pass says that their class is more probable than this (published
    /// code: 0.4).
    #[serde(default = "two_fifths")]
    pub above: f64,
}

fn three() -> f64 {
    3.0
}

fn two_fifths() -> f64 {
    0.4
}

/// Low-rank additions to be trained in place of weights (LoRA; Hu et al., 2021, arXiv:2106.09685).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraRecipe {
    /// Columns and rows of the factors.
    pub rank: usize,
    /// The product of the factors counts `alpha / rank`; without it 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Linear layers to add to, by their names (`qkv`, `proj`, `fc1`, `fc2`, `head`), paths or blocks (`blocks.11`).
    #[serde(default = "lora_targets")]
    pub targets: Vec<String>,
    /// Parts of the model that are trained whole: without it the head of one that has one.
    #[serde(default = "lora_also")]
    pub also: Vec<String>,
}

impl LoraRecipe {
    /// By what the product of the factors is multiplied, times the rank.
    #[must_use]
    pub fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(self.rank as f64)
    }
}

fn lora_targets() -> Vec<String> {
    vec!["qkv".to_owned()]
}

pub(crate) fn lora_also() -> Vec<String> {
    vec!["head".to_owned()]
}

/// How routers learn which expert a token gets (V-MoE; Riquelme et al., 2021, arXiv:2106.05974, appendix A).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingRecipe {
    /// Places for tokens in each expert while training, in the notation of routings: `free`, or `capacity=1.05,group=8`.
    pub places: String,
    /// Deviation of the noise on the router's logits, times the number of experts; 0 for none.
    pub noise: f64,
    /// Weight of the loss of unequal sums of gates; 0 for none.
    pub importance: f64,
    /// Weight of the loss of unequal expected numbers of tokens, which noise alone makes smooth; 0 for none.
    pub load: f64,
}

impl Default for RoutingRecipe {
    /// As V-MoE was pretrained.
    fn default() -> Self {
        let RouterTraining { routing, noise, importance, load } = RouterTraining::default();
        Self { places: routing.to_string(), noise, importance, load }
    }
}

impl RoutingRecipe {
    /// The same for a model.
    pub(crate) fn training(&self) -> Result<RouterTraining, RoutingError> {
        let Self { ref places, noise, importance, load } = *self;
        Ok(RouterTraining { routing: places.parse()?, noise, importance, load })
    }
}

/// Gradient checkpointing: what the backward pass recomputes to save memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Nothing: fastest.
    #[default]
    Nothing,
    /// Everything inside blocks: the memory of one block. Merging is remembered, and not decided again.
    Blocks,
}

impl Recompute {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Nothing, Self::Blocks];

    /// The name, as recipes have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Blocks => "blocks",
        }
    }
}

impl fmt::Display for Recompute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is nothing to recompute.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' cannot be recomputed; give {names}", names = Recompute::ALL.map(Recompute::name).join(" or "))]
pub struct UnknownRecompute(String);

impl FromStr for Recompute {
    type Err = UnknownRecompute;

    fn from_str(name: &str) -> Result<Self, UnknownRecompute> {
        let found = Self::ALL.into_iter().find(|recompute| recompute.name() == name);
        found.ok_or_else(|| UnknownRecompute(name.to_owned()))
    }
}

/// Compute precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DtypeRecipe {
    /// f32 throughout.
    #[default]
    F32,
    /// Products of the forward pass in bf16; weights, gradients and their products in f32.
    Bf16,
}

impl DtypeRecipe {
    pub(crate) fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
        }
    }
}

/// How long, in which portions, and what is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainRecipe {
    /// Times that every image is seen; 0 leaves the weights of `model.weights` as they are.
    pub epochs: usize,
    /// Images of one forward and backward pass.
    #[serde(default = "batch_size")]
    pub batch_size: usize,
    /// Passes whose gradients make one step.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// What is minimised: `bce` of lists, `cross_entropy` otherwise, where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
    /// What the loss of a head on the class token weighs, which training alone has; that of the model's own head has the rest, up to 1
    /// (Evo-ViT: 0.5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_head: Option<f64>,
    /// Ways of merging, `merge` among them, of which one is drawn for every step: a model for several budgets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub random_merge: Vec<String>,
    /// The gradient of all parameters together is scaled down to this length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_grad: Option<f64>,
    /// Decay of an exponential moving average of the weights, which is then validated and kept too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Of everything that is random.
    #[serde(default)]
    pub seed: u64,
    /// Compute precision.
    #[serde(default)]
    pub dtype: DtypeRecipe,
    /// Parts of the model whose weights stay as they begin, by the beginnings of their paths: `tower` of a PaLI, `blocks.0`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<String>,
    /// What is computed again to save memory. It changes no weight, but for rounding with `stm` or LayerScale.
    #[serde(default)]
    pub recompute: Recompute,
    /// Copies of the model that share every batch and work at the same time, on a device each where there are as many.
    #[serde(default = "one")]
    pub replicas: usize,
    /// Threads to compute with, where not one per core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// A checkpoint is written every this many epochs.
    #[serde(default = "one")]
    pub checkpoint_epochs: usize,
    /// And every this many steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_steps: Option<usize>,
    /// Validation runs every this many epochs, and at the end.
    #[serde(default = "one")]
    pub validate_epochs: usize,
    /// Ways of merging to validate with; without it none and that of training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate: Option<Vec<String>>,
}

fn batch_size() -> usize {
    32
}

/// Why a recipe cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML, or a key or type that is not known.
    #[error("{place}: {reason}")]
    Toml {
        /// The file.
        place: String,
        /// Where and what.
        reason: String,
    },
    /// A change is no assignment.
    #[error("`set` {}: it must be KEY=VALUE with the key as in the recipe, e.g. train.epochs=5", shortened(.0))]
    Override(String),
    /// A change to a whole number that TOML cannot hold.
    #[error("`set` {}: whole numbers in a recipe go from {} to {}; give one of these", shortened(.0), i64::MIN, i64::MAX)]
    TooLarge(String),
    /// A value that makes no sense.
    #[error("{key} is {}: {}", shortened(value), shortened(rule))]
    Value {
        /// Where, with dots between section and key.
        key: &'static str,
        /// The value.
        value: String,
        /// What it must be, and what to write instead.
        rule: String,
    },
}

/// What is wrong with a text and where, in one line.
fn located(text: &str, error: &toml::de::Error) -> String {
    // Keys of a recipe are no settings of ours, which stand in backticks.
    let in_one_line = |message: &str| shortened(&message.trim().replace('\n', "; ").replace('`', "'"));
    // A change has no place in the text, and its error names the key instead.
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return in_one_line(&error.to_string());
    };
    let line = before.lines().count().max(1) + usize::from(before.ends_with('\n'));
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: {}", in_one_line(error.message()))
}

/// Recipes have a hundred lines.
const MAX_RECIPE: u64 = 1 << 20;

impl Recipe {
    /// Reads a recipe, with `KEY=VALUE` changes to it, and checks every value.
    ///
    /// # Errors
    /// When the file is no recipe, or a value makes no sense.
    pub fn open(path: &Path, changes: &[String]) -> Result<Self, RecipeError> {
        let text = read_text(path, MAX_RECIPE)
            .map_err(|source| RecipeError::Io { path: path.to_owned(), source })?;
        Self::parse(&text, &path.display().to_string(), changes)
    }

    /// As [`open`](Self::open), of a text that comes from `place`.
    ///
    /// # Errors
    /// When the text is no recipe, or a value makes no sense.
    pub fn parse(text: &str, place: &str, changes: &[String]) -> Result<Self, RecipeError> {
        let wrong = |error: toml::de::Error| RecipeError::Toml {
            place: place.to_owned(),
            reason: located(text, &error),
        };
        let table = overrides::apply(toml::from_str(text).map_err(wrong)?, changes)?;
        let nameless = table.get("optimizer").is_some_and(|section| section.get("name").is_none());
        let recipe: Self = if changes.is_empty() && !nameless {
            // Read directly, so that errors name the line.
            toml::from_str(text).map_err(wrong)?
        } else {
            toml::Value::Table(overrides::with_optimizer(table)).try_into().map_err(wrong)?
        };
        recipe.check()?;
        Ok(recipe)
    }

    /// The recipe as TOML, every default written out.
    ///
    /// # Panics
    /// Never: a recipe is a table of plain values.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe is plain data")
    }

    /// Ways of merging to validate with.
    #[must_use]
    pub fn validate_specs(&self) -> Vec<String> {
        match &self.train.validate {
            Some(specs) => specs.clone(),
            None if self.merge == "none" => vec![self.merge.clone()],
            None => vec![unmerged(), self.merge.clone()],
        }
    }

    /// Whether training has weights that the trained model has not, or not apart: additions of low rank, a head of its own.
    pub(crate) fn has_more_weights(&self) -> bool {
        self.lora.is_some() || self.train.class_head.is_some()
    }

    /// The largest learning rate, after scaling with the batch.
    #[must_use]
    pub fn peak_lr(&self) -> f64 {
        let images = self.train.batch_size * self.train.accumulate;
        let scale = self.schedule.lr_batch.map_or(1.0, |of| images as f64 / of as f64);
        self.schedule.lr * scale
    }

    /// What differs from `other` and changes the trained weights: key, here, there.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<(String, String, String)> {
        overrides::differences(self, other)
    }
}
