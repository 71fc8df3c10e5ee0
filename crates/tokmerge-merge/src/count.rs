//! What a reduction costs and leaves, known before anything runs.

use crate::{Amount, Joining, LastLayer, LayerTokens, Reduction, Site, mergeable};

/// Tokens of the model and widths of its heads, for counting what matching costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatchShape {
    /// Index of the block, from 0.
    pub layer: usize,
    /// Blocks of the model.
    pub depth: usize,
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
            let (entered, site, prefix) = (now, self.method.site(), self.prefix_at(layer));
            let joined = self.joining.map_or(0, |joining| joining.before(layer));
            // Weights make a number of tokens of their own, or only say which are to go.
            let left_of = |tokens| match self.amount(layer) {
                Amount::NOTHING => {
                    Some(self.method.merged_before(layer, depth, tokens, prefix).unwrap_or(tokens))
                }
                amount => Some(tokens - amount.of(tokens, prefix)?),
            };
            let (compared, attended, left) = match site {
                Site::InsideBlock => (entered + joined, entered + joined, left_of(entered + joined)?),
                Site::InsideAttention => {
                    let left = left_of(entered + joined)?;
                    (entered + joined, left, left)
                }
                Site::BeforeBlock | Site::AroundBlock => {
                    let left = left_of(entered)? + joined;
                    (left, left, left)
                }
            };
            now = if site == Site::AroundBlock { entered + joined } else { left };
            let narrow = self.last_layer == LastLayer::Prefix && layer + 1 == depth;
            let fed = if narrow { left.min(self.prefix) } else { left };
            Some(LayerTokens { entered, joined, compared, attended, fed })
        };
        (0..depth).map(of).collect()
    }

    /// Tokens of an item of `tokens` after the last of `depth` blocks; `None` if that depends on the image.
    #[must_use]
    pub fn expected_left(&self, tokens: usize, depth: usize) -> Option<usize> {
        // Tokens that only skip the last MLP are left.
        let mut all = self.clone();
        all.last_layer = LastLayer::All;
        let last = all.expected_tokens(tokens, depth)?.pop();
        Some(match (last, self.method.inflates()) {
            (None, _) => tokens,
            (Some(last), true) => last.entered + last.joined,
            (Some(last), false) => last.fed,
        })
    }

    /// Tokens that never merge, among those that the method sees of the longest item in block `layer`.
    fn prefix_at(&self, layer: usize) -> usize {
        let first = |joining: &Joining| match self.method.site() {
            Site::InsideBlock | Site::InsideAttention => joining.layer,
            // What joins, joins behind it.
            Site::BeforeBlock | Site::AroundBlock => joining.layer + 1,
        };
        let joined = self.joining.filter(|joining| layer >= first(joining));
        self.prefix + joined.map_or(0, |joining| joining.tokens)
    }

    /// Multiply-adds that matching costs in block `layer` for an item of `tokens`, with heads of `head_dim` channels
    /// and tokens of `channels`. Counted as fvcore does: products only.
    #[must_use]
    pub fn matching_macs(&self, layer: usize, tokens: usize, head_dim: usize, channels: usize) -> f64 {
        let amount = self.amount(layer);
        // Scores are computed even where nothing passes a threshold.
        let prefix = self.prefix_at(layer);
        let most = || mergeable(usize::MAX, tokens, prefix);
        let possible = amount.of(tokens, prefix).unwrap_or_else(most);
        if possible == 0 {
            return 0.0;
        }
        self.rule().matching_macs(MatchShape {
            layer,
            depth: self.amounts.len(),
            tokens,
            prefix,
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
            Some(index) => self.method.rule().merger_cost(index, tokens, self.prefix_at(layer), channels),
            None => (0.0, 0.0),
        }
    }
}
