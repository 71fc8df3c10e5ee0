//! Matching and merging against f64 references.

use crate::common::{Random, assert_close, assert_same_bits, isas, threads};
use proptest::prelude::*;
use tokmerge_kernels::{
    Bipartite, DROPPED, Isa, Similarity, best_match, gather_rows, merge_rows, merge_rows_backward,
};

const SIMILARITIES: [Similarity; 4] =
    [Similarity::Cosine, Similarity::Dot, Similarity::Euclidean, Similarity::Softmax];

fn run(isa: Isa, s: Similarity, metric: &[f32], dim: usize, items: &[Bipartite<'_>]) -> (Vec<f32>, Vec<u32>) {
    let total = items.iter().map(|i| i.sources.len()).sum();
    let (mut best, mut partner) = (vec![f32::NAN; total], vec![7; total]);
    best_match(isa, s, metric, dim, items, &mut best, &mut partner);
    (best, partner)
}

/// The score in f64; for `Softmax` before the softmax.
fn score(similarity: Similarity, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    let norm = |x: &[f32]| x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    match similarity {
        Similarity::Cosine if norm(a) * norm(b) == 0.0 => 0.0,
        Similarity::Cosine => dot / (norm(a) * norm(b)),
        Similarity::Dot => dot,
        Similarity::Euclidean => -pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>(),
        Similarity::Softmax => dot / (a.len() as f64).sqrt(),
    }
}

fn check(rows: usize, dim: usize, similarity: Similarity) {
    let mut random = Random::new((rows * 100 + dim) as u64);
    let metric = random.values(rows * dim, 1.0);
    let (mut sources, mut destinations) = (vec![], vec![]);
    for row in 0..rows as u32 {
        if random.unit() < 0.5 { sources.push(row) } else { destinations.push(row) }
    }
    let none: &[u32] = &[];
    let items = [
        Bipartite { sources: &sources, destinations: &destinations },
        Bipartite { sources: none, destinations: &sources },
        Bipartite { sources: &destinations, destinations: &sources },
    ];
    for &isa in isas() {
        let (best, partner) = run(isa, similarity, &metric, dim, &items);
        let all = items.iter().flat_map(|item| item.sources.iter().map(move |&s| (s, item.destinations)));
        for (i, (source, destinations)) in all.enumerate() {
            let what = format!("{isa} {similarity:?} {rows}x{dim} source {source}");
            if destinations.is_empty() {
                assert_eq!((best[i], partner[i]), (f32::NEG_INFINITY, u32::MAX), "{what}");
                continue;
            }
            let row = |r: u32| &metric[r as usize * dim..][..dim];
            let scores: Vec<f64> =
                destinations.iter().map(|&d| score(similarity, row(source), row(d))).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let place = destinations.iter().position(|&d| d == partner[i]).expect("a destination");
            assert!(scores[place] >= largest - 2e-6 * (1.0 + largest.abs()), "{what}: {place}");
            let want = match similarity {
                Similarity::Softmax => 1.0 / scores.iter().map(|s| (s - largest).exp()).sum::<f64>(),
                _ => largest,
            };
            assert_close(&what, &best[i..=i], &[want], 3e-6);
        }
    }
}

#[test]
fn the_best_match_is_the_best() {
    for similarity in SIMILARITIES {
        for (rows, dim) in [(1, 3), (2, 1), (30, 64), (197, 64), (70, 33), (600, 20)] {
            check(rows, dim, similarity);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_best_match_is_the_best_for_any_shape(rows in 1..120_usize, dim in 1..70_usize, s in 0..4_usize) {
        check(rows, dim, SIMILARITIES[s]);
    }
}

#[test]
fn ties_zero_norms_and_nan_go_to_the_destination_listed_first() {
    let dim = 9;
    let mut metric = Random::new(1).values(40 * dim, 1.0);
    let equal: Vec<f32> = metric[..dim].to_vec();
    for row in [20, 37, 25] {
        metric[row * dim..(row + 1) * dim].copy_from_slice(&equal);
    }
    metric[2 * dim..3 * dim].fill(0.0);
    metric[3 * dim] = f32::NAN;
    metric[21 * dim + 4] = f32::NAN;
    // 21 (NaN) is never chosen unless nothing else is there; 37 comes before 20 and 25.
    let destinations: Vec<u32> = [21, 30, 37, 20].into_iter().chain(22..30).chain(31..37).collect();
    let items = [
        Bipartite { sources: &[0, 2, 3], destinations: &destinations },
        Bipartite { sources: &[1, 3], destinations: &[21] },
    ];
    for &isa in isas() {
        let (best, partner) = run(isa, Similarity::Cosine, &metric, dim, &items);
        assert_eq!(partner, [37, 30, 21, 21, 21], "{isa}");
        assert!((best[0] - 1.0).abs() < 1e-6);
        assert_eq!(best[1..], [0.0, f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY], "{isa}");
        for similarity in SIMILARITIES {
            let (best, partner) = run(isa, similarity, &metric, dim, &items);
            assert_eq!(partner[2..], [21; 3], "{isa} {similarity:?}");
            assert_eq!(best[2..], [f32::NEG_INFINITY; 3], "{isa} {similarity:?}");
        }
        let infinite: Vec<f32> = metric.iter().map(|&v| if v > 0.9 { f32::INFINITY } else { v }).collect();
        for similarity in SIMILARITIES {
            let (_, partner) = run(isa, similarity, &infinite, dim, &items);
            assert!(partner[..3].iter().all(|p| destinations.contains(p)));
        }
    }
}

#[test]
fn a_source_is_matched_the_same_alone_and_in_any_batch() {
    let dim = 48;
    let metric = Random::new(2).values(700 * dim, 1.0);
    let sources: Vec<u32> = (0..350).map(|i| 2 * i).collect();
    let destinations: Vec<u32> = (0..350).map(|i| 2 * i + 1).collect();
    for &isa in isas() {
        for similarity in SIMILARITIES {
            let item = Bipartite { sources: &sources, destinations: &destinations };
            let all = threads(1, || run(isa, similarity, &metric, dim, &[item]));
            let parallel = threads(3, || run(isa, similarity, &metric, dim, &[item]));
            assert_same_bits("threads", &all.0, &parallel.0);
            assert_eq!(all.1, parallel.1);
            for i in [0, 13, 14, 120, 349] {
                let item = Bipartite { sources: &sources[i..=i], destinations: &destinations };
                let (best, partner) = run(isa, similarity, &metric, dim, &[item]);
                assert_same_bits("alone", &best, &all.0[i..=i]);
                assert_eq!(partner, all.1[i..=i]);
            }
        }
    }
}

fn merged(x: &[f64], weight: &[f32], dst: &[u32], rows: usize) -> Vec<f64> {
    let c = x.len() / dst.len();
    let mut y = vec![0.0; rows * c];
    for d in 0..rows {
        let members: Vec<usize> = (0..dst.len()).filter(|&i| dst[i] as usize == d).collect();
        let total: f64 = members.iter().map(|&i| f64::from(weight[i])).sum();
        for &i in &members {
            let share = match total {
                _ if members.len() == 1 => 1.0,
                0.0 => 1.0 / members.len() as f64,
                _ => f64::from(weight[i]) / total,
            };
            (0..c).for_each(|j| y[d * c + j] += share * x[i * c + j]);
        }
    }
    y
}

#[test]
fn rows_are_averaged_in_proportion_and_copied_back() {
    for &isa in isas() {
        for (tokens, rows, c) in [(1, 1, 1), (5, 2, 7), (40, 31, 33), (300, 150, 64), (9, 20, 16)] {
            let mut random = Random::new((tokens + rows + c) as u64);
            let x = random.values(tokens * c, 1.0);
            let mut weight: Vec<f32> = (0..tokens).map(|_| random.below(4) as f32).collect();
            weight[0] = 0.0;
            let dst: Vec<u32> = (0..tokens)
                .map(|_| if random.unit() < 0.1 { DROPPED } else { random.below(rows) as u32 })
                .collect();
            let mut y = vec![f32::NAN; rows * c];
            merge_rows(isa, &x, &weight, &dst, &mut y);
            let wide: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
            assert_close(&format!("{isa} {tokens}->{rows}"), &y, &merged(&wide, &weight, &dst, rows), 1e-6);
            for i in 0..tokens {
                if dst[i] != DROPPED && dst.iter().filter(|&&d| d == dst[i]).count() == 1 {
                    let d = dst[i] as usize;
                    assert_same_bits("alone", &y[d * c..(d + 1) * c], &x[i * c..(i + 1) * c]);
                }
            }

            let mut back = vec![f32::NAN; tokens * c];
            gather_rows(isa, &y, &dst, &mut back);
            for i in 0..tokens {
                let want: Vec<f32> = match dst[i] {
                    DROPPED => vec![0.0; c],
                    d => y[d as usize * c..][..c].to_vec(),
                };
                assert_same_bits("unmerged", &back[i * c..(i + 1) * c], &want);
            }
        }
    }
}

#[test]
fn the_gradient_of_a_merge_is_its_transpose() {
    let (tokens, rows, c) = (30, 17, 5);
    let mut random = Random::new(4);
    let weight: Vec<f32> = (0..tokens).map(|_| random.below(3) as f32).collect();
    let dst: Vec<u32> =
        (0..tokens).map(|i| if i % 9 == 8 { DROPPED } else { random.below(rows) as u32 }).collect();
    let grad = random.values(rows * c, 1.0);
    let mut dx = vec![f32::NAN; tokens * c];
    merge_rows_backward(&weight, &dst, &grad, &mut dx);
    let want: Vec<f64> = (0..tokens * c)
        .map(|i| {
            let mut unit = vec![0.0; tokens * c];
            unit[i] = 1.0;
            merged(&unit, &weight, &dst, rows).iter().zip(&grad).map(|(y, &g)| y * f64::from(g)).sum()
        })
        .collect();
    assert_close("dx", &dx, &want, 1e-6);
}

#[test]
fn nothing_to_merge_is_fine() {
    for &isa in isas() {
        merge_rows(isa, &[], &[], &[], &mut []);
        let mut y = [1.0; 4];
        merge_rows(isa, &[1.0, 2.0], &[1.0], &[DROPPED], &mut y);
        assert_eq!(y, [0.0; 4]);
        gather_rows(isa, &[], &[DROPPED], &mut y);
        assert_eq!(y, [0.0; 4]);
    }
}

#[test]
#[should_panic(expected = "merge_rows: dst[1] is 2, but y has 2 rows")]
fn a_destination_outside_is_rejected() {
    merge_rows(Isa::Portable, &[0.0; 2], &[1.0; 2], &[0, 2], &mut [0.0; 2]);
}
