//! The shape of a Transformer of texts.

use super::Text;
use crate::blocks::{BlockConfig, Gate, LogitScale, MlpConfig, NormConfig, NormKind, Order, QkvBias};
use crate::families::encoder;
use crate::family::{FamilyConfig, ImageSizeError, Shape, ShapeOverrides};
use crate::flops::{BlockCost, Cost, HeadCost, Work};
use crate::input::InputShape;
use burn::tensor::Device;
use tokmerge_merge::{KeyBias, Leading, ModelFacts, PositionUse, Readout, Softmax, TokenKind, Training};
use tokmerge_ops::{Activation, Mask, Precision};

/// The shape of a Transformer of texts: an encoder, and a decoder behind it where there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    /// Rows of the table of tokens.
    pub vocabulary: usize,
    /// What rows of the table are multiplied by.
    pub embedding_scale: f64,
    /// Where tokens stand.
    pub positions: TextPositions,
    /// Tokens of a text at most: positions that are learned, or what nobody goes beyond.
    pub room: usize,
    /// Kinds of texts that a token may be of, of which all are the first; 0 for none.
    pub token_types: usize,
    /// Whether a norm stands before the first block.
    pub embedding_norm: bool,
    /// Blocks (`L`).
    pub depth: usize,
    /// The shape of every block.
    pub block: BlockConfig,
    /// Which tokens a token attends to.
    pub mask: Mask,
    /// Whether a norm stands after the last block.
    pub final_norm: bool,
    /// What the answer is read off.
    pub pool: TextPool,
    /// Channels of the answer and whether it has a bias, where it is projected.
    pub projection: Option<Projection>,
    /// Whether the answer is brought to length 1.
    pub length: AnswerLength,
    /// Outputs of the classifier; 0 without one.
    pub num_classes: usize,
    /// What writes texts from the encoded one.
    pub decoder: Option<DecoderConfig>,
}

/// Where tokens stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPositions {
    /// A learned vector per place is added.
    Learned,
    /// Sines, then cosines of a place are added (Marian).
    Sinusoids,
    /// Blocks look at distances, in buckets that grow with them (T5).
    Buckets(Buckets),
}

/// Distances in buckets: one each for the first half of a direction's, then ever more, the last from `distance` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// Of both directions.
    pub buckets: usize,
    /// The last bucket begins here.
    pub distance: usize,
}

/// What the answer is read off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPool {
    /// The mean of all tokens, each weighted by its size.
    Average,
    /// The class token.
    Class,
    /// The class token, through a layer and tanh (BERT).
    Pooler,
    /// The last token (CLIP's end of the text, SigLIP's last place).
    Last,
}

/// A layer behind the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Projection {
    /// Channels.
    pub width: usize,
    /// Whether it has a bias.
    pub bias: bool,
}

/// How long the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerLength {
    /// As it comes.
    Own,
    /// 1: sentence vectors, which are compared by their cosine.
    Unit,
}

/// What writes texts from an encoded one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecoderConfig {
    /// What stands in place of self-attention, and with it the kind of block.
    pub kind: DecoderKind,
    /// Blocks.
    pub depth: usize,
    /// Whether the outputs have a table of their own; the table of tokens otherwise.
    pub own_outputs: bool,
    /// What outputs are multiplied by.
    pub output_scale: f64,
    /// The token that every text begins with; none begins with nothing (Marian).
    pub start: Option<u32>,
    /// The token that ends a text.
    pub end: u32,
}

/// Kinds of decoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecoderKind {
    /// Blocks as the encoder's, with attention to earlier tokens by distance and to the encoded text (T5).
    Attention(Buckets),
    /// A simple recurrent unit, then attention to the encoded text (Marian's SSRU; Kim et al., 2019).
    Ssru,
}

impl TextConfig {
    /// An encoder as BERT has it, whose answer is the mean of its tokens.
    #[must_use]
    pub fn bert(vocabulary: usize, channels: usize, depth: usize, heads: usize) -> Self {
        let norm = NormConfig { kind: NormKind::Layer, eps: 1e-12 };
        let block = BlockConfig { order: Order::PostNorm, norm, ..BlockConfig::new(channels, heads) };
        Self {
            vocabulary,
            embedding_scale: 1.0,
            positions: TextPositions::Learned,
            room: 512,
            token_types: 2,
            embedding_norm: true,
            depth,
            block,
            mask: Mask::None,
            final_norm: false,
            pool: TextPool::Average,
            projection: None,
            length: AnswerLength::Own,
            num_classes: 0,
            decoder: None,
        }
    }

