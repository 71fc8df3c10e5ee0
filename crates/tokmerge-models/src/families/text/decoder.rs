//! What writes a text from an encoded one, token by token.

use super::distance::Direction;
use super::{DecoderConfig, DecoderKind, Text, TextConfig, one_each};
use crate::blocks::{Attention, BlockConfig, FeedForward, Memory, NormConfig, Order};
use crate::blocks::{Joint, normed_linear};
use crate::pass::DropRates;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData, activation::sigmoid, s};
use std::sync::Arc;
use tokmerge_merge::Layout;
use tokmerge_nn::{Bias, Linear, Norm, normal_parameter, transparent_module, zeros_parameter};
use tokmerge_ops::{
    Activation, AttentionSpec, LinearWeights, Mask, NormWeights, PairBias, PairRows, Precision, attention,
    cross_attention, gather_rows, linear, linear_residual, normalise,
};

/// Places of a decoder among those of which values are left out begin here: beyond those of any encoder's blocks.
const PLACES: usize = 1 << 20;

/// A decoder. It shares the table of tokens with the encoder before it.
#[derive(Module, Debug)]
pub struct Decoder {
    /// `[buckets, H]`.
    pub distance_bias: Option<Param<Tensor<2>>>,
    /// Blocks.
    pub blocks: Vec<DecoderBlock>,
    /// After the last block.
    pub norm: Option<Norm>,
    /// `[vocabulary, C]`, where outputs are not rows of the table of tokens.
    pub lm_head: Option<OutputTable>,
    /// `[vocabulary]`.
    pub out_bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    config: DecoderConfig,
    #[module(skip)]
    precision: Precision,
}

/// A table of outputs, `[vocabulary, C]`.
#[derive(Module, Debug)]
pub struct OutputTable {
    /// The rows.
    pub weight: Param<Tensor<2>>,
}

/// Looks at what was written, then at the encoded text, then feeds forward.
#[derive(Module, Debug)]
pub struct DecoderBlock {
    /// Of the first part.
    pub norm1: Norm,
    /// What looks at what was written.
    pub own: Own,
    /// Of the second part.
    pub norm2: Norm,
    /// Attention to the encoded text.
    pub cross: CrossAttention,
    /// Of the third part.
    pub norm3: Norm,
    /// MLP.
    pub mlp: FeedForward,
    #[module(skip)]
    order: Order,
}

/// What looks at what was written.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of a block")]
pub enum Own {
    /// Attention to earlier tokens.
    Attention(Attention),
    /// A state that goes from token to token.
    Ssru(Ssru),
}

transparent_module!(Own { Attention, Ssru });

/// `c = f c + (1 - f) W x` with `f = sigmoid(Wf x + bf)`; what comes out is `relu(c)`.
#[derive(Module, Debug)]
pub struct Ssru {
    /// `[C, C]`.
    pub input: Linear,
    /// `[C, C]`.
    pub forget: Linear,
}

/// Attention to the tokens of another sequence.
#[derive(Module, Debug)]
pub struct CrossAttention {
    /// Queries, `[H * D, C]`.
    pub q: Linear,
    /// Keys and values below each other, `[2 * H * D, C]`.
    pub kv: Linear,
    /// `[C, H * D]`.
    pub proj: Linear,
    #[module(skip)]
    block: CrossShape,
}

/// Heads of attention to another sequence.
#[derive(Clone, Copy, Debug)]
struct CrossShape {
    heads: tokmerge_ops::Heads,
    precision: Precision,
}

/// What a decoder remembers of the texts that it writes.
#[derive(Clone, Debug)]
pub struct DecoderState {
    /// Of every block.
    own: Vec<OwnState>,
    /// Keys and values of the encoded texts, `[T, 2 * H * D]`, of every block.
    memory: Vec<Tensor<2>>,
    layout: Layout,
    key_bias: Option<Arc<[f32]>>,
    /// Tokens that were written.
    step: usize,
}

