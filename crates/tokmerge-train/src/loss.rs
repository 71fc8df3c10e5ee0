//! Losses against soft targets.

use burn::tensor::{Int, Tensor, TensorData, activation::log_softmax};
use serde::{Deserialize, Serialize};

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Cross-entropy of the softmax: one class is right.
    CrossEntropy,
    /// Binary cross-entropy of the sigmoid of every class: any number of them are right.
    Bce,
}

impl Loss {
    /// The loss of logits and targets, both `[B, classes]` → `[1]`.
    pub(crate) fn of(self, logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        match self {
            Self::CrossEntropy => soft_cross_entropy(logits, targets),
            Self::Bce => binary_cross_entropy(logits, targets),
        }
    }
}

/// Targets of labelled images, `[B, classes]`: the label has `1 - smoothing` of the mass, and `smoothing` is spread
/// evenly over all classes, the label included (Szegedy et al., 2016).
///
/// # Panics
/// When a label is not below `classes`.
#[must_use]
pub fn soft_targets(labels: &[usize], classes: usize, smoothing: f64) -> Vec<f32> {
    let everywhere = (smoothing / classes as f64) as f32;
    let mut targets = vec![everywhere; labels.len() * classes];
    for (row, label) in targets.chunks_exact_mut(classes.max(1)).zip(labels) {
        row[*label] = (1.0 - smoothing + smoothing / classes as f64) as f32;
    }
    targets
}

/// `-Σ targets · log softmax(logits)`, the mean over items: both `[B, classes]` → `[1]`.
pub fn soft_cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let [items, _] = logits.dims();
    (log_softmax(logits, 1) * targets).sum() / -(items as f64)
}

/// `-log softmax(logits)` of tokens that are to be written, the mean over tokens: `logits: [T, vocabulary]`, `ids: [T]` → `[1]`.
/// Of the target `smoothing` is spread evenly over the vocabulary.
///
/// # Panics
/// When there are more or fewer tokens than rows.
pub fn token_cross_entropy(logits: Tensor<2>, ids: &[u32], smoothing: f64) -> Tensor<1> {
    let ([tokens, vocabulary], device) = (logits.dims(), logits.device());
    assert_eq!(tokens, ids.len(), "a token for every row");
    let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [tokens, 1]), &device);
    let logs = log_softmax(logits, 1);
    let own = logs.clone().gather(1, ids).sum() * (1.0 - smoothing);
    let all = match smoothing > 0.0 {
        true => own + logs.sum() * (smoothing / vocabulary as f64),
        false => own,
    };
    all / -(tokens as f64)
}

/// Binary cross-entropy of `sigmoid(logits)`, the mean over items and classes: both `[B, classes]` → `[1]`.
pub fn binary_cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    // max(x, 0) - x t + log(1 + exp(-|x|)), which overflows for no x.
    let tail = (logits.clone().abs().neg().exp() + 1.0).log();
    (logits.clone().clamp_min(0.0) - logits * targets + tail).mean()
}

#[cfg(test)]
mod tests {
    use super::{binary_cross_entropy, soft_cross_entropy, soft_targets, token_cross_entropy};
    use burn::tensor::{Device, Tensor, TensorData};

    #[test]
    fn targets_sum_to_one_and_are_largest_at_the_label() {
        let targets = soft_targets(&[2, 0], 4, 0.1);
        let expected = [0.025, 0.025, 0.925, 0.025, 0.925, 0.025, 0.025, 0.025];
        assert!(targets.iter().zip(expected).all(|(a, e)| (a - e).abs() < 1e-6), "{targets:?}");
        assert_eq!(soft_targets(&[1], 2, 0.0), [0.0, 1.0]);
    }