    /// T5 1.1, encoder and decoder of as many blocks.
    #[must_use]
    pub fn t5(
        vocabulary: usize,
        channels: usize,
        depth: usize,
        heads: usize,
        head_dim: usize,
        hidden: usize,
    ) -> Self {
        let buckets = Buckets { buckets: 32, distance: 128 };
        let block = BlockConfig {
            head_dim,
            norm: NormConfig { kind: NormKind::Rms, eps: 1e-6 },
            qkv_bias: QkvBias::No,
            logit_scale: LogitScale::One,
            proj_bias: false,
            mlp: MlpConfig {
                hidden,
                activation: Activation::GeluTanh,
                gate: Gate::First,
                norm: false,
                bias: false,
            },
            ..BlockConfig::new(channels, heads)
        };
        Self {
            positions: TextPositions::Buckets(buckets),
            room: 4096,
            token_types: 0,
            embedding_norm: false,
            block,
            final_norm: true,
            decoder: Some(DecoderConfig {
                kind: DecoderKind::Attention(buckets),
                depth,
                own_outputs: true,
                output_scale: 1.0,
                start: Some(0),
                end: 1,
            }),
            ..Self::bert(vocabulary, channels, depth, heads)
        }
    }

    /// The text tower of a model of images and texts, read off its last token (CLIP, SigLIP): causal in CLIP alone.
    #[must_use]
    pub fn tower(vocabulary: usize, channels: usize, depth: usize, heads: usize, room: usize) -> Self {
        Self {
            room,
            token_types: 0,
            embedding_norm: false,
            block: BlockConfig::new(channels, heads),
            final_norm: true,
            pool: TextPool::Last,
            ..Self::bert(vocabulary, channels, depth, heads)
        }
    }

    /// Marian's student models: a post-norm encoder, a decoder of recurrent units.
    #[must_use]
    pub fn marian(
        vocabulary: usize,
        channels: usize,
        depth: usize,
        heads: usize,
        hidden: usize,
        decoder: usize,
    ) -> Self {
        let bert = Self::bert(vocabulary, channels, depth, heads);
        let mlp = MlpConfig { hidden, activation: Activation::Relu, ..bert.block.mlp };
        let norm = NormConfig { kind: NormKind::Layer, eps: 1e-9 };
        Self {
            embedding_scale: (channels as f64).sqrt(),
            positions: TextPositions::Sinusoids,
            room: 4096,
            token_types: 0,
            embedding_norm: false,
            block: BlockConfig { norm, mlp, ..bert.block.clone() },
            decoder: Some(DecoderConfig {
                kind: DecoderKind::Ssru,
                depth: decoder,
                own_outputs: false,
                output_scale: 1.0,
                start: None,
                end: 0,
            }),
            ..bert
        }
    }

    /// What writing a text of `written` tokens costs behind an encoder that leaves `memory`, all tokens at once; `None`
    /// without a decoder. Attention to earlier tokens is counted as if to all, as the papers' peers count it.
    #[must_use]
    pub fn writing_cost(&self, memory: usize, written: usize) -> Option<Work> {
        let decoder = self.decoder?;
        let BlockCost { attend, pair_macs, feed, feed_norm, .. } = BlockCost::of(&self.block);
        let (channels, width) = (self.block.channels as f64, (self.block.heads * self.block.head_dim) as f64);
        let (memory, written) = (memory as f64, written as f64);
        let own = match decoder.kind {
            DecoderKind::Attention(_) => attend * written + Work::macs(pair_macs * written * written),
            DecoderKind::Ssru => (Work::macs(2.0 * channels * channels) + Work::norm(channels)) * written,
        };
        let queries = Work::macs(2.0 * channels * width * written) + Work::norm(channels * written);
        let keys_values = Work::macs(2.0 * channels * width * memory + pair_macs * written * memory);
        let block = own + queries + keys_values + (feed + feed_norm) * written;
        let norm = if self.final_norm { Work::norm(channels * written) } else { Work::default() };
        let outputs = Work::macs(channels * self.vocabulary as f64 * written);
        Some(block * decoder.depth as f64 + norm + outputs)
    }

    /// Tokens that a tokenizer adds to a text.
    fn added(&self) -> usize {
        if self.token_types > 0 { 2 } else { 1 }
    }
}

impl FamilyConfig for TextConfig {
    type Model = Text;

    fn facts(&self) -> ModelFacts {
        let positions = match (self.pool, self.positions) {
            (TextPool::Last, _) => PositionUse::Fixed(
                "its answer is read off the last token, and each token attends to its place among the others",
            ),
            (_, TextPositions::Buckets(_)) => PositionUse::Followed,
            (_, TextPositions::Learned | TextPositions::Sinusoids) => PositionUse::Free,
        };
        ModelFacts {
            depth: self.depth,
            tokens: self.room.min(tokmerge_data::text::MAX_TOKENS),
            prefix: self.added(),
            grid: None,
            leading: Leading::Other,
            softmax: Softmax::Open,
            key_bias: KeyBias::LogSize,
            trained_key_bias: KeyBias::LogSize,
            training: Training::WithoutMerging,
            readout: Readout::All,
            positions,
            tokens_are: TokenKind::Words,
            joining: None,
        }
    }

