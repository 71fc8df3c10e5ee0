//! Images to tokens in two stages in which overlapping neighbours become one token after attending to all (T2T-ViT).

use burn::module::Module;
use burn::tensor::{Device, Tensor, s};
use tokmerge_merge::Layout;
use tokmerge_nn::{Bias, Linear, Mlp, Norm};
use tokmerge_ops::{
    Activation, AttentionSpec, Heads, Maps, Precision, Window, attention, linear_residual, mlp_residual,
    norm_linear,
};

/// How tokens are cut: of the image, and after each stage.
pub(crate) const SOFT_SPLITS: [Window; 3] = [
    Window { size: 7, stride: 4, padding: 2 },
    Window { size: 3, stride: 2, padding: 1 },
    Window { size: 3, stride: 2, padding: 1 },
];

/// Rows and columns of tokens after each soft split of an image.
pub(crate) fn grids((height, width): (usize, usize)) -> [(usize, usize); 3] {
    let mut grid = (height, width);
    SOFT_SPLITS.map(|window| {
        grid = (window.places(grid.0), window.places(grid.1));
        grid
    })
}

/// Width of a token after each soft split.
pub(crate) fn widths(in_chans: usize, token_dim: usize) -> [usize; 3] {
    let channels = [in_chans, token_dim, token_dim];
    std::array::from_fn(|stage| channels[stage] * SOFT_SPLITS[stage].size * SOFT_SPLITS[stage].size)
}

/// Soft split, token transformer, soft split, token transformer, soft split, projection. Nothing merges in here.
#[derive(Module, Debug)]
pub struct TokensToToken {
    /// Over the windows of the image.
    pub attention1: TokenTransformer,
    /// Over the windows of what `attention1` gives.
    pub attention2: TokenTransformer,
    /// `[C, 9 * token_dim]`.
    pub project: Linear,
}

impl TokensToToken {
    /// Random until weights are loaded.
    pub(crate) fn new(
        in_chans: usize,
        token_dim: usize,
        channels: usize,
        norm_eps: f64,
        precision: Precision,
        device: &Device,
    ) -> Self {
        let [first, second, last] = widths(in_chans, token_dim);
        let stage = |width| TokenTransformer::new(width, token_dim, norm_eps, precision, device);
        Self {
            attention1: stage(first),
            attention2: stage(second),
            project: Linear::new(last, channels, Bias::Yes, precision, device),
        }
    }

    /// `images: [B, channels, height, width]` → `[B * N, C]`, tokens row by row.
    #[must_use]
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let [_, _, last] = SOFT_SPLITS;
        let [_, second] = self.stages(images);
        self.project.forward(second.unfold(last))
    }

    /// What the two token transformers give: `[B * N', token_dim]` each.
    #[must_use]
    pub fn stages(&self, images: Tensor<4>) -> [Maps; 2] {
        let [items, ..] = images.dims();
        let [first, second, _] = SOFT_SPLITS;
        let stage = |transformer: &TokenTransformer, maps: Maps, window: Window| {
            let (height, width) = maps.size();
            let size = (window.places(height), window.places(width));
            let layout = Layout::uniform(items, size.0 * size.1);
            Maps::Rows { x: transformer.forward(maps.unfold(window), &layout), size }
        };
        let first = stage(&self.attention1, Maps::Images(images), first);
        [first.clone(), stage(&self.attention2, first, second)]
    }
}

/// A block that makes wide tokens narrow: there is no residual around its attention but that of the values.
#[derive(Module, Debug)]
pub struct TokenTransformer {
    /// Before attention, over the wide tokens.
    pub norm1: Norm,
    /// Attention.
    pub attn: TokenAttention,
    /// Before the MLP.
    pub norm2: Norm,
    /// As many hidden channels as outputs.
    pub mlp: Mlp,
}

/// Attention of one head whose values have fewer channels than its inputs.
#[derive(Module, Debug)]
pub struct TokenAttention {
    /// `[3 * token_dim, width]`.
    pub qkv: Linear,
    /// `[token_dim, token_dim]`.
    pub proj: Linear,
    #[module(skip)]
    precision: Precision,
}

impl TokenTransformer {
    fn new(width: usize, token_dim: usize, norm_eps: f64, precision: Precision, device: &Device) -> Self {
        let norm = |width| Norm::layer(width, norm_eps, device);
        Self {
            norm1: norm(width),
            attn: TokenAttention {
                qkv: Linear::new(width, 3 * token_dim, Bias::No, precision, device),
                proj: Linear::new(token_dim, token_dim, Bias::Yes, precision, device),
                precision,
            },
            norm2: norm(token_dim),
            mlp: Mlp::new(token_dim, token_dim, Activation::Gelu, precision, device),
        }
    }

    /// `windows: [T, width]` → `[T, token_dim]`.
    fn forward(&self, windows: Tensor<2>, layout: &Layout) -> Tensor<2> {
        let [_, width] = windows.dims();
        let TokenAttention { qkv, proj, precision } = &self.attn;
        let [token_dim, _] = proj.weight.dims();
        // By the width of what comes in, not by that of a head.
        let heads = Heads { count: 1, dim: token_dim, scale: (width as f64).powf(-0.5) as f32 };
        let qkv = norm_linear(windows, self.norm1.weights(), qkv.weights(), Activation::Identity);
        let values = qkv.clone().slice(s![.., 2 * token_dim..]);
        let y = attention(qkv, &AttentionSpec { precision: *precision, ..AttentionSpec::new(heads, layout) });
        let x = linear_residual(y, proj.weights(), None, values);
        mlp_residual(x, self.norm2.weights(), self.mlp.weights(), None)
    }
}
