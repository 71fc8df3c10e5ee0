//! Rotary positions: sines and cosines of the angles by which rows turn. Plain Rust that compilers make vectors of,
//! compiled for every instruction set; no sum is fused, so all of them give the same bits.

use crate::isa::Isa;
use crate::simd::{Job, Simd, dispatch};
use crate::threads::{Shared, for_each_chunk};
use std::f32::consts::FRAC_PI_2;

/// The angles of `W` pairs of channels as a function of the position: `row * y + column * x + origin`, in radians.
#[derive(Clone, Copy, Debug)]
pub struct Turns<'a> {
    /// Radians per step down, `[W]`.
    pub row: &'a [f32],
    /// Radians per step to the right, `[W]`.
    pub column: &'a [f32],
    /// Radians at `[0, 0]`, `[W]`.
    pub origin: &'a [f32],
}

/// Angles worth a task.
const GRAIN: usize = 1 << 14;

/// Sines and cosines of the angles at `positions: [R]`, each `[frame, y, x]` of which the frame is not looked at:
/// `sines, cosines: [R, W]`. Off by at most 2e-7 and what rounding the angle costs.
///
/// # Panics
/// When lengths do not match, or this CPU does not support `isa`.
pub fn turn(isa: Isa, turns: Turns<'_>, positions: &[[f32; 3]], sines: &mut [f32], cosines: &mut [f32]) {
    let width = turns.row.len();
    assert!(
        turns.column.len() == width && turns.origin.len() == width,
        "turn: {width} angles by row, {} by column and {} at the origin",
        turns.column.len(),
        turns.origin.len()
    );
    assert!(
        sines.len() == positions.len() * width && cosines.len() == sines.len(),
        "turn: {} sines and {} cosines, expected {} x {width}",
        sines.len(),
        cosines.len(),
        positions.len()
    );
    let (sines, cosines) = (Shared::new(sines), Shared::new(cosines));
    for_each_chunk(positions.len(), GRAIN / width.max(1), |rows| {
        let values = rows.start * width..rows.end * width;
        // SAFETY: the rows of different tasks do not overlap.
        let (sines, cosines) = unsafe { (sines.range(values.clone()), cosines.range(values)) };
        dispatch(isa, Rows { turns, positions: &positions[rows], sines, cosines });
    });
}

struct Rows<'a> {
    turns: Turns<'a>,
    positions: &'a [[f32; 3]],
    sines: &'a mut [f32],
    cosines: &'a mut [f32],
}

impl Job for Rows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let width = self.turns.row.len();
        let (row, column) = (&self.turns.row[..width], &self.turns.column[..width]);
        let origin = &self.turns.origin[..width];
        for r in 0..self.positions.len() {
            let [_, y, x] = self.positions[r];
            let sines = &mut self.sines[r * width..][..width];
            let cosines = &mut self.cosines[r * width..][..width];
            // Not a number is not within reach either.
            let mut within = true;
            for i in 0..width {
                let angle = row[i] * y + column[i] * x + origin[i];
                within &= angle.abs() <= FAR;
                (sines[i], cosines[i]) = near(angle);
            }
            if !within {
                for i in 0..width {
                    (sines[i], cosines[i]) = (row[i] * y + column[i] * x + origin[i]).sin_cos();
                }
            }
        }
    }
}

/// Beyond this many radians the count of quarters times a part of [`QUARTER`] is no longer exact.
const FAR: f32 = 8192.0;

/// A quarter turn in three parts, the first two of so few bits that their products with counts are exact.
const QUARTER: [f32; 3] = [1.570_312_5, 4.837_513e-4, 7.549_79e-8];

/// Adding it rounds to a whole number, whose lowest bits are then those of the sum: 1.5 * 2^23.
const ROUND: f32 = 12_582_912.0;

/// Sine and cosine of an angle that is not far: a polynomial each on the eighth of a turn around the nearest quarter, of
/// cephes' coefficients.
#[inline(always)]
fn near(angle: f32) -> (f32, f32) {
    let rounded = angle * (1.0 / FRAC_PI_2) + ROUND;
    // Modulo 4 the quarter that the angle is nearest to.
    let quarter = rounded.to_bits();
    let count = rounded - ROUND;
    let rest = ((angle - count * QUARTER[0]) - count * QUARTER[1]) - count * QUARTER[2];
    let square = rest * rest;
    let sine = rest + rest * square * (-1.666_665_5e-1 + square * (8.332_161e-3 + square * -1.951_529_6e-4));
    let cosine = 1.0 - 0.5 * square
        + square * square * (4.166_664_6e-2 + square * (-1.388_731_6e-3 + square * 2.443_315_7e-5));
    // After an odd number of quarters the two change places, and signs follow the quarter; without branches.
    let odd = 0_u32.wrapping_sub(quarter & 1);
    let (s, c) = (sine.to_bits(), cosine.to_bits());
    let (sine_sign, cosine_sign) = ((quarter & 2) << 30, (quarter.wrapping_add(1) & 2) << 30);
    let (sine, cosine) = ((s & !odd) | (c & odd), (c & !odd) | (s & odd));
    (f32::from_bits(sine ^ sine_sign), f32::from_bits(cosine ^ cosine_sign))
}
