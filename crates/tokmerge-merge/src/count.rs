//! What a reduction costs and leaves, known before anything runs.

use crate::{Amount, LastLayer, LayerTokens, Reduction, Site, mergeable};

/// Tokens of the model and widths of its heads, for counting what matching costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatchShape {
    /// Tokens that are compared, prefix included.
    pub tokens: usize,
    /// Of these the prefix.
    pub prefix: usize,
    /// What is to merge.
    pub amount: Amount,
    /// Channels of a head (`D`).
    pub head_dim: usize,
    /// Channels of a token (`C`).
    pub channels: usize,
}

impl Reduction {
    /// Tokens that attention and MLP of every block will see of an item of `tokens`; `None` if that depends on the
    /// image.
    #[must_use]
    pub fn expected_tokens(&self, tokens: usize, depth: usize) -> Option<Vec<LayerTokens>> {
        let mut now = tokens;
        let of = |layer| {
            let before = now;
            let site = self.method.site();
            let merged = match self.method.merged_before(layer, depth, before, self.prefix) {
                Some(left) => left,
                None => before - self.amount(layer).of(before, self.prefix)?,
            };
            now = if site == Site::AroundBlock { before } else { merged };
            let attended = if site == Site::InsideBlock { before } else { merged };
            let narrow = self.last_layer == LastLayer::Prefix && layer + 1 == depth;
            let fed = if narrow { merged.min(self.prefix) } else { merged };
            Some(LayerTokens { entered: before, attended, fed })
        };
        (0..depth).map(of).collect()
    }

    /// Multiply-adds that matching costs in block `layer` for an item of `tokens`, with heads of `head_dim` channels
    /// and tokens of `channels`. Counted as fvcore does: products only.
    #[must_use]
    pub fn matching_macs(&self, layer: usize, tokens: usize, head_dim: usize, channels: usize) -> f64 {
        let amount = self.amount(layer);
        // Scores are computed even where nothing passes a threshold.
        let most = || mergeable(usize::MAX, tokens, self.prefix);
        let possible = amount.of(tokens, self.prefix).unwrap_or_else(most);
        if possible == 0 {
            return 0.0;
        }
        self.method.rule().matching_macs(MatchShape {
            tokens,
            prefix: self.prefix,
            amount,
            head_dim,
            channels,
        })
    }

    /// Multiply-adds of the method's own weights before block `layer` for an item of `tokens` of `channels`, and
    /// elements that their norms see.
    #[must_use]
    pub fn merger_cost(&self, layer: usize, tokens: usize, channels: usize) -> (f64, f64) {
        let places = self.method.mergers_before(self.amounts.len());
        match places.iter().position(|before| *before == layer) {
            Some(index) => self.method.rule().merger_cost(index, tokens, self.prefix, channels),
            None => (0.0, 0.0),
        }
    }
}
