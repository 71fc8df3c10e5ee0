//! Writing texts: the most likely token each time, or several beginnings side by side.

use crate::blocks::Memory;
use crate::families::text::{Decoder, DecoderState, Text};
use crate::finite::{NotFinite, rows_of};
use crate::input::Batch;
use crate::model::Model;
use crate::network::{Body, Network};
use crate::pass::Pass;
use std::cmp::Ordering;
use tokmerge_merge::{Reduction, Trace};

/// How texts are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GenerateOptions {
    /// Beginnings that are kept side by side; 1 takes the most likely token each time.
    pub beams: usize,
    /// Tokens of a text at most.
    pub length: MostTokens,
    /// Sums of log probabilities are divided by the number of tokens to this power; of several beginnings alone.
    pub length_penalty: f64,
    /// When to stop; of several beginnings alone.
    pub stopping: Stopping,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { beams: 1, length: MostTokens::OfSource, length_penalty: 1.0, stopping: Stopping::NoneBetter }
    }
}

/// Tokens of a text at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MostTokens {
    /// As many.
    Fixed(usize),
    /// Two and a half times as many as its source, or the question, has, and five.
    OfSource,
}

impl MostTokens {
    /// For a source of so many.
    #[must_use]
    pub fn of(self, source: usize) -> usize {
        match self {
            Self::Fixed(most) => most,
            Self::OfSource => source * 5 / 2 + 5,
        }
    }
}

/// When no more beginnings are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// Once as many texts are finished as there are beams.
    Early,
    /// Once the best beginning is no better than the worst finished text.
    NoneBetter,
}

/// A text that was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Its tokens, the end included where it was reached.
    pub ids: Vec<u32>,
    /// Its sum of log probabilities, divided as the length penalty says.
    pub score: f64,
}

impl Hypothesis {
    /// Its tokens without the end.
    #[must_use]
    pub fn words(&self, end: Option<u32>) -> &[u32] {
        match self.ids.split_last() {
            Some((last, words)) if Some(*last) == end => words,
            _ => &self.ids,
        }
    }
}

/// What was written of a batch.
#[derive(Clone, Debug)]
pub struct Generated {
    /// Of every text, the best first: one, or as many as beams.
    pub texts: Vec<Vec<Hypothesis>>,
    /// What merged in the encoder.
    pub trace: Trace,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The model says something of texts, and writes none.
    #[error("{0} writes no texts; use a model with a decoder, e.g. t5_v1_1_small or marian_tiny_enpt")]
    NoDecoder(String),
    /// Of nothing.
    #[error("`beams` is 0; use 1 or more")]
    NoBeams,
    /// A logit is not finite.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
}

impl Model {
    /// Encodes texts, or questions with their images, merging as `reduction` says, and writes others.
    ///
    /// # Errors
    /// When the model has no decoder, or a logit is not finite.
    ///
    /// # Panics
    /// When the batch is none of the model's input.
    pub fn generate(
        &self,
        batch: impl Into<Batch>,
        reduction: &Reduction,
        options: &GenerateOptions,
    ) -> Result<Generated, GenerateError> {
        let (decoder, encoder) =
            self.network().decoder().ok_or_else(|| GenerateError::NoDecoder(self.name()))?;
        if options.beams == 0 {
            return Err(GenerateError::NoBeams);
        }
        let batch = batch.into();
        let most: Vec<usize> = batch.texts.iter().map(|text| options.length.of(text.len())).collect();
        let input = batch.into_input(&self.input(), self.device());
        let output = self.network().run(input, Pass::new(reduction));
        let Some(memory) = self.network().memory(&output, reduction) else {
            return Err(GenerateError::NoDecoder(self.name()));
        };
        let writer = Writer { decoder, encoder };
        let texts = match options.beams {
            1 => writer.greedy(&memory, &most)?,
            _ => writer.beams(&memory, &most, options)?,
        };
        Ok(Generated { texts, trace: output.trace })
    }
}

impl Network {
    /// What writes texts, with the encoder before it; `None` of a network that writes none.
    #[must_use]
    pub fn decoder(&self) -> Option<(&Decoder, &Text)> {
        match self.body() {
            Body::Text(text) => text.decoder(),
            Body::Pali(pali) => pali.text().decoder(),
            _ => None,
        }
    }
}

struct Writer<'a> {
    decoder: &'a Decoder,
    encoder: &'a Text,
}

/// A beginning of a text.
#[derive(Clone, Debug, Default)]
struct Beginning {
    ids: Vec<u32>,
    sum: f64,
}

/// The beginnings of one text, and what is finished of it.
struct Search {
    running: Vec<Beginning>,
    finished: Vec<Hypothesis>,
    most: usize,
}

