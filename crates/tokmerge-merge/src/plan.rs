//! Which tokens become which: the result of a matching, as plain data.

use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use tokmerge_ops::{DROPPED, Layout, gather_rows, merge_rows, merge_weights};

/// What merged tokens become (ToMe, Table 1d).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// Their average, weighted by size.
    WeightedAverage,
    /// Their plain average.
    Average,
    /// Their maximum in each channel.
    Max,
    /// The destination alone.
    KeepOne,
    /// Their sum, weighted and not divided by the weights (the fused token of EViT).
    Sum,
    /// Their plain average, as long as the longest of them (ToFu).
    ScaledAverage(AverageScale),
    /// In each channel the entry that is largest in magnitude (CubistMerge). What weighs nothing has none.
    LargestMagnitude,
}

/// By what the average of merged tokens is divided before it gets the norm of the longest of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AverageScale {
    /// Its own norm (MLERP, as ToFu's paper has it).
    Average,
    /// The norm of the destination before anything merged, as the published code has it.
    Destination,
}

/// For every token of a batch the token that it becomes.
///
/// Integers only: a plan can be printed, saved, compared and composed, and applying it twice gives the same
/// result twice. It knows nothing about the values that it moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct MergePlan {
    /// `[T]`: output row of every input row, or [`DROPPED`].
    dst: Arc<[u32]>,
    /// `[T']`: the input row whose place every output row takes.
    representative: Arc<[u32]>,
    input: Layout,
    output: Layout,
}

/// Assignments that are not a plan.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum PlanError {
    /// A list has the wrong length.
    #[error(
        "a plan from {rows} rows to {kept} needs as many destinations and representatives, not {dst} and {representatives}"
    )]
    Length {
        /// Input rows.
        rows: usize,
        /// Output rows.
        kept: usize,
        /// Destinations given.
        dst: usize,
        /// Representatives given.
        representatives: usize,
    },
    /// Input and output have different numbers of items.
    #[error("a plan keeps the number of items, {input}, but its output has {output}")]
    Items {
        /// Items before.
        input: usize,
        /// Items after.
        output: usize,
    },
    /// A token would leave its item.
    #[error("row {row} of item {item} goes to row {dst}, which is not one of the item's rows {start}..{end}")]
    Leaves {
        /// Input row.
        row: usize,
        /// Its item.
        item: usize,
        /// Its destination.
        dst: u32,
        /// First output row of the item.
        start: usize,
        /// One past the last.
        end: usize,
    },
    /// An output row whose representative is not one of its members.
    #[error("output row {row} is represented by row {representative}, which does not merge into it")]
    Representative {
        /// Output row.
        row: usize,
        /// Its claimed representative.
        representative: u32,
    },
}

#[derive(Deserialize)]
struct Parts {
    dst: Arc<[u32]>,
    representative: Arc<[u32]>,
    input: Layout,
    output: Layout,
}

impl TryFrom<Parts> for MergePlan {
    type Error = PlanError;

    fn try_from(parts: Parts) -> Result<Self, PlanError> {
        Self::new(parts.dst, parts.representative, parts.input, parts.output)
    }
}

impl MergePlan {
    /// A plan from its parts: `dst: [T]`, `representative: [T']`.
    ///
    /// # Errors
    /// When a token leaves its item, or an output row has no representative among its members.
    pub fn new(
        dst: impl Into<Arc<[u32]>>,
        representative: impl Into<Arc<[u32]>>,
        input: Layout,
        output: Layout,
    ) -> Result<Self, PlanError> {
        let (dst, representative) = (dst.into(), representative.into());
        if dst.len() != input.rows() || representative.len() != output.rows() {
            return Err(PlanError::Length {
                rows: input.rows(),
                kept: output.rows(),
                dst: dst.len(),
                representatives: representative.len(),
            });
        }
        if input.items() != output.items() {
            return Err(PlanError::Items { input: input.items(), output: output.items() });
        }
        for item in 0..input.items() {
            let allowed = output.range(item);
            for row in input.range(item) {
                if dst[row] != DROPPED && !allowed.contains(&(dst[row] as usize)) {
                    let (start, end) = (allowed.start, allowed.end);
                    return Err(PlanError::Leaves { row, item, dst: dst[row], start, end });
                }
            }
        }
        for (row, &representative) in representative.iter().enumerate() {
            if dst.get(representative as usize) != Some(&(row as u32)) {
                return Err(PlanError::Representative { row, representative });
            }
        }
        Ok(Self { dst, representative, input, output })
    }

