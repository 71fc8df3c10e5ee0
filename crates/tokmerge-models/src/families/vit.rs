//! Vision Transformers as timm builds them: ViT (Dosovitskiy et al., 2021; AugReg, MAE and others), DeiT with
//! and without distillation token, DeiT III, and variants with register tokens or average pooling. V-MoE (Riquelme et
//! al., 2021) is the same with experts in some blocks.

mod by_block;

use crate::blocks::{Attention, Bias, Block, FeedForward, LayerNorm, LayerScale, Linear, Mlp, PatchEmbed};
use crate::blocks::{truncated_normal, zeros};
use crate::encoder::{Encoded, StochasticDepth, Watch, encode, encode_for, encode_stochastic, resume};
use crate::experts::{ExpertShape, ExpertsConfig, MixtureOfExperts, RouterTraining, Routing};
use crate::flops::{Convention, Cost, ExpertCost};
use crate::load::parameters;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, s};
use std::sync::Arc;
use tokmerge_merge::{
    DROPPED, Evidence, KeyBias, LayerTokens, Layout, MergerShape, Mergers, Method, Readout, Reduction, Seat,
    Tokens, Trace,
};
use tokmerge_ops::{Activation, Precision, assemble, linear, merge_rows, recycle};

/// What the head looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The class token (and the distillation token, where there is one).
    Token,
    /// The mean of the patch tokens, each weighted by its size.
    Average,
}

/// Where the last norm stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlace {
    /// On all tokens before pooling (`norm`).
    BeforePool,
    /// On the pooled vector (`fc_norm`).
    AfterPool,
}

/// Whether a class token leads the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassToken {
    /// None: such models pool by average.
    Absent,
    /// A class token.
    Single,
    /// A class and a distillation token with a head each; their logits are averaged (DeiT).
    Distilled,
}

/// The shape of a Vision Transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct VitConfig {
    /// Height and width of the input in pixels.
    pub img_size: (usize, usize),
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Colours.
    pub in_chans: usize,
    /// Outputs of the head; 0 for a model without one.
    pub num_classes: usize,
    /// Channels of a token (`C`).
    pub embed_dim: usize,
    /// Blocks (`L`).
    pub depth: usize,
    /// Heads (`H`).
    pub num_heads: usize,
    /// Hidden channels of the MLP.
    pub mlp_dim: usize,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Whether queries and keys are normalised per head.
    pub qk_norm: bool,
    /// Initial LayerScale, for models that have it.
    pub layer_scale: Option<f64>,
    /// Class and distillation token.
    pub class_token: ClassToken,
    /// Register tokens, after the class token.
    pub reg_tokens: usize,
    /// Whether prefix tokens go without a position embedding (timm's `no_embed_class`).
    pub no_embed_class: bool,
    /// Whether a norm precedes the first block (CLIP's `norm_pre`).
    pub pre_norm: bool,
    /// What the head looks at.
    pub pool: Pool,
    /// Where the last norm stands.
    pub norm_place: NormPlace,
    /// Epsilon of all norms.
    pub norm_eps: f64,
    /// Activation of the MLP.
    pub activation: Activation,
    /// Whether a layer of `C` outputs and tanh stands in front of the head (V-MoE's `representation_size`).
    pub pre_logits: bool,
    /// Experts in place of the MLP of some blocks (V-MoE).
    pub experts: Option<ExpertsConfig>,
    /// What `prop_attn=auto` means for these weights.
    pub key_bias: KeyBias,
}

/// An image size that does not fit a model.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error(
    "an image of {height}x{width} cannot be cut into patches of {patch}x{patch}; height and width must be multiples of {patch}, e.g. --img-size {suggested}"
)]
pub struct ImageSizeError {
    height: usize,
    width: usize,
    patch: usize,
    suggested: usize,
}

