//! The image encoder of Segment Anything (Kirillov et al., 2023), which is ViTDet's (Li et al., 2022): attention within
//! windows in most blocks, positions by distance in rows and in columns, and a neck of convolutions.
//!
//! Nothing merges in it. A [`Layout`](tokmerge_merge::Layout) of one item per window and positions carried by tokens could
//! say which tokens attend to which, but a block of full attention follows every few blocks and expects the whole map,
//! and the tables of distances know whole steps alone.

mod arguments;
mod block;

use crate::blocks::{BlockConfig, EncoderBlock, NormConfig, NormKind};
use crate::families::encoder;
use crate::family::{Family, FamilyConfig, Heads, ImageSizeError, Shape, ShapeOverrides};
use crate::flops::{BlockCost, Cost, HeadCost, Work};
use crate::heads::{average, normalised};
use crate::input::{Input, InputShape};
use crate::positions::{Absolute, Resampling};
use crate::stems::PatchEmbed;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use tokmerge_merge::{
    KeyBias, Layout, Leading, ModelFacts, PositionUse, Readout, Softmax, TokenKind, Tokens, Training,
};
use tokmerge_nn::{Bias, Linear, Norm, normal_parameter};
use tokmerge_ops::{Activation, ConvolutionWeights, Maps, Precision, Window, convolution};

pub(crate) use arguments::SPELLING;
pub use block::{Distances, WindowBlock, Windows};

/// The shape of Segment Anything's image encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct SamVitConfig {
    /// Height and width of the input in pixels.
    pub img_size: (usize, usize),
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Colours.
    pub in_chans: usize,
    /// Whether positions are added to the patches.
    pub absolute: bool,
    /// Whether attention looks at distances in rows and in columns.
    pub relative: bool,
    /// Side of a window in patches; `None` for full attention everywhere.
    pub window: Option<usize>,
    /// Blocks with full attention all the same, counted from 0.
    pub global_blocks: Vec<usize>,
    /// Blocks (`L`).
    pub depth: usize,
    /// The shape of every block.
    pub block: BlockConfig,
    /// Channels that the neck makes of those of the blocks; `None` for a norm alone.
    pub neck: Option<usize>,
    /// Outputs of the head; 0 for a model without one.
    pub num_classes: usize,
}

/// What an epsilon is by default in PyTorch, which the blocks have.
const NORM_EPS: f64 = 1e-5;
/// The norms of the neck.
const NECK_NORM: NormConfig = NormConfig { kind: NormKind::Layer, eps: 1e-6 };

/// The second convolution of the neck.
const SMOOTH: Window = Window { size: 3, stride: 1, padding: 1 };

impl SamVitConfig {
    /// The encoder for square images of 1024 pixels in patches of 16, with windows of 14 patches.
    #[must_use]
    pub fn new(embed_dim: usize, depth: usize, num_heads: usize, global_blocks: Vec<usize>) -> Self {
        let mut block = BlockConfig::new(embed_dim, num_heads);
        block.norm.eps = NORM_EPS;
        Self {
            img_size: (1024, 1024),
            patch_size: 16,
            in_chans: 3,
            absolute: true,
            relative: true,
            window: Some(14),
            global_blocks,
            depth,
            block,
            neck: Some(256),
            num_classes: 0,
        }
    }

    /// Rows and columns of patches.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        let side = self.patch_size.max(1);
        (self.img_size.0 / side, self.img_size.1 / side)
    }

    /// The windows of a block.
    fn windows(&self, layer: usize) -> Windows {
        let side = self.window.filter(|_| !self.global_blocks.contains(&layer));
        Windows::new(self.grid(), side)
    }

    /// Channels of the embedding.
    fn embedding(&self) -> usize {
        self.neck.unwrap_or(self.block.channels)
    }

    fn block_cost(&self, layer: usize) -> BlockCost {
        let windows = self.windows(layer);
        let (rows, columns) = self.grid();
        let patches = (rows * columns) as f64;
        // Places of the windows beyond the map are computed too.
        let attended = windows.rows() as f64 / patches;
        let mut cost = BlockCost::of(&self.block);
        let BlockConfig { heads, head_dim, .. } = self.block;
        if self.relative {
            let (rows, columns) = windows.sides;
            cost.attend += Work::macs((heads * head_dim * (rows + columns)) as f64);
        }
        cost.attend = cost.attend * attended;
        cost.pair_macs *= attended * windows.places() as f64 / patches;
        cost
    }
}

