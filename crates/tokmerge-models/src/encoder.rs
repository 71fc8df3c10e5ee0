//! The seam: a block has two halves, and the encoder stands between them.

use std::sync::Arc;
use tokmerge_merge::{Evidence, Reduction, Tokens, Trace, Wants};

/// A block that can be stopped between attention and MLP.
pub trait EncoderBlock {
    /// Attention with its residual. `log_size: [T]` is added to the logits of each key. Reports what the
    /// method wants to know, and nothing else.
    fn attend(&self, tokens: Tokens, log_size: Option<Arc<[f32]>>, wants: Wants) -> (Tokens, Evidence);

    /// The MLP with its residual.
    fn feed_forward(&self, tokens: Tokens) -> Tokens;
}

/// Tokens after the last block, and where they went.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The tokens.
    pub tokens: Tokens,
    /// Every plan that was applied.
    pub trace: Trace,
}

/// Runs the blocks, reducing tokens on the way. Nothing is stored between calls.
///
/// # Panics
/// When the reduction was bound to a model of another depth.
pub fn encode<B: EncoderBlock>(blocks: &[B], mut tokens: Tokens, reduction: &Reduction) -> Encoded {
    reduction.assert_fits(blocks.len());
    let mut trace = Trace::default();
    for (layer, block) in blocks.iter().enumerate() {
        tokens = reduction.enter(layer, tokens, &mut trace);
        let log_size = reduction.key_bias(&tokens);
        let (attended, evidence) = block.attend(tokens, log_size, reduction.wants(layer));
        let reduced = reduction.apply(layer, attended, evidence, &mut trace);
        tokens = block.feed_forward(reduced);
    }
    Encoded { tokens, trace }
}
