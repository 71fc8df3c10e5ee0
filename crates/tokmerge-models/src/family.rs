//! What a family of models has of its own. Everything else is written once over it.

use crate::blocks::{Context, EncoderBlock};
use crate::experts::ExpertsConfig;
use crate::flops::Cost;
use crate::input::{Input, InputShape};
use crate::network::Config;
use crate::positions::Absolute;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use tokmerge_merge::{ModelFacts, Readout, Tokens};
use tokmerge_nn::{Bias, Linear};
use tokmerge_ops::Precision;

/// A network of a family: a stem, blocks with a seam, a head.
pub trait Family: Module {
    /// Input → the tokens that enter the first block: prefix tokens in front, positions added, and carried where blocks
    /// need them.
    ///
    /// # Panics
    /// When the input is not what the model takes.
    fn stem(&self, input: Input) -> Tokens;

    /// Blocks (`L`).
    fn depth(&self) -> usize;

    /// Block `layer`, from 0.
    ///
    /// # Panics
    /// When there is no such block.
    fn block(&self, layer: usize) -> &dyn EncoderBlock;

    /// What is done to the tokens that block `layer` is about to get before anything merges there: nothing in most models.
    fn entering(&self, layer: usize, tokens: Tokens) -> Tokens {
        let _ = layer;
        tokens
    }

    /// What is done to them after that: in a model of several parts, what the next part takes them as, and which others
    /// [join](Tokens::join) them; nothing in most models.
    fn joining(&self, layer: usize, tokens: Tokens) -> Tokens {
        let _ = layer;
        tokens
    }

    /// What attention of block `layer` takes besides the tokens that are there now: rotations and biases that follow from
    /// where the tokens stand. The bias of keys by size is added by the encoder.
    fn context(&self, layer: usize, tokens: &Tokens) -> Context {
        let _ = (layer, tokens);
        Context::default()
    }

    /// Which tokens the head's answer is made of.
    fn readout(&self) -> Readout;

    /// Tokens after the last block → what the model says. Where [`readout`](Self::readout) is the prefix, no more than the
    /// prefix need be there.
    fn head(&self, tokens: &Tokens) -> Heads;

    /// Rows of tokens after the last block, `[R, C]`, each normalised as the head does it with what it looks at.
    fn normed(&self, rows: Tensor<2>) -> Tensor<2>;
}

/// What a model says of a batch.
#[derive(Clone, Debug)]
pub struct Heads {
    /// The embedding, `[B, E]`: what the classifier looks at.
    pub pooled: Tensor<2>,
    /// `[B, classes]`; the embedding again where the model has no classifier.
    pub logits: Tensor<2>,
}

impl Heads {
    /// What a classifier says of the embedding; the embedding again without one.
    #[must_use]
    pub(crate) fn classified(pooled: Tensor<2>, classifier: Option<&Linear>) -> Self {
        let logits = classifier.map_or_else(|| pooled.clone(), |head| head.forward(pooled.clone()));
        Self { pooled, logits }
    }
}

/// The shape of a network, without weights.
pub trait FamilyConfig {
    /// The network.
    type Model: Family;

    /// What a reduction needs to know.
    fn facts(&self) -> ModelFacts;

    /// Sizes that users ask for.
    fn shape(&self) -> Shape;

    /// What a forward pass costs.
    fn cost(&self) -> Cost;

    /// Why there can be no such network, in one line; `Ok` if there can.
    ///
    /// # Errors
    /// The rule that is broken, and the value that breaks it.
    fn check(&self) -> Result<(), String>;

    /// The network with random weights. At [`Precision::Int8`] the stem, the head and attention itself are bf16: they are
    /// a small part of the work, and see what they see once.
    fn init(&self, precision: Precision, device: &Device) -> Self::Model;

    /// The same for images of another size; absolute positions are resampled when weights load.
    ///
    /// # Errors
    /// When no token would be left of such an image.
    fn with_img_size(self, size: (usize, usize)) -> Result<Self, ImageSizeError>
    where
        Self: Sized;

