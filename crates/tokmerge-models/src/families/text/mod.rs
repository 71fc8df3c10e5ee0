//! Transformers of texts: BERT and its kin, whose answer is a vector; T5 and Marian, which write texts; the text towers of
//! CLIP and SigLIP.

mod arguments;
mod config;
mod decoder;
mod distance;

use crate::blocks::{Block, Context, EncoderBlock};
use crate::family::{Family, Heads};
use crate::heads::{average_from, normalised, prefix_rows, unit};
use crate::input::{Input, Texts};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData, s};
use std::sync::Arc;
use tokmerge_merge::{Layout, Positions, Readout, Tokens};
use tokmerge_nn::{Bias, Linear, Norm, normal_parameter};
use tokmerge_ops::{Activation, PairBias, PairRows, Precision, gather_rows, linear};

pub(crate) use arguments::SPELLING;
pub use config::{
    AnswerLength, Buckets, DecoderConfig, DecoderKind, Projection, TextConfig, TextPool, TextPositions,
};
pub use decoder::{Decoder, DecoderState};

/// A Transformer of texts.
#[derive(Module, Debug)]
pub struct Text {
    /// `[vocabulary, C]`.
    token_embed: Param<Tensor<2>>,
    /// `[room, C]`.
    pos_embed: Option<Param<Tensor<2>>>,
    /// `[types, C]`.
    type_embed: Option<Param<Tensor<2>>>,
    embed_norm: Option<Norm>,
    /// `[buckets, H]`.
    distance_bias: Option<Param<Tensor<2>>>,
    blocks: Vec<Block>,
    norm: Option<Norm>,
    pooler: Option<Linear>,
    proj: Option<Linear>,
    head: Option<Linear>,
    decoder: Option<Decoder>,
    #[module(skip)]
    config: TextConfig,
}

impl Text {
    pub(super) fn new(config: &TextConfig, precision: Precision, device: &Device) -> Self {
        let channels = config.block.channels;
        let inner = precision.for_rows_of(channels.max(config.block.mlp.hidden));
        let precision = precision.without_int8();
        let layer = |inputs, outputs, bias| Linear::new(inputs, outputs, bias, precision, device);
        let norm = || config.block.norm.layer(channels, device);
        let buckets = match config.positions {
            TextPositions::Buckets(buckets) => Some(buckets.buckets),
            TextPositions::Learned | TextPositions::Sinusoids => None,
        };
        let width = config.projection.map_or(channels, |projection| projection.width);
        Self {
            token_embed: normal_parameter([config.vocabulary, channels], device),
            pos_embed: (config.positions == TextPositions::Learned)
                .then(|| normal_parameter([config.room, channels], device)),
            type_embed: (config.token_types > 0)
                .then(|| normal_parameter([config.token_types, channels], device)),
            embed_norm: config.embedding_norm.then(norm),
            distance_bias: buckets.map(|buckets| normal_parameter([buckets, config.block.heads], device)),
            blocks: (0..config.depth).map(|_| Block::new(&config.block, inner, device)).collect(),
            norm: config.final_norm.then(norm),
            pooler: (config.pool == TextPool::Pooler).then(|| layer(channels, channels, Bias::Yes)),
            proj: config.projection.map(|to| layer(channels, to.width, Bias::when(to.bias))),
            head: (config.num_classes > 0).then(|| layer(width, config.num_classes, Bias::Yes)),
            decoder: config.decoder.map(|decoder| Decoder::new(config, decoder, inner, device)),
            config: config.clone(),
        }
    }

    /// The shape of this model.
    #[must_use]
    pub fn config(&self) -> &TextConfig {
        &self.config
    }

    /// Rows of the table of tokens, `[T, C]`, standing at places.
    pub(crate) fn embed(&self, ids: &Arc<[u32]>, places: &Arc<[u32]>) -> Tensor<2> {
        let table = self.token_embed.val();
        let x = gather_rows(table, ids) * self.config.embedding_scale;
        self.placed(x, places)
    }

    /// `x: [T, C]` with what is added for where its rows stand.
    fn placed(&self, x: Tensor<2>, places: &Arc<[u32]>) -> Tensor<2> {
        let (x, device) = match &self.pos_embed {
            Some(table) => (x + gather_rows(table.val(), places), None),
            None => {
                let device = x.device();
                (x, (self.config.positions == TextPositions::Sinusoids).then_some(device))
            }
        };
        let Some(device) = device else { return x };
        let [rows, channels] = x.dims();
        let sinusoids = places.iter().flat_map(|place| sines_then_cosines(*place, channels));
        x + Tensor::from_data(TensorData::new(sinusoids.collect::<Vec<f32>>(), [rows, channels]), &device)
    }

