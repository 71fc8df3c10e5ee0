//! The feed-forward half of a Transformer block in one pass: `x += scale ⊙ fc2(act(fc1(LN(x))))`.
//!
//! `x: [rows, C]`, row-major and contiguous. Equals [`norm_linear`](crate::norm_linear) followed by
//! [`linear`](crate::linear) with a residual epilogue, bit for bit; here the hidden activations of a
//! block of rows stay in the second-level cache.

use crate::activation::Activation;
use crate::linear::{Epilogue, Layer, MAX_ROWS, Output, To, linear, norm_linear, quantise_rows};
use crate::norm::Norm;
use crate::pack::{PackedLinear, Precision};
use crate::parallel::{Grid, Shared};
use crate::scratch::Scratch;
use crate::simd::{Job, Simd};

/// The feed-forward half of a Transformer block.
#[derive(Clone, Copy, Debug)]
pub struct Mlp<'a> {
    /// The normalisation in front, over C channels.
    pub norm: Norm<'a>,
    /// C → hidden.
    pub fc1: &'a PackedLinear,
    /// `[hidden]`.
    pub fc1_bias: Option<&'a [f32]>,
    /// Between the two layers.
    pub activation: Activation,
    /// hidden → C; packed for the same instruction set and precision as `fc1`.
    pub fc2: &'a PackedLinear,
    /// `[C]`.
    pub fc2_bias: Option<&'a [f32]>,
    /// One factor per channel of the result (`LayerScale`), `[C]`; none is 1.
    pub scale: Option<&'a [f32]>,
}

/// Bytes that the hidden activations of a block of rows may take: with the rows themselves, normalised and not, and the
/// weights on their way they stay in a second-level cache of 1 MB. Fewer rows read the weights more often.
const BLOCK_BYTES: usize = 3 << 17;

/// `x += scale ⊙ fc2(act(fc1(LN(x))))` for `x: [rows, C]`, in place.
///
/// # Panics
/// When lengths do not match, or the two layers are packed differently.
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
    let (first, second) = mlp.layers();
    first.check("mlp");
    second.check("mlp");
    let rows = x.len() / channels.max(1);
    assert_eq!(x.len(), rows * channels, "mlp: {} elements are not rows of {channels}", x.len());

    let words = if fc2.precision() == Precision::Int8 { fc2.in_features() } else { fc2.words_per_row() };
    let block = (BLOCK_BYTES / (words.max(1) * size_of::<f32>())).clamp(fc1.strip()[1], MAX_ROWS);
    let grid = Grid::new(rows, fc1.strip(), fc2.panels(), block);
    if grid.splits_panels() {
        // Too few rows for all threads: each layer by itself, so that they can share its columns.
        let mut hidden = Scratch::take(rows * fc1.out_features());
        norm_linear(mlp.norm, fc1, mlp.fc1_bias, x, first.epilogue, &mut hidden);
        linear(fc2, mlp.fc2_bias, &hidden, second.epilogue, x);
        return;
    }
    let x = Shared::new(x);
    grid.for_each(|rows, _| {
        // SAFETY: the rows of different tasks do not overlap.
        let x = unsafe { x.range(rows.start * channels..rows.end * channels) };
        first.dispatch(Rows { mlp, x });
    });
}

impl Mlp<'_> {
    fn layers(&self) -> (Layer<'_>, Layer<'_>) {
        let first = Layer { w: self.fc1, bias: self.fc1_bias, epilogue: Epilogue::Activate(self.activation) };
        let second =
            Layer { w: self.fc2, bias: self.fc2_bias, epilogue: Epilogue::Residual { scale: self.scale } };
        (first, second)
    }
}

/// Some rows, through both layers.
struct Rows<'a> {
    mlp: &'a Mlp<'a>,
    x: &'a mut [f32],
}

impl Job for Rows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (first, second) = self.mlp.layers();
        let rows = self.x.len() / first.w.in_features();
        let (panels1, panels2) = (0..first.w.panels(), 0..second.w.panels());
        let (words, inner) = (second.w.words_per_row(), second.w.in_features());
        let hidden_to = |to| Output { to, first: 0, width: inner };
        let mut operand = Scratch::take(rows * words);
        // SAFETY: `operand` and `hidden` have `rows` rows of fc1's outputs, which are fc2's inputs (checked in `mlp`), as
        // words and as values, `x` of fc2's outputs; all are ours.
        unsafe {
            match second.w.precision() {
                Precision::F32 => {
                    let values = hidden_to(To::Values(operand.as_mut_ptr()));
                    first.rows(simd, Some(self.mlp.norm), self.x, rows, panels1, values);
                }
                Precision::Bf16 => {
                    let words = hidden_to(To::Bf16(operand.as_mut_ptr()));
                    first.rows(simd, Some(self.mlp.norm), self.x, rows, panels1, words);
                }
                Precision::Int8 => {
                    // A row's range is known when all of it is.
                    let mut hidden = Scratch::take(rows * inner);
                    let values = hidden_to(To::Values(hidden.as_mut_ptr()));
                    first.rows(simd, Some(self.mlp.norm), self.x, rows, panels1, values);
                    quantise_rows(simd, None, &hidden, [inner, words], &mut operand);
                }
            }
            let x = Output { to: To::Values(self.x.as_mut_ptr()), first: 0, width: second.w.out_features() };
            second.operand_rows(simd, &operand, rows, panels2, x);
        }
    }
}
