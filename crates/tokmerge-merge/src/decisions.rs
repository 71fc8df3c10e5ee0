//! What was drawn in training, to be rewarded when the answer is known (REINFORCE; Williams, 1992).

use crate::Tokens;
use crate::carried::Carried;
use burn::tensor::{Tensor, TensorData};

/// What was drawn about the patches of every item, place by place.
#[derive(Clone, Debug)]
pub struct Decisions {
    places: Vec<Drawn>,
    /// What is taken off for a wrong answer.
    penalty: f64,
}

/// What was drawn before one block.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    /// The mean over the patches of an item of the logarithm of the probability of what was drawn, `[B, 1]`.
    pub(crate) logs: Tensor<2>,
    /// The part of the item's patches that is kept, `[B]`.
    pub(crate) kept: Vec<f32>,
}

impl Decisions {
    /// None yet.
    pub(crate) fn none(penalty: f64) -> Self {
        Self { places: Vec::new(), penalty }
    }

    /// These, then more.
    pub(crate) fn and(mut self, drawn: Drawn) -> Self {
        self.places.push(drawn);
        self
    }

    pub(crate) fn map(self, change: &mut dyn FnMut(Tensor<2>) -> Tensor<2>) -> Self {
        let changed = |drawn: Drawn| Drawn { logs: change(drawn.logs), ..drawn };
        Self { places: self.places.into_iter().map(changed).collect(), ..self }
    }

    /// What is to be added to the loss, `[1]`, where `right` says of every item whether it was answered right: the mean over
    /// items of `-(R - b) log π`, added up over the places. `R` is `1 - kept²` for a right answer, and the penalty, negative,
    /// for a wrong one; `b` is the mean of the rewards of the other items of the batch, 0 of an item alone.
    ///
    /// # Panics
    /// When there are more or fewer items.
    #[must_use]
    pub fn loss(&self, right: &[bool]) -> Option<Tensor<1>> {
        let of_place = |drawn: &Drawn| {
            assert_eq!(drawn.kept.len(), right.len(), "an answer for every item");
            let items = right.len();
            let advantages = advantages(&drawn.kept, right, self.penalty);
            let advantages = TensorData::new(advantages, [items, 1]);
            let advantages = Tensor::<2>::from_data(advantages, &drawn.logs.device());
            (drawn.logs.clone() * advantages).sum() / -(items.max(1) as f64)
        };
        self.places.iter().map(of_place).reduce(|sum, more| sum + more)
    }
}

/// By how much the reward of each item is above that of the others.
fn advantages(kept: &[f32], right: &[bool], penalty: f64) -> Vec<f32> {
    let reward =
        |(kept, right): (&f32, &bool)| if *right { 1.0 - f64::from(*kept).powi(2) } else { -penalty };
    let rewards: Vec<f64> = kept.iter().zip(right).map(reward).collect();
    let (sum, others) = (rewards.iter().sum::<f64>(), rewards.len().saturating_sub(1).max(1) as f64);
    rewards.iter().map(|reward| (reward - (sum - reward) / others) as f32).collect()
}

impl Tokens {
    /// What was drawn about them, where training draws to be rewarded.
    #[must_use]
    pub fn decisions(&self) -> Option<&Decisions> {
        match &self.carried {
            Some(Carried::Decisions(decisions)) => Some(decisions),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Decisions, Drawn};
    use burn::tensor::{Device, Tensor};

    /// By hand. Rewards of the first place: 1 - 0.5², -0.5, 1 - 1²; the mean of the other two is taken off each.
    #[test]
    fn rewards_are_compared_with_those_of_the_others() {
        let device = Device::flex().autodiff();
        let logs = |values: [[f32; 1]; 3]| Tensor::<2>::from_data(values, &device).require_grad();
        let (first, second) = (logs([[-0.5], [-0.25], [-1.0]]), logs([[-0.1], [-0.2], [-0.3]]));
        let decisions = Decisions::none(0.5)
            .and(Drawn { logs: first.clone(), kept: vec![0.5, 0.5, 1.0] })
            .and(Drawn { logs: second.clone(), kept: vec![0.0, 0.1, 0.2] });
        let loss = decisions.loss(&[true, false, true]).expect("something was drawn");
        let gradients = loss.backward();
        let gradient = |logs: &Tensor<2>| -> Vec<f32> {
            logs.grad(&gradients).expect("a gradient").into_data().iter::<f32>().collect()
        };
        let [a, b, c] = [0.75 + 0.25, -0.5 - 0.375, 0.0 - 0.125];
        let wanted = [a, b, c].map(|advantage: f32| -advantage / 3.0);
        assert!(gradient(&first).iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6));
        let [d, e, f] = [1.0 - 0.23, -0.5 - 0.98, 0.96 - 0.25];
        let wanted = [d, e, f].map(|advantage: f32| -advantage / 3.0);
        assert!(gradient(&second).iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6));
        let sum = -0.5 * a - 0.25 * b - c + -0.1 * d - 0.2 * e - 0.3 * f;
        assert!((loss.into_scalar::<f32>() + sum / 3.0).abs() < 1e-6);
    }

    #[test]
    fn an_item_alone_is_compared_with_nothing() {
        let device = Device::flex();
        let logs = Tensor::<2>::from_data([[-2.0]], &device);
        let decisions = Decisions::none(0.5).and(Drawn { logs, kept: vec![0.5] });
        let value = |right| decisions.loss(&[right]).expect("drawn").into_scalar::<f32>();
        assert_eq!((value(true), value(false)), (1.5, -1.0));
        assert!(Decisions::none(0.5).loss(&[true]).is_none());
    }
}
