//! What follows from the shape of a Vision Transformer.

use super::{
    AttentionPoolConfig, ClassToken, DistillationHead, HeadInput, NormPlace, Pool, Sizes, Vit, VitConfig,
    Wiring,
};
use crate::blocks::{BlockConfig, Gate};
use crate::experts::ExpertsConfig;
use crate::families::encoder;
use crate::family::{FamilyConfig, ImageSizeError, PoolOverride, Shape, ShapeOverrides};
use crate::flops::{BlockCost, Cost, ExpertCost, HeadCost, Work};
use crate::input::InputShape;
use crate::positions::{Absolute, PositionConfig, Relative};
use burn::tensor::Device;
use tokmerge_merge::{KeyBias, Leading, ModelFacts, PositionUse, Readout, Softmax, TokenKind, Training};
use tokmerge_nn::Bias;
use tokmerge_ops::Precision;

impl VitConfig {
    /// A plain ViT with class token and learned positions for square images of 224 pixels.
    #[must_use]
    pub fn new(patch_size: usize, embed_dim: usize, depth: usize, num_heads: usize) -> Self {
        Self {
            img_size: (224, 224),
            sizes: Sizes::One,
            patch_size: (patch_size, patch_size),
            patch_stride: None,
            in_chans: 3,
            patch_bias: true,
            patch_norm: None,
            class_token: ClassToken::Single,
            reg_tokens: 0,
            positions: PositionConfig::learned(1),
            pre_norm: false,
            depth,
            wiring: Wiring::Sequential,
            block: BlockConfig::new(embed_dim, num_heads),
            experts: None,
            pool: Pool::Token,
            norm_place: NormPlace::BeforePool,
            pre_logits: None,
            projection: None,
            projection_bias: false,
            head_input: HeadInput::Embedding,
            num_classes: 1000,
            head_bias: true,
            key_bias: KeyBias::LogSize,
            trained_key_bias: KeyBias::LogSize,
        }
    }

    /// Tokens at the front that never merge: class, distillation, registers.
    #[must_use]
    pub fn prefix(&self) -> usize {
        let class = match self.class_token {
            ClassToken::Absent => 0,
            ClassToken::Single => 1,
            ClassToken::Distilled(_) => 2,
        };
        class + self.reg_tokens
    }

