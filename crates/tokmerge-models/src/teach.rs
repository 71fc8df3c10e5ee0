//! Teaching a decoder: what it says of every token of given texts, all at once (teacher forcing).

use crate::blocks::Memory;
use crate::network::Network;
use crate::pass::{DropRates, Output};
use burn::tensor::Tensor;
use tokmerge_data::text::TokenIds;
use tokmerge_merge::{Layout, Reduction};

/// Place of the encoded tokens among those of which values are left out: no block's.
const ENCODED: usize = usize::MAX;

/// Texts that are to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// `[T]`: the tokens of all texts, one after the other, each with its end.
    pub ids: Vec<u32>,
    /// Whose they are.
    pub layout: Layout,
}

impl Answers {
    /// Texts as they come from a tokenizer, which adds their ends.
    #[must_use]
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a TokenIds>) -> Self {
        let (mut ids, mut lens) = (Vec::new(), Vec::new());
        for text in texts {
            ids.extend_from_slice(&text.ids);
            lens.push(text.len());
        }
        Self { ids, layout: Layout::from_lens(&lens) }
    }

    /// Some of the texts, in this order.
    ///
    /// # Panics
    /// When there is no such text.
    #[must_use]
    pub fn select(&self, items: &[usize]) -> Self {
        let ids = items.iter().flat_map(|item| &self.ids[self.layout.range(*item)]).copied().collect();
        let lens: Vec<usize> = items.iter().map(|item| self.layout.range(*item).len()).collect();
        Self { ids, layout: Layout::from_lens(&lens) }
    }

    /// What the decoder has seen before it says each token: the token that texts begin with, then all but the last. Decoders
    /// that begin with nothing do not look at the first.
    fn seen(&self, start: Option<u32>) -> Vec<u32> {
        let texts = (0..self.layout.items()).map(|item| &self.ids[self.layout.range(item)]);
        let shifted = texts.filter_map(|text| text.split_last());
        shifted
            .flat_map(|(_, before)| std::iter::once(start.unwrap_or(0)).chain(before.iter().copied()))
            .collect()
    }
}

impl Network {
    /// What a decoder attends to: the encoded tokens that a pass has left; `None` of a network that writes nothing.
    #[must_use]
    pub fn memory(&self, output: &Output, reduction: &Reduction) -> Option<Memory> {
        let (_, encoder) = self.decoder()?;
        let tokens = encoder.encoded(&output.tokens);
        let layout = output.tokens.layout.clone();
        Some(Memory { tokens, layout, key_bias: reduction.key_bias(&output.tokens) })
    }

    /// Logits of every token of texts that are to be written for what a pass has left, `[T, vocabulary]`; `None` of a network
    /// that writes nothing. In training, values are left out of what the decoder sees and adds.
    ///
    /// # Panics
    /// When there are more or fewer texts than items, or a token is beyond the vocabulary.
    #[must_use]
    pub fn teach(
        &self,
        output: &Output,
        reduction: &Reduction,
        answers: &Answers,
        training: Option<DropRates>,
    ) -> Option<Tensor<2>> {
        let (decoder, encoder) = self.decoder()?;
        let memory = self.memory(output, reduction)?;
        assert_eq!(memory.layout.items(), answers.layout.items(), "a text for every item");
        let drop = training.unwrap_or_default();
        let memory = Memory { tokens: drop.drop_values(ENCODED, memory.tokens), ..memory };
        let seen = answers.seen(decoder.config().start);
        Some(decoder.run(encoder, &seen, &answers.layout, &memory, drop))
    }
}

#[cfg(test)]
mod tests {
    use super::{Answers, TokenIds};

    #[test]
    fn a_decoder_sees_what_stands_before_each_token() {
        let texts = [TokenIds::words([7, 8, 1]), TokenIds::words([9, 1])];
        let answers = Answers::new(&texts);
        assert_eq!(answers.seen(Some(0)), [0, 7, 8, 0, 9]);
        assert_eq!(answers.select(&[1]).seen(Some(3)), [3, 9]);
        assert_eq!(answers.seen(None).len(), answers.ids.len());
    }
}
