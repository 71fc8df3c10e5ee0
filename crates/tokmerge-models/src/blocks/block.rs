//! The Transformer block, in two halves.

use super::EncoderBlock;
use super::attention::of_heads;
use super::feed_forward::{Joint, add};
use super::{Attention, Begun, BlockConfig, Context, FeedForward, Order};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use tokmerge_merge::{Evidence, Layout, Merging, Metric, Prefix, Tokens, Wants};
use tokmerge_nn::{LayerScale, Norm, Random};
use tokmerge_ops::{
    Activation, Mask, NormWeights, Precision, SelfAttentionContext, SelfAttentionWeights, linear,
    linear_residual, self_attention,
};

/// `x + ls1(attn(norm1(x)))`, then `x + ls2(mlp(norm2(x)))`, or with the norms elsewhere ([`Order`]).
#[derive(Module, Debug)]
pub struct Block {
    /// Of the attention half.
    pub norm1: Norm,
    /// Attention.
    pub attn: Attention,
    /// On the attention branch.
    pub ls1: Option<LayerScale>,
    /// Of the MLP half.
    pub norm2: Norm,
    /// MLP, or experts.
    pub mlp: FeedForward,
    /// On the MLP branch.
    pub ls2: Option<LayerScale>,
    #[module(skip)]
    order: Order,
    #[module(skip)]
    branch_divisor: Option<f64>,
}

impl Block {
    /// A block of this shape, random until weights are loaded.
    #[must_use]
    pub fn new(config: &BlockConfig, precision: Precision, device: &Device) -> Self {
        let norm = || config.norm.layer(config.channels, device);
        let scale = || config.layer_scale.map(|initial| LayerScale::new(config.channels, initial, device));
        Self {
            norm1: norm(),
            attn: Attention::new(config, precision, device),
            ls1: scale(),
            norm2: norm(),
            mlp: FeedForward::new(config, precision, device),
            ls2: scale(),
            order: config.order,
            branch_divisor: config.branch_divisor,
        }
    }

    /// The same with another second half.
    #[must_use]
    pub fn with_feed_forward(self, mlp: FeedForward) -> Self {
        Self { mlp, ..self }
    }

    /// The same with a table of relative positions of its own: see [`Attention::with_relative_positions`].
    #[must_use]
    pub fn with_relative_positions(self, grid: (usize, usize), device: &Device) -> Self {
        Self { attn: self.attn.with_relative_positions(grid, device), ..self }
    }

    /// By what a branch is multiplied before it is added, `[C]`.
    fn scale(&self, layer_scale: Option<&LayerScale>) -> Option<Tensor<1>> {
        let gamma = layer_scale.map(|scale| scale.gamma.val());
        match (self.branch_divisor, gamma) {
            (None, gamma) => gamma,
            (Some(divisor), Some(gamma)) => Some(gamma / divisor),
            (Some(divisor), None) => {
                let weight = self.norm1.weight.val();
                Some(Tensor::full(weight.shape(), 1.0 / divisor, &weight.device()))
            }
        }
    }

    /// The norm that the branch of attention begins with.
    fn norm_before(&self) -> Option<NormWeights> {
        (self.order == Order::PreNorm).then(|| self.norm1.weights())
    }

    /// The projection of what tokens attend to, `y: [T, H * D]`, joined with `x: [T, C]`.
    fn join_attention(&self, y: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        let (proj, scale) = (self.attn.proj.weights(), self.scale(self.ls1.as_ref()));
        match self.order {
            Order::PreNorm => linear_residual(y, proj, scale, x),
            Order::ResidualPostNorm => {
                add(x, self.norm1.forward(linear(y, proj, Activation::Identity)), scale)
            }
            Order::PostNorm => self.norm1.forward(linear_residual(y, proj, scale, x)),
        }
    }

    /// One layer after the other, for what is between them.
    fn attend_by_layers(
        &self,
        x: Tensor<2>,
        with: &Context,
        (layout, prefix): (&Layout, &Prefix),
        wants: Wants,
    ) -> (Tensor<2>, Evidence) {
        let qkv = match &with.begun {
            Some(begun) => self.attn.project_rest(begun),
            None => self.attn.project(x.clone(), self.norm_before()),
        };
        let (y, evidence) = self.attn.attend(qkv, with, (layout, prefix), wants);
        (self.join_attention(y, x), evidence)
    }

    /// The attention half as one op, where it computes what this block does with this context.
    fn fused(&self, with: &Context, wants: Wants) -> Option<SelfAttentionWeights> {
        let plain = with.pair_bias.is_none() && with.mask == Mask::None && !self.attn.has_pair_bias();
        if !plain || self.order != Order::PreNorm || wants.attention() || with.begun.is_some() {
            return None;
        }
        Some(SelfAttentionWeights {
            norm: self.norm1.weights(),
            qkv: self.attn.qkv_weights(),
            qk_norm: self.attn.fused_qk_norm()?,
            heads: self.attn.heads(),
            inner_norm: self.attn.norm.as_ref().map(Norm::weights),
            proj: self.attn.proj.weights(),
            scale: self.scale(self.ls1.as_ref()),
        })
    }
}

/// What tokens are to be compared by, where that is not of a head.
struct Asked {
    of: Option<Metric>,
    entered: Option<Tensor<2>>,
}

