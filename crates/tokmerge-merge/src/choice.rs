//! Merging and dropping by masks: what training does where a method learns how much of both.
//!
//! Inference decides by comparing scores with a threshold or a rank, and has no gradient. In training the same is decided
//! ([`Choice`]), and all rows stay: what merges gives its value to its destination and counts no more, what is dropped counts no
//! more ([`Tokens::policy`]). Whether a pair merges and whether a token stays are factors of 1 or 0 that carry the gradient of
//! softer ones (straight-through, as in LTMP and DiffRate). Rows that count stand in front in the order in which inference
//! has them, so that later layers, which go by places, decide as they would there.

use crate::mergers::Soft;
use crate::policy::{COLUMNS, COST, COUNTS, Empty, WEIGHT};
use crate::{AttentionMap, Combine, Evidence, KeyBias, Layout, MergePlan, Merging, Tokens};
use burn::tensor::{Device, Tensor, TensorData};
use std::sync::Arc;
use tokmerge_ops::{DROPPED, gather_rows, merge_rows};

/// A token that may merge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Its row.
    pub source: u32,
    /// The row that it merges into, or would; `None` where nobody has looked for one, because it does not.
    pub destination: Option<u32>,
    /// What that is decided by.
    pub score: f32,
    /// Whether it merges.
    pub merges: bool,
}

/// A token that may be dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// Its row.
    pub row: u32,
    /// What that is decided by.
    pub score: f32,
    /// Whether it stays.
    pub stays: bool,
}

/// What a method does to tokens, and the scores by which it has decided so.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What inference does: from all rows to those that are left.
    pub merging: Merging,
    /// Tokens that may merge, each once.
    pub pairs: Arc<[Pair]>,
    /// Tokens that may be dropped, each once.
    pub judged: Arc<[Judged]>,
}

impl Choice {
    /// Nothing merges and nothing is dropped.
    pub(crate) fn nothing(layout: &Layout) -> Self {
        let plan = MergePlan::identity(layout.clone());
        let merging = Merging { plan, by: Combine::WeightedAverage.into() };
        Self { merging, pairs: [].into(), judged: [].into() }
    }

    /// The old row of every new one: those that are left in front of every item, in their order, then the others.
    fn order(&self) -> Arc<[u32]> {
        let plan = &self.merging.plan;
        let mut left = vec![false; plan.dst().len()];
        plan.representative().iter().for_each(|row| left[*row as usize] = true);
        let mut order = Vec::with_capacity(left.len());
        for item in 0..plan.input().items() {
            order.extend_from_slice(&plan.representative()[plan.output().range(item)]);
            let rows = plan.input().range(item);
            order.extend(rows.filter(|row| !left[*row]).map(|row| row as u32));
        }
        order.into()
    }

    /// All of these tokens, with a policy of [`COLUMNS`]: what counts is what the merging leaves, value by value. The sizes of
    /// merged tokens carry a gradient where attention weighs by them.
    pub(crate) fn relax(&self, tokens: Tokens, soft: Soft, weigh: KeyBias) -> Tokens {
        let (device, rows) = (tokens.device(), tokens.layout.rows());
        if rows == 0 {
            return Tokens { policy: Some(Tensor::zeros([0, COLUMNS], &device)), ..tokens };
        }
        let column = |column, start: f32| match &tokens.policy {
            Some(_) => tokens.policy_column(column).expect("there is a policy"),
            None => Tensor::full([rows, 1], start, &device),
        };
        let merges = straight(self.pairs.iter().map(|pair| pair.merges), soft.merges, &device);
        let stays = straight(self.judged.iter().map(|judged| judged.stays), soft.stays, &device);
        let remain = merges.clone().map(|merges| -merges + 1.0);
        let counts = column(COUNTS, 1.0)
            * factors(remain, self.pairs.iter().map(|pair| pair.source), rows, &device)
            * factors(stays, self.judged.iter().map(|judged| judged.row), rows, &device);
        let meeting = Meeting::of(self, merges, rows);
        let (x, weight) = self.met(&tokens, column(WEIGHT, 1.0), meeting);
        let weight = if weigh == KeyBias::LogSize { weight } else { weight.detach() };
        let order = self.order();
        let policy = gather_rows(Tensor::cat(vec![counts, weight, column(COST, 0.0)], 1), &order);
        let (size, positions) = self.placed(&tokens, &order);
        Tokens { x: gather_rows(x, &order), policy: Some(policy), size: Some(size), positions, ..tokens }
    }

