//! The feed-forward half of a Transformer block in one pass: `x += scale ⊙ fc2(act(fc1(norm(x))))`, or, gated,
//! `x += scale ⊙ fc2(act(gate(norm(x))) ⊙ fc1(norm(x)))`.
//!
//! `x: [rows, C]`, row-major and contiguous. Equals [`norm_linear`](crate::norm_linear) followed by
//! [`linear`](crate::linear) with a residual epilogue, bit for bit; here the hidden activations of a
//! block of rows stay in L2.

use super::activation::Activation;
use super::norm::Norm;
use super::pack::PackedLinear;
use super::precision::Precision;
use super::{Epilogue, Layer, Output, TASK_ROWS, To, linear, norm_linear};
use crate::simd::{Job, Operand, Simd, load_at, words};
use crate::threads::scratch::Scratch;
use crate::threads::{Grid, Shared};

/// The feed-forward half of a Transformer block.
#[derive(Clone, Copy, Debug)]
pub struct Mlp<'a> {
    /// The normalisation in front, over C channels.
    pub norm: Norm<'a>,
    /// C → hidden.
    pub fc1: &'a PackedLinear,
    /// `[hidden]`.
    pub fc1_bias: Option<&'a [f32]>,
    /// Of `fc1`, or of the gate if there is one.
    pub activation: Activation,
    /// By what the outputs of `fc1` are multiplied.
    pub gate: Option<Gating<'a>>,
    /// Before `fc2`, over hidden channels.
    pub inner_norm: Option<Norm<'a>>,
    /// hidden → C; packed for the same instruction set and precision as `fc1`.
    pub fc2: &'a PackedLinear,
    /// `[C]`.
    pub fc2_bias: Option<&'a [f32]>,
    /// One factor per channel of the result (`LayerScale`), `[C]`; none is 1.
    pub scale: Option<&'a [f32]>,
}

/// A layer whose outputs, after an activation, multiply those of another.
#[derive(Clone, Copy, Debug)]
pub struct Gating<'a> {
    /// C → hidden; packed as the layer that it gates.
    pub w: &'a PackedLinear,
    /// `[hidden]`.
    pub bias: Option<&'a [f32]>,
}

/// Bytes that the hidden activations of a block of rows may take: with the rows themselves, normalised and not, and the
/// weights on their way they stay in an L2 of 1 MB. Fewer rows read the weights more often.
const BLOCK_BYTES: usize = 3 << 17;

/// `x += scale ⊙ fc2(…)` for `x: [rows, C]`, in place.
///
/// # Panics
/// When lengths do not match, or the layers are packed differently.
pub fn mlp(mlp: &Mlp<'_>, x: &mut [f32]) {
    let (fc1, fc2) = (mlp.fc1, mlp.fc2);
    let channels = fc1.in_features();
    assert!(
        fc2.in_features() == fc1.out_features() && fc2.out_features() == channels,
        "mlp: fc1 is {fc1:?}, which does not fit fc2, {fc2:?}"
    );
    assert!(
        fc1.isa() == fc2.isa() && fc1.precision() == fc2.precision(),
        "mlp: fc1 is {fc1:?}, fc2 {fc2:?}; they must be packed alike"
    );
    mlp.norm.check("mlp", channels);
    let Layers { first, gate, second } = mlp.layers();
    first.check("mlp");
    second.check("mlp");
    if let Some(gate) = gate {
        let w = gate.w;
        assert!(
            [w.in_features(), w.out_features()] == [channels, fc1.out_features()]
                && w.isa() == fc1.isa()
                && w.precision() == fc1.precision(),
            "mlp: the gate is {w:?}, fc1 {fc1:?}; they must be alike"
        );
        gate.check("mlp");
    }
    if let Some(norm) = mlp.inner_norm {
        norm.check("mlp", fc2.in_features());
    }
    let rows = x.len() / channels.max(1);
    assert_eq!(x.len(), rows * channels, "mlp: {} elements are not rows of {channels}", x.len());

    let words = if fc2.precision() == Precision::Int8 { fc2.in_features() } else { fc2.words_per_row() };
    let words = if mlp.inner_norm.is_some() { words + fc2.in_features() } else { words };
    let block = (BLOCK_BYTES / (words.max(1) * size_of::<f32>())).clamp(fc1.strip()[1], TASK_ROWS);
    let grid = Grid::new(rows, fc1.strip(), fc2.panels(), block);
    if grid.splits_panels() {
        // Too few rows for all threads: each layer by itself, so that they can share its columns.
        let mut hidden = Scratch::take(rows * fc1.out_features());
        norm_linear(mlp.norm, fc1, mlp.fc1_bias, x, first.epilogue, &mut hidden);
        if let Some(gate) = gate {
            let mut factors = Scratch::take(hidden.len());
            norm_linear(mlp.norm, gate.w, gate.bias, x, gate.epilogue, &mut factors);
            hidden.iter_mut().zip(factors.iter()).for_each(|(value, factor)| *value *= factor);
        }
        match mlp.inner_norm {
            Some(norm) => norm_linear(norm, fc2, mlp.fc2_bias, &hidden, second.epilogue, x),
            None => linear(fc2, mlp.fc2_bias, &hidden, second.epilogue, x),
        }
        return;
    }
    let x = Shared::new(x);
    grid.for_each(|rows, _| {
        // SAFETY: the rows of different tasks do not overlap.
        let x = unsafe { x.range(rows.start * channels..rows.end * channels) };
        first.dispatch(Rows { mlp, x });
    });
}

