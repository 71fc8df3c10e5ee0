//! Pictures and questions to answers.

use serde::Serialize;
use std::time::Instant;
use tokmerge_data::text::TextError;
use tokmerge_data::{
    Asked, MediaError, Prepared, PreprocessError, Processor, Question, QuestionProcessor, Rgb,
};
use tokmerge_merge::Reduction;
use tokmerge_models::{
    Batch, Convention, GenerateError, GenerateOptions, Generated, Hypothesis, Model, ModelError, MostTokens,
    NotFinite, Probability,
};

/// One answer that a model considers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// The answer, or `answer 281` where a model chooses among answers whose words are not known.
    pub answer: String,
    /// How the model came to it.
    #[serde(flatten)]
    pub by: AnsweredBy,
}

/// How a model comes to an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AnsweredBy {
    /// It knows a number of answers (ViLT).
    Choice {
        /// Index of the answer.
        index: usize,
        /// Sigmoid of the logit: how good an answer it is by itself. Several may be right, and these do not sum up to 1.
        probability: f32,
        /// The model's output.
        logit: f32,
    },
    /// It writes them (PaLI).
    Writing {
        /// The tokens, the end included where it was reached.
        ids: Vec<u32>,
        /// Their sum of log probabilities, divided as the length penalty says.
        score: f64,
    },
}

/// What is wanted of answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AskOptions {
    /// Answers per question at most; of a model that writes, as many as are followed side by side.
    pub topk: usize,
    /// How a model that writes does it.
    pub writing: GenerateOptions,
    /// What is counted as an operation.
    pub convention: Convention,
}

impl Default for AskOptions {
    /// Five answers, of at most 20 tokens where they are written.
    fn default() -> Self {
        let writing = GenerateOptions { length: MostTokens::Fixed(20), ..GenerateOptions::default() };
        Self { topk: 5, writing, convention: Convention::default() }
    }
}

/// What a model answers to one question, and what that took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answered {
    /// The best answers, the best first.
    pub top: Vec<Answer>,
    /// Billions of multiply-adds; of a model that writes, before it does.
    pub gmacs: f64,
    /// Tokens that the method leaves for the MLP of each block, those of the question included.
    pub tokens: Vec<usize>,
    /// Milliseconds of its batch, writing included, divided by the questions in it.
    pub ms: f64,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The model takes something else.
    #[error(
        "{model} takes {media}, and answers no questions about pictures; give a model that does, such as a folder of \
         transformers' ViltForQuestionAnswering, or one of a SigLIP tower with a T5"
    )]
    NoQuestions {
        /// The model.
        model: String,
        /// What it takes.
        media: &'static str,
    },
    /// The model has no classifier of answers.
    #[error(transparent)]
    NoAnswers(ModelError),
    /// The question cannot be read.
    #[error("question {number}: {source}")]
    Question {
        /// Which, from 1.
        number: usize,
        /// Why.
        source: TextError,
    },
    /// The picture cannot be brought to a size that the model takes.
    #[error(transparent)]
    Picture(#[from] PreprocessError),
    /// The picture was prepared otherwise.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The answer cannot be written.
    #[error(transparent)]
    Writing(#[from] GenerateError),
    /// What was written are no tokens of the tokenizer.
    #[error(transparent)]
    Words(TextError),
    /// An output is no number.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
}

/// How a model takes pictures and questions.
///
/// # Errors
/// When it takes something else, or has no answers.
pub fn question_processor(model: &Model) -> Result<&QuestionProcessor, AskError> {
    let Processor::Question(processor) = model.processor() else {
        return Err(AskError::NoQuestions { model: model.name(), media: model.media().words() });
    };
    if !model.config().writes() {
        model.require_head().map_err(AskError::NoAnswers)?;
    }
    Ok(processor)
}

/// A picture with each of some questions, as one batch; and the questions as the model sees them.
///
/// # Errors
/// When the model answers no questions, nothing is left of a question, or the picture is too thin.
pub fn questions(
    model: &Model,
    picture: &Rgb,
    questions: &[impl AsRef<str>],
) -> Result<(Batch, Vec<Question>), AskError> {
    let processor = question_processor(model)?;
    let read = |(index, text): (usize, &_)| {
        let text: &str = AsRef::as_ref(text);
        let wrong = |source| AskError::Question { number: index + 1, source };
        processor.question(text).map_err(wrong)
    };
    let read: Vec<Question> = questions.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    let picture = processor.picture.fit(picture)?;
    let asked = |question: &Question| {
        Prepared::Question(Asked { picture: picture.clone(), tokens: question.tokens.clone() })
    };
    let batch = model.batch(&read.iter().map(asked).collect::<Vec<_>>())?;
    Ok((batch, read))
}

/// Asks about a picture, all questions in one batch.
///
/// # Errors
/// When the model answers no questions, nothing is left of a question, the picture is too thin, or an output is not finite.
pub fn ask(
    model: &Model,
    reduction: &Reduction,
    picture: &Rgb,
    asked: &[impl AsRef<str>],
    options: &AskOptions,
) -> Result<Vec<Answered>, AskError> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let (batch, _) = questions(model, picture, asked)?;
    answer_batch(model, reduction, batch, options)
}

