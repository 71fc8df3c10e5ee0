//! Questions of a list with the pictures that they are about, in batches.

use crate::batches::each_batch;
use crate::{EvalError, Observer};
use std::collections::HashMap;
use std::ops::Range;
use tokmerge_data::text::TokenIds;
use tokmerge_data::{ImageProcessor, Processor, Question, QuestionList, QuestionProcessor, Reading, Sample};
use tokmerge_models::Batch;

/// Questions that are asked together.
#[derive(Default)]
pub(crate) struct AskedBatch {
    pub(crate) batch: Batch,
    /// Their places in the list.
    pub(crate) questions: Vec<usize>,
}

impl AskedBatch {
    fn add(&mut self, question: usize, picture: &[f32], grid: Option<(usize, usize)>, tokens: TokenIds) {
        self.batch.values.extend_from_slice(picture);
        if let Some(grid) = grid {
            self.batch.grids.get_or_insert_default().push(grid);
        }
        self.batch.texts.push(tokens);
        self.questions.push(question);
    }
}

/// Hands the questions batch by batch to `ask`. Consecutive ones about one picture are asked about it as it was read once; those
/// about a picture that cannot be read are left out, and the observer is told.
///
/// # Errors
/// When the reading cannot start, `ask` fails, or no picture could be read.
pub(crate) fn each_asked<E: From<EvalError>>(
    list: &QuestionList,
    texts: &Texts,
    processor: &QuestionProcessor,
    reading: Reading,
    observer: &mut dyn Observer,
    mut ask: impl FnMut(AskedBatch, &mut dyn Observer) -> Result<(), E>,
) -> Result<(), E> {
    let runs: Vec<Range<usize>> = list.runs().collect();
    // The label of a picture is the place of its run.
    let sample = |(index, run): (usize, &Range<usize>)| {
        let path = list.picture_of(&list.questions()[run.start]).to_owned();
        Sample { path, label: Some(index) }
    };
    let samples = runs.iter().enumerate().map(sample).collect();
    let values_of_patch = match &processor.picture {
        ImageProcessor::Vilt(picture) => 3 * picture.patch_size * picture.patch_size,
        _ => 0,
    };
    let pictures = Processor::from(processor.picture.clone());
    let mut pending = AskedBatch::default();
    each_batch(samples, pictures, reading, observer, |read, observer| -> Result<(), E> {
        let mut values = &read.values[..];
        let of_one = values.len() / read.samples.len().max(1);
        for (item, sample) in read.samples.iter().enumerate() {
            let grid = read.grids.as_ref().map(|grids| grids[item]);
            let (picture, rest) =
                values.split_at(grid.map_or(of_one, |(rows, columns)| rows * columns * values_of_patch));
            values = rest;
            for question in sample.label.and_then(|run| runs.get(run)).cloned().into_iter().flatten() {
                pending.add(question, picture, grid, texts.tokens(question).clone());
                if pending.questions.len() == reading.batch_size {
                    ask(std::mem::take(&mut pending), observer)?;
                }
            }
        }
        Ok(())
    })?;
    match pending.questions.is_empty() {
        true => Ok(()),
        false => ask(pending, observer),
    }
}

/// The questions as the model takes them; a text that is asked often is read once.
pub(crate) struct Texts {
    distinct: Vec<TokenIds>,
    /// Which of them every question is.
    places: Vec<usize>,
    /// Questions whose end is left out.
    pub(crate) cut: usize,
}

impl Texts {
    /// # Errors
    /// When nothing is left of a question.
    pub(crate) fn of(list: &QuestionList, processor: &QuestionProcessor) -> Result<Self, EvalError> {
        let mut known: HashMap<&str, (usize, bool)> = HashMap::new();
        let mut texts = Self { distinct: Vec::new(), places: Vec::new(), cut: 0 };
        for question in list.questions() {
            let (place, is_cut) = match known.get(question.text.as_str()) {
                Some(found) => *found,
                None => {
                    let wrong = |source| EvalError::Question { place: question.place, source };
                    let Question { tokens, is_cut } = processor.question(&question.text).map_err(wrong)?;
                    texts.distinct.push(tokens);
                    let found = (texts.distinct.len() - 1, is_cut);
                    known.insert(&question.text, found);
                    found
                }
            };
            texts.places.push(place);
            texts.cut += usize::from(is_cut);
        }
        Ok(texts)
    }

    pub(crate) fn tokens(&self, question: usize) -> &TokenIds {
        &self.distinct[self.places[question]]
    }
}
