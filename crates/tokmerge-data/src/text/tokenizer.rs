//! A `tokenizer.json`, read by the `tokenizers` crate.

use super::{Role, TextError, TokenIds, claims};
use crate::shown::beginning;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use tokenizers::{Encoding, TruncationParams};

/// The name of the file.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// More than any tokenizer has.
const MOST_BYTES: u64 = 64 << 20;

/// Longer texts are cut before they are tokenized, since nothing of what follows could be among the first tokens: white space
/// and a token of each 256 bytes.
const BYTES_PER_TOKEN: usize = 256;
const WHITE_SPACE: usize = 1 << 20;

/// Makes tokens of texts.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The file, or what stands for one.
    path: PathBuf,
    /// What the file holds.
    json: String,
    /// Of the file.
    digest: u64,
}

impl PartialEq for Tokenizer {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Tokenizer {
    /// Reads a file. What it says of padding and truncation is left aside: those are for who runs the model to say.
    ///
    /// # Errors
    /// When it is not there, or no tokenizer.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        let wrong = |reason: String| TextError::Tokenizer { path: path.to_owned(), reason };
        let found = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
        if !found.is_file() || found.len() > MOST_BYTES {
            return Err(wrong(format!("is no file of at most {MOST_BYTES} bytes, as tokenizers are")));
        }
        let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        Self::from_bytes(path, bytes)
    }

    /// The same of a file that was read already; `path` is what errors call it.
    ///
    /// # Errors
    /// When it is no tokenizer, or asks for more than it is worth.
    pub fn from_bytes(path: &Path, bytes: impl Into<Vec<u8>>) -> Result<Self, TextError> {
        let json = String::from_utf8(bytes.into()).map_err(|error| {
            let byte = error.utf8_error().valid_up_to();
            let reason = format!("is no tokenizer (byte {byte} is not UTF-8)");
            TextError::Tokenizer { path: path.to_owned(), reason }
        })?;
        Self::from_json(json, path.to_owned())
    }

    /// A tokenizer of what a file holds.
    ///
    /// # Errors
    /// When it is no tokenizer; `path` is named.
    pub(super) fn from_json(json: String, path: PathBuf) -> Result<Self, TextError> {
        let wrong = |reason: String| TextError::Tokenizer { path: path.clone(), reason };
        claims::check(json.as_bytes()).map_err(|reason| wrong(one_line(&reason)))?;
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(&json))
            .map_err(|reason| wrong(format!("is no tokenizer ({reason})")))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| wrong(error.to_string()))?;
        // FNV-1a.
        let digest = json.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |digest, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Ok(Self { inner, path, json, digest })
    }

    /// What a `tokenizer.json` of it holds, byte for byte as it was read: [`open`](Self::open) makes an equal tokenizer of it.
    #[must_use]
    pub fn to_json(&self) -> &str {
        &self.json
    }

    /// Rows that a model's table of tokens needs at least: the highest number of a token, and one.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |last| *last as usize + 1)
    }

    /// Refuses a tokenizer that has tokens which a model with a table of `rows` does not know.
    ///
    /// # Errors
    /// When it has.
    pub fn check(&self, rows: usize) -> Result<(), TextError> {
        let needed = self.vocabulary();
        if needed <= rows {
            return Ok(());
        }
        let [last, most] = [needed, rows].map(|rows| rows.saturating_sub(1) as u32);
        Err(TextError::Vocabulary { path: self.path.clone(), last, most })
    }

    /// The number of a token.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// A checksum of the file.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The first tokens of a text, `max_tokens` of them at most, those that are added included.
    ///
    /// # Errors
    /// When none of the text's own are left.
    pub fn encode(&self, text: &str, max_tokens: usize) -> Result<TokenIds, TextError> {
        let most = (max_tokens.saturating_mul(BYTES_PER_TOKEN)).saturating_add(WHITE_SPACE).min(text.len());
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let mut pieces =
            guarded(|| self.inner.encode_fast(&text[..end], false)).map_err(TextError::Encode)?;
        if pieces.is_empty() {
            return Err(TextError::Empty);
        }
        let most = max_tokens.saturating_sub(self.added()).max(1);
        let is_cut = pieces.len() > most || end < text.len();
        pieces.truncate(most, 0, TruncationParams::default().direction);
        let whole = guarded(|| self.inner.post_process(pieces, None, true)).map_err(TextError::Encode)?;
        Ok(token_ids(&whole, is_cut))
    }

    /// Tokens that are added to a text.
    fn added(&self) -> usize {
        use tokenizers::PostProcessor;
        self.inner.get_post_processor().map_or(0, |post| post.added_tokens(false))
    }

    /// Tokens as a text, those that are added left out.
    ///
    /// # Errors
    /// When the tokenizer cannot say.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        guarded(|| self.inner.decode(ids, true)).map_err(TextError::Encode)
    }
}

fn token_ids(encoding: &Encoding, is_cut: bool) -> TokenIds {
    let special = encoding.get_special_tokens_mask();
    // A first token that is added stands for the whole text where something follows the text too, or words do.
    let class = special.first() == Some(&1) && special.len() > 1;
    let role = |(place, special): (usize, &u32)| match (place, special) {
        (_, 0) => Role::Word,
        (0, _) if class => Role::Class,
        _ => Role::Separator,
    };
    let roles = special.iter().enumerate().map(role).collect();
    TokenIds { ids: encoding.get_ids().to_vec(), roles, is_cut }
}

/// What the crate answers, its error in one line. It panics on what it does not expect of a file.
fn guarded<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(answer) => answer.map_err(|error| one_line(&error.to_string())),
        Err(_) => Err("it made the `tokenizers` library panic".to_owned()),
    }
}

fn one_line(text: &str) -> String {
    let shown: String = text.chars().take(200).collect();
    beginning(&shown.split_whitespace().collect::<Vec<_>>().join(" "), 200)
}