impl VitConfig {
    /// A ViT with class token and learned positions for square images of 224 pixels.
    #[must_use]
    pub fn new(patch_size: usize, embed_dim: usize, depth: usize, num_heads: usize) -> Self {
        Self {
            img_size: (224, 224),
            patch_size,
            in_chans: 3,
            num_classes: 1000,
            embed_dim,
            depth,
            num_heads,
            mlp_dim: 4 * embed_dim,
            qkv_bias: true,
            qk_norm: false,
            layer_scale: None,
            class_token: ClassToken::Single,
            reg_tokens: 0,
            no_embed_class: false,
            pre_norm: false,
            pool: Pool::Token,
            norm_place: NormPlace::BeforePool,
            norm_eps: 1e-6,
            activation: Activation::Gelu,
            pre_logits: false,
            experts: None,
            key_bias: KeyBias::LogSize,
        }
    }

    /// Tokens at the front that never merge: class, distillation, registers.
    #[must_use]
    pub fn prefix(&self) -> usize {
        let class = match self.class_token {
            ClassToken::Absent => 0,
            ClassToken::Single => 1,
            ClassToken::Distilled => 2,
        };
        class + self.reg_tokens
    }

    /// Rows and columns of patches.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        (self.img_size.0 / self.patch_size, self.img_size.1 / self.patch_size)
    }

    /// Tokens entering the first block.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.grid().0 * self.grid().1 + self.prefix()
    }

    /// Rows of the position embedding for a grid.
    #[must_use]
    pub fn positions(&self, grid: (usize, usize)) -> usize {
        grid.0 * grid.1 + if self.no_embed_class { 0 } else { self.prefix() }
    }

    /// What a reduction needs to know of this model.
    #[must_use]
    pub fn seat(&self) -> Seat {
        let readout = match self.pool {
            Pool::Token => Readout::Prefix,
            Pool::Average => Readout::All,
        };
        Seat {
            depth: self.depth,
            tokens: self.tokens(),
            prefix: self.prefix(),
            key_bias: self.key_bias,
            readout,
        }
    }

    /// The same model for images of another size; position embeddings are interpolated when weights load.
    ///
    /// # Errors
    /// When height or width is not a multiple of the patch size.
    pub fn with_img_size(self, (height, width): (usize, usize)) -> Result<Self, ImageSizeError> {
        let patch = self.patch_size;
        if height == 0 || width == 0 || height % patch != 0 || width % patch != 0 {
            let suggested = (height.max(patch) + patch / 2) / patch * patch;
            return Err(ImageSizeError { height, width, patch, suggested });
        }
        Ok(Self { img_size: (height, width), ..self })
    }

    /// What the model costs, for counting.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let heads = match self.class_token {
            ClassToken::Distilled => 2,
            ClassToken::Absent | ClassToken::Single => 1,
        };
        Cost {
            depth: self.depth,
            channels: self.embed_dim,
            head_dim: self.embed_dim / self.num_heads,
            mlp_channels: self.mlp_dim,
            embed_macs: (self.grid().0
                * self.grid().1
                * self.in_chans
                * self.patch_size
                * self.patch_size
                * self.embed_dim) as f64,
            head_macs: (heads * self.embed_dim * (self.num_classes + self.pre_logits_dim())) as f64,
            final_norm: self.norm_place,
            experts: self.experts.map(|experts| ExpertCost::new(experts, self.depth)),
        }
    }

    /// Outputs of the layer in front of the head; 0 if there is none, as in a model without a head.
    fn pre_logits_dim(&self) -> usize {
        if self.pre_logits && self.num_classes > 0 { self.embed_dim } else { 0 }
    }

    /// Number of parameters.
    #[must_use]
    pub fn parameters(&self) -> usize {
        parameters(&self.init(Precision::F32, &Device::default()))
    }

    /// Billions of multiply-adds of one image without merging.
    #[must_use]
    pub fn unmerged_gmacs(&self, convention: Convention) -> f64 {
        let tokens = LayerTokens::unmerged(self.tokens());
        self.cost().gmacs(&vec![tokens; self.depth], &Reduction::none(), convention)
    }

    /// A model with random weights. At [`Precision::Int8`] the embedding, the head and attention itself are bf16: they
    /// are a small part of the work, and see what they see once.
    #[must_use]
    pub fn init(&self, precision: Precision, device: &Device) -> Vit {
        let (channels, classes) = (self.embed_dim, self.num_classes);
        let inner = precision.for_rows_of(channels.max(self.mlp_dim));
        let precision = precision.without_int8();
        let norm = || LayerNorm::new(channels, self.norm_eps, device);
        let scale = || self.layer_scale.map(|initial| LayerScale::new(channels, initial, device));
        let dense = || Mlp::new(channels, self.mlp_dim, self.activation, inner, device);
        let placed = self.experts.map(|experts| (experts, experts.placement.blocks(self.depth)));
        let feed_forward = |layer: usize| match &placed {
            Some((experts, blocks)) if blocks.contains(&layer) => {
                let (hidden, activation) = (self.mlp_dim, self.activation);
                let shape = ExpertShape { channels, hidden, activation, precision: inner };
                FeedForward::Experts(MixtureOfExperts::new(*experts, shape, device))
            }
            _ => FeedForward::Dense(dense()),
        };
        let block = |layer| Block {
            norm1: norm(),
            attn: Attention::new(
                channels,
                self.num_heads,
                Bias::when(self.qkv_bias),
                self.qk_norm.then_some(self.norm_eps),
                inner,
                device,
            ),
            ls1: scale(),
            norm2: norm(),
            mlp: feed_forward(layer),
            ls2: scale(),
        };
        let head = || (classes > 0).then(|| Linear::new(channels, classes, Bias::Yes, precision, device));
        let distilled = self.class_token == ClassToken::Distilled;
        Vit {
            patch_embed: PatchEmbed::new(
                self.in_chans,
                self.patch_size,
                channels,
                Bias::when(!self.pre_norm),
                precision,
                device,
            ),
            cls_token: (self.class_token != ClassToken::Absent).then(|| zeros([1, 1, channels], device)),
            dist_token: distilled.then(|| zeros([1, 1, channels], device)),
            reg_token: (self.reg_tokens > 0).then(|| zeros([1, self.reg_tokens, channels], device)),
            pos_embed: truncated_normal([1, self.positions(self.grid()), channels], device),
            norm_pre: self.pre_norm.then(norm),
            blocks: (0..self.depth).map(block).collect(),
            norm: (self.norm_place == NormPlace::BeforePool).then(norm),
            fc_norm: (self.norm_place == NormPlace::AfterPool).then(norm),
            pre_logits: (self.pre_logits_dim() > 0)
                .then(|| Linear::new(channels, channels, Bias::Yes, precision, device)),
            head: head(),
            head_dist: if distilled { head() } else { None },
            mergers: Mergers::none(),
            config: self.clone(),
        }
    }
}

