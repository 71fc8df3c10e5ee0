//! What a method remembers of tokens from block to block.

use crate::{DROPPED, MergePlan};
use std::sync::Arc;

/// What a method remembers of the tokens of a batch, for what it does in later blocks. It travels with them, and carries no
/// gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// How much every token matters, `[T]`.
    pub scores: Arc<[f32]>,
    /// On which of these the block before worked while others waited: a plan that drops those. `None` where none did.
    pub worked: Option<MergePlan>,
}

impl Standing {
    /// What is remembered of tokens none of which has waited yet.
    pub(crate) fn new(scores: Vec<f32>) -> Self {
        Self { scores: scores.into(), worked: None }
    }

    /// Of the tokens that a plan leaves.
    pub(crate) fn after(&self, plan: &MergePlan) -> Self {
        let scores = plan.representative().iter().map(|row| self.scores[*row as usize]);
        Self { scores: scores.collect(), worked: None }
    }

    /// Of all tokens, of which a block has worked on those that a plan has left: what it made of these, and of the others what
    /// was remembered `before`, or 0.
    pub(crate) fn back(before: Option<Self>, after: Option<Self>, plan: &MergePlan) -> Option<Self> {
        let after = after?;
        let own = |row: usize| before.as_ref().map_or(0.0, |before| before.scores[row]);
        let score = |(row, dst): (usize, &u32)| match *dst {
            DROPPED => own(row),
            dst => after.scores[dst as usize],
        };
        let scores = plan.dst().iter().enumerate().map(score).collect();
        Some(Self { scores, worked: Some(plan.clone()) })
    }
}

#[cfg(test)]
mod tests {
    use super::Standing;
    use crate::{DROPPED, Layout, MergePlan};

    #[test]
    fn what_waits_keeps_its_score_and_the_plan_is_remembered() {
        let (all, left) = (Layout::uniform(1, 4), Layout::uniform(1, 2));
        let plan = MergePlan::new([0, DROPPED, 1, DROPPED], [0, 2], all, left).expect("a plan");
        let before = Standing::new(vec![9.0, 1.0, 2.0, 3.0]);
        assert_eq!(before.after(&plan), Standing::new(vec![9.0, 2.0]));
        let after = Standing::new(vec![8.0, 5.0]);
        let back = Standing::back(Some(before.clone()), Some(after.clone()), &plan).expect("remembered");
        assert_eq!((&back.scores[..], back.worked.as_ref()), (&[8.0, 1.0, 5.0, 3.0][..], Some(&plan)));
        let fresh = Standing::back(None, Some(after), &plan).expect("remembered");
        assert_eq!(fresh.scores[..], [8.0, 0.0, 5.0, 0.0]);
        assert_eq!(Standing::back(Some(before), None, &plan), None);
    }
}
