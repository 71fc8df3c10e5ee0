//! A tokenizer of given words, for models that are trained from nothing.

use super::{TextError, Tokenizer};
use std::collections::HashSet;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::normalizers::Lowercase;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, OffsetReferential, OffsetType, PostProcessorWrapper, PreTokenizedString, PreTokenizer,
};

/// What stands around the words of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextForm {
    /// `[CLS] words [SEP]`: BERT, ViLT. The first tokens are `[PAD]`, `[UNK]`, `[CLS]` and `[SEP]`, from 0.
    ClassAndSeparator,
    /// `words </s>`: T5. The first tokens are `<pad>`, `</s>` and `<unk>`, from 0.
    End,
}

impl TextForm {
    /// The tokens that are no words, in their order from 0.
    #[must_use]
    pub fn special(self) -> &'static [&'static str] {
        match self {
            Self::ClassAndSeparator => &["[PAD]", "[UNK]", "[CLS]", "[SEP]"],
            Self::End => &["<pad>", "</s>", "<unk>"],
        }
    }

    /// What words that are not known become.
    fn unknown(self) -> &'static str {
        match self {
            Self::ClassAndSeparator => "[UNK]",
            Self::End => "<unk>",
        }
    }

    /// What is put around the words of a text.
    fn template(self) -> &'static str {
        match self {
            Self::ClassAndSeparator => "[CLS] $A [SEP]",
            Self::End => "$A </s>",
        }
    }
}

/// A text in lower case, cut at white space and around punctuation.
fn words_of(text: &str) -> tokenizers::Result<Vec<String>> {
    let lower: String = text.chars().flat_map(char::to_lowercase).collect();
    let mut pieces = PreTokenizedString::from(lower);
    BertPreTokenizer.pre_tokenize(&mut pieces)?;
    let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
    Ok(pieces.into_iter().map(|(piece, ..)| piece.to_owned()).collect())
}

impl Tokenizer {
    /// A tokenizer that knows these words, each a token, and nothing else. What is given may be words or whole texts: both are
    /// taken in lower case and cut at white space and around every punctuation mark, as texts will be. Tokens are numbered in
    /// the order in which their words come first, after those of [`TextForm::special`].
    ///
    /// A text of these words with one space between them comes back from [`decode`](Self::decode) as it was, in lower case.
    ///
    /// # Errors
    /// When there is no word.
    pub fn of_words<S: AsRef<str>>(
        words: impl IntoIterator<Item = S>,
        form: TextForm,
    ) -> Result<Self, TextError> {
        let refused = |error: tokenizers::Error| TextError::Words(error.to_string());
        let mut known: HashSet<String> = HashSet::new();
        let mut tokens: Vec<String> = form.special().iter().map(|&token| token.to_owned()).collect();
        for text in words {
            let new = words_of(text.as_ref()).map_err(refused)?;
            tokens.extend(new.into_iter().filter(|word| known.insert(word.clone())));
        }
        if known.is_empty() {
            return Err(TextError::NoWords);
        }
        let model = WordLevel::builder()
            .vocab(tokens.into_iter().zip(0..).collect())
            .unk_token(form.unknown().to_owned())
            .build()
            .map_err(refused)?;
        let numbers: Vec<(String, u32)> =
            form.special().iter().map(|&token| token.to_owned()).zip(0..).collect();
        let around = TemplateProcessing::builder()
            .try_single(form.template())
            .map_err(|error| TextError::Words(error.clone()))?
            .special_tokens(numbers)
            .build()
            .map_err(|error| TextError::Words(error.to_string()))?;
        let mut inner = tokenizers::Tokenizer::new(model);
        inner
            .with_normalizer(Some(Lowercase))
            .with_pre_tokenizer(Some(BertPreTokenizer))
            .with_post_processor(Some(PostProcessorWrapper::Template(around)));
        let special = form.special().iter().map(|&token| AddedToken::from(token, true));
        inner.add_special_tokens(&special.collect::<Vec<_>>());
        Self::from_json(inner.to_string(false).map_err(refused)?, "a tokenizer of given words".into())
    }
}
