//! What a forward pass costs, counted from shapes.

use crate::blocks::{BlockConfig, Gate, QkNorm};
use crate::experts::{ExpertsConfig, Routing};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, AddAssign, Mul};
use std::str::FromStr;
use tokmerge_merge::{LastLayer, LayerTokens, Reduction, Site};

/// What counts as an operation. A multiply-add is one in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Convention {
    /// As fvcore counts, and with it ToMe's tables: multiply-adds of all products, those of the matching
    /// included, and 5 per element that a LayerNorm sees; softmax, GELU, biases and merging are free.
    #[default]
    Fvcore,
    /// Multiply-adds of the model's products alone.
    Macs,
    /// Multiply-adds of the model's products and 1 per element that a LayerNorm sees: what fits the unmerged
    /// figures of ATM's tables best.
    #[serde(rename = "macs+norm")]
    MacsNorm,
}

impl Convention {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fvcore, Self::Macs, Self::MacsNorm];

    /// The name: `fvcore`, `macs` or `macs+norm`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fvcore => "fvcore",
            Self::Macs => "macs",
            Self::MacsNorm => "macs+norm",
        }
    }
}

impl fmt::Display for Convention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no convention's.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no convention '{0}'; give {names}", names = Convention::ALL.map(Convention::name).join(", "))]
pub struct UnknownConvention(String);

impl FromStr for Convention {
    type Err = UnknownConvention;

    fn from_str(name: &str) -> Result<Self, UnknownConvention> {
        let found = Self::ALL.into_iter().find(|convention| convention.name() == name);
        found.ok_or_else(|| UnknownConvention(name.to_owned()))
    }
}

/// Work, by what the conventions count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Multiply-adds of products.
    pub macs: f64,
    /// Elements that a LayerNorm or RMSNorm sees.
    pub normed: f64,
    /// Elements that a batch norm sees.
    pub batch_normed: f64,
}

impl Work {
    /// Products alone.
    #[must_use]
    pub fn macs(macs: f64) -> Self {
        Self { macs, ..Self::default() }
    }

    /// A norm of so many elements.
    #[must_use]
    pub fn norm(elements: f64) -> Self {
        Self { normed: elements, ..Self::default() }
    }

    /// In one number.
    #[must_use]
    pub fn count(self, convention: Convention) -> f64 {
        let Self { macs, normed, batch_normed } = self;
        match convention {
            Convention::Fvcore => macs + 5.0 * normed + 2.0 * batch_normed,
            Convention::Macs => macs,
            Convention::MacsNorm => macs + normed,
        }
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            macs: self.macs + other.macs,
            normed: self.normed + other.normed,
            batch_normed: self.batch_normed + other.batch_normed,
        }
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Mul<f64> for Work {
    type Output = Self;

    fn mul(self, factor: f64) -> Self {
        let Self { macs, normed, batch_normed } = self;
        Self { macs: macs * factor, normed: normed * factor, batch_normed: batch_normed * factor }
    }
}

/// What the parts of a network cost, per item.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// Before the blocks.
    pub stem: Work,
    /// Every block.
    pub blocks: Vec<BlockCost>,
    /// After them.
    pub head: HeadCost,
    /// Experts in place of the MLP of some blocks.
    pub experts: Option<ExpertCost>,
    /// Tokens in front that are no patches.
    pub prefix: usize,
    /// Between two blocks, where others join the tokens there.
    pub joining: Option<JoiningCost>,
}

/// What is done before a block to tokens that others join.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JoiningCost {
    /// The block, from 0.
    pub layer: usize,
    /// Channels of a token before that.
    pub channels: usize,
    /// Before anything merges, for every token.
    pub entering: Work,
    /// After that, for every token that is left.
    pub joining: Work,
    /// Values that its products write, for every token that is left.
    pub outputs: f64,
}

impl JoiningCost {
    /// For tokens as they are seen.
    fn of(&self, tokens: &LayerTokens) -> Work {
        self.entering * tokens.entered as f64 + self.joining * self.left_of(tokens)
    }

