//! Which files are held out.

use tokmerge_data::Sample;
use tokmerge_nn::Random;

/// Holds out a part, spread evenly over the classes; the same seed holds out the same files.
pub(super) fn split(samples: &[Sample], part: f64, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
    let mut random = Random::new(seed ^ 0x5EED_0F5B_1175);
    let classes = samples.iter().filter_map(|sample| sample.label).max().map_or(0, |label| label + 1);
    let mut by_class: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for (index, sample) in samples.iter().enumerate() {
        by_class[sample.label.unwrap_or(0)].push(index);
    }
    random.shuffle(&mut by_class);
    let mut order = Vec::with_capacity(samples.len());
    for mut class in by_class {
        random.shuffle(&mut class);
        order.extend(class);
    }
    let held = |place: usize| ((place + 1) as f64 * part).floor() > (place as f64 * part).floor();
    let mut held_out = vec![false; samples.len()];
    for (place, index) in order.into_iter().enumerate() {
        held_out[index] = held(place);
    }
    let side = |wanted: bool| {
        let of = samples.iter().zip(&held_out).filter(|(_, held)| **held == wanted);
        of.map(|(sample, _)| sample.clone()).collect()
    };
    (side(false), side(true))
}

#[cfg(test)]
mod tests {
    use super::split;
    use tokmerge_data::Sample;

    #[test]
    fn a_split_is_even_over_classes_and_loses_nothing() {
        let samples: Vec<Sample> =
            (0..100).map(|i| Sample { path: format!("{i}").into(), label: Some(i / 20) }).collect();
        let (kept, held) = split(&samples, 0.2, 7);
        assert_eq!((kept.len(), held.len()), (80, 20));
        for class in 0..5 {
            assert_eq!(held.iter().filter(|sample| sample.label == Some(class)).count(), 4);
        }
        assert!(held.iter().all(|sample| !kept.contains(sample)));
        assert_eq!(split(&samples, 0.2, 7).1, held);
        assert_ne!(split(&samples, 0.2, 8).1, held);
        let single: Vec<Sample> =
            (0..1000).map(|i| Sample { path: format!("{i}").into(), label: Some(i) }).collect();
        assert_eq!(split(&single, 0.2, 0).1.len(), 200);
    }
}
