//! The shape of a ViLT.

use super::Vilt;
use crate::blocks::{BlockConfig, NormConfig, NormKind};
use crate::families::encoder;
use crate::families::vit::VitConfig;
use crate::family::{FamilyConfig, ImageSizeError, Part, PartKind, Shape, ShapeOverrides};
use crate::flops::{BlockCost, Cost, HeadCost, Work};
use crate::input::InputShape;
use crate::network::Config;
use crate::positions::{Absolute, PositionConfig};
use burn::tensor::Device;
use tokmerge_merge::{KeyBias, Leading, ModelFacts, PositionUse, Readout, Softmax, TokenKind, Training};
use tokmerge_ops::Precision;

/// The shape of a Transformer of questions about pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct ViltConfig {
    /// Rows of the table of tokens.
    pub vocabulary: usize,
    /// Tokens of a question at most.
    pub room: usize,
    /// Kinds of texts that a token may be of, of which all are the first.
    pub token_types: usize,
    /// Height and width of the images whose patches have the stored positions; others are resampled from these.
    pub img_size: (usize, usize),
    /// Colours.
    pub in_chans: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Patches of a picture at most.
    pub patches: usize,
    /// Blocks (`L`).
    pub depth: usize,
    /// The shape of every block.
    pub block: BlockConfig,
    /// Answers; 0 for none, where the embedding is the answer.
    pub num_classes: usize,
}

impl ViltConfig {
    /// ViLT-B/32's proportions, on pictures whose shorter side is `side` pixels and whose longer side is at most 5/3 of it.
    #[must_use]
    pub fn new(side: usize, patch_size: usize, channels: usize, depth: usize, heads: usize) -> Self {
        let norm = NormConfig { kind: NormKind::Layer, eps: 1e-12 };
        Self {
            vocabulary: 30522,
            room: 40,
            token_types: 2,
            img_size: (side, side),
            in_chans: 3,
            patch_size,
            patches: most_patches(side, patch_size),
            depth,
            block: BlockConfig { norm, ..BlockConfig::new(channels, heads) },
            num_classes: 0,
        }
    }

    /// The same for pictures whose shorter side is `side` pixels.
    #[must_use]
    pub fn with_side(self, side: usize) -> Self {
        Self { img_size: (side, side), patches: most_patches(side, self.patch_size), ..self }
    }

    /// Rows and columns of the patches whose positions are stored.
    #[must_use]
    pub fn stored_grid(&self) -> (usize, usize) {
        (self.img_size.0 / self.patch_size.max(1), self.img_size.1 / self.patch_size.max(1))
    }

    /// Tokens in front of the patches of the longest question: its words, and the image's class token.
    fn prefix(&self) -> usize {
        self.room + 1
    }
}

/// Patches of a picture whose shorter side is `side` pixels and whose longer side is at most 5/3 of it: what transformers (639
/// pixels where the shorter side is 384) and the paper (640) make.
pub(crate) fn most_patches(side: usize, patch_size: usize) -> usize {
    let patches = |side: usize| side / patch_size.max(1);
    patches(side).saturating_mul(patches(side.saturating_mul(5) / 3))
}

impl FamilyConfig for ViltConfig {
    type Model = Vilt;

    fn facts(&self) -> ModelFacts {
        ModelFacts {
            depth: self.depth,
            tokens: self.prefix() + self.patches,
            prefix: self.prefix(),
            grid: None,
            leading: Leading::Other,
            softmax: Softmax::Open,
            key_bias: KeyBias::LogSize,
            trained_key_bias: KeyBias::LogSize,
            training: Training::WithoutMerging,
            readout: Readout::Prefix,
            positions: PositionUse::Free,
            tokens_are: TokenKind::PatchesAfterWords,
            joining: None,
        }
    }

    fn shape(&self) -> Shape {
        let Self { in_chans: channels, patch_size: patch, patches: most, .. } = *self;
        let (vocabulary, room) = (self.vocabulary, self.room);
        Shape {
            input: InputShape::Question { channels, patch, most, vocabulary, room },
            grid: None,
            steps: 1,
            channels: self.block.channels,
            heads: self.block.heads,
            head_dim: self.block.head_dim,
            mlp_hidden: self.block.mlp.hidden,
            patch: (patch, patch),
            patch_stride: (patch, patch),
            embedding: self.block.channels,
            classes: self.num_classes,
        }
    }

    fn cost(&self) -> Cost {
        let channels = self.block.channels as f64;
        let pixels = (self.in_chans * self.patch_size * self.patch_size) as f64;
        let mut per_item = Work::macs(channels * channels);
        if self.num_classes > 0 {
            per_item += Work::macs(2.0 * channels * (channels + self.num_classes as f64));
            per_item += Work::norm(2.0 * channels);
        }
        let classifier = if self.num_classes > 0 { 2.0 * channels + self.num_classes as f64 } else { 0.0 };
        Cost {
            stem: Work::macs(self.patches as f64 * pixels * channels)
                + Work::norm(self.room as f64 * channels),
            blocks: vec![BlockCost::of(&self.block); self.depth],
            head: HeadCost {
                per_item,
                per_token: Work::norm(channels),
                outputs: channels + classifier,
                ..HeadCost::default()
            },
            experts: None,
            prefix: self.prefix(),
            joining: None,
        }
    }

