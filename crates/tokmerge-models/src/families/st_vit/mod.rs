//! Vision Transformers over space and time: the spatiotemporal MAE (Feichtenhofer et al., 2022) in its fine-tuned form, and
//! VideoMAE (Tong et al., 2022) as transformers has it. A clip becomes tubes of some frames and a patch each.

mod arguments;

use super::encoder;
use crate::blocks::{Block, BlockConfig, EncoderBlock, NormConfig};
use crate::family::{Family, FamilyConfig, Heads, ImageSizeError, Shape, ShapeOverrides};
use crate::flops::{BlockCost, Cost, HeadCost, Work};
use crate::heads::{average_from, normalised, prefix_rows};
use crate::input::{Input, InputShape};
use crate::positions::{Absolute, Resampling, sinusoids, table};
use crate::stems::TubeEmbed;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, s};
use tokmerge_merge::{
    KeyBias, Layout, Leading, ModelFacts, PositionUse, Readout, Softmax, TokenKind, Tokens, Training,
};
use tokmerge_nn::{Bias, Linear, Norm, normal_parameter, zeros_parameter};
use tokmerge_ops::{Precision, assemble};

pub(crate) use arguments::SPELLING;

/// The shape of a Vision Transformer over space and time.
#[derive(Clone, Debug, PartialEq)]
pub struct StVitConfig {
    /// Height and width of a frame in pixels.
    pub img_size: (usize, usize),
    /// Frames of a clip.
    pub frames: usize,
    /// Side of a tube in pixels.
    pub patch_size: usize,
    /// Frames of a tube.
    pub tubelet: usize,
    /// Colours.
    pub in_chans: usize,
    /// Whether a class token leads the tubes.
    pub class_token: bool,
    /// Positions that are added to the tokens.
    pub positions: TubePositions,
    /// Blocks (`L`).
    pub depth: usize,
    /// The shape of every block.
    pub block: BlockConfig,
    /// What the head looks at.
    pub pool: TubePool,
    /// Epsilon of the norm of what the head looks at; `None` if there is no such norm.
    pub head_norm_eps: Option<f64>,
    /// Outputs of the head; 0 for a model without one.
    pub num_classes: usize,
    /// What `prop_attn=auto` means for these weights as published.
    pub key_bias: KeyBias,
}

/// Positions of tubes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TubePositions {
    /// The sum of one for the place and one for the time; the class token has its own.
    Separate,
    /// One for each tube, and one for the class token.
    Joint,
    /// Sines and cosines of a tube's number, which follow from the shape (VideoMAE).
    Sinusoids,
}

/// What the head looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TubePool {
    /// The mean of all tokens but the first, each weighted by its size. The first is the class token; without
    /// one the reference leaves out the first tube all the same.
    AverageButFirst,
    /// The mean of all tubes, each weighted by its size.
    Average,
    /// The first token (VideoMAE without mean pooling).
    First,
}

impl StVitConfig {
    /// A spatiotemporal MAE for 16 frames of 224x224 pixels, in tubes of two frames.
    #[must_use]
    pub fn new(patch_size: usize, embed_dim: usize, depth: usize, num_heads: usize) -> Self {
        Self {
            img_size: (224, 224),
            frames: 16,
            patch_size,
            tubelet: 2,
            in_chans: 3,
            class_token: true,
            positions: TubePositions::Separate,
            depth,
            block: BlockConfig::new(embed_dim, num_heads),
            pool: TubePool::AverageButFirst,
            head_norm_eps: Some(1e-6),
            num_classes: 400,
            // As of all masked autoencoders off the shelf (ToMe, A.2).
            key_bias: KeyBias::None,
        }
    }

    /// Rows and columns of tubes.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        let patch = self.patch_size.max(1);
        (self.img_size.0 / patch, self.img_size.1 / patch)
    }

    /// Tubes behind each other.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.frames / self.tubelet.max(1)
    }

    /// Tubes of a clip.
    fn tubes(&self) -> usize {
        let (rows, columns) = self.grid();
        self.steps() * rows * columns
    }

    fn prefix(&self) -> usize {
        usize::from(self.class_token)
    }
}

impl FamilyConfig for StVitConfig {
    type Model = StVit;