/// A Vision Transformer. Field names are timm's.
#[derive(Module, Debug)]
pub struct Vit {
    patch_embed: PatchEmbed,
    cls_token: Option<Param<Tensor<3>>>,
    dist_token: Option<Param<Tensor<3>>>,
    reg_token: Option<Param<Tensor<3>>>,
    pos_embed: Param<Tensor<3>>,
    norm_pre: Option<LayerNorm>,
    blocks: Vec<Block>,
    norm: Option<LayerNorm>,
    fc_norm: Option<LayerNorm>,
    pre_logits: Option<Linear>,
    head: Option<Linear>,
    head_dist: Option<Linear>,
    mergers: Mergers,
    #[module(skip)]
    config: VitConfig,
}

/// Logits, and where the tokens of every image went.
#[derive(Clone, Debug)]
pub struct Classified {
    /// `[B, classes]`.
    pub logits: Tensor<2>,
    /// Tokens after the last block.
    pub tokens: Tokens,
    /// Every plan that was applied.
    pub trace: Trace,
}

impl Classified {
    /// The logits alone; the memory of the tokens is reused by the next pass.
    #[must_use]
    pub fn into_logits(self) -> Tensor<2> {
        recycle(self.tokens.x);
        self.logits
    }
}

/// What a training step needs of a forward pass.
#[derive(Clone, Debug)]
pub struct Trained {
    /// `[B, classes]`.
    pub logits: Tensor<2>,
    /// Every plan that was applied.
    pub trace: Trace,
    /// What is to be added to the loss, `[1]`: of models with experts, that they be used equally.
    pub auxiliary: Option<Tensor<1>>,
}