    /// Those that others join.
    fn left_of(&self, tokens: &LayerTokens) -> f64 {
        (tokens.attended - tokens.joined) as f64
    }
}

/// What a block costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockCost {
    /// Channels of a token.
    pub channels: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Attention, for every token.
    pub attend: Work,
    /// Multiply-adds of attention for every pair of tokens.
    pub pair_macs: f64,
    /// The MLP, for every token that runs through it.
    pub feed: Work,
    /// The norm around the MLP, for every token, whatever it runs through.
    pub feed_norm: Work,
    /// Values that products write, for every token: of attention, of the MLP, and for every pair of tokens.
    pub outputs: [f64; 3],
}

impl BlockCost {
    /// Of a block of this shape.
    #[must_use]
    pub fn of(block: &BlockConfig) -> Self {
        let BlockConfig { channels, heads, head_dim, mlp, .. } = *block;
        let (c, width, hidden) = (channels as f64, (heads * head_dim) as f64, mlp.hidden as f64);
        let first = if mlp.gate == Gate::None { hidden } else { 2.0 * hidden };
        let mut attend = Work::macs(4.0 * c * width) + Work::norm(c);
        if block.qk_norm != QkNorm::No {
            attend += Work::norm(2.0 * width);
        }
        if block.attn_norm {
            attend += Work::norm(width);
        }
        let mut feed = Work::macs(c * first + hidden * c);
        if mlp.norm {
            feed += Work::norm(hidden);
        }
        Self {
            channels,
            head_dim,
            attend,
            pair_macs: 2.0 * width,
            feed,
            feed_norm: Work::norm(c),
            outputs: [4.0 * width + c, first + c, heads as f64],
        }
    }

    /// Several of them side by side.
    #[must_use]
    pub fn times(self, count: usize) -> Self {
        let count = count as f64;
        Self {
            attend: self.attend * count,
            pair_macs: self.pair_macs * count,
            feed: self.feed * count,
            feed_norm: self.feed_norm * count,
            outputs: self.outputs.map(|outputs| outputs * count),
            ..self
        }
    }
}

/// What comes after the blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HeadCost {
    /// Once.
    pub per_item: Work,
    /// For every token that is left.
    pub per_token: Work,
    /// For every patch token that is left.
    pub per_patch: Work,
    /// Values that its products write, per item.
    pub outputs: f64,
}

/// What is counted of experts.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertCost {
    /// How many, and how many of them a token uses.
    pub config: ExpertsConfig,
    /// Blocks that have them, from 0.
    pub layers: Vec<usize>,
    /// With buffers, their places are counted, filled or not, as V-MoE's implementation multiplies them; if tokens
    /// are free, what runs.
    pub routing: Routing,
}

impl ExpertCost {
    /// Of a model of `depth` blocks whose tokens are free.
    #[must_use]
    pub fn new(config: ExpertsConfig, depth: usize) -> Self {
        Self { config, layers: config.placement.blocks(depth), routing: Routing::Free }
    }

    /// Tokens that run through an expert, for every token of an image of `tokens`.
    fn runs_per_token(&self, tokens: usize) -> f64 {
        let ExpertsConfig { experts, chosen, .. } = self.config;
        match self.routing {
            Routing::Free => chosen as f64,
            Routing::Buffers(buffers) => buffers.places_per_token(tokens, chosen, experts),
        }
    }
}

