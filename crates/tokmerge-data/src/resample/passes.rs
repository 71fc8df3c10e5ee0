//! The two passes.
//!
//! Along rows, a sum over neighbours would be a sum over the lanes of a vector. So as many rows as there are lanes are
//! turned first, and each lane has a row of its own. Between the passes, and behind them, samples lie pixel by pixel.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::weights::{LANES, Weights};
use super::{Interpolation, columns_first};
use crate::Rgb;

/// A picture that is read row by row.
pub(crate) trait Rows {
    /// How the samples of a row lie in the memory that it is read into.
    const ORDER: Order;

    /// Width and height.
    fn size(&self) -> [usize; 2];

    /// Puts `columns` of row `y` to the beginning of `row`, or of each of its thirds.
    fn read(&mut self, y: usize, columns: Range<usize>, row: &mut [u8]);
}

/// How the samples of a row lie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Pixel by pixel.
    Pixels,
    /// Channel by channel, each in a third of the row.
    Channels,
}

impl Order {
    /// Where a sample is in a row of `length` bytes.
    #[inline(always)]
    fn at(self, channel: usize, sample: usize, length: usize) -> usize {
        match self {
            Self::Pixels => sample * 3 + channel,
            Self::Channels => channel * (length / 3) + sample,
        }
    }
}

impl Rows for &Rgb {
    const ORDER: Order = Order::Pixels;

    fn size(&self) -> [usize; 2] {
        [self.width, self.height]
    }

    #[inline(always)]
    fn read(&mut self, y: usize, columns: Range<usize>, row: &mut [u8]) {
        let samples = &self.data[y * self.width * 3..][columns.start * 3..columns.end * 3];
        row[..samples.len()].copy_from_slice(samples);
    }
}

/// The part `window` (columns, rows) of the picture resized to `size` (width, height), which must not be empty.
pub(super) fn window(
    source: &mut impl Rows,
    size: [usize; 2],
    window: [Range<usize>; 2],
    interpolation: Interpolation,
) -> Rgb {
    let [width, height] = [window[0].len(), window[1].len()];
    let mut data = vec![0; width * height * 3];
    Arch::new().dispatch(Resize { source, size, window, interpolation, out: &mut data });
    Rgb { width, height, data }
}

/// A type and not a closure: what calls a closure is not sure to be inlined, and then runs without the CPU's vectors.
struct Resize<'a, R> {
    source: &'a mut R,
    size: [usize; 2],
    window: [Range<usize>; 2],
    interpolation: Interpolation,
    out: &'a mut [u8],
}

impl<R: Rows> WithSimd for Resize<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { source, size, window: [columns, rows], interpolation, out } = self;
        if interpolation == Interpolation::Nearest {
            return nearest(source, size, columns, rows, out);
        }
        let from = source.size();
        let across = Weights::new(from[0], size[0], columns, interpolation);
        let down = Weights::new(from[1], size[1], rows, interpolation);
        if columns_first(from, size) {
            low_then_narrow(source, &across, &down, out);
        } else {
            narrow_then_low(source, &across, &down, out);
        }
    }
}

/// Bytes of a row of `width` pixels, with padding.
fn stride(width: usize) -> usize {
    width.next_multiple_of(LANES) * 3
}

/// Rows that are narrowed at a time, at most.
const MOST_LANES: usize = 16 * LANES;

/// Memory for rows that are narrowed.
struct Group {
    /// How many.
    lanes: usize,
    /// The rows as they are.
    wide: Vec<u8>,
    /// Bytes of such a row.
    stride: usize,
    /// The same, and what becomes of them: all rows' samples of one place beside each other.
    turned: Vec<u8>,
    narrow: Vec<u8>,
    sums: Vec<i32>,
}

impl Group {
    fn new(across: &Weights, rows: usize) -> Self {
        let lanes = rows.next_multiple_of(LANES).min(MOST_LANES);
        let stride = stride(across.span().len());
        let narrow = vec![0; lanes * self::stride(across.len())];
        let [wide, turned] = [(); 2].map(|()| vec![0; lanes * stride]);
        Self { lanes, wide, stride, turned, narrow, sums: vec![0; lanes] }
    }

    fn rows(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.wide.chunks_exact_mut(self.stride)
    }

    /// Resizes the first rows along their length, as many as `to` has; they come out pixel by pixel.
    #[inline(always)]
    fn narrow(&mut self, across: &Weights, order: Order, to: &mut [u8]) {
        let Self { lanes, wide, stride, turned, narrow, sums } = self;
        let (lanes, stride) = (*lanes, *stride);
        match order {
            Order::Pixels => turn(wide, stride, stride, turned, lanes),
            Order::Channels => {
                for channel in 0..3 {
                    let (third, turned) = (stride / 3, &mut turned[channel * lanes..]);
                    turn(&wide[channel * third..], stride, third, turned, 3 * lanes);
                }
            }
        }
        let first = across.span().start;
        for (place, out) in narrow.chunks_exact_mut(lanes).enumerate().take(across.len() * 3) {
            let (position, channel) = (place / 3, place % 3);
            across.weigh(position, &turned[channel * lanes..], 3 * lanes, first, sums, out);
        }
        let narrow_stride = narrow.len() / lanes;
        turn(narrow, lanes, to.len() / narrow_stride, to, narrow_stride);
    }
}

