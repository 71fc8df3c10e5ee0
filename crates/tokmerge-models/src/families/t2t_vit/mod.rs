//! T2T-ViT (Yuan et al., 2021) with Transformers between its soft splits: tokens are made of overlapping tokens, twice,
//! before the blocks begin. The reference takes square images alone; here their sides may differ.

mod arguments;

use super::encoder;
use crate::blocks::{Block, BlockConfig, EncoderBlock, QkvBias};
use crate::family::{Family, FamilyConfig, Heads, ImageSizeError, Shape, ShapeOverrides};
use crate::flops::{BlockCost, Cost, HeadCost, Work};
use crate::heads::prefix_rows;
use crate::input::{Input, InputShape};
use crate::positions::{Absolute, sinusoids, table};
use crate::stems::tokens_to_token::{TokensToToken, grids, widths};
use crate::stems::with_class_token;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use tokmerge_merge::{ModelFacts, Readout, Tokens};
use tokmerge_nn::{Bias, Linear, Norm, zeros_parameter};
use tokmerge_ops::Precision;

pub(crate) use arguments::SPELLING;

/// The shape of a T2T-ViT.
#[derive(Clone, Debug, PartialEq)]
pub struct T2tVitConfig {
    /// Height and width of the input in pixels.
    pub img_size: (usize, usize),
    /// Colours.
    pub in_chans: usize,
    /// Channels that the stages before the blocks make narrow tokens of.
    pub token_dim: usize,
    /// Blocks (`L`).
    pub depth: usize,
    /// The shape of every block.
    pub block: BlockConfig,
    /// Outputs of the head; 0 for a model without one.
    pub num_classes: usize,
}

/// Pixels of a side for each token of the blocks: the strides of the soft splits.
const PATCH: usize = 16;

/// What an epsilon is by default in PyTorch, unlike in timm's ViTs.
const NORM_EPS: f64 = 1e-5;

impl T2tVitConfig {
    /// A T2T-ViT for square images of 224 pixels, with an MLP of three times the channels.
    #[must_use]
    pub fn new(embed_dim: usize, depth: usize, num_heads: usize) -> Self {
        let mut block = BlockConfig::new(embed_dim, num_heads);
        block.norm.eps = NORM_EPS;
        block.qkv_bias = QkvBias::No;
        block.mlp.hidden = 3 * embed_dim;
        Self { img_size: (224, 224), in_chans: 3, token_dim: 64, depth, block, num_classes: 1000 }
    }

    /// Rows and columns of tokens in the blocks.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        grids(self.img_size)[2]
    }
}

impl FamilyConfig for T2tVitConfig {
    type Model = T2tVit;

    fn facts(&self) -> ModelFacts {
        encoder::facts(self.depth, self.grid(), Readout::Prefix)
    }

    fn shape(&self) -> Shape {
        Shape {
            input: InputShape::Image { channels: self.in_chans, size: self.img_size },
            grid: Some(self.grid()),
            steps: 1,
            channels: self.block.channels,
            heads: self.block.heads,
            head_dim: self.block.head_dim,
            mlp_hidden: self.block.mlp.hidden,
            patch: (PATCH, PATCH),
            patch_stride: (PATCH, PATCH),
            embedding: self.block.channels,
            classes: self.num_classes,
        }
    }

    fn cost(&self) -> Cost {
        let channels = self.block.channels as f64;
        let [first, second, last] = grids(self.img_size).map(|(rows, columns)| (rows * columns) as f64);
        let widths = widths(self.in_chans, self.token_dim).map(|width| width as f64);
        let narrow = self.token_dim as f64;
        let stage = |tokens: f64, width: f64| {
            let per_token = width * 3.0 * narrow + 3.0 * narrow * narrow;
            Work::macs(tokens * per_token + 2.0 * tokens * tokens * narrow)
                + Work::norm(tokens * (width + narrow))
        };
        let stem =
            stage(first, widths[0]) + stage(second, widths[1]) + Work::macs(last * widths[2] * channels);
        Cost {
            stem,
            blocks: vec![BlockCost::of(&self.block); self.depth],
            head: HeadCost {
                per_item: Work::macs(channels * self.num_classes as f64),
                per_token: Work::norm(channels),
                per_patch: Work::default(),
                outputs: self.num_classes as f64,
            },
            experts: None,
            prefix: 1,
            joining: None,
        }
    }