    /// Rows and columns of patches.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        let ((height, width), (down, across)) = (self.img_size, self.patch_size);
        match self.patch_stride {
            None => (height / down.max(1), width / across.max(1)),
            Some(stride) => {
                let places = |side: usize, patch: usize| {
                    side.checked_sub(patch).map_or(0, |rest| rest / stride.max(1) + 1)
                };
                (places(height, down), places(width, across))
            }
        }
    }

    /// Tokens entering the first block; of images of their own sizes those of the largest.
    #[must_use]
    pub fn tokens(&self) -> usize {
        let patches = match self.sizes {
            Sizes::One => self.grid().0 * self.grid().1,
            Sizes::Own { most } => most,
        };
        patches + self.prefix()
    }

    /// Rows and columns of patches that absolute positions are stored for in the model: its own grid, or the weights'
    /// where every image has its own.
    pub(crate) fn stored_grid(&self) -> (usize, usize) {
        match (self.sizes, self.positions.absolute) {
            (Sizes::Own { .. }, Absolute::Learned { grid: Some(grid), .. }) => grid,
            _ => self.grid(),
        }
    }

    /// Rows of the absolute positions; 0 if there are none.
    pub(crate) fn position_rows(&self) -> usize {
        match self.positions.absolute {
            Absolute::None => 0,
            Absolute::Learned { prefix, .. } | Absolute::Sinusoids { prefix } => {
                self.stored_grid().0 * self.stored_grid().1 + prefix
            }
        }
    }

    /// Outputs of the layer after the pool; 0 if there is none.
    fn pre_logits_dim(&self) -> usize {
        self.pre_logits.map_or(0, |layer| layer.width)
    }

    /// Channels that the pool gives.
    pub(super) fn pooled_dim(&self) -> usize {
        match self.pool {
            Pool::TokenAndAverage => 2 * self.block.channels,
            _ => self.block.channels,
        }
    }

    /// Channels that a projection gets.
    pub(super) fn before_projection(&self) -> usize {
        self.pre_logits.map_or_else(|| self.pooled_dim(), |layer| layer.width)
    }

    /// Channels of the embedding.
    pub(super) fn embedding_dim(&self) -> usize {
        self.projection.unwrap_or_else(|| self.before_projection())
    }

    fn heads_of_classifier(&self) -> usize {
        match self.class_token {
            ClassToken::Distilled(DistillationHead::Averaged) => 2,
            _ => 1,
        }
    }

    /// Changes how many prefix tokens have a position, where any has one.
    fn position_prefix(&mut self, change: impl Fn(usize) -> usize) {
        if let Absolute::Learned { prefix, .. } | Absolute::Sinusoids { prefix } =
            &mut self.positions.absolute
        {
            *prefix = change(*prefix);
        }
    }

    /// Why merging cannot be right in this model, if it cannot.
    fn fixed(&self) -> Option<&'static str> {
        if self.positions.relative != Relative::None {
            return Some(
                "its attention has a bias for every pair of places, and a merged token has no place in that table",
            );
        }
        match self.wiring {
            Wiring::Sequential => None,
            Wiring::Parallel => {
                Some("its blocks run attention and MLP side by side, so that nothing can merge between them")
            }
            Wiring::Branches(_) => {
                Some("its blocks run several attentions side by side, whose keys are not one metric")
            }
        }
    }

    fn head_cost(&self) -> HeadCost {
        let (channels, rows) = (self.block.channels as f64, |work: Work| work);
        let mut cost = HeadCost::default();
        let norm = Work::norm(channels);
        match self.norm_place {
            NormPlace::BeforePool => cost.per_token += rows(norm),
            NormPlace::AfterPool => cost.per_item += Work::norm(self.pooled_dim() as f64),
            NormPlace::None => {}
        }
        if let Pool::Attention(AttentionPoolConfig { mlp_hidden, norm, .. }) = self.pool {
            // Keys and values of all tokens, one query; scores and sums of values.
            cost.per_token += Work::macs(2.0 * channels * channels + 2.0 * channels);
            cost.per_item += Work::macs(2.0 * channels * channels);
            if let Some(hidden) = mlp_hidden {
                cost.per_item += Work::macs(2.0 * channels * hidden as f64);
            }
            if norm {
                cost.per_item += Work::norm(channels);
            }
        }
        let pooled = self.pooled_dim();
        let pre_logits =
            if self.num_classes > 0 || self.projection.is_none() { self.pre_logits_dim() } else { 0 };
        let layers = pooled * pre_logits
            + self.projection.map_or(0, |projection| self.before_projection() * projection)
            + self.heads_of_classifier() * self.embedding_dim() * self.num_classes;
        cost.per_item += Work::macs(layers as f64);
        if self.head_input != HeadInput::Embedding && self.num_classes > 0 {
            cost.per_item += Work::norm(self.embedding_dim() as f64);
        }
        cost.outputs = (self.num_classes * self.heads_of_classifier() + pre_logits) as f64;
        cost
    }
}

impl FamilyConfig for VitConfig {
    type Model = Vit;