    /// The plan that changes nothing.
    #[must_use]
    pub fn identity(layout: Layout) -> Self {
        let rows: Arc<[u32]> = (0..layout.rows() as u32).collect();
        Self { dst: rows.clone(), representative: rows, input: layout.clone(), output: layout }
    }

    /// Output row of every input row, or [`DROPPED`]. `[T]`.
    #[must_use]
    pub fn dst(&self) -> &[u32] {
        &self.dst
    }

    /// The input row whose place every output row takes. `[T']`.
    #[must_use]
    pub fn representative(&self) -> &[u32] {
        &self.representative
    }

    /// Rows before.
    #[must_use]
    pub fn input(&self) -> &Layout {
        &self.input
    }

    /// Rows after.
    #[must_use]
    pub fn output(&self) -> &Layout {
        &self.output
    }

    /// This plan, then another on its result.
    ///
    /// # Panics
    /// When `next` was made for other tokens than this plan leaves.
    #[must_use]
    pub fn then(&self, next: &Self) -> Self {
        assert_eq!(self.output, next.input, "the second plan was made for other tokens");
        let through = |&row: &u32| if row == DROPPED { DROPPED } else { next.dst[row as usize] };
        Self {
            dst: self.dst.iter().map(through).collect(),
            representative: next
                .representative
                .iter()
                .map(|&row| self.representative[row as usize])
                .collect(),
            input: self.input.clone(),
            output: next.output.clone(),
        }
    }

    /// Sizes after the plan: the sums of the sizes before, ones if there are none. `[T]` → `[T']`.
    ///
    /// # Panics
    /// When `size` has another number of rows.
    #[must_use]
    pub fn sizes(&self, size: Option<&[f32]>) -> Arc<[f32]> {
        let ones;
        let size = match size {
            Some(size) => size,
            None => {
                ones = vec![1.0; self.dst.len()];
                &ones
            }
        };
        assert_eq!(size.len(), self.dst.len(), "one size per row");
        merge_weights(size, &self.dst, self.representative.len())
    }

    /// Merges rows: `x: [T, C]`, `size: [T]` → `[T', C]`.
    ///
    /// With [`Combine::WeightedAverage`] the sum of `x * size` over the tokens of each item is preserved; check
    /// that first when results look wrong.
    ///
    /// # Panics
    /// When `x` or `size` has another number of rows than the plan was made for.
    #[must_use]
    pub fn merge(&self, x: Tensor<2>, size: &Arc<[f32]>, combine: Combine) -> Tensor<2> {
        assert_eq!(
            (x.dims()[0], size.len()),
            (self.dst.len(), self.dst.len()),
            "one row per token of the plan"
        );
        let rows = self.representative.len();
        match combine {
            Combine::WeightedAverage => merge_rows(x, size, &self.dst, rows),
            Combine::Average => merge_rows(x, &vec![1.0; self.dst.len()].into(), &self.dst, rows),
            Combine::KeepOne => {
                let mut weight = vec![0.0; self.dst.len()];
                for &row in self.representative.iter() {
                    weight[row as usize] = 1.0;
                }
                merge_rows(x, &weight.into(), &self.dst, rows)
            }
            Combine::Max => self.winners(x, |_, value| value),
            // What weighs nothing never wins, whatever it is; the representative is never asked.
            Combine::LargestMagnitude => {
                self.winners(x, |row, value| if size[row] == 0.0 { f32::NEG_INFINITY } else { value.abs() })
            }
            Combine::Sum => {
                let device = x.device();
                let totals = merge_weights(size, &self.dst, rows).to_vec();
                let totals = Tensor::<2>::from_data(TensorData::new(totals, [rows, 1]), &device);
                merge_rows(x, size, &self.dst, rows) * totals
            }
            Combine::ScaledAverage(scale) => self.scaled_average(x, scale),
        }
    }