impl Asked {
    /// Before attention.
    fn entering(wants: Wants, x: &Tensor<2>) -> Self {
        let of = wants.metric.map(|request| request.of);
        let entered = (of == Some(Metric::Entered)).then(|| x.clone().without_autodiff());
        Self { of, entered }
    }

    /// After it: the tokens as they entered or as they are now, or what heads have answered.
    fn metric(self, attended: &Tensor<2>, of_heads: Option<Tensor<2>>) -> Option<Tensor<2>> {
        match self.of {
            Some(Metric::Entered) => self.entered,
            Some(Metric::Attended) => Some(attended.clone().without_autodiff()),
            _ => of_heads,
        }
    }
}

impl EncoderBlock for Block {
    fn attend(&self, mut tokens: Tokens, with: &Context, wants: Wants) -> (Tokens, Evidence) {
        let asked = Asked::entering(wants, &tokens.x);
        let (x, mut evidence) = match self.fused(with, wants) {
            Some(weights) => {
                let with = SelfAttentionContext {
                    layout: &tokens.layout,
                    key_bias: with.key_bias.clone(),
                    rotation: with.rotation.clone(),
                    features: wants.metric.and_then(of_heads),
                };
                let (x, metric) = self_attention(tokens.x, weights, &with);
                (x, Evidence { metric, ..Evidence::default() })
            }
            None => self.attend_by_layers(tokens.x, with, (&tokens.layout, &tokens.prefix), wants),
        };
        evidence.metric = asked.metric(&x, evidence.metric);
        tokens.x = x;
        (tokens, evidence)
    }

    fn begin(&self, tokens: &Tokens, with: &Context) -> (Begun, Vec<f32>) {
        let x = tokens.x.clone();
        let input = match self.order {
            Order::PreNorm => self.norm1.forward(x),
            Order::ResidualPostNorm | Order::PostNorm => x,
        };
        self.attn.begin(input, &tokens.layout, with)
    }

    fn attend_merging(
        &self,
        tokens: Tokens,
        with: &Context,
        wants: Wants,
        reduce: &mut dyn FnMut(Tokens, Evidence) -> (Tokens, Option<Merging>),
    ) -> Tokens {
        let qkv = self.attn.project(tokens.x.clone(), self.norm_before());
        let queries = self.attn.query(qkv, with, &tokens.layout, wants);
        let (layout, x) = (tokens.layout.clone(), tokens.x.clone().without_autodiff());
        let evidence =
            Evidence { metric: Some(x), received: queries.received.clone(), ..Evidence::default() };
        let (mut tokens, merging) = reduce(tokens, evidence);
        let values = self.attn.project_values(tokens.x.clone(), self.norm_before());
        let y = self.attn.attend_merging(queries, values, merging.as_ref(), with, &layout);
        tokens.x = self.join_attention(y, tokens.x);
        tokens
    }

    fn attend_masked(&self, mut tokens: Tokens, with: &Context, wants: Wants) -> (Tokens, Evidence) {
        let entered = Asked::entering(wants, &tokens.x);
        let qkv = self.attn.project(tokens.x.clone(), self.norm_before());
        let (values, metric) = (self.attn.values_of(&qkv), self.attn.metric(&qkv, wants));
        let maps = tokens.masked(self.attn.softmaxes(qkv, with, &tokens.layout));
        let evidence = Evidence { metric, ..tokens.evidence(&maps, wants) };
        let y = self.attn.mix(maps, values, &tokens.layout);
        tokens.x = self.join_attention(y, tokens.x);
        let metric = entered.metric(&tokens.x, evidence.metric);
        (tokens, Evidence { metric, ..evidence })
    }

    fn softmaxes(&self, tokens: &Tokens, with: &Context) -> Vec<Tensor<3>> {
        let qkv = self.attn.project(tokens.x.clone(), self.norm_before());
        self.attn.softmaxes(qkv, with, &tokens.layout)
    }

    fn attend_prefix(&self, tokens: Tokens, with: &Context) -> Tokens {
        if with.pair_bias.is_some() || with.mask != Mask::None || self.attn.has_pair_bias() {
            return self.attend(tokens, with, Wants::default()).0.prefix_only();
        }
        let mut front = tokens.clone().prefix_only();
        let (of_front, of_all, norm) = match &with.begun {
            Some(Begun { input, .. }) => {
                (tokens.clone().with(input.clone()).prefix_only().x, input.clone(), None)
            }
            None => (front.x.clone(), tokens.x, self.norm_before()),
        };
        let layouts = [&front.layout, &tokens.layout];
        let y = self.attn.attend_prefix([of_front, of_all], layouts, norm, with);
        front.x = self.join_attention(y, front.x);
        front
    }

    fn feed_forward(&self, mut tokens: Tokens, training: Option<&mut Random>) -> (Tokens, Option<Tensor<1>>) {
        let joint = Joint { order: self.order, norm: &self.norm2, scale: self.scale(self.ls2.as_ref()) };
        let (x, auxiliary) = self.mlp.residual(tokens.x, joint, &tokens.layout, training);
        tokens.x = x;
        (tokens, auxiliary)
    }
}

#[cfg(test)]
mod tests;