#[derive(Clone, Debug)]
enum OwnState {
    /// Keys and values of earlier tokens, `[items * step, 2 * H * D]`.
    KeysValues(Option<Tensor<2>>),
    /// `[items, C]`.
    Cell(Tensor<2>),
}

impl Decoder {
    pub(super) fn new(
        text: &TextConfig,
        config: DecoderConfig,
        precision: Precision,
        device: &Device,
    ) -> Self {
        let (block, channels) = (&text.block, text.block.channels);
        let (buckets, attends) = match config.kind {
            DecoderKind::Attention(buckets) => (Some(buckets.buckets), true),
            DecoderKind::Ssru => (None, false),
        };
        let table = || normal_parameter([text.vocabulary, channels], device);
        Self {
            distance_bias: buckets.map(|buckets| normal_parameter([buckets, block.heads], device)),
            blocks: (0..config.depth).map(|_| DecoderBlock::new(block, attends, precision, device)).collect(),
            norm: text.final_norm.then(|| block.norm.layer(channels, device)),
            lm_head: config.own_outputs.then(|| OutputTable { weight: table() }),
            out_bias: (!attends).then(|| zeros_parameter([text.vocabulary], device)),
            config,
            precision: precision.without_int8(),
        }
    }

    /// Begin and end of what it writes.
    #[must_use]
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Before the first token of texts whose encoded sources are `memory`.
    #[must_use]
    pub fn begin(&self, memory: &Memory) -> DecoderState {
        let items = memory.layout.items();
        let (device, [_, channels]) = (memory.tokens.device(), memory.tokens.dims());
        let own = self.blocks.iter().map(|block| match &block.own {
            Own::Attention(_) => OwnState::KeysValues(None),
            Own::Ssru(_) => OwnState::Cell(Tensor::zeros([items, channels], &device)),
        });
        let keys_values = |block: &DecoderBlock| block.cross.kv.forward(memory.tokens.clone());
        DecoderState {
            own: own.collect(),
            memory: self.blocks.iter().map(keys_values).collect(),
            layout: memory.layout.clone(),
            key_bias: memory.key_bias.clone(),
            step: 0,
        }
    }

    /// The logits of the token that follows, `[items, vocabulary]`. `ids` are the last tokens of all texts, `None` before
    /// the first of a decoder that begins with nothing.
    ///
    /// # Panics
    /// When there are more or fewer than texts.
    #[must_use]
    pub fn step(&self, encoder: &Text, state: &mut DecoderState, ids: Option<&[u32]>) -> Tensor<2> {
        let items = state.layout.items();
        let places: Arc<[u32]> = vec![state.step as u32; items].into();
        let mut x = match ids {
            Some(ids) => {
                assert_eq!(ids.len(), items, "a token for every text");
                encoder.embed(&ids.into(), &places)
            }
            None => {
                let channels = encoder.config().block.channels;
                let nothing = Tensor::zeros([items, channels], &encoder.token_embed.device());
                encoder.placed(nothing, &places)
            }
        };
        let queries = one_each(items);
        let bias = self.bias_of_step(state.step);
        for (index, block) in self.blocks.iter().enumerate() {
            let before = block.norm_before(&block.norm1);
            let y = match (&block.own, &mut state.own[index]) {
                (Own::Attention(own), OwnState::KeysValues(cache)) => {
                    let qkv = own.project(x.clone(), before);
                    let width = qkv.dims()[1] / 3;
                    let new = qkv.clone().slice(s![.., width..]);
                    let all = match cache.take() {
                        None => new,
                        Some(earlier) => {
                            let steps = state.step;
                            let earlier = earlier.reshape([items, steps, 2 * width]);
                            let all = Tensor::cat(vec![earlier, new.reshape([items, 1, 2 * width])], 1);
                            all.reshape([items * (steps + 1), 2 * width])
                        }
                    };
                    *cache = Some(all.clone());
                    let keys = Layout::uniform(items, state.step + 1);
                    let pair_bias = bias.clone().map(PairBias::Shared);
                    let spec = AttentionSpec { pair_bias, ..AttentionSpec::new(own.heads(), &keys) };
                    let y = cross_attention(qkv.slice(s![.., ..width]), &queries, all, &spec);
                    block.join(y, own.proj.weights(), &block.norm1, x)
                }
                (Own::Ssru(own), OwnState::Cell(cell)) => {
                    let (next, out) = own.step(normed(x.clone(), before), cell.clone());
                    *cell = next;
                    block.join_plain(out, &block.norm1, x)
                }
                _ => unreachable!("a state is made for its decoder"),
            };
            let memory = (state.memory[index].clone(), &state.layout, state.key_bias.clone());
            x = block.feed_forward(block.look(y, &queries, memory), &queries);
        }
        state.step += 1;
        self.outputs(encoder, x)
    }

