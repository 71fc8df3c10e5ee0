//! What a model of texts has beside its weights: a tokenizer, and how sentence-transformers read it.

use crate::families::text::{AnswerLength, TextConfig, TextPool};
use crate::network::Config;
use crate::open::{ModelError, read_json};
use crate::registry::Architecture;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tokmerge_data::text::{TOKENIZER_FILE, TextProcessor, Tokenizer};
use tokmerge_data::{ImageProcessor, Processor};

/// Its list of what stands behind each other.
const MODULES: &str = "modules.json";
/// Settings of transformers' tokenizers.
const TOKENIZER_SETTINGS: &str = "tokenizer_config.json";
/// What it knows of the encoder.
const SENTENCE_BERT: &str = "sentence_bert_config.json";

/// Changes what the answer is read off to what sentence-transformers says, where the folder is one of its.
///
/// # Errors
/// When it says what is not understood.
pub(crate) fn as_sentence_encoder(dir: &Path, config: &mut TextConfig) -> Result<(), ModelError> {
    let path = dir.join(MODULES);
    if !path.is_file() {
        if dir.join(SENTENCE_BERT).is_file() {
            (config.pool, config.length) = (TextPool::Average, AnswerLength::Unit);
        }
        return Ok(());
    }
    let refused = |path: &Path, reason: String| ModelError::Preprocessor { path: path.to_owned(), reason };
    let modules = read_json(&path)?;
    let list = modules.as_array().ok_or_else(|| refused(&path, "must be a list of modules".to_owned()))?;
    for module in list {
        let text = |name| module.get(name).and_then(Value::as_str).unwrap_or_default();
        match text("type").rsplit('.').next().unwrap_or_default() {
            "Transformer" => {}
            "Pooling" => {
                // A name within the folder, never a way out of it.
                let folder = text("path");
                let inside = !folder.contains(['/', '\\']) && !folder.contains("..");
                let file = dir.join(if inside { folder } else { "" }).join("config.json");
                config.pool = pool(&read_json(&file)?).map_err(|reason| refused(&file, reason))?;
            }
            "Normalize" => config.length = AnswerLength::Unit,
            other => {
                let other = tokmerge_checkpoint::quoted(other);
                let reason =
                    format!("has the module {other}, and understood are Transformer, Pooling and Normalize");
                return Err(refused(&path, reason));
            }
        }
    }
    Ok(())
}

fn pool(config: &Value) -> Result<TextPool, String> {
    let is = |name: &str| config.get(name).and_then(Value::as_bool) == Some(true);
    let chosen: Vec<&str> = config
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| name.starts_with("pooling_mode_") && value.as_bool() == Some(true))
        .map(|(name, _)| name.as_str())
        .collect();
    match chosen[..] {
        [_] if is("pooling_mode_mean_tokens") => Ok(TextPool::Average),
        [_] if is("pooling_mode_cls_token") => Ok(TextPool::Class),
        _ => Err(format!(
            "pools by {}, and understood are pooling_mode_mean_tokens and pooling_mode_cls_token, one of them",
            if chosen.is_empty() { "nothing".to_owned() } else { chosen.join(" and ") }
        )),
    }
}

/// What the tokenizer's settings fill texts with, if they say so and the tokenizer knows it.
fn pad_token(dir: &Path, tokenizer: &Tokenizer) -> Result<Option<u32>, ModelError> {
    let path = dir.join(TOKENIZER_SETTINGS);
    if !path.is_file() {
        return Ok(None);
    }
    let settings = read_json(&path)?;
    // Older files write a token as an object.
    let token = settings.get("pad_token").map(|token| token.get("content").unwrap_or(token));
    Ok(token.and_then(Value::as_str).and_then(|token| tokenizer.id(token)))
}