    /// The same with another number of classes; 0 for none.
    #[must_use]
    fn with_num_classes(self, classes: usize) -> Self
    where
        Self: Sized;

    /// Small shapes, one of every kind that the family builds, with 15 patches and 7 classes. The tests of all families run
    /// over them: what is listed here is under contract.
    fn examples() -> Vec<Self>
    where
        Self: Sized;

    /// The same in another shape, for training.
    ///
    /// # Errors
    /// For a change that this family does not know, or that makes no model.
    fn with_overrides(self, overrides: &ShapeOverrides) -> Result<Self, String>
    where
        Self: Sized;

    /// Positions that are added to the tokens, and the grid that they are for; `None` for a family without.
    fn absolute_positions(&self) -> Option<(Absolute, (usize, usize))> {
        None
    }

    /// The grid that tables of distances are stored for and the model's own, where they are resampled.
    fn table_grids(&self) -> Option<[(usize, usize); 2]> {
        None
    }

    /// Experts in place of the MLP of some blocks, if there are any.
    fn experts(&self) -> Option<ExpertsConfig> {
        None
    }

    /// Parts that weights of other models can begin; none for a family that is trained as a whole.
    fn parts(&self) -> &'static [Part] {
        &[]
    }

    /// The same with a part as another model is, whose weights are to begin it.
    ///
    /// # Errors
    /// Says what is wrong with the model.
    fn with_part(self, part: PartKind, model: &Config) -> Result<Self, String>
    where
        Self: Sized,
    {
        let _ = (part, model);
        Err("the model is trained as a whole".to_owned())
    }

    /// The same, of weights as they are saved: what was resampled when they were loaded is so in the file.
    #[must_use]
    fn saved(self) -> Self
    where
        Self: Sized,
    {
        self
    }

    /// The same as a file of weights has it, which `has` the parameters of some paths: what a name leaves open.
    #[must_use]
    fn fitted(self, has: &dyn Fn(&str) -> bool) -> Self
    where
        Self: Sized,
    {
        let _ = has;
        self
    }

    /// The same with the pool of another, its norms left where they are; unchanged where the family has one pool.
    #[must_use]
    fn pooled_like(self, other: &Self) -> Self
    where
        Self: Sized,
    {
        let _ = other;
        self
    }

    /// The same with a projection after the pool; unchanged where the family cannot have one.
    #[must_use]
    fn with_projection(self, width: usize, bias: Bias) -> Self
    where
        Self: Sized,
    {
        let _ = (width, bias);
        self
    }
}

/// What a part of a model does in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartKind {
    /// The tower of images in front of a language model.
    Tower,
    /// The language model.
    Text,
    /// What a model of pictures and words takes over of a model of images.
    Image,
}

impl PartKind {
    /// The name in recipes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tower => "tower",
            Self::Text => "text",
            Self::Image => "image",
        }
    }
}

/// A part of a model that is a model of another family, so that the weights of one can begin it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which it is.
    pub kind: PartKind,
    /// What the paths of its parameters begin with, in front of those that they have in the other model.
    pub prefix: &'static str,
    /// What these paths begin with behind the prefix; empty where all of the prefix is the part.
    pub holds: &'static [&'static str],
}

impl Part {
    /// Its name in recipes.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// The path that a parameter of the whole model has in the other one, if it is of this part.
    #[must_use]
    pub fn within<'p>(&self, path: &'p str) -> Option<&'p str> {
        let within = path.strip_prefix(self.prefix)?;
        let is_held = self.holds.is_empty() || self.holds.iter().any(|start| within.starts_with(start));
        is_held.then_some(within)
    }
}

/// What a recipe may change about the shape of a model; `None` leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ShapeOverrides {
    /// Side of a patch in pixels.
    pub patch_size: Option<usize>,
    /// Channels of a token.
    pub embed_dim: Option<usize>,
    /// Blocks.
    pub depth: Option<usize>,
    /// Heads.
    pub num_heads: Option<usize>,
    /// Hidden channels of the MLP over channels.
    pub mlp_ratio: Option<f64>,
    /// What the head looks at.
    pub pool: Option<PoolOverride>,
    /// Whether a class token leads the tokens.
    pub class_token: Option<bool>,
    /// Frames of a clip; of models of clips alone.
    pub num_frames: Option<usize>,
}