/// Logits, and how tokens merged on the way to them.
#[derive(Clone, Debug)]
pub struct Predicted {
    /// `[B, classes]`.
    pub logits: Tensor<2>,
    /// Every plan that was applied, and what was left out of the last block.
    pub trace: Trace,
}

impl Vit {
    /// The shape of this model.
    #[must_use]
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// The same with fresh weights of a method in front of its blocks, where the method has some; they are trained,
    /// saved and loaded with the rest.
    #[must_use]
    pub fn with_fresh_mergers(self, method: &Method, device: &Device) -> Self {
        let shape = MergerShape { depth: self.config.depth, channels: self.config.embed_dim };
        Self { mergers: Mergers::new(method, shape, device), ..self }
    }

    /// Weights of the method that this model is trained with; empty if it has none.
    #[must_use]
    pub fn mergers(&self) -> &Mergers {
        &self.mergers
    }

    /// `images: [B, channels, height, width]` → logits.
    ///
    /// # Panics
    /// When the images are not of the size in [`config`](Self::config).
    #[must_use]
    pub fn forward(&self, images: Tensor<4>, reduction: &Reduction) -> Classified {
        self.classify(images, reduction, None)
    }

    /// As [`forward`](Self::forward), with somebody looking on.
    ///
    /// # Panics
    /// When the images are not of the size in [`config`](Self::config).
    #[must_use]
    pub fn forward_watched(
        &self,
        images: Tensor<4>,
        reduction: &Reduction,
        watch: &mut dyn Watch,
    ) -> Classified {
        self.classify(images, reduction, Some(watch))
    }

    /// As [`forward`](Self::forward) for who reads nothing but logits, which are the same bit for bit: where the head
    /// looks at class tokens, the last block computes keys and values of all tokens, but nothing else of the
    /// patches, and merges nothing after its attention.
    ///
    /// # Panics
    /// When the images are not of the size in [`config`](Self::config).
    #[must_use]
    pub fn predict(&self, images: Tensor<4>, reduction: &Reduction) -> Predicted {
        let Encoded { tokens, trace, .. } =
            encode_for(&self.blocks, self.embed_normed(images), reduction, self.readout());
        let logits = self.forward_head(&tokens);
        recycle(tokens.x);
        Predicted { logits, trace }
    }

    /// What is read of the last block.
    fn readout(&self) -> Readout {
        match self.blocks.last().map(|block| &block.mlp) {
            // Where tokens compete for places, which of them are there changes the others.
            Some(FeedForward::Experts(experts)) if experts.routing() != Routing::Free => Readout::All,
            _ => self.config.seat().readout,
        }
    }

    /// The same, distributing tokens among its experts in this way; nothing else about a model without experts.
    #[must_use]
    pub fn with_routing(self, routing: Routing) -> Self {
        self.map_experts(|experts| experts.with_routing(routing))
    }

    /// The same, its routers trained in this way; nothing else about a model without experts.
    #[must_use]
    pub fn with_router_training(self, training: RouterTraining) -> Self {
        self.map_experts(|experts| experts.with_training(training))
    }

