//! What a method answers: which tokens become one, and how.

use crate::{Combine, MergePlan, Tokens};
use burn::tensor::{Tensor, TensorData};
use std::sync::Arc;
use tokmerge_ops::DROPPED;

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
        let Tokens { x, layout, prefix, positions, waiting, policy, .. } = tokens;
        assert_eq!(&layout, plan.input(), "the plan was made for other tokens");
        Tokens {
            x: plan.merge(x, weights.as_ref().unwrap_or(&own), *combine),
            layout: plan.output().clone(),
            prefix,
            positions: positions.map(|positions| plan.positions(&positions, &own, *combine)),
            size: Some(plan.sizes(Some(sizes.as_ref().unwrap_or(&own)))),
            waiting,
            policy: policy.map(|policy| plan.represent(policy)),
        }
    }

    /// The softmaxes of merged tokens, `[H, N, N]` for every item → `[H, M, M]`, in place of those that would have to be
    /// computed of them: merged keys are attended to as much as their members together, and a merged query attends as its
    /// members do on average, by weight (MCTF, one-step-ahead attention).
    ///
    /// # Panics
    /// When there are not as many maps as items, or they are of other tokens.
    #[must_use]
    pub fn merge_maps(&self, maps: Vec<Tensor<3>>, sizes: &[f32]) -> Vec<Tensor<3>> {
        let plan = &self.plan;
        assert_eq!(maps.len(), plan.input().items(), "a map for every item");
        let weights = self.by.weights.as_deref().unwrap_or(sizes);
        let merge = |(item, map): (usize, Tensor<3>)| -> Tensor<3> {
            let (input, output) = (plan.input().range(item), plan.output().range(item));
            let (before, after) = (input.len(), output.len());
            let kept = || {
                let tokens = input.clone().enumerate().filter(|(_, row)| plan.dst()[*row] != DROPPED);
                tokens.map(|(token, row)| (token, weights[row], plan.dst()[row] as usize - output.start))
            };
            let (mut totals, mut counts) = (vec![0.0_f32; after], vec![0.0_f32; after]);
            for (_, weight, dst) in kept() {
                totals[dst] += weight;
                counts[dst] += 1.0;
            }
            let (mut members, mut averages) = (vec![0.0_f32; after * before], vec![0.0_f32; after * before]);
            for (token, weight, dst) in kept() {
                members[dst * before + token] = 1.0;
                // As rows do: without any weight there is nothing to weigh by.
                let share = if totals[dst] == 0.0 { 1.0 / counts[dst] } else { weight / totals[dst] };
                averages[dst * before + token] = share;
            }
            let device = map.device();
            let matrix = |values: Vec<f32>| {
                Tensor::<3>::from_data(TensorData::new(values, [1, after, before]), &device)
            };
            matrix(averages).matmul(map.matmul(matrix(members).swap_dims(1, 2)))
        };
        maps.into_iter().enumerate().map(merge).collect()
    }
}
