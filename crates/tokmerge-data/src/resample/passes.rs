//! The two passes, over rows that hold one channel behind the other: so vectors are full, and what makes the rows (a
//! JPEG's planes) never has to weave the channels together.

use std::ops::Range;

use pulp::Arch;

use super::weights::{LANES, Weights};
use super::{Interpolation, columns_first};
use crate::Rgb;

/// A picture that is read row by row.
pub(crate) trait Rows {
    /// Width and height.
    fn size(&self) -> [usize; 2];

    /// Puts `columns` of row `y` into the first samples of the three channels.
    fn read(&mut self, y: usize, columns: Range<usize>, channels: [&mut [u8]; 3]);
}

impl Rows for &Rgb {
    fn size(&self) -> [usize; 2] {
        [self.width, self.height]
    }

    #[inline(always)]
    fn read(&mut self, y: usize, columns: Range<usize>, [red, green, blue]: [&mut [u8]; 3]) {
        let row = &self.data[y * self.width * 3..][columns.start * 3..columns.end * 3];
        let channels = red.iter_mut().zip(green).zip(blue);
        for (pixel, ((red, green), blue)) in row.as_chunks::<3>().0.iter().zip(channels) {
            [*red, *green, *blue] = *pixel;
        }
    }
}

/// Rows of three channels.
struct Strip {
    /// Samples of a channel, with padding.
    stride: usize,
    data: Vec<u8>,
}

impl Strip {
    fn new(rows: usize, width: usize) -> Self {
        let stride = width.next_multiple_of(LANES);
        Self { stride, data: vec![0; rows * 3 * stride] }
    }

    #[inline(always)]
    fn channels_mut(&mut self, row: usize) -> [&mut [u8]; 3] {
        let row = &mut self.data[row * 3 * self.stride..][..3 * self.stride];
        let (red, rest) = row.split_at_mut(self.stride);
        let (green, blue) = rest.split_at_mut(self.stride);
        [red, green, blue]
    }

    #[inline(always)]
    fn channels(&self, row: usize) -> [&[u8]; 3] {
        std::array::from_fn(|channel| &self.data[(row * 3 + channel) * self.stride..][..self.stride])
    }
}

/// Resizes each channel of a row.
#[inline(always)]
fn along(across: &Weights, from: [&[u8]; 3], first: usize, to: [&mut [u8]; 3]) {
    for (from, to) in from.into_iter().zip(to) {
        across.along(from, first, to);
    }
}

#[inline(always)]
fn weave([red, green, blue]: [&[u8]; 3], row: &mut [u8]) {
    let channels = red.iter().zip(green).zip(blue);
    for (pixel, ((&red, &green), &blue)) in row.as_chunks_mut::<3>().0.iter_mut().zip(channels) {
        *pixel = [red, green, blue];
    }
}

/// The part `window` (columns, rows) of the picture resized to `size` (width, height), which must not be empty.
pub(super) fn window(
    source: &mut impl Rows,
    size: [usize; 2],
    [columns, rows]: [Range<usize>; 2],
    interpolation: Interpolation,
) -> Rgb {
    let from = source.size();
    let (width, height) = (columns.len(), rows.len());
    let mut data = vec![0; width * height * 3];
    if interpolation == Interpolation::Nearest {
        Arch::new().dispatch(
            #[inline(always)]
            || nearest(source, size, columns, rows, &mut data),
        );
    } else {
        let across = Weights::new(from[0], size[0], columns, interpolation);
        let down = Weights::new(from[1], size[1], rows, interpolation);
        let first_down = columns_first(from, size);
        Arch::new().dispatch(
            #[inline(always)]
            || {
                if first_down {
                    low_then_narrow(source, &across, &down, &mut data);
                } else {
                    narrow_then_low(source, &across, &down, &mut data);
                }
            },
        );
    }
    Rgb { width, height, data }
}

#[inline(always)]
fn narrow_then_low(source: &mut impl Rows, across: &Weights, down: &Weights, out: &mut [u8]) {
    // What the second pass looks at is all that the first has to make.
    let (columns, rows) = (across.span(), down.span());
    let mut line = Strip::new(1, columns.len() + across.slack());
    let mut narrow = Strip::new(rows.len(), across.len());
    for (row, y) in rows.clone().enumerate() {
        source.read(y, columns.clone(), line.channels_mut(0));
        along(across, line.channels(0), columns.start, narrow.channels_mut(row));
    }
    let mut low = Strip::new(1, across.len());
    for (position, out) in out.chunks_exact_mut(across.len() * 3).enumerate() {
        down.down(position, &narrow.data, rows.start, &mut low.data);
        weave(low.channels(0), out);
    }
}

#[inline(always)]
fn low_then_narrow(source: &mut impl Rows, across: &Weights, down: &Weights, out: &mut [u8]) {
    let (columns, rows) = (across.span(), down.span());
    // Perhaps a picture of one column and a million rows: nothing is added to these.
    let mut wide = Strip::new(rows.len(), columns.len());
    for (row, y) in rows.clone().enumerate() {
        source.read(y, columns.clone(), wide.channels_mut(row));
    }
    let mut low = Strip::new(1, columns.len());
    let mut line = Strip::new(1, columns.len() + across.slack());
    let mut narrow = Strip::new(1, across.len());
    for (position, out) in out.chunks_exact_mut(across.len() * 3).enumerate() {
        down.down(position, &wide.data, rows.start, &mut low.data);
        for (line, low) in line.channels_mut(0).into_iter().zip(low.channels(0)) {
            line[..low.len()].copy_from_slice(low);
        }
        along(across, line.channels(0), columns.start, narrow.channels_mut(0));
        weave(narrow.channels(0), out);
    }
}

#[inline(always)]
fn nearest(
    source: &mut impl Rows,
    size: [usize; 2],
    columns: Range<usize>,
    rows: Range<usize>,
    out: &mut [u8],
) {
    // Summed step by step: a product would round differently and pick other pixels on ties.
    let centres = |input: usize, output: usize, window: Range<usize>| -> Vec<usize> {
        let step = input as f64 / output as f64;
        let positions = std::iter::successors(Some(step * 0.5), |x| Some(x + step));
        positions.skip(window.start).take(window.len()).map(|x| (x as usize).min(input - 1)).collect()
    };
    let from = source.size();
    let across = centres(from[0], size[0], columns);
    let down = centres(from[1], size[1], rows);
    let used = across[0]..across[across.len() - 1] + 1;
    let mut line = Strip::new(1, used.len());
    for (&y, out) in down.iter().zip(out.chunks_exact_mut(across.len() * 3)) {
        source.read(y, used.clone(), line.channels_mut(0));
        let channels = line.channels(0);
        for (&x, pixel) in across.iter().zip(out.as_chunks_mut::<3>().0) {
            *pixel = channels.map(|channel| channel[x - used.start]);
        }
    }
}
