//! Tokens in the order of what they score.

/// Places from `first` on by falling score, ties by place, what is no number last.
pub(in crate::methods) fn by_falling_score<S: Copy + Into<f64>>(scores: &[S], first: usize) -> Vec<u32> {
    let score = |place: &u32| match scores[*place as usize].into() {
        score if score.is_nan() => f64::NEG_INFINITY,
        score => score,
    };
    let mut places: Vec<u32> = (first as u32..scores.len() as u32).collect();
    places.sort_by(|a, b| score(b).total_cmp(&score(a)));
    places
}