    /// Of every group the row of its representative: `x: [T, C]` → `[T', C]`.
    ///
    /// # Panics
    /// When `x` has fewer rows than the plan was made for.
    #[must_use]
    pub fn represent(&self, x: Tensor<2>) -> Tensor<2> {
        gather_rows(x, &self.representative)
    }

    /// Copies merged rows back to the places that they came from: `y: [T', C]` → `[T, C]`, zeros where a token
    /// was dropped.
    ///
    /// # Panics
    /// When `y` has another number of rows than the plan leaves.
    #[must_use]
    pub fn unmerge(&self, y: Tensor<2>) -> Tensor<2> {
        assert_eq!(y.dims()[0], self.representative.len(), "one row per token that the plan leaves");
        gather_rows(y, &self.dst)
    }

    /// For every token of an item the number, within the item, of the token that it became.
    #[must_use]
    pub fn groups(&self, item: usize) -> Vec<Option<u32>> {
        let start = self.output.range(item).start as u32;
        self.input.range(item).map(|row| (self.dst[row] != DROPPED).then(|| self.dst[row] - start)).collect()
    }

    /// Plain averages as long as the longest member of their group; what is alone stays as it is.
    fn scaled_average(&self, x: Tensor<2>, scale: AverageScale) -> Tensor<2> {
        let (device, rows) = (x.device(), self.representative.len());
        // A root has no gradient at zero.
        let norm = |x: Tensor<2>| x.powi_scalar(2).sum_dim(1).clamp_min(f32::MIN_POSITIVE).sqrt();
        let norms = norm(x.clone());
        let values: Vec<f32> = norms.clone().without_autodiff().into_data().iter::<f32>().collect();
        let mut longest: Vec<u32> = self.representative.to_vec();
        let mut members = vec![0_u32; rows];
        for (row, &dst) in self.dst.iter().enumerate().filter(|(_, dst)| **dst != DROPPED) {
            members[dst as usize] += 1;
            if values[row] > values[longest[dst as usize] as usize] {
                longest[dst as usize] = row as u32;
            }
        }
        let mean = merge_rows(x, &vec![1.0; self.dst.len()].into(), &self.dst, rows);
        let divisor = match scale {
            AverageScale::Average => norm(mean.clone()),
            AverageScale::Destination => gather_rows(norms.clone(), &self.representative),
        };
        let factor = gather_rows(norms, &longest.into()) / divisor;
        // A factor of what is alone is one by its meaning, and not by rounding.
        let merged: Vec<f32> = members.iter().map(|members| if *members > 1 { 1.0 } else { 0.0 }).collect();
        let merged = Tensor::<2>::from_data(TensorData::new(merged, [rows, 1]), &device);
        mean * ((factor - 1.0) * merged + 1.0)
    }

    /// For each group and channel the entry that is largest by what it counts for, the representative's among equals: the
    /// row that wins each channel is looked up on the host, the values are gathered, so that the gradient goes to the
    /// winners.
    fn winners(&self, x: Tensor<2>, counts: impl Fn(usize, f32) -> f32) -> Tensor<2> {
        let [_, channels] = x.dims();
        let values: Vec<f32> = x.clone().without_autodiff().into_data().iter::<f32>().collect();
        let mut winner: Vec<i32> = Vec::with_capacity(self.representative.len() * channels);
        for &row in self.representative.iter() {
            winner.extend(std::iter::repeat_n(row as i32, channels));
        }
        for (row, &dst) in self.dst.iter().enumerate().filter(|(_, dst)| **dst != DROPPED) {
            for (channel, winner) in
                winner[dst as usize * channels..(dst as usize + 1) * channels].iter_mut().enumerate()
            {
                let held = *winner as usize;
                if counts(row, values[row * channels + channel])
                    > counts(held, values[held * channels + channel])
                {
                    *winner = row as i32;
                }
            }
        }
        let winner = TensorData::new(winner, [self.representative.len(), channels]);
        let device = x.device();
        x.gather(0, Tensor::<2, Int>::from_data(winner, &device))
    }
}