    /// The logits of what follows every token of texts, `[T, vocabulary]`: `ids: [T]` are the texts as they are written, each
    /// with what it begins with.
    #[must_use]
    pub fn forward(&self, encoder: &Text, ids: &[u32], layout: &Layout, memory: &Memory) -> Tensor<2> {
        self.run(encoder, ids, layout, memory, DropRates::default())
    }

    /// The same in training: with values left out of the embedded tokens and of what the parts of blocks add. Decoders of
    /// recurrent units lose none.
    #[must_use]
    pub(crate) fn run(
        &self,
        encoder: &Text,
        ids: &[u32],
        layout: &Layout,
        memory: &Memory,
        drop: DropRates,
    ) -> Tensor<2> {
        match self.config.kind {
            DecoderKind::Attention(buckets) => {
                let places: Arc<[u32]> = layout.lens().flat_map(|len| 0..len as u32).collect();
                let mut x = drop.drop_values(PLACES, encoder.embed(&ids.into(), &places));
                let pair_bias = self.distance_bias.as_ref().map(|table| {
                    let rows = layout.lens().flat_map(|len| {
                        (0..len * len).map(move |pair| ((pair % len) as i64) - (pair / len) as i64)
                    });
                    let rows = rows.map(|distance| buckets.of(distance, Direction::Back)).collect();
                    PairBias::Rows(PairRows { table: table.val(), rows })
                });
                for (index, block) in self.blocks.iter().enumerate() {
                    let place = PLACES + 1 + 3 * index;
                    let Own::Attention(own) = &block.own else { unreachable!("all blocks are of one kind") };
                    let qkv = own.project(x.clone(), block.norm_before(&block.norm1));
                    let plain = AttentionSpec::new(own.heads(), layout);
                    let spec = AttentionSpec { mask: Mask::Causal, pair_bias: pair_bias.clone(), ..plain };
                    let y = block.join(attention(qkv, &spec), own.proj.weights(), &block.norm1, x.clone());
                    x = drop.drop_added(place, x, y);
                    let keys_values = block.cross.kv.forward(memory.tokens.clone());
                    let memory = (keys_values, &memory.layout, memory.key_bias.clone());
                    let y = block.look(x.clone(), layout, memory);
                    x = drop.drop_added(place + 1, x, y);
                    let y = block.feed_forward(x.clone(), layout);
                    x = drop.drop_added(place + 2, x, y);
                }
                self.outputs(encoder, x)
            }
            DecoderKind::Ssru => self.forward_by_steps(encoder, ids, layout, memory),
        }
    }