/// The first `columns` of lines of `stride` bytes as lines of `to_stride` bytes, as many as there are. Lines come in
/// multiples of the lanes.
#[inline(always)]
fn turn(from: &[u8], stride: usize, columns: usize, to: &mut [u8], to_stride: usize) {
    const WORDS: usize = 4;
    let lines = from.len().div_ceil(stride).min(to_stride);
    let whole = columns - columns % (WORDS * LANES);
    for line in (0..lines).step_by(LANES) {
        let from = &from[line * stride..];
        for column in (0..whole).step_by(WORDS * LANES) {
            turn_tiles::<WORDS>(&from[column..], stride, &mut to[column * to_stride + line..], to_stride);
        }
        for column in (whole..columns).step_by(LANES) {
            turn_tiles::<1>(&from[column..], stride, &mut to[column * to_stride + line..], to_stride);
        }
    }
}

/// Tiles beside each other become tiles below each other; those of `to` that are there.
#[inline(always)]
fn turn_tiles<const N: usize>(from: &[u8], stride: usize, to: &mut [u8], to_stride: usize) {
    let mut tiles = [[0; N]; LANES];
    for (line, words) in tiles.iter_mut().enumerate() {
        let bytes = from[line * stride..][..N * LANES].as_chunks::<LANES>().0;
        for (word, bytes) in words.iter_mut().zip(bytes) {
            *word = u64::from_le_bytes(*bytes);
        }
    }
    // Halves change places, then quarters, then bytes: byte `j` of word `i` becomes byte `i` of word `j`.
    for i in 0..4 {
        swap::<32, N>(0x0000_0000_FFFF_FFFF, &mut tiles, i, i + 4);
    }
    for i in [0, 1, 4, 5] {
        swap::<16, N>(0x0000_FFFF_0000_FFFF, &mut tiles, i, i + 2);
    }
    for i in [0, 2, 4, 6] {
        swap::<8, N>(0x00FF_00FF_00FF_00FF, &mut tiles, i, i + 1);
    }
    for word in 0..N {
        for (line, words) in tiles.iter().enumerate() {
            let Some(to) = to.get_mut((word * LANES + line) * to_stride..) else { return };
            if let Some(to) = to.first_chunk_mut() {
                *to = words[word].to_le_bytes();
            }
        }
    }
}

/// Bits of one word that the mask leaves out change places with those that it has of another.
#[inline(always)]
fn swap<const BITS: u32, const N: usize>(mask: u64, tiles: &mut [[u64; N]; LANES], one: usize, other: usize) {
    let (mut first, mut second) = (tiles[one], tiles[other]);
    for (first, second) in first.iter_mut().zip(&mut second) {
        let moved = ((*first >> BITS) ^ *second) & mask;
        *first ^= moved << BITS;
        *second ^= moved;
    }
    (tiles[one], tiles[other]) = (first, second);
}

#[inline(always)]
fn narrow_then_low<R: Rows>(source: &mut R, across: &Weights, down: &Weights, out: &mut [u8]) {
    // What the second pass looks at is all that the first has to make.
    let (columns, rows) = (across.span(), down.span());
    let stride = stride(across.len());
    let mut narrow = vec![0; rows.len() * stride];
    let mut group = Group::new(across, rows.len());
    let lanes = group.lanes;
    for (number, narrow) in narrow.chunks_mut(lanes * stride).enumerate() {
        let first = rows.start + number * lanes;
        let count = narrow.len() / stride;
        for (y, row) in (first..first + count).zip(group.rows()) {
            source.read(y, columns.clone(), row);
        }
        if across.stays() {
            for (row, to) in group.rows().zip(narrow.chunks_exact_mut(stride)) {
                for (at, sample) in to[..across.len() * 3].iter_mut().enumerate() {
                    *sample = row[R::ORDER.at(at % 3, at / 3, row.len())];
                }
            }
        } else {
            group.narrow(across, R::ORDER, narrow);
        }
    }
    let (mut low, mut sums) = (vec![0; stride], vec![0; stride]);
    for (position, out) in out.chunks_exact_mut(across.len() * 3).enumerate() {
        down.weigh(position, &narrow, stride, rows.start, &mut sums, &mut low);
        out.copy_from_slice(&low[..out.len()]);
    }
}

#[inline(always)]
fn low_then_narrow<R: Rows>(source: &mut R, across: &Weights, down: &Weights, out: &mut [u8]) {
    let (columns, rows) = (across.span(), down.span());
    let mut group = Group::new(across, down.len());
    let lanes = group.lanes;
    // Perhaps a picture of one column and a million rows: nothing is added to these.
    let mut wide = vec![0; rows.len() * group.stride];
    for (y, row) in rows.clone().zip(wide.chunks_exact_mut(group.stride)) {
        source.read(y, columns.clone(), row);
    }
    let stride = stride(across.len());
    let (mut narrow, mut sums) = (vec![0; lanes * stride], vec![0; group.stride]);
    for (number, out) in out.chunks_mut(lanes * across.len() * 3).enumerate() {
        let out = out.chunks_exact_mut(across.len() * 3);
        for (row, low) in group.rows().take(out.len()).enumerate() {
            down.weigh(number * lanes + row, &wide, low.len(), rows.start, &mut sums, low);
        }
        group.narrow(across, R::ORDER, &mut narrow);
        for (row, out) in narrow.chunks_exact(stride).zip(out) {
            out.copy_from_slice(&row[..out.len()]);
        }
    }
}

#[inline(always)]
fn nearest<R: Rows>(
    source: &mut R,
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
    let mut row = vec![0; stride(used.len())];
    for (&y, out) in down.iter().zip(out.chunks_exact_mut(across.len() * 3)) {
        source.read(y, used.clone(), &mut row);
        for (&x, pixel) in across.iter().zip(out.as_chunks_mut::<3>().0) {
            *pixel = [0, 1, 2].map(|channel| row[R::ORDER.at(channel, x - used.start, row.len())]);
        }
    }
}
