//! What every drawing starts from: checked input, patch borders in pixels, one record per token.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::palette;
use crate::patches::Patches;
use crate::picture::{Picture, Rgb};
use crate::style::Style;

/// Rows and columns of patches over a picture.
///
/// Row `i` begins at pixel `i * height / rows`, column `j` at `j * width / cols` (rounded down), so any
/// grid fits any picture that has at least a pixel per patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Patches from top to bottom.
    pub rows: usize,
    /// Patches from left to right.
    pub cols: usize,
}

impl Grid {
    /// The up to eight patches around `patch`, diagonal ones included.
    fn around(self, patch: usize) -> impl Iterator<Item = usize> {
        let (row, col) = (patch / self.cols, patch % self.cols);
        let rows = row.saturating_sub(1)..=(row + 1).min(self.rows - 1);
        rows.flat_map(move |r| {
            let cols = col.saturating_sub(1)..=(col + 1).min(self.cols - 1);
            cols.map(move |c| r * self.cols + c)
        })
        .filter(move |&other| other != patch)
    }
}

/// One final token as it is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// The caller's number for it.
    pub(crate) id: u32,
    /// How many patches it was merged from, over all steps.
    pub(crate) patches: usize,
    /// Mean of its pixels.
    pub(crate) mean: Rgb,
    /// Colour of its border.
    pub(crate) border: Rgb,
}

/// A drawing before it is drawn; lengths are in pixels of the finished picture.
pub(crate) struct Layout {
    pub(crate) grid: Grid,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Where columns begin, and the right end: `cols + 1` of them.
    pub(crate) xs: Vec<usize>,
    /// Where rows begin, and the lower end: `rows + 1` of them.
    pub(crate) ys: Vec<usize>,
    /// Shortest side of any patch.
    pub(crate) side: usize,
    /// Border width; less than half of `side`.
    pub(crate) border: usize,
    /// By ascending `id`; those of a clip's other steps too.
    pub(crate) tokens: Rc<[Token]>,
    /// For each patch its index in `tokens`.
    pub(crate) token_of: Vec<Option<usize>>,
}

impl Layout {
    pub(crate) fn new(
        picture: &Picture,
        patches: Patches,
        groups: &[Option<u32>],
        style: &Style,
    ) -> Result<Self> {
        let (starts, grid) = (patches.starts(picture)?, patches.grid());
        // Cannot overflow: there are at most as many patches as pixels in memory.
        let expected = grid.rows * grid.cols;
        if groups.len() != expected {
            let Grid { rows, cols } = grid;
            return Err(Error::GroupCount { rows, cols, expected, found: groups.len() });
        }
        let (tokens, token_of) = tokens(std::slice::from_ref(picture), 1, &starts, groups);
        Self::shaped(picture, &starts, style, tokens, token_of)
    }

    /// One layout per time step, all with the same tokens.
    ///
    /// `frames` are of one size, `tubelet` of them a step, and `groups` has the patches of `starts` as often as
    /// there are steps.
    pub(crate) fn steps(
        frames: &[Picture],
        tubelet: usize,
        starts: &Starts,
        groups: &[Option<u32>],
        style: &Style,
    ) -> Result<Vec<Self>> {
        let (tokens, token_of) = tokens(frames, tubelet, starts, groups);
        let grid = grid_of(starts);
        let steps = token_of.chunks(grid.rows * grid.cols).zip(frames.chunks(tubelet));
        steps
            .map(|(step, frames)| Self::shaped(&frames[0], starts, style, Rc::clone(&tokens), step.to_vec()))
            .collect()
    }

    fn shaped(
        picture: &Picture,
        starts: &Starts,
        style: &Style,
        tokens: Rc<[Token]>,
        token_of: Vec<Option<usize>>,
    ) -> Result<Self> {
        let (width, height) = picture.enlarged(style.upscale)?;
        let enlarged = |starts: &[usize]| starts.iter().map(|start| start * style.upscale).collect();
        let (grid, ys, xs): (_, Vec<_>, Vec<_>) = (grid_of(starts), enlarged(&starts.0), enlarged(&starts.1));
        let side = shortest(&xs).min(shortest(&ys));
        let border = style.border.pixels(side);
        Ok(Self { grid, width, height, xs, ys, side, border, tokens, token_of })
    }

    /// The same with its left upper end at column `x`, row `y`.
    pub(crate) fn moved(&self, x: usize, y: usize) -> Self {
        Self {
            xs: self.xs.iter().map(|start| start + x).collect(),
            ys: self.ys.iter().map(|start| start + y).collect(),
            tokens: Rc::clone(&self.tokens),
            token_of: self.token_of.clone(),
            ..*self
        }
    }

    /// Token of the patch in this row and column; outside the grid the nearest patch answers.
    pub(crate) fn token_at(&self, row: isize, col: isize) -> Option<usize> {
        let row = row.clamp(0, self.grid.rows as isize - 1) as usize;
        let col = col.clamp(0, self.grid.cols as isize - 1) as usize;
        self.token_of[row * self.grid.cols + col]
    }
}

/// Where rows begin, and the lower end; where columns begin, and the right end.
pub(crate) type Starts = (Vec<usize>, Vec<usize>);

fn grid_of((ys, xs): &Starts) -> Grid {
    Grid { rows: ys.len() - 1, cols: xs.len() - 1 }
}

/// Where each of `parts` begins on a side of `length` pixels, and the end.
pub(crate) fn starts(length: usize, parts: usize) -> Vec<usize> {
    (0..=parts).map(|part| part * length / parts).collect()
}

