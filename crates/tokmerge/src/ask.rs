//! Pictures and questions to answers.

use serde::Serialize;
use tokmerge_data::text::TextError;
use tokmerge_data::{
    Asked, MediaError, Prepared, PreprocessError, Processor, Question, QuestionProcessor, Rgb,
};
use tokmerge_merge::Reduction;
use tokmerge_models::{Batch, Convention, Model, ModelError, NotFinite, Probability};

/// One answer that a model considers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// Index of the answer.
    pub index: usize,
    /// The answer, or `answer 281` where answers are not known.
    pub answer: String,
    /// Sigmoid of the logit: how good an answer it is by itself. Several may be right, and these do not sum up to 1.
    pub probability: f32,
    /// The model's output.
    pub logit: f32,
}

/// What a model answers to one question, and what that took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answered {
    /// The best answers, the best first.
    pub top: Vec<Answer>,
    /// Billions of multiply-adds.
    pub gmacs: f64,
    /// Tokens that the method leaves for the MLP of each block, those of the question included.
    pub tokens: Vec<usize>,
    /// Milliseconds of the forward pass of its batch, divided by the questions in it.
    pub ms: f64,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The model takes something else.
    #[error(
        "{model} takes {media}, and answers no questions about pictures; give a model that does, such as a folder of \
         transformers' ViltForQuestionAnswering"
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
    model.require_head().map_err(AskError::NoAnswers)?;
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
    topk: usize,
    convention: Convention,
) -> Result<Vec<Answered>, AskError> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let (batch, _) = questions(model, picture, asked)?;
    answer_batch(model, reduction, batch, topk, convention)
}

/// Answers what was prepared by [`questions`].
///
/// # Errors
/// When an output is not finite.
///
/// # Panics
/// When the batch is none of the model's input.
pub fn answer_batch(
    model: &Model,
    reduction: &Reduction,
    batch: Batch,
    topk: usize,
    convention: Convention,
) -> Result<Vec<Answered>, AskError> {
    let measured = model.measure(batch, reduction, convention)?;
    let ms = measured.seconds * 1e3 / measured.logits.len().max(1) as f64;
    let answered = measured.logits.iter().enumerate().map(|(item, logits)| {
        let probabilities = Probability::Sigmoid.of(logits);
        let answer = |(index, logit): (usize, f32)| Answer {
            index,
            answer: model.class_names().get(index).map_or_else(|| format!("answer {index}"), Clone::clone),
            probability: probabilities[index],
            logit,
        };
        let top = tokmerge_eval::top(logits, topk).into_iter().map(answer).collect();
        Answered { top, gmacs: measured.gmacs[item], tokens: measured.tokens[item].clone(), ms }
    });
    Ok(answered.collect())
}
