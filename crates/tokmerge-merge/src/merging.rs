//! What a method answers: which tokens become one, and how.

use crate::{Combine, MergePlan, Tokens};
use burn::tensor::Tensor;
use std::sync::Arc;

/// How tokens that share a destination become one.
#[derive(Clone, Debug, PartialEq)]
pub struct Combination {
    /// What becomes of their values.
    pub combine: Combine,
    /// `[T]`: what every token weighs in an average or a sum. `None`: its size.
    pub weights: Option<Arc<[f32]>>,
    /// `[T]`: the size that every token brings along. `None`: that which it has.
    pub sizes: Option<Arc<[f32]>>,
}

impl From<Combine> for Combination {
    fn from(combine: Combine) -> Self {
        Self { combine, weights: None, sizes: None }
    }
}

/// A plan and how it is followed.
#[derive(Clone, Debug, PartialEq)]
pub struct Merging {
    /// Which tokens become which.
    pub plan: MergePlan,
    /// How.
    pub by: Combination,
}

impl Merging {
    /// The tokens after it: rows become what the combination says, sizes add up, positions follow.
    ///
    /// # Panics
    /// When the plan was made for other tokens.
    #[must_use]
    pub fn apply(&self, tokens: Tokens) -> Tokens {
        let Self { plan, by: Combination { combine, weights, sizes } } = self;
        // The rows are handed over, not shared, so that their memory can be reused.
        let own = tokens.sizes();
        let Tokens { x, layout, prefix, positions, waiting, policy, standing, carried, .. } = tokens;
        assert_eq!(&layout, plan.input(), "the plan was made for other tokens");
        Tokens {
            x: plan.merge(x, weights.as_ref().unwrap_or(&own), *combine),
            layout: plan.output().clone(),
            prefix,
            positions: positions.map(|positions| plan.positions(&positions, &own, *combine)),
            size: Some(plan.sizes(Some(sizes.as_ref().unwrap_or(&own)))),
            waiting,
            policy: policy.map(|policy| plan.represent(policy)),
            standing: standing.map(|standing| standing.after(plan)),
            carried: carried.map(|carried| carried.select(|of_all| plan.represent(of_all))),
        }
    }

    /// Rows of what merged tokens are made of, `y: [T, W]` → `[T', W]`: averages by the weights of this merging.
    ///
    /// # Panics
    /// When there are no weights, or other rows.
    #[must_use]
    pub fn average(&self, y: Tensor<2>) -> Tensor<2> {
        let weights =
            self.by.weights.as_ref().expect("what merges inside attention says what its tokens weigh");
        self.plan.merge(y, weights, Combine::WeightedAverage)
    }
}
