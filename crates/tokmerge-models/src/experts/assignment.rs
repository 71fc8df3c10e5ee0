//! Which token goes to which expert.

use super::routing::{Order, Routing};
use std::ops::Range;
use std::sync::Arc;
use tokmerge_merge::Layout;
use tokmerge_ops::DROPPED;

/// Where the tokens of a batch go, as data. `T` tokens, `K` choices of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// The rows that run, in the order of experts: `[places]`.
    pub(crate) rows: Arc<[u32]>,
    /// Which of these are whose, one range per expert.
    pub(crate) ranges: Vec<Range<usize>>,
    /// For each choice, the expert that every token chose: `K` times `[T]`.
    pub(crate) chosen: Vec<Vec<u32>>,
    /// For each choice, the token's place in `rows`, or [`DROPPED`]: `K` times `[T]`.
    pub(crate) places: Vec<Arc<[u32]>>,
}

impl Assignment {
    /// From `gates: [T, E]`, row by row; `experts` is `E`, `chosen` is `K`.
    pub(crate) fn new(
        gates: &[f32],
        experts: usize,
        chosen: usize,
        layout: &Layout,
        routing: Routing,
    ) -> Self {
        let tokens = layout.rows();
        assert_eq!(gates.len(), tokens * experts, "a gate per token and expert");
        let choices = largest(gates, experts, chosen);
        let mut rows = vec![Vec::new(); experts];
        let mut places = vec![vec![DROPPED; tokens]; chosen];
        let mut place = |group: &[usize], most: usize| {
            let before: Vec<usize> = rows.iter().map(Vec::len).collect();
            for (choices, places) in choices.iter().zip(&mut places) {
                for &token in group {
                    let expert = choices[token] as usize;
                    if rows[expert].len() - before[expert] < most {
                        places[token] = rows[expert].len() as u32;
                        rows[expert].push(token as u32);
                    }
                }
            }
        };
        match routing {
            Routing::Free => place(&(0..tokens).collect::<Vec<_>>(), usize::MAX),
            Routing::Buffers(buffers) => {
                for range in buffers.group.rows(layout) {
                    let most = buffers.places(range.len(), chosen, experts);
                    let mut group: Vec<usize> = range.collect();
                    if buffers.order == Order::Gate {
                        let first = |token: usize| gates[token * experts + choices[0][token] as usize];
                        group.sort_by(|a, b| first(*b).total_cmp(&first(*a)));
                    }
                    place(&group, most);
                }
            }
        }
        let mut ranges = Vec::with_capacity(experts);
        let mut start = 0;
        for rows in &rows {
            ranges.push(start..start + rows.len());
            start += rows.len();
        }
        // Until here places were counted inside each expert.
        for (choices, places) in choices.iter().zip(&mut places) {
            for (expert, place) in choices.iter().zip(places).filter(|(_, place)| **place != DROPPED) {
                *place += ranges[*expert as usize].start as u32;
            }
        }
        let places = places.into_iter().map(Arc::from).collect();
        Self { rows: rows.concat().into(), ranges, chosen: choices, places }
    }
}

/// The `count` largest of every row of `experts` gates, the largest first, of equal ones the first: `count` times `[T]`.
fn largest(gates: &[f32], experts: usize, count: usize) -> Vec<Vec<u32>> {
    let tokens = gates.len() / experts.max(1);
    let mut choices = vec![Vec::with_capacity(tokens); count];
    let mut order: Vec<u32> = Vec::with_capacity(experts);
    for gates in gates.chunks_exact(experts.max(1)) {
        order.clear();
        order.extend(0..experts as u32);
        order.sort_by(|a, b| gates[*b as usize].total_cmp(&gates[*a as usize]));
        for (choices, expert) in choices.iter_mut().zip(&order) {
            choices.push(*expert);
        }
    }
    choices
}