impl ShapeOverrides {
    /// Of the same share of the channels in every layer, up to 1: uniform pruning, a model that is to be trained anew (Yuan et
    /// al., 2024, §4.4). Heads get narrower, and stay as many; channels are the nearest multiple of these.
    #[must_use]
    pub fn of_width(shape: &Shape, share: f64) -> Self {
        let heads = shape.heads.max(1);
        let of_head = (share * shape.channels as f64 / heads as f64).round() as usize;
        Self { embed_dim: Some(of_head.max(1) * heads), ..Self::default() }
    }
}

/// What the head looks at, of what a recipe may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolOverride {
    /// The class token.
    Token,
    /// The mean of the patch tokens, normalised after pooling, as in MAE's fine-tuning.
    Average,
}

/// Sizes that users ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What goes in.
    pub input: InputShape,
    /// Rows and columns of patches; `None` where every image has its own.
    pub grid: Option<(usize, usize)>,
    /// Such grids behind each other in time; 1 of an image.
    pub steps: usize,
    /// Channels of a token (`C`).
    pub channels: usize,
    /// Heads of an attention (`H`).
    pub heads: usize,
    /// Channels of a head (`D`).
    pub head_dim: usize,
    /// Hidden channels of the MLP of a block.
    pub mlp_hidden: usize,
    /// Height and width of a patch in pixels.
    pub patch: (usize, usize),
    /// Pixels from one patch to the next, down and across: fewer than a patch has where patches overlap.
    pub patch_stride: (usize, usize),
    /// Channels of the embedding (`E`).
    pub embedding: usize,
    /// Outputs of the classifier; 0 without one.
    pub classes: usize,
}

impl Shape {
    /// Height and width of the images that go in; of images of their own sizes what the most patches make of a square; 0 of
    /// texts.
    #[must_use]
    pub fn img_size(&self) -> (usize, usize) {
        match self.input {
            InputShape::Image { size, .. }
            | InputShape::Clip { size, .. }
            | InputShape::ImageQuestion { size, .. } => size,
            InputShape::Patches { patch, most, .. } | InputShape::Question { patch, most, .. } => {
                (most.isqrt() * patch, most.isqrt() * patch)
            }
            InputShape::Text { .. } => (0, 0),
        }
    }
}

/// An image size that does not fit a model.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum ImageSizeError {
    /// No patch fits into it.
    #[error(
        "an image of {height}x{width} holds no patch of {patch_height}x{patch_width}; height and width must be at least that, \
         e.g. an img_size of {suggested}"
    )]
    TooSmall {
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
        /// Height of a patch.
        patch_height: usize,
        /// Width of a patch.
        patch_width: usize,
        /// One that fits.
        suggested: usize,
    },
    /// The model takes images of any sizes.
    #[error("img_size is {height}x{width}, and the model takes images of their own sizes; leave it out")]
    OwnSizes {
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
    },
    /// The model takes texts.
    #[error("img_size is {height}x{width}, and the model takes texts; leave it out")]
    NoImages {
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
    },
}

impl ImageSizeError {
    /// Of a model that takes texts.
    pub(crate) fn of_texts(height: usize, width: usize) -> Self {
        Self::NoImages { height, width }
    }

    /// Refuses images that are smaller than a patch.
    ///
    /// # Errors
    /// When a side is.
    pub(crate) fn check(
        (height, width): (usize, usize),
        (patch_height, patch_width): (usize, usize),
    ) -> Result<(), Self> {
        if height >= patch_height && width >= patch_width {
            return Ok(());
        }
        let suggested = 224_usize.next_multiple_of(patch_height.max(1));
        Err(Self::TooSmall { height, width, patch_height, patch_width, suggested })
    }
}
