//! The patches of an item on their grid, while it shrinks.

use super::{Cubistmerge, SharedDestination};
use crate::Similarity;
use burn::tensor::Tensor;

/// A cell is named by its place in the whole grid, row by row.
#[derive(Debug)]
pub(super) struct Board {
    /// Of every cell.
    values: Vec<Vec<f32>>,
    fates: Vec<Fate>,
    similarity: Similarity,
    shared: SharedDestination,
}

/// What becomes of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Stays,
    /// It merges into another.
    Into(usize),
    /// So it does, but another overwrites it there.
    LostTo(usize),
}

impl Board {
    /// Of the patches `x: [N, C]`.
    pub(super) fn new(x: Tensor<2>, method: &Cubistmerge) -> Self {
        let [cells, channels] = x.dims();
        let all: Vec<f32> = x.into_data().iter::<f32>().collect();
        let values = all.chunks(channels.max(1)).map(<[f32]>::to_vec).collect();
        let Cubistmerge { similarity, shared, .. } = *method;
        Self { values, fates: vec![Fate::Stays; cells], similarity, shared }
    }

    /// From the whole grid to a smaller one, whose cells are returned row by row.
    pub(super) fn shrink(&mut self, (rows, columns): (usize, usize), left: (usize, usize)) -> Vec<usize> {
        let lines = (0..rows).map(|row| (row * columns..(row + 1) * columns).collect::<Vec<_>>());
        let narrow: Vec<Vec<usize>> = lines.map(|line| self.shorten(line, columns - left.1)).collect();
        let lines = (0..left.1).map(|column| narrow.iter().map(|row| row[column]).collect::<Vec<_>>());
        let low: Vec<Vec<usize>> = lines.map(|line| self.shorten(line, rows - left.0)).collect();
        (0..left.0).flat_map(|row| low.iter().map(move |column| column[row])).collect()
    }

    /// Cells that merge, and those that they end in.
    pub(super) fn merged(&self) -> impl Iterator<Item = (usize, usize)> {
        let merges = (0..self.fates.len()).filter(|cell| self.fates[*cell] != Fate::Stays);
        merges.map(|cell| (cell, self.path(cell).last().unwrap_or(cell)))
    }

    /// Cells that are overwritten, or have merged into one that is.
    pub(super) fn lost(&self) -> impl Iterator<Item = usize> {
        let is_lost = |cell: &usize| matches!(self.fates[*cell], Fate::LostTo(_));
        (0..self.fates.len()).filter(move |cell| is_lost(cell) || self.path(*cell).any(|next| is_lost(&next)))
    }

    /// Where a cell goes, step by step.
    fn path(&self, cell: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(cell), |cell| match self.fates[*cell] {
            Fate::Stays => None,
            Fate::Into(next) | Fate::LostTo(next) => Some(next),
        })
        .skip(1)
    }

    /// Removes so many cells of a line, at most every second, and returns the others.
    fn shorten(&mut self, line: Vec<usize>, remove: usize) -> Vec<usize> {
        let mut proposals: Vec<(f64, usize, usize)> = (1..line.len())
            .step_by(2)
            .map(|at| {
                let before = (self.likeness(line[at], line[at - 1]), line[at], line[at - 1]);
                match line.get(at + 1) {
                    Some(&next) if self.likeness(line[at], next) > before.0 => {
                        (self.likeness(line[at], next), line[at], next)
                    }
                    _ => before,
                }
            })
            .collect();
        proposals.sort_by(|a, b| b.0.total_cmp(&a.0));
        proposals.truncate(remove);
        // Every second is handled later.
        let handled = proposals.iter().step_by(2).chain(proposals.iter().skip(1).step_by(2));
        let handled: Vec<(usize, usize)> = handled.map(|(_, from, into)| (*from, *into)).collect();
        for (at, &(from, into)) in handled.iter().enumerate() {
            let overwritten = handled[at + 1..].iter().any(|(_, later)| *later == into);
            self.fates[from] = match self.shared {
                SharedDestination::LastCounts if overwritten => Fate::LostTo(into),
                SharedDestination::LastCounts | SharedDestination::BothCount => {
                    self.merge(from, into);
                    Fate::Into(into)
                }
            };
        }
        line.into_iter().filter(|cell| self.fates[*cell] == Fate::Stays).collect()
    }

    /// How alike two cells are; what is no number is like nothing.
    fn likeness(&self, one: usize, other: usize) -> f64 {
        let pairs = || self.values[one].iter().zip(&self.values[other]);
        let sum =
            |of: fn(f64, f64) -> f64| -> f64 { pairs().map(|(a, b)| of(f64::from(*a), f64::from(*b))).sum() };
        let likeness = match self.similarity {
            Similarity::Euclidean => -sum(|a, b| (a - b) * (a - b)),
            Similarity::Cosine | Similarity::Dot | Similarity::Softmax => {
                let norms = (sum(|a, _| a * a) * sum(|_, b| b * b)).sqrt();
                sum(|a, b| a * b) / norms.max(f64::MIN_POSITIVE)
            }
        };
        if likeness.is_nan() { f64::NEG_INFINITY } else { likeness }
    }

    fn merge(&mut self, from: usize, into: usize) {
        let source = self.values[from].clone();
        for (held, value) in self.values[into].iter_mut().zip(source) {
            if value.abs() > held.abs() {
                *held = value;
            }
        }
    }
}
