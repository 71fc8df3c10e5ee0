//! The seam of a block.

use super::Context;
use burn::tensor::Tensor;
use tokmerge_merge::{Evidence, Tokens, Wants};
use tokmerge_nn::Random;

/// A block that can be stopped between attention and MLP.
pub trait EncoderBlock {
    /// Attention with its residual. Reports what the method wants to know, and nothing else.
    fn attend(&self, tokens: Tokens, with: &Context, wants: Wants) -> (Tokens, Evidence);

    /// Attention with its residual for the prefix of every item alone, which attends to all tokens: bit for bit what
    /// [`attend`](Self::attend) gives those rows.
    fn attend_prefix(&self, tokens: Tokens, with: &Context) -> Tokens {
        self.attend(tokens, with, Wants::default()).0.prefix_only()
    }

    /// Attention with its residual, of which `reduce` changes tokens and softmaxes between the two products: it is given all
    /// tokens and what each attends to, `[H, N, N]` for every item, and returns the fewer tokens with theirs. For blocks
    /// of models whose softmax is [open](tokmerge_merge::Softmax).
    ///
    /// # Panics
    /// In blocks that cannot stop there: a reduction that needs it does not bind to their models.
    fn attend_merged(
        &self,
        tokens: Tokens,
        with: &Context,
        reduce: &mut dyn FnMut(Tokens, Vec<Tensor<3>>) -> (Tokens, Vec<Tensor<3>>),
    ) -> Tokens {
        let _ = (tokens, with, reduce);
        panic!("a reduction inside attention does not bind to models of such blocks");
    }

    /// The MLP with its residual. In training it may draw at random, and return what is to be added to the loss, `[1]`.
    fn feed_forward(&self, tokens: Tokens, training: Option<&mut Random>) -> (Tokens, Option<Tensor<1>>);
}
