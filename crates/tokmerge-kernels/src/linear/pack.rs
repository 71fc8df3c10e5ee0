//! Weights of a linear layer, rearranged once into the order in which the kernels read them.
//!
//! Panel `p` holds columns (output features) `p * width ..` of all of K, one step of K after the other,
//! the last panel padded with zeros: `panels[p][k][column]`. At bf16 with a dot product of pairs a
//! word holds two neighbouring values of K, an odd K padded with zero; at int8 it holds four, on all
//! instruction sets.

use super::precision::Precision;
use super::quantise::{MAX_FEATURES, quads, quantise_column, row_words};
use crate::isa::Isa;
use crate::lengths::is_product;
use crate::simd::{QUAD, block};
use crate::threads::scratch::Aligned;
use crate::threads::{Shared, for_each};
use std::fmt;
use std::ops::Range;

/// What the packed weights look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Panels for the register-blocked kernel; a word is one f32, two bf16 or four bytes.
    Panels,
    /// As given, `[N, K]`, for the `gemm` crate; "panels" are blocks of columns of one call.
    Rows,
}

impl Layout {
    /// The faster one here: plain Rust leaves f32 to the `gemm` crate where that has vectors for this CPU.
    fn of(isa: Isa, precision: Precision) -> Self {
        match (isa, precision) {
            (Isa::Portable, Precision::F32 | Precision::Bf16) if gemm_has_vectors() => Self::Rows,
            _ => Self::Panels,
        }
    }
}

/// Without FMA the `gemm` crate multiplies one number at a time, at a seventh of the speed of our own kernel in SSE2.
#[cfg(target_arch = "x86_64")]
fn gemm_has_vectors() -> bool {
    is_x86_feature_detected!("fma")
}

/// What the `gemm` crate has beyond x86-64 is NEON; Miri does not follow it there.
#[cfg(not(target_arch = "x86_64"))]
fn gemm_has_vectors() -> bool {
    cfg!(all(target_arch = "aarch64", not(miri)))
}

/// A weight `[N, K]` prepared for [`linear`](crate::linear) on one instruction set at one precision.
#[derive(Clone)]
pub struct PackedLinear {
    isa: Isa,
    precision: Precision,
    layout: Layout,
    in_features: usize,
    out_features: usize,
    words: Aligned,
    /// At int8 the scale of each output, then for each output its scale times the sum of its quantised weights.
    scales: Aligned,
}

/// Rows and columns of one call of the `gemm` crate. Fixed, so that the result of a row does not depend
/// on how many there are.
pub(crate) const GEMM_ROWS: usize = 64;
const GEMM_COLUMNS: usize = 256;

impl PackedLinear {
    /// Packs `weight: [out_features, in_features]`, row-major (PyTorch's order).
    ///
    /// # Panics
    /// When `weight` has another number of elements, this CPU does not support `isa`, or rows are too long for
    /// `precision`: at int8 they may have 66 311 elements.
    #[must_use]
    pub fn new(
        isa: Isa,
        precision: Precision,
        weight: &[f32],
        out_features: usize,
        in_features: usize,
    ) -> Self {
        let layout = Layout::of(isa, precision);
        Self::with_layout(isa, precision, layout, weight, [out_features, in_features])
    }

    /// As [`PackedLinear::new`], in a layout that `isa` and `precision` can have.
    pub(crate) fn with_layout(
        isa: Isa,
        precision: Precision,
        layout: Layout,
        weight: &[f32],
        [out_features, in_features]: [usize; 2],
    ) -> Self {
        assert!(
            is_product(weight.len(), [out_features, in_features]),
            "PackedLinear: weight has {} elements, expected {out_features} x {in_features}",
            weight.len()
        );
        assert!(
            isa.is_supported(),
            "PackedLinear: {isa} is not supported here; available: {:?}",
            Isa::available()
        );
        assert!(
            precision != Precision::Int8 || in_features <= MAX_FEATURES,
            "PackedLinear: rows of {in_features} are too long for int8, whose sums take {MAX_FEATURES}; use bf16"
        );
        let (words, scales) = (Aligned::default(), Aligned::default());
        let mut packed = Self { isa, precision, layout, in_features, out_features, words, scales };
        if weight.is_empty() {
            // Nothing to multiply, and perhaps more panels of it than can be counted.
            packed.scales = Aligned::zeros(if precision == Precision::Int8 { 2 * out_features } else { 0 });
            return packed;
        }
        match (packed.precision, packed.layout()) {
            (Precision::Int8, _) => packed.pack_quads(weight),
            (_, Layout::Panels) => packed.words = packed.pack_panels(weight),
            (_, Layout::Rows) => packed.words = packed.pack_rows(weight),
        }
        packed
    }