    /// What the rows are after those that merge have come to them, `[T, C]`, and the weight of each, `[T, 1]`.
    fn met(&self, tokens: &Tokens, weight: Tensor<2>, meeting: Option<Meeting>) -> (Tensor<2>, Tensor<2>) {
        let Some(meeting) = meeting else { return (tokens.x.clone(), weight) };
        let (by, own, device) = (&self.merging.by, tokens.sizes(), tokens.device());
        let numbers = |values: &[f32]| {
            Tensor::<2>::from_data(TensorData::new(values.to_vec(), [values.len(), 1]), &device)
        };
        let size = numbers(&own) * weight.clone();
        let share = match (by.combine, &by.weights) {
            (Combine::Average, _) => weight.ones_like(),
            (_, Some(weights)) => numbers(weights),
            (_, None) => size.clone(),
        };
        let sum = meeting.mean(tokens.x.clone() * share.clone());
        let x = sum / meeting.mean(share);
        let brought = match &by.sizes {
            Some(sizes) => numbers(sizes) * weight,
            None => size.clone(),
        };
        let size = size + meeting.sum(brought);
        (x, size.clone() / size.detach())
    }

    /// Sizes and positions in the new order.
    fn placed(&self, tokens: &Tokens, order: &[u32]) -> (Arc<[f32]>, Option<crate::Positions>) {
        let (plan, by, own) = (&self.merging.plan, &self.merging.by, tokens.sizes());
        let mut sizes = own.to_vec();
        let merged = plan.sizes(Some(by.sizes.as_ref().unwrap_or(&own)));
        // Where every old row is in the list of merged positions and then those of all rows.
        let mut place: Vec<u32> = (0..own.len() as u32).map(|row| row + merged.len() as u32).collect();
        for (left, row) in plan.representative().iter().enumerate() {
            sizes[*row as usize] = merged[left];
            place[*row as usize] = left as u32;
        }
        let places: Vec<u32> = order.iter().map(|row| place[*row as usize]).collect();
        let positions = tokens
            .positions
            .as_ref()
            .map(|positions| plan.positions(positions, &own, by.combine).then(positions).select(&places));
        (order.iter().map(|row| sizes[*row as usize]).collect(), positions)
    }
}

/// Tokens that come to others, whether they merge or only might.
struct Meeting {
    /// Their rows, `[E]`.
    sources: Arc<[u32]>,
    /// Of all rows, and after them of those that come: where they are from then on, `[T + E]`.
    into: Arc<[u32]>,
    /// Whether they merge, `[E, 1]`.
    merges: Tensor<2>,
    rows: usize,
}

impl Meeting {
    /// `None` where nobody has a destination.
    fn of(choice: &Choice, merges: Option<Tensor<2>>, rows: usize) -> Option<Self> {
        let with = choice.pairs.iter().enumerate();
        let with: Vec<(u32, u32, u32)> =
            with.filter_map(|(index, pair)| Some((index as u32, pair.source, pair.destination?))).collect();
        let merges = merges.filter(|_| !with.is_empty())?;
        let sources = with.iter().map(|(_, source, _)| *source).collect();
        let into = (0..rows as u32).chain(with.iter().map(|(_, _, into)| *into)).collect();
        let merges = gather_rows(merges, &with.iter().map(|(index, _, _)| *index).collect());
        Some(Self { sources, into, merges, rows })
    }

    /// The mean of every row and those that come to it: `x: [T, W]` → `[T, W]`. All of them are counted, whether they merge or
    /// not: that cancels in a quotient of two such means.
    fn mean(&self, x: Tensor<2>) -> Tensor<2> {
        let coming = gather_rows(x.clone(), &self.sources) * self.merges.clone();
        let ones = vec![1.0; self.into.len()].into();
        merge_rows(Tensor::cat(vec![x, coming], 0), &ones, &self.into, self.rows)
    }

    /// The sum of those that come to every row, `[T, 1]`.
    fn sum(&self, x: Tensor<2>) -> Tensor<2> {
        let mut all = vec![0.0; self.rows];
        self.into.iter().for_each(|row| all[*row as usize] += 1.0);
        let all = Tensor::<2>::from_data(TensorData::new(all, [self.rows, 1]), &x.device());
        self.mean(x.clone()) * all - x
    }
}

