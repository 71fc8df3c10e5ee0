//! Texts: tokenized as the model's own tokenizer does it, without its padding and its truncation.

mod claims;
mod error;
mod lines;
mod pairs;
mod tokenizer;
mod words;

use std::fmt;
use std::sync::Arc;

pub use error::TextError;
pub use lines::{EXTENSIONS, Lines, check_text, from_utf8, read_lines};
pub use pairs::{TextPair, TextPairsError, is_text_pairs, read_text_pairs};
pub use tokenizer::{TOKENIZER_FILE, Tokenizer};
pub use words::TextForm;

/// What a token is in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A piece of the text.
    Word,
    /// The first token, which the tokenizer adds for what is to be said of the whole text.
    Class,
    /// Any other token that the tokenizer adds: a separator, an end.
    Separator,
}

/// A text as a model takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenIds {
    /// The row of every token in the model's table.
    pub ids: Vec<u32>,
    /// What each is; as many.
    pub roles: Vec<Role>,
    /// Whether the text was longer than what is taken of one, so that its end is left out.
    pub is_cut: bool,
}

impl TokenIds {
    /// Tokens that are all pieces of a text.
    #[must_use]
    pub fn words(ids: impl Into<Vec<u32>>) -> Self {
        let ids = ids.into();
        let roles = vec![Role::Word; ids.len()];
        Self { ids, roles, is_cut: false }
    }

    /// Number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// How texts are prepared for a model.
#[derive(Clone, PartialEq)]
pub struct TextProcessor {
    /// The model's tokenizer; `None` where nobody has given one.
    tokenizer: Option<Arc<Tokenizer>>,
    /// Tokens of a text at most, those that the tokenizer adds included; the rest is cut off.
    max_tokens: usize,
    /// Tokens that the model has room for.
    room: usize,
    /// Whether every text is brought to `max_tokens` by this token, which takes part like any other (SigLIP).
    filler: Option<u32>,
    /// The token that ends every text, where the tokenizer may not add it.
    end: Option<u32>,
    /// What becomes of tokens behind the first that is the same as a text's last one.
    after_end: AfterEnd,
}

/// What becomes of tokens behind the first end token of a text. Some tokenizers write what they do not know as an end (CLIP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterEnd {
    Kept,
    LeftOut,
}

/// Tokens of a text at most where nobody says otherwise: what sentence-transformers takes for the models that are used most.
pub const MAX_TOKENS: usize = 256;

impl TextProcessor {
    /// Without a tokenizer, for a model that has room for `room` tokens.
    #[must_use]
    pub fn new(room: usize) -> Self {
        let (max_tokens, after_end) = (room.min(MAX_TOKENS), AfterEnd::Kept);
        Self { tokenizer: None, max_tokens, room, filler: None, end: None, after_end }
    }

    /// The same, a text being cut off where the model's room ends.
    #[must_use]
    pub fn to_the_room(self) -> Self {
        Self { max_tokens: self.room, ..self }
    }

    /// The same with a tokenizer.
    #[must_use]
    pub fn with_tokenizer(self, tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer: Some(tokenizer), ..self }
    }

    /// The same, every text brought to the model's length by a token that takes part like any other (SigLIP).
    #[must_use]
    pub fn filled_with(self, filler: u32) -> Self {
        Self { filler: Some(filler), max_tokens: self.room, ..self }
    }

    /// The same, every text ending with this token, whether the tokenizer adds it or not.
    #[must_use]
    pub fn ended_by(self, end: u32) -> Self {
        Self { end: Some(end), ..self }
    }

    /// The same, leaving out what stands behind the first token that is the same as a text's last one: nobody reads it
    /// where tokens see earlier ones alone and the answer is read off the first end token (CLIP).
    #[must_use]
    pub fn up_to_first_end(self) -> Self {
        Self { after_end: AfterEnd::LeftOut, ..self }
    }

    /// The token that every text is filled with, if there is one.
    #[must_use]
    pub fn filler(&self) -> Option<u32> {
        self.filler
    }

    /// The same with other numbers of tokens at most.
    ///
    /// # Errors
    /// When the model has no room for as many, or it is less than 4: class, separator and words.
    pub fn with_max_tokens(self, max_tokens: usize) -> Result<Self, TextError> {
        if !(4..=self.room).contains(&max_tokens) {
            return Err(TextError::MaxTokens { max_tokens, room: self.room });
        }
        Ok(Self { max_tokens, ..self })
    }

    /// Tokens of a text at most.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Tokens that the model has room for.
    #[must_use]
    pub fn room(&self) -> usize {
        self.room
    }

    /// The tokenizer, if there is one.
    #[must_use]
    pub fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        self.tokenizer.as_ref()
    }

    /// A text as the model takes it.
    ///
    /// # Errors
    /// When there is no tokenizer, or nothing of the text is left.
    pub fn encode(&self, text: &str) -> Result<TokenIds, TextError> {
        let tokenizer = self.tokenizer.as_ref().ok_or(TextError::NoTokenizer)?;
        let mut encoded = tokenizer.encode(text, self.max_tokens)?;
        if let Some(end) = self.end.filter(|end| encoded.ids.last() != Some(end)) {
            let is_full = encoded.len() >= self.max_tokens;
            encoded.is_cut |= is_full && encoded.roles.last() == Some(&Role::Word);
            encoded.ids.truncate(self.max_tokens - 1);
            encoded.roles.truncate(self.max_tokens - 1);
            encoded.ids.push(end);
            encoded.roles.push(Role::Separator);
        }
        if self.after_end == AfterEnd::LeftOut {
            let first = encoded.ids.iter().position(|id| encoded.ids.last() == Some(id));
            let read = first.map_or(0, |first| first + 1);
            encoded.ids.truncate(read);
            encoded.roles.truncate(read);
        }
        if let Some(filler) = self.filler {
            encoded.ids.resize(self.max_tokens, filler);
            encoded.roles.resize(self.max_tokens, Role::Separator);
        }
        Ok(encoded)
    }
}

impl fmt::Debug for TextProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextProcessor")
            .field("tokenizer", &self.tokenizer.as_ref().map(|tokenizer| tokenizer.digest()))
            .field("max_tokens", &self.max_tokens)
            .field("room", &self.room)
            .field("filler", &self.filler)
            .field("end", &self.end)
            .field("after_end", &self.after_end)
            .finish()
    }
}

impl fmt::Display for TextProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} tokens", self.max_tokens)?;
        if let Some(tokenizer) = &self.tokenizer {
            write!(f, ", tokenizer {:016x}", tokenizer.digest())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
