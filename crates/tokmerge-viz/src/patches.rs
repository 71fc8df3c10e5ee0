//! How patches lie over a picture.

use crate::error::{Error, Result};
use crate::layout::{Grid, Starts, starts};
use crate::picture::Picture;

/// How patches lie over a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patches {
    /// Beside each other.
    Beside(Grid),
    /// Over each other. A pixel is drawn as one of the patch whose centre is nearest, of two that are as near the one
    /// that is further down or to the right.
    Overlapping {
        /// From top to bottom.
        down: Overlap,
        /// From left to right.
        across: Overlap,
    },
}

/// Overlapping patches along one side, in pixels of the picture before it is enlarged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// How many there are.
    pub count: usize,
    /// Length of a patch.
    pub size: usize,
    /// From one to the next.
    pub stride: usize,
    /// Where the first begins.
    pub first: End,
}

/// An end of a side of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The top or the left.
    Near,
    /// The bottom or the right, as low frequencies lie in a spectrogram.
    Far,
}

impl From<Grid> for Patches {
    fn from(grid: Grid) -> Self {
        Self::Beside(grid)
    }
}

impl Patches {
    /// Rows and columns.
    #[must_use]
    pub fn grid(self) -> Grid {
        match self {
            Self::Beside(grid) => grid,
            Self::Overlapping { down, across } => Grid { rows: down.count, cols: across.count },
        }
    }

    /// Where rows and columns begin in a picture, and its ends.
    ///
    /// # Errors
    /// When there are none, or one has no pixel.
    pub(crate) fn starts(self, picture: &Picture) -> Result<Starts> {
        let (width, height) = (picture.width(), picture.height());
        let Grid { rows, cols } = self.grid();
        if rows == 0 || cols == 0 {
            return Err(Error::EmptyGrid { rows, cols });
        }
        let too_fine = Error::GridTooFine { rows, cols, width, height };
        if rows > height || cols > width {
            return Err(too_fine);
        }
        let (ys, xs) = match self {
            Self::Beside(_) => (starts(height, rows), starts(width, cols)),
            Self::Overlapping { down, across } => (down.starts(height), across.starts(width)),
        };
        let is_whole = |starts: &[usize]| starts.windows(2).all(|ends| ends[0] < ends[1]);
        if is_whole(&ys) && is_whole(&xs) { Ok((ys, xs)) } else { Err(too_fine) }
    }
}

impl Overlap {
    /// Halfway between the centres, but for the two ends.
    fn starts(self, length: usize) -> Vec<usize> {
        let Self { count, size, stride, first } = self;
        let between = |patch: usize| {
            let halves = stride.saturating_mul(2 * patch - 1).saturating_add(size);
            match first {
                End::Near => (halves / 2).min(length),
                End::Far => length - halves.div_ceil(2).min(length),
            }
        };
        let mut starts: Vec<usize> = (1..count).map(between).chain([0, length]).collect();
        starts.sort_unstable();
        starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The patch with the nearest centre of each pixel, by looking at all of them.
    fn nearest(overlap: Overlap, length: usize) -> Vec<usize> {
        let Overlap { count, size, stride, first } = overlap;
        let centre = |place: usize| {
            let patch = if first == End::Near { place } else { count - 1 - place };
            let halves = (2 * patch * stride + size) as isize;
            if first == End::Near { halves } else { 2 * length as isize - halves }
        };
        let away = |pixel: usize, place| (2 * pixel as isize + 1 - centre(place)).abs();
        let of = |pixel| (0..count).rev().min_by_key(|place| away(pixel, *place)).unwrap();
        (0..length).map(of).collect()
    }

    #[test]
    fn a_pixel_goes_to_the_patch_whose_centre_is_nearest() {
        for (count, size, stride, length) in
            [(12, 16, 10, 128), (101, 16, 10, 1024), (5, 7, 4, 23), (3, 2, 1, 4)]
        {
            for first in [End::Near, End::Far] {
                let overlap = Overlap { count, size, stride, first };
                let starts = overlap.starts(length);
                assert_eq!((starts.len(), starts[0], starts[count]), (count + 1, 0, length));
                let of = |pixel| starts.partition_point(|start| *start <= pixel) - 1;
                assert_eq!((0..length).map(of).collect::<Vec<_>>(), nearest(overlap, length), "{overlap:?}");
            }
        }
    }

    #[test]
    fn patches_without_a_pixel_of_their_own_are_refused() {
        let picture = Picture::from_fn(20, 20, |_, _| [0; 3]);
        let side = |count| Overlap { count, size: 10, stride: 5, first: End::Near };
        let starts = |count| Patches::Overlapping { down: side(3), across: side(count) }.starts(&picture);
        assert_eq!(starts(3).unwrap().1, [0, 7, 12, 20]);
        let text = starts(9).unwrap_err().to_string();
        assert!(text.contains("3 rows and 9 columns"), "{text}");
        assert!(starts(0).unwrap_err().to_string().contains("0 columns"));
    }
}