    fn facts(&self) -> ModelFacts {
        let readout = match self.pool {
            Pool::Token => Readout::Prefix,
            _ => Readout::All,
        };
        let positions = match (self.fixed(), &self.positions.rotary) {
            (Some(reason), _) => PositionUse::Fixed(reason),
            (None, Some(_)) => PositionUse::Followed,
            (None, None) => PositionUse::Free,
        };
        let leading = match self.class_token {
            ClassToken::Absent => Leading::Other,
            ClassToken::Single | ClassToken::Distilled(_) => Leading::ClassToken,
        };
        let softmax = match self.wiring {
            Wiring::Sequential => Softmax::Open,
            Wiring::Parallel | Wiring::Branches(_) => Softmax::Closed,
        };
        ModelFacts {
            depth: self.depth,
            tokens: self.tokens(),
            prefix: self.prefix(),
            grid: (self.sizes == Sizes::One).then(|| self.grid()),
            leading,
            softmax,
            key_bias: self.key_bias,
            trained_key_bias: self.trained_key_bias,
            training: Training::WithoutMerging,
            readout,
            positions,
            tokens_are: TokenKind::Patches,
            joining: None,
        }
    }

    fn shape(&self) -> Shape {
        let input = match self.sizes {
            Sizes::One => InputShape::Image { channels: self.in_chans, size: self.img_size },
            Sizes::Own { most } => {
                InputShape::Patches { channels: self.in_chans, patch: self.patch_size.0, most }
            }
        };
        Shape {
            input,
            grid: (self.sizes == Sizes::One).then(|| self.grid()),
            steps: 1,
            channels: self.block.channels,
            heads: self.block.heads,
            head_dim: self.block.head_dim,
            mlp_hidden: self.block.mlp.hidden,
            patch: self.patch_size,
            patch_stride: self.patch_stride.map_or(self.patch_size, |stride| (stride, stride)),
            embedding: self.embedding_dim(),
            classes: self.num_classes,
        }
    }

    fn cost(&self) -> Cost {
        let patches = (self.tokens() - self.prefix()) as f64;
        let pixels = (self.in_chans * self.patch_size.0 * self.patch_size.1) as f64;
        let channels = self.block.channels as f64;
        let mut stem = Work::macs(patches * pixels * channels);
        if self.patch_norm.is_some() {
            stem += Work::norm(patches * channels);
        }
        if self.pre_norm {
            stem += Work::norm(self.tokens() as f64 * channels);
        }
        let branches = match self.wiring {
            Wiring::Branches(count) => count,
            _ => 1,
        };
        let block = BlockCost::of(&self.block).times(branches);
        Cost {
            stem,
            blocks: vec![block; self.depth],
            head: self.head_cost(),
            experts: self.experts.map(|experts| ExpertCost::new(experts, self.depth)),
            prefix: self.prefix(),
            joining: None,
        }
    }

    fn check(&self) -> Result<(), String> {
        let refuse = |reason: String| Err(reason);
        let BlockConfig { channels, heads, head_dim, mlp, .. } = self.block;
        let sizes = [channels, heads, head_dim, mlp.hidden, self.patch_size.0, self.patch_size.1];
        if sizes.contains(&0) || [self.in_chans, self.depth, self.img_size.0, self.img_size.1].contains(&0) {
            return refuse("a size of the model is 0, and all must be at least 1".to_owned());
        }
        if channels % heads != 0 && head_dim * heads != channels && head_dim == channels / heads {
            return refuse(format!("{channels} channels cannot be divided among {heads} heads"));
        }
        if let Some(stride) = self.patch_stride
            && (stride == 0 || self.patch_size.0 != self.patch_size.1 || self.sizes != Sizes::One)
        {
            return refuse(format!(
                "overlapping patches are square, of images of one size, and at least a pixel apart; patch_stride is {stride}"
            ));
        }
        if let Err(error) = ImageSizeError::check(self.img_size, self.patch_size) {
            return refuse(error.to_string());
        }
        if let Some(misfit) = self.experts.and_then(|experts| experts.misfit(self.depth)) {
            return refuse(misfit);
        }
        if self.experts.is_some() && (mlp.gate != Gate::None || mlp.norm) {
            return refuse("experts are plain MLPs; leave gates and norms out of the MLP".to_owned());
        }
        if self.class_token == ClassToken::Absent && matches!(self.pool, Pool::Token | Pool::TokenAndAverage)
        {
            return refuse(
                "global_pool is token, but there is no class token; use global_pool avg".to_owned(),
            );
        }
        if self.positions.rotary.is_some() && head_dim % 4 != 0 {
            return refuse(format!(
                "rotary positions turn pairs of channels by row and by column, so a head needs a multiple of 4 channels, and it has {head_dim}"
            ));
        }
        if let Absolute::Learned { prefix, .. } | Absolute::Sinusoids { prefix } = self.positions.absolute
            && prefix > self.prefix()
        {
            return refuse(format!(
                "{prefix} prefix tokens have a position, and there are {}",
                self.prefix()
            ));
        }
        if matches!(self.sizes, Sizes::Own { .. })
            && (self.prefix() > 0 || self.patch_size.0 != self.patch_size.1)
        {
            return refuse(
                "images of their own sizes go with square patches and without prefix tokens".to_owned(),
            );
        }
        Ok(())
    }

