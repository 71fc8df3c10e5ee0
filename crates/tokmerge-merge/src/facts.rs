//! What a method is told about the model that it will work in.

use crate::{Joining, LayerTokens, TokenKind};

/// Whether merged tokens weigh more as keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyBias {
    /// No: all tokens weigh the same.
    None,
    /// `log(size)` is added to the logits of each key: proportional attention (ToMe, eq. 1).
    LogSize,
}

/// Which tokens go through the MLP of the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLayer {
    /// All.
    All,
    /// Only the prefix, which is all that a head on class tokens reads. The result is the same.
    Prefix,
}

/// Which tokens the output of a model is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readout {
    /// Prefix tokens: class and distillation token.
    Prefix,
    /// Patches too: average pooling, dense outputs.
    All,
}

/// What a model does with the positions of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PositionUse {
    /// They are part of the tokens' values: the blocks do not ask for them.
    Free,
    /// The blocks read them from [`Tokens::positions`](crate::Tokens::positions), wherever the tokens are by then
    /// (rotary embeddings).
    Followed,
    /// The blocks rely on every token being in its original place, so that merging cannot be right. Completes the
    /// sentence "merging cannot be right in this model, because ...".
    Fixed(&'static str),
}

/// What stands first in every item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leading {
    /// The class token, whose attention says what an image is about.
    ClassToken,
    /// Something else, or nothing.
    Other,
}

/// What can be done between the two products of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Softmax {
    /// Blocks can stop after the softmax, and go on with another.
    Open,
    /// They cannot.
    Closed,
}

/// How the weights of a model were trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Training {
    /// Without merging, as far as is known: off-the-shelf weights.
    WithoutMerging,
    /// While tokens were being merged.
    WithMerging,
}

/// What a method needs to know about the model that it will work in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelFacts {
    /// Blocks (`L`).
    pub depth: usize,
    /// Tokens per item entering the first block, prefix included.
    pub tokens: usize,
    /// Tokens that never merge.
    pub prefix: usize,
    /// Rows and columns of the others, where they are the patches of a picture of one size, row by row.
    pub grid: Option<(usize, usize)>,
    /// What the first of them is.
    pub leading: Leading,
    /// Whether a method may work between the products of attention.
    pub softmax: Softmax,
    /// What `prop_attn=auto` means for off-the-shelf weights: [`KeyBias::None`] for MAE models (ToMe, Table 1f),
    /// [`KeyBias::LogSize`] for all others.
    pub key_bias: KeyBias,
    /// What it means for weights that were trained with merging: [`KeyBias::None`] for AudioMAE (ToMe, A.3),
    /// [`KeyBias::LogSize`] for all others.
    pub trained_key_bias: KeyBias,
    /// How the weights were trained.
    pub training: Training,
    /// What the output is made of.
    pub readout: Readout,
    /// What the blocks do with positions.
    pub positions: PositionUse,
    /// What the tokens are.
    pub tokens_are: TokenKind,
    /// Tokens that join these before one of the blocks, where some do.
    pub joining: Option<Joining>,
}

impl ModelFacts {
    /// A plain ViT with off-the-shelf weights: its output is made of class tokens, proportional attention suits it,
    /// and its blocks do not ask for positions. Of its patches no grid is known.
    #[must_use]
    pub fn new(depth: usize, tokens: usize, prefix: usize) -> Self {
        Self {
            depth,
            tokens,
            prefix,
            grid: None,
            leading: if prefix > 0 { Leading::ClassToken } else { Leading::Other },
            softmax: Softmax::Open,
            key_bias: KeyBias::LogSize,
            trained_key_bias: KeyBias::LogSize,
            training: Training::WithoutMerging,
            readout: Readout::Prefix,
            positions: PositionUse::Free,
            tokens_are: TokenKind::Patches,
            joining: None,
        }
    }

    /// Tokens that the blocks see of the longest item where nothing merges.
    #[must_use]
    pub fn unmerged(&self) -> Vec<LayerTokens> {
        let mut now = self.tokens;
        let of = |layer| {
            let joined = self.joining.map_or(0, |joining| joining.before(layer));
            let entered = now;
            now += joined;
            LayerTokens { entered, joined, compared: now, attended: now, fed: now }
        };
        (0..self.depth).map(of).collect()
    }

    /// What `prop_attn=auto` means for these weights.
    #[must_use]
    pub fn auto_key_bias(&self) -> KeyBias {
        match self.training {
            Training::WithMerging => self.trained_key_bias,
            Training::WithoutMerging => self.key_bias,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyBias, ModelFacts, Training};

    #[test]
    fn proportional_attention_suits_what_was_trained_with_merging() {
        let mae = ModelFacts { key_bias: KeyBias::None, ..ModelFacts::new(12, 197, 1) };
        assert_eq!(mae.auto_key_bias(), KeyBias::None);
        assert_eq!(ModelFacts { training: Training::WithMerging, ..mae }.auto_key_bias(), KeyBias::LogSize);
    }
}