/// What is decided as numbers, `[K, 1]`, with the gradient of the softer ones; `None` of nothing.
fn straight(hard: impl Iterator<Item = bool>, soft: Option<Tensor<2>>, device: &Device) -> Option<Tensor<2>> {
    let hard: Vec<f32> = hard.map(f32::from).collect();
    let count = hard.len();
    let decided = (count > 0).then(|| Tensor::<2>::from_data(TensorData::new(hard, [count, 1]), device))?;
    Some(match soft {
        Some(soft) => decided + (soft.clone() - soft.detach()),
        None => decided,
    })
}

/// A factor for every row, `[T, 1]`: those given for some of them, and one.
fn factors(
    given: Option<Tensor<2>>,
    of: impl Iterator<Item = u32>,
    rows: usize,
    device: &Device,
) -> Tensor<2> {
    let ones = Tensor::ones([1, 1], device);
    let mut from = vec![0_u32; rows];
    of.enumerate().for_each(|(index, row)| from[row as usize] = index as u32 + 1);
    match given {
        Some(given) => gather_rows(Tensor::cat(vec![ones, given], 0), &from.into()),
        None => Tensor::ones([rows, 1], device),
    }
}

/// The tokens of a batch that count, for a method to decide about as inference does.
pub(crate) struct Counting {
    /// Without a policy.
    pub(crate) tokens: Tokens,
    /// From all rows to these.
    plan: MergePlan,
}

impl Counting {
    pub(crate) fn of(tokens: &Tokens) -> Self {
        let plan = tokens.counting(Empty::Stays);
        let plan = plan.unwrap_or_else(|| MergePlan::identity(tokens.layout.clone()));
        let rows: Arc<[u32]> = plan.representative().into();
        let tokens = Tokens {
            x: gather_rows(tokens.x.clone().without_autodiff(), &rows),
            layout: plan.output().clone(),
            prefix: tokens.prefix.clone(),
            size: tokens.size.as_ref().map(|size| rows.iter().map(|row| size[*row as usize]).collect()),
            positions: tokens.positions.as_ref().map(|positions| positions.select(&rows)),
            waiting: None,
            policy: None,
            standing: None,
            carried: None,
        };
        Self { tokens, plan }
    }

    /// What is known of all rows, of these alone.
    pub(crate) fn evidence(&self, all: Evidence) -> Evidence {
        let rows: Arc<[u32]> = self.plan.representative().into();
        let some = |values: Vec<f32>| rows.iter().map(|row| values[*row as usize]).collect();
        let maps = |maps: Vec<AttentionMap>| {
            maps.into_iter().enumerate().map(|(item, map)| self.map(item, &map)).collect()
        };
        Evidence {
            metric: all.metric.map(|metric| gather_rows(metric, &rows)),
            received: all.received.map(some),
            maps: all.maps.map(maps),
            scores: all.scores.map(some),
            logits: all.logits.map(some),
            step: all.step,
        }
    }

    fn map(&self, item: usize, map: &AttentionMap) -> AttentionMap {
        let start = self.plan.input().range(item).start;
        let places = &self.plan.representative()[self.plan.output().range(item)];
        let places: Vec<usize> = places.iter().map(|row| *row as usize - start).collect();
        let asking: Vec<usize> =
            if map.queries == map.keys { places.clone() } else { (0..map.queries).collect() };
        let rows = (0..map.heads).flat_map(|head| asking.iter().map(move |query| map.row(head, *query)));
        let values = rows.flat_map(|row| places.iter().map(|place| row[*place])).collect();
        AttentionMap { queries: asking.len(), keys: places.len(), values, ..*map }
    }

    /// A choice about these tokens as one about all rows. What does not count goes nowhere.
    pub(crate) fn lift(&self, choice: Choice) -> Choice {
        let Choice { merging: Merging { plan, mut by }, pairs, judged } = choice;
        let row = |row: u32| self.plan.representative()[row as usize];
        let lifted = |values: Arc<[f32]>| {
            let value = |dst: &u32| if *dst == DROPPED { 1.0 } else { values[*dst as usize] };
            self.plan.dst().iter().map(value).collect()
        };
        (by.weights, by.sizes) = (by.weights.map(lifted), by.sizes.map(lifted));
        let pair =
            |pair: &Pair| Pair { source: row(pair.source), destination: pair.destination.map(row), ..*pair };
        Choice {
            merging: Merging { plan: self.plan.then(&plan), by },
            pairs: pairs.iter().map(pair).collect(),
            judged: judged.iter().map(|judged| Judged { row: row(judged.row), ..*judged }).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
