//! Two passes of a batch through the same weights, of which one merges less (MCTF, §3.4).

use burn::tensor::{Tensor, activation::softmax};
use tokmerge_merge::Reduction;
use tokmerge_models::Output;

/// What a second pass merges by, and how near the first is to come to it.
#[derive(Clone, Debug)]
pub(crate) struct Consistency {
    /// How the second pass merges.
    pub(crate) reduction: Reduction,
    /// What the distance weighs.
    pub(crate) weight: f64,
    /// The probability of the right class above which an item counts, as the second pass has it. Of which pass that is in the
    /// published code was not read.
    pub(crate) above: f64,
}

impl Consistency {
    /// `weight` times the mean squared distance of the embeddings of the items that count, over items and channels, `[1]`. The
    /// embeddings of the second pass have no gradient, and its classes are compared with the largest of `targets`,
    /// `[B, classes]`.
    pub(crate) fn loss(&self, first: &Output, second: &Output, targets: &Tensor<2>) -> Tensor<1> {
        let [_, channels] = first.pooled.dims();
        let probable = softmax(second.logits.clone().detach(), 1);
        let right = probable.gather(1, targets.clone().argmax(1));
        let counts = right.greater_elem(self.above).float().detach();
        let apart = (first.pooled.clone() - second.pooled.clone().detach()).powi_scalar(2).sum_dim(1);
        // Where none counts there is no mean, and no loss.
        let items = counts.clone().sum().clamp_min(1.0);
        (apart * counts).sum() / items * (self.weight / channels as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::Consistency;
    use burn::tensor::{Device, Tensor, TensorData};
    use tokmerge_merge::{Layout, Reduction, Tokens, Trace};
    use tokmerge_models::Output;

    fn tensor(rows: [[f32; 2]; 3], device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::from(rows), device)
    }

    fn output(pooled: Tensor<2>, logits: Tensor<2>) -> Output {
        let tokens = Tokens::new(pooled.clone(), Layout::uniform(3, 1), 1);
        Output { pooled, logits, tokens, trace: Trace::default(), kept: None, auxiliary: None }
    }

    /// By hand: the second pass gives the right classes 0.88, 0.27 and 0.5, so that two items count with 0.4, one with 0.6 and none
    /// with 0.9.
    #[test]
    fn items_count_whose_class_the_second_pass_knows() {
        let device = Device::flex().autodiff();
        let targets = tensor([[1.0, 0.0], [0.1, 0.9], [0.6, 0.4]], &device);
        let logits = tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 0.0]], &device);
        for (above, loss, gradient) in [
            (0.4, 3.0 * (5.0 + 9.0) / 4.0, [1.5, 3.0, 0.0, 0.0, 0.0, -4.5]),
            (0.6, 3.0 * 5.0 / 2.0, [3.0, 6.0, 0.0, 0.0, 0.0, 0.0]),
            (0.9, 0.0, [0.0; 6]),
        ] {
            let first = tensor([[1.0, 2.0], [7.0, 7.0], [4.0, 4.0]], &device).require_grad();
            let second = tensor([[0.0, 0.0], [9.0, 9.0], [4.0, 7.0]], &device).require_grad();
            let with = Consistency { reduction: Reduction::none(), weight: 3.0, above };
            let outputs = [first.clone(), second.clone()].map(|pooled| output(pooled, logits.clone()));
            let found = with.loss(&outputs[0], &outputs[1], &targets);
            assert!((found.clone().into_scalar::<f32>() - loss).abs() < 1e-5, "{above}");
            let gradients = found.backward();
            let of_first: Vec<f32> =
                first.grad(&gradients).expect("a gradient").into_data().iter::<f32>().collect();
            assert!(
                of_first.iter().zip(gradient).all(|(a, b)| (a - b).abs() < 1e-5),
                "{above}: {of_first:?}"
            );
            assert!(second.grad(&gradients).is_none(), "the second pass teaches, and is not taught");
        }
    }
}