    fn check(&self) -> Result<(), String> {
        encoder::check(&self.block, &[self.depth, self.in_chans, self.token_dim])?;
        ImageSizeError::check(self.img_size, (PATCH, PATCH)).map_err(|error| error.to_string())
    }

    fn init(&self, precision: Precision, device: &Device) -> T2tVit {
        let (channels, classes) = (self.block.channels, self.num_classes);
        let inner = precision.for_rows_of(channels.max(self.block.mlp.hidden));
        let precision = precision.without_int8();
        let (eps, tokens) = (self.block.norm.eps, self.facts().tokens);
        T2tVit {
            tokens_to_token: TokensToToken::new(
                self.in_chans,
                self.token_dim,
                channels,
                eps,
                precision,
                device,
            ),
            cls_token: zeros_parameter([1, 1, channels], device),
            pos_embed: table([tokens, channels], move || sinusoids(tokens, channels), device),
            blocks: (0..self.depth).map(|_| Block::new(&self.block, inner, device)).collect(),
            norm: self.block.norm.layer(channels, device),
            head: (classes > 0).then(|| Linear::new(channels, classes, Bias::Yes, precision, device)),
            config: self.clone(),
        }
    }

    fn with_img_size(self, size: (usize, usize)) -> Result<Self, ImageSizeError> {
        ImageSizeError::check(size, (PATCH, PATCH))?;
        Ok(Self { img_size: size, ..self })
    }

    fn with_num_classes(self, num_classes: usize) -> Self {
        Self { num_classes, ..self }
    }

    fn examples() -> Vec<Self> {
        vec![Self { img_size: (48, 80), token_dim: 8, num_classes: 7, ..Self::new(24, 4, 3) }]
    }

    fn with_overrides(self, overrides: &ShapeOverrides) -> Result<Self, String> {
        if overrides.patch_size.is_some_and(|side| side != PATCH) {
            return Err(format!("T2T-ViT makes a token of {PATCH}x{PATCH} pixels; leave patch_size out"));
        }
        let config = Self {
            block: encoder::with_overrides(self.block, overrides, "T2T-ViT")?,
            depth: overrides.depth.unwrap_or(self.depth),
            ..self
        };
        config.check()?;
        Ok(config)
    }

    fn absolute_positions(&self) -> Option<(Absolute, (usize, usize))> {
        Some((encoder::CLASS_AND_GRID, self.grid()))
    }
}

/// A T2T-ViT. Field names are the reference's.
#[derive(Module, Debug)]
pub struct T2tVit {
    tokens_to_token: TokensToToken,
    cls_token: Param<Tensor<3>>,
    pos_embed: Param<Tensor<3>>,
    blocks: Vec<Block>,
    norm: Norm,
    head: Option<Linear>,
    #[module(skip)]
    config: T2tVitConfig,
}

impl Family for T2tVit {
    fn stem(&self, input: Input) -> Tokens {
        let patches = self.tokens_to_token.forward(input.images_of(self.config.img_size));
        // Training leaves the positions as they are.
        with_class_token(patches, self.cls_token.val(), self.pos_embed.val().detach())
    }

    fn depth(&self) -> usize {
        self.blocks.len()
    }

    fn block(&self, layer: usize) -> &dyn EncoderBlock {
        &self.blocks[layer]
    }

    fn readout(&self) -> Readout {
        Readout::Prefix
    }

    fn head(&self, tokens: &Tokens) -> Heads {
        Heads::classified(self.norm.forward(prefix_rows(tokens, 0)), self.head.as_ref())
    }

    fn normed(&self, rows: Tensor<2>) -> Tensor<2> {
        self.norm.forward(rows)
    }
}

impl T2tVit {
    /// The shape of this model.
    #[must_use]
    pub fn config(&self) -> &T2tVitConfig {
        &self.config
    }

    /// What stands before the blocks.
    #[must_use]
    pub fn tokens_to_token(&self) -> &TokensToToken {
        &self.tokens_to_token
    }
}
