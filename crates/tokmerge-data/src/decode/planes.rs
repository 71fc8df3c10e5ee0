//! The channels of a JPEG as it stores them, each perhaps at fewer samples than pixels, and their way to RGB: what
//! libjpeg does with them, so that rows are made one by one, and none that nobody reads.

use std::ops::Range;

use crate::resample::{Order, Rows};

/// The decoded samples of a channel, padded to whole blocks.
pub(super) struct Plane {
    pub(super) samples: Vec<u8>,
    /// Samples in a row, with padding.
    pub(super) stride: usize,
    /// Samples in a row and in a column that the picture covers.
    pub(super) size: (usize, usize),
    /// Pixels along each axis that share a sample.
    pub(super) factor: (usize, usize),
}

/// Memory for a row that is being made.
#[derive(Default)]
pub(super) struct Scratch {
    sums: Vec<u16>,
    pairs: Vec<u8>,
}

impl Plane {
    /// Whether there are as many samples as the picture covers.
    pub(super) fn holds_its_samples(&self) -> bool {
        let (width, height) = self.size;
        width <= self.stride && height.checked_mul(self.stride).is_some_and(|n| n <= self.samples.len())
    }

    fn row(&self, at: usize) -> &[u8] {
        &self.samples[at * self.stride..][..self.size.0]
    }

    /// `columns` of row `y` of the picture: a triangle filter for factors of two, repetition for all others.
    #[inline(always)]
    pub(super) fn read(&self, y: usize, columns: Range<usize>, scratch: &mut Scratch, out: &mut [u8]) {
        let near = self.row(y / self.factor.1);
        // Rows outside the picture equal those at its edge.
        let far = || {
            let at = y / 2;
            self.row(if y % 2 == 1 { (at + 1).min(self.size.1 - 1) } else { at.saturating_sub(1) })
        };
        match self.factor {
            (1, 1) => out[..columns.len()].copy_from_slice(&near[columns]),
            (1, 2) => {
                // Every second pixel rounds down, here and below.
                let bias = 1 + (y % 2) as u16;
                let samples = near[columns.clone()].iter().zip(&far()[columns]);
                for (out, (&near, &far)) in out.iter_mut().zip(samples) {
                    *out = ((3 * u16::from(near) + u16::from(far) + bias) >> 2) as u8;
                }
            }
            // libjpeg filters no rows of one or two samples.
            (2, 1 | 2) if self.size.0 > 2 => {
                let used = columns.start / 2..columns.end.div_ceil(2);
                let Scratch { sums, pairs } = scratch;
                sums.resize(used.len() + 2, 0);
                pairs.resize(used.len() * 2, 0);
                if self.factor.1 == 2 {
                    padded(sums, used, near, far(), |near, far| 3 * near + far);
                    spread::<8, 7, 4>(sums, pairs);
                } else {
                    padded(sums, used, near, near, |near, _| near);
                    spread::<1, 2, 2>(sums, pairs);
                }
                out[..columns.len()].copy_from_slice(&pairs[columns.start % 2..][..columns.len()]);
            }
            (factor, _) => {
                for (out, x) in out.iter_mut().zip(columns) {
                    *out = near[x / factor];
                }
            }
        }
    }
}

/// The sums of two rows at `used`, with a neighbour at each side; beyond the edge it is the edge itself.
#[inline(always)]
fn padded(sums: &mut [u16], used: Range<usize>, near: &[u8], far: &[u8], sum: impl Fn(u16, u16) -> u16) {
    let last = sums.len() - 1;
    let both = near[used.clone()].iter().zip(&far[used.clone()]);
    for (out, (&near, &far)) in sums[1..last].iter_mut().zip(both) {
        *out = sum(near.into(), far.into());
    }
    let at = |x: usize| sum(near[x].into(), far[x].into());
    sums[0] = at(used.start.saturating_sub(1));
    sums[last] = at(used.end.min(near.len() - 1));
}

/// Two pixels of each sum: three parts of it and one of the nearest neighbour.
#[inline(always)]
fn spread<const EVEN: u16, const ODD: u16, const SHIFT: u32>(sums: &[u16], pairs: &mut [u8]) {
    let count = pairs.len() / 2;
    let sums = sums[..count].iter().zip(&sums[1..=count]).zip(&sums[2..count + 2]);
    for (pair, ((&left, &sum), &right)) in pairs.as_chunks_mut::<2>().0.iter_mut().zip(sums) {
        *pair = [((3 * sum + left + EVEN) >> SHIFT) as u8, ((3 * sum + right + ODD) >> SHIFT) as u8];
    }
}

/// What the planes are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    Grey,
    Rgb,
    Ycc,
}

/// A picture in planes.
pub(super) struct Planes {
    pub(super) size: [usize; 2],
    /// One or three; the first has a sample for every pixel.
    pub(super) planes: Vec<Plane>,
    pub(super) colours: Colours,
    pub(super) scratch: Scratch,
    /// A row of both chroma planes.
    pub(super) chroma: [Vec<u8>; 2],
}

impl Rows for Planes {
    const ORDER: Order = Order::Channels;

    fn size(&self) -> [usize; 2] {
        self.size
    }

    #[inline(always)]
    fn read(&mut self, y: usize, columns: Range<usize>, row: &mut [u8]) {
        let count = columns.len();
        let (red, rest) = row.split_at_mut(row.len() / 3);
        let (green, blue) = rest.split_at_mut(rest.len() / 2);
        let Self { planes, scratch, chroma, colours, .. } = self;
        match colours {
            Colours::Grey => {
                for out in [red, green, blue] {
                    planes[0].read(y, columns.clone(), scratch, out);
                }
            }
            Colours::Rgb => {
                for (plane, out) in planes.iter().zip([red, green, blue]) {
                    plane.read(y, columns.clone(), scratch, out);
                }
            }
            Colours::Ycc => {
                for (plane, out) in planes[1..].iter().zip(&mut *chroma) {
                    out.resize(count, 0);
                    plane.read(y, columns.clone(), scratch, out);
                }
                let luma = &planes[0].row(y)[columns];
                let samples = luma.iter().zip(&chroma[0]).zip(&chroma[1]);
                let out = red.iter_mut().zip(green).zip(blue);
                for (((&y, &cb), &cr), ((red, green), blue)) in samples.zip(out) {
                    [*red, *green, *blue] = ycc_to_rgb([y, cb, cr]);
                }
            }
        }
    }
}

/// libjpeg's fixed-point arithmetic with 16 fractional bits.
#[inline(always)]
pub(super) fn ycc_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = (91_881 * cr + HALF) >> 16;
    let green = (-22_554 * cb - 46_802 * cr + HALF) >> 16;
    let blue = (116_130 * cb + HALF) >> 16;
    [red, green, blue].map(|shift| (y + shift).clamp(0, 255) as u8)
}
