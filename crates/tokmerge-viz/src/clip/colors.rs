//! At most 256 colours for many pictures: those of the tokens first, the rest by median cut.
//!
//! All arithmetic is on integers and in a fixed order: the same on every machine.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::picture::{Picture, Rgb};

/// Colours a GIF's palette holds.
const MOST: usize = 256;

/// Of these, how many the drawing's own colours may take.
const OWN: usize = 144;

/// A palette, and which of its colours stands for which other.
pub(super) struct Colors {
    palette: Vec<Rgb>,
    exact: HashMap<Rgb, u8>,
    /// By [`cell`].
    nearest: HashMap<Rgb, u8>,
}

impl Colors {
    /// Chooses the colours of `pictures`, in which the drawing's `own` colours are kept first.
    pub(super) fn new(pictures: &[Picture], own: impl IntoIterator<Item = Rgb>) -> Self {
        let all = || pictures.iter().flat_map(|picture| picture.rgb().as_chunks().0).copied();
        let palette = few(all()).unwrap_or_else(|| {
            let own: BTreeSet<Rgb> = own.into_iter().collect();
            let mut palette = cut(own.iter().map(|&color| (color, 1)).collect(), OWN);
            let mut others: BTreeMap<Rgb, u64> = BTreeMap::new();
            all()
                .filter(|color| !own.contains(color))
                .for_each(|rgb| *others.entry(cell(rgb)).or_default() += 1);
            palette.extend(cut(others.into_iter().collect(), MOST - palette.len()));
            palette
        });
        // Of two equal colours the first is found.
        let exact = palette.iter().zip(0..=u8::MAX).rev().map(|(&color, index)| (color, index)).collect();
        Self { palette, exact, nearest: HashMap::new() }
    }

    /// The palette's bytes, three a colour.
    pub(super) fn palette(&self) -> Vec<u8> {
        self.palette.concat()
    }

    /// The palette's colour nearest to `color`.
    pub(super) fn index(&mut self, color: Rgb) -> u8 {
        if let Some(&index) = self.exact.get(&color) {
            return index;
        }
        let cell = cell(color);
        *self.nearest.entry(cell).or_insert_with(|| {
            let apart =
                |other: Rgb| (0..3).map(|i| u32::from(cell[i].abs_diff(other[i])).pow(2)).sum::<u32>();
            let nearest = self.palette.iter().zip(0..=u8::MAX).min_by_key(|&(&other, _)| apart(other));
            nearest.map_or(0, |(_, index)| index)
        })
    }
}

/// All the colours, if a palette holds them.
fn few(colors: impl Iterator<Item = Rgb>) -> Option<Vec<Rgb>> {
    let mut distinct = BTreeSet::new();
    for color in colors {
        distinct.insert(color);
        if distinct.len() > MOST {
            return None;
        }
    }
    Some(distinct.into_iter().collect())
}

/// The colour with 6 bits a channel, spread over 0 to 255: a photograph has far fewer of these.
fn cell(color: Rgb) -> Rgb {
    color.map(|value| value & 0xFC | value >> 6)
}

/// Colours near each other, and how often each occurs.
struct Bunch {
    colors: Vec<(Rgb, u64)>,
    /// Sum of squared distances from the mean, along the channel where it is largest.
    spread: u64,
    channel: usize,
    mean: Rgb,
}

impl Bunch {
    fn new(colors: Vec<(Rgb, u64)>) -> Self {
        let count: u64 = colors.iter().map(|(_, count)| count).sum();
        let mean = [0, 1, 2].map(|i| {
            let sum: u64 = colors.iter().map(|(color, count)| u64::from(color[i]) * count).sum();
            ((sum + count / 2) / count.max(1)) as u8
        });
        let spread = |i: usize| -> u64 {
            colors.iter().map(|(color, count)| u64::from(color[i].abs_diff(mean[i])).pow(2) * count).sum()
        };
        let (spread, channel) = [0, 1, 2].map(|i| (spread(i), i)).into_iter().max().unwrap_or((0, 0));
        Self { colors, spread, channel, mean }
    }
}

/// At most `most` colours, the means of bunches: the one spread widest is cut at its mean again and again.
fn cut(colors: Vec<(Rgb, u64)>, most: usize) -> Vec<Rgb> {
    if colors.is_empty() {
        return Vec::new();
    }
    let mut bunches = vec![Bunch::new(colors)];
    while bunches.len() < most {
        let widest =
            (0..bunches.len()).max_by_key(|&at| bunches[at].spread).filter(|&at| bunches[at].spread > 0);
        let Some(at) = widest else { break };
        let Bunch { colors, channel, mean, .. } = bunches.swap_remove(at);
        // A rounded mean may be the largest value itself, never below the smallest.
        let low =
            colors.iter().map(|(color, _)| color[channel]).max().map_or(0, |max| mean[channel].min(max - 1));
        let (left, right) = colors.into_iter().partition(|(color, _)| color[channel] <= low);
        bunches.extend([Bunch::new(left), Bunch::new(right)]);
    }
    bunches.into_iter().map(|bunch| bunch.mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of 64x64 pixels, nearly all of different colours.
    fn noisy() -> Picture {
        Picture::from_fn(64, 64, |x, y| [x as u8 * 4, y as u8 * 4, (x * 7 + y * 13) as u8])
    }

    #[test]
    fn more_colours_of_its_own_than_a_palette_holds_still_leave_some_for_the_picture() {
        let own = (0..600).map(|i: usize| [(i * 7) as u8, (i * 31 / 4) as u8, (i * 3) as u8]);
        let mut colors = Colors::new(&[noisy()], own.clone());
        assert_eq!(colors.palette().len(), MOST * 3);
        let palette = colors.palette.clone();
        for color in own.chain(noisy().rgb().as_chunks().0.iter().copied()) {
            let found = palette[usize::from(colors.index(color))];
            let apart = (0..3).map(|i| u32::from(color[i].abs_diff(found[i])).pow(2)).sum::<u32>().isqrt();
            assert!(apart < 64, "{color:?} became {found:?}");
        }
    }

    #[test]
    fn a_cut_stops_at_the_distinct_colours() {
        let colors = vec![([0; 3], 5), ([0, 0, 1], 1), ([255, 254, 255], 2)];
        let mut palette = cut(colors, 9);
        palette.sort_unstable();
        assert_eq!(palette, [[0, 0, 0], [0, 0, 1], [255, 254, 255]]);
        assert!(cut(Vec::new(), 9).is_empty());
    }
}