/// Answers what was prepared by [`questions`].
///
/// # Errors
/// When the model answers no questions, or an output is not finite.
///
/// # Panics
/// When the batch is none of the model's input.
pub fn answer_batch(
    model: &Model,
    reduction: &Reduction,
    batch: Batch,
    options: &AskOptions,
) -> Result<Vec<Answered>, AskError> {
    match model.config().writes() {
        true => written(model, reduction, batch, options),
        false => chosen(model, reduction, batch, options),
    }
}

fn written(
    model: &Model,
    reduction: &Reduction,
    batch: Batch,
    options: &AskOptions,
) -> Result<Vec<Answered>, AskError> {
    let tokenizer =
        question_processor(model)?.text.tokenizer().ok_or(AskError::Words(TextError::NoTokenizer))?;
    let end = model.network().decoder().map(|(decoder, _)| decoder.config().end);
    let start = Instant::now();
    let Generated { texts, trace } = model.generate(batch, reduction, &options.writing)?;
    let ms = start.elapsed().as_secs_f64() * 1e3 / texts.len().max(1) as f64;
    let answer = |text: &Hypothesis| {
        let answer = tokenizer.decode(text.words(end)).map_err(AskError::Words)?.trim().to_owned();
        Ok(Answer { answer, by: AnsweredBy::Writing { ids: text.ids.clone(), score: text.score } })
    };
    let answered = texts.iter().enumerate().map(|(item, texts)| {
        let top = texts.iter().take(options.topk).map(answer).collect::<Result<_, AskError>>()?;
        let tokens = model.layer_tokens(&trace, item).iter().map(|layer| layer.fed).collect();
        Ok(Answered { top, gmacs: model.gmacs(&trace, item, reduction, options.convention), tokens, ms })
    });
    answered.collect()
}

fn chosen(
    model: &Model,
    reduction: &Reduction,
    batch: Batch,
    options: &AskOptions,
) -> Result<Vec<Answered>, AskError> {
    let measured = model.measure(batch, reduction, options.convention)?;
    let ms = measured.seconds * 1e3 / measured.logits.len().max(1) as f64;
    let answered = measured.logits.iter().enumerate().map(|(item, logits)| {
        let probabilities = Probability::Sigmoid.of(logits);
        let answer = |(index, logit): (usize, f32)| Answer {
            answer: model.class_names().get(index).map_or_else(|| format!("answer {index}"), Clone::clone),
            by: AnsweredBy::Choice { index, probability: probabilities[index], logit },
        };
        let top = tokmerge_eval::top(logits, options.topk).into_iter().map(answer).collect();
        Answered { top, gmacs: measured.gmacs[item], tokens: measured.tokens[item].clone(), ms }
    });
    Ok(answered.collect())
}
