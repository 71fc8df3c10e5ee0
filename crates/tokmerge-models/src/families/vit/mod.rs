//! Vision Transformers as timm builds them: ViT (Dosovitskiy et al., 2021; AugReg, MAE and others), DeiT with and without
//! distillation token, DeiT III, DINOv2 and v3, CLIP's and SigLIP's image towers, EVA-02, BEiT, and variants of all of them.
//! V-MoE (Riquelme et al., 2021) is the same with experts in some blocks.
//!
//! | file | what |
//! |---|---|
//! | `arguments/` | the shape in the words of timm's constructors, and the names |
//! | `config.rs` | the shape |
//! | `examples.rs` | small shapes of every kind, for tests |
//! | `facts.rs` | what follows from the shape: tokens, sizes, costs |
//! | `init.rs` | the network of a shape |
//! | `block.rs` | which kind of block |
//! | `mod.rs` | stem and head |

mod arguments;
mod block;
mod config;
mod examples;
mod facts;
mod init;

use crate::blocks::{AttentionPool, Context, EncoderBlock, RelativePositionBias};
use crate::experts::{MixtureOfExperts, Routing};
use crate::family::{Family, FamilyConfig, Heads};
use crate::heads::{average, average_from, normalised, prefix_rows, unit, without_prefix};
use crate::input::Input;
use crate::positions::{Absolute, RotaryEmbedding, grid_positions, resample_each};
use crate::stems::PatchEmbed;
use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, s};
use std::sync::Arc;
use tokmerge_merge::{Layout, Positions, Readout, Tokens};
use tokmerge_nn::{Linear, Norm};
use tokmerge_ops::{assemble, linear};

pub(crate) use arguments::SPELLING;
pub use block::VitBlock;
pub use config::{
    AttentionPoolConfig, ClassToken, DistillationHead, HeadInput, NormPlace, Pool, PreLogits, Sizes,
    VitConfig, Wiring,
};

/// A Vision Transformer. Field names are timm's.
#[derive(Module, Debug)]
pub struct Vit {
    patch_embed: PatchEmbed,
    cls_token: Option<Param<Tensor<3>>>,
    dist_token: Option<Param<Tensor<3>>>,
    reg_token: Option<Param<Tensor<3>>>,
    pos_embed: Option<Param<Tensor<3>>>,
    pos_table: Option<Param<Tensor<3>>>,
    rope: Option<RotaryEmbedding>,
    rel_pos_bias: Option<RelativePositionBias>,
    norm_pre: Option<Norm>,
    blocks: Vec<VitBlock>,
    norm: Option<Norm>,
    attn_pool: Option<AttentionPool>,
    fc_norm: Option<Norm>,
    pre_logits: Option<Linear>,
    projection: Option<Linear>,
    head_norm: Option<Norm>,
    head: Option<Linear>,
    head_dist: Option<Linear>,
    #[module(skip)]
    config: VitConfig,
}

impl Family for Vit {
    fn stem(&self, input: Input) -> Tokens {
        let mut tokens = match input {
            Input::Images(images) => self.embed_images(images),
            Input::Patches { pixels, grids } => self.embed_patches(pixels, &grids),
            Input::Clips(_) | Input::Texts(_) | Input::Questions { .. } | Input::ImageQuestions { .. } => {
                panic!("the model takes images")
            }
        };
        if let Some(norm) = &self.norm_pre {
            tokens.x = norm.forward(tokens.x);
        }
        tokens
    }

    fn depth(&self) -> usize {
        self.blocks.len()
    }

    fn block(&self, layer: usize) -> &dyn EncoderBlock {
        &self.blocks[layer]
    }

    fn context(&self, layer: usize, tokens: &Tokens) -> Context {
        let rotation = self.rope.as_ref().map(|rope| Arc::new(rope.rotation(layer, tokens)));
        // A table of a block's own is in its attention.
        let pair_bias = self.rel_pos_bias.as_ref().map(RelativePositionBias::forward);
        Context { rotation, pair_bias, ..Context::default() }
    }

