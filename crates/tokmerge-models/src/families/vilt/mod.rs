//! ViLT (Kim, Son and Kim, 2021): one encoder over the words of a question and the patches of a picture, and a classifier of
//! answers.
//!
//! An item is its question, the image's class token and the patches, row by row. Question and class token never merge.
//! Positions of patches are resampled from the stored grid to that of every picture, with aligned corners.

mod arguments;
mod config;

use crate::blocks::{Block, EncoderBlock};
use crate::family::{Family, FamilyConfig, Heads};
use crate::heads::{normalised, prefix_rows};
use crate::input::{Input, Texts};
use crate::positions::{Resampling, resampling_weights};
use crate::stems::PatchEmbed;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData, s};
use std::collections::HashMap;
use std::sync::Arc;
use tokmerge_merge::{Layout, Prefix, Readout, Tokens};
use tokmerge_nn::{Bias, Linear, Norm, normal_parameter};
use tokmerge_ops::{Activation, Precision, gather_rows, linear};

pub(crate) use arguments::SPELLING;
pub use config::ViltConfig;

/// The epsilon of the norm in the classifier, whatever the blocks have.
const HEAD_NORM_EPS: f64 = 1e-5;

/// A Transformer of questions about pictures.
#[derive(Module, Debug)]
pub struct Vilt {
    /// `[vocabulary, C]`.
    token_embed: Param<Tensor<2>>,
    /// `[room, C]`: positions of words.
    text_pos_embed: Param<Tensor<2>>,
    /// `[types, C]`: all words are of the first type.
    type_embed: Param<Tensor<2>>,
    embed_norm: Norm,
    patch_embed: PatchEmbed,
    cls_token: Param<Tensor<3>>,
    /// `[1, 1 + N, C]`: of the class token, and of the stored grid.
    pos_embed: Param<Tensor<3>>,
    /// `[2, C]`: added to all words, and to all that is of the picture.
    modality_embed: Param<Tensor<2>>,
    blocks: Vec<Block>,
    norm: Norm,
    pooler: Linear,
    head_fc: Option<Linear>,
    head_norm: Option<Norm>,
    head: Option<Linear>,
    #[module(skip)]
    config: ViltConfig,
}

impl Vilt {
    fn new(config: &ViltConfig, precision: Precision, device: &Device) -> Self {
        let channels = config.block.channels;
        let inner = precision.for_rows_of(channels.max(config.block.mlp.hidden));
        let precision = precision.without_int8();
        let layer = |inputs, outputs| Linear::new(inputs, outputs, Bias::Yes, precision, device);
        let norm = || config.block.norm.layer(channels, device);
        let (rows, columns) = config.stored_grid();
        let patch = (config.patch_size, config.patch_size);
        let answers = (config.num_classes > 0).then_some(config.num_classes);
        Self {
            token_embed: normal_parameter([config.vocabulary, channels], device),
            text_pos_embed: normal_parameter([config.room, channels], device),
            type_embed: normal_parameter([config.token_types, channels], device),
            embed_norm: norm(),
            patch_embed: PatchEmbed::new(config.in_chans, patch, channels, Bias::Yes, precision, device),
            cls_token: normal_parameter([1, 1, channels], device),
            pos_embed: normal_parameter([1, 1 + rows * columns, channels], device),
            modality_embed: normal_parameter([2, channels], device),
            blocks: (0..config.depth).map(|_| Block::new(&config.block, inner, device)).collect(),
            norm: norm(),
            pooler: layer(channels, channels),
            head_fc: answers.map(|_| layer(channels, 2 * channels)),
            head_norm: answers.map(|_| Norm::layer(2 * channels, HEAD_NORM_EPS, device)),
            head: answers.map(|answers| layer(2 * channels, answers)),
            config: config.clone(),
        }
    }

    /// The shape of this model.
    #[must_use]
    pub fn config(&self) -> &ViltConfig {
        &self.config
    }

    /// The tokens that a pass has left, normalised, `[T, C]`: transformers' `last_hidden_state`.
    #[must_use]
    pub fn encoded(&self, tokens: &Tokens) -> Tensor<2> {
        self.norm.forward(tokens.x.clone())
    }

    /// `[T, C]`: the words of all questions.
    fn embed_words(&self, texts: Texts) -> Tensor<2> {
        texts.assert_known(self.config.vocabulary, Some(self.config.room));
        let places = texts.places();
        let x = gather_rows(self.token_embed.val(), &texts.ids.into())
            + gather_rows(self.text_pos_embed.val(), &places)
            + self.type_embed.val().slice(s![0..1, ..]);
        self.embed_norm.forward(x) + self.modality_embed.val().slice(s![0..1, ..])
    }

