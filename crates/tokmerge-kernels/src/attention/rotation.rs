//! Rotary positions: pairs of channels of queries and keys turn by angles that say where a token stands.

use super::Heads;
use crate::isa::Isa;
use crate::lengths::is_product;
use crate::linear::norm::GRAIN;
use crate::simd::{Job, Simd, dispatch, load_at, store_at};
use crate::threads::{Shared, for_each_chunk};
use std::ops::Range;

/// Whether heads turn alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Angles {
    /// All heads of a token by the same angles: `[T, D / 2]`.
    Shared,
    /// Each head by its own (mixed RoPE, whose frequencies are learned): `[T, H, D / 2]`.
    PerHead,
}

/// Which channels of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pairs {
    /// Channels `2 i` and `2 i + 1` (EVA-02, ViT-RoPE).
    Adjacent,
    /// Channels `i` and `D / 2 + i` (DINOv3, Llama).
    Halves,
}

/// The angles by which the heads of every token turn.
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'a> {
    /// Cosines, `[T, D / 2]` or `[T, H, D / 2]`.
    pub cos: &'a [f32],
    /// Sines, of the same shape.
    pub sin: &'a [f32],
    /// Which of the two shapes.
    pub angles: Angles,
    /// Which channels turn together.
    pub pairs: Pairs,
}

impl Rotation<'_> {
    /// Panics unless it has angles for `rows` tokens of such heads.
    pub(crate) fn check(&self, function: &str, rows: usize, heads: Heads) {
        let Heads { count, dim, .. } = heads;
        assert!(dim.is_multiple_of(2), "{function}: heads of {dim} channels have no pairs to rotate");
        let (cosines, sines) = (self.cos.len(), self.sin.len());
        let shape = [rows, self.sets(count), dim / 2];
        assert!(
            is_product(cosines, shape) && is_product(sines, shape),
            "{function}: the rotation has {cosines} cosines and {sines} sines, expected {} x {} x {}",
            shape[0],
            shape[1],
            shape[2]
        );
    }

    /// Angles of different heads in a row.
    fn sets(&self, count: usize) -> usize {
        match self.angles {
            Angles::Shared => 1,
            Angles::PerHead => count,
        }
    }

    /// The same of some rows.
    pub(crate) fn rows(self, rows: Range<usize>, heads: Heads) -> Self {
        let width = self.sets(heads.count) * (heads.dim / 2);
        let range = rows.start * width..rows.end * width;
        Self { cos: &self.cos[range.clone()], sin: &self.sin[range], ..self }
    }

    /// Turns head `head` of row `row`.
    #[inline(always)]
    pub(crate) fn turn<S: Simd>(&self, simd: S, heads: Heads, row: usize, head: usize, x: &mut [f32]) {
        let half = heads.dim / 2;
        let set = match self.angles {
            Angles::Shared => row,
            Angles::PerHead => row * heads.count + head,
        };
        let (cos, sin) = (&self.cos[set * half..(set + 1) * half], &self.sin[set * half..(set + 1) * half]);
        let mut at = 0;
        match self.pairs {
            Pairs::Adjacent => {
                while at < half {
                    let cos = simd.duplicate(load_at(simd, cos, at));
                    let sin = simd.duplicate(load_at(simd, sin, at));
                    for i in 0..2 {
                        let at = 2 * at + i * S::LANES;
                        if at < x.len() {
                            let turned = simd.turn_pairs(load_at(simd, x, at), cos[i], sin[i]);
                            store_at(simd, x, at, turned);
                        }
                    }
                    at += S::LANES;
                }
            }
            Pairs::Halves => {
                let (first, second) = x.split_at_mut(half);
                while at < half {
                    let (a, b) = (load_at(simd, first, at), load_at(simd, second, at));
                    let (cos, sin) = (load_at(simd, cos, at), load_at(simd, sin, at));
                    store_at(simd, first, at, simd.sub(simd.mul(a, cos), simd.mul(b, sin)));
                    store_at(simd, second, at, simd.mul_add(b, cos, simd.mul(a, sin)));
                    at += S::LANES;
                }
            }
        }
    }
}

/// Rotates the heads of the first `parts` parts of `x: [T, P * H * D]`, each part head by head, and leaves the others:
/// two parts of `q | k | v`, one of `k | v`, one of `q`.
///
/// # Panics
/// When lengths do not match, `D` is odd, or this CPU does not support `isa`.
pub fn rotate(isa: Isa, heads: Heads, rotation: Rotation<'_>, parts: usize, x: &mut [f32], rows: usize) {
    rotation.check("rotate", rows, heads);
    let columns = x.len().checked_div(rows).unwrap_or(0);
    let width = heads.width();
    assert!(
        x.len() == rows * columns
            && (rows == 0 || (columns >= parts * width && columns.is_multiple_of(width))),
        "rotate: x has {} elements, not {rows} rows of at least {parts} x {} heads x {}",
        x.len(),
        heads.count,
        heads.dim
    );
    let x = Shared::new(x);
    for_each_chunk(rows, GRAIN / columns.max(1), |chunk| {
        // SAFETY: the rows of different tasks do not overlap.
        let x = unsafe { x.range(chunk.start * columns..chunk.end * columns) };
        dispatch(isa, Turn { rotation: rotation.rows(chunk, heads), heads, parts, columns, x });
    });
}

struct Turn<'a> {
    rotation: Rotation<'a>,
    heads: Heads,
    parts: usize,
    columns: usize,
    x: &'a mut [f32],
}

impl Job for Turn<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { rotation, heads, parts, columns, x } = self;
        for row in 0..x.len() / columns {
            for head in 0..parts * heads.count {
                let at = row * columns + head * heads.dim;
                rotation.turn(simd, heads, row, head % heads.count, &mut x[at..at + heads.dim]);
            }
        }
    }
}
