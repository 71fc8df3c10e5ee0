//! How well a model writes what is to be written: translations, answers.

use crate::Accuracy;
use serde::Serialize;
use std::time::Instant;
use tokmerge_data::text::{TextError, TextPair, TextProcessor, TokenIds};
use tokmerge_merge::{Method, Reduction};
use tokmerge_metrics::{Bleu, ChrF, Tokenizer};
use tokmerge_models::{Convention, GenerateError, GenerateOptions, Model};

/// How texts are written and counted.
#[derive(Clone, Copy, Debug)]
pub struct WrittenOptions {
    /// Texts per pass of the encoder.
    pub batch_size: usize,
    /// How they are written.
    pub generate: GenerateOptions,
    /// How words are cut for BLEU.
    pub tokenizer: Tokenizer,
    /// How operations are counted.
    pub convention: Convention,
}

impl Default for WrittenOptions {
    /// Batches of 32, the most likely token each time, BLEU as sacrebleu has it by default.
    fn default() -> Self {
        Self {
            batch_size: 32,
            generate: GenerateOptions::default(),
            tokenizer: Tokenizer::V13a,
            convention: Convention::Fvcore,
        }
    }
}

/// What one method makes of texts of which others are to be written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrittenAccuracy {
    /// The method, as a spec.
    pub merge: String,
    /// Texts.
    pub texts: usize,
    /// BLEU of all texts.
    pub bleu: f64,
    /// chrF of all texts.
    pub chrf: f64,
    /// Percent of texts that are what they should be, letter for letter.
    pub exact: f64,
    /// Percent of texts that are those of the unmerged model, letter for letter.
    pub agreement: f64,
    /// Texts over the seconds of encoding and writing.
    pub texts_per_second: f64,
    /// Tokens that were written over the same seconds.
    pub tokens_per_second: f64,
    /// Billions of multiply-adds of a text, encoded and written, in the mean.
    pub gmacs: f64,
    /// Tokens of a text after the last block of the encoder, in the mean.
    pub mean_tokens: f64,
}

impl From<WrittenAccuracy> for Accuracy {
    fn from(written: WrittenAccuracy) -> Self {
        Self {
            merge: written.merge,
            images: written.texts,
            top1: Some(written.exact),
            top5: None,
            mean_average_precision: None,
            bleu: Some(written.bleu),
            agreement: written.agreement,
            model_images_per_second: written.texts_per_second,
            run_images_per_second: written.texts_per_second,
            gmacs: written.gmacs,
            mean_tokens: written.mean_tokens,
        }
    }
}

/// Why texts were not written or not judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WrittenError {
    /// The model takes something else.
    #[error("the model takes {media}, and pairs of texts are for models that take texts and write others")]
    NoTexts {
        /// What it takes.
        media: &'static str,
    },
    /// A text cannot be read.
    #[error("pair {pair}: {source}")]
    Text {
        /// From 1.
        pair: usize,
        /// Why.
        source: TextError,
    },
    /// Nothing can be written.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// What was written is no text.
    #[error(transparent)]
    Decode(#[from] TextError),
    /// There is nothing to judge.
    #[error(transparent)]
    Judge(#[from] tokmerge_metrics::TextError),
}

/// What a method has written.
#[derive(Default)]
struct Tally {
    texts: Vec<String>,
    seconds: f64,
    written: usize,
    left: usize,
    gmacs: f64,
}

/// Writes the target of every pair by several methods, batch by batch in turn, so that a drift of the machine's speed hits
/// all alike; by the unmerged model too, for the agreement. `done` is told how many texts a method has written.
///
/// # Errors
/// When the model writes no texts, a text cannot be read, or an output is not finite.
pub fn evaluate_written(
    model: &Model,
    reductions: &[Reduction],
    pairs: &[TextPair],
    options: &WrittenOptions,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<WrittenAccuracy>, WrittenError> {
    let media = model.media().words();
    let processor = model.processor().text().ok_or(WrittenError::NoTexts { media })?;
    let sources: Vec<TokenIds> = pairs
        .iter()
        .enumerate()
        .map(|(at, pair)| {
            processor.encode(&pair.source).map_err(|source| WrittenError::Text { pair: at + 1, source })
        })
        .collect::<Result<_, _>>()?;
    let none = Reduction::none();
    let unmerged = reductions.iter().position(|reduction| *reduction.method() == Method::None);
    let mut tallies: Vec<Tally> = reductions.iter().map(|_| Tally::default()).collect();
    let mut reference = Tally::default();
    for batch in sources.chunks(options.batch_size.max(1)) {
        for (reduction, tally) in reductions.iter().zip(&mut tallies) {
            write(model, processor, reduction, batch, options, tally)?;
            done(batch.len());
        }
        if unmerged.is_none() {
            write(model, processor, &none, batch, options, &mut reference)?;
        }
    }
    let unmerged = unmerged.map_or(&reference, |index| &tallies[index]);
    let targets: Vec<&str> = pairs.iter().map(|pair| pair.target.as_str()).collect();
    let percent = |tally: &Tally, others: &[&str]| {
        let same = tally.texts.iter().zip(others).filter(|(text, other)| text.as_str() == **other).count();
        100.0 * same as f64 / others.len().max(1) as f64
    };
    let texts_of = |tally: &Tally| tally.texts.len().max(1) as f64;
    let result = |(reduction, tally): (&Reduction, &Tally)| {
        let bleu = Bleu { tokenizer: options.tokenizer, ..Bleu::default() };
        let seconds = tally.seconds.max(f64::MIN_POSITIVE);
        let others: Vec<&str> = unmerged.texts.iter().map(String::as_str).collect();
        Ok(WrittenAccuracy {
            merge: reduction.method().to_string(),
            texts: tally.texts.len(),
            bleu: bleu.corpus(&tally.texts, &[&targets])?.score,
            chrf: ChrF::Characters.corpus(&tally.texts, &[&targets])?.score,
            exact: percent(tally, &targets),
            agreement: percent(tally, &others),
            texts_per_second: tally.texts.len() as f64 / seconds,
            tokens_per_second: tally.written as f64 / seconds,
            gmacs: tally.gmacs / texts_of(tally),
            mean_tokens: tally.left as f64 / texts_of(tally),
        })
    };
    reductions.iter().zip(&tallies).map(result).collect()
}

fn write(
    model: &Model,
    processor: &TextProcessor,
    reduction: &Reduction,
    batch: &[TokenIds],
    options: &WrittenOptions,
    tally: &mut Tally,
) -> Result<(), WrittenError> {
    let tokenizer = processor.tokenizer().ok_or(TextError::NoTokenizer)?;
    let end = model.network().decoder().map(|(decoder, _)| decoder.config().end);
    let start = Instant::now();
    let generated = model.generate(batch, reduction, &options.generate)?;
    tally.seconds += start.elapsed().as_secs_f64();
    for (item, texts) in generated.texts.iter().enumerate() {
        let ids = texts.first().map_or(&[][..], |best| &best.ids);
        let words = texts.first().map_or(&[][..], |best| best.words(end));
        tally.texts.push(tokenizer.decode(words)?.trim().to_owned());
        let left = model.tokens_left(&generated.trace, item);
        tally.written += ids.len();
        tally.left += left;
        tally.gmacs += model.gmacs(&generated.trace, item, reduction, options.convention);
        let writing = model.config().writing_cost(left, ids.len());
        tally.gmacs += writing.map_or(0.0, |work| work.count(options.convention) / 1e9);
    }
    Ok(())
}