    fn init(&self, precision: Precision, device: &Device) -> Vit {
        super::init::init(self, precision, device)
    }

    fn with_img_size(self, size: (usize, usize)) -> Result<Self, ImageSizeError> {
        ImageSizeError::check(size, self.patch_size)?;
        Ok(Self { img_size: size, ..self })
    }

    fn with_num_classes(self, num_classes: usize) -> Self {
        Self { num_classes, ..self }
    }

    fn examples() -> Vec<Self> {
        super::examples::examples()
    }

    fn with_overrides(mut self, overrides: &ShapeOverrides) -> Result<Self, String> {
        self.block = encoder::resized(self.block, overrides);
        self.depth = overrides.depth.unwrap_or(self.depth);
        self.patch_size = overrides.patch_size.map_or(self.patch_size, |side| (side, side));
        match overrides.class_token {
            Some(true) if self.class_token == ClassToken::Absent => {
                self.class_token = ClassToken::Single;
                self.position_prefix(|prefix| prefix + 1);
            }
            Some(false) if self.class_token != ClassToken::Absent => {
                self.class_token = ClassToken::Absent;
                self.position_prefix(|_| 0);
                if overrides.pool.is_none() && self.pool == Pool::Token {
                    (self.pool, self.norm_place) = (Pool::Average, NormPlace::AfterPool);
                }
            }
            _ => {}
        }
        match overrides.pool {
            Some(PoolOverride::Token) if self.class_token == ClassToken::Absent => {
                return Err("pool is token, and this model has no class token; use avg".to_owned());
            }
            Some(PoolOverride::Token) if self.pool != Pool::Token => {
                (self.pool, self.norm_place) = (Pool::Token, NormPlace::BeforePool);
            }
            Some(PoolOverride::Average) if self.pool != Pool::Average => {
                (self.pool, self.norm_place) = (Pool::Average, NormPlace::AfterPool);
            }
            _ => {}
        }
        self.check()?;
        Ok(self)
    }

    fn absolute_positions(&self) -> Option<(Absolute, (usize, usize))> {
        Some((self.positions.absolute, self.stored_grid()))
    }

    fn table_grids(&self) -> Option<[(usize, usize); 2]> {
        self.positions.table_grid.map(|stored| [stored, self.grid()])
    }

    fn experts(&self) -> Option<ExpertsConfig> {
        self.experts
    }

    fn saved(mut self) -> Self {
        self.positions.table_grid = None;
        self
    }

    fn fitted(self, has: &dyn Fn(&str) -> bool) -> Self {
        // MAE, fine-tuned.
        if has("fc_norm.weight") && !has("norm.weight") {
            return Self { pool: Pool::Average, norm_place: NormPlace::AfterPool, ..self };
        }
        self
    }

    fn pooled_like(self, other: &Self) -> Self {
        Self { pool: other.pool, ..self }
    }

    fn with_projection(self, width: usize, bias: Bias) -> Self {
        Self { projection: Some(width), projection_bias: bias == Bias::Yes, ..self }
    }
}