    /// By hand: the gradient of the mean loss by logits is (softmax - targets) / B.
    #[test]
    fn value_and_gradient() {
        let device = Device::flex().autodiff();
        let tensor = |values: [[f32; 3]; 2]| Tensor::<2>::from_data(TensorData::from(values), &device);
        let logits = [[1.0f32, -1.0, 0.5], [0.0, 2.0, 0.0]];
        let targets = [[0.8f32, 0.1, 0.1], [0.0, 0.0, 1.0]];
        let leaf = tensor(logits).require_grad();
        let loss = soft_cross_entropy(leaf.clone(), tensor(targets));
        let softmax = |row: [f32; 3]| {
            let sum: f32 = row.iter().map(|x| x.exp()).sum();
            row.map(|x| x.exp() / sum)
        };
        let mut expected = 0.0;
        let mut gradient = Vec::new();
        for (row, target) in logits.into_iter().zip(targets) {
            for (p, t) in softmax(row).into_iter().zip(target) {
                expected -= t * p.ln() / 2.0;
                gradient.push((p - t) / 2.0);
            }
        }
        let found =
            leaf.grad(&loss.backward()).expect("a gradient").into_data().try_to_vec::<f32>().expect("f32");
        assert!((loss.into_scalar::<f32>() - expected).abs() < 1e-6);
        assert!(found.iter().zip(&gradient).all(|(a, e)| (a - e).abs() < 1e-6), "{found:?} {gradient:?}");
    }

    /// Tokens are classes of a vocabulary: the same loss against soft targets, and so the same gradient.
    #[test]
    fn the_loss_of_tokens_is_that_of_their_soft_targets() {
        let device = Device::flex().autodiff();
        let logits = [[1.0f32, -1.0, 0.5], [0.0, 2.0, 0.0], [0.3, 0.1, -0.7]];
        for smoothing in [0.0, 0.1] {
            let of = |loss: &dyn Fn(Tensor<2>) -> Tensor<1>| {
                let leaf = Tensor::<2>::from_data(TensorData::from(logits), &device).require_grad();
                let loss = loss(leaf.clone());
                let gradient = leaf.grad(&loss.backward()).expect("a gradient").into_data();
                (loss.into_scalar::<f32>(), gradient.try_to_vec::<f32>().expect("f32"))
            };
            let (loss, gradient) = of(&|logits| token_cross_entropy(logits, &[2, 1, 0], smoothing));
            let targets = TensorData::new(soft_targets(&[2, 1, 0], 3, smoothing), [3, 3]);
            let targets = Tensor::from_data(targets, &device);
            let (expected, gradients) = of(&|logits| soft_cross_entropy(logits, targets.clone()));
            assert!((loss - expected).abs() < 1e-6, "{loss} {expected}");
            assert!(gradient.iter().zip(&gradients).all(|(a, e)| (a - e).abs() < 1e-6), "{gradient:?}");
        }
    }

    /// By hand: -t log s(x) - (1 - t) log (1 - s(x)), whose gradient by x is s(x) - t.
    #[test]
    fn binary_value_and_gradient() {
        let device = Device::flex().autodiff();
        let tensor = |values: [[f32; 3]; 2]| Tensor::<2>::from_data(TensorData::from(values), &device);
        let logits = [[1.0f32, -1.0, 0.5], [0.25, 2.0, 90.0]];
        let targets = [[1.0f32, 0.0, 0.3], [0.0, 1.0, 1.0]];
        let leaf = tensor(logits).require_grad();
        let loss = binary_cross_entropy(leaf.clone(), tensor(targets));
        let (mut expected, mut gradient) = (0.0, Vec::new());
        for (x, t) in logits.into_iter().flatten().zip(targets.into_iter().flatten()) {
            let sigmoid = 1.0 / (1.0 + (-f64::from(x)).exp());
            let t = f64::from(t);
            let of = |part: f64, log: f64| if part == 0.0 { 0.0 } else { part * log.ln() };
            expected -= (of(t, sigmoid) + of(1.0 - t, 1.0 - sigmoid)) / 6.0;
            gradient.push(((sigmoid - t) / 6.0) as f32);
        }
        let found =
            leaf.grad(&loss.backward()).expect("a gradient").into_data().try_to_vec::<f32>().expect("f32");
        assert!((f64::from(loss.into_scalar::<f32>()) - expected).abs() < 1e-6);
        assert!(found.iter().zip(&gradient).all(|(a, e)| (a - e).abs() < 1e-6), "{found:?} {gradient:?}");
    }
}