    fn check(&self) -> Result<(), String> {
        let sizes = [self.vocabulary, self.room, self.token_types, self.in_chans, self.patches, self.depth];
        encoder::check(&self.block, &sizes)?;
        const MOST_TOKENS: usize = 1 << 24;
        if self.vocabulary > MOST_TOKENS {
            let rows = self.vocabulary;
            return Err(format!(
                "a vocabulary of {rows} is beyond that of any model; at most {MOST_TOKENS} is taken"
            ));
        }
        let patch = (self.patch_size, self.patch_size);
        ImageSizeError::check(self.img_size, patch).map_err(|error| error.to_string())
    }

    fn init(&self, precision: Precision, device: &Device) -> Vilt {
        Vilt::new(self, precision, device)
    }

    fn with_img_size(self, (height, width): (usize, usize)) -> Result<Self, ImageSizeError> {
        Err(ImageSizeError::OwnSizes { height, width })
    }

    fn with_num_classes(self, num_classes: usize) -> Self {
        Self { num_classes, ..self }
    }

    fn examples() -> Vec<Self> {
        let example = || {
            let (room, img_size, patches) = (7, (12, 20), 15);
            let plain = Self::new(20, 4, 24, 4, 3);
            let mut config = Self { vocabulary: 11, room, img_size, patches, num_classes: 7, ..plain };
            config.block.mlp.hidden = 40;
            config
        };
        // Positions that are resampled from another grid.
        vec![example(), Self { room: 6, img_size: (16, 16), ..example() }]
    }

    /// ViLT begins as a Vision Transformer did (§3.1).
    fn parts(&self) -> &'static [Part] {
        const HOLDS: &[&str] = &["patch_embed.", "pos_embed", "cls_token", "blocks.", "norm."];
        &[Part { kind: PartKind::Image, prefix: "", holds: HOLDS }]
    }

    fn with_part(self, _: PartKind, model: &Config) -> Result<Self, String> {
        let Config::Vit(image) = model else {
            return Err("it is no Vision Transformer; give a plain one, e.g. vit_base_patch32_384".to_owned());
        };
        let VitConfig { patch_size: (patch_size, _), depth, block, .. } = image;
        let Absolute::Learned { prefix: 1, resampling, grid } = image.positions.absolute else {
            return Err("its class token and its patches have no learned positions; give a plain Vision Transformer, e.g. vit_base_patch32_384".to_owned());
        };
        let positions = Absolute::Learned { prefix: 1, resampling, grid };
        // ViLT's blocks, of any size.
        let norm = NormConfig { kind: NormKind::Layer, ..block.norm };
        let mut own = BlockConfig { norm, ..BlockConfig::new(block.channels, block.heads) };
        own.mlp.hidden = block.mlp.hidden;
        // Whatever the head looks at.
        let plain = VitConfig {
            img_size: image.img_size,
            in_chans: image.in_chans,
            positions: PositionConfig { absolute: positions, ..PositionConfig::learned(1) },
            block: own,
            pool: image.pool,
            norm_place: image.norm_place,
            pre_logits: image.pre_logits,
            projection: image.projection,
            projection_bias: image.projection_bias,
            head_input: image.head_input,
            num_classes: image.num_classes,
            head_bias: image.head_bias,
            key_bias: image.key_bias,
            trained_key_bias: image.trained_key_bias,
            ..VitConfig::new(*patch_size, block.channels, *depth, block.heads)
        };
        if plain != *image {
            return Err("it is no plain Vision Transformer, which has a class token and blocks of attention and MLP with biases, one \
                        after the other; give one, e.g. vit_base_patch32_384"
                .to_owned());
        }
        let side = image.img_size.0.min(image.img_size.1);
        let whole = Self {
            img_size: image.img_size,
            in_chans: image.in_chans,
            patch_size: *patch_size,
            patches: most_patches(side, *patch_size),
            depth: *depth,
            block: block.clone(),
            ..self
        };
        whole.check()?;
        Ok(whole)
    }

    fn with_overrides(mut self, overrides: &ShapeOverrides) -> Result<Self, String> {
        self.block = encoder::with_overrides(self.block, overrides, "ViLT")?;
        self.depth = overrides.depth.unwrap_or(self.depth);
        self.patch_size = overrides.patch_size.unwrap_or(self.patch_size);
        if overrides.patch_size.is_some() {
            self.patches = most_patches(self.img_size.0.min(self.img_size.1), self.patch_size);
        }
        self.check()?;
        Ok(self)
    }
}
