//! The best partner of every source token among the destination tokens of its item.

use crate::backend::{Body, body};
use crate::pool::{self, contiguous, values};
use burn::tensor::{Int, Tensor, TensorData, activation::softmax};
use burn_flex::Flex;
use tokmerge_kernels as kernels;
use tokmerge_kernels::{Bipartite, Isa, Similarity};

/// What [`best_match`] found, for the sources of all items one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Match {
    /// Similarity to the best destination; `-inf` where an item has none.
    pub best: Vec<f32>,
    /// Row of that destination; ties go to the destination listed first; `u32::MAX` where an item has none.
    pub partner: Vec<u32>,
}

/// For every source the most similar destination of the same item.
///
/// `metric: [T, D]`; `items` lists the rows of sources and destinations. Carries no gradient, and the result is
/// on the host, where plans are made.
pub fn best_match(metric: Tensor<2>, similarity: Similarity, items: &[Bipartite<'_>]) -> Match {
    let metric = metric.without_autodiff();
    let [_, dim] = metric.dims();
    match (body(&metric), metric.clone().try_into_primitive::<Flex>()) {
        (Body::Kernels, Ok(primitive)) => {
            drop(metric);
            let primitive = contiguous(primitive);
            let sources = items.iter().map(|item| item.sources.len()).sum();
            let mut found = Match { best: vec![0.0; sources], partner: vec![0; sources] };
            kernels::best_match(
                Isa::current(),
                similarity,
                values(&primitive),
                dim,
                items,
                &mut found.best,
                &mut found.partner,
            );
            pool::give(primitive);
            found
        }
        _ => composed(metric, similarity, items),
    }
}

pub(crate) fn composed(metric: Tensor<2>, similarity: Similarity, items: &[Bipartite<'_>]) -> Match {
    let device = metric.device();
    let [_, dim] = metric.dims();
    let metric = match similarity {
        Similarity::Cosine => {
            let norm = metric.clone().square().sum_dim(1).sqrt();
            metric / norm.clamp_min(f32::MIN_POSITIVE)
        }
        Similarity::Dot | Similarity::Euclidean | Similarity::Softmax => metric,
    };
    let rows = |rows: &[u32]| -> Tensor<2> {
        let indices = TensorData::new(rows.iter().map(|&row| row as i32).collect(), [rows.len()]);
        metric.clone().select(0, Tensor::<1, Int>::from_data(indices, &device))
    };
    let mut found = Match::default();
    for item in items {
        if item.destinations.is_empty() || item.sources.is_empty() {
            found.best.extend(item.sources.iter().map(|_| f32::NEG_INFINITY));
            found.partner.extend(item.sources.iter().map(|_| u32::MAX));
            continue;
        }
        let (a, b) = (rows(item.sources), rows(item.destinations));
        let dot = a.clone().matmul(b.clone().transpose());
        let scores = match similarity {
            Similarity::Cosine | Similarity::Dot => dot,
            Similarity::Euclidean => dot * 2.0 - a.square().sum_dim(1) - b.square().sum_dim(1).transpose(),
            Similarity::Softmax => softmax(dot * (dim as f32).powf(-0.5), 1),
        };
        // NaN is like nothing at all.
        let scores = scores.clone().mask_fill(scores.is_nan(), f32::NEG_INFINITY);
        let (best, index) = scores.max_dim_with_indices(1);
        found.best.extend(best.into_data().iter::<f32>());
        found.partner.extend(index.into_data().iter::<i64>().map(|i| item.destinations[i as usize]));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{best_match, composed};
    use crate::Similarity;
    use crate::testing::{devices, normal};
    use tokmerge_kernels::Bipartite;

    #[test]
    fn kernel_equals_composed() {
        let device = devices().plain;
        let metric = normal([40, 16], 3, &device);
        let (a, b): (Vec<u32>, Vec<u32>) = (0..25).partition(|row| row % 2 == 0);
        let (c, d) = (vec![25, 39, 30], vec![26, 31, 32, 27]);
        let items = [
            Bipartite { sources: &a, destinations: &b },
            Bipartite { sources: &c, destinations: &d },
            Bipartite { sources: &[28], destinations: &[] },
        ];
        for similarity in [Similarity::Cosine, Similarity::Dot, Similarity::Euclidean, Similarity::Softmax] {
            let actual = best_match(metric.clone(), similarity, &items);
            let expected = composed(metric.clone(), similarity, &items);
            assert_eq!(actual.partner, expected.partner, "{similarity:?}");
            for (actual, expected) in actual.best.iter().zip(&expected.best) {
                assert!(actual == expected || (actual - expected).abs() < 2e-5, "{actual} {expected}");
            }
        }
    }
}
