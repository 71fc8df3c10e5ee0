//! The best partner of every source token among the destination tokens of its item.

use crate::backend::{Body, body};
use crate::layout::{Layout, places, select_rows};
use crate::pool::{self, contiguous, values};
use burn::tensor::{Tensor, activation::softmax};
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
    let [_, dim] = metric.dims();
    let metric = match similarity {
        Similarity::Cosine => {
            let norm = metric.clone().square().sum_dim(1).sqrt();
            metric / norm.clamp_min(f32::MIN_POSITIVE)
        }
        Similarity::Dot | Similarity::Euclidean | Similarity::Softmax => metric,
    };
    let sources: Vec<usize> = items.iter().map(|item| item.sources.len()).collect();
    let sources = Layout::from_lens(&sources);
    let mut found =
        Match { best: vec![f32::NEG_INFINITY; sources.rows()], partner: vec![u32::MAX; sources.rows()] };
    // Items of equal counts run as one batch, and all batches are read back together.
    let (mut order, mut best, mut index) = (Vec::new(), Vec::new(), Vec::new());
    let counts = items.iter().map(|item| (item.sources.len(), item.destinations.len()));
    for ((a, b), group) in places(counts).into_iter().filter(|((a, b), _)| *a > 0 && *b > 0) {
        let sources = group.iter().flat_map(|item| items[*item].sources).copied();
        let destinations = group.iter().flat_map(|item| items[*item].destinations).copied();
        let a: Tensor<3> = select_rows(&metric, sources).reshape([group.len(), a, dim]);
        let b: Tensor<3> = select_rows(&metric, destinations).reshape([group.len(), b, dim]);
        let dot = a.clone().matmul(b.clone().swap_dims(1, 2));
        let scores = match similarity {
            Similarity::Cosine | Similarity::Dot => dot,
            Similarity::Euclidean => {
                dot * 2.0 - a.square().sum_dim(2) - b.square().sum_dim(2).swap_dims(1, 2)
            }
            Similarity::Softmax => softmax(dot * (dim as f32).powf(-0.5), 2),
        };
        // NaN is like nothing at all.
        let scores = scores.clone().mask_fill(scores.is_nan(), f32::NEG_INFINITY);
        let (group_best, group_index) = scores.max_dim_with_indices(2);
        best.push(group_best.flatten::<1>(0, 2));
        index.push(group_index.flatten::<1>(0, 2));
        order.extend(group);
    }
    if order.is_empty() {
        return found;
    }
    let (best, index) = (Tensor::cat(best, 0).into_data(), Tensor::cat(index, 0).into_data());
    let mut answers = best.iter::<f32>().zip(index.iter::<i64>());
    for item in order {
        let places = found.best[sources.range(item)].iter_mut().zip(&mut found.partner[sources.range(item)]);
        for ((best, partner), (score, index)) in places.zip(answers.by_ref()) {
            (*best, *partner) = (score, items[item].destinations[index as usize]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Match, best_match, composed};
    use crate::Similarity;
    use crate::testing::{devices, normal};
    use burn::tensor::Tensor;
    use proptest::prelude::*;
    use tokmerge_kernels::Bipartite;

    const SIMILARITIES: [Similarity; 4] =
        [Similarity::Cosine, Similarity::Dot, Similarity::Euclidean, Similarity::Softmax];

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
        for similarity in SIMILARITIES {
            let actual = best_match(metric.clone(), similarity, &items);
            let expected = composed(metric.clone(), similarity, &items);
            assert_eq!(actual.partner, expected.partner, "{similarity:?}");
            for (actual, expected) in actual.best.iter().zip(&expected.best) {
                assert!(actual == expected || (actual - expected).abs() < 2e-5, "{actual} {expected}");
            }
        }
    }

    /// Dot products of whole numbers are exact, so equal scores are ties.
    fn first_of_the_best(metric: &Tensor<2>, item: &Bipartite<'_>) -> Match {
        let [_, dim] = metric.dims();
        let values = metric.to_data().try_to_vec::<f32>().expect("f32");
        let row = |row: u32| &values[row as usize * dim..][..dim];
        let mut found = Match::default();
        for &source in item.sources {
            let (mut best, mut partner) = (f32::NEG_INFINITY, u32::MAX);
            for &destination in item.destinations {
                let score = row(source).iter().zip(row(destination)).map(|(a, b)| a * b).sum();
                if score > best {
                    (best, partner) = (score, destination);
                }
            }
            found.best.push(best);
            found.partner.push(partner);
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn an_item_matches_as_alone(
            items in prop::collection::vec(
                (prop::collection::vec(0u32..30, 0..4), prop::collection::vec(0u32..30, 0..5)), 0..9),
            seed in any::<u64>(),
        ) {
            let items: Vec<_> = items
                .iter()
                .map(|(sources, destinations)| Bipartite { sources, destinations })
                .collect();
            let real = normal([30, 3], seed, &devices().plain);
            for (metric, similarity) in [real.clone().round(), real]
                .iter()
                .flat_map(|metric| SIMILARITIES.map(|similarity| (metric, similarity)))
            {
                let mut expected = Match::default();
                for item in &items {
                    let alone = composed(metric.clone(), similarity, std::slice::from_ref(item));
                    expected.best.extend(alone.best);
                    expected.partner.extend(alone.partner);
                }
                assert_eq!(composed(metric.clone(), similarity, &items), expected, "{similarity:?}");
            }
        }

        #[test]
        fn ties_go_to_the_destination_listed_first(
            items in prop::collection::vec(
                (prop::collection::vec(0u32..30, 0..4), prop::collection::vec(0u32..30, 0..5)), 0..9),
            seed in any::<u64>(),
        ) {
            let metric = normal([30, 2], seed, &devices().plain).round();
            let items: Vec<_> = items
                .iter()
                .map(|(sources, destinations)| Bipartite { sources, destinations })
                .collect();
            let mut expected = Match::default();
            for item in &items {
                let alone = first_of_the_best(&metric, item);
                expected.best.extend(alone.best);
                expected.partner.extend(alone.partner);
            }
            assert_eq!(composed(metric, Similarity::Dot, &items), expected);
        }
    }
}