    fn facts(&self) -> ModelFacts {
        ModelFacts {
            depth: self.depth,
            tokens: self.tubes() + self.prefix(),
            prefix: self.prefix(),
            grid: None,
            leading: if self.prefix() > 0 { Leading::ClassToken } else { Leading::Other },
            softmax: Softmax::Open,
            key_bias: self.key_bias,
            trained_key_bias: KeyBias::LogSize,
            training: Training::WithoutMerging,
            readout: Readout::All,
            positions: PositionUse::Free,
            tokens_are: TokenKind::Patches,
            joining: None,
        }
    }

    fn shape(&self) -> Shape {
        Shape {
            input: InputShape::Clip { channels: self.in_chans, frames: self.frames, size: self.img_size },
            grid: Some(self.grid()),
            steps: self.steps(),
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
        let channels = self.block.channels as f64;
        let pixels = (self.in_chans * self.tubelet * self.patch_size * self.patch_size) as f64;
        let mut head = HeadCost { outputs: self.num_classes as f64, ..HeadCost::default() };
        head.per_item = Work::macs(channels * self.num_classes as f64);
        if self.head_norm_eps.is_some() {
            head.per_item += Work::norm(channels);
        }
        Cost {
            stem: Work::macs(self.tubes() as f64 * pixels * channels),
            blocks: vec![BlockCost::of(&self.block); self.depth],
            head,
            experts: None,
            prefix: self.prefix(),
            joining: None,
        }
    }

    fn check(&self) -> Result<(), String> {
        let sizes = [self.depth, self.in_chans, self.patch_size, self.tubelet];
        encoder::check(&self.block, &sizes)?;
        ImageSizeError::check(self.img_size, (self.patch_size, self.patch_size))
            .map_err(|error| error.to_string())?;
        if self.steps() == 0 {
            let Self { frames, tubelet, .. } = self;
            return Err(format!(
                "{frames} frames hold no tube of {tubelet}; num_frames must be at least that"
            ));
        }
        if self.pool == TubePool::AverageButFirst && self.tubes() + self.prefix() < 2 {
            return Err("the head looks at all tokens but the first, and there is one".to_owned());
        }
        Ok(())
    }

    fn init(&self, precision: Precision, device: &Device) -> StVit {
        let (channels, classes, tubes) = (self.block.channels, self.num_classes, self.tubes());
        let inner = precision.for_rows_of(channels.max(self.block.mlp.hidden));
        let precision = precision.without_int8();
        let side = (self.patch_size, self.patch_size);
        let (rows, columns) = self.grid();
        let separate = self.positions == TubePositions::Separate;
        let learned = |rows: usize| normal_parameter([1, rows, channels], device);
        StVit {
            patch_embed: TubeEmbed::new(self.in_chans, self.tubelet, side, channels, precision, device),
            cls_token: self.class_token.then(|| zeros_parameter([1, 1, channels], device)),
            pos_embed_spatial: separate.then(|| learned(rows * columns)),
            pos_embed_temporal: separate.then(|| learned(self.steps())),
            pos_embed_class: (separate && self.class_token).then(|| learned(1)),
            pos_embed: (self.positions == TubePositions::Joint).then(|| learned(tubes + self.prefix())),
            pos_table: (self.positions == TubePositions::Sinusoids)
                .then(|| table([tubes, channels], move || sinusoids(tubes, channels), device)),
            blocks: (0..self.depth).map(|_| Block::new(&self.block, inner, device)).collect(),
            norm: self.head_norm_eps.map(|eps| NormConfig { eps, ..self.block.norm }.layer(channels, device)),
            head: (classes > 0).then(|| Linear::new(channels, classes, Bias::Yes, precision, device)),
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
        let small = || {
            let mut small = Self { img_size: (4, 12), frames: 10, num_classes: 7, ..Self::new(4, 24, 4, 3) };
            small.block.mlp.hidden = 40;
            small
        };
        let videomae = Self {
            class_token: false,
            positions: TubePositions::Sinusoids,
            pool: TubePool::Average,
            ..small()
        };
        vec![
            small(),
            Self { class_token: false, positions: TubePositions::Joint, ..small() },
            Self { pool: TubePool::First, head_norm_eps: None, ..videomae.clone() },
            videomae,
        ]
    }

    fn with_overrides(mut self, overrides: &ShapeOverrides) -> Result<Self, String> {
        let of_block = ShapeOverrides { pool: None, class_token: None, ..*overrides };
        if overrides.pool.is_some() {
            return Err("the head of ST-ViT averages its tokens; leave pool out".to_owned());
        }
        self.block = encoder::with_overrides(self.block, &of_block, "ST-ViT")?;
        self.class_token = overrides.class_token.unwrap_or(self.class_token);
        self.depth = overrides.depth.unwrap_or(self.depth);
        self.patch_size = overrides.patch_size.unwrap_or(self.patch_size);
        self.frames = overrides.num_frames.unwrap_or(self.frames);
        self.check()?;
        Ok(self)
    }

    fn absolute_positions(&self) -> Option<(Absolute, (usize, usize))> {
        // Those of places; of tubes and times a file has as many as the model.
        let places = Absolute::Learned { prefix: 0, resampling: Resampling::Bicubic, grid: None };
        (self.positions == TubePositions::Separate).then(|| (places, self.grid()))
    }

    fn fitted(mut self, has: &dyn Fn(&str) -> bool) -> Self {
        self.class_token &= has("cls_token");
        if self.positions == TubePositions::Separate && has("pos_embed") {
            self.positions = TubePositions::Joint;
        }
        self
    }
}

/// A Vision Transformer over space and time. Field names are the reference's, of the blocks timm's.
#[derive(Module, Debug)]
pub struct StVit {
    patch_embed: TubeEmbed,
    cls_token: Option<Param<Tensor<3>>>,
    pos_embed_spatial: Option<Param<Tensor<3>>>,
    pos_embed_temporal: Option<Param<Tensor<3>>>,
    pos_embed_class: Option<Param<Tensor<3>>>,
    pos_embed: Option<Param<Tensor<3>>>,
    pos_table: Option<Param<Tensor<3>>>,
    blocks: Vec<Block>,
    norm: Option<Norm>,
    head: Option<Linear>,
    #[module(skip)]
    config: StVitConfig,
}

impl Family for StVit {
    fn stem(&self, input: Input) -> Tokens {
        let Input::Clips(clips) = input else { panic!("the model takes clips") };
        let [items, _, frames, height, width] = clips.dims();
        let expected = (self.config.frames, self.config.img_size);
        assert_eq!((frames, (height, width)), expected, "clips of the size that the model was made for");
        let tubes = self.patch_embed.forward(clips);
        let (front, positions) = self.positions();
        let prefix = match (&self.cls_token, front) {
            (None, _) => Tensor::zeros([0, self.config.block.channels], &tubes.device()),
            (Some(class), None) => class.val().squeeze_dim::<2>(0),
            (Some(class), Some(front)) => class.val().squeeze_dim::<2>(0) + front,
        };
        let len = self.config.tubes() + self.config.prefix();
        let x = assemble(tubes, prefix, positions);
        Tokens::new(x, Layout::uniform(items, len), self.config.prefix())
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
        let norm = self.norm.as_ref();
        let pooled = match self.config.pool {
            TubePool::AverageButFirst => normalised(average_from(tokens, 1), norm),
            TubePool::Average => normalised(average_from(tokens, self.config.prefix()), norm),
            TubePool::First => normalised(prefix_rows(tokens, 0), norm),
        };
        Heads::classified(pooled, self.head.as_ref())
    }

    fn normed(&self, rows: Tensor<2>) -> Tensor<2> {
        normalised(rows, self.norm.as_ref())
    }
}

impl StVit {
    /// The shape of this model.
    #[must_use]
    pub fn config(&self) -> &StVitConfig {
        &self.config
    }

    /// Positions of the class token, `[1, C]`, and of the tubes, `[N, C]`.
    fn positions(&self) -> (Option<Tensor<2>>, Tensor<2>) {
        let rows = |param: &Param<Tensor<3>>| param.val().squeeze_dim::<2>(0);
        if let (Some(spatial), Some(temporal)) = (&self.pos_embed_spatial, &self.pos_embed_temporal) {
            let sum = temporal.val().permute([1, 0, 2]) + spatial.val();
            let [steps, places, channels] = sum.dims();
            return (self.pos_embed_class.as_ref().map(rows), sum.reshape([steps * places, channels]));
        }
        match (&self.pos_embed, &self.pos_table) {
            (Some(joint), _) => {
                let prefix = self.config.prefix();
                let joint = rows(joint);
                let front = (prefix > 0).then(|| joint.clone().slice(s![..prefix, ..]));
                (front, joint.slice(s![prefix.., ..]))
            }
            (None, Some(table)) => (None, rows(table).detach()),
            (None, None) => panic!("a model has positions"),
        }
    }
}