/// Gives a model of texts or questions the tokenizer of a folder, if it has one.
///
/// # Errors
/// When it cannot be read, or is that of another model.
pub(crate) fn with_tokenizer_of(dir: &Path, architecture: &mut Architecture) -> Result<(), ModelError> {
    let (processor, vocabulary, end) = match (&mut architecture.processor, &architecture.config) {
        (Processor::Text(processor), Config::Text(config)) => {
            // What is written from is ended as what is written.
            (processor, config.vocabulary, config.decoder.map(|decoder| decoder.end))
        }
        (Processor::Question(processor), Config::Vilt(config)) => {
            (&mut processor.text, config.vocabulary, None)
        }
        (Processor::Question(processor), Config::Pali(config)) => {
            let end = config.text.decoder.map(|decoder| decoder.end);
            (&mut processor.text, config.text.vocabulary, end)
        }
        _ => return Ok(()),
    };
    *processor = with_tokenizer(dir, processor, vocabulary, end)?;
    Ok(())
}

/// The same preparation with the tokenizer of a folder, if it has one, for a model with a table of `vocabulary` rows whose
/// texts end with `end`.
///
/// # Errors
/// When it cannot be read, or is that of another model.
pub(crate) fn with_tokenizer(
    dir: &Path,
    processor: &TextProcessor,
    vocabulary: usize,
    end: Option<u32>,
) -> Result<TextProcessor, ModelError> {
    let path = dir.join(TOKENIZER_FILE);
    if !path.exists() {
        return Ok(processor.clone());
    }
    let tokenizer = Tokenizer::open(&path).map_err(ModelError::Tokenizer)?;
    tokenizer.check(vocabulary).map_err(ModelError::Tokenizer)?;
    let filler = match processor.filler() {
        Some(own) => Some(pad_token(dir, &tokenizer)?.unwrap_or(own)),
        None => None,
    };
    let mut processor = processor.clone().with_tokenizer(Arc::new(tokenizer));
    if let Some(filler) = filler {
        processor = processor.filled_with(filler);
    }
    Ok(match end {
        Some(end) => processor.ended_by(end),
        None => processor,
    })
}

impl Architecture {
    /// The same of a ViLT for random weights and pictures whose shorter side is `side` pixels, and whose longer side is at most
    /// 5/3 of it; unchanged where the model is none.
    #[must_use]
    pub fn with_shorter_side(mut self, side: usize) -> Self {
        if let (Processor::Question(processor), Config::Vilt(config)) =
            (&mut self.processor, &mut self.config)
            && let ImageProcessor::Vilt(picture) = &mut processor.picture
        {
            picture.shorter = side;
            picture.longer = side.saturating_mul(5) / 3;
            picture.patch_size = config.patch_size;
            *config = config.clone().with_side(side);
        }
        self
    }

    /// The same with the pictures of a question cut into the model's patches; unchanged where pictures have one size.
    #[must_use]
    pub fn with_own_patches(mut self) -> Self {
        if let (Processor::Question(processor), Config::Vilt(config)) =
            (&mut self.processor, &mut self.config)
            && let ImageProcessor::Vilt(picture) = &mut processor.picture
        {
            picture.patch_size = config.patch_size;
            config.patches = picture.most_patches();
        }
        self
    }

    /// The same for random weights and texts cut by this tokenizer, with a table of so many rows; unchanged where the model takes
    /// no texts.
    #[must_use]
    pub fn with_tokenizer(mut self, tokenizer: Arc<Tokenizer>, rows: usize) -> Self {
        match (&mut self.processor, &mut self.config) {
            (Processor::Text(processor), Config::Text(config)) => {
                config.vocabulary = rows;
                *processor = processor.clone().with_tokenizer(tokenizer);
                if let Some(decoder) = config.decoder {
                    *processor = processor.clone().ended_by(decoder.end);
                }
            }
            (Processor::Question(processor), Config::Vilt(config)) => {
                config.vocabulary = rows;
                processor.text = processor.text.clone().with_tokenizer(tokenizer);
            }
            (Processor::Question(processor), Config::Pali(config)) => {
                config.text.vocabulary = rows;
                processor.text = processor.text.clone().with_tokenizer(tokenizer);
                if let Some(decoder) = config.text.decoder {
                    processor.text = processor.text.clone().ended_by(decoder.end);
                }
            }
            _ => {}
        }
        self
    }
}
