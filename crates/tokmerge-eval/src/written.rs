//! How well a model writes what is to be written: translations, answers.

use crate::asked::{Texts, each_asked};
use crate::questions::{Judge, QuestionsAccuracy};
use crate::{Accuracy, EvalError, Observer};
use serde::Serialize;
use std::time::Instant;
use tokmerge_data::text::{TextError, TextPair, TokenIds};
use tokmerge_data::{Processor, QuestionList, Reading};
use tokmerge_merge::{Method, Reduction};
use tokmerge_metrics::{Bleu, ChrF, Tokenizer};
use tokmerge_models::{Batch, Convention, GenerateError, GenerateOptions, Model, MostTokens};

/// How texts are written and counted.
#[derive(Clone, Copy, Debug)]
pub struct WrittenOptions {
    /// Texts per pass of the encoder; of questions the reading says it.
    pub batch_size: usize,
    /// How they are written.
    pub generate: GenerateOptions,
    /// How words are cut for BLEU.
    pub tokenizer: Tokenizer,
    /// How operations are counted.
    pub convention: Convention,
}

/// Tokens of an answer to a question at most, the end included.
pub const MOST_OF_ANSWER: usize = 8;

impl WrittenOptions {
    /// Those of answers to questions, which are short.
    #[must_use]
    pub fn of_answers() -> Self {
        let length = MostTokens::Fixed(MOST_OF_ANSWER);
        Self { generate: GenerateOptions { length, ..GenerateOptions::default() }, ..Self::default() }
    }
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
    /// Those whose end is not read, since the model has no room for it.
    pub cut_texts: usize,
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
    #[error(
        "the model takes {media}, and what is to be written is for models that take texts or questions and write"
    )]
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
    /// No picture can be read, or a question cannot be asked or judged.
    #[error(transparent)]
    Question(#[from] EvalError),
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
/// all alike; by the unmerged model too, for the agreement. The observer is told how many texts are done.
///
/// # Errors
/// When the model writes no texts, a text cannot be read, or an output is not finite.
pub fn evaluate_written(
    model: &Model,
    reductions: &[Reduction],
    pairs: &[TextPair],
    options: &WrittenOptions,
    observer: &mut dyn Observer,
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
    let cut_texts = sources.iter().filter(|tokens| tokens.is_cut).count();
    let mut writing = Writing::new(model, reductions, options);
    for batch in sources.chunks(options.batch_size.max(1)) {
        writing.write(&Batch::from(&batch.to_vec()))?;
        observer.done(batch.len());
    }
    let targets: Vec<&str> = pairs.iter().map(|pair| pair.target.as_str()).collect();
    writing.results(&targets, cut_texts)
}

/// What a method makes of questions that it answers in words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnswersAccuracy {
    /// How good the answers are; their times are those of encoding and writing.
    #[serde(flatten)]
    pub answers: QuestionsAccuracy,
    /// Tokens that were written over the same seconds.
    pub tokens_per_second: f64,
}

/// What several methods write to the questions of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswersEvaluation {
    /// One for each method.
    pub accuracies: Vec<AnswersAccuracy>,
    /// Questions whose end is left out, since the model has no room for it.
    pub cut: usize,
}

/// Writes the answer to every question of a list by several methods, batch by batch in turn, and judges it as
/// [`evaluate_questions`](crate::evaluate_questions) does. Questions about a picture that cannot be read are left out, and the
/// observer is told. As many are answered at once as `reading` has in a batch.
///
/// # Errors
/// When the model answers no questions in words, no picture can be read, nothing is left of a question, a question has neither one
/// answer nor ten, or an output is not finite.
pub fn evaluate_answers(
    model: &Model,
    reductions: &[Reduction],
    list: &QuestionList,
    options: &WrittenOptions,
    reading: Reading,
    observer: &mut dyn Observer,
) -> Result<AnswersEvaluation, WrittenError> {
    let Processor::Question(processor) = model.processor() else {
        return Err(WrittenError::NoTexts { media: model.media().words() });
    };
    let judges: Vec<Judge> = list.questions().iter().map(Judge::of).collect::<Result<_, _>>()?;
    let texts = Texts::of(list, processor)?;
    let mut writing = Writing::new(model, reductions, options);
    let mut asked: Vec<usize> = Vec::new();
    let start = Instant::now();
    each_asked(list, &texts, processor, reading, observer, |batch, _| {
        asked.extend(batch.questions);
        writing.write(&batch.batch)
    })?;
    let run_seconds = start.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    let of = |(reduction, tally): (&Reduction, &Tally)| {
        let mut scores = vec![None; list.questions().len()];
        for (question, text) in asked.iter().zip(&tally.texts) {
            scores[*question] = Some(judges[*question].score(text));
        }
        let (questions, seconds) = (asked.len() as f64, tally.seconds.max(f64::MIN_POSITIVE));
        let answers = QuestionsAccuracy {
            merge: reduction.method().to_string(),
            agreement: writing.agreement(tally),
            model_questions_per_second: questions / seconds,
            run_questions_per_second: questions / run_seconds,
            gmacs: tally.gmacs / questions.max(1.0),
            mean_tokens: tally.left as f64 / questions.max(1.0),
            ..QuestionsAccuracy::judged(list, &judges, &scores)
        };
        AnswersAccuracy { answers, tokens_per_second: tally.written as f64 / seconds }
    };
    let accuracies = reductions.iter().zip(&writing.of_methods).map(of).collect();
    Ok(AnswersEvaluation { accuracies, cut: texts.cut })
}