impl FamilyConfig for SamVitConfig {
    type Model = SamVit;

    fn facts(&self) -> ModelFacts {
        let (rows, columns) = self.grid();
        ModelFacts {
            depth: self.depth,
            tokens: rows * columns,
            prefix: 0,
            grid: Some((rows, columns)),
            leading: Leading::Other,
            softmax: Softmax::Closed,
            key_bias: KeyBias::None,
            trained_key_bias: KeyBias::LogSize,
            training: Training::WithoutMerging,
            readout: Readout::All,
            positions: PositionUse::Fixed(
                "it attends within windows of a map and by distances in it, and of merged tokens no map is left",
            ),
            tokens_are: TokenKind::Patches,
            joining: None,
        }
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
            embedding: self.embedding(),
            classes: self.num_classes,
        }
    }

    fn cost(&self) -> Cost {
        let (rows, columns) = self.grid();
        let (patches, channels) = ((rows * columns) as f64, self.block.channels as f64);
        let pixels = (self.in_chans * self.patch_size * self.patch_size) as f64;
        let per_patch = match self.neck {
            Some(neck) => {
                let neck = neck as f64;
                let window = (SMOOTH.size * SMOOTH.size) as f64;
                Work::macs(channels * neck + neck * neck * window) + Work::norm(2.0 * neck)
            }
            None => Work::norm(channels),
        };
        Cost {
            stem: Work::macs(patches * pixels * channels),
            blocks: (0..self.depth).map(|layer| self.block_cost(layer)).collect(),
            head: HeadCost {
                per_item: Work::macs((self.embedding() * self.num_classes) as f64),
                per_patch,
                outputs: self.num_classes as f64,
                ..HeadCost::default()
            },
            experts: None,
            prefix: 0,
            joining: None,
        }
    }

    fn check(&self) -> Result<(), String> {
        let (height, width) = self.img_size;
        let sizes = [
            self.depth,
            self.in_chans,
            height,
            width,
            self.patch_size,
            self.window.unwrap_or(1),
            self.neck.unwrap_or(1),
        ];
        encoder::check(&self.block, &sizes)?;
        ImageSizeError::check(self.img_size, (self.patch_size, self.patch_size))
            .map_err(|error| error.to_string())
    }

    fn init(&self, precision: Precision, device: &Device) -> SamVit {
        let channels = self.block.channels;
        let inner = precision.for_rows_of(channels.max(self.block.mlp.hidden));
        let precision = precision.without_int8();
        let (rows, columns) = self.grid();
        let distances = if self.relative { Distances::Used } else { Distances::Unused };
        let block =
            |layer| WindowBlock::new(&self.block, self.windows(layer), distances, [inner, precision], device);
        let patch = (self.patch_size, self.patch_size);
        SamVit {
            patch_embed: PatchEmbed::new(self.in_chans, patch, channels, Bias::Yes, precision, device),
            pos_embed: self.absolute.then(|| normal_parameter([1, rows, columns, channels], device)),
            blocks: (0..self.depth).map(block).collect(),
            neck: self.neck.map(|neck| Neck::new(channels, neck, precision, device)),
            norm: self.neck.is_none().then(|| NECK_NORM.layer(channels, device)),
            head: (self.num_classes > 0)
                .then(|| Linear::new(self.embedding(), self.num_classes, Bias::Yes, precision, device)),
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
        let small =
            Self { img_size: (12, 20), patch_size: 4, num_classes: 7, ..Self::new(24, 4, 3, vec![1, 3]) };
        let bare = Self { absolute: false, relative: false, window: Some(4), neck: None, ..small.clone() };
        vec![Self { window: Some(2), neck: Some(10), ..small }, bare]
    }

    fn with_overrides(self, overrides: &ShapeOverrides) -> Result<Self, String> {
        if overrides.pool.is_some() || overrides.class_token == Some(true) {
            return Err("the head of SAM's ViT averages patches; leave pool and class_token out".to_owned());
        }
        let own = ShapeOverrides { class_token: None, ..*overrides };
        let config = Self {
            block: encoder::with_overrides(self.block, &own, "SAM's ViT")?,
            depth: overrides.depth.unwrap_or(self.depth),
            patch_size: overrides.patch_size.unwrap_or(self.patch_size),
            ..self
        };
        config.check()?;
        Ok(config)
    }

    fn absolute_positions(&self) -> Option<(Absolute, (usize, usize))> {
        let resampling = Resampling::BicubicAntialias;
        self.absolute.then(|| (Absolute::Learned { prefix: 0, resampling, grid: None }, self.grid()))
    }
}

