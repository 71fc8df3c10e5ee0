//! Tokens that a pass of training is to work without, though they are still there.
//!
//! Dropping has no gradient. A method that learns what to drop keeps all tokens in training and says of each whether it counts
//! ([`Tokens::policy`]): a number that is 0 or 1 and carries the gradient of a softer one. Blocks mask the others as keys, which
//! leaves those that count as they would be without them (DynamicViT, §3.3).
//!
//! Of methods that merge by masks too ([`Choice`](crate::Choice)) a row has two more numbers: [`WEIGHT`] and [`COST`].

use crate::plan::PlanBuilder;
use crate::{Combine, Evidence, Layout, MapQueries, MergePlan, Received, Tokens, Wants};
use burn::tensor::{Tensor, s};
use tokmerge_ops::AttentionMap;

/// Column of a policy: whether the row counts, 1 or 0.
pub(crate) const COUNTS: usize = 0;
/// Column of a policy: 1, with the gradient of the logarithm of the row's size, by which it is attended to.
pub(crate) const WEIGHT: usize = 1;
/// Column of a policy: what the item has cost so far, as a part of what all blocks cost with all of its tokens.
pub(crate) const COST: usize = 2;
/// Numbers of a row where all of these are there.
pub(crate) const COLUMNS: usize = 3;

/// What is added to the weights of a row together, so that no row is empty. The published code adds 1e-6 of the largest weight
/// before masking, through which what is masked shows where it had nearly all of a row.
const EPS: f64 = 1e-12;

/// What becomes of an item of which no patch counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Empty {
    /// Its prefix is left.
    Stays,
    /// All of its tokens count, so that a head has something to look at.
    KeepsAll,
}

impl Tokens {
    /// One of the numbers of a policy for every row, `[T, 1]`, if there is a policy.
    pub(crate) fn policy_column(&self, column: usize) -> Option<Tensor<2>> {
        self.policy.as_ref().map(|policy| policy.clone().slice(s![.., column..column + 1]))
    }

    /// Softmaxes of these tokens, `[H, N, N]` for every item, as they are where only tokens that count are attended to; every
    /// token attends to itself. The same where all count because nobody has decided.
    ///
    /// # Panics
    /// When there are not as many maps as items, or they are of other tokens.
    #[must_use]
    pub fn masked(&self, maps: Vec<Tensor<3>>) -> Vec<Tensor<3>> {
        let Some(policy) = &self.policy else { return maps };
        assert_eq!(maps.len(), self.layout.items(), "a map for every item");
        let [_, columns] = policy.dims();
        let mask = |(item, map): (usize, Tensor<3>)| {
            let range = self.layout.range(item);
            let tokens = range.len();
            if tokens == 0 {
                return map;
            }
            let column = |column: usize| {
                let rows = policy.clone().slice(s![range.clone(), column..column + 1]);
                rows.reshape([1, 1, tokens])
            };
            let keys = column(COUNTS);
            let own = Tensor::<2>::eye(tokens, &map.device()).unsqueeze::<3>();
            let allowed = keys.clone() + (-keys + 1.0) * own;
            let allowed = if columns > WEIGHT { allowed * column(WEIGHT) } else { allowed };
            let left = map * allowed;
            let sum = left.clone().sum_dim(2) + EPS;
            (left + EPS / tokens as f64) / sum
        };
        maps.into_iter().enumerate().map(mask).collect()
    }

    /// What a method asks of attention, of [masked](Self::masked) softmaxes: only tokens that count are asked. What it compares
    /// tokens by is not the softmax's to say.
    ///
    /// # Panics
    /// When the words of a question are asked: no method that learns by masks does so.
    #[must_use]
    pub fn evidence(&self, masked: &[Tensor<3>], wants: Wants) -> Evidence {
        let plain = |map: &Tensor<3>| map.clone().without_autodiff();
        let received = match wants.received {
            Received::No => None,
            Received::FromAll => Some(self.received(masked.iter().map(plain))),
            Received::FromWords => panic!("methods that learn by masks ask all tokens"),
        };
        let maps = wants.maps.map(|of| {
            let map = |map: Tensor<3>| {
                let [heads, queries, keys] = map.dims();
                let queries = if of == MapQueries::First { queries.min(1) } else { queries };
                let map = map.slice(s![.., 0..queries, ..]);
                AttentionMap { heads, queries, keys, values: map.into_data().iter::<f32>().collect() }
            };
            masked.iter().map(plain).map(map).collect()
        });
        Evidence { received, maps, ..Evidence::default() }
    }

    /// The mean over heads and the tokens that count of the attention on every token, `[T]`.
    fn received(&self, maps: impl Iterator<Item = Tensor<3>>) -> Vec<f32> {
        let counts = self.policy_column(COUNTS).map(Tensor::without_autodiff);
        let of = |(item, map): (usize, Tensor<3>)| {
            let (range, [_, queries, keys]) = (self.layout.range(item), map.dims());
            if keys == 0 {
                return None;
            }
            let asked = match &counts {
                Some(counts) => counts.clone().slice(s![range, ..]).reshape([1, queries, 1]),
                None => Tensor::ones([1, queries, 1], &map.device()),
            };
            let sum = (map * asked.clone()).sum_dim(1).mean_dim(0) / asked.sum_dim(1);
            Some(sum.reshape([keys]))
        };
        let parts: Vec<Tensor<1>> = maps.enumerate().filter_map(of).collect();
        if parts.is_empty() { Vec::new() } else { Tensor::cat(parts, 0).into_data().iter::<f32>().collect() }
    }

