//! Tokens that stop when they have gathered enough (A-ViT).

use burn::tensor::Tensor;

/// What tokens have gathered in the blocks so far, each of which counts by how probable it makes it to stop there.
#[derive(Clone, Debug)]
pub struct Halting {
    /// Sums of these probabilities, `[T, 1]`: nothing is added where a token has stopped.
    pub(crate) sum: Tensor<2>,
    /// Sums of what the tokens in front were after each block, weighted by them, `[P, C]`.
    pub(crate) output: Tensor<2>,
    /// In training the mean probability of the patches in each block so far, `[1, 1]`.
    pub(crate) means: Option<Vec<Tensor<2>>>,
}

impl Halting {
    pub(crate) fn select(self, pick: impl Fn(Tensor<2>) -> Tensor<2>) -> Self {
        Self { sum: pick(self.sum), ..self }
    }

    pub(crate) fn map(self, change: &mut dyn FnMut(Tensor<2>) -> Tensor<2>) -> Self {
        Self {
            sum: change(self.sum),
            output: change(self.output),
            means: self.means.map(|means| means.into_iter().map(change).collect()),
        }
    }
}
