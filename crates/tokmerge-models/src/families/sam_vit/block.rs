//! Attention within windows of a map, by distances in rows and in columns.

use crate::blocks::{BlockConfig, Context, EncoderBlock, QkvBias};
use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData, s};
use std::sync::Arc;
use tokmerge_merge::{Evidence, Tokens, Wants};
use tokmerge_nn::{Bias, LayerScale, Linear, Mlp, Norm, Random, zeros_parameter};
use tokmerge_ops::{Precision, gather_rows, linear_residual, mlp_residual};

/// Windows that cover a map of patches, side by side; the last ones reach beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Rows and columns of the map.
    pub grid: (usize, usize),
    /// Rows and columns of a window.
    pub sides: (usize, usize),
}

/// Whether attention looks at distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distances {
    /// Yes.
    Used,
    /// No.
    Unused,
}

impl Windows {
    /// Square windows of `side` patches; the whole map for `None`.
    #[must_use]
    pub fn new(grid: (usize, usize), side: Option<usize>) -> Self {
        Self { grid, sides: side.map_or(grid, |side| (side, side)) }
    }

    /// Places of a window.
    #[must_use]
    pub fn places(&self) -> usize {
        self.sides.0 * self.sides.1
    }

    /// Windows down and across.
    fn counts(&self) -> (usize, usize) {
        (self.grid.0.div_ceil(self.sides.0), self.grid.1.div_ceil(self.sides.1))
    }

    /// Places of all windows of a map.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.counts().0 * self.counts().1 * self.places()
    }

    /// The patch at every place of every window of a map; `None` beyond the map.
    fn patches(&self) -> Vec<Option<usize>> {
        let (down, across) = self.counts();
        let ((rows, columns), (height, width)) = (self.grid, self.sides);
        let mut patches = Vec::with_capacity(self.rows());
        for window in 0..down * across {
            for place in 0..self.places() {
                let row = window / across * height + place / width;
                let column = window % across * width + place % width;
                patches.push((row < rows && column < columns).then(|| row * columns + column));
            }
        }
        patches
    }
}

/// Attention of a [`WindowBlock`]. Field names are timm's.
#[derive(Module, Debug)]
pub struct WindowAttention {
    /// Queries, keys and values below each other.
    pub qkv: Linear,
    /// `[2 * rows - 1, D]`: what a query is multiplied with for a key so many rows further up.
    pub rel_pos_h: Option<Param<Tensor<2>>>,
    /// `[2 * columns - 1, D]`: the same for columns.
    pub rel_pos_w: Option<Param<Tensor<2>>>,
    /// Output projection.
    pub proj: Linear,
    #[module(skip)]
    windows: Windows,
    #[module(skip)]
    heads: usize,
}

/// A pre-norm block whose attention sees a window of the map. Field names are timm's.
#[derive(Module, Debug)]
pub struct WindowBlock {
    /// Before attention.
    pub norm1: Norm,
    /// Attention.
    pub attn: WindowAttention,
    /// On the attention's branch.
    pub ls1: Option<LayerScale>,
    /// Before the MLP.
    pub norm2: Norm,
    /// MLP.
    pub mlp: Mlp,
    /// On the MLP's branch.
    pub ls2: Option<LayerScale>,
}

impl WindowBlock {
    /// A random block; its MLP computes in the first precision, attention in the second.
    pub(super) fn new(
        config: &BlockConfig,
        windows: Windows,
        distances: Distances,
        [inner, precision]: [Precision; 2],
        device: &Device,
    ) -> Self {
        let BlockConfig { channels, heads, head_dim, mlp, .. } = *config;
        let norm = || config.norm.layer(channels, device);
        let scale = || config.layer_scale.map(|initial| LayerScale::new(channels, initial, device));
        let table = |side: usize| {
            (distances == Distances::Used).then(|| zeros_parameter([2 * side - 1, head_dim], device))
        };
        let bias = Bias::when(config.qkv_bias != QkvBias::No);
        let attn = WindowAttention {
            qkv: Linear::new(channels, 3 * channels, bias, precision, device),
            rel_pos_h: table(windows.sides.0),
            rel_pos_w: table(windows.sides.1),
            proj: Linear::new(channels, channels, Bias::Yes, precision, device),
            windows,
            heads,
        };
        let mlp = Mlp::new(channels, mlp.hidden, mlp.activation, inner, device);
        Self { norm1: norm(), attn, ls1: scale(), norm2: norm(), mlp, ls2: scale() }
    }
}

