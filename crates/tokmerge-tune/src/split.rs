//! Which images are searched on, and which are kept for the proof.

use crate::Search;
use tokmerge_data::Sample;
use tokmerge_nn::Random;

/// Fewer images say nothing.
pub const FEWEST_IMAGES: usize = 16;
/// More make a guided search slow without making it better.
const MOST_SEARCHED: usize = 256;

/// Images in two parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// To search on.
    pub search: Vec<Sample>,
    /// Never looked at before the choice is made; may be none.
    pub held_out: Vec<Sample>,
}

/// Too few images.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SplitError {
    /// Altogether.
    #[error("tuning needs at least {FEWEST_IMAGES} images, and here are {0}; give more")]
    Images(usize),
    /// To search on.
    #[error(
        "`search_images` {0} is not allowed; `search_images` takes a whole number of at least {FEWEST_IMAGES}"
    )]
    Search(usize),
}

impl Split {
    /// Divides images. A guided search gets `search_images` of them, or three quarters but at most 256, and the
    /// others are held out; one that only looks around gets all where no number is given. Which images are which follows from
    /// the seed.
    ///
    /// # Errors
    /// When there are fewer than [`FEWEST_IMAGES`], or fewer are to be searched on.
    pub fn new(
        mut samples: Vec<Sample>,
        search: Search,
        search_images: Option<usize>,
        seed: u64,
    ) -> Result<Self, SplitError> {
        let images = samples.len();
        if images < FEWEST_IMAGES {
            return Err(SplitError::Images(images));
        }
        let searched = match (search_images, search) {
            (Some(count), _) if count < FEWEST_IMAGES => return Err(SplitError::Search(count)),
            (Some(count), _) => count.min(images),
            (None, Search::Guided) => (images * 3 / 4).clamp(FEWEST_IMAGES, MOST_SEARCHED),
            (None, Search::Random { .. } | Search::Grid { .. }) => images,
        };
        if searched == images {
            // In their order, whatever the seed: measurements of one seed then serve another.
            return Ok(Self { search: samples, held_out: Vec::new() });
        }
        // Other numbers than the search draws from the same seed.
        let mut random = Random::new(!seed);
        for last in (1..images).rev() {
            samples.swap(last, random.below(last + 1));
        }
        let held_out = samples.split_off(searched);
        Ok(Self { search: samples, held_out })
    }
}

#[cfg(test)]
mod tests {
    use super::{FEWEST_IMAGES, Split, SplitError};
    use crate::Search;
    use std::collections::HashSet;
    use tokmerge_data::Sample;

    fn samples(count: usize) -> Vec<Sample> {
        (0..count).map(|index| Sample { path: format!("{index}.png").into(), label: None }).collect()
    }

    fn split(count: usize, search: Search, searched: Option<usize>, seed: u64) -> Split {
        Split::new(samples(count), search, searched, seed).unwrap()
    }

    #[test]
    fn three_quarters_are_searched_on_but_not_more_than_256() {
        for (count, searched) in [(16, 16), (20, 16), (128, 96), (1000, 256)] {
            let split = split(count, Search::Guided, None, 1);
            assert_eq!((split.search.len(), split.held_out.len()), (searched, count - searched));
            let all: HashSet<_> = split.search.iter().chain(&split.held_out).collect();
            assert_eq!(all.len(), count, "every image is in one part");
        }
        assert_eq!(split(100, Search::Guided, Some(20), 1).search.len(), 20);
        assert_eq!(split(100, Search::Guided, Some(200), 1).search, samples(100));
        assert_eq!(split(100, Search::Random { trials: 5 }, None, 1).search, samples(100));
        assert_eq!(split(100, Search::Random { trials: 5 }, Some(20), 1).held_out.len(), 80);
    }

    #[test]
    fn the_seed_decides_which() {
        let of = |seed| split(64, Search::Guided, None, seed);
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
        assert_ne!(of(3).search, samples(64)[..48]);
    }

    #[test]
    fn too_few_images_are_refused() {
        let new = |count, searched| Split::new(samples(count), Search::Guided, searched, 0);
        assert_eq!(new(FEWEST_IMAGES - 1, None), Err(SplitError::Images(15)));
        assert_eq!(new(100, Some(15)), Err(SplitError::Search(15)));
        assert!(new(0, None).unwrap_err().to_string().contains("at least 16 images"));
    }
}