    fn readout(&self) -> Readout {
        match self.blocks.last().and_then(VitBlock::experts) {
            // Where tokens compete for places, which of them are there changes the others.
            Some(experts) if experts.routing() != Routing::Free => Readout::All,
            _ => self.config.facts().readout,
        }
    }

    fn head(&self, tokens: &Tokens) -> Heads {
        let pooled = self.pooled(tokens);
        let pooled = match (&self.pre_logits, self.config.pre_logits) {
            (Some(layer), Some(shape)) => linear(pooled, layer.weights(), shape.activation),
            _ => pooled,
        };
        let pooled = match &self.projection {
            Some(projection) => projection.forward(pooled),
            None => pooled,
        };
        let entering = match (&self.head_norm, self.config.head_input) {
            (Some(norm), _) => Some(norm.forward(pooled.clone())),
            (None, HeadInput::Unit) if self.head.is_some() => Some(unit(pooled.clone())),
            (None, _) => None,
        };
        if let Some(entering) = entering {
            let Heads { logits, .. } = Heads::classified(entering, self.head.as_ref());
            return Heads { pooled, logits };
        }
        let token = Heads::classified(pooled, self.head.as_ref());
        if (self.config.pool, self.config.class_token)
            != (Pool::Token, ClassToken::Distilled(DistillationHead::Averaged))
        {
            return token;
        }
        let distilled = Heads::classified(self.pooled_token(tokens, 1), self.head_dist.as_ref());
        Heads {
            pooled: (token.pooled + distilled.pooled) / 2.0,
            logits: (token.logits + distilled.logits) / 2.0,
        }
    }

    fn normed(&self, rows: Tensor<2>) -> Tensor<2> {
        let rows = normalised(rows, self.norm.as_ref());
        match self.config.pool {
            Pool::Token | Pool::Average | Pool::AverageAll => normalised(rows, self.fc_norm.as_ref()),
            // That norm is of what the pool makes of several.
            Pool::TokenAndAverage | Pool::Attention(_) => rows,
        }
    }
}

impl Vit {
    /// The shape of this model.
    #[must_use]
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// The same with another classifier, which looks at the embedding at length 1.
    pub(crate) fn with_unit_head(mut self, head: Linear) -> Self {
        self.config.num_classes = head.weight.lazy_shape().to_vec()[0];
        self.config.head_bias = head.bias.is_some();
        self.config.head_input = HeadInput::Unit;
        (self.head, self.head_norm, self.head_dist) = (Some(head), None, None);
        self
    }

    /// The same with other experts, where there are some.
    pub(crate) fn map_experts(mut self, change: impl Fn(MixtureOfExperts) -> MixtureOfExperts) -> Self {
        self.blocks = self.blocks.into_iter().map(|block| block.map_experts(&change)).collect();
        self
    }

    /// The tokens that a pass has left, `[T, C]`, as a head that looks at all of them gets them.
    pub(crate) fn encoded(&self, tokens: &Tokens) -> Tensor<2> {
        normalised(tokens.x.clone(), self.norm.as_ref())
    }

    /// Tokens after the last block → the vector that the pool makes of them, normalised as the head gets it.
    fn pooled(&self, tokens: &Tokens) -> Tensor<2> {
        // Norms are per row: where the head looks at few rows, only those need one.
        let normed = || tokens.clone().with(normalised(tokens.x.clone(), self.norm.as_ref()));
        let pooled = match self.config.pool {
            Pool::Token if self.config.class_token == ClassToken::Distilled(DistillationHead::Pooled) => {
                return (self.pooled_token(tokens, 0) + self.pooled_token(tokens, 1)) / 2.0;
            }
            Pool::Token => return self.pooled_token(tokens, 0),
            Pool::Average => average(&normed()),
            Pool::AverageAll => average_from(&normed(), 0),
            Pool::TokenAndAverage => {
                let tokens = normed();
                Tensor::cat(vec![prefix_rows(&tokens, 0), average(&tokens)], 1)
            }
            Pool::Attention(AttentionPoolConfig { prefix, .. }) => {
                let pool =
                    self.attn_pool.as_ref().expect("a model that pools by attention has the layers for it");
                let tokens = if prefix { normed() } else { without_prefix(normed()) };
                pool.forward(&tokens, tokens.log_size())
            }
        };
        normalised(pooled, self.fc_norm.as_ref())
    }

