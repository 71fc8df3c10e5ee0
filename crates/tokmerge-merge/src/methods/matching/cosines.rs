//! How similar all tokens of an item are to each other.

use burn::tensor::Tensor;
use std::sync::Arc;
use tokmerge_ops::gather_rows;

/// The cosines of all pairs of some tokens; -1 where one is no number.
pub(in crate::methods) struct Cosines {
    tokens: usize,
    values: Vec<f32>,
}

impl Cosines {
    /// Of some rows of a metric, `[T, D]`.
    pub(in crate::methods) fn of(metric: &Tensor<2>, rows: impl IntoIterator<Item = u32>) -> Self {
        let rows: Arc<[u32]> = rows.into_iter().collect();
        let tokens = rows.len();
        if tokens == 0 {
            return Self { tokens, values: Vec::new() };
        }
        let rows = gather_rows(metric.clone().without_autodiff(), &rows);
        let norms = rows.clone().powi_scalar(2).sum_dim(1).sqrt().clamp_min(f32::MIN_POSITIVE);
        let rows = rows / norms;
        let products = rows.clone().matmul(rows.transpose());
        let number = |value: f32| if value.is_nan() { -1.0 } else { value };
        Self { tokens, values: products.into_data().iter::<f32>().map(number).collect() }
    }

    /// Tokens that are compared.
    pub(in crate::methods) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Of one token with all, itself included. They count from the first that was compared.
    pub(in crate::methods) fn row(&self, token: usize) -> &[f32] {
        &self.values[token * self.tokens..(token + 1) * self.tokens]
    }

    /// How many others are more similar to a token than a threshold.
    pub(in crate::methods) fn above(&self, token: usize, threshold: f32) -> usize {
        let others = self.row(token).iter().enumerate().filter(|(other, _)| *other != token);
        others.filter(|(_, cosine)| **cosine > threshold).count()
    }
}

#[cfg(test)]
mod tests {
    use super::Cosines;
    use burn::tensor::{Device, Tensor};

    #[test]
    fn every_token_is_compared_with_all() {
        let metric =
            Tensor::<2>::from_data([[9.0, 9.0], [2.0, 0.0], [0.0, 0.5], [3.0, 4.0]], &Device::flex());
        let cosines = Cosines::of(&metric, [1, 2, 3]);
        let close = |token: usize, wanted: [f32; 3]| {
            cosines.row(token).iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-6)
        };
        assert!(close(0, [1.0, 0.0, 0.6]) && close(2, [0.6, 0.8, 1.0]));
        assert_eq!([0, 1, 2].map(|token| cosines.above(token, 0.5)), [1, 1, 2]);
        assert_eq!(Cosines::of(&metric, []).tokens(), 0);
        let broken = Tensor::<2>::from_data([[f32::NAN, 1.0], [0.0, 0.0]], &Device::flex());
        assert_eq!(Cosines::of(&broken, [0, 1]).row(0), [-1.0, -1.0]);
    }
}