fn shortest(starts: &[usize]) -> usize {
    starts.windows(2).map(|ends| ends[1] - ends[0]).min().unwrap_or(0)
}

/// The tokens by ascending number, and for each patch of each step its token's index.
fn tokens(
    frames: &[Picture],
    tubelet: usize,
    starts: &Starts,
    groups: &[Option<u32>],
) -> (Rc<[Token]>, Vec<Option<usize>>) {
    let grid = grid_of(starts);
    let ids: BTreeSet<u32> = groups.iter().flatten().copied().collect();
    let index: BTreeMap<u32, usize> = ids.iter().enumerate().map(|(at, &id)| (id, at)).collect();
    let token_of: Vec<_> = groups.iter().map(|group| group.map(|id| index[&id])).collect();
    let means = means(frames, tubelet, starts, &token_of, ids.len());
    let ids: Vec<u32> = ids.into_iter().collect();
    let borders = palette::borders(&ids, &means, &neighbours(grid, &token_of, ids.len()));
    let mut tokens: Vec<_> = ids
        .into_iter()
        .zip(means.into_iter().zip(borders))
        .map(|(id, (mean, border))| Token { id, patches: 0, mean, border })
        .collect();
    token_of.iter().flatten().for_each(|&token| tokens[token].patches += 1);
    (tokens.into(), token_of)
}

/// Mean colour of each token's pixels in all frames, over 8-bit sRGB values, rounded to nearest.
fn means(
    frames: &[Picture],
    tubelet: usize,
    starts: &Starts,
    token_of: &[Option<usize>],
    tokens: usize,
) -> Vec<Rgb> {
    let (grid, (ys, xs)) = (grid_of(starts), starts);
    let mut sums = vec![[0u64; 3]; tokens];
    let mut counts = vec![0u64; tokens];
    let steps = token_of.chunks(grid.rows * grid.cols).flat_map(|step| std::iter::repeat_n(step, tubelet));
    for (picture, token_of) in frames.iter().zip(steps) {
        for (patch, token) in token_of.iter().enumerate() {
            let &Some(token) = token else { continue };
            let (row, col) = (patch / grid.cols, patch % grid.cols);
            for y in ys[row]..ys[row + 1] {
                for x in xs[col]..xs[col + 1] {
                    let pixel = picture.pixel(x, y);
                    sums[token].iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u64::from(value));
                    counts[token] += 1;
                }
            }
        }
    }
    sums.iter().zip(counts).map(|(sum, count)| sum.map(|sum| ((sum + count / 2) / count) as u8)).collect()
}

/// For each token the tokens it touches: at corners too, and at the same place one step before or after.
fn neighbours(grid: Grid, token_of: &[Option<usize>], tokens: usize) -> Vec<BTreeSet<usize>> {
    let patches = grid.rows * grid.cols;
    let mut touching = vec![BTreeSet::new(); tokens];
    for (at, &token) in token_of.iter().enumerate() {
        let Some(token) = token else { continue };
        let (step, patch) = (at - at % patches, at % patches);
        let around = grid.around(patch).map(|other| step + other);
        let in_time = [at.checked_sub(patches), Some(at + patches)].into_iter().flatten();
        let others = around.chain(in_time).filter_map(|other| token_of.get(other).copied().flatten());
        touching[token].extend(others);
        touching[token].remove(&token);
    }
    touching
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_cover_a_side_that_does_not_divide() {
        assert_eq!(starts(225, 7), [0, 32, 64, 96, 128, 160, 192, 225]);
        assert_eq!(starts(10, 4), [0, 2, 5, 7, 10]);
    }

    #[test]
    fn neighbours_include_diagonals_and_stop_at_the_edge() {
        let grid = Grid { rows: 2, cols: 3 };
        assert_eq!(grid.around(0).collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(grid.around(4).collect::<Vec<_>>(), [0, 1, 2, 3, 5]);
        let touching = neighbours(grid, &[Some(0), None, Some(1), Some(0), Some(2), Some(2)], 3);
        assert_eq!(touching[0], BTreeSet::from([2]));
        assert_eq!(touching[1], BTreeSet::from([2]));
    }

    #[test]
    fn neighbours_in_time_are_the_same_place_one_step_away() {
        let grid = Grid { rows: 1, cols: 2 };
        let steps = [Some(0), None, Some(1), Some(2), Some(3), Some(2)];
        let touching = neighbours(grid, &steps, 4);
        assert_eq!(touching[0], BTreeSet::from([1]));
        assert_eq!(touching[1], BTreeSet::from([0, 2, 3]));
        assert_eq!(touching[2], BTreeSet::from([1, 3]));
    }

    #[test]
    fn borders_stand_out_from_their_fill_and_their_neighbours() {
        let photo = Picture::from_fn(112, 112, |x, y| [x as u8 * 2, y as u8 * 2, 90]);
        let grid = Grid { rows: 14, cols: 14 };
        let blobs = |patch: u32| Some((patch * patch) % 41);
        for groups in [(0..196).map(Some).collect::<Vec<_>>(), (0..196).map(blobs).collect()] {
            let layout = Layout::new(&photo, grid.into(), &groups, &Style::default()).unwrap();
            let touching = neighbours(grid, &layout.token_of, layout.tokens.len());
            for (token, others) in layout.tokens.iter().zip(touching) {
                assert!(palette::distance(token.border, token.mean) >= 150, "{token:?}");
                for other in others {
                    let other = &layout.tokens[other];
                    assert!(
                        palette::distance(token.border, other.border) >= 150,
                        "{token:?} beside {other:?}"
                    );
                }
            }
        }
    }
}