    /// Packs the layer that multiplies by `weight: [in_features, out_features]` itself, not by its transpose: the way
    /// back through a layer of that weight.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn transposed(isa: Isa, weight: &[f32], out_features: usize, in_features: usize) -> Self {
        assert!(
            is_product(weight.len(), [in_features, out_features]),
            "PackedLinear: weight has {} elements, expected {in_features} x {out_features}",
            weight.len()
        );
        assert!(
            isa.is_supported(),
            "PackedLinear: {isa} is not supported here; available: {:?}",
            Isa::available()
        );
        let (words, scales) = (Aligned::default(), Aligned::default());
        let (precision, layout) = (Precision::F32, Layout::of(isa, Precision::F32));
        let mut packed = Self { isa, precision, layout, in_features, out_features, words, scales };
        if weight.is_empty() {
            return packed;
        }
        let (width, k) = (packed.panel_width(), in_features);
        packed.words = match packed.layout() {
            Layout::Panels => {
                let mut words = Aligned::zeros(packed.panels() * k * width);
                let shared = Shared::new(&mut words);
                for_each(packed.panels(), |p| {
                    // SAFETY: each task has a panel of its own.
                    let panel = unsafe { shared.range(p * k * width..(p + 1) * k * width) };
                    let columns = packed.columns(p);
                    for (to, row) in panel.chunks_exact_mut(width).zip(weight.chunks_exact(out_features)) {
                        to[..columns.len()].copy_from_slice(&row[columns.clone()]);
                    }
                });
                words
            }
            Layout::Rows => {
                let mut words = Aligned::zeros(weight.len());
                for (column, to) in words.chunks_exact_mut(k.max(1)).enumerate() {
                    for (row, to) in to.iter_mut().enumerate() {
                        *to = weight[row * out_features + column];
                    }
                }
                words
            }
        };
        packed
    }

    /// K, the length of an input row.
    #[must_use]
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// N, the length of an output row.
    #[must_use]
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// The instruction set this was packed for.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The precision this was packed for.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Memory used by the packed weights, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        (self.words.len() + self.scales.len()) * size_of::<f32>()
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Whether operand words are pairs of bf16.
    pub(crate) fn is_paired(&self) -> bool {
        self.precision == Precision::Bf16 && self.isa.has_bf16_dot()
    }

    /// Operand words of a row of activations, what belongs to the whole row included.
    pub(crate) fn words_per_row(&self) -> usize {
        match self.precision {
            Precision::Int8 => row_words(self.in_features),
            _ => self.steps(),
        }
    }

    /// Operand words that are multiplied.
    pub(crate) fn steps(&self) -> usize {
        match self.precision {
            Precision::Int8 => quads(self.in_features),
            Precision::Bf16 if self.is_paired() => self.in_features.div_ceil(2),
            _ => self.in_features,
        }
    }

    /// At int8 the scale of each output, and that times the sum of its weights.
    pub(crate) fn scales(&self) -> Option<[&[f32]; 2]> {
        let (scale, sum) = self.scales.split_at_checked(self.out_features)?;
        (self.precision == Precision::Int8).then_some([scale, sum])
    }

    /// The unit in which rows are divided, and the most that the kernel takes at once.
    pub(crate) fn strip(&self) -> [usize; 2] {
        match (self.isa, self.layout()) {
            (_, Layout::Rows) => [GEMM_ROWS, GEMM_ROWS],
            (isa, Layout::Panels) => [1, block(isa)[0]],
        }
    }

    pub(crate) fn panel_width(&self) -> usize {
        match (self.isa, self.layout()) {
            (_, Layout::Rows) => GEMM_COLUMNS,
            (isa, Layout::Panels) => block(isa)[1],
        }
    }

    pub(crate) fn panels(&self) -> usize {
        self.out_features.div_ceil(self.panel_width())
    }

    /// The output columns of a panel.
    pub(crate) fn columns(&self, panel: usize) -> Range<usize> {
        let width = self.panel_width();
        panel * width..((panel + 1) * width).min(self.out_features)
    }

    /// The words of a panel.
    pub(crate) fn panel(&self, panel: usize) -> &[f32] {
        match self.layout() {
            Layout::Panels => {
                let len = self.steps() * self.panel_width();
                &self.words[panel * len..(panel + 1) * len]
            }
            Layout::Rows => {
                let columns = self.columns(panel);
                &self.words[columns.start * self.in_features..columns.end * self.in_features]
            }
        }
    }

    fn pack_panels(&self, weight: &[f32]) -> Aligned {
        let (width, k) = (self.panel_width(), self.in_features);
        let len = self.steps() * width;
        let mut words = Aligned::zeros(self.panels() * len);
        let shared = Shared::new(&mut words);
        for_each(self.panels(), |p| {
            // SAFETY: each task has a panel of its own.
            let panel = unsafe { shared.range(p * len..(p + 1) * len) };
            for (j, column) in self.columns(p).enumerate() {
                let row = &weight[column * k..(column + 1) * k];
                if self.is_paired() {
                    for (i, pair) in row.chunks(2).enumerate() {
                        panel[i * width + j] = pair_word(pair);
                    }
                } else {
                    for (i, &value) in row.iter().enumerate() {
                        panel[i * width + j] = self.rounded(value);
                    }
                }
            }
        });
        words
    }

    fn pack_quads(&mut self, weight: &[f32]) {
        let (width, k) = (self.panel_width(), self.in_features);
        let len = self.steps() * width;
        let mut words = Aligned::zeros(self.panels() * len);
        let mut scales = Aligned::zeros(2 * self.out_features);
        let (shared_words, shared_scales) = (Shared::new(&mut words), Shared::new(&mut scales));
        for_each(self.panels(), |p| {
            // SAFETY: each task has a panel of its own.
            let panel = unsafe { shared_words.range(p * len..(p + 1) * len) };
            let mut bytes = vec![0_i8; self.steps() * QUAD];
            for (j, column) in self.columns(p).enumerate() {
                let row = &weight[column * k..(column + 1) * k];
                let [scale, sum] = quantise_column(row, |i, q| bytes[i] = q);
                for (i, quad) in bytes.chunks_exact(QUAD).enumerate() {
                    panel[i * width + j] = quad_word(quad);
                }
                for (at, value) in [(column, scale), (self.out_features + column, sum)] {
                    // SAFETY: a column belongs to one panel.
                    unsafe { shared_scales.range(at..at + 1)[0] = value };
                }
            }
        });
        self.words = words;
        self.scales = scales;
    }

    fn pack_rows(&self, weight: &[f32]) -> Aligned {
        let mut words = Aligned::zeros(weight.len());
        for (word, &value) in words.iter_mut().zip(weight) {
            *word = self.rounded(value);
        }
        words
    }

    fn rounded(&self, value: f32) -> f32 {
        match self.precision {
            Precision::Bf16 => half::bf16::from_f32(value).to_f32(),
            _ => value,
        }
    }
}

