//! LV-ViT (Jiang et al., 2021, "All Tokens Matter"): a stem of convolutions, residual branches divided by a constant,
//! and a second head that looks at every patch.

mod arguments;

use super::encoder;
use crate::blocks::{Block, BlockConfig, EncoderBlock, QkvBias};
use crate::family::{Family, FamilyConfig, Heads, ImageSizeError, Shape, ShapeOverrides};
use crate::flops::{BlockCost, Cost, HeadCost, Work};
use crate::heads::{largest, prefix_rows};
use crate::input::{Input, InputShape};
use crate::positions::Absolute;
use crate::stems::{ConvStem, ConvStemShape, with_class_token};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use tokmerge_merge::{ModelFacts, Readout, Tokens};
use tokmerge_nn::{Bias, Linear, Norm, normal_parameter, zeros_parameter};
use tokmerge_ops::Precision;

pub(crate) use arguments::SPELLING;

/// The shape of an LV-ViT.
#[derive(Clone, Debug, PartialEq)]
pub struct LvVitConfig {
    /// Height and width of the input in pixels.
    pub img_size: (usize, usize),
    /// Side of a patch in pixels; even, since the stem halves the image first.
    pub patch_size: usize,
    /// Colours.
    pub in_chans: usize,
    /// Channels between the convolutions of the stem.
    pub stem_channels: usize,
    /// Blocks (`L`).
    pub depth: usize,
    /// The shape of every block; `branch_divisor` is the reference's `skip_lam`.
    pub block: BlockConfig,
    /// Outputs of both heads; 0 for a model without them.
    pub num_classes: usize,
}

/// What an epsilon is by default in PyTorch, unlike in timm's ViTs.
const NORM_EPS: f64 = 1e-5;

/// How much the largest logit of a patch counts beside that of the class token.
const PATCH_SHARE: f32 = 0.5;

impl LvVitConfig {
    /// An LV-ViT for square images of 224 pixels in patches of 16, with an MLP of three times the channels.
    #[must_use]
    pub fn new(embed_dim: usize, depth: usize, num_heads: usize, skip_lam: f64) -> Self {
        let mut block = BlockConfig::new(embed_dim, num_heads);
        block.norm.eps = NORM_EPS;
        block.qkv_bias = QkvBias::No;
        block.mlp.hidden = 3 * embed_dim;
        block.branch_divisor = (skip_lam != 1.0).then_some(skip_lam);
        Self {
            img_size: (224, 224),
            patch_size: 16,
            in_chans: 3,
            stem_channels: 64,
            depth,
            block,
            num_classes: 1000,
        }
    }

    fn stem(&self) -> ConvStemShape {
        let Self { in_chans, stem_channels: hidden, patch_size, .. } = *self;
        ConvStemShape { in_chans, hidden, patch_size, channels: self.block.channels }
    }

    /// Rows and columns of patches.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        self.stem().grids(self.img_size)[3]
    }
}

impl FamilyConfig for LvVitConfig {
    type Model = LvVit;

