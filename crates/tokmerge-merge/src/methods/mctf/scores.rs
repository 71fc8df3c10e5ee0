//! How well the tokens of an item go together.

use super::Criteria;
use crate::methods::matching::Split;
use burn::tensor::Tensor;
use tokmerge_ops::gather_rows;

/// The score of every source with every destination of an item.
pub(super) struct Scores {
    /// `[A, B]`; what is no number is least.
    values: Vec<f32>,
    destinations: usize,
}

/// The best partner of each of some tokens, and the score of the two.
pub(super) struct Best {
    pub(super) scores: Vec<f32>,
    /// Places among all sources or destinations.
    pub(super) partners: Vec<u32>,
}

/// Rows at unit length. `[T, C]`.
pub(super) fn units(metric: Tensor<2>) -> Tensor<2> {
    let norms = metric.clone().square().sum_dim(1).sqrt();
    metric / norms.clamp_min(f32::MIN_POSITIVE)
}

/// The least of some values by each of them, to the power of one by the temperature: 1 for the least, less for others.
fn smallness(values: &[f32], temperature: f64) -> Vec<f64> {
    if temperature == 0.0 {
        return vec![1.0; values.len()];
    }
    let value = |value: &f32| f64::from(value.max(f32::MIN_POSITIVE));
    let least = values.iter().map(value).fold(f64::INFINITY, f64::min);
    values.iter().map(|of| (least / value(of)).powf(temperature.recip())).collect()
}

impl Scores {
    /// Of an item whose first row is `start`: what its tokens receive and their sizes, and rows of unit length.
    pub(super) fn new(
        criteria: Criteria,
        [received, sizes]: [&[f32]; 2],
        split: &Split,
        units: &Tensor<2>,
        start: usize,
    ) -> Self {
        let information = smallness(received, criteria.information);
        let factors: Vec<f64> = information
            .iter()
            .zip(smallness(sizes, criteria.size))
            .map(|(information, size)| information * size)
            .collect();
        let similarities = similarities(criteria.similarity, split, units, start);
        let destinations = split.destinations.len();
        let score = |(place, similarity): (usize, f64)| {
            let source = split.sources[place / destinations] as usize;
            let destination = split.destinations[place % destinations] as usize;
            let score = (similarity * factors[source] * factors[destination]) as f32;
            if score.is_nan() { f32::NEG_INFINITY } else { score }
        };
        Self { values: similarities.into_iter().enumerate().map(score).collect(), destinations }
    }

    fn of(&self, source: u32, destination: u32) -> f32 {
        self.values[source as usize * self.destinations + destination as usize]
    }

    fn sources(&self) -> u32 {
        self.values.len().checked_div(self.destinations).unwrap_or(0) as u32
    }

    /// For every source the best destination.
    pub(super) fn forth(&self) -> Best {
        let destinations = 0..self.destinations as u32;
        (0..self.sources())
            .map(|source| {
                best(destinations.clone().map(|destination| (self.of(source, destination), destination)))
            })
            .collect()
    }

    /// For every destination the best of some sources, at least one.
    pub(super) fn back(&self, among: &[u32]) -> Best {
        (0..self.destinations as u32)
            .map(|destination| best(among.iter().map(|source| (self.of(*source, destination), *source))))
            .collect()
    }
}

impl FromIterator<(f32, u32)> for Best {
    fn from_iter<I: IntoIterator<Item = (f32, u32)>>(all: I) -> Self {
        let (scores, partners) = all.into_iter().unzip();
        Self { scores, partners }
    }
}

/// The best of some partners, the first among equals.
fn best(mut partners: impl Iterator<Item = (f32, u32)>) -> (f32, u32) {
    let first = partners.next().expect("each side has a token where some are to go");
    partners.fold(first, |best, next| if next.0 > best.0 { next } else { best })
}

/// `(cos + 1) / 2` of every source and destination, to the power of one by the temperature. `[A, B]`.
fn similarities(temperature: f64, split: &Split, units: &Tensor<2>, start: usize) -> Vec<f64> {
    if temperature == 0.0 {
        return vec![1.0; split.sources.len() * split.destinations.len()];
    }
    let rows = |places: &[u32]| {
        let rows = places.iter().map(|place| start as u32 + place).collect();
        gather_rows(units.clone(), &rows)
    };
    let cosines = rows(&split.sources).matmul(rows(&split.destinations).transpose()).into_data();
    let similarity = |cosine: f32| {
        let similarity = (f64::from(cosine) + 1.0) / 2.0;
        match temperature == 1.0 {
            true => similarity,
            // Rounding may have put it beyond -1.
            false => similarity.clamp(0.0, f64::MAX).powf(temperature.recip()),
        }
    };
    cosines.iter::<f32>().map(similarity).collect()
}
