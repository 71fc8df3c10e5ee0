//! What methods that cluster tokens have in common.

/// Gives every empty cluster the token that fits its own cluster worst: whose `score` is least.
pub(in crate::methods) fn fill_empty(cluster_of: &mut [usize], score: &[f32], clusters: usize) {
    let mut members = vec![0usize; clusters];
    for &cluster in cluster_of.iter() {
        members[cluster] += 1;
    }
    for empty in 0..clusters {
        if members[empty] > 0 {
            continue;
        }
        let worst = (0..cluster_of.len())
            .filter(|&point| members[cluster_of[point]] > 1)
            .min_by(|&a, &b| score[a].total_cmp(&score[b]));
        if let Some(worst) = worst {
            members[cluster_of[worst]] -= 1;
            members[empty] = 1;
            cluster_of[worst] = empty;
        }
    }
}