/// Segment Anything's image encoder.
#[derive(Module, Debug)]
pub struct SamVit {
    patch_embed: PatchEmbed,
    pos_embed: Option<Param<Tensor<4>>>,
    blocks: Vec<WindowBlock>,
    neck: Option<Neck>,
    norm: Option<Norm>,
    head: Option<Linear>,
    #[module(skip)]
    config: SamVitConfig,
}

/// Fewer channels for every patch, and then what its neighbours have.
#[derive(Module, Debug)]
pub(crate) struct Neck {
    narrow: Linear,
    norm1: Norm,
    smooth: Param<Tensor<4>>,
    norm2: Norm,
    #[module(skip)]
    precision: Precision,
}

impl Neck {
    fn new(channels: usize, neck: usize, precision: Precision, device: &Device) -> Self {
        Self {
            narrow: Linear::new(channels, neck, Bias::No, precision, device),
            norm1: NECK_NORM.layer(neck, device),
            smooth: normal_parameter([neck, neck, SMOOTH.size, SMOOTH.size], device),
            norm2: NECK_NORM.layer(neck, device),
            precision,
        }
    }

    /// `x: [B * h * w, C]`, maps of `size` `(h, w)`.
    fn forward(&self, x: Tensor<2>, size: (usize, usize)) -> Tensor<2> {
        let x = self.norm1.forward(self.narrow.forward(x));
        let weights = ConvolutionWeights { weight: self.smooth.val(), bias: None, precision: self.precision };
        self.norm2.forward(convolution(Maps::Rows { x, size }, weights, SMOOTH, Activation::Identity))
    }
}

impl Family for SamVit {
    fn stem(&self, input: Input) -> Tokens {
        let (items, images) = (input.items(), input.images_of(self.config.img_size));
        let (rows, columns) = self.config.grid();
        let mut x = self.patch_embed.forward(images);
        if let Some(positions) = &self.pos_embed {
            let (patches, channels) = (rows * columns, self.config.block.channels);
            let positions = positions.val().reshape([1, patches, channels]);
            x = (x.reshape([items, patches, channels]) + positions).reshape([items * patches, channels]);
        }
        Tokens::new(x, Layout::uniform(items, rows * columns), 0)
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
        let x = match &self.neck {
            Some(neck) => neck.forward(tokens.x.clone(), self.config.grid()),
            None => normalised(tokens.x.clone(), self.norm.as_ref()),
        };
        Heads::classified(average(&tokens.clone().with(x)), self.head.as_ref())
    }

    fn normed(&self, rows: Tensor<2>) -> Tensor<2> {
        normalised(rows, self.norm.as_ref())
    }
}

impl SamVit {
    /// The shape of this model.
    #[must_use]
    pub fn config(&self) -> &SamVitConfig {
        &self.config
    }
}