/// The layers with what follows each of them.
struct Layers<'a> {
    first: Layer<'a>,
    gate: Option<Layer<'a>>,
    second: Layer<'a>,
}

impl Mlp<'_> {
    fn layers(&self) -> Layers<'_> {
        let activated = Epilogue::Activate(self.activation);
        let epilogue = if self.gate.is_some() { Epilogue::Store } else { activated };
        Layers {
            first: Layer { w: self.fc1, bias: self.fc1_bias, epilogue },
            gate: self.gate.map(|Gating { w, bias }| Layer { w, bias, epilogue: activated }),
            second: Layer {
                w: self.fc2,
                bias: self.fc2_bias,
                epilogue: Epilogue::Residual { scale: self.scale },
            },
        }
    }
}

/// Some rows, through all layers.
struct Rows<'a> {
    mlp: &'a Mlp<'a>,
    x: &'a mut [f32],
}

impl Job for Rows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Layers { first, gate, second } = self.mlp.layers();
        let (norm, inner_norm) = (self.mlp.norm, self.mlp.inner_norm);
        let rows = self.x.len() / first.w.in_features();
        let (words, inner) = (second.w.words_per_row(), second.w.in_features());
        let mut normed = Scratch::take(rows * first.w.words_per_row());
        first.prepare(simd, Some(norm), self.x, &mut normed);
        let mut operand = Scratch::take(rows * words);
        // Rows that are looked at as a whole before they become operands: their moments, or their range.
        let whole = inner_norm.is_some() || second.w.precision() == Precision::Int8;
        let mut hidden = Scratch::take(if whole { rows * inner } else { 0 });
        let to = match second.w.precision() {
            _ if whole => To::Values(hidden.as_mut_ptr()),
            Precision::Bf16 => To::Bf16(operand.as_mut_ptr()),
            Precision::F32 | Precision::Int8 => To::Values(operand.as_mut_ptr()),
        };
        // SAFETY: `operand` and `hidden` have `rows` rows of fc1's outputs, which are fc2's inputs (checked in `mlp`), as
        // words and as values, `x` of fc2's outputs; all are ours.
        unsafe {
            let hidden_to = Output { to, first: 0, width: inner };
            match gate {
                None => first.operand_rows(simd, &normed, rows, 0..first.w.panels(), hidden_to),
                Some(gate) => gated_rows(simd, [first, gate], &normed, rows, hidden_to),
            }
            if whole {
                second.prepare(simd, inner_norm, &hidden, &mut operand);
            }
            let x = Output { to: To::Values(self.x.as_mut_ptr()), first: 0, width: second.w.out_features() };
            second.operand_rows(simd, &operand, rows, 0..second.w.panels(), x);
        }
    }
}

/// The products of two layers of the same shape, panel by panel, for rows of operand words.
///
/// # Safety
/// `y` has `rows` rows with room for all columns or their words, which nobody else accesses meanwhile.
#[inline(always)]
unsafe fn gated_rows<S: Simd>(simd: S, layers: [Layer<'_>; 2], a: &[f32], rows: usize, y: Output) {
    let (w, panel_width) = (layers[0].w, layers[0].w.panel_width());
    let mut factors = [Scratch::take(rows * panel_width), Scratch::take(rows * panel_width)];
    for panel in 0..w.panels() {
        let columns = w.columns(panel);
        for i in 0..2 {
            let to = To::Values(factors[i].as_mut_ptr());
            // SAFETY: the factors have `rows` rows of a panel, and are ours.
            unsafe {
                let to = Output { to, first: columns.start, width: panel_width };
                layers[i].operand_rows(simd, a, rows, panel..panel + 1, to);
            }
        }
        for r in 0..rows {
            let values = &factors[0][r * panel_width..][..columns.len()];
            let gates = &factors[1][r * panel_width..][..columns.len()];
            let mut at = 0;
            while at < columns.len() {
                let product = simd.mul(load_at(simd, values, at), load_at(simd, gates, at));
                let count = (columns.len() - at).min(S::LANES);
                // SAFETY: the caller promises these columns of the row, or their words; `at` is a multiple of LANES, and
                // so is a panel's first column, so that both begin a word.
                unsafe {
                    match y.to {
                        To::Values(to) | To::Both { y: to, .. } => {
                            let to = to.add(r * y.width + columns.start + at);
                            if count == S::LANES {
                                simd.store(to, product);
                            } else {
                                simd.store_partial(to, count, product);
                            }
                        }
                        To::Bf16(to) => {
                            let row = r * words::<S>(Operand::Bf16, y.width);
                            simd.store_words(
                                to.add(row + (columns.start + at) / S::PER_WORD),
                                count,
                                product,
                            );
                        }
                    }
                }
                at += S::LANES;
            }
        }
    }
}