impl Writer<'_> {
    fn next(&self, state: &mut DecoderState, last: &[Option<u32>]) -> Result<Vec<Vec<f32>>, NotFinite> {
        let start = self.decoder.config().start;
        let ids: Option<Vec<u32>> = last.iter().map(|last| last.or(start)).collect();
        let logits = rows_of(self.decoder.step(self.encoder, state, ids.as_deref()));
        NotFinite::check(&logits)?;
        Ok(logits)
    }

    /// The most likely token each time, the first of equally likely ones.
    fn greedy(&self, memory: &Memory, most: &[usize]) -> Result<Vec<Vec<Hypothesis>>, NotFinite> {
        let mut texts = vec![Beginning::default(); most.len()];
        let mut open: Vec<usize> = (0..most.len()).filter(|item| most[*item] > 0).collect();
        let mut state = self.decoder.begin(memory).select(&open);
        while !open.is_empty() {
            let last: Vec<Option<u32>> = open.iter().map(|item| texts[*item].ids.last().copied()).collect();
            let logits = self.next(&mut state, &last)?;
            for (item, logits) in open.iter().zip(&logits) {
                let best = logits
                    .iter()
                    .enumerate()
                    .fold(0, |best, (id, logit)| if *logit > logits[best] { id } else { best });
                texts[*item].sum += f64::from(logits[best]) - log_sum(logits);
                texts[*item].ids.push(best as u32);
            }
            let goes_on = |item: usize| {
                let ids = &texts[item].ids;
                ids.last() != Some(&self.decoder.config().end) && ids.len() < most[item]
            };
            let left: Vec<usize> = (0..open.len()).filter(|place| goes_on(open[*place])).collect();
            if left.len() < open.len() {
                state = state.select(&left);
                open = left.iter().map(|place| open[*place]).collect();
            }
        }
        Ok(texts.into_iter().map(|text| vec![Hypothesis { ids: text.ids, score: text.sum }]).collect())
    }

    /// Several beginnings side by side, by the rules of transformers: of the `2 * beams` likeliest continuations those that
    /// end, if they are among the first `beams`, are finished; the best that do not go on.
    fn beams(
        &self,
        memory: &Memory,
        most: &[usize],
        options: &GenerateOptions,
    ) -> Result<Vec<Vec<Hypothesis>>, NotFinite> {
        let search =
            |most: &usize| Search { running: vec![Beginning::default()], finished: Vec::new(), most: *most };
        let mut searches: Vec<Search> = most.iter().map(search).collect();
        let mut open: Vec<usize> = (0..most.len()).filter(|item| most[*item] > 0).collect();
        let mut state = self.decoder.begin(memory).select(&open);
        while !open.is_empty() {
            let running = open.iter().flat_map(|item| &searches[*item].running);
            let last: Vec<Option<u32>> = running.map(|beginning| beginning.ids.last().copied()).collect();
            let logits = self.next(&mut state, &last)?;
            let (mut row, mut rows, mut left) = (0, Vec::new(), Vec::new());
            for &item in &open {
                let search = &mut searches[item];
                let count = search.running.len();
                let from = search.advance(&logits[row..row + count], self.decoder.config().end, options);
                if !search.is_done(options) {
                    rows.extend(from.iter().map(|beam| row + beam));
                    left.push(item);
                }
                row += count;
            }
            state = state.select(&rows);
            open = left;
        }
        Ok(searches.into_iter().map(|search| search.finished).collect())
    }
}

impl Search {
    /// Follows every beginning by its best tokens. Returns which of the beginnings each of the new ones goes on from.
    fn advance(&mut self, logits: &[Vec<f32>], end: u32, options: &GenerateOptions) -> Vec<usize> {
        let beams = options.beams;
        let mut candidates: Vec<(f64, usize, u32)> = Vec::new();
        for (beam, (beginning, logits)) in self.running.iter().zip(logits).enumerate() {
            let all = log_sum(logits);
            let sums = logits
                .iter()
                .enumerate()
                .map(|(id, logit)| (beginning.sum + (f64::from(*logit) - all), beam, id as u32));
            candidates.extend(best_of(sums.collect(), 2 * beams));
        }
        let candidates = best_of(candidates, 2 * beams);
        let (mut next, mut from) = (Vec::new(), Vec::new());
        for (rank, (sum, beam, id)) in candidates.into_iter().enumerate() {
            let mut ids = self.running[beam].ids.clone();
            ids.push(id);
            let at_limit = ids.len() >= self.most;
            if (id == end || at_limit) && rank < beams {
                let score = sum / (ids.len() as f64).powf(options.length_penalty);
                self.finished.push(Hypothesis { ids: ids.clone(), score });
            }
            if id != end && next.len() < beams {
                next.push(Beginning { ids, sum });
                from.push(beam);
            }
        }
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(beams);
        self.running = next;
        from
    }

    fn is_done(&self, options: &GenerateOptions) -> bool {
        let Some(best) = self.running.first() else { return true };
        if best.ids.len() >= self.most {
            return true;
        }
        let worst = self.finished.last().filter(|_| self.finished.len() == options.beams);
        match (worst, options.stopping) {
            (None, _) => false,
            (Some(_), Stopping::Early) => true,
            (Some(worst), Stopping::NoneBetter) => {
                best.sum / (best.ids.len() as f64).powf(options.length_penalty) <= worst.score
            }
        }
    }
}

/// The best, best first; the earlier of equally good ones.
fn best_of(mut candidates: Vec<(f64, usize, u32)>, count: usize) -> Vec<(f64, usize, u32)> {
    let better = |a: &(f64, usize, u32), b: &(f64, usize, u32)| -> Ordering {
        b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2))
    };
    if candidates.len() > count && count > 0 {
        candidates.select_nth_unstable_by(count - 1, better);
        candidates.truncate(count);
    }
    candidates.sort_by(better);
    candidates
}

/// The logarithm of the sum of exponentials.
fn log_sum(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    f64::from(largest) + sum.ln()
}