    /// The encoded tokens as a decoder attends to them, `[T, C]`, of what a pass has left.
    #[must_use]
    pub fn encoded(&self, tokens: &Tokens) -> Tensor<2> {
        normalised(tokens.x.clone(), self.norm.as_ref())
    }

    /// What writes texts, and the encoder whose table it shares.
    pub(crate) fn decoder(&self) -> Option<(&Decoder, &Self)> {
        self.decoder.as_ref().map(|decoder| (decoder, self))
    }
}

/// Positions of Marian: sines of all periods, then cosines.
fn sines_then_cosines(place: u32, channels: usize) -> impl Iterator<Item = f32> {
    let half = channels / 2;
    let step = 10_000_f64.ln() / (half.max(2) - 1) as f64;
    (0..channels).map(move |channel| {
        let angle = f64::from(place) * (-step * (channel % half.max(1)) as f64).exp();
        (if channel < half { angle.sin() } else { angle.cos() }) as f32
    })
}

impl Family for Text {
    fn stem(&self, input: Input) -> Tokens {
        let Input::Texts(texts) = input else { panic!("the model takes texts") };
        let is_learned = self.config.positions == TextPositions::Learned;
        texts.assert_known(self.config.vocabulary, is_learned.then_some(self.config.room));
        let places = texts.places();
        let Texts { ids, layout, .. } = texts;
        let mut x = self.embed(&ids.into(), &places);
        if let Some(types) = &self.type_embed {
            x = x + types.val().slice(s![0..1, ..]);
        }
        let x = normalised(x, self.embed_norm.as_ref());
        let tokens = Tokens::new(x, layout, 0);
        match self.config.positions {
            TextPositions::Buckets(_) => {
                let places = places.iter().map(|place| *place as f32).collect();
                tokens.with_positions(Positions::Sequence(places))
            }
            TextPositions::Learned | TextPositions::Sinusoids => tokens,
        }
    }

    fn depth(&self) -> usize {
        self.blocks.len()
    }

    fn block(&self, layer: usize) -> &dyn EncoderBlock {
        &self.blocks[layer]
    }

    fn context(&self, _: usize, tokens: &Tokens) -> Context {
        let pair_bias = match (&self.distance_bias, self.config.positions, &tokens.positions) {
            (Some(table), TextPositions::Buckets(buckets), Some(positions)) => {
                let rows = buckets.of_pairs(positions, &tokens.layout);
                Some(PairBias::Rows(PairRows { table: table.val(), rows }))
            }
            _ => None,
        };
        Context { pair_bias, mask: self.config.mask, ..Context::default() }
    }

    fn readout(&self) -> Readout {
        Readout::All
    }

    fn head(&self, tokens: &Tokens) -> Heads {
        let rows = |tokens: &Tokens, x: Tensor<2>| tokens.clone().with(x);
        let pooled = match self.config.pool {
            TextPool::Average => average_from(&rows(tokens, self.encoded(tokens)), 0),
            TextPool::Class | TextPool::Pooler => normalised(prefix_rows(tokens, 0), self.norm.as_ref()),
            TextPool::Last => normalised(last_rows(tokens), self.norm.as_ref()),
        };
        let pooled = match &self.pooler {
            Some(pooler) => linear(pooled, pooler.weights(), Activation::Tanh),
            None => pooled,
        };
        let pooled = match &self.proj {
            Some(proj) => proj.forward(pooled),
            None => pooled,
        };
        let pooled = match self.config.length {
            AnswerLength::Own => pooled,
            AnswerLength::Unit => unit(pooled),
        };
        Heads::classified(pooled, self.head.as_ref())
    }

    fn normed(&self, rows: Tensor<2>) -> Tensor<2> {
        normalised(rows, self.norm.as_ref())
    }
}

/// The last token of every item: `[B, C]`.
fn last_rows(tokens: &Tokens) -> Tensor<2> {
    let rows: Arc<[u32]> =
        (0..tokens.layout.items()).map(|item| tokens.layout.range(item).end as u32 - 1).collect();
    gather_rows(tokens.x.clone(), &rows)
}

/// Rows that all items of a batch have: one each.
fn one_each(items: usize) -> Layout {
    Layout::uniform(items, 1)
}