impl fmt::Debug for PackedLinear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { isa, precision, in_features, out_features, .. } = self;
        write!(f, "PackedLinear({in_features} -> {out_features}, {isa}, {precision:?})")
    }
}

/// One or two values as a word of two bf16, the first one in the low half.
fn pair_word(pair: &[f32]) -> f32 {
    let half = |i: usize| u32::from(pair.get(i).map_or(0, |&v| half::bf16::from_f32(v).to_bits()));
    f32::from_bits(half(0) | half(1) << 16)
}

/// Four signed bytes as a word, the first one lowest.
fn quad_word(quad: &[i8]) -> f32 {
    f32::from_bits(quad.iter().rev().fold(0, |word, &q| word << 8 | u32::from(q as u8)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_are_padded_and_bytes_count_the_padding() {
        if Isa::available().contains(&Isa::Avx2) {
            let packed = PackedLinear::new(Isa::Avx2, Precision::F32, &[1.0; 17 * 3], 17, 3);
            assert_eq!(packed.bytes(), 2 * 16 * 3 * 4);
            assert_eq!(packed.panel(1)[..3], [1.0, 0.0, 0.0]);
        }
    }

    #[test]
    #[should_panic(expected = "weight has 5 elements, expected 2 x 3")]
    fn a_weight_of_another_size_is_rejected() {
        let _ = PackedLinear::new(Isa::Portable, Precision::F32, &[0.0; 5], 2, 3);
    }
}