    fn map_experts(mut self, change: impl Fn(MixtureOfExperts) -> MixtureOfExperts) -> Self {
        let changed = |block: Block| match block.mlp {
            FeedForward::Experts(experts) => Block { mlp: FeedForward::Experts(change(experts)), ..block },
            FeedForward::Dense(_) => block,
        };
        self.blocks = self.blocks.into_iter().map(changed).collect();
        self
    }

    /// What the head looks at, `[B, C]`, computed as by [`predict`](Self::predict); and how tokens merged.
    ///
    /// # Panics
    /// When the images are not of the size in [`config`](Self::config).
    #[must_use]
    pub fn features(&self, images: Tensor<4>, reduction: &Reduction) -> (Tensor<2>, Trace) {
        let readout = self.readout();
        let Encoded { tokens, trace, .. } =
            encode_for(&self.blocks, self.embed_normed(images), reduction, readout);
        let pooled = self.forward_pooled(&tokens);
        recycle(tokens.x);
        (pooled, trace)
    }

    /// As [`forward`](Self::forward), for training: with branches left out at random, and experts chosen as in
    /// [training](Self::with_router_training).
    ///
    /// # Panics
    /// When the images are not of the size in [`config`](Self::config).
    #[must_use]
    pub fn forward_train(&self, images: Tensor<4>, reduction: &Reduction, drop: &StochasticDepth) -> Trained {
        let tokens = self.embed_normed(images);
        let Encoded { tokens, trace, auxiliary } = encode_stochastic(&self.blocks, tokens, reduction, *drop);
        let logits = self.forward_head(&tokens);
        Trained { logits, trace, auxiliary }
    }

    fn classify(
        &self,
        images: Tensor<4>,
        reduction: &Reduction,
        watch: Option<&mut dyn Watch>,
    ) -> Classified {
        let Encoded { tokens, trace, .. } = self.encode(images, reduction, watch);
        let logits = self.forward_head(&tokens);
        Classified { logits, tokens, trace }
    }

    /// `images: [B, channels, height, width]` → tokens after the last block, not normalised yet. Of a reduction
    /// that narrows the last layer only prefix tokens are left.
    ///
    /// # Panics
    /// When the images are not of the size in [`config`](Self::config).
    #[must_use]
    pub fn forward_features(&self, images: Tensor<4>, reduction: &Reduction) -> Encoded {
        self.encode(images, reduction, None)
    }

    fn encode(&self, images: Tensor<4>, reduction: &Reduction, watch: Option<&mut dyn Watch>) -> Encoded {
        encode(&self.blocks, self.embed_normed(images), reduction, watch)
    }

    /// What enters the first block.
    fn embed_normed(&self, images: Tensor<4>) -> Tokens {
        let mut tokens = self.embed(images);
        if let Some(norm) = &self.norm_pre {
            tokens.x = norm.forward(tokens.x);
        }
        tokens
    }

    /// Goes on from the moment in which block `layer` has attended, with the tokens and the evidence that
    /// [`Watch::attended`] saw: tokens after the last block as `reduction` leaves them, without running the
    /// blocks before `layer` again. What the reduction would have merged there is not merged; the trace begins
    /// at `layer`.
    ///
    /// # Panics
    /// When the model has no such block, or the evidence is not what the reduction
    /// [wants](Reduction::wants) there.
    #[must_use]
    pub fn resume(
        &self,
        layer: usize,
        attended: Tokens,
        evidence: Evidence,
        reduction: &Reduction,
    ) -> Encoded {
        resume(&self.blocks, layer, attended, evidence, reduction)
    }

    /// Final tokens → the vector that the head looks at, `[B, C]`: the class token or the average of the
    /// patches, normalised as the head gets it.
    #[must_use]
    pub fn forward_pooled(&self, tokens: &Tokens) -> Tensor<2> {
        match self.config.pool {
            Pool::Token => self.pooled_token(tokens, 0),
            Pool::Average => {
                let x = normalised(tokens.x.clone(), self.norm.as_ref());
                normalised(average(&Tokens { x, ..tokens.clone() }), self.fc_norm.as_ref())
            }
        }
    }

