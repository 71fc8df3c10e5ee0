//! The gradient of [`attention`](crate::attention) with respect to `qkv`.
//!
//! One task is a head of an item. Probabilities are computed again; products are those of the `gemm`
//! crate on every instruction set. Working memory is quadratic in an item's tokens.

use super::Heads;
use super::softmax::softmax_numerators;
use crate::isa::Isa;
use crate::linear::gemm::{Matrix, Threads, multiply};
use crate::simd::{Job, Simd, dispatch, load_at, store_at};
use crate::threads::scratch::Scratch;
use crate::threads::{Shared, for_each};
use std::ops::Range;

/// The gradient of [`attention`](crate::attention): `dqkv` from `grad_out`.
///
/// `qkv`, `dqkv`: `[T, 3 * count * dim]` (`dqkv` is overwritten), `grad_out: [T, count * dim]`, the others
/// as given to the forward function. `key_bias` is taken as a constant.
///
/// # Panics
/// When lengths do not match, offsets fall, or this CPU does not support `isa`.
pub fn attention_backward(
    isa: Isa,
    heads: Heads,
    qkv: &[f32],
    offsets: &[usize],
    key_bias: Option<&[f32]>,
    grad_out: &[f32],
    dqkv: &mut [f32],
) {
    let rows = heads.check("attention_backward", qkv, offsets);
    assert!(
        grad_out.len() == rows * heads.width() && dqkv.len() == qkv.len(),
        "attention_backward: grad_out has {} and dqkv {} elements, expected {rows} rows of {} and {}",
        grad_out.len(),
        dqkv.len(),
        heads.width(),
        3 * heads.width()
    );
    if let Some(key_bias) = key_bias {
        assert_eq!(
            key_bias.len(),
            rows,
            "attention_backward: key_bias has {} elements for {rows} rows",
            key_bias.len()
        );
    }
    let dqkv = Shared::new(dqkv);
    for_each((offsets.len() - 1) * heads.count, |task| {
        let (item, head) = (task / heads.count, task % heads.count);
        let item = offsets[item]..offsets[item + 1];
        if !item.is_empty() {
            dispatch(isa, Head { heads, head, qkv, item, key_bias, grad_out, dqkv });
        }
    });
}

struct Head<'a> {
    heads: Heads,
    head: usize,
    qkv: &'a [f32],
    item: Range<usize>,
    key_bias: Option<&'a [f32]>,
    grad_out: &'a [f32],
    dqkv: Shared<'a, f32>,
}

impl Job for Head<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (n, dim, width, scale) = (self.item.len(), self.heads.dim, self.heads.width(), self.heads.scale);
        let stride = 3 * width;
        let padded = n.next_multiple_of(S::LANES);
        let mut probabilities = Scratch::take(n * padded);
        let mut grads = Scratch::take(n * padded);
        // SAFETY: lengths were checked by the caller: `qkv` and `dqkv` have all rows of `stride`, `grad_out` of
        // `width`, and a head's columns are within; this task alone writes its head's columns of `dqkv`.
        unsafe {
            let part = |i: usize| (self.item.start * stride) + i * width + self.head * dim;
            let input = |i: usize| Matrix::rows(self.qkv.as_ptr().add(part(i)), stride);
            let output = |i: usize| Matrix::rows(self.dqkv.start().add(part(i)), stride);
            let grad_out =
                Matrix::rows(self.grad_out.as_ptr().add(self.item.start * width + self.head * dim), width);
            let (p, dp) = (probabilities.as_mut_ptr(), grads.as_mut_ptr());
            let (q, k, v) = (input(0), input(1), input(2));
            multiply([n, n, dim], scale, q, k.t(), Matrix::rows(p, padded), Threads::This);
            multiply([n, n, dim], 1.0, grad_out, v.t(), Matrix::rows(dp, padded), Threads::This);
            for r in 0..n {
                let row = &mut probabilities[r * padded..(r + 1) * padded];
                row[n..].fill(f32::NEG_INFINITY);
                let key_bias = self.key_bias.map(|sizes| &sizes[self.item.clone()]);
                normalised(simd, row, key_bias);
                let grad = &mut grads[r * padded..(r + 1) * padded];
                grad[n..].fill(0.0);
                softmax_backward(simd, row, grad);
            }
            let p = Matrix::rows(probabilities.as_ptr(), padded);
            let ds = Matrix::rows(grads.as_ptr(), padded);
            multiply([n, dim, n], 1.0, p.t(), grad_out, output(2), Threads::This);
            multiply([n, dim, n], scale, ds, k, output(0), Threads::This);
            multiply([n, dim, n], scale, ds.t(), q, output(1), Threads::This);
        }
    }
}

/// The softmax of scores to which biases of their keys are added, where there are some.
#[inline(always)]
pub(super) fn normalised<S: Simd>(simd: S, row: &mut [f32], key_bias: Option<&[f32]>) {
    if let Some(key_bias) = key_bias {
        for (score, bias) in row.iter_mut().zip(key_bias) {
            *score += bias;
        }
    }
    let inverse = simd.splat(1.0 / softmax_numerators(simd, row));
    let mut at = 0;
    while at < row.len() {
        let p = simd.mul(load_at(simd, row, at), inverse);
        store_at(simd, row, at, p);
        at += S::LANES;
    }
}

/// `grad = p ⊙ (grad - Σ p ⊙ grad)`.
#[inline(always)]
pub(super) fn softmax_backward<S: Simd>(simd: S, p: &[f32], grad: &mut [f32]) {
    let mut sum = simd.splat(0.0);
    let mut at = 0;
    while at < p.len() {
        sum = simd.mul_add(load_at(simd, p, at), load_at(simd, grad, at), sum);
        at += S::LANES;
    }
    let sum = simd.splat(simd.reduce_add(sum));
    at = 0;
    while at < p.len() {
        let d = simd.mul(load_at(simd, p, at), simd.sub(load_at(simd, grad, at), sum));
        store_at(simd, grad, at, d);
        at += S::LANES;
    }
}
