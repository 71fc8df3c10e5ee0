use super::clustering::cluster;
use super::{Atc, AtcAmount, Linkage};
use crate::methods::matching::cosines::{Cosines, Grouping};
use crate::methods::{At, Rule};
use crate::{Amount, Evidence, Layout, MergePlan, Method, ModelFacts, Reduction, Schedule, Tokens};
use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;

const LINKAGES: [Linkage; 3] = [Linkage::Average, Linkage::Complete, Linkage::Single];

/// The first member of the cluster of every token.
fn firsts(Grouping { kept, pairs }: &Grouping) -> Vec<u32> {
    let mut all: Vec<(u32, u32)> = kept.iter().map(|place| (*place, *place)).chain(pairs.clone()).collect();
    all.sort_unstable();
    all.into_iter().map(|(_, first)| first).collect()
}

fn clustered(distance: &[f64], count: usize, remove: usize, linkage: Linkage) -> Vec<u32> {
    firsts(&cluster(distance.to_vec(), count, remove, linkage))
}

/// Of tokens at these places on a line.
fn on_a_line(places: &[f64], remove: usize, linkage: Linkage) -> Vec<u32> {
    let distance: Vec<f64> = places.iter().flat_map(|a| places.iter().map(move |b| (a - b).abs())).collect();
    clustered(&distance, places.len(), remove, linkage)
}

#[test]
fn how_far_clusters_are_from_each_other_decides_who_joins_whom() {
    // The last two merge, then the first two. The third is 50 to 90 from the first cluster and 80 to 81 from the second.
    let places = [0.0, 40.0, 90.0, 170.0, 171.0];
    assert_eq!(on_a_line(&places, 3, Linkage::Average), [0, 0, 0, 3, 3]);
    assert_eq!(on_a_line(&places, 3, Linkage::Complete), [0, 0, 2, 2, 2]);
    assert_eq!(on_a_line(&places, 3, Linkage::Single), [0, 0, 0, 3, 3]);
    // A chain of growing steps: one end grows, or both do.
    let chain = [0.0, 10.0, 21.0, 33.0, 46.0];
    assert_eq!(on_a_line(&chain, 3, Linkage::Average), [0, 0, 2, 2, 2]);
    assert_eq!(on_a_line(&chain, 3, Linkage::Complete), [0, 0, 2, 2, 2]);
    assert_eq!(on_a_line(&chain, 3, Linkage::Single), [0, 0, 0, 0, 4]);
    for linkage in LINKAGES {
        assert_eq!(on_a_line(&chain, 0, linkage), [0, 1, 2, 3, 4]);
        assert_eq!(on_a_line(&chain, 4, linkage), [0; 5]);
        assert_eq!(on_a_line(&[], 3, linkage), [0; 0]);
    }
}

#[test]
fn of_equal_pairs_the_one_that_stands_first_merges() {
    for linkage in LINKAGES {
        for (remove, wanted) in [(1, [0, 0, 2, 3]), (2, [0, 0, 0, 3])] {
            assert_eq!(clustered(&[1.0; 16], 4, remove, linkage), wanted, "{linkage:?}");
        }
    }
}

/// As SciPy's `linkage` and `fcluster` have it for one less the cosine of these rows.
#[test]
fn clusters_are_those_of_a_library_for_clustering() {
    const ROWS: [[f32; 3]; 14] = [
        [6.0, -8.0, -6.0],
        [-5.0, -6.0, 6.0],
        [7.0, 2.0, -9.0],
        [-8.0, -3.0, -1.0],
        [2.0, 0.0, -4.0],
        [-6.0, 4.0, 4.0],
        [-9.0, -7.0, -1.0],
        [-2.0, 7.0, 0.0],
        [-2.0, -1.0, 3.0],
        [2.0, -6.0, 5.0],
        [5.0, 9.0, 5.0],
        [-4.0, -3.0, 3.0],
        [3.0, 4.0, 7.0],
        [-4.0, 8.0, -9.0],
    ];
    let distance = Cosines::of(&ROWS.concat(), 3).into_distances();
    for (linkage, wanted) in [
        (Linkage::Average, [0, 1, 0, 1, 0, 1, 1, 7, 1, 9, 10, 1, 10, 7]),
        (Linkage::Complete, [0, 1, 0, 3, 0, 5, 3, 7, 1, 1, 5, 1, 5, 7]),
        (Linkage::Single, [0, 1, 0, 1, 0, 5, 1, 7, 1, 1, 10, 1, 10, 7]),
    ] {
        assert_eq!(clustered(&distance, 14, 9, linkage), wanted, "{linkage:?}");
        assert_eq!(clustered(&distance, 14, 5, linkage), [0, 1, 2, 3, 2, 5, 3, 7, 1, 9, 10, 1, 10, 13]);
    }
}

