//! Tokens in the order of what they score.

use crate::methods::At;
use crate::plan::PlanBuilder;
use crate::{MergePlan, Tokens};

/// In which order patches that are kept go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::methods) enum Kept {
    /// By falling score.
    ByScore,
    /// As they stood.
    InPlace,
}

/// Places from `first` on by falling score, ties by place, what is no number last.
pub(in crate::methods) fn by_falling_score<S: Copy + Into<f64>>(scores: &[S], first: usize) -> Vec<u32> {
    let score = |place: &u32| match scores[*place as usize].into() {
        score if score.is_nan() => f64::NEG_INFINITY,
        score => score,
    };
    let mut places: Vec<u32> = (first as u32..scores.len() as u32).collect();
    places.sort_by(|a, b| score(b).total_cmp(&score(a)));
    places
}

/// As many patches of every item as its amount leaves, those that score most, `scores: [T]`; the others are dropped.
pub(in crate::methods) fn best(at: &At, tokens: &Tokens, scores: &[f32], kept: Kept) -> MergePlan {
    let mut builder = PlanBuilder::new(tokens.layout.clone());
    for item in 0..tokens.layout.items() {
        let range = tokens.layout.range(item);
        let prefix = tokens.front_of(item);
        let Some(gone @ 1..) = at.amount.of(range.len(), prefix) else {
            builder.keep_item();
            continue;
        };
        let mut order = by_falling_score(&scores[range], prefix);
        order.truncate(order.len() - gone);
        if kept == Kept::InPlace {
            order.sort_unstable();
        }
        builder.item((0..prefix as u32).chain(order), &[]);
    }
    builder.finish()
}
