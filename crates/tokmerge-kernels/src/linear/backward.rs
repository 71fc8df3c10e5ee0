//! Gradients of linear layers and norms. Results are overwritten, not added to.
//!
//! The gradient of a weight is a product of the `gemm` crate on every instruction set. Sums over rows are taken in
//! an order that does not depend on the number of threads.

use super::gemm::{Matrix, Threads, multiply};
use super::norm::{Norm, NormKind};
use super::pack::PackedLinear;
use super::{Epilogue, linear};
use crate::isa::Isa;
use crate::simd::{Job, Simd, dispatch, load_at, store_at};
use crate::threads::scratch::Scratch;
use crate::threads::{Shared, for_each, for_each_chunk, part};

/// Gradients of `x Wᵀ + b` with respect to `x`, `W` and `b`, those that are asked for.
///
/// `weight: [N, K]` as given to [`PackedLinear::new`](crate::PackedLinear::new), `x: [T, K]`,
/// `grad: [T, N]` with respect to the output before any activation; `dx: [T, K]`, `dw: [N, K]`,
/// `db: [N]`.
///
/// # Panics
/// When lengths do not match.
pub fn linear_backward(
    weight: &[f32],
    x: &[f32],
    grad: &[f32],
    dx: Option<&mut [f32]>,
    dw: Option<&mut [f32]>,
    db: Option<&mut [f32]>,
) {
    let length = |given: Option<usize>, name: &str, expected: usize| {
        let given = given.unwrap_or(expected);
        assert_eq!(given, expected, "linear_backward: {name} has {given} elements, expected {expected}");
    };
    length(dx.as_ref().map(|dx| dx.len()), "dx", x.len());
    length(dw.as_ref().map(|dw| dw.len()), "dw", weight.len());
    let Some([t, n, k]) = linear_shape(weight.len(), x.len(), grad.len()) else {
        // No rows: nothing flows back.
        dw.into_iter().chain(db).for_each(|sum| sum.fill(0.0));
        return;
    };
    length(db.as_ref().map(|db| db.len()), "db", n);
    if let Some(dx) = dx {
        let back = PackedLinear::transposed(Isa::current(), weight, k, n);
        linear(&back, None, grad, Epilogue::Store, dx);
    }
    if let Some(dw) = dw {
        // SAFETY: the shapes were checked; `dw` is borrowed exclusively.
        unsafe {
            let (a, b) = (Matrix::rows(grad.as_ptr(), n).t(), Matrix::rows(x.as_ptr(), k));
            multiply([n, k, t], 1.0, a, b, Matrix::rows(dw.as_mut_ptr(), k), Threads::Pool);
        }
    }
    if let Some(db) = db {
        column_sums(grad, db);
    }
}

/// T, N and K from the three products of two of them; none where there are no rows.
fn linear_shape(nk: usize, tk: usize, tn: usize) -> Option<[usize; 3]> {
    if nk == 0 || tk == 0 || tn == 0 {
        assert!(tk == 0 && tn == 0, "linear_backward: weight has {nk} elements, x {tk} and grad {tn}");
        return None;
    }
    // T² = TK · TN / NK.
    let square = tk as u128 * tn as u128 / nk as u128;
    let t = square.isqrt() as usize;
    let fits = t > 0 && tk.is_multiple_of(t) && tn.is_multiple_of(t) && (tk / t) * (tn / t) == nk;
    assert!(
        fits,
        "linear_backward: no T, N, K with weight [N, K] of {nk} elements, x [T, K] of {tk} and grad [T, N] of {tn}"
    );
    Some([t, tn / t, tk / t])
}

/// The sums of the columns of `rows: [_, sums.len()]`: in f32 within a chunk of rows, in f64 over the chunks.
fn column_sums(rows: &[f32], sums: &mut [f32]) {
    let n = sums.len();
    let count = rows.len() / n;
    let chunks = count.div_ceil(SUM_ROWS).min(SUM_CHUNKS);
    let mut partial = Scratch::take(chunks * n);
    let shared = Shared::new(&mut partial);
    for_each(chunks, |i| {
        // SAFETY: each chunk has sums of its own.
        let sums = unsafe { shared.range(i * n..(i + 1) * n) };
        let chunk = part(count, chunks, i);
        dispatch(Isa::current(), ColumnSums { rows: &rows[chunk.start * n..chunk.end * n], sums });
    });
    for (column, sum) in sums.iter_mut().enumerate() {
        *sum = partial[column..].iter().step_by(n).map(|v| f64::from(*v)).sum::<f64>() as f32;
    }
}

struct ColumnSums<'a> {
    rows: &'a [f32],
    sums: &'a mut [f32],
}

impl Job for ColumnSums<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.sums.fill(0.0);
        for row in self.rows.chunks_exact(self.sums.len()) {
            let mut at = 0;
            while at < row.len() {
                let sum = simd.add(load_at(simd, self.sums, at), load_at(simd, row, at));
                store_at(simd, self.sums, at, sum);
                at += S::LANES;
            }
        }
    }
}