    /// Token by token, as [`step`](Self::step) does it; texts that have ended go on with their last token, unread.
    fn forward_by_steps(&self, encoder: &Text, ids: &[u32], layout: &Layout, memory: &Memory) -> Tensor<2> {
        let mut state = self.begin(memory);
        let longest = layout.lens().max().unwrap_or(0);
        let at = |item: usize, step: usize| {
            let range = layout.range(item);
            ids[(range.start + step).min(range.end.saturating_sub(1))]
        };
        let items = layout.items();
        let mut steps = Vec::with_capacity(longest);
        for step in 0..longest {
            // The first of these texts is nothing.
            let now: Vec<u32> = (0..items).map(|item| at(item, step)).collect();
            let given = (step > 0 || self.config.start.is_some()).then_some(now.as_slice());
            steps.push(self.step(encoder, &mut state, given));
        }
        let rows: Arc<[u32]> = (0..items)
            .flat_map(|item| (0..layout.range(item).len()).map(move |step| (step * items + item) as u32))
            .collect();
        gather_rows(Tensor::cat(steps, 0), &rows)
    }

    /// `[H, 1, step + 1]`: by the distances of all tokens so far to the new one.
    fn bias_of_step(&self, step: usize) -> Option<Tensor<3>> {
        let (DecoderKind::Attention(buckets), Some(table)) = (self.config.kind, &self.distance_bias) else {
            return None;
        };
        let row = |key: usize| u32::from(buckets.of(key as i64 - step as i64, Direction::Back));
        let rows: Arc<[u32]> = (0..=step).map(row).collect();
        let heads = table.dims()[1];
        Some(gather_rows(table.val(), &rows).swap_dims(0, 1).reshape([heads, 1, step + 1]))
    }

    fn outputs(&self, encoder: &Text, x: Tensor<2>) -> Tensor<2> {
        let x = match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        let x = if self.config.output_scale == 1.0 { x } else { x * self.config.output_scale };
        let weight =
            self.lm_head.as_ref().map_or_else(|| encoder.token_embed.val(), |head| head.weight.val());
        let bias = self.out_bias.as_ref().map(Param::val);
        linear(x, LinearWeights { weight, bias, precision: self.precision }, Activation::Identity)
    }
}

impl DecoderBlock {
    fn new(config: &BlockConfig, attends: bool, precision: Precision, device: &Device) -> Self {
        let norm = || NormConfig::layer(config.norm, config.channels, device);
        let own = if attends {
            Own::Attention(Attention::new(config, precision, device))
        } else {
            Own::Ssru(Ssru::new(config.channels, precision, device))
        };
        Self {
            norm1: norm(),
            own,
            norm2: norm(),
            cross: CrossAttention::new(config, precision, device),
            norm3: norm(),
            mlp: FeedForward::new(config, precision, device),
            order: config.order,
        }
    }

    /// The norm that a part begins with.
    fn norm_before(&self, norm: &Norm) -> Option<NormWeights> {
        (self.order == Order::PreNorm).then(|| norm.weights())
    }

    /// What a part gives, through its last layer, joined with `x`.
    fn join(&self, y: Tensor<2>, last: LinearWeights, norm: &Norm, x: Tensor<2>) -> Tensor<2> {
        match self.order {
            Order::PreNorm => linear_residual(y, last, None, x),
            Order::ResidualPostNorm => x + norm.forward(linear(y, last, Activation::Identity)),
            Order::PostNorm => norm.forward(linear_residual(y, last, None, x)),
        }
    }

    /// The same without a last layer.
    fn join_plain(&self, y: Tensor<2>, norm: &Norm, x: Tensor<2>) -> Tensor<2> {
        match self.order {
            Order::PreNorm => x + y,
            Order::ResidualPostNorm => x + norm.forward(y),
            Order::PostNorm => norm.forward(x + y),
        }
    }

    /// Attention to the encoded text.
    fn look(
        &self,
        x: Tensor<2>,
        layout: &Layout,
        (keys_values, keys, key_bias): (Tensor<2>, &Layout, Option<Arc<[f32]>>),
    ) -> Tensor<2> {
        let CrossShape { heads, precision } = self.cross.block;
        let queries = normed_linear(x.clone(), self.norm_before(&self.norm2), self.cross.q.weights());
        let spec = AttentionSpec { key_bias, precision, ..AttentionSpec::new(heads, keys) };
        let y = cross_attention(queries, layout, keys_values, &spec);
        self.join(y, self.cross.proj.weights(), &self.norm2, x)
    }