    /// From all rows to those that count, in their order; `None` where all do because nobody has decided.
    pub(crate) fn counting(&self, empty: Empty) -> Option<MergePlan> {
        let counts = self.policy_column(COUNTS)?.without_autodiff();
        let counts: Vec<f32> = counts.into_data().iter::<f32>().collect();
        let mut builder = PlanBuilder::new(self.layout.clone());
        for item in 0..self.layout.items() {
            let counts = &counts[self.layout.range(item)];
            let patches = counts.len() - self.front_of(item);
            let gone = (0..counts.len() as u32).filter(|place| counts[*place as usize] < 0.5);
            let gone: Vec<u32> = gone.collect();
            let keeps_all = empty == Empty::KeepsAll && gone.len() >= patches;
            builder.item_dropping(if keeps_all { &[] } else { &gone });
        }
        Some(builder.finish())
    }

    /// Tokens of every item that count, where those stand in front, because tokens merge by masks.
    pub(crate) fn in_front(&self) -> Option<Layout> {
        let [_, columns] = self.policy.as_ref()?.dims();
        let plan = self.counting(Empty::Stays).filter(|_| columns == COLUMNS)?;
        Some(plan.output().clone())
    }

    /// From all rows to those that [`settled`](Self::settled) leaves, in their order; `None` where all count because nobody has
    /// decided.
    #[must_use]
    pub fn settling(&self) -> Option<MergePlan> {
        self.counting(Empty::KeepsAll)
    }

    /// The tokens that count alone, without a policy: what a head is to see. An item of which no patch would be left keeps all.
    #[must_use]
    pub fn settled(self) -> Self {
        let Some(plan) = self.settling() else { return self };
        let size = self.size.is_some();
        let settled = Self { policy: None, ..self }.merge(&plan, Combine::KeepOne);
        Self { size: settled.size.filter(|_| size), ..settled }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Layout, Tokens};
    use burn::tensor::{Device, Tensor, TensorData};

    fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
    }

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    fn tokens(policy: &[f32], lens: &[usize], device: &Device) -> Tokens {
        let rows: Vec<f32> = (0..policy.len()).map(|row| row as f32).collect();
        let tokens = Tokens::new(tensor(&rows, [rows.len(), 1], device), Layout::from_lens(lens), 1);
        Tokens { policy: Some(tensor(policy, [policy.len(), 1], device)), ..tokens }
    }

    #[test]
    fn masked_rows_are_those_of_the_tokens_that_count() {
        let device = Device::flex();
        let tokens = tokens(&[1.0, 0.0, 1.0, 1.0, 1.0], &[3, 2], &device);
        let maps = vec![
            tensor(&[0.5, 0.25, 0.25, 0.2, 0.4, 0.4, 0.1, 0.1, 0.8], [1, 3, 3], &device),
            tensor(&[0.5, 0.5, 0.25, 0.75], [1, 2, 2], &device),
        ];
        let masked = tokens.masked(maps.clone());
        // The token in the middle attends to itself, and nobody else does.
        let wanted = [2.0 / 3.0, 0.0, 1.0 / 3.0, 0.2, 0.4, 0.4, 1.0 / 9.0, 0.0, 8.0 / 9.0];
        for (found, wanted) in values(masked[0].clone()).into_iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
        }
        for (found, wanted) in values(masked[1].clone()).into_iter().zip([0.5, 0.5, 0.25, 0.75]) {
            assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
        }
        let undecided = Tokens { policy: None, ..tokens };
        assert_eq!(values(undecided.masked(maps.clone())[0].clone()), values(maps[0].clone()));
    }

    /// By hand: with weights w of the keys and masks m, the first row's weight on the first key is w0 / (w0 + m w1).
    #[test]
    fn a_gradient_reaches_the_policy() {
        let device = Device::flex().autodiff();
        let policy = tensor(&[1.0, 1.0], [2, 1], &device).require_grad();
        let tokens = Tokens { policy: Some(policy.clone()), ..tokens(&[1.0, 1.0], &[2], &device) };
        let map = tensor(&[0.25, 0.75, 0.5, 0.5], [1, 2, 2], &device);
        let weight = tokens.masked(vec![map])[0].clone().slice([0..1, 0..1, 0..1]).sum();
        let gradient = values(policy.grad(&weight.backward()).expect("a gradient"));
        assert!((gradient[1] + 0.25 * 0.75).abs() < 1e-5 && gradient[0].abs() < 1e-5, "{gradient:?}");
    }

    #[test]
    fn a_head_sees_what_counts_and_never_nothing() {
        let device = Device::flex();
        let settled = tokens(&[1.0, 0.0, 1.0, 0.0, 0.0], &[3, 2], &device).settled();
        assert_eq!((values(settled.x), settled.layout), (vec![0.0, 2.0, 3.0, 4.0], Layout::uniform(2, 2)));
        assert!(settled.policy.is_none() && settled.size.is_none());
    }
}
