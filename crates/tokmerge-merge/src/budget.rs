//! What blocks cost whose tokens are masked, with a gradient, and how far that is from what it is to be.

use crate::Tokens;
use crate::policy::{COST, COUNTS};
use burn::tensor::Tensor;
use std::sync::Arc;
use tokmerge_ops::{gather_rows, merge_rows};

/// What a method that learns how much to merge is to cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Budget {
    /// As a part of what all blocks cost with all tokens.
    pub(crate) target: f64,
    /// What the squared distance from it weighs in the loss.
    pub(crate) weight: f64,
}

/// The items of a batch that have tokens.
struct Items {
    /// Of every row, its item's place among them, `[T]`.
    of: Arc<[u32]>,
    /// The last row of each, `[I]`: whatever joins stands in front.
    last: Arc<[u32]>,
    /// Rows of each.
    lens: Vec<usize>,
}

impl Items {
    fn new(tokens: &Tokens) -> Self {
        let ranges = (0..tokens.layout.items()).map(|item| tokens.layout.range(item));
        let ranges: Vec<_> = ranges.filter(|range| !range.is_empty()).collect();
        let lens: Vec<usize> = ranges.iter().map(ExactSizeIterator::len).collect();
        let place = |(place, len): (usize, &usize)| std::iter::repeat_n(place as u32, *len);
        Self {
            of: lens.iter().enumerate().flat_map(place).collect(),
            last: ranges.iter().map(|range| range.end as u32 - 1).collect(),
            lens,
        }
    }

    /// A number of each, `[I, 1]`.
    fn numbers(&self, of: impl Fn(f64) -> f64, like: &Tensor<2>) -> Tensor<2> {
        let numbers: Vec<f32> = self.lens.iter().map(|len| of(*len as f64) as f32).collect();
        let numbers = burn::tensor::TensorData::new(numbers, [self.lens.len(), 1]);
        Tensor::from_data(numbers, &like.device())
    }

    /// How many tokens of each count, `[I, 1]`.
    fn counting(&self, tokens: &Tokens) -> Tensor<2> {
        match tokens.policy_column(COUNTS) {
            None => self.numbers(|len| len, &tokens.x),
            Some(counts) => {
                let ones = vec![1.0; self.of.len()].into();
                let mean = merge_rows(counts, &ones, &self.of, self.lens.len());
                mean.clone() * self.numbers(|len| len, &mean)
            }
        }
    }
}

/// `after` with what one of `depth` blocks costs added to what its items have cost so far: attention sees the tokens that count
/// `before`, the MLP those that count `after`, which has a policy of all columns.
///
/// In multiply-adds of a block with an MLP of four times the channels, halved: `2aC² + a²C + 4fC²` of `6nC² + n²C`, for `a`
/// tokens in attention, `f` in the MLP and `n` in all (LTMP; published code).
pub(crate) fn spend(before: &Tokens, after: Tokens, depth: usize) -> Tokens {
    let items = Items::new(&after);
    let (Some(policy), [_, channels]) = (&after.policy, after.x.dims()) else { return after };
    if items.lens.is_empty() {
        return after;
    }
    let (channels, blocks) = (channels as f64, depth as f64);
    let (attending, fed) = (items.counting(before), items.counting(&after));
    let whole = items.numbers(|len| blocks * (6.0 * len * channels + len * len), &attending);
    let cost =
        (attending.clone() * (2.0 * channels) + attending.powi_scalar(2) + fed * (4.0 * channels)) / whole;
    let so_far = gather_rows(policy.clone().slice(burn::tensor::s![.., COST..COST + 1]), &items.last);
    let cost = gather_rows(so_far + cost, &items.of);
    let policy = Tensor::cat(vec![policy.clone().slice(burn::tensor::s![.., ..COST]), cost], 1);
    Tokens { policy: Some(policy), ..after }
}

impl Budget {
    /// What is to be added to the loss after the last block, `[1]`: `weight · (mean of the items' costs - target)²`.
    pub(crate) fn excess(&self, tokens: &Tokens) -> Tensor<1> {
        let items = Items::new(tokens);
        let cost = tokens.policy_column(COST).filter(|_| !items.lens.is_empty());
        match cost {
            None => Tensor::zeros([1], &tokens.device()),
            Some(cost) => {
                let mean = gather_rows(cost, &items.last).mean();
                (mean - self.target).powi_scalar(2) * self.weight
            }
        }
    }
}
