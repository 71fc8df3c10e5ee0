//! Random numbers that a seed promises, on every platform.

use crate::geometry::Turn;

/// SplitMix64, as in `tokmerge-merge`, without functions that platforms round differently.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of one image of a seed.
    pub(crate) fn for_image(seed: u64, index: u64) -> Self {
        let seed = Self(seed).bits();
        Self(Self(seed ^ index).bits())
    }

    /// The numbers of one clip of a seed, which have nothing to do with those of the image of the same index.
    pub(crate) fn for_clip(seed: u64, index: u64) -> Self {
        const CLIPS: u64 = 0x636C_6970;
        Self::for_image(Self(seed ^ CLIPS).bits(), index)
    }

    /// The numbers of one question of a seed, which have nothing to do with those of images and clips.
    pub(crate) fn for_question(seed: u64, index: u64) -> Self {
        const QUESTIONS: u64 = 0x0061_736B;
        Self::for_image(Self(seed ^ QUESTIONS).bits(), index)
    }

    /// The numbers of one sentence of a seed, which have nothing to do with those of anything else.
    pub(crate) fn for_sentence(seed: u64, index: u64) -> Self {
        const SENTENCES: u64 = 0x0073_6179;
        Self::for_image(Self(seed ^ SENTENCES).bits(), index)
    }

    /// The numbers that one round of all questions of a kind is shuffled with.
    pub(crate) fn for_round(seed: u64, kind: usize, round: u64) -> Self {
        const ROUNDS: u64 = 0x726F_756E;
        Self::for_image(Self::for_image(seed ^ ROUNDS, kind as u64).bits(), round)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A whole number below `bound`, which is small: the bias of the remainder does not matter.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// From `low` to below `high`, evenly.
    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        let unit = (self.bits() >> 40) as f32 / (1 << 24) as f32;
        low + (high - low) * unit
    }

    /// True in `percent` of all cases.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Any direction, nearly evenly: an eighth of a turn either way, then quarter turns.
    pub(crate) fn turn(&mut self) -> Turn {
        // The tangent of 22.5 degrees; the tangent of half an angle gives sine and cosine by division.
        const EIGHTH: f32 = 0.414_213_57;
        let half = self.between(-EIGHTH, EIGHTH);
        (0..self.below(4)).fold(Turn::by_half_tangent(half), |turn, _| turn.quarter())
    }

    /// Puts a list into random order.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            list.swap(end, self.below(end + 1));
        }
    }

    /// An index whose probability is its share of the weights.
    pub(crate) fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut at = self.below(weights.iter().sum());
        for (index, &weight) in weights.iter().enumerate() {
            if at < weight {
                return index;
            }
            at -= weight;
        }
        unreachable!("the draw is below the sum of the weights")
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_numbers_are_those_of_splitmix() {
        // The published first outputs of SplitMix64 from 1234567.
        let mut random = Random(1_234_567);
        assert_eq!([random.bits(), random.bits()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn directions_have_length_one_and_go_everywhere() {
        let mut random = Random::for_image(1, 2);
        let mut octants = [0; 8];
        for _ in 0..8000 {
            let turn = random.turn();
            let [x, y] = turn.apply([1.0, 0.0]);
            assert!((x * x + y * y - 1.0).abs() < 1e-5);
            octants[usize::from(x > 0.0) + 2 * usize::from(y > 0.0) + 4 * usize::from(x.abs() > y.abs())] +=
                1;
        }
        assert!(octants.iter().all(|&count| (880..1120).contains(&count)), "{octants:?}");
    }

    #[test]
    fn weights_are_kept() {
        let mut random = Random::for_image(3, 4);
        let mut counts = [0; 3];
        (0..6000).for_each(|_| counts[random.weighted(&[1, 0, 2])] += 1);
        assert!(counts[1] == 0 && (1850..2150).contains(&counts[0]), "{counts:?}");
    }
}