impl Cost {
    /// Billions of multiply-adds per item, for tokens as they were seen by each block.
    #[must_use]
    pub fn gmacs(&self, layers: &[LayerTokens], reduction: &Reduction, convention: Convention) -> f64 {
        let mut work = self.stem;
        for (layer, (tokens, block)) in layers.iter().zip(&self.blocks).enumerate() {
            let (compared, attended) = (tokens.compared as f64, tokens.attended as f64);
            // Queries and keys are half of the products, of every token and of every pair, values and what is made of them
            // the other half.
            let half = Work::macs(0.5 * block.attend.macs);
            work += half * compared + half * attended;
            work += Work { macs: 0.0, ..block.attend } * compared;
            if tokens.compared != tokens.attended {
                // Values are those of the norm of other tokens.
                work += block.feed_norm * attended;
            }
            work += Work::macs(0.5 * block.pair_macs * (compared * compared + attended * attended));
            let (runs, routed) = self.feed_forward(layer, tokens.fed);
            work += block.feed * runs + block.feed_norm * tokens.fed as f64;
            work += Work::macs(routed * block.channels as f64);
            let joining = self.joining.as_ref().filter(|joining| joining.layer == layer);
            // What merges before a block, merges before others join.
            let before = joining.map_or(block.channels, |joining| joining.channels);
            let (macs, normed) = reduction.merger_cost(layer, tokens.entered, before);
            work += Work { macs, normed, batch_normed: 0.0 };
            work += joining.map_or_else(Work::default, |joining| joining.of(tokens));
            if convention == Convention::Fvcore {
                let (compared, channels) = match reduction.method().site() {
                    Site::InsideBlock => (tokens.attended, block.channels),
                    Site::InsideAttention => (tokens.compared, block.channels),
                    Site::BeforeBlock | Site::AroundBlock => (tokens.entered, before),
                };
                work += Work::macs(reduction.matching_macs(layer, compared, block.head_dim, channels));
            }
        }
        // All tokens are there again after a block around which the method works, unless only the prefix goes on.
        let come_back = reduction.method().inflates() && reduction.last_layer() == LastLayer::All;
        let left =
            layers.last().map_or(0, |last| if come_back { last.entered + last.joined } else { last.fed });
        work += self.head.per_item + self.head.per_token * left as f64;
        work += self.head.per_patch * left.saturating_sub(self.prefix) as f64;
        work.count(convention) / 1e9
    }

    /// Rows that run through an MLP in block `layer`, and logits of its router, for an item of `tokens` there.
    fn feed_forward(&self, layer: usize, tokens: usize) -> (f64, f64) {
        let rows = tokens as f64;
        match &self.experts {
            Some(experts) if experts.layers.contains(&layer) => {
                (rows * experts.runs_per_token(tokens), rows * experts.config.experts as f64)
            }
            _ => (rows, 0.0),
        }
    }

    /// Floating-point operations to train on one item: two per multiply-add of a product, forward and, twice as many,
    /// backward; the stem has no gradient of its input. What PatchMerger's Tables 1 and 2 count.
    #[must_use]
    pub fn training_flops(&self, layers: &[LayerTokens], reduction: &Reduction) -> f64 {
        let forward = self.gmacs(layers, reduction, Convention::Macs) * 1e9;
        2.0 * (3.0 * forward - self.stem.macs)
    }

    /// Millions of values that products write, per item: what timm lists as activations.
    #[must_use]
    pub fn mega_activations(&self, layers: &[LayerTokens]) -> f64 {
        let channels = self.blocks.first().map_or(0, |block| block.channels) as f64;
        let entering = layers.first().map_or(0, |tokens| tokens.entered) as f64;
        let per_block = layers.iter().zip(&self.blocks).enumerate().map(|(layer, (tokens, block))| {
            let attended = tokens.attended as f64;
            let (runs, routed) = self.feed_forward(layer, tokens.fed);
            let [attention, mlp, pairs] = block.outputs;
            let joining = self.joining.as_ref().filter(|joining| joining.layer == layer);
            let projected = joining.map_or(0.0, |joining| joining.outputs * joining.left_of(tokens));
            let compared = (tokens.compared * tokens.compared) as f64;
            projected + attention * attended + pairs * compared + runs * mlp + routed
        });
        (entering * channels + per_block.sum::<f64>() + self.head.outputs) / 1e6
    }
}