/// From the definition: all pairs of clusters, all pairs of their members.
fn by_definition(distance: &[f64], count: usize, remove: usize, linkage: Linkage) -> Vec<u32> {
    let mut clusters: Vec<Vec<usize>> = (0..count).map(|token| vec![token]).collect();
    for _ in 0..remove {
        let mut best = (f64::INFINITY, 0, 0);
        for second in 1..clusters.len() {
            for first in 0..second {
                let all: Vec<f64> = clusters[first]
                    .iter()
                    .flat_map(|a| clusters[second].iter().map(move |b| distance[a * count + b]))
                    .collect();
                let far = match linkage {
                    Linkage::Average => all.iter().sum::<f64>() / all.len() as f64,
                    Linkage::Complete => all.iter().copied().fold(0.0, f64::max),
                    Linkage::Single => all.iter().copied().fold(f64::INFINITY, f64::min),
                };
                if far < best.0 {
                    best = (far, first, second);
                }
            }
        }
        let gone = clusters.remove(best.2);
        clusters[best.1].extend(gone);
    }
    let mut firsts = vec![0; count];
    for cluster in clusters {
        let first = *cluster.iter().min().expect("members") as u32;
        cluster.into_iter().for_each(|token| firsts[token] = first);
    }
    firsts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn clustering_is_exact(count in 1usize..40, part in 0.0f64..1.0, seed: u64) {
        let mut random = tokmerge_nn::Random::new(seed);
        let mut distance = vec![0.0; count * count];
        for a in 0..count {
            for b in 0..a {
                let far = random.unit();
                (distance[a * count + b], distance[b * count + a]) = (far, far);
            }
        }
        let remove = (part * count as f64) as usize;
        for linkage in LINKAGES {
            let found = clustered(&distance, count, remove, linkage);
            prop_assert_eq!(found, by_definition(&distance, count, remove, linkage), "{:?}", linkage);
        }
    }
}

/// What becomes of items of such keys, each behind a class token.
fn plan(amount: Amount, items: &[&[[f32; 2]]]) -> Option<MergePlan> {
    let lens: Vec<usize> = items.iter().map(|item| item.len() + 1).collect();
    let rows = items.iter().flat_map(|item| [&[[1.0, 0.0]][..], item].concat().concat()).collect();
    let x = Tensor::from_data(TensorData::new(rows, [lens.iter().sum(), 2]), &Device::flex());
    let tokens = Tokens::new(x.clone(), Layout::from_lens(&lens), 1);
    let method = Atc::new(AtcAmount::Fewer(Schedule::Constant(0)));
    let at = At { layer: 0, depth: 2, amount };
    method.plan(&at, &tokens, Evidence { metric: Some(x), ..Evidence::default() })
}

#[test]
fn clusters_stand_where_their_first_member_stood_and_the_prefix_takes_no_part() {
    // Keys of any length: the first and the last two point almost the same way, the second and the fourth too.
    let keys = [[1.0, 0.0], [0.0, 3.0], [-1.0, 0.5], [0.01, 1.0], [5.0, 0.1], [2.0, 0.01]];
    let made = plan(Amount::Count(3), &[&keys, &keys[..1], &[]]).expect("merges");
    let groups: Vec<u32> = made.groups(0).into_iter().flatten().collect();
    assert_eq!(groups, [0, 1, 2, 3, 2, 1, 1]);
    assert_eq!(made.sizes(None)[..4], [1.0, 3.0, 2.0, 1.0]);
    assert_eq!(made.output().lens().collect::<Vec<_>>(), [4, 2, 1]);
    let all = plan(Amount::Keep(1), &[&keys]).expect("merges");
    assert_eq!(all.output(), &Layout::uniform(1, 2));
    assert_eq!(plan(Amount::Keep(6), &[&keys, &keys[..2]]), None);
}

fn bound(spec: &str, tokens: usize) -> Reduction {
    let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
    Reduction::bind(method, &ModelFacts::new(12, tokens, 1)).expect("fits")
}

#[test]
fn tokens_and_costs_are_those_of_the_published_code() {
    let left = |spec: &str| -> Vec<usize> {
        let layers = bound(spec, 197).expected_tokens(197, 12).expect("known");
        layers.iter().map(|layer| layer.fed).collect()
    };
    assert_eq!(left("atc:r=13"), [184, 171, 158, 145, 132, 119, 106, 93, 80, 67, 54, 41]);
    let steps =
        |[a, b, c]: [usize; 3]| [vec![197; 3], vec![a + 1; 3], vec![b + 1; 3], vec![c + 1; 3]].concat();
    assert_eq!(left("atc:keep=70%"), steps([137, 96, 67]));
    assert_eq!(left("atc:keep=25%"), steps([49, 12, 3]));
    assert_eq!(left("atc:keep=10%,layer=[2,3]")[..4], [197, 20, 2, 2]);
    assert_eq!(left("atc:keep=100%"), [197; 12]);
    assert_eq!(bound("atc:r=13", 197).matching_macs(0, 197, 64, 192), (197 * 197 * 64) as f64);
    assert_eq!(bound("atc:keep=70%", 197).matching_macs(0, 197, 64, 192), 0.0);
}

#[test]
fn what_it_is_reads_back() {
    let amount = AtcAmount::Keep { share: 0.7, layers: Some(vec![4, 7, 10]) };
    let method = Method::Atc(Atc { linkage: Linkage::Complete, ..Atc::new(amount) });
    assert_eq!(method.to_string(), "atc:keep=70%,layer=[4,7,10],linkage=complete");
    assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    for spec in ["atc:r=13", "atc:r=[8,4],linkage=single,prop_attn=off", "atc:r=10%", "atc:keep=0.5%"] {
        assert_eq!(spec.parse::<Method>().expect("a spec").to_string(), spec);
    }
    for (wrong, reason) in [
        ("atc", "needs keep (or r)"),
        ("atc:keep=70%,r=8", "leave one of them out"),
        ("atc:r=8,layer=4", "layer belongs to keep"),
        ("atc:keep=70%,layer=[4,4]", "listed twice"),
        ("atc:keep=0%", "above 0%"),
        ("atc:r=60%", "up to 50%"),
        ("atc:r=8,linkage=ward", "average, complete, single"),
    ] {
        let error = wrong.parse::<Method>().unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
