//! Why a text was not read. One line each.

use std::path::PathBuf;

/// Why a text, or a tokenizer, was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// Nobody has given a tokenizer.
    #[error(
        "there is no tokenizer.json beside the model, which says how texts become tokens; save the model's tokenizer there"
    )]
    NoTokenizer,
    /// The tokenizer cannot be read.
    #[error("{}: {reason}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Its tokens are not those of the model.
    #[error(
        "{}: it has tokens up to {last}, and the model knows those up to {most}: it is the tokenizer of another model; give its own",
        path.display()
    )]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// The highest number of a token.
        last: u32,
        /// The highest that the model knows.
        most: u32,
    },
    /// A tokenizer of no words.
    #[error("a tokenizer needs words to know, and there is none; give words, or texts with some")]
    NoWords,
    /// A tokenizer that cannot be made of the words.
    #[error("no tokenizer can be made of these words ({0})")]
    Words(String),
    /// A limit that makes no sense.
    #[error("`max_tokens` is {max_tokens}, and the model has room for {room}; use 4 to {room}")]
    MaxTokens {
        /// The limit.
        max_tokens: usize,
        /// Tokens that the model has room for.
        room: usize,
    },
    /// A text without a token of its own.
    #[error("it holds no text: no token is left of it; leave it out")]
    Empty,
    /// The tokenizer gave up.
    #[error("the tokenizer cannot read it ({0}); leave it out")]
    Encode(String),
    /// A file that is no text.
    #[error("line {line} is not UTF-8 (byte {byte}); save it as UTF-8, or leave the line out")]
    Utf8 {
        /// From 1.
        line: usize,
        /// Within the line, from 1.
        byte: usize,
    },
    /// A file of something else.
    #[error("it is no file of texts (byte {byte} is zero); give one with a text a line, saved as UTF-8")]
    Binary {
        /// The first byte that no text has, from 1.
        byte: usize,
    },
    /// A file of text in another encoding, or of something else.
    #[error("it is not UTF-8 (in {broken} of its first {lines} lines); save it as UTF-8, with a text a line")]
    NoUtf8 {
        /// Lines that are not, of those looked at.
        broken: usize,
        /// Lines looked at.
        lines: usize,
    },
    /// A line that goes on and on.
    #[error(
        "line {line} is longer than {most} bytes, and a line is one text; put its sentences on lines of their own"
    )]
    Long {
        /// From 1.
        line: usize,
        /// Bytes at most.
        most: u64,
    },
}