    /// `[1 + N, C]`: the class token, and below it the patches of all pictures.
    fn embed_pictures(&self, pixels: Tensor<2>, grids: &[(usize, usize)]) -> Tensor<2> {
        let positions: Tensor<2> = self.pos_embed.val().squeeze_dim(0);
        let class = self.cls_token.val().squeeze_dim::<2>(0) + positions.clone().slice(s![..1, ..]);
        let positions = self.positions_on(positions.slice(s![1.., ..]), grids);
        let patches = self.patch_embed.project(pixels);
        let x =
            Tensor::cat([Some(class), positions.map(|at| patches + at)].into_iter().flatten().collect(), 0);
        x + self.modality_embed.val().slice(s![1..2, ..])
    }

    /// `stored: [N', C]` on the grids of all pictures, below each other; `None` if there are none.
    fn positions_on(&self, stored: Tensor<2>, grids: &[(usize, usize)]) -> Option<Tensor<2>> {
        let from = self.config.stored_grid();
        let mut known: HashMap<(usize, usize), Tensor<2>> = HashMap::new();
        let each = grids.iter().map(|&grid| {
            let on = known.entry(grid).or_insert_with(|| {
                if grid == from {
                    return stored.clone();
                }
                let weights = resampling_weights(Resampling::BilinearAlignedCorners, from, grid);
                let weights = TensorData::new(weights, [grid.0 * grid.1, from.0 * from.1]);
                Tensor::from_data(weights, &stored.device()).matmul(stored.clone())
            });
            on.clone()
        });
        let each: Vec<Tensor<2>> = each.collect();
        (!each.is_empty()).then(|| Tensor::cat(each, 0))
    }
}

/// Rows of words (`[T, C]`), the class token and patches (`[1 + N, C]`) below each other → where the tokens of every item
/// stand among them: its question, the class token, its patches.
fn interleaved(texts: &Layout, grids: &[(usize, usize)]) -> (Arc<[u32]>, Layout) {
    let class = texts.rows() as u32;
    let (mut rows, mut lens, mut patch) = (Vec::new(), Vec::new(), class + 1);
    for (item, (tall, wide)) in grids.iter().enumerate() {
        let patches = (tall * wide) as u32;
        rows.extend(texts.range(item).map(|row| row as u32));
        rows.push(class);
        rows.extend(patch..patch + patches);
        patch += patches;
        lens.push(texts.range(item).len() + 1 + patches as usize);
    }
    (rows.into(), Layout::from_lens(&lens))
}

impl Family for Vilt {
    fn stem(&self, input: Input) -> Tokens {
        let Input::Questions { pixels, grids, texts } = input else {
            panic!("the model takes questions about pictures")
        };
        assert_eq!(texts.layout.items(), grids.len(), "a question about every picture");
        let (rows, layout) = interleaved(&texts.layout, &grids);
        let text: Arc<[usize]> = texts.layout.lens().collect();
        let all = Tensor::cat(vec![self.embed_words(texts), self.embed_pictures(pixels, &grids)], 0);
        Tokens::new(gather_rows(all, &rows), layout, Prefix::AfterText { text, own: 1 })
    }

    fn depth(&self) -> usize {
        self.blocks.len()
    }

    fn block(&self, layer: usize) -> &dyn EncoderBlock {
        &self.blocks[layer]
    }

    fn readout(&self) -> Readout {
        self.config.facts().readout
    }

    fn head(&self, tokens: &Tokens) -> Heads {
        let class = self.norm.forward(prefix_rows(tokens, 0));
        let pooled = linear(class, self.pooler.weights(), Activation::Tanh);
        let hidden = match &self.head_fc {
            Some(layer) => layer.forward(pooled.clone()),
            None => return Heads { logits: pooled.clone(), pooled },
        };
        let hidden = burn::tensor::activation::gelu(normalised(hidden, self.head_norm.as_ref()));
        let Heads { logits, .. } = Heads::classified(hidden, self.head.as_ref());
        Heads { pooled, logits }
    }

    fn normed(&self, rows: Tensor<2>) -> Tensor<2> {
        self.norm.forward(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_its_question_the_class_token_and_its_patches() {
        let texts = Layout::from_lens(&[2, 1]);
        let (rows, layout) = interleaved(&texts, &[(1, 2), (1, 1)]);
        assert_eq!(rows.as_ref(), [0, 1, 3, 4, 5, 2, 3, 6]);
        assert_eq!(layout, Layout::from_lens(&[5, 3]));
    }
}
