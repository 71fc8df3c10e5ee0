//! CubistMerge (arXiv:2509.21764): once, before a block, neighbours on the grid of patches merge, so that a smaller grid is
//! left. Its cells go on row by row.
//!
//! First in every row, then in every column of the narrower grid, the second, fourth and so on can merge into the more
//! similar of their neighbours, the left or upper one among equals. In each line as many do as columns (`columns`) or rows
//! (`rows`) are to go, the most similar first, at most half of the line; which they are differs from line to line. They are
//! compared by the tokens themselves: by cosine, or by distance (`distance=euclidean`). Of merged tokens each channel is the
//! entry of the largest magnitude, the destination's among equals. Attention does not weigh by size (`prop_attn=off`).
//!
//! Two tokens can merge into the same one between them. By `combine=code` (default, as in the published code; which is
//! better is not known) one of the two is lost: of the merging tokens of a line, most similar first, the code handles the
//! first, third and so on before the second, fourth and so on, and what comes later overwrites what came before. By
//! `combine=paper` all three count.
//!
//! This follows the published code; of the paper's text no more than the introduction was at hand, so that no section is
//! named. The code works before the second block by default (`layer=2`), and can copy tokens back for dense outputs, which
//! is not done here. How many rows and columns go has no default there: 1 and 1, or 2 and 2, are its examples.
//!
//! It needs patches on a grid of one size. Items of other numbers of tokens than that has are left alone.

mod board;
mod options;

use super::{At, Common, ProportionalAttention, Rule};
use crate::plan::PlanBuilder;
use crate::{
    Amount, Combination, Combine, Evidence, LastLayer, MatchShape, Merging, ModelFacts, ScheduleError,
    Similarity, Site, Tokens,
};
use board::Board;
use burn::tensor::s;

pub(super) use options::INFO;

/// A smaller grid in place of the grid of patches.
#[derive(Clone, Debug, PartialEq)]
pub struct Cubistmerge {
    /// Rows to remove, at most half.
    pub rows: usize,
    /// Columns to remove, at most half.
    pub columns: usize,
    /// The layer before which that happens, from 1.
    pub layer: usize,
    /// How neighbours are compared: [`Similarity::Cosine`] or [`Similarity::Euclidean`].
    pub similarity: Similarity,
    /// What becomes of two tokens that merge into the same one.
    pub shared: SharedDestination,
    /// Options that methods share.
    pub common: Common,
}

/// What becomes of two tokens that merge into the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedDestination {
    /// The one that is handled later counts, the other is lost, as in the published code.
    LastCounts,
    /// Both count, as in the paper.
    BothCount,
}

/// Before which layer the published code works.
const LAYER: usize = 2;

impl Cubistmerge {
    /// The published method, removing so many rows and columns.
    #[must_use]
    pub fn new(rows: usize, columns: usize) -> Self {
        let common =
            Common { proportional_attention: ProportionalAttention::Off, ..Common::new(LastLayer::All) };
        Self {
            rows,
            columns,
            layer: LAYER,
            similarity: Similarity::Cosine,
            shared: SharedDestination::LastCounts,
            common,
        }
    }
}

impl Rule for Cubistmerge {
    super::rule::common!();

    fn site(&self) -> Site {
        Site::BeforeBlock
    }

    fn combine(&self) -> Combine {
        Combine::LargestMagnitude
    }

    fn needs_grid(&self) -> bool {
        true
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let (depth, layer) = (facts.depth, self.layer);
        if !(1..=depth).contains(&layer) {
            return Err(ScheduleError::Layer { layer, depth });
        }
        let mut all = vec![Amount::NOTHING; depth];
        if let Some(grid @ (rows, columns)) = facts.grid {
            let left = (rows - self.rows.min(rows / 2), columns - self.columns.min(columns / 2));
            if left != grid {
                all[layer - 1] = Amount::OfGrid { grid, left };
            }
        }
        Ok(all)
    }

    fn merging(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<Merging> {
        let Amount::OfGrid { grid, left } = at.amount else { return None };
        let x = evidence.into_metric();
        let mut builder = PlanBuilder::new(tokens.layout.clone());
        let mut weights = vec![1.0; tokens.layout.rows()];
        let mut changes = false;
        for item in 0..tokens.layout.items() {
            let range = tokens.layout.range(item);
            let prefix = tokens.prefix.of(item).min(range.len());
            if range.len() - prefix != grid.0 * grid.1 {
                builder.keep_item();
                continue;
            }
            changes = true;
            let first = range.start + prefix;
            let mut board = Board::new(x.clone().slice(s![first..range.end, ..]), self);
            let staying = board.shrink(grid, left);
            for lost in board.lost() {
                weights[first + lost] = 0.0;
            }
            let place = |cell: usize| (prefix + cell) as u32;
            let pairs: Vec<(u32, u32)> =
                board.merged().map(|(cell, into)| (place(cell), place(into))).collect();
            builder.item((0..prefix).map(|place| place as u32).chain(staying.into_iter().map(place)), &pairs);
        }
        if !changes {
            return None;
        }
        let by = Combination { combine: self.combine(), weights: Some(weights.into()), sizes: None };
        Some(Merging { plan: builder.finish(), by })
    }

    /// One product for each pair of neighbours in the rows, and then in the columns that are left.
    fn matching_macs(&self, shape: MatchShape) -> f64 {
        let Amount::OfGrid { grid: (rows, columns), left: (_, columns_left) } = shape.amount else {
            return 0.0;
        };
        match self.similarity {
            Similarity::Cosine | Similarity::Dot | Similarity::Softmax => {
                let pairs = rows * columns.saturating_sub(1) + columns_left * rows.saturating_sub(1);
                (pairs * shape.channels) as f64
            }
            Similarity::Euclidean => 0.0,
        }
    }
}

#[cfg(test)]
mod tests;
