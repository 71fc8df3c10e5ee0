//! What clips go through on their way into training.

use super::random::{Purpose, Random, Visit};

/// Where a view begins: the part, from 0 to below 1, of the time that a clip leaves it.
pub(crate) fn clip_start(visit: Visit) -> f64 {
    Random::new(visit, Purpose::ClipStart).unit()
}

/// Mirrors all frames of a clip left and right, or none, with a chance. `values` are rows of `width` each.
pub fn flip_clip(values: &mut [f32], width: usize, chance: f64, visit: Visit) {
    if Random::new(visit, Purpose::ClipFlip).chance(chance) {
        values.chunks_exact_mut(width.max(1)).for_each(<[f32]>::reverse);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_lie_anywhere_and_mirrors_take_all_frames_or_none() {
        let visit = |index| Visit { seed: 5, epoch: 0, index };
        let starts: Vec<f64> = (0..500).map(|index| clip_start(visit(index))).collect();
        assert!(starts.iter().all(|start| (0.0..1.0).contains(start)));
        let mean = starts.iter().sum::<f64>() / 500.0;
        assert!((mean - 0.5).abs() < 0.05, "{mean}");
        let mut flipped = 0;
        for index in 0..400 {
            let mut values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
            flip_clip(&mut values, 3, 0.25, visit(index));
            match values {
                [1.0, 2.0, 3.0, 4.0, 5.0, 6.0] => {}
                [3.0, 2.0, 1.0, 6.0, 5.0, 4.0] => flipped += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!((60..140).contains(&flipped), "{flipped}");
    }
}