/// What every method has written so far, and the unmerged model if it is none of them.
struct Writing<'a> {
    model: &'a Model,
    reductions: &'a [Reduction],
    options: &'a WrittenOptions,
    of_methods: Vec<Tally>,
    reference: Option<Tally>,
}

impl<'a> Writing<'a> {
    fn new(model: &'a Model, reductions: &'a [Reduction], options: &'a WrittenOptions) -> Self {
        let of_methods = reductions.iter().map(|_| Tally::default()).collect();
        let reference = match reductions.iter().any(|reduction| *reduction.method() == Method::None) {
            true => None,
            false => Some(Tally::default()),
        };
        Self { model, reductions, options, of_methods, reference }
    }

    /// Writes what is to be written of another batch, all methods in turn.
    fn write(&mut self, batch: &Batch) -> Result<(), WrittenError> {
        for (reduction, tally) in self.reductions.iter().zip(&mut self.of_methods) {
            write(self.model, reduction, batch, self.options, tally)?;
        }
        match &mut self.reference {
            Some(reference) => write(self.model, &Reduction::none(), batch, self.options, reference),
            None => Ok(()),
        }
    }

    /// Percent of what a method has written that is what the unmerged model has written.
    fn agreement(&self, tally: &Tally) -> f64 {
        let unmerged = self.reductions.iter().position(|reduction| *reduction.method() == Method::None);
        let reference = self.reference.as_ref().or_else(|| self.of_methods.get(unmerged?));
        let reference = reference.map_or(&[][..], |tally| &tally.texts);
        let same = tally.texts.iter().zip(reference).filter(|(text, other)| text == other);
        100.0 * same.count() as f64 / tally.texts.len().max(1) as f64
    }

    fn results(&self, targets: &[&str], cut_texts: usize) -> Result<Vec<WrittenAccuracy>, WrittenError> {
        let bleu = Bleu { tokenizer: self.options.tokenizer, ..Bleu::default() };
        let result = |(reduction, tally): (&Reduction, &Tally)| {
            let texts = tally.texts.len().max(1) as f64;
            let seconds = tally.seconds.max(f64::MIN_POSITIVE);
            let exact = tally.texts.iter().zip(targets).filter(|(text, target)| text == *target);
            Ok(WrittenAccuracy {
                merge: reduction.method().to_string(),
                texts: tally.texts.len(),
                cut_texts,
                bleu: bleu.corpus(&tally.texts, &[targets])?.score,
                chrf: ChrF::Characters.corpus(&tally.texts, &[targets])?.score,
                exact: 100.0 * exact.count() as f64 / texts,
                agreement: self.agreement(tally),
                texts_per_second: texts / seconds,
                tokens_per_second: tally.written as f64 / seconds,
                gmacs: tally.gmacs / texts,
                mean_tokens: tally.left as f64 / texts,
            })
        };
        self.reductions.iter().zip(&self.of_methods).map(result).collect()
    }
}

fn write(
    model: &Model,
    reduction: &Reduction,
    batch: &Batch,
    options: &WrittenOptions,
    tally: &mut Tally,
) -> Result<(), WrittenError> {
    let tokenizer = model.processor().tokenizer().ok_or(TextError::NoTokenizer)?;
    let end = model.network().decoder().map(|(decoder, _)| decoder.config().end);
    let start = Instant::now();
    let generated = model.generate(batch.clone(), reduction, &options.generate)?;
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