    fn pooled_token(&self, tokens: &Tokens, index: usize) -> Tensor<2> {
        self.normed(prefix_rows(tokens, index))
    }

    /// Patches of images of one size, prefix tokens and positions.
    fn embed_images(&self, images: Tensor<4>) -> Tokens {
        let [items, _, height, width] = images.dims();
        assert_eq!((height, width), self.config.img_size, "images of the size that the model was made for");
        let patches = self.patch_embed.forward(images);
        let channels = self.config.block.channels;
        let (rows, columns) = self.config.grid();
        let prefix = self.prefix_tokens();
        let fixed = self.pos_table.as_ref().map(|table| table.val().detach());
        let positions =
            match (self.pos_embed.as_ref().map(Param::val).or(fixed), self.config.positions.absolute) {
                (
                    Some(positions),
                    Absolute::Learned { prefix: positioned, .. } | Absolute::Sinusoids { prefix: positioned },
                ) => {
                    let positions: Tensor<2> = positions.squeeze_dim(0);
                    let front = positions.clone().slice(s![..positioned, ..]);
                    (Some(front), positions.slice(s![positioned.., ..]))
                }
                _ => (None, Tensor::zeros([rows * columns, channels], &patches.device())),
            };
        let prefix = match (prefix, positions.0) {
            (None, _) => Tensor::zeros([0, channels], &patches.device()),
            (Some(prefix), None) => prefix,
            (Some(prefix), Some(front)) => {
                let [positioned, _] = front.dims();
                let [all, _] = prefix.dims();
                let rest = (positioned < all).then(|| prefix.clone().slice(s![positioned.., ..]));
                let positioned = (positioned > 0).then(|| prefix.slice(s![..positioned, ..]) + front);
                Tensor::cat(positioned.into_iter().chain(rest).collect(), 0)
            }
        };
        let x = assemble(patches, prefix, positions.1);
        let tokens = Tokens::new(x, Layout::uniform(items, self.config.tokens()), self.config.prefix());
        self.placed(tokens, &vec![(rows, columns); items])
    }

    /// Patches of images of their own sizes, and positions resampled for each. Such models have no prefix.
    fn embed_patches(&self, pixels: Tensor<2>, grids: &[(usize, usize)]) -> Tokens {
        let lens: Vec<usize> = grids.iter().map(|(rows, columns)| rows * columns).collect();
        let mut x = self.patch_embed.project(pixels);
        if let (Some(positions), Absolute::Learned { resampling, .. }) =
            (&self.pos_embed, self.config.positions.absolute)
        {
            let channels = self.config.block.channels;
            let from = self.config.stored_grid();
            let stored: Vec<f32> = positions.val().without_autodiff().into_data().iter::<f32>().collect();
            let rows = resample_each(resampling, &stored, from, grids, channels);
            let rows = TensorData::new(rows, [lens.iter().sum(), channels]);
            x = x.clone() + Tensor::from_data(rows, &x.device());
        }
        self.placed(Tokens::new(x, Layout::from_lens(&lens), 0), grids)
    }

    /// The tokens with their positions, where blocks need to know them.
    fn placed(&self, tokens: Tokens, grids: &[(usize, usize)]) -> Tokens {
        if self.rope.is_none() {
            return tokens;
        }
        let positions = grid_positions(self.config.prefix(), grids);
        tokens.with_positions(Positions::Grid(positions))
    }

    /// Class, distillation and register tokens below each other, `[P, C]`, if there are any.
    fn prefix_tokens(&self) -> Option<Tensor<2>> {
        let tokens: Vec<Tensor<2>> = [&self.cls_token, &self.dist_token, &self.reg_token]
            .into_iter()
            .flatten()
            .map(|token| token.val().squeeze_dim(0))
            .collect();
        (!tokens.is_empty()).then(|| Tensor::cat(tokens, 0))
    }
}