/// Chunks in which the sums over rows are taken.
const SUM_CHUNKS: usize = 64;
/// The fewest rows worth a chunk.
const SUM_ROWS: usize = 16;

/// Gradients of [`normalise`](crate::normalise) with respect to `x`, the weight and the bias, whether or not the norm has
/// one.
///
/// `x`, `grad`, `dx`: `[T, C]`; `dweight`, `dbias`: `[C]`.
///
/// # Panics
/// When lengths do not match.
pub fn normalise_backward(
    norm: Norm<'_>,
    x: &[f32],
    grad: &[f32],
    dx: &mut [f32],
    dweight: &mut [f32],
    dbias: &mut [f32],
) {
    let c = norm.weight.len();
    norm.check("normalise_backward", c);
    assert!(
        c > 0 && x.len().is_multiple_of(c) && grad.len() == x.len() && dx.len() == x.len(),
        "normalise_backward: x has {} elements, grad {} and dx {}, expected rows of {c}",
        x.len(),
        grad.len(),
        dx.len()
    );
    assert!(
        dweight.len() == c && dbias.len() == c,
        "normalise_backward: dweight has {} elements and dbias {}, expected {c}",
        dweight.len(),
        dbias.len()
    );
    let rows = x.len() / c;
    let chunks = rows.div_ceil(SUM_ROWS).min(SUM_CHUNKS);
    let mut partial = Scratch::take(chunks * 2 * c);
    let (shared_dx, shared_partial) = (Shared::new(dx), Shared::new(&mut partial));
    for_each_chunk(chunks, 1, |chunk| {
        for i in chunk {
            let rows = part(rows, chunks, i);
            let range = rows.start * c..rows.end * c;
            // SAFETY: each chunk has rows and partial sums of its own.
            let (dx, sums) =
                unsafe { (shared_dx.range(range.clone()), shared_partial.range(i * 2 * c..(i + 1) * 2 * c)) };
            dispatch(
                Isa::current(),
                NormBackward { norm, x: &x[range.clone()], grad: &grad[range], dx, sums },
            );
        }
    });
    dweight.fill(0.0);
    dbias.fill(0.0);
    for sums in partial.chunks_exact(2 * c) {
        dweight.iter_mut().zip(&sums[..c]).for_each(|(total, sum)| *total += sum);
        dbias.iter_mut().zip(&sums[c..]).for_each(|(total, sum)| *total += sum);
    }
}

struct NormBackward<'a> {
    norm: Norm<'a>,
    x: &'a [f32],
    grad: &'a [f32],
    dx: &'a mut [f32],
    /// Sums over the rows for the weight, then for the bias.
    sums: &'a mut [f32],
}

impl Job for NormBackward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let c = self.norm.weight.len();
        self.sums.fill(0.0);
        let (dweight, dbias) = self.sums.split_at_mut(c);
        let mut at = 0;
        while at < self.x.len() {
            let (x, grad) = (&self.x[at..at + c], &self.grad[at..at + c]);
            norm_row_backward(simd, &self.norm, x, grad, &mut self.dx[at..at + c], dweight, dbias);
            at += c;
        }
    }
}

/// With x̂ the normalised row and g = grad ⊙ weight: dx = (g - mean(g) - x̂ mean(g ⊙ x̂)) / σ, without mean(g) where no
/// mean is subtracted.
#[inline(always)]
fn norm_row_backward<S: Simd>(
    simd: S,
    norm: &Norm<'_>,
    x: &[f32],
    grad: &[f32],
    dx: &mut [f32],
    dweight: &mut [f32],
    dbias: &mut [f32],
) {
    let (mean, inverse) = norm.moments(simd, x);
    let (mean, inverse) = (simd.splat(mean), simd.splat(inverse));
    let (mut sum, mut sum_normed) = (simd.splat(0.0), simd.splat(0.0));
    let mut at = 0;
    while at < x.len() {
        let normed = simd.mul(simd.sub(load_at(simd, x, at), mean), inverse);
        let grad = load_at(simd, grad, at);
        store_at(simd, dweight, at, simd.mul_add(grad, normed, load_at(simd, dweight, at)));
        store_at(simd, dbias, at, simd.add(grad, load_at(simd, dbias, at)));
        // In padding lanes grad and weight are zero.
        let g = simd.mul(grad, load_at(simd, norm.weight, at));
        sum = simd.add(sum, g);
        sum_normed = simd.mul_add(g, normed, sum_normed);
        at += S::LANES;
    }
    let count = x.len() as f32;
    let mean_g = simd.splat(match norm.kind {
        NormKind::Layer => simd.reduce_add(sum) / count,
        NormKind::Rms => 0.0,
    });
    let mean_normed = simd.splat(simd.reduce_add(sum_normed) / count);
    at = 0;
    while at < x.len() {
        let normed = simd.mul(simd.sub(load_at(simd, x, at), mean), inverse);
        let g = simd.mul(load_at(simd, grad, at), load_at(simd, norm.weight, at));
        let v = simd.sub(simd.sub(g, mean_g), simd.mul(normed, mean_normed));
        store_at(simd, dx, at, simd.mul(v, inverse));
        at += S::LANES;
    }
}