/// One line per item: tokens before and after, and every group of more than one.
impl fmt::Display for MergePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in 0..self.input.items() {
            let (before, after) = (self.input.range(item).len(), self.output.range(item).len());
            write!(f, "item {item}: {before} -> {after} tokens")?;
            let mut members: HashMap<u32, Vec<usize>> = HashMap::new();
            let mut dropped = Vec::new();
            for (token, group) in self.groups(item).into_iter().enumerate() {
                match group {
                    Some(group) => members.entry(group).or_default().push(token),
                    None => dropped.push(token),
                }
            }
            let mut merged: Vec<_> = members.into_iter().filter(|(_, tokens)| tokens.len() > 1).collect();
            merged.sort();
            for (group, tokens) in merged {
                write!(f, "; {group} <- {tokens:?}")?;
            }
            if !dropped.is_empty() {
                write!(f, "; dropped {dropped:?}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Builds a plan item by item, from positions within each item.
#[derive(Debug)]
pub(crate) struct PlanBuilder {
    input: Layout,
    dst: Vec<u32>,
    representative: Vec<u32>,
    lens: Vec<usize>,
}

impl PlanBuilder {
    pub(crate) fn new(input: Layout) -> Self {
        let rows = input.rows();
        Self { input, dst: vec![DROPPED; rows], representative: Vec::with_capacity(rows), lens: Vec::new() }
    }

    /// The next item: the positions that keep a place, in their new order, and pairs of a position and the kept
    /// position that it merges into. Positions in neither are dropped.
    pub(crate) fn item(&mut self, kept: impl IntoIterator<Item = u32>, pairs: &[(u32, u32)]) {
        let start = self.input.range(self.lens.len()).start as u32;
        let before = self.representative.len();
        for position in kept {
            self.dst[(start + position) as usize] = self.representative.len() as u32;
            self.representative.push(start + position);
        }
        for (from, into) in pairs {
            self.dst[(start + from) as usize] = self.dst[(start + into) as usize];
        }
        self.lens.push(self.representative.len() - before);
    }

    /// The next item as it is.
    pub(crate) fn keep_item(&mut self) {
        self.item_without(&[]);
    }

    /// The next item in its order, the first of every pair merged into the second.
    pub(crate) fn item_without(&mut self, pairs: &[(u32, u32)]) {
        let mut leaving: Vec<u32> = pairs.iter().map(|(from, _)| *from).collect();
        leaving.sort_unstable();
        self.item(self.staying(&leaving), pairs);
    }

    /// The next item in its order, some positions dropped.
    pub(crate) fn item_dropping(&mut self, dropped: &[u32]) {
        let mut dropped = dropped.to_vec();
        dropped.sort_unstable();
        self.item(self.staying(&dropped), &[]);
    }

    /// The positions of the next item that are not in the sorted list.
    fn staying(&self, leaving: &[u32]) -> Vec<u32> {
        let len = self.input.range(self.lens.len()).len() as u32;
        (0..len).filter(|position| leaving.binary_search(position).is_err()).collect()
    }

    pub(crate) fn finish(self) -> MergePlan {
        let output = Layout::from_lens(&self.lens);
        MergePlan {
            dst: self.dst.into(),
            representative: self.representative.into(),
            input: self.input,
            output,
        }
    }
}
