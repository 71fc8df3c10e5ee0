//! The angles of rotary positions, computed on the host.

use tokmerge_kernels::{self as kernels, Isa};

pub use tokmerge_kernels::Turns;

/// Sines and cosines of the angles at `positions: [R]`, each `[frame, y, x]` of which the frame is not looked at:
/// `sines, cosines: [R, W]`.
///
/// # Panics
/// When lengths do not match.
pub fn turn(turns: Turns<'_>, positions: &[[f32; 3]], sines: &mut [f32], cosines: &mut [f32]) {
    kernels::turn(Isa::current(), turns, positions, sines, cosines);
}