    fn feed_forward(&self, x: Tensor<2>, layout: &Layout) -> Tensor<2> {
        let joint = Joint { order: self.order, norm: &self.norm3, scale: None };
        self.mlp.residual(x, joint, layout, None).0
    }
}

impl CrossAttention {
    fn new(config: &BlockConfig, precision: Precision, device: &Device) -> Self {
        let (channels, width) = (config.channels, config.heads * config.head_dim);
        let bias = || Bias::when(config.proj_bias);
        let scale = config.logit_scale.of(config.head_dim);
        let heads = tokmerge_ops::Heads { count: config.heads, dim: config.head_dim, scale };
        Self {
            q: Linear::new(channels, width, bias(), precision, device),
            kv: Linear::new(channels, 2 * width, bias(), precision, device),
            proj: Linear::new(width, channels, bias(), precision, device),
            block: CrossShape { heads, precision: precision.without_int8() },
        }
    }
}

impl Ssru {
    fn new(channels: usize, precision: Precision, device: &Device) -> Self {
        Self {
            input: Linear::new(channels, channels, Bias::No, precision, device),
            forget: Linear::new(channels, channels, Bias::Yes, precision, device),
        }
    }

    /// The next state and what comes out, both `[items, C]`.
    fn step(&self, x: Tensor<2>, cell: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let forget = sigmoid(self.forget.forward(x.clone()));
        let input = self.input.forward(x);
        let next = forget.clone() * cell + (forget.neg() + 1.0) * input;
        (next.clone(), next.clamp_min(0.0))
    }
}

fn normed(x: Tensor<2>, norm: Option<NormWeights>) -> Tensor<2> {
    match norm {
        Some(norm) => normalise(x, norm),
        None => x,
    }
}

impl DecoderState {
    /// Texts that are written.
    #[must_use]
    pub fn items(&self) -> usize {
        self.layout.items()
    }

    /// Some of the texts, each as often as it is listed, in this order.
    #[must_use]
    pub fn select(&self, items: &[usize]) -> Self {
        let device = self.memory.first().map(Tensor::device);
        let same = items.len() == self.items() && items.iter().enumerate().all(|(at, item)| at == *item);
        let Some(device) = device.filter(|_| !same) else { return self.clone() };
        let index = || {
            let rows: Vec<i32> = items.iter().map(|item| *item as i32).collect();
            Tensor::from_data(TensorData::new(rows, [items.len()]), &device)
        };
        let own = self.own.iter().map(|own| match own {
            OwnState::Cell(cell) => OwnState::Cell(cell.clone().select(0, index())),
            OwnState::KeysValues(None) => OwnState::KeysValues(None),
            OwnState::KeysValues(Some(cache)) => {
                let [rows, width] = cache.dims();
                let steps = rows / self.items().max(1);
                let each = cache.clone().reshape([self.items(), steps * width]).select(0, index());
                OwnState::KeysValues(Some(each.reshape([items.len() * steps, width])))
            }
        });
        let rows: Arc<[u32]> =
            items.iter().flat_map(|item| self.layout.range(*item)).map(|row| row as u32).collect();
        let lens: Vec<usize> = items.iter().map(|item| self.layout.range(*item).len()).collect();
        Self {
            own: own.collect(),
            memory: self.memory.iter().map(|memory| gather_rows(memory.clone(), &rows)).collect(),
            layout: Layout::from_lens(&lens),
            key_bias: self.key_bias.as_ref().map(|bias| rows.iter().map(|row| bias[*row as usize]).collect()),
            step: self.step,
        }
    }
}