impl WindowAttention {
    /// `x: [B * N, C]`, normalised maps → what their patches attend to, `[B * N, C]`, before the output projection.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let [rows, channels] = x.dims();
        let map = self.windows.grid.0 * self.windows.grid.1;
        let items = rows / map;
        // Beyond the map windows see zeros, whose keys and values are the biases.
        let beyond = Tensor::zeros([1, channels], &x.device());
        let patches = self.windows.patches();
        let sources: Arc<[u32]> = (0..items)
            .flat_map(|item| patches.iter().map(move |patch| patch.map_or(rows, |patch| item * map + patch)))
            .map(|row| row as u32)
            .collect();
        let mut places = vec![0_u32; rows];
        for (place, &row) in sources.iter().enumerate().filter(|(_, row)| **row as usize != rows) {
            places[row as usize] = place as u32;
        }
        let qkv = self.qkv.forward(gather_rows(Tensor::cat(vec![x, beyond], 0), &sources));
        gather_rows(self.attend(qkv), &places.into())
    }

    /// `qkv: [W * P, 3 * C]`, windows below each other → `[W * P, C]`.
    fn attend(&self, qkv: Tensor<2>) -> Tensor<2> {
        let [rows, width] = qkv.dims();
        let (channels, places) = (width / 3, self.windows.places());
        let (windows, dim) = (rows / places, channels / self.heads);
        let scale = (dim as f64).powf(-0.5);
        let part = |part: usize, head: usize| {
            let from = part * channels + head * dim;
            qkv.clone().slice(s![.., from..from + dim]).reshape([windows, places, dim])
        };
        let head = |head: usize| {
            let [query, key, value] = [0, 1, 2].map(|which| part(which, head));
            let mut logits = query.clone().matmul(key.swap_dims(1, 2)) * scale;
            if let Some(bias) = self.distances(query) {
                logits = logits + bias;
            }
            softmax(logits, 2).matmul(value).reshape([rows, dim])
        };
        Tensor::cat((0..self.heads).map(head).collect(), 1)
    }

    /// What distances add to the logits of one head: `query: [W, P, D]` → `[W, P, P]`.
    fn distances(&self, query: Tensor<3>) -> Option<Tensor<3>> {
        let (table_h, table_w) = (self.rel_pos_h.as_ref()?.val(), self.rel_pos_w.as_ref()?.val());
        let [windows, places, dim] = query.dims();
        let (height, width) = self.windows.sides;
        let query = query.reshape([windows, height, width, dim]);
        // Rows of the map first, so that each has its own keys: [h, W * w, D] by [h, D, h].
        let by_row = query.clone().swap_dims(0, 1).reshape([height, windows * width, dim]);
        let by_row = by_row.matmul(distance_keys(table_h, height)).reshape([height, windows, width, height]);
        let by_row = by_row.swap_dims(0, 1).reshape([windows, places, height, 1]);
        let by_column = query.permute([2, 0, 1, 3]).reshape([width, windows * height, dim]);
        let by_column =
            by_column.matmul(distance_keys(table_w, width)).reshape([width, windows, height, width]);
        let by_column = by_column.permute([1, 2, 0, 3]).reshape([windows, places, 1, width]);
        let both = by_row.expand([windows, places, height, width]) + by_column;
        Some(both.reshape([windows, places, places]))
    }
}

/// `table: [2 * side - 1, D]` → `[side, D, side]`: for every line of queries what belongs to every line of keys.
fn distance_keys(table: Tensor<2>, side: usize) -> Tensor<3> {
    let [_, dim] = table.dims();
    let rows: Vec<i32> = (0..side * side).map(|pair| (pair / side + side - 1 - pair % side) as i32).collect();
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [side * side]), &table.device());
    table.select(0, rows).reshape([side, side, dim]).swap_dims(1, 2)
}

impl EncoderBlock for WindowBlock {
    /// Reports no evidence: nothing merges here.
    fn attend(&self, mut tokens: Tokens, _: &Context, _: Wants) -> (Tokens, Evidence) {
        let y = self.attn.forward(self.norm1.forward(tokens.x.clone()));
        let scale = self.ls1.as_ref().map(|scale| scale.gamma.val());
        tokens.x = linear_residual(y, self.attn.proj.weights(), scale, tokens.x);
        (tokens, Evidence::default())
    }

    fn feed_forward(&self, mut tokens: Tokens, _: Option<&mut Random>) -> (Tokens, Option<Tensor<1>>) {
        let scale = self.ls2.as_ref().map(|scale| scale.gamma.val());
        tokens.x = mlp_residual(tokens.x, self.norm2.weights(), self.mlp.weights(), scale);
        (tokens, None)
    }
}

#[cfg(test)]
mod tests {
    use super::Windows;

    #[test]
    fn windows_cover_the_map_and_reach_beyond_it() {
        let windows = Windows::new((3, 5), Some(2));
        let patches = windows.patches();
        assert_eq!(patches.len(), windows.rows());
        assert_eq!(patches[..4], [Some(0), Some(1), Some(5), Some(6)]);
        assert_eq!(patches[patches.len() - 4..], [Some(14), None, None, None]);
        let mut found: Vec<usize> = patches.into_iter().flatten().collect();
        found.sort_unstable();
        assert_eq!(found, (0..15).collect::<Vec<_>>());
        assert_eq!(Windows::new((3, 5), None).patches(), (0..15).map(Some).collect::<Vec<_>>());
    }
}