    fn shape(&self) -> Shape {
        Shape {
            input: InputShape::Text { vocabulary: self.vocabulary, most: self.facts().tokens },
            grid: None,
            steps: 1,
            channels: self.block.channels,
            heads: self.block.heads,
            head_dim: self.block.head_dim,
            mlp_hidden: self.block.mlp.hidden,
            patch: (1, 1),
            patch_stride: (1, 1),
            embedding: self.projection.map_or(self.block.channels, |projection| projection.width),
            classes: self.num_classes,
        }
    }

    fn cost(&self) -> Cost {
        let channels = self.block.channels as f64;
        let mut per_item = Work::default();
        if self.pool == TextPool::Pooler {
            per_item += Work::macs(channels * channels);
        }
        if let Some(projection) = self.projection {
            per_item += Work::macs(channels * projection.width as f64);
        }
        per_item += Work::macs(self.shape().embedding as f64 * self.num_classes as f64);
        Cost {
            stem: Work::default(),
            blocks: vec![BlockCost::of(&self.block); self.depth],
            head: HeadCost { outputs: self.num_classes as f64, per_item, ..HeadCost::default() },
            experts: None,
            prefix: self.added(),
            joining: None,
        }
    }

    fn check(&self) -> Result<(), String> {
        let BlockConfig { channels, heads, head_dim, mlp, .. } = &self.block;
        let sizes = [*channels, *heads, *head_dim, mlp.hidden, self.depth, self.vocabulary, self.room];
        if sizes.contains(&0) {
            return Err("a size of the model is 0, and all must be at least 1".to_owned());
        }
        const MOST_TOKENS: usize = 1 << 24;
        if self.vocabulary > MOST_TOKENS {
            let rows = self.vocabulary;
            return Err(format!(
                "a vocabulary of {rows} is beyond that of any model; at most {MOST_TOKENS} is taken"
            ));
        }
        let buckets = match (self.positions, self.decoder.map(|decoder| decoder.kind)) {
            (TextPositions::Buckets(own), Some(DecoderKind::Attention(other))) => vec![own, other],
            (TextPositions::Buckets(own), _) | (_, Some(DecoderKind::Attention(own))) => vec![own],
            _ => Vec::new(),
        };
        match buckets
            .iter()
            .find(|found| !(4..=256).contains(&found.buckets) || found.distance <= found.buckets / 2)
        {
            Some(Buckets { buckets, distance }) => Err(format!(
                "{buckets} buckets of distances up to {distance}; there must be 4 to 256, and the distance beyond half of them"
            )),
            None => Ok(()),
        }
    }

    fn init(&self, precision: Precision, device: &Device) -> Text {
        Text::new(self, precision, device)
    }

    fn with_img_size(self, (height, width): (usize, usize)) -> Result<Self, ImageSizeError> {
        Err(ImageSizeError::of_texts(height, width))
    }

    fn with_num_classes(self, num_classes: usize) -> Self {
        Self { num_classes, ..self }
    }

    fn examples() -> Vec<Self> {
        let bert = || {
            let mut bert = Self { room: 15, num_classes: 7, ..Self::bert(11, 24, 4, 3) };
            bert.block.mlp.hidden = 40;
            bert
        };
        let t5 = || {
            let mut t5 = Self { room: 15, num_classes: 7, ..Self::t5(11, 24, 4, 3, 10, 40) };
            let buckets = Buckets { buckets: 6, distance: 9 };
            t5.positions = TextPositions::Buckets(buckets);
            t5.decoder = t5.decoder.map(|decoder| DecoderConfig {
                kind: DecoderKind::Attention(buckets),
                depth: 2,
                ..decoder
            });
            t5
        };
        let mut marian = Self { room: 15, num_classes: 7, ..Self::marian(11, 24, 4, 3, 40, 2) };
        // Its own has kinks, at which no gradient is that of a difference.
        marian.block.mlp.activation = Activation::Gelu;
        vec![
            bert(),
            Self { pool: TextPool::Pooler, ..bert() },
            Self { length: AnswerLength::Unit, ..bert() },
            t5(),
            marian,
            Self {
                mask: Mask::Causal,
                pool: TextPool::Last,
                final_norm: true,
                projection: Some(Projection { width: 10, bias: false }),
                ..bert()
            },
        ]
    }

    fn with_overrides(mut self, overrides: &ShapeOverrides) -> Result<Self, String> {
        if overrides.pool.is_some() || overrides.class_token.is_some() || overrides.patch_size.is_some() {
            return Err("a model of texts has neither patches nor class tokens of its own; leave pool, class_token and patch_size out".to_owned());
        }
        let of_block = ShapeOverrides { pool: None, class_token: None, ..*overrides };
        self.block = encoder::with_overrides(self.block, &of_block, "the model")?;
        if let Some(depth) = overrides.depth {
            self.depth = depth;
            self.decoder = self.decoder.map(|decoder| DecoderConfig { depth, ..decoder });
        }
        self.check()?;
        Ok(self)
    }

    fn fitted(mut self, has: &dyn Fn(&str) -> bool) -> Self {
        if let Some(decoder) = &mut self.decoder {
            decoder.own_outputs = has("decoder.lm_head.weight");
        }
        self
    }
}