    fn facts(&self) -> ModelFacts {
        encoder::facts(self.depth, self.grid(), Readout::All)
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
            patch: (self.patch_size, self.patch_size),
            patch_stride: (self.patch_size, self.patch_size),
            embedding: self.block.channels,
            classes: self.num_classes,
        }
    }

    fn cost(&self) -> Cost {
        let stem = self.stem();
        let mut work = Work::default();
        for ((rows, columns), (inputs, outputs)) in stem.grids(self.img_size).into_iter().zip(stem.layers()) {
            work += Work::macs((rows * columns * inputs * outputs) as f64);
        }
        for (rows, columns) in &stem.grids(self.img_size)[..3] {
            work.batch_normed += (rows * columns * stem.hidden) as f64;
        }
        let channels = self.block.channels as f64;
        let classifier = Work::macs(channels * self.num_classes as f64);
        Cost {
            stem: work,
            blocks: vec![BlockCost::of(&self.block); self.depth],
            head: HeadCost {
                per_item: classifier,
                per_token: Work::norm(channels),
                per_patch: classifier,
                outputs: (self.facts().tokens * self.num_classes) as f64,
            },
            experts: None,
            prefix: 1,
            joining: None,
        }
    }

    fn check(&self) -> Result<(), String> {
        let (height, width) = self.img_size;
        encoder::check(&self.block, &[self.depth, self.in_chans, self.stem_channels, height, width])?;
        if self.patch_size == 0 || !self.patch_size.is_multiple_of(2) {
            let size = self.patch_size;
            return Err(format!(
                "the stem halves images before it cuts patches, so patch_size must be even, and it is {size}"
            ));
        }
        ImageSizeError::check(self.img_size, (self.patch_size, self.patch_size))
            .map_err(|error| error.to_string())
    }

    fn init(&self, precision: Precision, device: &Device) -> LvVit {
        let (channels, classes) = (self.block.channels, self.num_classes);
        let inner = precision.for_rows_of(channels.max(self.block.mlp.hidden));
        let precision = precision.without_int8();
        let (rows, columns) = self.grid();
        let head = || (classes > 0).then(|| Linear::new(channels, classes, Bias::Yes, precision, device));
        LvVit {
            patch_embed: ConvStem::new(self.stem(), precision, device),
            cls_token: zeros_parameter([1, 1, channels], device),
            pos_embed: normal_parameter([1, 1 + rows * columns, channels], device),
            blocks: (0..self.depth).map(|_| Block::new(&self.block, inner, device)).collect(),
            norm: self.block.norm.layer(channels, device),
            head: head(),
            aux_head: head(),
            config: self.clone(),
        }
    }

    fn with_img_size(self, size: (usize, usize)) -> Result<Self, ImageSizeError> {
        ImageSizeError::check(size, (self.patch_size, self.patch_size))?;
        Ok(Self { img_size: size, ..self })
    }

    fn with_num_classes(self, num_classes: usize) -> Self {
        Self { num_classes, ..self }
    }

    fn examples() -> Vec<Self> {
        let small = Self::new(24, 4, 3, 2.0);
        vec![Self { img_size: (24, 40), patch_size: 8, stem_channels: 8, num_classes: 7, ..small }]
    }

    fn with_overrides(self, overrides: &ShapeOverrides) -> Result<Self, String> {
        let config = Self {
            block: encoder::with_overrides(self.block, overrides, "LV-ViT")?,
            depth: overrides.depth.unwrap_or(self.depth),
            patch_size: overrides.patch_size.unwrap_or(self.patch_size),
            ..self
        };
        config.check()?;
        Ok(config)
    }

    fn absolute_positions(&self) -> Option<(Absolute, (usize, usize))> {
        Some((encoder::CLASS_AND_GRID, self.grid()))
    }
}

/// An LV-ViT. Field names are the reference's.
#[derive(Module, Debug)]
pub struct LvVit {
    patch_embed: ConvStem,
    cls_token: Param<Tensor<3>>,
    pos_embed: Param<Tensor<3>>,
    blocks: Vec<Block>,
    norm: Norm,
    head: Option<Linear>,
    aux_head: Option<Linear>,
    #[module(skip)]
    config: LvVitConfig,
}

impl Family for LvVit {
    fn stem(&self, input: Input) -> Tokens {
        let images = input.images_of(self.config.img_size);
        with_class_token(self.patch_embed.forward(images), self.cls_token.val(), self.pos_embed.val())
    }

    fn depth(&self) -> usize {
        self.blocks.len()
    }

    fn block(&self, layer: usize) -> &dyn EncoderBlock {
        &self.blocks[layer]
    }

    fn readout(&self) -> Readout {
        Readout::All
    }

    fn head(&self, tokens: &Tokens) -> Heads {
        let normed = tokens.clone().with(self.norm.forward(tokens.x.clone()));
        let pooled = prefix_rows(&normed, 0);
        let logits = match (&self.head, &self.aux_head) {
            (Some(head), Some(aux_head)) => {
                let patches = largest(aux_head.forward(normed.x.clone()), &normed);
                head.forward(pooled.clone()) + patches * PATCH_SHARE
            }
            _ => pooled.clone(),
        };
        Heads { pooled, logits }
    }

    fn normed(&self, rows: Tensor<2>) -> Tensor<2> {
        self.norm.forward(rows)
    }
}

impl LvVit {
    /// The shape of this model.
    #[must_use]
    pub fn config(&self) -> &LvVitConfig {
        &self.config
    }

    /// Tokens after the last block → what the second head says of each: `[T, classes]`. It is trained to label patches.
    #[must_use]
    pub fn patch_logits(&self, tokens: &Tokens) -> Option<Tensor<2>> {
        Some(self.aux_head.as_ref()?.forward(self.norm.forward(tokens.x.clone())))
    }
}
