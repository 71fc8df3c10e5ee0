//! The seam of a block.

use super::{Begun, Context};
use burn::tensor::Tensor;
use tokmerge_merge::{Evidence, Merging, Tokens, Wants};
use tokmerge_nn::Random;

/// A block that can be stopped between attention and MLP.
pub trait EncoderBlock {
    /// Attention with its residual. Reports what the method wants to know, and nothing else.
    fn attend(&self, tokens: Tokens, with: &Context, wants: Wants) -> (Tokens, Evidence);

    /// Before some of these tokens are chosen: their keys, and what the class token, the first of every item, makes of each
    /// before the softmax, `[T]`: products with its query, the mean of all heads, neither scaled nor biased. Given to
    /// [`attend`](Self::attend) in its context, of those that are left, no key is computed twice. For the same blocks as
    /// [`attend_merging`](Self::attend_merging).
    ///
    /// # Panics
    /// In other blocks.
    fn begin(&self, tokens: &Tokens, with: &Context) -> (Begun, Vec<f32>) {
        let _ = (tokens, with);
        panic!("a reduction that chooses by keys does not bind to models of such blocks");
    }

    /// Attention with its residual for the prefix of every item alone, which attends to all tokens: bit for bit what
    /// [`attend`](Self::attend) gives those rows.
    fn attend_prefix(&self, tokens: Tokens, with: &Context) -> Tokens {
        self.attend(tokens, with, Wants::default()).0.prefix_only()
    }

    /// Attention with its residual, of which `reduce` merges tokens between the two products. It is told what the method
    /// wants of this block's attention, and returns the fewer tokens and how they merged; nothing where none did. Merged keys
    /// are attended to as much as their members together, and a merged query attends as its members do on average, by weight
    /// (MCTF, one-step-ahead attention). For blocks of models whose softmax is [open](tokmerge_merge::Softmax).
    ///
    /// # Panics
    /// In blocks that cannot stop there: a reduction that needs it does not bind to their models.
    fn attend_merging(
        &self,
        tokens: Tokens,
        with: &Context,
        wants: Wants,
        reduce: &mut dyn FnMut(Tokens, Evidence) -> (Tokens, Option<Merging>),
    ) -> Tokens {
        let _ = (tokens, with, wants, reduce);
        panic!("a reduction inside attention does not bind to models of such blocks");
    }

    /// Attention with its residual, in which tokens that do not count are [masked](Tokens::masked). Reports as
    /// [`attend`](Self::attend) does, without asking those. For the same blocks.
    ///
    /// # Panics
    /// In other blocks.
    fn attend_masked(&self, tokens: Tokens, with: &Context, wants: Wants) -> (Tokens, Evidence) {
        let _ = (tokens, with, wants);
        panic!("a reduction inside attention does not bind to models of such blocks");
    }

    /// What every token attends to, `[H, N, N]` for every item, with a gradient. For the same blocks.
    ///
    /// # Panics
    /// In other blocks.
    fn softmaxes(&self, tokens: &Tokens, with: &Context) -> Vec<Tensor<3>> {
        let _ = (tokens, with);
        panic!("a reduction that teaches the softmax does not bind to models of such blocks");
    }

    /// The MLP with its residual. In training it may draw at random, and return what is to be added to the loss, `[1]`.
    fn feed_forward(&self, tokens: Tokens, training: Option<&mut Random>) -> (Tokens, Option<Tensor<1>>);
}