    /// Norms are per row: only the rows that the head looks at need one.
    fn pooled_token(&self, tokens: &Tokens, index: usize) -> Tensor<2> {
        normalised(normalised(prefix_rows(tokens, index), self.norm.as_ref()), self.fc_norm.as_ref())
    }

    /// Final tokens → logits `[B, classes]`; the pooled vector `[B, C]` where the model has no head.
    #[must_use]
    pub fn forward_head(&self, tokens: &Tokens) -> Tensor<2> {
        let head = |x: Tensor<2>, head: &Option<Linear>| match head {
            Some(head) => head.forward(x),
            None => x,
        };
        let pooled = self.forward_pooled(tokens);
        let represented = match &self.pre_logits {
            Some(layer) => linear(pooled, layer.weights(), Activation::Tanh),
            None => pooled,
        };
        let logits = head(represented, &self.head);
        match (self.config.pool, self.config.class_token) {
            (Pool::Token, ClassToken::Distilled) => {
                (logits + head(self.pooled_token(tokens, 1), &self.head_dist)) / 2.0
            }
            _ => logits,
        }
    }

    /// Patches, prefix tokens and positions.
    fn embed(&self, images: Tensor<4>) -> Tokens {
        let [items, _, height, width] = images.dims();
        assert_eq!((height, width), self.config.img_size, "images of the size that the model was made for");
        let (channels, prefix) = (self.config.embed_dim, self.config.prefix());
        let patches = self.patch_embed.forward(images);
        let positions: Tensor<2> = self.pos_embed.val().squeeze_dim(0);
        let tokens: Vec<Tensor<2>> = [&self.cls_token, &self.dist_token, &self.reg_token]
            .into_iter()
            .flatten()
            .map(|token| token.val().squeeze_dim(0))
            .collect();
        let tokens = if tokens.is_empty() {
            Tensor::zeros([0, channels], &patches.device())
        } else {
            Tensor::cat(tokens, 0)
        };
        let (tokens, positions) = if self.config.no_embed_class || prefix == 0 {
            (tokens, positions)
        } else {
            (tokens + positions.clone().slice(s![..prefix, ..]), positions.slice(s![prefix.., ..]))
        };
        let x = assemble(patches, tokens, positions);
        Tokens::new(x, Layout::uniform(items, self.config.tokens()), prefix)
    }
}

/// `norm(x)`, or `x` where the model has no such norm.
fn normalised(x: Tensor<2>, norm: Option<&LayerNorm>) -> Tensor<2> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}

/// One prefix token of every item: `[B, C]`.
fn prefix_rows(tokens: &Tokens, index: usize) -> Tensor<2> {
    match &tokens.layout {
        Layout::Uniform { items, len } => {
            let [_, channels] = tokens.x.dims();
            let x = tokens.x.clone().reshape([*items, *len, channels]);
            x.slice(s![.., index..=index, ..]).reshape([*items, channels])
        }
        Layout::Ragged { offsets } => {
            let rows: Vec<i32> =
                offsets[..offsets.len() - 1].iter().map(|row| (row + index) as i32).collect();
            tokens.x.clone().select(0, Tensor::from_data(rows.as_slice(), &tokens.device()))
        }
    }
}

/// The mean of every item's patch tokens, each weighted by its size: `[B, C]`.
fn average(tokens: &Tokens) -> Tensor<2> {
    let items = tokens.layout.items();
    let mut item_of = vec![DROPPED; tokens.layout.rows()];
    for item in 0..items {
        let range = tokens.layout.range(item);
        item_of[range.start + tokens.prefix..range.end].fill(item as u32);
    }
    merge_rows(tokens.x.clone(), &tokens.sizes(), &Arc::from(item_of), items)
}
